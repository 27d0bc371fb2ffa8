"""How much of a disk a directory takes."""

from __future__ import annotations

import contextlib
import os
import stat
from collections import Counter
from pathlib import Path

__all__ = ["allocated", "freed_with"]

_BLOCK = 512
"""Bytes in a unit of `st_blocks`, whatever the file system's own blocks are (POSIX: stat)."""


def allocated(status: os.stat_result) -> int:
    """Give the bytes that a file has on the disk; its size where the system does not tell."""
    blocks = getattr(status, "st_blocks", None)
    return status.st_size if blocks is None else int(blocks) * _BLOCK


def freed_with(directory: Path) -> int:
    """Tell how many bytes would be free if a directory were removed with all that is in it.

    A file with several names counts once, and not at all when one of them is elsewhere: git makes
    hard links when it clones on one file system. Links are not followed; what cannot be read is
    taken for nothing.
    """
    total = 0
    names: Counter[tuple[int, int]] = Counter()
    linked: dict[tuple[int, int], os.stat_result] = {}
    waiting = [os.fsencode(directory)]
    while waiting:
        here = waiting.pop()
        with contextlib.suppress(OSError), os.scandir(here) as entries:
            total += allocated(os.lstat(here))
            for entry in entries:
                status = entry.stat(follow_symlinks=False)
                if stat.S_ISDIR(status.st_mode):
                    waiting.append(entry.path)
                elif status.st_nlink == 1:
                    total += allocated(status)
                else:
                    inode = (status.st_dev, status.st_ino)
                    names[inode] += 1
                    linked[inode] = status
    return total + sum(allocated(s) for inode, s in linked.items() if names[inode] == s.st_nlink)
