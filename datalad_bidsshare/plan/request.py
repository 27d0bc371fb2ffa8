"""A request: which files somebody wants, from which dataset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from datalad_bidsshare.selection.filters import Selection

if TYPE_CHECKING:
    from datalad_bidsshare.dataset.blobs import FileInfo
    from datalad_bidsshare.selection.companions import Level
    from datalad_bidsshare.selection.conditions import Where

__all__ = ["Request"]


@dataclass(frozen=True, slots=True)
class Request:
    """Which files are wanted.

    Attributes
    ----------
    root
        Root of the dataset that was given, absolute.
    selection
        By the entities in the names.
    where
        By the rows of the tables, or None.
    paths
        Positional paths, absolute, normalised; empty means all of the dataset.
    outside
        Positional paths that are not in the dataset; they are only reported.
    companions
        ``'none'``, ``'default'`` or ``'linked'``.
    recursive
        Whether to look into subdatasets that no path names.
    recursion_limit
        How many levels deep then; None is no limit.
    dry_run
        Look only: install and fetch nothing.
    jobs
        Transfers at a time where a table must be fetched, or None.
    remote
        Name of the remote to fetch from, or None for any.
    commit
        Name of the commit whose files are meant, in full; None for what the
        index holds, which is what is checked out.
    elsewhere
        Reads a small file of a dataset (its root, the file) from another place than its annex;
        gives None where there is none. Asked before a table or the like is fetched.
    """

    root: Path
    selection: Selection
    where: Where | None = None
    paths: tuple[Path, ...] = ()
    outside: tuple[Path, ...] = ()
    companions: Level = "default"
    recursive: bool = False
    recursion_limit: int | None = None
    dry_run: bool = False
    jobs: int | None = None
    remote: str | None = None
    commit: str | None = None
    elsewhere: Callable[[Path, FileInfo], bytes | None] | None = None

    @property
    def is_void(self) -> bool:
        """Whether paths were given, but none in the dataset: nothing is meant then."""
        return bool(self.outside) and not self.paths

    @property
    def has_query(self) -> bool:
        """Whether names or tables are asked about, so side directories are skipped."""
        return bool(self.selection.queries) or self.where is not None

    @property
    def is_everything(self) -> bool:
        """Whether all that is tracked is meant, in the datasets that are looked into."""
        return not (
            self.has_query
            or self.selection.excluded
            or self.selection.excluded_globs
            or any(path != self.root for path in self.paths)
        )
