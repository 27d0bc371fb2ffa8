"""`export-plain --archive`: the whole command."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest

from datalad_bidsshare.selection.errors import SelectionError
from tests.dataset.builders import PATIENCE, annex_repo, git, objects_of
from tests.exports import content_of, export, failures, outcomes, source_state, summary
from tests.platforms import needs_posix
from tests.process_log import ProcessLog
from tests.raw_dataset import FILES, raw_content
from tests.superdatasets import copy_of

FORMATS = ("zip", "tar", "tar.gz", "tar.zst")
T1W = "sub-01/anat/sub-01_T1w.nii.gz"
ANAT: dict[str, Any] = {"subject": "01", "datatype": "anat"}
ANAT_FILES = {T1W, "README", "dataset_description.json", "participants.tsv"}
NOTES = {".bidsshare/export.json", ".bidsshare/manifest-md5.txt", ".bidsshare/manifest-sha256.txt"}


@pytest.fixture
def root(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in the dataset, with all content."""
    target = copy_of(raw, tmp_path / "raw")
    monkeypatch.chdir(target)
    return target


def unpack(archive: Path, target: Path) -> dict[str, bytes]:
    """Give what is in an archive, below its one directory."""
    target.mkdir()
    if archive.suffix == ".zip":
        with zipfile.ZipFile(archive) as file:
            assert file.testzip() is None
            file.extractall(target)
    elif archive.suffix == ".zst":
        import zstandard

        with (
            open(archive, "rb") as packed,
            zstandard.open(packed, "rb") as stream,
            tarfile.open(fileobj=stream, mode="r|") as tar,
        ):
            tar.extractall(target)
    else:
        with tarfile.open(archive) as tar:
            tar.extractall(target)
    (inner,) = target.iterdir()
    assert inner.name == archive.name.split(".")[0]
    return content_of(inner, all_of_it=True)


@pytest.mark.parametrize("ending", FORMATS)
def test_an_archive_holds_what_a_copy_holds(root: Path, tmp_path: Path, ending: str) -> None:
    dest = tmp_path / f"given.{ending}"
    before = source_state(root)
    records = export(dest, archive=True, **ANAT)
    assert not failures(records)
    assert outcomes(records) == dict.fromkeys(ANAT_FILES, "ok")
    assert summary(records)["type"] == "file"
    assert summary(records)["files"]["written"] == 4
    members = unpack(dest, tmp_path / "unpacked")
    assert members.keys() == ANAT_FILES | NOTES
    export(tmp_path / "copy", **ANAT)
    assert {p: c for p, c in members.items() if p not in NOTES} == content_of(tmp_path / "copy")
    # nothing else is left beside it, and nothing changed here
    assert {p.name for p in tmp_path.iterdir()} == {
        "raw", "copy", "unpacked", dest.name
    }  # fmt: skip
    assert source_state(root) == before
    verdicts = export(tmp_path / "unpacked/given", verify=True)
    assert {r["verdict"] for r in verdicts if "verdict" in r} == {"ok"}


