"""Paths as one field of a line: any bytes but those that end it, which are escaped."""

from __future__ import annotations

import re

from datalad_bidsshare.dataset.encoding import decode, encode

__all__ = ["field_of", "path_of"]

_ESCAPES = {b"\\": b"\\\\", b"\t": b"\\t", b"\n": b"\\n", b"\r": b"\\r"}
_MEANINGS = {escape: byte for byte, escape in _ESCAPES.items()}
_TO_ESCAPE = re.compile(rb"[\\\t\n\r]")
_ESCAPED = re.compile(rb"\\(.?)", re.S)


def field_of(path: str) -> bytes:
    """Give a path as it stands in a line."""
    raw = encode(path)
    if b"\\" in raw or b"\n" in raw or b"\t" in raw or b"\r" in raw:
        return _TO_ESCAPE.sub(lambda found: _ESCAPES[found[0]], raw)
    return raw


def path_of(field: bytes) -> str:
    """Give the path that stands in a line.

    Raises
    ------
    ValueError
        When a backslash is followed by something that does not belong there.
    """
    if b"\\" not in field:
        return decode(field)
    return decode(_ESCAPED.sub(_meaning, field))


def _meaning(found: re.Match[bytes]) -> bytes:
    try:
        return _MEANINGS[found[0]]
    except KeyError:
        raise ValueError(f"unknown escape {found[0]!r}") from None
