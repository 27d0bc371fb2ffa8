"""The plan of a request: every selected file, why, and whether it is here."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datalad_bidsshare.dataset.blobs import describe
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.presence import present
from datalad_bidsshare.plan.outcome import (
    DatasetPlan,
    Outcome,
    PlannedFile,
    Problem,
    Subdataset,
)
from datalad_bidsshare.plan.reading import ContentReader
from datalad_bidsshare.plan.reasons import unmet_problems, untracked_paths, why_nothing
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.plan.rows import SubjectGate, rows_that_match
from datalad_bidsshare.plan.tree import BidsTree, group
from datalad_bidsshare.plan.walk import Visit, walk
from datalad_bidsshare.selection.companions import Companion, companions
from datalad_bidsshare.selection.tables import TableUnavailableError

__all__ = ["make_plan"]

lgr = logging.getLogger("datalad.bidsshare.plan")


@dataclass(frozen=True, slots=True)
class _Reason:
    """Why a companion is in the plan."""

    companion_of: str
    reason: str


#: Files of one dataset, those asked for with None.
_Chosen = dict[str, _Reason | None]


def make_plan(request: Request) -> Iterator[Outcome]:
    """Find out all that a request means.

    Subdatasets and problems come as they are met, the plans of the datasets
    last: only then the totals are known.

    Parameters
    ----------
    request
        What is wanted.

    Yields
    ------
    Subdataset, Problem or DatasetPlan

    Raises
    ------
    DatasetError
        If the dataset given cannot be listed.
    SelectionError
        If a condition on the tables cannot be meant.
    """
    for outside in request.outside:
        yield Problem(outside, "error", f"the path is not in the dataset {request.root}", "path")
    if request.is_void:
        return
    reader = ContentReader(request)
    gate = SubjectGate(request.where, reader) if request.where else None
    visits: list[Visit] = []
    incomplete = False
    not_yet: list[Subdataset] = []
    for step in walk(request, gate):
        if isinstance(step, Visit):
            visits.append(step)
        else:
            incomplete = incomplete or isinstance(step, Problem) or step.status != "ok"
            if isinstance(step, Subdataset) and step.status == "planned":
                not_yet.append(step)
            yield step
    untracked = list(untracked_paths(request, visits))
    yield from untracked
    nowhere = bool(untracked) and len(untracked) == len(request.paths)

    chosen: dict[Path, _Chosen] = {visit.root: {} for visit in visits}
    undecided: dict[Path, Problem] = {}
    for tree, error in gate.undecided if gate else ():
        undecided.update((p.path, p) for p in _undecided(request, tree, error))
    for tree in group(visits):
        try:
            matches = list(_matches(request, tree, reader))
        except TableUnavailableError as error:
            undecided.update((p.path, p) for p in _undecided(request, tree, error))
            continue
        for _, visit, path in matches:
            chosen[visit.root][path] = None
        if request.companions != "none":
            yield from _add_companions(request, tree, [m[0] for m in matches], reader, chosen)

    yield from undecided.values()
    found_any = any(reason is None for files in chosen.values() for reason in files.values())
    unmet = list(unmet_problems(request, visits, chosen, incomplete, not_yet))
    yield from unmet
    if not (found_any or incomplete or undecided or nowhere):
        yield from why_nothing(request, visits, explained=bool(unmet))
    yield from _describe(visits, chosen, reader)


def _matches(
    request: Request, tree: BidsTree, reader: ContentReader
) -> Iterable[tuple[str, Visit, str]]:
    if request.where is None:
        return tree.matches()
    return rows_that_match(tree, request.where, reader)


def _undecided(request: Request, tree: BidsTree, error: TableUnavailableError) -> Iterator[Problem]:
    for path in error.paths:
        visit, inner = tree.locate(path)
        what = "would be fetched first" if request.dry_run else "could not be fetched"
        yield Problem(
            visit.root / inner,
            "impossible",
            f"--where needs this table, whose content is absent; it {what}. "
            "Which files match is unknown until then",
            "table",
        )


def _add_companions(
    request: Request,
    tree: BidsTree,
    selected: list[str],
    reader: ContentReader,
    chosen: dict[Path, _Chosen],
) -> Iterator[Problem]:
    names = tree.names

    def add(companion: Companion) -> None:
        visit, path = tree.locate(companion.path)
        if visit.selector.excludes(path, companion=True):
            return
        needing, needed_by = tree.locate(companion.companion_of)
        chosen[visit.root].setdefault(
            path, _Reason(str(needing.root / needed_by), companion.reason)
        )

    for companion in companions(selected, names):
        add(companion)
    if request.companions == "linked":
        yield from _add_linked(request, tree, selected, reader, add)


def _add_linked(
    request: Request,
    tree: BidsTree,
    selected: list[str],
    reader: ContentReader,
    add: Callable[[Companion], None],
) -> Iterator[Problem]:
    """Add what content points to; say once what could not be followed."""
    from datalad_bidsshare.selection.links import DanglingLink, linked
    from datalad_bidsshare.selection.metadata import Unread, Unreadable

    absent: list[str] = []
    dangling: list[DanglingLink] = []
    for found in linked(selected, tree.names, partial(tree.read, reader)):
        if isinstance(found, Companion):
            add(found)
        elif isinstance(found, Unread):
            absent.append(found.path)
        elif isinstance(found, Unreadable):
            visit, path = tree.locate(found.path)
            lgr.warning(
                "%s: %s; what it points to is not selected", visit.root / path, found.message
            )
        else:
            dangling.append(found)
    if dangling:
        # Common in real datasets, and no reason to fail: the files may never have been shared.
        link = dangling[0]
        lgr.warning(
            "%d links in metadata lead to no file of the dataset, such as %s of %s: %r (%s)",
            len(dangling),
            link.field,
            link.source,
            link.target,
            link.reason,
        )
    if absent:
        yield Problem(
            tree.top.root,
            "impossible",
            f"linked companions depend on {len(absent)} files whose content is absent, such as "
            f"{absent[0]}; "
            + (
                "they would be fetched first, and what they point to is not in this list"
                if request.dry_run
                else "they could not be fetched, and what they point to is not selected"
            ),
            "link",
        )


def _describe(
    visits: list[Visit], chosen: dict[Path, _Chosen], reader: ContentReader
) -> Iterator[DatasetPlan | Problem]:
    """Look at the chosen files, two or three processes a dataset."""
    for visit in visits:
        files = chosen[visit.root]
        if not files:
            continue
        ordered = sorted(files, key=lambda p: (files[p] is not None, p))
        try:
            infos = list(describe(visit.root, visit.index.entries(ordered)))
            here = present(visit.root, infos)
        except DatasetError as error:
            if visit.parent is None:
                raise
            yield Problem(visit.root, "error", str(error), "dataset")
            continue
        plan = DatasetPlan(visit.root)
        for info in infos:
            why = files[info.path]
            plan.files.append(
                PlannedFile(
                    info,
                    visit.selector.entities(info.path),
                    why.companion_of if why else None,
                    why.reason if why else None,
                    here[info.path],
                    reader.fetched.get((visit.root, info.path)),
                )
            )
        yield plan
