"""The selection grammar: from what a user writes to filters.

AND between entities, OR between the values of one. See the user guide's page
"The selection grammar" for the language; this module is its definition.
"""

from __future__ import annotations

import enum
import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from numbers import Integral

from datalad_bidsshare.selection.digits import MOST_DIGITS, whole_number
from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.filters import Query, Selection, ValueFilter
from datalad_bidsshare.selection.globs import compile_glob
from datalad_bidsshare.selection.vocabulary import vocabulary

__all__ = ["build_filter", "build_selection", "read_texts"]

_GLOB_CHARS = frozenset("*?[")
_KEY_VALUE = re.compile(r"([A-Za-z_]+)=(.*)", re.DOTALL)
_GLOBAL_FLAGS = re.compile(r"\(\?[aiLmsux]+\)")


class _ContradictionError(SelectionError):
    """Two filters that no name can pass."""


def build_filter(key: str, values: object, *, literal: bool = False) -> ValueFilter:
    """Read the values wanted for one entity.

    Parameters
    ----------
    key
        Any accepted name of the entity.
    values
        A value or a list of values: labels (with or without their ``sub-``),
        comma lists, globs, ``*``, ``''`` or None (absent), ``re:PATTERN``,
        whole numbers, members of pybids' ``Query``.
    literal
        Take text as labels only, as a NiPreps filter file does; comma lists,
        globs and regular expressions are then not special.

    Raises
    ------
    SelectionError
        If the key is unknown, or a value cannot be meant.
    """
    entity = vocabulary().entities[vocabulary().canonical(key)]
    items = _flatten(values)
    if not items:
        raise SelectionError(
            f"an empty list of values for {entity.name!r} selects nothing; "
            f"leave {entity.name!r} out to select everything"
        )
    literals: set[str] = set()
    numbers: set[int] = set()
    patterns: list[tuple[str, re.Pattern[str]]] = []
    absent = present = False
    for item in items:
        marker = _query_marker(item)
        if marker == "OPTIONAL":
            absent = present = True
        elif marker in ("REQUIRED", "ANY"):
            present = True
        elif marker == "NONE" or item is None:
            absent = True
        else:
            for text in _split(_as_text(entity.name, item), literal):
                if text == "*":
                    present = True
                elif text == "":
                    absent = True
                elif text.startswith("re:") and not literal:
                    patterns.append((text, _compile_regex(entity.name, text[3:])))
                else:
                    label = _strip_key(text, entity.key)
                    if not label:
                        raise SelectionError(
                            f"{text!r} has no label behind the key of {entity.name!r}"
                        )
                    if entity.name == "extension":
                        label = _with_dot(label)
                    if not literal and _GLOB_CHARS.intersection(label):
                        patterns.append((label, re.compile(fnmatch.translate(label))))
                    elif entity.is_index and (number := _as_number(entity.name, label)) is not None:
                        numbers.add(number)
                    else:
                        literals.add(label)
    if entity.name == "extension":
        # A pattern may leave the dot out, as a label may.
        patterns = [(text, _with_optional_dot(pattern)) for text, pattern in patterns]
    return ValueFilter(
        entity.name, frozenset(literals), frozenset(numbers), tuple(patterns), absent, present
    )


def build_selection(
    options: Mapping[str, object] | None = None,
    *,
    entities: Mapping[str, object] | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
    queries: Sequence[Query] = (),
) -> Selection:
    """Put a selection together from all the ways to say one.

    Parameters
    ----------
    options
        Values of the named options; those that are None were not given.
    entities
        ``{key: value}``, or ``'KEY=VALUE'`` texts as on the command line.
    exclude
        ``'KEY=VALUE'`` or path globs (see :func:`.globs.compile_glob`).
    queries
        From filter files: each is narrowed by the options.

    Raises
    ------
    SelectionError
        If something is unknown, empty, or contradicts itself.
    """
    narrowing = _merge(options or {}, entities)
    merged: list[Query] = []
    clashes: list[str] = []
    for query in queries:
        try:
            merged.append(_narrow(query, narrowing))
        except _ContradictionError as error:
            # One query of many, such as `t1w` under --suffix bold: it drops out.
            clashes.append(str(error))
    if queries and not merged:
        raise SelectionError(clashes[0])
    if not queries and narrowing:
        merged.append(Query(tuple(narrowing.values())))
    excluded, globs = _read_exclusions(exclude)
    for unwanted in excluded:
        if merged and all(_contradicts(q, unwanted) for q in merged):
            raise SelectionError(
                f"--exclude {unwanted} takes away all that the selection asks for; drop one of them"
            )
    return Selection(tuple(merged), excluded, globs, tuple(narrowing.values()))


