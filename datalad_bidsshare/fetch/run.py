"""From a request to result records."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.fetch.remote import unknown_remote
from datalad_bidsshare.fetch.room import lack_of_room
from datalad_bidsshare.plan.outcome import DatasetPlan, Problem, Subdataset
from datalad_bidsshare.plan.plan import make_plan
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.report.progress import counted_things
from datalad_bidsshare.report.records import Recorder

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
        stuck = {p.path: p for p in unknown_remote(plans, request.remote)}
        full = [p for p in lack_of_room(plans) if p.path not in stuck]
    except DatasetError as error:
        yield recorder.problem(Problem(request.root, "error", str(error), "dataset"))
        return
    for problem in (*stuck.values(), *full):
        yield recorder.problem(problem)
    if not request.dry_run:
        # Too much for the disk today may be what a dry run is to find out.
        stuck.update((problem.path, problem) for problem in full)
    going = [p for p in plans if p.root not in stuck and not request.dry_run]
    files, nbytes = sum(len(p.ahead) for p in going), sum(p.bytes_ahead for p in going)
    with counted_things(lgr, "Fetching", files, nbytes) as count:
        for plan in plans:
            yield from _settled(recorder, plan)
            if plan.root in stuck:
                yield from _turn_down(recorder, plan, stuck[plan.root])
            elif request.dry_run:
                for planned in plan.ahead:
                    yield recorder.file(plan, planned, "ok", "would be fetched")
            elif plan.ahead:
                yield from _transfer(recorder, request, plan, count)


def _settled(recorder: Recorder, plan: DatasetPlan) -> Iterator[dict[str, Any]]:
    """Give the records of the files that nothing is to be done for, or can be."""
    for planned in plan.files:
        if not planned.checked_out:
            restore = shlex.join(["git", "-C", str(plan.root), "restore", "--", planned.info.path])
            yield recorder.file(
                plan,
                planned,
                "impossible",
                "the file was deleted from the work tree (or is left out of it by a sparse "
                f"checkout); bring it back, then get it: {restore}",
            )
        elif planned.fetched is not None and planned.fetched.status == "ok":
            # It came during planning, because the plan depends on it.
            yield recorder.file(plan, planned, "ok", transferred=planned.fetched.bytesize)
        elif planned.is_settled:
            yield recorder.file(plan, planned, "notneeded")


def _turn_down(recorder: Recorder, plan: DatasetPlan, problem: Problem) -> Iterator[dict[str, Any]]:
    why = "there is no room for all of it" if problem.kind == "room" else problem.message
    for planned in plan.ahead:
        yield recorder.file(
            plan, planned, "impossible", f"not fetched: {why}", problem=problem.kind
        )


def _transfer(
    recorder: Recorder, request: Request, plan: DatasetPlan, count: Callable[[], None]
) -> Iterator[dict[str, Any]]:
    from datalad_bidsshare.dataset.transfer import get

    wanted = {planned.info.path: planned for planned in plan.ahead}
    transfers = get(
        plan.root,
        [planned.info for planned in wanted.values()],
        jobs=request.jobs,
        remote=request.remote,
    )
    with closing(transfers):
        try:
            for result in transfers:
                count()
                planned = wanted.pop(result.info.path)
                more = {"transferred": result.bytesize} if result.status == "ok" else {}
                yield recorder.file(plan, planned, result.status, result.message, **more)
        except DatasetError as error:
            # The trouble of one dataset: the others go on.
            for planned in wanted.values():
                yield recorder.file(plan, planned, "error", str(error))
