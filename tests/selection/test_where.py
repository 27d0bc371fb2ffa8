"""The language of --where: what it accepts, what it means, how it complains."""

from __future__ import annotations

import operator
import sys
import time
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datalad_bidsshare.selection.conditions import Column, is_missing
from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.where import parse_where


def outcome(text: str, **cells: str | None) -> bool | None:
    return parse_where(text).evaluate(lambda column: cells.get(column.name))


@pytest.mark.parametrize(
    ("text", "cell", "expected"),
    [
        ("age >= 18", "18", True),
        ("age >= 18", "21.5", True),
        ("age >= 18", "9", False),
        ("age > 18", "18", False),
        ("age < 18", "9", True),
        ("age <= 18", "18.0", True),
        ("age == 18", "18.00", True),
        ("age != 18", "18.5", True),
        ("18 <= age", "9", False),
        ("-1.5e1 < age", "-14.9", True),
        ("age == +3", "3", True),
        ("age == .5", "0.5", True),
        ("age == 5.", "5", True),
        ("18 <= age < 65", "18", True),
        ("18 <= age < 65", "65", False),
        ("18 <= age < 65", "17", False),
        # a number literal is a number, text is text
        ("age == 1", "01", True),
        ("age == 1", "1.0", True),
        ("age == '1'", "1", True),
        ("age == '1'", "01", False),
        ("age == '1'", "1.0", False),
        ("age == 100", "1e2", True),
        ("age == 12345678901234567891", "12345678901234567890", False),
        # what is not a number compares with no number
        ("age > 80", "89+", None),
        ("age != 80", "89+", None),
        ("age == 80", "89+", None),
        ("age < 80", "inf", None),
        ("age > 80", "1_000", None),
        ("age > 80", "0x99", None),
        ("age > 80", "1e999", None),
        ("age > 0", "9" * 5000, None),
        ("age == '89+'", "89+", True),
        ("age == 'inf'", "inf", True),
        ("age == 'True'", "True", True),
        ("age == 'true'", "True", False),
        # dates and other text in order of characters
        ("age < '2020-01-01'", "2019-12-31T23:59:59", True),
        ("age >= '2020-01-01'", "2019-12-31T23:59:59", False),
        ("'1877-06-15' <= age", "1877-06-15T12:47:38", True),
        ("age > '9'", "10", False),
        # lists
        ("age in (1, 2)", "02", True),
        ("age in (1, 2)", "3", False),
        ("age in ['a', 'b',]", "b", True),
        ("age in ['a', 1]", "x", None),
        ("age in [1, 'a']", "a", True),
        ("age not in ('a', 'b')", "c", True),
        ("age not in ('a', 'b')", "a", False),
        ("age not in (1, 'a')", "c", None),
        ("age in (-1)", "-1", True),
        # quoting
        ("age == 'it\\'s'", "it's", True),
        ('age == "it\'s"', "it's", True),
        ('age == "say \\"x\\""', 'say "x"', True),
        (r"age == 'C:\data'", r"C:\data", True),
        (r"age == 'C:\\'", "C:\\", True),
        ("age == 'Zürich\n'", "Zürich\n", True),
        # words in any case
        ("NOT age == 1", "2", True),
        ("age NOT IN (1) AND age Is Not Missing", "2", True),
    ],
)
def test_one_cell(text: str, cell: str, expected: bool | None) -> None:
    assert outcome(text, age=cell) is expected


@pytest.mark.parametrize("cell", [None, "", "n/a", "N/A", "nan", "NaN"])
@pytest.mark.parametrize(
    "text",
    [
        "age > 3",
        "age <= 3",
        "age == 3",
        "age != 3",
        "age == 'x'",
        "age != 'x'",
        "age in (1, 2)",
        "age not in (1, 2)",
        "not age > 3",
        "not (not (age > 3))",
        "age == age",
        "age == other",
        "other != age",
        "1 < age < 5",
        "age > 3 or not age > 3",
        "age > 3 and other == 1",
    ],
)
def test_missing_compares_with_nothing(text: str, cell: str | None) -> None:
    assert outcome(text, age=cell, other="1") is None


@pytest.mark.parametrize("cell", [None, "", "n/a", "NaN"])
def test_only_is_missing_sees_a_missing_cell(cell: str | None) -> None:
    assert is_missing(cell)
    for text in ("age is missing", "age is n/a", "age is N/A", "not age is not missing"):
        assert outcome(text, age=cell) is True
        assert outcome(text, age="0") is False
    for text in ("age is not missing", "age is not n/a", "not (age is missing)"):
        assert outcome(text, age=cell) is False
        assert outcome(text, age="0") is True


