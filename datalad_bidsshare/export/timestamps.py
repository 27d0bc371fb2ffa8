"""Whether a file is still the one that was written."""

from __future__ import annotations

__all__ = ["is_same_file"]

#: FAT counts in two seconds, exFAT in hundredths: so much may be off after the disk was away.
_COARSE_NS = 2 * 10**9
_STEP_NS = 10**7


def is_same_file(found: tuple[int, int], written: tuple[int, int]) -> bool:
    """Say whether size and time stamp are those that were written.

    Parameters
    ----------
    found, written
        Bytes, and nanoseconds.
    """
    if found == written:
        return True
    off = abs(found[1] - written[1])
    return found[0] == written[0] and off <= _COARSE_NS and found[1] % _STEP_NS == 0
