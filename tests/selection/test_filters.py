"""The selection grammar, statement by statement."""

from __future__ import annotations

from typing import Any

import pytest
from bids.layout import Query as BIDSQuery

from datalad_bidsshare.selection.entities import parse
from datalad_bidsshare.selection.errors import SelectionError, UnknownEntityError
from datalad_bidsshare.selection.filters import OPTIONS, Query, Selection, ValueFilter
from datalad_bidsshare.selection.grammar import build_filter, build_selection
from datalad_bidsshare.selection.params import read_selection
from datalad_bidsshare.selection.vocabulary import vocabulary
from tests.selection.definition import admits

ABSENT = None


def admitted(key: str, values: Any, labels: list[str | None]) -> list[str | None]:
    """Give those labels that a filter admits."""
    built = build_filter(key, values)
    return [label for label in labels if built.admits(label)]


def wanted(selection: Selection, paths: list[str]) -> list[str]:
    """Give what a selection means, as its definition has it."""
    chosen = []
    for path in paths:
        said = parse(path)
        asked_for = not selection.queries or any(admits(q, said) for q in selection.queries)
        if asked_for and not selection.excludes(path, said):
            chosen.append(path)
    return chosen


# ---------------------------------------------------------------- keys


def test_options_are_entities() -> None:
    assert [vocabulary().canonical(name) for name in OPTIONS] == list(OPTIONS)


@pytest.mark.parametrize("key", ["mt", "mtransfer"])
def test_a_key_in_any_spelling_is_the_same_filter(key: str) -> None:
    assert str(build_filter(key, "on")) == "mt=on"


def test_an_unknown_key_is_an_error_and_never_a_guess() -> None:
    with pytest.raises(UnknownEntityError, match="'tasks'; did you mean task"):
        build_filter("tasks", "rest")
    with pytest.raises(UnknownEntityError, match="'Task'"):
        build_filter("Task", "rest")


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("key", "given", "label"),
    [
        ("sub", "sub-01", "01"), ("sub", "01", "01"), ("ses", "ses-pre", "pre"),
        ("acquisition", "acq-high", "high"), ("desc", "desc-preproc", "preproc"),
        ("space", "space-MNI152NLin2009cAsym", "MNI152NLin2009cAsym"),
        ("subject", "ses-01", "ses-01"), ("acquisition", "acquisition-x", "acquisition-x"),
        ("suffix", "suffix-bold", "suffix-bold"), ("sub", "sub-sub-01", "sub-01"),
    ],
)  # fmt: skip
def test_the_leading_key_is_stripped_and_only_that(key: str, given: str, label: str) -> None:
    assert build_filter(key, given).literals == {label}


@pytest.mark.parametrize("given", ["sub-", ["01", "sub-"]])
def test_a_key_without_a_label_is_an_error(given: Any) -> None:
    with pytest.raises(SelectionError, match="'sub-' has no label behind the key of 'subject'"):
        build_filter("subject", given)


@pytest.mark.parametrize(
    "given",
    ["01,02", "01, 02", "sub-01,sub-02", ["01", "02"], ("02", "01"), {"01", "02"},
     ["01,02", "02"], iter(["01", "02"]), {"01": 1, "02": 2}.keys()],
    ids=str,
)  # fmt: skip
def test_lists_of_all_kinds_are_alternatives(given: Any) -> None:
    assert str(build_filter("subject", given)) == "subject=01,02"


def test_a_label_is_the_whole_label() -> None:
    assert admitted("task", "rest", ["rest", "resting", "Rest", "unrest", None]) == ["rest"]


def test_globs_are_the_shells() -> None:
    labels = ["rest", "resting", "rest2", "unrest", "Rest", None]
    assert admitted("task", "rest*", labels) == ["rest", "resting", "rest2"]
    assert admitted("task", "rest?", labels) == ["rest2"]
    assert admitted("task", "[Rr]est", labels) == ["rest", "Rest"]
    assert admitted("task", "task-rest*", labels) == ["rest", "resting", "rest2"]
    assert admitted("task", "rest?,Rest", labels) == ["rest2", "Rest"]


