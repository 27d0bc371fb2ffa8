"""Copying one file: it leaves a verified file behind, or nothing.

Standard library, `export.checksums` and `dataset.beneath` only: the processes that copy have to
start at once.

All that is written goes through descriptors of directories beneath the destination, opened one
component at a time and through no link. A file gets its final name when its bytes have turned
out right, and never replaces what the job does not know of.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import io
import os
import stat
import sys
from collections.abc import Callable
from typing import Protocol, cast

from datalad_bidsshare.dataset.beneath import open_beneath
from datalad_bidsshare.dataset.checksums import Hasher, new_hasher
from datalad_bidsshare.export.jobs import Done, Job

__all__ = ["RELATIVE", "TEMPORARY", "Copier", "Stopped"]

TEMPORARY = ".bidsshare-tmp-"
"""How the names of files begin that are not complete yet."""

RELATIVE = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
"""Whether this system opens files relative to a directory (not Windows)."""

_WHOLE = 1 << 20
"""Bytes. A larger file is not held in memory."""
_BLOCK = 1 << 18
"""Bytes that are read, hashed and written while they are in the processor's cache."""
_PIECE = 1 << 24
"""Bytes that the system copies by itself before it is looked whether to stop."""

_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
_NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
_BINARY = getattr(os, "O_BINARY", 0)
_DIRECTORY = os.O_RDONLY | _CLOEXEC | _NOFOLLOW | getattr(os, "O_DIRECTORY", 0)
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _CLOEXEC | _NOFOLLOW | _BINARY
_READ = os.O_RDONLY | _CLOEXEC | _NOFOLLOW | _BINARY | getattr(os, "O_NONBLOCK", 0)
_TIMES_OF_OPEN = os.utime in os.supports_fd
_FICLONE = 0x40049409
_RENAME_NOREPLACE = 1
_NAME_SURROGATE = 0x20000000  # of what Windows calls reparse points: links and junctions


class Stopped(Exception):
    """Nobody waits for the copies any more. What was under way has left nothing behind."""


class _Failed(Exception):
    """A job that ends without its file: status, errno, where."""

    def __init__(self, status: str, number: int, where: str) -> None:
        super().__init__(status, number, where)
        self.status = status
        self.number = number
        self.where = where


class _Copyable(Hasher, Protocol):
    def copy(self) -> Hasher: ...


