"""The language of ``--where``: conditions on the rows of BIDS tables.

A condition is a text such as ``age >= 18 and sex == 'F'``. It is read by a small
parser of its own and never handed to Python's ``eval``: it may come from a
configuration file or a colleague.

::

    condition  = all { "or" all }
    all        = negation { "and" negation }
    negation   = { "not" } ( "(" condition ")" | comparison )
    comparison = operand sign operand { sign operand }
               | column [ "not" ] "in" ( "(" values ")" | "[" values "]" )
               | column "is" [ "not" ] ( "missing" | "n/a" )
    sign       = "==" | "!=" | "<" | "<=" | ">" | ">="
    column     = [ ( "participants" | "sessions" | "scans" ) "." ] ( name | `any text` )

What a condition means is in `conditions`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from datalad_bidsshare.selection.conditions import (
    LEVELS,
    NUMBER,
    SIGNS,
    Column,
    Combination,
    Comparison,
    IsMissing,
    Node,
    Not,
    Operand,
    Where,
    is_missing,
    read_number,
)
from datalad_bidsshare.selection.errors import SelectionError, near_matches

__all__ = ["parse_where"]

MAX_DEPTH = 50
"""Parentheses within parentheses; more is refused so that no input exhausts the stack."""


def parse_where(text: str) -> Where:
    """Parse a condition.

    Parameters
    ----------
    text : str
        The condition, in the language that this module describes.

    Raises
    ------
    SelectionError
        It cannot be understood; the message says where, and what was expected.
    """
    parser = _Parser(text)
    root = parser.condition()
    parser.expect_end()
    return Where(text, frozenset(parser.columns), root)


class _Token(NamedTuple):
    kind: str
    text: str
    at: int


_TOKEN = re.compile(
    rf"""
    (?P<space> \s+ )
    | (?P<missing> [nN]/[aA](?!\w) )
    | (?P<name> [^\W\d]\w* )
    | (?P<number> {NUMBER} )
    | (?P<text> '(?:[^'\\]|\\.)*' | "(?:[^"\\]|\\.)*" )
    | (?P<quoted> `(?:[^`\\]|\\.)*` )
    | (?P<sign> === | [=!]= | <> | [<>]=? | =[<>]? | && | \|\| | [()\[\],.&|~!≠≤≥] )
    """,
    re.VERBOSE | re.DOTALL,
)
_KEYWORDS = frozenset({"and", "or", "not", "in", "is"})
_MEANT = {
    "=": "==",
    "===": "==",
    "=>": ">=",
    "=<": "<=",
    "<>": "!=",
    "≠": "!=",
    "≤": "<=",
    "≥": ">=",
    "&": "and",
    "&&": "and",
    "|": "or",
    "||": "or",
    "!": "not",
    "~": "not",
}
_NOT_VALUES = {
    "true": "a truth value in a table is text: put it in quotes, as it stands in the table",
    "false": "a truth value in a table is text: put it in quotes, as it stands in the table",
} | dict.fromkeys(
    ("missing", "na", "nan", "none", "null"), "for a missing value write COLUMN is missing"
)
_IS_MISSING = "a missing value equals nothing; write COLUMN is missing"
_QUOTING = "text and dates go in quotes, and a column name with unusual characters in `backquotes`"
_ESCAPE = re.compile(r"\\([\\'\"`])")


def _error(problem: str, at: int) -> SelectionError:
    return SelectionError(f"--where, at character {at + 1}: {problem}")


def _tokens(text: str) -> Iterator[_Token]:
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            char = text[at]
            if char in "'\"`":
                raise _error(f"the quote {char} is not closed", at)
            if char in "\u2018\u2019\u201c\u201d":
                raise _error(f"typographic quote {char}: use ' or \"", at)
            raise _error(f"unexpected {char!r}; {_QUOTING}", at)
        kind, end = str(match.lastgroup), match.end()
        if kind == "number" and end < len(text) and (text[end].isalnum() or text[end] in "_."):
            word = re.compile(r"[\w.+-]{1,40}").match(text, at)
            raise _error(f"{word.group() if word else ''!r} is not a number; {_QUOTING}", at)
        if kind != "space":
            token = match.group()
            if kind == "sign" and token in _MEANT:
                raise _error(f"write {_MEANT[token]!r} instead of {token!r}", at)
            if kind == "name" and token.casefold() in _KEYWORDS:
                kind, token = "sign", token.casefold()
            yield _Token(kind, token, at)
        at = end
    yield _Token("end", "", len(text))


