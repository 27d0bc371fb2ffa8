"""Directories that are ours while a process lives, and are removed after it was killed."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from datalad_bidsshare.disk.removing import remove_tree

__all__ = ["hold", "sweep", "take_away", "temporary"]


@contextlib.contextmanager
def temporary(parent: Path, prefix: str) -> Iterator[Path]:
    """Make a directory that is gone after the block, and held meanwhile.

    Parameters
    ----------
    parent
        Where to.
    prefix
        What its name begins with; 16 hex digits follow.

    Raises
    ------
    OSError
        When it cannot be made.
    """
    for _ in range(100):
        path = parent / f"{prefix}{secrets.token_hex(8)}"
        path.mkdir(mode=0o700)
        held = hold(path)
        if held is not None:
            break
        # Somebody took it for the rest of a killed call before we held it.
    else:
        raise FileExistsError(errno.EEXIST, "no new directory could be made", str(parent))
    try:
        yield path
    finally:
        take_away(path)
        held()


def sweep(parent: Path, prefix: str, spared: Callable[[Path], bool] = lambda path: False) -> None:
    """Remove what killed calls left: directories of `temporary` that nobody holds.

    Parameters
    ----------
    parent, prefix
        As `temporary` had them.
    spared
        Says of a directory that it is not to be removed.
    """
    for path in _begin_with(parent, prefix):
        if spared(path) or (held := hold(path, sure=True)) is None:
            continue
        take_away(path)
        held()


def _begin_with(parent: Path, prefix: str) -> Iterable[Path]:
    digits = set("0123456789abcdef")
    for path in parent.iterdir():
        rest = path.name.removeprefix(prefix)
        if path.name.startswith(prefix) and len(rest) == 16 and digits.issuperset(rest):
            yield path


def hold(path: Path, *, sure: bool = False) -> Callable[[], None] | None:
    """Lock a directory of our own, as long as this process lives.

    Returns
    -------
    callable or None
        What lets it go. None: another has it, it is gone or not ours; with `sure` also where
        there are no such locks.
    """
    if sys.platform == "win32":
        return None if sure else lambda: None
    import fcntl

    try:
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    except OSError:
        # a file system without locks
        os.close(fd)
        return None if sure else lambda: None
    with contextlib.suppress(OSError):
        found = os.lstat(path)
        mine = stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid()
        if mine and os.path.samestat(os.fstat(fd), found):
            return lambda: os.close(fd)
    os.close(fd)
    return None


def take_away(path: Path) -> None:
    """Remove a directory if that can be done."""
    with contextlib.suppress(OSError):
        remove_tree(path)
