"""Conditions on the rows of BIDS tables: what they mean.

The language they are written in, and its parser, are in `where`.

The rules of comparing
----------------------
- Against a number (``age >= 18``) a cell compares as a number. A cell that is not
  a number, such as ``89+``, compares with no number: the outcome is unknown.
- Against text (``sex == '1'``, ``acq_time < '2020-01-01'``) a cell compares as text,
  character by character. ISO 8601 dates therefore compare in order of time.
- Two columns compare as numbers where both cells are numbers, else as text; a number
  and a text are never equal and have no order.
- A missing cell (``n/a``, empty, or ``nan`` in any case) compares with nothing: the
  outcome is unknown, of ``!=`` and ``not in`` as well. Only ``is missing`` sees it.
- Logic is three-valued as in SQL: ``not`` of unknown is unknown, and unknown is not
  selected. So neither ``age > 3`` nor ``not (age > 3)`` selects a missing age.
- ``inf``, ``true`` and ``false`` in a cell are text.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Container, Iterable
from dataclasses import dataclass, field

__all__ = [
    "LEVELS",
    "NUMBER",
    "SIGNS",
    "Column",
    "Combination",
    "Comparison",
    "IsMissing",
    "Node",
    "Not",
    "Operand",
    "Where",
    "is_missing",
    "read_number",
]

LEVELS = ("participants", "sessions", "scans")
"""The tables that can qualify a column, in the order in which bare names are looked up."""

Lookup = Callable[["Column"], "str | None"]

# Truth values in Kleene's order, in which `and` is the minimum, `or` the maximum and
# `not` the change of sign. Where a column is not known yet, a pair (least, greatest)
# bounds what the condition may turn out to be.
_FALSE, _UNKNOWN, _TRUE = -1, 0, 1
_Bounds = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; ``table`` is None where the condition does not say which."""

    name: str
    table: str | None = None

    def __str__(self) -> str:
        return self.name if self.table is None else f"{self.table}.{self.name}"


Operand = Column | str | int | float

SIGNS: dict[str, Callable[..., bool]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

# No two parts can take the same digit: matching stays linear on hostile cells
NUMBER = r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
_MATCH_NUMBER = re.compile(NUMBER).fullmatch
_MISSING = frozenset({"", "n/a", "nan"})


def is_missing(cell: str | None) -> bool:
    """Tell whether a cell holds no value (BIDS, "Tabular files": ``n/a``).

    An absent or empty cell and ``NaN`` as pandas writes it count as missing, too.
    """
    return cell is None or cell.casefold() in _MISSING


def read_number(text: str) -> int | float | None:
    """Give the number a text spells, whole ones exactly; None for all else."""
    if not _MATCH_NUMBER(text):
        return None
    # Python refuses to convert whole numbers of thousands of digits
    value = int(text) if len(text) < 300 and text.lstrip("+-").isdigit() else float(text)
    return value if math.isfinite(value) else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two sides and a sign between them."""

    left: Operand
    sign: str
    right: Operand

    def bounds(self, lookup: Lookup, unread: Container[Column]) -> _Bounds:
        for side in (self.left, self.right):
            if isinstance(side, Column) and side in unread:
                return _FALSE, _TRUE
        truth = self._truth(lookup)
        return truth, truth

    def _truth(self, lookup: Lookup) -> int:
        sides = (self.left, self.right)
        values: list[str | int | float] = []
        for side in sides:
            value = lookup(side) if isinstance(side, Column) else side
            if value is None or (isinstance(value, str) and is_missing(value)):
                return _UNKNOWN
            values.append(value)
        if not any(isinstance(side, str) for side in sides):
            numbers = [read_number(v) if isinstance(v, str) else v for v in values]
            if None not in numbers:
                return _TRUE if SIGNS[self.sign](*numbers) else _FALSE
            is_mixed = numbers != [None, None]
            to_number = not all(isinstance(side, Column) for side in sides)
            if to_number or (is_mixed and self.sign not in ("==", "!=")):
                return _UNKNOWN
        return _TRUE if SIGNS[self.sign](*values) else _FALSE


@dataclass(frozen=True, slots=True)
class IsMissing:
    """The question whether a cell is missing."""

    column: Column

    def bounds(self, lookup: Lookup, unread: Container[Column]) -> _Bounds:
        if self.column in unread:
            return _FALSE, _TRUE
        truth = _TRUE if is_missing(lookup(self.column)) else _FALSE
        return truth, truth


@dataclass(frozen=True, slots=True)
class Not:
    """The opposite of a condition."""

    term: Node

    def bounds(self, lookup: Lookup, unread: Container[Column]) -> _Bounds:
        least, greatest = self.term.bounds(lookup, unread)
        return -greatest, -least


@dataclass(frozen=True, slots=True)
class Combination:
    """Conditions of which all must hold (``and``: `choose` is min) or any (``or``, ``in``: max)."""

    choose: Callable[[Iterable[int]], int]
    terms: tuple[Node, ...]

    def bounds(self, lookup: Lookup, unread: Container[Column]) -> _Bounds:
        bounds = [term.bounds(lookup, unread) for term in self.terms]
        return self.choose(low for low, _ in bounds), self.choose(high for _, high in bounds)


Node = Comparison | IsMissing | Not | Combination


@dataclass(frozen=True, slots=True)
class Where:
    """A parsed condition; made by :func:`.where.parse_where`.

    Attributes
    ----------
    text : str
        The condition as given.
    columns : frozenset of Column
        All columns it refers to, with their qualifiers.
    """

    text: str
    columns: frozenset[Column]
    _root: Node = field(repr=False)

    def evaluate(self, lookup: Callable[[Column], str | None]) -> bool | None:
        """Decide the condition for one row.

        Parameters
        ----------
        lookup : callable
            Gives the cell of a column, None where there is none.

        Returns
        -------
        bool or None
            None when the outcome is unknown for want of a value.
        """
        truth = self._root.bounds(lookup, ())[0]
        return None if truth == _UNKNOWN else truth == _TRUE

    def may_hold(self, lookup: Callable[[Column], str | None], unread: Container[Column]) -> bool:
        """Tell whether the condition can still become true.

        Parameters
        ----------
        lookup : callable
            Gives the cell of a column; not asked for columns in `unread`.
        unread : container of Column
            The columns that could hold anything.
        """
        return self._root.bounds(lookup, unread)[1] == _TRUE
