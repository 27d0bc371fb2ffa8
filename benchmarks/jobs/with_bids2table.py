"""Resolve "resting state BOLD images" of some subjects with bids2table.

Usage: with_bids2table.py ROOT SUBJECTS
"""

from __future__ import annotations

import sys

import pyarrow.compute as pc
from bids2table import index_dataset


def main(root: str, subjects: str) -> None:
    table = index_dataset(root)
    wanted = (
        pc.field("sub").isin(subjects.split(","))
        & (pc.field("task") == "rest")
        & (pc.field("suffix") == "bold")
        & (pc.field("ext") == ".nii.gz")
    )
    print("\n".join(table.filter(wanted)["path"].to_pylist()))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
