"""Giving back disk space: one streaming `git annex drop` a dataset.

git-annex itself sees to it that enough other copies are left, unless it is told not to.
"""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.dataset.copies import Repositories
from datalad_bidsshare.dataset.encoding import encode
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.full_disk import FULL, room
from datalad_bidsshare.dataset.gitannex import AnnexDrop
from datalad_bidsshare.dataset.kept import Damaged, Kept
from datalad_bidsshare.dataset.objects import Object, info_of
from datalad_bidsshare.dataset.presence import (
    Annex,
    annex_directory,
    encode_path,
    git_directory,
)

__all__ = ["DropResult", "drop", "drop_keys", "give_back", "refuse_to_drop"]

lgr = logging.getLogger("datalad.bidsshare.dataset")

_JOBS = 1
"""Files at a time."""


@dataclass(frozen=True, slots=True)
class DropResult:
    """How it went for one file.

    Attributes
    ----------
    info
        The file.
    status
        'ok' when its content is here no more, 'notneeded' when it was not, 'error' when it is
        kept: there are not enough other copies, nobody could look, or it could not be dropped.
    message
        Reason and next step; empty when all is well.
    bytesize
        Bytes that were given back: 0 unless 'ok', and where the key does not tell.
    """

    info: FileInfo
    status: Literal["ok", "notneeded", "error"]
    message: str
    bytesize: int


def refuse_to_drop(root: Path) -> str:
    """Say why nothing may be dropped in a dataset at all.

    Parameters
    ----------
    root
        Root of the dataset.

    Returns
    -------
    str
        Reason and next step; empty when content may be dropped, as far as git-annex lets it go.

    Raises
    ------
    NotADatasetError
        When there is no repository.
    """
    git = git_directory(root)
    annex = git / "annex"
    for place in (annex, annex / "objects"):
        # Seen at the link itself: the configuration of an ephemeral clone may have been changed.
        if os.path.islink(place):
            return (
                f"{root} has the annex of another repository ({place} is a symbolic link to "
                f"{os.readlink(place)}): what is dropped here would be gone there; next: drop it "
                "there, if it is to be dropped at all"
            )
    for place in (git, annex, annex / "objects"):
        reason = _unwritable(place)
        if reason:
            return (
                f"nothing can be dropped in {root}: {place} {reason}; next: ask whoever owns it, "
                "or give back the space of a clone of your own"
            )
    return ""


def _lack_of_room(root: Path) -> str:
    """Say that git-annex cannot work, for want of room to note what it drops; or nothing."""
    annex = annex_directory(root)
    if annex is None or room(annex) >= FULL:
        return ""
    return (
        f"nothing can be dropped in {root}: its file system is full, and git-annex has to write "
        "down what it drops; next: make a few megabytes of room there by other means, then run "
        "the same command again"
    )


def _unwritable(directory: Path) -> str:
    """Say why a directory must not be changed; empty when it may, or is not there."""
    try:
        found = directory.stat()
    except FileNotFoundError:
        return ""
    except OSError as error:
        return f"cannot be looked at ({error.strerror})"
    if not found.st_mode & (stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH):
        # Somebody meant it, also when root is asking.
        return "is locked down (nobody has write permission)"
    effective = os.access in os.supports_effective_ids
    if os.access(directory, os.W_OK | os.X_OK, effective_ids=effective):
        return ""
    if hasattr(os, "statvfs") and os.statvfs(directory).f_flag & os.ST_RDONLY:
        return "is on a file system that is mounted read-only"
    if hasattr(os, "geteuid") and found.st_uid != os.geteuid():
        return f"belongs to another user (uid {found.st_uid}) and is not writable for you"
    return "is not writable"


def drop(
    root: Path,
    infos: Iterable[FileInfo],
    *,
    by_key: bool = False,
    jobs: int | None = None,
    unchecked: bool = False,
    objects: Iterable[Object] = (),
) -> Generator[DropResult, None, None]:
    """Drop the content of files from one dataset, where other copies are left.

    One git-annex process for all of them (a second one for names that it cannot look up), which
    looks for every copy that it counts; also where somebody declared that a repository is to be
    trusted blindly. Results come as it answers. When the generator is closed, or Ctrl-C arrives,
    git-annex is ended; what was dropped by then is.

    Parameters
    ----------
    root
        Root of the dataset. Nothing is committed.
    infos
        From `describe`. Content that several of them share goes with the first.
    by_key
        Drop from the annex, whatever the work tree holds at these paths.
    jobs
        Files at a time. Default: `_JOBS`.
    unchecked
        Not to look for other copies: what is dropped may be gone for good. An annex that belongs
        to another repository is refused all the same.
    objects
        Where the content of the files lies, as far as `walk_objects` was asked already. Needed for
        unlocked files in repositories with a layout of their own.

    Yields
    ------
    DropResult
        Exactly one a file.

    Raises
    ------
    DatasetError
        When nothing may be dropped here (`refuse_to_drop`). When the presence of content, or the
        configuration, cannot be found out. What goes wrong with a file is a result.
    """
    asked = list(infos)
    refused = refuse_to_drop(root) or _lack_of_room(root)
    if refused:
        raise DatasetError(refused)
    here = _Here(root, objects)
    yield from _drop(here, asked, lambda info: by_key or _only_by_key(root, info), jobs, unchecked)


