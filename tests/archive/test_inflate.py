"""Decompression with whatever is installed."""

from __future__ import annotations

import subprocess
import sys
import zlib

import pytest

from datalad_bidsshare.archive import inflate
from datalad_bidsshare.archive.inflate import (
    Unsupported,
    codec,
    crc32,
    decompressor,
    errors,
    why_unsupported,
)
from tests.archive.zips import BZIP2, DEFLATE, LZMA, ZSTD, pack

METHODS = {"deflate": DEFLATE, "bzip2": BZIP2, "lzma": LZMA, "zstd": ZSTD}
TEXT = b"".join(b"%d\t%d\n" % (n, n * n % 9973) for n in range(60_000))


def unpack(packed: bytes, method: int, size: int, piece: int, most: int) -> bytes:
    """Unpack as `extract` does."""
    made = decompressor(method)
    found = bytearray()
    at = 0
    data = b""
    while not made.eof and len(found) <= size:
        out = made.decompress(data, most)
        assert len(out) <= most
        found += out
        data = made.unconsumed_tail
        if len(out) < most and not data:
            if at >= len(packed):
                break
            data = packed[at : at + piece]
            at += piece
    return bytes(found)


@pytest.mark.parametrize("piece", [1, 1000, 1 << 20])
@pytest.mark.parametrize("most", [77, 1 << 16])
@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_round_trip_in_pieces(method: int, most: int, piece: int) -> None:
    text = TEXT[:20_000] if piece == 1 else TEXT
    assert unpack(pack(text, method), method, len(text), piece, most) == text


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_nothing(method: int) -> None:
    assert unpack(pack(b"", method), method, 0, 100, 1) == b""


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_no_more_comes_at_once_than_asked_for(method: int) -> None:
    packed = pack(bytes(30_000_000), method)
    made = decompressor(method)
    data = packed
    for _ in range(50):
        assert len(made.decompress(data, 1000)) <= 1000
        data = made.unconsumed_tail


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_broken_data_is_one_of_the_errors(method: int) -> None:
    with pytest.raises(errors()):
        unpack(b"\xff" * 500, method, 10_000, 100, 1000)


@pytest.mark.parametrize("name", ["isal", "zlib-ng", "zlib"])
def test_every_codec_gives_the_same(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = {"isal": "isal.isal_zlib", "zlib-ng": "zlib_ng.zlib_ng", "zlib": "zlib"}[name]
    monkeypatch.setattr(inflate, "_module", pytest.importorskip(module))
    assert codec() == name
    assert unpack(pack(TEXT, DEFLATE), DEFLATE, len(TEXT), 1000, 4096) == TEXT
    assert crc32(TEXT[100:], crc32(TEXT[:100])) == zlib.crc32(TEXT)
    with pytest.raises(errors()):
        unpack(b"\xff" * 500, DEFLATE, 10_000, 100, 1000)


@pytest.mark.parametrize(
    ("missing", "expected"),
    [("", "isal"), ("isal", "zlib-ng"), ("isal zlib_ng", "zlib")],
)
def test_the_fastest_that_is_there_is_taken(missing: str, expected: str) -> None:
    for module in ("isal", "zlib_ng"):
        pytest.importorskip(module)
    program = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({missing.split()!r}))\n"
        "from datalad_bidsshare.archive.inflate import codec\n"
        "print(codec())"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{expected}\n"


@pytest.mark.parametrize(
    ("module", "method"), [("bz2", BZIP2), ("lzma", LZMA), ("zstandard", ZSTD)]
)
def test_a_python_without_a_module_says_so(
    module: str, method: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    if method == ZSTD:
        monkeypatch.setitem(sys.modules, "compression", None)
    assert "which this Python cannot unpack" in str(why_unsupported(method))


@pytest.mark.parametrize(
    ("method", "text"), [(9, r"Deflate64 \(method 9\)"), (98, "PPMd"), (77, "with method 77")]
)
def test_unknown_methods_are_named(method: int, text: str) -> None:
    with pytest.raises(Unsupported, match=text):
        decompressor(method)
    assert why_unsupported(method)


def test_methods_that_work() -> None:
    assert [why_unsupported(method) for method in (0, *METHODS.values())] == [None] * 5


def test_a_window_that_is_too_large_is_refused() -> None:
    packed = pack(TEXT, LZMA)
    with pytest.raises(errors(), match="LZMA"):
        unpack(packed[:5] + b"\xff\xff\xff\xff" + packed[9:], LZMA, len(TEXT), 1000, 1000)
