"""Reading the content of items in this process: what is changed on the way, or small in git."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

from datalad_bidsshare.dataset.beneath import read_beneath
from datalad_bidsshare.dataset.blobs import read_blobs
from datalad_bidsshare.dataset.checksums import checksum_of_key, new_hasher
from datalad_bidsshare.dataset.presence import LARGEST_READ
from datalad_bidsshare.disk.names import TEMPORARY
from datalad_bidsshare.export.items import Item, Part

__all__ = ["LARGEST_INLINE", "Damaged", "read_object", "with_blobs"]

LARGEST_INLINE = 4 * 1024 * 1024
"""Bytes. What is larger is not handed over to a copying process, but put into a file for it."""


class Damaged(Exception):
    """Content that is not what its key says."""


def read_object(item: Item) -> bytes | None:
    """Read the content of a small item whole.

    Returns
    -------
    bytes or None
        None when it is no longer there.

    Raises
    ------
    Damaged
        If it does not match the key.
    OSError
        If it cannot be read.
    TooLarge
        If it has more than `LARGEST_READ` bytes.
    """
    if isinstance(item.source, bytes):
        return item.source
    if item.source is None:
        return None
    directory, place = item.source
    content = read_beneath(Path(directory), place, LARGEST_READ)
    if content is None:
        return None
    expected = checksum_of_key(item.info.key or "")
    if expected is not None:
        hasher = new_hasher(expected.algorithm)
        hasher.update(content)
        if hasher.hexdigest() != expected.digest:
            raise Damaged(item.target)
    elif item.info.bytesize not in (None, len(content)):
        raise Damaged(item.target)
    return content


def with_blobs(part: Part, items: Iterable[Item], spool: Path | None) -> Iterator[Item]:
    """Give items in their order, those of git with their content: one process.

    Parameters
    ----------
    part
        The dataset that they are of.
    items
        Taken lazily.
    spool
        Where a blob of more than `LARGEST_INLINE` bytes is put, until the next item is asked for;
        None holds them in memory. Killed meanwhile, a directory of a temporary name stays there.

    Raises
    ------
    DatasetError
        If git cannot read a blob.
    """
    # Two passes over one list: what needs git is asked for in the order in which it is met.
    listed = list(items)
    lacking = [item for item in listed if item.how == "git" and item.source is None]
    if not lacking:
        yield from listed
        return
    with tempfile.TemporaryDirectory(dir=spool, prefix=f"{TEMPORARY}spool-") as directory:
        place = Path(directory)
        contents = read_blobs(
            part.root,
            (item.info.oid for item in lacking),
            LARGEST_INLINE if spool is not None else LARGEST_READ,
            spill=place,
        )
        for item in listed:
            if item.how == "git" and item.source is None:
                oid, content = next(contents)
                item.source = (directory, oid) if content is None else content
                yield item
                if content is None:
                    (place / oid).unlink(missing_ok=True)
            else:
                yield item
