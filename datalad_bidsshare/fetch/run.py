"""From a request to result records."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from datalad_bidsshare.dataset.content import get
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.fetch.room import lack_of_room
from datalad_bidsshare.plan.outcome import DatasetPlan, PlannedFile, Problem, Subdataset
from datalad_bidsshare.plan.plan import make_plan
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.report.records import Recorder
from datalad_bidsshare.selection.errors import SelectionError

__all__ = ["fetch"]

lgr = logging.getLogger("datalad.bidsshare.fetch")


def fetch(action: str, request: Request) -> Iterator[dict[str, Any]]:
    """Get what a request means, or in a dry run say what that would be.

    Parameters
    ----------
    action
        Name of the command in the records.
    request
        What is wanted.

    Yields
    ------
    dict
        Result records: exactly one a selected file, one for each subdataset
        that was (or would be) installed, one for each problem.
    """
    recorder = Recorder(action, request.root, request.dry_run, lgr)
    plans: list[DatasetPlan] = []
    try:
        for found in make_plan(request):
            if isinstance(found, DatasetPlan):
                plans.append(found)
            elif isinstance(found, Subdataset):
                yield recorder.subdataset(found)
            else:
                yield recorder.problem(found)
        full = list(lack_of_room(plans))
    except (DatasetError, SelectionError) as error:
        yield recorder.problem(Problem(request.root, "error", str(error), "dataset"))
        return
    for problem in full:
        yield recorder.problem(problem)
    no_room = {problem.path for problem in full}
    for plan in plans:
        if request.dry_run:
            yield from _foretell(recorder, plan)
        elif plan.root in no_room:
            yield from _turn_down(recorder, plan)
        else:
            yield from _transfer(recorder, request, plan)


def _settled(planned: PlannedFile) -> bool:
    """Say whether nothing is left to do for a file."""
    return planned.present or planned.info.kind != "annex"


def _done(recorder: Recorder, root: Path, planned: PlannedFile) -> dict[str, Any]:
    if planned.fetched is not None and planned.fetched.status == "ok":
        # It came during planning, because the plan depends on it.
        return recorder.file(root, planned, "ok", transferred=planned.fetched.bytesize)
    return recorder.file(root, planned, "notneeded")


def _foretell(recorder: Recorder, plan: DatasetPlan) -> Iterator[dict[str, Any]]:
    for planned in plan.files:
        if _settled(planned):
            yield _done(recorder, plan.root, planned)
        else:
            yield recorder.file(plan.root, planned, "ok", "would be fetched")


def _turn_down(recorder: Recorder, plan: DatasetPlan) -> Iterator[dict[str, Any]]:
    for planned in plan.files:
        if _settled(planned):
            yield _done(recorder, plan.root, planned)
        else:
            yield recorder.file(
                plan.root, planned, "impossible", "not fetched: there is no room for all of it"
            )


def _transfer(recorder: Recorder, request: Request, plan: DatasetPlan) -> Iterator[dict[str, Any]]:
    from datalad.distribution.dataset import Dataset

    wanted: dict[str, PlannedFile] = {}
    for planned in plan.files:
        if _settled(planned):
            yield _done(recorder, plan.root, planned)
        else:
            wanted[planned.info.path] = planned
    if not wanted:
        return
    transfers = get(
        Dataset(plan.root),
        [planned.info for planned in wanted.values()],
        jobs=request.jobs,
        source=request.source,
    )
    with closing(transfers):
        for result in transfers:
            planned = wanted[result.info.path]
            more = {"transferred": result.bytesize} if result.status == "ok" else {}
            yield recorder.file(plan.root, planned, result.status, result.message, **more)
