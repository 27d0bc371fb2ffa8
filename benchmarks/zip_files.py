"""Zips of pipeline outputs, as a lab's jobs leave them behind: one a subject."""

from __future__ import annotations

import random
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

from benchmarks.fmriprep import Output

__all__ = ["FOLDER", "Needed", "is_text", "members", "name_of", "needed", "write_zip"]

#: In which all members lie.
FOLDER = "fmriprep"
#: Images and transforms are compressed already.
_TEXT = (".bidsignore", ".csv", ".gii", ".html", ".json", ".md", ".svg", ".toml", ".tsv", ".txt")
#: Bytes of text from which on deflating gains something.
_WORTH_IT = 256
_BLOCK = 1 << 20


class Needed(NamedTuple):
    """What must be read of a zip.

    Attributes
    ----------
    members
        How many files are wanted.
    packed
        Bytes of these as they are stored.
    directory
        Bytes of the central directory, to the end of the file.
    share
        Of the bytes of all members, when unpacked.
    """

    members: int
    packed: int
    directory: int
    share: float


def name_of(subject: str) -> str:
    """Give the name of a subject's zip."""
    return f"sub-{subject}_fmriprep-21.0.1.zip"


def is_text(name: str) -> bool:
    """Tell whether a file is one that deflating makes smaller."""
    return name.endswith(_TEXT)


def members(outputs: Iterable[Output], size: Callable[[Output], int]) -> Iterator[Output]:
    """Give outputs another size, and the place that they have in a zip."""
    for output in outputs:
        yield Output(f"{FOLDER}/{output.name}", size(output))


def write_zip(place: Path, files: Iterable[Output]) -> Path:
    """Write a zip as 7-Zip does.

    That is with an entry for each directory, text deflated, and what would not become smaller
    stored. The same names and sizes give the same bytes.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    made: set[str] = set()
    with zipfile.ZipFile(place, "w") as archive:
        for name, size in files:
            for directory in _above(name):
                if directory not in made:
                    made.add(directory)
                    archive.writestr(_entry(directory, 0o40755), b"")
            entry = _entry(name, 0o100644)
            if is_text(name) and size >= _WORTH_IT:
                entry.compress_type = zipfile.ZIP_DEFLATED
            entry.file_size = size
            with archive.open(entry, "w", force_zip64=size >= 1 << 31) as member:
                for piece in _content(name, size):
                    member.write(piece)
    return place


def _above(name: str) -> Iterator[str]:
    parts = name.split("/")
    for depth in range(1, len(parts)):
        yield "/".join(parts[:depth]) + "/"


def _entry(name: str, mode: int) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.create_system = 3
    entry.external_attr = mode << 16 | (0x10 if name.endswith("/") else 0)
    return entry


def _content(name: str, size: int) -> Iterator[bytes]:
    """Make up content: one block over and over, from where the name says.

    It is longer than what deflating looks back on.
    """
    block = _text() if is_text(name) else _noise()
    at = zlib.crc32(name.encode()) % len(block)
    while size > 0:
        piece = block[at : at + min(size, _BLOCK)]
        yield piece
        size -= len(piece)
        at = (at + len(piece)) % len(block)


@cache
def _noise() -> bytes:
    return random.Random(0).randbytes(16 * _BLOCK)


@cache
def _text() -> bytes:
    """Make up a table of numbers, which is what most of the text is."""
    numbers = random.Random(0)
    lines = ("\t".join(f"{numbers.gauss(0, 1):.6f}" for _ in range(12)) for _ in range(20_000))
    return "\n".join(lines).encode()


def needed(place: Path, is_wanted: Callable[[str], bool]) -> Needed:
    """Tell what has to be read of a zip to unpack some of it.

    Parameters
    ----------
    place
        The zip.
    is_wanted
        Tells by the name of a member.
    """
    with zipfile.ZipFile(place) as archive:
        entries = [entry for entry in archive.infolist() if not entry.is_dir()]
        wanted = [entry for entry in entries if is_wanted(entry.filename)]
        return Needed(
            len(wanted),
            sum(entry.compress_size for entry in wanted),
            place.stat().st_size - archive.start_dir,
            sum(entry.file_size for entry in wanted) / sum(entry.file_size for entry in entries),
        )
