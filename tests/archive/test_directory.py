"""The directory of a zip: read as `zipfile` reads it, and refused where readers could differ."""

from __future__ import annotations

import contextlib
import os
import shutil
import struct
import subprocess
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalad_bidsshare.archive import directory
from datalad_bidsshare.archive.directory import BadZip, Directory, read_directory
from tests.archive import zips
from tests.archive.zips import BROKEN, FILE, OK, ORDINARY, Entry, count_bomb, write_zip


def read(path: Path, **how: int) -> Directory:
    fd = os.open(path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
    try:
        return read_directory(fd, **how)
    finally:
        os.close(fd)


def _name(info: zipfile.ZipInfo) -> str:
    """Give the name of `zipfile`, but UTF-8 of a Unix as `unzip` takes it."""
    if info.create_system == 3 and not info.flag_bits & 0x800:
        with contextlib.suppress(UnicodeDecodeError):
            return info.orig_filename.encode("cp437").decode()
    return info.orig_filename


def same_as_zipfile(path: Path) -> None:
    """Compare all that both know."""
    found = read(path)
    with zipfile.ZipFile(path) as z:
        infos = z.infolist()
        start = z.start_dir
    assert found.start == start
    assert found.bytesize == path.stat().st_size
    assert [
        (m.name, m.size, m.packed, m.crc, m.method, m.offset, m.flags) for m in found.members
    ] == [
        (
            _name(i),
            i.file_size,
            i.compress_size,
            i.CRC,
            i.compress_type,
            i.header_offset,
            i.flag_bits,
        )
        for i in infos
    ]
    assert [m.mode for m in found.members] == [
        i.external_attr >> 16 if i.create_system == 3 else 0 for i in infos
    ]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, int]]]:
    """Every read: where, and how many bytes."""
    reads: list[tuple[int, int]] = []
    real = directory._pread

    def pread(fd: int, count: int, offset: int) -> bytes:
        data = real(fd, count, offset)
        reads.append((offset, len(data)))
        return data

    monkeypatch.setattr(directory, "_pread", pread)
    yield reads


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_zips_are_read_as_zipfile_reads_them(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    files = ORDINARY[name](path)
    same_as_zipfile(path)
    found = read(path)
    assert {m.name for m in found.members if not m.is_directory} == set(files)
    for member in found.members:
        raw = path.read_bytes()[member.offset + 30 :]
        assert raw.startswith(member.stored_name)


def test_zips_of_zipfile_itself(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w") as z:
        for n in range(300):
            z.writestr(f"sub-{n:03}/anat/sub-{n:03}_T1w.json", b"{}" * n, compress_type=8)
        with z.open("wide.nii", "w", force_zip64=True) as out:
            out.write(b"0" * 100_000)
    same_as_zipfile(path)


@pytest.mark.skipif(not shutil.which("zip"), reason="needs Info-ZIP zip")
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_names_of_info_zip(locale: str, tmp_path: Path) -> None:
    names = {"a", "été", "漢"}
    for name in names:
        (tmp_path / name).write_text(name)
    environment = {**os.environ, "LC_ALL": locale}
    subprocess.run(["zip", "-q", "x.zip", *names], cwd=tmp_path, check=True, env=environment)
    found = read(tmp_path / "x.zip")
    assert {m.name for m in found.members} == names
    for member in found.members:
        assert (
            (tmp_path / "x.zip").read_bytes()[member.offset + 30 :].startswith(member.stored_name)
        )


def test_utf8_names_that_are_not_said_to_be_utf8(tmp_path: Path) -> None:
    """macOS writes them. From elsewhere, they are code page 437."""
    path = tmp_path / "x.zip"
    raw = "été".encode()
    write_zip(path, Entry(raw), Entry(raw, system=19), Entry(raw, system=0, mode=0))
    assert [m.name for m in read(path).members] == ["été", "été", raw.decode("cp437")]
    assert {m.stored_name for m in read(path).members} == {raw}


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    entries=st.lists(
        st.builds(
            Entry,
            name=st.one_of(
                st.text(
                    st.characters(exclude_categories=["Cs"], exclude_characters="\0"),
                    min_size=1,
                    max_size=20,
                ),
                # Any byte but NUL, which zipfile cuts names at
                st.binary(min_size=1, max_size=20).map(lambda name: name.replace(b"\0", b"x")),
            ),
            data=st.binary(max_size=100),
            method=st.sampled_from([0, 8]),
            wide=st.booleans(),
            descriptor=st.booleans(),
            mode=st.sampled_from([FILE, 0, 0o120777]),
            system=st.sampled_from([0, 3]),
            extra=st.sampled_from([b"", struct.pack("<2H", 0x5455, 4) + b"time"]),
        ),
        max_size=8,
    ),
    comment=st.binary(max_size=40).filter(lambda c: b"PK" not in c),
    prefix=st.binary(max_size=40),
    wide=st.booleans(),
)
def test_any_headers_are_read_as_zipfile_reads_them(
    tmp_path: Path, entries: list[Entry], comment: bytes, prefix: bytes, wide: bool
) -> None:
    path = tmp_path / "x.zip"
    prefix = b"" if wide else prefix
    write_zip(path, *entries, comment=comment, prefix=prefix, zip64=wide)
    same_as_zipfile(path)


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_zips_with_any_bytes_changed_are_read_or_refused(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "x.zip"
    write_zip(path, OK, Entry("é.txt", wide=True), Entry("b", extra=b"\1\0\x08\0"), zip64=True)
    raw = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at] = data.draw(st.integers(0, 255))
    path.write_bytes(raw[: data.draw(st.integers(0, len(raw))) or len(raw)])
    try:
        found = read(path)
    except BadZip as e:
        assert str(e)
    else:
        assert found.start <= len(raw)


@pytest.mark.parametrize("name", BROKEN)
def test_broken_zips_are_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    BROKEN[name](path)
    with pytest.raises(BadZip) as caught:
        read(path)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("empty file", "empty file"),
        ("not a zip", "not a zip file"),
        ("a pointer", "not a zip file"),
        ("truncated in the data", "truncated"),
        ("truncated in the end", "truncated"),
        ("something follows its end", "follows its end"),
        ("split", "one part of several"),
        ("zip64 elsewhere", "zip64"),
        ("wrong count", "1 members, its end says 2"),
    ],
)
def test_what_is_wrong_is_said(name: str, text: str, tmp_path: Path) -> None:
    BROKEN[name](tmp_path / "x.zip")
    with pytest.raises(BadZip, match=text):
        read(tmp_path / "x.zip")


