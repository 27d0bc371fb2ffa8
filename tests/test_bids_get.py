"""`bids-get` as it is called: from where, how, and what it shows."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datalad.api import Dataset

from datalad_bidsshare.selection.errors import SelectionError
from tests.dataset.builders import git
from tests.process_log import ProcessLog
from tests.raw_dataset import FILES, ROOT_FILES, datalad, raw_content
from tests.superdatasets import bids_get, by_status, files_of

REST_01 = {f"sub-01/func/sub-01_task-rest_run-{run}_bold.nii.gz" for run in ("1", "10")}
RIDING = {
    *ROOT_FILES,
    "task-rest_bold.json",
    *(f"sub-01/func/sub-01_task-rest_run-{run}_events.tsv" for run in ("1", "10")),
}
NBACK_01 = "sub-01/func/sub-01_task-nback_bold.nii.gz"
EPI_01 = "sub-01/fmap/sub-01_epi.nii.gz"
T1W = {f"sub-{s}/anat/sub-{s}_T1w.nii.gz" for s in ("01", "02", "10")}
QUERY: dict[str, Any] = {"subject": "01", "task": "rest", "suffix": "bold"}
SIZE = sum(len(raw_content(p)) for p in REST_01 | RIDING)

QUIET: dict[str, Any] = {"result_renderer": "disabled", "return_type": "list"}


def present(root: Path) -> set[str]:
    """Give the files whose content is here and is what it was."""
    here = {p for p in FILES if (root / p).exists()}
    assert all((root / p).read_bytes() == raw_content(p) for p in here)
    return here


def state_of(root: Path) -> dict[str, tuple[int, int, int, str]]:
    """Take down all that is on disk, .git and all, with what tells of a change."""
    state = {}
    for directory, directories, files in os.walk(root):
        for name in [".", *directories, *files]:
            path = os.path.join(directory, name)
            info = os.lstat(path)
            target = os.readlink(path) if os.path.islink(path) else ""
            state[os.path.normpath(path)] = (info.st_mtime_ns, info.st_size, info.st_mode, target)
    return state


@pytest.fixture
def inside(monkeypatch: pytest.MonkeyPatch, raw_clone: Path) -> Path:
    """Be in the root of a clone."""
    monkeypatch.chdir(raw_clone)
    return raw_clone


# ---------------------------------------------------------------- from where


def test_from_the_root(inside: Path) -> None:
    records = bids_get(**QUERY)
    assert by_status(records) == {"ok": REST_01 | RIDING}
    assert present(inside) == REST_01 | RIDING
    assert {r["status"] for r in bids_get(**QUERY)} == {"notneeded"}


def test_from_a_subdirectory(raw_clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(raw_clone / "sub-01")
    # the query is about the dataset, paths are about where one is
    assert set(files_of(bids_get(suffix="T1w", companions="none", dry_run=True))) == T1W
    records = bids_get("anat", suffix="T1w", companions="none")
    assert set(files_of(records)) == {"sub-01/anat/sub-01_T1w.nii.gz"}
    assert records[0]["path"] == str(raw_clone / "sub-01/anat/sub-01_T1w.nii.gz")
    assert records[0]["refds"] == str(raw_clone)
    records = bids_get(["../sub-02", "func/../anat"], suffix="T1w", companions="none")
    assert len(records) == 2


@pytest.mark.parametrize("kind", [str, Path, Dataset])
def test_with_a_dataset_from_elsewhere(
    raw_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    records = bids_get(dataset=kind(raw_clone), dry_run=True, **QUERY)
    assert set(files_of(records)) == REST_01 | RIDING


def test_as_a_method_of_a_dataset(
    raw_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datalad.api  # binds the method

    assert datalad.api.bids_get
    monkeypatch.chdir(tmp_path)
    ds = Dataset(raw_clone)
    # as in all of DataLad, paths are then relative to the dataset
    records = ds.bids_get("sub-02", suffix="T1w", companions="none", **QUIET)
    assert [r["relpath"] for r in records] == ["sub-02/anat/sub-02_T1w.nii.gz"]
    assert present(raw_clone) == {"sub-02/anat/sub-02_T1w.nii.gz"}


def test_through_a_link_to_the_dataset(
    raw_clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "link"
    link.symlink_to(raw_clone)
    monkeypatch.chdir(link / "sub-01")
    for path in ("anat", str(link / "sub-01" / "anat"), str(raw_clone / "sub-01" / "anat")):
        records = bids_get(path, suffix="T1w", companions="none", dry_run=True)
        assert set(files_of(records)) == {"sub-01/anat/sub-01_T1w.nii.gz"}


def test_a_file_can_be_named(inside: Path) -> None:
    # it is a link without content, and as such not taken for a link elsewhere
    records = bids_get(EPI_01, companions="none")
    assert by_status(records) == {"ok": {EPI_01}}


def test_side_directories_are_searched_when_named(inside: Path) -> None:
    script = "code/sub-01_task-rest_bold.py"
    assert script not in files_of(bids_get(dry_run=True, **QUERY))
    found = files_of(bids_get("code", dry_run=True, companions="none", **QUERY))
    assert set(found) == {script}


def test_no_selection_is_everything_tracked(inside: Path) -> None:
    found = set(files_of(bids_get(dry_run=True)))
    assert found >= set(FILES)
    assert ".datalad/config" in found


def test_several_queries_at_once(inside: Path, tmp_path: Path) -> None:
    file = tmp_path / "filter.json"
    file.write_text('{"t1w": {"suffix": "T1w"}, "bold": {"suffix": "bold", "task": "nback"}}')
    arguments: dict[str, Any] = {
        "filter_file": file, "subject": "01", "dry_run": True, "companions": "none",
    }  # fmt: skip
    t1w = "sub-01/anat/sub-01_T1w.nii.gz"
    assert set(files_of(bids_get(**arguments))) == {t1w, NBACK_01}
    assert set(files_of(bids_get(filter_query="bold", **arguments))) == {NBACK_01}
    assert set(files_of(bids_get(suffix="T1w", **arguments))) == {t1w}


def test_exclusions_take_away_companions_too(inside: Path) -> None:
    found = files_of(bids_get(exclude=["suffix=events", "run=10", "*.tsv"], dry_run=True, **QUERY))
    assert set(found) == {
        "sub-01/func/sub-01_task-rest_run-1_bold.nii.gz", "README", "dataset_description.json",
        "task-rest_bold.json",
    }  # fmt: skip


# ---------------------------------------------------------------- records


def test_records_say_what_they_are_about(inside: Path) -> None:
    records = files_of(bids_get(**QUERY))
    path = "sub-01/func/sub-01_task-rest_run-10_bold.nii.gz"
    asked, sidecar = records[path], records["task-rest_bold.json"]
    assert asked["action"] == "bids-get"
    assert asked["type"] == "file"
    assert asked["path"] == str(inside / path)
    assert asked["refds"] == asked["parentds"] == str(inside)
    assert asked["bytesize"] == asked["transferred"] == len(raw_content(path))
    assert asked["key"].startswith(f"MD5E-s{asked['bytesize']}--")
    assert asked["entities"] == {
        "subject": "01", "datatype": "func", "task": "rest", "run": "10", "suffix": "bold",
        "extension": ".nii.gz",
    }  # fmt: skip
    assert "companion_of" not in asked
    assert "dry_run" not in asked
    assert sidecar["companion_of"] in REST_01
    assert sidecar["companion_reason"] == "sidecar"
    assert records["README"]["companion_reason"] == "root"


def test_asked_for_files_come_before_companions(inside: Path) -> None:
    records = bids_get(dry_run=True, **QUERY)
    riding = ["companion_of" in r for r in records]
    assert riding == sorted(riding)


@pytest.mark.parametrize(
    ("companions", "riding"),
    [
        ("none", set()),
        ("default", {*ROOT_FILES, "sub-01/fmap/sub-01_epi.json"}),
        ("linked", {*ROOT_FILES, "sub-01/fmap/sub-01_epi.json", NBACK_01}),
    ],
)
def test_levels_of_companions(inside: Path, companions: str, riding: set[str]) -> None:
    records = files_of(bids_get(subject="01", suffix="epi", extension="nii.gz",
                                companions=companions))  # fmt: skip
    assert set(records) == {EPI_01} | riding
    assert {p for p, r in records.items() if "companion_of" in r} == riding
    assert present(inside) == {EPI_01} | riding


def test_links_that_cannot_be_read_are_reported_by_a_dry_run(inside: Path) -> None:
    arguments: dict[str, Any] = {"subject": "01", "suffix": "epi", "companions": "linked"}
    records = bids_get(dry_run=True, extension="nii.gz", **arguments)
    (problem,) = (r for r in records if r["status"] == "impossible")
    assert "linked companions depend on" in problem["message"]
    assert "sub-01/fmap/sub-01_epi.json" in problem["message"]
    assert EPI_01 in files_of(records)
    assert not present(inside)


def test_results_can_be_filtered_and_streamed(inside: Path) -> None:
    import datalad.api as dl

    wanted = dl.bids_get(
        dry_run=True, result_filter=lambda r: "companion_of" not in r, **QUERY, **QUIET
    )
    assert {r["relpath"] for r in wanted} == REST_01
    stream = dl.bids_get(return_type="generator", result_renderer="disabled", dry_run=True, **QUERY)
    assert isinstance(stream, Iterator)
    assert next(stream)["relpath"] in REST_01
    stream.close()
    paths = dl.bids_get(result_xfm="paths", dry_run=True, **QUERY, **QUIET)
    assert set(paths) == {str(inside / p) for p in REST_01 | RIDING}


def test_what_happens_on_failure(inside: Path) -> None:
    import datalad.api as dl
    from datalad.support.exceptions import IncompleteResultsError

    arguments: dict[str, Any] = {**QUERY, "subject": ["01", "1"], "result_renderer": "disabled"}
    records = dl.bids_get(on_failure="ignore", return_type="list", **arguments)
    assert by_status(records) == {"ok": REST_01 | RIDING, "impossible": {"."}}
    with pytest.raises(IncompleteResultsError) as caught:
        dl.bids_get(on_failure="stop", **arguments)
    assert len(caught.value.failed) == 1
    with pytest.raises(IncompleteResultsError, match="'1' occurs nowhere"):
        dl.bids_get(**arguments)


# ---------------------------------------------------------------- dry run


def test_a_dry_run_tells_the_same_and_changes_nothing(
    inside: Path, process_log: ProcessLog
) -> None:
    bids_get(suffix="T1w", subject="01", companions="none")
    before = state_of(inside)
    process_log.clear()
    arguments: dict[str, Any] = {"suffix": ["T1w", "bold"], "subject": ["01", "10"]}
    planned = files_of(bids_get(dry_run=True, **arguments))
    assert 0 < process_log.count() < 12
    assert state_of(inside) == before
    done = files_of(bids_get(**arguments))
    assert planned.keys() == done.keys()
    assert all(r["dry_run"] for r in planned.values())
    for path, record in planned.items():
        assert record["status"] == done[path]["status"]
        for field in ("bytesize", "key", "entities", "companion_of", "companion_reason"):
            assert record.get(field) == done[path].get(field)
    assert by_status(list(planned.values()))["notneeded"] == {"sub-01/anat/sub-01_T1w.nii.gz"}
    again = files_of(bids_get(dry_run=True, **arguments))
    assert {r["status"] for r in again.values()} == {"notneeded"}


def test_a_dry_run_from_the_command_line_changes_nothing(inside: Path) -> None:
    before = state_of(inside)
    datalad("bids-get", "--suffix", "T1w", "--dry-run", cwd=inside)
    assert state_of(inside) == before


def test_nothing_is_committed_and_a_dirty_dataset_is_fine(inside: Path) -> None:
    (inside / "README").unlink()
    (inside / "README").write_text("changed")
    (inside / "new").write_text("new")
    (inside / ".git" / "index.lock").touch()  # somebody else is at work
    branches = git(inside, "for-each-ref", "refs/heads")
    records = bids_get(suffix="T1w", exclude="README")
    assert {r["status"] for r in records} == {"ok"}
    assert git(inside, "for-each-ref", "refs/heads/main", "refs/heads/master") in branches
    (inside / ".git" / "index.lock").unlink()
    changed = git(inside, "status", "--porcelain").splitlines()
    assert {line[3:] for line in changed} == {"README", "new"}


# ---------------------------------------------------------------- how


def test_from_a_remote(inside: Path) -> None:
    records = bids_get(from_="origin", subject="01", suffix="T1w", companions="none")
    assert by_status(records) == {"ok": {"sub-01/anat/sub-01_T1w.nii.gz"}}
    uuid = git(inside, "config", "remote.origin.annex-uuid").strip()
    records = bids_get(from_=uuid, subject="02", suffix="T1w", companions="none")
    assert by_status(records) == {"ok": {"sub-02/anat/sub-02_T1w.nii.gz"}}


@pytest.mark.parametrize("dry_run", [False, True])
def test_from_an_unknown_remote(inside: Path, dry_run: bool) -> None:
    records = bids_get(from_="orgin", suffix="T1w", companions="none", dry_run=dry_run)
    (problem,) = (r for r in records if "entities" not in r)
    assert problem["status"] == "error"
    assert problem["message"] == "there is no remote 'orgin'; there is origin"
    assert {r["status"] for r in files_of(records).values()} == {"impossible"}
    assert set(files_of(records)) == T1W
    assert not present(inside)
    git(inside, "remote", "remove", "origin")
    (problem, *_) = bids_get(from_="orgin", suffix="T1w", dry_run=dry_run)
    assert problem["message"].endswith("there is none at all")


def test_from_nowhere_when_all_is_here(inside: Path) -> None:
    bids_get(suffix="T1w", companions="none")
    again = bids_get(from_="orgin", suffix="T1w", companions="none")
    assert {r["status"] for r in again} == {"notneeded"}


@pytest.mark.parametrize("jobs", [1, 3, "auto", None])
def test_jobs(inside: Path, process_log: ProcessLog, jobs: Any) -> None:
    records = bids_get(jobs=jobs, suffix="T1w", companions="none")
    assert by_status(records) == {"ok": T1W}
    (get,) = (c for c in process_log.commands() if " get " in c and "git-annex " in c)
    number = jobs if isinstance(jobs, int) else min(4, os.cpu_count() or 1)
    assert (f"-J{number}" in get) is (number > 1)


@pytest.mark.parametrize("jobs", [0, -1, "many", 1.5])
def test_no_jobs(inside: Path, jobs: Any) -> None:
    with pytest.raises(SelectionError, match="is not a number of transfers; give 1 or more"):
        bids_get(jobs=jobs, suffix="T1w")


def test_a_table_that_is_needed_is_fetched_first(inside: Path) -> None:
    old = "sub-10/anat/sub-10_T1w.nii.gz"
    arguments: dict[str, Any] = {"where": "age > 25", "suffix": "T1w", "companions": "none"}
    (planned,) = bids_get(dry_run=True, **arguments)
    assert planned["relpath"] == "participants.tsv"
    assert planned["status"] == "impossible"
    assert "--where needs this table" in planned["message"]
    assert "would be fetched first" in planned["message"]
    assert not present(inside)
    out, err = datalad(
        *("-l", "info", "bids-get", "--where", "age > 25", "--suffix", "T1w"),
        *("--companions", "none"),
        cwd=inside,
    )
    assert "Fetching what the selection depends on: participants.tsv" in err
    # the table has come too: that is told, although it was not asked for
    assert "2 files, 2 fetched" in out
    assert present(inside) == {old, "participants.tsv"}
    assert by_status(bids_get(**arguments)) == {"notneeded": {old}}


def test_a_table_that_was_fetched_first_is_among_what_came(inside: Path) -> None:
    records = files_of(bids_get(where="age > 25", suffix="T1w"))
    assert records["participants.tsv"]["status"] == "ok"
    assert records["participants.tsv"]["transferred"] == len(raw_content("participants.tsv"))


# ---------------------------------------------------------------- what is shown

ARGS = ("--sub", "sub-01", "--task", "rest", "--suffix", "bold")


def squeezed(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines()]


def test_what_a_person_reads(inside: Path) -> None:
    dry, _ = datalad("bids-get", *ARGS, "--dry-run", cwd=inside)
    assert squeezed(dry) == [
        "subject suffix files bytes to fetch",
        "01 bold 2 7.1 kB 7.1 kB",
        "companions 6 184 B 184 B",
        "bids-get (dry run): 8 files, 8 to fetch (7.3 kB), 0 already present (0 B)",
    ]
    out, err = datalad("bids-get", *ARGS, cwd=inside)
    assert squeezed(out) == [
        "subject suffix files bytes fetched",
        "01 bold 2 7.1 kB 7.1 kB",
        "companions 6 184 B 184 B",
        "bids-get: 8 files, 8 fetched (7.3 kB), 0 already present (0 B)",
    ]
    assert "error" not in err.lower()
    out, _ = datalad("-f", "tailored", "bids-get", *ARGS, cwd=inside)
    assert squeezed(out)[-1] == "bids-get: 8 files, 0 fetched (0 B), 8 already present (7.3 kB)"
    assert squeezed(out)[1] == "01 bold 2 7.1 kB 0 B"


def test_what_a_person_reads_in_python(inside: Path) -> None:
    import datalad.api as dl
    from datalad.utils import swallow_outputs

    with swallow_outputs() as shown:
        dl.bids_get(suffix="T1w", subject="01,99", on_failure="ignore")
        lines = squeezed(shown.out)
    assert lines[0].startswith("bids-get(impossible): . (dataset) [subject '99' occurs nowhere")
    assert lines[-1].endswith("4 fetched (4.3 kB), 0 already present (0 B), 1 problem (above)")


def test_what_a_program_reads(inside: Path) -> None:
    out, _ = datalad("-f", "json", "bids-get", *ARGS, "--dry-run", cwd=inside)
    records = [json.loads(line) for line in out.splitlines()]
    assert {r["relpath"] for r in records} == REST_01 | RIDING
    assert sum(r["bytesize"] for r in records) == SIZE
    assert all(r["message"] == "would be fetched" and r["dry_run"] for r in records)
    out, _ = datalad("-f", "{relpath}", "bids-get", *ARGS, "--companions", "none", cwd=inside)
    assert set(out.splitlines()) == REST_01


def test_the_command_line_has_all_of_the_grammar(inside: Path, tmp_path: Path) -> None:
    file = tmp_path / "filter.json"
    file.write_text('{"a": {"suffix": "T1w"}, "b": {"suffix": "bold", "run": "<Query.NONE: 1>"}}')
    for args, expected in [
        (("--sub", "01", "--sub", "sub-02", "--suffix", "T1w"), T1W - {
            "sub-10/anat/sub-10_T1w.nii.gz"}),
        (("--subject", "re:0[1-9]", "--suffix", "T1w,epi", "--ext", "nii.gz", "-e", "task=",
          "--exclude", "sub=02", "--exclude", "fmap/"), {"sub-01/anat/sub-01_T1w.nii.gz"}),
        (("--run", "01", "--sub", "01", "--extension", ".nii.gz"), {
            "sub-01/func/sub-01_task-rest_run-1_bold.nii.gz"}),
        (("--filter-file", str(file), "--filter-query", "b", "--sub", "01"), {NBACK_01}),
        (("--datatype", "fmap", "--ses", "", "--ext", "json", "sub-02"), {
            "sub-02/fmap/sub-02_epi.json"}),
        (("-e", "subject=1*", "-e", "sub=zz*", "--datatype", "anat"), {
            "sub-10/anat/sub-10_T1w.nii.gz"}),
    ]:  # fmt: skip
        out, _ = datalad(
            "-f", "{relpath}", "bids-get", *args, "--companions", "none", "--dry-run", cwd=inside
        )
        assert set(out.splitlines()) == expected


def test_links_that_lead_nowhere_are_told(inside: Path, caplog: pytest.LogCaptureFixture) -> None:
    for subject, content in (("01", '{"IntendedFor": "bids::gone.nii.gz"}'), ("02", "{")):
        sidecar = inside / f"sub-{subject}/fmap/sub-{subject}_epi.json"
        sidecar.unlink()
        sidecar.write_text(content)
    git(inside, "-c", "annex.largefiles=nothing", "add", "-A")
    with caplog.at_level("WARNING"):
        bids_get(subject="01,02", suffix="epi", companions="linked")
    told = [r.getMessage() for r in caplog.records if "bidsshare" in r.name]
    assert len(told) == 2, told
    assert "sub-02/fmap/sub-02_epi.json: not JSON" in told[0]
    assert "IntendedFor of sub-01/fmap/sub-01_epi.json: 'bids::gone.nii.gz'" in told[1]
