"""How much of the disk a managed clone takes."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple

from datalad_bidsshare.disk.usage import allocated

__all__ = ["Sizes", "measure"]


class Sizes(NamedTuple):
    """Bytes on the disk: of all but annexed content, of annexed content, and files of that."""

    git_bytes: int
    content_bytes: int
    content_files: int


def measure(entry: Path) -> Sizes:
    """Look at all that is below a directory, each inode once; no link is followed.

    Installed subdatasets have their repositories within. What vanishes meanwhile does not count.
    """
    seen: set[tuple[int, int]] = set()
    other = allocated(os.lstat(entry))
    content = files = 0
    pending: list[tuple[str, bool]] = [(os.fspath(entry), False)]
    while pending:
        directory, annexed = pending.pop()
        with contextlib.suppress(OSError), os.scandir(directory) as found:
            for item in found:
                with contextlib.suppress(OSError):
                    if item.is_dir(follow_symlinks=False):
                        other += allocated(item.stat(follow_symlinks=False))
                        pending.append((item.path, annexed or _is_objects(item.path)))
                        continue
                    status = item.stat(follow_symlinks=False)
                    if status.st_nlink > 1:
                        inode = status.st_dev, status.st_ino
                        if inode in seen:
                            continue
                        seen.add(inode)
                    if annexed:
                        content += allocated(status)
                        files += 1
                    else:
                        other += allocated(status)
    return Sizes(other, content, files)


def _is_objects(path: str) -> bool:
    parts = path.rsplit(os.sep, 3)
    # '.git/annex/objects', or 'modules/NAME/annex/objects'
    return parts[-2:] == ["annex", "objects"]
