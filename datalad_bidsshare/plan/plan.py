"""The plan of a request: every selected file, why, and whether it is here."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from datalad_bidsshare.dataset.blobs import describe
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.presence import present
from datalad_bidsshare.plan.outcome import (
    DatasetPlan,
    Outcome,
    PlannedFile,
    Problem,
    Reason,
    Subdataset,
)
from datalad_bidsshare.plan.reading import ContentReader
from datalad_bidsshare.plan.reasons import unmet_problems, untracked_paths, why_nothing
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.plan.tree import group
from datalad_bidsshare.plan.walk import Visit, walk

__all__ = ["make_plan"]

#: Files of one dataset, those asked for with None.
_Chosen = dict[str, Reason | None]


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
    rows = None
    if request.where is not None:
        from datalad_bidsshare.plan.rows import RowSelection

        rows = RowSelection(request, request.where, reader)

    visits: list[Visit] = []
    hidden: list[Problem | Subdataset] = []
    for step in walk(request, rows.subject_may_match if rows else None):
        if isinstance(step, Visit):
            visits.append(step)
        else:
            yield step
            if isinstance(step, Problem) or step.status != "ok":
                hidden.append(step)
    untracked = list(untracked_paths(request, visits))
    yield from untracked

    chosen: dict[Path, _Chosen] = {visit.root: {} for visit in visits}

    def ride(visit: Visit, path: str, why: Reason) -> None:
        chosen[visit.root].setdefault(path, why)

    found_any = False
    for tree in group(visits):
        matches = list(rows.matches(tree) if rows else tree.matches())
        for _, visit, path in matches:
            chosen[visit.root][path] = None
            found_any = True
        if matches and request.companions != "none":
            from datalad_bidsshare.plan.riding import add_companions

            in_tree = [path for path, _, _ in matches]
            yield from add_companions(request, tree, in_tree, reader, ride)

    undecided = rows.undecided() if rows else []
    yield from undecided
    unmet = list(unmet_problems(request, visits, chosen, hidden))
    yield from unmet
    all_untracked = bool(untracked) and len(untracked) == len(request.paths)
    if not (found_any or hidden or undecided or all_untracked):
        yield from why_nothing(request, visits, explained=bool(unmet))
    yield from _describe(visits, chosen, reader)


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
            plan.files.append(
                PlannedFile(
                    info,
                    visit.selector.entities(info.path),
                    files[info.path],
                    here[info.path],
                    reader.fetched.get((visit.root, info.path)),
                )
            )
        yield plan
