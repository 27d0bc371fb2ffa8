"""Labels that are numbers: BIDS indices, such as those of runs."""

from __future__ import annotations

__all__ = ["MOST_DIGITS", "whole_number"]

#: Longer ones are no numbers to us: Python refuses to convert digits by the
#: thousand, and names are somebody else's input.
MOST_DIGITS = 300


def whole_number(label: str) -> int | None:
    """Give the number that a label spells, or None if it is to be compared as text.

    Parameters
    ----------
    label
        Any text; ``'01'`` is 1.
    """
    return int(label) if len(label) <= MOST_DIGITS and label.isdecimal() else None
