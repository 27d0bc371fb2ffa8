"""git-annex on a full disk: it tries to write its databases for ever, and has to be ended."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from datalad_bidsshare.dataset.termination import end_tree

__all__ = ["FULL", "NO_ROOM", "room", "watched"]

FULL = 1 << 20
"""Bytes: with less than that, a disk is full."""

NO_ROOM = "No space left on device"

_PATIENCE = 10.0
"""Seconds that git-annex gets on a full disk."""


def room(place: Path) -> int:
    """Tell how many bytes this user may still write on the file system of a directory."""
    return shutil.disk_usage(place).free


@contextlib.contextmanager
def watched(process: subprocess.Popen[bytes], place: Path) -> Iterator[threading.Event]:
    """End a git-annex that will never end: on a full disk, and when the block raises.

    Parameters
    ----------
    process
        Of git, or of git-annex itself.
    place
        A directory on the file system that it writes to.

    Yields
    ------
    Event
        Set when it was ended because of a full disk.
    """
    full, over = threading.Event(), threading.Event()

    def watch() -> None:
        since = time.monotonic()
        while not over.wait(min(0.5, _PATIENCE)):
            with contextlib.suppress(OSError):
                if room(place) >= FULL:
                    since = time.monotonic()
                elif time.monotonic() - since > _PATIENCE:
                    full.set()
                    end_tree(process, grace=1.0)
                    return

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield full
    except BaseException:
        # git hands no kill on to git-annex.
        end_tree(process)
        raise
    finally:
        over.set()
        watcher.join()
