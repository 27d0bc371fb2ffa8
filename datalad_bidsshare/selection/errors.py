"""Errors of the selection grammar."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = ["SelectionError", "UnknownEntityError", "near_matches"]


class SelectionError(ValueError):
    """A selection that cannot be understood.

    The text is one sentence for the user: what is wrong, and what to do next.
    """


class UnknownEntityError(SelectionError):
    """A key that no BIDS entity goes by."""


def near_matches(word: str, known: Iterable[str], most: int = 3) -> list[str]:
    """Give the known words that look most like a mistyped one, best first."""
    candidates = {w.casefold(): w for w in known}
    close = difflib.get_close_matches(word.casefold(), candidates, n=most, cutoff=0.6)
    return [candidates[c] for c in close]
