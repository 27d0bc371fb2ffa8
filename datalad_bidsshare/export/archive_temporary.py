"""The file that an archive is until it is complete: beside its final name, locked while in use."""

from __future__ import annotations

import contextlib
import hashlib
import os
import secrets
import sys
from pathlib import Path
from typing import IO

if sys.platform != "win32":
    import fcntl

__all__ = ["make_temporary", "sync_directory"]

_BUFFER = 1 << 20  # bytes


def make_temporary(dest: Path) -> tuple[Path, IO[bytes]]:
    """Make a file beside the archive, and remove what those left behind that were killed."""
    # Of a length that any file system takes, however long the name is
    of_dest = hashlib.sha256(os.fsencode(dest.name)).hexdigest()[:16]
    start = f".bidsshare-tmp-{of_dest}-"
    for entry in os.scandir(dest.parent):
        if entry.name.startswith(start) and entry.is_file(follow_symlinks=False):
            _remove_stale(entry.path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    flags |= getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        path = dest.parent / (start + secrets.token_hex(8))
        file = os.fdopen(os.open(path, flags, 0o666), "wb", _BUFFER)
        if _lock(file.fileno()):
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.stat(path), os.fstat(file.fileno())):
                    return path, file
        # Somebody took it for stale before it was locked.
        file.close()


def _lock(fd: int) -> bool:
    """Show that a file is in use; False when somebody else uses it."""
    if sys.platform != "win32":
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            # A file system without locks: stale files cannot be told there, and stay.
            return True
    return True


def _remove_stale(path: str) -> None:
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            # Refused while somebody has it open.
            os.unlink(path)
            return
        fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.unlink(path)
        finally:
            os.close(fd)


def sync_directory(directory: Path) -> None:
    """Make a rename last; some file systems cannot be asked to."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
