"""Subdatasets: which dataset a path belongs to, which are installed, how to install one.

Looking installs nothing; only `install` does.
"""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

__all__ = [
    "InstallResult",
    "Subdataset",
    "contains_repo",
    "find_root",
    "install",
    "mount_of",
    "subdatasets",
]


@dataclass(frozen=True, slots=True)
class Subdataset:
    """A subdataset as its parent knows it.

    Attributes
    ----------
    mount
        Path of the mount, relative to the root of the parent.
    path
        Where it is, or would be.
    installed
        Whether there is a repository.
    """

    mount: str
    path: Path
    installed: bool


@dataclass(frozen=True, slots=True)
class InstallResult:
    """How the installation of one subdataset went.

    Attributes
    ----------
    path
        Where it is, or should have been.
    status
        'ok', 'notneeded' when it was installed before, 'impossible' when the parent does not
        know it, 'error' when no source could be cloned.
    message
        Reason and next step; empty when all is well.
    """

    path: Path
    status: Literal["ok", "notneeded", "impossible", "error"]
    message: str


def contains_repo(path: Path) -> bool:
    """Tell whether a directory is the root of a repository with a work tree.

    Costs two looks at the file system. A `.git` that leads nowhere is none.
    """
    git = path / ".git"
    try:
        if git.is_dir():
            return (git / "HEAD").is_file() or (git / "HEAD").is_symlink()
        with git.open("rb") as file:
            text = file.read(1 << 16).decode("utf-8", "surrogateescape").strip()
    except OSError:
        return False
    return text.startswith("gitdir:") and (path / text[7:].strip() / "HEAD").is_file()


def find_root(path: Path) -> Path | None:
    """Give the root of the innermost installed dataset that holds a path.

    Looks upward without following a link that the path itself is: an annexed file belongs to
    the dataset in which it stands. The path need not exist. What belongs to a subdataset that
    is not installed is answered with the root of the installed dataset above (see `mount_of`).

    Parameters
    ----------
    path
        Relative ones are taken from the current directory.

    Returns
    -------
    Path or None
        Absolute. None outside of any dataset.
    """
    # normpath and not resolve: resolving would leave through the links that annexed files are
    start = Path(os.path.normpath(os.path.join(os.getcwd(), path)))
    return next((p for p in (start, *start.parents) if contains_repo(p)), None)


def mount_of(path: str, gitlinks: Container[str]) -> str | None:
    """Give the mount of the subdataset that holds a path, or that the path is.

    Parameters
    ----------
    path
        Relative to the root of the parent, POSIX.
    gitlinks
        Mounts, best as a set (`Index.gitlinks`).

    Returns
    -------
    str or None
        None when the path belongs to the parent itself.
    """
    at = 0
    while at >= 0:
        at = path.find("/", at + 1)
        mount = path if at < 0 else path[:at]
        if mount in gitlinks:
            return mount
    return None


def subdatasets(root: Path, gitlinks: Iterable[str]) -> Iterator[Subdataset]:
    """Tell for each mount whether the subdataset is installed.

    Parameters
    ----------
    root
        Root of the parent.
    gitlinks
        Mounts, from `Index.gitlinks`.
    """
    for mount in gitlinks:
        path = root / mount
        yield Subdataset(mount, path, contains_repo(path))


def install(parent: Path, mount: str) -> InstallResult:
    """Install one subdataset without its content, through DataLad.

    DataLad's rules for sources apply: `.gitmodules`, `datalad.get.subdataset-source-candidate-*`,
    RIA stores, the remotes of the parent, inherited `reckless` modes.

    Parameters
    ----------
    parent
        Root of the parent dataset, which is installed. For a subdataset further down, install
        from the top, one level after the other.
    mount
        Where the parent's index mounts it.

    Returns
    -------
    InstallResult
        Failures are results, not exceptions.
    """
    from datalad.distribution.dataset import Dataset
    from datalad.support.exceptions import CapturedException, CommandError, IncompleteResultsError

    path = parent / mount
    if contains_repo(path):
        return InstallResult(path, "notneeded", "")
    try:
        results = Dataset(str(parent)).get(
            str(path),
            get_data=False,
            recursive=False,
            on_failure="ignore",
            result_renderer="disabled",
            return_type="list",
            result_filter=None,
            result_xfm=None,
        )
    except (CommandError, IncompleteResultsError, OSError, ValueError) as e:
        return InstallResult(path, "error", _explained(parent, CapturedException(e).format_short()))
    if contains_repo(path):
        return InstallResult(path, "ok", "")
    failures = [r for r in results if r["status"] in ("error", "impossible")]
    if not any(r["status"] == "error" and r["action"] == "install" for r in failures):
        return InstallResult(
            path,
            "impossible",
            f"{parent} has no record of where {mount} comes from: see its .gitmodules",
        )
    said = "; ".join(dict.fromkeys(filter(None, map(_message, failures))))
    return InstallResult(path, "error", _explained(parent, said))


def _message(result: dict[str, object]) -> str:
    message = result.get("message")
    if isinstance(message, tuple):
        # DataLad delays formatting: (template, values...)
        message = str(message[0]) % message[1:]
    return str(message or "").strip()


def _explained(parent: Path, said: str) -> str:
    return (
        f"could not be installed: {said or 'DataLad gave no reason'}; next: see where DataLad "
        f"looks for it with 'datalad subdatasets' and 'datalad siblings' in {parent}"
    )
