"""The record of files that are fine, where only the command line asks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import datalad

__all__ = ["Slot", "is_command_line"]


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


def is_command_line(root: Path) -> bool:
    """Tell whether the command line asks, and nothing but a renderer looks at the records.

    Parameters
    ----------
    root
        Root of the dataset whose configuration may say otherwise, or another directory.
    """
    if datalad.get_apimode() != "cmdline":
        return False
    from datalad.distribution.dataset import Dataset

    # Hooks see each record.
    return not any(name.startswith("datalad.result-hook.") for name in Dataset(root).config.keys())  # noqa: SIM118
