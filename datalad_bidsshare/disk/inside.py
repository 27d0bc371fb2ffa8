"""Working inside a directory without following a symbolic link that lies in it.

Where a system can (all but Windows), every directory is opened from the one above it, and what
is done is done relative to the open one: a link that somebody puts in the way is refused, at
whatever moment it comes.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from datalad_bidsshare.dataset.encoding import decode, encode

__all__ = ["Kind", "Place", "kind_of", "open_place"]

Kind = Literal["file", "directory", "link", "other"]

_RELATIVE = {os.open, os.stat, os.unlink, os.rmdir, os.mkdir} <= os.supports_dir_fd and hasattr(
    os, "O_NOFOLLOW"
)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_CLOEXEC", 0)
_DIRECTORY = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | _NOFOLLOW
# A FIFO must not hang us, a terminal not become ours.
_FILE = (
    _NOFOLLOW
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
# Windows: symbolic links, and junctions, which `os.path.islink` does not tell.
_LINK_TAGS = (0xA000000C, 0xA0000003)


def kind_of(status: os.stat_result) -> Kind:
    """Tell what `lstat` has found."""
    mode = status.st_mode
    if stat.S_ISLNK(mode) or getattr(status, "st_reparse_tag", 0) in _LINK_TAGS:
        return "link"
    if stat.S_ISREG(mode):
        return "file"
    return "directory" if stat.S_ISDIR(mode) else "other"


class Place:
    """An open directory, and what can be done with the names in it.

    Names are decoded as git's (`dataset.listing`). All methods raise what the system says
    (OSError), and none follows a link.
    """

    def __init__(self, fd: int | None, path: bytes) -> None:
        self._fd = fd
        self._path = path

    def close(self) -> None:
        """Let go of the directory."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _name(self, name: str) -> bytes:
        return encode(name) if _RELATIVE else os.path.join(self._path, encode(name))

    def status(self, name: str) -> os.stat_result:
        """Do `lstat`."""
        return os.stat(self._name(name), dir_fd=self._fd, follow_symlinks=False)

    def open(self, name: str, flags: int) -> int:
        """Open a file with flags such as O_RDONLY, made with mode 0644."""
        if not _RELATIVE:
            with contextlib.suppress(FileNotFoundError):
                if kind_of(self.status(name)) == "link":
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), name)
        return os.open(self._name(name), flags | _FILE, 0o644, dir_fd=self._fd)

    def itself(self) -> os.stat_result:
        """Tell what the directory is, wherever it may have been moved."""
        return os.stat(self._path) if self._fd is None else os.fstat(self._fd)

    def open_to_all(self) -> None:
        """Let everybody look into the directory: 0755, whatever the umask."""
        if self._fd is not None:
            os.fchmod(self._fd, 0o755)

    def unlink(self, name: str) -> None:
        """Remove a file or link."""
        os.unlink(self._name(name), dir_fd=self._fd)

    def mkdir(self, name: str) -> None:
        """Make a directory, with what the umask leaves of 0777."""
        os.mkdir(self._name(name), dir_fd=self._fd)

    def rmdir(self, name: str) -> None:
        """Remove an empty directory."""
        os.rmdir(self._name(name), dir_fd=self._fd)

    def names(self) -> list[str]:
        """Give the names in it."""
        return [decode(os.fsencode(n)) for n in os.listdir(self._here())]

    def scan(self) -> contextlib.AbstractContextManager[Iterator[os.DirEntry[str]]]:
        """Do `scandir`. The names are the system's: see `names`."""
        return os.scandir(self._here())

    def _here(self) -> int | str:
        return os.fsdecode(self._path) if self._fd is None else self._fd

    def sync(self) -> None:
        """Have the names in it on disk. Not everywhere can that be asked for."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.fsync(self._fd)

    def inner(self, name: str) -> Place:
        """Open a directory in it."""
        path = os.path.join(self._path, encode(name))
        if not _RELATIVE:
            if kind_of(os.lstat(path)) != "directory":
                raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), name)
            return Place(None, path)
        return Place(os.open(encode(name), _DIRECTORY, dir_fd=self._fd), path)

    def beneath(self, path: str) -> Place:
        """Open a directory beneath it; '' is this one, once more.

        Raises
        ------
        OSError
            ENOENT when it is not there or the path is none; ELOOP, ENOTDIR or EMLINK (as the
            system has it) when a link or a file stands in the way.
        """
        at = self
        for component in path.split("/") if path else (None,):
            try:
                if component in ("", ".", ".."):
                    raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), path)
                inner = at._again() if component is None else at.inner(component)
            finally:
                if at is not self:
                    at.close()
            at = inner
        return at

    def _again(self) -> Place:
        return Place(None if self._fd is None else os.dup(self._fd), self._path)


def open_place(directory: Path) -> Place:
    """Open a directory, which may be reached through links itself."""
    path = os.fsencode(os.path.abspath(directory))
    if not _RELATIVE:
        if not stat.S_ISDIR(os.stat(path).st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))
        return Place(None, path)
    return Place(os.open(path, _DIRECTORY & ~getattr(os, "O_NOFOLLOW", 0)), path)
