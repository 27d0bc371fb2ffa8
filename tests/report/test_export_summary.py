"""The totals of an export, and what is shown on the way."""

from __future__ import annotations

from typing import Any

import pytest
from datalad.utils import swallow_outputs

from datalad_bidsshare.report.export_summary import (
    export_summary_lines,
    render_export_record,
    verify_summary_line,
)

Record = dict[str, Any]


def total(files: dict[str, int], sizes: dict[str, int], **more: Any) -> Record:
    return {
        "action": "export-plain", "path": "/d", "destination": "/d", "refds": "/ds",
        "type": "directory", "status": "ok", "message": "", "files": files, "bytes": sizes, **more,
    }  # fmt: skip


def squeezed(record: Record) -> list[str]:
    return [" ".join(line.split()) for line in export_summary_lines(record)]


def shown(*records: Record) -> list[str]:
    with swallow_outputs() as out:
        for record in records:
            render_export_record(record)
        return out.out.splitlines()


def test_where_content_came_from_and_what_became_of_it() -> None:
    record = total(
        {"from git": 2, "from present": 1, "from store": 3, "from fetch": 1200,
         "written": 1205, "updated": 1, "unchanged": 7, "deleted": 4},
        {"from git": 10, "from present": 2_000, "from store": 3_000_000, "from fetch": 0,
         "written": 3_000_010, "updated": 2_000, "unchanged": 70, "deleted": 40},
    )  # fmt: skip
    assert squeezed(record) == [
        "content from files bytes",
        "git 2 10 B",
        "annex of the dataset 1 2.0 kB",
        "store, read in place 3 3.0 MB",
        "fetched 1,200 0 B",
        "export-plain: 1,205 written (3.0 MB), 1 updated (2.0 kB), 7 unchanged (70 B), "
        "4 deleted (40 B) -> /d",
    ]


def test_columns_are_aligned() -> None:
    record = total(
        {"from git": 1, "from store": 1_000_000, "written": 1}, {"from git": 1, "written": 1,
         "from store": 123_456_789}
    )  # fmt: skip
    table = export_summary_lines(record)[:-1]
    assert len({len(line) for line in table}) == 1
    assert len(table) == 3


def test_a_dry_run_speaks_of_what_is_to_come() -> None:
    record = total(
        {"written": 1, "updated": 2, "unchanged": 3, "deleted": 4},
        dict.fromkeys(("written", "updated", "unchanged", "deleted"), 5),
        dry_run=True,
        free_bytes=6_000,
    )
    assert squeezed(record) == [
        "export-plain (dry run): 1 to be written (5 B), 2 to be updated (5 B), 3 unchanged (5 B), "
        "4 to be deleted (5 B), 6.0 kB free there -> /d"
    ]


def test_a_dry_run_fetches_and_fails_later() -> None:
    record = total({"from fetch": 1, "failed": 1}, {"from fetch": 5}, dry_run=True, free_bytes=6)
    assert squeezed(record) == [
        "content from files bytes",
        "to be fetched 1 5 B",
        "export-plain (dry run): 1 cannot be exported, 6 B free there -> /d",
    ]


def test_nothing_to_do() -> None:
    assert squeezed(total({}, {})) == ["export-plain: nothing to do -> /d"]
    stopped = total({"failed": 2}, {"failed": 2}, message="nothing was written")
    assert squeezed(stopped) == ["export-plain: 2 could not be exported, nothing was written -> /d"]


def test_what_is_not_about_a_selected_file_is_told_apart() -> None:
    record = total({"written": 1, "not deleted": 2}, {"written": 1, "not deleted": 5}, problems=1)
    assert squeezed(record) == [
        "export-plain: 1 written (1 B), 2 could not be deleted, 1 problem (see above) -> /d"
    ]
    assert "2 problems (see above)" in squeezed({**record, "problems": 2})[0]


@pytest.mark.parametrize(("failed", "told"), [(10, False), (11, True)])
def test_many_failures_are_pointed_out(failed: int, told: bool) -> None:
    first, *_ = squeezed(total({"failed": failed}, {}))
    assert ("only 10 failures of a kind are shown" in first) is told


def failure(number: int, **more: Any) -> Record:
    return {
        "action": "export-plain", "path": f"/ds/f{number}", "refds": "/ds", "type": "file",
        "status": "error", "message": f"broken {number}", "entities": {}, "failure": number, **more,
    }  # fmt: skip


def test_failures_are_shown_up_to_a_number() -> None:
    lines = shown(*(failure(number) for number in range(1, 15)))
    assert len(lines) == 10
    assert "broken 1" in lines[0]
    assert not any("broken 11" in line for line in lines)


def test_what_went_well_is_not_shown() -> None:
    fine = {**failure(1), "status": "ok"}
    del fine["failure"]
    assert shown(fine, {**fine, "status": "notneeded"}) == []
    # but that a subdataset was installed is
    (line,) = shown({**fine, "type": "dataset", "message": "installed"})
    assert "installed" in line


def test_files_of_one_problem_are_not_shown_one_by_one() -> None:
    problem = failure(1, problem="room", type="directory")
    del problem["entities"]
    one = failure(1, problem="room", status="impossible")
    (line,) = shown(problem, one, one)
    assert "broken 1" in line


def test_the_summary_comes_last() -> None:
    lines = shown(failure(1), total({"written": 1, "failed": 1}, {"written": 2}))
    assert lines[-1] == "export-plain: 1 written (2 B), 1 could not be exported -> /d"


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"ok": 1_234}, "1,234 ok (5 B read)"),
        ({"ok": 1, "changed": 2, "missing": 3, "unreadable": 4, "extra": 5},
         "1 ok, 2 changed, 3 missing, 4 could not be read, 5 not of the export (5 B read)"),
        ({}, "no files (5 B read)"),
    ],
)  # fmt: skip
def test_what_came_of_a_check(found: dict[str, int], said: str) -> None:
    record: Record = {
        "action": "export-plain", "path": "/d", "destination": "/d", "type": "directory",
        "status": "ok", "verified": found, "bytes": {"ok": 3, "changed": 2},
    }  # fmt: skip
    assert verify_summary_line(record) == f"export-plain --verify: {said} -> /d"
    assert shown(record) == [verify_summary_line(record)]
