"""Where the bytes of an archive's members come from."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from pathlib import Path

from datalad_bidsshare.dataset.beneath import open_beneath

__all__ = ["Opened", "Sources", "fill"]

Opened = io.RawIOBase | io.BytesIO

_RELATIVE = os.open in os.supports_dir_fd


class Sources:
    """Opens sources beneath directories, and keeps the directory in use open."""

    def __init__(self) -> None:
        self._directory = ""
        self._fd: int | None = None

    @contextlib.contextmanager
    def open(self, source: bytes | tuple[str, str]) -> Iterator[tuple[Opened, int]]:
        """Give an open file and its size in bytes.

        Raises
        ------
        OSError
            As `beneath.open_beneath` does.
        """
        if isinstance(source, bytes):
            yield io.BytesIO(source), len(source)
            return
        with io.FileIO(open_beneath(self._beneath(source[0]), source[1]), "rb") as file:
            yield file, os.fstat(file.fileno()).st_size

    def close(self) -> None:
        """Close the directory."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _beneath(self, directory: str) -> int | Path:
        if not _RELATIVE:
            return Path(directory)
        if self._fd is None or directory != self._directory:
            self.close()
            self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            self._directory = directory
        return self._fd


def fill(source: Opened, buffer: memoryview) -> int:
    """Read until the buffer is full or the source ends: blocks are the same every time."""
    done = 0
    while done < len(buffer) and (got := source.readinto(buffer[done:])):
        done += got
    return done
