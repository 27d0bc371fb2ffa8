"""What git's blobs say about files: their kind, their key, their size, their content.

Two long-lived `git cat-file` processes at most in a call, however many files.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.keys import (
    LARGEST_POINTER,
    bytesize_of_key,
    key_of_link,
    key_of_pointer,
)
from datalad_bidsshare.dataset.listing import Entry
from datalad_bidsshare.dataset.process import CHUNK, Running, start

__all__ = ["FileInfo", "Kind", "describe", "describe_with_content", "read_blobs"]

Kind = Literal["annex", "git", "symlink"]

_T = TypeVar("_T")

# Entries that are in flight between us and git at a time: what a call holds in memory.
_WINDOW = 2000


@dataclass(frozen=True, slots=True)
class FileInfo:
    """One tracked file, from the index and its blob alone.

    Attributes
    ----------
    path
        POSIX, relative to the root of the dataset.
    kind
        'annex' when git-annex keeps the content, 'git' when the blob is the content,
        'symlink' for links that are not git-annex's.
    key
        git-annex key, None unless annexed.
    bytesize
        Size of the content in bytes. None where the key does not tell (URL keys).
    oid
        Name of the blob.
    mode
        git's mode: '100644', '100755', '120000'.
    unlocked
        Whether an annexed file is a regular file (a pointer to git) and not a symbolic link.
    """

    path: str
    kind: Kind
    key: str | None
    bytesize: int | None
    oid: str
    mode: str
    unlocked: bool


def describe(root: Path, entries: Iterable[Entry]) -> Iterator[FileInfo]:
    """Tell for every entry whether it is annexed, and how many bytes it stands for.

    Annexed is a symbolic link whose target names an annex object, or a blob that is a pointer.

    Parameters
    ----------
    root
        Root of the dataset.
    entries
        From `Index.entries`. Taken lazily, some thousand at a time.

    Yields
    ------
    FileInfo
        One an entry, in the same order.

    Raises
    ------
    DatasetError
        When git cannot read a blob.
    """
    for info, _ in describe_with_content(root, entries):
        yield info


def describe_with_content(
    root: Path, entries: Iterable[Entry]
) -> Iterator[tuple[FileInfo, bytes | None]]:
    """Do as `describe`, and hand on what had to be read for it.

    Yields
    ------
    tuple of FileInfo and (bytes or None)
        With the blob of small files that git keeps, and the target of links. None for what is
        annexed, and for what has more than `LARGEST_POINTER` bytes.

    Raises
    ------
    DatasetError
        When git cannot read a blob.
    """
    with contextlib.ExitStack() as stack:
        sizes = _Batch(stack, root, "--batch-check")
        contents = _Batch(stack, root, "--batch")
        for window in _windows(entries, _WINDOW):
            regular = [e.oid for e in window if e.mode != "120000"]
            bytesizes = dict(zip(regular, sizes.ask_sizes(regular), strict=True))
            wanted = [e.oid for e in window if bytesizes.get(e.oid, 0) <= LARGEST_POINTER]
            answers = contents.ask_contents(wanted, LARGEST_POINTER)
            known = dict(zip(wanted, answers, strict=True))
            for entry in window:
                bytesize, content = known.get(entry.oid) or (bytesizes[entry.oid], None)
                info = _described(entry, bytesize, content)
                yield info, content if info.key is None else None


def _described(entry: Entry, bytesize: int, content: bytes | None) -> FileInfo:
    link = entry.mode == "120000"
    kind: Kind = "git"
    key = None
    size: int | None = bytesize
    if content is not None:
        key = key_of_link(content) if link else key_of_pointer(content)
    if key is not None:
        kind, size = "annex", bytesize_of_key(key)
    elif link:
        kind = "symlink"
    return FileInfo(
        entry.path, kind, key, size, entry.oid, entry.mode, key is not None and not link
    )


def read_blobs(
    root: Path, oids: Iterable[str], limit: int, *, spill: Path | None = None
) -> Generator[tuple[str, bytes | None], None, None]:
    """Give the content of blobs.

    Parameters
    ----------
    root
        Root of the dataset.
    oids
        Names of blobs. Taken lazily, some at a time.
    limit
        Bytes. What is larger is not held in memory.
    spill
        Directory in which what is larger is put, under the blob's name; None: nowhere.

    Yields
    ------
    tuple of str and (bytes or None)
        Name and content, in the order asked for. None for what is larger than the limit.

    Raises
    ------
    DatasetError
        When git cannot read one.
    """
    with contextlib.ExitStack() as stack:
        contents = _Batch(stack, root, "--batch")
        for window in _windows(oids, 100):
            answers = contents.ask_contents(window, limit, spill)
            for oid, (_, content) in zip(window, answers, strict=True):
                yield oid, content


def _windows(items: Iterable[_T], length: int) -> Iterator[list[_T]]:
    iterator = iter(items)
    while window := list(itertools.islice(iterator, length)):
        yield window


class _Batch:
    """A `git cat-file` that answers until the stack unwinds; starts at the first question."""

    def __init__(self, stack: contextlib.ExitStack, root: Path, option: str) -> None:
        self._stack = stack
        self._root = root
        self._option = option
        self._git: Running | None = None

    def _ask(self, oids: Sequence[str]) -> Running:
        if self._git is None:
            self._git = self._stack.enter_context(
                start(["git", "cat-file", self._option], self._root, stdin=True)
            )
        self._git.ask("".join([f"{oid}\n" for oid in oids]).encode())
        return self._git

    def _header(self, git: Running) -> int:
        line = git.stdout.readline()
        fields = line.split()
        if len(fields) == 3 and fields[1] == b"blob":
            return int(fields[2])
        if not line:
            git.finish()
        raise DatasetError(
            f"git cannot read a file of {self._root} "
            f"({line.decode('utf-8', 'replace').strip() or 'it ended early'}). "
            f"The repository may be damaged or incomplete: run 'git fsck' in it, or clone it anew"
        )

    def ask_sizes(self, oids: Sequence[str]) -> Iterator[int]:
        """Give the size in bytes of each blob (of a process started with --batch-check)."""
        if oids:
            git = self._ask(oids)
            for _ in oids:
                yield self._header(git)

    def ask_contents(
        self, oids: Sequence[str], limit: int, spill: Path | None = None
    ) -> Iterator[tuple[int, bytes | None]]:
        """Give size and content of each blob (of a process started with --batch).

        What has more bytes than `limit` is not held, and its content is None; it goes into a
        file of the directory `spill`, if there is one.
        """
        if oids:
            git = self._ask(oids)
            for oid in oids:
                bytesize = self._header(git)
                if bytesize <= limit:
                    yield bytesize, self._read(git, bytesize + 1)[:-1]
                    continue
                with contextlib.ExitStack() as stack:
                    sink = stack.enter_context((spill / oid).open("wb")) if spill else None
                    for at in range(0, bytesize, CHUNK):
                        piece = self._read(git, min(CHUNK, bytesize - at))
                        if sink is not None:
                            sink.write(piece)
                    self._read(git, 1)
                yield bytesize, None

    def _read(self, git: Running, bytesize: int) -> bytes:
        content = git.stdout.read(bytesize)
        if len(content) != bytesize:
            git.finish()
            raise DatasetError(f"git ended in the middle of a file of {self._root}")
        return content