def _merge(
    options: Mapping[str, object], entities: Mapping[str, object] | Iterable[str] | None
) -> dict[str, ValueFilter]:
    found: dict[str, ValueFilter] = {}
    for name, values in options.items():
        if values is not None:
            built = build_filter(name, values)
            found[built.entity] = built
    for built in _read_entities(entities):
        before = found.setdefault(built.entity, built)
        if str(before) != str(built):
            raise SelectionError(
                f"conflicting filters for {built.entity!r}: {before} and {built}; "
                "give all the values in one place"
            )
    return found


def _read_entities(entities: Mapping[str, object] | Iterable[str] | None) -> list[ValueFilter]:
    if entities is None:
        return []
    if isinstance(entities, Mapping):
        pairs = [(str(key), value) for key, value in entities.items()]
    else:
        # Repetition of one key is a list of values, in whatever spelling.
        gathered: dict[str, list[object]] = {}
        for text in read_texts("entities", entities, "acq=highres"):
            found = _KEY_VALUE.fullmatch(text)
            if not found:
                raise SelectionError(f"{text!r} is not of the form KEY=VALUE, such as acq=highres")
            gathered.setdefault(vocabulary().canonical(found[1]), []).append(found[2])
        pairs = list(gathered.items())
    built: dict[str, ValueFilter] = {}
    for key, value in pairs:
        one = build_filter(key, value)
        if one.entity in built:
            raise SelectionError(f"{one.entity!r} is given twice, under two names")
        built[one.entity] = one
    return list(built.values())


def _read_exclusions(
    exclude: str | Iterable[str] | None,
) -> tuple[tuple[ValueFilter, ...], tuple[tuple[str, re.Pattern[str]], ...]]:
    filters: list[ValueFilter] = []
    globs: list[tuple[str, re.Pattern[str]]] = []
    texts = [] if exclude is None else read_texts("exclude", exclude, "suffix=sbref")
    if exclude is not None and not texts:
        raise SelectionError("an empty list of exclusions; leave it out to exclude nothing")
    for text in texts:
        found = _KEY_VALUE.fullmatch(text)
        if found:
            filters.append(build_filter(found[1], found[2]))
        elif text:
            globs.append((text, compile_glob(text)))
        else:
            raise SelectionError("an empty exclusion; give KEY=VALUE or a glob such as '*.json'")
    return tuple(filters), tuple(globs)


def _narrow(query: Query, narrowing: Mapping[str, ValueFilter]) -> Query:
    """Let a query from a file also meet the options."""
    own = {f.entity: f for f in query.filters}
    extra = []
    for entity, option in narrowing.items():
        there = own.get(entity)
        if there is None:
            extra.append(option)
            continue
        both = _intersection(there, option)
        if both is None:
            raise _ContradictionError(
                f"conflicting filters: {option} contradicts {there}"
                + (f" of query {query.name!r} in the filter file" if query.name else "")
            )
        own[entity] = both
    return Query((*own.values(), *extra), query.name)


