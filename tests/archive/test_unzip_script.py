"""The program `bidsshare-unzip`, as somebody who types it, or a run record, finds it."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import stat
import subprocess
import sysconfig
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from datalad_bidsshare.archive.job import Job, write_spec
from datalad_bidsshare.archive.safety import Limits
from tests.archive.zips import HOSTILE, ORDINARY, count_bomb
from tests.dataset.builders import PATIENCE, annex_repo, clone_of, git, wait_for
from tests.platforms import needs_posix, needs_posix_names, needs_symlinks
from tests.test_startup import modules_after

SCRIPT = shutil.which("bidsshare-unzip", path=sysconfig.get_path("scripts"))
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0

FMRIPREP = {
    "fmriprep/dataset_description.json": b'{"Name": "fMRIPrep"}\n',
    "fmriprep/sub-01/func/bold.nii.gz": os.urandom(200_000),
    "fmriprep/sub-01/func/bold.json": b"{}\n",
    "fmriprep/sub-01/figures/a.svg": b"<svg>" * 1000,
}
STRIPPED = {name.split("/", 1)[1]: data for name, data in FMRIPREP.items()}


def make_zip(path: Path, members: Mapping[str, bytes] = FMRIPREP) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            file.writestr(name, data)
    return path


def unzip(
    where: Path, *args: str | Path, launcher: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    assert SCRIPT, "the package is not installed, or before it had this program"
    return subprocess.run(
        [*launcher, SCRIPT, *map(str, args)],
        cwd=where, capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip


def works(where: Path, *args: str | Path) -> str:
    done = unzip(where, *args)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def fails(where: Path, *args: str | Path, launcher: tuple[str, ...] = (), code: int = 1) -> str:
    done = unzip(where, *args, launcher=launcher)
    assert (done.returncode, done.stdout) == (code, ""), done
    assert "Traceback" not in done.stderr, done.stderr
    assert done.stderr.startswith("bidsshare-unzip: ")
    return done.stderr


def files_in(directory: Path) -> dict[str, bytes]:
    """All files below a directory, hidden ones too; of links where they lead."""
    return {
        path.relative_to(directory).as_posix(): os.fsencode(f"-> {os.readlink(path)}")
        if path.is_symlink()
        else path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_symlink() or not path.is_dir()
    }


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """Where to unpack; beside it lies `a.zip`."""
    make_zip(tmp_path / "a.zip")
    (tmp_path / "dest").mkdir()
    return tmp_path / "dest"


# What it does


def test_all_of_a_zip_is_unpacked(dest: Path) -> None:
    assert works(dest, "../a.zip") == "../a.zip: 4 files, 205,024 bytes\n"
    assert files_in(dest) == FMRIPREP


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_zips_of_all_kinds_are_unpacked(tmp_path: Path, name: str) -> None:
    if name in ("cp437", "utf-8", "names of all kinds") and os.name != "posix":
        pytest.skip("names that not every system takes")
    expected = ORDINARY[name](tmp_path / "a.zip")
    (tmp_path / "dest").mkdir()
    works(tmp_path / "dest", "../a.zip")
    assert files_in(tmp_path / "dest") == expected


def test_the_wanted_part_goes_where_it_should(dest: Path) -> None:
    works(dest, "--strip", "1", "-i", "*.nii.gz", "-i", "*.json", "-x", "/fmriprep/*.json",
          "--into", "out/x", "../a.zip")  # fmt: skip
    assert files_in(dest) == {
        f"out/x/{name}": STRIPPED[name]
        for name in ("sub-01/func/bold.nii.gz", "sub-01/func/bold.json")
    }
    works(
        dest,
        "--strip-prefix",
        "fmriprep/sub-01",
        "-m",
        "fmriprep/sub-01/func/bold.json",
        "../a.zip",
    )
    assert (dest / "func" / "bold.json").read_bytes() == b"{}\n"


def test_a_spec_file_says_it_as_well(dest: Path) -> None:
    jobs = [Job("../a.zip", members=("fmriprep/sub-01/func/bold.json",), into="x", strip=3)]
    (dest / "spec.json").write_bytes(write_spec(jobs, Limits()))
    works(dest, "--existing", "replace", "--spec", "spec.json")
    assert (dest / "x" / "bold.json").read_bytes() == b"{}\n"
    assert len(files_in(dest)) == 2


@needs_posix_names
@pytest.mark.parametrize(
    "name", ["$(touch x).zip", "{02}.zip", "a b.zip", "it's \"q\".zip", "new\nline.zip", "-x.zip",
             "--help", "ü\u202e.zip"],
)  # fmt: skip
def test_zips_of_hostile_names_are_unpacked(tmp_path: Path, name: str) -> None:
    make_zip(tmp_path / name)
    works(tmp_path, "--strip=1", "--", name)
    (tmp_path / name).unlink()
    assert files_in(tmp_path) == STRIPPED
    message = fails(tmp_path, "--", name)
    assert message.count("\n") == 1, "a name does not make lines"


@needs_posix
def test_modes_are_those_of_new_files_and_directories(dest: Path) -> None:
    assert SCRIPT
    subprocess.run(
        ["sh", "-c", f"umask 027; exec {shlex.quote(SCRIPT)} ../a.zip"],
        cwd=dest, check=True, capture_output=True,
    )  # fmt: skip
    modes = {stat.S_IMODE(path.stat().st_mode) for path in dest.rglob("*.json")}
    assert modes == {0o640}
    assert stat.S_IMODE((dest / "fmriprep").stat().st_mode) == 0o750


def test_several_zips_are_one_work(dest: Path) -> None:
    make_zip(dest.parent / "b.zip", {**FMRIPREP, "fmriprep/sub-02.html": b"b"})
    works(dest, "--strip=1", "../a.zip", "../b.zip")
    assert files_in(dest) == {**STRIPPED, "sub-02.html": b"b"}


def test_zips_that_disagree_are_refused(dest: Path) -> None:
    make_zip(dest.parent / "b.zip", {"b/dataset_description.json": b"other"})
    message = fails(dest, "--strip=1", "../a.zip", "../b.zip")
    assert "../b.zip: b/dataset_description.json" in message
    assert "../a.zip" in message
    make_zip(dest.parent / "b.zip", {"b/Dataset_description.json": b"other"})
    assert "would become" in fails(dest, "--strip=1", "../a.zip", "../b.zip")
    assert files_in(dest) == {}


def test_globs_that_match_nothing_are_noted_and_alone_they_fail(dest: Path) -> None:
    done = unzip(dest, "-i", "*.json", "-i", "*.tsv", "../a.zip")
    assert (done.returncode, done.stderr) == (
        0, "bidsshare-unzip: note: no member matches *.tsv\n",
    )  # fmt: skip
    assert "no member matches *.tsv" in fails(dest, "-i", "*.tsv", "../a.zip")
    assert "--strip a smaller number" in fails(dest, "--strip=9", "../a.zip")
    assert "not in the zip" in fails(dest, "-m", "fmriprep/x", "../a.zip")
    assert "no member is left" in fails(dest, "-x", "*", "../a.zip")


def test_limits_can_be_set(dest: Path) -> None:
    assert "--max-bytes" in fails(dest, "--max-bytes", "1000", "../a.zip")
    count_bomb(dest.parent / "many.zip", 3000)
    said = fails(dest, "--max-members=2999", "../many.zip")
    assert "more than the limit of 2,999 members" in said
    assert files_in(dest) == {}
    works(dest, "--max-members=3000", "../many.zip")


@pytest.mark.parametrize("name", HOSTILE)
def test_of_hostile_zips_nothing_is_unpacked(tmp_path: Path, name: str) -> None:
    HOSTILE[name](tmp_path / "bad.zip")
    (tmp_path / "dest").mkdir()
    message = fails(tmp_path / "dest", "--existing", "replace", "../bad.zip")
    assert message.startswith("bidsshare-unzip: ../bad.zip: ")
    assert os.listdir(tmp_path / "dest") == []
    assert sorted(os.listdir(tmp_path)) == ["bad.zip", "dest"]


@pytest.mark.parametrize("args", [[], ["--into", "..", "a.zip"], ["-z"], ["--spec", "nowhere"]])
def test_what_cannot_be_meant_ends_with_2(tmp_path: Path, args: list[str]) -> None:
    assert "--help" in fails(tmp_path, *args, code=2)


# The zip


def test_content_that_is_not_here_is_told_with_the_next_step(tmp_path: Path) -> None:
    source = annex_repo(
        tmp_path / "source", {"in/a b.zip": make_zip(tmp_path / "z").read_bytes()}, {}
    )
    clone = clone_of(source, tmp_path / "clone")
    message = fails(clone, "in/a b.zip")
    assert "in/a b.zip: its content is not here: datalad get 'in/a b.zip'" in message
    git(clone, "annex", "unlock", "in/a b.zip")
    assert "datalad get 'in/a b.zip'" in fails(clone, "in/a b.zip")
    git(clone, "annex", "get", "-q", ".")
    works(clone, "--strip=1", "in/a b.zip")
    git(clone, "annex", "lock", "in/a b.zip")
    works(clone, "--strip=1", "--existing=skip", "in/a b.zip")


@needs_posix
def test_what_is_no_zip_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.zip")
    (tmp_path / "dir.zip").mkdir()
    for name in ("fifo.zip", "dir.zip", "nowhere.zip"):
        assert name in fails(tmp_path, name)


# What stands there


def test_existing_outputs_are_refused_before_anything_is_written(dest: Path) -> None:
    (dest / "fmriprep" / "sub-01").mkdir(parents=True)
    (dest / "fmriprep" / "dataset_description.json").write_text("mine")
    message = fails(dest, "../a.zip")
    assert "fmriprep/dataset_description.json: is there already" in message
    assert "--existing skip" in message
    assert files_in(dest) == {"fmriprep/dataset_description.json": b"mine"}


def test_skip_keeps_what_is_identical_and_refuses_the_rest(dest: Path) -> None:
    works(dest, "../a.zip")
    kept = dest / "fmriprep" / "sub-01" / "func" / "bold.nii.gz"
    before = kept.stat()
    (dest / "fmriprep" / "dataset_description.json").unlink()
    said = works(dest, "--existing=skip", "../a.zip")
    assert "1 file, 21 bytes, 3 identical ones kept" in said
    assert kept.stat().st_mtime_ns == before.st_mtime_ns
    assert files_in(dest) == FMRIPREP
    # As large as it should be, and the file of a crashed unzip: neither is taken for right.
    for wrong in (b"x" * 200_000, FMRIPREP["fmriprep/sub-01/func/bold.nii.gz"][:-1]):
        kept.write_bytes(wrong)
        message = fails(dest, "--existing=skip", "../a.zip")
        assert "bold.nii.gz: is there already, with other content" in message
        assert kept.read_bytes() == wrong


def test_replace_replaces(dest: Path) -> None:
    (dest / "fmriprep").mkdir()
    (dest / "fmriprep" / "dataset_description.json").write_text("mine")
    works(dest, "--existing=replace", "../a.zip")
    assert files_in(dest) == FMRIPREP


@pytest.mark.parametrize("unlocked", [False, True])
def test_the_object_of_an_annexed_output_stays_as_it_is(tmp_path: Path, unlocked: bool) -> None:
    outputs = {name: b"annexed " + name.encode() for name in STRIPPED}
    root = annex_repo(tmp_path / "ds", dict(outputs), {})
    if unlocked:
        # Work tree and annex share one file then.
        git(root, "config", "annex.thin", "true")
        git(root, "annex", "unlock", ".")
    objects = files_in(root / ".git" / "annex" / "objects")
    make_zip(tmp_path / "a.zip")
    for existing in ("error", "skip"):
        fails(root, "--strip=1", f"--existing={existing}", "../a.zip")
    works(root, "--strip=1", "--existing=replace", "../a.zip")
    assert files_in(root / ".git" / "annex" / "objects") == objects
    assert all((root / name).read_bytes() == data for name, data in STRIPPED.items())
    assert not any((root / name).is_symlink() for name in STRIPPED)
    assert os.access(root / "sub-01" / "func" / "bold.json", os.W_OK)


def test_skip_looks_through_links_of_the_annex(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", dict(STRIPPED), {})
    make_zip(tmp_path / "a.zip")
    said = works(root, "--strip=1", "--existing=skip", "../a.zip")
    assert "0 files, 0 bytes, 4 identical ones kept" in said
    git(root, "annex", "drop", "-q", "--force", "sub-01/func/bold.json")
    message = fails(root, "--strip=1", "--existing=skip", "../a.zip")
    assert "bold.json: is there already, but its content is not here" in message
    assert git(root, "status", "--porcelain") == ""


@needs_symlinks
@pytest.mark.parametrize("existing", ["error", "skip", "replace"])
def test_nothing_is_written_through_a_link_on_the_way(dest: Path, existing: str) -> None:
    outside = dest.parent / "outside"
    (outside / "sub-01").mkdir(parents=True)
    (dest / "fmriprep").symlink_to(outside, target_is_directory=True)
    message = fails(dest, f"--existing={existing}", "../a.zip")
    assert "a symbolic link stands at fmriprep" in message
    assert "--into" in message
    (dest / "fmriprep").unlink()
    (dest / "fmriprep").mkdir()
    (dest / "fmriprep" / "sub-01").symlink_to("../../outside/sub-01", target_is_directory=True)
    assert "fmriprep/sub-01" in fails(dest, f"--existing={existing}", "../a.zip")
    assert files_in(outside) == {}
    assert os.listdir(dest) == ["fmriprep"]


@pytest.mark.parametrize("existing", ["error", "skip", "replace"])
def test_files_directories_and_subdatasets_in_the_way_stay(dest: Path, existing: str) -> None:
    output = dest / "fmriprep" / "dataset_description.json"
    output.mkdir(parents=True)
    assert "a directory stands there" in fails(dest, f"--existing={existing}", "../a.zip")
    git(output, "init", "-q")
    assert "(a subdataset) stands there" in fails(dest, f"--existing={existing}", "../a.zip")
    shutil.rmtree(output)
    git(dest / "fmriprep", "init", "-q")
    message = fails(dest, f"--existing={existing}", "../a.zip")
    assert "fmriprep is a git repository of its own" in message
    shutil.rmtree(dest / "fmriprep")
    (dest / "fmriprep").write_text("a file")
    assert "a file stands at fmriprep" in fails(dest, f"--existing={existing}", "../a.zip")
    assert files_in(dest) == {"fmriprep": b"a file"}


@needs_posix
def test_a_fifo_in_the_place_of_an_output_stays(dest: Path) -> None:
    (dest / "fmriprep").mkdir()
    os.mkfifo(dest / "fmriprep" / "dataset_description.json")
    for existing in ("error", "skip", "replace"):
        assert "no file stands there" in fails(dest, f"--existing={existing}", "../a.zip")


@needs_symlinks
def test_the_current_directory_may_be_reached_through_a_link(dest: Path) -> None:
    (dest.parent / "link").symlink_to(dest, target_is_directory=True)
    works(dest.parent / "link", dest.parent / "a.zip")
    assert files_in(dest) == FMRIPREP


# Ends that nobody wanted


@pytest.fixture(scope="module")
def large_zip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A zip that takes a while to unpack, and is small: 300 MB of zeros."""
    path = tmp_path_factory.mktemp("large") / "large.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for number in range(60):
            file.writestr(f"d/{number}.nii", bytes(5_000_000))
    return path


