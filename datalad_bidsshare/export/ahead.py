"""What lies in a destination, read ahead by a process of its own.

To look at each of 400,000 files takes a second and a half, and this process has other things to
do meanwhile.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

from datalad_bidsshare.disk.frames import read_frame, write_frame
from datalad_bidsshare.export.escaping import path_of
from datalad_bidsshare.export.tree import Listing, Tree

__all__ = ["ReadAhead", "main"]

_PACKAGES = str(Path(__file__).parents[2])
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from datalad_bidsshare.export.ahead import main; main()"
)
#: Files that a message tells of, about.
_AT_ONCE = 2000
#: Files that were told of and not asked for, which are kept in mind.
_MOST_KEPT = 200_000


class ReadAhead:
    """Directories that a ledger names, in the order of the paths in it.

    Parameters
    ----------
    root
        The destination. It must not change meanwhile but by whoever asks: hold its lock.
    table
        The ledger's table of files.
    """

    def __init__(self, root: Path, table: Path) -> None:
        self._known: dict[str, Listing] = {}
        self._kept = 0
        # Path names must mean the same to it, whatever made us use UTF-8.
        options = ["-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}", "-c", _PROGRAM]
        self._process = subprocess.Popen(
            [sys.executable, *options, _PACKAGES, str(root), str(table)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
        )
        assert self._process.stdout is not None
        self._pipe = self._process.stdout.fileno()
        self._ended = False

    def take(self, directory: str) -> Listing | None:
        """Give what is in a directory, once; None when it has to be read by whoever asks."""
        while directory not in self._known and not self._ended:
            message = read_frame(self._pipe)
            if message is None or self._kept > _MOST_KEPT:
                # All was told; or it tells of what nobody asks for.
                self.close()
                break
            for path, files, others, instead in cast("list[tuple[Any, ...]]", message):
                self._known[path] = Listing.of(files, others, instead)
                self._kept += len(files)
        listing = self._known.pop(directory, None)
        if listing is not None:
            self._kept -= len(listing.files)
        return listing

    def close(self) -> None:
        """End the process."""
        if not self._ended:
            self._ended = True
            self._process.kill()
            assert self._process.stdout is not None
            self._process.stdout.close()
            self._process.wait()


def _directories(table: Path) -> Iterator[str]:
    """Give the directories of a table's paths, and those above them, each once."""
    seen = {""}
    last = b""
    with table.open("rb") as lines:
        # its header
        next(lines, None)
        for line in lines:
            field = line.partition(b"\t")[0].rpartition(b"/")[0]
            if field == last:
                continue
            last = field
            path = path_of(field)
            missing = []
            while path not in seen:
                seen.add(path)
                missing.append(path)
                path = path.rpartition("/")[0]
            yield from reversed(missing)


def main() -> None:
    """Tell what is in directories. The way in of the process that `ReadAhead` starts.

    Arguments
        Where the package is, the destination, the ledger's table.
    """
    # Whoever asked decides what an interrupt means, and closes the pipe.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    pipe = sys.stdout.fileno()
    tree = Tree(Path(sys.argv[2]))
    told: list[tuple[object, ...]] = []
    count = 0
    with contextlib.suppress(BrokenPipeError):
        write_frame(pipe, [("", *tree.listing("").plain())])
        for path in _directories(Path(sys.argv[3])):
            listing = tree.listing(path)
            told.append((path, *listing.plain()))
            count += len(listing.files) + 1
            if count >= _AT_ONCE:
                write_frame(pipe, told)
                told, count = [], 0
        write_frame(pipe, told)
    # Nothing is left to be tidied, and a broken pipe would be complained about.
    os._exit(0)
