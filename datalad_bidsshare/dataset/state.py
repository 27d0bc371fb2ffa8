"""What a dataset must be like before commits are added to it: on a branch, with nothing unsaved."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.process import read_chunks, run, start

__all__ = ["Head", "changed_paths", "own_git_directory", "read_head", "unsaved"]

# git's notes that something was begun which the next commit would finish
_UNFINISHED = {
    "MERGE_HEAD": "merge",
    "CHERRY_PICK_HEAD": "cherry-pick",
    "REVERT_HEAD": "revert",
}
# git-annex's branches that show another one in a form of their own: 'adjusted/main(unlocked)'
_ADJUSTED = re.compile(r"refs/heads/adjusted/(.+)\([^()]*\)")


@dataclass(frozen=True, slots=True)
class Head:
    """What is checked out.

    Attributes
    ----------
    commit
        Full name, in hex digits.
    branch
        'refs/heads/...'.
    """

    commit: str
    branch: str


def own_git_directory(root: Path) -> Path:
    """Give the directory in which git keeps the index and HEAD of a work tree.

    Other than `presence.git_directory`, a linked work tree has one of its own.

    Raises
    ------
    DatasetError
        When there is none.
    """
    # git ends it with one newline; the name may hold others.
    return Path(decode(run(["git", "rev-parse", "--absolute-git-dir"], root))[:-1])


def read_head(root: Path) -> Head:
    """Find out what is checked out, to which a commit can be added.

    Raises
    ------
    DatasetError
        When no branch is checked out, or one without a commit; when a merge or the like was
        begun and not finished.
    """
    there = shlex.join(["git", "-C", str(root)])
    command = ["git", "rev-parse", "--absolute-git-dir", "HEAD^{commit}", "--symbolic-full-name"]
    try:
        # The directory comes first, and may hold newlines.
        *directory, commit, branch, _ = decode(run([*command, "HEAD"], root)).split("\n")
    except DatasetError as e:
        if "unknown revision" not in str(e):
            raise
        raise DatasetError(
            f"{root} has no commit yet; next: {shlex.join(['datalad', 'save', '-d', str(root)])}"
        ) from e
    if not branch.startswith("refs/heads/"):
        raise DatasetError(
            f"{root} is not on a branch (detached HEAD): commits would belong to none; next: "
            f"{there} switch BRANCH, or for a new one: {there} switch -c NAME"
        )
    for name, what in _UNFINISHED.items():
        if (Path("\n".join(directory)) / name).exists():
            raise DatasetError(
                f"In {root} a {what} was begun and not finished; next: {there} {what} --continue "
                "or --abort"
            )
    return Head(commit, branch)


def unsaved(root: Path, most: int = 5) -> list[str]:
    """Tell what is in a dataset that no commit holds, as `datalad run` looks for it.

    Of a subdataset only its commit counts, and not what is unsaved in it.

    Parameters
    ----------
    root
        Root of the dataset.
    most
        How many paths to give.

    Returns
    -------
    list of str
        Paths of files that were modified, staged, deleted or never added, and of subdatasets
        at another commit; directories of which nothing is tracked, with a slash at the end.
        Ignored files do not count. Empty when all is saved.

    Raises
    ------
    DatasetError
        When git cannot tell.
    """
    # The options say what the user's configuration may say otherwise.
    command = ["git", "status", "--porcelain=v2", "-z", "--untracked-files=normal", "--no-renames"]
    found: list[str] = []
    with start([*command, "--ignore-submodules=dirty"], root) as git:
        for chunk in read_chunks(git.stdout):
            for record in decode(chunk).split("\0"):
                path = _unsaved_path(root, record)
                if path is not None and len(found) < most:
                    found.append(path)
    return found


def changed_paths(root: Path) -> set[str]:
    """Tell which tracked files differ from the commit that is checked out.

    Parameters
    ----------
    root
        Root of the dataset.

    Returns
    -------
    set of str
        Files that were modified, staged (also new ones) or deleted, in the index or in the work
        tree. Subdatasets and untracked files are not among them.

    Raises
    ------
    DatasetError
        When git cannot tell.
    """
    # First without git-annex's filter, which may take seconds to start: unlocked files that were
    # touched look changed then, and what is not changed now is not with it either.
    found = _status(root, ["-c", "filter.annex.process=", "-c", "filter.annex.clean="])
    return _status(root, []) if found else found


def _status(root: Path, settings: list[str]) -> set[str]:
    # Only a look: git does not write what it has found out to the index.
    command = ["git", *settings, "--no-optional-locks", "status", "--porcelain=v2", "-z"]
    command += ["--no-renames", "--untracked-files=no", "--ignore-submodules=all"]
    found: set[str] = set()
    with start(command, root) as git:
        for chunk in read_chunks(git.stdout):
            for record in decode(chunk).split("\0"):
                if record[:1] in _FIELDS:
                    found.add(record.split(" ", _FIELDS[record[:1]])[-1])
    return found


# Fields before the path, by the kind of the record: changed, unmerged, untracked
_FIELDS = {"1": 8, "u": 10, "?": 1}


def _unsaved_path(root: Path, record: str) -> str | None:
    kind = record[:1]
    if kind not in _FIELDS:
        return None
    fields = record.split(" ", _FIELDS[kind])
    path = fields[-1]
    # '1 XY SUB mH mI mW hH hI PATH'. Not staged, and another commit than recorded
    if kind == "1" and fields[1] == ".M" and fields[2].startswith("SC"):
        return None if _shows(root / path, recorded=fields[7]) else path
    return path


def _shows(subdataset: Path, recorded: str) -> bool:
    """Tell whether an adjusted branch of git-annex is what makes a subdataset look changed."""
    try:
        branch = decode(run(["git", "rev-parse", "--symbolic-full-name", "HEAD"], subdataset))
        adjusted = _ADJUSTED.fullmatch(branch.strip())
        if adjusted is None:
            return False
        shown = run(["git", "rev-parse", "--verify", f"refs/heads/{adjusted[1]}"], subdataset)
    except DatasetError:
        return False
    return shown.decode("ascii").strip() == recorded
