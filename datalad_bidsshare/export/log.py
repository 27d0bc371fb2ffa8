"""What was given, when, to where: a log that stays with whoever gave it."""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Final

from datalad_bidsshare.export.replacing import sync_directory

__all__ = ["append_log"]

LOG: Final = "exports.jsonl"
_FLAGS = (
    os.O_RDWR
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


def append_log(notes: Path, entry: Mapping[str, Any]) -> Path:
    """Append what an export did, and have it on the disk.

    Parameters
    ----------
    notes
        Directory for it, which is made if need be: see `given.notes_directory`.
    entry
        What JSON can hold. `when` (UTC) is added, unless it is there.

    Returns
    -------
    Path
        The log.

    Raises
    ------
    OSError
        When it cannot be written: a read-only dataset, no space.
    """
    log = notes / LOG
    log.parent.mkdir(exist_ok=True)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    # All ASCII: a byte of a path that is no UTF-8 becomes '\udcXX'.
    line = json.dumps({"format": 1, "when": now, **entry}).encode() + b"\n"
    fd = os.open(log, _FLAGS, 0o666)
    try:
        _lock(fd)
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise FileExistsError(f"{log} is no regular file")
        if status.st_size:
            os.lseek(fd, -1, os.SEEK_END)
            if os.read(fd, 1) != b"\n":
                # Somebody's last words, cut short
                line = b"\n" + line
        while line:
            line = line[os.write(fd, line) :]
        os.fsync(fd)
    finally:
        os.close(fd)
    sync_directory(log.parent)
    return log


def _lock(fd: int) -> None:
    """Keep other exports of the dataset out of our line, until the file is closed."""
    # Not there on Windows; not for all network file systems.
    with contextlib.suppress(ImportError, OSError):
        import fcntl

        fcntl.flock(fd, fcntl.LOCK_EX)
