"""Zips as real bytes, ordinary and hostile.

`write_zip` puts any headers together, also such as no program writes. `ORDINARY` are zips that
have to be unpacked; `BROKEN`, `REFUSED` and `LYING` (`HOSTILE` together) are zips of which nothing
may be unpacked. All hostile ones but those that are no zips also hold `sub-01/ok.txt`, which is
harmless: nothing of it may be left either.
"""

from __future__ import annotations

import bz2
import lzma
import os
import stat
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import zstandard

__all__ = [
    "BROKEN",
    "HOSTILE",
    "LYING",
    "OK",
    "ORDINARY",
    "REFUSED",
    "Entry",
    "count_bomb",
    "pack",
    "write_zip",
]

STORED, DEFLATE, DEFLATE64, BZIP2, LZMA, ZSTD = 0, 8, 9, 12, 14, 93
FILE = stat.S_IFREG | 0o644
UTF8 = 0x800
UNIX = 3

_LOCAL = struct.Struct("<4sHHHHHLLLHH")
_CENTRAL = struct.Struct("<4sBBHHHHHLLLHHHHHLL")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_TIME, _DATE = 0, 0x5A21
_MAX_32 = 0xFFFFFFFF


def pack(data: bytes, method: int) -> bytes:
    """Compress as zip files have it."""
    if method == STORED:
        return data
    if method == BZIP2:
        return bz2.compress(data)
    if method == LZMA:
        filters = [{"id": lzma.FILTER_LZMA1, "preset": 6, "dict_size": 1 << 20}]
        properties = struct.pack("<BL", 3 + 9 * (0 + 5 * 2), 1 << 20)
        raw = lzma.compress(data, format=lzma.FORMAT_RAW, filters=filters)
        return struct.pack("<HH", 0x0910, len(properties)) + properties + raw
    if method == ZSTD:
        return zstandard.ZstdCompressor().compress(data)
    made = zlib.compressobj(6, zlib.DEFLATED, -15)
    return made.compress(data) + made.flush()


@dataclass
class Entry:
    """One member, and what is said of it. None: what is true.

    Attributes
    ----------
    name
        Text is written as UTF-8, with the flag where it is not ASCII.
    data, method, mode, system, flags, extra
        Content, compression method, `st_mode`, system that made it, flags, extra field.
    packed
        Bytes written instead of the compressed content.
    size, packed_size, crc, offset
        Said by both headers; `offset` by the directory.
    local
        What the local header says otherwise: name, method, flags, size, packed_size, crc, extra.
    wide
        Sizes and offset in a zip64 field.
    descriptor
        CRC and sizes follow the data, as programs write that cannot seek.
    listed, present
        Whether it is in the directory, and in the file.
    """

    name: str | bytes
    data: bytes = b"content\n"
    method: int = DEFLATE
    mode: int = FILE
    system: int = UNIX
    flags: int = 0
    extra: bytes = b""
    packed: bytes | None = None
    size: int | None = None
    packed_size: int | None = None
    crc: int | None = None
    offset: int | None = None
    local: dict[str, object] | None = None
    wide: bool = False
    descriptor: bool = False
    listed: bool = True
    present: bool = True

    def __post_init__(self) -> None:
        if isinstance(self.name, str):
            self.flags |= 0 if self.name.isascii() else UTF8
        if self.descriptor:
            self.flags |= 8

    @property
    def stored_name(self) -> bytes:
        return self.name.encode() if isinstance(self.name, str) else self.name

    @cached_property
    def content(self) -> bytes:
        """Compressed when it is needed first: not all of these zips are in every test."""
        return pack(self.data, self.method) if self.packed is None else self.packed

    def said(self) -> dict[str, object]:
        """What the directory says."""
        crc = zlib.crc32(self.data) if self.crc is None else self.crc
        return {
            "name": self.stored_name,
            "method": self.method,
            "flags": self.flags,
            "crc": crc,
            "size": len(self.data) if self.size is None else self.size,
            "packed_size": len(self.content) if self.packed_size is None else self.packed_size,
            "extra": self.extra,
        }

    def local_bytes(self) -> bytes:
        """Local header, data and descriptor."""
        said = self.said()
        crc, size, packed = said["crc"], said["size"], said["packed_size"]
        if self.descriptor:
            said |= {"crc": 0, "size": 0, "packed_size": 0}
        if self.wide:
            field = struct.pack("<2H2Q", 1, 16, said["size"], said["packed_size"])
            said |= {"size": _MAX_32, "packed_size": _MAX_32, "extra": field + self.extra}
        said |= self.local or {}
        header = _LOCAL.pack(
            b"PK\3\4", 45 if self.wide else 20, said["flags"], said["method"], _TIME, _DATE,
            said["crc"], said["packed_size"], said["size"],
            len(said["name"]), len(said["extra"]),  # type: ignore[arg-type]
        )  # fmt: skip
        tail = b""
        if self.descriptor:
            tail = struct.pack("<4sL2Q" if self.wide else "<4sL2L", b"PK\7\x08", crc, packed, size)
        return b"".join((header, said["name"], said["extra"], self.content, tail))  # type: ignore[arg-type]

    def central_bytes(self, offset: int) -> bytes:
        """Entry of the directory."""
        said = self.said()
        size, packed, extra = said["size"], said["packed_size"], said["extra"]
        offset = offset if self.offset is None else self.offset
        assert isinstance(extra, bytes)
        if self.wide:
            extra = struct.pack("<2H3Q", 1, 24, size, packed, offset) + extra
            size = packed = offset = _MAX_32
        name = self.stored_name
        header = _CENTRAL.pack(
            b"PK\1\2", 30, self.system, 20, self.flags, self.method, _TIME, _DATE, said["crc"],
            packed, size, len(name), len(extra), 0, 0, 0, self.mode << 16, offset,
        )  # fmt: skip
        return header + name + extra


