"""Members of a zip become files: all of them, or none."""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from datalad_bidsshare.archive.directory import BadZip, Member, read_at, widened
from datalad_bidsshare.archive.inflate import STORED, crc32, decompressor, errors
from datalad_bidsshare.archive.safety import shown

__all__ = ["ExtractionError", "Wanted", "Written", "extract"]


@dataclass(frozen=True, slots=True)
class Wanted:
    """A member to unpack.

    Attributes
    ----------
    member
        Of the directory.
    output
        POSIX path of the file, relative to the tree.
    """

    member: Member
    output: str


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written.

    Attributes
    ----------
    output
        POSIX path, relative to the tree.
    member
        Name of the member.
    size
        Bytes.
    crc
        CRC-32 of the content.
    """

    output: str
    member: str
    size: int
    crc: int


class ExtractionError(Exception):
    """A member that could not be unpacked. Nothing that the call wrote is left.

    Attributes
    ----------
    member
        Its name.
    reason
        For the user.
    errno
        Number of the system's error (ENOSPC, ...). None when it is the zip that is wrong.
    """

    def __init__(self, member: str, reason: str, errno: int | None = None) -> None:
        # All as arguments: exceptions travel between processes.
        super().__init__(member, reason, errno)
        self.member = member
        self.reason = reason
        self.errno = errno

    def __str__(self) -> str:
        return f"{shown(self.member)}: {self.reason}"


def extract(
    fd: int,
    wanted: Sequence[Wanted],
    tree: str,
    *,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[Written]:
    """Unpack members into a directory of ours.

    Of the zip, the wanted members are read and nothing else. No more is written than a member
    declares, and its size and CRC are compared. Modes and times of the zip are not restored.

    Parameters
    ----------
    fd
        Of the zip, open for reading. Its position does not matter.
    wanted
        No two with the same output, and no directories.
    tree
        Path of the directory, which is made if it is missing. It is private to the caller:
        whatever stands where an output goes is a leftover and is replaced, and there are no
        links in it.
    threads
        That unpack, each one member at a time, with about 2 MiB. The caller's is one of them.
    progress
        Called with bytes that were written, from any of the threads, but one call at a time.

    Returns
    -------
    list of Written
        In the order of `wanted`.

    Raises
    ------
    ExtractionError
        For the first member that failed. As after any other exception (of `progress`, an
        interrupt), the files that this call wrote are removed again. Directories stay: another
        call may be writing into them.
    """
    run = _Run(fd, wanted, tree, progress)
    helpers = [
        threading.Thread(target=run.work, name=f"unpack-{n}", daemon=True)
        for n in range(1, min(threads, len(wanted)))
    ]
    try:
        run.make_directories()
        for helper in helpers:
            helper.start()
        run.work()
        for helper in helpers:
            helper.join()
        if run.failures:
            # An interrupt comes before what it may have led to.
            raise min(run.failures, key=lambda e: isinstance(e, Exception))
    except BaseException:
        run.stopped = True
        for helper in helpers:
            if helper.ident is not None:
                # It was started.
                helper.join()
        run.remove()
        raise
    return [written for written in run.written if written is not None]


_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_DESCRIPTOR_FOLLOWS = 0x8
_ENCRYPTED = 0x1
_MAX_32 = 0xFFFFFFFF

_PIECE = 1 << 19
"""Bytes read or written at once, at most."""

_PACKED_PIECE = 1 << 18
"""Bytes read at once of what is to be unpacked."""

_EXTRA = 64
"""Bytes allowed for the extra field of a local header, to read it and small data at once."""

_FLAGS = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


class _Stopped(Exception):
    """Another thread failed."""


class _Broken(Exception):
    """What is in the zip is not what it should be. The text says what."""


class _Run:
    """One call of `extract`, as its threads share it."""

    def __init__(
        self,
        fd: int,
        wanted: Sequence[Wanted],
        tree: str,
        progress: Callable[[int], None] | None,
    ) -> None:
        self.stopped = False
        self.failures: list[BaseException] = []
        self.written: list[Written | None] = [None] * len(wanted)
        self._fd = fd
        self._tree = tree
        self._progress = progress
        self._reporting = threading.Lock()
        self._wanted = wanted
        self._files: list[str] = []
        # The large ones first, so that no thread is left with one at the end; the others as they
        # lie in the file. They are taken from the end of the list.
        self._queue = sorted(range(len(wanted)), key=self._urgency, reverse=True)

    def _urgency(self, number: int) -> tuple[int, int]:
        member = self._wanted[number].member
        return (-member.size if member.size > _PIECE else 0, member.offset)

    def make_directories(self) -> None:
        """Make the tree and all directories in it that are needed."""
        outputs: set[str] = set()
        parents: dict[str, str] = {"": self._wanted[0].member.name if self._wanted else ""}
        for item in self._wanted:
            parent, _, name = item.output.rpartition("/")
            framed = f"/{item.output}/"
            if item.member.is_directory or item.output in outputs:
                raise ExtractionError(item.member.name, "is a directory, or wanted twice")
            if not name or "//" in framed or "/../" in framed or "/./" in framed:
                raise ExtractionError(item.member.name, f"cannot become {shown(item.output)}")
            outputs.add(item.output)
            parents.setdefault(parent, item.member.name)
        for parent, member in parents.items():
            try:
                os.makedirs(os.path.join(self._tree, parent), exist_ok=True)
            except OSError as e:
                raise _not_written(member, e) from e

    def work(self) -> None:
        """Unpack members until there are none left, or one failed. Raises nothing."""
        try:
            while not self.stopped:
                try:
                    number = self._queue.pop()
                except IndexError:
                    return
                self.written[number] = self._unpack(self._wanted[number])
        except _Stopped:
            pass
        except BaseException as e:
            self.failures.append(e)
            self.stopped = True

    def remove(self) -> None:
        """Remove what was written.

        Directories stay: another zip may be unpacked into them at the same time.
        """
        for path in self._files:
            with suppress(OSError):
                os.unlink(path)

    def _unpack(self, wanted: Wanted) -> Written:
        member = wanted.member
        path = os.path.join(self._tree, wanted.output)
        pieces = _pieces(self._fd, member)
        crc = size = 0
        try:
            # The first one before the file is made: most that is wrong shows by then.
            piece = next(pieces, b"")
            self._files.append(path)
            with _Output(path, member.name) as output:
                while piece:
                    size += len(piece)
                    if size > member.size:
                        raise _Broken(f"unpacks to more than the {member.size:,} bytes it declares")
                    crc = crc32(piece, crc)
                    output.write(piece)
                    if self._progress is not None:
                        with self._reporting:
                            self._progress(len(piece))
                    if self.stopped:
                        raise _Stopped
                    piece = next(pieces, b"")
            if size != member.size:
                raise _Broken(f"unpacks to {size:,} bytes and declares {member.size:,}")
            if crc != member.crc:
                raise _Broken("its content is broken (the CRC differs)")
        except _Broken as e:
            raise ExtractionError(member.name, str(e)) from e
        return Written(wanted.output, member.name, size, crc)


class _Output:
    """A new file, whose errors tell for which member it is."""

    def __init__(self, path: str, member: str) -> None:
        self._member = member
        try:
            self._fd = _create(path)
        except OSError as e:
            raise _not_written(member, e) from e

    def __enter__(self) -> _Output:
        return self

    def write(self, data: bytes) -> None:
        """Write all of it."""
        try:
            done = os.write(self._fd, data)
            while done < len(data):
                done += os.write(self._fd, memoryview(data)[done:])
        except OSError as e:
            raise _not_written(self._member, e) from e

    def __exit__(self, failed: type[BaseException] | None, *_: object) -> None:
        try:
            os.close(self._fd)
        except OSError as e:
            # Some network file systems notice only now that a disk is full.
            if failed is None:
                raise _not_written(self._member, e) from e


def _create(path: str) -> int:
    """Open a new file. The umask says what of its mode remains."""
    for _ in range(_TRIES):
        try:
            return os.open(path, _FLAGS, 0o666)
        except FileExistsError:
            # of an earlier try that was killed
            os.unlink(path)
    return os.open(path, _FLAGS, 0o666)


_TRIES = 5


def _not_written(member: str, error: OSError) -> ExtractionError:
    return ExtractionError(member, f"cannot be written: {error.strerror or error}", error.errno)


def _pieces(fd: int, member: Member) -> Iterator[bytes]:
    """Give the content of a member, unpacked, in pieces.

    It comes to one byte more than declared at most, so that this is noticed.
    """
    first = _EXTRA + _LOCAL.size + len(member.stored_name)
    count = min(first + member.packed, _PIECE if member.method == STORED else _PACKED_PIECE)
    if member.end:
        count = min(count, max(member.end - member.offset, 0))
    head = _read(fd, member, count, member.offset)
    start = _check_header(fd, member, head)
    data = head[start : start + member.packed]
    at = member.offset + start + len(data)
    end = member.offset + start + member.packed
    if member.end and end > member.end:
        raise _Broken("its data overlaps what follows it")
    if member.method == STORED:
        if member.packed != member.size:
            raise _Broken(f"has {member.packed:,} bytes and declares {member.size:,}")
        while data or at < end:
            if data:
                yield data
            data = _read(fd, member, min(end - at, _PIECE), at) if at < end else b""
            at += len(data)
        return
    left = member.size + 1
    inflate = decompressor(member.method)
    broken = errors()
    while True:
        most = min(left, _PIECE)
        try:
            piece = inflate.decompress(data, most)
        except broken as e:
            raise _Broken("its packed data is broken") from e
        data = inflate.unconsumed_tail
        if piece:
            left -= len(piece)
            yield piece
            if not left:
                return
        if inflate.eof:
            return
        if len(piece) < most and not data:
            if at >= end:
                return
            data = _read(fd, member, min(end - at, _PACKED_PIECE), at)
            at += len(data)


def _read(fd: int, member: Member, count: int, offset: int) -> bytes:
    try:
        data = read_at(fd, count, offset)
    except OSError as e:
        reason = f"cannot be read from the zip: {e.strerror or e}"
        raise ExtractionError(member.name, reason, e.errno) from e
    if len(data) < count:
        raise _Broken("is not there: the zip is truncated")
    return data


def _check_header(fd: int, member: Member, head: bytes) -> int:
    """Compare a local header with the directory.

    Two readers of a zip that go by the one or the other must not get different files.

    Returns
    -------
    int
        Bytes from the header to the data.
    """
    if len(head) < _LOCAL.size or not head.startswith(b"PK\3\4"):
        raise _Broken("is not where the directory says")
    _, _, flags, method, _, _, crc, packed, size, name_length, extra_length = _LOCAL.unpack_from(
        head
    )
    extra_at = _LOCAL.size + name_length
    if head[_LOCAL.size : extra_at] != member.stored_name:
        raise _Broken("has another name in its own header than in the directory")
    if method != member.method or (flags ^ member.flags) & _ENCRYPTED:
        raise _Broken("is packed in another way by its own header than by the directory")
    start: int = extra_at + extra_length
    if not flags & _DESCRIPTOR_FOLLOWS:
        if size == _MAX_32 or packed == _MAX_32:
            extra = head[extra_at:start]
            if len(extra) < extra_length:
                extra = _read(fd, member, extra_length, member.offset + extra_at)
            try:
                size, packed, *_ = widened(extra, size, packed, 0, 0)
            except BadZip as e:
                raise _Broken(str(e)) from e
        if (crc, packed, size) != (member.crc, member.packed, member.size):
            raise _Broken("has other sizes or another CRC in its own header than in the directory")
    return start
