"""Which zips were unpacked before, in the same way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from datalad_bidsshare.archive.record import COMMAND, NAMESPACE
from datalad_bidsshare.archive.zips import TrackedZip
from datalad_bidsshare.dataset.history import run_records
from datalad_bidsshare.dataset.listing import Index
from datalad_bidsshare.selection.names import parents

__all__ = ["Earlier"]


class Earlier:
    """What the history of a dataset says about zips that were unpacked.

    Parameters
    ----------
    root
        Root of the dataset.
    commit
        Full name of the commit whose history counts.
    digest
        Of what is wanted now.
    recomputable
        Whether the files are to be recomputable: then only what was made so counts.
    """

    def __init__(self, root: Path, commit: str, digest: str, *, recomputable: bool = False) -> None:
        self._outputs: dict[str, tuple[str, list[str]]] = {}
        self._files: set[str] = set()
        self._directories: set[str] = set()
        self._odd: frozenset[str] | None = None
        newest: dict[str, str] = {}
        self._commits: dict[str, list[tuple[str, str]]] = {}
        for name, record in run_records(root, commit, f'"command": "{COMMAND}"'):
            details = record.get(NAMESPACE)
            if not isinstance(details, dict) or details.get("command") != COMMAND:
                continue
            outputs = _texts(record.get("outputs"))
            wanted = details.get("selection") == digest
            counts = wanted and (details.get("recomputable") is True or not recomputable)
            for zip_path, key in _zips(details):
                if "zips" not in details:
                    self._commits.setdefault(zip_path, []).append((key, name))
                # What an older version of a zip gave may have been replaced since, even where
                # the zip is that version again.
                if newest.setdefault(zip_path, key) == key and counts:
                    self._outputs.setdefault(zip_path, (key, outputs))
                if wanted:
                    for text in map(_literal, outputs):
                        (self._directories if text.endswith("/") else self._files).add(text)

    def covers(self, tracked: TrackedZip, index: Index) -> bool:
        """Tell whether a zip was unpacked in the way that is wanted, and its files are there."""
        key, outputs = self._outputs.get(tracked.path, ("", []))
        if not outputs or key != tracked.key:
            return False
        return all(self._is_there(_literal(text), index) for text in outputs)

    def commits(self, tracked: TrackedZip, *, former: bool) -> list[str]:
        """Give the commits in which a zip was unpacked, of this version of it or of others.

        Those that are about several zips are not among them.
        """
        known = self._commits.get(tracked.path, [])
        return [commit for key, commit in known if (key != tracked.key) == former]

    def _is_there(self, path: str, index: Index) -> bool:
        directory = path.rstrip("/")
        if index.holds_below(directory) if path.endswith("/") else path in index:
            return True
        if "?" not in path:
            return False
        # It may stand for a brace.
        if self._odd is None:
            self._odd = frozenset(_odd_paths(index))
        return path in self._odd

    def gave(self, path: str) -> bool:
        """Tell whether a zip that was unpacked in the way that is wanted gave a file.

        Where a record names directories, any file in one of them is taken for that.
        """
        path = _without_braces(path)
        if path in self._files:
            return True
        if not self._directories:
            return False
        return any(f"{directory}/" in self._directories for directory in parents(path))


# What is in a message may have been written by anybody.


def _texts(outputs: object) -> list[str]:
    if not isinstance(outputs, list):
        return []
    return [text for text in outputs if isinstance(text, str)]


def _zips(details: dict[str, Any]) -> Iterator[tuple[str, str]]:
    zips = details.get("zips")
    for each in zips if isinstance(zips, list) else [details]:
        if isinstance(each, dict):
            path, key = each.get("zip"), each.get("key")
            if isinstance(path, str) and isinstance(key, str):
                yield path, key


def _odd_paths(index: Index) -> Iterator[str]:
    """Give what is tracked under a name with braces, and its directories, as `_literal` does."""
    for path in index.paths:
        if "{" in path or "}" in path:
            literal = _without_braces(path)
            yield literal
            yield from (f"{directory}/" for directory in parents(literal))


def _without_braces(path: str) -> str:
    return path.replace("{", "?").replace("}", "?")


def _literal(text: str) -> str:
    """Give the path that a pattern of a record stands for, but for braces, which are '?' here.

    See `record.as_pattern`.
    """
    path = text.removeprefix("./")
    for character in "*?[":
        path = path.replace(f"[{character}]", character)
    return path
