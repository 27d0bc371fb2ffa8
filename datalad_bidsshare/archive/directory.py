"""The directory of a zip: what it says its members are.

Read here, and not by `zipfile`, because names have to be the same under every version of Python
(they become names in a dataset), and because what two programs could read in two ways must be
refused. `zipfile` is the oracle in the tests. Format: APPNOTE.TXT of PKWARE.
"""

from __future__ import annotations

import hashlib
import os
import struct
import threading
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

__all__ = ["BadZip", "Directory", "Member", "digest_of", "read_at", "read_directory", "widened"]


class BadZip(Exception):
    """A file that is no zip, or a broken one. The text says what is wrong, and names no path."""


@dataclass(frozen=True, slots=True)
class Member:
    """What the directory says of one member.

    Attributes
    ----------
    name
        As stored, '/' separated; those of directories end in '/'. Bytes that are no UTF-8, in a
        name that is said to be, are surrogates.
    size, packed
        Bytes, unpacked and packed. Declared: the real ones may differ.
    crc
        CRC-32 of the content.
    method
        Number of the compression method (0 stored, 8 deflate, ...).
    offset
        Of the local header, in bytes from the beginning of the file.
    flags
        General purpose flags.
    mode
        `st_mode` when made on a Unix, otherwise 0.
    end
        Offset of whatever comes next in the file (a member, the directory). 0 if not known.
    raw
        The name's bytes, where they are not `name` in the encoding that the flags say. Otherwise
        empty.
    """

    name: str
    size: int
    packed: int
    crc: int
    method: int
    offset: int
    flags: int
    mode: int
    end: int = 0
    raw: bytes = b""

    @property
    def is_directory(self) -> bool:
        """Whether it is a directory."""
        return self.name.endswith("/")

    @property
    def stored_name(self) -> bytes:
        """The bytes of the name in the file."""
        if self.raw:
            return self.raw
        if self.flags & _UTF8 or self.name.isascii():
            return self.name.encode("utf-8", "surrogateescape")
        return self.name.encode("cp437")


@dataclass(frozen=True, slots=True)
class Directory:
    """The directory of a zip.

    Attributes
    ----------
    members
        In the order of the directory.
    start
        Its offset in the file, in bytes.
    bytesize
        Bytes of the file.
    bytes_read
        That reading the directory cost.
    """

    members: tuple[Member, ...]
    start: int
    bytesize: int
    bytes_read: int


# Flag of a name that is UTF-8; otherwise it is code page 437.
_UTF8 = 0x800
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF
# signature, made by, version, flags, method, time, date, crc, packed, size, name, extra, comment,
# disk, internal attributes, external attributes, offset
_CENTRAL = struct.Struct("<4sBBHHHHHLLLHHHHHLL")
# signature, disk, disk of the directory, members on this disk, members, bytes, offset, comment
_END = struct.Struct("<4s4H2LH")
# signature, bytes that follow, made by, version, disk, disk of the directory, members on this
# disk, members, bytes, offset
_END_64 = struct.Struct("<4sQ2H2L4Q")
# signature, disk, offset, disks
_LOCATOR_64 = struct.Struct("<4sLQL")
# Numbers of extra fields, as they are in the file
_ZIP64, _UNICODE_NAME = b"\1\0", b"\x75\x70"
_UNIX = (3, 19)
"""Systems that put `st_mode` into the upper half of the external attributes: Unix, macOS."""

_USUAL, _MOST_A_MEMBER = 64 << 20, 1 << 10
"""Bytes of a directory that are read without asking, and for each member that there may be: all
of it is in memory."""

_TAIL = 16 << 10
"""Bytes read first, of the end. Nearly always that is all of the directory."""


def read_at(fd: int, count: int, offset: int) -> bytes:
    """Read at a place of a file. Fewer bytes come only when the file ends before."""
    data = _pread(fd, count, offset)
    if len(data) == count or not data:
        return data
    parts = [data]
    got = len(data)
    while got < count and (data := _pread(fd, count - got, offset + got)):
        parts.append(data)
        got += len(data)
    return b"".join(parts)


_seeking = threading.Lock()


def _seek_and_read(fd: int, count: int, offset: int) -> bytes:
    """Do without `pread`, as on Windows: the threads share the position of the file."""
    with _seeking:
        os.lseek(fd, offset, os.SEEK_SET)
        return os.read(fd, count)


_pread: Callable[[int, int, int], bytes] = getattr(os, "pread", _seek_and_read)


