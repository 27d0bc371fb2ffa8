"""What planning has to say: files, subdatasets, and what stands in the way."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from datalad_bidsshare.dataset.blobs import FileInfo

if TYPE_CHECKING:
    from datalad_bidsshare.dataset.transfer import GetResult

__all__ = ["DatasetPlan", "Outcome", "PlannedFile", "Problem", "Reason", "Subdataset"]


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a companion is in a plan.

    Attributes
    ----------
    name
        What it is to the file that needs it (``sidecar``, ``events``,
        ``root``, ...); ``selection``: what is selected depends on its content.
    companion_of
        Absolute path of a selected file that needs it, or None.
    """

    name: str
    companion_of: str | None


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One selected file.

    Attributes
    ----------
    info
        What the dataset says of it; its path is relative to its own dataset.
    reason
        Why it rides along; None if it was asked for.
    present
        Whether its content is here.
    checked_out
        Whether the work tree has it: not if it was deleted, or is left out by
        a sparse checkout.
    fetched
        How it was fetched during planning, because the plan needed its content.
    """

    info: FileInfo
    reason: Reason | None
    present: bool
    checked_out: bool = True
    fetched: GetResult | None = None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do: the content is here, or is git's."""
        return self.present or self.info.kind != "annex"


@dataclass(slots=True)
class DatasetPlan:
    """The selected files of one dataset.

    Attributes
    ----------
    root
        Absolute path of the dataset.
    entities
        Tells what the name of one of its files says. Asked when a record is
        made: a dictionary for each of a million files would be held for nothing.
    files
        Selected files, those asked for first.
    ahead
        Those of them that are to be fetched.
    """

    root: Path
    entities: Callable[[str], Mapping[str, str]]
    files: list[PlannedFile] = field(default_factory=list)
    ahead: list[PlannedFile] = field(default_factory=list)

    def add(self, planned: PlannedFile) -> None:
        """Add a file."""
        self.files.append(planned)
        if planned.checked_out and not planned.is_settled:
            self.ahead.append(planned)

    @property
    def bytes_ahead(self) -> int:
        """Bytes that a transfer brings, as far as keys tell; one content comes once."""
        return sum({f.info.key: f.info.bytesize or 0 for f in self.ahead}.values())


@dataclass(frozen=True, slots=True)
class Subdataset:
    """A subdataset that could hold selected files and is not installed.

    Attributes
    ----------
    path
        Absolute path.
    parent
        Absolute path of the dataset that registers it.
    status
        ``'ok'``: it was installed; ``'planned'``: it would be (dry run);
        ``'impossible'``: it could not be.
    message
        What went wrong and what to do, or ``''``.
    """

    path: Path
    parent: Path
    status: Literal["ok", "planned", "impossible"]
    message: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something asked for that cannot be had.

    Attributes
    ----------
    path
        Absolute path that it is about: a file, a directory or the dataset.
    status
        ``'impossible'`` or ``'error'``, as in DataLad's result records.
    message
        One sentence: what is wrong, and the next step.
    kind
        ``'path'``, ``'value'``, ``'nothing'``, ``'table'``, ``'dataset'``, ``'link'``,
        ``'room'``, ``'remote'``, ``'file'``.
    """

    path: Path
    status: Literal["impossible", "error"]
    message: str
    kind: str


Outcome = DatasetPlan | Subdataset | Problem
