"""The plan of a request: every selected file, why, and whether it is here."""

from __future__ import annotations

import os
from collections.abc import Iterator

from datalad_bidsshare.dataset.blobs import describe
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.presence import present
from datalad_bidsshare.plan.choose import Choice, choose
from datalad_bidsshare.plan.outcome import DatasetPlan, Outcome, PlannedFile, Problem, Reason
from datalad_bidsshare.plan.request import Request

__all__ = ["make_plan"]


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
    for found in choose(request):
        if isinstance(found, Choice):
            yield from _describe(found)
        else:
            yield found


def _describe(choice: Choice) -> Iterator[DatasetPlan | Problem]:
    """Look at the chosen files, two or three processes a dataset."""
    visit = choice.visit
    matched = set(choice.asked) if choice.fetched else set()
    for path, result in choice.fetched.items():
        if result.status == "ok" and path not in matched:
            # It came because the selection depends on it: that is to be told.
            choice.riding.setdefault(path, Reason("selection", None))
    ordered = [*sorted(choice.asked), *sorted(choice.riding)]
    if not ordered:
        return
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
                choice.riding.get(info.path),
                here[info.path],
                # Of another version, nothing need be in the work tree.
                visit.commit is not None or os.path.lexists(f"{visit.root}/{info.path}"),
                choice.fetched.get(info.path),
            )
        )
    yield plan
