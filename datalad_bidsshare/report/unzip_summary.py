"""What a person reads of unpacking: a line a zip, problems as they happen, and the totals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from datalad.interface.utils import generic_result_renderer
from datalad.ui import ui

from datalad_bidsshare.report.sizes import human_bytes
from datalad_bidsshare.report.slot import Slot

__all__ = ["MOST_FAILURES", "render_unzip_record", "unzip_summary_line", "zip_line"]

#: Zips that failed in one way and are shown one by one; the rest is counted.
MOST_FAILURES = 5

_LEFT = (
    ("before", "unpacked before"),
    ("nothing", "with nothing that is wanted"),
    ("same", "with nothing new"),
)


def render_unzip_record(res: dict[str, Any]) -> None:
    """Show the record of a zip or of a problem, and the last one as a summary."""
    if "zips" in res:
        ui.message(unzip_summary_line(res))
    elif res.get("from_zip") is not None:
        if isinstance(res, Slot):
            res.unseen = True
    elif "outputs" in res and res.get("status") == "ok":
        ui.message(zip_line(res))
    elif "outputs" in res and res.get("status") == "notneeded":
        # Hundreds of them, when a call goes on for new subjects: they are counted.
        return
    elif res.get("problem") == "stopped":
        # As many as there are zips: they are counted.
        return
    elif res.get("failure", 0) <= MOST_FAILURES:
        # A terminal would obey what some names hold, and cannot show others.
        odd = {
            name: ascii(value)
            for name in ("path", "message")
            if not str(value := res.get(name) or "").replace("\n", "").isprintable()
        }
        generic_result_renderer({**res, **odd})


def zip_line(res: Mapping[str, Any]) -> str:
    """Give the line of a zip that was, or would be, unpacked."""
    name = str(res.get("relpath"))
    if not name.isprintable():
        name = ascii(name)
    if "bytesize" not in res:
        # Nobody has looked into it yet.
        return f"{name}: {res['message']} ({human_bytes(res.get('fetch_bytes') or 0)})"
    parts = [f"{_counted(len(res['outputs']), 'file')}, {human_bytes(res['bytesize'])}"]
    if res.get("dry_run"):
        if "packed" in res:
            parts[0] += f" (packed {human_bytes(res['packed'])})"
        if res.get("destination"):
            parts.append(f"into {res['destination']}")
        if res.get("content_from") == "store":
            parts.append("read in place")
    if res.get("message"):
        parts.append(str(res["message"]))
    told = "; ".join(parts)
    # What it would do is made of names, too.
    return f"{name}: {told if told.isprintable() else ascii(told)}"


def unzip_summary_line(res: Mapping[str, Any]) -> str:
    """Give the line of the totals."""
    zips, files, sizes = res["zips"], res["files"], res["bytes"]
    dry_run = bool(res.get("dry_run"))
    would = "to be " if dry_run else ""
    parts = []
    unknown = res.get("unknown", 0)
    known = zips.get("ok", 0) - unknown
    if known:
        parts.append(
            f"{_counted(known, 'zip')} {would}unpacked "
            f"({_counted(files.get('written', 0), 'file')}, "
            f"{human_bytes(sizes.get('written', 0))})"
        )
    left = res.get("left", {})
    parts += [f"{_counted(left[why], 'zip')} {word}" for why, word in _LEFT if left.get(why)]
    failed = zips.get("error", 0) + zips.get("impossible", 0) - left.get("stopped", 0)
    if failed:
        hidden = " (not all are shown; all: -f json)" if res.get("hidden") else ""
        parts.append(f"{failed:,} {'cannot' if dry_run else 'could not'} be unpacked{hidden}")
    if left.get("stopped"):
        parts.append(
            f"{left['stopped']:,} not begun for that (--on-zip-error continue goes on with them)"
        )
    if res.get("shared"):
        is_ = "is" if res["shared"] == 1 else "are"
        parts.append(
            f"{_counted(res['shared'], 'file')} {is_} the same in several zips and unpacked once"
        )
    if files.get("unchanged"):
        was = "was" if files["unchanged"] == 1 else "were"
        parts.append(f"{_counted(files['unchanged'], 'file')} {was} there already")
    if unknown:
        what = "it holds" if unknown == 1 else "they hold"
        parts.append(
            f"{human_bytes(res.get('fetch_bytes', 0))} to be fetched for "
            f"{_counted(unknown, 'zip')}; what {what} is not known before"
        )
    elif res.get("fetch_bytes"):
        parts.append(f"{human_bytes(res['fetch_bytes'])} fetched")
    if res.get("problems"):
        parts.append(f"{_counted(res['problems'], 'problem')} (see above)")
    text = ", ".join(parts) or "nothing to do"
    return f"{res['action']}{' (dry run)' if dry_run else ''}: {text}"


def _counted(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'s' * (number != 1)}"
