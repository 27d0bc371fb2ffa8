"""Removing a directory with all that is in it, also what is write-protected."""

from __future__ import annotations

import errno
import os
import stat
import time
from pathlib import Path

__all__ = ["remove_tree"]

_PAUSES = (0.0, 0.05, 0.2, 0.5, 1.0, 2.0)
"""Seconds to wait before looking again at a directory that did not get empty."""


def remove_tree(path: Path) -> None:
    """Remove a directory and everything below it; nothing is done when it is not there.

    Objects of an annex lie read-only in read-only directories. No symbolic link is followed, and
    nothing on another file system that is mounted below is touched. What others write meanwhile,
    and what NFS keeps of files that somebody has open (`.nfs...`), is waited for a little.

    Raises
    ------
    OSError
        When something resists, or `path` is no directory.
    """
    if os.name != "posix":  # pragma: no cover
        _remove_elsewhere(path)
        return
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _remove(parent, path.name, str(path), found.st_dev)
    finally:
        os.close(parent)


def _remove(parent: int, name: str, shown: str, device: int) -> None:
    try:
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    except FileNotFoundError:
        return
    except PermissionError:
        # not even for its owner to read; what it is was looked at
        os.chmod(name, 0o700, dir_fd=parent)
        fd = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=parent)
    try:
        found = os.fstat(fd)
        if found.st_dev != device:
            raise OSError(errno.EXDEV, "another file system is mounted there", shown)
        if found.st_mode & 0o700 != 0o700:
            os.fchmod(fd, 0o700)
        for pause in _PAUSES:
            time.sleep(pause)
            _empty(fd, shown, device)
            try:
                os.rmdir(name, dir_fd=parent)
            except FileNotFoundError:
                return
            except OSError as e:
                if e.errno not in (errno.ENOTEMPTY, errno.EEXIST) or pause == _PAUSES[-1]:
                    raise OSError(e.errno, e.strerror, shown) from None
            else:
                return
    finally:
        os.close(fd)


def _empty(fd: int, shown: str, device: int) -> None:
    with os.scandir(fd) as entries:
        # all names first: what is removed may disturb the listing
        found = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_directory in found:
        below = f"{shown}/{name}"
        if is_directory:
            _remove(fd, name, below, device)
            continue
        try:
            os.unlink(name, dir_fd=fd)
        except FileNotFoundError:
            continue
        except OSError as e:
            # What NFS keeps is removed when it is closed: `_remove` looks again.
            if not (name.startswith(".nfs") and e.errno in (errno.EBUSY, errno.ENOENT)):
                raise OSError(e.errno, e.strerror, below) from None


def _remove_elsewhere(path: Path) -> None:  # pragma: no cover
    """Where directories cannot be held open: Windows, on which a file must be writable."""
    import shutil

    def once_more(function: object, name: str, _: object) -> None:
        os.chmod(name, stat.S_IWRITE)
        assert callable(function)
        function(name)

    if os.path.lexists(path):
        shutil.rmtree(path, onerror=once_more)
