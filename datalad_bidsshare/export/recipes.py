"""Which exported files are changed on the way: tables, and the description of the dataset."""

from __future__ import annotations

import hashlib
import logging
import posixpath
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from itertools import chain

from datalad_bidsshare import __version__
from datalad_bidsshare.dataset.version import Version
from datalad_bidsshare.export.description import describe_export
from datalad_bidsshare.export.items import Item, Part, Recipe
from datalad_bidsshare.export.parts import target_paths
from datalad_bidsshare.export.receipt import public_url
from datalad_bidsshare.export.request import ExportRequest
from datalad_bidsshare.export.tables import Exported, Kind, is_table, recipe, reduce_table
from datalad_bidsshare.selection.names import DESCRIPTION

__all__ = ["Recipes"]

lgr = logging.getLogger("datalad.bidsshare.export")


class Recipes:
    """Says which files are changed, and changes them.

    Parameters
    ----------
    request
        What is exported.
    parts
        The files of each dataset.
    versions
        The version of each dataset, by its mount.
    standing
        Gives what earlier exports left at the destination, and this one leaves there: their
        subjects keep their rows.
    """

    def __init__(
        self,
        request: ExportRequest,
        parts: Iterable[Part],
        versions: Mapping[str, Version],
        standing: Callable[[], Iterable[str]] = tuple,
    ) -> None:
        self._request = request
        self._versions = versions
        self.by_target: dict[str, Recipe] = {}
        parts = list(parts)
        tables: dict[str, tuple[Kind, str]] = {}
        reduces = request.is_subset and request.tables == "selected"
        for part in parts:
            for path in (*part.choice.asked, *part.choice.riding):
                if path.endswith(DESCRIPTION) and posixpath.basename(path) == DESCRIPTION:
                    target = part.prefix + path
                    self.by_target[target] = Recipe("description", "", self._of_version(part))
                elif reduces and path.endswith(".tsv"):
                    target = part.prefix + path
                    root = _root_of_table(target)
                    kind = is_table(target[len(root) + 1 :] if root else target)
                    if kind is not None:
                        tables[target] = (kind, root)
        roots = {root for _, root in tables.values()}
        self._exported = _exported(parts, roots, standing if tables else tuple)
        for target, (table, root) in tables.items():
            digest = recipe(table, _inside(target, root), self._exported[root])
            self.by_target[target] = Recipe(table, root, digest)

    def _of_version(self, part: Part) -> str:
        version = self._versions[part.mount]
        said = (__version__, version.describe, self._url(part), self._request.is_subset)
        return hashlib.sha256(repr(said).encode()).hexdigest()

    def _url(self, part: Part) -> str | None:
        return next(filter(None, map(public_url, self._versions[part.mount].urls)), None)

    def apply(self, item: Item, content: bytes) -> bytes:
        """Change the content of a file that has a recipe.

        Raises
        ------
        TableError
            If the rows of a table cannot be told apart.
        """
        if item.recipe is None:
            return content
        if item.recipe.kind == "description":
            changed = describe_export(
                content,
                subset=self._request.is_subset,
                version=self._versions[item.part.mount].describe,
                url=self._url(item.part),
                tool_version=__version__,
            )
            if changed is content:
                lgr.warning("%s is no JSON object, and is exported as it is", item.target)
            return changed
        root = item.recipe.root
        exported = self._exported[root]
        return reduce_table(item.recipe.kind, _inside(item.target, root), content, exported)


def _inside(target: str, root: str) -> str:
    return target[len(root) + 1 :] if root else target


def _root_of_table(target: str) -> str:
    """Give the BIDS root that a table is of: it lies there, in phenotype/, or in a subject's."""
    directories = target.split("/")[:-1]
    while directories and directories[-1].startswith(("sub-", "ses-")):
        directories.pop()
    if directories and directories[-1] == "phenotype":
        directories.pop()
    return "/".join(directories)


def _exported(
    parts: Iterable[Part], roots: set[str], standing: Callable[[], Iterable[str]]
) -> dict[str, Exported]:
    """Find out which subjects, sessions and files are exported from BIDS roots."""
    paths: dict[str, dict[str, None]] = defaultdict(dict)
    for target in chain(target_paths(parts if roots else ()), standing()):
        for root in roots:
            if not root or target.startswith(f"{root}/"):
                paths[root][_inside(target, root)] = None
    return {root: Exported(paths[root]) for root in roots}
