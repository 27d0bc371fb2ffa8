"""What is refused before anything of a zip is written."""

from __future__ import annotations

import pickle
import re
import shlex
from pathlib import Path

import pytest

from datalad_bidsshare.archive.directory import Directory
from datalad_bidsshare.archive.safety import (
    Limits,
    Refused,
    check_directory,
    check_wanted,
    shown,
)
from datalad_bidsshare.selection.globs import compile_glob
from tests.archive.test_directory import read
from tests.archive.zips import (
    COLLISIONS,
    LYING,
    MODES,
    ORDINARY,
    REFUSED,
    Entry,
    count_bomb,
    write_zip,
)


def check(found: Directory, limits: Limits | None = None, without: str | None = None) -> None:
    limits = limits or Limits()

    def taken_away(name: str) -> bool:
        return without is not None and compile_glob(without).fullmatch(name) is not None

    check_directory(found, limits, taken_away=taken_away)
    files = [m for m in found.members if not m.is_directory and not taken_away(m.name)]
    check_wanted(files, limits)


def refused(path: Path, limits: Limits | None = None, without: str | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        check(read(path), limits, without)
    return caught.value


@pytest.mark.parametrize("name", ORDINARY)
def test_ordinary_zips_are_not_refused(name: str, tmp_path: Path) -> None:
    ORDINARY[name](tmp_path / "x.zip")
    check(read(tmp_path / "x.zip"))


@pytest.mark.parametrize("name", REFUSED)
def test_hostile_zips_are_refused_by_name_of_the_member(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    REFUSED[name](path)
    error = refused(path)
    assert error.reason
    if "bomb" not in name:
        assert error.member is not None
        assert error.member != "sub-01/ok.txt"
        assert str(error) == f"{shown(error.member)}: {error.reason}"
    assert str(error).isprintable()


@pytest.mark.parametrize("name", LYING)
def test_what_only_the_data_tells_is_not_refused_here(name: str, tmp_path: Path) -> None:
    LYING[name](tmp_path / "x.zip")
    check(read(tmp_path / "x.zip"))


@pytest.mark.parametrize("name", [n for n in REFUSED if n.startswith("name: ")])
def test_hostile_names_cannot_be_left_out(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    REFUSED[name](path)
    with pytest.raises(Refused):
        check_directory(read(path), Limits(), taken_away=lambda name: name != "sub-01/ok.txt")


@pytest.mark.parametrize(
    "name",
    [*MODES, "encrypted", "packed: Deflate64", *(f"collision: {name}" for name in COLLISIONS)],
)
def test_what_the_message_says_to_leave_out_helps(name: str, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    REFUSED[name](path)
    error = refused(path)
    hint = re.search(r"leave it out with (-x .*?)(, or pack .*)?$", str(error))
    assert hint is not None
    option, glob = shlex.split(hint[1])
    assert option == "-x"
    check(read(path), without=glob)


@pytest.mark.parametrize("odd", ["a [1]*?.txt", "-rf", "it's $(x)", "sub-01/-x", "{02}"])
def test_the_glob_to_leave_a_member_out_means_it_alone(odd: str, tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    write_zip(path, Entry(odd, mode=0o120777), Entry(f"deeper/{odd}", mode=0o120777))
    glob = shlex.split(str(refused(path)).partition("leave it out with ")[2])[1]
    pattern = compile_glob(glob)
    assert pattern.fullmatch(odd)
    assert not pattern.fullmatch(f"deeper/{odd}")
    assert not pattern.fullmatch("a 1.txt")


def test_directories_may_be_set_gid(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", Entry("d/", b"", 0, 0o042775), Entry("d/a"))
    check(read(tmp_path / "x.zip"))


def test_names_that_only_look_alike_are_taken(tmp_path: Path) -> None:
    names = [
        ".gitkeep",
        "d/.gitkeep",
        "git",
        "datalad",
        "x.git",
        "..a",
        "a..",
        "ab:c",
        ".bidsignore",
    ]
    write_zip(tmp_path / "x.zip", *map(Entry, names))
    check(read(tmp_path / "x.zip"))


def test_a_directory_listed_twice_does_no_harm(tmp_path: Path) -> None:
    write_zip(tmp_path / "x.zip", Entry("d/", b"", 0), Entry("d/", b"", 0), Entry("d/a"))
    check(read(tmp_path / "x.zip"))


def test_count_bomb(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    count_bomb(path, 2000)
    check(read(path), Limits(members=2000))
    error = refused(path, Limits(members=1999))
    assert error.member is None
    assert str(error) == "2,000 members, more than the limit of 1,999 (--max-members)"


def test_limit_on_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    write_zip(path, Entry("a", b"x" * 600), Entry("b", b"x" * 400))
    check(read(path), Limits(bytes=1000))
    assert "--max-bytes" in str(refused(path, Limits(bytes=999)))
    # Only what is wanted counts.
    check(read(path), Limits(bytes=999), without="b")


def test_limit_on_ratio_can_be_raised(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    REFUSED["ratio bomb"](path)
    assert "--max-ratio" in str(refused(path))
    check(read(path), Limits(ratio=2000))


def test_small_files_may_compress_well(tmp_path: Path) -> None:
    path = tmp_path / "x.zip"
    write_zip(path, Entry("zeros.nii", bytes(50_000_000)))
    assert read(path).members[0].packed * 500 < 50_000_000
    check(read(path))


def test_deflate64_is_named(tmp_path: Path) -> None:
    REFUSED["packed: Deflate64"](tmp_path / "x.zip")
    assert "Deflate64 (method 9)" in str(refused(tmp_path / "x.zip"))


def test_names_are_shown_on_one_line() -> None:
    assert shown("sub-01/é 漢.txt") == "sub-01/é 漢.txt"
    assert shown("a\nb\x1b[2J\u202e\udcff") == "a\\nb\\x1b[2J\\u202e\\udcff"


def test_refusals_travel_between_processes() -> None:
    for error in (Refused("a", "b"), Refused(None, "b")):
        again = pickle.loads(pickle.dumps(error))
        assert (again.member, again.reason, str(again)) == (error.member, error.reason, str(error))
