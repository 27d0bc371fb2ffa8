"""A dataset while zips are unpacked into it: locked, tidied up, on a branch."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from datalad_bidsshare.dataset.commits import (
    NewCommit,
    check_difference,
    check_identity,
    clean_refs,
    write_commits,
)
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.landing import finish, land, obstacles
from datalad_bidsshare.dataset.listing import Index
from datalad_bidsshare.dataset.presence import git_directory
from datalad_bidsshare.dataset.state import Head, own_git_directory, read_head, unsaved
from datalad_bidsshare.disk.inside import open_place
from datalad_bidsshare.disk.lock import Lock
from datalad_bidsshare.disk.syncing import sync_file_system

__all__ = ["Workspace"]

lgr = logging.getLogger("datalad.bidsshare.unzip")


class Workspace:
    """Where the command keeps what is not finished. A context manager.

    Parameters
    ----------
    root
        Root of the dataset.
    dry_run
        Whether nothing is to be changed: no lock is taken.

    Raises
    ------
    DatasetError
        When entered: if no commit can be added here, another call works here, or nothing can be
        written.

    Attributes
    ----------
    directory
        In the git directory.
    stage
        Directory for files that are being unpacked; removed at the end.
    index
        File for an index of ours; removed at the end.
    journal
        File that tells of commits that are on their way to the branch.
    barren
        File that tells of zips in which nothing was wanted.
    head
        What is checked out.
    """

    def __init__(self, root: Path, *, dry_run: bool) -> None:
        self._root = root
        self._dry_run = dry_run
        self._stack = ExitStack()
        self.directory = git_directory(root) / "bidsshare" / "unzip"
        self.stage = self.directory / "stage"
        # Linked work trees share the rest; but each has a branch and an index of its own.
        self.journal = own_git_directory(root) / "bidsshare" / "unzip" / "journal"
        self.index = self.directory / "index"
        self.barren = self.directory / "barren"
        self.head: Head

    def __enter__(self) -> Workspace:
        self.head = read_head(self._root)
        if not self._dry_run:
            check_identity(self._root)
            with ExitStack() as stack:
                self._lock(stack)
                self._tidy()
                stack.callback(_remove, self.stage)
                # As large as that of the dataset
                stack.callback(self.index.unlink, missing_ok=True)
                self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def why_not_clean(self) -> str:
        """Say what is not saved, and what to do about it; '' if all is."""
        changed = unsaved(self._root)
        if not changed:
            return ""
        return (
            f"there are unsaved changes, such as {', '.join(changed[:3])}; a clean dataset is "
            "needed to tell what comes from the zips: see 'datalad status', then 'datalad save' "
            "or remove them"
        )

    def add(self, commits: Sequence[NewCommit], tracked: Index, why: str) -> list[str]:
        """Add commits to the branch, and bring index and work tree along. All or nothing.

        Parameters
        ----------
        commits
            In order, onto `head`, which is moved along.
        tracked
            What the dataset tracks.
        why
            For the reflog.

        Returns
        -------
        list of str
            Their names.

        Raises
        ------
        DatasetError
            When git fails, or something is in the way. The branch is where it was.
        """
        # What the commits vouch for is to be on the disk before they do.
        try:
            sync_file_system(self.directory)
        except OSError as error:
            raise DatasetError(
                f"what was unpacked could not be written to the disk: {error.strerror}"
            ) from error
        expected = {change.path: change for commit in commits for change in commit.changes}
        names = write_commits(self._root, self.head.commit, commits)
        check_difference(self._root, self.head.commit, names[-1], expected)
        in_the_way = obstacles(self._root, expected, tracked)
        if in_the_way:
            # Of files that git is told to ignore, git itself would not say it.
            raise DatasetError(
                f"{in_the_way[0]} is in the way, which was not there when this began: something "
                "that the dataset does not track as a file; move it away, then run the same "
                "command again"
            )
        land(self._root, self.head, names[-1], why, self.journal)
        self.head = Head(names[-1], self.head.branch)
        return names

    def _lock(self, stack: ExitStack) -> None:
        try:
            for directory in (self.directory, self.journal.parent):
                directory.mkdir(parents=True, exist_ok=True)
            place = open_place(self.directory)
            stack.callback(place.close)
            lock = Lock(place)
            if not lock.acquire():
                raise DatasetError(
                    f"another unzip-outputs works in this dataset ({lock.holder()}); wait for its "
                    "end, then run this again"
                )
        except OSError as error:
            raise DatasetError(
                f"nothing can be written into {self.directory}: {error.strerror}; unpack in a "
                "clone of your own, or ask for write access"
            ) from error
        stack.callback(lock.release, clean=True)

    def _tidy(self) -> None:
        """Bring to an end, or undo, what a call that was killed left."""
        left = finish(self._root, self.journal)
        if left:
            lgr.warning(
                "A call of unzip-outputs was cut short; %d files were changed since and are left "
                "as they are, such as %s",
                len(left),
                left[0],
            )
        _remove(self.stage)
        clean_refs(self._root)
        # It may have been moved along just now.
        self.head = read_head(self._root)


def _remove(directory: Path) -> None:
    """Remove a directory of ours, with whatever a call that was killed left in it."""

    def make_writable(function: Any, path: str, _: object) -> None:
        with contextlib.suppress(OSError):
            os.chmod(os.path.dirname(path), 0o700)
            function(path)

    # Without one, it would be the directory above whose mode is changed.
    if directory.is_dir():
        shutil.rmtree(directory, onerror=make_writable)
