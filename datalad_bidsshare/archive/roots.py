"""Where in a zip a BIDS dataset begins.

A pipeline's zip has its dataset at the top, in a directory (`fmriprep/`), or several of them, and
not each has the description that makes a directory a BIDS dataset.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from datalad_bidsshare.selection.entities import parser
from datalad_bidsshare.selection.names import DESCRIPTION
from datalad_bidsshare.selection.select import SKIPPED_DIRECTORIES, bids_roots

__all__ = ["Roots", "find_roots"]

#: Directories one in the other that are looked through for the beginning of a dataset.
_DEEPEST = 8
#: `derivatives/NAME/...` is how a pipeline may be told to write; the others say what lies in them.
_SIDE_DIRECTORIES = SKIPPED_DIRECTORIES - {"derivatives"}


class Roots(NamedTuple):
    """The BIDS datasets in a zip.

    Attributes
    ----------
    directories
        What they are in; `''` is the zip itself, if that looks like one.
    undescribed
        The one that has no description, or `''`.
    """

    directories: frozenset[str]
    undescribed: str


def find_roots(paths: Collection[str]) -> Roots:
    """Find the BIDS datasets in a zip, from the names of its members.

    These are the directories with a description, and the outermost one: the top, or, where all
    directories lie in a single one that has no meaning in BIDS (`fmriprep/`, not `sub-01/` or
    `func/`), that one.

    Parameters
    ----------
    paths
        Files, as a set or a dictionary.
    """
    outermost = _outermost(paths)
    directories = bids_roots(paths)
    if not outermost:
        return Roots(directories, "")
    described = f"{outermost}/{DESCRIPTION}" in paths
    return Roots(
        (directories - {""}) | {outermost},
        "" if described else outermost,
    )


def _outermost(paths: Collection[str]) -> str:
    prefix = ""
    inside: Collection[str] = paths
    for _ in range(_DEEPEST):
        skip = len(prefix)
        heads = {path[skip : path.find("/", skip) + 1] for path in inside}
        heads.discard("")
        if len(heads) != 1 or f"{prefix}{DESCRIPTION}" in paths:
            break
        (head,) = heads
        if _belongs_to_bids(head[:-1]):
            break
        deeper = [path for path in inside if path.startswith(head, skip)]
        if len(deeper) < len(inside) and any(p.startswith("sub-", skip) for p in inside):
            # A report beside it, such as sub-01.html
            break
        prefix, inside = prefix + head, deeper
    return prefix[:-1]


def _belongs_to_bids(directory: str) -> bool:
    """Say whether the name of a directory means something in BIDS, such as `sub-01` or `anat`."""
    if directory.startswith(".") or directory in _SIDE_DIRECTORIES:
        return True
    # 'sub-01_fmriprep-20.2.3' is what somebody called a directory; it also says something.
    return "_" not in directory and bool(parser().directory(directory))
