"""Paths as git stores them: bytes, and the text that they are here."""

from __future__ import annotations

__all__ = ["decode", "encode"]


def decode(raw: bytes) -> str:
    """Decode a path as git stores it."""
    return raw.decode("utf-8", "surrogateescape")


def encode(path: str) -> bytes:
    """Give back the bytes of a path as git stores it."""
    return path.encode("utf-8", "surrogateescape")
