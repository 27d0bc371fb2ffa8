"""What a system must be able to do for a test to run on it."""

from __future__ import annotations

import os
import tempfile

import pytest

__all__ = [
    "MAKES_SYMLINKS",
    "POSIX",
    "makes_name",
    "needs_posix",
    "needs_posix_names",
    "needs_symlinks",
]

POSIX = os.name == "posix"
"""Shell scripts as programs, signals, file modes, names with nearly any character."""


def _makes_symlinks() -> bool:
    """Try it: on Windows it is a right that a user may have or not."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            os.symlink("nothing", os.path.join(directory, "link"))
        except (OSError, NotImplementedError):
            return False
    return True


MAKES_SYMLINKS = _makes_symlinks()
"""Whether this user can make symbolic links."""


def makes_name(name: bytes) -> bool:
    """Tell whether the file system of temporary files takes a file name as it is."""
    if not POSIX and (b"\\" in name or b":" in name):
        # Not refused there, but taken for something else: a directory, a stream.
        return False
    with tempfile.TemporaryDirectory() as directory:
        try:
            with open(os.path.join(os.fsencode(directory), name), "wb"):
                return True
        except (OSError, ValueError):
            return False


needs_posix_names = pytest.mark.skipif(
    not all(map(makes_name, [b"new\nline", b'"', b"back\\slash", b"latin1-\xe9"])),
    reason="needs a file system that takes names of any bytes",
)

needs_posix = pytest.mark.skipif(
    not POSIX, reason="needs a POSIX system (shell scripts, signals, names of nearly any kind)"
)
needs_symlinks = pytest.mark.skipif(
    not MAKES_SYMLINKS, reason="needs a user who can make symbolic links"
)
