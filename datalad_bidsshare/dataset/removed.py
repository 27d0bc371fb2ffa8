"""Subdatasets that the source of a managed clone has no more: taken out of the way."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shlex
from pathlib import Path

from datalad_bidsshare.dataset.hierarchy import contains_repo
from datalad_bidsshare.dataset.listing import read_tree
from datalad_bidsshare.dataset.objects import objects_below
from datalad_bidsshare.dataset.state import own_git_directory
from datalad_bidsshare.dataset.unpushed import installed_mounts
from datalad_bidsshare.disk.removing import remove_tree

__all__ = ["take_out_removed"]

lgr = logging.getLogger("datalad.bidsshare.dataset")

# In the git directory: git leaves there what it does not know, and `git status` does not see it.
_KEPT = Path("bidsshare") / "removed"


def take_out_removed(root: Path, commit: str) -> None:
    """Take away installed subdatasets that a commit does not have, before it is checked out.

    git leaves them where they are, where they look like something that somebody put there, or
    stand in the way of files. One without annexed content is removed; one with content is kept
    apart, and named.

    Parameters
    ----------
    root
        Root of the clone, in which nothing is that only it has in git (`unpushed`).
    commit
        What will be checked out.

    Raises
    ------
    DatasetError
        When git fails.
    OSError
        When something resists.
    """
    kept = own_git_directory(root) / _KEPT
    installed = [mount for mount, _ in installed_mounts(root)]
    if installed:
        registered = read_tree(root, commit).gitlinks
        for mount in installed:
            if mount not in registered:
                _take_out(root, mount, kept)
    _sweep(kept)


def _take_out(root: Path, mount: str, kept: Path) -> None:
    # At once: of a directory that is removed bit by bit, a killed call would leave some.
    apart = kept / secrets.token_hex(4) / mount
    apart.parent.mkdir(parents=True)
    (root / mount).rename(apart)
    above = (root / mount).parent
    with contextlib.suppress(OSError):
        # git removes no directories that were empty before
        while above != root:
            above.rmdir()
            above = above.parent
    if any(objects_below(apart)):
        next_step = "it can be removed when nobody needs that"
        if contains_repo(apart):
            drop = shlex.join(["git", "-C", str(apart), "annex", "drop", "--all"])
            next_step = f"give it back ({drop}), and the rest goes with the next update"
        lgr.warning(
            "The source has no subdataset %s any more; its content, which was fetched before, is "
            "kept in %s; next: %s",
            mount,
            apart,
            next_step,
        )


def _sweep(kept: Path) -> None:
    """Remove those that hold no content, also what a killed call left of them."""
    try:
        names = os.listdir(kept)
    except OSError:
        return
    for name in names:
        if not any(objects_below(kept / name)):
            remove_tree(kept / name)
    with contextlib.suppress(OSError):
        kept.rmdir()
        kept.parent.rmdir()
