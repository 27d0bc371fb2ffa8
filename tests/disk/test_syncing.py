"""Waiting until it is on the disk."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datalad_bidsshare.disk.syncing import sync_file_system
from tests.dataset.builders import PATIENCE
from tests.platforms import needs_posix


def test_a_directory_and_a_descriptor_of_it(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x")
    sync_file_system(tmp_path)
    if os.name == "posix":
        fd = os.open(tmp_path, os.O_RDONLY)
        sync_file_system(fd)
        os.close(fd)


@needs_posix
def test_a_directory_that_there_is_not(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        sync_file_system(tmp_path / "none")


@pytest.mark.skipif(sys.platform != "linux", reason="syncs one file system by its descriptor")
def test_a_descriptor_that_is_none(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    os.close(fd)
    with pytest.raises(OSError) as e:
        sync_file_system(fd)
    assert e.value.errno == errno.EBADF


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_a_disk_that_fails(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path\n"
        "from datalad_bidsshare.disk.syncing import sync_file_system\n"
        "sync_file_system(Path(sys.argv[1]))"
    )
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", os.devnull, "-e", "trace=syncfs",
         "-e", "inject=syncfs:error=EIO", sys.executable, "-c", code, str(tmp_path)],
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.stderr.splitlines()[-1] == "OSError: [Errno 5] Input/output error"
