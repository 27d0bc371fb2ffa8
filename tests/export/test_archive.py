"""Archives are what other programs can unpack, and are the same bytes every time."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import stat
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest
import zstandard

from datalad_bidsshare.export.archive import (
    ENDINGS,
    ArchiveError,
    ArchiveWriter,
    Member,
    SourceCorrupt,
    UnfitName,
    archive_format,
    unfit_name,
)
from tests.dataset.builders import HOSTILE_NAMES
from tests.platforms import needs_posix, needs_posix_names, needs_symlinks

MTIME = 1_700_000_001
TARS = ENDINGS[1:]
all_formats = pytest.mark.parametrize("ending", ENDINGS)


def noise(size: int, seed: int = 0) -> bytes:
    return random.Random(seed).randbytes(size)


CONTENTS = {
    "README": b"read me\n" * 100,
    "empty.tsv": b"",
    "sub-01/sub-01_T1w.json": b"{}",
    "sub-01/sub-01_T1w.nii.gz": noise(3_000_001),
    "sub-01/sub-01_bold.nii": b"voxels" * 700_000,
    "sub-01/sub-01_scans.tsv": b"filename\n" * 20,
    "sub-02/exactly-a-block.bin": noise(1 << 20, 1),
    "sub-02/run.sh": b"#!/bin/sh\n",
    "sub-02/s\u00fcb-e\u0301-\U0001f9e0.txt": b"unicode",
}


def member(path: str, content: bytes, source: tuple[str, str] | None = None) -> Member:
    digest = hashlib.md5(content).hexdigest()
    return Member(path, source or content, len(content), "md5", digest, path.endswith(".sh"))


def lay_out(directory: Path, contents: dict[str, bytes]) -> list[Member]:
    """Make the files, and give them as members."""
    for path, content in contents.items():
        (directory / path).parent.mkdir(parents=True, exist_ok=True)
        (directory / path).write_bytes(content)
    return [member(p, c, (str(directory), p)) for p, c in sorted(contents.items())]


def write(dest: Path, members: Iterable[Member], prefix: str = "") -> Path:
    with ArchiveWriter(dest, MTIME, prefix) as archive:
        for one in members:
            assert archive.add(one) == (one.digest, one.size)
        archive.commit()
    assert os.listdir(dest.parent) == [dest.name]
    return dest


def opened_tar(path: Path) -> tarfile.TarFile:
    if path.name.endswith(".zst"):
        # Not read across frames, as most readers do not
        with path.open("rb") as file:
            content = zstandard.ZstdDecompressor().stream_reader(file).read()
        plain = path.with_name("plain")
        plain.write_bytes(content)
        path = plain
    return tarfile.open(path, errors="surrogateescape")


def unpacked(path: Path) -> dict[str, bytes]:
    """Read an archive with Python's own modules."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            return {i.filename: archive.read(i) for i in archive.infolist()}
    with opened_tar(path) as tar:
        return {i.name: tar.extractfile(i).read() for i in tar}  # type: ignore[union-attr]


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("x.zip", ".zip"),
        ("x.tar", ".tar"),
        ("x.tar.gz", ".tar.gz"),
        ("X.TAR.Zst", ".tar.zst"),
        ("x.gz", None),
        ("xzip", None),
        (".zip", None),
        ("x.zip.d", None),
    ],
)
def test_the_ending_decides_about_the_format(name: str, expected: str | None) -> None:
    assert archive_format(Path("some.zip") / name) == expected


@all_formats
def test_all_that_went_in_comes_out_in_order(ending: str, tmp_path: Path) -> None:
    members = lay_out(tmp_path / "in", CONTENTS)
    dest = write(tmp_path / "out" / f"a{ending}", members)
    found = unpacked(dest)
    assert found == CONTENTS
    assert list(found) == sorted(CONTENTS)


