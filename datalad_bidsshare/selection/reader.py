"""How this room gets at the content of files, which it never opens itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

__all__ = ["Reader"]

Reader = Callable[[Sequence[str]], Iterable[tuple[str, "bytes | None"]]]
"""Gives the content of files, None where it is not here.

One call may ask for many; what is asked for and not answered counts as None.
"""
