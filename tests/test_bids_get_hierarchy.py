"""`bids-get` over superdatasets: what is installed, what is found, what fails."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dataset.builders import annex_repo, git
from tests.superdatasets import DATALAD, Record, bids_get, description, files_of, make_dataset

MOUNTS = (
    "derivatives/prep",
    "derivatives/prep/sub-01",
    "sourcedata/raw",
    "sub-01",
    "sub-02",
    "sub-03",
)
ROOT_FILES = {"README", "dataset_description.json", "participants.tsv"}


def installed(root: Path) -> set[str]:
    return {mount for mount in MOUNTS if (root / mount / ".git").exists()}


def installs(records: list[Record]) -> list[tuple[str, str]]:
    return [(r.get("relpath", "."), r["status"]) for r in records if r["type"] == "dataset"]


def asked_for(records: list[Record]) -> set[str]:
    return {path for path, r in files_of(records).items() if "companion_of" not in r}


def failures(records: list[Record]) -> dict[str, str]:
    return {
        r.get("relpath", "."): str(r["message"])
        for r in records
        if r["status"] in ("error", "impossible")
    }


def everything_below(root: Path) -> dict[str, Any]:
    """Take down all names, with what tells of a change."""
    found = {}
    for at, directories, files in os.walk(root):
        for name in directories + files:
            stat = os.lstat(os.path.join(at, name))
            found[os.path.join(at, name)] = (stat.st_mode, stat.st_size, stat.st_mtime_ns)
    return found


def rest_runs(*subjects: str) -> set[str]:
    return {
        f"sub-{sub}/ses-{ses}/func/sub-{sub}_ses-{ses}_task-rest_bold.nii.gz"
        for sub in subjects
        for ses in "12"
    }


# one subdataset a subject


def test_only_the_subject_asked_for_is_installed(study_clone: Path) -> None:
    records = bids_get(
        dataset=study_clone, subject="01", task="rest", extension="nii.gz", recursive=True
    )
    assert installs(records) == [("sub-01", "ok")]
    assert installed(study_clone) == {"sub-01"}
    assert not failures(records)
    files = files_of(records)
    assert asked_for(records) == rest_runs("01")
    tables = {"sub-01/sub-01_sessions.tsv"}
    for ses in "12":
        tables |= {f"sub-01/ses-{ses}/sub-01_ses-{ses}_scans.tsv"}
        tables |= {f"sub-01/ses-{ses}/func/sub-01_ses-{ses}_task-rest_bold.json"}
    inherited = {"task-rest_bold.json"}
    assert set(files) == rest_runs("01") | tables | inherited | ROOT_FILES
    for path, record in files.items():
        in_git = path in inherited | ROOT_FILES
        assert record["status"] == ("notneeded" if in_git else "ok")
        assert record["path"] == str(study_clone / path)
        assert record["refds"] == str(study_clone)
        assert record["parentds"] == str(study_clone if in_git else study_clone / "sub-01")
        assert (study_clone / path).stat().st_size == record["bytesize"]
        assert ("key" in record) is not in_git
    assert git(study_clone, "status", "--porcelain") == ""
    # A file of the superdataset rides along with one of the subdataset.
    assert files["task-rest_bold.json"]["companion_of"] == min(rest_runs("01"))


def test_a_second_run_installs_and_gets_nothing(study_clone: Path) -> None:
    arguments = dict(dataset=study_clone, subject="03", suffix="T1w", recursive=True)
    first = bids_get(**arguments)
    second = bids_get(**arguments)
    assert not installs(second)
    assert {r["status"] for r in second} == {"notneeded"}
    assert set(files_of(second)) == set(files_of(first))


@pytest.mark.parametrize("task", ["rest", "nback"])
def test_a_dry_run_installs_nothing_and_says_what_it_would(study_clone: Path, task: str) -> None:
    before = everything_below(study_clone)
    records = bids_get(dataset=study_clone, subject="01", task=task, recursive=True, dry_run=True)
    assert installs(records) == [("sub-01", "ok")]
    assert all(r["dry_run"] for r in records)
    # That no name with the task is known yet is no failure: it may well be in the subdataset.
    assert not failures(records)
    assert everything_below(study_clone) == before


def test_a_dry_run_reports_a_value_that_no_missing_subdataset_can_have(study_clone: Path) -> None:
    records = bids_get(
        dataset=study_clone, subject=["01", "99"], task="nback", recursive=True, dry_run=True
    )
    assert installs(records)[0] == ("sub-01", "ok")
    (text,) = failures(records).values()
    assert "subject '99' occurs nowhere" in text


def test_where_prunes_before_anything_is_installed(study_clone: Path) -> None:
    arguments = dict(
        dataset=study_clone, task="rest", extension="nii.gz", where="age > 30", recursive=True
    )
    foretold = bids_get(**arguments, dry_run=True)
    assert installs(foretold) == [("sub-02", "ok"), ("sub-03", "ok")]
    records = bids_get(**arguments)
    assert installed(study_clone) == {"sub-02", "sub-03"}
    assert asked_for(records) == rest_runs("02", "03")
    assert not failures(records)


def test_where_by_tables_that_are_in_the_subdatasets(study_clone: Path) -> None:
    arguments = dict(dataset=study_clone, task="rest", extension="nii.gz", recursive=True)
    records = bids_get(**arguments, where="age < 30 and mood == 'good'")
    assert asked_for(records) == {p for p in rest_runs("01") if "ses-1" in p}
    # What participants.tsv says settles it for the others.
    assert installed(study_clone) == {"sub-01"}
    records = bids_get(**arguments, where="age < 40 and quality >= 0 and mood == 'bad'")
    assert asked_for(records) == {p for p in rest_runs("01", "02") if "ses-2" in p}
    assert installed(study_clone) == {"sub-01", "sub-02"}
    assert not failures(records)


@pytest.fixture
def with_annexed_table(tmp_path: Path) -> Path:
    """A clone of a study whose participants.tsv is annexed, so absent in the clone."""
    import datalad.api as dl

    source = tmp_path / "source"
    for subject in ("01", "02"):
        image = f"func/sub-{subject}_task-rest_bold.nii.gz"
        annex_repo(source / f"sub-{subject}", {image: image.encode()}, {})
    make_dataset(source, {"participants.tsv": "participant_id\tage\nsub-01\t20\nsub-02\t35\n"})
    dl.clone(str(source), str(tmp_path / "clone"), result_renderer="disabled")
    return tmp_path / "clone"


def test_where_by_a_table_that_must_be_fetched_first(with_annexed_table: Path) -> None:
    root = with_annexed_table
    arguments = dict(dataset=root, suffix="bold", where="age > 30", recursive=True)
    foretold = bids_get(**arguments, dry_run=True)
    # Who is meant is not known before the table is here; that it is needed is said, once.
    assert failures(foretold).keys() == {"participants.tsv"}
    assert not os.path.exists(root / "participants.tsv")
    records = bids_get(**arguments)
    assert installs(records) == [("sub-02", "ok")]
    assert not failures(records)
    assert asked_for(records) == {"sub-02/func/sub-02_task-rest_bold.nii.gz"}
    table = files_of(records)["participants.tsv"]
    assert (table["status"], table["transferred"]) == ("ok", table["bytesize"])
    assert not (root / "sub-01/.git").exists()


def test_where_by_a_table_that_cannot_be_fetched(with_annexed_table: Path) -> None:
    root = with_annexed_table
    (root.parent / "source/.git/annex").rename(root.parent / "lost")
    arguments = dict(dataset=root, suffix="bold", where="age > 30", recursive=True)
    records = bids_get(**arguments)
    assert not files_of(records)
    assert "participants.tsv" in failures(records)


def test_where_with_a_column_that_is_nowhere(study_clone: Path) -> None:
    records = bids_get(dataset=study_clone, suffix="T1w", recursive=True, where="agee > 3")
    # only what had to be read to know
    assert {r["companion_reason"] for r in files_of(records).values()} == {"selection"}
    (message,) = failures(records).values()
    assert "'agee'" in message
    assert "'age'" in message


def test_without_recursion_no_subdataset_is_touched(study_clone: Path) -> None:
    records = bids_get(dataset=study_clone, subject="01", suffix="bold")
    assert not installed(study_clone)
    assert not files_of(records)
    (message,) = failures(records).values()
    assert "-r" in message


def test_an_unknown_subject_installs_nothing(study_clone: Path) -> None:
    records = bids_get(dataset=study_clone, subject="1", recursive=True)
    assert not installed(study_clone)
    assert any("'1'" in text and "01" in text for text in failures(records).values())


# derivatives and source data


def test_side_subdatasets_are_left_alone_by_a_query(study_clone: Path) -> None:
    bids_get(dataset=study_clone, subject="01", recursive=True)
    assert installed(study_clone) == {"sub-01"}


def test_without_a_query_all_is_meant(study_clone: Path) -> None:
    records = bids_get(dataset=study_clone, recursive=True, exclude=["suffix=bold"])
    assert installed(study_clone) == set(MOUNTS)
    assert "sourcedata/raw/sub-01/anat/sub-01_T1w.nii.gz" in asked_for(records)
    assert not [path for path in files_of(records) if path.endswith("_bold.nii.gz")]


def test_a_named_derivative_is_searched_without_recursion(study_clone: Path) -> None:
    records = bids_get(str(study_clone / "derivatives/prep"), dataset=study_clone, space="MNI")
    assert installed(study_clone) == {"derivatives/prep"}
    assert asked_for(records) == {
        "derivatives/prep/space-MNI_bold.json",
        "derivatives/prep/sub-02/func/sub-02_space-MNI_bold.nii.gz",
    }
    # The description is that of the derivative, which is a BIDS dataset of its own.
    assert "derivatives/prep/dataset_description.json" in files_of(records)
    assert "dataset_description.json" not in files_of(records)


THIRD = "derivatives/prep/sub-01/func/sub-01_space-MNI_bold.nii.gz"


@pytest.mark.parametrize(
    ("named", "recursion", "expected"),
    [
        ("derivatives", None, set()),
        ("derivatives", 0, set()),
        ("derivatives", 1, {"derivatives/prep"}),
        ("derivatives", 2, {"derivatives/prep", "derivatives/prep/sub-01"}),
        ("derivatives/prep", 0, {"derivatives/prep"}),
        ("derivatives/prep", 1, {"derivatives/prep", "derivatives/prep/sub-01"}),
        ("derivatives/prep", -1, {"derivatives/prep", "derivatives/prep/sub-01"}),
        ("derivatives/prep/sub-01", None, {"derivatives/prep", "derivatives/prep/sub-01"}),
        ("derivatives/prep/sub-01/func", None, {"derivatives/prep", "derivatives/prep/sub-01"}),
        (THIRD, None, {"derivatives/prep", "derivatives/prep/sub-01"}),
    ],
)
def test_three_levels(
    study_clone: Path, named: str, recursion: int | None, expected: set[str]
) -> None:
    """Levels count from the dataset that a path names, or from the one given."""
    records = bids_get(
        str(study_clone / named),
        dataset=study_clone,
        extension="nii.gz",
        suffix="bold",
        recursive=recursion is not None,
        recursion_limit=None if recursion == -1 else recursion,
    )
    assert installed(study_clone) == expected
    assert (THIRD in asked_for(records)) is ("derivatives/prep/sub-01" in expected)
    assert bool(failures(records)) is (not expected)
    if "derivatives/prep/sub-01" in expected:
        # By inheritance over the border between two datasets
        above = files_of(records)["derivatives/prep/space-MNI_bold.json"]
        assert above["companion_of"] in asked_for(records)


def test_a_recursion_limit_of_one_stops_above_the_third_level(study_clone: Path) -> None:
    records = bids_get(dataset=study_clone, recursive=True, recursion_limit=1, exclude=["*.nii.gz"])
    assert installed(study_clone) == set(MOUNTS) - {"derivatives/prep/sub-01"}
    assert not failures(records)


def test_a_dry_run_tells_the_first_level_that_is_missing(study_clone: Path) -> None:
    records = bids_get(str(study_clone / THIRD), dataset=study_clone, dry_run=True)
    assert installs(records) == [("derivatives/prep", "ok")]
    assert not failures(records)
    assert not installed(study_clone)


def test_a_derivative_in_the_superdataset_with_one_subdataset_a_subject(tmp_path: Path) -> None:
    prep = "derivatives/prep"
    annex_repo(
        tmp_path / prep / "sub-01",
        {"func/sub-01_space-MNI_desc-preproc_bold.nii.gz": b"x"},
        {},
    )
    make_dataset(
        tmp_path,
        {
            "dataset_description.json": description("study", "raw"),
            "README": "of the study",
            f"{prep}/dataset_description.json": description("prep", "derivative"),
            f"{prep}/space-MNI_desc-preproc_bold.json": "{}",
        },
    )
    records = bids_get(str(tmp_path / prep), dataset=tmp_path, recursive=True, desc="preproc")
    files = files_of(records)
    assert set(files) == {
        f"{prep}/dataset_description.json",
        f"{prep}/space-MNI_desc-preproc_bold.json",
        f"{prep}/sub-01/func/sub-01_space-MNI_desc-preproc_bold.nii.gz",
    }
    records = bids_get(
        str(tmp_path / prep / "sub-01"), dataset=tmp_path, desc="preproc", extension="nii.gz"
    )
    assert set(files_of(records)) == set(files)


def test_source_data_is_searched_when_it_is_named(study_clone: Path) -> None:
    records = bids_get(str(study_clone / "sourcedata/raw"), dataset=study_clone, suffix="T1w")
    assert asked_for(records) == {"sourcedata/raw/sub-01/anat/sub-01_T1w.nii.gz"}
    assert installed(study_clone) == {"sourcedata/raw"}


# subdatasets that cannot be had


@contextlib.contextmanager
def moved_away(path: Path) -> Iterator[None]:
    aside = path.with_name(path.name + ".aside")
    path.rename(aside)
    try:
        yield
    finally:
        aside.rename(path)


def test_a_subdataset_without_a_source_does_not_stop_the_others(
    study: Path, study_clone: Path
) -> None:
    arguments = dict(dataset=study_clone, task="rest", extension="nii.gz", recursive=True)
    with moved_away(study / "sub-02"):
        records = bids_get(**arguments)
    assert installs(records) == [("sub-01", "ok"), ("sub-02", "impossible"), ("sub-03", "ok")]
    (lost,) = (r for r in records if r["status"] == "impossible")
    assert lost["path"] == str(study_clone / "sub-02")
    assert "datalad siblings" in failures(records)["sub-02"]
    assert asked_for(records) == rest_runs("01", "03")
    assert (study_clone / min(rest_runs("03"))).exists()
    # When the source is back, the same call does the rest.
    records = bids_get(**arguments)
    assert not failures(records)
    assert asked_for(records) == rest_runs("01", "02", "03")


def test_a_subdataset_whose_place_is_taken(study_clone: Path) -> None:
    (study_clone / "sub-02/mine.txt").write_text("mine")
    records = bids_get(dataset=study_clone, suffix="T1w", subject="01,02", recursive=True)
    assert installs(records) == [("sub-01", "ok"), ("sub-02", "impossible")]
    assert len(asked_for(records)) == 2
    assert (study_clone / "sub-02/mine.txt").read_text() == "mine"


def test_an_ephemeral_clone_installs_ephemeral_subdatasets(study: Path, tmp_path: Path) -> None:
    import datalad.api as dl

    clone = tmp_path / "ephemeral"
    dl.clone(str(study), str(clone), reckless="ephemeral", result_renderer="disabled")
    records = bids_get(dataset=clone, subject="01", suffix="T1w", recursive=True)
    assert installs(records) == [("sub-01", "ok")]
    assert {r["status"] for r in files_of(records).values()} == {"notneeded"}
    assert (clone / "sub-01/.git/annex").is_symlink()


def test_a_middle_level_that_cannot_be_had(study: Path, study_clone: Path) -> None:
    with moved_away(study / "derivatives/prep"):
        records = bids_get(
            [str(study_clone / THIRD), str(study_clone / "README")], dataset=study_clone
        )
    assert set(failures(records)) == {"derivatives/prep"}
    assert asked_for(records) == {"README"}


def test_the_exit_code_tells_of_a_lost_subdataset(study: Path, study_clone: Path) -> None:
    command = [str(DATALAD), "bids-get", "-d", str(study_clone), "-r"]
    command += ["--sub", "01,02", "--suffix", "T1w"]
    with moved_away(study / "sub-02"):
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1, done.stderr
    assert "bids-get(impossible): sub-02 (dataset)" in done.stdout
    assert "1 problem (above), 1 subdataset installed" in done.stdout
    assert (study_clone / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz").exists()


def test_a_subdataset_that_gitmodules_does_not_know(study_clone: Path) -> None:
    head = git(study_clone, "rev-parse", "HEAD").strip()
    git(study_clone, "update-index", "--add", "--cacheinfo", f"160000,{head},sub-04")
    records = bids_get(dataset=study_clone, subject="01,04", suffix="T1w", recursive=True)
    assert set(failures(records)) == {"sub-04"}
    assert ".gitmodules" in failures(records)["sub-04"]
    assert len(asked_for(records)) == 2


def test_subdatasets_with_awkward_names(tmp_path: Path) -> None:
    import datalad.api as dl

    mounts = ["with space", "derivatives/[a] {b} 100%s", "-dash/deeper", "nfd-e\u0301"]
    for mount in mounts:
        annex_repo(tmp_path / "source" / mount, {"sub-01/anat/sub-01_T1w.nii.gz": b"x"}, {})
    make_dataset(tmp_path / "source", {})
    clone = tmp_path / "clone"
    dl.clone(str(tmp_path / "source"), str(clone), result_renderer="disabled")
    records = bids_get([str(clone / m) for m in mounts], dataset=clone, suffix="T1w")
    assert not failures(records)
    assert asked_for(records) == {f"{m}/sub-01/anat/sub-01_T1w.nii.gz" for m in mounts}
    assert {status for _, status in installs(records)} == {"ok"}


@pytest.mark.parametrize("damage", ["index", "blob"])
def test_a_subdataset_that_is_damaged(study_clone: Path, damage: str) -> None:
    arguments = dict(dataset=study_clone, suffix="T1w", companions="none", recursive=True)
    bids_get(**arguments, dry_run=False)
    if damage == "index":
        (study_clone / "sub-01/.git/index").write_bytes(b"no index")
    else:
        name = "ses-1/anat/sub-01_ses-1_T1w.nii.gz"
        blob = git(study_clone / "sub-01", "rev-parse", f":{name}").strip()
        (study_clone / "sub-01/.git/objects" / blob[:2] / blob[2:]).unlink()
    records = bids_get(**arguments)
    images = {f"sub-01/ses-{ses}/anat/sub-01_ses-{ses}_T1w.nii.gz" for ses in "12"}
    assert set(failures(records)) == ({"sub-01"} if damage == "index" else images)
    assert {p.split("/")[0] for p in asked_for(records)} == {"sub-02", "sub-03"}


# RIA stores


def test_subdatasets_come_from_the_ria_store(tmp_path: Path) -> None:
    """Nothing but the store is left of the source: DataLad finds subdatasets by their ID."""
    import datalad.api as dl

    quiet: dict[str, Any] = {"result_renderer": "disabled"}
    source = tmp_path / "source"
    make_dataset(source / "sub-01", {"func/sub-01_task-rest_bold.nii.gz": b"rest" * 10})
    study = make_dataset(source, {"participants.tsv": "participant_id\nsub-01\n"})
    store = f"ria+file://{tmp_path / 'store'}"
    study.create_sibling_ria(
        store, name="ria", alias="study", new_store_ok=True, recursive=True, **quiet
    )
    study.push(to="ria", recursive=True, **quiet)
    source.rename(tmp_path / "gone")
    clone = tmp_path / "clone"
    dl.clone(f"{store}#~study", str(clone), **quiet)
    records = bids_get(dataset=clone, subject="01", suffix="bold", recursive=True)
    assert not failures(records)
    assert installs(records) == [("sub-01", "ok")]
    assert files_of(records)["participants.tsv"]["status"] == "ok"
    assert (clone / "sub-01/func/sub-01_task-rest_bold.nii.gz").read_bytes() == b"rest" * 10
    assert {r["status"] for r in bids_get(dataset=clone, recursive=True)} == {"notneeded"}


# where the user stands


def test_a_path_inside_an_uninstalled_subdataset(
    study_clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study_clone)
    records = bids_get("sub-01/ses-1/func", extension="nii.gz", companions="none")
    assert installed(study_clone) == {"sub-01"}
    assert {p.rsplit("/", 1)[0] for p in files_of(records)} == {"sub-01/ses-1/func"}
    assert len(records) == 3


def test_standing_where_a_subdataset_will_be(
    study_clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(study_clone / "sub-01")
    records = bids_get("ses-1/anat", companions="none")
    assert asked_for(records) == {"sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"}
    assert records[0]["refds"] == str(study_clone)
    # The same, from the directory that now is a dataset
    monkeypatch.chdir(study_clone / "sub-01")
    records = bids_get("ses-1/anat", companions="none")
    assert asked_for(records) == {"ses-1/anat/sub-01_ses-1_T1w.nii.gz"}


def test_standing_inside_a_subdataset(study_clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bids_get(str(study_clone / "sub-01"), dataset=study_clone, companions="none", suffix="T1w")
    image = "ses-1/func/sub-01_ses-1_task-rest_bold.nii.gz"
    monkeypatch.chdir(study_clone / "sub-01/ses-1")
    # Paths start here, whatever the dataset.
    records = bids_get(f"../{image}", dataset="../..")
    assert asked_for(records) == {f"sub-01/{image}"}
    assert records[0]["refds"] == str(study_clone)
    assert "task-rest_bold.json" in files_of(records)
    # Without -d it is the dataset one stands in.
    records = bids_get(task="rest", extension=".nii.gz")
    assert records[0]["refds"] == str(study_clone / "sub-01")
    assert asked_for(records) == {p.removeprefix("sub-01/") for p in rest_runs("01")}
    # A Dataset instance: relative paths start at its root, as everywhere in DataLad
    from datalad.api import Dataset

    records = bids_get(f"sub-01/{image}", dataset=Dataset(str(study_clone)))
    assert asked_for(records) == {f"sub-01/{image}"}
    # All of the superdataset, asked from below
    records = bids_get(dataset="^", subject="01", suffix="T1w", recursive=True)
    assert records[0]["refds"] == str(study_clone)
    assert len(asked_for(records)) == 2


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("sub-01/ses-9", "impossible"),
        ("nowhere", "impossible"),
        ("derivatives/other", "impossible"),
        ("../elsewhere", "error"),
    ],
)
def test_paths_that_are_not_there(study_clone: Path, path: str, status: str) -> None:
    good = str(study_clone / "sub-01/ses-1/anat")
    bad = os.path.normpath(study_clone / path)
    records = bids_get([bad, good], dataset=study_clone, companions="none")
    assert [(r["path"], r["status"]) for r in records if r["status"] not in ("ok",)] == [
        (bad, status)
    ]
    assert len(asked_for(records)) == 1


def test_a_path_that_contradicts_the_filter(study_clone: Path) -> None:
    records = bids_get(str(study_clone / "sub-02"), dataset=study_clone, subject="01")
    assert not installed(study_clone)
    assert not files_of(records)
    assert len(failures(records)) == 1


def test_a_subdataset_that_breaks_while_another_is_fetched(study_clone: Path) -> None:
    bids_get(dataset=study_clone, subject=["01", "02"], recursive=True, dry_run=False, suffix="T1w")
    broken = study_clone / "sub-02"
    run = "ses-1/func/sub-02_ses-1_task-rest_bold.nii.gz"
    git(broken, "annex", "unlock", "-q", run)
    records = bids_get(
        dataset=study_clone,
        subject=["01", "02"],
        suffix="bold",
        recursive=True,
        companions="none",
        return_type="generator",
    )
    seen: dict[str, Record] = {}
    for record in records:
        assert record["relpath"] not in seen
        seen[record["relpath"]] = record
        # Planned is all by now: git-annex will be asked about the pointer in here, in vain.
        (broken / ".git" / "config").write_text("[no config")
    assert {seen[path]["status"] for path in rest_runs("01")} == {"ok"}
    assert {seen[path]["status"] for path in rest_runs("02")} == {"error"}
    assert "config" in str(seen[f"sub-02/{run}"]["message"])
