"""Making a managed clone, looking whether it is sound, and bringing it up to date."""

from __future__ import annotations

import contextlib
import os
import secrets
import shlex
import stat
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from datalad_bidsshare.cache.belonging import is_half_written, is_left_over
from datalad_bidsshare.cache.place import SETTING
from datalad_bidsshare.cache.state import State, now, read_state, write_state
from datalad_bidsshare.cache.urls import Source, read_source
from datalad_bidsshare.dataset.cloning import clone, dataset_id_at
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.explaining import reason_of
from datalad_bidsshare.dataset.process import run
from datalad_bidsshare.dataset.remotes import read_remotes
from datalad_bidsshare.dataset.unpushed import BASE, KNOWN
from datalad_bidsshare.dataset.updating import accept, fetch, head, interrupted, move_to
from datalad_bidsshare.disk.removing import remove_tree
from datalad_bidsshare.disk.syncing import sync_file_system
from datalad_bidsshare.selection.errors import SelectionError

__all__ = [
    "discard",
    "make",
    "noted",
    "root_of",
    "speaking_of_the_disk",
    "sweep",
    "update_clone",
    "why_unsound",
]

_MAKING = "making-"
_REMOVING = "removing-"


def root_of(entry: Path) -> Path:
    """Give where the dataset is in a directory of the cache."""
    return entry / "dataset"


@contextlib.contextmanager
def speaking_of_the_disk(entry: Path) -> Iterator[None]:
    """Say of what the system refuses that it is the cache, and how to choose another one.

    Raises
    ------
    DatasetError
        Instead of an error of the system, and of git's when the disk is full.
    """
    advice = (
        f"next: make room there (datalad cache-clean), or choose another directory: git config "
        f"--global {SETTING} DIRECTORY"
    )
    try:
        yield
    except DatasetError as e:
        if any(said in str(e) for said in ("no space is left", "No space left", "quota exceeded")):
            raise DatasetError(
                f"No space is left for managed clones in {entry.parent}; {advice}"
            ) from e
        if "unable to write" in str(e):
            # git does not always tell why
            raise DatasetError(
                f"Something cannot be written in {entry.parent}, the directory of managed clones "
                f"(is there no space left?): {reason_of(str(e))}; {advice}"
            ) from e
        raise
    except OSError as e:
        raise DatasetError(
            f"The directory of managed clones, {entry.parent}, cannot be written: "
            f"{e.strerror or e}; {advice}"
        ) from e


def make(entry: Path, source: Source) -> State:
    """Make the clone. It gets its name when it is complete and on the disk.

    Raises
    ------
    DatasetError
        When the source cannot be cloned; nothing is left then.
    OSError
        When the disk is full, or may not be written.
    """
    # What is here is ours from now on, whoever finds it when we were killed.
    write_state(entry, _begun(source))
    fresh = entry / f"{_MAKING}{secrets.token_hex(8)}"
    try:
        clone(source, fresh, private=True)
        commit = _upstream(fresh)
        if commit is None:
            raise DatasetError(
                f"{source.shown} has no commit yet; next: save something in it first"
            )
        _know(fresh, commit)
        sync_file_system(entry)
        fresh.rename(root_of(entry))
    finally:
        with contextlib.suppress(OSError):
            remove_tree(fresh)
    state = _state(entry, source, commit)
    write_state(entry, state)
    return state


def _begun(source: Source) -> State:
    time_now = now()
    return State(source.url, source.key, "", "", time_now, "", time_now, "")


def _upstream(root: Path) -> str | None:
    return head(root, "refs/remotes/origin/HEAD") or head(root)


def _know(root: Path, commit: str) -> None:
    """Note in the repository what is from the source."""
    run(["git", "update-ref", f"{KNOWN}head", commit], root)
    if here := head(root):
        run(["git", "update-ref", BASE, here], root)


def _state(entry: Path, source: Source, commit: str, created: str | None = None) -> State:
    root = root_of(entry)
    time_now = now()
    return State(
        url=source.url,
        key=source.key,
        origin=_origin(root) or "",
        dataset_id=dataset_id_at(root, commit) or "",
        created=created or time_now,
        fetched=time_now if created is None else "",
        last_used=time_now,
        commit=commit,
    )


def _origin(root: Path) -> str | None:
    return next((r.get("url") for r in read_remotes(root) if r.name == "origin"), None)


