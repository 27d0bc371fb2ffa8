"""What DataLad's run records in the history of a dataset say."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.dataset.process import read_chunks, start

__all__ = ["run_records"]

_TITLE = "[DATALAD RUNCMD]"
# As `datalad rerun` reads a message
_RECORD = re.compile(
    r"\[DATALAD RUNCMD\] .*=== Do not change lines below ===\n"
    r"(.*)\n\^\^\^ Do not change lines above \^\^\^",
    re.DOTALL,
)


def run_records(root: Path, commit: str, needle: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give the run records of a commit and its ancestors.

    Parameters
    ----------
    root
        Root of the dataset.
    commit
        Full name of the commit.
    needle
        Text in one line of the message; messages without it are not looked at.

    Yields
    ------
    tuple of str and dict
        Name of the commit, and its record as JSON gives it; the newest first. Messages that
        are no proper record, and those whose record is in a file, are left out. A message is
        anybody's input: of the record no more is sure than that there is a `cmd`.

    Raises
    ------
    DatasetError
        When git cannot read the history.
    ValueError
        When the needle is empty or has more than one line.
    """
    if not needle or "\n" in needle or "\0" in needle:
        raise ValueError(f"not a text in one line: {needle!r}")
    command = ["git", "log", "-z", "--format=%H%n%B", "--no-show-signature", "--no-color"]
    command += ["--encoding=UTF-8", "--fixed-strings", "--all-match"]
    with start([*command, f"--grep={_TITLE}", f"--grep={needle}", commit, "--"], root) as git:
        for chunk in read_chunks(git.stdout):
            for entry in decode(chunk).split("\0"):
                name, _, message = entry.partition("\n")
                record = _record(message)
                if record is not None:
                    yield name, record


def _record(message: str) -> dict[str, Any] | None:
    match = _RECORD.match(message)
    if match is None:
        return None
    try:
        record = json.loads(match[1])
    except (ValueError, RecursionError):
        return None
    # Text is the name of a file that holds the record.
    return record if isinstance(record, dict) and "cmd" in record else None
