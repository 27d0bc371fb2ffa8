"""Which version of a source is meant, and having it in the work tree of a clone."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.hierarchy import contains_repo
from datalad_bidsshare.dataset.process import run
from datalad_bidsshare.dataset.state import unsaved
from datalad_bidsshare.dataset.updating import fetch_environment
from datalad_bidsshare.dataset.version import read_version

__all__ = ["check_name", "check_out", "commit_in_clone", "commit_of_source"]

#: The remote that a clone is made from.
ORIGIN: Final = "origin"


def commit_of_source(root: Path, version: str) -> str:
    """Find out which commit a name means at the source that a clone was made of.

    Parameters
    ----------
    root
        Root of the clone, whose own branches nobody looks at: they may lag behind.
    version
        A tag, a branch of the source, a commit, or anything from there, as `v2~1`.

    Raises
    ------
    DatasetError
        When there is no such version, or it is git-annex's own branch.
    """
    names = (f"refs/tags/{version}", f"refs/remotes/{ORIGIN}/{version}", version)
    return _found(root, version, names)


def commit_in_clone(root: Path, version: str, remote: str = ORIGIN) -> str:
    """Find out which commit a name means in a clone that somebody works with: as git does.

    Parameters
    ----------
    root
        Root of the clone.
    version
        A tag, a branch of this clone or of the remote, a commit, or anything from there.
    remote
        The remote.

    Raises
    ------
    DatasetError
        When there is no such version here, or it is git-annex's own branch.
    """
    return _found(root, version, (version, f"refs/remotes/{remote}/{version}"))


def check_out(root: Path, version: str, origin: str) -> str:
    """Have a version of a clone in its work tree, unless that would cost anything.

    Parameters
    ----------
    root
        Root of the clone.
    version
        As `commit_in_clone`. Fetched first if it is not here.
    origin
        Name of a remote, or the URL of the source for git.

    Returns
    -------
    str
        The commit.

    Raises
    ------
    DatasetError
        When there is no such version; when something is not saved, is on no branch, or is
        installed in another version: nothing is changed then.
    """
    check_name(version)
    try:
        commit = commit_in_clone(root, version, origin)
    except DatasetError:
        commit = _fetched(root, version, origin)
    head = read_version(root).commit
    if commit == head:
        return commit
    there = shlex.join(["git", "-C", str(root)])
    if changed := unsaved(root):
        raise DatasetError(
            f"{root} has changes that are not saved ({', '.join(changed)}), so {version!r} is not "
            f"checked out over them; next: {shlex.join(['datalad', 'save', '-d', str(root)])}"
        )
    if not run([*_BRANCHES, f"--contains={head}"], root):
        raise DatasetError(
            f"{root} has commits that are on no branch, so {version!r} is not checked out; next: "
            f"{there} branch NAME"
        )
    if mounts := _moved_subdatasets(root, head, commit):
        raise DatasetError(
            f"{version!r} has other versions of subdatasets that are installed in {root} "
            f"({', '.join(mounts)}); next: name a new directory for the clone, or uninstall them: "
            + shlex.join(["datalad", "drop", "--what", "all", "-d", str(root), *mounts])
        )
    if _is_ref(root, f"refs/heads/{version}"):
        run(["git", "checkout", "--quiet", version, "--"], root)
    elif _is_ref(root, f"refs/remotes/{origin}/{version}"):
        track = f"{origin}/{version}"
        run(["git", "checkout", "--quiet", "-b", version, "--track", track, "--"], root)
    else:
        run(["git", "checkout", "--quiet", "--detach", commit, "--"], root)
    return commit


_BRANCHES = ("git", "for-each-ref", "--count=1", "--format=%(refname)")


def check_name(version: str) -> None:
    """Refuse what no version is called.

    Raises
    ------
    DatasetError
        When it would be an option, another thing than a commit, or is git-annex's own branch.
    """
    if version.rpartition("/")[2] == "git-annex":
        raise DatasetError(
            f"{version!r} is git-annex's own branch, and holds no files of the dataset; next: give "
            "another branch, a tag or a commit"
        )
    if not version or version.startswith(("-", "^", "+")) or any(c in version for c in ":\0\n"):
        raise DatasetError(f"{version!r} is no version; next: give a branch, a tag or a commit")


def _found(root: Path, version: str, names: Sequence[str]) -> str:
    check_name(version)
    for name in names:
        command = ["git", "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}"]
        try:
            return run(command, root).decode("ascii").strip()
        except DatasetError:
            continue
    there = shlex.join(["git", "-C", str(root)])
    raise DatasetError(
        f"there is no version {version!r} in {root}; next: see {there} tag, {there} branch --all, "
        f"or {there} log --oneline --all"
    )


def _fetched(root: Path, version: str, origin: str) -> str:
    """Fetch what is new, and find the version in it."""
    run(["git", "fetch", "--quiet", origin], root, env=fetch_environment())
    try:
        return commit_in_clone(root, version, origin)
    except DatasetError as missing:
        # A tag or commit that no branch leads to has to be asked for.
        try:
            run(["git", "fetch", "--quiet", origin, version], root, env=fetch_environment())
        except DatasetError:
            raise missing from None
        return commit_in_clone(root, "FETCH_HEAD", origin)


def _is_ref(root: Path, name: str) -> bool:
    try:
        run(["git", "show-ref", "--verify", "--quiet", name], root)
    except DatasetError:
        return False
    return True


def _moved_subdatasets(root: Path, old: str, new: str) -> list[str]:
    """Give the mounts of subdatasets that are installed, and other ones in another commit."""
    command = ["git", "diff-tree", "-r", "-z", "--no-renames", old, new]
    fields = decode(run(command, root)).split("\0")
    return [
        path
        for told, path in zip(fields[::2], fields[1::2], strict=False)
        if told.startswith(":160000") and contains_repo(root / path)
    ]
