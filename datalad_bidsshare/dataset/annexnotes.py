"""What somebody told git-annex in one repository, and no other one knows of."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.process import run

__all__ = ["told_here"]

# Metadata of files, and where they are on the web: people's work. Where content is changes by
# itself, and is of no interest once a repository is gone.
_WORK = (".log.met", ".log.rmet", ".log.web")
_SETTINGS = frozenset({"numcopies.log", "mincopies.log", "config.log"})
_BRANCHES = ("refs/heads/git-annex", "refs/heads/synced/git-annex")


def told_here(git: Sequence[str], root: Path, directory: Path) -> list[str]:
    """Give the files of the git-annex branch in which there is what no remote is known to have.

    Of these, metadata, URLs and settings of the dataset are looked at, and nothing else.

    Parameters
    ----------
    git
        The command, with the options that the repository needs.
    root
        Where to run it.
    directory
        Of the repository.

    Raises
    ------
    DatasetError
        When git cannot tell.
    """
    command = [*git, "for-each-ref", "--format=%(refname)", *_BRANCHES, "refs/remotes/"]
    refs = decode(run(command, root)).splitlines()
    remotes = [ref for ref in refs if ref not in _BRANCHES and ref.endswith("/git-annex")]
    found = set(_journal(directory))
    told = {path: set(lines) for path, lines in _journal(directory).items()}
    for branch in (ref for ref in refs if ref in _BRANCHES):
        paths = _changed(git, root, branch, remotes)
        found |= paths
        for path, lines in _lines(git, root, branch, paths).items():
            told.setdefault(path, set()).update(lines)
    if not found:
        return []
    for remote in remotes:
        for path, lines in _lines(git, root, remote, found).items():
            told.setdefault(path, set()).difference_update(lines)
    return sorted(path for path, lines in told.items() if lines)


def _is_work(path: str) -> bool:
    return path.endswith(_WORK) or path in _SETTINGS


def _journal(directory: Path) -> dict[str, list[str]]:
    """Read what git-annex has not yet committed to its branch."""
    found: dict[str, list[str]] = {}
    with contextlib.suppress(FileNotFoundError):
        for file in (directory / "annex" / "journal").iterdir():
            # git-annex's names: '_' for '/', '__' for '_'
            path = "_".join(part.replace("_", "/") for part in file.name.split("__"))
            if _is_work(path):
                with contextlib.suppress(FileNotFoundError):
                    found[path] = decode(file.read_bytes()).splitlines()
    return found


def _changed(git: Sequence[str], root: Path, branch: str, remotes: Sequence[str]) -> set[str]:
    """Give the files of a branch that differ from those of each remote."""
    ahead = [*git, "rev-list", "--max-count=1", branch, "--not", *remotes, "--"]
    if not run(ahead, root):
        return set()
    if not remotes:
        command = [*git, "ls-tree", "-r", "-z", "--name-only", "--full-tree", branch]
        return set(filter(_is_work, decode(run(command, root)).split("\0")))
    changed: set[str] | None = None
    for remote in remotes:
        command = [*git, "diff-tree", "-r", "-z", "--name-only", "--no-renames"]
        command += ["--diff-filter=AM", remote, branch]
        paths = set(filter(_is_work, decode(run(command, root)).split("\0")))
        changed = paths if changed is None else changed & paths
    return changed or set()


def _lines(git: Sequence[str], root: Path, ref: str, paths: Iterable[str]) -> dict[str, list[str]]:
    """Read files of a branch; those that it does not have are missing."""
    asked = sorted(paths)
    if not asked:
        return {}
    # Names with a newline are none of git-annex's.
    given = "".join(f"{ref}:{path}\n" for path in asked if "\n" not in path)
    said = run([*git, "cat-file", "--batch"], root, given=given.encode("utf-8", "surrogateescape"))
    found: dict[str, list[str]] = {}
    at = 0
    for path in asked:
        end = said.find(b"\n", at)
        if end < 0:
            raise DatasetError(f"git said less than it was asked about {ref} in {root}")
        header = said[at:end]
        at = end + 1
        if header.endswith(b" missing"):
            continue
        size = int(header.rsplit(b" ", 1)[1])
        found[path] = decode(said[at : at + size]).splitlines()
        at += size + 1
    return found
