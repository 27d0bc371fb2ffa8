"""What a person reads of an export: problems as they happen, and the totals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datalad.interface.utils import generic_result_renderer
from datalad.ui import ui

from datalad_bidsshare.report.sizes import human_bytes
from datalad_bidsshare.report.slot import Slot

__all__ = ["export_summary_lines", "render_export_record", "verify_summary_line"]

#: Failures of one kind that are shown one by one; the rest is counted.
_MOST_FAILURES = 10

_ROWS = (
    ("from git", "git"),
    ("from present", "annex of the dataset"),
    ("from store", "store, read in place"),
    ("from fetch", "fetched"),
)

_VERDICTS = (
    ("ok", "ok"),
    ("changed", "changed"),
    ("missing", "missing"),
    ("unreadable", "could not be read"),
    ("extra", "not of the export"),
)


def render_export_record(res: dict[str, Any]) -> None:
    """Show a record if it needs attention, and the last one as a summary."""
    if "files" in res:
        ui.message("\n".join(export_summary_lines(res)))
        return
    if "verified" in res:
        ui.message(verify_summary_line(res))
        return
    if res.get("status") in ("ok", "notneeded") and res.get("type") != "dataset":
        if isinstance(res, Slot):
            res.unseen = True
        return
    if "entities" in res and "problem" in res:
        # The problem of all of them has a record of its own.
        return
    if res.get("failure", 0) <= _MOST_FAILURES:
        # A terminal would obey what some names hold, and cannot show others.
        odd = {
            name: ascii(value)
            for name in ("path", "message")
            if not str(value := res.get(name) or "").replace("\n", "").isprintable()
        }
        generic_result_renderer({**res, **odd})


def export_summary_lines(res: Mapping[str, Any]) -> list[str]:
    """Give the lines of the summary: how content was had, then what came of it."""
    files, sizes = res["files"], res["bytes"]
    dry_run = bool(res.get("dry_run"))
    lines = []
    rows = [
        (_label(what, label, dry_run), f"{files[what]:,}", human_bytes(sizes[what]))
        for what, label in _ROWS
        if files.get(what)
    ]
    if rows:
        cells = [("content from", "files", "bytes"), *rows]
        widths = [max(len(row[at]) for row in cells) for at in range(3)]
        lines += [
            f"  {a.ljust(widths[0])}  {b.rjust(widths[1])}  {c.rjust(widths[2])}"
            for a, b, c in cells
        ]
    would = "to be " if dry_run else ""
    parts = [
        f"{files[what]:,} {word} ({human_bytes(sizes[what])})"
        for what, word in (
            ("written", f"{would}written"),
            ("updated", f"{would}updated"),
            ("unchanged", "unchanged"),
            ("left", "left as they are"),
            ("deleted", f"{would}deleted"),
        )
        if files.get(what)
    ]
    if files.get("failed"):
        word = "cannot" if dry_run else "could not"
        parts.append(f"{files['failed']:,} {word} be exported")
        if files["failed"] > _MOST_FAILURES:
            lines.insert(0, f"  [only {_MOST_FAILURES} failures of a kind are shown; all: -f json]")
    if files.get("not deleted"):
        parts.append(f"{files['not deleted']:,} could not be deleted")
    if res.get("problems"):
        parts.append(f"{res['problems']:,} problem{'s' * (res['problems'] != 1)} (see above)")
    if res.get("message"):
        parts.append(str(res["message"]))
    if res.get("unfinished"):
        parts.append(
            f"{res['unfinished']:,} more of an export that did not end are there "
            "(--delete removes them)"
        )
    if not parts:
        parts.append("nothing to do")
    if "free_bytes" in res:
        parts.append(f"{human_bytes(res['free_bytes'])} free there")
    action = f"{res['action']}{' (dry run)' if dry_run else ''}"
    lines.append(f"{action}: {', '.join(parts)} -> {res['destination']}")
    return lines


def _label(what: str, label: str, dry_run: bool) -> str:
    return f"to be {label}" if dry_run and what == "from fetch" else label


def verify_summary_line(res: Mapping[str, Any]) -> str:
    """Give the line that says what came of a check."""
    files = res["verified"]
    parts = [f"{files[what]:,} {word}" for what, word in _VERDICTS if files.get(what)]
    read = human_bytes(sum(res["bytes"].values()))
    return (
        f"{res['action']} --verify: {', '.join(parts) or 'no files'}"
        f" ({read} read) -> {res['destination']}"
    )
