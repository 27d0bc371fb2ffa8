"""The table and the totals."""

from __future__ import annotations

from typing import Any

from datalad.utils import swallow_outputs

from datalad_bidsshare.report.summary import render_record, render_summary, summary_lines

Record = dict[str, Any]


def record(subject: str | None = "01", suffix: str | None = "bold", **more: Any) -> Record:
    entities = {k: v for k, v in (("subject", subject), ("suffix", suffix)) if v is not None}
    name = f"sub-{subject}_{suffix}_{len(more)}"
    defaults: Record = {
        "action": "bids-get", "status": "ok", "type": "file", "path": f"/ds/{name}",
        "refds": "/ds", "parentds": "/ds", "bytesize": 1500, "transferred": 1500,
        "entities": entities,
    }  # fmt: skip
    return {**defaults, **more}


def problem(kind: str, message: str, **more: Any) -> Record:
    return {
        "action": "bids-get", "status": "impossible", "type": "dataset", "path": "/ds",
        "refds": "/ds", "problem": kind, "message": message, **more,
    }  # fmt: skip


def squeezed(records: list[Record]) -> list[str]:
    return [" ".join(line.split()) for line in summary_lines("bids-get", records)]


def test_rows_are_subjects_and_suffixes() -> None:
    records = [
        record("02", "T1w"), record("01"), record("01", status="notneeded", transferred=0),
        record(None, None),
        record("01", "events", companion_reason="events", bytesize=500, transferred=500),
    ]  # fmt: skip
    assert squeezed(records) == [
        "subject suffix files bytes fetched",
        "- - 1 1.5 kB 1.5 kB",
        "01 bold 2 3.0 kB 1.5 kB",
        "02 T1w 1 1.5 kB 1.5 kB",
        "companions 1 500 B 500 B",
        "bids-get: 5 files, 4 fetched (5.0 kB), 1 already present (1.5 kB)",
    ]


def test_columns_are_aligned() -> None:
    table = summary_lines("bids-get", [record("0123456789"), record("1", "T1w")])[:-1]
    assert len({len(line) for line in table}) == 1
    assert table[0].startswith("  subject     suffix")


def test_where_nothing_was_looked_at_nothing_is_counted() -> None:
    refused = problem("dataset", "no such source", status="error")
    assert squeezed([refused]) == ["bids-get: 1 problem (above)"]
    assert squeezed([{**refused, "dry_run": True}]) == ["bids-get (dry run): 1 problem (above)"]
    # of a subdataset, or of what was asked for: then it was looked at
    for others in ([{**refused, "path": "/ds/sub"}], [problem("nothing", "no files")]):
        assert squeezed(others) == [
            "bids-get: 0 files, 0 fetched (0 B), 0 already present (0 B), 1 problem (above)"
        ]
    assert squeezed([]) == ["bids-get: 0 files, 0 fetched (0 B), 0 already present (0 B)"]


def test_what_failed_was_not_fetched() -> None:
    records = [record(status="error", transferred=0), record("02", status="impossible")]
    assert squeezed(records)[1:] == [
        "01 bold 1 1.5 kB 0 B",
        "02 bold 1 1.5 kB 0 B",
        "bids-get: 2 files, 0 fetched (0 B), 0 already present (0 B), 2 could not be had",
    ]


def test_many_rows_become_one_a_suffix() -> None:
    records = [record(f"{i:02}", s) for i in range(13) for s in ("bold", "T1w")]
    assert squeezed(records)[:3] == [
        "subjects suffix files bytes fetched",
        "13 T1w 13 19.5 kB 19.5 kB",
        "13 bold 13 19.5 kB 19.5 kB",
    ]
    assert len(squeezed(records)) == 4


def test_a_dry_run_counts_one_content_once() -> None:
    plan: Record = {"dry_run": True, "transferred": None}
    records = [
        record("01", key="K1", **plan), record("02", key="K1", **plan),
        record("01", key="K1", parentds="/ds/sub", **plan),
        record("03", key="K2", status="notneeded", **plan),
    ]  # fmt: skip
    assert squeezed(records)[-1] == (
        "bids-get (dry run): 4 files, 3 to fetch (3.0 kB), 1 already present (1.5 kB)"
    )
    assert squeezed(records)[0].endswith("to fetch")


def test_totals_say_what_else_there_is() -> None:
    dataset: Record = {"status": "ok", "type": "dataset", "path": "/ds/sub-01"}
    assert squeezed([record(bytesize=None, transferred=0), dataset])[-1] == (
        "bids-get: 1 file, 1 fetched (0 B), 0 already present (0 B), 1 subdataset installed, "
        "1 of unknown size"
    )
    planned = [{**dataset, "dry_run": True}, {**dataset, "dry_run": True, "path": "/ds/sub-02"}]
    assert squeezed(planned) == [
        "bids-get (dry run): 0 files, 0 to fetch (0 B), 0 already present (0 B), "
        "2 subdatasets to install"
    ]
    assert squeezed([problem("value", "a")])[-1].endswith("1 problem (above)")
    assert squeezed([problem("value", "a"), problem("path", "b")])[-1].endswith(
        "2 problems (above)"
    )


def shown(records: list[Record]) -> list[str]:
    with swallow_outputs() as captured:
        for one in records:
            render_record(dict(one))
        render_summary("bids-get", [*records, "no record"])
        lines: list[str] = captured.out.splitlines()
    return lines


def test_files_that_are_fine_wait_for_the_summary() -> None:
    lines = shown([record(), record("02", status="notneeded")])
    assert len(lines) == 4
    dataset = {**record(), "type": "dataset", "message": "installed"}
    del dataset["entities"]
    assert shown([dataset])[0].endswith("(dataset) [installed]")


def test_failures_of_one_kind_are_shown_and_then_counted() -> None:
    failures = [
        record(f"{i:02}", status="error", message=f"no copy of {i}% left", failure=i + 1)
        for i in range(15)
    ]
    lines = shown([*failures, problem("value", "'x' occurs nowhere")])
    assert sum("no copy of" in line for line in lines) == 10
    assert "bids-get(error): sub-03_bold_3 (file) [no copy of 3% left]" in lines
    assert sum("occurs nowhere" in line for line in lines) == 1
    assert "  [5 more like these; see all with -f json]" in lines
    assert not any("more like these" in line for line in shown(failures[:10]))


def test_files_that_share_a_problem_do_not_repeat_it() -> None:
    files = [record(s, status="impossible", problem="room", message="no room") for s in "123"]
    lines = shown([problem("room", "not enough disk space", status="error"), *files])
    assert sum("room" in line for line in lines) == 0
    assert sum("not enough disk space" in line for line in lines) == 1
    assert "3 could not be had, 1 problem (above)" in lines[-1]