@pytest.mark.parametrize("cell", ["NA", "none", "null", "0", "n.a.", "missing", "inf"])
def test_what_only_looks_missing_is_a_value(cell: str) -> None:
    assert not is_missing(cell)


@pytest.mark.parametrize(
    ("text", "a", "b", "expected"),
    [
        ("a == b", "1", "01.0", True),
        ("a < b", "9", "10", True),
        ("a == b", "x", "x", True),
        ("a < b", "x10", "x9", True),
        ("a == b", "1", "x", False),
        ("a != b", "1", "x", True),
        ("a < b", "1", "x", None),
        ("a >= b", "89+", "9", None),
        ("a != b", "1", "n/a", None),
        ("0 < a < b < 5", "1", "2", True),
        ("0 < a < b < 2", "1", "2", False),
    ],
)
def test_two_columns(text: str, a: str, b: str, expected: bool | None) -> None:
    assert outcome(text, a=a, b=b) is expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("t or f and f", True),
        ("(t or f) and f", False),
        ("not f and f", False),
        ("not (f and f)", True),
        ("not t or t", True),
        ("not not t", True),
        ("u and f", False),
        ("u and t", None),
        ("u or t", True),
        ("u or f", None),
        ("not u", None),
        ("f or f or t", True),
        ("t and t and f", False),
    ],
)
def test_precedence_and_three_values(text: str, expected: bool | None) -> None:
    for word, condition in (("t", "one == 1"), ("f", "one == 2"), ("u", "none_ == 1")):
        text = " ".join(
            w.replace(word, condition) if w.strip("()") == word else w for w in text.split(" ")
        )
    assert outcome(text, one="1") is expected


def test_columns_and_qualifiers() -> None:
    text = (
        "participants.age > 1 and sessions.`odd name` == 2 or `a.b` in (1) and x < scans.y"
        " or `in` is missing or `tick\\`ed` == 1 or not_a == 1"
    )
    where = parse_where(text)
    assert where.text == text
    assert where.columns == {
        Column("age", "participants"),
        Column("odd name", "sessions"),
        Column("a.b"),
        Column("x"),
        Column("y", "scans"),
        Column("in"),
        Column("tick`ed"),
        Column("not_a"),
    }
    assert str(Column("age")) == "age"
    assert str(Column("age", "sessions")) == "sessions.age"


@pytest.mark.parametrize(
    ("text", "at", "words"),
    [
        ("age = 3", 5, ["write '==' instead of '='"]),
        ("age === 3", 5, ["'=='"]),
        ("age => 3", 5, ["'>='"]),
        ("age =< 3", 5, ["'<='"]),
        ("age <> 3", 5, ["'!='"]),
        ("age ≥ 3", 5, ["'>='"]),
        ("a == 1 && b == 2", 8, ["'and'"]),
        ("a == 1 | b == 2", 8, ["'or'"]),
        ("!(a == 1)", 1, ["'not'"]),
        ("age >=", 7, ["column name or a value", "after '>='", "found the end"]),
        ("age >= and b", 8, ["after '>='", "found 'and'"]),
        ("age", 4, ["comparison", "'in'", "after 'age'", "found the end"]),
        ("18", 3, ["comparison", "after '18'"]),
        ("not", 4, ["column name", "after 'not'"]),
        ("and", 1, ["found 'and'"]),
        ("(age > 3", 9, ["')'", "found the end"]),
        ("age > 3)", 8, ["or the end", "found ')'"]),
        ("()", 2, ["found ')'"]),
        ("age > 3 sex == 'F'", 9, ["'and', 'or' or the end", "found 'sex'"]),
        ("acq_time < 2020-01-01", 16, ["found '-01'", "dates go in quotes"]),
        ("hand-score > 2", 5, ["unexpected '-'", "`backquotes`"]),
        ("7T > 2", 1, ["'7T' is not a number", "`backquotes`"]),
        ("age > 1.2.3", 7, ["'1.2.3' is not a number"]),
        ("age > 1e999", 7, ["too large"]),
        ("age > " + "9" * 400, 7, ["too large", "..."]),
        ("sex == 'F", 8, ["the quote ' is not closed"]),
        ('sex == "F', 8, ['the quote " is not closed']),
        ("`sex == 'F'", 1, ["the quote ` is not closed"]),
        ("sex == “F”", 8, ["typographic quote"]),
        ("sex in (F, M)", 9, ["text in quotes", "found 'F'"]),
        ("sex in ()", 9, ["found ')'"]),
        ("sex in ('F' 'M')", 13, ["',' or ')'"]),
        ("sex in ('F']", 12, ["',' or ')'", "found ']'"]),
        ("sex in 'F'", 8, ["list of values"]),
        ("sex in", 7, ["list of values"]),
        ("sex not 'F'", 9, ["'in'"]),
        ("'F' in sex", 5, ["a comparison"]),
        ("sex in ('F') == 1", 14, ["found '=='"]),
        ("sex is 'F'", 8, ["'missing'", "=="]),
        ("sex is not", 11, ["'missing'"]),
        ("sex == n/a", 8, ["COLUMN is missing"]),
        ("sex == 'n/a'", 8, ["COLUMN is missing"]),
        ("sex in ('F', '')", 14, ["COLUMN is missing"]),
        ("sex == none", 8, ["COLUMN is missing"]),
        ("sex == True", 8, ["truth value", "quotes"]),
        ("'age' > 18", 1, ["no column", "without quotes"]),
        ("x == 1 and 3 < 5 < y", 12, ["no column"]),
        ("participant.age > 3", 1, ["'participant' is not a table", "'participants'"]),
        ("foo.bar > 3", 1, ["'foo' is not a table", "participants, sessions or scans"]),
        ("participants. > 3", 15, ["column name", "after '.'"]),
        ("a > " + "b" * 50 + " c", 56, ["bbb...", "found 'c'"]),
    ],
)
def test_errors_say_where_and_what(text: str, at: int, words: list[str]) -> None:
    with pytest.raises(SelectionError) as caught:
        parse_where(text)
    message = str(caught.value)
    assert f"at character {at}:" in message
    assert "\n" not in message
    for word in words:
        assert word in message


