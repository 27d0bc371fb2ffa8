"""The record of files that are fine, where only the command line asks."""

from __future__ import annotations

from typing import Any

__all__ = ["Slot"]


class Slot(dict[str, Any]):
    """The one record of files that are fine, when the command line is what asks.

    DataLad's command line keeps every record until the end, and looks at none of them again: one
    and the same, written anew each time, keeps memory flat at a million files.

    Attributes
    ----------
    unseen
        Whether it was rendered by our own renderer, which shows nothing of it. So it would be
        with the next ones, and they need not be made.
    """

    unseen = False
