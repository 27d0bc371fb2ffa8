"""Decompression: the fastest deflate that is installed, and the rarer methods."""

from __future__ import annotations

import struct
import zlib
from types import ModuleType
from typing import Any, Protocol

__all__ = [
    "STORED",
    "BrokenData",
    "Decompressor",
    "Unsupported",
    "codec",
    "crc32",
    "decompressor",
    "errors",
    "why_unsupported",
]

STORED = 0
_DEFLATE, _BZIP2, _LZMA, _ZSTD = 8, 12, 14, 93

_NAMES = {
    1: "Shrink",
    **dict.fromkeys(range(2, 6), "Reduce"),
    6: "Implode",
    _DEFLATE: "Deflate",
    9: "Deflate64",
    10: "PKWARE DCL Implode",
    _BZIP2: "bzip2",
    _LZMA: "LZMA",
    18: "IBM TERSE",
    19: "IBM LZ77",
    20: "Zstandard (old number)",
    _ZSTD: "Zstandard",
    94: "MP3",
    95: "XZ",
    96: "JPEG",
    97: "WavPack",
    98: "PPMd",
    99: "AES encryption",
}


class Unsupported(Exception):
    """A compression method that cannot be unpacked here. The text names it."""


class Decompressor(Protocol):
    """What `zlib.decompressobj` gives, as far as it is used here.

    To go on, give `unconsumed_tail` again, or `b""`, for as long as a call returns `max_length`
    bytes; otherwise it wants more input.
    """

    @property
    def eof(self) -> bool:
        """Whether the end of the compressed data was reached, where they have a mark of it."""

    @property
    def unconsumed_tail(self) -> bytes:
        """Input that was not looked at."""

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        """Unpack up to a number of bytes, which is at least 1."""


def why_unsupported(method: int) -> str | None:
    """Say which compression method it is that cannot be unpacked, or None when it can."""
    if method in (STORED, _DEFLATE):
        return None
    try:
        decompressor(method)
    except Unsupported as e:
        return str(e)
    return None


def decompressor(method: int) -> Decompressor:
    """Make a decompressor for a member.

    Parameters
    ----------
    method
        Its number in zip files. Not 0: what is stored needs none.

    Returns
    -------
    Decompressor
        It raises one of `errors()` for data that cannot be unpacked.

    Raises
    ------
    Unsupported
        For a method that is not known, or not to this Python.
    """
    if method == _DEFLATE:
        made: Decompressor = _deflate().decompressobj(-15)
        return made
    name = _NAMES.get(method)
    try:
        if method == _BZIP2:
            import bz2

            return _Buffering(bz2.BZ2Decompressor())
        if method == _LZMA:
            return _Lzma()
        if method == _ZSTD:
            return _zstd()
    except ImportError:
        raise Unsupported(
            f"is compressed with {name} (method {method}), which this Python cannot unpack"
        ) from None
    what = f"{name} (method {method})" if name else f"method {method}"
    raise Unsupported(f"is compressed with {what}, which cannot be unpacked here")


class BrokenData(Exception):
    """Data that cannot be unpacked, of a method other than deflate."""


def errors() -> tuple[type[Exception], ...]:
    """Give the exceptions of decompressors that mean broken data."""
    return (BrokenData, _deflate().error)


class _Buffering:
    """A decompressor of the standard library that keeps what it did not look at.

    Parameters
    ----------
    inner
        Of `bz2`, `lzma` or `compression.zstd`.
    """

    unconsumed_tail = b""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    @property
    def eof(self) -> bool:
        return bool(self._inner.eof)

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        try:
            unpacked: bytes = self._inner.decompress(data, max_length)
        except MemoryError:
            raise
        # Each of the three has exceptions of its own; none of them writes or reads a file.
        except Exception as e:
            raise BrokenData(str(e)) from e
        return unpacked