@pytest.mark.parametrize("text", ["", " \n\t"])
def test_empty(text: str) -> None:
    with pytest.raises(SelectionError, match="--where is empty"):
        parse_where(text)


def test_deep_nesting_is_refused_and_never_exhausts_the_stack() -> None:
    for text in ("(" * 10_000, "(" * 10_000 + "a == 1" + ")" * 10_000, "not (" * 5_000):
        with pytest.raises(SelectionError, match="more than 50 parentheses"):
            parse_where(text)
    assert outcome("(" * 50 + "a == 1" + ")" * 50, a="1") is True
    assert outcome("(a == 1) and " * 60 + "a == 1", a="1") is True
    limit = sys.getrecursionlimit()
    assert outcome("not (a == 2 or a == 1 and not a == 3 and " * 50 + "a == 1" + ")" * 50, a="1")
    assert outcome("not " * 10_001 + "a == 1", a="1") is False
    assert outcome(" or ".join(f"a == {i}" for i in range(10_000)), a="9999") is True
    assert outcome("a in (" + ",".join(map(str, range(10_000))) + ")", a="9999") is True
    assert sys.getrecursionlimit() == limit


def test_hostile_cells_and_texts_take_linear_time() -> None:
    before = time.process_time()
    assert outcome("age > 1", age="9" * 200_000 + "x") is None
    for text in ("9" * 200_000 + "x", "a == '" + "\\'" * 100_000, "a" * 200_000, "a ." * 100_000):
        with pytest.raises(SelectionError):
            parse_where(text)
    assert time.process_time() - before < 2


def test_nothing_is_evaluated() -> None:
    for text in ("__import__('os').system('x') == 0", "a.b.c == 1", "a[0] == 1", "a(1) == 1"):
        with pytest.raises(SelectionError):
            parse_where(text)


# --- a reference that shares no code with the parser and the evaluation ---

COLUMNS = ("age", "sex", "odd name")
SPELLINGS = {"1": 1, "01": 1, "1.0": 1, "2": 2, "2.5": 2.5, "-3": -3, "1e1": 10, "+7": 7}
TEXTS = ("F", "M", "89+", "it's", 'q"q', "back\\slash", "inf", "2020-01-01", "NOT", "a b")
MISSING = ("n/a", "", "NaN", None)
SIGNS = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

Cells = Mapping[str, "str | None"]

cells = st.fixed_dictionaries(
    {name: st.sampled_from([*SPELLINGS, *TEXTS, *MISSING]) for name in COLUMNS}
)
columns = st.tuples(st.just("column"), st.sampled_from(COLUMNS))
literals = st.one_of(
    st.tuples(st.just("number"), st.sampled_from(list(SPELLINGS))),
    st.tuples(st.just("text"), st.sampled_from([*SPELLINGS, *TEXTS])),
)
signs = st.sampled_from(list(SIGNS))
comparisons = st.one_of(
    st.tuples(st.just("compare"), columns, signs, st.one_of(columns, literals)),
    st.tuples(st.just("compare"), literals, signs, columns),
    st.tuples(st.just("chain"), st.one_of(columns, literals), signs, columns, signs, columns),
    st.tuples(st.just("in"), columns, st.lists(literals, min_size=1, max_size=3), st.booleans()),
    st.tuples(st.just("missing"), columns, st.booleans()),
)
conditions = st.recursive(
    comparisons,
    lambda inner: st.one_of(
        st.tuples(st.just("not"), inner),
        st.tuples(st.sampled_from(["and", "or"]), st.lists(inner, min_size=1, max_size=3)),
    ),
    max_leaves=8,
)


