"""Why content is kept: what git-annex says when it does not drop, with the next step."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import stat
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.dataset.copies import Copies
from datalad_bidsshare.dataset.encoding import encode
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.keys import object_paths
from datalad_bidsshare.dataset.stores import stores

__all__ = ["Damaged", "Kept"]

_COUNTED = re.compile(
    r"Could only verify the existence of (?P<found>[0-9]+) out of (?P<of>[0-9]+) necessary"
    r"|Could not verify the existence of the (?P<all>[0-9]+) necessary"
)
_UNREACHABLE = re.compile(r"Unable to access these remotes: (.+)")
_UNLOCKABLE = re.compile(r"Unable to lock down ([0-9]+) cop")


class Damaged:
    """Finds copies that are cut short, which git-annex would take for good ones.

    It looks whether a copy is there, not what is in it. On this machine, a look at the size is
    as cheap.

    Parameters
    ----------
    root
        Root of the dataset.

    Raises
    ------
    DatasetError
        When the dataset cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._stores = [(s.name, os.fsencode(s.objects) + b"/") for s in stores(root)]

    def why_kept(self, info: FileInfo) -> str:
        """Say which copy of a file has another size than it must have; empty when none has."""
        if info.key is None or info.bytesize is None or not self._stores:
            return ""
        paths = [encode(path) for path in object_paths(info.key)]
        for name, beneath in self._stores:
            for path in paths:
                with contextlib.suppress(OSError):
                    found = os.lstat(beneath + path)
                    if stat.S_ISREG(found.st_mode) and found.st_size != info.bytesize:
                        fsck = _annex(self._root, "fsck", f"--key={info.key}", "--from", name)
                        return (
                            f"the copy in {name} is damaged ({found.st_size} bytes of "
                            f"{info.bytesize}); next: have git-annex put that right: {fsck}"
                        )
        return ""


class Kept:
    """Explains what git-annex did not drop.

    Parameters
    ----------
    root
        Root of the dataset.
    keys
        Of all that was to be dropped. Nothing is looked up before the first is kept.
    """

    def __init__(self, root: Path, keys: Iterable[str]) -> None:
        self._root = root
        self._keys = keys

    @cached_property
    def _copies(self) -> Copies | None:
        try:
            return Copies(self._root, self._keys)
        except DatasetError:
            return None

    def why(self, info: FileInfo, record: dict[str, Any] | None, said: str) -> str:
        """Say why a file was kept, in one line.

        Parameters
        ----------
        info
            The file.
        record
            git-annex's record of it; None when it gave none.
        said
            What git-annex wrote besides.
        """
        told = str((record or {}).get("note") or "").split("\n")
        told += map(str, (record or {}).get("error-messages") or [])
        if record is None:
            told += said.splitlines()
        told = [text.strip().rstrip(".") for text in told]
        told = list(dict.fromkeys(text for text in told if text and text != "unsafe"))
        return self._known_case(info, "\n".join(told)) or self._any_case(info, told)

    def _any_case(self, info: FileInfo, told: list[str]) -> str:
        words = "; ".join(text.removeprefix("git-annex: ") for text in told)
        whereis = _annex(self._root, "whereis", f"--key={info.key}")
        return f"{words or 'git-annex did not say why'}; next: see where else it is: {whereis}"

    def _known_case(self, info: FileInfo, told: str) -> str:
        """Recognise what git-annex says for a good reason; empty for anything else."""
        if "content is locked" in told:
            return (
                "another process uses it (it is locked); next: try again when that is done, such "
                "as a transfer to another clone"
            )
        if "required content" in told:
            required = _annex(self._root, "required", ".")
            return f"git-annex is told that it is required here; next: see what is: {required}"
        if re.search("permission denied|read-only file system", told, re.IGNORECASE):
            return (
                f"git-annex may not change it ({told.splitlines()[-1].removeprefix('git-annex: ')})"
                "; next: ask whoever owns the dataset, or give yourself write permission"
            )
        unreachable = _UNREACHABLE.search(told)
        if unreachable:
            return (
                f"{unreachable[1]} could not be reached, so that nobody knows whether it is there; "
                "next: see that it can be, then try again"
            )
        unlockable = _UNLOCKABLE.search(told)
        if unlockable:
            return (
                f"{unlockable[1]} other copies must stand still until it is gone (mincopies), and "
                "that many could not be locked; next: try again if somebody is dropping it "
                f"elsewhere, or copy it to one more place: {self._copy(info)}"
            )
        counted = _COUNTED.search(told)
        if not counted or info.key is None or self._copies is None:
            return ""
        needed, found = int(counted["of"] or counted["all"]), int(counted["found"] or 0)
        return self._missing(info.key, needed, found) or self._copies.why_kept(info.key, needed)

    def _missing(self, key: str, needed: int, found: int) -> str:
        """Say which copies are on record and not there; empty when all of them are."""
        assumed = self._copies.known(key).trusted if self._copies else ()
        # git-annex gives up when it has asked them all.
        if self._copies is None or found >= len(assumed):
            return ""
        names = [self._copies.repositories.names.get(uuid, uuid) for uuid in assumed]
        fsck = _annex(self._root, "fsck", "--fast", f"--key={key}", "--from", names[0])
        where = f"it is on record in {' and '.join(names)}, but"
        there = f"in {found} of them only, and {needed} are asked for" if found else "not there"
        return f"{where} {there} (git-annex looked); next: correct the record: {fsck}"

    def _copy(self, info: FileInfo) -> str:
        return _annex(self._root, "copy", f"--key={info.key}", "--to", "REMOTE")


def _annex(root: Path, *args: str) -> str:
    """Write a git-annex command as it can be pasted into a shell anywhere."""
    return shlex.join(["git", "-C", str(root), "annex", *args])
