"""The command `unzip-outputs` and `datalad rerun`, after something has changed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from datalad.api import Dataset
from datalad.support.exceptions import IncompleteResultsError

from tests.dataset.builders import git
from tests.raw_dataset import datalad
from tests.unzips import (
    DESCRIPTION,
    ZIPS,
    dataset_of,
    failures,
    files_in_commit,
    members,
    outcomes,
    save_zips,
    subjects,
    tracked,
    tree_of,
    unzip,
    zip_bytes,
    zips_of,
)

ONE, TWO, TEN = ZIPS
EDITED = '{"Name": "Ours", "BIDSVersion": "1.4.0", "DatasetType": "derivative"}\n'
T1W = "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"


def newer_zip() -> bytes:
    """Give the zip of a subject that was processed anew, with one file less."""
    content = {
        name: data + b"!" for name, data in members("01", top="").items() if name[-3:] == ".gz"
    }
    content.pop("sub-01/func/sub-01_task-rest_space-T1w_desc-preproc_bold.nii.gz")
    return zip_bytes({f"fmriprep/{name}": data for name, data in content.items()})


def test_a_rerun_does_not_take_another_version_of_the_zip(zips: Path) -> None:
    (record,) = (r for r in zips_of(unzip(ONE, dataset=zips, strip=1)).values())
    save_zips(zips, {ONE: newer_zip()})
    before = tree_of(zips)
    with pytest.raises(IncompleteResultsError):
        Dataset(zips).rerun(record["commit"], result_renderer="disabled")
    assert tree_of(zips) == before
    done = subprocess.run(
        ["bidsshare-unzip", "--strip=1", f"--expect={'0' * 16}", ONE],
        cwd=zips, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 1
    assert "not the one that is expected" in done.stderr and "unzip-outputs" in done.stderr


def test_what_an_earlier_version_of_a_zip_gave_is_named(zips: Path) -> None:
    unzip([ONE, TWO], dataset=zips, strip=1, exclude="dataset_description.json")
    save_zips(zips, {ONE: newer_zip(), "sub-01.html": "edited since"})
    records = unzip(ONE, dataset=zips, strip=1, existing="replace", include="*.gz")
    assert not failures(records)
    message = zips_of(records)[ONE]["message"]
    assert "sub-01_task-rest_space-T1w_desc-preproc_bold.nii.gz" in message
    # what somebody has changed is no remainder of it
    assert "sub-01.html" not in message
    assert "3 of its files replaced others" in message


def test_companions_that_were_edited_are_kept_and_no_record_claims_them(zips: Path) -> None:
    wishes = {"strip": 1, "suffix": "T1w"}
    unzip(ONE, dataset=zips, **wishes)
    save_zips(zips, {"dataset_description.json": EDITED})
    records = unzip([TWO, TEN], dataset=zips, **wishes)
    assert not failures(records)
    assert outcomes(records) == {TWO: "ok", TEN: "ok"}
    for name in (TWO, TEN):
        assert "dataset_description.json: kept" in zips_of(records)[name]["message"]
        commit = zips_of(records)[name]["commit"]
        assert "dataset_description.json" not in files_in_commit(zips, commit)
        message = git(zips, "log", "-1", "--format=%B", commit)
        assert "dataset_description" not in message
        Dataset(zips).rerun(commit, result_renderer="disabled")
    assert (zips / "dataset_description.json").read_text() == EDITED
    assert not git(zips, "status", "--porcelain")
    # unless it is to be replaced
    records = unzip(ONE, dataset=zips, existing="replace", strip=1, suffix="T1w", include="*T1w*")
    assert (zips / "dataset_description.json").read_bytes() == DESCRIPTION
    assert "1 of its files replaced others" in zips_of(records)[ONE]["message"]


def test_a_directory_to_strip_that_is_nowhere_is_reported(zips: Path) -> None:
    records = unzip(dataset=zips, strip_prefix="fmriprp", dry_run=True)
    (message,) = failures(records).values()
    assert "'fmriprp'" in message and "--strip-prefix" in message
    assert set(outcomes(records).values()) == {"ok"}


def test_a_zip_with_nothing_wanted_is_not_looked_into_twice(zips: Path, tmp_path: Path) -> None:
    other = {"sub-03_freesurfer-7.zip": zip_bytes({"freesurfer/a.mgz": b"a"})}
    save_zips(zips, other)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(zips), str(clone))
    git(clone, "annex", "init", "-q")
    wishes = {"strip": 1, "suffix": "T1w", "dataset": clone}
    assert outcomes(unzip(**wishes))["sub-03_freesurfer-7.zip"] == "notneeded"
    known = (clone / ".git/bidsshare/unzip/barren").read_text()
    assert known.count("\n") == 1
    git(clone, "config", "remote.origin.url", str(tmp_path / "gone"))
    records = unzip(**wishes)
    assert set(outcomes(records).values()) == {"notneeded"}
    # another selection may want it
    assert "sub-03_freesurfer-7.zip" in failures(unzip(dataset=clone, include="*.mgz"))


def test_failures_of_one_kind_are_shown_a_few_times(tmp_path: Path) -> None:
    content = {name: b"no zip" for name in subjects(*(f"{n:02}" for n in range(9)))}
    ds = dataset_of(tmp_path / "ds", {**content, "odd.zip": zip_bytes({"../x": b"x"})})
    out, _ = datalad("unzip-outputs", "--on-zip-error", "continue", cwd=ds, code=1)
    assert out.count("not a zip file") == 5
    assert "odd.zip" in out
    assert "10 could not be unpacked (not all are shown; all: -f json)" in out
    assert not tracked(ds) - {*content, "odd.zip"}


def test_who_has_no_name_is_told_before_anything_is_unpacked(
    zips: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    for name in ("GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL", "GIT_COMMITTER_NAME", "EMAIL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delenv("GIT_COMMITTER_EMAIL", raising=False)
    git(zips, "config", "user.useConfigOnly", "true")
    for key in ("user.name", "user.email"):
        subprocess.run(["git", "config", "--unset", key], cwd=zips, check=False)
    (message,) = failures(unzip(dataset=zips)).values()
    assert "user.name" in message or "user.email" in message
    assert not (zips / ".git/bidsshare/unzip/stage").exists()


def test_a_zip_that_cannot_be_had_is_not_called_unknown(zips: Path, tmp_path: Path) -> None:
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(zips), str(clone))
    git(clone, "annex", "init", "-q")
    git(clone, "config", "remote.origin.url", str(tmp_path / "gone"))
    said = failures(unzip(dataset=clone, subject="01", suffix="T1w"))
    assert ONE in said
    assert not any("subject '01'" in message for message in said.values()), said
