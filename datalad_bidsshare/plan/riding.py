"""What rides along with the selected files of one BIDS dataset, wherever it lies."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from functools import partial

from datalad_bidsshare.plan.outcome import Problem, Reason
from datalad_bidsshare.plan.reading import ContentReader
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.plan.tree import BidsTree
from datalad_bidsshare.plan.walk import Visit
from datalad_bidsshare.selection.companions import Companion, companions

__all__ = ["add_companions"]

lgr = logging.getLogger("datalad.bidsshare.plan")


def add_companions(
    request: Request,
    tree: BidsTree,
    selected: list[str],
    reader: ContentReader,
    choose: Callable[[Visit, str, Reason], None],
) -> Iterator[Problem]:
    """Choose the companions of selected files.

    Parameters
    ----------
    request
        What is wanted; its level of companions is ``'default'`` or ``'linked'``.
    tree
        The BIDS dataset.
    selected
        Paths in it.
    reader
        Reads what may hold links.
    choose
        Takes each companion that is not excluded: repository, path in it, why.

    Yields
    ------
    Problem
        If links could not be followed for want of content.
    """

    def add(companion: Companion) -> None:
        visit, path = tree.locate(companion.path)
        if not visit.selector.excludes(path, companion=True):
            needing, needed_by = tree.locate(companion.companion_of)
            choose(visit, path, Reason(companion.reason, str(needing.root / needed_by)))

    for companion in companions(selected, tree.names):
        add(companion)
    if request.companions == "linked":
        yield from _add_linked(request, tree, selected, reader, add)


def _add_linked(
    request: Request,
    tree: BidsTree,
    selected: list[str],
    reader: ContentReader,
    add: Callable[[Companion], None],
) -> Iterator[Problem]:
    """Add what content points to; say once what could not be followed."""
    from datalad_bidsshare.selection.links import DanglingLink, linked
    from datalad_bidsshare.selection.metadata import Unread, Unreadable

    absent: list[str] = []
    dangling: list[DanglingLink] = []
    for found in linked(selected, tree.names, partial(tree.read, reader)):
        if isinstance(found, Companion):
            add(found)
        elif isinstance(found, Unread):
            absent.append(found.path)
        elif isinstance(found, Unreadable):
            visit, path = tree.locate(found.path)
            lgr.warning(
                "%s: %s; what it points to is not selected", visit.root / path, found.message
            )
        else:
            dangling.append(found)
    if dangling:
        # Common in real datasets, and no reason to fail: the files may never have been shared.
        link = dangling[0]
        lgr.warning(
            "%d links in metadata lead to no file of the dataset, such as %s of %s: %r (%s)",
            len(dangling),
            link.field,
            link.source,
            link.target,
            link.reason,
        )
    if absent:
        yield Problem(
            tree.top.root,
            "impossible",
            f"linked companions depend on {len(absent)} files whose content is absent, such as "
            f"{absent[0]}; "
            + (
                "they would be fetched first, and what they point to is not in this list"
                if request.dry_run
                else "they could not be fetched, and what they point to is not selected"
            )
            + reader.why_absent(*tree.locate(absent[0])),
            "link",
        )
