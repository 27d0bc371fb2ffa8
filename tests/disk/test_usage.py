"""How much a directory takes of the disk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from datalad_bidsshare.disk.usage import freed_with
from tests.platforms import needs_posix

pytestmark = needs_posix


def du(directory: Path) -> int:
    found = subprocess.run(["du", "-s", "-B1", directory], capture_output=True, check=True).stdout
    return int(found.split()[0])


def test_as_du_counts(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    for number in range(5):
        (tmp_path / "a/b" / str(number)).write_bytes(os.urandom(10_000 * number))
    with (tmp_path / "a/sparse").open("wb") as file:
        file.truncate(10_000_000)
        file.write(b"1" * 5000)
    os.link(tmp_path / "a/b/3", tmp_path / "a/again")
    (tmp_path / "a/link").symlink_to("/usr")
    assert freed_with(tmp_path / "a") == du(tmp_path / "a") < 1_000_000


def test_what_is_linked_from_elsewhere_is_not_freed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a/one").write_bytes(os.urandom(100_000))
    before = freed_with(tmp_path / "a")
    os.link(tmp_path / "a/one", tmp_path / "two")
    assert before - freed_with(tmp_path / "a") >= 100_000


def test_nothing_there(tmp_path: Path) -> None:
    assert freed_with(tmp_path / "none") == 0
