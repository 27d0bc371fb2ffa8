"""`export-plain` into a place where something stands already."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datalad_bidsshare.dataset.blobs import read_blobs
from tests.dataset.builders import add_link, git, objects_of
from tests.exports import content_of, export, failures, outcomes, source_state, state_of, summary
from tests.platforms import needs_symlinks
from tests.process_log import ProcessLog
from tests.raw_dataset import FILES, raw_content
from tests.superdatasets import copy_of, write

T1W = "sub-01/anat/sub-01_T1w.nii.gz"
ANAT: dict[str, Any] = {"subject": "01", "datatype": "anat"}
ANAT_FILES = {T1W, "README", "dataset_description.json", "participants.tsv"}


@pytest.fixture
def root(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in the dataset, with all content."""
    target = copy_of(raw, tmp_path / "raw")
    monkeypatch.chdir(target)
    return target


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """A place that is not there yet."""
    return tmp_path / "dest"


def files_in(dest: Path) -> dict[str, tuple[int, int, int, int]]:
    """Take down all files, our own as well: what is written anew has another inode."""
    told = {}
    for path in content_of(dest, all_of_it=True):
        info = (dest / path).stat()
        told[path] = (info.st_ino, info.st_mtime_ns, info.st_size, info.st_mode)
    return told


def changed_between(before: dict[str, Any], after: dict[str, Any]) -> set[str]:
    """Give the paths of what came, went or changed, without our own."""
    either = before.keys() | after.keys()
    changed = {path for path in either if before.get(path) != after.get(path)}
    return {path for path in changed if not path.startswith(".bidsshare/")}


def replace(root: Path, files: dict[str, str]) -> None:
    """Commit other content."""
    for path in files:
        (root / path).unlink(missing_ok=True)
    write(root, files)
    git(root, "annex", "add", "-q", "--force-large", "--", *files)
    git(root, "commit", "-q", "-m", "other content")


def hurt(path: Path) -> bytes:
    """Change one byte of a file, such that neither size nor time stamp tell of it."""
    info = path.stat()
    content = bytearray(path.read_bytes())
    content[0] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(info.st_atime_ns, info.st_mtime_ns))
    return bytes(content)


# ---------------------------------------------------------------- again


def test_again_nothing_is_touched(root: Path, dest: Path, process_log: ProcessLog) -> None:
    export(dest)
    before, source = files_in(dest), state_of(root)
    process_log.clear()
    records = export(dest)
    assert outcomes(records) == dict.fromkeys(outcomes(records), "notneeded")
    assert len(outcomes(records)) == len(FILES)
    assert files_in(dest) == before
    assert state_of(root) == source
    assert summary(records)["status"] == "notneeded"
    assert summary(records)["files"] == {"unchanged": len(FILES)}
    assert process_log.count("git-annex") == 0


def test_again_without_the_content(root: Path, dest: Path) -> None:
    """What stands there needs no content here."""
    export(dest)
    before = files_in(dest)
    shutil.move(root / ".git/annex/objects", root.parent / "away")
    records = export(dest, missing="error")
    assert {r["status"] for r in records} == {"notneeded"}
    assert files_in(dest) == before


def test_again_where_times_were_lost(root: Path, dest: Path) -> None:
    """Copied on without time stamps: nothing is written anew, and then known again."""
    export(dest)
    for path in content_of(dest):
        os.utime(dest / path)
    before = content_of(dest)
    inodes = {path: told[0] for path, told in files_in(dest).items()}
    records = export(dest)
    assert {r["status"] for r in records} == {"notneeded"}
    assert content_of(dest) == before
    told = files_in(dest)
    assert all(told[path][0] == inodes[path] for path in before)
    export(dest)
    assert files_in(dest) == told


def test_only_what_changed(root: Path, dest: Path) -> None:
    export(dest)
    before = files_in(dest)
    replace(root, {T1W: "new image", "sub-01/anat/sub-01_T2w.nii.gz": "one more"})
    records = export(dest)
    assert not failures(records)
    # the description tells the version
    changed = {T1W, "sub-01/anat/sub-01_T2w.nii.gz", "dataset_description.json"}
    assert {path for path, status in outcomes(records).items() if status == "ok"} == changed
    assert changed_between(before, files_in(dest)) == changed
    assert (dest / T1W).read_text() == "new image"
    done = summary(records)["files"]
    assert (done["updated"], done["written"]) == (2, 1)
    assert b"new image" in content_of(export_anew(root))[T1W]
    assert content_of(dest) == content_of(root.parent / "anew")