class _Lzma:
    """LZMA as zip files have it: properties, then raw data, maybe without a mark of its end."""

    unconsumed_tail = b""

    def __init__(self) -> None:
        import lzma

        self._lzma = lzma
        self._header = b""
        self._inner: _Buffering | None = None

    @property
    def eof(self) -> bool:
        return self._inner is not None and self._inner.eof

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        if self._inner is None:
            self._header += data
            # version of the SDK (2 bytes), length of the properties (5), properties
            if len(self._header) < _LZMA_HEADER.size:
                return b""
            _, length, first, window = _LZMA_HEADER.unpack_from(self._header)
            if length != 5 or first >= 9 * 5 * 5 or window > _MAX_WINDOW:
                raise BrokenData("properties of LZMA that cannot be right")
            rest, lc = divmod(first, 9)
            pb, lp = divmod(rest, 5)
            filters = [
                {
                    "id": self._lzma.FILTER_LZMA1,
                    "dict_size": max(window, 4096),
                    "lc": lc,
                    "lp": lp,
                    "pb": pb,
                }
            ]
            try:
                inner = self._lzma.LZMADecompressor(self._lzma.FORMAT_RAW, filters=filters)
            except self._lzma.LZMAError as e:
                raise BrokenData(str(e)) from e
            self._inner = _Buffering(inner)
            data = self._header[_LZMA_HEADER.size :]
        return self._inner.decompress(data, max_length)


_LZMA_HEADER = struct.Struct("<HHBL")
_MAX_WINDOW = 1 << 28
"""Bytes of memory that a member may ask for. More than any program's highest level."""


def _zstd() -> Decompressor:
    try:
        # Python 3.14
        from compression import zstd  # type: ignore[import-not-found, unused-ignore]
    except ImportError:
        return _Zstd()
    return _Buffering(zstd.ZstdDecompressor())


class _Zstd:
    """The package `zstandard`, whose decompressor knows no limit on what it gives at once."""

    # A block is 4 bytes at least, and unpacks to 128 KiB at most: so this gives 8 MiB at most.
    _AT_ONCE = 256

    def __init__(self) -> None:
        import zstandard

        self._error = zstandard.ZstdError
        made = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW)
        self._inner = made.decompressobj()
        self._ready = b""
        self.unconsumed_tail = b""

    @property
    def eof(self) -> bool:
        return not self._ready and bool(self._inner.eof)

    def decompress(self, data: bytes, max_length: int, /) -> bytes:
        parts = [self._ready]
        got = len(self._ready)
        at = 0
        while got < max_length and at < len(data) and not self._inner.eof:
            try:
                part = self._inner.decompress(data[at : at + self._AT_ONCE])
            except self._error as e:
                raise BrokenData(str(e)) from e
            at += self._AT_ONCE
            parts.append(part)
            got += len(part)
        self.unconsumed_tail = data[at:]
        unpacked = b"".join(parts)
        self._ready = unpacked[max_length:]
        return unpacked[:max_length]


_module: ModuleType | None = None


def _deflate() -> Any:
    """Give the module that inflates, and sums up. All have the interface of zlib."""
    global _module
    if _module is None:
        _module = _find()
    return _module


def _find() -> Any:
    # Measured on 400 MB (a quarter of it deflated text): ISA-L first, zlib-ng close to it.
    try:
        from isal import isal_zlib

        return isal_zlib
    except ImportError:
        pass
    try:
        from zlib_ng import zlib_ng

        return zlib_ng
    except ImportError:
        return zlib


def codec() -> str:
    """Tell what inflates: 'isal', 'zlib-ng' or 'zlib'."""
    return {"isal": "isal", "zlib_ng": "zlib-ng"}.get(_deflate().__name__.split(".")[0], "zlib")


def crc32(data: bytes | memoryview, value: int = 0) -> int:
    """Go on with a CRC-32."""
    crc: int = _deflate().crc32(data, value)
    return crc
