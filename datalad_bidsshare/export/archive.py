"""An export as one archive, for a service that takes single files.

The same files give the same bytes, wherever, whenever and by whomever it is made (with the same
versions of the libraries that compress). A large corrupt member that was taken back out of a
`.tar.gz` leaves no byte, but changes where its compression starts anew.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol

from datalad_bidsshare.dataset.checksums import Hasher, new_hasher
from datalad_bidsshare.export.archive_names import (
    ENDINGS,
    archive_format,
    is_compressed,
    unfit_name,
)
from datalad_bidsshare.export.archive_sources import Opened, Sources, fill
from datalad_bidsshare.export.archive_streams import (
    GzipStream,
    Output,
    PlainStream,
    Stream,
    ZstdStream,
)
from datalad_bidsshare.export.archive_tar import TarContainer
from datalad_bidsshare.export.archive_temporary import make_temporary, sync_directory
from datalad_bidsshare.export.archive_zip import ZipContainer

__all__ = [
    "ENDINGS",
    "ArchiveError",
    "ArchiveWriter",
    "Member",
    "SourceCorrupt",
    "UnfitName",
    "archive_format",
    "unfit_name",
]

_BLOCK = 1 << 20  # bytes in memory at a time


class Member(NamedTuple):
    """One file of an archive.

    Attributes
    ----------
    path
        Target path: POSIX, without the prefix.
    source
        The content itself; or a directory, and a path beneath it through no link.
    size
        Bytes that the source must have. None: any.
    algorithm
        To hash with, as `checksums.new_hasher` takes it.
    digest
        What must come out, in hex digits. None: anything.
    executable
        0755 instead of 0644.
    """

    path: str
    source: bytes | tuple[str, str]
    size: int | None
    algorithm: str
    digest: str | None
    executable: bool


class SourceCorrupt(Exception):
    """A source that has not the bytes that it should have. The archive can go on without it."""


class UnfitName(Exception):
    """A name that the format cannot hold. The archive can go on without the file."""


class ArchiveError(Exception):
    """The archive cannot be written, or not any further; the text says what to do next.

    Attributes
    ----------
    errno
        What the system said, or 0.
    """

    def __init__(self, message: str, number: int | None = None) -> None:
        super().__init__(message)
        self.errno = number or 0


class _Container(Protocol):
    """A format: what `ArchiveWriter` asks of it."""

    undoes: bool

    def begin(self, name: str, size: int, executable: bool, store: bool, large: bool) -> None: ...
    def write(self, data: bytes | memoryview) -> None: ...
    def end(self) -> None: ...
    def undo(self) -> None: ...
    def finish(self) -> None: ...


class ArchiveWriter:
    """Writes an archive beside its final name, which it gets when it is complete.

    A context manager: without `commit`, nothing stays. What an earlier one for the same name
    left behind when it was killed is removed.

    Parameters
    ----------
    dest
        The archive; its ending decides about the format. Parents are made.
    mtime
        Time stamp of all members, Unix seconds.
    prefix
        Directory in the archive under which everything is, or ''.
    replace
        Whether a file that is there may be replaced.

    Raises
    ------
    ValueError
        If the ending is none of `ENDINGS`.
    """

    def __init__(self, dest: Path, mtime: int, prefix: str = "", *, replace: bool = False) -> None:
        form = archive_format(dest)
        if form is None:
            raise ValueError(f"{dest} does not end in any of {', '.join(ENDINGS)}")
        self._dest = dest
        self._form = form
        self._mtime = mtime
        self._prefix = prefix.strip("/") + "/" if prefix.strip("/") else ""
        self._replace = replace
        self._buffer = memoryview(bytearray(_BLOCK))
        self._sources = Sources()
        self._broken = False
        self._temporary: Path | None = None

    def __enter__(self) -> ArchiveWriter:
        """Make the temporary file.

        Raises
        ------
        ArchiveError
            If something is there that may not be replaced, or nothing can be written there.
        """
        self._standing = self._look()
        with self._writing():
            self._dest.parent.mkdir(parents=True, exist_ok=True)
            self._temporary, self._file = make_temporary(self._dest)
        self._hashing = ThreadPoolExecutor(1)
        try:
            with self._writing():
                self._container = self._make_container(Output(self._file))
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close()

    def add(self, member: Member, progress: Callable[[int], None] | None = None) -> tuple[str, int]:
        """Append a file.

        After the errors below, but for `ArchiveError`, nothing of it is in the archive.

        Parameters
        ----------
        member
            They go in as they come: sort them.
        progress
            Called with the bytes that were done since the last call, also those of a file that
            fails in the end.

        Returns
        -------
        tuple of str and int
            Digest in hex digits, and bytes.

        Raises
        ------
        SourceCorrupt
            If size or digest are not what they must be.
        UnfitName
            If the archive cannot hold the name.
        OSError
            If the source is not there or cannot be read.
        ArchiveError
            If the archive cannot be written any further.
        """
        self._must_be_whole()
        name = self._prefix + member.path
        if (why := unfit_name(self._form, name)) is not None:
            raise UnfitName(why)
        with self._sources.open(member.source) as (source, size):
            if member.size is not None and size != member.size:
                raise SourceCorrupt(f"has {size} bytes instead of {member.size}")
            hasher = new_hasher(member.algorithm)
            if size <= _BLOCK:
                content = self._read_small(source, size)
                hasher.update(content)
                digest = _checked(hasher, member)
                with self._writing():
                    self._begin(name, size, member, large=False)
                    self._container.write(content)
                    self._container.end()
                if progress is not None:
                    progress(size)
                return digest, size
            if not self._container.undoes:
                for block in self._read(source, size):
                    hasher.update(block)
                _checked(hasher, member)
                source.seek(0)
                hasher = new_hasher(member.algorithm)
            return self._add_large(name, source, size, member, hasher, progress), size

    def commit(self) -> None:
        """Complete the archive, and give it its name once it is on the disk.

        Raises
        ------
        ArchiveError
            If it cannot be completed, or something else has appeared under the name.
        """
        self._must_be_whole()
        with self._writing():
            self._container.finish()
            self._file.flush()
            os.fsync(self._file.fileno())
            if self._look() != self._standing:
                raise ArchiveError(
                    f"{self._dest} was made or changed by somebody else in the meantime and is "
                    "left as it is; look at it, then give another name or remove it"
                )
            if sys.platform == "win32":
                self._file.close()
            # Elsewhere still locked, so that nobody takes it for a remainder
            assert self._temporary is not None
            os.replace(self._temporary, self._dest)
            self._temporary = None
            sync_directory(self._dest.parent)

    def _add_large(
        self,
        name: str,
        source: Opened,
        size: int,
        member: Member,
        hasher: Hasher,
        progress: Callable[[int], None] | None,
    ) -> str:
        with self._writing():
            self._begin(name, size, member, large=True)
        try:
            for block in self._read(source, size):
                # Neither hashing nor compressing holds Python up: two cores share them.
                hashed = self._hashing.submit(hasher.update, block)
                try:
                    with self._writing():
                        self._container.write(block)
                finally:
                    hashed.result()
                if progress is not None:
                    progress(len(block))
            digest = _checked(hasher, member)
        except (OSError, SourceCorrupt) as e:
            if not self._container.undoes:
                # It was right when it was read for the first time.
                self._broken = True
                raise self._error(f"{member.path} changed while it was read ({e})") from e
            with self._writing():
                self._container.undo()
            raise
        except BaseException:
            self._broken = True
            raise
        with self._writing():
            self._container.end()
        return digest

    def _begin(self, name: str, size: int, member: Member, *, large: bool) -> None:
        store = is_compressed(member.path)
        self._container.begin(name, size, member.executable, store, large)

    def _read_small(self, source: Opened, size: int) -> memoryview:
        got = fill(source, self._buffer)
        # One byte more: it may have grown.
        if got != size or (got == _BLOCK and source.read(1)):
            raise SourceCorrupt("changed while it was read")
        return self._buffer[:got]

    def _read(self, source: Opened, size: int) -> Iterator[memoryview]:
        """Read all in blocks that share one buffer."""
        left = size
        while got := fill(source, self._buffer):
            left -= got
            if left < 0:
                break
            yield self._buffer[:got]
        if left:
            raise SourceCorrupt("changed while it was read")

    def _make_container(self, out: Output) -> _Container:
        if self._form == ".zip":
            return ZipContainer(out, self._mtime)
        streams: dict[str, Callable[[Output], Stream]]
        streams = {".tar": PlainStream, ".tar.gz": GzipStream, ".tar.zst": ZstdStream}
        return TarContainer(streams[self._form](out), self._mtime)

    def _look(self) -> tuple[int, ...] | None:
        """Tell which file stands under the final name, if it may be replaced."""
        try:
            found = os.lstat(self._dest)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise self._error(e.strerror, e.errno) from e
        if not stat.S_ISREG(found.st_mode):
            raise ArchiveError(f"{self._dest} is not a regular file; give another name")
        if not self._replace:
            raise ArchiveError(f"{self._dest} exists; remove it or give another name")
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """Tell errors of the archive from those of a source: after one, it cannot go on."""
        try:
            yield
        except OSError as e:
            self._broken = True
            raise self._error(e.strerror or str(e), e.errno) from e
        except BaseException:
            self._broken = True
            raise

    def _must_be_whole(self) -> None:
        if self._broken:
            raise ArchiveError(f"{self._dest} cannot go on after an earlier error; export again")

    def _error(self, why: str | None, number: int | None = None) -> ArchiveError:
        next_step = "make room there" if number == errno.ENOSPC else "see to that"
        message = f"{self._dest} could not be written: {why}; {next_step}, and export again"
        return ArchiveError(message, number)

    def _close(self) -> None:
        self._hashing.shutdown()
        self._sources.close()
        # What is left to be written may fail once more; it is of no use then.
        with contextlib.suppress(OSError):
            self._file.close()
        if self._temporary is not None:
            with contextlib.suppress(OSError):
                self._temporary.unlink()
            self._temporary = None


def _checked(hasher: Hasher, member: Member) -> str:
    digest = hasher.hexdigest()
    if member.digest is not None and digest != member.digest:
        raise SourceCorrupt(f"has the {member.algorithm} {digest} instead of {member.digest}")
    return digest
