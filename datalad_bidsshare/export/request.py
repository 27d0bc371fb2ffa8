"""An export: which files, where to, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datalad_bidsshare.plan.request import Request

__all__ = ["Existing", "ExportRequest", "Missing", "Tables"]

Missing = Literal["get", "error", "skip"]
Existing = Literal["update", "skip", "error"]
Tables = Literal["selected", "all"]


@dataclass(frozen=True, slots=True)
class ExportRequest:
    """What is to be exported.

    Attributes
    ----------
    files
        Which files, of which dataset.
    dest
        Where to: a directory or an archive. Absolute; the links on the way are resolved.
    missing
        What to do about content that is neither here nor in a store that can be read in place.
    drop_fetched
        Drop again what had to be fetched.
    delete
        Remove what an earlier export wrote and this one does not hold.
    existing
        What to do about files that stand at the destination.
    force
        Replace what somebody changed there.
    verify
        Compare with the checksum in the key; else only the size counts.
    checksum
        Read the files at the destination again, rather than trust size and time stamp.
    archive
        Ending of the archive's name, or None for a directory.
    window
        Bytes that may be fetched and not yet exported.
    receipt
        Leave a manifest and a receipt at the destination.
    tables
        Whether tables keep the rows of subjects that are not exported.
    workers
        Copying processes.
    partial
        Whether there are subdatasets that are left out.
    source
        What was given for the dataset if that is a managed clone, without secrets; else ''.
    notes
        Where log and secret (and without a receipt the ledger) are kept; None is the git directory
        of the dataset.
    apart
        Roots of other datasets that the destination must not lie in, nor hold.
    """

    files: Request
    dest: Path
    missing: Missing = "get"
    drop_fetched: bool = False
    delete: bool = False
    existing: Existing = "update"
    force: bool = False
    verify: bool = True
    checksum: bool = False
    archive: str | None = None
    window: int = 2_000_000_000
    receipt: bool = True
    tables: Tables = "selected"
    workers: int = 1
    partial: bool = False
    source: str = ""
    notes: Path | None = None
    apart: tuple[Path, ...] = ()

    @property
    def is_subset(self) -> bool:
        """Whether less than the whole dataset is meant, so it is not what its DOI names."""
        return self.partial or not self.files.is_everything

    @property
    def replaces_foreign(self) -> bool:
        """Whether what somebody else put at the destination may be replaced."""
        return self.force and self.existing == "update"

    @property
    def described(self) -> str:
        """The selection in words, in full, without a path of this machine: for who exports."""
        files = self.files
        return self._in_words(
            [f"exclude {text}" for text in files.selection.exclusions],
            f"where {files.where.text}" if files.where is not None else "",
        )

    @property
    def told(self) -> str:
        """The selection in words, for who receives it: what was held back is not told."""
        files = self.files
        return self._in_words(
            ["with exclusions"] * bool(files.selection.exclusions),
            "where rows of tables meet a condition" if files.where is not None else "",
        )

    def _in_words(self, exclusions: list[str], where: str) -> str:
        files = self.files
        parts = [*files.selection.wishes, *exclusions, *[where] * bool(where)]
        inside = [path.relative_to(files.root).as_posix() for path in files.paths]
        if inside and "." not in inside:
            parts.append(f"in {', '.join(inside)}")
        if self.is_subset and files.companions != "default":
            parts.append(f"companions {files.companions}")
        return " ".join(parts) or "everything"
