"""What an archive is written to: a file, plain or through gzip or Zstandard.

All can take back what was written since a mark, but for Zstandard.
"""

from __future__ import annotations

import zlib
from typing import IO, Protocol

__all__ = ["GzipStream", "Output", "PlainStream", "Stream", "ZstdStream"]

_DEFLATE_LEVEL = 6
_ZSTD_LEVEL = 3
_STORED_LIMIT = 0xFFFF  # bytes that one stored block of deflate can hold


class Output:
    """A new file that knows how far it is written.

    Parameters
    ----------
    file
        Empty, buffered, and one that can be sought in.
    """

    __slots__ = ("_file", "position")

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.position = 0

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Append.

        Raises
        ------
        OSError
            As all methods do when the disk is full or fails.
        """
        self._file.write(data)
        self.position += len(data)

    def rewrite(self, position: int, data: bytes) -> None:
        """Put other bytes in place of some that were written."""
        self._file.seek(position)
        self._file.write(data)
        self._file.seek(self.position)

    def truncate(self, position: int) -> None:
        """Take back what was written from a position on."""
        self._file.seek(position)
        self._file.truncate()
        self.position = position


class Stream(Protocol):
    """Bytes on their way into the file.

    Attributes
    ----------
    undoes
        Whether `undo` is possible.
    """

    undoes: bool

    def write(self, data: bytes | memoryview, store: bool) -> None:
        """Append; with `store`, do not try to make it smaller."""

    def mark(self) -> None:
        """Remember this place."""

    def undo(self) -> None:
        """Take back what was written since `mark`."""

    def finish(self) -> None:
        """Write what belongs at the end."""


class PlainStream:
    """No compression."""

    undoes = True

    def __init__(self, out: Output) -> None:
        self._out = out
        self._mark = 0

    def write(self, data: bytes | memoryview, store: bool) -> None:
        """Append."""
        self._out.write(data)

    def mark(self) -> None:
        """Remember this place."""
        self._mark = self._out.position

    def undo(self) -> None:
        """Take back what was written since `mark`."""
        self._out.truncate(self._mark)

    def finish(self) -> None:
        """Nothing belongs at the end."""


class GzipStream:
    """One gzip member, with no name and no time in it.

    Its deflate stream changes between compressed and stored blocks (as `pigz` joins what its
    threads made): what is compressed already costs nothing but its checksum.
    """

    undoes = True

    def __init__(self, out: Output) -> None:
        self._out = out
        self._crc = 0
        self._size = 0
        self._mark = (0, 0, 0)
        # None: nothing is under way, the output is at a byte's and a block's boundary.
        self._deflate: zlib._Compress | None = None
        out.write(b"\x1f\x8b\x08\0" + bytes(4) + b"\0\xff")

    def write(self, data: bytes | memoryview, store: bool) -> None:
        """Append; with `store`, as stored blocks."""
        self._crc = zlib.crc32(data, self._crc)
        self._size += len(data)
        if not store:
            if self._deflate is None:
                self._deflate = zlib.compressobj(_DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
            self._out.write(self._deflate.compress(data))
            return
        self._align()
        view = memoryview(data)
        # By hand: what zlib makes of level 0 depends on the buffers that it is given.
        for start in range(0, len(view), _STORED_LIMIT):
            piece = view[start : start + _STORED_LIMIT]
            length = len(piece).to_bytes(2, "little")
            self._out.write(b"\0" + length + bytes(b ^ 0xFF for b in length))
            self._out.write(piece)

    def _align(self) -> None:
        if self._deflate is not None:
            self._out.write(self._deflate.flush(zlib.Z_FULL_FLUSH))
            self._deflate = None

    def mark(self) -> None:
        """Remember this place."""
        self._align()
        self._mark = (self._out.position, self._crc, self._size)

    def undo(self) -> None:
        """Take back what was written since `mark`."""
        position, self._crc, self._size = self._mark
        self._deflate = None
        self._out.truncate(position)

    def finish(self) -> None:
        """Write a last block, the checksum, and the length."""
        self._align()
        self._out.write(b"\x01\0\0\xff\xff")
        self._out.write(self._crc.to_bytes(4, "little"))
        self._out.write((self._size & 0xFFFFFFFF).to_bytes(4, "little"))


class ZstdStream:
    """One Zstandard frame: many readers stop at the end of the first."""

    undoes = False

    def __init__(self, out: Output) -> None:
        # Here: no other export needs it.
        import zstandard

        self._out = out
        # One thread: what comes out must not depend on the machine.
        self._frame = zstandard.ZstdCompressor(level=_ZSTD_LEVEL, write_checksum=True).compressobj()

    def write(self, data: bytes | memoryview, store: bool) -> None:
        """Append. Zstandard sees by itself what cannot be compressed."""
        self._out.write(self._frame.compress(data))

    def mark(self) -> None:
        """Do nothing: a frame cannot be taken apart."""

    def undo(self) -> None:
        """Not possible."""
        raise NotImplementedError

    def finish(self) -> None:
        """End the frame."""
        self._out.write(self._frame.flush())
