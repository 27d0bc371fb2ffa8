"""The faults of uniharmony 0.0.4's `download_bids_dataset`, none of which happens here.

What it does, and how each fault was seen, is told in docs/from-uniharmony.md. Its hidden mode is
`export-plain --source`, its direct mode `bids-get --source`, its `tmp_clean` `--drop-fetched` or
`cache-clean`.
"""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from datalad_bidsshare.cache.clones import clones
from datalad_bidsshare.cache.urls import read_source, readable_name
from tests.cleans import clean
from tests.dataset.builders import git
from tests.exports import content_of, export, failures, outcomes, state_of
from tests.platforms import needs_posix
from tests.process_log import ProcessLog
from tests.raw_dataset import datalad
from tests.sources import cache, content_in, data, far, gets, save
from tests.superdatasets import DATALAD, Record, bids_get, by_status, description, files_of

__all__ = ["cache", "data"]

pytestmark = pytest.mark.usefixtures("cache")

TEXT = {
    ".gitattributes": "* annex.backend=MD5E\n*.json annex.largefiles=nothing\n"
    ".gitattributes annex.largefiles=nothing\n",
    "dataset_description.json": description("made up", "raw"),
}
IMAGES: dict[str, Any] = {"suffix": "bold", "companions": "none"}


def bold(subject: str, task: str, run: str = "1", session: str = "ses-1") -> str:
    parts = [f"sub-{subject}", session, f"task-{task}", f"run-{run}", "bold.nii.gz"]
    return "/".join(filter(None, (*parts[:2], "func", "_".join(filter(None, parts)))))