class _Parser:
    """Recursive descent over the tokens; one method a rule of the grammar."""

    def __init__(self, text: str) -> None:
        self.columns: set[Column] = set()
        self._tokens = _tokens(text)
        self._token = next(self._tokens)
        self._before = ""
        self._depth = 0
        if self._token.kind == "end":
            raise SelectionError("--where is empty: write a condition, such as age >= 18")

    def condition(self) -> Node:
        terms = [self._all()]
        while self._take("or"):
            terms.append(self._all())
        return terms[0] if len(terms) == 1 else Combination(max, tuple(terms))

    def expect_end(self) -> None:
        if self._token.kind != "end":
            raise self._expected("'and', 'or' or the end", _QUOTING)

    def _all(self) -> Node:
        terms = [self._negation()]
        while self._take("and"):
            terms.append(self._negation())
        return terms[0] if len(terms) == 1 else Combination(min, tuple(terms))

    def _negation(self) -> Node:
        negative = False
        while self._take("not"):
            negative = not negative
        term: Node
        if self._token.kind == "sign" and self._token.text == "(":
            if self._depth == MAX_DEPTH:
                raise _error(f"more than {MAX_DEPTH} parentheses in each other", self._token.at)
            self._advance()
            self._depth += 1
            term = self.condition()
            self._depth -= 1
            if not self._take(")"):
                raise self._expected("'and', 'or' or ')'", _QUOTING)
        else:
            term = self._comparison()
        return Not(term) if negative else term

    def _comparison(self) -> Node:
        at = self._token.at
        left = self._operand()
        if isinstance(left, Column):
            if self._take("is"):
                return self._is_missing(left)
            if self._take("in"):
                return self._values(left)
            if self._take("not"):
                if not self._take("in"):
                    raise self._expected("'in'")
                return Not(self._values(left))
        links: list[Node] = []
        while self._token.kind == "sign" and self._token.text in SIGNS:
            sign = self._token.text
            self._advance()
            right = self._operand()
            if not isinstance(left, Column) and not isinstance(right, Column):
                raise _error(
                    "this compares two values and no column; a column name goes without quotes,"
                    " or in `backquotes`",
                    at,
                )
            links.append(Comparison(left, sign, right))
            left = right
        if not links:
            signs = "a comparison (== != < <= > >=)"
            more = ", 'in' or 'is'" if isinstance(left, Column) else ""
            raise self._expected(signs + more, _QUOTING)
        return links[0] if len(links) == 1 else Combination(min, tuple(links))

    def _is_missing(self, column: Column) -> Node:
        negative = self._take("not")
        token = self._token
        if token.kind != "missing" and (token.kind, token.text.casefold()) != ("name", "missing"):
            raise self._expected("'missing'", "values compare with ==")
        self._advance()
        return Not(IsMissing(column)) if negative else IsMissing(column)

    def _values(self, column: Column) -> Node:
        closing = ")" if self._take("(") else "]" if self._take("[") else ""
        if not closing:
            raise self._expected("a list of values, such as ('a', 'b')")
        terms: list[Node] = []
        while not terms or not self._take(closing):
            if self._token.kind not in ("number", "text"):
                raise self._expected("a number, or a text in quotes")
            terms.append(Comparison(column, "==", self._literal()))
            if not self._take(","):
                if not self._take(closing):
                    raise self._expected(f"',' or '{closing}'")
                break
        return Combination(max, tuple(terms))

    def _operand(self) -> Operand:
        token = self._token
        if token.kind in ("number", "text"):
            return self._literal()
        if token.kind == "missing":
            raise _error(_IS_MISSING, token.at)
        if token.kind == "name" and token.text.casefold() in _NOT_VALUES:
            raise _error(f"{token.text!r}: {_NOT_VALUES[token.text.casefold()]}", token.at)
        column = Column(self._name())
        if token.kind == "name" and self._take("."):
            if token.text not in LEVELS:
                near = near_matches(token.text, LEVELS)
                raise _error(
                    f"{token.text!r} is not a table; before a dot goes "
                    + (f"{near[0]!r}" if near else "participants, sessions or scans")
                    + ", and a column name with a dot goes in `backquotes`",
                    token.at,
                )
            column = Column(self._name(), token.text)
        self.columns.add(column)
        return column

    def _name(self) -> str:
        token = self._token
        if token.kind not in ("name", "quoted"):
            raise self._expected("a column name or a value")
        self._advance()
        return token.text if token.kind == "name" else _ESCAPE.sub(r"\1", token.text[1:-1])

    def _literal(self) -> str | int | float:
        token = self._token
        self._advance()
        if token.kind == "number":
            value = read_number(token.text)
            if value is None:
                raise _error(f"{_shorten(token.text)} is too large a number", token.at)
            return value
        text = _ESCAPE.sub(r"\1", token.text[1:-1])
        if is_missing(text):
            raise _error(f"{token.text}: {_IS_MISSING}", token.at)
        return text

    def _advance(self) -> None:
        self._before = self._token.text
        self._token = next(self._tokens)

    def _take(self, sign: str) -> bool:
        if self._token.kind != "sign" or self._token.text != sign:
            return False
        self._advance()
        return True

    def _expected(self, what: str, hint: str = "") -> SelectionError:
        token = self._token
        found = "the end" if token.kind == "end" else repr(_shorten(token.text))
        after = f" after {_shorten(self._before)!r}" if self._before else ""
        if token.kind not in ("name", "number", "text"):
            hint = ""
        return _error(
            f"expected {what}{after}, found {found}" + (f"; {hint}" if hint else ""), token.at
        )


def _shorten(word: str) -> str:
    return word if len(word) <= 40 else f"{word[:40]}..."
