"""Result records of an export."""

from __future__ import annotations

import logging
import os
from collections import Counter
from typing import Any

from datalad_bidsshare.export.items import Item, Part, Settled
from datalad_bidsshare.export.request import ExportRequest
from datalad_bidsshare.plan.outcome import Problem, Subdataset
from datalad_bidsshare.report.records import Recorder
from datalad_bidsshare.report.slot import Slot, is_command_line

__all__ = ["ExportRecorder", "Tally"]


class Tally:
    """Counts of one export, for its last record.

    Attributes
    ----------
    files, bytes
        By what came of a file (`'written'`, `'updated'`, `'unchanged'`, `'failed'`,
        `'deleted'`, `'not deleted'`) and, for what is written, by how its content is had.
    """

    def __init__(self) -> None:
        self.files: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def add(self, what: str, size: int | None) -> None:
        """Count a file."""
        self.files[what] += 1
        self.bytes[what] += size or 0


#: In place of a record that nobody would see.
_NOTHING: dict[str, Any] = {}


class ExportRecorder:
    """Makes the records of one export, and counts.

    Where nobody would see it, the record of a file that is fine is empty, and is to be left out.

    Parameters
    ----------
    action
        Name of the command.
    request
        What is exported.
    logger
        Gets the messages.
    """

    def __init__(self, action: str, request: ExportRequest, logger: logging.Logger) -> None:
        files = request.files
        self._plain = Recorder(action, files.root, files.dry_run, logger)
        self._dest = str(request.dest)
        self._archive = request.archive is not None
        self._root = str(files.root)
        self._common: dict[str, Any] = {"action": action, "refds": self._root, "logger": logger}
        if files.dry_run:
            self._common["dry_run"] = True
        self.slot = Slot() if is_command_line(files.root) else None
        self._failures: Counter[str] = Counter()
        self.tally = Tally()
        #: Problems that may hide files: what is not selected then is no reason to delete.
        self.troubles = 0
        #: Subdatasets that a dry run does not look into: nobody knows what they hold.
        self.hidden = 0

    def problem(self, found: Problem) -> dict[str, Any]:
        """Give the record of something that cannot be had."""
        self.troubles += 1
        record = self._plain.problem(found)
        if found.kind in ("destination", "room"):
            # Shown as it was given: a way there from the dataset would tell nobody anything.
            record["type"] = "file" if self._archive else "directory"
            record["destination"] = record["path"]
            # The root of the dataset has no relative path.
            for field in ("refds", "relpath"):
                record.pop(field, None)
        return record

    def subdataset(self, found: Subdataset) -> dict[str, Any]:
        """Give the record of a subdataset that was or would be installed."""
        self.troubles += found.status == "impossible"
        self.hidden += found.status == "planned"
        return self._plain.subdataset(found)

    def settled(self, found: Settled) -> dict[str, Any]:
        """Give the record of a file that nothing is done for."""
        what = "unchanged" if found.status == "notneeded" else "failed"
        if found.status == "notneeded" and found.message:
            # Nobody looked at what it is.
            what = "left"
        self.tally.add(what, found.bytesize)
        return self._file(
            found.part,
            found.path,
            found.target,
            found.status,
            found.message,
            bytesize=found.bytesize,
            key=found.key,
        )

    def item(
        self,
        item: Item,
        status: str,
        message: str = "",
        *,
        bytesize: int | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Give the record of a file that was, would be or could not be written.

        Parameters
        ----------
        item
            The file.
        status
            As in DataLad's result records.
        message
            What to know or to do.
        bytesize
            Of what was written, where that is known better than from the key.
        **more
            Further fields.
        """
        size = item.info.bytesize if bytesize is None else bytesize
        if status == "ok":
            replaces = item.standing is not None
            self.tally.add("updated" if replaces else "written", size)
            self.tally.add(f"from {item.how}", size)
            more = {"content_from": item.how, **more}
            if item.transferred:
                more["transferred"] = item.transferred
        else:
            self.tally.add("unchanged" if status == "notneeded" else "failed", size)
        return self._file(
            item.part,
            item.path,
            item.target,
            status,
            message,
            bytesize=size,
            key=item.info.key,
            **more,
        )

    def deleted(self, target: str, status: str, message: str, size: int) -> dict[str, Any]:
        """Give the record of a file at the destination that was, or would be, deleted."""
        self.tally.add("deleted" if status == "ok" else "not deleted", size)
        return self._counted(
            {
                **self._common,
                "path": self._destination(target),
                "destination": self._destination(target),
                "relpath": target,
                "status": status,
                "type": "file",
                "bytesize": size,
                "deleted": status == "ok",
                "message": message,
            }
        )

    def summary(self, message: str, **more: Any) -> dict[str, Any]:
        """Give the last record: the destination, and the totals."""
        done = self.tally.files
        changed = done["written"] + done["updated"] + done["deleted"]
        return {
            **self._common,
            "path": self._dest,
            "destination": self._dest,
            "status": "ok" if changed else "notneeded",
            "type": "file" if self._archive else "directory",
            "message": message,
            "files": dict(self.tally.files),
            "bytes": dict(self.tally.bytes),
            **({"problems": self.troubles} if self.troubles else {}),
            **more,
        }

    def _file(
        self,
        part: Part,
        path: str,
        target: str,
        status: str,
        message: str,
        *,
        bytesize: int | None,
        key: str | None,
        **more: Any,
    ) -> dict[str, Any]:
        fine = status in ("ok", "notneeded")
        if fine and self.slot is not None and self.slot.unseen:
            return _NOTHING
        record: dict[str, Any] = {
            **self._common,
            "path": f"{part.base}{path}" if os.sep == "/" else str(part.root / path),
            "relpath": target,
            "destination": self._destination(target),
            "parentds": part.name,
            "status": status,
            "type": "file",
            "bytesize": bytesize,
            "entities": part.entities(path),
        }
        if key is not None:
            record["key"] = key
        reason = part.riding.get(path) if part.riding else None
        if reason is not None:
            record["companion_reason"] = reason.name
            if reason.companion_of is not None:
                record["companion_of"] = os.path.relpath(reason.companion_of, self._root)
        if message:
            record["message"] = message
        if more:
            record.update(more)
        if fine:
            slot = self.slot
            if slot is not None:
                slot.clear()
                slot.update(record)
                return slot
            return record
        return self._counted(record)

    def _destination(self, target: str) -> str:
        if self._archive:
            return self._dest
        return f"{self._dest}{os.sep}{target if os.sep == '/' else target.replace('/', os.sep)}"

    def _counted(self, record: dict[str, Any]) -> dict[str, Any]:
        """Number the failures, so that a renderer can leave off at some point."""
        if record["status"] in ("error", "impossible"):
            kind = record.get("problem", record["type"])
            self._failures[kind] += 1
            record["failure"] = self._failures[kind]
        return record
