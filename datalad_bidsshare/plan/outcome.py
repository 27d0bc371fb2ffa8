"""What planning has to say: files, subdatasets, and what stands in the way."""

from __future__ import annotations

from collections.abc import Mapping
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
    companion_of
        Absolute path of a selected file that needs it.
    name
        What it is to that file (``sidecar``, ``events``, ``root``, ...).
    """

    companion_of: str
    name: str


@dataclass(frozen=True, slots=True)
class PlannedFile:
    """One selected file.

    Attributes
    ----------
    info
        What the dataset says of it; its path is relative to its own dataset.
    entities
        What its name says.
    reason
        Why it rides along; None if it was asked for.
    present
        Whether its content is here.
    fetched
        How it was fetched during planning, because the plan needed its content.
    """

    info: FileInfo
    entities: Mapping[str, str]
    reason: Reason | None
    present: bool
    fetched: GetResult | None = None

    @property
    def missing_bytes(self) -> int:
        """Bytes that a transfer would bring, 0 where nobody knows."""
        return 0 if self.present else self.info.bytesize or 0


@dataclass(slots=True)
class DatasetPlan:
    """The selected files of one dataset.

    Attributes
    ----------
    root
        Absolute path of the dataset.
    files
        Selected files, those asked for first.
    """

    root: Path
    files: list[PlannedFile] = field(default_factory=list)


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
        ``'room'``, ``'remote'``.
    """

    path: Path
    status: Literal["impossible", "error"]
    message: str
    kind: str


Outcome = DatasetPlan | Subdataset | Problem