def noted(entry: Path, source: Source) -> State | None:
    """Look whether there is a sound clone of a source, and give what is noted of it.

    What is noted and does not fit is not believed, and found out again from the clone.

    Returns
    -------
    State or None
        None when there is no clone.

    Raises
    ------
    DatasetError
        When what is there is no sound clone of this source.
    """
    root = root_of(entry)
    try:
        found = os.lstat(root)
    except FileNotFoundError:
        return None
    if not stat.S_ISDIR(found.st_mode) or not stat.S_ISDIR(_mode(root / ".git")):
        raise _damaged(entry, "is no repository of its own")
    try:
        origin = _origin(root)
        state = read_state(entry)
        # Without a commit, it is the note of who was about to make it.
        made = state is not None and state.commit
        if state is not None and made and (state.key, state.origin) == (source.key, origin):
            if head(root, state.commit) is not None and head(root) is not None:
                return state
            raise _damaged(entry, "lacks its commits")
    except DatasetError as e:
        if "next:" in str(e):
            raise
        raise _damaged(entry, "cannot be read by git") from e
    if origin is None:
        raise _damaged(entry, "is no repository that git can read, or has no remote 'origin'")
    # Of 'ria+file://STORE#ID', git has 'file://STORE/...'.
    if _key(origin) not in (source.key, source.key.removeprefix("ria+")):
        raise _damaged(entry, f"is not a clone of {source.shown}")
    commit = head(root, f"{KNOWN}head")
    if commit is None:
        raise _damaged(entry, "lacks its commits")
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(found.st_mtime))
    return _state(entry, source, commit, created)


def why_unsound(entry: Path, state: State) -> str:
    """Tell why what is in a directory of the cache is not the clone that was noted; or ''."""
    root = root_of(entry)
    if not stat.S_ISDIR(_mode(root)) or not stat.S_ISDIR(_mode(root / ".git")):
        return "what is in it is no repository of its own"
    try:
        if state.origin and _origin(root) != state.origin:
            return "its repository is of another source than was noted"
        # Without that note, it was not made by us.
        if head(root, f"{KNOWN}head") is None:
            return "its repository was not made by datalad-bidsshare, or is damaged"
    except DatasetError as e:
        return f"git cannot read it: {reason_of(str(e))}"
    return ""


def _mode(path: Path) -> int:
    try:
        return os.lstat(path).st_mode
    except OSError:
        return 0


def _key(url: str) -> str | None:
    try:
        return read_source(url).key
    except SelectionError:
        return None


def _damaged(entry: Path, how: str) -> DatasetError:
    place = shlex.quote(str(entry))
    return DatasetError(
        f"The managed clone {root_of(entry)} {how}; next: look whether you need something that is "
        f"only in it, then remove it: chmod -R u+w {place}; rm -r {place}"
    )


def update_clone(entry: Path, source: Source, state: State, *, alone: bool) -> State:
    """Ask the source for what is new, and take it over.

    Parameters
    ----------
    entry
        Directory in the cache.
    source
        What it is a clone of.
    state
        What is noted of it.
    alone
        Whether nobody else uses it. Else what is checked out stays: others look at it.

    Returns
    -------
    State
        Not written yet.

    Raises
    ------
    DatasetError
        When the source cannot be asked, is another dataset now, or somebody worked in the clone.
    """
    root = root_of(entry)
    try:
        fetched = fetch(root, source.secret, alone=alone)
    except DatasetError as e:
        if "No space left" in str(e):
            raise
        raise DatasetError(
            f"{source.shown} cannot be asked for what is new: {reason_of(str(e))}; next: see that "
            "it can be reached, or work with what is here since "
            f"{(state.fetched or state.created)[:10]}: --no-update"
        ) from e
    dataset_id = state.dataset_id
    if fetched.news or fetched.commit != state.commit:
        dataset_id = dataset_id_at(root, fetched.commit) or ""
        if state.dataset_id and dataset_id != state.dataset_id:
            raise DatasetError(
                f"{source.shown} is another dataset now (id {dataset_id or 'none'}; its managed "
                f"clone has {state.dataset_id}); next: if that is meant, remove the clone: "
                f"datalad cache-clean --clones -s {shlex.quote(source.shown)}"
            )
        accept(root, fetched.commit)
    if alone and (head(root) != fetched.commit or interrupted(root)):
        only_here = move_to(root, fetched.commit, source.secret)
        if only_here:
            raise DatasetError(
                f"Somebody worked in the managed clone {root} ({'; '.join(only_here)}), and what "
                "is new is not put over that; next: save and push it from there or take it away, "
                "or work with what is here: --no-update"
            )
    return replace(state, commit=fetched.commit, dataset_id=dataset_id, fetched=now())


def discard(entry: Path) -> None:
    """Remove the clone of a directory in the cache; from the first moment there is none.

    Raises
    ------
    OSError
        When something resists.
    """
    gone = entry / f"{_REMOVING}{secrets.token_hex(8)}"
    with contextlib.suppress(FileNotFoundError):
        root_of(entry).rename(gone)
        if stat.S_ISDIR(_mode(gone)):
            remove_tree(gone)
        else:
            # a link that somebody put there: what it leads to is not ours
            gone.unlink()


def sweep(entry: Path) -> None:
    """Remove what calls left that were killed while they made or removed the clone."""
    for path in list(entry.iterdir()):
        if is_left_over(path):
            # A git that outlived its parent may still write there: the next one removes it.
            with contextlib.suppress(OSError):
                remove_tree(path)
        elif is_half_written(path):
            path.unlink(missing_ok=True)