@pytest.mark.parametrize("given", ["*", ["x", "*"], "sub-*", BIDSQuery.ANY, BIDSQuery.REQUIRED])
def test_present(given: Any) -> None:
    assert admitted("sub", given, ["01", "a", None]) == ["01", "a"]


@pytest.mark.parametrize("given", ["", None, [None], [""], BIDSQuery.NONE, (BIDSQuery.NONE,)])
def test_absent(given: Any) -> None:
    assert admitted("acq", given, ["a", None]) == [None]


@pytest.mark.parametrize("given", ["a,", ",a", ["a", None], ["a", ""], ["a", BIDSQuery.NONE]])
def test_a_label_or_absent(given: Any) -> None:
    assert admitted("acq", given, ["a", "b", None]) == ["a", None]


def test_optional_is_anything() -> None:
    assert admitted("acq", BIDSQuery.OPTIONAL, ["a", None]) == ["a", None]


def test_regular_expressions_match_the_whole_label() -> None:
    labels = ["rest", "resting", "REST", "a,b", None]
    assert admitted("task", "re:rest", labels) == ["rest"]
    assert admitted("task", "re:rest(ing)?", labels) == ["rest", "resting"]
    assert admitted("task", "re:(?i)rest", labels) == ["rest", "REST"]
    assert admitted("task", ["re:REST", "rest"], labels) == ["rest", "REST"]


def test_a_regular_expression_may_hold_commas() -> None:
    labels = ["a", "aa", "aaa", "a,b", "b"]
    assert admitted("task", "re:a{2,3}", labels) == ["aa", "aaa"]
    assert admitted("task", "re:a,b", labels) == ["a,b"]
    selection = build_selection(entities=["task=re:a{2,3}"])
    assert str(selection) == "task=re:a{2,3}"


@pytest.mark.parametrize("key", ["task", "extension"])
def test_a_broken_regular_expression_is_an_error(key: str) -> None:
    with pytest.raises(SelectionError, match=r"'\(a' \(for '\w+'\) is not a regular expression"):
        build_filter(key, "re:(a")


@pytest.mark.parametrize("given", ["nii.gz", ".nii.gz"])
def test_extensions_with_and_without_the_dot(given: str) -> None:
    extensions = [".nii.gz", ".nii", ".gz", None]
    assert admitted("extension", given, extensions) == [".nii.gz"]


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("gz", [".gz"]), ("nii", [".nii"]), ("nii*", [".nii.gz", ".nii"]),
        (".nii*", [".nii.gz", ".nii"]), ("*.gz", [".nii.gz", ".tsv.gz", ".gz"]), ("*gz", [
            ".nii.gz", ".tsv.gz", ".gz"]), ("nii.gz,json", [".nii.gz", ".json"]),
        (r"re:nii(\.gz)?", [".nii.gz", ".nii"]), (r"re:\.nii(\.gz)?", [".nii.gz", ".nii"]),
        (r"re:(?i)JSON", [".json"]), ("re:json|nii", [".nii", ".json"]), ("[jn]*", [
            ".nii.gz", ".nii", ".json"]),
        ("*", [".nii.gz", ".tsv.gz", ".gz", ".nii", ".json"]), ("", [None]),
    ],
)  # fmt: skip
def test_all_of_an_extension_counts(given: str, found: list[str | None]) -> None:
    extensions = [".nii.gz", ".tsv.gz", ".gz", ".nii", ".json", None]
    assert admitted("ext", given, extensions) == found


@pytest.mark.parametrize("given", [1, "1", "01", "run-1", "run-001", ["1"]])
def test_index_entities_compare_as_numbers(given: Any) -> None:
    labels = ["1", "01", "001", "10", "2", "11", None]
    assert admitted("run", given, labels) == ["1", "01", "001"]


@pytest.mark.parametrize("key", ["run", "echo", "flip", "inv", "chunk", "split"])
def test_all_index_entities_do(key: str) -> None:
    assert admitted(key, f"{key}-2", ["2", "02", "20", "12"]) == ["2", "02"]


def test_labels_of_other_entities_do_not() -> None:
    assert admitted("subject", 1, ["1", "01"]) == ["1"]
    assert admitted("session", "01", ["1", "01"]) == ["01"]


