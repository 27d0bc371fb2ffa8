"""What a copy came to: enough of it to tell two of them apart."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["Delivered", "delivered", "disk_use"]

#: What `export-plain` leaves out, or adds, by design.
_NOT_DATA = frozenset(
    {".bidsshare", ".datalad", ".git", ".gitattributes", ".gitignore", ".gitmodules", ".noannex"}
)
#: `export-plain` writes into this one where the data come from.
_DESCRIPTION = "dataset_description.json"
#: Files whose content is looked at, spread over all of them; and bytes at which that ends.
_SAMPLE, _ENOUGH = 200, 300_000_000
_BLOCK = 1 << 20


class Delivered(NamedTuple):
    """A directory of plain files.

    Attributes
    ----------
    files, size
        How many files, and how many bytes are in them.
    names, sizes, sample
        Checksums: of the paths; of the paths with the sizes; of the contents of some of them.
        Size and content of the description of the dataset do not count.
    """

    files: int
    size: int
    names: str
    sizes: str
    sample: str


def delivered(directory: Path) -> Delivered:
    """Look at a directory.

    Raises
    ------
    RuntimeError
        If there is anything in it but files and directories.
    """
    sizes = dict(sorted(_files(os.fspath(directory), "")))
    sample = hashlib.sha256()
    seen = 0
    for path in list(sizes)[:: max(1, len(sizes) // _SAMPLE)]:
        if path != _DESCRIPTION and seen < _ENOUGH:
            seen += sizes[path]
            _hash_into(sample, directory / path)
    return Delivered(
        len(sizes),
        sum(sizes.values()),
        _checksum("\n".join(sizes)),
        _checksum("\n".join(f"{path} {size}" for path, size in sizes.items())),
        sample.hexdigest(),
    )


def _files(directory: str, prefix: str) -> Iterator[tuple[str, int]]:
    with os.scandir(directory) as entries:
        for entry in entries:
            path = prefix + entry.name
            if entry.name in _NOT_DATA:
                continue
            if entry.is_dir(follow_symlinks=False):
                yield from _files(entry.path, f"{path}/")
            elif entry.is_file(follow_symlinks=False):
                size = entry.stat(follow_symlinks=False).st_size
                yield path, 0 if path == _DESCRIPTION else size
            else:
                raise RuntimeError(f"{entry.path} is no regular file")


def _checksum(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def _hash_into(hasher: hashlib._Hash, path: Path) -> None:
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            hasher.update(block)


def disk_use(directory: Path) -> int:
    """Give the bytes that a directory takes on disk, also while it is being written to."""
    used = 0
    for place, _, names in os.walk(directory):
        for name in names:
            try:
                used += os.lstat(os.path.join(place, name)).st_blocks * 512
            except OSError:
                continue
    return used
