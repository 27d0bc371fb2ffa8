"""Opening files beneath a directory, through no symbolic link on the way."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import IO

__all__ = ["TooLarge", "read_beneath"]


class TooLarge(Exception):
    """A file that has more bytes than are to be read."""


_RELATIVE = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")


def read_beneath(directory: Path, path: str, limit: int) -> bytes | None:
    """Read a regular file below a directory.

    Parameters
    ----------
    directory
        May be reached through symbolic links itself.
    path
        POSIX, relative to it. No component may be a symbolic link, `..`, or empty.
    limit
        Bytes that are held in memory at most.

    Returns
    -------
    bytes or None
        The content. None when there is no such regular file, or a link stands in the way.

    Raises
    ------
    OSError
        When the file is there but cannot be read (permissions, a failing disk).
    TooLarge
        When the file has more bytes than the limit.
    """
    components = os.fspath(path).split("/")
    if any(c in ("", ".", "..") for c in components):
        return None
    if not _RELATIVE:
        return _read_resolved(directory, components, limit)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for component in components[:-1]:
                inner = os.open(component, flags | os.O_DIRECTORY, dir_fd=fd)
                os.close(fd)
                fd = inner
            # O_NONBLOCK: a FIFO must not hang us
            opened = os.open(components[-1], flags | os.O_NONBLOCK, dir_fd=fd)
        finally:
            os.close(fd)
    except OSError as e:
        if isinstance(e, PermissionError):
            raise
        # not there, not a directory, or a symbolic link (ELOOP)
        return None
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        return None
    with open(opened, "rb") as file:
        return _read(file, path, limit)


def _read(file: IO[bytes], path: str, limit: int) -> bytes:
    # Its size first: reading makes room for all that is asked for. But it may be growing.
    size = os.fstat(file.fileno()).st_size
    content = file.read(limit + 1) if size <= limit else b""
    if max(size, len(content)) > limit:
        raise TooLarge(path)
    return content


def _read_resolved(directory: Path, components: list[str], limit: int) -> bytes | None:
    """Do the same where the system cannot open relative to a directory (Windows)."""
    base = Path(os.path.realpath(directory))
    file = base.joinpath(*components)
    if Path(os.path.realpath(file)) != file or not file.is_file():
        return None
    with file.open("rb") as opened:
        return _read(opened, "/".join(components), limit)
