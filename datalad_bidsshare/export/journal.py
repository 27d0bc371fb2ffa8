"""What changed since a table was written: appended, and on the disk when that returns.

A batch counts when its last line is there and holds the checksum of the others. What a power
failure left of a batch does not count, whatever it looks like.
"""

from __future__ import annotations

import os
import stat
import zlib
from collections.abc import Iterable
from pathlib import Path

from datalad_bidsshare.dataset.beneath import open_beneath
from datalad_bidsshare.export.replacing import sync_directory

__all__ = ["Journal"]

_APPEND = (
    os.O_WRONLY
    | os.O_CREAT
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


class Journal:
    """The journal in a directory.

    Parameters
    ----------
    directory, name
        Where it is, or will be.

    Attributes
    ----------
    exists
        Whether there is one, be it empty: what it belongs to has not been finished.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._directory = directory
        self._name = name
        self._length = 0
        self.exists = False

    def read(self) -> dict[bytes, bytes | None]:
        """Give what was appended, the last word on every field.

        Returns
        -------
        dict
            First column to the rest of the line; None where the line is to go.

        Raises
        ------
        OSError
            When it cannot be read, or is no regular file.
        """
        changes: dict[bytes, bytes | None] = {}
        try:
            fd = open_beneath(self._directory, self._name)
        except FileNotFoundError:
            return changes
        self.exists = True
        batch: dict[bytes, bytes | None] = {}
        checksum = length = 0
        with open(fd, "rb", buffering=1 << 20) as file:
            for line in file:
                length += len(line)
                if line.startswith(b"="):
                    if line != _last_line(checksum):
                        break
                    changes.update(batch)
                    self._length = length
                    batch.clear()
                    checksum = 0
                    continue
                checksum = zlib.crc32(line, checksum)
                field, tab, rest = line[1:-1].partition(b"\t")
                batch[field] = rest if tab else None
        return changes

    def append(self, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
        """Append a batch: first column, and the rest of the line or None.

        Raises
        ------
        OSError
            When it cannot be written. The batch does not count then.
        """
        fd = os.open(self._directory / self._name, _APPEND, 0o644)
        with open(fd, "wb", buffering=1 << 18) as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise FileExistsError(f"{self._directory / self._name} is no regular file")
            # What is left of a batch that does not count
            file.truncate(self._length)
            file.seek(self._length)
            checksum = 0
            for field, rest in changes:
                line = b"-%b\n" % field if rest is None else b"+%b\t%b\n" % (field, rest)
                checksum = zlib.crc32(line, checksum)
                file.write(line)
            file.write(_last_line(checksum))
            file.flush()
            os.fsync(fd)
            self._length = file.tell()
        if not self.exists:
            sync_directory(self._directory)
            self.exists = True

    def clear(self) -> None:
        """Forget what was appended: the table has it. That there is a journal stays.

        Raises
        ------
        OSError
            When it cannot be written.
        """
        os.truncate(self._directory / self._name, 0)
        self._length = 0

    def remove(self) -> None:
        """Remove it: all is finished.

        Raises
        ------
        OSError
            When it cannot be removed.
        """
        (self._directory / self._name).unlink(missing_ok=True)
        sync_directory(self._directory)
        self._length = 0
        self.exists = False


def _last_line(checksum: int) -> bytes:
    return b"=%08x\n" % checksum
