"""A table on the disk, sorted by its first column, and looked into where it lies.

A million lines take a few megabytes of memory: every sixteen kilobytes, one line is remembered.
"""

from __future__ import annotations

import errno
import os
import weakref
from bisect import bisect_right
from collections import deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

from datalad_bidsshare.dataset.beneath import open_beneath

__all__ = ["DamagedTable", "Table", "merged"]

_BLOCK = 1 << 14
_CHUNK = 1 << 20


class DamagedTable(Exception):
    """A table that is not what was written. The text says what is wrong with it."""


class Table:
    """The lines of a sorted table, without its header.

    Parameters
    ----------
    directory, name
        Where it is. It stays open: replaced meanwhile, it still gives what it held.
    header
        What it must begin with, line end included.
    tabs
        How many every line must have.
    words
        Such that every line has exactly one of them in exactly one place.

    Raises
    ------
    FileNotFoundError
        When it is not there.
    OSError
        When it cannot be read, or is no regular file.
    DamagedTable
        When its header, the number of tabs or words, or its order is not right.
    """

    def __init__(
        self, directory: Path, name: str, header: bytes, tabs: int, words: Mapping[str, bytes]
    ) -> None:
        self._path = directory / name
        self._fd = open_beneath(directory, name)
        self.close = weakref.finalize(self, os.close, self._fd)
        """Let go of the file, once nothing is asked any more."""
        self._offsets: list[int] = []
        self._firsts: list[bytes] = []
        self.lines = 0
        self.counts: dict[str, int] = {}
        """How many lines have each of the words."""
        # What the block that was given last may hold: from here, and up to there
        self._low = self._high = b""
        try:
            self._survey(header, tabs, words)
        except BaseException:
            self.close()
            raise

    def _survey(self, header: bytes, tabs: int, words: Mapping[str, bytes]) -> None:
        if os.read(self._fd, len(header)) != header:
            raise DamagedTable("does not begin as it should")
        self._end = len(header)
        for offset, chunk in _whole_lines(self._fd, len(header)):
            self._end = offset + len(chunk)
            lines = chunk.count(b"\n")
            if chunk.count(b"\t") != tabs * lines:
                raise DamagedTable("has lines with fewer or more columns than it should")
            self.lines += lines
            self._count(chunk, lines, words)
            at = 0
            while at < len(chunk):
                self._offsets.append(offset + at)
                self._firsts.append(chunk[at : chunk.find(b"\t", at)])
                at = chunk.find(b"\n", min(at + _BLOCK, len(chunk) - 1)) + 1
        if any(a >= b for a, b in zip(self._firsts, self._firsts[1:], strict=False)):
            raise DamagedTable("is not sorted")

    def _count(self, chunk: bytes, lines: int, words: Mapping[str, bytes]) -> None:
        # Those that were there are likely to come again: then one look is enough.
        for name in [*self.counts, *(w for w in words if w not in self.counts)]:
            if not lines:
                break
            if found := chunk.count(words[name]):
                self.counts[name] = self.counts.get(name, 0) + found
                lines -= found
        if lines:
            raise DamagedTable("has lines whose checksum is of no known kind")

    def around(self, field: bytes) -> bytes | None:
        """Give the lines among which one must be, if it is there.

        Returns
        -------
        bytes or None
            Whole lines. None when they are those that were given the last time; none at all
            when it would be ahead of all others.

        Raises
        ------
        OSError
            When they cannot be read.
        """
        if self._low <= field < self._high:
            return None
        number = bisect_right(self._firsts, field) - 1
        if number < 0:
            return b""
        self._low = self._firsts[number]
        last = number + 1 == len(self._firsts)
        # No path is longer than this (PATH_MAX).
        self._high = b"\xff" * 5000 if last else self._firsts[number + 1]
        return self._read(number)

    def _read(self, number: int) -> bytes:
        start = self._offsets[number]
        last = number + 1 == len(self._offsets)
        length = (self._end if last else self._offsets[number + 1]) - start
        os.lseek(self._fd, start, os.SEEK_SET)
        block = b""
        while len(block) < length:
            more = os.read(self._fd, length - len(block))
            if not more:
                raise OSError(errno.EIO, "was cut short by somebody else", str(self._path))
            block += more
        return block

    def blocks(self) -> Iterator[tuple[bytes, bytes]]:
        """Give the lines, some at a time, each time with the first column of the first."""
        for number, first in enumerate(self._firsts):
            yield first, self._read(number)


def _whole_lines(fd: int, offset: int) -> Iterator[tuple[int, bytes]]:
    """Read a file to its end: offset and content of pieces that end with a line."""
    rest = b""
    while chunk := os.read(fd, _CHUNK):
        end = chunk.rfind(b"\n") + 1
        if end:
            whole = rest + chunk[:end]
            yield offset, whole
            offset += len(whole)
            rest = chunk[end:]
        else:
            rest += chunk
    if rest:
        raise DamagedTable("is cut short")


def merged(table: Table | None, changes: Iterable[tuple[bytes, bytes | None]]) -> Iterator[bytes]:
    """Give the lines of a table with some changed, in order, some lines at a time.

    Parameters
    ----------
    table
        None for an empty one.
    changes
        First column and the rest of the line, or None where the line is to go. Sorted.

    Yields
    ------
    bytes
        Whole lines.
    """
    pending = deque(changes)
    block = b""
    for first, following in table.blocks() if table is not None else ():
        # What comes before this block's first line belongs to the block before, or to none.
        fitting = []
        while pending and pending[0][0] < first:
            fitting.append(pending.popleft())
        yield from _with(block, fitting)
        block = following
    yield from _with(block, pending)


def _with(block: bytes, changes: Collection[tuple[bytes, bytes | None]]) -> Iterator[bytes]:
    if not changes:
        if block:
            yield block
        return
    lines = {line.partition(b"\t")[0]: line for line in block[:-1].split(b"\n") if line}
    for field, rest in changes:
        if rest is None:
            lines.pop(field, None)
        else:
            lines[field] = b"%b\t%b" % (field, rest)
    ordered = sorted(lines)
    for start in range(0, len(ordered), 1000):
        yield b"\n".join([lines[field] for field in ordered[start : start + 1000]]) + b"\n"
