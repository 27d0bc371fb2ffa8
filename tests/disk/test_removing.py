"""Directories that resist are removed, and nothing besides."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from datalad_bidsshare.disk.removing import remove_tree
from tests.platforms import needs_posix

pytestmark = needs_posix


def test_read_only_objects_in_read_only_directories_go(tmp_path: Path) -> None:
    key = tmp_path / "gone" / "annex" / "objects" / "a" / "b" / "KEY"
    key.mkdir(parents=True)
    (key / "KEY").write_text("x")
    (key / "KEY").chmod(0o444)
    for directory in (key, key.parent, tmp_path / "gone"):
        directory.chmod(0o555)
    (tmp_path / "gone" / "annex").chmod(0o000)
    remove_tree(tmp_path / "gone")
    assert not list(tmp_path.iterdir())
    remove_tree(tmp_path / "gone")


def test_as_another_user_than_root(tmp_path: Path) -> None:
    if os.geteuid() != 0 or not shutil.which("setpriv"):
        pytest.skip("root alone becomes a user without its powers")
    key = tmp_path / "gone" / "KEY"
    key.mkdir(parents=True)
    (key / "KEY").write_text("x")
    key.chmod(0o555)
    (tmp_path / "gone" / "closed").mkdir(mode=0o000)
    code = "import sys, pathlib; from datalad_bidsshare.disk.removing import remove_tree; "
    code += "remove_tree(pathlib.Path(sys.argv[1]))"
    import sys

    without = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--inh-caps=-all"]
    subprocess.run([*without, sys.executable, "-c", code, str(tmp_path / "gone")], check=True)
    assert not list(tmp_path.iterdir())


def test_links_are_removed_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "file").write_text("x")
    (tmp_path / "kept").chmod(0o555)
    (tmp_path / "gone").mkdir()
    (tmp_path / "gone" / "link").symlink_to(tmp_path / "kept")
    (tmp_path / "gone" / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "gone" / "fifo")
    remove_tree(tmp_path / "gone")
    assert (tmp_path / "kept" / "file").read_text() == "x"
    assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o555
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    with pytest.raises(NotADirectoryError):
        remove_tree(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()


def test_names_of_any_bytes_and_deep_trees(tmp_path: Path) -> None:
    deep = os.path.join(os.fsencode(tmp_path), b"gone", *[b"d\xe9\n"] * 60)
    os.makedirs(deep)
    with open(os.path.join(deep, b"f\xff"), "wb"):
        pass
    remove_tree(tmp_path / "gone")
    assert not list(tmp_path.iterdir())


def test_what_others_still_write_is_waited_for(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    stop = threading.Event()

    def write() -> None:
        for number in range(2000):
            try:
                (gone / str(number)).write_text("x")
            except FileNotFoundError:
                return
        stop.set()

    thread = threading.Thread(target=write)
    thread.start()
    remove_tree(gone)
    thread.join()
    assert not gone.exists()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("unshare"),
    reason="mounting takes root and unshare",
)
def test_what_is_mounted_below_is_not_touched(tmp_path: Path) -> None:
    import sys

    (tmp_path / "gone" / "mounted").mkdir(parents=True)
    (tmp_path / "kept").mkdir()
    code = "import sys, pathlib; from datalad_bidsshare.disk.removing import remove_tree; "
    code += "remove_tree(pathlib.Path(sys.argv[1]))"
    script = (
        'mount -t tmpfs tmpfs "$1" && echo x > "$1/file" && '
        'if "$2" -c "$3" "$4"; then exit 9; fi; cat "$1/file"'
    )
    done = subprocess.run(
        [
            *("unshare", "-m", "sh", "-c", script, "sh", str(tmp_path / "gone" / "mounted")),
            *(sys.executable, code, str(tmp_path / "gone")),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if "mount" in done.stderr and "denied" in done.stderr:
        pytest.skip("no file system can be mounted here")
    assert (done.returncode, done.stdout) == (0, "x\n"), done.stderr
    assert "another file system" in done.stderr
