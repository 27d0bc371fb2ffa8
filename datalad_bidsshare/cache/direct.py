"""Clones of sources at a place that the user names."""

from __future__ import annotations

import contextlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from datalad_bidsshare.cache.place import cache_directory
from datalad_bidsshare.cache.urls import Source, read_source
from datalad_bidsshare.dataset.checkout import check_name, check_out, commit_in_clone
from datalad_bidsshare.dataset.cloning import clone_into, dataset_id_at, git_url, identify
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.hierarchy import contains_repo
from datalad_bidsshare.dataset.remotes import read_remotes
from datalad_bidsshare.dataset.version import read_version
from datalad_bidsshare.selection.errors import SelectionError

__all__ = ["CloneAt", "open_clone_at", "why_in_cache"]

_ELSEWHERE = "next: name a directory that is empty or not there yet"
#: Names that a message lists.
_MOST = 3
#: What `clone_into` makes meanwhile.
_BEGUN = re.compile(r"\.bidsshare-[0-9a-f]{16}")


@dataclass(frozen=True, slots=True)
class CloneAt:
    """A clone of a source.

    Attributes
    ----------
    root
        Where it is. In a dry run that may be a temporary one.
    made
        Whether it was made now, or would be.
    commit
        Only in a dry run: the commit that would be checked out, if that is another one than now.
    """

    root: Path
    made: bool
    commit: str | None = None


@contextlib.contextmanager
def open_clone_at(
    source: Source, dest: Path, *, at: str | None = None, dry_run: bool = False
) -> Iterator[CloneAt]:
    """Give the clone of a source at a place, made if there is none.

    Parameters
    ----------
    source
        From `read_source`.
    dest
        Where it is to be, absolute: nothing, an empty directory, or a clone of the source.
    at
        Version to check out; None: the one that the URL names, else whatever a clone has.
    dry_run
        Change nothing there. Where a clone would be made, a temporary one is given, which is
        removed at the end.

    Raises
    ------
    DatasetError
        When something else is there, the source cannot be cloned, or has no such version.
    """
    if why := why_in_cache(dest):
        raise DatasetError(why)
    if at is not None:
        check_name(at)
    if not _is_free(source, dest):
        remote = _remote_of(dest, source)
        if remote is None:
            _check_identity(source, dest)
        yield _reused(source, dest, at or source.version, remote, dry_run=dry_run)
    elif dry_run:
        with _temporary(dest) as place:
            clone_into(source, place, at=at)
            yield CloneAt(place, made=True)
    else:
        clone_into(source, dest, at=at)
        yield CloneAt(dest, made=True)


def why_in_cache(place: Path) -> str:
    """Tell why nothing of the user's may go to a place: it is where managed clones are.

    Returns
    -------
    str
        The reason and the next step; empty for any other place.
    """
    try:
        cache = os.path.realpath(cache_directory())
    except DatasetError:
        # Whoever needs the cache says what is wrong with it.
        return ""
    real = Path(os.path.realpath(place))
    if real != Path(cache) and Path(cache) not in real.parents:
        return ""
    return (
        f"{place} lies in {cache}, where managed clones are kept and removed again; next: name a "
        "directory elsewhere"
    )


def _is_free(source: Source, dest: Path) -> bool:
    """Tell whether a clone can be made at a place.

    Returns
    -------
    bool
        False: there is a repository already.

    Raises
    ------
    DatasetError
        When something else is there.
    """
    try:
        found = os.stat(dest)
    except FileNotFoundError:
        if os.path.islink(dest):
            raise DatasetError(
                f"{dest} is a symbolic link that leads nowhere; next: remove it, or name another "
                "directory"
            ) from None
        return True
    except OSError as e:
        raise DatasetError(f"{dest} cannot be looked at ({e.strerror}); {_ELSEWHERE}") from e
    if not stat.S_ISDIR(found.st_mode):
        raise DatasetError(f"{dest} is a file, and no clone of {source.shown}; {_ELSEWHERE}")
    if contains_repo(dest):
        return False
    try:
        names = sorted(os.listdir(dest))
    except OSError as e:
        raise DatasetError(f"{dest} cannot be looked into ({e.strerror}); {_ELSEWHERE}") from e
    # What a clone left that was killed on its way, the next one clears up.
    if names and not any(_BEGUN.fullmatch(name) for name in names):
        some = ", ".join(map(ascii, names[:_MOST])) + ", ..." * (len(names) > _MOST)
        entries = "1 entry" if len(names) == 1 else f"{len(names)} entries"
        raise DatasetError(
            f"{dest} is a directory with {entries} ({some}), and no clone of {source.shown}; "
            f"{_ELSEWHERE}"
        )
    return True


def _remote_of(root: Path, source: Source) -> str | None:
    """Give the name of a clone's remote that is the source."""
    # A clone of a RIA store names the repository in it.
    keys = {source.key, read_source(git_url(source)).key}
    for remote in read_remotes(root):
        for url in remote.urls:
            # What is no source for us is none that was given to us.
            with contextlib.suppress(SelectionError):
                if read_source(url, root).key in keys:
                    return remote.name
    return None


def _check_identity(source: Source, root: Path) -> None:
    """Make sure that a dataset is the one that a source has."""
    here = dataset_id_at(root)
    there = identify(source).dataset_id if here else None
    if here and here == there:
        return
    what = f"another dataset (id {here})" if here else "a git repository, which has no dataset id"
    known = [url for remote in read_remotes(root) for url in remote.urls][:1]
    shown = ""
    for url in known:
        with contextlib.suppress(SelectionError):
            shown = f", a clone of {read_source(url, root).shown}"
    id_there = f" (id {there})" if there else ""
    raise DatasetError(
        f"{root} is {what}{shown}, and no clone of {source.shown}{id_there}; {_ELSEWHERE}, or "
        "leave out --source to work with what is there"
    )


def _reused(
    source: Source, root: Path, version: str | None, remote: str | None, *, dry_run: bool
) -> CloneAt:
    """Give a clone that is there, with the version that is meant."""
    if version is None:
        return CloneAt(root, made=False)
    if not dry_run:
        check_out(root, version, remote or git_url(source))
        return CloneAt(root, made=False)
    commit = commit_in_clone(root, version, remote or "origin")
    return CloneAt(root, False, None if commit == read_version(root).commit else commit)


@contextlib.contextmanager
def _temporary(dest: Path) -> Iterator[Path]:
    """Give a place for a clone that is only looked at, on the disk that a real one would be on."""
    from datalad.utils import rmtree

    above = next(path for path in dest.parents if path.is_dir())
    try:
        scratch = tempfile.mkdtemp(prefix=".bidsshare-", dir=above)
    except OSError:
        scratch = tempfile.mkdtemp(prefix="bidsshare-")
    try:
        yield Path(scratch) / (dest.name or "clone")
    finally:
        rmtree(scratch)
