"""What files say that have to be read: inherited JSON, columns of tables.

Metadata is somebody else's input. What is absent, malformed or of the wrong
type becomes a note; nothing is raised.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from datalad_bidsshare.selection.companions import sidecars
from datalad_bidsshare.selection.inheritance import Inheritance
from datalad_bidsshare.selection.reader import Reader

__all__ = ["Content", "Unread", "Unreadable", "flat"]


@dataclass(frozen=True, slots=True)
class Unread:
    """A file that had to be read and whose content is not here.

    Links may be missing from the answer: fetch it and ask again.
    """

    path: str
    companion_of: str


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that was read and makes no sense; its links are not followed."""

    path: str
    message: str


class Content:
    """Reads metadata in few calls, and remembers what went wrong.

    Parameters
    ----------
    read
        Reads files.
    walk
        Where to look for the files that metadata is in.
    kept
        The metadata fields to remember. The rest is forgotten at once.
    """

    def __init__(self, read: Reader, walk: Inheritance, kept: frozenset[str]) -> None:
        self._read = read
        self._kept = kept
        self._walk = walk
        self._sidecars: dict[str, list[str]] = {}
        self._json: dict[str, Mapping[str, Any]] = {}
        self._wanted: dict[str, str] = {}
        self._notes: list[Unread | Unreadable] = []

    def notes(self) -> Iterator[Unread | Unreadable]:
        """Give what could not be read since the last time."""
        yield from self._notes
        self._notes = []

    def want(self, path: str, of: str) -> None:
        """Note a JSON file to be read, once."""
        if path not in self._json and path in self._walk.names:
            self._wanted.setdefault(path, of)

    def want_metadata(self, path: str, of: str) -> None:
        """Note the JSON files to be read for the metadata of a file."""
        if path not in self._sidecars:
            own = path.endswith(".json")
            self._sidecars[path] = [path] if own else sidecars(path, self._walk)
            for sidecar in self._sidecars[path]:
                self.want(sidecar, of)

    def load(self) -> None:
        """Read all that is wanted, in one call."""
        for path, content, of in self._get(self._wanted):
            self._json[path] = {}
            if content is None:
                self._notes.append(Unread(path, of))
                continue
            try:
                found = json.loads(content)
            except (ValueError, RecursionError) as exc:
                self._notes.append(Unreadable(path, f"not JSON: {exc}"))
                continue
            if isinstance(found, dict):
                self._json[path] = {k: v for k, v in found.items() if k in self._kept}
            else:
                self._notes.append(Unreadable(path, "not a JSON object"))
        self._wanted = {}

    def own(self, path: str) -> Mapping[str, Any]:
        """Give what one JSON file says."""
        return self._json.get(path, {})

    def metadata(self, path: str) -> dict[str, Any]:
        """Give the merged metadata of a file; null counts as absent, as in pybids."""
        merged: dict[str, Any] = {}
        for sidecar in reversed(self._sidecars.get(path, ())):
            merged.update(self.own(sidecar))
        return {k: v for k, v in merged.items() if v is not None}

    def columns(self, name: str, tables: Mapping[str, str]) -> Iterator[tuple[str, list[str]]]:
        """Give the distinct values of a column of many tables, read in one call.

        Parameters
        ----------
        name
            Of the column. A table without it is passed over.
        tables
            Their paths, each with the selected path that it is for.
        """
        known = {path: of for path, of in tables.items() if path in self._walk.names}
        for path, content, of in self._get(known):
            if content is None:
                self._notes.append(Unread(path, of))
                continue
            text = content.decode("utf-8-sig", "surrogateescape")
            header, *rows = [line.split("\t") for line in text.splitlines()] or [[]]
            if name in header:
                at = header.index(name)
                cells = dict.fromkeys(row[at].strip() for row in rows if len(row) > at)
                yield path, [cell for cell in cells if cell not in ("", "n/a")]

    def _get(self, wanted: Mapping[str, str]) -> Iterator[tuple[str, bytes | None, str]]:
        left = dict(wanted)
        if left:
            for path, content in self._read(list(left)):
                of = left.pop(path, None)
                if of is not None:
                    yield path, content, of
            for path, of in left.items():
                yield path, None, of


def flat(value: object) -> list[Any]:
    """Give the values of a field that may hold one, a list, or an object of them."""
    if value is None:
        return []
    if isinstance(value, dict):
        value = list(value.values())
    return value if isinstance(value, list) else [value]
