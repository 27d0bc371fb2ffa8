"""Result records of giving space back, and counts for the last of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datalad_bidsshare.clean.holdings import Candidate, Holding, Kept, Why
from datalad_bidsshare.clean.request import CleanRequest
from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.plan.outcome import DatasetPlan, PlannedFile, Problem
from datalad_bidsshare.report.records import Recorder
from datalad_bidsshare.report.slot import Slot, is_command_line

__all__ = ["CleanRecorder"]


class CleanRecorder:
    """Makes the records of one call, and counts.

    Where nobody would see it, the record of a file that is fine is empty, and is to be left out.

    Parameters
    ----------
    action
        Name of the command.
    request
        What is to be given back.
    logger
        Gets the messages.
    """

    def __init__(self, action: str, request: CleanRequest, logger: logging.Logger) -> None:
        self._plain = Recorder(action, request.root, request.dry_run, logger)
        self._request = request
        self._common: dict[str, Any] = {
            "action": action,
            "refds": str(request.root),
            "logger": logger,
        }
        if request.dry_run:
            self._common["dry_run"] = True
        self._slot = Slot() if is_command_line(request.root) else None
        self._failures: Counter[str] = Counter()
        self._files: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()
        self._whys: Counter[str] = Counter()
        self._problems = 0

    @property
    def kept_files(self) -> int:
        """How many files keep their content, of those that records were given of."""
        return self._files["kept"]

    @property
    def freed(self) -> int:
        """Bytes that are free on the disk for what went, or would be."""
        return self._bytes["freed"]

    def problem(self, found: Problem) -> dict[str, Any]:
        """Give the record of something that cannot be."""
        self._problems += 1
        return self._plain.problem(found)

    def dropped(self, candidate: Candidate, freed: int) -> Iterator[dict[str, Any]]:
        """Give the records of files whose content went, or would.

        One by one, because they may be one and the same (`Slot`).

        Parameters
        ----------
        candidate
            What they had.
        freed
            Bytes that are free on the disk for it. It counts for the first file.
        """
        self._files["dropped"] += len(candidate.infos)
        self._bytes["freed"] += freed
        message = "would be dropped" if self._request.dry_run else ""
        for n, info in enumerate(candidate.infos):
            yield self._file(candidate.holding, info, "ok", message, freed=0 if n else freed)

    def stays(
        self, candidate: Candidate, status: str, message: str, why: Why
    ) -> Iterator[dict[str, Any]]:
        """Give the records of files that keep their content, one by one.

        Parameters
        ----------
        candidate
            What they have.
        status
            'notneeded', 'impossible' or 'error'.
        message
            Why, and the next step.
        why
            For the totals.
        """
        for n, info in enumerate(candidate.infos):
            size = 0 if n else candidate.held
            yield self.kept(candidate.holding, Kept(info, status, message, why, size))

    def kept(self, holding: Holding, kept: Kept) -> dict[str, Any]:
        """Give the record of a file that stays as it is."""
        if kept.why is not None:
            self._files["kept"] += 1
            self._whys[kept.why] += 1
            self._bytes["kept"] += kept.bytesize
        else:
            self._files["absent" if kept.info.key is not None else "in git"] += 1
        return self._file(holding, kept.info, kept.status, kept.message)

    def clone(self, path: Path, status: str, message: str, **more: Any) -> dict[str, Any]:
        """Give the record of a managed clone as a whole."""
        record = {
            **self._common,
            "path": str(path),
            "relpath": path.name,
            "type": "dataset",
            "status": status,
            **more,
        }
        if message:
            record["message"] = message
        if status in ("error", "impossible"):
            self._problems += 1
        return record

    def removed(self, freed: int) -> None:
        """Count a managed clone that is gone, or would be, with what was not content in it."""
        self._files["clones"] += 1
        self._bytes["freed"] += freed

    def summary(self, holdings: list[Holding], unmet: str) -> dict[str, Any]:
        """Give the last record: the totals.

        Parameters
        ----------
        holdings
            What was looked at.
        unmet
            By how much limits do not hold, or ''.
        """
        left = [h.left for h in holdings]
        versions: Counter[str] = Counter()
        for holding in holdings:
            versions.update(holding.versions)
        record = {
            **self._common,
            "path": str(self._request.root),
            "type": "dataset" if not self._request.managed else "directory",
            "status": "ok" if self._files["dropped"] or self._files["clones"] else "notneeded",
            "files": dict(self._files),
            "freed": self._bytes["freed"],
            "kept": dict(self._whys),
            "kept_bytes": self._bytes["kept"],
            "other_versions": {
                "files": sum(count for count, _ in left),
                "bytes": sum(size for _, size in left),
            },
            "also_in": dict(versions),
            "problems": self._problems,
        }
        if unmet:
            record["status"] = "impossible"
            record["message"] = unmet
        return record

    def _file(
        self, holding: Holding, info: FileInfo, status: str, message: str = "", **more: Any
    ) -> dict[str, Any]:
        slot = self._slot if status in ("ok", "notneeded") else None
        if slot is not None and slot.unseen:
            return {}
        record = self._record(holding, info, status, message, **more)
        if slot is None:
            return record
        slot.clear()
        slot.update(record)
        return slot

    def _record(
        self, holding: Holding, info: FileInfo, status: str, message: str, **more: Any
    ) -> dict[str, Any]:
        if info.path:
            plan = DatasetPlan(holding.root, holding.entities)
            present = status != "ok"
            return self._plain.file(plan, PlannedFile(info, None, present), status, message, **more)
        record = {
            **self._common,
            # As `datalad drop` has it: where an object lies is nobody's business.
            "path": str(holding.root),
            "parentds": str(holding.root),
            "type": "key",
            "key": info.key,
            "bytesize": info.bytesize,
            "status": status,
            **more,
        }
        if message:
            record["message"] = message
        if status in ("error", "impossible"):
            self._failures["key"] += 1
            record["failure"] = self._failures["key"]
        return record
