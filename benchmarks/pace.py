"""How fast things came at the beginning and at the end, told by when each of them did."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

__all__ = ["first_and_last"]


def first_and_last(arrivals: Sequence[float], window: int) -> tuple[float, float] | None:
    """Give the seconds that each took.

    Things may come in bursts, when what was done for many of them is said at once. Then the time
    between two bursts is that of each thing in the second of them, in equal parts. When work on
    the first burst began is not known, so its things do not count.

    Parameters
    ----------
    arrivals
        Seconds from the start at which things came, in order.
    window
        How many to look at.

    Returns
    -------
    tuple of float or None
        Seconds a thing: for the first `window` after the first burst, and for the last `window`.
        None if these would overlap, as when all came at once.
    """
    if not arrivals:
        return None
    apart = arrivals[-1] / len(arrivals) / 2
    #: How many had come at which time: once a burst.
    ends: list[tuple[int, float]] = []
    for count, (now, after) in enumerate(pairwise([*arrivals, float("inf")]), start=1):
        if after - now > apart:
            ends.append((count, now))
    first, last = ends[0][0], len(arrivals)
    if last - window < first + window:
        return None

    def elapsed(start: int, end: int) -> float:
        return (_at(ends, end) - _at(ends, start)) / (end - start)

    return elapsed(first, first + window), elapsed(last - window, last)


def _at(ends: Sequence[tuple[int, float]], count: int) -> float:
    """Give the time at which so many had come, if those of a burst came one by one."""
    for (before, began), (after, ended) in pairwise(ends):
        if before <= count <= after:
            return began + (ended - began) * (count - before) / (after - before)
    raise ValueError(f"no time is known for {count}")
