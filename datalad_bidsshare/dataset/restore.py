"""Putting tracked files back as the last commit has them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from datalad_bidsshare.dataset.process import run

__all__ = ["restore"]


def restore(root: Path, paths: Iterable[str]) -> None:
    """Put back what was changed or removed of some paths. What is not tracked is left.

    Parameters
    ----------
    root
        Root of the dataset.
    paths
        Files and directories relative to it, literal.

    Raises
    ------
    DatasetError
        When git cannot write them.
    """
    wanted = list(paths)
    if not wanted:
        return
    # A checkout fails for a path that matches nothing; this one lists what there is.
    command = ["git", "--literal-pathspecs", "diff-index", "--name-only", "-z", "HEAD", "--"]
    changed = run([*command, *wanted], root)
    if changed:
        command = ["git", "--literal-pathspecs", "checkout", "-q", "--pathspec-from-file=-"]
        run([*command, "--pathspec-file-nul", "HEAD"], root, given=changed)
