"""What a person reads of `cache-clean`."""

from __future__ import annotations

from typing import Any

from datalad_bidsshare.report.clean_summary import clean_summary_lines, clone_table

TOTAL: dict[str, Any] = {
    "action": "cache-clean",
    "files": {"dropped": 1200},
    "freed": 3_000_000,
    "kept": {},
    "kept_bytes": 0,
    "other_versions": {"files": 0, "bytes": 0},
    "also_in": {},
    "problems": 0,
}


def test_one_line_when_all_went_well() -> None:
    assert clean_summary_lines(TOTAL) == [
        "cache-clean: 1,200 files dropped, 3.0 MB freed on disk",
    ]


def test_a_dry_run_says_would() -> None:
    (line,) = clean_summary_lines({**TOTAL, "dry_run": True})
    assert (
        line == "cache-clean (dry run): 1,200 files would be dropped, 3.0 MB would be freed on disk"
    )


def test_what_stays_is_told_with_reasons() -> None:
    lines = clean_summary_lines(
        {
            **TOTAL,
            "files": {"dropped": 1, "kept": 12, "absent": 3},
            "kept": {"no other copy": 7, "used since": 5},
            "kept_bytes": 5000,
            "other_versions": {"files": 2, "bytes": 10},
            "also_in": {"1.0": 3, "dev": 9, "old": 1, "older": 1},
            "problems": 1,
            "message": "5.0 kB are still here, more than 1.0 kB",
        }
    )
    assert lines == [
        "  [only 5 failures of a kind are shown; all: -f json]",
        "  the same files are in other branches and tags: dev (9), 1.0 (3), old (1) and 1 more",
        "  not touched: 2 objects of other versions (10 B); see git annex unused",
        "  the limit does not hold: 5.0 kB are still here, more than 1.0 kB",
        "cache-clean: 1 file dropped, 3.0 MB freed on disk, 12 kept (5.0 kB: 7 no other copy, "
        "5 used since), 3 with no content here, 1 problem (see above)",
    ]


def test_the_table_has_the_clone_used_last_first() -> None:
    def clone(source: str, used: str, **more: Any) -> dict[str, Any]:
        return {
            "path": "/cache/x",
            "source": source,
            "git_bytes": 1000,
            "content_bytes": 2_000_000,
            "content_files": 1500,
            "last_used": used,
            "in_use": False,
            **more,
        }

    old = clone("ria+file:///s#~raw", "2026-01-02T03:04:05Z")
    new = clone("/data/\x1b[31mx", "2026-11-02T03:04:05Z")
    busy = clone("", "", in_use=True)
    assert clone_table([old, new, busy]) == [
        "source                 git  content  files  last used",
        "'/data/\\x1b[31mx'   1.0 kB   2.0 MB  1,500  2026-11-02 03:04",
        "ria+file:///s#~raw  1.0 kB   2.0 MB  1,500  2026-01-02 03:04",
        "/cache/x            1.0 kB   2.0 MB  1,500  in use",
        "3 clones, 6.0 MB",
    ]
    assert clone_table([]) == ["no managed clones"]
