"""NiPreps filter files (``--bids-filter-file`` of fMRIPrep and its kin)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from datalad_bidsshare.selection.errors import SelectionError, near_matches
from datalad_bidsshare.selection.filters import Query, ValueFilter
from datalad_bidsshare.selection.grammar import build_filter

__all__ = ["load_filter_file", "read_filter_file"]

#: How fMRIPrep writes pybids' Query members when it stores its own settings.
_MEMBER = re.compile(r"<Query\.(NONE|REQUIRED|OPTIONAL|ANY): \d+>")


def load_filter_file(path: Path, names: Iterable[str] | None = None) -> tuple[Query, ...]:
    """Read the queries of a filter file.

    Parameters
    ----------
    path
        JSON file: ``{query name: {pybids entity: value}}``.
    names
        Only these queries; None takes all.

    Raises
    ------
    SelectionError
        If the file cannot be read, or says something that cannot be meant.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise SelectionError(f"the filter file {path} cannot be read: {error}") from None
    try:
        return read_filter_file(text, names)
    except SelectionError as error:
        raise SelectionError(f"filter file {path}: {error}") from None


def read_filter_file(text: str, names: Iterable[str] | None = None) -> tuple[Query, ...]:
    """Read the queries from the text of a filter file; see :func:`load_filter_file`."""
    try:
        content = json.loads(text)
    except ValueError as error:
        raise SelectionError(f"not valid JSON: {error}") from None
    if not isinstance(content, dict) or not content:
        raise SelectionError('expected an object of queries, such as {"bold": {"suffix": "bold"}}')
    wanted = list(content) if names is None else list(names)
    if not wanted:
        raise SelectionError("an empty list of queries; leave it out to take all")
    queries = []
    for name in dict.fromkeys(wanted):
        if name not in content:
            known = near_matches(name, content) or sorted(content)
            raise SelectionError(f"there is no query {name!r}; there is {', '.join(known)}")
        queries.append(_read_query(name, content[name]))
    return tuple(queries)


def _read_query(name: str, content: object) -> Query:
    if not isinstance(content, Mapping):
        raise SelectionError(f"query {name!r} is not an object of entities")
    if not content:
        raise SelectionError(f"query {name!r} names no entity; it would select everything")
    filters: dict[str, ValueFilter] = {}
    for key, value in content.items():
        try:
            built = build_filter(key, _read_value(value), literal=True)
        except SelectionError as error:
            raise SelectionError(f"query {name!r}: {error}") from None
        if built.entity in filters:
            raise SelectionError(f"query {name!r}: {built.entity!r} is given twice")
        filters[built.entity] = built
    return Query(tuple(filters.values()), name)


def _read_value(value: object) -> list[str | int | None]:
    """Spell one JSON value in the grammar: text is a label, None is absent."""
    read: list[str | int | None] = []
    for item in value if isinstance(value, list) else [value]:
        member = _MEMBER.fullmatch(item) if isinstance(item, str) else None
        if item is None or (member and member[1] == "NONE"):
            read.append(None)
        elif member and member[1] == "OPTIONAL":
            read += [None, "*"]
        elif member:
            read.append("*")
        elif item == "":
            raise SelectionError("an empty label; write null for 'must be absent'")
        elif isinstance(item, (str, int)):
            read.append(item)
        else:
            raise SelectionError(f"{item!r} cannot be a label; give text, a number, a list or null")
    return read