def drop_keys(
    root: Path, objects: Iterable[Object], *, jobs: int | None = None, unchecked: bool = False
) -> Generator[DropResult, None, None]:
    """Drop objects that no file is known for, as `drop` does.

    Parameters
    ----------
    root
        Root of the dataset.
    objects
        From `walk_objects`.
    jobs, unchecked
        As `drop` has them.

    Yields
    ------
    DropResult
        Exactly one an object; the paths of their files are empty.

    Raises
    ------
    DatasetError
        As `drop`.
    """
    asked = list(objects)
    infos = list(map(info_of, asked))
    yield from drop(root, infos, by_key=True, jobs=jobs, unchecked=unchecked, objects=asked)


class _Here:
    """Looks which content is still here."""

    def __init__(self, root: Path, objects: Iterable[Object] = ()) -> None:
        self.annex = Annex(root)
        # Also where directories are named otherwise (`annex.tune.*`), and no link tells.
        self._places = {o.key: encode(o.path) for o in objects}

    def __contains__(self, info: FileInfo) -> bool:
        if self.annex.find(info) is not None:
            return True
        place = self._places.get(info.key or "")
        if place is None or self.annex.objects is None:
            return False
        return os.path.lexists(os.fsencode(self.annex.objects) + b"/" + place)


def _drop(
    here: _Here,
    asked: list[FileInfo],
    keyed: Callable[[FileInfo], bool],
    jobs: int | None,
    unchecked: bool,
) -> Generator[DropResult, None, None]:
    root = here.annex.root
    first: dict[str, FileInfo] = {}
    for info in asked:
        if info.key is None or info.key in first or info not in here:
            yield DropResult(info, "notneeded", "", 0)
        else:
            first[info.key] = info
    if not first:
        return
    kept = Kept(root, tuple(first))
    trusted: list[str] = []
    same: Iterable[str] = ()
    if not unchecked:
        damaged = Damaged(root)
        for info in list(first.values()):
            reason = damaged.why_kept(info)
            if reason:
                del first[info.key or ""]
                yield _left(info, reason)
        repositories = Repositories.read(root)
        trusted, same = repositories.taken_at_their_word, repositories.same
    from datalad.distribution.dataset import Dataset

    run = AnnexDrop(
        Dataset(str(root)), jobs or _JOBS, unchecked=unchecked, asked=trusted, ignored=same
    )
    by_name: list[FileInfo] = []
    by_key: list[FileInfo] = []
    for info in first.values():
        (by_key if keyed(info) else by_name).append(info)
    for batch, batch_keyed in ((by_name, False), (by_key, True)):
        waiting = {i.key: i for i in batch}
        paths = {i.path: i for i in batch}
        with contextlib.closing(run.records(batch, batch_keyed)) as records:
            for record in records:
                # By key first: names that are no UTF-8 come back changed.
                found = waiting.get(record.get("key")) or _named(record, paths)
                if found is not None and waiting.pop(found.key, None) is not None:
                    yield _settled(here, found, record, run.said, kept)
        for left in waiting.values():
            yield _settled(here, left, None, run.said, kept)


def give_back(root: Path, fetched: Iterable[FileInfo]) -> None:
    """Drop what a command fetched, where git-annex knows another copy; warn of what is kept.

    Parameters
    ----------
    root
        Root of the dataset.
    fetched
        Annexed files whose content was not here before.
    """
    once = list({info.key: info for info in fetched}.values())
    if not once:
        return
    kept = []
    try:
        # By key: of another commit, or of what is not saved, a name may mean other content.
        with contextlib.closing(drop(root, once, by_key=True)) as results:
            kept = [result for result in results if result.status not in ("ok", "notneeded")]
    except DatasetError as error:
        lgr.warning("What was fetched is kept: %s", error)
    if kept:
        lgr.warning(
            "%d of the files that were fetched are kept in %s, such as %s: %s",
            len(kept),
            root,
            kept[0].info.path,
            kept[0].message,
        )


def _only_by_key(root: Path, info: FileInfo) -> bool:
    """Tell whether git-annex could not look a file up by its name."""
    return "\n" in info.path or not os.path.lexists(encode_path(root, info.path))


def _named(record: dict[str, Any], paths: dict[str, FileInfo]) -> FileInfo | None:
    names = [*(record.get("input") or []), record.get("file")]
    return next((paths[n] for n in names if n in paths), None)


def _settled(
    here: _Here, info: FileInfo, record: dict[str, Any] | None, said: str, kept: Kept
) -> DropResult:
    """Look, and explain what is still there."""
    if info in here:
        return _left(info, kept.why(info, record, said))
    return DropResult(info, "ok", "", info.bytesize or 0)


def _left(info: FileInfo, reason: str) -> DropResult:
    return DropResult(info, "error", f"it is kept: {reason}", 0)
