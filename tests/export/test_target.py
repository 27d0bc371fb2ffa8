"""The directory that an export goes to."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from datalad_bidsshare.disk import inside, lock
from datalad_bidsshare.disk.names import TEMPORARY, unfit_names
from datalad_bidsshare.export.target import Target, TargetBusy, TargetError
from tests.dataset.builders import PATIENCE, annex_repo, git
from tests.export.exfat import mounted_exfat
from tests.export.test_tree import somebody_else
from tests.platforms import needs_posix, needs_symlinks


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    return annex_repo(tmp_path / "data" / "ds", {"sub-01/a": b"a"}, {"README": b"r"})


def names_in(directory: Path) -> list[str]:
    return sorted(str(p.relative_to(directory)) for p in directory.rglob("*"))


# where an export may go


def test_places_that_are_fine(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "foreign").write_text("x")
    (tmp_path / "before" / ".bidsshare").mkdir(parents=True)
    fine = [
        tmp_path / n for n in ("new", "new/a/b", "full", "before", "data/ds-export", "data/x/y")
    ]
    before = names_in(tmp_path)
    for dest in [*fine, tmp_path / "ds", Path(os.path.relpath(tmp_path / "new"))]:
        assert Target.check(dest, [dataset]) is None, dest
    assert names_in(tmp_path) == before


def test_neither_in_the_dataset_nor_around_it(dataset: Path, tmp_path: Path) -> None:
    root = tmp_path / "data" / "ds"
    for dest, said in {
        root: "is the dataset itself",
        root / "export": "lies in the dataset",
        root / "sub-01": "lies in the dataset",
        root / "a/b/../c": "lies in the dataset",
        root / ".git": "lies in the dataset",
        root / ".git/annex/x": "lies in the dataset",
        tmp_path / "data": "lies in",
        tmp_path: "lies in",
        Path("/"): "lies in",
        tmp_path / "x" / ".." / "data": "lies in",
    }.items():
        why = Target.check(dest, [tmp_path / "other", root])
        assert why is not None, dest
        assert said in why, dest
        assert "elsewhere" in why


@needs_symlinks
def test_links_hide_nothing(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "to-ds").symlink_to(dataset)
    (tmp_path / "to-data").symlink_to(dataset.parent)
    (tmp_path / "to-inside").symlink_to(dataset / "new")
    (tmp_path / "fine").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "elsewhere").mkdir()
    for roots in ([dataset], [tmp_path / "to-ds"]):
        for name in ("to-ds", "to-data", "to-ds/new", "data/ds/new"):
            assert "the dataset" in (Target.check(tmp_path / name, roots) or "").lower(), name
        assert Target.check(tmp_path / "fine", roots) is None
        assert Target.check(tmp_path / "fine/new", roots) is None
        assert "leads nowhere" in (Target.check(tmp_path / "to-inside", roots) or "")
        assert Target.check(tmp_path / "loop", roots) is not None


def test_not_into_a_repository(dataset: Path, tmp_path: Path) -> None:
    super_ = annex_repo(tmp_path / "super", {}, {"a": b"a"})
    git(tmp_path, "clone", "-q", "--bare", str(dataset), str(tmp_path / "bare.git"))
    git(super_, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(dataset), "sub")
    git(super_, "submodule", "absorbgitdirs")
    (tmp_path / "datalad-only" / ".datalad").mkdir(parents=True)
    other = annex_repo(tmp_path / "other", {}, {"a": b"a"})
    for dest, said in {
        super_: "lies in",
        other: "holds .git",
        super_ / "sub": "the dataset itself",
        super_ / ".git": ".git of a repository",
        super_ / ".git/modules/sub/x": ".git of a repository",
        tmp_path / "bare.git": "the git repository",
        tmp_path / "bare.git/annex/objects": "the git repository",
        tmp_path / "datalad-only": "holds .datalad",
    }.items():
        why = Target.check(dest, [super_ / "sub"])
        assert why is not None, dest
        assert said in why, dest
    # beside a subdataset, in the superdataset, somebody may want it
    assert Target.check(super_ / "export", [super_ / "sub"]) is None
    assert "lies in the dataset" in (Target.check(super_ / "export", [super_]) or "")


@needs_posix
def test_not_onto_a_file(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "dangling").symlink_to("none")
    for name, said in {
        "file": "not a directory",
        "fifo": "not a directory",
        "file/x/y": "below something",
        "dangling": "leads nowhere",
    }.items():
        assert said in (Target.check(tmp_path / name, [dataset]) or ""), name
    for made in ("file", "link"):
        dest = tmp_path / f"dest-{made}"
        dest.mkdir()
        if made == "file":
            (dest / ".bidsshare").write_text("")
        else:
            (dest / ".bidsshare").symlink_to(tmp_path)
        assert ".bidsshare is not a directory" in (Target.check(dest, [dataset]) or "")


@needs_posix
def test_not_where_nothing_can_be_written(dataset: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to be somebody else")
    # not in tmp_path: others cannot get there
    import tempfile

    with tempfile.TemporaryDirectory() as name:
        base = Path(name)
        (base / "ds").mkdir()
        (base / "mine").mkdir()
        base.chmod(0o755)
        with somebody_else():
            assert "is not writable" in (Target.check(base / "mine", [base / "ds"]) or "")
            why = Target.check(base / "new" / "er", [base / "ds"])
            assert why is not None
            assert "cannot be made" in why
            assert str(base) in why
            for dest in (base / "mine", base / "new"):
                with pytest.raises(TargetError, match="Permission denied"), Target(dest):
                    pass
        assert sorted(os.listdir(base)) == ["ds", "mine"]
        assert os.listdir(base / "mine") == []


# made, and left tidy


def test_it_is_made_and_removed_when_nothing_came(tmp_path: Path) -> None:
    dest = tmp_path / "a" / "b" / "dest"
    with Target(dest) as target:
        assert target.path == dest
        assert (dest / ".bidsshare" / "lock").is_file()
        assert not target.unclean
        assert target.free() > 0
        assert sorted(os.listdir(dest / ".bidsshare")) == ["lock", "running"]
    assert os.listdir(tmp_path) == []


def test_what_came_stays(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    with Target(dest) as target:
        (dest / "sub").mkdir()
        (dest / "sub" / "x").write_text("x")
        (dest / ".bidsshare" / "files.tsv").write_text("")
        found = target.standing("sub/x")
        assert found is not None
        assert found.kind == "file"
    assert names_in(dest) == [".bidsshare", ".bidsshare/files.tsv", "sub", "sub/x"]
    # only what this one made is removed, when it is empty
    (tmp_path / "empty").mkdir()
    with Target(tmp_path / "empty"):
        pass
    assert os.listdir(tmp_path / "empty") == []
    target.close(clean=True)


def test_without_a_receipt_nothing_of_ours_stays(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    with pytest.raises(ZeroDivisionError), Target(dest, receipt=False):
        (dest / "x").write_text("x")
        (dest / ".bidsshare" / "files.tsv").write_text("")
        raise ZeroDivisionError
    assert names_in(dest) == [".bidsshare", ".bidsshare/files.tsv", ".bidsshare/running", "x"]
    with Target(dest, receipt=False) as target:
        assert target.unclean
    assert names_in(dest) == ["x"]


def test_a_dry_run_makes_nothing(tmp_path: Path) -> None:
    with Target(tmp_path / "a" / "b", dry_run=True) as target:
        assert target.standing("x/y") is None
        assert target.scan("") == {}
        assert not target.unclean
        assert target.free() > 0
        assert os.listdir(tmp_path) == []
    (tmp_path / "x").write_text("123")
    before = os.stat(tmp_path).st_mtime_ns
    with Target(tmp_path, dry_run=True) as target:
        found = target.standing("x")
        assert found is not None
        assert found.size == 3
    assert os.stat(tmp_path).st_mtime_ns == before
    # and disturbs nobody
    with Target(tmp_path), Target(tmp_path, dry_run=True):
        assert (tmp_path / ".bidsshare" / "lock").exists()
    assert os.listdir(tmp_path) == ["x"]


@needs_posix
def test_on_a_usual_file_system_all_names_are_fine(tmp_path: Path) -> None:
    with Target(tmp_path / "dest") as target:
        if sys.platform == "darwin":
            assert target.normalising
            return
        assert not target.case_insensitive
        assert not target.normalising
        assert target.refusals == ("", False, False, False)
        assert sorted(os.listdir(tmp_path / "dest" / ".bidsshare")) == ["lock", "running"]


@needs_symlinks
def test_nothing_is_written_through_links_in_the_destination(tmp_path: Path) -> None:
    outside, dest = tmp_path / "outside", tmp_path / "dest"
    outside.mkdir()
    dest.mkdir()
    (outside / "victim").write_text("victim")
    before = names_in(outside)

    def refused() -> str:
        with pytest.raises(TargetError) as e, Target(dest):
            pass
        assert not isinstance(e.value, TargetBusy)
        assert names_in(outside) == before
        assert (outside / "victim").read_text() == "victim"
        return str(e.value)

    (dest / ".bidsshare").symlink_to(outside)
    assert "cannot be written to" in refused()
    (dest / ".bidsshare").unlink()
    for name in ("lock", "running"):
        for leads in ("victim", "new"):
            (dest / ".bidsshare").mkdir()
            (dest / ".bidsshare" / name).symlink_to(outside / leads)
            assert name in refused()
            assert (dest / ".bidsshare" / name).is_symlink()
            shutil.rmtree(dest / ".bidsshare")
    (dest / ".bidsshare").mkdir()
    (dest / ".bidsshare" / "probe-A").symlink_to(outside / "new")
    with Target(dest):
        assert names_in(outside) == before


@needs_posix
def test_a_fifo_in_place_of_a_file_hangs_nobody(tmp_path: Path) -> None:
    for name in ("lock", "running"):
        (tmp_path / ".bidsshare").mkdir(exist_ok=True)
        os.mkfifo(tmp_path / ".bidsshare" / name)
        with pytest.raises(TargetError, match=name), Target(tmp_path):
            pass
        os.unlink(tmp_path / ".bidsshare" / name)


def test_a_full_disk_and_a_read_only_one_are_errors(tmp_path: Path) -> None:
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("needs root on Linux, for a tmpfs of its own")
    script = """
