"""Which members are wanted, and what they are called: decided from names alone."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_bidsshare.archive.directory import Directory, Member
from datalad_bidsshare.archive.job import Job
from datalad_bidsshare.archive.members import Layout, output_of, taken_away, wanted_members
from datalad_bidsshare.archive.safety import Refused
from datalad_bidsshare.disk.names import folded, is_internal

FMRIPREP = [
    "fmriprep/",
    "fmriprep/dataset_description.json",
    "fmriprep/sub-01.html",
    "fmriprep/sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
    "fmriprep/sub-01/anat/sub-01_desc-preproc_T1w.json",
    "fmriprep/sub-01/func/sub-01_task-rest_bold.nii.gz",
    "fmriprep/sub-01/figures/",
    "fmriprep/sub-01/figures/a.svg",
    "logs/log.txt",
]


def directory_of(names: Iterable[str]) -> Directory:
    members = tuple(Member(name, 1, 1, 0, 0, 100 * i, 0, 0) for i, name in enumerate(names))
    return Directory(members, 0, 0, 0)


def layout(names: Iterable[str] = FMRIPREP, **job: object) -> Layout:
    return wanted_members(Job("a.zip", **job), directory_of(names))  # type: ignore[arg-type]


def outputs(names: Iterable[str] = FMRIPREP, **job: object) -> list[str]:
    return [each.output for each in layout(names, **job).wanted]


FILES = sorted(name for name in FMRIPREP if not name.endswith("/"))


def test_without_a_wish_all_files_are_wanted_and_no_directories() -> None:
    assert outputs() == FILES
    assert layout([]) == Layout([], (), 0)


@pytest.mark.parametrize(
    ("include", "exclude", "count"),
    [
        (("*.json",), (), 2),
        (("fmriprep/*.json",), (), 1),
        (("fmriprep/**/*.json",), (), 2),
        (("fmriprep/sub-01/",), (), 4),
        (("fmriprep",), (), 6),
        (("fmriprep", "logs"), ("figures", "*.html"), 5),
        ((), ("logs",), 6),
        (("*.json", "*.json", "fmriprep/"), (), 6),
    ],
)
def test_globs_are_those_of_gitignore(
    include: tuple[str, ...], exclude: tuple[str, ...], count: int
) -> None:
    found = layout(include=include, exclude=exclude)
    assert len(found.wanted) == count
    assert found.unmatched == ()


def test_members_by_name_are_taken_literally() -> None:
    names = ["a*.txt", "ab.txt", "[x].txt", "x.txt", "{0}"]
    assert outputs(names, members=("a*.txt", "[x].txt", "{0}")) == ["[x].txt", "a*.txt", "{0}"]
    assert outputs(names, members=("a*.txt", "ab.txt"), exclude=("a\\**",)) == ["ab.txt"]


def test_a_member_that_is_missing_refuses_the_zip() -> None:
    with pytest.raises(Refused) as refused:
        layout(members=("logs/log.txt", "logs/other.txt", "fmriprep/"))
    assert refused.value.member in ("logs/other.txt", "fmriprep/")
    assert "not in the zip" in str(refused.value)


def test_globs_that_match_no_file_are_told() -> None:
    found = layout(include=("*.json", "*.tsv", "fmriprep/sub-02/"), exclude=("*.gz", "*.tmp"))
    assert found.unmatched == ("*.tsv", "fmriprep/sub-02/", "*.tmp")
    # What is taken away was matched.
    assert layout(include=("*.json",), exclude=("*.json",)) == Layout([], (), 0)


def test_strip_takes_directories_away_as_tar_does() -> None:
    found = layout(strip=1)
    assert [each.output for each in found.wanted] == sorted(n.split("/", 1)[1] for n in FILES)
    assert found.too_shallow == 0
    found = layout(strip=2, include=("fmriprep", "logs"))
    assert found.too_shallow == 3
    assert "func/sub-01_task-rest_bold.nii.gz" in [each.output for each in found.wanted]
    assert layout(strip=9) == Layout([], (), 7)


def test_strip_prefix_takes_a_directory_away_where_it_is() -> None:
    names = ["fmriprep/a", "fmriprep-1/b", "x/fmriprep/c", "d"]
    assert outputs(names, strip_prefix="fmriprep") == ["a", "d", "fmriprep-1/b", "x/fmriprep/c"]
    # A file of that name is no directory.
    assert outputs(["fmriprep"], strip_prefix="fmriprep") == ["fmriprep"]


def test_into_puts_a_directory_in_front() -> None:
    job = Job("a.zip", into="out/x", strip=1)
    assert output_of("fmriprep/sub-01.html", job) == "out/x/sub-01.html"
    assert output_of("sub-01.html", job) is None


@pytest.mark.parametrize(
    "names",
    [
        ["a/x.json", "b/x.json"],
        ["a/X.json", "b/x.json"],
        ["a/\u00e9", "b/e\u0301"],
        ["a/x", "b/x/y"],
        ["a/sub/x", "b/SUB/y"],
    ],
    ids=["same", "case", "Unicode", "file and directory", "directories"],
)
def test_two_members_that_would_become_one_refuse_the_zip(names: list[str]) -> None:
    assert len(outputs(names)) == 2
    with pytest.raises(Refused, match="would become"):
        layout(names, strip=1)
    assert len(outputs(names, strip=1, exclude=("b",))) == 1


@pytest.mark.parametrize("name", ["a/.git", "a/.gitattributes", "a/.GIT/hooks/x", "a/.bidsshare/x"])
def test_stripping_makes_no_name_of_git_or_ours(name: str) -> None:
    with pytest.raises(Refused, match="belongs to git or DataLad"):
        layout([name], strip=1)


def test_what_is_left_to_another_zip_is_not_wanted() -> None:
    left = ("dataset_description.json", "elsewhere")
    assert "dataset_description.json" not in outputs(strip=1, leave=left)
    assert len(outputs(strip=1, leave=left)) == len(FILES) - 1


def test_what_the_user_takes_away_includes_directories() -> None:
    away = taken_away(Job("a.zip", exclude=("fmriprep/sub-01/", "*.txt")))
    assert {name for name in FMRIPREP if away(name)} == {
        *(name for name in FMRIPREP if name.startswith("fmriprep/sub-01/")),
        "logs/log.txt",
    }
    assert not taken_away(Job("a.zip"))("x")


components = st.sampled_from(
    ["a", "A", "b", "é", "e\u0301", ".git", "x.json", ".gitkeep", ".bidsshare"]
)
paths = st.lists(components, min_size=1, max_size=4).map("/".join)


@given(st.lists(paths, unique=True, max_size=8), st.integers(0, 3), st.booleans())
def test_outputs_are_distinct_and_nobody_elses_whatever_the_names(
    names: list[str], strip: int, prefixed: bool
) -> None:
    how = {"strip_prefix": "a"} if prefixed else {"strip": strip}
    try:
        found = outputs(names, **how)
    except Refused:
        return
    assert found == sorted(found)
    assert len({folded(path) for path in found}) == len(found)
    assert not any(map(is_internal, found))
    assert len(found) + layout(names, **how).too_shallow == len(names)
