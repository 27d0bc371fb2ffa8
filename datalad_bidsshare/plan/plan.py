"""The plan of a request: every selected file, why, and whether it is here."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from datalad_bidsshare.dataset.blobs import describe
from datalad_bidsshare.dataset.presence import present
from datalad_bidsshare.plan.outcome import (
    DatasetPlan,
    Outcome,
    PlannedFile,
    Problem,
)
from datalad_bidsshare.plan.reading import ContentReader
from datalad_bidsshare.plan.reasons import unmet_problems, untracked_paths, why_nothing
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.plan.rows import SubjectGate, rows_that_match
from datalad_bidsshare.plan.tree import BidsTree, group
from datalad_bidsshare.plan.walk import Visit, walk
from datalad_bidsshare.selection.companions import Companion, companions
from datalad_bidsshare.selection.entities import parse
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
    for step in walk(request, gate):
        if isinstance(step, Visit):
            visits.append(step)
        else:
            incomplete = incomplete or isinstance(step, Problem) or step.status != "ok"
            yield step
    yield from untracked_paths(request, visits)

    chosen: dict[Path, _Chosen] = {visit.root: {} for visit in visits}
    undecided = False
    for tree in group(visits):
        try:
            matches = list(_matches(request, tree, reader))
        except TableUnavailableError as error:
            undecided = True
            yield from _undecided(request, tree, error)
            continue
        for _, visit, path in matches:
            chosen[visit.root][path] = None
        if request.companions != "none":
            yield from _add_companions(request, tree, [m[0] for m in matches], reader, chosen)

    found_any = any(reason is None for files in chosen.values() for reason in files.values())
    unmet = list(unmet_problems(request, visits, chosen, incomplete))
    yield from unmet
    if not found_any and not incomplete and not undecided:
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
        if request.selection.excludes(path, parse(path), companion=True):
            return
        needing, needed_by = tree.locate(companion.companion_of)
        chosen[visit.root].setdefault(
            path, _Reason(str(needing.root / needed_by), companion.reason)
        )

    for companion in companions(selected, names):
        add(companion)
    if request.companions == "linked":
        from datalad_bidsshare.selection.links import linked

        absent_before = len(reader.absent)
        for found in linked(selected, names, partial(tree.read, reader)):
            if isinstance(found, Companion):
                add(found)
            else:
                lgr.warning("%s", found)
        for root, path in list(reader.absent)[absent_before:]:
            yield Problem(
                root / path,
                "impossible",
                "linked companions depend on this file, whose content is absent"
                + (
                    "; it would be fetched first, and what it points to is not in this list"
                    if request.dry_run
                    else " and could not be fetched: what it points to is not selected"
                ),
                "link",
            )


def _describe(
    visits: list[Visit], chosen: dict[Path, _Chosen], reader: ContentReader
) -> Iterator[DatasetPlan]:
    """Look at the chosen files, two or three processes a dataset."""
    for visit in visits:
        files = chosen[visit.root]
        if not files:
            continue
        ordered = sorted(files, key=lambda p: (files[p] is not None, p))
        infos = list(describe(visit.root, visit.index.entries(ordered)))
        here = present(visit.root, infos)
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