def digest_of(directory: Directory) -> str:
    """Give a digest of all that a directory says about members.

    Returns
    -------
    str
        Hex digits.
    """
    digest = hashlib.sha256(f"{directory.start} {len(directory.members)}".encode())
    for m in directory.members:
        # The name last, after its length: nothing in it can be taken for something else.
        fields = (m.size, m.packed, m.crc, m.method, m.offset, m.flags, m.mode, len(m.name), m.name)
        digest.update(f"\n{' '.join(map(str, fields))}".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def read_directory(fd: int, *, most: int | None = None) -> Directory:
    """Read the directory of a zip, and nothing else of the file.

    Parameters
    ----------
    fd
        Of a regular file, open for reading. Its position does not matter.
    most
        Members at most; a zip with more is not read any further. None: as many as there are.

    Returns
    -------
    Directory
        A zip without members is a zip.

    Raises
    ------
    BadZip
        When it is no zip, when it is broken, or when programs could disagree about what is in
        it (zip64 records that contradict the others, bytes after its end, several disks).
    OSError
        When the file cannot be read.
    """
    size = os.fstat(fd).st_size
    tail = _Tail(fd, size)
    end = _find_end(tail)
    count, start, prefix = _place(tail, end)
    if most is not None and end.directory_end - start > max(_USUAL, most * _MOST_A_MEMBER):
        raise BadZip(f"its directory is too large for {most:,} members; see --max-members")
    data = tail.read(start, end.directory_end)
    members = _members(data, start, prefix, most)
    if len(members) != count and len(members) & _MAX_16 != count:
        raise BadZip(f"its directory has {len(members):,} members, its end says {count:,}")
    return Directory(members, start, size, tail.bytes_read)


class _Tail:
    """The last bytes of a file, and those before as far as they are asked for."""

    def __init__(self, fd: int, size: int) -> None:
        self._fd = fd
        self.size = size
        self.start = max(0, size - _TAIL)
        self.bytes_read = 0
        self.data = self._read(self.start, size)

    def _read(self, start: int, stop: int) -> bytes:
        data = read_at(self._fd, stop - start, start)
        self.bytes_read += len(data)
        if len(data) < stop - start:
            raise BadZip("truncated while it was read")
        return data

    def extend(self, start: int) -> None:
        """Have the file from an offset on, at least."""
        if start < self.start:
            self.data = self._read(start, self.start) + self.data
            self.start = start

    def read(self, start: int, stop: int) -> bytes:
        self.extend(start)
        return self.data[start - self.start : stop - self.start]


@dataclass(frozen=True, slots=True)
class _End:
    """The end record, or what zip64 says instead.

    Attributes
    ----------
    at
        Offset of the end record.
    directory_end
        Offset behind the directory.
    wide
        Whether it is zip64.
    count, length, offset
        Members, bytes of the directory, where that says it starts.
    """

    at: int
    directory_end: int
    wide: bool
    count: int
    length: int
    offset: int


def _find_end(tail: _Tail) -> _End:
    """Find the end record: the last one whose comment ends where the file does."""
    found = False
    for start in (tail.start, max(0, tail.size - _END.size - _MAX_16)):
        tail.extend(start)
        stop = len(tail.data)
        while (at := tail.data.rfind(b"PK\5\6", 0, stop)) >= 0:
            found = True
            comment = len(tail.data) - at - _END.size
            if comment >= 0:
                end = _END.unpack_from(tail.data, at)
                if end[-1] == comment:
                    return _read_end(tail, tail.start + at, end)
            stop = at + 3
    if found:
        raise BadZip("truncated, or something follows its end")
    if not tail.size:
        raise BadZip("empty file")
    if tail.read(0, 4) in (b"PK\3\4", b"PK\1\2"):
        raise BadZip("truncated: its end, with the directory, is missing")
    raise BadZip("not a zip file")


def _read_end(tail: _Tail, at: int, end: tuple[int, ...]) -> _End:
    _, disk, directory_disk, on_disk, count, length, offset, _ = end
    locator_at = at - _LOCATOR_64.size
    record_at = locator_at - _END_64.size
    locator = tail.read(locator_at, at) if record_at >= 0 else b""
    wide = locator.startswith(b"PK\6\7")
    if wide:
        _, record_disk, says, disks = _LOCATOR_64.unpack(locator)
        record = tail.read(record_at, locator_at)
        # Elsewhere, there could be another directory than the one others read (CVE-2025-8291).
        if says != record_at or not record.startswith(b"PK\6\6"):
            raise BadZip("its zip64 record is not where it should be")
        _, follows, _, _, disk_64, directory_disk_64, *numbers = _END_64.unpack(record)
        if follows != _END_64.size - 12:
            raise BadZip("its zip64 record is not as long as it should be")
        if record_disk or disk_64 or directory_disk_64 or disks > 1:
            raise BadZip("one part of several (split zip)")
        narrow = (on_disk, count, length, offset)
        most = (_MAX_16, _MAX_16, _MAX_32, _MAX_32)
        for small, full, large in zip(narrow, most, numbers, strict=True):
            if small not in (full, large):
                raise BadZip("its zip64 record contradicts its end record")
        on_disk, count, length, offset = numbers
    here = (0, _MAX_16) if wide else (0,)
    if on_disk != count or disk not in here or directory_disk not in here:
        raise BadZip("one part of several (split zip)")
    return _End(at, record_at if wide else at, wide, count, length, offset)


def _place(tail: _Tail, end: _End) -> tuple[int, int, int]:
    """Give the number of members, the offset of the directory, and the bytes before the zip."""
    start = end.directory_end - end.length
    prefix = start - end.offset
    if start < 0 or prefix < 0:
        raise BadZip("truncated: its directory is not where it should be")
    # Offsets of a zip that follows something else (a program that unpacks it) may count from
    # either beginning. With zip64 that was never usual, and could be read in two ways.
    if prefix and end.wide:
        raise BadZip("its directory is not where its zip64 record says")
    return end.count, start, prefix


def _members(data: bytes, start: int, prefix: int, most: int | None) -> tuple[Member, ...]:
    """Read the entries of a directory that starts at an offset of the file."""
    found: list[tuple[str, int, int, int, int, int, int, int, bytes]] = []
    at, length = 0, len(data)
    while at < length:
        if at + _CENTRAL.size > length:
            raise BadZip("its directory is broken")
        (
            signature, _, system, _, flags, method, _, _, crc, packed, size,
            name_length, extra_length, comment_length, disk, _, attributes, offset,
        ) = _CENTRAL.unpack_from(data, at)  # fmt: skip
        name_at = at + _CENTRAL.size
        extra_at = name_at + name_length
        at = extra_at + extra_length + comment_length
        if signature != b"PK\1\2" or at > length:
            raise BadZip("its directory is broken")
        if len(found) == most:
            raise BadZip(f"more than the limit of {most:,} members; --max-members raises it")
        raw = data[name_at:extra_at]
        extra = data[extra_at : extra_at + extra_length]
        if size == _MAX_32 or packed == _MAX_32 or offset == _MAX_32 or disk == _MAX_16:
            size, packed, offset, disk = widened(extra, size, packed, offset, disk)
        if disk:
            raise BadZip("one part of several (split zip)")
        name = _decode(raw, flags)
        other = None if raw.isascii() else _as_unix(raw, flags, system)
        if _UNICODE_NAME in extra:
            other = _unicode_name(extra, raw) or other
        if other is None or other == name:
            raw = b""
        else:
            name = other
        mode = attributes >> 16 if system in _UNIX else 0
        found.append((name, size, packed, crc, method, offset + prefix, flags, mode, raw))
    offsets = sorted({entry[5] for entry in found})
    ends = dict(zip(offsets, (*offsets[1:], start), strict=False))
    return tuple(
        Member(name, size, packed, crc, method, offset, flags, mode, ends[offset], raw)
        for name, size, packed, crc, method, offset, flags, mode, raw in found
    )


def _decode(raw: bytes, flags: int) -> str:
    """Decode a name as `zipfile` does."""
    if flags & _UTF8 or raw.isascii():
        return raw.decode("utf-8", "surrogateescape")
    return raw.decode("cp437")


def _as_unix(raw: bytes, flags: int, system: int) -> str | None:
    """Decode a name as `unzip` does that was made on a Unix, and is not said to be UTF-8.

    So do macOS, and `zip` in the C locale. `zipfile` takes such names for code page 437, of which
    nearly none is UTF-8 by chance.
    """
    if system in _UNIX and not flags & _UTF8:
        with suppress(UnicodeDecodeError):
            return raw.decode("utf-8")
    return None


def _fields(extra: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Take an extra field apart: the number of each, as it is in the file, and its data."""
    at = 0
    while at + 4 <= len(extra):
        length = int.from_bytes(extra[at + 2 : at + 4], "little")
        yield extra[at : at + 2], extra[at + 4 : at + 4 + length]
        at += 4 + length


def _unicode_name(extra: bytes, raw: bytes) -> str | None:
    """Give the name in Unicode of Info-ZIP, if it belongs to this one.

    `unzip` and newer versions of Python use it, so all do here.
    """
    for number, data in _fields(extra):
        if number == _UNICODE_NAME and data[:1] == b"\1":
            crc = int.from_bytes(data[1:5], "little")
            if len(data) > 5 and crc == zlib.crc32(raw):
                return data[5:].decode("utf-8", "surrogateescape")
    return None


def widened(extra: bytes, size: int, packed: int, offset: int, disk: int) -> tuple[int, ...]:
    """Replace those numbers of a header that did not fit by those of its zip64 field.

    Raises
    ------
    BadZip
        When they are not there, or there twice.
    """
    fields = [data for number, data in _fields(extra) if number == _ZIP64]
    if len(fields) != 1:
        raise BadZip("its zip64 fields are broken")
    data = fields[0]
    numbers: list[int] = []
    at = 0
    for number, full, length in (
        (size, _MAX_32, 8),
        (packed, _MAX_32, 8),
        (offset, _MAX_32, 8),
        (disk, _MAX_16, 4),
    ):
        if number == full:
            if at + length > len(data):
                raise BadZip("its zip64 fields are broken")
            number = int.from_bytes(data[at : at + length], "little")
            at += length
        numbers.append(number)
    return tuple(numbers)
