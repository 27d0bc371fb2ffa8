"""`--source` of `bids-get` and `unzip-outputs`: the clone is made where the user says."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.dataset.builders import annex_repo, git
from tests.dataset.conftest import Ria
from tests.exports import state_of
from tests.platforms import needs_posix, needs_symlinks
from tests.process_log import ProcessLog
from tests.raw_dataset import FILES, datalad
from tests.superdatasets import Record, bids_get, copy_of, files_of, make_dataset, write
from tests.unzips import summary as unzip_summary
from tests.unzips import tracked, unzip, zips_of

T1W = "sub-01/anat/sub-01_T1w.nii.gz"
T1W_02 = "sub-02/anat/sub-02_T1w.nii.gz"
ONE: dict[str, Any] = {"subject": "01", "suffix": "T1w", "companions": "none"}


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATALAD_BIDSSHARE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    import datalad

    datalad.cfg.reload(force=True)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """Where the clone is to be; nothing is there."""
    (tmp_path / "place").mkdir()
    return tmp_path / "place" / "dest"


def present(root: Path) -> set[str]:
    return {path for path in FILES if (root / path).exists()}


def failure(records: list[Record]) -> str:
    """Give the message of the one record that there is, which is a failure."""
    (record,) = records
    assert record["status"] == "error"
    assert record["action"] in ("bids-get", "unzip-outputs")
    message: str = record["message"]
    assert "; next: " in message
    return message


def clones_made(log: ProcessLog) -> list[str]:
    return [line for line in log.commands("git") if " clone " in f"{line} "]


def fetches(log: ProcessLog) -> list[str]:
    return [line for line in log.commands("git") if " fetch " in f"{line} "]


# ---------------------------------------------------------------- nothing is there


def test_a_dataset_is_cloned_and_the_selection_comes(raw: Path, dest: Path) -> None:
    first, *files = bids_get(source=str(raw), dataset=dest, **ONE)
    assert (first["status"], first["type"], first["path"]) == ("ok", "dataset", str(dest))
    assert first["cloned_from"] == str(raw)
    assert first["relpath"] == "."
    assert {p: r["status"] for p, r in files_of(files).items()} == {T1W: "ok"}
    assert files[0]["path"] == str(dest / T1W)
    assert files[0]["refds"] == str(dest)
    assert present(dest) == {T1W}
    # nothing else is left beside it
    assert os.listdir(dest.parent) == ["dest"]


def test_again_clones_and_gets_nothing(raw: Path, dest: Path, process_log: ProcessLog) -> None:
    bids_get(source=raw, dataset=dest, **ONE)
    assert clones_made(process_log)
    process_log.clear()
    records = bids_get(source=raw, dataset=dest, **ONE)
    assert [r["status"] for r in records] == ["notneeded"]
    assert process_log.commands("git-annex") == []
    assert not clones_made(process_log) + fetches(process_log)


@needs_posix
def test_from_the_command_line(raw: Path, dest: Path) -> None:
    args = ["--sub", "01", "--suffix", "T1w"]
    out, _ = datalad("bids-get", "-s", raw, "-d", dest.name, *args, cwd=dest.parent)
    assert f"cloned from {raw}" in out
    # the clone is no subdataset
    assert "subdataset" not in out
    assert "2 fetched" not in out
    out, _ = datalad("-f", "json", "bids-get", "-s", raw, "-d", "dest", *args, cwd=dest.parent)
    assert {json.loads(line)["status"] for line in out.splitlines()} == {"notneeded"}


def test_an_empty_directory_will_do(raw: Path, dest: Path) -> None:
    dest.mkdir()
    assert bids_get(source=raw, dataset=dest, **ONE)[-1]["status"] == "ok"
    assert present(dest) == {T1W}


def test_paths_begin_at_the_dataset(
    raw: Path, dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # what is here by that name is not meant
    (tmp_path / "sub-02").mkdir()
    monkeypatch.chdir(tmp_path)
    records = bids_get("sub-02", source=raw, dataset=dest, suffix="T1w", companions="none")
    assert set(files_of(records)) == {T1W_02}


def test_as_a_method_of_a_dataset(raw: Path, dest: Path) -> None:
    from datalad.api import Dataset

    ds = Dataset(str(dest))
    records = ds.bids_get(source=str(raw), result_renderer="disabled", **ONE)
    assert records[-1]["path"] == str(dest / T1W)


def test_of_a_store(ria: Ria, dest: Path) -> None:
    records = bids_get("a.nii", source=ria.url, dataset=dest)
    assert [r["status"] for r in records] == ["ok", "ok"]
    assert (dest / "a.nii").read_bytes() == b"A" * 1000
    assert [r["status"] for r in bids_get("a.nii", source=ria.url, dataset=dest)] == ["notneeded"]


def test_subdatasets_come_from_beside_the_source(study: Path, dest: Path) -> None:
    records = bids_get(source=study, dataset=dest, recursive=True, subject="01", task="rest")
    assert {r["status"] for r in records} == {"ok", "notneeded"}
    assert (dest / "sub-01/ses-1/func/sub-01_ses-1_task-rest_bold.nii.gz").exists()
    assert not (dest / "sub-02/.git").exists()


# ---------------------------------------------------------------- dry runs


def test_a_dry_run_leaves_nothing(raw: Path, dest: Path, tmp_path: Path) -> None:
    before = state_of(tmp_path)
    first, *files = bids_get(source=raw, dataset=dest, dry_run=True, **ONE)
    assert first["message"] == f"would be cloned from {raw}"
    assert first["path"] == str(dest)
    (record,) = files
    assert (record["path"], record["relpath"]) == (str(dest / T1W), T1W)
    assert record["refds"] == record["parentds"] == str(dest)
    assert record["bytesize"] == (raw / T1W).stat().st_size
    assert record["dry_run"]
    after = state_of(tmp_path)
    # A directory in which something was, and is not any more, has another time stamp.
    assert before.keys() == after.keys()


def test_a_dry_run_in_a_clone_changes_nothing(raw: Path, dest: Path) -> None:
    bids_get(source=raw, dataset=dest, **ONE)
    before = state_of(dest)
    records = bids_get(source=raw, dataset=dest, dry_run=True, suffix="T1w", companions="none")
    assert {r["relpath"]: r["message"] for r in records if r["status"] == "ok"} == {
        path: "would be fetched" for path in files_of(records) if path != T1W
    }
    assert state_of(dest) == before


def test_of_a_dry_run_nobody_wants_the_end_of_nothing_is_left(raw: Path, dest: Path) -> None:
    import datalad.api as dl

    records = dl.bids_get(
        source=raw, dataset=dest, dry_run=True, return_type="generator", result_renderer="disabled"
    )
    next(records)
    assert os.listdir(dest.parent) != []
    records.close()
    assert os.listdir(dest.parent) == []


# ---------------------------------------------------------------- a clone is there


@pytest.mark.parametrize("spelled", ["{}/", "{}/.git", "file://{}", "file://{}/"])
def test_the_same_source_by_another_name(
    raw: Path, dest: Path, spelled: str, process_log: ProcessLog
) -> None:
    bids_get(source=raw, dataset=dest, **ONE)
    process_log.clear()
    records = bids_get(source=spelled.format(raw), dataset=dest, **ONE)
    assert [r["status"] for r in records] == ["notneeded"]
    assert not fetches(process_log)


def test_a_clone_of_the_same_dataset_from_elsewhere(
    raw: Path, dest: Path, tmp_path: Path, process_log: ProcessLog
) -> None:
    bids_get(source=raw, dataset=dest, **ONE)
    mirror = copy_of(raw, tmp_path / "mirror")
    process_log.clear()
    records = bids_get(source=mirror, dataset=dest, **ONE)
    assert [r["status"] for r in records] == ["notneeded"]
    # that it is the same is found out without a clone of it
    assert not clones_made(process_log)
    assert process_log.commands("git-annex") == []


def refused(source: Path, dest: Path, **arguments: Any) -> str:
    before = state_of(dest.parent)
    message = failure(bids_get(source=source, dataset=dest, **arguments))
    assert state_of(dest.parent) == before
    return message


def test_another_dataset_is_not_touched(raw: Path, study: Path, dest: Path) -> None:
    bids_get(source=raw, dataset=dest, **ONE)
    message = refused(study, dest)
    ids = [git(root, "config", "-f", ".datalad/config", "datalad.dataset.id").strip()
           for root in (raw, study)]  # fmt: skip
    assert f"{dest} is another dataset (id {ids[0]}), a clone of {raw}" in message
    assert f"no clone of {study} (id {ids[1]})" in message


def test_a_repository_without_an_id_is_not_touched(raw: Path, dest: Path) -> None:
    annex_repo(dest, {"a": b"a"}, {})
    assert "a git repository, which has no dataset id" in refused(raw, dest)


def test_a_repository_without_a_commit_is_not_touched(raw: Path, dest: Path) -> None:
    dest.mkdir()
    git(dest, "init", "-q")
    assert "a git repository, which has no dataset id" in refused(raw, dest)


def test_clones_of_plain_annexes_are_known_by_where_they_came_from(
    tmp_path: Path, dest: Path
) -> None:
    source = annex_repo(tmp_path / "plain", {"sub-01/sub-01_T1w.nii.gz": b"a" * 10}, {})
    assert bids_get(source=source, dataset=dest)[-1]["status"] == "ok"
    assert [r["status"] for r in bids_get(source=source, dataset=dest)] == ["notneeded"]


def test_a_directory_with_something_in_it_is_not_touched(raw: Path, dest: Path) -> None:
    write(dest, {"b": "mine", "a": "mine", "c": "", "d": ""})
    assert f"{dest} is a directory with 4 entries ('a', 'b', 'c', ...)" in refused(raw, dest)


def test_a_file_is_not_touched(raw: Path, dest: Path) -> None:
    dest.write_text("mine")
    assert f"{dest} is a file" in refused(raw, dest)


@needs_symlinks
def test_a_link_that_leads_nowhere_is_not_followed(raw: Path, dest: Path) -> None:
    dest.symlink_to("nowhere")
    assert f"{dest} is a symbolic link that leads nowhere" in refused(raw, dest)


def test_a_directory_of_a_dataset_is_not_the_dataset(raw: Path, dest: Path) -> None:
    bids_get(source=raw, dataset=dest, **ONE)
    message = refused(raw, dest / "sub-01")
    assert f"{dest / 'sub-01'} is a directory with" in message


def test_the_place_of_managed_clones_is_not_for_others(raw: Path, tmp_path: Path) -> None:
    message = failure(bids_get(source=raw, dataset=tmp_path / "cache" / "mine", **ONE))
    assert "where managed clones are kept" in message
    assert not (tmp_path / "cache").exists()


# ---------------------------------------------------------------- sources that are none


def test_a_source_that_is_not_there(tmp_path: Path, dest: Path) -> None:
    message = failure(bids_get(source=tmp_path / "gone", dataset=dest))
    assert f"There is nothing at {tmp_path / 'gone'}" in message
    assert os.listdir(dest.parent) == []


def test_a_source_that_is_no_dataset(tmp_path: Path, dest: Path) -> None:
    write(tmp_path / "plain", {"a": "a"})
    assert str(tmp_path / "plain") in failure(bids_get(source=tmp_path / "plain", dataset=dest))
    assert os.listdir(dest.parent) == []


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-s", "SRC"], "say where the clone of the source is to be: -d DEST"),
        (["-d", "SRC", "--at", "v1"], "--at says which version of a --source"),
        (["-d", "dest", "-s", ""], "The source is empty"),
        (["-d", "dest", "-s", "ext::sh -c touch% here"], "names a transport of git's"),
        (["-d", "dest", "-s", "SRC", "--at", ""], "is not the name of a version"),
        (["-d", "dest", "-s", "ria+file:///x#~a@v1", "--at", "v2"], "leave out one of them"),
    ],
)
def test_what_cannot_be_meant(raw: Path, args: list[str], said: str, dest: Path) -> None:
    given = [str(raw) if arg == "SRC" else arg for arg in args]
    out, err = datalad("bids-get", *given, cwd=dest.parent, code=1)
    assert said in out + err
    assert os.listdir(dest.parent) == []


# ---------------------------------------------------------------- versions


@pytest.fixture
def versions(tmp_path: Path) -> Path:
    """A dataset with a tag, a branch, and one more commit on the branch that is checked out."""
    root = make_dataset(tmp_path / "versions", {T1W: "one " * 20}).pathobj
    git(root, "tag", "-a", "-m", "first", "v1")
    git(root, "checkout", "-q", "-b", "dev")
    save(root, {"sub-03/anat/sub-03_T1w.nii.gz": "three " * 20})
    git(root, "checkout", "-q", "main")
    save(root, {T1W_02: "two " * 20})
    return root


def save(root: Path, files: dict[str, str]) -> str:
    from datalad.api import Dataset

    write(root, dict(files))
    Dataset(str(root)).save(result_renderer="disabled")
    return git(root, "rev-parse", "HEAD").strip()


def head(root: Path) -> str:
    return git(root, "describe", "--all", "--exact-match", "HEAD").strip()


def selected(records: list[Record]) -> set[str]:
    assert {r["status"] for r in records} <= {"ok", "notneeded"}, records
    return {path[:6] for path in files_of(records)}


IMAGES: dict[str, Any] = {"suffix": "T1w", "companions": "none"}


def test_a_version_is_checked_out(versions: Path, dest: Path) -> None:
    records = bids_get(source=versions, dataset=dest, at="v1", **IMAGES)
    assert selected(records) == {"sub-01"}
    assert git(dest, "rev-parse", "HEAD") == git(versions, "rev-parse", "v1^{commit}")


def test_a_branch_is_checked_out_as_one(versions: Path, dest: Path) -> None:
    assert selected(bids_get(source=versions, dataset=dest, at="dev", **IMAGES)) == {
        "sub-01",
        "sub-03",
    }
    assert git(dest, "symbolic-ref", "HEAD").strip() == "refs/heads/dev"


def test_another_version_in_a_clone_that_is_there(versions: Path, dest: Path) -> None:
    bids_get(source=versions, dataset=dest, **IMAGES)
    for version, subjects in (
        ("v1", {"sub-01"}),
        ("dev", {"sub-01", "sub-03"}),
        ("main", {"sub-01", "sub-02"}),
        (git(versions, "rev-parse", "v1^{commit}").strip(), {"sub-01"}),
    ):
        records = bids_get(source=versions, dataset=dest, at=version, **IMAGES)
        assert selected(records) == subjects
    assert git(dest, "status", "--porcelain") == ""


def test_a_version_that_is_new_is_fetched(versions: Path, dest: Path) -> None:
    bids_get(source=versions, dataset=dest, **IMAGES)
    save(versions, {"sub-04/anat/sub-04_T1w.nii.gz": "four " * 20})
    git(versions, "tag", "v2")
    assert selected(bids_get(source=versions, dataset=dest, at="v2", **IMAGES)) == {
        "sub-01",
        "sub-02",
        "sub-04",
    }
    # and one that no branch leads to
    git(versions, "checkout", "-q", "--detach")
    save(versions, {"sub-05/anat/sub-05_T1w.nii.gz": "five " * 20})
    git(versions, "tag", "v3")
    git(versions, "checkout", "-q", "main")
    records = bids_get(source=versions, dataset=dest, at="v3", **IMAGES)
    assert "sub-05" in selected(records)


def test_a_clone_of_the_same_dataset_gets_a_version_from_where_it_is(
    versions: Path, dest: Path, tmp_path: Path
) -> None:
    bids_get(source=versions, dataset=dest, **IMAGES)
    mirror = copy_of(versions, tmp_path / "mirror")
    save(mirror, {"README": "new"})
    git(mirror, "tag", "v2")
    selected(bids_get(source=mirror, dataset=dest, at="v2", **IMAGES))
    assert git(dest, "rev-parse", "HEAD") == git(mirror, "rev-parse", "v2")


def test_a_version_that_is_nowhere(versions: Path, dest: Path) -> None:
    assert "no version 'v7'" in failure(bids_get(source=versions, dataset=dest, at="v7"))
    assert "git-annex's own" in failure(bids_get(source=versions, dataset=dest, at="git-annex"))
    assert os.listdir(dest.parent) == []
    bids_get(source=versions, dataset=dest, **IMAGES)
    before = git(dest, "rev-parse", "HEAD")
    for version in ("v7", "--all", "^v1", "v1:README", "git-annex", "0" * 40):
        message = failure(bids_get(source=versions, dataset=dest, at=version, **IMAGES))
        assert repr(version) in message
    assert git(dest, "rev-parse", "HEAD") == before


def test_what_is_not_saved_is_not_checked_out_over(versions: Path, dest: Path) -> None:
    bids_get(source=versions, dataset=dest, **IMAGES)
    write(dest, {"notes.txt": "mine"})
    # at that version already
    assert selected(bids_get(source=versions, dataset=dest, at="main", **IMAGES))
    message = failure(bids_get(source=versions, dataset=dest, at="v1", **IMAGES))
    assert "changes that are not saved (notes.txt)" in message
    assert head(dest) == "heads/main"
    assert (dest / "notes.txt").read_text() == "mine"


def test_commits_on_no_branch_are_not_left(versions: Path, dest: Path) -> None:
    bids_get(source=versions, dataset=dest, at="v1", **IMAGES)
    save(dest, {"notes.txt": "mine"})
    message = failure(bids_get(source=versions, dataset=dest, at="main", **IMAGES))
    assert "has commits that are on no branch" in message
    assert (dest / "notes.txt").exists()


def test_subdatasets_are_not_left_at_another_version(study: Path, dest: Path) -> None:
    top = copy_of(study, dest.parent / "study")
    git(top, "tag", "before")
    save(top / "sub-01", {"README": "more"})
    save(top, {})
    bids_get("sub-01", source=top, dataset=dest, companions="none", suffix="T1w")
    message = failure(bids_get(source=top, dataset=dest, at="before"))
    assert f"other versions of subdatasets that are installed in {dest} (sub-01)" in message


def test_a_dry_run_tells_of_a_version_that_is_not_checked_out(versions: Path, dest: Path) -> None:
    assert selected(bids_get(source=versions, dataset=dest, dry_run=True, at="dev", **IMAGES)) == {
        "sub-01",
        "sub-03",
    }
    assert not dest.exists()
    bids_get(source=versions, dataset=dest, **IMAGES)
    before = state_of(dest)
    records = bids_get(source=versions, dataset=dest, dry_run=True, at="dev", **IMAGES)
    assert {r["relpath"][:6]: r["status"] for r in records} == {
        "sub-01": "notneeded",
        "sub-03": "ok",
    }
    assert state_of(dest) == before


def test_the_version_that_the_url_of_a_store_names(ria: Ria, dest: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(ria.store, store, symlinks=True)
    url = ria.url.replace(str(ria.store), str(store))
    bare = next(p.parent for p in store.rglob("HEAD"))
    git(bare, "tag", "v1", "HEAD~1")
    bids_get("a.nii", source=f"{url}@v1", dataset=dest)
    assert git(dest, "rev-parse", "HEAD") == git(bare, "rev-parse", "v1")


# ---------------------------------------------------------------- unzip-outputs


def test_zips_are_unpacked_in_a_clone(_zips: Path, dest: Path) -> None:
    # a path is seen from the dataset, wherever one is
    before = git(_zips, "rev-parse", "HEAD")
    records = unzip("sub-01*.zip", source=str(_zips), dataset=dest, strip=1)
    assert [r["status"] for r in zips_of(records).values()] == ["ok"]
    assert records[0]["cloned_from"] == str(_zips)
    assert any(path.startswith("sub-01/") for path in tracked(dest))
    assert "[DATALAD RUNCMD]" in git(dest, "log", "-1", "--format=%B")
    assert git(_zips, "rev-parse", "HEAD") == before
    records = unzip("sub-01*.zip", source=str(_zips), dataset=dest, strip=1)
    assert [r["status"] for r in zips_of(records).values()] == ["notneeded"]
    # what is new goes into the same clone
    records = unzip(source=str(_zips), dataset=dest, strip=1)
    assert unzip_summary(records)["zips"] == {"ok": 2, "notneeded": 1}


def test_zips_of_a_store_are_read_in_place(_zips_store: str, dest: Path) -> None:
    records = unzip(source=_zips_store, dataset=dest, strip=1)
    assert {r["content_from"] for r in zips_of(records).values()} == {"store"}
    assert not any((dest / path).exists() for path in zips_of(records))


def test_a_dry_run_of_unpacking_leaves_nothing(_zips: Path, dest: Path) -> None:
    records = unzip(source=str(_zips), dataset=dest, strip=1, dry_run=True)
    found = zips_of(records)
    assert {r["path"] for r in found.values()} == {str(dest / name) for name in found}
    assert os.listdir(dest.parent) == []
    assert ".bidsshare-" not in repr(records)


def test_unpacking_needs_a_place_for_the_clone(_zips: Path, dest: Path) -> None:
    _, err = datalad("unzip-outputs", "-s", _zips, cwd=dest.parent, code=1)
    assert "say where the clone of the source is to be: -d DEST" in err