def export_anew(root: Path) -> Path:
    """Export all into an empty place, to compare with."""
    export(root.parent / "anew", dataset=root)
    return root.parent / "anew"


def test_same_content_in_another_way_is_not_copied(root: Path, dest: Path) -> None:
    export(dest)
    before = files_in(dest)
    git(root, "annex", "unlock", "-q", T1W, "README")
    git(root, "commit", "-q", "-am", "unlock")
    records = export(dest)
    assert outcomes(records)[T1W] == "notneeded"
    assert changed_between(before, files_in(dest)) == {"dataset_description.json"}
    # and that is known the next time
    before = files_in(dest)
    assert {r["status"] for r in export(dest)} == {"notneeded"}
    assert files_in(dest) == before


def test_a_program_gets_its_bit(root: Path, dest: Path) -> None:
    script = "code/sub-01_task-rest_bold.py"
    git(root, "annex", "unlock", "-q", script)
    git(root, "commit", "-q", "-am", "unlock")
    export(dest)
    assert not os.access(dest / script, os.X_OK) or os.name == "nt"
    git(root, "update-index", "--chmod=+x", script)
    git(root, "commit", "-q", "-m", "program")
    export(dest)
    assert os.access(dest / script, os.X_OK)


def test_tables_grow_with_the_selection(root: Path, dest: Path) -> None:
    export(dest, **ANAT)
    before = files_in(dest)
    records = export(dest, subject=["01", "02"], datatype="anat")
    second = "sub-02/anat/sub-02_T1w.nii.gz"
    assert changed_between(before, files_in(dest)) == {second, "participants.tsv"}
    assert outcomes(records)["participants.tsv"] == "ok"
    assert (dest / "participants.tsv").read_text().count("sub-") == 2
    # another way to say the same
    before = files_in(dest)
    records = export(dest, tables="all", subject=["01", "02"], datatype="anat")
    assert changed_between(before, files_in(dest)) == {"participants.tsv"}
    assert (dest / "participants.tsv").read_bytes() == raw_content("participants.tsv")


def test_what_was_lost_there_comes_again(root: Path, dest: Path) -> None:
    export(dest)
    shutil.rmtree(dest / "sub-01/anat")
    records = export(dest)
    assert {path for path, status in outcomes(records).items() if status == "ok"} == {T1W}
    assert (dest / T1W).read_bytes() == raw_content(T1W)


def test_without_our_notes_all_is_looked_at(root: Path, dest: Path) -> None:
    export(dest)
    before = content_of(dest)
    shutil.rmtree(dest / ".bidsshare")
    (dest / T1W).write_text("not ours")
    records = export(dest)
    assert {p for p, status in outcomes(records).items() if status != "notneeded"} == {T1W}
    assert failures(records).keys() == {T1W}
    assert content_of(dest) == {**before, T1W: b"not ours"}
    # and what was found to be right is vouched for, the other not
    listed = "".join(p.read_text() for p in (dest / ".bidsshare").glob("manifest-*.txt"))
    assert "README" in listed
    assert T1W not in listed


