"""The sorted names of a dataset."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from datalad_bidsshare.selection.names import Names, parents

PATHS = ["b/c/d", "a", "b.x", "b/c.y", "b-1/q", "b/a", "b0/z"]


def test_are_sorted_and_immutable_to_the_caller() -> None:
    given_paths = list(PATHS)
    names = Names(given_paths)
    given_paths.clear()
    assert list(names) == sorted(PATHS)
    assert len(names) == 7


def test_know_what_they_hold() -> None:
    names = Names(PATHS)
    assert "b/c/d" in names
    assert "b/c" not in names
    assert "zzz" not in names
    assert None not in names
    assert "a" not in Names([])


def test_files_of_a_directory() -> None:
    names = Names(PATHS)
    assert names.files_in("") == ["a", "b.x"]
    assert names.files_in("b") == ["b/a", "b/c.y"]
    assert names.files_in("b") is names.files_in("b")
    assert names.files_in("nowhere") == []


def test_all_below_a_directory() -> None:
    names = Names(PATHS)
    assert names.below("b") == ["b/a", "b/c.y", "b/c/d"]
    assert names.below("") == sorted(PATHS)
    assert names.below("b/c/d") == []


def test_parents_go_outwards() -> None:
    assert list(parents("a/b/c")) == ["a/b", "a", ""]
    assert list(parents("c")) == [""]


_COMPONENT = st.text(st.sampled_from("ab-./0\udce9"), min_size=1, max_size=3).filter(
    lambda t: "/" not in t
)
_TREES = st.sets(st.lists(_COMPONENT, min_size=1, max_size=4).map("/".join), max_size=25)


@given(_TREES)
def test_agree_with_a_look_at_every_name(paths: set[str]) -> None:
    names = Names(paths)
    directories = {""}.union(*(parents(p) for p in paths)) | {"ab", "a-"}
    for directory in directories:
        prefix = f"{directory}/" if directory else ""
        below = sorted(p for p in paths if p.startswith(prefix))
        assert names.below(directory) == below
        assert names.files_in(directory) == [p for p in below if "/" not in p[len(prefix) :]]
    assert all(p in names for p in paths)
