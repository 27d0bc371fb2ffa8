"""One export at a time into a target."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import re
import stat
import sys
import time

from datalad_bidsshare.disk.inside import Place

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

__all__ = ["Lock"]

lgr = logging.getLogger("datalad.bidsshare.export")

_BUSY = (errno.EACCES, errno.EAGAIN, errno.EDEADLK)
# Some network file systems have no locks: Lustre, unless it is mounted with 'flock'.
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
_FILE = "lock"
_MARK = "running"
_WRITTEN = re.compile(r"([0-9]{1,20}) ([0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z)\n")


class Lock:
    """The lock of a directory, and a mark in it that stays when its holder is killed.

    Not fasteners' (POSIX record locks): those let two threads of one process in, and are gone
    when the process closes any other descriptor of the file.

    Parameters
    ----------
    place
        The directory, for files `lock` and `running`. Open as long as this is used.
    """

    FILES = (_FILE, _MARK)
    """Names of the files."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._fd: int | None = None
        self.unclean = False
        """Whether the one who had it before did not end properly."""

    def acquire(self) -> bool:
        """Take the lock, if nobody has it.

        Returns
        -------
        bool
            False when another has it: see `holder`.

        Raises
        ------
        FileNotFoundError
            When the directory was removed by the one who had the lock.
        OSError
            When the files cannot be made, or something else has their names.
        """
        # The one before may remove the file between our opening and locking it. That does not
        # happen many times in a row.
        for _ in range(100):
            fd = self._place.open(_FILE, os.O_RDWR | os.O_CREAT)
            try:
                if not stat.S_ISREG(os.fstat(fd).st_mode):
                    raise OSError(errno.EEXIST, "is no regular file", _FILE)
                if not _take(fd):
                    return False
                if self._is_still_there(fd):
                    self._fd, fd = fd, -1
                    self._mark()
                    return True
            finally:
                if fd >= 0:
                    os.close(fd)
        return False

    def _is_still_there(self, fd: int) -> bool:
        try:
            return os.path.samestat(os.fstat(fd), self._place.status(_FILE))
        except FileNotFoundError:
            return False

    def _mark(self) -> None:
        """Write down who has the lock, on disk before anything else is written."""
        try:
            self.unclean = self.is_marked()
            text = f"{os.getpid()} {time.strftime('%Y-%m-%dT%H:%M:%SZ', time.gmtime())}\n"
            fd = self._place.open(_MARK, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            try:
                os.write(fd, text.encode())
                os.fsync(fd)
            finally:
                os.close(fd)
            self._place.sync()
        except BaseException:
            self.release(clean=False)
            raise

    def is_marked(self) -> bool:
        """Tell whether the mark is there: somebody has the lock, or did not end properly."""
        try:
            self._place.status(_MARK)
        except FileNotFoundError:
            return False
        return True

    def holder(self) -> str:
        """Say who has the lock, as far as is known: 'process 4711, since ...'."""
        with contextlib.suppress(OSError):
            fd = self._place.open(_MARK, os.O_RDONLY)
            try:
                match = _WRITTEN.fullmatch(os.read(fd, 100).decode("ascii", "replace"))
            finally:
                os.close(fd)
            if match is not None:
                return f"process {match[1]}, since {match[2]}"
        return "a process that has just started"

    def release(self, *, clean: bool) -> None:
        """Give the lock back, if it is held.

        Parameters
        ----------
        clean
            Whether all that was begun has ended; otherwise the mark stays.
        """
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        try:
            with contextlib.suppress(OSError):
                if clean:
                    self._place.unlink(_MARK)
            # Before it is unlocked: afterwards it may be the next one's. Windows removes no file
            # that is open; there it stays, or the next one removes it.
            with contextlib.suppress(OSError):
                self._place.unlink(_FILE)
        finally:
            _give_back(fd)
            os.close(fd)
        if sys.platform == "win32":
            with contextlib.suppress(OSError):
                self._place.unlink(_FILE)


def _take(fd: int) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as e:
        if e.errno in _BUSY:
            return False
        if e.errno not in _NO_LOCKS:
            raise
        lgr.warning(
            "The file system of the destination has no locks: make sure that no other export "
            "writes there"
        )
    return True


def _give_back(fd: int) -> None:
    # Not left to close: a child of another thread, being started, may have a copy.
    with contextlib.suppress(OSError):
        if sys.platform == "win32":
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)
        else:
            fcntl.flock(fd, fcntl.LOCK_UN)
