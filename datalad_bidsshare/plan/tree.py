"""BIDS datasets whose files are spread over a dataset and its subdatasets.

A BIDS dataset with one subdataset a subject is several git repositories, but
inheritance and tables do not know: the JSON of `task-rest_bold.json` at the
top holds for the runs in `sub-01/`, which is a repository of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from datalad_bidsshare.plan.reading import ContentReader
from datalad_bidsshare.plan.walk import Visit
from datalad_bidsshare.selection.names import Names

__all__ = ["BidsTree", "Match", "group"]


class Match(NamedTuple):
    """A selected file: its path in the tree, its repository, its path in that."""

    in_tree: str
    visit: Visit
    path: str


class BidsTree:
    """The names of one BIDS dataset, over all the repositories it is spread over.

    Paths are relative to the root of its topmost repository.

    Parameters
    ----------
    top
        That repository.
    outer
        The tree that this one lies in (a derivative in its raw dataset).
    """

    def __init__(self, top: Visit, outer: BidsTree | None) -> None:
        self.top = top
        self.outer = outer
        self._members: dict[str, Visit] = {"": top}
        self._names: Names | None = None

    def add(self, prefix: str, visit: Visit) -> None:
        """Add a repository that is mounted at a path below the top."""
        self._members[prefix] = visit
        self._names = None

    @property
    def visits(self) -> Iterable[Visit]:
        """Its repositories, the topmost first."""
        return self._members.values()

    @property
    def members(self) -> Iterable[tuple[str, Visit]]:
        """Where its repositories are mounted (``''`` for the topmost), and they."""
        return self._members.items()

    @property
    def names(self) -> Names:
        """All the file paths."""
        if self._names is None:
            if len(self._members) == 1:
                self._names = Names(self.top.index.paths)
            else:
                self._names = Names(
                    path if not prefix else f"{prefix}/{path}"
                    for prefix, visit in self._members.items()
                    for path in visit.index.paths
                )
        return self._names

    def matches(self) -> Iterator[Match]:
        """Give what was selected in all its repositories."""
        for prefix, visit in self._members.items():
            for path in visit.matches:
                yield Match(f"{prefix}/{path}" if prefix else path, visit, path)

    def locate(self, path: str) -> tuple[Visit, str]:
        """Give the repository that holds a path, and the path in that."""
        if len(self._members) > 1:
            end = path.rfind("/")
            while end > 0:
                visit = self._members.get(path[:end])
                if visit is not None:
                    return visit, path[end + 1 :]
                end = path.rfind("/", 0, end)
        return self.top, path

    def read(
        self, reader: ContentReader, paths: Sequence[str]
    ) -> Iterator[tuple[str, bytes | None]]:
        """Read files wherever they are, one batch a repository."""
        by_visit: dict[int, tuple[Visit, dict[str, str]]] = {}
        for path in paths:
            visit, inner = self.locate(path)
            by_visit.setdefault(id(visit), (visit, {}))[1][inner] = path
        for visit, outer_path in by_visit.values():
            for inner, content in reader.read(visit, list(outer_path)):
                yield outer_path[inner], content


def group(visits: Iterable[Visit]) -> list[BidsTree]:
    """Put the visited repositories together to BIDS datasets.

    Parameters
    ----------
    visits
        Parents before their subdatasets, as :func:`.walk.walk` gives them.
    """
    trees: list[BidsTree] = []
    at: dict[int, tuple[BidsTree, str]] = {}
    for visit in visits:
        outer, prefix = at[id(visit.parent)] if visit.parent else (None, "")
        if outer is None or visit.is_own_bids_dataset:
            tree = BidsTree(visit, outer)
            trees.append(tree)
            at[id(visit)] = (tree, "")
        else:
            mounted = f"{prefix}/{visit.mount}" if prefix else visit.mount
            outer.add(mounted, visit)
            at[id(visit)] = (outer, mounted)
    return trees
