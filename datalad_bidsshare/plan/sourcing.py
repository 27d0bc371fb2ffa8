"""A dataset that is given by its URL: what `--source` does to a command."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.plan.outcome import Problem
from datalad_bidsshare.report.records import Recorder
from datalad_bidsshare.selection.errors import SelectionError

if TYPE_CHECKING:
    from datalad_bidsshare.cache.urls import Source

__all__ = ["Managed", "in_clone_at", "in_managed_clone"]

lgr = logging.getLogger("datalad.bidsshare.sourcing")

Records = Iterator[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Managed:
    """What an export has to know of the managed clone that it works from.

    Attributes
    ----------
    source
        What it is a clone of, for people.
    notes
        Where to keep what stays with a dataset otherwise: clones may be removed at any time.
    apart
        Places that nothing may be exported to, besides the clone itself.
    """

    source: str
    notes: Path
    apart: tuple[Path, ...]


def in_clone_at(
    action: str,
    source: Any,
    dataset: Any,
    work: Callable[[Any, str | None], Records],
    *,
    at: Any = None,
    dry_run: bool = False,
) -> Records:
    """Do something in the dataset that was given, or in a clone of a source that is made there.

    Parameters
    ----------
    action
        Name of the command in the records.
    source
        Where to clone from, as given to the command; None is the dataset as it is.
    dataset
        As given to the command. With a source, the place of the clone: nothing, an empty
        directory, or a clone of that source.
    work
        What to do, given a dataset, and the commit whose files are meant where that is not what is
        checked out (only in a dry run); yields result records.
    at
        Version to check out, with a source.
    dry_run
        Leave nothing behind: where the clone is not there, a temporary one is looked at.

    Yields
    ------
    dict
        Result records: of the clone if it was, or would be, made, and those of the work.

    Raises
    ------
    SelectionError
        If a parameter cannot be meant.
    """
    if source is None:
        if at is not None:
            raise SelectionError(
                "--at says which version of a --source to check out; without one, check it out "
                "first: git checkout VERSION"
            )
        yield from work(dataset, None)
        return
    if dataset is None:
        raise SelectionError("say where the clone of the source is to be: -d DEST")
    from datalad.distribution.dataset import Dataset, require_dataset

    from datalad_bidsshare.cache.direct import open_clone_at
    from datalad_bidsshare.cache.urls import read_source
    from datalad_bidsshare.dataset.cloning import revealed

    read = read_source(source)
    version = _read_version(read, at)
    dest = Path(os.path.normpath(require_dataset(dataset, check_installed=False).path))
    recorder = Recorder(action, dest, dry_run, lgr)
    with ExitStack() as stack:
        try:
            # Also when content comes: the same server may have it.
            stack.enter_context(revealed(read.secret))
            clone = stack.enter_context(open_clone_at(read, dest, at=version, dry_run=dry_run))
        except DatasetError as error:
            yield recorder.problem(Problem(dest, "error", str(error), "dataset"))
            return
        if clone.made:
            yield recorder.clone(read.shown)
        records = work(Dataset(str(clone.root)), clone.commit)
        stack.enter_context(_closing(records))
        if clone.root == dest:
            yield from records
            return
        for record in records:
            _rename(record, str(clone.root), str(dest))
            yield record


def in_managed_clone(
    action: str,
    source: Any,
    dataset: Any,
    dest: Any,
    work: Callable[[Any, str | None, Managed | None], Records],
    *,
    at: Any = None,
    no_update: bool = False,
    dry_run: bool = False,
) -> Records:
    """Do something with the dataset that was given, or with the managed clone of a source.

    Parameters
    ----------
    action
        Name of the command in the records.
    source
        Where the dataset is, as given to the command; None: it is here.
    dataset, at, no_update
        As given to the command.
    dest
        Where the result goes, as given to the command.
    work
        What to do, given a dataset, the version of it that is meant, and what is to be known of
        the managed clone, if that is one; yields result records.
    dry_run
        Leave nothing behind: where there is no clone yet, a temporary one is looked at.

    Yields
    ------
    dict
        Result records: what stands in the way, or those of the work.

    Raises
    ------
    SelectionError
        If a parameter cannot be meant.
    """
    if source is None:
        if no_update:
            raise SelectionError("--no-update is about the clone of a --source: leave it out")
        yield from work(dataset, at, None)
        return
    if dataset is not None:
        raise SelectionError(
            "either a dataset that is here is exported (-d), or one at a URL (--source): "
            "leave out one of them"
        )
    from datalad.distribution.dataset import Dataset, resolve_path

    from datalad_bidsshare.cache.clones import use_clone
    from datalad_bidsshare.cache.direct import why_in_cache
    from datalad_bidsshare.cache.notes import notes_of
    from datalad_bidsshare.cache.urls import read_source, readable_name
    from datalad_bidsshare.dataset.checkout import commit_of_source

    read = read_source(source)
    version = _read_version(read, at)
    place = Path(os.path.abspath(resolve_path(dest)))
    recorder = Recorder(action, place, dry_run, lgr)
    with ExitStack() as stack:
        try:
            if why := why_in_cache(place):
                raise DatasetError(why)
            clone = stack.enter_context(use_clone(read, update=not no_update, dry_run=dry_run))
            commit = clone.commit if version is None else commit_of_source(clone.root, version)
        except DatasetError as error:
            yield recorder.problem(Problem(place, "error", str(error), "source"))
            return
        local = (Path(read.url),) if os.path.isabs(read.url) else ()
        managed = Managed(read.shown, notes_of(read, make=not dry_run), local)
        records = work(Dataset(str(clone.root)), commit, managed)
        stack.enter_context(_closing(records))
        # A temporary clone has another name, which means nothing to anybody.
        kept = clone.root.relative_to(clone.entry)
        usual = clone.entry.parent / readable_name(read) / kept
        for record in records:
            if usual != clone.root:
                _rename(record, str(clone.root), str(usual))
            if "files" in record:
                # The last one
                record["source"] = read.shown
            yield record


def _closing(records: Records) -> closing[Generator[dict[str, Any], None, None]]:
    """Have the work end before the clone is let go, also when the caller wants no more of it."""
    return closing(cast("Generator[dict[str, Any], None, None]", records))


def _read_version(source: Source, at: Any) -> str | None:
    """Give the version that was asked for, besides what the source is cloned at anyway."""
    if at is None:
        return None
    if not isinstance(at, str) or not at:
        raise SelectionError(f"at={at!r} is not the name of a version; give a text")
    if source.version is not None:
        raise SelectionError(
            f"the URL names a version ({source.version}), and --at another: leave out one of them"
        )
    return at


def _rename(record: dict[str, Any], old: str, new: str) -> None:
    """Have a record speak of another place. In it, as the caller may look at the very object."""
    for field, value in record.items():
        record[field] = _renamed(value, old, new)


def _renamed(value: Any, old: str, new: str) -> Any:
    if isinstance(value, str):
        return value.replace(old, new)
    if isinstance(value, list):
        return [_renamed(each, old, new) for each in value]
    if isinstance(value, dict):
        return {field: _renamed(each, old, new) for field, each in value.items()}
    return value