def _intersection(there: ValueFilter, option: ValueFilter) -> ValueFilter | None:
    """Combine two filters of one entity; None when nothing can pass both."""
    absent = there.absent and option.absent
    if there.present or option.present:
        # One takes any label: the other decides.
        labels = option if there.present else there
        both = replace(labels, absent=absent)
    elif not there.patterns and not option.patterns:
        both = ValueFilter(
            there.entity,
            there.literals & option.literals,
            there.numbers & option.numbers,
            absent=absent,
        )
    elif (listed := _without_patterns(there, option)) is not None:
        other = option if listed is there else there
        literals = frozenset(v for v in listed.literals if other.admits(v))
        both = ValueFilter(there.entity, literals, absent=absent)
    elif str(there) == str(option):
        return there
    else:
        raise SelectionError(
            f"{option} and {there} of the filter file are both patterns; give only one of them"
        )
    return both if both.is_possible else None


def _without_patterns(*filters: ValueFilter) -> ValueFilter | None:
    """Find the filter whose labels can be held against the other's patterns.

    Numbers cannot: a pattern is about the label, and ``1`` has many (``01``).
    """
    return next((f for f in filters if not f.patterns and not f.numbers), None)


def _contradicts(query: Query, unwanted: ValueFilter) -> bool:
    """Say whether an exclusion leaves nothing of a query."""
    for wanted in query.filters:
        if wanted.entity == unwanted.entity and wanted.is_literal:
            return all(unwanted.admits(v) for v in wanted.wanted)
    return False


def read_texts(name: str, value: object, example: str) -> list[str]:
    """Read a parameter that is a text or a list of texts.

    Parameters
    ----------
    name, example
        Of the parameter, for the message.
    value
        What was given.

    Raises
    ------
    SelectionError
        If it is neither.
    """
    if isinstance(value, str):
        return [value]
    # The keys of a dict are texts, but not what was meant.
    wrong: object = value
    if isinstance(value, Iterable) and not isinstance(value, (bytes, Mapping)):
        items = list(value)
        wrong = next((item for item in items if not isinstance(item, str)), None)
        if all(isinstance(item, str) for item in items):
            return items
    raise SelectionError(
        f"{name} takes a text such as {example!r}, or a list of texts, "
        f"nothing of type {type(wrong).__name__!r}"
    )


def _flatten(values: object) -> list[object]:
    if isinstance(values, (str, bytes)) or not isinstance(values, Iterable):
        return [values]
    # A set has no order of its own; messages should not change from run to run.
    return sorted(values, key=str) if isinstance(values, (set, frozenset)) else list(values)


def _query_marker(value: object) -> str | None:
    """Name the pybids ``Query`` member that a value is, without importing pybids."""
    if isinstance(value, enum.Enum) and type(value).__name__ == "Query":
        return value.name
    return None


def _as_text(name: str, value: object) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, Integral) and not isinstance(value, bool):
        if abs(int(value)) >= 10**MOST_DIGITS:  # which may be too long to be shown, too
            raise SelectionError(f"a number of that length cannot be a value of {name!r}")
        return str(value)  # also numpy's, as they come from a table
    raise SelectionError(f"{value!r} cannot be a value of {name!r}; give a label or a whole number")


def _split(text: str, literal: bool) -> list[str]:
    # A regular expression may hold commas: it is never a comma list.
    if literal or text.startswith("re:"):
        return [text]
    return [part.strip() for part in text.split(",")]


def _strip_key(text: str, key: str | None) -> str:
    return text.removeprefix(f"{key}-") if key else text


def _with_dot(label: str) -> str:
    return label if label[:1] in (".", "*") else f".{label}"


def _with_optional_dot(pattern: re.Pattern[str]) -> re.Pattern[str]:
    # Flags such as (?i) are only allowed in front of everything else.
    flags = _GLOBAL_FLAGS.match(pattern.pattern)
    start = flags.end() if flags else 0
    return re.compile(rf"{pattern.pattern[:start]}\.?(?:{pattern.pattern[start:]})")


def _as_number(name: str, label: str) -> int | None:
    if not label.isdecimal():
        raise SelectionError(f"{name!r} is a whole number in BIDS, {label!r} is not")
    return whole_number(label)


def _compile_regex(name: str, pattern: str) -> re.Pattern[str]:
    try:
        return re.compile(pattern)
    except re.error as error:
        raise SelectionError(
            f"{pattern!r} (for {name!r}) is not a regular expression: {error}"
        ) from None
