"""From a request to give space back to result records."""

from __future__ import annotations

import logging
import time
from collections import defaultdict
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Literal, NamedTuple

from datalad_bidsshare.clean.eviction import Eviction
from datalad_bidsshare.clean.holdings import NOTHING_GOES, Candidate, Holding, Kept, read_holdings
from datalad_bidsshare.clean.records import CleanRecorder
from datalad_bidsshare.clean.request import CleanRequest
from datalad_bidsshare.dataset.drop import drop
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.presence import annex_directory
from datalad_bidsshare.plan.outcome import Problem
from datalad_bidsshare.report.progress import counted_things

__all__ = ["clean"]

lgr = logging.getLogger("datalad.bidsshare.clean")

_FREES_NOTHING = (
    "dropping it would free nothing there: something else is linked to it, or it is on another "
    "file system"
)


def clean(action: str, request: CleanRequest) -> Iterator[dict[str, Any]]:
    """Give space back, or in a dry run say what that would be.

    All datasets are looked at before the first drop, and what must not be there is refused then.

    Parameters
    ----------
    action
        Name of the command in the records.
    request
        What is to be given back.

    Yields
    ------
    dict
        Result records: exactly one a selected file, one for each problem; one with the totals at
        the end.
    """
    with closing(_records(request, CleanRecorder(action, request, lgr))) as records:
        for record in records:
            # One that nobody would see is empty.
            if record:
                yield record


def _records(
    request: CleanRequest, recorder: CleanRecorder
) -> Generator[dict[str, Any], None, None]:
    if request.managed:
        from datalad_bidsshare.clean.managed import clean_managed, list_managed

        yield from (list_managed if request.only_list else clean_managed)(request, recorder)
        return
    holdings: list[Holding] = []
    try:
        for found in read_holdings(request, request.open_files(request.root)):
            if isinstance(found, Holding):
                holdings.append(found)
            else:
                yield recorder.problem(found)
    except DatasetError as error:
        yield recorder.problem(Problem(request.root, "error", str(error), "dataset"))
        return
    unmet = yield from give_space(request, recorder, holdings, request.root)
    yield recorder.summary(holdings, unmet)


def give_space(
    request: CleanRequest, recorder: CleanRecorder, holdings: Sequence[Holding], place: Path
) -> Generator[dict[str, Any], None, str]:
    """Drop what may go, until the limits hold.

    Parameters
    ----------
    request, recorder
        As for `clean`.
    holdings
        What datasets hold. Nobody else uses them, or git-annex sees to it.
    place
        A directory of the file system that is to have free space.

    Yields
    ------
    dict
        A record for each file.

    Returns
    -------
    str
        By how much the limits do not hold, or ''.
    """
    eviction = Eviction(
        request.limits,
        sum(h.held for h in holdings),
        _on_file_system(place, holdings),
        time.time(),
        dry_run=request.dry_run,
    )
    waiting: list[Candidate] = []
    for holding in holdings:
        for kept in holding.kept:
            yield recorder.kept(holding, kept)
        if holding.refused:
            yield recorder.problem(Problem(holding.root, "impossible", holding.refused, "refused"))
        for candidate in holding.candidates:
            if holding.refused:
                yield from recorder.stays(candidate, "impossible", NOTHING_GOES, "refused")
            elif eviction.is_too_young(candidate.used):
                yield from recorder.stays(candidate, "notneeded", "used since", "used since")
            else:
                waiting.append(candidate)
    waiting.sort(key=lambda c: c.used)
    least = 1
    while True:
        # Those that git-annex keeps make others go instead.
        picked, waiting = eviction.pick(waiting, least)
        if not picked:
            break
        gone = False
        with closing(_drop(request, picked)) as outcomes:
            for outcome in outcomes:
                gone = gone or outcome.status == "ok"
                yield from _recorded(recorder, eviction, outcome)
        # Where nothing goes (a remote is out of reach), more are tried at a time: a git-annex for
        # each file would take for ever.
        least = 1 if gone else 2 * len(picked)
    message = "the limits hold without it" if eviction.holds else _FREES_NOTHING
    for candidate in waiting:
        yield from recorder.stays(candidate, "notneeded", message, "in limits")
    return eviction.unmet()


def _on_file_system(place: Path, holdings: Sequence[Holding]) -> Path:
    annexes = (annex_directory(holding.root) for holding in holdings)
    return next(filter(None, annexes), place)


class _Outcome(NamedTuple):
    """What became of a candidate: 'ok', 'notneeded' (somebody else dropped it) or 'error'."""

    candidate: Candidate
    status: Literal["ok", "notneeded", "error"]
    message: str = ""


def _recorded(
    recorder: CleanRecorder, eviction: Eviction, outcome: _Outcome
) -> Iterator[dict[str, Any]]:
    candidate, status, message = outcome
    if status == "error":
        yield from recorder.stays(candidate, "error", message, "not dropped")
        return
    freed = eviction.went(candidate)
    if status == "ok":
        yield from recorder.dropped(candidate, freed)
    else:
        # It is free by somebody else.
        for info in candidate.infos:
            yield recorder.kept(candidate.holding, Kept(info, "notneeded"))


def _drop(request: CleanRequest, picked: Sequence[Candidate]) -> Generator[_Outcome, None, None]:
    """Drop content: one git-annex process a dataset, and one for what has no file in it."""
    if request.dry_run:
        yield from (_Outcome(candidate, "ok") for candidate in picked)
        return
    lots: dict[tuple[Path, bool], list[Candidate]] = defaultdict(list)
    for candidate in picked:
        lots[candidate.holding.root, candidate.is_of_another_version].append(candidate)
    nbytes = sum(c.held for c in picked)
    with counted_things(lgr, "Dropping", len(picked), nbytes) as count:
        for (root, by_key), lot in lots.items():
            with closing(_drop_lot(request, root, lot, by_key=by_key)) as outcomes:
                for outcome in outcomes:
                    count()
                    yield outcome


def _drop_lot(
    request: CleanRequest, root: Path, lot: Sequence[Candidate], *, by_key: bool
) -> Generator[_Outcome, None, None]:
    left = {candidate.key: candidate for candidate in lot}
    results = drop(
        root,
        [candidate.infos[0] for candidate in lot],
        by_key=by_key,
        jobs=request.jobs,
        unchecked=request.unchecked,
        objects=[candidate.object for candidate in lot],
    )
    try:
        with closing(results):
            for result in results:
                candidate = left.pop(result.info.key or "")
                yield _Outcome(candidate, result.status, result.message)
    except DatasetError as error:
        # The trouble of one dataset: the others go on.
        for candidate in left.values():
            yield _Outcome(candidate, "error", str(error))
