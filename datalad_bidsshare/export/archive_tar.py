"""A tar archive in the POSIX format (PAX): any name, any size, nobody's name."""

from __future__ import annotations

import tarfile

from datalad_bidsshare.export.archive_streams import Stream

__all__ = ["TarContainer"]


class TarContainer:
    """Writes regular files one after the other.

    `tarfile.TarFile` would keep every member in memory; its headers are used.

    Parameters
    ----------
    stream
        Where it goes.
    mtime
        Time stamp of all members, Unix seconds.
    """

    def __init__(self, stream: Stream, mtime: int) -> None:
        self.undoes = stream.undoes
        self._stream = stream
        self._mtime = max(mtime, 0)
        self._written = 0
        self._size = 0
        self._store = False
        self._mark = 0

    def begin(self, name: str, size: int, executable: bool, store: bool, large: bool) -> None:
        """Start a member of `size` bytes. Only a `large` one can be taken back."""
        if large:
            self._stream.mark()
            self._mark = self._written
        header = tarfile.TarInfo(name)
        header.size = self._size = size
        header.mode = 0o755 if executable else 0o644
        header.mtime = self._mtime
        self._store = store
        self.write(header.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape"))

    def write(self, data: bytes | memoryview) -> None:
        """Append to the member."""
        self._stream.write(data, self._store)
        self._written += len(data)

    def end(self) -> None:
        """End the member, all bytes of which were written."""
        if rest := -self._size % tarfile.BLOCKSIZE:
            self.write(bytes(rest))

    def undo(self) -> None:
        """Take the member back that was begun last."""
        self._stream.undo()
        self._written = self._mark

    def finish(self) -> None:
        """Write the end of the archive."""
        self._store = False
        self.write(bytes(2 * tarfile.BLOCKSIZE))
        if rest := -self._written % tarfile.RECORDSIZE:
            self.write(bytes(rest))
        self._stream.finish()
