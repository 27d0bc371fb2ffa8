"""Lists of checksums, a file an algorithm, as ``md5sum -c`` and its like take them.

A receiver needs no tool of ours: ``cd DEST && md5sum -c .bidsshare/manifest-md5.txt``.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from datalad_bidsshare.dataset.beneath import open_beneath
from datalad_bidsshare.dataset.checksums import DIGITS
from datalad_bidsshare.dataset.encoding import decode, encode
from datalad_bidsshare.disk.names import is_internal
from datalad_bidsshare.export.escaping import path_of
from datalad_bidsshare.export.replacing import replacing

__all__ = [
    "DamagedManifest",
    "algorithm_of",
    "manifest_name",
    "manifests_are_of",
    "manifests_in",
    "read_manifest",
    "writing_manifests",
]

_ALGORITHMS = {f"manifest-{a.replace('_', '-')}.txt": a for a in DIGITS}
_NAMES = {algorithm: name for name, algorithm in _ALGORITHMS.items()}
# coreutils (9 and newer) escape these, and say so by a backslash ahead of the line.
_ESCAPES = {b"\\": b"\\\\", b"\n": b"\\n", b"\r": b"\\r"}
_MEANINGS = {escape: byte for byte, escape in _ESCAPES.items()}
_TO_ESCAPE = re.compile(rb"[\\\n\r]")
_ESCAPED = re.compile(rb"\\(.?)", re.S)
_LINE = re.compile(rb"(\\?)([0-9a-fA-F]+) [ *](.+)\n", re.S)


class DamagedManifest(Exception):
    """A manifest that is not as it was written. The text says what is wrong with it."""


def manifest_name(algorithm: str) -> str:
    """Give the file name of an algorithm's manifest: `manifest-sha3-256.txt`."""
    return _NAMES[algorithm]


def algorithm_of(name: str) -> str | None:
    """Give the algorithm of a manifest's file name; None when there is none that we know."""
    return _ALGORITHMS.get(name)


def manifests_in(directory: Path) -> list[str]:
    """Give the names of all manifests in a directory, of unknown algorithms as well.

    Raises
    ------
    OSError
        When the directory is not there, or cannot be read.
    """
    return sorted(p.name for p in directory.iterdir() if re.fullmatch(r"manifest-.+\.txt", p.name))


@contextlib.contextmanager
def writing_manifests(directory: Path) -> Iterator[_Manifests]:
    """Write manifests, and put them in place of the old ones when the block has ended.

    Yields
    ------
    object
        Has `take(lines)`, for lines of the ledger, and `names` of the manifests so far.

    Raises
    ------
    OSError
        When they cannot be written. Each is complete, the old or the new one.
    """
    with contextlib.ExitStack() as files:
        yield _Manifests(directory, files)


class _Manifests:
    """Manifests that are being written."""

    def __init__(self, directory: Path, files: contextlib.ExitStack) -> None:
        self._directory = directory
        self._stack = files
        self._files: dict[bytes, IO[bytes]] = {}
        self.names: list[str] = []

    def take(self, lines: bytes) -> None:
        """Take lines of the ledger: path, three columns, `ALGORITHM:DIGEST`, and more."""
        taken: dict[bytes, list[bytes]] = {}
        for line in lines[:-1].split(b"\n"):
            field, _, _, _, checksum, _ = line.split(b"\t", 5)
            algorithm, _, digest = checksum.partition(b":")
            taken.setdefault(algorithm, []).append(_line(digest, field))
        for algorithm, those in taken.items():
            if algorithm not in self._files:
                name = manifest_name(algorithm.decode())
                self._files[algorithm] = self._stack.enter_context(replacing(self._directory, name))
                self.names.append(name)
            self._files[algorithm].write(b"".join(those))


def _line(digest: bytes, field: bytes) -> bytes:
    if b"\\" not in field:
        # '-' alone is the standard input.
        return b"%b  %b\n" % (digest, b"./-" if field == b"-" else field)
    raw = encode(path_of(field))
    escaped = _TO_ESCAPE.sub(lambda found: _ESCAPES[found[0]], raw)
    return b"%b%b  %b\n" % (b"\\" if escaped != raw else b"", digest, escaped)


def read_manifest(directory: Path, name: str) -> Iterator[tuple[str, str]]:
    """Give what a manifest lists: path and digest.

    Raises
    ------
    OSError
        When it cannot be read, or is no regular file.
    DamagedManifest
        When a line is not what it should be, or names what is not beneath.
    """
    digits = DIGITS[_ALGORITHMS[name]]
    with open(open_beneath(directory, name), "rb", buffering=1 << 20) as file:
        for number, line in enumerate(file, 1):
            found = _LINE.fullmatch(line)
            if found is None or len(found[2]) != digits:
                cut = "" if line.endswith(b"\n") else " (it is cut short)"
                raise DamagedManifest(f"line {number} holds no checksum and path{cut}")
            raw = found[3]
            if found[1]:
                raw = _ESCAPED.sub(lambda e: _MEANINGS.get(e[0], b"\0"), raw)
            path = decode(raw).removeprefix("./")
            if is_internal(path) or "\0" in path:
                raise DamagedManifest(f"line {number} names what is no file of the export")
            yield path, found[2].decode().lower()


def manifests_are_of(directory: Path, algorithms: Iterable[str]) -> bool:
    """Tell whether the manifests in a directory are those of just these algorithms."""
    try:
        there = set(manifests_in(directory))
    except FileNotFoundError:
        there = set()
    return there & set(_ALGORITHMS) == {manifest_name(a) for a in algorithms}
