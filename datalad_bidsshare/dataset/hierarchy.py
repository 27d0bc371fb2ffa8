"""Subdatasets: which dataset a path belongs to, which are installed, how to install one.

Looking installs nothing; only `install` does.
"""

from __future__ import annotations

import logging
import os
import shlex
import stat
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datalad_bidsshare.dataset.explaining import message_of
from datalad_bidsshare.dataset.quiet import quiet_clone

__all__ = [
    "InstallResult",
    "contains_repo",
    "install",
    "leads_outside",
    "mount_of",
]

lgr = logging.getLogger("datalad.bidsshare.dataset")

# IO_REPARSE_TAG_MOUNT_POINT of Windows: a link to a directory in all but name
_JUNCTION = 0xA0000003


@dataclass(frozen=True, slots=True)
class InstallResult:
    """How the installation of one subdataset went.

    Attributes
    ----------
    path
        Where it is, or should have been.
    status
        'ok', 'notneeded' when it was installed before, 'impossible' when the parent does not
        know it, 'error' when no source could be cloned, or a symbolic link is in the way.
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


def leads_outside(root: Path, mount: str) -> bool:
    """Tell whether the way to a mount goes through a symbolic link.

    git never makes one there, and does not follow one either: whatever it leads to is not the
    subdataset that the index means, and may lie anywhere.

    Parameters
    ----------
    root
        Root of the parent. May be reached through symbolic links itself.
    mount
        Path of the mount relative to it, POSIX. It need not exist.

    Returns
    -------
    bool
        True also for a path that climbs (`..`), which an index cannot hold.
    """
    components = mount.split("/")
    if any(c in ("", ".", "..") for c in components):
        return True
    place = root
    for component in components:
        place = place / component
        try:
            found = os.lstat(place)
        except OSError:
            # Not there, or not for us to see: so is what is below.
            return False
        if stat.S_ISLNK(found.st_mode) or getattr(found, "st_reparse_tag", 0) == _JUNCTION:
            return True
    return False


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
    from datalad.support.exceptions import CapturedException

    path = parent / mount
    if leads_outside(parent, mount):
        return InstallResult(
            path,
            "error",
            f"a symbolic link stands where the subdataset {mount} should be, and is not followed; "
            f"next: see 'git status' in {parent}, and remove the link",
        )
    if contains_repo(path):
        return InstallResult(path, "notneeded", "")
    lgr.info("Installing the subdataset %s", mount)
    try:
        with quiet_clone():
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
    except Exception as e:
        # DataLad and its extensions raise what they meet on their way: there is no list of it,
        # and the other subdatasets must not suffer.
        return InstallResult(path, "error", _explained(parent, CapturedException(e).format_short()))
    if contains_repo(path):
        return InstallResult(path, "ok", "")
    failures = [r for r in results if r["status"] in ("error", "impossible")]
    if not any(r["status"] == "error" and r.get("action") == "install" for r in failures):
        return InstallResult(
            path,
            "impossible",
            f"{parent} has no record of where {mount} comes from: see its .gitmodules",
        )
    said = "; ".join(dict.fromkeys(filter(None, map(message_of, failures))))
    return InstallResult(path, "error", _explained(parent, said))


def _explained(parent: Path, said: str) -> str:
    where = shlex.join(["-d", str(parent)])
    return (
        f"could not be installed: {said or 'DataLad gave no reason'}; next: see where DataLad "
        f"looks for it: datalad subdatasets {where} and datalad siblings {where}"
    )
