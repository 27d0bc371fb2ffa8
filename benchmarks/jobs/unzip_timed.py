"""Unpack zips of a dataset with `unzip-outputs`, and tell when each of them was done.

Usage: unzip_timed.py STRIP_PREFIX GLOB[,GLOB...] ZIP...        (in the dataset)

Prints JSON: the seconds of wall and CPU time that the call took (imports not included), and those
at which the record of each zip came.
"""

from __future__ import annotations

import json
import os
import sys
import time


def main(prefix: str, globs: str, zips: list[str]) -> None:
    import datalad.api as dl

    arrivals = []
    start, before = time.monotonic(), os.times()
    for record in dl.unzip_outputs(
        zips,
        dataset=".",
        include=globs.split(","),
        strip_prefix=prefix,
        return_type="generator",
        result_renderer="disabled",
        on_failure="stop",
    ):
        if record["type"] == "file" and "outputs" in record and record["status"] == "ok":
            arrivals.append(time.monotonic() - start)
    wall = time.monotonic() - start
    # Of this process, and of those that it waited for: git, git-annex, the workers.
    cpu = sum(os.times()[:4]) - sum(before[:4])
    print(json.dumps({"wall": wall, "cpu": cpu, "arrivals": arrivals}))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