def test_a_dry_run_looks_as_closely(
    root: Path, dest: Path, process_log: ProcessLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datalad_bidsshare.export.content.LARGEST_READ", 50_000)
    names = [f"code/{number}.bin" for number in range(9)]
    write(root, {name: os.urandom(40_000) for name in names})
    write(root, {"code/large.bin": os.urandom(60_000), "code/worm.bin": os.urandom(60_000)})
    git(root, "annex", "add", "-q", "--force-small", *names, "code/large.bin")
    git(root, "annex", "add", "-q", "--force-large", "--backend=WORM", "code/worm.bin")
    git(root, "commit", "-q", "-m", "more")
    paths = [str(root / "code")]
    export(dest, paths)
    shutil.rmtree(dest / ".bidsshare")
    hurt(dest / names[3])
    hurt(dest / "code/worm.bin")
    process_log.clear()
    planned = outcomes(export(dest, paths, dry_run=True))
    assert process_log.count("git") < 20
    assert planned == outcomes(export(dest, paths))
    assert {path for path, status in planned.items() if status != "notneeded"} == {
        names[3], "code/worm.bin",
    }  # fmt: skip


def test_what_is_vouched_for_anew_is_in_the_receipt(root: Path, dest: Path) -> None:
    export(dest, **ANAT)
    (dest / "sub-02/anat").mkdir(parents=True)
    other = T1W.replace("01", "02")
    shutil.copyfile(root / other, dest / other)
    again: dict[str, Any] = {"subject": ["01", "02"], "datatype": "anat", "companions": "none"}
    assert outcomes(export(dest, **again)) == {T1W: "notneeded", other: "notneeded"}
    receipt = json.loads((dest / ".bidsshare/export.json").read_text())
    written = content_of(dest)
    assert receipt["files"] == len(written) == len(ANAT_FILES) + 1
    assert receipt["bytes"] == sum(map(len, written.values()))
    log = (root / ".git/bidsshare/exports.jsonl").read_text().splitlines()
    assert len(log) == 2
    # and no more lines when nothing is new
    export(dest, **again)
    assert (root / ".git/bidsshare/exports.jsonl").read_text().splitlines() == log


# ---------------------------------------------------------------- what others did there


def test_changed_there_is_refused_with_the_way_out(root: Path, dest: Path) -> None:
    export(dest, **ANAT)
    (dest / T1W).write_text("their own")
    (dest / "theirs.txt").write_text("theirs")
    replace(root, {T1W: "new image"})
    records = export(dest, **ANAT)
    assert outcomes(records)[T1W] == "error"
    (message,) = failures(records).values()
    assert "--force" in message
    assert "--existing skip" in message
    assert (dest / T1W).read_text() == "their own"

    records = export(dest, existing="skip", **ANAT)
    assert not failures(records)
    assert (dest / T1W).read_text() == "their own"

    records = export(dest, force=True, **ANAT)
    assert outcomes(records)[T1W] == "ok"
    assert (dest / T1W).read_text() == "new image"
    assert (dest / "theirs.txt").read_text() == "theirs"
    assert {r["status"] for r in export(dest, **ANAT)} == {"notneeded"}


def test_what_stood_there_before_is_theirs(root: Path, dest: Path) -> None:
    write(dest, {"README": "their README", T1W: raw_content(T1W)})
    records = export(dest, **ANAT)
    assert failures(records).keys() == {"README"}
    # it is complete: nothing to copy
    assert outcomes(records)[T1W] == "notneeded"
    assert (dest / "README").read_text() == "their README"
    assert json.loads((dest / ".bidsshare/export.json").read_text())["missing"] == 1


def test_existing_skip_leaves_all(root: Path, dest: Path) -> None:
    export(dest, **ANAT)
    replace(root, {T1W: "new image"})
    before = files_in(dest)
    records = export(dest, existing="skip", **ANAT)
    assert set(outcomes(records).values()) == {"notneeded"}
    assert changed_between(before, files_in(dest)) == set()
    # what is not there is written
    records = export(dest, subject="02", datatype="anat", existing="skip")
    assert outcomes(records)["sub-02/anat/sub-02_T1w.nii.gz"] == "ok"


def test_existing_error_reports_what_differs(root: Path, dest: Path) -> None:
    export(dest, **ANAT)
    replace(root, {T1W: "new image"})
    before = files_in(dest)
    records = export(dest, existing="error", **ANAT)
    assert failures(records).keys() == {T1W, "dataset_description.json"}
    assert outcomes(records)["README"] == "notneeded"
    assert changed_between(before, files_in(dest)) == set()


def test_existing_error_does_not_mind_what_is_right(root: Path, dest: Path) -> None:
    """Whether because the bytes are looked at, or because nobody knows who wrote them."""
    export(dest, **ANAT)
    assert not failures(export(dest, existing="error", **ANAT))
    assert not failures(export(dest, existing="error", checksum=True, **ANAT))
    shutil.rmtree(dest / ".bidsshare")
    (dest / "README").write_text("mine")
    records = export(dest, existing="error", force=True, **ANAT)
    assert failures(records).keys() == {"README"}
    assert (dest / "README").read_text() == "mine"


@needs_symlinks
def test_nothing_goes_through_links(root: Path, dest: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    write(outside, {"file": "mine", "anat/x": "x"})
    write(dest, {"sub-02/x": ""})
    (dest / "README").symlink_to(outside / "file")
    (dest / "sub-01").symlink_to(outside)
    (dest / "sub-02/anat").symlink_to("../../outside/anat")
    records = export(dest, datatype="anat")
    second = "sub-02/anat/sub-02_T1w.nii.gz"
    assert failures(records).keys() == {"README", T1W, second}
    assert "symbolic link" in failures(records)[T1W]
    assert "symbolic link" in failures(records)["README"]
    assert content_of(outside) == {"file": b"mine", "anat/x": b"x"}
    # a link is replaced by force, what it leads to is not
    records = export(dest, datatype="anat", force=True)
    assert outcomes(records)["README"] == "ok"
    assert not (dest / "README").is_symlink()
    assert failures(records).keys() == {T1W, second}
    assert content_of(outside) == {"file": b"mine", "anat/x": b"x"}


@pytest.mark.parametrize("force", [False, True])
def test_directories_and_files_in_the_way(root: Path, dest: Path, force: bool) -> None:
    write(dest, {"README/theirs": "1", "sub-01": "2"})
    records = export(dest, force=force, **ANAT)
    assert failures(records).keys() == {"README", T1W}
    assert (dest / "README/theirs").read_text() == "1"
    assert (dest / "sub-01").read_text() == "2"
    assert content_of(dest).keys() == {
        "README/theirs", "sub-01", "participants.tsv", "dataset_description.json",
    }  # fmt: skip


# ---------------------------------------------------------------- silent damage


def test_silent_damage_is_found_when_asked_for(root: Path, dest: Path) -> None:
    export(dest, **ANAT)
    image = hurt(dest / T1W)
    description = hurt(dest / "dataset_description.json")
    assert {r["status"] for r in export(dest, **ANAT)} == {"notneeded"}

    records = export(dest, checksum=True, **ANAT)
    assert failures(records).keys() == {T1W, "dataset_description.json"}
    assert all("--force" in message for message in failures(records).values())
    assert (dest / T1W).read_bytes() == image
    assert (dest / "dataset_description.json").read_bytes() == description
    # they are still not vouched for as they are
    assert {r["verdict"] for r in export(dest, verify=True) if "verdict" in r} == {"ok", "changed"}

    records = export(dest, checksum=True, force=True, **ANAT)
    assert {path for path, status in outcomes(records).items() if status == "ok"} == {
        T1W, "dataset_description.json",
    }  # fmt: skip
    assert (dest / T1W).read_bytes() == raw_content(T1W)
    assert {r["verdict"] for r in export(dest, verify=True) if "verdict" in r} == {"ok"}
    before = files_in(dest)
    assert {r["status"] for r in export(dest, checksum=True, **ANAT)} == {"notneeded"}
    assert changed_between(before, files_in(dest)) == set()


def test_what_changed_in_the_dataset_is_no_damage_there(root: Path, dest: Path) -> None:
    export(dest, **ANAT)
    replace(root, {T1W: "new image"})
    records = export(dest, checksum=True, subject=["01", "02"], datatype="anat")
    assert not failures(records)
    assert (dest / T1W).read_text() == "new image"
    # but damage is, also where there is something new
    hurt(dest / T1W)
    replace(root, {T1W: "yet another"})
    assert failures(export(dest, checksum=True, **ANAT)).keys() == {T1W}


# ---------------------------------------------------------------- delete


def directories_in(dest: Path) -> set[str]:
    return {p.relative_to(dest).as_posix() for p in dest.rglob("*") if p.is_dir()} - {".bidsshare"}


def test_delete_takes_what_was_ours(root: Path, dest: Path) -> None:
    write(dest, {"theirs/file": "x", "sub-01/fmap/theirs": "y"})
    (dest / "sub-01/perf/empty").mkdir(parents=True)
    (dest / "sub-01/anat").mkdir()
    export(dest, subject="01")
    before = content_of(dest)
    records = export(dest, subject="02", datatype="anat")
    assert not [r for r in records if "deleted" in r]
    assert content_of(dest).keys() >= before.keys()

    records = export(dest, subject="02", datatype="anat", delete=True)
    assert not failures(records)
    gone = {r["relpath"] for r in records if r.get("deleted")}
    assert gone == {p for p in before if p.startswith("sub-01/")} - {"sub-01/fmap/theirs"} | {
        "task-rest_bold.json"
    }
    assert content_of(dest).keys() == {
        "theirs/file", "sub-01/fmap/theirs", "README", "participants.tsv",
        "dataset_description.json", "sub-02/anat/sub-02_T1w.nii.gz",
    }  # fmt: skip
    # directories: the one that we made went, those that were there before stay
    assert directories_in(dest) == {
        "theirs", "sub-01", "sub-01/fmap", "sub-01/perf", "sub-01/perf/empty", "sub-01/anat",
        "sub-02", "sub-02/anat",
    }  # fmt: skip
    record = next(r for r in records if r.get("deleted"))
    assert record["path"] == str(dest / record["relpath"])
    assert summary(records)["files"]["deleted"] == len(gone)
    # once and for all
    assert {r["status"] for r in export(dest, subject="02", datatype="anat", delete=True)} == {
        "notneeded"
    }
    assert not [v for v in export(dest, verify=True) if v.get("verdict") == "missing"]


def test_delete_leaves_what_was_changed(root: Path, dest: Path) -> None:
    export(dest, subject="01")
    (dest / T1W).write_text("their own")
    records = export(dest, subject="02", delete=True)
    assert failures(records).keys() == {T1W}
    assert "--force" in failures(records)[T1W]
    assert (dest / T1W).read_text() == "their own"
    assert summary(records)["files"]["not deleted"] == 1
    # all that was selected is there
    assert "failed" not in summary(records)["files"]
    assert json.loads((dest / ".bidsshare/export.json").read_text())["missing"] == 0
    records = export(dest, subject="02", delete=True, force=True)
    assert not failures(records)
    assert not (dest / "sub-01").exists()


@needs_symlinks
def test_delete_does_not_go_through_links(root: Path, dest: Path, tmp_path: Path) -> None:
    export(dest, subject="01")
    shutil.move(dest / "sub-01", tmp_path / "moved")
    (dest / "sub-01").symlink_to(tmp_path / "moved")
    before = content_of(tmp_path / "moved")
    export(dest, subject="02", delete=True, force=True)
    assert content_of(tmp_path / "moved") == before


def test_delete_follows_a_rename(root: Path, dest: Path) -> None:
    export(dest)
    new = "sub-01/anat/sub-01_run-1_T1w.nii.gz"
    git(root, "mv", T1W, new)
    git(root, "commit", "-q", "-m", "rename")
    export(dest, delete=True)
    assert not (dest / T1W).exists()
    assert (dest / new).read_bytes() == raw_content(T1W)
    assert content_of(dest) == content_of(export_anew(root))


def test_delete_where_a_directory_takes_the_place_of_a_file(root: Path, dest: Path) -> None:
    export(dest)
    git(root, "rm", "-q", "README", T1W)
    replace(root, {"README/inner.txt": "text", "sub-01/anat": "a file now"})
    records = export(dest, delete=True)
    if failures(records):
        # It takes two runs: what stood in the way was looked at before it was deleted.
        assert failures(records).keys() == {"README/inner.txt", "sub-01/anat"}
        records = export(dest, delete=True)
    assert not failures(records)
    assert content_of(dest) == content_of(export_anew(root))


def test_nothing_is_deleted_when_a_subdataset_could_not_be_found(
    study: Path, dest: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = copy_of(study, tmp_path / "study")
    export(dest, dataset=root, recursive=True)
    before = content_of(dest)
    shutil.rmtree(root / "sub-03")
    (root / "sub-03").mkdir()
    shutil.rmtree(root / ".git/modules/sub-03", ignore_errors=True)
    git(root, "config", "-f", ".gitmodules", "submodule.sub-03.url", str(tmp_path / "nowhere"))
    records = export(dest, dataset=root, recursive=True, delete=True)
    assert any(r["type"] == "dataset" for r in records if r["status"] in ("error", "impossible"))
    assert content_of(dest).keys() == before.keys()
    assert "Nothing is deleted" in caplog.text
    # nor when it was not asked for, with what is left out by that
    assert [r for r in records if r.get("deleted")] == []
    assert summary(records)["problems"] == 1


# ---------------------------------------------------------------- damage in the dataset


def test_a_damaged_object_is_an_error_of_that_file(root: Path, dest: Path) -> None:
    key = git(root, "annex", "lookupkey", T1W).strip()
    (place,) = objects_of(root, key)
    hurt(place)
    records = export(dest)
    assert failures(records).keys() == {T1W}
    message = failures(records)[T1W]
    assert "does not match its key" in message
    assert f"git -C {root} annex fsck -- {T1W}" in message
    assert content_of(dest).keys() == FILES.keys() - {T1W}
    assert not [p for p in dest.rglob("*") if "tmp" in p.name]
    listed = "".join(p.read_text() for p in (dest / ".bidsshare").glob("manifest-*.txt"))
    assert T1W not in listed
    told = json.loads((dest / ".bidsshare/export.json").read_text())
    assert (told["missing"], told["files"]) == (1, len(FILES) - 1)
    # a truncated one as well, whatever is asked for
    place.write_bytes(b"short")
    records = export(dest, no_verify=True)
    assert failures(records).keys() == {T1W}
    assert not (dest / T1W).exists()
    # mended
    place.write_bytes(raw_content(T1W))
    assert outcomes(export(dest))[T1W] == "ok"


def test_a_damaged_object_does_not_replace_a_good_copy(root: Path, dest: Path) -> None:
    export(dest)
    replace(root, {T1W: "new image"})
    (place,) = objects_of(root, git(root, "annex", "lookupkey", T1W).strip())
    hurt(place)
    records = export(dest, force=True)
    assert failures(records).keys() == {T1W}
    assert (dest / T1W).read_bytes() == raw_content(T1W)


def test_damage_that_nobody_looks_for(root: Path, dest: Path) -> None:
    """With --no-verify content is copied as it is, and the receipt says so."""
    key = git(root, "annex", "lookupkey", T1W).strip()
    (place,) = objects_of(root, key)
    damaged = hurt(place)
    records = export(dest, no_verify=True)
    assert not failures(records)
    assert (dest / T1W).read_bytes() == damaged
    told = json.loads((dest / ".bidsshare/export.json").read_text())
    assert told["options"]["verified"] is False
    # ... and whoever checks it sees it.
    verdicts = {r["relpath"]: r["verdict"] for r in export(dest, verify=True) if "verdict" in r}
    assert {path for path, said in verdicts.items() if said != "ok"} == {T1W}


def test_a_damaged_table_is_not_rewritten(root: Path, dest: Path) -> None:
    key = git(root, "annex", "lookupkey", "participants.tsv").strip()
    (place,) = objects_of(root, key)
    hurt(place)
    records = export(dest, **ANAT)
    assert failures(records).keys() == {"participants.tsv"}
    assert "does not match its key" in failures(records)["participants.tsv"]


@pytest.mark.parametrize("lost", [True, False])
def test_a_blob_that_git_cannot_read(study: Path, dest: Path, tmp_path: Path, lost: bool) -> None:
    root = copy_of(study, tmp_path / "study")
    write(root, {"zz.nii": "after it", "big.json": os.urandom(100_000)})
    git(root, "annex", "add", "-q", "--force-large", "zz.nii")
    git(root, "annex", "add", "-q", "--force-small", "big.json")
    git(root, "commit", "-q", "-m", "more")
    oid = git(root, "rev-parse", "HEAD:big.json").strip()
    place = root / ".git/objects" / oid[:2] / oid[2:]
    damaged = place.read_bytes()[:50_000]
    place.unlink()
    if not lost:
        place.write_bytes(damaged)
    records = export(dest, dataset=root)
    # every file has its record, and what needs nothing of git is there
    assert outcomes(records).keys() == {
        "README", "big.json", "dataset_description.json", "participants.tsv",
        "task-rest_bold.json", "zz.nii",
    }  # fmt: skip
    assert outcomes(records)["big.json"] == "error"
    assert "big.json" not in content_of(dest)
    if not lost:
        assert outcomes(records)["zz.nii"] == "ok"
        assert (dest / "zz.nii").read_text() == "after it"


def test_a_link_to_what_git_cannot_read(root: Path, dest: Path) -> None:
    write(root, {"zz.txt": "lost"})
    git(root, "annex", "add", "-q", "--force-small", "zz.txt")
    for name, target in (("a.txt", "README"), ("b.txt", "zz.txt"), ("c.txt", "b.txt")):
        add_link(root, name, target)
    git(root, "commit", "-q", "-m", "links")
    oid = git(root, "rev-parse", "HEAD:zz.txt").strip()
    (root / ".git/objects" / oid[:2] / oid[2:]).unlink()
    paths = [str(root / name) for name in ("a.txt", "b.txt", "c.txt")]
    found = outcomes(export(dest, paths, companions="none"))
    assert found.keys() == {"a.txt", "b.txt", "c.txt"}
    assert found["b.txt"] == found["c.txt"] == "error"


def test_only_links_on_the_way_are_read(
    root: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most links are those of annexed files, and there may be a million."""
    read: list[str] = []

    def reading(_root: Path, oids: Iterator[str], limit: int) -> Any:
        asked = list(oids)
        read.extend(asked)
        return read_blobs(_root, asked, limit)

    monkeypatch.setattr("datalad_bidsshare.export.survey.read_blobs", reading)
    for name, target in (("a.nii.gz", "b.nii.gz"), ("b.nii.gz", "way/sub-01_T1w.nii.gz")):
        add_link(root, name, target)
    add_link(root, "way", "sub-01/anat")
    git(root, "commit", "-q", "-m", "links")
    paths = [str(root / name) for name in ("a.nii.gz", "b.nii.gz")]
    for status in ("ok", "notneeded"):
        assert outcomes(export(dest, paths, companions="none")) == {
            "a.nii.gz": status, "b.nii.gz": status,
        }  # fmt: skip
    assert read == 2 * [git(root, "rev-parse", f"HEAD:{p}").strip() for p in ("way", T1W)]


# ---------------------------------------------------------------- two at once, and after a crash


@pytest.fixture
def occupied(dest: Path) -> Iterator[int]:
    """Another process exports to there."""
    program = (
        "import sys; from pathlib import Path; from datalad_bidsshare.export.target import Target\n"
        "with Target(Path(sys.argv[1])): print('in', flush=True); sys.stdin.read()"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(dest)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert other.stdout is not None
    assert other.stdout.readline() == b"in\n"
    yield other.pid
    other.communicate()


def test_two_exports_to_one_place(root: Path, dest: Path, occupied: int) -> None:
    (record,) = export(dest, **ANAT)
    assert record["status"] == "error"
    assert str(occupied) in record["message"]
    assert content_of(dest) == {}


def test_after_an_end_in_the_middle(root: Path, dest: Path) -> None:
    """Temporary files of a run that was killed go; what it finished stays and is known."""
    export(dest, **ANAT)
    keep = files_in(dest)
    program = (
        "import os, sys; from pathlib import Path\n"
        "from datalad_bidsshare.export.target import Target\n"
        "with Target(Path(sys.argv[1])) as target: os._exit(1)"
    )
    subprocess.run([sys.executable, "-c", program, str(dest)], check=False)
    write(dest, {"sub-01/anat/.bidsshare-tmp-abcdef-1": "half a file"})
    # written, but not yet taken down
    write(dest, {"sub-02/anat/sub-02_T1w.nii.gz": raw_content("sub-02/anat/sub-02_T1w.nii.gz")})
    records = export(dest, subject=["01", "02"], datatype="anat")
    assert not failures(records)
    assert outcomes(records)["sub-02/anat/sub-02_T1w.nii.gz"] == "notneeded"
    assert outcomes(records)[T1W] == "notneeded"
    assert not list(dest.rglob(".bidsshare-tmp*"))
    assert files_in(dest)[T1W] == keep[T1W]
    assert {r["verdict"] for r in export(dest, verify=True) if "verdict" in r} == {"ok"}


def test_damaged_notes_are_named(root: Path, dest: Path) -> None:
    export(dest, **ANAT)
    (dest / ".bidsshare/files.tsv").write_bytes(b"\0garbage\n")
    before = content_of(dest)
    records = export(dest, **ANAT)
    assert records[-1]["status"] == "error"
    assert "files.tsv" in records[-1]["message"]
    assert content_of(dest) == before


def test_the_source_is_not_changed_by_any_of_it(root: Path, dest: Path) -> None:
    before = source_state(root)
    export(dest)
    export(dest, subject="01", delete=True)
    export(dest, subject="01", checksum=True, force=True)
    export(dest, subject="02", no_receipt=True)
    assert source_state(root) == before


def test_a_mistake_does_not_cost_the_receipt(root: Path, dest: Path) -> None:
    export(dest, **ANAT)
    before = content_of(dest, all_of_it=True)
    assert ".bidsshare/files.tsv" in before
    assert failures(export(dest, subject="nobody", no_receipt=True))
    assert content_of(dest, all_of_it=True) == before
    assert not failures(export(dest, no_receipt=True, force=True, **ANAT))
    assert not (dest / ".bidsshare").exists()
