"""Checking an export against its manifests, here or wherever it was taken.

Knows nothing of datasets: whoever received the files may have nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import stat
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple
from unicodedata import normalize

from datalad_bidsshare.dataset.beneath import TooLarge, open_beneath, read_beneath
from datalad_bidsshare.dataset.checksums import new_hasher
from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.disk.names import RECEIPT, TEMPORARY
from datalad_bidsshare.export.ledger import JOURNAL
from datalad_bidsshare.export.manifests import (
    DamagedManifest,
    algorithm_of,
    manifests_in,
    read_manifest,
)
from datalad_bidsshare.export.receipt import RECEIPT_FILE

__all__ = ["Status", "Verdict", "VerifyError", "verify"]

Status = Literal["ok", "changed", "missing", "unreadable", "extra", "unfinished"]

_BLOCK = 1 << 20
_BATCH = 32
_LARGEST_RECEIPT = 1 << 24


class VerifyError(Exception):
    """A directory that cannot be checked. The text is for the user."""


class Verdict(NamedTuple):
    """What was found of one file.

    Attributes
    ----------
    path
        Relative to the export.
    status
        'ok'; 'changed': other bytes than were exported, or no regular file; 'missing';
        'unreadable'; 'extra': no manifest lists it; 'unfinished': of the export as a whole, whose
        last run did not come to its end.
    message
        What is wrong, for people. Empty when nothing is.
    size
        Bytes, where they were read.
    """

    path: str
    status: Status
    message: str
    size: int | None


class _Listed(NamedTuple):
    path: str
    algorithm: str
    digest: str


def verify(dest: Path, jobs: int) -> Iterator[Verdict]:
    """Check the files of an export against its manifests.

    Nothing is written. No symbolic link is followed, but for one that `dest` itself may be.

    Parameters
    ----------
    dest
        Directory that was exported to, or a copy of it.
    jobs
        Files that are read at the same time.

    Returns
    -------
    iterator
        One verdict for every file that a manifest lists (in their order), then for every other
        file that is there. To be closed when it is not used up.

    Raises
    ------
    VerifyError
        Before anything is checked, when there is no manifest, or one that cannot be read.
    """
    listed = list(_listed(dest))
    return _verdicts(dest, listed, jobs)


def _listed(dest: Path) -> Iterator[_Listed]:
    """Read all manifests."""
    directory = dest / RECEIPT
    if not dest.is_dir():
        raise VerifyError(f"There is no directory {dest}")
    if directory.is_symlink():
        raise VerifyError(f"{directory} is a symbolic link, and what it leads to is not trusted")
    try:
        names = manifests_in(directory)
    except (FileNotFoundError, NotADirectoryError):
        names = []
    except OSError as e:
        raise VerifyError(f"{directory} cannot be read ({e.strerror})") from e
    absent = sorted(set(_promised(directory)) - set(names))
    if not names or absent:
        what = absent[0] if absent else "manifest-*.txt"
        raise VerifyError(
            f"{directory} holds no {what}, and without it nothing can be said. Either this was "
            "not exported with export-plain, or that did not come to its end (export again), or "
            f"{RECEIPT} was left behind when it was copied (copy it, too)"
        )
    for name in names:
        algorithm = algorithm_of(name)
        if algorithm is None:
            raise VerifyError(
                f"{directory / name} has checksums that this version does not know: use a newer one"
            )
        try:
            for path, digest in read_manifest(directory, name):
                yield _Listed(path, algorithm, digest)
        except OSError as e:
            raise VerifyError(f"{directory / name} cannot be read ({e.strerror})") from e
        except DamagedManifest as e:
            raise VerifyError(
                f"{directory / name} is damaged: {e}. Take it from the sender again, or export "
                "again"
            ) from e


def _promised(directory: Path) -> list[str]:
    """Give the manifests that export.json names, if there is any use of it."""
    with contextlib.suppress(OSError, TooLarge, ValueError, KeyError, TypeError, RecursionError):
        content = json.loads(read_beneath(directory, RECEIPT_FILE, _LARGEST_RECEIPT) or b"")
        return [name for name in content["manifests"] if isinstance(name, str)]
    return []


def _verdicts(dest: Path, listed: list[_Listed], jobs: int) -> Iterator[Verdict]:
    with contextlib.suppress(OSError):
        size = os.lstat(dest / RECEIPT / JOURNAL).st_size
        yield Verdict(
            f"{RECEIPT}/{JOURNAL}",
            "unfinished",
            "the last export to here did not come to its end, and the manifests may be older than "
            "the files: export again",
            size,
        )
    root: int | Path = dest
    if os.name == "posix":
        root = os.open(dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield from _checked(root, listed, jobs)
    finally:
        if isinstance(root, int):
            os.close(root)
    yield from _extras(dest, {one.path for one in listed})


def _checked(root: int | Path, listed: list[_Listed], jobs: int) -> Iterator[Verdict]:
    """Check files, some batches ahead of what is asked for."""
    stop = threading.Event()
    ahead: deque[Future[list[Verdict]]] = deque()
    remaining = iter(listed)
    with ThreadPoolExecutor(max_workers=jobs, thread_name_prefix="verify") as threads:
        try:
            while True:
                while len(ahead) < 2 * jobs and (batch := list(islice(remaining, _BATCH))):
                    ahead.append(threads.submit(_check_all, root, batch, stop))
                if not ahead:
                    break
                yield from ahead.popleft().result()
        finally:
            stop.set()
            threads.shutdown(cancel_futures=True)


def _check_all(root: int | Path, batch: Iterable[_Listed], stop: threading.Event) -> list[Verdict]:
    buffer = memoryview(bytearray(_BLOCK))
    return [_check(root, one, buffer, stop) for one in batch if not stop.is_set()]


def _check(root: int | Path, one: _Listed, buffer: memoryview, stop: threading.Event) -> Verdict:
    size = 0
    try:
        hasher = new_hasher(one.algorithm)
        with open(open_beneath(root, one.path), "rb", buffering=0) as file:
            while (count := file.readinto(buffer)) and not stop.is_set():
                hasher.update(buffer[:count])
                size += count
    except OSError as e:
        return _not_read(one.path, e)
    if hasher.hexdigest() != one.digest:
        return Verdict(one.path, "changed", "holds other bytes than were exported", size)
    return Verdict(one.path, "ok", "", size)


def _not_read(path: str, error: OSError) -> Verdict:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Verdict(path, "missing", "is not there", None)
    if error.errno == errno.ELOOP:
        message = "is a symbolic link, or behind one, and was a file when it was exported"
        return Verdict(path, "changed", message, None)
    if error.errno in (errno.EISDIR, errno.ENXIO):
        return Verdict(path, "changed", "is no regular file any more", None)
    return Verdict(path, "unreadable", f"cannot be read ({error.strerror})", None)


def _extras(dest: Path, listed: set[str]) -> Iterator[Verdict]:
    """Find files that no manifest lists."""
    base = os.fsencode(dest)
    directories = [b""]
    while directories:
        within = directories.pop()
        try:
            with os.scandir(os.path.join(base, within)) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except OSError as e:
            path = decode(within).replace(os.sep, "/").removesuffix("/")
            yield Verdict(path, "unreadable", f"cannot be read ({e.strerror})", None)
            continue
        inner = []
        for entry in found:
            raw = within + entry.name
            if raw == RECEIPT.encode():
                continue
            if entry.is_dir(follow_symlinks=False):
                inner.append(raw + b"/")
                continue
            path = decode(raw)
            if path in listed or _is_listed_otherwise(base, entry, path, listed):
                continue
            yield _extra(path, entry)
        directories += reversed(inner)


def _is_listed_otherwise(
    base: bytes, entry: os.DirEntry[bytes], path: str, listed: set[str]
) -> bool:
    """Tell whether a file system (of a Mac) just spells accents in another way."""
    if path.isascii():
        return False
    for other in (normalize("NFC", path), normalize("NFD", path)):
        if other in listed:
            with contextlib.suppress(OSError):
                there = os.lstat(os.path.join(base, os.fsencode(other)))
                if os.path.samestat(there, entry.stat(follow_symlinks=False)):
                    return True
    return False


def _extra(path: str, entry: os.DirEntry[bytes]) -> Verdict:
    size = None
    message = "is not of the export"
    with contextlib.suppress(OSError):
        status = entry.stat(follow_symlinks=False)
        if stat.S_ISREG(status.st_mode):
            size = status.st_size
        elif stat.S_ISLNK(status.st_mode):
            message = "is a symbolic link, and not of the export"
    if path.rpartition("/")[2].startswith(TEMPORARY):
        message = "is what an interrupted export left: export again, which removes it"
    return Verdict(path, "extra", message, size)
