"""Working on the index of a dataset while other git processes are kept from it."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.state import own_git_directory

__all__ = ["held_index", "let_go"]

# What our lock file holds: git never looks, and we know it again after a kill.
_OURS = b"datalad-bidsshare\n"
# The index that is worked on, in the directory of the other
_PRIVATE = "index.bidsshare"

_PATIENCE = 3.0
"""Seconds to wait for another git process. An editor that shows what was changed has the index
for a moment, again and again."""


@contextlib.contextmanager
def held_index(root: Path) -> Iterator[dict[str, str]]:
    """Keep other git processes from the index, and work on a copy that takes its place.

    As git does it, but for one thing: if we and git are killed, the lock file that is left is
    known to be ours, and the next call need not ask the user to remove it.

    Parameters
    ----------
    root
        Root of the dataset, whose lock the caller has: no other command of ours works in it.

    Yields
    ------
    dict
        Variables with which git works on the copy. When the block raises, the index stays as it
        was.

    Raises
    ------
    DatasetError
        When another git process has the index, or was killed with it; when it cannot be written.
    """
    directory = own_git_directory(root)
    lock, index, private = (directory / n for n in ("index.lock", "index", _PRIVATE))
    temporary = (private, directory / f"{_PRIVATE}.lock")
    try:
        _take(root, lock)
        try:
            for leftover in temporary:
                leftover.unlink(missing_ok=True)
            _copy(index, private)
            yield {"GIT_INDEX_FILE": os.fspath(private)}
            os.replace(private, index)
        finally:
            for leftover in (*temporary, lock):
                leftover.unlink(missing_ok=True)
    except OSError as e:
        raise DatasetError(
            f"The index of {root} cannot be written: {e.strerror}; next: make room, or ask for "
            "write access, then try again"
        ) from e


def _take(root: Path, lock: Path) -> None:
    """Make the lock file, which has its content from the first moment."""
    ready = lock.with_name(f"{_PRIVATE}.lock-{os.getpid()}")
    ready.write_bytes(_OURS)
    try:
        until = time.monotonic() + _PATIENCE
        while not _is_taken(lock, ready):
            if time.monotonic() > until:
                raise DatasetError(
                    f"Another git process is at work in {root}, or was killed there: it has the "
                    f"lock file {lock}; next: wait for it, then try again. If there is none: "
                    f"{shlex.join(['rm', str(lock)])}"
                )
            time.sleep(0.05)
    finally:
        ready.unlink(missing_ok=True)


def _is_taken(lock: Path, ready: Path) -> bool:
    """Try once. False when somebody else has it."""
    try:
        os.link(ready, lock)
    except FileExistsError:
        if not _is_ours(lock):
            return False
        # One of ours was killed.
        os.replace(ready, lock)
    except OSError:
        # A file system without hard links
        try:
            with lock.open("xb") as file:
                file.write(_OURS)
        except FileExistsError:
            if not _is_ours(lock):
                return False
    return True


def _is_ours(lock: Path) -> bool:
    try:
        return lock.read_bytes() == _OURS
    except FileNotFoundError:
        # Given back just now
        return False


def let_go(root: Path) -> None:
    """Give back what one of ours had when it was killed; nothing else is touched.

    Raises
    ------
    DatasetError
        When it cannot be removed.
    """
    directory = own_git_directory(root)
    lock = directory / "index.lock"
    try:
        if _is_ours(lock):
            for name in (_PRIVATE, f"{_PRIVATE}.lock"):
                (directory / name).unlink(missing_ok=True)
            lock.unlink()
    except OSError as e:
        raise DatasetError(
            f"{lock} of a call that was killed cannot be removed: {e.strerror}; next: ask for "
            "write access, then try again"
        ) from e


def _copy(index: Path, private: Path) -> None:
    """Give the index a second name. git writes anew and never into it, so no copy is needed."""
    try:
        os.link(index, private)
    except FileNotFoundError:
        # An index of nothing
        return
    except OSError:
        shutil.copy2(index, private)
