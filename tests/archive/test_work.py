"""One zip unpacked by a worker: what it gives, and what it says when it cannot."""

from __future__ import annotations

import errno
import os
import pickle
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from datalad_bidsshare.archive.directory import digest_of, read_directory
from datalad_bidsshare.archive.executor import Pool, open_executor
from datalad_bidsshare.archive.job import Job
from datalad_bidsshare.archive.safety import Limits
from datalad_bidsshare.archive.work import Manifest, WorkItem, do_work
from tests.archive import workers
from tests.dataset.builders import wait_for
from tests.platforms import needs_posix, needs_symlinks

CONTENT = {
    "fmriprep/sub-01/func/sub-01_task-rest_bold.nii.gz": os.urandom(300_000),
    "fmriprep/sub-01/anat/sub-01_T1w.json": b'{"a": 1}\n' * 5000,
    "fmriprep/sub-01/figures/empty.svg": b"",
    "fmriprep/logs/log.txt": b"log\n",
}
JOB = Job(zip="sub-01.zip", include=("fmriprep/sub-01/**",), strip_prefix="fmriprep")
EXPECTED = {
    name.removeprefix("fmriprep/"): content
    for name, content in CONTENT.items()
    if name.startswith("fmriprep/sub-01/")
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A directory with `sub-01.zip` in it."""
    source = tmp_path / "source"
    source.mkdir()
    make_zip(source / "sub-01.zip", CONTENT)
    return source


def make_zip(file: Path, content: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(file, "w", method) as z:
        for name, data in content.items():
            z.writestr(name, data)


def item(
    source: Path, job: Job = JOB, *, limits: Limits | None = None, threads: int = 2
) -> WorkItem:
    """Plan the zip of a source, as it is now."""
    fd = os.open(source / job.zip, os.O_RDONLY)
    try:
        directory = read_directory(fd)
    finally:
        os.close(fd)
    return WorkItem(
        7, job, limits or Limits(), (str(source), job.zip), str(source.parent / "tree"),
        threads, directory.bytesize, digest_of(directory),
    )  # fmt: skip


def files_of(tree: Path) -> dict[str, bytes]:
    return {p.relative_to(tree).as_posix(): p.read_bytes() for p in tree.rglob("*") if p.is_file()}


def failed(work: WorkItem) -> Manifest:
    """Do what cannot be done, and see that nothing comes of it."""
    manifest = do_work(work)
    assert manifest.error
    assert manifest.files == ()
    assert manifest.number == 7
    assert files_of(Path(work.tree)) == {}
    return manifest


@pytest.mark.parametrize("threads", [0, 1, 4])
def test_what_is_wanted_is_there_and_in_the_manifest(source: Path, threads: int) -> None:
    work = item(source, threads=threads)
    manifest = do_work(work)
    assert (manifest.number, manifest.error, manifest.errno, manifest.member) == (7, "", 0, "")
    assert files_of(Path(work.tree)) == EXPECTED
    assert {f.output: f.size for f in manifest.files} == {n: len(c) for n, c in EXPECTED.items()}
    assert {f.member for f in manifest.files} == {f"fmriprep/{name}" for name in EXPECTED}


def test_only_wanted_bytes_are_read(source: Path) -> None:
    make_zip(source / "sub-01.zip", {**CONTENT, "unwanted.nii.gz": os.urandom(5_000_000)})
    manifest = do_work(item(source))
    assert 300_000 < manifest.bytes_read < 400_000


def test_twice_gives_the_same(source: Path) -> None:
    work = item(source)
    first = do_work(work)
    tree = Path(work.tree)
    # What a worker leaves behind that was killed: part of a file, and none of another.
    (tree / "sub-01/func/sub-01_task-rest_bold.nii.gz").write_bytes(b"part")
    (tree / "sub-01/anat/sub-01_T1w.json").unlink()
    assert do_work(work) == first
    assert files_of(tree) == EXPECTED


def test_another_zip_may_give_outputs(source: Path) -> None:
    work = item(source, replace(JOB, leave=("sub-01/anat/sub-01_T1w.json",)))
    manifest = do_work(work)
    assert not manifest.error
    assert set(files_of(Path(work.tree))) == set(EXPECTED) - {"sub-01/anat/sub-01_T1w.json"}


def test_items_and_manifests_can_travel(source: Path) -> None:
    work = item(source)
    assert pickle.loads(pickle.dumps(work)) == work
    manifest = do_work(work)
    assert pickle.loads(pickle.dumps(manifest)) == manifest
    assert len(pickle.dumps(work)) < 1000


# Changed since it was planned


def test_a_zip_that_is_gone(source: Path) -> None:
    work = item(source)
    (source / "sub-01.zip").unlink()
    manifest = failed(work)
    assert "not there any more" in manifest.error
    assert manifest.errno == errno.ENOENT


@needs_symlinks
def test_a_zip_that_became_a_link(source: Path) -> None:
    work = item(source)
    (source / "sub-01.zip").rename(source / "other.zip")
    (source / "sub-01.zip").symlink_to("other.zip")
    manifest = failed(work)
    assert "symbolic link" in manifest.error
    assert manifest.errno == errno.ELOOP


@pytest.mark.parametrize("path", ["../source/sub-01.zip", "/etc/passwd", "", "a\0b"])
def test_a_path_that_leads_elsewhere(source: Path, path: str) -> None:
    assert "cannot be opened" in failed(replace(item(source), source=(str(source), path))).error


def test_a_zip_that_grew(source: Path) -> None:
    work = item(source)
    with (source / "sub-01.zip").open("ab") as file:
        file.write(b"more")
    assert "changed" in failed(work).error


def test_a_zip_of_the_same_size_with_another_directory(source: Path) -> None:
    work = item(source)
    other = {name.replace("bold", "cold"): content for name, content in CONTENT.items()}
    make_zip(source / "sub-01.zip", other)
    assert (source / "sub-01.zip").stat().st_size == work.size
    assert "changed" in failed(work).error


def test_the_digest_sees_everything_that_a_directory_says(source: Path) -> None:
    fd = os.open(source / "sub-01.zip", os.O_RDONLY)
    directory = read_directory(fd)
    os.close(fd)
    first, *others = directory.members
    changed = [
        replace(first, **{field: value})
        for field, value in {
            "name": first.name + " ", "size": 1, "packed": 1, "crc": 1, "method": 0,
            "offset": 1, "flags": 1, "mode": 1,
        }.items()
    ]  # fmt: skip
    digests = {digest_of(replace(directory, members=(c, *others))) for c in changed}
    digests |= {digest_of(directory), digest_of(replace(directory, start=1))}
    digests |= {digest_of(replace(directory, members=tuple(others)))}
    digests |= {digest_of(replace(directory, members=(*others, first)))}
    assert len(digests) == len(changed) + 4
    odd = replace(first, name="\udce9 \ud800\n")
    assert digest_of(replace(directory, members=(odd,))) != digest_of(directory)


# Bad zips: `safety`, `members` and `extract` have tests of their own


def test_no_zip(source: Path) -> None:
    work = item(source)
    (source / "sub-01.zip").write_bytes(os.urandom(work.size))
    assert "zip" in failed(work).error


def test_a_dangerous_member_is_named(source: Path) -> None:
    make_zip(source / "sub-01.zip", {**CONTENT, "fmriprep/.git/hooks/post-commit": b"#!/bin/sh"})
    manifest = failed(item(source))
    assert manifest.member == "fmriprep/.git/hooks/post-commit"
    assert manifest.member in manifest.error


def test_a_member_that_is_asked_for_and_missing_is_named(source: Path) -> None:
    manifest = failed(item(source, Job(zip="sub-01.zip", members=("no/such",))))
    assert manifest.member == "no/such"


def test_limits_are_looked_at(source: Path) -> None:
    assert failed(item(source, limits=Limits(bytes=1000))).error
    assert failed(item(source, limits=Limits(members=2))).error


def test_a_corrupt_member_leaves_nothing_of_the_others(source: Path) -> None:
    work = item(source)
    file = source / "sub-01.zip"
    data = bytearray(file.read_bytes())
    # The content of the first member is incompressible, and as large as in the zip.
    data[150_000] ^= 0xFF
    file.write_bytes(data)
    manifest = failed(work)
    assert manifest.member == "fmriprep/sub-01/func/sub-01_task-rest_bold.nii.gz"
    assert manifest.member in manifest.error


# The system


def test_a_tree_that_cannot_be_made(source: Path) -> None:
    work = item(source)
    Path(work.tree).write_bytes(b"a file")
    manifest = do_work(work)
    assert manifest.error
    assert manifest.errno in (errno.EEXIST, errno.ENOTDIR)
    assert manifest.files == ()
    assert Path(work.tree).read_bytes() == b"a file"


@needs_posix
@pytest.mark.skipif(
    not os.path.exists("/usr/bin/unshare") or os.geteuid() != 0, reason="needs to mount"
)
def test_a_full_disk_can_be_told_from_a_bad_zip(source: Path, tmp_path: Path) -> None:
    work = item(source)
    Path(work.tree).mkdir()
    (tmp_path / "item").write_bytes(pickle.dumps(work))
    program = (
        "import pickle, sys; from pathlib import Path\n"
        "from datalad_bidsshare.archive.work import do_work\n"
        "manifest = do_work(pickle.loads(Path(sys.argv[1]).read_bytes()))\n"
        "left = [p for p in Path(sys.argv[2]).rglob('*') if p.is_file()]\n"
        "sys.stdout.buffer.write(pickle.dumps((manifest, left)))"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c",
         'mount -t tmpfs -o size=64k none "$1" && exec "$2" -c "$3" "$4" "$1"', "sh",
         work.tree, sys.executable, program, tmp_path / "item"],
        capture_output=True, check=False,
    )  # fmt: skip
    if b"mount" in done.stderr:
        pytest.skip("cannot mount here")
    manifest, left = pickle.loads(done.stdout)
    assert manifest.errno == errno.ENOSPC
    assert manifest.error
    assert left == []


@needs_posix
@pytest.mark.skipif(sys.platform != "linux", reason="counts pages as Linux does")
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA])
def test_no_memory_is_an_error_of_the_zip(source: Path, method: int, threads: int) -> None:
    """Whatever it is that does not fit: a buffer, a thread, a dictionary."""
    large = {f"fmriprep/sub-01/{n}": os.urandom(1 << 20) * 3 for n in "abcd"}
    make_zip(source / "sub-01.zip", large, method)
    work = item(source, threads=threads)
    errors = []
    with Pool(partial(open_executor, "local:1", None), 1, workers.with_little_memory) as pool:
        # kilobytes that it may have, beyond what it has at the beginning
        for number in (0, 64, 512, 2048, 8192, 1 << 20):
            pool.submit(replace(work, number=number))
            (manifest,) = pool.wait()
            errors.append(manifest.error)
            if manifest.error:
                assert manifest.files == ()
                wait_for(lambda: files_of(Path(work.tree)) == {})
    assert "memory" in errors[0]
    assert errors[-1] == ""
    assert all("memory" in error or not error for error in errors), errors


@needs_posix
def test_workers_that_are_killed_all_the_time_give_the_same_files(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    content = {f"sub-{n:02}/file{m}": os.urandom(50_000) * 4 for n in range(20) for m in range(4)}
    for n in range(20):
        names = [name for name in content if name.startswith(f"sub-{n:02}/")]
        make_zip(source / f"{n}.zip", {name: content[name] for name in names})
    tree = tmp_path / "tree"
    (tmp_path / "killed").mkdir()
    with Pool(partial(open_executor, "local:2", None), 6, workers.killed_at_first) as pool:
        manifests = []
        for n in range(20):
            pool.submit(replace(item(source, Job(zip=f"{n}.zip")), number=n))
        while pool.in_flight:
            manifests += pool.wait()
    assert not [m.error for m in manifests if m.error]
    assert files_of(tree) == content
    assert len(list((tmp_path / "killed").iterdir())) == 20


def test_working_imports_next_to_nothing() -> None:
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c",
         "import sys; sys.path.append(sys.argv[1])\n"
         "import datalad_bidsshare.archive.work, datalad_bidsshare.archive.serve\n"
         "print(*sys.modules)", Path(__file__).parents[2]],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    modules = done.stdout.split()
    assert {m for m in modules if m.startswith("datalad")}.isdisjoint(
        {"datalad_bidsshare.plan", "datalad_bidsshare.dataset.listing"}
    )
    for heavy in ("datalad", "concurrent.futures", "multiprocessing", "logging", "subprocess"):
        assert heavy not in modules, heavy
