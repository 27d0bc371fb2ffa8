"""Through a hierarchy of datasets: which are looked into, and what matches there."""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.hierarchy import contains_repo, install, leads_outside, mount_of
from datalad_bidsshare.dataset.listing import Index, read_index, read_tree
from datalad_bidsshare.plan.outcome import Problem, Subdataset
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.selection.names import DESCRIPTION, parents
from datalad_bidsshare.selection.select import SKIPPED_DIRECTORIES, Selector, bids_roots

__all__ = ["Visit", "open_subdataset", "walk"]

#: Says whether files of a subject could be kept, for a subdataset not yet listed.
SubjectTest = Callable[["Visit", str], bool]


@dataclass(slots=True)
class Visit:
    """One dataset that was looked into.

    Attributes
    ----------
    root
        Absolute path.
    index
        What it tracks.
    selector
        The request's selection, as it applies to this dataset.
    matches
        Paths that the selection means, relative to the dataset.
    parent
        The visit of the dataset that it is a subdataset of, if that was visited.
    mount
        Where in the parent it is mounted, ``''`` for the dataset given.
    within
        The positional paths, as they apply inside.
    depth
        Levels below the dataset that was given or named.
    commit
        The commit whose files these are, or None for those of the index.
    """

    root: Path
    index: Index
    selector: Selector
    matches: list[str]
    parent: Visit | None = None
    mount: str = ""
    within: tuple[str, ...] = ()
    depth: int = 0
    commit: str | None = None

    @property
    def is_own_bids_dataset(self) -> bool:
        """Whether it stands for itself, or is a part (a subject) of its parent.

        A dataset with a description is a BIDS dataset of its own; so is all
        that lies in a side directory such as ``derivatives/``, unless what
        lies around it there is described in the parent.
        """
        if self.parent is None or DESCRIPTION in self.index:
            return True
        for directory in list(parents(self.mount))[:-1]:
            if f"{directory}/{DESCRIPTION}" in self.parent.index:
                return False
            if posixpath.basename(directory) in SKIPPED_DIRECTORIES:
                return True
        return posixpath.basename(self.mount) in SKIPPED_DIRECTORIES


def walk(
    request: Request, subject_may_match: SubjectTest | None = None
) -> Iterator[Visit | Subdataset | Problem]:
    """Visit the datasets that can hold wanted files, parents first.

    A subdataset is looked into when a positional path names it or something
    in it, or recursively; never when its mount path contradicts the selection.
    One that is not installed is installed without data, except in a dry run.

    Parameters
    ----------
    request
        What is wanted.
    subject_may_match
        Asked before a subdataset that its mount path ties to a subject is
        looked into: (parent visit, subject label).

    Raises
    ------
    DatasetError
        If the dataset given cannot be listed. For subdatasets this is a
        `Problem`, and the others go on.
    """
    within = tuple(_relative(path, request.root) for path in request.paths)
    top = _visit(request, request.root, within, request.commit)
    yield top
    yield from _descend(request, top, subject_may_match)


def _descend(
    request: Request, visit: Visit, subject_may_match: SubjectTest | None
) -> Iterator[Visit | Subdataset | Problem]:
    for mount, inside, named in _mounts_within(visit):
        depth = 0 if named else visit.depth + 1
        if not named:
            limit = request.recursion_limit
            if not request.recursive or (limit is not None and depth > limit):
                continue
        if not visit.selector.may_hold(mount):
            continue
        subject = visit.selector.directory_entities(mount).get("subject")
        if subject_may_match and subject and not subject_may_match(visit, subject):
            continue
        child = yield from _enter(request, visit, mount, inside)
        if child is not None:
            child.depth = depth
            yield child
            yield from _descend(request, child, subject_may_match)


def _mounts_within(visit: Visit) -> Iterator[tuple[str, tuple[str, ...], bool]]:
    """Give the mounts that the positional paths leave.

    Yields
    ------
    tuple
        The mount, what the paths mean inside, and whether one of them names
        the mount or something in it.
    """
    mounts = visit.index.gitlinks
    if not visit.within:
        yield from ((mount, (), False) for mount in mounts)
        return
    known = set(mounts)
    named: dict[str, list[str]] = {}
    for path in visit.within:
        mount_there = mount_of(path, known)
        if mount_there is not None:
            named.setdefault(mount_there, []).append(path[len(mount_there) + 1 :])
    whole = set(visit.within)
    for mount in mounts:
        inside = named.get(mount, [])
        if any(directory in whole for directory in parents(mount)):
            inside = [*inside, ""]
        if inside:
            yield mount, tuple(inside), mount in named


def _enter(
    request: Request, visit: Visit, mount: str, within: tuple[str, ...]
) -> Generator[Subdataset | Problem, None, Visit | None]:
    """Look into one subdataset, installing it first if need be."""
    path = visit.root / mount
    if not (yield from open_subdataset(visit.root, mount, dry_run=request.dry_run)):
        return None
    try:
        # Of a commit, a subdataset has the version that the commit registers.
        commit = None if visit.commit is None else visit.index.gitlinks[mount]
        child = _visit(request, path, within, commit)
    except DatasetError as error:
        yield Problem(path, "error", str(error), "dataset")
        return None
    child.parent, child.mount = visit, mount
    return child


def open_subdataset(
    root: Path, mount: str, *, dry_run: bool
) -> Generator[Subdataset | Problem, None, bool]:
    """Make sure that a subdataset is there to be looked into, without its content.

    Parameters
    ----------
    root
        Root of its parent.
    mount
        Where it is mounted there.
    dry_run
        Install nothing.

    Yields
    ------
    Subdataset or Problem
        That it was installed or would be, or what stands in the way. Nothing
        where it was installed before.

    Returns
    -------
    bool
        Whether it is installed.
    """
    path = root / mount
    if leads_outside(root, mount):
        yield Problem(
            path,
            "error",
            "a symbolic link stands where a subdataset should be; it is not followed",
            "dataset",
        )
        return False
    if contains_repo(path):
        return True
    if dry_run:
        yield Subdataset(path, root, "planned")
        return False
    result = install(root, mount)
    if result.status in ("impossible", "error"):
        yield Subdataset(path, root, "impossible", result.message)
        return False
    yield Subdataset(path, root, "ok")
    return True


def _visit(request: Request, root: Path, within: tuple[str, ...], commit: str | None) -> Visit:
    index = read_index(root) if commit is None else read_tree(root, commit)
    selector = Selector(
        request.selection,
        within,
        bids_roots(index.paths),
        skip=request.has_query,
        mounted=_relative(root, request.root),
    )
    # All of it is the list itself: a million names are not gone through to find that out.
    matches = index.paths if request.is_everything else list(selector.select(index.paths))
    return Visit(root, index, selector, matches, within=within, commit=commit)


def _relative(path: Path, root: Path) -> str:
    relative = path.relative_to(root).as_posix()
    return "" if relative == "." else relative
