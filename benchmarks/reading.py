"""How many bytes a process reads of some files, with all the processes that it starts."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

__all__ = ["bytes_read", "why_not"]

#: What takes bytes out of a file: by name, and as the how manyth of its descriptors the file.
_CALLS = {
    "read": 0,
    "readv": 0,
    "pread64": 0,
    "preadv": 0,
    "preadv2": 0,
    "copy_file_range": 0,
    "splice": 0,
    "sendfile": 1,
    "mmap": 0,
}
#: A file to each process, so that no call is cut in two by that of another; descriptors with the
#: paths that they stand for; and nothing of what was read. It looks at no other calls.
_STRACE = ("strace", "-ff", "--seccomp-bpf", "-qq", "-y", "-s", "0", "-e", "signal=none")
#: As in `pread64(3</store/a.zip>, ""..., 100, 0) = 100`; one that fails gives -1.
_CALL = re.compile(r"(\w+)\((.*)\) += (\d+|0x[0-9a-f]+)")
_DESCRIPTOR = re.compile(r"\d+<([^>]*)>")


def why_not() -> str | None:
    """Say why this cannot be measured here, or give None."""
    if shutil.which("strace") is None:
        return "strace is not installed"
    with tempfile.TemporaryDirectory() as directory:
        # It may be too old, or not be allowed to look at other processes.
        tried = subprocess.run(
            [*_command(Path(directory)), "true"], stderr=subprocess.PIPE, text=True
        )
    return f"no luck with strace: {tried.stderr.strip()[-80:]}" if tried.returncode else None


def bytes_read(command: Sequence[str], cwd: Path, below: Path) -> int:
    """Run a command, and count.

    Parameters
    ----------
    command
        What to run.
    cwd
        Where.
    below
        The directory that holds the files.

    Returns
    -------
    int
        Bytes. What is read twice counts twice; what is mapped into memory counts as a whole.

    Raises
    ------
    RuntimeError
        If the command fails.
    """
    place = os.path.realpath(below) + os.sep
    with tempfile.TemporaryDirectory() as directory:
        ended = subprocess.run(
            [*_command(Path(directory)), *command],
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        if ended.returncode:
            why = ended.stderr.decode("utf-8", "replace").strip()
            raise RuntimeError(f"{command[0]} failed ({ended.returncode}): {why[-1000:]}")
        return sum(_read(trace, place) for trace in Path(directory).iterdir())


def _command(directory: Path) -> tuple[str, ...]:
    return (*_STRACE, "-e", f"trace={','.join(_CALLS)}", "-o", os.fspath(directory / "trace"))


def _read(trace: Path, place: str) -> int:
    """Give the bytes that one process read of files in a place."""
    total = 0
    with trace.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            call = _CALL.match(line) if place in line else None
            if call is None:
                continue
            name, arguments, result = call.groups()
            if _DESCRIPTOR.findall(arguments)[_CALLS[name]].startswith(place):
                total += int(arguments.split(", ")[1] if name == "mmap" else result)
    return total
