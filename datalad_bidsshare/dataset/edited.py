"""Objects of an annex that somebody edited where they lie."""

from __future__ import annotations

import contextlib
import os
import shlex
from collections.abc import Iterable
from pathlib import Path

from datalad_bidsshare.dataset.beneath import open_beneath
from datalad_bidsshare.dataset.checksums import checksum_of_key, new_hasher
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.keys import bytesize_of_key
from datalad_bidsshare.dataset.objects import Object
from datalad_bidsshare.dataset.presence import annex_directory
from datalad_bidsshare.dataset.process import run

__all__ = ["edited_objects"]

_CHUNK = 1 << 20


def edited_objects(root: Path, objects: Iterable[Object]) -> dict[str, str]:
    """Find objects that are not what their keys say, as far as that can be seen at a glance.

    One of another size, and one that may be written into and has another checksum: git-annex
    takes the permission away, and who gave it back may have edited. Where the file system knows no
    permissions, only sizes count; all checksums are for `git annex fsck`.

    Parameters
    ----------
    root
        Root of the dataset.
    objects
        From `walk_objects`.

    Returns
    -------
    dict
        Key to what is wrong, and the next step.

    Raises
    ------
    DatasetError
        When the configuration cannot be read.
    """
    annex = annex_directory(root)
    suspicious: list[Object] = []
    found: dict[str, str] = {}
    for each in objects:
        if bytesize_of_key(each.key) not in (None, each.bytesize):
            found[each.key] = _explained(root, each, "has another size than it should")
        elif each.writable and each.links == 1:
            # Linked ones are those of unlocked files, which git looks at.
            suspicious.append(each)
    if annex is None or not suspicious or _knows_no_permissions(root):
        return found
    for each in suspicious:
        with contextlib.suppress(OSError):
            if not _is_intact(annex / "objects", each):
                found[each.key] = _explained(root, each, "is not what its checksum says")
    return found


def _knows_no_permissions(root: Path) -> bool:
    command = ["git", "config", "--type=bool", "--get", "annex.crippledfilesystem"]
    try:
        return run(command, root).strip() == b"true"
    except DatasetError:
        # not set
        return False


def _is_intact(objects: Path, found: Object) -> bool:
    checksum = checksum_of_key(found.key)
    if checksum is None:
        return True
    hasher = new_hasher(checksum.algorithm)
    fd = open_beneath(str(objects), found.path)
    try:
        while data := os.read(fd, _CHUNK):
            hasher.update(data)
    finally:
        os.close(fd)
    return hasher.hexdigest() == checksum.digest


def _explained(root: Path, found: Object, what: str) -> str:
    fsck = shlex.join(["git", "-C", str(root), "annex", "fsck", f"--key={found.key}"])
    return (
        f"its content {what}: somebody may have edited it where it lies; next: save a copy of it "
        f"if that is wanted, then have git-annex put it right: {fsck}"
    )
