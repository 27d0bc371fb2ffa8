"""Managed clones: used, listed, removed."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from datalad_bidsshare.cache.listing import (
    Listed,
    clones,
    exclusively,
    find_clone,
    remove_entry,
    sweep_trials,
    take_away,
)
from datalad_bidsshare.cache.locks import GoneError, lock_of
from datalad_bidsshare.cache.making import (
    make,
    noted,
    root_of,
    speaking_of_the_disk,
    sweep,
    update_clone,
)
from datalad_bidsshare.cache.measuring import measure
from datalad_bidsshare.cache.place import open_cache, require_ours
from datalad_bidsshare.cache.state import State, now, read_state, write_state
from datalad_bidsshare.cache.urls import Source
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.secrets import revealed
from datalad_bidsshare.dataset.updating import head

__all__ = [
    "Clone",
    "Listed",
    "clones",
    "exclusively",
    "find_clone",
    "remove_entry",
    "use_clone",
]


@dataclass(frozen=True, slots=True)
class Clone:
    """A managed clone that may be used as long as the block of `use_clone` lasts.

    Attributes
    ----------
    root
        Root of the dataset.
    source
        What it is a clone of.
    entry
        The directory in the cache.
    fresh
        Whether it was made for this use.
    commit
        The commit that the source has (or had, if it was not asked): its HEAD, or the version that
        its URL names. In hex digits. It is here, but need not be what is checked out.
    """

    root: Path
    source: Source
    entry: Path
    fresh: bool
    commit: str


@contextlib.contextmanager
def use_clone(source: Source, *, update: bool = True, dry_run: bool = False) -> Iterator[Clone]:
    """Give a managed clone of a source to work with.

    Nobody removes it or checks something else out in it as long as the block lasts; others may
    use it, too, and get content into it or drop some.

    Parameters
    ----------
    source
        From `read_source`.
    update
        Whether to ask the source for what is new.
    dry_run
        Nothing is left behind: without a clone, a temporary one is made; one that is there is used
        as it is.

    Raises
    ------
    DatasetError
        When there is no clone and none can be made, the source cannot be reached, is another
        dataset now, or somebody worked in the clone.
    """
    # Content is got, and subdatasets are installed, in the block.
    with revealed(source.secret), contextlib.ExitStack() as stack:
        found = _as_it_is(stack, source) if dry_run else None
        if found is None:
            found = (_trial if dry_run else _managed)(stack, source, update)
        yield found


def _as_it_is(stack: contextlib.ExitStack, source: Source) -> Clone | None:
    """Give a clone that is there, without a change to it."""
    cache = open_cache(make=False)
    if cache is None or not os.path.lexists(cache.entry(source)):
        return None
    entry = cache.entry(source)
    require_ours(entry)
    if not os.path.lexists(root_of(entry)):
        return None
    with contextlib.suppress(GoneError):
        lock = lock_of(entry / "lock")
        purpose = f"the clone of {source.shown}"
        lock.acquire(exclusive=False, wait=True, purpose=purpose, look=True)
        stack.callback(lock.release)
        state = noted(entry, source)
        if state is not None:
            return _clone(entry, source, state, fresh=False)
    return None


def _trial(stack: contextlib.ExitStack, source: Source, update: bool) -> Clone:
    """Give a clone that is gone after the block, and with it the cache if there was none."""
    del update
    cache = open_cache(make=False)
    if cache is None:
        cache = open_cache()
        assert cache is not None
        stack.callback(_remove_if_empty, cache.directory)
    sweep_trials(cache)
    while True:
        entry = cache.directory / f"trial-{secrets.token_hex(8)}"
        lock = lock_of(entry / "lock")
        with speaking_of_the_disk(entry):
            entry.mkdir(mode=0o700)
            try:
                taken = lock.acquire(exclusive=True, wait=False)
            except GoneError:
                taken = False
            if taken:
                break
        # Somebody took it for what a killed call left.
    stack.callback(lock.release)
    stack.callback(take_away, entry)
    with speaking_of_the_disk(entry):
        state = make(entry, source)
    return _clone(entry, source, state, fresh=True)


def _remove_if_empty(directory: Path) -> None:
    with contextlib.suppress(OSError):
        directory.rmdir()


def _managed(stack: contextlib.ExitStack, source: Source, update: bool) -> Clone:
    cache = open_cache()
    assert cache is not None
    sweep_trials(cache)
    entry = cache.entry(source)
    began = now()
    while True:
        with speaking_of_the_disk(entry):
            entry.mkdir(mode=0o700, exist_ok=True)
        require_ours(entry)
        lock = lock_of(entry / "lock")
        try:
            alone = lock.acquire(exclusive=True, wait=False)
            if not alone:
                purpose = f"the clone of {source.shown} is made, brought up to date or cleaned"
                lock.acquire(exclusive=False, wait=True, purpose=purpose)
        except GoneError:
            # It was removed as we came.
            continue
        with contextlib.ExitStack() as held:
            held.callback(lock.release)
            with speaking_of_the_disk(entry):
                prepared = _prepare(entry, source, update=update, alone=alone, began=began)
            if prepared is None:
                # Whoever was to make it failed: now it is for us.
                continue
            state, fresh = prepared
            if alone and not lock.share():
                # Given back, where it cannot be shared at once: the next look finds all done.
                held.pop_all()
                update = False
                continue
            clone = _clone(entry, source, state, fresh=fresh)
            stack.push(held.pop_all())
        stack.callback(_note_use, entry, source, fresh)
        return clone


def _prepare(
    entry: Path, source: Source, *, update: bool, alone: bool, began: str
) -> tuple[State, bool] | None:
    """Make the clone, or look at it and bring it up to date.

    Returns
    -------
    tuple or None
        What is noted of it, and whether it was made. None when there is none, and others are here
        so that we make none.
    """
    if alone:
        sweep(entry)
    state = noted(entry, source)
    if state is None:
        if not alone:
            return None
        try:
            return make(entry, source), True
        except BaseException:
            take_away(entry)
            raise
    if alone:
        return _updated(entry, source, state, update=update, alone=True), False
    # One at a time: of two fetches, one would find the locks of the other.
    with lock_of(entry / "fetching").held(exclusive=True, purpose=f"{source.shown} is asked"):
        state = noted(entry, source) or state
        # The one that we waited for may have asked.
        update = update and state.fetched < began
        return _updated(entry, source, state, update=update, alone=False), False


def _updated(entry: Path, source: Source, state: State, *, update: bool, alone: bool) -> State:
    if update:
        state = update_clone(entry, source, state, alone=alone)
    state = replace(state, last_used=now())
    write_state(entry, state)
    return state


def _clone(entry: Path, source: Source, state: State, *, fresh: bool) -> Clone:
    root = root_of(entry)
    commit: str | None = state.commit
    if source.version is not None:
        named = (f"refs/tags/{source.version}", f"refs/remotes/origin/{source.version}")
        commit = next(filter(None, (head(root, name) for name in named)), None)
        commit = commit or head(root, source.version)
        if commit is None:
            raise DatasetError(
                f"{source.shown} has no version {source.version!r}; next: see the tags and "
                f"branches it has: {shlex.join(['git', '-C', str(root), 'ls-remote', 'origin'])}"
            )
    assert commit is not None
    return Clone(root, source, entry, fresh, commit)


def _note_use(entry: Path, source: Source, fresh: bool) -> None:
    """Write down when it was used; who has the lock for that meanwhile writes the same."""
    lock = lock_of(entry / "fetching")
    with contextlib.suppress(GoneError, DatasetError, OSError):
        if not lock.acquire(exclusive=True, wait=False):
            return
        try:
            state = read_state(entry)
            if state is not None and state.key == source.key:
                state = replace(state, last_used=now())
                if fresh:
                    state = replace(state, **measure(entry)._asdict())
                write_state(entry, state)
        finally:
            lock.release()
