"""Managed clones as they lie there: listed, kept from others, removed."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datalad_bidsshare.cache.belonging import (
    foreign,
    is_made_by_us,
    remove_own,
    state_of,
    trial_is_ours,
)
from datalad_bidsshare.cache.locks import GoneError, Lock, lock_of
from datalad_bidsshare.cache.making import discard, root_of
from datalad_bidsshare.cache.measuring import Sizes, measure
from datalad_bidsshare.cache.place import Cache, open_cache, require_ours
from datalad_bidsshare.cache.urls import Source
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.hierarchy import contains_repo

__all__ = [
    "Listed",
    "clones",
    "exclusively",
    "find_clone",
    "remove_entry",
    "sweep_cache",
    "sweep_trials",
    "take_away",
    "why_shared",
]

_MOST = 5
"""Names that are told of many."""

lgr = logging.getLogger("datalad.bidsshare.cache")


@dataclass(frozen=True, slots=True)
class Listed:
    """What is known of a managed clone.

    Attributes
    ----------
    entry
        Its directory in the cache.
    root
        Root of the dataset, which need not be there.
    url
        Of the source, without passwords. Empty when it is not known.
    dataset_id
        DataLad's, or None.
    created, last_used
        ISO 8601, UTC; empty when not known.
    commit
        Of the source, when it was asked last. Empty when not known.
    git_bytes, content_bytes, content_files
        On the disk now, or at its last use: bytes of all but annexed content, bytes of that, and
        its files. Installed subdatasets included.
    in_use
        Whether a process works with it.
    ours
        Whether it was made by us, as far as is noted. Else nothing in it may be touched.
    problem
        What is wrong with it; empty when nothing is.
    """

    entry: Path
    root: Path
    url: str
    dataset_id: str | None
    created: str
    last_used: str
    commit: str
    git_bytes: int
    content_bytes: int
    content_files: int
    in_use: bool
    ours: bool
    problem: str


def clones(*, sizes: bool = True) -> list[Listed]:
    """List the managed clones, and what is called as if it was one. Nothing is changed.

    Parameters
    ----------
    sizes
        Whether to measure what they take; else it is what was noted at their last use.

    Raises
    ------
    DatasetError
        When the directory of the managed clones is not ours alone.
    """
    cache = open_cache(make=False)
    if cache is None:
        return []
    return [_listed(entry, sizes) for entry in cache.entries() if not _is_empty(entry)]


def find_clone(source: Source, *, sizes: bool = True) -> Listed | None:
    """Give what is known of the managed clone of a source, or None when there is none.

    Raises
    ------
    DatasetError
        As `clones`.
    """
    cache = open_cache(make=False)
    if cache is None or not os.path.lexists(cache.entry(source)) or _is_empty(cache.entry(source)):
        return None
    return _listed(cache.entry(source), sizes)


def _listed(entry: Path, sizes: bool) -> Listed:
    root = root_of(entry)
    problem = ""
    in_use = ours = False
    try:
        require_ours(entry)
        ours = is_made_by_us(entry)
        in_use = ours and _is_used(lock_of(entry / "lock"))
    except (DatasetError, GoneError) as e:
        problem = str(e)
    state = state_of(entry) if ours else None
    if not problem and not ours:
        problem = _why_not_ours(entry)
    elif not problem and not os.path.lexists(root):
        problem = "there is no clone in it: whoever made or removed it was killed" * (not in_use)
    elif not problem and (root.is_symlink() or not contains_repo(root)):
        problem = f"{root} is no repository of its own; next: {_look_at(entry)}"
    measured = Sizes(0, 0, 0)
    if state:
        noted = Sizes(state.git_bytes, state.content_bytes, state.content_files)
        measured = measure(entry) if sizes else noted
    return Listed(
        entry=entry,
        root=root,
        url=state.url if state else "",
        dataset_id=(state.dataset_id or None) if state else None,
        created=state.created if state else "",
        last_used=state.last_used if state else "",
        commit=state.commit if state else "",
        **measured._asdict(),
        in_use=in_use,
        ours=ours,
        problem=problem,
    )


def _is_empty(entry: Path) -> bool:
    """Tell whether nothing is there: on NFS, that may be left of one that was removed."""
    try:
        return not any(entry.iterdir())
    except OSError:
        return False


def _why_not_ours(entry: Path) -> str:
    try:
        found = sorted(path.name for path in entry.iterdir())
    except OSError as e:
        return f"{entry} cannot be looked at: {e.strerror}; next: see who made it"
    if root_of(entry).name not in found:
        shown = ", ".join(found[:_MOST]) + ", ..." * (len(found) > _MOST)
        return (
            f"it is no managed clone ({shown or 'nothing is in it'}); next: move it out of the "
            "cache, where nothing but managed clones belongs"
        )
    return (
        "nothing that fits and can be read is noted of it, so that it may be somebody's; next: "
        f"if it is a managed clone, the next use finds it out again; else {_look_at(entry)}"
    )


def _look_at(entry: Path) -> str:
    place = shlex.quote(str(entry))
    return (
        f"look whether something in it is needed, and if not, remove it by hand: chmod -R u+w "
        f"{place}; rm -rf {place}"
    )


def _is_used(lock: Lock) -> bool:
    if not lock.acquire(exclusive=True, wait=False, look=True):
        return True
    lock.release()
    return False


@contextlib.contextmanager
def exclusively(entry: Listed | Path, *, look: bool = False) -> Iterator[bool]:
    """Keep others from a managed clone as long as the block lasts.

    Parameters
    ----------
    entry
        Made by us: a lock is put there.
    look
        Whether nothing will be changed: then it may be where nothing can be written.

    Yields
    ------
    bool
        False when somebody uses it, or it is gone: it is not waited for.
    """
    lock = lock_of(_path(entry) / "lock")
    try:
        taken = lock.acquire(exclusive=True, wait=False, look=look)
    except GoneError:
        taken = False
    try:
        yield taken
    finally:
        if taken:
            lock.release()


def remove_entry(entry: Listed | Path) -> None:
    """Remove a managed clone with all it holds. The caller has it exclusively, and has checked it.

    Raises
    ------
    DatasetError
        When it is none of ours, or something else is in it, or something of it resists.
    """
    path = _path(entry)
    cache = open_cache(make=False)
    if cache is None or path not in cache.entries():
        raise DatasetError(f"{path} is no managed clone; next: datalad cache-clean --list")
    require_ours(path)
    if not is_made_by_us(path):
        raise DatasetError(f"{path}: {_why_not_ours(path)}")
    try:
        if others := foreign(path):
            raise DatasetError(f"{path}: {why_shared(others)}")
        discard(path)
        remove_own(path)
    except OSError as e:
        raise DatasetError(
            f"{e.filename or path} of a managed clone could not be removed: {e.strerror}; next: "
            "see who has it open, then try again"
        ) from e


def why_shared(names: list[str]) -> str:
    """Say why a clone cannot go, beside which somebody put something."""
    shown = ", ".join(names[:_MOST]) + ", ..." * (len(names) > _MOST)
    return f"beside it is what is not of the clone: {shown}; next: move that elsewhere first"


def _path(entry: Listed | Path) -> Path:
    return entry if isinstance(entry, Path) else entry.entry


def sweep_trials(cache: Cache) -> None:
    """Remove temporary clones that dry runs left which were killed."""
    for trial in cache.trials():
        if not trial_is_ours(trial):
            continue
        with contextlib.suppress(GoneError, DatasetError):
            require_ours(trial)
            lock = lock_of(trial / "lock")
            if lock.acquire(exclusive=True, wait=False):
                take_away(trial)
                lock.release()


def sweep_cache() -> None:
    """Remove what killed dry runs left in the cache."""
    cache = open_cache(make=False)
    if cache is not None:
        sweep_trials(cache)


def take_away(entry: Path) -> None:
    """Remove a directory of the cache if that can be done; else say that it is there.

    What somebody put into it stays, and so does the directory then.
    """
    try:
        remove_own(entry)
    except OSError as e:
        lgr.warning("%s could not be removed, and may be by hand: %s", entry, e)
