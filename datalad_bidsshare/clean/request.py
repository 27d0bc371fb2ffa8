"""A request to give disk space back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datalad_bidsshare.plan.request import Request

if TYPE_CHECKING:
    from datalad_bidsshare.cache.urls import Source

__all__ = ["CleanRequest", "Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is to go, of what may.

    Attributes
    ----------
    older_than
        Seconds: what was used since stays. None: no matter when.
    max_size
        Bytes that all content may have on the disk. What was not used for longest goes first,
        until that holds.
    free
        Bytes that are to be free on the file system; as above.
    """

    older_than: float | None = None
    max_size: int | None = None
    free: int | None = None

    @property
    def is_bounded(self) -> bool:
        """Whether no more is to go than is needed for a limit to hold."""
        return self.max_size is not None or self.free is not None


@dataclass(frozen=True, slots=True)
class CleanRequest:
    """What is to be given back.

    Attributes
    ----------
    root
        Root of the dataset; the cache directory, for managed clones.
    managed
        Whether it is about managed clones.
    open_files
        Tells which files of a dataset are meant. Its request changes nothing and installs nothing.
    everything
        Whether no selection was given: in managed clones, the content of other versions is meant
        then, too.
    limits
        How much is to go.
    source
        The one source whose clone is meant; None for all.
    whole_clones
        Whether clones are removed as a whole.
    only_list
        List the managed clones, and nothing else.
    unchecked
        Drop without making sure that there is another copy.
    jobs
        Files that git-annex drops at a time; None is for it to say.
    dry_run
        Look only.
    """

    root: Path
    managed: bool
    open_files: Callable[[Path], Request]
    everything: bool
    limits: Limits
    source: Source | None
    whole_clones: bool
    only_list: bool
    unchecked: bool
    jobs: int | None
    dry_run: bool
