"""Opening files beneath a directory, through no symbolic link on the way.

Standard library only, and little of it: the copying processes import it.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

__all__ = ["TooLarge", "open_beneath", "read_beneath"]


class TooLarge(Exception):
    """A file that has more bytes than are to be read."""


_RELATIVE = os.open in os.supports_dir_fd and hasattr(os, "O_NOFOLLOW")
# 0 where a system has no such flag
_CLOEXEC = getattr(os, "O_CLOEXEC", 0)
# O_NONBLOCK: a FIFO must not hang us. O_NOCTTY: a terminal must not become ours.
_FLAGS = (
    os.O_RDONLY
    | _CLOEXEC
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_DIRECTORY = os.O_RDONLY | _CLOEXEC | getattr(os, "O_DIRECTORY", 0)


def open_beneath(directory: int | str | os.PathLike[str], path: str) -> int:
    """Open a regular file below a directory for reading.

    One system call (`openat2`) on Linux, where the kernel and its sandbox allow it; otherwise
    one a component.

    Parameters
    ----------
    directory
        May be reached through symbolic links itself. A descriptor saves a system call or two;
        not on Windows, where it is a path always.
    path
        POSIX, relative to it. No component may be a symbolic link, `.`, `..`, or empty.

    Returns
    -------
    int
        A descriptor of a regular file, not inherited by other programs. The caller closes it.

    Raises
    ------
    FileNotFoundError
        When there is no such file, or the path is no such path.
    OSError
        ELOOP when a symbolic link stands in the way or at the end; EISDIR when it is a
        directory, ENXIO when it is neither (a FIFO, a device); otherwise what the system says.
    """
    framed = f"/{path}/"
    if "//" in framed or "/./" in framed or "/../" in framed or "\0" in framed:
        raise _error(errno.ENOENT, path)
    if isinstance(directory, int):
        return _regular(_open(directory, path), path)
    if not _RELATIVE:
        return _regular(_open_resolved(directory, path), path)
    fd = os.open(directory, _DIRECTORY)
    try:
        return _regular(_open(fd, path), path)
    finally:
        os.close(fd)


def read_beneath(directory: Path, path: str, limit: int) -> bytes | None:
    """Read a regular file below a directory.

    Parameters
    ----------
    directory
        May be reached through symbolic links itself.
    path
        POSIX, relative to it. No component may be a symbolic link, `..`, or empty.
    limit
        Bytes that are held in memory at most.

    Returns
    -------
    bytes or None
        The content. None when there is no such regular file, or a link stands in the way.

    Raises
    ------
    OSError
        When the file is there but cannot be read (permissions, a failing disk).
    TooLarge
        When the file has more bytes than the limit.
    """
    try:
        opened = open_beneath(directory, path)
    except PermissionError:
        raise
    except OSError:
        # not there, not a directory, or a symbolic link (ELOOP)
        return None
    with open(opened, "rb") as file:
        return _read(file, path, limit)


def _read(file: IO[bytes], path: str, limit: int) -> bytes:
    # Its size first: reading makes room for all that is asked for. But it may be growing.
    size = os.fstat(file.fileno()).st_size
    content = file.read(limit + 1) if size <= limit else b""
    if max(size, len(content)) > limit:
        raise TooLarge(path)
    return content


def _error(number: int, path: str) -> OSError:
    return OSError(number, os.strerror(number), path)


def _regular(fd: int, path: str) -> int:
    """Let go of what is no regular file."""
    mode = os.fstat(fd).st_mode
    if stat.S_ISREG(mode):
        return fd
    os.close(fd)
    raise _error(errno.EISDIR if stat.S_ISDIR(mode) else errno.ENXIO, path)


def _open(directory: int, path: str) -> int:
    """Open what is at a path, as fast as this system can."""
    global _openat2
    if _openat2 is None:
        _openat2 = _find_openat2() or _open_by_components
    return _openat2(directory, path)


_openat2: Callable[[int, str], int] | None = None
"""Found out at the first file: importing ctypes and trying takes milliseconds."""


def _open_by_components(directory: int, path: str) -> int:
    *ahead, last = path.encode("utf-8", "surrogateescape").split(b"/")
    fd = directory
    try:
        for component in ahead:
            try:
                inner = os.open(component, _DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
            except NotADirectoryError:
                # So says Linux of a link, too.
                if stat.S_ISLNK(os.lstat(component, dir_fd=fd).st_mode):
                    raise _error(errno.ELOOP, path) from None
                raise
            if fd != directory:
                os.close(fd)
            fd = inner
        return os.open(last, _FLAGS, dir_fd=fd)
    except OSError as e:
        # The BSDs have other numbers for a link that is not to be followed.
        if e.errno in (errno.EMLINK, getattr(errno, "EFTYPE", errno.ELOOP)):
            raise _error(errno.ELOOP, path) from None
        raise
    finally:
        if fd != directory:
            os.close(fd)


# The same on all architectures but for a few old ones.
_SYS_OPENAT2 = 437
_RESOLVE_NO_SYMLINKS = 0x04
_RESOLVE_BENEATH = 0x08
_AT_FDCWD = -100


def _find_openat2() -> Callable[[int, str], int] | None:
    """Give a function that opens with `openat2(2)`, or None where that does not work."""
    if sys.platform != "linux" or os.uname().machine.startswith(("alpha", "ia64", "mips")):
        return None
    try:
        import ctypes

        syscall = ctypes.CDLL(None, use_errno=True).syscall
    except (ImportError, OSError, AttributeError):
        # Python without libffi, a libc that is not like the others
        return None
    syscall.restype = ctypes.c_long
    syscall.argtypes = [
        ctypes.c_long, ctypes.c_int, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_size_t,
    ]  # fmt: skip
    get_errno = ctypes.get_errno
    # struct open_how: flags, mode, resolve. The kernel only reads it.
    how = (ctypes.c_uint64 * 3)(_FLAGS, 0, _RESOLVE_BENEATH | _RESOLVE_NO_SYMLINKS)
    address, length = ctypes.addressof(how), ctypes.sizeof(how)

    # `how` as a default: it must live as long as its address is used.
    def openat2(directory: int, path: str, _how: object = how) -> int:
        name = path.encode("utf-8", "surrogateescape")
        while (fd := syscall(_SYS_OPENAT2, directory, name, address, length)) < 0:
            number = get_errno()
            if number != errno.EINTR:
                raise _error(number, path)
        return int(fd)

    # Older than Linux 5.6 (ENOSYS), or kept from us by a container's seccomp filter (EPERM).
    try:
        os.close(openat2(_AT_FDCWD, "."))
    except OSError as e:
        if e.errno in (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG):
            return None
    return openat2


def _open_resolved(directory: str | os.PathLike[str], path: str) -> int:
    """Do the same where the system cannot open relative to a directory (Windows)."""
    base = os.path.realpath(directory)
    file = os.path.join(base, *path.split("/"))
    if os.path.realpath(file) != file:
        raise _error(errno.ELOOP, path)
    found = os.lstat(file)
    if stat.S_ISLNK(found.st_mode):
        # one that leads to itself
        raise _error(errno.ELOOP, path)
    if not stat.S_ISREG(found.st_mode):
        raise _error(errno.EISDIR if stat.S_ISDIR(found.st_mode) else errno.ENXIO, path)
    fd = os.open(file, _FLAGS)
    # It may have been changed for a link in between.
    if not os.path.samestat(found, os.fstat(fd)):
        os.close(fd)
        raise _error(errno.ELOOP, path)
    return fd
