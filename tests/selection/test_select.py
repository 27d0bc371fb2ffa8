"""The quick way to select gives what the definition of a selection gives."""

from __future__ import annotations

import time
from collections.abc import Iterable
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datalad_bidsshare.selection.entities import parse, recording_directory, recording_entities
from datalad_bidsshare.selection.filter_files import read_filter_file
from datalad_bidsshare.selection.filters import Query, Selection
from datalad_bidsshare.selection.grammar import build_selection
from datalad_bidsshare.selection.select import Selector, bids_roots, unmet_values, values_near
from datalad_bidsshare.selection.vocabulary import vocabulary
from tests.selection.definition import admits
from tests.trees import bids_tree

TREES = [bids_tree(0, subjects=1), bids_tree(1, subjects=1, sessions=2)]
NAMES = sorted({p for tree in TREES for p in tree})


@cache
def all_said(path: str) -> list[dict[str, str]]:
    """Give what a name says as part of its recording, if it is in one, and by itself."""
    recording = recording_directory(path)
    if recording is None:
        return [parse(path)]
    whole = recording_entities(recording)
    return [whole] if recording.endswith(".zarr") else [whole, parse(path)]


def brute_force(selection: Selection, paths: Iterable[str]) -> list[str]:
    """Ask every name, with nothing skipped."""
    chosen = []
    for path in paths:
        said = all_said(path)
        if selection.queries and not any(admits(q, e) for q in selection.queries for e in said):
            continue
        if not selection.excludes(path, {**parse(path), **said[0]}):
            chosen.append(path)
    return chosen


def values_of(entity: str) -> list[str]:
    labels = {e[entity] for e in map(parse, NAMES) if entity in e}
    if entity == "extension":
        labels |= {".ds", ".mefd", ".ome.zarr", ".zarr"}
    return sorted(labels)


ENTITIES = [e for e in vocabulary().entities if values_of(e) and e != "scans"]


@st.composite
def entity_filter(draw: st.DrawFn) -> tuple[str, list[Any]]:
    entity = draw(st.sampled_from(ENTITIES))
    labels = st.sampled_from(values_of(entity))
    value = st.one_of(labels, labels, labels.map(lambda v: f"{v[:2]}*"), st.just("*"), st.just(""))
    return entity, draw(st.lists(value, min_size=1, max_size=3))


QUERY = st.lists(entity_filter(), min_size=1, max_size=3, unique_by=lambda f: f[0])


def _is_path(text: str) -> bool:
    return not text.startswith("/") and "//" not in text and not text.endswith("/")


#: Names that no tree has: separators where none are expected, and halves of tokens.
ODD = st.lists(
    st.sampled_from(
        ["sub-01", "_", "/", "\\", "\n", ".", ".nii.gz", "bold", "T1w", "func", "anat", "meg",
         "run-01", "run-1", "task-rest", "x.ds", ".zarr", "-", "sub-01_meg", "desc-a", "from-a_xfm",
         "res-2"]
    ),
    min_size=1, max_size=9,
).map("".join).filter(_is_path)  # fmt: skip


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(filters=QUERY, odd=st.lists(ODD, max_size=5), tree=st.sampled_from(TREES))
@example(filters=[("datatype", ["anat"])], odd=["anat\\sub-01_T1w.nii.gz"], tree=[])
@example(filters=[("suffix", ["meg"])], odd=[], tree=TREES[0])
@example(filters=[("extension", [".ds"])], odd=["x.ds/a_b.c", "x.ds/run-1.ds"], tree=TREES[0])
def test_no_wanted_name_is_lost_and_no_other_found(
    filters: list[tuple[str, list[Any]]], odd: list[str], tree: list[str]
) -> None:
    selection = build_selection(entities=dict(filters))
    names = [*tree, *odd]
    selector = Selector(selection, skip=False)
    expected = brute_force(selection, names)
    assert list(selector.select(names)) == expected
    keep = selector.prefilter()
    if keep:
        assert set(keep(names)) >= set(expected)
        # as it is used on the entries of an index
        entries = [f"120000 1234 0\t{name}" for name in names]
        assert {e.partition("\t")[2] for e in keep(entries)} >= set(expected)
    # one name at a time, and by another selector, in another order
    again = Selector(selection, skip=False)
    assert [n for n in reversed(names) if again.wants(n)] == expected[::-1]


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(filters=st.lists(QUERY, max_size=2), unwanted=st.lists(entity_filter(), max_size=2))
def test_unions_and_exclusions_too(
    filters: list[list[tuple[str, list[Any]]]], unwanted: list[tuple[str, list[Any]]]
) -> None:
    queries = [q for f in filters for q in build_selection(entities=dict(f)).queries]
    excluded = tuple(
        f for e, v in unwanted for f in build_selection(entities={e: v}).queries[0].filters
    )
    selection = Selection(tuple(queries), excluded)
    expected = brute_force(selection, TREES[0])
    assert list(Selector(selection, skip=False).select(TREES[0])) == expected


