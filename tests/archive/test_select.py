"""Members chosen by names: as `bids-get` chooses files of the same dataset, unpacked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from datalad_bidsshare.archive.roots import find_roots
from datalad_bidsshare.archive.select import Choice, MemberSelection
from datalad_bidsshare.plan.choose import Choice as DatasetChoice
from datalad_bidsshare.plan.choose import choose
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.params import read_selection
from tests.dataset.builders import git
from tests.trees import bids_tree, derivative_tree

#: One subject as fMRIPrep 20.2 lays it out, with what else its zip has.
FMRIPREP = (
    "dataset_description.json",
    "logs/CITATION.md",
    "logs/CITATION.bib",
    "desc-aseg_dseg.tsv",
    "README.md",
    "task-rest_bold.json",
    "space-MNI152NLin6Asym_desc-preproc_bold.json",
    "sub-01.html",
    "sub-01/anat/sub-01_desc-preproc_T1w.json",
    "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz",
    "sub-01/anat/sub-01_from-T1w_to-MNI152NLin6Asym_mode-image_xfm.h5",
    "sub-01/anat/sub-01_space-MNI152NLin6Asym_desc-preproc_T1w.nii.gz",
    "sub-01/figures/sub-01_task-rest_desc-carpetplot_bold.svg",
    "sub-01/func/sub-01_task-nback_run-01_desc-confounds_timeseries.tsv",
    "sub-01/func/sub-01_task-nback_run-01_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz",
    "sub-01/func/sub-01_task-rest_desc-confounds_timeseries.json",
    "sub-01/func/sub-01_task-rest_desc-confounds_timeseries.tsv",
    "sub-01/func/sub-01_task-rest_space-MNI152NLin6Asym_desc-brain_mask.nii.gz",
    "sub-01/func/sub-01_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.json",
    "sub-01/func/sub-01_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz",
    "sub-01/func/sub-01_task-rest_space-T1w_desc-preproc_bold.nii.gz",
    "sourcedata/freesurfer/sub-01/mri/T1.mgz",
    "sourcedata/raw/sub-01/func/sub-01_task-rest_bold.nii.gz",
    "sub-01/.hidden/sub-01_task-rest_bold.nii.gz",
)
FREESURFER = (
    "freesurfer/sub-01/mri/T1.mgz",
    "freesurfer/sub-01/stats/aseg.stats",
    "freesurfer/sub-01/scripts/recon-all.log",
)
REST = {"task": "rest", "space": "MNI152NLin6Asym", "desc": "preproc"}
REST_IMAGE = "sub-01/func/sub-01_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz"

QUERIES: list[dict[str, Any]] = [
    REST,
    {"suffix": "bold", "extension": ".nii.gz"},
    {"subject": "01", "datatype": "anat"},
    {"run": 1},
    {"extension": "html"},
    {"entities": {"from": "T1w"}},
    {"task": "rest", "exclude": ["space=T1w", "suffix=timeseries"]},
    {"exclude": "suffix=bold"},
    {"exclude": "desc="},
]


def selected(names: Sequence[str], companions: Any = "default", **query: Any) -> set[str]:
    selection, _ = read_selection(**query)
    return set(MemberSelection(selection, (), companions).choose(names, kept).names)


def kept(name: str) -> str:
    return name


def strip(number: int) -> Callable[[str], str | None]:
    def stripped(name: str) -> str | None:
        return "/".join(name.split("/")[number:]) or None

    return stripped


def members(**arguments: Any) -> MemberSelection:
    """Make a selection: `include` and `companions`, the rest as for all commands."""
    include = arguments.pop("include", ())
    companions = arguments.pop("companions", "default")
    return MemberSelection(read_selection(**arguments)[0], include, companions)


def unpacked(root: Path, names: Sequence[str]) -> Path:
    """Make a repository that tracks these names."""
    root.mkdir()
    git(root, "init", "-q")
    oid = git(root, "hash-object", "-w", "--stdin", text=b"").strip()
    entries = "".join(f"100644 {oid}\t{name}\0" for name in names)
    git(root, "update-index", "-z", "--index-info", text=entries.encode())
    return root


def asked_of_dataset(root: Path, companions: Any, query: dict[str, Any]) -> tuple[set[str], int]:
    """Give what bids-get would, and how much of it was asked for."""
    request = Request(root, read_selection(**query)[0], companions=companions)
    choices = [c for c in choose(request) if isinstance(c, DatasetChoice)]
    return {p for c in choices for p in [*c.asked, *c.riding]}, sum(len(c.asked) for c in choices)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return unpacked(tmp_path_factory.mktemp("made-up") / "ds", FMRIPREP)


@pytest.mark.parametrize("companions", ["default", "none"])
@pytest.mark.parametrize("query", QUERIES, ids=str)
@pytest.mark.parametrize("top", ["", "fmriprep/", "sub-01_fmriprep-20.2.3/", "out/fmriprep/"])
def test_the_same_as_from_a_dataset_with_and_without_stripping(
    made_up: Path, top: str, query: dict[str, Any], companions: Any
) -> None:
    expected, number = asked_of_dataset(made_up, companions, query)
    assert expected
    names = [top + name for name in FMRIPREP]
    depth = top.count("/")
    for stripped in (kept, strip(depth)):
        choice = members(companions=companions, **query).choose(names, stripped)
        assert {name.removeprefix(top) for name in choice.names} == expected
        assert (choice.asked, choice.riding) == (number, len(expected) - number)
        assert list(choice.names) == [name for name in names if name in choice.names]


@pytest.mark.parametrize("make", [bids_tree, derivative_tree])
def test_made_up_datasets_with_all_that_bids_has(
    tmp_path: Path, make: Callable[[int], list[str]]
) -> None:
    names = make(7)
    root = unpacked(tmp_path / "ds", names)
    queries: list[dict[str, Any]] = [
        {"suffix": "bold"},
        {"suffix": ["meg", "ieeg", "eeg", "T1w"], "exclude": ["*.json", "acq="]},
        {"run": [1, 2], "exclude": "suffix=bold"},
    ]
    for query in queries:
        expected, number = asked_of_dataset(root, "default", query)
        choice = members(**query).choose([f"x/{name}" for name in names], kept)
        assert {name.removeprefix("x/") for name in choice.names} == expected
        assert choice.asked == number


def test_two_pipelines_in_one_zip_have_companions_of_their_own() -> None:
    names = [*(f"fmriprep/{name}" for name in FMRIPREP), *FREESURFER]
    names.append("freesurfer/dataset_description.json")
    found = selected(names, **REST)
    assert f"fmriprep/{REST_IMAGE}" in found
    assert "fmriprep/dataset_description.json" in found
    assert "fmriprep/task-rest_bold.json" in found
    assert "freesurfer/dataset_description.json" not in found
    assert selected(names, extension="mgz") == {
        "freesurfer/sub-01/mri/T1.mgz",
        "freesurfer/dataset_description.json",
    }


def test_stripping_two_pipelines_onto_each_other_takes_companions_of_what_was_asked() -> None:
    names = [*(f"fmriprep/{name}" for name in FMRIPREP), *FREESURFER]
    names.append("freesurfer/dataset_description.json")
    found = set(members(**REST).choose(names, strip(1)).names)
    assert "fmriprep/dataset_description.json" in found
    assert "freesurfer/dataset_description.json" not in found
    # Of both: that they are one file then is for the collision check to say.
    both = set(members(extension=["mgz", "html"]).choose(names, strip(1)).names)
    assert {f"{top}/dataset_description.json" for top in ("fmriprep", "freesurfer")} <= both


def test_a_directory_without_a_description_is_a_dataset_all_the_same() -> None:
    names = [f"prep/{name}" for name in FMRIPREP if name != "dataset_description.json"]
    found = selected(names, suffix="bold", task="rest", space="", desc="", extension="nii.gz")
    assert found == set(), "sourcedata/ and hidden directories are passed over"
    found = selected(names, **REST)
    assert {"prep/README.md", "prep/task-rest_bold.json", f"prep/{REST_IMAGE}"} <= found
    assert "prep/dataset_description.json" not in found


@pytest.mark.parametrize(
    ("names", "roots"),
    [
        (["sub-01/func/a.nii", "sourcedata/x"], {""}),
        (["sub-01/func/a.nii"], {""}),
        (["func/a.nii"], {""}),
        (["a.nii"], {""}),
        ([], {""}),
        (["prep/sub-01/a.nii"], {"prep"}),
        (["prep/sub-01/a.nii", "run.log"], {"prep"}),
        (["logs/x.txt", "sub-01.html"], {""}),
        (["prep/sub-01/a.nii", "freesurfer/sub-01/b"], {""}),
        (["prep/dataset_description.json", "freesurfer/b"], {"", "prep"}),
        (["derivatives/prep/sub-01/a.nii"], {"derivatives/prep"}),
        (["derivatives/prep/sub-01/a.nii", "dataset_description.json"], {""}),
        (["sourcedata/sub-01/a.nii"], {""}),
        (["/".join("abcdefghijklmnop")], {"a/b/c/d/e/f/g/h"}),
    ],
)
def test_where_datasets_begin(names: list[str], roots: set[str]) -> None:
    assert find_roots(names).directories == roots


def test_side_directories_are_looked_into_when_an_include_names_them() -> None:
    names = [f"fmriprep/{name}" for name in FMRIPREP]
    asked = {"task": "rest", "space": "", "suffix": "bold", "extension": "nii.gz"}
    assert not selected(names, **asked)
    raw = "fmriprep/sourcedata/raw/sub-01/func/sub-01_task-rest_bold.nii.gz"
    for include in ("fmriprep/sourcedata/**", "**/sourcedata/raw/", "sourcedata"):
        choice = members(include=[include], **asked).choose(names, kept)
        assert raw in choice.names
        assert choice.asked == 1
    hidden = members(include=[".hidden/"], **asked).choose(names, kept)
    assert hidden.asked == 1


def test_include_and_entities_both_hold_and_companions_come_from_anywhere() -> None:
    names = [f"fmriprep/{name}" for name in FMRIPREP]
    choice = members(include=["*.nii.gz"], **REST).choose(names, kept)
    assert choice.asked == 1
    sidecar = f"fmriprep/{REST_IMAGE}".replace(".nii.gz", ".json")
    assert {"fmriprep/dataset_description.json", sidecar} <= set(choice.names)
    bare = members(include=["*.nii.gz"], companions="none", task="rest", desc="preproc")
    assert set(bare.choose(names, kept).names) == {
        f"fmriprep/{REST_IMAGE}",
        "fmriprep/sub-01/func/sub-01_task-rest_space-T1w_desc-preproc_bold.nii.gz",
    }


def test_globs_to_exclude_mean_stored_names_and_take_companions_too() -> None:
    names = [f"fmriprep/{name}" for name in FMRIPREP]
    selection = members(exclude=["fmriprep/dataset_*.json", "README*"], **REST)
    found = selection.choose(names, strip(1)).names
    assert f"fmriprep/{REST_IMAGE}" in found
    assert not {"fmriprep/dataset_description.json", "fmriprep/README.md"} & set(found)
    assert selection.excluded_globs == ("fmriprep/dataset_*.json", "README*")
    assert selection.unmatched() == []


def test_globs_alone_mean_what_they_match() -> None:
    names = [f"fmriprep/{name}" for name in FMRIPREP]
    selection = members(include=["fmriprep/sub-*/**/*.tsv", "*.html"], exclude="*nback*")
    assert selection.is_plain
    assert selection.choose(names, kept) == Choice(
        (
            "fmriprep/sub-01.html",
            "fmriprep/sub-01/func/sub-01_task-rest_desc-confounds_timeseries.tsv",
        ),
        2,
        0,
    )
    assert members().choose(names, kept).names == tuple(names)
    assert not members(exclude="suffix=bold").is_plain
    assert not members(task="rest").is_plain


def test_members_that_get_no_path_are_not_wanted() -> None:
    names = ["fmriprep/sub-01/func/sub-01_task-rest_bold.nii.gz", "dataset_description.json"]
    for selection in (members(), members(task="rest")):
        assert selection.choose(names, strip(1)).names == (names[0],)


def test_links_in_content_are_not_followed_here() -> None:
    with pytest.raises(SelectionError, match="bids-get --companions linked"):
        members(task="rest", companions="linked")
    with pytest.raises(SelectionError, match="'default' or 'none'"):
        members(task="rest", companions="all")


def test_what_occurs_in_no_zip_is_said_once_for_all_of_them() -> None:
    zips = [
        [f"fmriprep/{name.replace('sub-01', f'sub-{subject}')}" for name in FMRIPREP]
        for subject in ("01", "02", "03")
    ]
    selection = members(
        subject=["1", "02", "03"],
        task=["rest", "nback", "rset"],
        include=["*.nii.gz", "*.nope"],
        exclude=["*.gone", "*.svg"],
    )
    for names in zips:
        selection.choose(names, kept)
    include, exclude, *values = selection.unmatched()
    assert "--include '*.nope' matches nothing in any zip" in include
    assert "fmriprep/" in include
    assert "--exclude '*.gone' matches nothing in any zip" in exclude
    assert sorted(values) == [
        "subject '1' occurs in no zip; near: 01",
        "task 'rset' occurs in no zip; near: rest",
    ]


def test_a_value_that_occurs_in_one_zip_of_many_is_no_mistake() -> None:
    selection = members(task="nback", subject=["01", "02"])
    for subject in ("01", "02", "03"):
        names = [f"fmriprep/{name.replace('sub-01', f'sub-{subject}')}" for name in FMRIPREP]
        if subject != "02":
            names = [name for name in names if "nback" not in name]
        choice = selection.choose(names, kept)
        assert bool(choice.names) == (subject == "02")
    assert selection.unmatched() == []


def test_values_of_a_filter_file_count_only_when_nothing_is_found(tmp_path: Path) -> None:
    file = tmp_path / "filter.json"
    file.write_text('{"bold": {"suffix": "bold"}, "flair": {"suffix": "FLAIR"}}')
    empty = ["fmriprep/sub-01/anat/sub-01_T1w.nii.gz"]
    selection = members(filter_file=file)
    selection.choose(empty, kept)
    assert len(selection.unmatched()) == 2
    selection.choose([f"fmriprep/{name}" for name in FMRIPREP], kept)
    assert selection.unmatched() == []


def test_why_nothing_was_found() -> None:
    names = [f"fmriprep/{name}" for name in FMRIPREP]
    contradiction = members(task="nback", space="T1w")
    contradiction.choose(names, kept)
    (why,) = contradiction.unmatched()
    assert "no member of any zip matches" in why
    assert "one condition at a time" in why
    passed_over = members(task="rest", suffix="bold", space="", extension="nii.gz")
    passed_over.choose(names, kept)
    (why,) = passed_over.unmatched()
    assert "--include 'fmriprep/sourcedata/**'" in why or "fmriprep/sub-01/.hidden" in why
    assert members(task="rest").unmatched() == [], "no zip was looked at"
