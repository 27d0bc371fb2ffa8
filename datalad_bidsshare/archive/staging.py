"""A private directory for what is unpacked and has no name yet, where the program runs."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import sys

from datalad_bidsshare.disk.names import TEMPORARY

if sys.platform != "win32":
    import fcntl

__all__ = ["Stage"]

# Of what is unpacked here by a process.
_STAGE = re.compile(re.escape(TEMPORARY) + r"[0-9]+-[0-9a-f]{16}")


class Stage:
    """A private directory of the destination, for what has no name yet. A context manager.

    When it ends it is removed with all that is in it. What killed processes left is removed by
    the next one.

    Parameters
    ----------
    dest
        Directory, which is there.
    """

    def __init__(self, dest: str) -> None:
        self._dest = dest
        self._fd: int | None = None
        self.path = ""
        """Of the directory."""

    def __enter__(self) -> Stage:
        _remove_stale(self._dest)
        try:
            # Another process may take it for a stale one before it is locked.
            for _ in range(100):
                name = f"{TEMPORARY}{os.getpid()}-{os.urandom(8).hex()}"
                self.path = os.path.join(self._dest, name)
                os.mkdir(self.path, 0o700)
                with contextlib.suppress(BlockingIOError):
                    self._fd = _lock(self.path)
                    if os.path.isdir(self.path):
                        return self
                self._unlock()
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), self.path)
        except BaseException:
            self.__exit__()
            raise

    def __exit__(self, *_: object) -> None:
        if self.path:
            _remove(self.path)
        self._unlock()

    def _unlock(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def _lock(path: str) -> int | None:
    """Lock a directory. None where this system, or this file system, cannot.

    Raises
    ------
    BlockingIOError
        When another process has it.
    """
    if sys.platform == "win32":
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        os.close(fd)
        if isinstance(e, BlockingIOError):
            raise
        return None
    return fd


def _remove_stale(dest: str) -> None:
    """Remove what killed processes left. What cannot be locked may be in use, and stays."""
    stale = [name for name in os.listdir(dest) if _STAGE.fullmatch(name)]
    for path in (os.path.join(dest, name) for name in stale):
        with contextlib.suppress(BlockingIOError):
            fd = _lock(path)
            if fd is not None:
                try:
                    _remove(path)
                finally:
                    os.close(fd)


def _remove(path: str) -> None:
    import shutil

    shutil.rmtree(path, ignore_errors=True)