def test_the_prefilter_does_away_with_most() -> None:
    selection = build_selection(
        {"task": "rest", "suffix": "bold", "extension": "nii.gz", "run": "1", "datatype": "func"}
    )
    keep = Selector(selection).prefilter()
    assert keep
    assert 0 < len(keep(NAMES)) < len(NAMES) / 20


@pytest.mark.parametrize(
    "options", [{}, {"task": "*"}, {"task": "rest*"}, {"session": ""}, {"task": "rest,"}]
)
def test_without_a_necessary_text_there_is_no_prefilter(options: dict[str, str]) -> None:
    assert Selector(build_selection(options)).prefilter() is None


def test_many_queries_have_no_prefilter() -> None:
    queries = [*build_selection({"task": "a"}).queries, *build_selection({"task": "b"}).queries]
    assert Selector(Selection(tuple(queries))).prefilter() is None


# ---------------------------------------------------------------- places

PLACES = [
    ".bidsignore", "README", "code/sub-01_T1w.nii", "derivatives/p/dataset_description.json",
    "derivatives/p/sub-01/anat/sub-01_desc-x_T1w.nii", "derivatives/p/code/sub-01_T1w.nii",
    "sub-01/anat/sub-01_T1w.nii", "sub-01/code/sub-01_T1w.nii", "sub-02/anat/sub-02_T1w.nii",
]  # fmt: skip


def found(within: list[str], **options: Any) -> list[str]:
    selection = build_selection(options)
    return list(Selector(selection, within, bids_roots(PLACES)).select(PLACES))


def test_bids_roots_are_where_descriptions_are() -> None:
    assert bids_roots(PLACES) == {"", "derivatives/p"}
    assert bids_roots([]) == {""}


def test_side_directories_are_those_below_a_bids_root() -> None:
    assert found([], suffix="T1w") == [PLACES[6], PLACES[7], PLACES[8]]
    assert found(["derivatives/p"], suffix="T1w") == [PLACES[4]]
    assert found(["derivatives/p/code"], suffix="T1w") == [PLACES[5]]
    assert found(["code"], suffix="T1w") == [PLACES[2]]


def test_paths_restrict() -> None:
    assert found(["sub-02"], suffix="T1w") == [PLACES[8]]
    assert found(["sub-0"], suffix="T1w") == []
    assert found([PLACES[6], "sub-02/anat"], suffix="T1w") == [PLACES[6], PLACES[8]]
    assert found(["", "sub-02"], suffix="T1w") == [PLACES[6], PLACES[7], PLACES[8]]


def test_without_a_query_nothing_is_skipped() -> None:
    assert found([]) == PLACES
    assert found(["derivatives"]) == PLACES[3:6]


