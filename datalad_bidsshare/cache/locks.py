"""Who may use a managed clone: many at a time, or one that changes it."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datalad_bidsshare.dataset.errors import DatasetError

__all__ = ["GoneError", "Lock", "lock_of"]

lgr = logging.getLogger("datalad.bidsshare.cache")

# Lustre without 'flock', some FUSE file systems
_NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL)
# Nothing can be written there
_UNWRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM)
_PAUSE = 0.05
_SAY_AFTER = 0.5
"""Seconds of waiting after which it is said that, and for what."""


class GoneError(Exception):
    """The directory of the lock is not there (any more)."""


class Lock:
    """The lock of a managed clone, shared or exclusive. `lock_of` gives it.

    By fasteners between processes. Its locks are of a process as a whole, and gone when one of
    its threads closes the file: so each file is opened once in a process, and threads are kept
    apart here.

    Parameters
    ----------
    path
        Of the file; its directory is ours.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._threads = threading.Lock()
        self._readers = 0
        self._writing = False
        self._between: Any = None

    def acquire(
        self, *, exclusive: bool, wait: bool, purpose: str = "", look: bool = False
    ) -> bool:
        """Take the lock.

        Parameters
        ----------
        exclusive
            Whether nobody else may have it.
        wait
            Whether to wait for others, however long.
        purpose
            What it is wanted for; said when there is something to wait for.
        look
            Whether it is wanted only to look: then the file is not made, and where nothing can be
            written, as on a read-only file system, no lock is needed.

        Returns
        -------
        bool
            False when others have it, and it is not waited for.

        Raises
        ------
        GoneError
            When the directory of the lock was removed.
        DatasetError
            When the file cannot be written.
        """
        began = time.monotonic()
        said = False
        while not self._try(exclusive, look):
            if not wait:
                return False
            if not said and time.monotonic() - began > _SAY_AFTER:
                lgr.info("Waiting for another process that works in %s: %s", self.path, purpose)
                said = True
            time.sleep(_PAUSE)
        return True

    def _try(self, exclusive: bool, look: bool) -> bool:
        with self._threads:
            if self._writing or (exclusive and self._readers):
                return False
            if not self._readers and not self._take(exclusive, look):
                return False
            if exclusive:
                self._writing = True
            else:
                self._readers += 1
            return True

    def _take(self, exclusive: bool, look: bool) -> bool:
        """Take the lock between processes, if it is free and its file still the one that counts."""
        from fasteners import InterProcessReaderWriterLock

        if not self.path.parent.is_dir():
            # fasteners would make it, with a mode of its own
            raise GoneError(str(self.path.parent))
        if look and not os.path.lexists(self.path):
            # Who uses the clone has made it.
            return True
        lock = InterProcessReaderWriterLock(self.path)
        take = lock.acquire_write_lock if exclusive else lock.acquire_read_lock
        try:
            taken = take(blocking=False)
        except OSError as e:
            if not self.path.parent.is_dir():
                raise GoneError(str(self.path.parent)) from e
            if look and e.errno in _UNWRITABLE:
                return True
            raise DatasetError(
                f"The lock {self.path} of a managed clone cannot be written: "
                f"{e.strerror or e}; next: make that directory writable, or choose another one: "
                "git config --global datalad.bidsshare.cache DIRECTORY"
            ) from e
        except threading.ThreadError as e:
            _close(lock)
            if getattr(e.__context__, "errno", None) not in _NO_LOCKS:
                raise DatasetError(f"{e}; next: choose another directory for the cache") from e
            _warn_of_no_locks(self.path.parent.parent)
            return True
        if not taken:
            _close(lock)
            return False
        if not self._is_still_there(lock):
            # Removed by the one who had it, between our opening and locking it.
            _release(lock, exclusive)
            return False
        self._between = lock
        return True

    def _is_still_there(self, lock: Any) -> bool:
        try:
            return os.path.samestat(os.fstat(lock.lockfile.fileno()), os.lstat(self.path))
        except FileNotFoundError:
            return False

    def share(self) -> bool:
        """Let others use what only we had until now.

        Returns
        -------
        bool
            False where that cannot be done at once: then the lock is given back.
        """
        with self._threads:
            if self._between is None:
                # a file system without locks
                self._writing, self._readers = False, 1
                return True
            if os.name == "posix":
                # The same file, another kind of lock: the system changes it in one step.
                with contextlib.suppress(threading.ThreadError):
                    if self._between.acquire_read_lock(blocking=False):
                        self._writing, self._readers = False, 1
                        return True
        self.release()
        return False

    def release(self) -> None:
        """Give the lock back."""
        with self._threads:
            exclusive = self._writing
            if exclusive:
                self._writing = False
            else:
                self._readers -= 1
            if not self._readers:
                lock, self._between = self._between, None
                if lock is not None:
                    _release(lock, exclusive)

    @contextlib.contextmanager
    def held(self, *, exclusive: bool, purpose: str = "") -> Iterator[None]:
        """Have the lock as long as the block lasts; it is waited for."""
        self.acquire(exclusive=exclusive, wait=True, purpose=purpose)
        try:
            yield
        finally:
            self.release()


def _release(lock: Any, exclusive: bool) -> None:
    # fasteners logs what fails; the file is closed with it
    (lock.release_write_lock if exclusive else lock.release_read_lock)()


def _close(lock: Any) -> None:
    """Close the file of a lock that was not had. fasteners has no other way to."""
    if lock.lockfile is not None:
        lock.lockfile.close()
        lock.lockfile = None


_locks: dict[Path, Lock] = {}
_guard = threading.Lock()
_warned = False


def lock_of(path: Path) -> Lock:
    """Give the one lock that this process has for a file."""
    with _guard:
        return _locks.setdefault(path, Lock(path))


def _warn_of_no_locks(directory: Path) -> None:
    global _warned
    if not _warned:
        _warned = True
        lgr.warning(
            "The file system of %s has no locks: make sure that no other process works with the "
            "managed clones, or choose another directory: "
            "git config --global datalad.bidsshare.cache DIRECTORY",
            directory,
        )