@all_formats
def test_the_same_files_give_the_same_bytes_wherever_and_whenever(
    ending: str, tmp_path: Path
) -> None:
    code = (
        "import os, sys; os.umask(int(sys.argv[1], 8))\n"
        "from pathlib import Path; from tests.export.test_archive import *\n"
        "base = Path(sys.argv[2]); write(base / sys.argv[3], lay_out(base.parent / 'in', CONTENTS))"
    )
    made = []
    cases = [("022", "a", "UTC", "1"), ("077", "b", "Asia/Tokyo", "2"), ("022", "c", "XYZ+7", "3")]
    for umask, name, zone, seed in cases:
        base = tmp_path / name
        file = f"{name}{ending}"
        done = subprocess.run(
            [sys.executable, "-c", code, umask, str(base / "out"), file],
            env={**os.environ, "TZ": zone, "PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr.decode()
        made.append((base / "out" / file).read_bytes())
    assert made[0] == made[1] == made[2]
    # ... and the time stamps of the sources are not in them, nor who made them.
    other = lay_out(tmp_path / "d", CONTENTS)
    for path in CONTENTS:
        os.utime(tmp_path / "d" / path, (1, 1))
        (tmp_path / "d" / path).chmod(0o600)
    assert write(tmp_path / "e" / f"e{ending}", other).read_bytes() == made[0]


@pytest.mark.parametrize("ending", TARS)
def test_a_tar_tells_nothing_of_who_made_it(ending: str, tmp_path: Path) -> None:
    dest = write(tmp_path / "out" / f"a{ending}", lay_out(tmp_path / "in", CONTENTS), "ds/")
    with opened_tar(dest) as tar:
        for info in tar:
            assert info.isreg()
            assert (info.uid, info.gid, info.uname, info.gname) == (0, 0, "", "")
            assert info.mtime == MTIME
            assert info.mode == (0o755 if info.name.endswith(".sh") else 0o644)
            assert info.name.startswith("ds/")
    if ending == ".tar.gz":
        # no flags (no name), no time, no system
        assert dest.read_bytes()[3:10] == b"\0\0\0\0\0\0\xff"


def test_a_zip_stores_what_is_compressed_and_deflates_the_rest(tmp_path: Path) -> None:
    dest = write(tmp_path / "out" / "a.zip", lay_out(tmp_path / "in", CONTENTS), "ds")
    with zipfile.ZipFile(dest) as archive:
        for info in archive.infolist():
            # The others are compressed, noise, or too small.
            smaller = info.filename.endswith(("README", "bold.nii", "scans.tsv"))
            expected = zipfile.ZIP_DEFLATED if smaller else zipfile.ZIP_STORED
            assert info.compress_type == expected, info.filename
            mode = stat.S_IFREG | (0o755 if info.filename.endswith(".sh") else 0o644)
            assert info.external_attr >> 16 == mode
            assert info.create_system == 3
            assert info.flag_bits == 0x800
            # 2023-11-14 22:13:21 UTC, in steps of two seconds
            assert info.date_time == (2023, 11, 14, 22, 13, 20)
            assert info.extra == b"UT\x05\x00\x01" + MTIME.to_bytes(4, "little")
    assert dest.stat().st_size < 4_100_000


@pytest.mark.parametrize(
    ("mtime", "date"),
    [
        (0, (1980, 1, 1, 0, 0, 0)),
        (-5, (1980, 1, 1, 0, 0, 0)),
        (1 << 40, (2107, 12, 31, 23, 59, 58)),
    ],
)
def test_times_that_a_format_cannot_hold(mtime: int, date: object, tmp_path: Path) -> None:
    for ending in (".zip", ".tar"):
        with ArchiveWriter(tmp_path / f"a{ending}", mtime, "") as archive:
            archive.add(member("x", b"x"))
            archive.commit()
    with zipfile.ZipFile(tmp_path / "a.zip") as read:
        assert read.getinfo("x").date_time == date
    with tarfile.open(tmp_path / "a.tar") as tar:
        assert tar.getmember("x").mtime == max(mtime, 0)


def test_in_gzip_compressed_members_are_stored_too(tmp_path: Path) -> None:
    content = b"looks compressed" * 200_000
    gz = write(tmp_path / "a" / "a.tar.gz", [member("x.nii.gz", content)])
    assert gz.stat().st_size > len(content)
    assert unpacked(gz) == {"x.nii.gz": content}
    deflated = write(tmp_path / "b" / "a.tar.gz", [member("x.nii", content)])
    assert deflated.stat().st_size < len(content) / 50


@needs_posix
def test_info_zip_finds_nothing_wrong(tmp_path: Path) -> None:
    unzip = program("unzip")
    dest = write(tmp_path / "out" / "a.zip", lay_out(tmp_path / "in", CONTENTS))
    done = subprocess.run([unzip, "-tq", dest], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert done.stderr == ""
    target = tmp_path / "unzipped"
    env = {**os.environ, "LC_ALL": "C.UTF-8", "TZ": "Asia/Tokyo"}
    subprocess.run([unzip, "-q", dest, "-d", target], check=True, env=env)
    for path, content in CONTENTS.items():
        assert (target / path).read_bytes() == content
        assert (target / path).stat().st_mtime == MTIME
    assert os.access(target / "sub-02/run.sh", os.X_OK)


HOSTILE = {name.decode("utf-8", "surrogateescape"): name for name in HOSTILE_NAMES} | {
    f"{'d' * 200}/{'e' * 200}/{'f' * 250}": b"long",
    "x" * 100: b"as long as a ustar header can have it",
    "sub-01/tab\tand\rcr": b"control characters",
}


@needs_posix_names
@pytest.mark.parametrize("ending", TARS)
def test_gnu_tar_restores_names_of_any_kind(ending: str, tmp_path: Path) -> None:
    tar = program("tar")
    if ending == ".tar.zst":
        program("zstd")
    dest = write(tmp_path / "out" / f"a{ending}", [member(n, c) for n, c in HOSTILE.items()])
    target = tmp_path / "untarred"
    target.mkdir()
    env = {**os.environ, "LC_ALL": "C.UTF-8"}
    done = subprocess.run(
        [tar, "-xf", dest, "-C", target], env=env, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    found = {
        os.path.relpath(os.path.join(base, file), os.fsencode(target))
        for base, _, files in os.walk(os.fsencode(target))
        for file in files
    }
    assert found == {name.encode("utf-8", "surrogateescape") for name in HOSTILE}
    for name, content in HOSTILE.items():
        with open(os.path.join(os.fsencode(target), os.fsencode(name)), "rb") as file:
            assert file.read() == content
    assert unpacked(dest) == HOSTILE


@pytest.mark.parametrize(
    "name", ["latin1-\udce9.txt", "back\\slash", "C:/x", "x" * 65_536], ids=repr
)
def test_a_name_that_a_zip_cannot_hold(name: str, tmp_path: Path) -> None:
    dest = tmp_path / "a.zip"
    with ArchiveWriter(dest, MTIME, "") as archive:
        archive.add(member("before", b"1"))
        with pytest.raises(UnfitName, match=r"export to a \.tar"):
            archive.add(member(name, b"2"))
        archive.add(member("z", b"3"))
        archive.commit()
    assert unpacked(dest) == {"before": b"1", "z": b"3"}
    assert unfit_name(".tar", name) is None


@all_formats
@pytest.mark.parametrize("path", ["/etc/passwd", "../x", "a/../x", "a//b", "./a", "a/", "", "a\0b"])
def test_no_archive_holds_a_path_that_leads_out_of_it(
    ending: str, path: str, tmp_path: Path
) -> None:
    with (
        ArchiveWriter(tmp_path / f"a{ending}", MTIME, "") as archive,
        pytest.raises(UnfitName),
    ):
        archive.add(member(path, b""))
    assert os.listdir(tmp_path) == []


def flipped(content: bytes) -> bytes:
    """Change the last bit."""
    return content[:-1] + bytes([content[-1] ^ 1])


@all_formats
@pytest.mark.parametrize("name", ["x.nii.gz", "x.nii"])
@pytest.mark.parametrize("size", [100, 1 << 20, (1 << 20) + 1, 3_500_000])
@pytest.mark.parametrize("damage", [flipped, lambda c: c[:-1], lambda c: c + b"0"])
def test_of_a_corrupt_file_nothing_is_in_the_archive(
    ending: str, name: str, size: int, damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    good = [member("a.txt", b"good" * 1000), member("z.nii", b"good, too" * 300_000)]
    content = noise(size)
    (tmp_path / "x").write_bytes(damage(content))
    corrupt = member(name, content, (str(tmp_path), "x"))
    for size_known in (True, False):
        dest = tmp_path / f"out{size_known}" / f"a{ending}"
        with ArchiveWriter(dest, MTIME, "") as archive:
            archive.add(good[0])
            with pytest.raises(SourceCorrupt):
                archive.add(corrupt if size_known else corrupt._replace(size=None))
            archive.add(good[1])
            archive.commit()
        expected = {m.path: m.source for m in good}
        assert unpacked(dest) == expected
        # not a byte
        clean = write(tmp_path / f"clean{size_known}" / f"a{ending}", good)
        if ending == ".tar.gz" and size > 1 << 20 and not (size_known and damage is not flipped):
            # What is compressed starts anew after what was taken back.
            continue
        assert dest.read_bytes() == clean.read_bytes()


@all_formats
def test_a_digest_is_told_where_none_is_asked_for(ending: str, tmp_path: Path) -> None:
    content = noise(2_000_000)
    with ArchiveWriter(tmp_path / f"a{ending}", MTIME, "") as archive:
        for name in ("small", "large"):
            data = content if name == "large" else content[:10]
            done = archive.add(Member(name, data, None, "sha256", None, False))
            assert done == (hashlib.sha256(data).hexdigest(), len(data))


@all_formats
def test_a_source_that_is_not_there(ending: str, tmp_path: Path) -> None:
    gone = member("b", b"x", (str(tmp_path), "nowhere/b"))
    dest = tmp_path / f"a{ending}"
    with ArchiveWriter(dest, MTIME, "") as archive:
        archive.add(member("a", b"1"))
        with pytest.raises(FileNotFoundError):
            archive.add(gone)
        archive.commit()
    assert unpacked(dest) == {"a": b"1"}


@needs_symlinks
def test_a_source_is_reached_through_no_link(tmp_path: Path) -> None:
    secret = b"secret"
    (tmp_path / "secret").write_bytes(secret)
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "link").symlink_to(tmp_path / "secret")
    (tmp_path / "objects" / "up").symlink_to(tmp_path)
    with ArchiveWriter(tmp_path / "a.tar", MTIME, "") as archive:
        for path in ("link", "up/secret", "../secret"):
            with pytest.raises(OSError):
                archive.add(member("x", secret, (str(tmp_path / "objects"), path)))


@all_formats
@pytest.mark.parametrize("grows", [True, False])
def test_a_source_that_changes_while_it_is_read(ending: str, grows: bool, tmp_path: Path) -> None:
    content = noise(5_000_000)
    file = tmp_path / "in"
    file.write_bytes(content)
    dest = tmp_path / "out" / f"a{ending}"

    def change(done: int) -> None:
        with file.open("r+b") as opened:
            if grows:
                opened.seek(0, os.SEEK_END)
                opened.write(b"more")
            else:
                opened.truncate(3_000_000)

    with ArchiveWriter(dest, MTIME, "") as archive:
        archive.add(member("a", b"1"))
        # A frame of Zstandard cannot be taken apart: there, the archive is lost.
        lost = ending == ".tar.zst"
        with pytest.raises(ArchiveError if lost else SourceCorrupt, match="changed"):
            archive.add(member("x", content, (str(tmp_path), "in")), change)
        if lost:
            with pytest.raises(ArchiveError, match="export again"):
                archive.commit()
        else:
            archive.commit()
    if lost:
        assert os.listdir(dest.parent) == []
    else:
        assert unpacked(dest) == {"a": b"1"}


@all_formats
def test_progress_adds_up(ending: str, tmp_path: Path) -> None:
    done: list[int] = []
    with ArchiveWriter(tmp_path / f"a{ending}", MTIME, "") as archive:
        for one in lay_out(tmp_path / "in", CONTENTS):
            archive.add(one, done.append)
    assert sum(done) == sum(map(len, CONTENTS.values()))


def test_without_commit_nothing_stays(tmp_path: Path) -> None:
    with (
        pytest.raises(KeyboardInterrupt),
        ArchiveWriter(tmp_path / "new" / "a.zip", MTIME, "") as archive,
    ):
        archive.add(member("a", noise(3_000_000)))
        assert len(os.listdir(tmp_path / "new")) == 1
        raise KeyboardInterrupt
    assert os.listdir(tmp_path / "new") == []


def test_a_file_that_is_there_is_not_replaced_unasked(tmp_path: Path) -> None:
    dest = tmp_path / "a.zip"
    dest.write_bytes(b"somebody's")
    with pytest.raises(ArchiveError, match="exists"), ArchiveWriter(dest, MTIME, ""):
        raise AssertionError
    assert dest.read_bytes() == b"somebody's"
    with ArchiveWriter(dest, MTIME, "", replace=True) as archive:
        archive.add(member("a", b"1"))
        archive.commit()
    assert unpacked(dest) == {"a": b"1"}


@pytest.mark.parametrize("replace", [True, False])
def test_a_file_that_appears_meanwhile_is_not_replaced(replace: bool, tmp_path: Path) -> None:
    dest = tmp_path / "a.zip"
    if replace:
        dest.write_bytes(b"known")
    with ArchiveWriter(dest, MTIME, "", replace=replace) as archive:
        dest.write_bytes(b"somebody's")
        with pytest.raises(ArchiveError):
            archive.commit()
    assert dest.read_bytes() == b"somebody's"
    assert os.listdir(tmp_path) == ["a.zip"]


@needs_symlinks
def test_a_link_or_directory_is_never_replaced(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"v")
    (tmp_path / "a.zip").symlink_to(victim)
    (tmp_path / "b.zip").mkdir()
    for name in ("a.zip", "b.zip"):
        with (
            pytest.raises(ArchiveError, match="regular"),
            ArchiveWriter(tmp_path / name, MTIME, "", replace=True),
        ):
            raise AssertionError
    assert victim.read_bytes() == b"v"


@needs_posix
def test_what_a_killed_export_left_is_removed_but_not_what_is_in_use(tmp_path: Path) -> None:
    dest = tmp_path / "a.tar"
    code = (
        "import os, signal; from pathlib import Path; from tests.export.test_archive import *\n"
        f"with ArchiveWriter(Path({str(dest)!r}), 0, '') as archive:\n"
        "    archive.add(member('x', noise(3_000_000)))\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[2], check=False)
    assert done.returncode < 0
    (stale,) = tmp_path.iterdir()
    other = tmp_path / "b.tar"
    with ArchiveWriter(dest, MTIME, ""):
        assert not stale.exists()
        (used,) = tmp_path.iterdir()
        with ArchiveWriter(dest, MTIME, ""), ArchiveWriter(other, MTIME, ""):
            assert used.exists()
    assert os.listdir(tmp_path) == []


@needs_posix
@all_formats
def test_a_full_disk_ends_the_archive(ending: str, tmp_path: Path) -> None:
    code = (
        "import resource, signal, errno; from pathlib import Path\n"
        "from tests.export.test_archive import *\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))\n"
        f"with ArchiveWriter(Path({str(tmp_path / ('a' + ending))!r}), 0, '') as archive:\n"
        "    archive.add(member('a', b'1'))\n"
        "    try: archive.add(member('x.gz', noise(8_000_000)))\n"
        "    except ArchiveError as e: assert e.errno == errno.EFBIG, e\n"
        "    else: raise AssertionError\n"
        "    for go_on in (archive.commit, lambda: archive.add(member('y', b'2'))):\n"
        "        try: go_on()\n"
        "        except ArchiveError: pass\n"
        "        else: raise AssertionError\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert os.listdir(tmp_path) == []


def test_more_members_than_sixteen_bits_count(tmp_path: Path) -> None:
    count = 66_000
    with ArchiveWriter(tmp_path / "a.zip", MTIME, "") as archive:
        for number in range(count):
            archive.add(Member(f"{number:05}", b"x", None, "md5", None, False))
        archive.commit()
    with zipfile.ZipFile(tmp_path / "a.zip") as read:
        assert len(read.namelist()) == count
        assert read.read("65999") == b"x"
    if (zipinfo := shutil.which("zipinfo")) is not None:
        done = subprocess.run([zipinfo, "-h", tmp_path / "a.zip"], capture_output=True, check=True)
        assert b"number of entries: 66000" in done.stdout


@needs_posix
def test_a_member_of_more_than_four_gigabytes(tmp_path: Path) -> None:
    """Headers only: what they must say is checked without writing so many bytes."""
    from datalad_bidsshare.export.archive_streams import Output
    from datalad_bidsshare.export.archive_zip import ZipContainer

    size = (1 << 32) + 5

    class Sparse(Output):
        """Leaves a hole where zeros are written."""

        def write(self, data: bytes | bytearray | memoryview) -> None:
            if len(data) == len(zeros):
                self._file.seek(len(data), os.SEEK_CUR)
                self.position += len(data)
            else:
                super().write(data)

    zeros = bytes(1 << 24)
    path = tmp_path / "big.zip"
    with path.open("wb") as file:
        out = Sparse(file)
        archive = ZipContainer(out, MTIME)
        archive.begin("big.gz", size, False, True, True)
        for _ in range(size // len(zeros)):
            archive.write(zeros)
        archive.write(bytes(5))
        archive.end()
        archive.begin("after", 4, False, True, False)
        archive.write(b"last")
        archive.end()
        archive.finish()
    with zipfile.ZipFile(path) as read:
        info = read.getinfo("big.gz")
        assert (info.file_size, info.compress_size) == (size, size)
        assert read.getinfo("after").header_offset > size
        assert read.read("after") == b"last"
        with read.open("big.gz") as member_file:
            assert member_file.read(10) == bytes(10)
    unzip = program("unzip")
    done = subprocess.run([unzip, "-l", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert str(size) in done.stdout
    done = subprocess.run(
        [unzip, "-tq", path, "after"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_memory_is_that_of_a_block(tmp_path: Path) -> None:
    if sys.platform != "linux":
        pytest.skip("needs the peak of memory in kilobytes")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(200 << 20)
    code = (
        "import resource; from pathlib import Path; from tests.export.test_archive import *\n"
        "def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
        f"base = Path({str(tmp_path)!r}); before = peak()\n"
        "for ending in ENDINGS:\n"
        "    with ArchiveWriter(base / ('a' + ending), 0, '') as archive:\n"
        "        m = Member('x.nii', (str(base), 'large'), 200 << 20, 'sha1', None, False)\n"
        "        archive.add(m); archive.commit()\n"
        "assert peak() - before < 40, (peak(), before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
