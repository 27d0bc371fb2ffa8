"""Giving unpacked files their names: where the program cannot easily be brought to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from datalad_bidsshare.archive import placing
from datalad_bidsshare.archive.directory import Member
from datalad_bidsshare.archive.extract import Wanted
from datalad_bidsshare.archive.inflate import crc32
from datalad_bidsshare.archive.placing import PlacingError, missing_outputs, place_files
from datalad_bidsshare.archive.staging import Stage
from tests.platforms import needs_posix, needs_posix_names, needs_symlinks


def wanted(output: str, data: bytes = b"new") -> Wanted:
    return Wanted(Member(output, len(data), 0, crc32(data), 0, 0, 0, 0), output)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    (tmp_path / "dest").mkdir()
    return tmp_path / "dest"


@pytest.fixture
def unpacked(dest: Path) -> Callable[..., str]:
    """Make files as they are unpacked."""

    def make(*outputs: str) -> str:
        tree = dest / ".bidsshare-tmp-1-0000000000000000"
        for output in outputs:
            (tree / output).parent.mkdir(parents=True, exist_ok=True)
            (tree / output).write_bytes(b"new")
        return str(tree)

    return make


def test_files_get_their_names_and_directories(dest: Path, unpacked: Callable[..., str]) -> None:
    outputs = sorted(["a/b/c", "a/b.x", "a/b/d", "a-b", "z/y/x", "a/x/y"])
    place_files(str(dest), unpacked(*outputs), outputs, "error")
    found = {p.relative_to(dest).as_posix() for p in dest.rglob("*") if p.is_file()}
    assert found == set(outputs)


@needs_posix_names
def test_names_of_any_bytes_are_found_again(dest: Path, unpacked: Callable[..., str]) -> None:
    outputs = sorted(["new\nline", "ü/\udce9", "a\\b"])
    place_files(str(dest), unpacked(*outputs), outputs, "error")
    data = [wanted(output) for output in outputs]
    assert missing_outputs(str(dest), data, "skip") == []


def test_what_has_come_meanwhile_is_not_replaced(dest: Path, unpacked: Callable[..., str]) -> None:
    tree = unpacked("a/x", "a/y", "b/z")
    assert len(missing_outputs(str(dest), [wanted("a/x"), wanted("a/y")], "error")) == 2
    (dest / "a").mkdir()
    (dest / "a" / "y").write_bytes(b"mine")
    with pytest.raises(PlacingError, match="a/y: has come to be there meanwhile"):
        place_files(str(dest), tree, ["a/x", "a/y", "b/z"], "skip")
    assert (dest / "a" / "y").read_bytes() == b"mine"
    # What had its name before keeps it, and directories without files are none of anybody's.
    assert (dest / "a" / "x").read_bytes() == b"new"
    assert not (dest / "b").exists()


@needs_symlinks
def test_a_link_that_comes_meanwhile_is_not_followed(
    dest: Path, unpacked: Callable[..., str]
) -> None:
    tree = unpacked("a/x", "b")
    assert missing_outputs(str(dest), [wanted("a/x"), wanted("b")], "replace")
    (dest.parent / "outside").mkdir()
    (dest.parent / "file").write_bytes(b"object")
    (dest / "a").symlink_to("../outside")
    with pytest.raises(PlacingError, match="a symbolic link stands at a"):
        place_files(str(dest), tree, ["a/x", "b"], "replace")
    (dest / "a").unlink()
    (dest / "b").symlink_to("../file")
    place_files(str(dest), tree, ["a/x", "b"], "replace")
    assert (dest.parent / "file").read_bytes() == b"object"
    assert not (dest / "b").is_symlink()
    assert os.listdir(dest.parent / "outside") == []


@needs_symlinks
def test_a_directory_that_is_changed_for_a_link_at_the_last_moment(
    dest: Path, unpacked: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = unpacked("a/x")
    (dest.parent / "outside").mkdir()
    (dest / "a").mkdir()
    look = placing._rename

    def change(*args: object) -> None:
        (dest / "a").rename(dest.parent / "moved")
        (dest / "a").symlink_to("../outside")
        look(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(placing, "_rename", change)
    with pytest.raises(PlacingError, match="moved meanwhile"):
        place_files(str(dest), tree, ["a/x"], "replace")
    assert os.listdir(dest.parent / "outside") == []


def test_many_troubles_are_told_in_a_few_lines(dest: Path) -> None:
    names = [f"f{number}" for number in range(9)]
    for name in names:
        (dest / name).write_bytes(b"mine")
    with pytest.raises(PlacingError) as refused:
        missing_outputs(str(dest), [wanted(name) for name in names], "skip")
    assert len(refused.value.troubles) == 9
    lines = str(refused.value).splitlines()
    assert len(lines) == 6
    assert lines[-1] == "... and 4 more"


@needs_symlinks
@needs_posix
def test_a_link_to_something_else_is_not_read_for_ever(dest: Path) -> None:
    (dest / "zero").symlink_to("/dev/zero")
    (dest / "dir").symlink_to("/")
    os.mkfifo(dest / "fifo")
    (dest / "pipe").symlink_to("fifo")
    for name in ("zero", "dir", "pipe"):
        with pytest.raises(PlacingError, match="with other content"):
            missing_outputs(str(dest), [wanted(name, b"")], "skip")


def test_a_destination_that_is_not_there_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        missing_outputs(str(tmp_path / "nowhere"), [wanted("a")], "error")


@needs_posix
def test_stages_are_private_and_do_not_take_each_other_for_leftovers(dest: Path) -> None:
    with Stage(str(dest)) as first:
        assert os.stat(first.path).st_mode & 0o777 == 0o700
        with Stage(str(dest)) as second:
            Path(second.path, "d").mkdir()
            assert first.path != second.path
            assert os.path.isdir(first.path)
        assert not os.path.exists(second.path)
        shutil.copytree(first.path, dest / ".bidsshare-tmp-7-0123456789abcdef")
    with Stage(str(dest)) as third:
        assert os.listdir(dest) == [os.path.basename(third.path)]
    assert os.listdir(dest) == []
