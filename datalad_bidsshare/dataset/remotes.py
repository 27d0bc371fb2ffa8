"""Where a dataset can get content from."""

from __future__ import annotations

from pathlib import Path

from datalad_bidsshare.dataset.process import run

__all__ = ["remote_names"]


def remote_names(root: Path) -> list[str]:
    """Give the names of a dataset's remotes (siblings), special remotes among them.

    Parameters
    ----------
    root
        Root of the dataset.

    Raises
    ------
    DatasetError
        When the dataset cannot be read.
    """
    # Special remotes have a section in the configuration too, which is what git looks at.
    return run(["git", "remote"], root).decode("utf-8", "surrogateescape").split()
