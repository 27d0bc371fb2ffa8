"""The plan of a request: every selected file, why, and whether it is here."""

from __future__ import annotations

import logging
import os
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
from datalad_bidsshare.plan.reasons import (
    count_unsearched,
    unmet_problems,
    untracked_paths,
    why_nothing,
)
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.plan.tree import group
from datalad_bidsshare.plan.walk import Visit, walk
from datalad_bidsshare.selection.errors import SelectionError

__all__ = ["make_plan"]

lgr = logging.getLogger("datalad.bidsshare.plan")

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

    found_any = broken = False
    for tree in group(visits):
        try:
            matches = rows.matches(tree) if rows else list(tree.matches())
            for _, visit, path in matches:
                chosen[visit.root][path] = None
                found_any = True
            if matches and request.companions != "none":
                from datalad_bidsshare.plan.riding import add_companions

                in_tree = [match.in_tree for match in matches]
                yield from add_companions(request, tree, in_tree, reader, ride)
        except (DatasetError, SelectionError) as error:
            # The trouble of one BIDS dataset: the others go on.
            broken = True
            yield Problem(tree.top.root, "error", str(error), "table")

    undecided = rows.undecided() if rows else []
    yield from undecided
    unmet = list(unmet_problems(request, visits, chosen, hidden))
    yield from unmet
    all_untracked = bool(untracked) and len(untracked) == len(request.paths)
    if not (found_any or hidden or undecided or broken or all_untracked):
        yield from why_nothing(request, visits, explained=bool(unmet))
    elif unsearched := count_unsearched(request, visits):
        lgr.info("%d subdatasets could match and were not searched: add -r", unsearched)
    for (root, path), result in reader.fetched.items():
        if result.status == "ok":
            # It came because the selection depends on it: that is to be told.
            chosen[root].setdefault(path, Reason("selection", None))
    for visit in visits:
        if chosen[visit.root]:
            yield from _describe(visit, chosen[visit.root], reader)


def _describe(
    visit: Visit, files: _Chosen, reader: ContentReader
) -> Iterator[DatasetPlan | Problem]:
    """Look at the chosen files, two or three processes a dataset."""
    ordered = sorted(files, key=lambda p: (files[p] is not None, p))
    try:
        infos = list(describe(visit.root, visit.index.entries(ordered)))
        here = present(visit.root, infos)
    except DatasetError as error:
        # Nobody knows which files it is about: each of them ends in this.
        for path in ordered:
            yield Problem(visit.root / path, "error", str(error), "file")
        return
    plan = DatasetPlan(visit.root, visit.selector.entities)
    for info in infos:
        plan.add(
            PlannedFile(
                info,
                files[info.path],
                here[info.path],
                os.path.lexists(f"{visit.root}/{info.path}"),
                reader.fetched.get((visit.root, info.path)),
            )
        )
    yield plan
