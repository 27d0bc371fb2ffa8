"""Giving back what managed clones hold: their content, or all of them."""

from __future__ import annotations

import logging
import os
import shlex
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import datetime
from typing import Any

from datalad_bidsshare.cache.belonging import foreign, state_of
from datalad_bidsshare.cache.clones import Listed, clones, exclusively, find_clone, remove_entry
from datalad_bidsshare.cache.listing import sweep_cache, why_shared
from datalad_bidsshare.cache.making import why_unsound
from datalad_bidsshare.clean.eviction import Eviction
from datalad_bidsshare.clean.holdings import Holding, read_holdings
from datalad_bidsshare.clean.records import CleanRecorder
from datalad_bidsshare.clean.request import CleanRequest, Limits
from datalad_bidsshare.clean.run import give_space
from datalad_bidsshare.dataset.cloning import unpushed
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.explaining import reason_of
from datalad_bidsshare.dataset.objects import objects_below
from datalad_bidsshare.disk.usage import freed_with
from datalad_bidsshare.plan.outcome import Problem

__all__ = ["clean_managed", "list_managed"]

lgr = logging.getLogger("datalad.bidsshare.clean")

#: What a selection lacks: of many clones, each has other subjects.
_UNMET = ("value", "nothing", "path")
#: What is nowhere else and is named.
_MOST = 5


def list_managed(request: CleanRequest, recorder: CleanRecorder) -> Iterator[dict[str, Any]]:
    """Give a record for each managed clone. Nothing is changed."""
    try:
        found = _meant(request, sizes=True)
    except DatasetError as error:
        yield recorder.problem(Problem(request.root, "error", str(error), "cache"))
        return
    if not found:
        yield recorder.clone(request.root, "notneeded", "there are no managed clones")
    for listed in found:
        more = {
            "source": listed.url,
            "dataset_id": listed.dataset_id,
            "created": listed.created,
            "last_used": listed.last_used,
            "git_bytes": listed.git_bytes,
            "content_bytes": listed.content_bytes,
            "content_files": listed.content_files,
            "in_use": listed.in_use,
        }
        status = "impossible" if listed.problem else "ok"
        yield recorder.clone(listed.entry, status, listed.problem, **more)


def clean_managed(request: CleanRequest, recorder: CleanRecorder) -> Iterator[dict[str, Any]]:
    """Give back what managed clones hold, or remove them.

    A clone that is in use is left alone: what is just being exported must not go.

    Yields
    ------
    dict
        Records, as for `clean`.
    """
    try:
        if not request.dry_run and request.source is None:
            sweep_cache()
        found = _meant(request, sizes=request.whole_clones or request.limits.is_bounded)
    except DatasetError as error:
        yield recorder.problem(Problem(request.root, "error", str(error), "cache"))
        return
    if request.source is not None and not found:
        message = f"there is no managed clone of {request.source.shown}"
        yield recorder.clone(request.root, "notneeded", message)
    with ExitStack() as stack:
        ours: list[Listed] = []
        holdings: list[Holding] = []
        for listed in found:
            if not listed.ours:
                message = f"kept: {listed.problem}"
                yield recorder.clone(listed.entry, "impossible", message, source=listed.url)
                continue
            try:
                had = stack.enter_context(exclusively(listed, look=request.dry_run))
            except DatasetError as error:
                yield recorder.clone(listed.entry, "error", str(error), source=listed.url)
                holdings.append(Holding(listed.entry, _no_entities, held=listed.content_bytes))
                continue
            if had:
                ours.append(listed)
                continue
            message = "kept: it is in use by another process"
            yield recorder.clone(listed.entry, "notneeded", message, source=listed.url)
            holdings.append(Holding(listed.entry, _no_entities, held=listed.content_bytes))
        if request.whole_clones:
            unmet = yield from _remove(request, recorder, ours, found)
            yield recorder.summary([], unmet)
            return
        holdings += yield from _look(request, recorder, ours)
        unmet = yield from give_space(request, recorder, holdings, request.root)
        yield recorder.summary(holdings, unmet)


def _no_entities(path: str) -> dict[str, str]:
    return {}


def _meant(request: CleanRequest, *, sizes: bool) -> list[Listed]:
    if request.source is None:
        return clones(sizes=sizes)
    found = find_clone(request.source, sizes=sizes)
    return [] if found is None else [found]


def _look(
    request: CleanRequest, recorder: CleanRecorder, ours: Sequence[Listed]
) -> Generator[dict[str, Any], None, list[Holding]]:
    """Look at what clones hold."""
    holdings: list[Holding] = []
    unmet: list[Problem] = []
    met = False
    for listed in ours:
        if listed.problem:
            yield recorder.clone(listed.entry, "impossible", listed.problem, source=listed.url)
            continue
        try:
            before = len(unmet)
            for found in read_holdings(request, request.open_files(listed.root)):
                if isinstance(found, Holding):
                    holdings.append(found)
                elif found.kind in _UNMET:
                    unmet.append(found)
                else:
                    yield recorder.problem(found)
            met = met or len(unmet) == before
        except DatasetError as error:
            yield recorder.problem(Problem(listed.root, "error", str(error), "dataset"))
    if not met:
        for problem in unmet:
            yield recorder.problem(problem)
    return holdings


