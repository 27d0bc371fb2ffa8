"""Result records of unpacking."""

from __future__ import annotations

import logging
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import datalad

from datalad_bidsshare.archive.plan import Output, Planned
from datalad_bidsshare.archive.request import UnzipRequest
from datalad_bidsshare.archive.zips import TrackedZip
from datalad_bidsshare.plan.outcome import Problem, Subdataset
from datalad_bidsshare.report.records import Recorder
from datalad_bidsshare.report.slot import Slot
from datalad_bidsshare.report.unzip_summary import MOST_FAILURES

#: What looks like the name of a file: failures that differ in these alone are of one kind.
_NAMES = re.compile(r"'[^']*'|\S*[/.\\_-]\S*|[0-9]+")

__all__ = ["Left", "UnzipRecorder"]

#: Why nothing was done for a zip: it was unpacked before, nothing in it is wanted, all of it was
#: there already.
Left = Literal["before", "nothing", "same"]


class UnzipRecorder:
    """Makes the records of one call, and counts.

    On the command line, where our own renderer shows nothing of them, the records of files that
    are fine are left out.

    Parameters
    ----------
    action
        Name of the command.
    request
        What is asked for.
    logger
        Gets the messages.

    Attributes
    ----------
    zips, files, bytes
        What came of zips and files, by kind.
    """

    def __init__(self, action: str, request: UnzipRequest, logger: logging.Logger) -> None:
        self._plain = Recorder(action, request.root, request.dry_run, logger)
        self._root = request.root
        self._common: dict[str, Any] = {
            "action": action,
            "refds": str(request.root),
            "logger": logger,
        }
        if request.dry_run:
            self._common["dry_run"] = True
        self._slot = Slot() if datalad.get_apimode() == "cmdline" else None
        self.zips: Counter[str] = Counter()
        self.files: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        #: Zips for which nothing was done, by why.
        self.left: Counter[str] = Counter()
        self.problems = 0
        self._told: set[str] = set()
        self._shared: set[str] = set()
        self._failures: Counter[str] = Counter()

    def has(self, tracked: TrackedZip) -> bool:
        """Tell whether there is a record of a zip."""
        return tracked.path in self._told

    def problem(self, found: Problem) -> dict[str, Any]:
        """Give the record of something that cannot be had."""
        self.problems += 1
        return self._plain.problem(found)

    def subdataset(self, found: Subdataset) -> dict[str, Any]:
        """Give the record of a subdataset that was or would be installed."""
        self.problems += found.status == "impossible"
        return self._plain.subdataset(found)

    def left_alone(self, tracked: TrackedZip, why: Left, message: str) -> dict[str, Any]:
        """Give the record of a zip for which there is nothing to do."""
        self.left[why] += 1
        return self.zip(tracked, "notneeded", message)

    def not_begun(self, tracked: TrackedZip) -> dict[str, Any]:
        """Give the record of a zip that was not begun, because another one failed."""
        self.left["stopped"] += 1
        return self.zip(
            tracked,
            "impossible",
            "not unpacked, because another zip could not be; --on-zip-error continue goes on with "
            "the others",
            problem="stopped",
        )

    def zip(
        self,
        tracked: TrackedZip,
        status: str,
        message: str = "",
        *,
        outputs: Sequence[str] = (),
        bytesize: int | None = None,
        **more: Any,
    ) -> dict[str, Any]:
        """Give the record of a zip.

        Parameters
        ----------
        tracked
            The zip.
        status
            As in DataLad's result records.
        message
            What to know or to do.
        outputs
            Paths of the files that it gave, or would give, relative to the dataset.
        bytesize
            Bytes of them.
        **more
            Further fields. A failure gets its number among those of its kind.
        """
        self._told.add(tracked.path)
        self._shared.update(more.get("shared", ()))
        self.zips[status] += 1
        record: dict[str, Any] = {
            **self._common,
            "path": self._path(tracked.path),
            "relpath": tracked.path,
            "parentds": str(tracked.root),
            "status": status,
            "type": "file",
            "outputs": [self._path(path) for path in outputs],
            **more,
        }
        if bytesize is not None:
            record["bytesize"] = bytesize
        if tracked.info.key is not None:
            record["key"] = tracked.info.key
        if message:
            record["message"] = message
        if status in ("error", "impossible"):
            kind = _NAMES.sub("", message)
            self._failures[kind] += 1
            record["failure"] = self._failures[kind]
        return record

    def written(
        self,
        planned: Planned,
        outputs: Iterable[Output],
        keys: Mapping[str, str | None],
        same: Iterable[str] = (),
    ) -> Iterator[dict[str, Any]]:
        """Give the records of the files that a zip gave.

        Parameters
        ----------
        planned
            The zip.
        outputs
            The files.
        keys
            git-annex keys of those that are annexed, by path.
        same
            Paths of those that the dataset had before.
        """
        unchanged = set(same)
        for output in outputs:
            done = output.path not in unchanged
            what = "written" if done else "unchanged"
            self.files[what] += 1
            self.bytes[what] += output.size
            if self._slot is not None and self._slot.unseen:
                continue
            record: dict[str, Any] = {
                **self._common,
                "path": self._path(output.path),
                "relpath": output.path,
                "parentds": str(self._root),
                "status": "ok" if done else "notneeded",
                "type": "file",
                "bytesize": output.size,
                "from_zip": self._path(planned.zip.path),
                "member": output.member,
            }
            key = keys.get(output.path)
            if key is not None:
                record["key"] = key
            if self._slot is None:
                yield record
                continue
            self._slot.clear()
            self._slot.update(record)
            yield self._slot

    def summary(self, **more: Any) -> dict[str, Any]:
        """Give the last record: the dataset, and the totals."""
        return {
            **self._common,
            "path": str(self._root),
            "status": "ok" if self.files["written"] else "notneeded",
            "type": "dataset",
            "message": "totals",
            "zips": dict(self.zips),
            "files": dict(self.files),
            "bytes": dict(self.bytes),
            "left": dict(self.left),
            "shared": len(self._shared),
            **(
                {"hidden": True}
                if any(number > MOST_FAILURES for number in self._failures.values())
                else {}
            ),
            **({"problems": self.problems} if self.problems else {}),
            **more,
        }

    def _path(self, relative: str) -> str:
        return str(Path(self._root, relative)) if os.sep != "/" else f"{self._root}/{relative}"
