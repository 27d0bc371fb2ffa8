"""A zip archive: streamed, and the same bytes for the same files.

`zipfile` would keep an object for every member, and writes what differs between versions of
Python. Format: APPNOTE.TXT of PKWARE, and Info-ZIP's extra field for time stamps in UTC.
"""

from __future__ import annotations

import re
import stat
import struct
import time
import zlib

from datalad_bidsshare.export.archive_streams import Output

__all__ = ["ZipContainer", "unfit_for_zip"]

_STORED, _DEFLATED = 0, 8
_DEFLATE_LEVEL = 6
_UNIX = 3
_UTF8_NAMES = 0x800
_VERSION, _VERSION_64 = 20, 45
_MAX_16, _MAX_32 = 0xFFFF, 0xFFFFFFFF
# Deflate can make data larger, by less than a thousandth; sizes below need no 64 bits then.
_SURELY_32 = 0xFF000000
# signature, version, flags, method, time, date, crc, compressed, size, name, extra
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_SIZES = struct.Struct("<3L")
_LOCAL_SIZES_AT = 14
# signature, made by, version, flags, method, time, date, crc, compressed, size, name, extra,
# comment, disk, internal attributes, external attributes, offset
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END = struct.Struct("<4s4H2LH")
_END_64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR_64 = struct.Struct("<4sLQL")
_DRIVE = re.compile(r"[A-Za-z]:")


def unfit_for_zip(name: str) -> str | None:
    """Say why a zip archive cannot hold a name, or None when it can."""
    try:
        length = len(name.encode("utf-8"))
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    if length > _MAX_16:
        return "its name is longer than 65,535 bytes"
    if "\\" in name:
        return "its name has a backslash, which is a separator to some that unpack"
    if _DRIVE.match(name):
        return "its name starts like one on a drive of Windows"
    return None


class ZipContainer:
    """Writes regular files one after the other.

    Parameters
    ----------
    out
        Where it goes.
    mtime
        Time stamp of all members, Unix seconds.
    """

    undoes = True

    def __init__(self, out: Output, mtime: int) -> None:
        self._out = out
        self._time, self._date = _dos_time(mtime)
        # Extra field 'UT': times of DOS know no time zone, and end in steps of two seconds.
        in_range = 0 <= mtime < 1 << 31
        self._extra = struct.pack("<2sHBl", b"UT", 5, 1, mtime) if in_range else b""
        self._central = bytearray()
        self._count = 0
        self._held: list[bytes] | None = None
        self._deflate: zlib._Compress | None = None

    def begin(self, name: str, size: int, executable: bool, store: bool, large: bool) -> None:
        """Start a member of `size` bytes. A `large` one is not held in memory."""
        self._name = name.encode("utf-8")
        self._size = size
        self._crc = 0
        self._mode = stat.S_IFREG | (0o755 if executable else 0o644)
        self._method = _STORED if store else _DEFLATED
        self._wide = size > _SURELY_32
        self._start = self._out.position
        self._deflate = None
        if large:
            self._held = None
            if not store:
                self._deflate = zlib.compressobj(_DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
            # Sizes and checksum follow when they are known.
            self._out.write(self._local(0))
            self._data = self._out.position
        else:
            self._held = []

    def write(self, data: bytes | memoryview) -> None:
        """Append to the member."""
        self._crc = zlib.crc32(data, self._crc)
        if self._held is not None:
            self._held.append(bytes(data))
        elif self._deflate is not None:
            self._out.write(self._deflate.compress(data))
        else:
            self._out.write(data)

    def end(self) -> None:
        """End the member, all bytes of which were written."""
        if self._held is not None:
            content = b"".join(self._held)
            if self._method == _DEFLATED:
                deflate = zlib.compressobj(_DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
                smaller = deflate.compress(content) + deflate.flush()
                if len(smaller) < len(content):
                    content = smaller
                else:
                    self._method = _STORED
            compressed = len(content)
            self._out.write(self._local(compressed))
            self._out.write(content)
            self._held = None
        else:
            if self._deflate is not None:
                self._out.write(self._deflate.flush())
            compressed = self._out.position - self._data
            self._rewrite_sizes(compressed)
        self._list(compressed)

    def undo(self) -> None:
        """Take the member back that was begun last."""
        self._held = None
        self._out.truncate(self._start)

    def finish(self) -> None:
        """Write the central directory and the end."""
        start, size, count = self._out.position, len(self._central), self._count
        self._out.write(self._central)
        if count >= _MAX_16 or start >= _MAX_32 or size >= _MAX_32:
            at = self._out.position
            made_by = _UNIX << 8 | _VERSION_64
            end = _END_64.pack(
                b"PK\6\6", _END_64.size - 12, made_by, _VERSION_64, 0, 0, count, count, size, start
            )
            self._out.write(end + _LOCATOR_64.pack(b"PK\6\7", 0, at, 1))
        count, size, start = min(count, _MAX_16), min(size, _MAX_32), min(start, _MAX_32)
        self._out.write(_END.pack(b"PK\5\6", 0, 0, count, count, size, start, 0))

    def _local(self, compressed: int) -> bytes:
        sizes = (_MAX_32, _MAX_32) if self._wide else (compressed, self._size)
        extra = self._extra
        if self._wide:
            extra = struct.pack("<2H2Q", 1, 16, self._size, compressed) + extra
        return (
            _LOCAL.pack(
                b"PK\3\4",
                _VERSION_64 if self._wide else _VERSION,
                _UTF8_NAMES,
                self._method,
                self._time,
                self._date,
                self._crc,
                *sizes,
                len(self._name),
                len(extra),
            )
            + self._name
            + extra
        )

    def _rewrite_sizes(self, compressed: int) -> None:
        if self._wide:
            sizes = _LOCAL_SIZES.pack(self._crc, _MAX_32, _MAX_32)
            at = self._start + _LOCAL.size + len(self._name) + 4
            self._out.rewrite(at, struct.pack("<2Q", self._size, compressed))
        else:
            sizes = _LOCAL_SIZES.pack(self._crc, compressed, self._size)
        self._out.rewrite(self._start + _LOCAL_SIZES_AT, sizes)

    def _list(self, compressed: int) -> None:
        """Note the member for the central directory."""
        # Only those of the three that do not fit are in the extra field.
        wide = [n for n in (self._size, compressed, self._start) if n >= _MAX_32]
        extra = self._extra
        if wide:
            extra = struct.pack(f"<2H{len(wide)}Q", 1, 8 * len(wide), *wide) + extra
        self._count += 1
        self._central += _CENTRAL.pack(
            b"PK\1\2",
            _UNIX << 8 | _VERSION_64,
            _VERSION_64 if wide or self._wide else _VERSION,
            _UTF8_NAMES,
            self._method,
            self._time,
            self._date,
            self._crc,
            min(compressed, _MAX_32),
            min(self._size, _MAX_32),
            len(self._name),
            len(extra),
            0,
            0,
            0,
            self._mode << 16,
            min(self._start, _MAX_32),
        )
        self._central += self._name
        self._central += extra


def _dos_time(mtime: int) -> tuple[int, int]:
    """Give a time in UTC as DOS writes it: 1980 to 2107."""
    # The last second of 2107
    at = time.gmtime(min(max(mtime, 315_532_800), 4_354_819_199))
    return (
        at.tm_hour << 11 | at.tm_min << 5 | at.tm_sec // 2,
        (at.tm_year - 1980) << 9 | at.tm_mon << 5 | at.tm_mday,
    )
