"""Members of a zip become files: all of them, or none."""

from __future__ import annotations

import contextlib
import os
import pickle
import random
import shutil
import stat
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datalad_bidsshare.archive import directory as directory_module
from datalad_bidsshare.archive import extract as extract_module
from datalad_bidsshare.archive import inflate
from datalad_bidsshare.archive.directory import Member, read_directory
from datalad_bidsshare.archive.extract import ExtractionError, Wanted, Written, extract
from datalad_bidsshare.archive.safety import shown
from tests.archive.zips import LYING, ORDINARY, STORED, Entry, write_zip
from tests.platforms import needs_posix

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        yield fd
    finally:
        os.close(fd)


def unpack(
    path: Path,
    tree: Path,
    *,
    only: Callable[[Member], bool] = lambda member: True,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> list[Written]:
    with opened(path) as fd:
        wanted = [
            Wanted(member, member.name)
            for member in read_directory(fd).members
            if not member.is_directory and only(member)
        ]
        return extract(fd, wanted, str(tree), threads=threads, progress=progress)


def files_below(tree: Path) -> dict[str, bytes]:
    return {
        path.relative_to(tree).as_posix(): path.read_bytes()
        for path in tree.rglob("*")
        if path.is_file()
    }


def left_in(tree: Path) -> list[Path]:
    """What a call that failed has left. Directories are for the others that share the tree."""
    return [path for path in tree.rglob("*") if not path.is_dir()]


def _many(path: Path, count: int = 40, size: int = 300_000) -> dict[str, bytes]:
    """Write a zip of files of many sizes, stored and deflated."""
    made = random.Random(4)
    files = {
        f"sub-{n % 5:02}/func/{n}.txt": b"%d\n" % n * made.randrange(size // 4)
        for n in range(count)
    }
    write_zip(path, *(Entry(name, data, 8 * (len(data) % 2)) for name, data in files.items()))
    return files


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_zips_are_unpacked(name: str, threads: int, tmp_path: Path) -> None:
    path, tree = tmp_path / "x.zip", tmp_path / "deep" / "tree"
    files = ORDINARY[name](path)
    written = unpack(path, tree, threads=threads)
    assert files_below(tree) == files
    assert {(w.output, w.member, w.size, w.crc) for w in written} == {
        (name, name, len(data), zlib.crc32(data)) for name, data in files.items()
    }


@pytest.mark.parametrize("module", ["isal.isal_zlib", "zlib_ng.zlib_ng", "zlib"])
def test_every_codec_unpacks(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inflate, "_module", pytest.importorskip(module))
    files = ORDINARY["plain"](tmp_path / "x.zip")
    unpack(tmp_path / "x.zip", tmp_path / "tree", threads=2)
    assert files_below(tmp_path / "tree") == files


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_many_files_with_threads(threads: int, tmp_path: Path) -> None:
    files = _many(tmp_path / "x.zip")
    written = unpack(tmp_path / "x.zip", tmp_path / "tree", threads=threads)
    assert files_below(tmp_path / "tree") == files
    # in the order asked for, whatever the threads did
    assert [w.output for w in written] == list(files)


def test_nothing_wanted(tmp_path: Path) -> None:
    _many(tmp_path / "x.zip", 3)
    assert unpack(tmp_path / "x.zip", tmp_path / "tree", only=lambda m: False, threads=4) == []
    assert files_below(tmp_path / "tree") == {}


def test_outputs_may_have_other_names(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", Entry("fmriprep/sub-01/a"), Entry("fmriprep/b"))
    with opened(tmp_path / "x.zip") as fd:
        a, b = read_directory(fd).members
        extract(fd, [Wanted(b, "x/y/b"), Wanted(a, "a")], str(tmp_path / "tree"))
    assert set(files_below(tmp_path / "tree")) == {"x/y/b", "a"}


# --- bad zips -----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("name", LYING)
def test_lying_zips_leave_nothing(name: str, threads: int, tmp_path: Path) -> None:
    path, tree = tmp_path / "x.zip", tmp_path / "tree"
    LYING[name](path)
    with pytest.raises(ExtractionError) as caught:
        unpack(path, tree, threads=threads)
    assert caught.value.member == "sub-01/lie"
    assert caught.value.reason
    assert caught.value.errno is None
    assert str(caught.value) == f"sub-01/lie: {caught.value.reason}"
    assert not left_in(tree)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("bad CRC", "CRC"),
        ("larger than it says", "more than the 1,000 bytes it declares"),
        ("smaller than it says", "unpacks to 600,000 bytes and declares 9,000,000"),
        ("other name in its header", "another name"),
        ("no header", "not where the directory says"),
        ("overlap by its header", "overlaps"),
    ],
)
def test_what_is_wrong_is_said(name: str, text: str, tmp_path: Path) -> None:
    LYING[name](tmp_path / "x.zip")
    with pytest.raises(ExtractionError, match=text):
        unpack(tmp_path / "x.zip", tmp_path / "tree")


def test_no_more_is_written_than_declared(tmp_path: Path) -> None:
    # 1 GB of zeros that say they are 3 MB
    packer = zlib.compressobj(1, zlib.DEFLATED, -15)
    packed = b"".join(packer.compress(bytes(1 << 24)) for _ in range(60)) + packer.flush()
    size = 3_000_000
    write_zip(tmp_path / "x.zip", Entry("zeros", packed=packed, size=size))
    seen: list[int] = []
    with pytest.raises(ExtractionError, match="more than the 3,000,000 bytes"):
        unpack(tmp_path / "x.zip", tmp_path / "tree", progress=seen.append)
    assert sum(seen) <= size


def test_memory_is_bounded(tmp_path: Path) -> None:
    write_zip(
        tmp_path / "x.zip",
        Entry("zeros", b"\0" * 200_000_000),
        Entry("stored", os.urandom(60_000_000), STORED),
    )
    inflate.codec()
    tracemalloc.start()
    try:
        unpack(tmp_path / "x.zip", tmp_path / "tree")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20


def test_a_zip_that_was_cut_since_its_directory_was_read(tmp_path: Path) -> None:
    _many(tmp_path / "x.zip")
    with opened(tmp_path / "x.zip") as fd:
        wanted = [Wanted(m, m.name) for m in read_directory(fd).members]
        os.truncate(tmp_path / "x.zip", 100_000)
        with pytest.raises(ExtractionError, match="truncated"):
            extract(fd, wanted, str(tmp_path / "tree"), threads=2)
    assert not left_in(tmp_path / "tree")


def test_a_broken_member_that_is_not_wanted_is_not_looked_at(tmp_path: Path) -> None:
    LYING["bad CRC"](tmp_path / "x.zip")
    unpack(tmp_path / "x.zip", tmp_path / "tree", only=lambda m: m.name == "sub-01/ok.txt")
    assert set(files_below(tmp_path / "tree")) == {"sub-01/ok.txt"}


# --- the tree -----------------------------------------------------------------------------------


def test_leftovers_are_replaced_and_not_written_through(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", Entry("d/a", b"new"))
    tree = tmp_path / "tree"
    (tree / "d").mkdir(parents=True)
    (tmp_path / "other").write_bytes(b"kept")
    os.link(tmp_path / "other", tree / "d" / "a")
    unpack(tmp_path / "x.zip", tree)
    assert (tree / "d" / "a").read_bytes() == b"new"
    assert (tmp_path / "other").read_bytes() == b"kept"


def test_a_call_that_fails_leaves_directories_to_the_others_of_its_tree(tmp_path: Path) -> None:
    """They may be about to write into them."""
    write_zip(tmp_path / "x.zip", Entry("a/large", b"1" * 2_000_000), Entry("sub-01/small"))
    LYING["bad CRC"](tmp_path / "lying.zip")
    tree = tmp_path / "tree"

    def progress(count: int) -> None:
        with pytest.raises(ExtractionError):
            unpack(tmp_path / "lying.zip", tree)

    unpack(tmp_path / "x.zip", tree, progress=progress)
    assert set(files_below(tree)) == {"a/large", "sub-01/small"}


def test_what_others_wrote_stays_when_a_member_fails(tmp_path: Path) -> None:
    LYING["bad CRC"](tmp_path / "x.zip")
    tree = tmp_path / "tree"
    (tree / "sub-01").mkdir(parents=True)
    (tree / "sub-01" / "mine").write_bytes(b"1")
    with pytest.raises(ExtractionError):
        unpack(tmp_path / "x.zip", tree)
    assert files_below(tree) == {"sub-01/mine": b"1"}


@pytest.mark.parametrize("output", ["../a", "/a", "a/../b", "a//b", "", "a/", "./a"])
def test_outputs_outside_of_the_tree_are_refused(output: str, tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", Entry("a"))
    with opened(tmp_path / "x.zip") as fd:
        wanted = [Wanted(read_directory(fd).members[0], output)]
        with pytest.raises(ExtractionError):
            extract(fd, wanted, str(tmp_path / "in" / "tree"))
    assert os.listdir(tmp_path) == ["x.zip"]


def test_two_members_for_one_output_are_refused(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", Entry("a"), Entry("b"))
    with opened(tmp_path / "x.zip") as fd:
        wanted = [Wanted(m, "same") for m in read_directory(fd).members]
        with pytest.raises(ExtractionError, match="twice"):
            extract(fd, wanted, str(tmp_path / "tree"))


@needs_posix
def test_modes_and_times_are_those_of_new_files(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", Entry("a", mode=stat.S_IFREG | 0o777), Entry("b", mode=0o100000))
    old = os.umask(0o027)
    try:
        unpack(tmp_path / "x.zip", tmp_path / "tree")
    finally:
        os.umask(old)
    for name in "ab":
        found = (tmp_path / "tree" / name).stat()
        assert stat.S_IMODE(found.st_mode) == 0o640
        assert abs(found.st_mtime - time.time()) < 600


def test_a_directory_in_the_way_is_an_error_of_the_system(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", Entry("a"), Entry("b"))
    (tmp_path / "tree" / "b" / "c").mkdir(parents=True)
    with pytest.raises(ExtractionError, match="cannot be written") as caught:
        unpack(tmp_path / "x.zip", tmp_path / "tree")
    assert caught.value.member == "b"
    assert caught.value.errno is not None
    assert files_below(tmp_path / "tree") == {}


@pytest.mark.skipif(not ROOT or not shutil.which("unshare"), reason="mounting needs root, unshare")
def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    path, tree = tmp_path / "x.zip", tmp_path / "tree"
    write_zip(path, *(Entry(f"sub-{n}/a", os.urandom(900_000), STORED) for n in range(8)))
    tree.mkdir()
    program = textwrap.dedent(
        """
        import errno, os, sys
        from pathlib import Path
        from tests.archive.test_extract import *
        try:
            unpack(Path(sys.argv[1]), Path(sys.argv[2]), threads=2)
        except ExtractionError as e:
            print(e.errno == errno.ENOSPC, e.reason, left_in(Path(sys.argv[2])))
        """
    )
    mounted = 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted, tree, sys.executable, "-c", program, path, tree],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "True cannot be written: No space left on device []\n", done.stderr


# --- interrupts and progress --------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, BrokenPipeError])
def test_what_the_caller_raises_passes_and_leaves_nothing(
    error: type[BaseException], threads: int, tmp_path: Path
) -> None:
    _many(tmp_path / "x.zip")
    calls: list[int] = []

    def progress(count: int) -> None:
        calls.append(count)
        if len(calls) == 10:
            raise error

    with pytest.raises(error):
        unpack(tmp_path / "x.zip", tmp_path / "tree", threads=threads, progress=progress)
    assert not left_in(tmp_path / "tree")
    assert not [t for t in threading.enumerate() if t.name.startswith("unpack-")]


@needs_posix
@pytest.mark.parametrize("threads", [1, 2])
def test_ctrl_c_leaves_nothing(threads: int, tmp_path: Path) -> None:
    path, tree = tmp_path / "x.zip", tmp_path / "tree"
    _many(path, 400)
    program = textwrap.dedent(
        f"""
        import os, signal, sys
        from pathlib import Path
        from tests.archive.test_extract import *
        seen = []
        def progress(count):
            seen.append(count)
            if len(seen) == 100:
                os.kill(os.getpid(), signal.SIGINT)
        try:
            unpack(Path(sys.argv[1]), Path(sys.argv[2]), threads={threads}, progress=progress)
        except KeyboardInterrupt:
            print("interrupted", left_in(Path(sys.argv[2])))
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", program, path, tree],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert done.stdout == "interrupted []\n", done.stderr


@pytest.mark.parametrize("threads", [1, 4])
def test_progress_is_told_of_every_byte_one_call_at_a_time(threads: int, tmp_path: Path) -> None:
    files = _many(tmp_path / "x.zip")
    busy = threading.Lock()
    total = 0

    def progress(count: int) -> None:
        nonlocal total
        assert busy.acquire(blocking=False)
        total += count
        time.sleep(0.0002)
        busy.release()

    unpack(tmp_path / "x.zip", tmp_path / "tree", threads=threads, progress=progress)
    assert total == sum(map(len, files.values()))


def test_all_threads_have_a_share_of_one_zip(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", *(Entry(str(n), b"x" * 5_000_000) for n in range(12)))
    at_work: set[int] = set()
    both = threading.Barrier(2, timeout=60)

    def progress(count: int) -> None:
        at_work.add(threading.get_ident())

    # Two threads that wait for each other before their first member: one alone would not end.
    real = inflate.decompressor
    met: set[int] = set()

    def meeting(method: int) -> inflate.Decompressor:
        if threading.get_ident() not in met:
            met.add(threading.get_ident())
            both.wait()
        return real(method)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(extract_module, "decompressor", meeting)
        unpack(tmp_path / "x.zip", tmp_path / "tree", threads=2, progress=progress)
    assert met == at_work
    assert len(at_work) == 2


# --- reads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2])
def test_only_wanted_members_are_read(
    threads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.zip"
    packed = os.urandom(700_000)
    write_zip(
        path,
        *(Entry(f"sub-{n:02}/bold.nii.gz", packed, STORED) for n in range(30)),
        *(Entry(f"sub-{n:02}/a.tsv", packed.hex().encode()) for n in range(10)),
        *(Entry(f"sub-{n:02}/b.json", b"{}" * n) for n in range(200)),
    )
    reads: list[tuple[int, int]] = []
    real = directory_module._pread

    def pread(fd: int, count: int, offset: int) -> bytes:
        data = real(fd, count, offset)
        reads.append((offset, len(data)))
        return data

    monkeypatch.setattr(directory_module, "_pread", pread)

    def some(member: Member) -> bool:
        return member.name.startswith(("sub-03/", "sub-17/"))

    with opened(path) as fd:
        found = read_directory(fd)
        wanted = [Wanted(m, m.name) for m in found.members if some(m)]
        extract(fd, wanted, str(tmp_path / "tree"), threads=threads)
    assert len(wanted) == 5
    total = sum(count for _, count in reads)
    needed = sum(w.member.packed + 30 + len(w.member.name) for w in wanted)
    # Headers and packed data, each byte once, and the directory
    assert total <= needed + found.bytes_read + 64 * len(wanted)
    assert total < path.stat().st_size / 7
    # A small member takes one read.
    small = [w.member.offset for w in wanted if w.member.packed < 1000]
    for offset in small:
        assert [at for at, _ in reads if offset <= at < offset + 100] == [offset]


def test_a_zip_in_which_members_are_far_apart(tmp_path: Path) -> None:
    """Extra fields of local headers longer than what is read at first."""
    entries = [
        Entry(
            f"{n}", b"%d" % n * 999, 8 * (n % 2), local={"extra": b"\x99\x99\xff\x0f" + b"x" * 4095}
        )
        for n in range(6)
    ]
    write_zip(tmp_path / "x.zip", *entries)
    unpack(tmp_path / "x.zip", tmp_path / "tree", threads=2)
    assert files_below(tmp_path / "tree") == {e.stored_name.decode(): e.data for e in entries}


def test_without_pread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows has none: the threads share the position of the file."""
    monkeypatch.setattr(directory_module, "_pread", directory_module._seek_and_read)
    files = _many(tmp_path / "x.zip")
    unpack(tmp_path / "x.zip", tmp_path / "tree", threads=4)
    assert files_below(tmp_path / "tree") == files


def test_errors_travel_between_processes() -> None:
    error = ExtractionError("a\nb", "cannot be written", 28)
    again = pickle.loads(pickle.dumps(error))
    assert (again.member, again.reason, again.errno) == ("a\nb", "cannot be written", 28)
    assert str(again) == f"{shown('a' + chr(10) + 'b')}: cannot be written"
