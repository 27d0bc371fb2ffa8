"""From a request to result records."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.fetch.progress import counted_files
from datalad_bidsshare.fetch.remote import unknown_remote
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
        stuck = {p.path: p for p in unknown_remote(plans, request.source)}
        full = [p for p in lack_of_room(plans) if p.path not in stuck]
    except (DatasetError, SelectionError) as error:
        yield recorder.problem(Problem(request.root, "error", str(error), "dataset"))
        return
    for problem in (*stuck.values(), *full):
        yield recorder.problem(problem)
    if not request.dry_run:
        # Too much for the disk today may be what a dry run is to find out.
        stuck.update((problem.path, problem) for problem in full)
    going = [p for p in plans if p.root not in stuck and not request.dry_run]
    ahead = [f for p in going for f in p.files if not _settled(f)]
    with counted_files(len(ahead), sum(f.missing_bytes for f in ahead)) as count:
        for plan in plans:
            if plan.root in stuck:
                yield from _turn_down(recorder, plan, stuck[plan.root])
            elif request.dry_run:
                yield from _foretell(recorder, plan)
            else:
                yield from _transfer(recorder, request, plan, count)


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


def _turn_down(recorder: Recorder, plan: DatasetPlan, problem: Problem) -> Iterator[dict[str, Any]]:
    why = "there is no room for all of it" if problem.kind == "room" else problem.message
    for planned in plan.files:
        if _settled(planned):
            yield _done(recorder, plan.root, planned)
        else:
            yield recorder.file(
                plan.root, planned, "impossible", f"not fetched: {why}", problem=problem.kind
            )


def _transfer(
    recorder: Recorder, request: Request, plan: DatasetPlan, count: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    from datalad.distribution.dataset import Dataset

    from datalad_bidsshare.dataset.transfer import get

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
        try:
            for result in transfers:
                count()
                planned = wanted.pop(result.info.path)
                more = {"transferred": result.bytesize} if result.status == "ok" else {}
                yield recorder.file(plan.root, planned, result.status, result.message, **more)
        except DatasetError as error:
            # The trouble of one dataset: the others go on.
            for planned in wanted.values():
                yield recorder.file(plan.root, planned, "error", str(error))
