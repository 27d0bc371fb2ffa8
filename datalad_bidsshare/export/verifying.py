"""Records of checking a copy against its manifest."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any

from datalad_bidsshare.export.open_export import default_workers, open_destination
from datalad_bidsshare.export.verify import VerifyError, verify
from datalad_bidsshare.plan.open_request import read_jobs

__all__ = ["verify_records"]

lgr = logging.getLogger("datalad.bidsshare.export")

_STATUS = {"ok": "ok", "extra": "notneeded"}


def verify_records(
    action: str, dest: Any, dataset: Any, jobs: int | str | None
) -> Iterator[dict[str, Any]]:
    """Compare the files of a copy with the manifest that lies with them.

    Parameters
    ----------
    action
        Name of the command in the records.
    dest
        The copy.
    dataset
        As given to the command, for relative paths.
    jobs
        How many files are read at a time.

    Yields
    ------
    dict
        Result records: one a file, and one for the copy with the totals.
    """
    place = open_destination(dest, dataset)
    common = {"action": action, "refds": str(place), "logger": lgr}
    files: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    failures = 0
    try:
        for verdict in verify(place, read_jobs(jobs) or default_workers()):
            files[verdict.status] += 1
            sizes[verdict.status] += verdict.size or 0
            record: dict[str, Any] = {
                **common,
                "path": str(place / verdict.path),
                "relpath": verdict.path,
                "status": _STATUS.get(verdict.status, "error"),
                "type": "file",
                "bytesize": verdict.size,
                "verdict": verdict.status,
            }
            if verdict.message:
                record["message"] = verdict.message
            if record["status"] == "error":
                failures += 1
                record["failure"] = failures
            yield record
    except VerifyError as error:
        message = str(error)
        if place.is_file():
            message += ". An archive is unpacked first; then give the directory that was in it"
        elif not place.is_dir():
            message += ". Give the directory that an export was written to"
        # No dataset has to do with it: the path is shown as it is.
        del common["refds"]
        yield {
            **common,
            "path": str(place),
            "status": "error",
            "type": "directory",
            "problem": "manifest",
            "message": message,
            "failure": 1,
        }
        return
    yield {
        **common,
        "path": str(place),
        "destination": str(place),
        "status": "ok",
        "type": "directory",
        "verified": dict(files),
        "bytes": dict(sizes),
    }
