"""What of a directory in the cache is ours, and may be removed by us."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import stat
from pathlib import Path

from datalad_bidsshare.cache.state import State, read_state
from datalad_bidsshare.disk.removing import remove_tree

__all__ = [
    "foreign",
    "is_half_written",
    "is_left_over",
    "is_made_by_us",
    "remove_own",
    "state_of",
    "trial_is_ours",
]

_LOCKS = ("lock", "fetching")
_FILES = re.compile(r"state\.json|\.state-[0-9a-f]{16}")
# 'making-': never given to anybody; 'removing-': what is in it was checked before
_LEFT_OVER = re.compile("(making|removing)-[0-9a-f]{16}")
_DATASET = "dataset"


def state_of(entry: Path) -> State | None:
    """Read what is noted of a managed clone; None when nothing is that fits its directory.

    Anybody may call a directory as we do; what is in it is ours only if we noted so.
    """
    state = read_state(entry)
    if state is None:
        return None
    digest = hashlib.sha256(state.key.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return state if entry.name.endswith(f"-{digest}") else None


def foreign(entry: Path) -> list[str]:
    """Tell what is in a directory of the cache that we did not put there: names.

    Raises
    ------
    OSError
        When it cannot be looked at.
    """
    return sorted(path.name for path in entry.iterdir() if not _is_own(path))


def _is_own(path: Path) -> bool:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        # gone meanwhile
        return True
    if stat.S_ISREG(found.st_mode):
        if path.name in _LOCKS:
            return found.st_size == 0
        return _FILES.fullmatch(path.name) is not None
    # never a link: what it leads to is somebody's
    return stat.S_ISDIR(found.st_mode) and (path.name == _DATASET or is_left_over(path))


def is_left_over(path: Path) -> bool:
    """Tell whether a directory is what a killed call left while it made or removed a clone."""
    return _LEFT_OVER.fullmatch(path.name) is not None


def is_half_written(path: Path) -> bool:
    """Tell whether a file is a note that a killed call was writing."""
    return path.name.startswith(".state-") and _FILES.fullmatch(path.name) is not None


def is_made_by_us(entry: Path) -> bool:
    """Tell whether a directory is of a managed clone.

    It is if what is noted in it fits, and if all it has is an empty lock: who made it was killed
    before anything could be noted.
    """
    return state_of(entry) is not None or _has_only_locks(entry)


def trial_is_ours(trial: Path) -> bool:
    """Tell whether a directory is a temporary clone of ours, and has nothing else in it."""
    try:
        return (read_state(trial) is not None and not foreign(trial)) or _has_only_locks(trial)
    except OSError:
        return False


def _has_only_locks(entry: Path) -> bool:
    with contextlib.suppress(OSError):
        found = list(entry.iterdir())
        return bool(found) and all(path.name in _LOCKS and _is_own(path) for path in found)
    return False


def remove_own(entry: Path) -> None:
    """Remove what is ours in a directory of the cache, and the directory if nothing is left.

    Who is killed on the way leaves what is known as ours: the note and the lock go last.

    Raises
    ------
    OSError
        When something resists.
    """

    def last(path: Path) -> tuple[bool, bool, str]:
        return path.name == "lock", not path.is_dir(), path.name

    for path in sorted(entry.iterdir(), key=last):
        if not _is_own(path):
            continue
        if path.is_dir():
            remove_tree(path)
        else:
            path.unlink(missing_ok=True)
    try:
        entry.rmdir()
    except OSError as e:
        # Somebody else's, or who waited for the lock begins anew.
        if e.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
