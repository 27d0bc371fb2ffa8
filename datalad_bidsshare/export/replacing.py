"""Writing a file so that, whatever happens, its name is of the old content or of all the new."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from datalad_bidsshare.disk.names import TEMPORARY

__all__ = ["replacing", "sync_directory"]

_NEW = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_BINARY", 0)
)


@contextlib.contextmanager
def replacing(directory: Path, name: str) -> Iterator[IO[bytes]]:
    """Give a file to write, which gets its name when all is written and on the disk.

    Readable by all, whatever the umask: it is to be given away. What stands at the name is
    replaced, a symbolic link itself and not what it points to. When the block raises, nothing
    is left.

    Parameters
    ----------
    directory
        Must exist.
    name
        Of the file in it.

    Yields
    ------
    file
        Open for writing.

    Raises
    ------
    OSError
        When it cannot be written (no space, no permission), or a directory has its name.
    """
    temporary = directory / f"{TEMPORARY}{secrets.token_hex(8)}"
    fd = os.open(temporary, _NEW, 0o644)
    try:
        with open(fd, "wb", buffering=1 << 18) as file:
            if hasattr(os, "fchmod"):
                # Some file systems have no modes.
                with contextlib.suppress(OSError):
                    os.fchmod(fd, 0o644)
            yield file
            file.flush()
            os.fsync(fd)
        os.replace(temporary, directory / name)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    sync_directory(directory)


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on the disk, where the file system knows how to.

    Raises
    ------
    OSError
        When the disk fails.
    """
    if os.name != "posix":
        return
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as e:
        # Network and FUSE file systems may not have it: then there is nothing to do.
        if e.errno not in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EACCES, errno.EBADF):
            raise
    finally:
        os.close(fd)