def test_patterns_on_index_entities_are_about_the_label() -> None:
    assert admitted("run", "0?", ["1", "01", "02"]) == ["01", "02"]
    assert admitted("run", "re:1", ["1", "01"]) == ["1"]


def test_an_index_that_is_no_number_is_an_error() -> None:
    with pytest.raises(SelectionError, match="'run' is a whole number in BIDS, 'first' is not"):
        build_filter("run", "first")


@pytest.mark.parametrize("given", [1.0, True, b"01", ["01", ["02"]], object])
def test_what_cannot_be_a_label_is_an_error(given: Any) -> None:
    with pytest.raises(SelectionError, match="cannot be a value of 'subject'; give a label"):
        build_filter("subject", given)


def test_numbers_of_numpy_and_padded_ones_of_pybids_are_numbers() -> None:
    import numpy
    from bids.layout.utils import PaddedInt

    assert admitted("run", numpy.int64(1), ["01", "10"]) == ["01"]
    assert admitted("sub", PaddedInt("01"), ["01", "1"]) == ["01"]


@pytest.mark.parametrize("empty", [[], (), set(), iter([])])
def test_an_empty_list_is_an_error_and_not_everything(empty: Any) -> None:
    with pytest.raises(SelectionError, match="empty list of values for 'subject' selects nothing"):
        build_selection({"subject": empty})
    with pytest.raises(SelectionError, match="empty list of values for 'acquisition'"):
        build_selection(entities={"acq": []})


def test_a_filter_says_what_it_is() -> None:
    assert str(build_filter("run", ["10", "re:0.", "*", "2", None])) == "run=2,10,re:0.,*,"
    assert not build_filter("run", "*").is_literal
    assert build_filter("run", "1").is_literal
    assert not ValueFilter("run").is_possible


@pytest.mark.parametrize(
    ("key", "listed", "label", "meant"),
    [("run", "1", "01", True), ("run", "1", "10", False), ("run", "1", "x", False),
     ("sub", "1", "01", False), ("sub", "1", "1", True)],
)  # fmt: skip
def test_which_label_a_listed_one_means(key: str, listed: str, label: str, meant: bool) -> None:
    built = build_filter(key, listed)
    assert built.wanted == [listed]
    assert built.has_literal(listed, label) is meant


# ---------------------------------------------------------------- together

PATHS = [
    "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_acq-a_T1w.nii.gz",
    "sub-01/func/sub-01_task-rest_run-01_bold.nii.gz",
    "sub-01/func/sub-01_task-rest_run-10_bold.nii.gz", "sub-02/anat/sub-02_T1w.nii.gz",
]  # fmt: skip


def test_and_between_keys_or_between_values() -> None:
    selection = build_selection({"subject": ["01", "02"], "suffix": "T1w", "task": None})
    assert wanted(selection, PATHS) == [PATHS[0], PATHS[1], PATHS[4]]
    assert str(selection) == "subject=01,02 suffix=T1w"


def test_no_query_is_everything() -> None:
    assert wanted(build_selection(), PATHS) == PATHS
    # nothing is asked of a name by no entities at all
    assert wanted(build_selection({"subject": None}, entities={}), PATHS) == PATHS


@pytest.mark.parametrize(
    "given", [["acq=a"], "acq=a", {"acq": "a"}, {"acquisition": ["acq-a"]}, ["acquisition=acq-a"]]
)
def test_entities_by_key(given: Any) -> None:
    assert wanted(build_selection(entities=given), PATHS) == [PATHS[1]]


def test_repetition_is_a_list_of_values_in_whatever_spelling() -> None:
    selection = build_selection(entities=["acq=a", "sub=01", "acquisition=", "subject=02"])
    assert str(selection) == "acquisition=a, subject=01,02"


def test_a_value_may_hold_an_equals_sign() -> None:
    assert str(build_selection(entities=["task=re:a=b"])) == "task=re:a=b"


@pytest.mark.parametrize("given", ["acq", "=a", "acq-a", "", "sub-01/x=1"])
def test_what_is_no_key_value_is_an_error(given: str) -> None:
    with pytest.raises(SelectionError, match="is not of the form KEY=VALUE, such as acq=highres"):
        build_selection(entities=[given])