OK = Entry("sub-01/ok.txt", b"harmless\n")
"""In each hostile zip."""


def write_zip(
    path: str | os.PathLike[str],
    *entries: Entry,
    prefix: bytes = b"",
    counted: bool = True,
    comment: bytes = b"",
    zip64: bool = False,
) -> None:
    """Write a zip.

    Parameters
    ----------
    prefix
        Bytes before it.
    counted
        Whether offsets count from the beginning of the file, or from behind the prefix.
    zip64
        With a zip64 record at the end.
    """
    base = len(prefix) if counted else 0
    body = bytearray()
    directory = bytearray()
    for entry in entries:
        at = len(body) + base
        if entry.present:
            body += entry.local_bytes()
        if entry.listed:
            directory += entry.central_bytes(at)
    count = sum(entry.listed for entry in entries)
    end = end_bytes(count, len(directory), len(body) + base, comment=comment, zip64=zip64)
    Path(path).write_bytes(prefix + body + directory + end)


def end_bytes(
    count: int, length: int, offset: int, *, comment: bytes = b"", zip64: bool = False
) -> bytes:
    """End record, after a zip64 record and its locator or without them."""
    made = b""
    if zip64:
        made = _END_64.pack(b"PK\6\6", 44, 45, 45, 0, 0, count, count, length, offset)
        made += _LOCATOR_64.pack(b"PK\6\7", 0, offset + length, 1)
        count, length, offset = 0xFFFF, _MAX_32, _MAX_32
    return made + _END.pack(b"PK\5\6", 0, 0, count, count, length, offset, len(comment)) + comment


Builder = Callable[[Path], None]

ORDINARY: dict[str, Callable[[Path], dict[str, bytes]]] = {}
"""Name to a function that writes a zip, and gives names and contents of its files."""

BROKEN: dict[str, Builder] = {}
"""Zips whose directory cannot be read (`BadZip`)."""

REFUSED: dict[str, Builder] = {}
"""Zips whose directory says what is refused (`Refused`), if all that is in them is wanted."""

LYING: dict[str, Builder] = {}
"""Zips that are found out only when they are unpacked (`ExtractionError`)."""

HOSTILE: dict[str, Builder] = {}
"""All of the three."""