def dataset(place: Path, *paths: str, name: str = "x") -> Path:
    """Make a dataset with some files, whose content tells which and of what they are."""
    files = {path: f"{path} of {name}\n" * 20 for path in paths}
    return far(place / name, {**TEXT, **files}, place / f"store of {name}")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Tasks and runs of which one is the beginning of another."""
    paths = [bold("01", task, run) for task in ("rest", "resting", "stroop") for run in ("1", "10")]
    return dataset(tmp_path, *paths, bold("02", "rest", "01"), bold("10", "rest"))


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "out"


def exported(dest: Path, source: Path, **arguments: Any) -> set[str]:
    """Export images, which goes well, and give what is there."""
    records = export(dest, source=source, **{**IMAGES, **arguments})
    assert failures(records) == {}
    return set(content_of(dest))


# 1
def test_two_sources_have_two_clones(tmp_path: Path) -> None:
    same, other = bold("01", "rest"), bold("01", "nback")
    one = dataset(tmp_path, same, name="one")
    two = dataset(tmp_path, same, other, name="two")
    assert exported(tmp_path / "out-one", one) == {same}
    assert exported(tmp_path / "out-two", two) == {same, other}
    assert content_of(tmp_path / "out-one")[same].startswith(f"{same} of one".encode())
    assert content_of(tmp_path / "out-two")[same].startswith(f"{same} of two".encode())
    assert len(clones()) == 2


# 2
def test_a_task_is_a_word_and_not_its_characters(source: Path, dest: Path) -> None:
    assert exported(dest, source, task="rest", subject="01") == {
        bold("01", "rest", run) for run in ("1", "10")
    }


# 3
def test_rest_is_not_resting_and_run_1_is_01_and_not_10(source: Path, dest: Path) -> None:
    assert exported(dest, source, task=["rest"], run=["1"], subject=["01", "02"]) == {
        bold("01", "rest", "1"),
        bold("02", "rest", "01"),
    }


def test_subject_1_is_neither_01_nor_10(source: Path, dest: Path) -> None:
    (record,) = export(dest, source=source, subject="1", **IMAGES)
    assert record["status"] == "impossible"
    # and it is told what there is
    assert "01" in record["message"]
    assert not content_of(dest) if dest.exists() else True


# 4
def test_datasets_without_sessions(tmp_path: Path, dest: Path) -> None:
    path = bold("01", "rest", session="")
    source = dataset(tmp_path, path)
    assert exported(dest, source) == {path}
    assert exported(tmp_path / "other", source, task="rest", session="") == {path}


# 5
def test_annexed_files_of_the_root_come_along(tmp_path: Path, dest: Path) -> None:
    source = dataset(tmp_path, bold("01", "rest"), "protocol.pdf", "README")
    git(source, "annex", "find", "--in", "far", "README")
    exported(dest, source, companions="default")
    assert content_of(dest)["README"].startswith(b"README of x")
    assert exported(dest, source, path="protocol.pdf", suffix=None) >= {"protocol.pdf"}
    # what git keeps for itself does not
    assert ".gitattributes" not in content_of(dest)


# 6
def test_a_get_that_fails_says_why_and_what_next(source: Path, dest: Path, tmp_path: Path) -> None:
    exported(dest, source, subject="10")
    (tmp_path / "store of x").rename(tmp_path / "away")
    args = ["-s", source, dest, "--no-update", "--sub", "02", "--companions", "none"]
    out, err = datalad("export-plain", *args, cwd=tmp_path, code=1)
    assert "FileNotFoundError" not in out + err
    (line,) = (line for line in out.splitlines() if "export-plain(error)" in line)
    assert bold("02", "rest", "01") in line
    assert "next: " in line
    # no directories are left of it
    assert not (dest / "sub-02").exists()
    clone = tmp_path / "clone"
    record = bids_get(source=source, dataset=clone, subject="02", **IMAGES)[-1]
    assert record["status"] == "error"
    assert "next: " in record["message"]


# 7
def test_many_files_take_one_process(tmp_path: Path, dest: Path, process_log: ProcessLog) -> None:
    source = dataset(tmp_path, *(bold("01", "rest", str(n)) for n in range(40)))
    exported(tmp_path / "before", source, run="1")
    process_log.clear()
    assert len(exported(dest, source, drop_fetched=True)) == 40
    assert len(gets(process_log)) == 1
    assert len([c for c in process_log.commands("git-annex") if " drop " in f"{c} "]) == 1
    # however many files
    assert process_log.count() < 40


# 8
def test_what_there_is_is_told_without_git(source: Path, tmp_path: Path) -> None:
    (tmp_path / "clone").mkdir()
    records = bids_get(source=source, dataset=tmp_path / "clone", dry_run=True)
    # all that is tracked, also files without an extension
    tracked = set(git(source, "ls-files").splitlines())
    assert set(files_of(records)) == tracked
    assert not any(path.startswith(".git/") for path in files_of(records))


# 9
@needs_posix
def test_read_only_objects_are_removed(source: Path, dest: Path, cache: Path) -> None:
    exported(dest, source)
    objects = [p for p in cache.rglob("objects/*/*/*/*.gz") if not p.is_symlink()]
    assert {stat.S_IMODE(os.lstat(p).st_mode) for p in objects} == {0o444}, "nothing is shown"
    assert {stat.S_IMODE(os.lstat(p.parent).st_mode) for p in objects} == {0o555}
    limited = ("--bounding-set=-dac_override,-dac_read_search",) if os.geteuid() == 0 else ()
    launcher = ("setpriv", *limited) if limited else ()
    datalad("cache-clean", "--clones", cwd=dest.parent, launcher=launcher)
    assert clones() == []
    assert content_in(cache) == []
    # and the next call has all it needs
    assert exported(dest, source)


def test_content_can_go_and_the_clone_stays(source: Path, dest: Path, cache: Path) -> None:
    exported(dest, source)
    assert content_in(cache)
    clean()
    assert content_in(cache) == []
    assert set(outcomes(export(dest, source=source, **IMAGES)).values()) == {"notneeded"}


# 10
def test_what_is_in_the_destination_is_looked_at(source: Path, dest: Path) -> None:
    path = bold("02", "rest", "01")
    (dest / path).parent.mkdir(parents=True)
    (dest / path).write_bytes(b"cut")
    records = export(dest, source=source, subject="02", **IMAGES)
    assert outcomes(records) == {path: "error"}
    assert "was not written by an export" in failures(records)[path]
    assert (dest / path).read_bytes() == b"cut"
    assert exported(dest, source, subject="02", force=True) == {path}
    assert (dest / path).read_bytes().startswith(path.encode())


def test_what_was_damaged_there_is_told(source: Path, dest: Path) -> None:
    path = bold("02", "rest", "01")
    exported(dest, source, subject="02")
    (dest / path).write_bytes(b"cut")
    assert path in failures(export(dest, source=source, subject="02", **IMAGES))
    assert exported(dest, source, subject="02", force=True)
    assert (dest / path).read_bytes().startswith(path.encode())


# 11
def test_what_is_corrected_at_the_source_is_exported(
    source: Path, dest: Path, tmp_path: Path
) -> None:
    path = bold("02", "rest", "01")
    exported(dest, source)
    save(source, {path: "corrected"}, to="far")
    assert exported(tmp_path / "new", source)
    assert (tmp_path / "new" / path).read_text() == "corrected"
    assert outcomes(export(dest, source=source, **IMAGES))[path] == "ok"
    assert (dest / path).read_text() == "corrected"


# 12
@needs_posix
def test_half_a_clone_is_none(
    source: Path, dest: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first clone is killed, with git, when it has begun."""
    real = shutil.which("git")
    (tmp_path / "bin").mkdir()
    git_that_kills = tmp_path / "bin/git"
    git_that_kills.write_text(
        f'#!/bin/sh\ncase " $* " in *" clone "*) for last; do true; done; mkdir -p "$last/.git";'
        f' kill -9 $PPID; exit 1;; esac\nexec {real} "$@"\n'
    )
    git_that_kills.chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{git_that_kills.parent}{os.pathsep}{os.environ['PATH']}")
        done = subprocess.run([DATALAD, "export-plain", "-s", source, dest], check=False)
    assert done.returncode == -signal.SIGKILL
    assert list(cache.rglob(".git"))
    assert exported(dest, source) >= {bold("10", "rest")}
    # nothing is left of it
    assert list(cache.rglob(".git")) == [clones()[0].root / ".git"]


