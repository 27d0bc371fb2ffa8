"""Making what was written durable: once for a whole export, not once a file."""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

__all__ = ["sync_file_system"]


def sync_file_system(directory: int | Path) -> None:
    """Wait until all that was written to a file system is on its disk.

    Parameters
    ----------
    directory
        One on that file system, or a descriptor of it. Errors of writes that came after a
        descriptor was opened are told to it for certain; a new one hears of those that nobody
        was told of yet (Linux >= 5.8).

    Raises
    ------
    OSError
        When something could not be written.

    Notes
    -----
    Elsewhere than on Linux all file systems are synced, and errors are not told. Windows has
    nothing like it.
    """
    if isinstance(directory, int):
        _sync(directory)
    elif sys.platform != "win32":
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _sync(fd)
        finally:
            os.close(fd)


def _sync(fd: int) -> None:
    if sys.platform == "win32":
        return
    if sys.platform == "linux":
        try:
            syncfs = ctypes.CDLL(None, use_errno=True).syncfs
        except (AttributeError, OSError):
            # a C library without it
            pass
        else:
            if syncfs(ctypes.c_int(fd)):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))
            return
    os.sync()
