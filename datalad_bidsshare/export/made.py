"""Which directories exports have made: those, and no others, are removed when they are empty."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from datalad_bidsshare.dataset.beneath import TooLarge, read_beneath
from datalad_bidsshare.dataset.encoding import decode, encode
from datalad_bidsshare.dataset.presence import LARGEST_READ
from datalad_bidsshare.export.replacing import replacing

__all__ = ["MadeDirectories"]

_NAME = "directories"


class MadeDirectories:
    """The directories that exports made at a destination.

    Parameters
    ----------
    directory
        Where that is remembered: a file with their paths, each closed by a NUL.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        said = b""
        # Never through a link: others may write at the destination too.
        with contextlib.suppress(OSError, TooLarge):
            said = read_beneath(directory, _NAME, LARGEST_READ) or b""
        self._before = frozenset(decode(said).split("\0")[:-1])
        self._paths = set(self._before)

    def add(self, paths: Iterable[str]) -> None:
        """Remember directories, relative to the destination."""
        self._paths.update(paths)

    def plan(self, dest: Path, targets: Iterable[str]) -> None:
        """Remember the directories that are not there yet and some files will lie in."""
        seen = {""}
        missing: set[str] = set()
        root = os.fsencode(dest)
        for target in targets:
            unseen = []
            directory = target.rpartition("/")[0]
            while directory not in seen:
                seen.add(directory)
                unseen.append(directory)
                directory = directory.rpartition("/")[0]
            for directory in reversed(unseen):
                above = directory.rpartition("/")[0]
                if above in missing or not os.path.lexists(os.path.join(root, encode(directory))):
                    missing.add(directory)
        self._paths |= missing

    def around(self, path: str) -> list[str]:
        """Give those that a file lay in, innermost first."""
        found = []
        while path := path.rpartition("/")[0]:
            if path in self._paths:
                found.append(path)
        return found

    def forget(self, paths: Iterable[str]) -> None:
        """Forget directories that are gone."""
        self._paths.difference_update(paths)

    def write(self) -> None:
        """Write down what changed, if anything did."""
        if self._paths == self._before:
            return
        with replacing(self._directory, _NAME) as file:
            file.write(encode("".join(f"{path}\0" for path in sorted(self._paths))))
        self._before = frozenset(self._paths)