def test_what_stands_where_the_clone_is_to_be_is_not_taken_for_it(
    source: Path, dest: Path, cache: Path
) -> None:
    place = Path(cache, readable_name(read_source(source)), "dataset", ".git")
    place.mkdir(parents=True)
    for above in (cache, place.parent.parent):
        above.chmod(0o700)
    (record,) = export(dest, source=source, **IMAGES)
    assert record["status"] == "error"
    # content may be in it that is nowhere else; what is told to do does it
    _, _, told = record["message"].rpartition("remove it: ")
    subprocess.run(["sh", "-c", told], check=True)
    assert exported(dest, source) >= {bold("10", "rest")}


# 13
@needs_posix
def test_managed_clones_are_for_nobody_else(source: Path, dest: Path, cache: Path) -> None:
    exported(dest, source)
    (listed,) = clones()
    for place in (cache, listed.entry):
        assert stat.S_IMODE(os.lstat(place).st_mode) == 0o700
        assert os.lstat(place).st_uid == os.geteuid()


def test_by_default_they_are_not_in_a_temporary_directory(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datalad

    from datalad_bidsshare.cache.place import cache_directory

    monkeypatch.delenv("DATALAD_BIDSSHARE_CACHE")
    datalad.cfg.reload(force=True)
    home = Path(os.path.expanduser("~"))
    place = cache_directory()
    assert home in place.parents or os.environ.get("XDG_CACHE_HOME", "") in str(place)


@needs_posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_a_cache_that_somebody_planted_is_not_used(source: Path, dest: Path, cache: Path) -> None:
    exported(dest, source, subject="02")
    os.chown(cache, 12345, 12345)
    before = state_of(dest)
    (record,) = export(dest, source=source, **IMAGES)
    assert record["status"] == "error"
    assert str(cache) in record["message"]
    assert "next: " in record["message"]
    assert state_of(dest) == before


# 14
def test_what_is_in_the_place_of_the_clone_is_not_taken_for_one(
    source: Path, tmp_path: Path
) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes/notes.txt").write_text("mine")
    assert by_status(bids_get(source=source, dataset=tmp_path / "notes")).keys() == {"error"}
    other = dataset(tmp_path, bold("01", "rest"), name="other")
    clone = tmp_path / "clone"
    bids_get(source=other, dataset=clone, **IMAGES)
    records: list[Record] = bids_get(source=source, dataset=clone, **IMAGES)
    assert by_status(records).keys() == {"error"}
    assert "is another dataset" in records[0]["message"]


# 16
def test_the_only_copy_is_never_dropped(source: Path, dest: Path, cache: Path) -> None:
    exported(dest, source)
    held = content_in(cache)
    assert held
    (source.parent / "store of x").rename(source.parent / "away")
    records = clean()
    assert {r["status"] for r in records if r.get("key")} == {"error"}
    assert content_in(cache) == held


def test_the_disk_may_be_full_at_the_destination(tmp_path: Path) -> None:
    """10b: what was written in part is not there by its name, and not trusted the next time."""
    can = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    if can.returncode:
        pytest.skip("needs to mount a file system")
    path = bold("01", "rest")
    source = far(tmp_path / "x", {**TEXT, path: os.urandom(3_000_000)}, tmp_path / "store")
    dest = tmp_path / "out"
    dest.mkdir()
    script = (
        'set -e; mount -t tmpfs -o size=1m none "$2"; shift; '
        'datalad export-plain -s "$2" "$1" --companions none && exit 3; '
        'test -z "$(find "$1" -name "*.nii.gz*")"; mount -o remount,size=9m "$1"; '
        'datalad export-plain -s "$2" "$1" --companions none; '
        'cmp "$3" "$1/{path}"'
    ).replace("{path}", path)
    content = tmp_path / "content"
    git(source, "annex", "get", "-q", path)
    content.write_bytes((source / path).read_bytes())
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", "", dest, source, content],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