def _text(size: int) -> bytes:
    line = b"0.123\t4.567\tsub-01_task-rest_bold.nii.gz\n"
    return (line * (size // len(line) + 1))[:size]


# --- ordinary ---------------------------------------------------------------------------------


def _ordinary(name: str, *entries: Entry, **how: object) -> None:
    def build(path: Path) -> dict[str, bytes]:
        write_zip(path, *entries, **how)  # type: ignore[arg-type]
        return {
            e.stored_name.decode("utf-8" if e.flags & UTF8 else "cp437"): e.data
            for e in entries
            if not e.stored_name.endswith(b"/")
        }

    ORDINARY[name] = build


_random = os.urandom(3_000_000)
_FILES = (
    Entry("fmriprep/", b"", STORED, stat.S_IFDIR | 0o755),
    Entry("fmriprep/dataset_description.json", b'{"Name": "x"}\n'),
    # A directory of a shared disk: set-gid, which is no reason to refuse.
    Entry("fmriprep/sub-01/", b"", STORED, stat.S_IFDIR | 0o2775),
    Entry("fmriprep/sub-01/func/sub-01_bold.nii.gz", _random, STORED),
    Entry("fmriprep/sub-01/func/sub-01_timeseries.tsv", _text(5_000_000)),
    Entry("fmriprep/sub-01/empty.txt", b"", STORED),
    Entry("fmriprep/sub-01/empty-deflated.txt", b"", DEFLATE),
    Entry("fmriprep/.gitkeep", b""),
)
_ordinary("plain", *_FILES)
_ordinary("empty")
_ordinary("comment", *_FILES, comment=b"by 7-Zip " * 100)
_ordinary("long comment", *_FILES, comment=b"c" * 65_535)
_ordinary("zip64", *(Entry(e.name, e.data, e.method, e.mode, wide=True) for e in _FILES))
_ordinary("zip64 record", *_FILES, zip64=True)
_ordinary("descriptors", Entry("a.txt", _text(9_999), descriptor=True), Entry("b.txt"))
_ordinary("wide descriptors", Entry("a.txt", _text(9_999), descriptor=True, wide=True), OK)
_ordinary("prefix, counted", OK, Entry("b"), prefix=b"#!/bin/sh\nexit\n" * 10)
_ordinary("prefix, not counted", OK, Entry("b"), prefix=b"#!/bin/sh\nexit\n" * 10, counted=False)
_ordinary("cp437", Entry("sub-01/\u00e9t\u00e9.txt".encode("cp437"), b"summer"))
_ordinary("utf-8", Entry("sub-01/\u00e9t\u00e9 \u6f22 \U0001f9e0.txt", b"summer"))
_ordinary("bzip2", Entry("a.txt", _text(2_000_000), BZIP2), Entry("r", _random[:300_000], BZIP2))
_ordinary("lzma", Entry("a.txt", _text(2_000_000), LZMA), Entry("r", _random[:300_000], LZMA))
_ordinary("zstd", Entry("a.txt", _text(2_000_000), ZSTD), Entry("r", _random[:300_000], ZSTD))
_ordinary(
    "names of all kinds",
    *map(Entry, ["$(touch x).txt", "{02}.txt", "a b", "it's", '"q"', "-rf", "--", "*", "a[1]?"]),
)
_ordinary("extra fields", Entry("a", extra=struct.pack("<2H", 0x9999, 300) + b"x" * 300), OK)
_ordinary("made on DOS", Entry("a.txt", mode=0, system=0), Entry("d/b.txt", mode=0, system=0))


# --- broken -----------------------------------------------------------------------------------


def _hostile(group: dict[str, Builder], name: str, build: Builder) -> None:
    group[name] = HOSTILE[name] = build


def _bytes(data: bytes) -> Builder:
    """Write what is no zip."""

    def build(path: Path) -> None:
        path.write_bytes(data)

    return build


def _cut(keep: Callable[[bytes], bytes]) -> Builder:
    """Write a good zip, and make something else of its bytes."""

    def build(path: Path) -> None:
        write_zip(path, OK, Entry("sub-01/other.txt", _text(5_000)))
        path.write_bytes(keep(path.read_bytes()))

    return build


def zip64_elsewhere(path: Path) -> None:
    """CVE-2025-8291: the locator leads to one directory, and before it is another.

    `zipfile` used to list `a/evil.txt`, others list `sub-01/ok.txt`.
    """
    evil = Entry("a/evil.txt", b"evil\n")
    body = OK.local_bytes() + evil.local_bytes()
    first = OK.central_bytes(0)
    first_at = len(body)
    first_record_at = first_at + len(first)
    record = _END_64.pack(b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(first), first_at)
    second_at = first_record_at + len(record)
    second = evil.central_bytes(len(OK.local_bytes()))
    second_record = _END_64.pack(b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(second), second_at)
    locator = _LOCATOR_64.pack(b"PK\6\7", 0, first_record_at, 1)
    end = _END.pack(b"PK\5\6", 0, 0, 0xFFFF, 0xFFFF, _MAX_32, _MAX_32, 0)
    path.write_bytes(body + first + record + second + second_record + locator + end)


def zip64_contradicts(path: Path) -> None:
    """The zip64 record and the end record each have a directory of their own."""
    evil = Entry("a/evil.txt", b"evil\n")
    body = OK.local_bytes() + evil.local_bytes()
    first, second = OK.central_bytes(0), evil.central_bytes(len(OK.local_bytes()))
    second_at = len(body) + len(first)
    record = _END_64.pack(b"PK\6\6", 44, 45, 45, 0, 0, 1, 1, len(second), second_at)
    locator = _LOCATOR_64.pack(b"PK\6\7", 0, second_at + len(second), 1)
    end = _END.pack(b"PK\5\6", 0, 0, 1, 1, len(first), len(body), 0)
    path.write_bytes(body + first + second + record + locator + end)


def zip64_prefixed(path: Path) -> None:
    """Bytes before the zip, and a zip64 record: readers look for it in different places."""
    write_zip(path, OK, zip64=True)
    path.write_bytes(b"x" * 100 + path.read_bytes())


def zip64_missing(path: Path) -> None:
    """A size that is said to be in a zip64 field, which is not there."""
    write_zip(path, OK, Entry("sub-01/big.nii", size=_MAX_32))


def split(path: Path) -> None:
    """The last part of a zip in several."""
    write_zip(path, OK)
    data = bytearray(path.read_bytes())
    data[-18:-16] = b"\3\0"
    path.write_bytes(data)


def wrong_count(path: Path) -> None:
    """The end says another number of members than the directory has."""
    write_zip(path, OK)
    data = bytearray(path.read_bytes())
    data[-14:-10] = b"\2\0\2\0"
    path.write_bytes(data)


_hostile(BROKEN, "empty file", _bytes(b""))
_hostile(BROKEN, "not a zip", _bytes(b"<html>404</html>\n" * 9))
_hostile(BROKEN, "a tarball", _bytes(b"\x1f\x8b" + _random[:9999]))
_hostile(BROKEN, "a pointer", _bytes(b"/annex/objects/MD5E-s9--0\n"))
_hostile(BROKEN, "truncated in the data", _cut(lambda data: data[:30]))
_hostile(BROKEN, "truncated in the directory", _cut(lambda data: data[:-60]))
_hostile(BROKEN, "truncated in the end", _cut(lambda data: data[:-1]))
_hostile(BROKEN, "its beginning is missing", _cut(lambda data: data[50:]))
_hostile(BROKEN, "something follows its end", _cut(lambda data: data + b"\0" * 10))
_hostile(BROKEN, "directory overwritten", _cut(lambda d: d[:-120] + b"\0" * 40 + d[-80:]))
_hostile(BROKEN, "zip64 elsewhere", zip64_elsewhere)
_hostile(BROKEN, "zip64 contradicts", zip64_contradicts)
_hostile(BROKEN, "zip64 prefixed", zip64_prefixed)
_hostile(BROKEN, "zip64 missing", zip64_missing)
_hostile(BROKEN, "split", split)
_hostile(BROKEN, "wrong count", wrong_count)


# --- refused ----------------------------------------------------------------------------------


def _members(*entries: Entry, **how: object) -> Builder:
    return lambda path: write_zip(path, OK, *entries, **how)  # type: ignore[arg-type]


NAMES = {
    "up": "../up",
    "up later": "sub-01/../../up",
    "up at the end": "sub-01/..",
    "absolute": "/etc/cron.d/x",
    "two slashes": "//server/share/x",
    "drive": "C:\\x",
    "drive, slash": "C:/x",
    "drive, relative": "c:x",
    "backslashes": "sub-01\\..\\..\\up",
    "dot": "sub-01/./x",
    "only a dot": ".",
    "empty component": "sub-01//x",
    "no name": "",
    "root": "/",
    "NUL": "sub-01/x.txt\0.jpg",
    "newline": "sub-01/x\ny",
    "escape sequence": "sub-01/\x1b[2Jx",
    "C1 control": "sub-01/x\x85y",
    "hook": ".git/hooks/post-commit",
    "hook, deep": "sub-01/.git/hooks/post-commit",
    "hook, directory": ".git/hooks/",
    "hook, upper case": ".GIT/hooks/post-commit",
    "hook, dot": ".git./hooks/post-commit",
    "hook, space": ".git /hooks/post-commit",
    "hook, stream": ".git::$INDEX_ALLOCATION/hooks/post-commit",
    "hook, short name": "GIT~1/hooks/post-commit",
    "hook, invisible": ".g\u200cit/hooks/post-commit",
    "hook, BOM": "\ufeff.git/hooks/post-commit",
    "git file": "sub-01/.git",
    "git anything": ".github/workflows/x.yml",
    "attributes": ".gitattributes",
    "attributes, deep": "sub-01/.gitattributes",
    "attributes, case": ".GitAttributes",
    "attributes, long s": ".gitattribute\u017f",
    "modules": ".gitmodules",
    "modules, case": ".gitModules",
    "modules, invisible": ".git\u200dmodules",
    "datalad": ".datalad/config",
    "datalad, case": ".DataLad/config",
    "datalad, dot": ".datalad./config",
    "datalad, invisible": ".data\u206alad/config",
    "noannex": ".noannex",
}
for _name, _text_name in NAMES.items():
    _hostile(REFUSED, f"name: {_name}", _members(Entry(_text_name)))
_hostile(REFUSED, "name: not UTF-8", _members(Entry(b"sub-01/\xff\xfe.txt", flags=UTF8)))
_hostile(
    REFUSED,
    "name: up in the Unicode field",
    _members(
        Entry(
            b"sub-01/x",
            extra=struct.pack("<2HBL", 0x7075, 5 + 8, 1, zlib.crc32(b"sub-01/x")) + b"../../up",
        )
    ),
)

MODES = {
    "symlink": (stat.S_IFLNK | 0o777, b"/etc/passwd"),
    "character device": (stat.S_IFCHR | 0o666, b""),
    "block device": (stat.S_IFBLK | 0o666, b""),
    "FIFO": (stat.S_IFIFO | 0o666, b""),
    "socket": (stat.S_IFSOCK | 0o666, b""),
    "set-uid": (FILE | stat.S_ISUID, b"#!/bin/sh\n"),
    "set-gid": (FILE | stat.S_ISGID, b"#!/bin/sh\n"),
    "directory by its mode": (stat.S_IFDIR | 0o755, b""),
}
"""All of these can be left out with -x."""
for _name, (_mode, _data) in MODES.items():
    _hostile(REFUSED, _name, _members(Entry("sub-01/odd", _data, mode=_mode)))
_hostile(REFUSED, "directory with content", _members(Entry("sub-01/odd/", b"x", STORED)))
_hostile(REFUSED, "encrypted", _members(Entry("sub-01/odd", flags=1)))
_hostile(REFUSED, "strongly encrypted", _members(Entry("sub-01/odd", flags=0x41)))

COLLISIONS = {
    "duplicate": ("sub-01/a", "sub-01/a"),
    "case": ("sub-01/a", "sub-01/A"),
    "case of a directory": ("sub-02/a", "Sub-02/b"),
    "normal form": ("sub-01/\u00e9", "sub-01/e\u0301"),
    "file against directory": ("sub-01/a", "sub-01/a/b"),
    "file against empty directory": ("sub-01/a/", "sub-01/a"),
    "file against directory, case": ("sub-01/A", "sub-01/a/b"),
}
"""All of these can be left out with -x, too."""
for _name, _pair in COLLISIONS.items():
    _entries = [Entry(name, b"" if name.endswith("/") else b"1", STORED) for name in _pair]
    _hostile(REFUSED, f"collision: {_name}", _members(*_entries))


def overlapping(path: Path) -> None:
    """A member in the stored data of another one."""
    inner = Entry("sub-01/inner.txt", b"inner\n" * 100)
    outer = Entry("sub-01/outer.bin", b"before" + inner.local_bytes() + b"after", STORED)
    at = outer.local_bytes().index(inner.local_bytes()[:30]) + len(OK.local_bytes())
    write_zip(path, OK, outer, Entry(inner.name, inner.data, present=False, offset=at))


def overlapping_bomb(path: Path) -> None:
    """A thousand members with one and the same data (after D. Fifield's zip bomb)."""
    kernel = Entry("sub-01/a", b"0" * 1_000_000)
    same = [
        Entry("sub-01/a", kernel.data, packed=kernel.content, present=not n, offset=0)
        for n in range(1000)
    ]
    write_zip(path, *same, Entry(OK.name, OK.data))


def behind_the_directory(path: Path) -> None:
    """A member whose data goes on into the directory."""
    write_zip(path, OK, Entry("sub-01/a", b"12345", STORED, size=60, packed_size=60))


def ratio_bomb(path: Path) -> None:
    """Zeros: 120 MB in 120 KB."""
    write_zip(path, OK, Entry("sub-01/zeros.nii", b"\0" * 120_000_000))


def declared_bomb(path: Path) -> None:
    """A file of a few bytes that says it has 1 EB."""
    write_zip(path, OK, Entry("sub-01/huge.nii", size=1 << 60, wide=True))


_hostile(REFUSED, "overlapping", overlapping)
_hostile(REFUSED, "overlapping bomb", overlapping_bomb)
_hostile(REFUSED, "behind the directory", behind_the_directory)
_hostile(REFUSED, "ratio bomb", ratio_bomb)
_hostile(REFUSED, "declared bomb", declared_bomb)
for _name, _method in {"Deflate64": 9, "Implode": 6, "PPMd": 98, "method 77": 77}.items():
    _hostile(REFUSED, f"packed: {_name}", _members(Entry("sub-01/odd", method=_method)))


def count_bomb(path: Path, members: int = 20_000) -> None:
    """Empty files. Not in `HOSTILE`, because it takes a limit below its number of members."""
    write_zip(path, OK, *(Entry(f"sub-01/{n}", b"", STORED) for n in range(members - 1)))


# --- found out when unpacked ------------------------------------------------------------------

_LIE = _text(600_000)
_hostile(LYING, "bad CRC", _members(Entry("sub-01/lie", _LIE, crc=1)))
_hostile(LYING, "bad CRC, stored", _members(Entry("sub-01/lie", _LIE, STORED, crc=1)))
_hostile(LYING, "larger than it says", _members(Entry("sub-01/lie", _LIE, size=1000)))
_hostile(LYING, "larger, nothing said", _members(Entry("sub-01/lie", _LIE, size=0)))
_hostile(LYING, "larger, one byte", _members(Entry("sub-01/lie", _LIE, size=len(_LIE) - 1)))
_hostile(LYING, "smaller than it says", _members(Entry("sub-01/lie", _LIE, size=9_000_000)))
_hostile(LYING, "smaller, stored", _members(Entry("sub-01/lie", _LIE, STORED, size=9_000_000)))
_hostile(LYING, "larger, stored", _members(Entry("sub-01/lie", _LIE, STORED, size=1000)))
_hostile(LYING, "broken data", _members(Entry("sub-01/lie", _LIE, packed=b"\xff" * 500)))
_hostile(LYING, "broken bzip2", _members(Entry("sub-01/lie", _LIE, BZIP2, packed=b"\xff" * 500)))
_hostile(LYING, "broken lzma", _members(Entry("sub-01/lie", _LIE, LZMA, packed=b"\xff" * 500)))
_hostile(LYING, "broken zstd", _members(Entry("sub-01/lie", _LIE, ZSTD, packed=b"\xff" * 500)))
_hostile(
    LYING,
    "cut data",
    _members(Entry("sub-01/lie", _LIE, packed=pack(_text(600_000), DEFLATE)[:500])),
)
_hostile(
    LYING, "other name in its header", _members(Entry("sub-01/lie", local={"name": b"sub-01/odd"}))
)
_hostile(LYING, "other method in its header", _members(Entry("sub-01/lie", local={"method": 0})))
_hostile(LYING, "other sizes in its header", _members(Entry("sub-01/lie", local={"size": 3})))
_hostile(LYING, "other CRC in its header", _members(Entry("sub-01/lie", local={"crc": 3})))
_hostile(LYING, "encrypted in its header", _members(Entry("sub-01/lie", local={"flags": 1})))


def overlap_by_its_header(path: Path) -> None:
    """An extra field as long as the next header, so that the data is that of the next member.

    It cannot be seen in the directory (quoting by extra fields, after D. Fifield).
    """
    write_zip(path, Entry("sub-01/lie", b"xy", STORED), OK)
    data = bytearray(path.read_bytes())
    data[28:30] = b"\x2d\0"
    path.write_bytes(data)


def no_header(path: Path) -> None:
    """Something else where the directory says that a member is."""
    write_zip(path, Entry("sub-01/lie"), OK)
    path.write_bytes(path.read_bytes().replace(b"PK\3\4", b"PK\0\0", 1))


_hostile(LYING, "overlap by its header", overlap_by_its_header)
_hostile(LYING, "no header", no_header)