def _remove(
    request: CleanRequest,
    recorder: CleanRecorder,
    ours: Sequence[Listed],
    found: Sequence[Listed],
) -> Generator[dict[str, Any], None, str]:
    """Remove whole clones, those that were not used for longest first.

    Returns
    -------
    str
        By how much the limits do not hold, or ''.
    """
    held = sum(listed.git_bytes + listed.content_bytes for listed in found)
    eviction = Eviction(request.limits, held, request.root, time.time(), dry_run=request.dry_run)
    for listed in sorted(ours, key=_last_used):
        if eviction.holds:
            message = "the limits hold without removing it"
        elif eviction.is_too_young(_last_used(listed)):
            message = "used since"
        else:
            message = ""
        if message:
            yield recorder.clone(listed.entry, "notneeded", message, source=listed.url)
            continue
        before = recorder.freed
        went = yield from _remove_one(request, recorder, listed)
        size = listed.git_bytes + listed.content_bytes
        # Its content may be gone, and the clone be kept.
        freed = recorder.freed - before
        eviction.note(size if went else min(freed, listed.content_bytes), freed)
    return eviction.unmet()


def _last_used(listed: Listed) -> float:
    """Give when a clone was used last, in seconds since 1970; 0 where nobody knows."""
    try:
        return datetime.fromisoformat(listed.last_used.replace("Z", "+00:00")).timestamp()
    except ValueError:
        return 0.0


def _remove_one(
    request: CleanRequest, recorder: CleanRecorder, listed: Listed
) -> Generator[dict[str, Any], None, bool]:
    """Remove a clone, if nothing in it is lost with that.

    Its content is dropped first, as git-annex does it: what is the only copy stays, and the clone
    with it.

    Returns
    -------
    bool
        Whether it is gone, or would be.
    """
    more = {"source": listed.url}
    before = recorder.freed
    try:
        why_not = _why_shared(listed)
        # Without a dataset, whoever removed it, or made it, was killed, and lost nothing.
        if not why_not and os.path.lexists(listed.root):
            why_not = yield from _empty(request, recorder, listed)
        if why_not:
            message = f"kept: {why_not}"
            yield recorder.clone(listed.entry, "impossible", message, **more)
            return False
        freed = freed_with(listed.entry)
        if request.dry_run:
            # That of its content is counted already.
            freed -= recorder.freed - before
        else:
            remove_entry(listed)
    except DatasetError as error:
        yield recorder.clone(listed.entry, "error", str(error), **more)
        return False
    recorder.removed(freed)
    size = listed.git_bytes + listed.content_bytes
    message = "would be removed" if request.dry_run else "removed"
    yield recorder.clone(listed.entry, "ok", message, freed=freed, bytesize=size, **more)
    return True


def _why_shared(listed: Listed) -> str:
    try:
        others = foreign(listed.entry)
    except OSError as e:
        return f"it cannot be looked at: {e.strerror}; next: see who changed it"
    return why_shared(others) if others else ""


def _by_hand(listed: Listed) -> str:
    place = shlex.quote(str(listed.entry))
    return (
        "next: look yourself whether something in it is needed, and if not, remove it by hand: "
        f"chmod -R u+w {place}; rm -rf {place}"
    )


def _empty(
    request: CleanRequest, recorder: CleanRecorder, listed: Listed
) -> Generator[dict[str, Any], None, str]:
    """Drop what a clone holds, if that is all that would be lost with it.

    Returns
    -------
    str
        Why it must not be removed, and the next step; ''.
    """
    # Reckless is about the content that is elsewhere, too, and about nothing else.
    state = state_of(listed.entry)
    unsound = "nothing is noted of it" if state is None else why_unsound(listed.entry, state)
    if unsound or listed.problem:
        return f"{unsound or listed.problem}; {_by_hand(listed)}"
    try:
        only_here = unpushed(listed.root, removing=True)
    except DatasetError as error:
        return f"git cannot tell what it holds ({reason_of(str(error))}); {_by_hand(listed)}"
    if only_here:
        shown = "; ".join(only_here[:_MOST]) + "; ..." * (len(only_here) > _MOST)
        return (
            f"it holds what is nowhere else: {shown}; push it to its source, or copy it elsewhere, "
            "first"
        )
    everything = replace(request, everything=True, limits=Limits())
    holdings: list[Holding] = []
    unseen = False
    for found in read_holdings(everything, request.open_files(listed.root)):
        if isinstance(found, Holding):
            holdings.append(found)
        elif found.kind not in _UNMET:
            unseen = True
            yield recorder.problem(found)
    if unseen:
        return "not all that it holds could be looked at (see above)"
    before = recorder.kept_files
    yield from give_space(everything, recorder, holdings, listed.root)
    left = recorder.kept_files - before
    if left:
        return (
            f"{left} of its files could not be dropped (see above); copy them elsewhere first, "
            "then run the same command again"
        )
    if not request.dry_run and (unknown := next(objects_below(listed.entry), None)) is not None:
        # Looked at again: what is not known to be gone keeps the clone.
        return (
            f"content is left in it that no file of it has, such as {unknown}; copy it elsewhere "
            "first, or remove it there"
        )
    return ""
