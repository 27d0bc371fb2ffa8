"""Where the content of one dataset's files can be read."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

from datalad_bidsshare.dataset.beneath import TooLarge, read_beneath
from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.dataset.checksums import checksum_of_key, new_hasher
from datalad_bidsshare.dataset.encoding import encode
from datalad_bidsshare.dataset.keys import LARGEST_POINTER, key_of_pointer
from datalad_bidsshare.dataset.presence import LARGEST_READ, Annex
from datalad_bidsshare.dataset.stores import Store, stores

__all__ = ["Elsewhere", "Origin", "Sources"]

#: The annex has the content, or a store that can be read in place; or it must be fetched.
Origin = Literal["present", "store", "fetch"]


class Sources:
    """Finds the objects of one dataset, in its annex or in stores that can be read in place.

    Parameters
    ----------
    root
        Root of the dataset.
    work_tree
        Whether the work tree holds the version that is exported, and what is read is verified: an
        unlocked file may then have its content there alone (`annex.thin`). Only its checksum tells
        that from what somebody has not saved.
    """

    def __init__(self, root: Path, *, work_tree: bool) -> None:
        self.root = root
        self._work_tree = work_tree
        self._annex = Annex(root)

    @cached_property
    def _stores(self) -> Sequence[Store]:
        # Looked for when the first file is absent, and not before.
        return stores(self.root)

    def look_again(self) -> None:
        """Note an annex that was made since: in a new clone, the first `get` makes it."""
        self._annex.present(())

    def find(self, info: FileInfo) -> tuple[Origin, tuple[str, str] | None]:
        """Tell how the content of an annexed file is had.

        Returns
        -------
        tuple
            `'present'` or `'store'` with a directory and the path beneath it; `'fetch'` and None.
        """
        place = self._annex.find(info)
        if place is not None:
            return "present", (str(self._annex.objects), place)
        if info.unlocked and self._work_tree and self._holds_data(info):
            return "present", (str(self.root), info.path)
        for store in self._stores:
            place = store.find(info.key or "")
            if place is not None:
                return "store", (str(store.objects), place)
        return "fetch", None

    def _holds_data(self, info: FileInfo) -> bool:
        """Tell whether the work tree may hold the content; its checksum will tell for sure."""
        if info.key is None or checksum_of_key(info.key) is None:
            return False
        try:
            found = os.lstat(os.path.join(os.fsencode(self.root), encode(info.path)))
        except OSError:
            return False
        if not stat.S_ISREG(found.st_mode) or info.bytesize not in (None, found.st_size):
            return False
        if found.st_size > LARGEST_POINTER:
            return True
        # A pointer may have the size of what it stands for.
        try:
            content = read_beneath(self.root, info.path, LARGEST_POINTER)
        except (OSError, TooLarge):
            return False
        return content is not None and key_of_pointer(content) is None


class Elsewhere:
    """Reads small files from stores, for what decides about a selection."""

    def __init__(self) -> None:
        self._stores: dict[Path, Sequence[Store]] = {}

    def __call__(self, root: Path, info: FileInfo) -> bytes | None:
        """Give the content of an annexed file, if a store has it and its key vouches for it."""
        checksum = checksum_of_key(info.key or "")
        if checksum is None or (info.bytesize or 0) > LARGEST_READ:
            return None
        if root not in self._stores:
            self._stores[root] = stores(root)
        for store in self._stores[root]:
            place = store.find(info.key or "")
            if place is None:
                continue
            with contextlib.suppress(OSError, TooLarge):
                content = read_beneath(store.objects, place, LARGEST_READ)
                hasher = new_hasher(checksum.algorithm)
                hasher.update(content or b"")
                if content is not None and hasher.hexdigest() == checksum.digest:
                    return content
        return None
