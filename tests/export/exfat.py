"""A file system from Windows: exFAT, through FUSE."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

__all__ = ["mounted_exfat"]

_TOOLS = ("mkfs.exfat", "mount.exfat-fuse", "losetup", "umount")


def _run(*command: str) -> str:
    return subprocess.run(
        command, check=True, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60
    ).stdout.strip()


@contextmanager
def mounted_exfat(directory: Path) -> Iterator[Path]:
    """Mount an empty exFAT file system in a directory, or skip the test where that cannot be.

    Needs root, /dev/fuse, loop devices, exfatprogs and exfat-fuse (packages of Debian).
    """
    if sys.platform != "linux" or os.geteuid() != 0 or not os.path.exists("/dev/fuse"):
        pytest.skip("needs root on a Linux with /dev/fuse")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")
    image, mount = directory / "exfat.img", directory / "exfat"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(64 << 20)
    try:
        _run("mkfs.exfat", str(image))
        device = _run("losetup", "--find", "--show", str(image))
    except subprocess.CalledProcessError as e:
        pytest.skip(f"no loop device can be had here: {e.stdout.strip()}")
    try:
        try:
            _run("mount.exfat-fuse", device, str(mount))
        except subprocess.CalledProcessError as e:
            pytest.skip(f"exFAT cannot be mounted here: {e.stdout.strip()}")
        try:
            yield mount
        finally:
            _run("umount", str(mount))
    finally:
        _run("losetup", "--detach", device)
