"""Files to copy, and what became of them: what goes to the copying processes and back.

Standard library only: those processes have to start at once.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["Done", "Job"]


class Job(NamedTuple):
    """One file to copy.

    Attributes
    ----------
    number
        Unique among the jobs of a pool.
    path
        Target path: POSIX, relative to DEST.
    source
        The content itself, or a directory and the path of a file beneath it.
    size
        Bytes that the source must have. None: not known.
    algorithm
        What to hash with, as `new_hasher` takes it.
    digest
        Hex digits that must come out. None: what comes out is reported.
    executable
        0755 instead of 0644.
    mtime_ns
        Time stamp to set, in ns. None: the source file's.
    standing
        Size and mtime_ns of the file at the final name, which may be replaced. None: nothing is
        there.
    unlisted
        A file stands there that no manifest lists. When it holds what the source holds it is
        kept, otherwise it is 'foreign', unless it is the one that `standing` tells of.
    force
        Whatever regular file or link stands there may be replaced.
    verify
        False: the system may copy by itself. The digest is not computed then when it is given.
    """

    number: int
    path: str
    source: bytes | tuple[str, str]
    size: int | None
    algorithm: str
    digest: str | None
    executable: bool
    mtime_ns: int | None
    standing: tuple[int, int] | None
    unlisted: bool
    force: bool
    verify: bool


class Done(NamedTuple):
    """What became of a job.

    Attributes
    ----------
    number
        The job's.
    status
        'ok': written. 'kept': was complete already. 'corrupt': size or digest of the source are
        not what they must be, or it changed while it was read. 'gone': there is no source.
        'foreign': what stands at the final name may not be replaced. 'error': see `errno`.
    size, mtime_ns
        Of the file at the final name, in bytes and ns, as the file system gives them back;
        0 unless 'ok' or 'kept'.
    digest
        Hex digits. Empty unless 'ok' or 'kept'.
    errno
        0, or why. With 'foreign': EISDIR a directory, ELOOP a symbolic link, EEXIST another
        special file, 0 a regular file.
    where
        'source' or 'target', where it went wrong, otherwise empty.
    created
        Directories that were made, relative to DEST, outer ones first. Also when it failed.
    """

    number: int
    status: str
    size: int
    mtime_ns: int
    digest: str
    errno: int
    where: str
    created: tuple[str, ...]
