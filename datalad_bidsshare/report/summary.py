"""What a person reads: problems as they happen, and a table at the end."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from datalad.interface.utils import generic_result_renderer
from datalad.ui import ui

from datalad_bidsshare.report.sizes import human_bytes

__all__ = ["render_record", "render_summary", "summary_lines"]

#: More rows than this no one reads: the table then has one row a suffix.
_MOST_ROWS = 25
#: Failures of one kind that are shown one by one; the rest is counted.
_MOST_FAILURES = 10

Record = Mapping[str, Any]


def render_record(res: dict[str, Any]) -> None:
    """Show a record at once if it needs attention; files that are fine wait for the summary.

    So do files that share the problem of their dataset, which has a record of its own.
    """
    if res.get("status") in ("ok", "notneeded") and res.get("type") != "dataset":
        return
    if _is_of_its_dataset(res):
        return
    if res.get("failure", 0) <= _MOST_FAILURES:
        generic_result_renderer(res)


def render_summary(action: str, results: Sequence[Any]) -> None:
    """Show the table and the totals of one call.

    Parameters
    ----------
    action
        Name of the command.
    results
        Its records, as far as the caller's filters let them through.
    """
    records = [r for r in results if isinstance(r, Mapping)]
    if results and not records:
        # The caller transforms them, to paths for instance: there is nothing to sum up.
        return
    more = sum(r.get("failure", 0) > _MOST_FAILURES and not _is_of_its_dataset(r) for r in records)
    if more:
        ui.message(f"  [{more} more like these; see all with -f json]")
    ui.message("\n".join(summary_lines(action, records)))


def _is_of_its_dataset(record: Record) -> bool:
    """Say whether a file's problem is that of its dataset, which has a record of its own."""
    return "entities" in record and "problem" in record


@dataclass(slots=True)
class _Row:
    """Files of one kind."""

    files: int = 0
    bytes: int = 0
    coming: int = 0
    subjects: set[str] = field(default_factory=set)

    def add(self, record: Record) -> None:
        size = record.get("bytesize") or 0
        self.files += 1
        self.bytes += size
        if record.get("status") == "ok":
            self.coming += size if record.get("dry_run") else record.get("transferred") or 0
        subject = record.get("entities", {}).get("subject")
        if subject:
            self.subjects.add(subject)


def summary_lines(action: str, records: Sequence[Record]) -> list[str]:
    """Give the lines of the summary: a table by subject and suffix, then totals."""
    files = [r for r in records if r.get("type") != "dataset" and "entities" in r]
    dry_run = any(r.get("dry_run") for r in records)
    lines: list[str] = []
    if files:
        lines += _table(files, "to fetch" if dry_run else "fetched")
    lines += _totals(action, files, records, dry_run)
    return lines


def _table(files: Sequence[Record], last: str) -> list[str]:
    asked = [r for r in files if "companion_reason" not in r]
    riding = [r for r in files if "companion_reason" in r]
    rows = _rows(asked, by_subject=True)
    by_subject = len(rows) <= _MOST_ROWS
    if not by_subject:
        rows = _rows(asked, by_subject=False)
    head = ("subject" if by_subject else "subjects", "suffix", "files", "bytes", last)
    cells = [head]
    for (subject, suffix), row in sorted(rows.items()):
        first = subject or "-" if by_subject else str(len(row.subjects))
        cells.append((first, suffix or "-", *_numbers(row)))
    if riding:
        row = _Row()
        for record in riding:
            row.add(record)
        cells.append(("", "companions", *_numbers(row)))
    widths = [max(len(line[at]) for line in cells) for at in range(len(head))]
    left = 2
    return [
        "  "
        + "  ".join(
            cell.ljust(width) if at < left else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in cells
    ]


def _rows(files: Iterable[Record], *, by_subject: bool) -> dict[tuple[str, str], _Row]:
    rows: dict[tuple[str, str], _Row] = defaultdict(_Row)
    for record in files:
        said = record["entities"]
        suffix = said.get("suffix", "")
        rows[said.get("subject", "") if by_subject else "", suffix].add(record)
    return rows


def _numbers(row: _Row) -> tuple[str, str, str]:
    return f"{row.files:,}", human_bytes(row.bytes), human_bytes(row.coming)


def _totals(
    action: str, files: Sequence[Record], records: Sequence[Record], dry_run: bool
) -> list[str]:
    head = f"{action}{' (dry run)' if dry_run else ''}: "
    others = [r for r in records if "entities" not in r]
    problems = sum(r["status"] in ("error", "impossible") for r in others)
    if others and not files and all(map(_is_about_dataset, others)):
        # Nothing was looked at, and so there is nothing to count.
        return [f"{head}{problems:,} problem{'s' * (problems > 1)} (above)"]
    by_status = Counter(r["status"] for r in files)
    size = {
        status: sum(r.get("bytesize") or 0 for r in files if r["status"] == status)
        for status in by_status
    }
    come = "to fetch" if dry_run else "fetched"
    transferred = (
        _bytes_of_keys(files)
        if dry_run
        else sum(r.get("transferred") or 0 for r in files if r["status"] == "ok")
    )
    parts = [
        f"{len(files):,} file{'s' * (len(files) != 1)}",
        f"{by_status['ok']:,} {come} ({human_bytes(transferred)})",
        f"{by_status['notneeded']:,} already present ({human_bytes(size.get('notneeded', 0))})",
    ]
    failed = by_status["error"] + by_status["impossible"]
    if failed:
        parts.append(f"{failed:,} could not be had")
    if problems:
        parts.append(f"{problems:,} problem{'s' * (problems > 1)} (above)")
    installed = sum(
        r["status"] == "ok" and r.get("type") == "dataset" and "cloned_from" not in r
        for r in others
    )
    if installed:
        parts.append(
            f"{installed:,} subdataset{'s' * (installed > 1)} "
            + ("to install" if dry_run else "installed")
        )
    unknown = sum(r.get("bytesize") is None and r["status"] == "ok" for r in files)
    if unknown:
        parts.append(f"{unknown:,} of unknown size")
    return [f"{head}{', '.join(parts)}"]


def _is_about_dataset(record: Record) -> bool:
    """Say whether a record tells that the dataset given, or its source, cannot be worked with."""
    return (
        record["status"] in ("error", "impossible")
        and record.get("problem") in ("dataset", "source")
        and record.get("path") == record.get("refds")
    )


def _bytes_of_keys(files: Iterable[Record]) -> int:
    """Sum what a transfer brings: one content that many files have comes once."""
    sizes = {
        (r.get("parentds"), r.get("key") or r.get("path")): r.get("bytesize") or 0
        for r in files
        if r["status"] == "ok"
    }
    return sum(sizes.values())
