"""NiPreps filter files, in every form that they are found in."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from bids.layout import Query as BIDSQuery

from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.filter_files import load_filter_file, read_filter_file
from datalad_bidsshare.selection.grammar import build_selection
from datalad_bidsshare.selection.params import read_selection
from tests.selection.definition import admits


def read(**queries: Any) -> str:
    """Give how a filter file with these queries reads in the grammar."""
    return str(build_selection(queries=read_filter_file(json.dumps(queries))))


@pytest.mark.parametrize(
    ("value", "meant"),
    [
        ("a", "acquisition=a"), (["a", "b"], "acquisition=a,b"), (1, "acquisition=1"),
        (None, "acquisition="), ([None], "acquisition="), ([None, "a"], "acquisition=a,"),
        ("*", "acquisition=*"), (["*"], "acquisition=*"), (["*", None], "acquisition=*,"),
        ("<Query.NONE: 1>", "acquisition="), ("<Query.REQUIRED: 2>", "acquisition=*"),
        ("<Query.ANY: 2>", "acquisition=*"), ("<Query.OPTIONAL: 3>", "acquisition=*,"),
        (["<Query.NONE: 1>", "a"], "acquisition=a,"), ("acq-a", "acquisition=a"),
        # the grammar's own specials are labels here
        ("a,b", "acquisition=a,b"), ("a*", "acquisition=a*"), ("re:a", "acquisition=re:a"),
    ],
)  # fmt: skip
def test_every_form_of_a_value(value: Any, meant: str) -> None:
    assert read(q={"acquisition": value}) == meant


@pytest.mark.parametrize("value", ["a,b", "a*", "re:a", "a?"])
def test_text_is_a_label_and_nothing_else(value: str) -> None:
    (query,) = read_filter_file(json.dumps({"q": {"acquisition": value}}))
    assert query.filters[0].literals == {value}


def test_members_of_pybids_query_are_spelled_as_pybids_does() -> None:
    for member in BIDSQuery:
        assert read(q={"acquisition": str([member])[1:-1]}).startswith("acquisition=")


def test_what_fmriprep_uses_by_itself() -> None:
    text = """{
      "fmap": {"datatype": "fmap"}, "bold": {"datatype": "func", "suffix": "bold"},
      "sbref": {"datatype": "func", "suffix": "sbref"},
      "flair": {"datatype": "anat", "suffix": "FLAIR", "part": ["mag", null]},
      "t1w": {"datatype": "anat", "suffix": "T1w", "part": ["mag", null]},
      "roi": {"datatype": "anat", "suffix": "roi"}
    }"""
    queries = read_filter_file(text)
    assert [q.name for q in queries] == ["fmap", "bold", "sbref", "flair", "t1w", "roi"]
    assert str(queries[4]) == "datatype=anat suffix=T1w part=mag,"


def test_index_entities_compare_as_numbers() -> None:
    (query,) = read_filter_file('{"q": {"run": [1, "02"]}}')
    assert [n for n in ("01", "1", "10", "2") if admits(query, {"run": n})] == ["01", "1", "2"]


def test_extensions_may_lack_the_dot() -> None:
    assert read(q={"extension": ["nii.gz", ".nii"]}) == "extension=.nii,.nii.gz"


def test_queries_can_be_picked() -> None:
    text = '{"t1w": {"suffix": "T1w"}, "bold": {"suffix": "bold"}, "t2w": {"suffix": "T2w"}}'
    picked = read_filter_file(text, ["bold", "t1w", "bold"])
    assert [q.name for q in picked] == ["bold", "t1w"]


@pytest.mark.parametrize(
    ("text", "names", "said"),
    [
        ("{", None, "not valid JSON"), ("[]", None, "expected an object of queries"),
        ("{}", None, "expected an object of queries"), ('"x"', None, "expected an object"),
        ('{"q": []}', None, "query 'q' is not an object of entities"),
        ('{"q": {}}', None, "query 'q' names no entity; it would select everything"),
        ('{"q": {"tasks": "a"}}', None, "query 'q': unknown BIDS entity 'tasks'; did you mean"),
        ('{"q": {"acq": "a", "acquisition": "b"}}', None, "'acquisition' is given twice"),
        ('{"q": {"acq": []}}', None, "query 'q': an empty list of values for 'acquisition'"),
        ('{"q": {"acq": ""}}', None, "an empty label; write null"),
        ('{"q": {"acq": 1.5}}', None, "1.5 cannot be a label"),
        ('{"q": {"acq": {}}}', None, "{} cannot be a label"),
        ('{"q": {"acq": true}}', None, "True cannot be a"),
        ('{"q": {"run": "x"}}', None, "query 'q': 'run' is a whole number"),
        ('{"bold": {"acq": "a"}}', ["bolt"], "there is no query 'bolt'; there is bold"),
        ('{"b": {"acq": "a"}, "a": {"acq": "a"}}', ["zz"], "no query 'zz'; there is a, b"),
        ('{"q": {"acq": "a"}}', [], "an empty list of queries; leave it out to take all"),
    ],
)  # fmt: skip
def test_what_cannot_be_meant_is_an_error(text: str, names: list[str] | None, said: str) -> None:
    with pytest.raises(SelectionError, match=said.replace("{}", r"\{\}")):
        read_filter_file(text, names)


# ---------------------------------------------------------------- files


@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path, bom: bytes) -> None:
    file = tmp_path / "filter.json"
    file.write_bytes(bom + b'{"q": {"acq": "\xc3\xa9"}}\r\n')
    assert str(load_filter_file(file)[0]) == "acquisition=é"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "cannot be read: .*No such file"), (b"\xff\xfe{", "cannot be read: .*utf-8"),
        (b"{]", "not valid JSON"), (b'{"q": {"sufix": "x"}}', "query 'q': unknown BIDS entity"),
    ],
)  # fmt: skip
def test_a_bad_file_is_named(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "filter.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SelectionError, match=rf"filter file {re.escape(str(file))}.*{said}"):
        load_filter_file(file)


def test_a_filter_file_joins_the_other_parameters(tmp_path: Path) -> None:
    file = tmp_path / "filter.json"
    file.write_text('{"t1w": {"suffix": "T1w"}, "bold": {"suffix": "bold", "session": null}}')
    selection, where = read_selection(
        filter_file=str(file), filter_query="bold", subject=["01"], where="age > 3"
    )
    assert str(selection) == "suffix=bold session= subject=01"
    assert where is not None
    selection, where = read_selection(filter_file=file, session="*")
    assert str(selection) == "suffix=T1w session=*"
    assert where is None
    with pytest.raises(SelectionError, match="give the file too"):
        read_selection(filter_query="bold")
