"""Resolve "resting state BOLD images" of some subjects with pybids, in its fastest way.

Usage: with_pybids.py ROOT SUBJECTS
"""

from __future__ import annotations

import os
import sys

from bids import BIDSLayout, BIDSLayoutIndexer


def main(root: str, subjects: str) -> None:
    layout = BIDSLayout(
        root,
        validate=False,
        indexer=BIDSLayoutIndexer(validate=False, index_metadata=False),
    )
    found = layout.get(
        subject=subjects.split(","),
        task="rest",
        suffix="bold",
        extension=".nii.gz",
        return_type="filename",
    )
    print("\n".join(os.path.relpath(path, root) for path in found))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
