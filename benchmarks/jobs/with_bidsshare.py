"""Resolve "resting state BOLD images" with this package's selection room, as a library.

Usage: with_bidsshare.py ROOT SUBJECTS|all [--companions]
"""

from __future__ import annotations

import sys
from pathlib import Path

from datalad_bidsshare.dataset.listing import stream_paths
from datalad_bidsshare.selection.grammar import build_selection
from datalad_bidsshare.selection.select import Selector, bids_roots


def main(root: Path, subjects: str, with_companions: bool) -> None:
    selection = build_selection(
        {
            "subject": None if subjects == "all" else subjects,
            "task": "rest",
            "suffix": "bold",
            "extension": "nii.gz",
        }
    )
    prefilter = Selector(selection).prefilter()
    roots: set[str] = set()

    def keep(names: list[str]) -> list[str]:
        roots.update(bids_roots(names))
        return prefilter(names) if prefilter and not with_companions else names

    candidates = [name for names in stream_paths(root, keep) for name in names]
    found = list(Selector(selection, roots=frozenset(roots)).select(candidates))
    if with_companions:
        from datalad_bidsshare.selection.companions import companions
        from datalad_bidsshare.selection.names import Names

        found += [companion.path for companion in companions(found, Names(candidates))]
    print("\n".join(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], "--companions" in sys.argv[3:])
