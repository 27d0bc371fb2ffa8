"""Deleting at the destination what an export no longer holds."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence, Set
from typing import Any

from datalad_bidsshare.disk.names import folded
from datalad_bidsshare.export.ledger import Ledger
from datalad_bidsshare.export.made import MadeDirectories
from datalad_bidsshare.export.planned import Planned
from datalad_bidsshare.export.records import ExportRecorder
from datalad_bidsshare.export.target import Target
from datalad_bidsshare.export.timestamps import is_same_file

__all__ = ["remove_leftovers"]

lgr = logging.getLogger("datalad.bidsshare.export")


def remove_leftovers(
    target: Target,
    ledger: Ledger,
    made: MadeDirectories,
    planned: Planned,
    recorder: ExportRecorder,
    wanted: Set[str],
    *,
    dry_run: bool,
    force: bool,
) -> Iterator[dict[str, Any]]:
    """Delete files that an earlier export wrote and this one does not hold.

    Directories that exports made go when they are empty. What somebody changed since stays,
    unless forced; what no export wrote stays always.

    Parameters
    ----------
    target, ledger, made, planned
        The destination, and what was written there, or was going to be.
    recorder
        Makes the records.
    wanted
        Target paths that this export holds.
    dry_run
        Only say what would be done.
    force
        Delete also what was changed.
    """
    empty: set[str] = set()
    leftovers = [path for path in ledger.paths() if path not in wanted]
    leftovers += [path for path in planned if path not in wanted and path not in ledger]
    kept = _same_files(target, ledger, leftovers, wanted)
    for path in leftovers:
        if path in kept:
            # What it was written as is known by another name now.
            if not dry_run:
                ledger.remove(path)
            continue
        written = ledger.get(path)
        standing = target.standing(path)
        if standing is None:
            if not dry_run:
                ledger.remove(path)
                # A run that was killed may have deleted it, and not come to its directories.
                empty.update(made.around(path))
            continue
        if written is None:
            # Not that of an export that did not end: then it is somebody else's.
            if not planned.holds(path, standing[:2]):
                continue
            is_ours = standing.kind == "file"
        else:
            is_ours = standing.kind == "file" and (
                force or is_same_file(standing[:2], (written.size, written.mtime_ns))
            )
        if is_ours and dry_run:
            yield recorder.deleted(path, "ok", "would be deleted", standing.size)
            continue
        try:
            removed = is_ours and target.remove(path, standing.size, standing.mtime_ns)
        except OSError as error:
            message = (
                f"is no longer part of the export, and could not be deleted: {error.strerror}; see "
                "the permissions of its directory, then run the same command again"
            )
            yield recorder.deleted(path, "error", message, standing.size)
            continue
        if removed:
            ledger.remove(path)
            planned.forget(path)
            empty.update(made.around(path))
            yield recorder.deleted(path, "ok", "deleted", standing.size)
        else:
            yield recorder.deleted(
                path,
                "error",
                "is no longer part of the export, and was changed since it was written: not "
                "deleted. Delete it yourself, or with --force",
                standing.size,
            )
    if empty:
        target.prune(empty)
        # Also those that a run removed which was killed before it could forget them.
        made.forget([path for path in empty if target.standing(path) is None])


def _same_files(
    target: Target, ledger: Ledger, leftovers: Sequence[str], wanted: Set[str]
) -> set[str]:
    """Find names that are, at the destination, those of files that stay: another spelling."""
    if not leftovers or not (target.case_insensitive or target.normalising):
        return set()
    case = target.case_insensitive
    stay = {folded(path, case_insensitive=case) for path in wanted if path in ledger}
    return {path for path in leftovers if folded(path, case_insensitive=case) in stay}
