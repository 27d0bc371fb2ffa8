"""`--where` over the BIDS datasets of a hierarchy."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from functools import partial

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.plan.outcome import Problem
from datalad_bidsshare.plan.reading import ContentReader
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.plan.tree import BidsTree, Match
from datalad_bidsshare.plan.walk import Visit
from datalad_bidsshare.selection.companions import bids_root
from datalad_bidsshare.selection.conditions import Where
from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.names import parents
from datalad_bidsshare.selection.tables import RowFilter, TableUnavailableError

__all__ = ["RowSelection"]


class RowSelection:
    """Keeps the files whose rows fulfil the condition of a request.

    Parameters
    ----------
    request
        What is wanted.
    where
        Its condition.
    reader
        Reads the tables.
    """

    def __init__(self, request: Request, where: Where, reader: ContentReader) -> None:
        self._request = request
        self._where = where
        self._reader = reader
        self._subjects: dict[int, RowFilter | None] = {}
        #: Where tables are absent and could not, or must not, be fetched.
        self._undecided: list[tuple[BidsTree, TableUnavailableError]] = []

    def subject_may_match(self, visit: Visit, subject: str) -> bool:
        """Say whether a subject's subdataset is worth a look, before it is installed.

        Goes by the participants.tsv of the dataset that registers it. Whatever
        that cannot tell stays open.
        """
        while not visit.is_own_bids_dataset and visit.parent is not None:
            visit = visit.parent
        if id(visit) not in self._subjects:
            self._subjects[id(visit)] = self._prepare(visit)
        rows = self._subjects[id(visit)]
        return rows is None or rows.may_keep_subject(subject)

    def _prepare(self, visit: Visit) -> RowFilter | None:
        tree = BidsTree(visit, None)
        rows = RowFilter(self._where)
        subjects = {
            visit.selector.directory_entities(m).get("subject") for m in visit.index.gitlinks
        }
        try:
            rows.prepare(
                tree.names,
                partial(tree.read, self._reader),
                [(s, None) for s in subjects],
                more_tables=True,
            )
        except TableUnavailableError as error:
            self._undecided.append((tree, error))
            return None
        except (SelectionError, DatasetError):
            # A broken table: the same is met, and told, once the files are listed.
            return None
        return rows

    def matches(self, tree: BidsTree) -> list[Match]:
        """Give the selected files of a tree whose rows fulfil the condition.

        None of them, if a table that decides cannot be had; see `undecided`.

        Raises
        ------
        SelectionError
            If a column is unknown, or a table is broken.
        """
        try:
            return list(self._kept(tree))
        except TableUnavailableError as error:
            self._undecided.append((tree, error))
            return []

    def _kept(self, tree: BidsTree) -> Iterator[Match]:
        by_root: dict[str, list[Match]] = defaultdict(list)
        roots: dict[str, str] = {}
        for match in tree.matches():
            directory = match.in_tree.rpartition("/")[0]
            if directory not in roots:
                roots[directory] = bids_root(match.in_tree, tree.names)
            by_root[roots[directory]].append(match)
        for root, matches in by_root.items():
            home, base = _tables_of(tree, root)
            rows = RowFilter(self._where, base)
            pairs = {_subject_and_session(match) for match in matches}
            rows.prepare(home.names, partial(home.read, self._reader), pairs)
            for match in matches:
                if rows.keeps(match.in_tree, match.visit.selector.entities(match.path)):
                    yield match

    def undecided(self) -> list[Problem]:
        """Report, once each, the tables without which it is unknown what matches."""
        what = "would be fetched first" if self._request.dry_run else "could not be fetched"
        problems = {}
        for tree, error in self._undecided:
            for path in error.paths:
                visit, inner = tree.locate(path)
                problems[visit.root / inner] = Problem(
                    visit.root / inner,
                    "impossible",
                    f"--where needs this table, whose content is absent; it {what}. "
                    "Which files match is unknown until then"
                    + self._reader.why_absent(visit, inner),
                    "table",
                )
        return list(problems.values())


def _subject_and_session(match: Match) -> tuple[str | None, str | None]:
    said = match.visit.selector.entities(match.path)
    return said.get("subject"), said.get("session")


def _tables_of(tree: BidsTree, root: str) -> tuple[BidsTree, str]:
    """Find the nearest BIDS root, from one outwards, that has participants.

    A BIDS dataset without a participants.tsv, as derivatives often are, goes
    by the next one around it.
    """
    home: BidsTree | None = tree
    start = root
    while home is not None:
        for directory in [start, *parents(start)] if start else [""]:
            table = f"{directory}/participants.tsv" if directory else "participants.tsv"
            if table in home.names:
                return home, directory
        home, start = home.outer, ""
    return tree, root