def test_the_same_filter_in_two_places_is_one() -> None:
    selection = build_selection({"run": "1"}, entities=["run=01"])
    assert str(selection) == "run=1"


def test_two_filters_of_one_entity_conflict() -> None:
    with pytest.raises(SelectionError, match=r"conflicting filters for 'subject': .*01.*02"):
        build_selection({"subject": "01"}, entities=["sub=02"])
    with pytest.raises(SelectionError, match="'acquisition' is given twice, under two names"):
        build_selection(entities={"acq": "a", "acquisition": "b"})


# ---------------------------------------------------------------- exclusion


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("suffix=bold", [0, 1, 4]), (["suffix=bold", "acq=a"], [0, 4]), ("sub-01/", [4]),
        ("run=1", [0, 1, 3, 4]), ("task=*", [0, 1, 4]), ("acq=", [1]), ("*T1w*", [2, 3]),
        ("sub=re:0[1]", [4]), ("suffix=bold,T1w", []), ("/func", [0, 1, 2, 3, 4]),
        ("**/func", [0, 1, 4]),
    ],
)  # fmt: skip
def test_exclude_takes_away(given: Any, left: list[int]) -> None:
    assert wanted(build_selection(exclude=given), PATHS) == [PATHS[i] for i in left]


def test_exclusions_take_companions_too_but_not_for_lacking_an_entity() -> None:
    selection = build_selection({"suffix": "bold"}, exclude=["suffix=events", "acq=", "*.tsv"])
    for path, gone in [
        ("sub-01/func/sub-01_task-a_acq-b_events.json", True), ("participants.tsv", True),
        ("task-a_bold.json", False),
    ]:  # fmt: skip
        assert selection.excludes(path, parse(path), companion=True) is gone
    assert selection.excludes("task-a_bold.json", parse("task-a_bold.json"))


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "an empty list of exclusions"), ("", "an empty exclusion; give KEY=VALUE or a glob"),
        ("sufix=bold", "'sufix'; did you mean suffix"), ("sub-[01", "without a ']'"),
    ],
)  # fmt: skip
def test_an_exclusion_that_cannot_be_meant(given: Any, said: str) -> None:
    with pytest.raises(SelectionError, match=said):
        build_selection(exclude=given)


@pytest.mark.parametrize("unwanted", ["sub=01", "sub=0*", "sub=*", "sub=01,02"])
def test_an_exclusion_of_all_that_is_asked_for_conflicts(unwanted: str) -> None:
    with pytest.raises(SelectionError, match=r"--exclude subject=.* takes away all"):
        build_selection({"subject": "01"}, exclude=unwanted)


@pytest.mark.parametrize("unwanted", ["sub=02", "task=rest", "sub="])
def test_an_exclusion_of_some_does_not(unwanted: str) -> None:
    assert build_selection({"subject": "01,03"}, exclude=unwanted).excluded


# ---------------------------------------------------------------- narrowing of queries


def narrowed(query: dict[str, Any], **options: Any) -> str:
    queries = [Query(tuple(build_filter(k, v) for k, v in query.items()), "q")]
    return str(build_selection(options, queries=queries))


@pytest.mark.parametrize(
    ("there", "option", "both"),
    [
        (["a", "b"], "b", "acquisition=b"), ("a", "*", "acquisition=a"),
        ("*", "a", "acquisition=a"), ("*", "*", "acquisition=*"), ("*", "a*", "acquisition=a*"),
        (["a", None], "", "acquisition="), ([None, "a"], "a", "acquisition=a"),
        ([None, "*"], "", "acquisition="), ([None, "*"], ["a", ""], "acquisition=a,"),
        (["a", "b", "ab"], "a*", "acquisition=a,ab"), ("a*", "ab", "acquisition=ab"),
        ("a*", "a*", "acquisition=a*"), ("", "", "acquisition="),
    ],
)  # fmt: skip
def test_an_option_narrows_a_query(there: Any, option: Any, both: str) -> None:
    assert str(build_selection(
        entities={"acq": option}, queries=[Query((build_filter("acq", there),), "q")]
    )) == both  # fmt: skip


