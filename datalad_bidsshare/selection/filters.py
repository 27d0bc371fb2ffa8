"""What a selection wants, once it is read: filters on labels, queries, exclusions.

How a selection is written, and read into these, is in `grammar`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from datalad_bidsshare.selection.digits import whole_number

__all__ = ["OPTIONS", "Query", "Selection", "ValueFilter"]

#: Entities that have an option of their own on every command.
OPTIONS = (
    "subject",
    "session",
    "datatype",
    "task",
    "run",
    "suffix",
    "extension",
    "space",
    "desc",
)


@dataclass(frozen=True, slots=True)
class ValueFilter:
    """What one entity may be.

    Attributes
    ----------
    entity
        Canonical entity name.
    literals
        Labels wanted as they are.
    numbers
        Wanted numbers of an index entity: ``1`` is also ``01``.
    patterns
        Wanted by glob or regular expression: (as written, compiled), matched
        against the whole label.
    absent
        A name without the entity is wanted.
    present
        Any label is wanted.
    """

    entity: str
    literals: frozenset[str] = frozenset()
    numbers: frozenset[int] = frozenset()
    patterns: tuple[tuple[str, re.Pattern[str]], ...] = ()
    absent: bool = False
    present: bool = False

    def admits(self, value: str | None) -> bool:
        """Say whether a label (None: the name lacks the entity) is wanted."""
        if value is None:
            return self.absent
        if self.present or value in self.literals:
            return True
        if self.numbers and whole_number(value) in self.numbers:
            return True
        return any(pattern.fullmatch(value) for _, pattern in self.patterns)

    @property
    def is_literal(self) -> bool:
        """Whether only listed labels are wanted."""
        return not (self.absent or self.present or self.patterns)

    @property
    def is_possible(self) -> bool:
        """Whether any name can pass."""
        return bool(self.literals or self.numbers or self.patterns or self.absent or self.present)

    @property
    def wanted(self) -> list[str]:
        """The listed labels, in a stable order."""
        return sorted(self.literals) + [str(n) for n in sorted(self.numbers)]

    def has_literal(self, wanted: str, value: str) -> bool:
        """Say whether a label is the one that a listed label means."""
        if value == wanted:
            return True
        number = whole_number(value) if self.numbers else None
        return number is not None and number == whole_number(wanted)

    def __str__(self) -> str:
        values = self.wanted + [text for text, _ in self.patterns]
        values += ["*"] * self.present + [""] * self.absent
        return f"{self.entity}={','.join(values)}"


@dataclass(frozen=True, slots=True)
class Query:
    """What all the entities of a name must be: every filter must admit.

    Attributes
    ----------
    filters
        At most one per entity.
    name
        Name of the query in a filter file, or ``''``.
    """

    filters: tuple[ValueFilter, ...]
    name: str = ""

    def __str__(self) -> str:
        return " ".join(map(str, self.filters))


@dataclass(frozen=True, slots=True)
class Selection:
    """A whole selection by names: any of the queries, less what is excluded.

    Attributes
    ----------
    queries
        A file is wanted when any of them admits it. Empty: everything.
    excluded
        A file that any of these admits is taken away.
    excluded_globs
        (as written, compiled): a file that any of these matches is taken away.
    options
        What was asked of all the queries. Already part of each of them.
    """

    queries: tuple[Query, ...] = ()
    excluded: tuple[ValueFilter, ...] = ()
    excluded_globs: tuple[tuple[str, re.Pattern[str]], ...] = ()
    options: tuple[ValueFilter, ...] = ()

    def excludes(self, path: str, entities: Mapping[str, str], *, companion: bool = False) -> bool:
        """Say whether a file is taken away.

        Parameters
        ----------
        path, entities
            The file, and what its name says.
        companion
            The file only rides along. An exclusion by absence (``acq=``) then
            does not count: it speaks of the files asked for, while nearly all
            companions lack nearly all entities.
        """
        for unwanted in self.excluded:
            value = entities.get(unwanted.entity)
            if unwanted.admits(value) and not (companion and value is None):
                return True
        return any(pattern.fullmatch(path) for _, pattern in self.excluded_globs)

    @property
    def wishes(self) -> tuple[str, ...]:
        """What is wanted, in words."""
        several = len(self.queries) > 1
        wanted = " or ".join(f"({q})" if several else str(q) for q in self.queries)
        return (wanted,) if wanted else ()

    @property
    def exclusions(self) -> tuple[str, ...]:
        """What is taken away, in words."""
        return (*map(str, self.excluded), *(text for text, _ in self.excluded_globs))

    def __str__(self) -> str:
        return " ".join([*self.wishes, *(f"exclude {text}" for text in self.exclusions)])