def render(node: Any) -> str:
    match node:
        case ("column", name):
            return f"`{name}`" if " " in name else name
        case ("number", text):
            return text
        case ("text", text):
            return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
        case ("compare", left, sign, right):
            return f"{render(left)}{sign} {render(right)}"
        case ("chain", a, sign, b, other, c):
            return f"{render(a)} {sign}{render(b)} {other} {render(c)}"
        case ("in", column, values, negative):
            listed = ", ".join(map(render, values))
            return f"{render(column)} {'not  in' if negative else 'in'} ({listed})"
        case ("missing", column, negative):
            return f"{render(column)} is {'not ' if negative else ''}missing"
        case ("not", inner):
            return f"not ({render(inner)})"
        case (word, inner):
            return f" {word} ".join(f"({render(term)})" for term in inner)
    raise AssertionError(node)


def reference_compare(left: Any, sign: str, right: Any, row: Cells) -> bool | None:
    texts = [row[v] if kind == "column" else v for kind, v in (left, right)]
    kinds = {left[0], right[0]}
    if any(text in MISSING for text in texts):
        return None
    numbers = [SPELLINGS.get(text) for text in texts if text is not None]
    if "text" in kinds:
        return SIGNS[sign](*texts)
    if None not in numbers:
        return SIGNS[sign](*numbers)
    if "number" in kinds or (numbers != [None, None] and sign not in ("==", "!=")):
        return None
    return SIGNS[sign](*texts)


def every(values: list[bool | None]) -> bool | None:
    return False if False in values else None if None in values else True


def negate(value: bool | None) -> bool | None:
    return None if value is None else not value


def reference(node: Any, row: Cells) -> bool | None:
    match node:
        case ("compare", left, sign, right):
            return reference_compare(left, sign, right, row)
        case ("chain", a, sign, b, other, c):
            return every([reference_compare(a, sign, b, row), reference_compare(b, other, c, row)])
        case ("in", column, values, negative):
            found = negate(every([negate(reference_compare(column, "==", v, row)) for v in values]))
            return negate(found) if negative else found
        case ("missing", (_, name), negative):
            return (row[name] in MISSING) is not negative
        case ("not", inner):
            return negate(reference(inner, row))
        case ("and", inner):
            return every([reference(term, row) for term in inner])
        case ("or", inner):
            return negate(every([negate(reference(term, row)) for term in inner]))
    raise AssertionError(node)


@settings(max_examples=400, deadline=None)
@given(conditions, cells)
def test_equals_the_reference(node: Any, row: Cells) -> None:
    where = parse_where(render(node))
    assert where.evaluate(lambda column: row[column.name]) is reference(node, row)
    assert {column.name for column in where.columns} <= set(COLUMNS)


@settings(max_examples=300, deadline=None)
@given(conditions, cells, st.sets(st.sampled_from(COLUMNS)))
def test_may_hold_never_rules_out_what_turns_out_true(
    node: Any, row: Cells, unread: set[str]
) -> None:
    where = parse_where(render(node))
    asked = []

    def lookup(column: Column) -> str | None:
        asked.append(column.name)
        return row[column.name]

    possible = where.may_hold(lookup, {Column(name) for name in unread})
    assert not unread & set(asked)
    holds = where.evaluate(lambda column: row[column.name]) is True
    assert possible or not holds
    assert possible is holds or unread


def test_may_hold_rules_out() -> None:
    where = parse_where("age > 60 and sessions.score > 3 and sessions.score is not missing")
    unread = {Column("score", "sessions")}
    assert not where.may_hold({Column("age"): "20"}.get, unread)
    assert not where.may_hold({Column("age"): "n/a"}.get, unread)
    assert where.may_hold({Column("age"): "61"}.get, unread)


words = st.sampled_from(
    [
        *(*SIGNS, *"()[],.'\"`=&-\\", "and", "or", "not", "in", "is", "missing", "n/a"),
        *("age", "sex", "participants", "1", "-2.5", "'F'", "1e5", "e", "+", " "),
    ]
)


@settings(max_examples=500, deadline=None)
@given(
    st.one_of(st.text(), st.lists(words, max_size=12).map(" ".join), st.lists(words).map("".join))
)
@example("\ud800 == 1")
@example("a == '\x00'")
@example("a == ٣")
def test_garbage_is_parsed_or_refused_with_a_selection_error(text: str) -> None:
    try:
        where = parse_where(text)
    except SelectionError as error:
        assert "--where" in str(error)
    else:
        assert where.columns
        assert where.evaluate(lambda _: "1") in (True, False, None)