import os, pathlib, sys
from datalad_bidsshare.export.target import Target, TargetError
dest = pathlib.Path(sys.argv[1])
try:
    with Target(dest):
        print("opened")
except TargetError as e:
    print(e)
print(os.listdir(dest))
"""
    mounted = 'mount -t tmpfs -o "$1" none "$2" && exec "$3" -c "$4" "$2"'
    for options, said in {"nr_inodes=2": "No space left", "ro": "Read-only file system"}.items():
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", mounted, "sh", options, tmp_path, sys.executable, script],
            check=False, capture_output=True, text=True, timeout=PATIENCE,
        )  # fmt: skip
        if done.returncode:
            pytest.skip(f"no tmpfs can be mounted here: {done.stderr}")
        lines = done.stdout.splitlines()
        assert "cannot be written to" in lines[0]
        assert said in lines[0]
        assert "name another destination" in lines[0]
        assert lines[-1] == "[]"


# one at a time

_HOLD = """
import pathlib, sys, time
from datalad_bidsshare.export.target import Target
with Target(pathlib.Path(sys.argv[1])) as target:
    print("unclean" if target.unclean else "clean", flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(dest: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Another process that has the target until its input ends, and what it said of it."""
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(dest)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.stdin.close()
            process.wait(PATIENCE)


def test_the_second_is_told_who_has_it(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    with holder(dest) as (process, said):
        assert said == "clean"
        for _ in range(2):
            with pytest.raises(TargetBusy) as e, Target(dest):
                pass
            assert str(dest) in str(e.value)
            assert f"process {process.pid}, since 20" in str(e.value)
            # no trace of hosts or users
            text = (dest / ".bidsshare" / "running").read_text()
            assert re.fullmatch(rf"{process.pid} [0-9]+-[0-9]+-[0-9]+T[0-9:]+Z\n", text)
        # the one who was refused took nothing from the one who has it
        assert process.poll() is None
        assert sorted(os.listdir(dest / ".bidsshare")) == ["lock", "running"]
    assert process.returncode == 0
    with Target(dest) as target:
        assert not target.unclean
    assert not dest.exists()


def test_nor_may_another_thread(tmp_path: Path) -> None:
    with Target(tmp_path):
        # what lies there is read, as --verify does, and the lock is not lost by that
        (tmp_path / ".bidsshare" / "lock").read_bytes()
        said: list[str] = []

        def other() -> None:
            try:
                with Target(tmp_path):
                    said.append("had it, too")
            except TargetBusy as e:
                said.append(str(e))

        thread = threading.Thread(target=other)
        thread.start()
        thread.join(PATIENCE)
        assert f"process {os.getpid()}" in said[0]
        with pytest.raises(AssertionError), holder(tmp_path) as (process, _):
            assert process.wait(PATIENCE) == 0


_RACE = """
import os, pathlib, sys
from datalad_bidsshare.export.target import Target, TargetBusy
dest, beside = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
had = 0
while had < 40:
    try:
        with Target(dest, receipt=False) as target:
            # fails when another is here
            os.close(os.open(beside, os.O_CREAT | os.O_EXCL))
            had += 1
            os.unlink(beside)
    except TargetBusy:
        pass
"""


def test_never_two_at_once_though_all_is_removed_each_time(tmp_path: Path) -> None:
    dest = tmp_path / "a" / "dest"
    command = [sys.executable, "-c", _RACE, str(dest), str(tmp_path / "mine")]
    processes = [subprocess.Popen(command, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors
    # The one who made a directory may not have been the last in it.
    assert set(names_in(tmp_path)) <= {"a", "a/dest"}


@needs_posix
def test_after_a_kill_the_next_one_cleans_up(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    with holder(dest) as (process, _):
        (dest / "sub-01").mkdir()
        (dest / "sub-01" / f"{TEMPORARY}1a2b-1").write_text("half")
        (dest / "sub-01" / "whole").write_text("whole")
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
    assert (dest / ".bidsshare" / "running").exists()
    with Target(dest, dry_run=True) as target:
        assert target.unclean
        assert target.standing("sub-01/whole") is not None
    # a run that stops before it has cleaned up leaves that to the next
    with pytest.raises(KeyboardInterrupt), Target(dest):
        raise KeyboardInterrupt
    with Target(dest) as target:
        assert target.unclean
        assert target.remove_stale() == [f"sub-01/{TEMPORARY}1a2b-1"]
    assert names_in(dest) == ["sub-01", "sub-01/whole"]
    with Target(dest) as target:
        assert not target.unclean


def test_a_holder_who_wrote_nothing_yet(tmp_path: Path) -> None:
    with Target(tmp_path):
        for text in ("", "4711", "x" * 1000, "4711 2026-01-01T00:00:00Z\nmore\n", "\udcff"):
            (tmp_path / ".bidsshare" / "running").write_bytes(os.fsencode(text))
            with pytest.raises(TargetBusy, match="just started"), Target(tmp_path):
                pass
        (tmp_path / ".bidsshare" / "running").unlink()
        with pytest.raises(TargetBusy, match="just started"), Target(tmp_path):
            pass


@needs_posix
def test_a_file_system_without_locks_gets_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # There is none here to be mounted: what Lustre without 'flock' answers.
    import errno

    def flock(fd: int, operation: int) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(lock.fcntl, "flock", flock)
    with caplog.at_level("WARNING", logger="datalad.bidsshare"), Target(tmp_path / "dest"):
        assert (tmp_path / "dest").is_dir()
    assert "has no locks" in caplog.text
    assert os.listdir(tmp_path) == []


def test_the_way_of_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inside, "_RELATIVE", False)
    dest = tmp_path / "dest"
    with holder(dest), pytest.raises(TargetBusy), Target(dest):
        pass
    with Target(dest) as target:
        (dest / "x").write_text("x")
        found = target.standing("x")
        assert found is not None
        assert target.remove("x", found.size, found.mtime_ns)
    assert os.listdir(tmp_path) == []
    if hasattr(os, "symlink"):
        dest.mkdir()
        (tmp_path / "outside").mkdir()
        (dest / ".bidsshare").symlink_to(tmp_path / "outside")
        with pytest.raises(TargetError), Target(dest):
            pass
        (dest / ".bidsshare").unlink()
        (dest / ".bidsshare").mkdir()
        (dest / ".bidsshare" / "lock").symlink_to(tmp_path / "outside" / "x")
        with pytest.raises(TargetError), Target(dest):
            pass
        assert os.listdir(tmp_path / "outside") == []


# a file system from Windows


def test_exfat(tmp_path: Path) -> None:
    with mounted_exfat(tmp_path) as mount:
        with Target(mount, dry_run=True) as target:
            guessed = (target.case_insensitive, target.normalising, target.refusals)
        with Target(mount / "dest") as target:
            assert target.case_insensitive
            assert not target.normalising
            assert set(target.refusals.characters) == {*'"*:<>?\\|', *map(chr, range(1, 32))}
            assert target.refusals.undecodable
            assert sorted(os.listdir(mount / "dest" / ".bidsshare")) == ["lock", "running"]
            # a dry run says the same, from looking
            assert guessed[:2] == (True, False)
            assert set(guessed[2].characters) == set(target.refusals.characters)
            assert guessed[2].undecodable

            # what it is said to refuse it refuses, and what is left can be written
            paths = [
                "Sub-1",
                "sub-1",
                "a:b",
                "a\nb",
                "lat\udce9",
                "a\\b",
                "n\u00e9",
                "ne\u0301",
            ]
            paths += ["N\u00c9", "\u00df", "con", "brain-\U0001f9e0", "with 'quote' [x]{a}", "-d"]
            unfit = unfit_names(
                paths,
                case_insensitive=target.case_insensitive,
                normalising=target.normalising,
                refusals=target.refusals,
            )
            # (normal forms collide here though this one file system keeps them apart)
            assert unfit.keys() == {
                "Sub-1", "sub-1", "a:b", "a\nb", "lat\udce9", "a\\b", "n\u00e9", "ne\u0301",
                "N\u00c9",
            }  # fmt: skip
            for path in ("a:b", "a\nb", "lat\udce9", "a\\b"):
                with pytest.raises(OSError):
                    (mount / "dest" / path).write_text("x")
            fit = set(paths) - unfit.keys()
            for path in fit:
                (mount / "dest" / path).write_text(path)
            (mount / "dest" / "Sub-1").mkdir()
            (mount / "dest" / "Sub-1" / "File").write_text("123")
            assert set(os.listdir(mount / "dest")) == {*fit, "Sub-1", ".bidsshare"}
            # found in each spelling
            for path in ("Sub-1/File", "sub-1/File", "SUB-1/file", "sub-1/FILE"):
                found = target.standing(path)
                assert found is not None, path
                assert (found.size, found.kind) == (3, "file")
            assert target.standing("sub-1/FILES") is None
            assert target.standing("sub-2/FILE") is None
            assert target.standing("sub-1/a:b") is None
            found = target.standing("SUB-1/FILE")
            assert found is not None
            assert target.remove("SUB-1/FILE", found.size, found.mtime_ns)
            # (FUSE may remember the other spellings for a second)
            assert os.listdir(mount / "dest" / "Sub-1") == []
            assert target.prune(["sub-1"]) == ["sub-1"]
            with holder_refused(mount / "dest") as message:
                assert f"process {os.getpid()}" in message
        with pytest.raises(ZeroDivisionError), Target(mount / "dest"):
            (mount / "dest" / f"{TEMPORARY}1").write_text("half")
            raise ZeroDivisionError
        with Target(mount / "dest") as target:
            assert target.unclean
            assert target.remove_stale() == [f"{TEMPORARY}1"]
        assert set(os.listdir(mount / "dest")) == fit
        with holder(mount / "dest") as (process, said):
            assert said == "clean"
            with pytest.raises(TargetBusy, match=str(process.pid)), Target(mount / "dest"):
                pass


@contextmanager
def holder_refused(dest: Path) -> Iterator[str]:
    """What another process says that wants the target, too."""
    done = subprocess.run(
        [sys.executable, "-c", _HOLD, str(dest)],
        check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode != 0
    yield done.stderr
