"""Opening files beneath a directory."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalad_bidsshare.dataset import beneath
from datalad_bidsshare.dataset.beneath import open_beneath
from tests.dataset.builders import HOSTILE_NAMES
from tests.platforms import needs_posix, needs_symlinks

WAYS = ["openat2", "components", "resolved"]


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Open in each of the ways that there are."""
    if request.param == "resolved":
        monkeypatch.setattr(beneath, "_RELATIVE", False)
    elif not beneath._RELATIVE:
        pytest.skip("this system cannot open relative to a directory")
    elif request.param == "components":
        monkeypatch.setattr(beneath, "_openat2", beneath._open_by_components)
    else:
        found = beneath._find_openat2()
        if found is None:
            pytest.skip("needs openat2 (Linux 5.6)")
        monkeypatch.setattr(beneath, "_openat2", found)
    yield request.param


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / "base"
    (base / "d" / "e").mkdir(parents=True)
    (base / "d" / "e" / "f").write_text("f")
    (base / "g").write_text("g")
    (tmp_path / "secret").write_text("secret")
    return base


def read(directory: int | Path, path: str) -> bytes:
    fd = open_beneath(directory, path)
    with open(fd, "rb") as file:
        return file.read()


def refused(directory: int | Path, path: str) -> str:
    with pytest.raises(OSError) as e:
        open_beneath(directory, path)
    assert e.value.filename == path or e.value.filename is not None
    return errno.errorcode[e.value.errno or 0]


def test_regular_files(way: str, base: Path) -> None:
    assert read(base, "g") == b"g"
    assert read(base, "d/e/f") == b"f"
    if way != "resolved":
        fd = os.open(base, os.O_RDONLY)
        try:
            assert read(fd, "d/e/f") == b"f"
            assert read(fd, "g") == b"g"
        finally:
            os.close(fd)


def test_what_is_not_there(way: str, base: Path) -> None:
    wrong = ["none", "d/none", "none/f", "", ".", "..", "/", "../secret", "d/../g", "./g", "d//e/f"]
    wrong += ["d/./e/f", "/etc/passwd", str(base / "g"), "g/", "d/e/f/..", "g\0", "d/e\0/f"]
    for path in wrong:
        assert refused(base, path) == "ENOENT", path
    assert refused(base, "g/f") in ("ENOTDIR", "ENOENT")
    assert refused(base.parent / "no such directory", "g") == "ENOENT"


@needs_symlinks
def test_links_are_not_followed(way: str, base: Path) -> None:
    (base / "link").symlink_to("g")
    (base / "dangling").symlink_to("none")
    (base / "loop").symlink_to("loop")
    (base / "inside").symlink_to("d")
    (base / "out").symlink_to(base.parent)
    (base / "d" / "up").symlink_to("..")
    links = ["link", "dangling", "loop", "inside", "inside/e/f", "out/secret", "d/up/g", "loop/f"]
    for path in links:
        assert refused(base, path) == "ELOOP", path
    # but the directory itself may be reached through one
    (base.parent / "to-base").symlink_to(base)
    assert read(base.parent / "to-base", "d/e/f") == b"f"
    if os.path.exists("/proc/self/fd"):
        (base / "magic").symlink_to("/proc/self/environ")
        assert refused(base, "magic") == "ELOOP"
        assert refused(Path("/proc/self"), "cwd/secret") == "ELOOP"


def test_only_regular_files(way: str, base: Path) -> None:
    assert refused(base, "d/e") in ("EISDIR", "EACCES")
    if hasattr(os, "mkfifo"):
        os.mkfifo(base / "fifo")
        assert refused(base, "fifo") == "ENXIO"
    if os.path.exists("/dev/zero"):
        assert refused(Path("/dev"), "zero") == "ENXIO"


def test_names_of_every_kind(way: str, base: Path) -> None:
    for name in HOSTILE_NAMES:
        file = os.path.join(os.fsencode(base), name.rpartition(b"/")[2])
        with open(file, "wb") as f:
            f.write(name)
        path = name.rpartition(b"/")[2].decode("utf-8", "surrogateescape")
        assert read(base, path) == name
    (base / "..hidden").write_text("x")
    (base / "dots...").write_text("y")
    assert read(base, "..hidden") == b"x"
    if os.name != "nt":
        assert read(base, "dots...") == b"y"


@needs_posix
def test_descriptors_are_neither_lost_nor_inherited(way: str, base: Path) -> None:
    (base / "link").symlink_to("g")
    os.mkfifo(base / "fifo")

    def count() -> int:
        return len(os.listdir("/dev/fd"))

    fd = open_beneath(base, "d/e/f")
    assert not os.get_inheritable(fd)
    os.close(fd)
    before = count()
    for path in ("d/e", "link", "none", "fifo", "link/x", "d/none/x", "../secret"):
        refused(base, path)
    read(base, "d/e/f")
    assert count() == before


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
def test_a_kernel_or_a_sandbox_without_openat2(monkeypatch: pytest.MonkeyPatch, base: Path) -> None:
    # a number that no system call has: ENOSYS, as old kernels say
    monkeypatch.setattr(beneath, "_SYS_OPENAT2", 5000)
    assert beneath._find_openat2() is None
    monkeypatch.setattr(beneath, "_openat2", None)
    assert read(base, "d/e/f") == b"f"
    assert beneath._openat2 is beneath._open_by_components


def test_importing_it_is_cheap() -> None:
    # each copying process does
    code = (
        "import sys; import datalad_bidsshare.dataset.beneath; "
        "print({'ctypes', 'subprocess', 'datalad', 'json'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
