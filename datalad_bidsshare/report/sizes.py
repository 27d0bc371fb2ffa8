"""Sizes for people."""

from __future__ import annotations

__all__ = ["human_bytes"]


def human_bytes(size: int) -> str:
    """Write a number of bytes as a person reads it: ``7.6 MB`` (powers of 1000).

    The same units as git-annex and DataLad use.
    """
    value = float(size)
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(value) < 999.95 or (unit == "B" and abs(value) < 1000):
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} PB"