@pytest.mark.parametrize("ending", FORMATS)
def test_the_same_bytes_again_and_from_a_clone_without_content(
    root: Path, raw_clone: Path, tmp_path: Path, ending: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, three = (tmp_path / d / f"x.{ending}" for d in ("1", "2", "3"))
    for place in (one, two, three):
        place.parent.mkdir()
    export(one, dataset=root, archive=True)
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    before = os.umask(0o077)
    try:
        export(two, dataset=root, archive=True, jobs=1)
    finally:
        os.umask(before)
    records = export(three, dataset=raw_clone, archive=True)
    assert not failures(records)
    assert {r["content_from"] for r in records if "key" in r} == {"store"}
    assert one.read_bytes() == two.read_bytes() == three.read_bytes()
    assert not [p for p in (raw_clone / ".git/annex/objects").rglob("*") if p.is_file()]


def test_members_are_plain_and_nobodys(root: Path, tmp_path: Path) -> None:
    dest = tmp_path / "given.tar"
    git(root, "annex", "unlock", "-q", "code/sub-01_task-rest_bold.py")
    git(root, "update-index", "--chmod=+x", "code/sub-01_task-rest_bold.py")
    git(root, "commit", "-q", "-m", "program")
    export(dest, archive=True)
    time = int(git(root, "log", "-1", "--format=%ct"))
    with tarfile.open(dest) as tar:
        for member in tar.getmembers():
            assert member.isreg()
            program = member.name.endswith(".py")
            assert stat.S_IMODE(member.mode) == (0o755 if program else 0o644)
            assert (member.uid, member.gid, member.uname, member.gname) == (0, 0, "", "")
            assert member.mtime == time
        names = [m.name.removeprefix("given/") for m in tar.getmembers()]
    assert set(names) == FILES.keys() | NOTES
    everything = dest.read_bytes()
    for secret in (str(root), str(dest), "tester@example.org", os.uname().nodename + "\n"):
        assert secret.encode() not in everything


def test_the_receipt_in_an_archive_has_no_date(root: Path, tmp_path: Path) -> None:
    export(tmp_path / "given.zip", archive=True, **ANAT)
    members = unpack(tmp_path / "given.zip", tmp_path / "unpacked")
    told = json.loads(members[".bidsshare/export.json"])
    assert "date" not in told
    assert told["datasets"][0]["commit"] == git(root, "rev-parse", "HEAD").strip()
    assert (told["files"], told["subset"]) == (4, True)
    # the dataset knows when
    (line,) = (root / ".git/bidsshare/exports.jsonl").read_text().splitlines()
    entry = json.loads(line)
    assert entry["destination"] == str(tmp_path / "given.zip")
    assert entry["when"]


def test_an_archive_without_a_receipt(root: Path, tmp_path: Path) -> None:
    export(tmp_path / "given.zip", archive=True, no_receipt=True, **ANAT)
    assert unpack(tmp_path / "given.zip", tmp_path / "unpacked").keys() == ANAT_FILES


def test_subdatasets_and_another_version(study: Path, tmp_path: Path) -> None:
    root = copy_of(study, tmp_path / "study")
    git(root, "tag", "v1")
    git(root, "rm", "-q", "README")
    git(root, "commit", "-q", "-m", "no README")
    records = export(tmp_path / "x.tar.gz", dataset=root, archive=True, recursive=True, at="v1")
    assert not failures(records)
    members = unpack(tmp_path / "x.tar.gz", tmp_path / "unpacked")
    assert members["README"] == b"A study.\n"
    assert "derivatives/prep/sub-01/func/sub-01_space-MNI_bold.nii.gz" in members
    assert not [p for p in members if ".git" in p or ".datalad" in p]


def test_what_stands_there_is_not_replaced(root: Path, tmp_path: Path) -> None:
    dest = tmp_path / "given.zip"
    dest.write_bytes(b"theirs")
    records = export(dest, archive=True, **ANAT)
    (message,) = failures(records).values()
    assert "--force" in message
    assert dest.read_bytes() == b"theirs"
    (record,) = export(dest, archive=True, existing="skip", **ANAT)
    assert record["status"] == "notneeded"
    assert dest.read_bytes() == b"theirs"
    assert not failures(export(dest, archive=True, force=True, **ANAT))
    assert zipfile.is_zipfile(dest)


def test_damage_is_an_error_of_that_file(root: Path, tmp_path: Path) -> None:
    dest = tmp_path / "given.zip"
    (place,) = objects_of(root, git(root, "annex", "lookupkey", T1W).strip())
    place.write_bytes(raw_content(T1W)[::-1])
    records = export(dest, archive=True, **ANAT)
    assert failures(records).keys() == {T1W}
    members = unpack(dest, tmp_path / "unpacked")
    assert members.keys() == (ANAT_FILES | NOTES) - {T1W}
    assert json.loads(members[".bidsshare/export.json"])["missing"] == 1


@pytest.mark.parametrize("missing", ["error", "skip"])
def test_missing_content(
    raw_clone: Path, tmp_path: Path, process_log: ProcessLog, missing: str
) -> None:
    git(raw_clone, "remote", "set-url", "origin", str(tmp_path / "nowhere"))
    git(raw_clone, "config", "remote.origin.annex-ignore", "true")
    dest = tmp_path / "given.zip"
    process_log.clear()
    records = export(dest, dataset=raw_clone, archive=True, missing=missing, companions="none",
                     **ANAT)  # fmt: skip
    assert failures(records).keys() == {T1W}
    assert outcomes(records)[T1W] == ("error" if missing == "error" else "impossible")
    assert process_log.count("git-annex") == 0
    if missing == "error":
        assert not dest.exists()


def test_a_dry_run(root: Path, tmp_path: Path) -> None:
    dest = tmp_path / "given.zip"
    planned = export(dest, archive=True, dry_run=True, **ANAT)
    assert not dest.exists()
    done = export(dest, archive=True, **ANAT)
    assert outcomes(planned) == outcomes(done)
    assert summary(planned)["files"] == summary(done)["files"]


def test_standard_tools_read_it(root: Path, tmp_path: Path) -> None:
    for ending, command in (("zip", ["unzip", "-tq"]), ("tar.gz", ["tar", "-tzf"])):
        dest = tmp_path / f"given.{ending}"
        export(dest, archive=True, **ANAT)
        try:
            done = subprocess.run([*command, str(dest)], capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip(f"{command[0]} is not installed")
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("options", [{"delete": True}, {"checksum": True}], ids=str)
def test_what_an_archive_cannot_do(root: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(SelectionError, match="written anew"):
        export(tmp_path / "x.zip", archive=True, **options)


def test_an_ending_that_looks_like_an_archive(root: Path, tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match="add --archive"):
        export(tmp_path / "x.tar.gz")
    (tmp_path / "dir.zip").mkdir()
    assert not failures(export(tmp_path / "dir.zip", **ANAT))
    (record,) = export(tmp_path / "dir.zip", archive=True)
    assert record["status"] == "error"
    (record,) = export(root / "inside.zip", archive=True)
    assert record["status"] == "error"
    assert "inside the dataset" in record["message"]


@needs_posix
def test_a_name_that_no_member_can_have(root: Path, tmp_path: Path) -> None:
    dest = tmp_path / "a\\b.zip"
    for dry_run in (True, False):
        records = export(dest, archive=True, dry_run=dry_run, **ANAT)
        assert [r["status"] for r in records] == ["error"]
        assert "backslash" in records[0]["message"]
    assert not dest.exists()
    assert not failures(export(tmp_path / "a\\b.tar", archive=True, **ANAT))


@needs_posix
def test_one_that_cannot_be_completed(tmp_path: Path) -> None:
    """What was on its way into it is not said to have been exported."""
    root = annex_repo(
        tmp_path / "ds", {"a.nii": b"a" * 1000, "b.nii": os.urandom(3_000_000)}, {"c.json": b"{}"}
    )
    dest = tmp_path / "out.tar"
    # POSIX counts the largest file in blocks of 512 bytes, bash in twice as much.
    command = 'ulimit -f 1000 && exec datalad -f json export-plain -d "$1" --archive "$2"'
    done = subprocess.run(
        ["sh", "-c", command, "sh", str(root), str(dest)],
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    records = [json.loads(line) for line in done.stdout.splitlines()]
    assert outcomes(records) == dict.fromkeys(("a.nii", "b.nii", "c.json"), "impossible")
    assert any("File too large" in r.get("message", "") for r in records)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["ds"]