@needs_posix
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_leaves_nothing_behind(
    tmp_path: Path, large_zip: Path, number: signal.Signals
) -> None:
    assert SCRIPT
    (tmp_path / "mine").write_text("mine")
    process = subprocess.Popen(
        [SCRIPT, "--max-ratio=100000", large_zip], cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for(lambda: list(tmp_path.glob(".bidsshare-tmp-*/d/*.nii")))
    process.send_signal(number)
    said = process.communicate(timeout=PATIENCE)
    assert (process.returncode, said) == (-number, ("", ""))
    assert files_in(tmp_path) == {"mine": b"mine"}
    assert os.listdir(tmp_path) == ["mine"]


@needs_posix
def test_what_a_killed_process_leaves_goes_with_the_next_one(
    tmp_path: Path, large_zip: Path
) -> None:
    assert SCRIPT
    command = [SCRIPT, "--max-ratio=100000", str(large_zip)]
    process = subprocess.Popen(command, cwd=tmp_path)
    wait_for(lambda: list(tmp_path.glob(".bidsshare-tmp-*/d/*.nii")))
    process.kill()
    process.wait(PATIENCE)
    assert [name[:15] for name in os.listdir(tmp_path)] == [".bidsshare-tmp-"]
    make_zip(tmp_path / "a.zip", {"x": b"1"})
    # What has such a name and is not ours stays.
    (tmp_path / ".bidsshare-tmp-x").mkdir()
    works(tmp_path, "a.zip")
    assert sorted(os.listdir(tmp_path)) == [".bidsshare-tmp-x", "a.zip", "x"]


@needs_posix
def test_two_at_a_time_do_not_disturb_each_other(tmp_path: Path, large_zip: Path) -> None:
    assert SCRIPT
    process = subprocess.Popen([SCRIPT, "--max-ratio=100000", large_zip], cwd=tmp_path)
    try:
        wait_for(lambda: list(tmp_path.glob(".bidsshare-tmp-*/d/*.nii")))
        process.send_signal(signal.SIGSTOP)
        make_zip(tmp_path / "a.zip", {"x": b"1"})
        works(tmp_path, "a.zip")
        assert (tmp_path / "x").exists()
    finally:
        process.send_signal(signal.SIGCONT)
    assert process.wait(PATIENCE) == 0
    assert len(list((tmp_path / "d").iterdir())) == 60
    assert sorted(os.listdir(tmp_path)) == ["a.zip", "d", "x"]


@pytest.mark.skipif(
    not ROOT or not shutil.which("unshare"), reason="mounting takes root and unshare"
)
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path) -> None:
    make_zip(tmp_path / "a.zip", {"small": b"1", "large": os.urandom(3_000_000)})
    mount = tmp_path / "mount"
    mount.mkdir()
    script = (
        'mount -t tmpfs -o size=1m tmpfs "$1" && cd "$1" && shift; "$@"; code=$?; ls -A; exit $code'
    )
    done = unzip(
        mount, tmp_path / "a.zip", launcher=("unshare", "-m", "sh", "-c", script, "sh", str(mount))
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert "large: " in done.stderr
    assert "No space left on device" in done.stderr
    assert "make room, and run the same command again" in done.stderr


@needs_posix
def test_a_directory_that_cannot_be_written_to_is_told(dest: Path) -> None:
    launcher: tuple[str, ...] = ()
    if ROOT:
        if not shutil.which("setpriv"):
            pytest.skip("as root this needs setpriv")
        launcher = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--")
    dest.chmod(0o555)
    message = fails(dest, "../a.zip", launcher=launcher)
    assert "Permission denied" in message
    dest.chmod(0o755)
    (dest / "fmriprep").mkdir()
    (dest / "fmriprep").chmod(0o555)
    message = fails(dest, "../a.zip", launcher=launcher)
    assert "see the permissions of its directory" in message
    assert os.listdir(dest) == ["fmriprep"]
    (dest / "fmriprep").chmod(0o755)
    (dest.parent / "a.zip").chmod(0)
    assert "../a.zip: cannot be opened" in fails(dest, "../a.zip", launcher=launcher)


# Start


def test_it_starts_with_little_more_than_python() -> None:
    plain = modules_after("pass")
    imported = modules_after("import datalad_bidsshare.archive.unzip") - plain
    heavy = {"datalad", "bids", "concurrent", "multiprocessing", "argparse", "zipfile", "tempfile"}
    assert not {name for name in imported if name.split(".")[0] in heavy}
    assert not {name for name in imported if name.startswith("datalad_bidsshare.plan")}
    assert len(imported) < 90
