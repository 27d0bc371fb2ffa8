"""The objects of an annex as they lie on the disk: how big, how old, how many names they have.

Only looked at, with no process and no import beyond the standard library.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.dataset.encoding import decode, encode
from datalad_bidsshare.dataset.keys import key_of_file
from datalad_bidsshare.dataset.presence import git_directory
from datalad_bidsshare.disk.usage import allocated

__all__ = ["Object", "info_of", "objects_below", "walk_objects"]

# Of directories above that of a key: two in repositories as they are, one with
# `annex.tune.objecthash1`.
_DEPTH = 2

_WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Object:
    """One object of an annex.

    Attributes
    ----------
    key
        Its git-annex key.
    path
        Below `annex/objects`, with forward slashes, as `Annex.find` gives it.
    bytesize
        Its size in bytes.
    allocated
        Bytes that it takes on the disk; its size where the system does not tell.
    used
        When it was last read, or came (seconds since 1970): the latest time that the disk
        remembers. git-annex keeps the times of what it copies, so that only the change of the
        inode says when it came; and that one changes with permissions, too.
    links
        How many names its content has. What has several takes its space until the last goes.
    writable
        Whether somebody may write into it: git-annex takes that away, except where a file system
        knows no permissions, or unlocked files are links to it (annex.thin).
    device, inode
        What tells two names of one content from two contents.
    """

    key: str
    path: str
    bytesize: int
    allocated: int
    used: float
    links: int
    device: int
    inode: int
    writable: bool


def walk_objects(root: Path) -> Iterator[Object]:
    """Find every object in the annex of a dataset.

    Follows no link: the annex of another repository (an ephemeral clone) is none of its own.

    Parameters
    ----------
    root
        Root of the dataset.

    Yields
    ------
    Object
        In no order. What is no key file is left out, and so is what cannot be looked at, or
        goes meanwhile.

    Raises
    ------
    NotADatasetError
        When there is no repository.
    """
    annex = git_directory(root) / "annex"
    objects = annex / "objects"
    if not annex.is_symlink() and not objects.is_symlink():
        yield from _walk(os.fsencode(objects), b"", _DEPTH)


def _walk(directory: bytes, beneath: bytes, depth: int) -> Iterator[Object]:
    """Go through the directories that lead to keys, and through those of the keys."""
    try:
        with os.scandir(directory) as found:
            names = [entry.name for entry in found if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return
    for name in names:
        path = b"%s/%s" % (directory, name)
        # The object of a key is in a directory of the same name.
        there = _looked_at(b"%s/%s" % (path, name), b"%s%s/%s" % (beneath, name, name))
        if there is not None:
            yield there
        elif depth:
            yield from _walk(path, b"%s%s/" % (beneath, name), depth - 1)


def _looked_at(file: bytes, path: bytes) -> Object | None:
    key = key_of_file(decode(path.rpartition(b"/")[2]))
    return _object(key, decode(path), file) if key is not None else None


def objects_below(directory: Path) -> Iterator[str]:
    """Find objects in every annex below a directory, also in one that no dataset leads to.

    Repositories of subdatasets that are not checked out any more lie in `.git/modules`.

    Yields
    ------
    str
        Absolute paths. No link is followed, and what cannot be read is left out.
    """
    waiting = [os.fsencode(directory)]
    while waiting:
        here = waiting.pop()
        if here.endswith(b"/annex/objects"):
            for found in _walk(here, b"", _DEPTH):
                yield decode(here + b"/" + encode(found.path))
            continue
        with contextlib.suppress(OSError), os.scandir(here) as entries:
            waiting += [e.path for e in entries if e.is_dir(follow_symlinks=False)]


def _object(key: str, path: str, file: bytes) -> Object | None:
    try:
        found = os.lstat(file)
    except OSError:
        return None
    if not stat.S_ISREG(found.st_mode):
        return None
    return Object(
        key,
        path,
        found.st_size,
        allocated(found),
        max(found.st_atime, found.st_mtime, found.st_ctime),
        found.st_nlink,
        found.st_dev,
        found.st_ino,
        bool(found.st_mode & _WRITE),
    )


def info_of(found: Object) -> FileInfo:
    """Describe an object that no file is known for: without a path, to be dropped by key."""
    return FileInfo("", "annex", found.key, found.bytesize, "", "", False)