@pytest.mark.parametrize(
    ("mount", "within", "exclude", "may"),
    [
        ("sub-01", [], None, True), ("sub-02", [], None, False), ("sub-01/ses-1", [], None, True),
        ("inputs/raw", [], None, True), ("sourcedata/raw", [], None, False),
        ("sourcedata/raw", ["sourcedata"], None, True),
        ("sourcedata/raw", ["sourcedata/raw/sub-01"], None, True),
        ("sourcedata/raw", ["sub-01"], None, False), ("sub-01", ["sub-01/anat"], None, True),
        ("sub-01", [], "sub-01/", False), ("sub-01", [], "sub-0*", False),
        ("sub-01", [], "*.json", True), ("sub-01", [], "sub-01/anat", True),
        ("sub-01", [], "/sub-01", False), ("x/sub-01", [], "/sub-01", True),
    ],
)  # fmt: skip
def test_which_subdatasets_may_hold_a_wanted_file(
    mount: str, within: list[str], exclude: str | None, may: bool
) -> None:
    selection = build_selection({"subject": "01"}, exclude=exclude)
    assert Selector(selection, within).may_hold(mount) is may


def test_what_a_directory_says() -> None:
    said = Selector(build_selection()).directory_entities("sub-01/ses-2/anat")
    assert said == {"subject": "01", "session": "2", "datatype": "anat"}


# ---------------------------------------------------------------- values that are not there


def test_unmet_values_are_those_that_no_file_has() -> None:
    selection = build_selection({"subject": "01,02", "run": "1,3", "task": "rest*"})
    names = ["sub-01_run-01", "sub-01_run-001", "sub-03_run-2"]
    said = [{"subject": n[4:6], "run": n.rpartition("-")[2]} for n in names]
    assert list(unmet_values(selection, said)) == [("subject", "02"), ("run", "3")]
    assert list(unmet_values(selection, [])) == [
        ("subject", "01"), ("subject", "02"), ("run", "1"), ("run", "3"),
    ]  # fmt: skip
    said += [{"subject": "02"}, {"run": "3"}]
    assert unmet_values(selection, said) == {}
    assert unmet_values(Selection((Query(()),)), said) == {}


def test_unmet_values_of_a_filter_file_count_where_it_finds_nothing() -> None:
    queries = read_filter_file('{"t1w": {"suffix": "T1w"}, "flair": {"suffix": "FLAIR"}}')
    found = [{"subject": "01", "suffix": "T1w"}]
    assert unmet_values(build_selection(queries=queries), found) == {}
    assert list(unmet_values(build_selection(queries=queries), [])) == [
        ("suffix", "T1w"), ("suffix", "FLAIR"),
    ]  # fmt: skip
    # What is asked of all the queries was asked by somebody who looks at this dataset.
    narrowed = build_selection({"subject": "01,02"}, queries=queries)
    assert list(unmet_values(narrowed, found)) == [("subject", "02")]
    narrowed = build_selection({"suffix": "T1w,T1ww"}, queries=queries)
    assert str(narrowed) == "suffix=T1w"
    assert list(unmet_values(narrowed, found)) == [("suffix", "T1ww")]


def test_positional_paths_by_the_thousand_are_quick() -> None:
    within = [f"sub-{i:04}/anat" for i in range(2000)]
    names = [f"sub-{i:04}/{d}/x_T1w.nii" for i in range(4000) for d in ("anat", "a", "anat2")]
    named = [f"sourcedata/sub-{i:04}.nii" for i in range(2000)]
    selector = Selector(build_selection({"extension": "nii"}), [*within, *named])
    before = time.process_time()
    found = list(selector.select([*names, *named, "sourcedata/other.nii"]))
    # A test of each name against each path would take several times that.
    assert time.process_time() - before < 1.5
    assert found == [*(f"{w}/x_T1w.nii" for w in within), *named]


@pytest.mark.parametrize(
    ("asked", "known", "near"),
    [
        ("1", ["001", "01", "10", "2", "02", "03"], ["001", "01", "10"]),
        ("restt", ["rest", "nback", "a", "b", "c"], ["rest"]),
        ("ACH", ["NOT1ACH001", "b", "c", "d", "e"], ["NOT1ACH001"]),
        ("zz", ["b", "a"], ["a", "b"]),
        ("zz", list("abcdef"), []),
        ("zz", [], []),
        ("0", ["a"], ["a"]),
    ],
)
def test_near_values(asked: str, known: list[str], near: list[str]) -> None:
    assert values_near(asked, known) == near