def test_numbers_narrow_as_numbers() -> None:
    assert narrowed({"run": ["01", "2"]}, run="1") == "run=1"
    assert narrowed({"run": "*"}, run="1") == "run=1"


@pytest.mark.parametrize(
    ("there", "option"),
    [("a", "b"), (None, "*"), ("*", ""), (None, "a"), ("a", ""), ("a", "b*"), ("a*", "b"),
     ("a*", "")],
)  # fmt: skip
def test_an_option_that_contradicts_the_only_query_is_an_error(there: Any, option: Any) -> None:
    with pytest.raises(SelectionError, match=r"contradicts acquisition=.* of query 'q'"):
        build_selection(
            entities={"acq": option}, queries=[Query((build_filter("acq", there),), "q")]
        )


@pytest.mark.parametrize(("key", "there", "option"), [("acq", "a*", "*b"), ("run", "1", "0?")])
def test_patterns_that_cannot_be_joined_are_an_error(key: str, there: str, option: str) -> None:
    with pytest.raises(SelectionError, match="both patterns; give only one"):
        build_selection(entities={key: option}, queries=[Query((build_filter(key, there),), "q")])


def test_a_query_that_an_option_contradicts_drops_out_of_many() -> None:
    queries = [Query((build_filter("suffix", s),), s) for s in ("T1w", "bold")]
    selection = build_selection({"suffix": "bold", "subject": "01"}, queries=queries)
    assert str(selection) == "suffix=bold subject=01"
    assert [q.name for q in selection.queries] == ["bold"]


def test_queries_are_a_union() -> None:
    queries = [Query((build_filter("suffix", s),), s) for s in ("T1w", "bold")]
    selection = build_selection({"subject": "01"}, queries=queries)
    assert str(selection) == "(suffix=T1w subject=01) or (suffix=bold subject=01)"
    assert wanted(selection, PATHS) == PATHS[:4]
    assert build_selection(queries=queries, exclude="suffix=bold").excluded


# ---------------------------------------------------------------- hostile and mistaken input


def test_numbers_of_absurd_length_compare_as_text() -> None:
    long = "1" * 5000
    assert admitted("run", "1", ["01", long, "0" * 5000 + "1"]) == ["01"]
    assert admitted("run", long, ["1", long, f"0{long}"]) == [long]
    one = build_filter("run", "1")
    assert not one.has_literal("1", long)
    assert one.has_literal("1", "001")
    assert build_filter("run", long).wanted == [long]
    with pytest.raises(SelectionError, match="a number of that length cannot be a value of 'run'"):
        build_filter("run", 10**5000)


def test_what_is_excluded_is_said() -> None:
    selection = build_selection({"subject": "01"}, exclude=["suffix=sbref", "*.json"])
    assert str(selection) == "subject=01 exclude suffix=sbref exclude *.json"
    assert str(build_selection(exclude="*.json")) == "exclude *.json"
    assert str(build_selection()) == ""


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"where": 5}, "where takes a text such as 'age >= 18', nothing of type 'int'"),
        ({"exclude": 5}, "exclude takes a text such as .* nothing of type 'int'"),
        ({"exclude": ["*.json", 5]}, "exclude takes a text .* nothing of type 'int'"),
        ({"exclude": {"suffix": "sbref"}}, "exclude takes a text .* nothing of type 'dict'"),
        ({"exclude": b"*.json"}, "exclude takes a text .* nothing of type 'bytes'"),
        ({"entities": 5}, "entities takes a text such as 'acq=highres', .* type 'int'"),
        ({"entities": [5]}, "entities takes a text .* nothing of type 'int'"),
        ({"entities": [None]}, "entities takes a text .* nothing of type 'NoneType'"),
        ({"filter_query": 5, "filter_file": "f.json"}, "filter_query takes a text .* type 'int'"),
        ({"filter_query": [5], "filter_file": "f.json"}, "filter_query takes a text .* 'int'"),
        ({"filter_file": 5}, "filter_file takes a path, nothing of type 'int'"),
    ],
)  # fmt: skip
def test_parameters_of_the_wrong_type_are_an_error_in_words(
    given: dict[str, Any], said: str
) -> None:
    with pytest.raises(SelectionError, match=said):
        read_selection(**given)
