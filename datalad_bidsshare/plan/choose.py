"""Which files a request means, dataset by dataset, and why: from names alone."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.plan.outcome import Problem, Reason, Subdataset
from datalad_bidsshare.plan.reading import ContentReader
from datalad_bidsshare.plan.reasons import (
    count_unsearched,
    unmet_problems,
    untracked_paths,
    why_nothing,
)
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.plan.tree import BidsTree, group
from datalad_bidsshare.plan.walk import Visit, walk
from datalad_bidsshare.selection.errors import SelectionError

if TYPE_CHECKING:
    from datalad_bidsshare.dataset.transfer import GetResult
    from datalad_bidsshare.plan.rows import RowSelection

__all__ = ["Choice", "choose"]

lgr = logging.getLogger("datalad.bidsshare.plan")


@dataclass(slots=True)
class Choice:
    """The selected files of one dataset.

    Attributes
    ----------
    visit
        The dataset.
    asked
        Paths that were asked for, each once.
    riding
        Paths of companions that were not, and why they are needed.
    fetched
        What had to be fetched because the selection depends on it, by path. It may be neither
        asked for nor riding: a table of which no row fulfils a condition.
    """

    visit: Visit
    asked: list[str] = field(default_factory=list)
    riding: dict[str, Reason] = field(default_factory=dict)
    fetched: Mapping[str, GetResult] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.asked) + len(self.riding)


def choose(request: Request) -> Iterator[Choice | Subdataset | Problem]:
    """Find out which files a request means.

    Subdatasets and problems come as they are met, the choices last: only then
    it is known that there are no more. Nothing is held for a file that is
    asked for but its name.

    Parameters
    ----------
    request
        What is wanted.

    Yields
    ------
    Subdataset, Problem or Choice

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

    choices = {visit.root: Choice(visit) for visit in visits}
    broken = False
    for tree in group(visits):
        try:
            yield from _choose_in(request, tree, rows, reader, choices)
        except (DatasetError, SelectionError) as error:
            # The trouble of one BIDS dataset: the others go on.
            broken = True
            yield Problem(tree.top.root, "error", str(error), "table")

    undecided = rows.undecided() if rows else []
    yield from undecided
    asked = {root: choice.asked for root, choice in choices.items()}
    unmet = list(unmet_problems(request, visits, asked, hidden))
    yield from unmet
    all_untracked = bool(untracked) and len(untracked) == len(request.paths)
    if not (any(asked.values()) or hidden or undecided or broken or all_untracked):
        yield from why_nothing(request, visits, explained=bool(unmet))
    elif unsearched := count_unsearched(request, visits):
        lgr.info("%d subdatasets could match and were not searched: add -r", unsearched)
    _note_fetched(choices, reader)
    for choice in choices.values():
        if len(choice) or choice.fetched:
            yield choice


def _choose_in(
    request: Request,
    tree: BidsTree,
    rows: RowSelection | None,
    reader: ContentReader,
    choices: Mapping[Path, Choice],
) -> Iterator[Problem]:
    """Choose files of one BIDS dataset: those that match, then their companions."""
    if rows:
        for _, visit, path in rows.matches(tree):
            choices[visit.root].asked.append(path)
    else:
        for visit in tree.visits:
            choices[visit.root].asked = visit.matches
    if request.companions == "none" or request.is_everything:
        # All companions of everything are among it.
        return
    selected = [
        path if not prefix else f"{prefix}/{path}"
        for prefix, visit in tree.members
        for path in choices[visit.root].asked
    ]
    if not selected:
        return
    from datalad_bidsshare.plan.riding import add_companions

    matched = {visit.root: set(choices[visit.root].asked) for visit in tree.visits}

    def ride(visit: Visit, path: str, why: Reason) -> None:
        if path not in matched[visit.root]:
            choices[visit.root].riding.setdefault(path, why)

    yield from add_companions(request, tree, selected, reader, ride)


def _note_fetched(choices: Mapping[Path, Choice], reader: ContentReader) -> None:
    came: dict[Path, dict[str, GetResult]] = {}
    for (root, path), result in reader.fetched.items():
        came.setdefault(root, {})[path] = result
    for root, results in came.items():
        choices[root].fetched = results
