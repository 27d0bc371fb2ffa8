"""Whether a file that stands at the destination is complete, without writing anything."""

from __future__ import annotations

from pathlib import Path

from datalad_bidsshare.dataset.beneath import TooLarge, open_beneath
from datalad_bidsshare.dataset.checksums import DEFAULT, checksum_of_key, new_hasher
from datalad_bidsshare.export.content import Damaged, read_object
from datalad_bidsshare.export.items import Item
from datalad_bidsshare.export.recipes import Recipes
from datalad_bidsshare.export.tables import TableError

__all__ = ["changed_content", "digest_of", "is_complete"]


def is_complete(dest: Path, item: Item, recipes: Recipes) -> bool:
    """Compare what stands at the destination with what would be written.

    For a dry run: the copying processes do the same where it counts.
    """
    checksum = checksum_of_key(item.info.key) if item.info.key else None
    if item.recipe is None and checksum is not None:
        return digest_of(dest, item.target, checksum.algorithm) == checksum.digest
    if item.recipe is None and isinstance(item.source, tuple):
        directory, place = item.source
        expected = digest_of(Path(directory), place, DEFAULT)
        return expected is not None and digest_of(dest, item.target, DEFAULT) == expected
    content = changed_content(item, recipes)
    if content is None:
        return False
    hasher = new_hasher(DEFAULT)
    hasher.update(content)
    return digest_of(dest, item.target, DEFAULT) == hasher.hexdigest()


def changed_content(item: Item, recipes: Recipes) -> bytes | None:
    """Give the content that a file would be written with; None when it cannot be read now."""
    try:
        content = read_object(item)
        return None if content is None else recipes.apply(item, content)
    except (Damaged, TableError, TooLarge, OSError):
        return None


def digest_of(directory: Path, path: str, algorithm: str) -> str | None:
    """Give the checksum of a file beneath a directory; None when none can be read."""
    hasher = new_hasher(algorithm)
    try:
        with open(open_beneath(directory, path), "rb") as file:
            while block := file.read(1 << 20):
                hasher.update(block)
    except OSError:
        return None
    return hasher.hexdigest()
