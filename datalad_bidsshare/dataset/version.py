"""Which version of a dataset: its commit, and what that is called."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass, replace
from pathlib import Path

from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.process import run
from datalad_bidsshare.dataset.remotes import read_remotes

__all__ = ["Version", "has_staged_changes", "read_version"]

# What git-annex says of the commits that it makes for adjusted branches
_ADJUSTED = "git-annex adjusted branch"
# The end of the year 9999
_LATEST = 253_402_300_799


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a dataset.

    Attributes
    ----------
    commit
        Full name of the commit, in hex digits.
    describe
        The nearest tag, and how far the commit is from it, or an abbreviated name: what
        `git describe --tags --always` says.
    time
        When it was committed, in seconds since 1970 (UTC). 0 where the commit does not tell.
    dataset_id
        DataLad's name for the dataset in all its clones, as this version has it. None for a
        repository that is no DataLad dataset.
    urls
        Of the remotes, as they were configured here, `origin` first. They may hold passwords.
    """

    commit: str
    describe: str
    time: int
    dataset_id: str | None
    urls: tuple[str, ...]

    def modified(self) -> Version:
        """Give this version as the one that something not yet committed is based on."""
        return replace(self, describe=f"{self.describe}-dirty")


def has_staged_changes(root: Path) -> bool:
    """Tell whether the index differs from the commit that is checked out."""
    # What is in subdatasets is their own.
    command = ["git", "diff-index", "--cached", "--quiet", "--ignore-submodules=all", "HEAD", "--"]
    try:
        run(command, root)
    except DatasetError:
        return True
    return False


def read_version(root: Path, commitish: str | None = None) -> Version:
    """Find out which commit is meant, and what is known about it.

    Parameters
    ----------
    root
        Root of the dataset.
    commitish
        A commit, tag or branch in any of git's spellings. None is what is checked out; on an
        adjusted branch of git-annex, the commit that this branch was made from.

    Raises
    ------
    DatasetError
        When there is no such commit, or the dataset cannot be read.
    """
    commit = _resolve(root, commitish)
    time, parents, subject = _told_by(root, commit)
    if commitish is None and subject == _ADJUSTED and _is_adjusted(root):
        # Made here, for this clone alone; it holds what its parent does.
        commit = parents
        time, _, _ = _told_by(root, commit)
    # Else its length depends on how many objects a clone has, and on the user's configuration.
    describe = run(["git", "describe", "--tags", "--always", "--abbrev=10", commit], root)
    urls = {
        url: None
        for remote in sorted(read_remotes(root), key=lambda r: r.name != "origin")
        for url in remote.urls
    }
    return Version(
        commit=commit,
        describe=decode(describe).strip(),
        time=_time(time),
        dataset_id=_dataset_id(root, commit),
        urls=tuple(urls),
    )


def _told_by(root: Path, commit: str) -> tuple[str, str, str]:
    """Give a commit's time, its parents, and its first line."""
    command = ["git", "show", "--no-patch", "--no-show-signature", "--format=%ct%n%P%n%s", commit]
    time, parents, subject = decode(run(command, root)).split("\n")[:3]
    return time, parents, subject


def _time(said: str) -> int:
    # A commit is anybody's input: it may tell no time, or one that no system can hold.
    return min(int(said or 0), _LATEST)


def _is_adjusted(root: Path) -> bool:
    try:
        return run(["git", "symbolic-ref", "HEAD"], root).startswith(b"refs/heads/adjusted/")
    except DatasetError:
        # no branch
        return False


def _resolve(root: Path, commitish: str | None) -> str:
    asked = "HEAD" if commitish is None else commitish
    # No name begins with a dash, and with '^' everything but a commit is meant.
    possible = asked and not asked.startswith(("-", "^")) and "\0" not in asked
    try:
        if possible:
            found = run(["git", "rev-parse", "--verify", f"{asked}^{{commit}}"], root)
            return found.decode("ascii").strip()
    except DatasetError as e:
        if "Needed a single revision" not in str(e):
            raise
    there = shlex.join(["git", "-C", str(root)])
    if commitish is None:
        raise DatasetError(
            f"{root} has no commit yet; next: {shlex.join(['datalad', 'save', '-d', str(root)])}"
        )
    raise DatasetError(
        f"{commitish!r} is not a commit of {root}; next: see {there} log --oneline --all, or "
        f"{there} tag; one that was made elsewhere has to be fetched first"
    )


_ID = re.compile("[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")


def _dataset_id(root: Path, commit: str) -> str | None:
    command = ["git", "config", "--blob", f"{commit}:.datalad/config", "--no-includes"]
    try:
        found = decode(run([*command, "--get", "datalad.dataset.id"], root)).strip()
    except DatasetError:
        # There is no such file in it, or no such line. What else fails with git would have failed
        # before.
        return None
    # What is committed there is anybody's input.
    return found if _ID.fullmatch(found) else None