class Copier:
    """Copies files beneath one directory.

    Parameters
    ----------
    destination
        Where all target paths begin: a descriptor of a directory (not closed here), or its path
        where the system cannot open relative to one (Windows).
    temporary
        How the names of temporary files begin. The number of the job follows.
    progress
        Told how many bytes were written, after every block of large files and once for others.

    Attributes
    ----------
    stopping
        May be set from another thread or a signal handler: `copy` then raises `Stopped`.
    """

    def __init__(
        self, destination: int | str, temporary: str, progress: Callable[[int], None]
    ) -> None:
        self.stopping = False
        self._destination = destination
        self._temporary = os.fsencode(temporary)
        self._progress = progress
        # The directory of the last job stays open: jobs come sorted.
        self._directory: str | None = None
        self._fd: int | None = None
        self._base = b""  # what names begin with; empty where they are relative to the descriptor
        self._created: list[str] = []
        self._sources: dict[str, int] = {}
        self._hashers: dict[str, _Copyable] = {}
        self._buffer = memoryview(bytearray(_BLOCK))
        self._renames_exclusively = _renameat2 is not None and RELATIVE
        # Pairs of devices between which the system cannot copy by itself
        self._no_clone: set[tuple[int, int]] = set()

    def copy(self, job: Job) -> Done:
        """Copy a file.

        Every failure is in the answer. Nothing of it is left at the destination then, except
        for directories.

        Raises
        ------
        Stopped
            When it was told to stop.
        """
        self._created = []
        try:
            return self._copy(job)
        except _Failed as e:
            status, number, where = e.status, e.number, e.where
        except OSError as e:
            status, number, where = "error", e.errno or errno.EIO, "target"
        except ValueError:
            # a name that no system call takes, an algorithm that this Python lacks
            status, number, where = "error", errno.EINVAL, "target"
        except MemoryError:
            status, number, where = "error", errno.ENOMEM, "target"
        return Done(job.number, status, 0, 0, "", number, where, tuple(self._created))

    def discard(self, job: Job) -> None:
        """Remove the temporary file that a killed process left of a job."""
        with contextlib.suppress(OSError, ValueError):
            self._enter(job.path.rpartition("/")[0], make=False)
            self._unlink(self._temporary_of(job))

    def close(self) -> None:
        """Let go of all directories."""
        self._leave()
        for fd in self._sources.values():
            os.close(fd)
        self._sources.clear()

    def _copy(self, job: Job) -> Done:
        if self.stopping:
            raise Stopped
        directory, slash, last = job.path.rpartition("/")
        name = _component(last)
        if slash and not directory:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        if directory != self._directory:
            self._enter(directory, make=True)
        if job.unlisted:
            kept = self._keep(job, name)
            if kept is not None:
                return kept
        if isinstance(job.source, bytes):
            return self._write_content(job, name, job.source, job.mtime_ns)
        source, found = self._open_source(job, job.source)
        try:
            if found.st_size > _WHOLE:
                return self._stream(job, name, source, found)
            content = self._read(source, found.st_size + 1)
            self._see_unchanged(job, source, found, len(content))
        finally:
            os.close(source)
        mtime_ns = found.st_mtime_ns if job.mtime_ns is None else job.mtime_ns
        return self._write_content(job, name, content, mtime_ns)

    # The directory that is written to

    def _enter(self, directory: str, *, make: bool) -> None:
        """Open the directory of a target path, and make what of it is not there."""
        self._leave()
        components = [_component(c) for c in directory.split("/")] if directory else []
        if isinstance(self._destination, int):
            fd = os.dup(self._destination)
            try:
                for depth, component in enumerate(components):
                    inner = self._open_directory(component, fd, components[: depth + 1], make)
                    os.close(fd)
                    fd = inner
            except BaseException:
                os.close(fd)
                raise
            self._fd = fd
        else:
            base = os.fsencode(self._destination)
            for depth, component in enumerate(components):
                base = os.path.join(base, component)
                self._see_directory(base, components[: depth + 1], make)
            self._base = os.path.join(base, b"")
        self._directory = directory

    def _leave(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
        self._directory = self._fd = None

    def _open_directory(self, name: bytes, parent: int, path: list[bytes], make: bool) -> int:
        try:
            return os.open(name, _DIRECTORY, dir_fd=parent)
        except FileNotFoundError:
            if not make:
                raise
        except NotADirectoryError:
            # So says Linux of a link too.
            if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP)) from None
            raise
        # Another process may be making it.
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=parent)
            self._created.append(b"/".join(path).decode("utf-8", "surrogateescape"))
        return os.open(name, _DIRECTORY, dir_fd=parent)

    def _see_directory(self, place: bytes, path: list[bytes], make: bool) -> None:
        """Do the same where directories cannot be opened (Windows)."""
        if make:
            with contextlib.suppress(FileExistsError):
                os.mkdir(place, 0o755)
                self._created.append(b"/".join(path).decode("utf-8", "surrogateescape"))
        found = os.lstat(place)
        surrogate = getattr(found, "st_reparse_tag", 0) & _NAME_SURROGATE
        if stat.S_ISLNK(found.st_mode) or surrogate:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if not stat.S_ISDIR(found.st_mode):
            raise OSError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))

    # Reading

    def _open_source(self, job: Job, source: tuple[str, str]) -> tuple[int, os.stat_result]:
        directory, path = source
        try:
            fd = open_beneath(self._source_directory(directory), path)
        except FileNotFoundError as e:
            raise _Failed("gone", errno.ENOENT, "source") from e
        except OSError as e:
            raise _failed_to_read(e) from e
        try:
            found = os.fstat(fd)
            if job.size is not None and found.st_size != job.size:
                raise _Failed("corrupt", 0, "source")
        except BaseException:
            os.close(fd)
            raise
        return fd, found

    def _source_directory(self, directory: str) -> int | os.PathLike[str]:
        """Give a descriptor, kept open: there are a few directories, and thousands of files."""
        fd = self._sources.get(directory)
        if fd is None:
            if not RELATIVE:
                from pathlib import Path

                return Path(directory)
            if len(self._sources) >= 16:
                os.close(self._sources.pop(next(iter(self._sources))))
            fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | _CLOEXEC)
            self._sources[directory] = fd
        return fd

    def _read(self, source: int, length: int) -> bytes:
        """Read a file to its end, which is expected before `length` bytes."""
        try:
            content = os.read(source, length)
            if len(content) < length - 1:
                # A file system that gives less at a time; or the file has become shorter.
                parts = [content]
                while content := os.read(source, length):
                    parts.append(content)
                content = b"".join(parts)
        except OSError as e:
            raise _failed_to_read(e) from e
        return content

    def _see_unchanged(self, job: Job, source: int, before: os.stat_result, size: int) -> None:
        """See that what was read is one state of the file, and not parts of two."""
        if size != before.st_size:
            raise _Failed("corrupt", 0, "source")
        # Otherwise the digest says it.
        if job.digest is None or not job.verify:
            after = os.fstat(source)
            if (after.st_size, after.st_mtime_ns) != (before.st_size, before.st_mtime_ns):
                raise _Failed("corrupt", 0, "source")

    def _hasher(self, algorithm: str) -> Hasher:
        # A copy takes a fifth of the time that a new one takes.
        hasher = self._hashers.get(algorithm)
        if hasher is None:
            hasher = self._hashers[algorithm] = cast(_Copyable, new_hasher(algorithm))
        return hasher.copy()

    def _digest(self, algorithm: str, fd: int) -> str:
        """Hash all of a file."""
        hasher = self._hasher(algorithm)
        file = io.FileIO(fd, closefd=False)
        while length := file.readinto(self._buffer):
            if self.stopping:
                raise Stopped
            hasher.update(self._buffer[:length])
        return hasher.hexdigest()

    # Writing

    def _write_content(self, job: Job, name: bytes, content: bytes, mtime_ns: int | None) -> Done:
        if job.size is not None and len(content) != job.size:
            raise _Failed("corrupt", 0, "source")
        digest = job.digest
        if digest is None or job.verify:
            hasher = self._hasher(job.algorithm)
            hasher.update(content)
            digest = _compare(hasher, job)

        def fill(fd: int) -> str:
            self._write(fd, content)
            return digest

        return self._deliver(job, name, mtime_ns, fill, len(content))

    def _stream(self, job: Job, name: bytes, source: int, found: os.stat_result) -> Done:
        # Told after gigabytes were copied, it would come late.
        self._see_replaceable(job, name)

        def fill(fd: int) -> str:
            digest = job.digest
            if digest is None or job.verify or not self._clone(source, fd, found):
                digest = self._pump(job, source, fd, found.st_size)
            self._see_unchanged(job, source, found, os.fstat(fd).st_size)
            return digest

        mtime_ns = found.st_mtime_ns if job.mtime_ns is None else job.mtime_ns
        return self._deliver(job, name, mtime_ns, fill, found.st_size)

    def _pump(self, job: Job, source: int, fd: int, size: int) -> str:
        """Copy block by block, hashing, and give the digest."""
        hasher = self._hasher(job.algorithm) if job.digest is None or job.verify else None
        file = io.FileIO(source, closefd=False)
        total = 0
        while True:
            if self.stopping:
                raise Stopped
            try:
                length = file.readinto(self._buffer)
            except OSError as e:
                raise _failed_to_read(e) from e
            if not length:
                break
            total += length
            if total > size:
                # It grows: do not run after it.
                raise _Failed("corrupt", 0, "source")
            part = self._buffer[:length]
            if hasher is not None:
                hasher.update(part)
            self._write(fd, part)
        return job.digest or "" if hasher is None else _compare(hasher, job)

    def _clone(self, source: int, fd: int, found: os.stat_result) -> bool:
        """Let the system copy, or share the blocks. Tell whether it could."""
        if sys.platform != "linux":
            return False
        import fcntl

        devices = (found.st_dev, os.fstat(fd).st_dev)
        if devices in self._no_clone:
            return False
        with contextlib.suppress(OSError):
            fcntl.ioctl(fd, _FICLONE, source)
            self._progress(found.st_size)
            return True
        rest = found.st_size
        while rest:
            if self.stopping:
                raise Stopped
            try:
                length = os.copy_file_range(source, fd, min(rest, _PIECE))
            except OSError as e:
                if e.errno in (errno.ENOSPC, errno.EDQUOT):
                    raise
                # It cannot, or a disk fails: reading and writing will tell which one.
                length = -1
            if length < 0 or (length == 0 and rest == found.st_size):
                self._no_clone.add(devices)
                os.lseek(source, 0, os.SEEK_SET)
                os.lseek(fd, 0, os.SEEK_SET)
                os.ftruncate(fd, 0)
                return False
            if not length:
                # It became shorter, which is seen afterwards.
                break
            rest -= length
            self._progress(length)
        return True

    def _write(self, fd: int, content: bytes | memoryview) -> None:
        length = os.write(fd, content)
        if length < len(content):
            rest = memoryview(content)[length:]
            while rest:
                rest = rest[os.write(fd, rest) :]
        self._progress(len(content))

    def _deliver(
        self,
        job: Job,
        name: bytes,
        mtime_ns: int | None,
        fill: Callable[[int], str],
        size: int,
    ) -> Done:
        """Let a temporary file be filled, and give it its final name."""
        temporary = self._temporary_of(job)
        fd = os.open(
            self._base + temporary, _CREATE, 0o755 if job.executable else 0o644, dir_fd=self._fd
        )
        try:
            try:
                digest = fill(fd)
                if mtime_ns is not None and _TIMES_OF_OPEN:
                    os.utime(fd, ns=(mtime_ns, mtime_ns))
                written = os.fstat(fd)
            finally:
                # Network file systems tell here that there is no space.
                os.close(fd)
            if mtime_ns is not None and not _TIMES_OF_OPEN:
                os.utime(self._base + temporary, ns=(mtime_ns, mtime_ns))
                written = os.lstat(self._base + temporary)
            if written.st_size != size:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            self._give_name(job, temporary, name)
        except BaseException:
            self._unlink(temporary)
            raise
        return Done(
            job.number, "ok", size, written.st_mtime_ns, digest, 0, "", tuple(self._created)
        )

    def _temporary_of(self, job: Job) -> bytes:
        return b"%s%d" % (self._temporary, job.number)

    def _unlink(self, name: bytes) -> None:
        with contextlib.suppress(OSError):
            os.unlink(self._base + name, dir_fd=self._fd)

    # What stands at the final name

    def _give_name(self, job: Job, temporary: bytes, name: bytes) -> None:
        """Rename, unless something stands there that may not be replaced."""
        nothing = job.standing is None
        if self._renames_exclusively and nothing and not job.force:
            assert _renameat2 is not None and self._fd is not None
            # Nothing can come in between, as it can between a look and a rename.
            if not _renameat2(self._fd, temporary, self._fd, name, _RENAME_NOREPLACE):
                return
            number = ctypes.get_errno()
            if number in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                # a file system that cannot (NFS), or an old kernel
                self._renames_exclusively = False
            elif number != errno.EEXIST:
                raise OSError(number, os.strerror(number))
        self._see_replaceable(job, name)
        os.replace(
            self._base + temporary, self._base + name, src_dir_fd=self._fd, dst_dir_fd=self._fd
        )

    def _look(self, name: bytes) -> os.stat_result | None:
        try:
            return os.stat(self._base + name, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def _see_replaceable(self, job: Job, name: bytes) -> None:
        found = self._look(name)
        if found is None:
            return
        if stat.S_ISREG(found.st_mode):
            if job.force or (found.st_size, found.st_mtime_ns) == job.standing:
                return
            raise _Failed("foreign", 0, "target")
        if stat.S_ISLNK(found.st_mode):
            if job.force:
                return
            raise _Failed("foreign", errno.ELOOP, "target")
        directory = stat.S_ISDIR(found.st_mode)
        raise _Failed("foreign", errno.EISDIR if directory else errno.EEXIST, "target")

    def _keep(self, job: Job, name: bytes) -> Done | None:
        """See whether the file that stands there is already what the job is to write."""
        found = self._look(name)
        if found is None:
            return None
        if not stat.S_ISREG(found.st_mode):
            self._see_replaceable(job, name)
            return None
        size, digest = self._wanted(job)
        if size is None or size == found.st_size:
            fd = os.open(self._base + name, _READ, dir_fd=self._fd)
            try:
                found = os.fstat(fd)
                if stat.S_ISREG(found.st_mode) and self._digest(job.algorithm, fd) == digest:
                    return Done(
                        job.number, "kept", found.st_size, found.st_mtime_ns, digest, 0, "",
                        tuple(self._created),
                    )  # fmt: skip
            finally:
                os.close(fd)
        self._see_replaceable(job, name)
        return None

    def _wanted(self, job: Job) -> tuple[int | None, str]:
        """Give size and digest of what the source holds."""
        if isinstance(job.source, bytes):
            hasher = self._hasher(job.algorithm)
            hasher.update(job.source)
            return len(job.source), job.digest or hasher.hexdigest()
        if job.digest is not None:
            return job.size, job.digest
        source, found = self._open_source(job, job.source)
        try:
            return found.st_size, self._digest(job.algorithm, source)
        except OSError as e:
            raise _failed_to_read(e) from e
        finally:
            os.close(source)


def _component(name: str) -> bytes:
    """Give the bytes of one component of a target path."""
    # ctypes would cut a name short at a null byte.
    unusable = name in ("", ".", "..") or "\0" in name
    if unusable or (not RELATIVE and ("\\" in name or ":" in name)):
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
    return name.encode("utf-8", "surrogateescape")


def _compare(hasher: Hasher, job: Job) -> str:
    digest = hasher.hexdigest()
    if job.digest is not None and digest != job.digest:
        raise _Failed("corrupt", 0, "source")
    return digest


def _failed_to_read(error: OSError) -> _Failed:
    return _Failed("error", error.errno or errno.EIO, "source")


def _find_renameat2() -> Callable[[int, bytes, int, bytes, int], int] | None:
    """Find the rename that replaces nothing, which Python does not offer."""
    if sys.platform != "linux":
        return None
    try:
        function = ctypes.CDLL(None, use_errno=True).renameat2
    except (AttributeError, OSError):
        # an old C library
        return None
    number, name = ctypes.c_int, ctypes.c_char_p
    function.argtypes = [number, name, number, name, ctypes.c_uint]
    return cast("Callable[[int, bytes, int, bytes, int], int]", function)


_renameat2 = _find_renameat2()