def test_only_the_directory_is_read(tmp_path: Path, counted: list[tuple[int, int]]) -> None:
    path = tmp_path / "x.zip"
    write_zip(path, Entry("big.nii", os.urandom(5_000_000), 0), *(Entry(f"{n}") for n in range(9)))
    found = read(path)
    assert found.bytes_read == sum(count for _, count in counted) <= 16 << 10
    assert len(counted) == 1


def test_a_large_directory_is_read_once(tmp_path: Path, counted: list[tuple[int, int]]) -> None:
    path = tmp_path / "x.zip"
    count_bomb(path, 3000)
    found = read(path)
    size = path.stat().st_size
    assert found.bytes_read == sum(count for _, count in counted) == size - found.start
    assert min(offset for offset, _ in counted) == found.start


def test_no_more_members_are_read_than_allowed(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    count_bomb(path, 3000)
    assert len(read(path, most=3000).members) == 3000
    with pytest.raises(BadZip, match="more than the limit of 2,999 members"):
        read(path, most=2999)


def test_more_members_than_an_end_without_zip64_can_say(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    directory_entry = Entry("a", b"", 0).central_bytes(0)
    body = Entry("a", b"", 0).local_bytes()
    count = 65_536 + 7
    end = zips.end_bytes(7, len(directory_entry) * count, len(body))
    path.write_bytes(body + directory_entry * count + end)
    assert len(read(path).members) == count


def test_names_in_unicode_fields_are_used(tmp_path: Path) -> None:
    raw = b"sub-01/#U00e9"
    name = "sub-01/é"
    field = struct.pack("<BL", 1, zlib.crc32(raw)) + name.encode()
    field = struct.pack("<2H", 0x7075, len(field)) + field
    path = tmp_path / "x.zip"
    # The second one's belongs to another name.
    write_zip(path, Entry(raw, extra=field), Entry(b"other", extra=field))
    first, second = read(path).members
    assert (first.name, first.stored_name) == (name, raw)
    assert (second.name, second.stored_name) == ("other", b"other")


def test_any_byte_of_a_name_in_code_page_437_comes_back() -> None:
    every = bytes(range(256))
    assert every.decode("cp437").encode("cp437") == every


def test_what_comes_after_each_member_is_known(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    write_zip(path, Entry("a"), Entry("b"), Entry("c"))
    found = read(path)
    a, b, c = found.members
    assert (a.end, b.end, c.end) == (b.offset, c.offset, found.start)


def test_a_file_that_cannot_be_read_is_an_error_of_the_system(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    try:
        with pytest.raises(OSError):
            read_directory(fd)
    finally:
        os.close(fd)
