"""One zip, unpacked by a worker: a small description goes in, a manifest comes out.

Imports what unpacks, and nothing of DataLad: workers have to start at once. Nothing is taken on
trust from whoever planned it, and an item that is worked on twice gives the same files.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from datalad_bidsshare.archive.directory import BadZip, Member, digest_of
from datalad_bidsshare.archive.extract import ExtractionError, Written, extract
from datalad_bidsshare.archive.job import Job
from datalad_bidsshare.archive.members import read_wanted
from datalad_bidsshare.archive.safety import Limits, Refused
from datalad_bidsshare.dataset.beneath import open_beneath

__all__ = ["Manifest", "WorkItem", "do_work"]

_LOCAL_HEADER = 30
"""Bytes of a local header, without the name."""


@dataclass(frozen=True, slots=True)
class WorkItem:
    """A zip to unpack.

    Attributes
    ----------
    number
        By which its manifest is known. Every item of a pool has its own.
    job
        What is wanted of it.
    limits
        What it may come to.
    source
        An absolute directory, and the POSIX path of the zip beneath it, through no link.
    tree
        Absolute path of the private directory for the outputs.
    threads
        That unpack it.
    size
        Bytes that the zip had when this was planned.
    directory_digest
        What `digest_of` gave then.
    """

    number: int
    job: Job
    limits: Limits
    source: tuple[str, str]
    tree: str
    threads: int
    size: int
    directory_digest: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """What became of a zip.

    Attributes
    ----------
    number
        Of the item.
    files
        What was written: all that was wanted, or, after an error, nothing.
    bytes_read
        Of the zip: its directory, and the members that were unpacked.
    error
        For the user: what is wrong, and what to do next. Empty when all went well.
    errno
        What the system said (ENOSPC, ...), or 0.
    member
        Which member the error is about, or ''.
    """

    number: int
    files: tuple[Written, ...]
    bytes_read: int
    error: str = ""
    errno: int = 0
    member: str = ""


def do_work(item: WorkItem) -> Manifest:
    """Unpack a zip.

    All that can be checked is checked before anything is written.

    Returns
    -------
    Manifest
        Errors are in it: none is raised, whatever the zip is like.
    """
    try:
        fd = open_beneath(*item.source)
    except OSError as e:
        return _failed(item, f"the zip cannot be opened: {_why_unopened(e)}", e.errno)
    read = 0
    try:
        try:
            if os.fstat(fd).st_size != item.size:
                return _failed(item, _CHANGED)
            directory, layout = read_wanted(fd, item.job, item.limits)
        except OSError as e:
            return _failed(item, f"the zip cannot be read: {e.strerror or e}", e.errno)
        read = directory.bytes_read
        if digest_of(directory) != item.directory_digest:
            return _failed(item, _CHANGED, read=read)
        read += sum(_bytes_read(each.member) for each in layout.wanted)
        files = extract(fd, layout.wanted, item.tree, threads=max(item.threads, 1))
    except BadZip as e:
        return _failed(item, f"{e}", read=read)
    except (Refused, ExtractionError) as e:
        number = e.errno if isinstance(e, ExtractionError) else None
        return _failed(item, str(e), number, member=e.member or "", read=read)
    except MemoryError:
        return _failed(item, _NO_MEMORY, errno.ENOMEM, read=read)
    except OSError as e:
        # Of the tree: what comes of members is an ExtractionError.
        where = f" ({e.filename})" if e.filename else ""
        return _failed(item, f"cannot be unpacked: {e.strerror or e}{where}", e.errno, read=read)
    except Exception as e:
        if isinstance(e, RuntimeError) and "new thread" in str(e):
            # No room for its stack, or too many processes of this user.
            return _failed(item, _NO_MEMORY, errno.ENOMEM, read=read)
        # Nothing should end here. If it does, it is of this zip, and the others can go on.
        return _failed(item, f"cannot be unpacked ({type(e).__name__}: {e})", read=read)
    finally:
        os.close(fd)
    return Manifest(item.number, tuple(files), read)


_CHANGED = "the zip was changed since it was looked at; start again"
_NO_MEMORY = (
    "there is not enough memory to unpack it; try with fewer at a time (-J 1), or where there is "
    "more"
)


def _bytes_read(member: Member) -> int:
    return _LOCAL_HEADER + len(member.stored_name) + member.packed


def _why_unopened(e: OSError) -> str:
    if e.errno == errno.ENOENT:
        return "it is not there any more; get it, and start again"
    if e.errno == errno.ELOOP:
        return "a symbolic link stands in the way; see what put it there"
    return e.strerror or str(e)


def _failed(
    item: WorkItem, error: str, number: int | None = None, *, member: str = "", read: int = 0
) -> Manifest:
    return Manifest(item.number, (), read, error, number or 0, member)
