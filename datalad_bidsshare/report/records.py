"""Result records of planned files, subdatasets and problems."""

from __future__ import annotations

import logging
import os
from collections import Counter
from pathlib import Path
from typing import Any

from datalad_bidsshare.plan.outcome import DatasetPlan, PlannedFile, Problem, Subdataset

__all__ = ["Recorder"]


class Recorder:
    """Makes the records of one call of a command.

    Parameters
    ----------
    action
        Name of the command, as typed.
    root
        The dataset given: ``refds``, and what ``relpath`` is relative to.
    dry_run
        Whether records say what would be done.
    logger
        Gets the messages, as DataLad has it.
    """

    def __init__(self, action: str, root: Path, dry_run: bool, logger: logging.Logger) -> None:
        self._root = root
        self._prefix = os.path.join(root, "")
        self._failures: Counter[str] = Counter()
        self._common: dict[str, Any] = {"action": action, "refds": str(root), "logger": logger}
        if dry_run:
            self._common["dry_run"] = True

    def file(
        self, plan: DatasetPlan, planned: PlannedFile, status: str, message: str = "", **more: Any
    ) -> dict[str, Any]:
        """Give the record of a selected file.

        Parameters
        ----------
        plan
            The plan of the dataset that holds it.
        planned
            The file.
        status
            As in DataLad's records.
        message
            What to know or to do; ``''`` for none.
        **more
            Further fields.
        """
        info = planned.info
        path = f"{plan.root}{os.sep}{info.path.replace('/', os.sep)}"
        record: dict[str, Any] = {
            **self._common,
            "path": path,
            "relpath": self._relative(path),
            "parentds": str(plan.root),
            "status": status,
            "type": "symlink" if info.kind == "symlink" else "file",
            "bytesize": info.bytesize,
            "entities": dict(plan.entities(info.path)),
        }
        if info.key is not None:
            record["key"] = info.key
        if planned.reason is not None:
            record["companion_reason"] = planned.reason.name
            if planned.reason.companion_of is not None:
                record["companion_of"] = self._relative(planned.reason.companion_of)
        if message:
            # Text, not a format with arguments: that is what -f json shows as it is.
            record["message"] = message
        record.update(more)
        return self._counted(record)

    def subdataset(self, found: Subdataset) -> dict[str, Any]:
        """Give the record of a subdataset that was or would be installed."""
        message = {
            "ok": "installed",
            "planned": "would be installed; which files in it match is not known before",
            "impossible": found.message,
        }[found.status]
        return self._counted(
            {
                **self._common,
                "path": str(found.path),
                "relpath": self._relative(str(found.path)),
                "parentds": str(found.parent),
                "status": "ok" if found.status == "planned" else found.status,
                "type": "dataset",
                "message": message,
            }
        )

    def clone(self, source: str) -> dict[str, Any]:
        """Give the record of the dataset given, which was or would be cloned for this call."""
        would = "would be " if "dry_run" in self._common else ""
        return {
            **self._common,
            "path": str(self._root),
            "relpath": ".",
            "status": "ok",
            "type": "dataset",
            "cloned_from": source,
            "message": f"{would}cloned from {source}",
        }

    def problem(self, found: Problem) -> dict[str, Any]:
        """Give the record of something that cannot be had."""
        at_root = found.path == self._root
        record = {
            **self._common,
            "path": str(found.path),
            "status": found.status,
            "type": "dataset" if at_root or found.kind == "dataset" else "file",
            "problem": found.kind,
            "message": found.message,
        }
        if not at_root:
            # What is wrong with the request has none: a script that reads paths
            # by -f '{relpath}' would take "." for all of the dataset.
            record["relpath"] = self._relative(str(found.path))
        return self._counted(record)

    def _counted(self, record: dict[str, Any]) -> dict[str, Any]:
        """Number the failures of one kind, so that a renderer can leave off at some point."""
        if record["status"] in ("error", "impossible"):
            kind = record.get("problem", record["type"])
            self._failures[kind] += 1
            record["failure"] = self._failures[kind]
        return record

    def _relative(self, path: str) -> str:
        """Write a path from the dataset given; also one outside of it."""
        if path.startswith(self._prefix):
            relative = path[len(self._prefix) :]
        else:
            relative = os.path.relpath(path, self._root)
        return relative.replace(os.sep, "/")
