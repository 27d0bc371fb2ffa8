"""What a person reads of giving space back: problems as they happen, totals, and the clones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from datalad.interface.utils import generic_result_renderer
from datalad.ui import ui

from datalad_bidsshare.clean.holdings import NOTHING_GOES
from datalad_bidsshare.report.sizes import human_bytes
from datalad_bidsshare.report.slot import Slot

__all__ = ["clean_summary_lines", "clone_table", "render_clean_record", "render_clone_table"]

#: Failures of one kind that are shown one by one; the rest is counted.
_MOST_FAILURES = 5
#: Why those that failed stay.
_FAILED = ("no other copy", "edited", "not dropped")
#: Branches and tags that are named.
_MOST_VERSIONS = 3


def render_clean_record(res: dict[str, Any]) -> None:
    """Show a record if it needs attention, and the last one as a summary."""
    if "freed" in res and "files" in res:
        ui.message("\n".join(clean_summary_lines(res)))
        return
    if "content_bytes" in res:
        # One of the list, which is shown when it is complete.
        return
    if res.get("status") in ("ok", "notneeded"):
        if res.get("type") in ("dataset", "directory") and res.get("message"):
            # DataLad would say nothing of what is not needed.
            name = _printable(res.get("source") or res["path"])
            ui.message(f"{name}: {res['message']}")
        elif isinstance(res, Slot):
            res.unseen = True
        return
    if res.get("status") == "impossible" and res.get("message") == NOTHING_GOES:
        # The problem of all of them has a record of its own.
        return
    if res.get("failure", 0) <= _MOST_FAILURES:
        # A terminal would obey what some names hold, and cannot show others.
        odd = {
            name: ascii(value)
            for name in ("path", "message")
            if not str(value := res.get(name) or "").replace("\n", "").isprintable()
        }
        if res.get("source"):
            # A managed clone: where it is says nothing.
            odd = {"path": _printable(res["source"]), "refds": "", **odd}
        generic_result_renderer({**res, **odd})


def clean_summary_lines(res: Mapping[str, Any]) -> list[str]:
    """Give the lines of the summary: what went, then what stayed and why."""
    files = res["files"]
    would = "would be " if res.get("dry_run") else ""
    parts = []
    if files.get("clones"):
        parts.append(f"{_counted(files['clones'], 'clone')} {would}removed")
    if files.get("dropped"):
        parts.append(f"{_counted(files['dropped'], 'file')} {would}dropped")
    parts.append(f"{human_bytes(res['freed'])} {would}freed on disk")
    if files.get("kept"):
        whys = ", ".join(f"{count:,} {why}" for why, count in sorted(res["kept"].items()))
        parts.append(f"{files['kept']:,} kept ({human_bytes(res['kept_bytes'])}: {whys})")
    if files.get("absent") and not files.get("clones"):
        parts.append(f"{files['absent']:,} with no content here")
    if res.get("problems"):
        parts.append(f"{_counted(res['problems'], 'problem')} (see above)")
    lines = []
    failed = sum(c for why, c in res["kept"].items() if why in _FAILED)
    if failed > _MOST_FAILURES:
        lines.append(f"  [only {_MOST_FAILURES} failures of a kind are shown; all: -f json]")
    if res.get("also_in"):
        named = sorted(res["also_in"].items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name} ({count:,})" for name, count in named[:_MOST_VERSIONS])
        more = f" and {len(named) - _MOST_VERSIONS} more" if len(named) > _MOST_VERSIONS else ""
        lines.append(f"  the same files are in other branches and tags: {shown}{more}")
    left = res["other_versions"]
    if left["files"]:
        lines.append(
            f"  not touched: {_counted(left['files'], 'object')} of other versions "
            f"({human_bytes(left['bytes'])}); see git annex unused"
        )
    if res.get("message"):
        lines.append(f"  the limit does not hold: {res['message']}")
    action = f"{res['action']}{' (dry run)' if res.get('dry_run') else ''}"
    lines.append(f"{action}: {', '.join(parts)}")
    return lines


def render_clone_table(results: Sequence[Any]) -> None:
    """Show the managed clones, where the records are those of a list."""
    records = [r for r in results if isinstance(r, Mapping)]
    if records and all("content_bytes" in r for r in records):
        ui.message("\n".join(clone_table(records)))


def clone_table(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """Give the managed clones as the lines of a table, and a line with the totals."""
    listed = [r for r in records if "content_bytes" in r]
    if not listed:
        return ["no managed clones"]
    rows = [("source", "git", "content", "files", "last used")]
    for r in sorted(listed, key=lambda r: str(r["last_used"]), reverse=True):
        last = "in use" if r["in_use"] else str(r["last_used"]).replace("T", " ")[:16]
        rows.append(
            (
                _printable(r["source"] or r["path"]),
                human_bytes(r["git_bytes"]),
                human_bytes(r["content_bytes"]),
                f"{r['content_files']:,}",
                last or "?",
            )
        )
    widths = [max(len(row[at]) for row in rows) for at in range(5)]
    lines = [
        "  ".join(
            cell.ljust(width) if at in (0, 4) else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    lines += [
        f"  {_printable(r['source'] or r['path'])}: {r['message']}"
        for r in listed
        if r.get("status") == "impossible"
    ]
    total = sum(r["git_bytes"] + r["content_bytes"] for r in listed)
    lines.append(f"{_counted(len(listed), 'clone')}, {human_bytes(total)}")
    return lines


def _printable(name: object) -> str:
    text = str(name)
    return text if text.isprintable() else ascii(text)


def _counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"
