"""Where we deviate from pybids on purpose: one test each, showing both sides.

When one of these fails on pybids' side, pybids has changed: look whether the deviation is
still one, and say so in the docs' table "coming from pybids".
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from bids import BIDSLayout, BIDSLayoutIndexer
from bids.layout import Query as BIDSQuery
from bids.layout import parse_file_entities

from datalad_bidsshare.selection.entities import parse, recording_directory
from datalad_bidsshare.selection.errors import SelectionError, UnknownEntityError
from datalad_bidsshare.selection.grammar import build_selection
from datalad_bidsshare.selection.select import Selector, bids_roots
from tests.platforms import needs_posix
from tests.trees import CTF_FILES, MEF_FILES, ZARR_FILES, write_tree

# Elsewhere pybids gives paths, and entities that are paths, with another separator.
pytestmark = needs_posix


def ours(paths: Iterable[str], within: Sequence[str] = (), **entities: Any) -> list[str]:
    """Give what our grammar selects, sorted."""
    names = sorted(paths)
    selection = build_selection(entities=entities or None)
    return sorted(Selector(selection, within, bids_roots(names)).select(names))


def layout_of(root: Path, paths: Iterable[str] = (), **options: Any) -> BIDSLayout:
    """Write the paths and index them without validation, as the oracle tests do."""
    write_tree(root, paths)
    options.setdefault("config", ["bids", "derivatives"])
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False)
    return BIDSLayout(root, validate=False, indexer=indexer, **options)


def pybids(layout: BIDSLayout, **query: Any) -> list[str]:
    """Give what pybids selects, sorted, relative to the layout's root."""
    found = layout.get(return_type="filename", **query)
    return sorted(Path(f).relative_to(layout.root).as_posix() for f in found)


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("entity", "key", "suffix"),
    [("echo", "echo", "MEGRE"), ("flip", "flip", "VFA"), ("inv", "inv", "IRT1"),
     ("chunk", "chunk", "T1w")],
)  # fmt: skip
def test_index_entities_compare_as_numbers(
    tmp_path: Path, entity: str, key: str, suffix: str
) -> None:
    padded, bare, ten = (f"sub-01/anat/sub-01_{key}-{n}_{suffix}.nii" for n in ("01", "1", "10"))
    paths = [padded, bare, ten]
    layout = layout_of(tmp_path, paths)
    assert pybids(layout, **{entity: 1}) == [bare]
    assert pybids(layout, **{entity: "01"}) == [padded]
    for one in (1, "1", "01", "001"):
        assert ours(paths, **{entity: one}) == sorted([padded, bare])
    assert ours(paths, **{entity: "0?"}) == [padded]  # a glob is about the label


def test_run_compares_as_a_number_on_both_sides(tmp_path: Path) -> None:
    paths = [f"sub-01/func/sub-01_task-a_run-{n}_bold.nii" for n in ("01", "1", "10")]
    layout = layout_of(tmp_path, paths)
    assert pybids(layout, run=1) == ours(paths, run=1) == ours(paths, run="001") == paths[:2]


def test_an_index_that_is_no_number_is_an_error(tmp_path: Path) -> None:
    paths = ["sub-01/func/sub-01_task-a_run-1_bold.nii"]
    assert pybids(layout_of(tmp_path, paths), run="first") == []
    with pytest.raises(SelectionError, match=r"'run' is a whole number.*'first'"):
        ours(paths, run="first")


@pytest.mark.parametrize("empty", [[], ()])
def test_an_empty_list_is_an_error_and_not_everything(tmp_path: Path, empty: Any) -> None:
    paths = ["sub-01/anat/sub-01_T1w.nii", "sub-02/anat/sub-02_T1w.nii"]
    assert pybids(layout_of(tmp_path, paths), subject=empty) == paths
    with pytest.raises(SelectionError, match="empty list of values for 'subject'"):
        ours(paths, subject=empty)


def test_a_leading_key_is_stripped_from_values(tmp_path: Path) -> None:
    paths = ["sub-01/ses-a/anat/sub-01_ses-a_acq-b_T1w.nii", "sub-02/anat/sub-02_T1w.nii"]
    layout = layout_of(tmp_path, paths)
    assert pybids(layout, subject="sub-01") == []
    assert pybids(layout, subject="01", session="a", acquisition="b") == paths[:1]
    assert ours(paths, subject="sub-01", session="ses-a", acquisition="acq-b") == paths[:1]
    # only the entity's own key is one
    assert ours(paths, subject="ses-01") == []


def test_globs_and_stars_are_the_shells(tmp_path: Path) -> None:
    paths = [f"sub-01/func/sub-01_task-{t}_bold.nii" for t in ("rest", "resting", "unrest")]
    paths.append("sub-01/anat/sub-01_T1w.nii")
    layout = layout_of(tmp_path, paths)
    assert pybids(layout, task="rest*") == pybids(layout, task="*") == []
    assert ours(paths, task="rest*") == paths[:2]
    assert ours(paths, task="*") == pybids(layout, task=BIDSQuery.ANY) == paths[:3]


def test_regular_expressions_match_the_whole_label_and_its_case(tmp_path: Path) -> None:
    paths = [f"sub-01/func/sub-01_task-{t}_bold.nii" for t in ("REST", "rest", "resting")]
    layout = layout_of(tmp_path, paths)
    assert pybids(layout, task="rest", regex_search=True) == paths
    assert ours(paths, task="re:rest") == paths[1:2]
    assert ours(paths, task="re:(?i)rest") == paths[:2]
    assert ours(paths, task="re:rest.*") == paths[1:]


def test_regular_expressions_on_extensions_may_name_the_dot_or_not(tmp_path: Path) -> None:
    paths = ["sub-01/anat/sub-01_T1w.NII", "sub-01/anat/sub-01_T1w.nii"]
    layout = layout_of(tmp_path, paths)
    # pybids puts a dot before the pattern, whatever it begins with
    assert pybids(layout, extension=r"\.nii", regex_search=True) == []
    assert ours(paths, ext=r"re:\.nii") == ours(paths, ext="re:nii") == paths[1:]
    assert ours(paths, ext=r"re:(?i)\.nii") == ours(paths, ext="re:(?i)nii") == paths


def test_an_empty_value_means_absent(tmp_path: Path) -> None:
    paths = ["sub-01/anat/sub-01_T1w.nii", "sub-01/anat/sub-01_acq-b_T1w.nii"]
    layout = layout_of(tmp_path, paths)
    assert pybids(layout, acquisition="") == []
    assert ours(paths, acq="") == pybids(layout, acquisition=None) == paths[:1]
    assert ours(paths, acq="b,") == paths


def test_a_comma_list_is_several_values(tmp_path: Path) -> None:
    paths = [f"sub-{s}/anat/sub-{s}_T1w.nii" for s in ("01", "02", "03")]
    layout = layout_of(tmp_path, paths)
    assert pybids(layout, subject="01,02") == []
    assert ours(paths, subject="01,02") == pybids(layout, subject=["01", "02"]) == paths[:2]


# ---------------------------------------------------------------- keys


def test_entities_go_by_all_their_names(tmp_path: Path) -> None:
    paths = ["sub-01/anat/sub-01_acq-b_mt-on_T1w.nii", "sub-01/anat/sub-01_hemi-L_T1w.nii"]
    layout = layout_of(tmp_path, paths)
    for key, value, found in (
        ("acq", "b", paths[:1]), ("mtransfer", "on", paths[:1]), ("hemisphere", "L", paths[1:]),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="not a recognized entity"):
            pybids(layout, **{key: value})
        assert ours(paths, **{key: value}) == found


def test_an_unknown_key_is_an_error_with_near_matches_on_both_sides(tmp_path: Path) -> None:
    paths = ["sub-01/anat/sub-01_acq-b_T1w.nii"]
    layout = layout_of(tmp_path, paths)
    with pytest.raises(ValueError, match="acquisition"):
        pybids(layout, aquisition="b")
    with pytest.raises(UnknownEntityError, match="'aquisition'; did you mean acquisition"):
        ours(paths, aquisition="b")
    # what pybids can be told to ignore or to allow, we never guess
    assert pybids(layout, aquisition="c", invalid_filters="drop") == paths
    assert pybids(layout, aquisition="c", invalid_filters="allow") == []


@pytest.mark.parametrize(
    ("names", "value", "path"),
    [
        (("tpl", "template"), "MNI", "tpl-MNI/tpl-MNI_T1w.nii.gz"),
        (("cohort",), "1", "tpl-MNI/cohort-1/tpl-MNI_cohort-1_T1w.nii.gz"),
        (("split",), "2", "sub-01/meg/sub-01_task-a_split-02_meg.fif"),
        (("scale",), "400", "sub-01/anat/sub-01_seg-a_scale-400_dseg.nii.gz"),
    ],
)
def test_entities_that_only_the_schema_has(
    tmp_path: Path, names: tuple[str, ...], value: str, path: str
) -> None:
    paths = [path, "sub-01/anat/sub-01_T1w.nii"]
    layout = layout_of(tmp_path, paths)
    for name in names:
        with pytest.raises(ValueError, match=f"'{name}' is not a recognized entity"):
            pybids(layout, **{name: value})
        assert ours(paths, **{name: value}) == [path]
        assert ours(paths, **{name: ""}) == paths[1:]


@pytest.mark.parametrize(
    ("datatype", "path"),
    [("emg", "sub-01/emg/sub-01_task-a_emg.bdf"), ("phenotype", "phenotype/adhd.tsv")],
)
def test_datatypes_that_only_the_schema_has(tmp_path: Path, datatype: str, path: str) -> None:
    paths = [path, "sub-01/anat/sub-01_T1w.nii"]
    assert pybids(layout_of(tmp_path, paths), datatype=datatype) == []
    assert ours(paths, datatype=datatype) == [path]


# ---------------------------------------------------------------- where it looks


def test_nothing_above_the_root_is_read(tmp_path: Path) -> None:
    root = tmp_path / "sub-evil" / "meg" / "run-7" / "desc-old"
    paths = ["sub-01/anat/sub-01_T1w.nii", "sub-02/func/sub-02_task-a_run-1_desc-new_bold.nii"]
    layout = layout_of(root, paths)
    assert pybids(layout, subject="01") == []
    assert pybids(layout, subject="evil", run=7, datatype="meg", desc="old") == paths
    assert ours(paths, subject="01") == paths[:1]
    assert ours(paths, subject="evil") == ours(paths, desc="old") == []
    assert ours(paths, run=1, desc="new") == paths[1:]


def test_scans_are_paths_from_the_root(tmp_path: Path) -> None:
    path = "sub-01/sub-01_scans.tsv"
    (found,) = layout_of(tmp_path, [path]).get(suffix="scans")
    assert found.entities["scans"] == (tmp_path / path).as_posix()
    assert parse(path)["scans"] == path


def test_derivatives_stay_hidden_unless_named(tmp_path: Path) -> None:
    pipeline = "derivatives/fmriprep"
    raw, derived = "sub-01/anat/sub-01_T1w.nii", f"{pipeline}/sub-01/anat/sub-01_desc-a_T1w.nii"
    paths = [raw, derived, "derivatives/sub-01_T1w.nii", f"{pipeline}/dataset_description.json"]
    assert pybids(layout_of(tmp_path / "a", paths, derivatives=True), suffix="T1w") == [
        # pybids shows what lies directly in derivatives/, though in no dataset there
        derived, "derivatives/sub-01_T1w.nii", raw,
    ]  # fmt: skip
    assert pybids(layout_of(tmp_path / "b", paths), suffix="T1w") == [
        "derivatives/sub-01_T1w.nii", raw,
    ]  # fmt: skip
    assert ours(paths, suffix="T1w") == [raw]
    assert ours(paths, [pipeline], suffix="T1w") == [derived]
    assert ours(paths, [f"{pipeline}/sub-01"], suffix="T1w") == [derived]
    # naming one pipeline opens that one, whatever else is named
    assert ours(paths, ["", pipeline], suffix="T1w") == [derived, raw]
    other = "derivatives/other/sub-01/anat/sub-01_T1w.nii"
    assert ours([*paths, other], ["", pipeline], suffix="T1w") == [derived, raw]
    assert ours([*paths, other], ["derivatives/other", pipeline], suffix="T1w") == [derived, other]


def test_side_directories_open_when_named(tmp_path: Path) -> None:
    side = [f"{d}/sub-01/anat/sub-01_T1w.nii" for d in ("code", "models", "sourcedata", "stimuli")]
    hidden = [".cache/sub-01_T1w.nii", "sub-01/.old/sub-01_T1w.nii", "sub-01/.sub-01_T1w.nii"]
    paths = ["sub-01/anat/sub-01_T1w.nii", *side, *hidden]
    layout = layout_of(tmp_path, paths)
    assert pybids(layout, suffix="T1w") == ours(paths, suffix="T1w") == paths[:1]
    for path in side:
        assert ours(paths, [path.split("/")[0]], suffix="T1w") == [path]
    for path in hidden:
        assert ours(paths, [path], suffix="T1w") == [path]
    assert ours(paths, ["sub-01/.old"], suffix="T1w") == ["sub-01/.old/sub-01_T1w.nii"]
    # naming what is around it does not open it
    assert ours(paths, ["sub-01"], suffix="T1w") == paths[:1]


def test_side_directories_are_whole_names(tmp_path: Path) -> None:
    paths = ["codebook_notes.tsv", "models2/x_notes.tsv", "stimuli-a_notes.tsv", "sub_notes.tsv"]
    # pybids' expression is ^/(code|models|...), which also hides what only begins so
    assert pybids(layout_of(tmp_path, paths), suffix="notes") == ["sub_notes.tsv"]
    assert ours(paths, suffix="notes") == paths


def test_without_a_query_everything_tracked_is_meant(tmp_path: Path) -> None:
    paths = [".bidsignore", "code/a.py", "derivatives/x/y.txt", "sub-01/anat/sub-01_T1w.nii"]
    assert pybids(layout_of(tmp_path, paths)) == paths[-1:]
    assert ours(paths) == paths


def test_bidsignore_and_validity_hide_nothing(tmp_path: Path) -> None:
    ignored = ["rawextra/sub-01_T1w.nii", "sub-01/func/sub-01_task-a_sbref.nii.gz"]
    odd = "sub-01/anat/sub-01_madeup.nii"
    paths = sorted([".bidsignore", "dataset_description.json", *ignored, odd])
    layout = layout_of(tmp_path, paths)
    assert b"rawextra/" in (tmp_path / ".bidsignore").read_bytes()
    # pybids does not read it either, but its validation, on by default, drops what is not BIDS
    assert pybids(layout, suffix="T1w") == ours(paths, suffix="T1w") == ignored[:1]
    strict = BIDSLayout(tmp_path, validate=True)
    assert pybids(strict, suffix=["T1w", "madeup"]) == []
    assert ours(paths, suffix="T1w,madeup,sbref") == sorted([*ignored, odd])


# ---------------------------------------------------------------- directory recordings

CTF = "sub-01/meg/sub-01_task-a_run-01_meg.ds"
MEF = "sub-01/ieeg/sub-01_task-a_ieeg.mefd"
BTI = "sub-01/meg/sub-01_task-b_meg"
ZARR = "sub-01/micr/sub-01_sample-A_SPIM.ome.zarr"
CTF_PARTS = sorted(f"{CTF}/{p.format(stem='sub-01_task-a_run-01_meg')}" for p in CTF_FILES)
MEF_PARTS = sorted(f"{MEF}/{p}" for p in MEF_FILES)
BTI_PARTS = sorted(f"{BTI}/{p}" for p in ("c,rfDC", "config", "e,rfhp1.0Hz.COH", "hs_file"))
ZARR_PARTS = sorted(f"{ZARR}/{p}" for p in ZARR_FILES)
RECORDINGS = [*CTF_PARTS, *MEF_PARTS, *BTI_PARTS, *ZARR_PARTS, "sub-01/anat/sub-01_T1w.nii"]


@pytest.mark.parametrize(
    ("parts", "extension", "query"),
    [
        (CTF_PARTS, ".ds", {"task": "a", "run": 1}),
        (MEF_PARTS, "mefd", {"suffix": "ieeg"}),
        (CTF_PARTS, "ds", {"suffix": "meg", "datatype": "meg"}),
    ],
)
def test_a_directory_recording_is_selected_as_a_unit(
    tmp_path: Path, parts: list[str], extension: str, query: dict[str, Any]
) -> None:
    layout = layout_of(tmp_path, RECORDINGS)
    found = pybids(layout, extension=extension, **query)
    assert not set(parts) <= set(found)
    assert ours(RECORDINGS, extension=extension, **query) == parts


def test_a_part_can_still_be_asked_for_by_its_own_name(tmp_path: Path) -> None:
    wanted = [p for p in CTF_PARTS if p.endswith(".meg4")]
    layout = layout_of(tmp_path, RECORDINGS)
    assert pybids(layout, extension=".meg4") == ours(RECORDINGS, extension=".meg4") == wanted


def test_a_bti_recording_has_the_suffix_of_its_directory(tmp_path: Path) -> None:
    assert {recording_directory(p) for p in BTI_PARTS} == {BTI}
    layout = layout_of(tmp_path, RECORDINGS)
    assert pybids(layout, task="b") == ours(RECORDINGS, task="b") == BTI_PARTS
    assert pybids(layout, task="b", suffix="meg") == []
    assert ours(RECORDINGS, task="b", suffix="meg") == BTI_PARTS
    assert ours(RECORDINGS, suffix="meg", extension="") == BTI_PARTS


def test_a_zarr_directory_is_one_recording_and_all_its_files(tmp_path: Path) -> None:
    layout = layout_of(tmp_path, RECORDINGS)
    # pybids gives the directory; what is tracked, and can be fetched, are its files
    for query in ({"extension": ".ome.zarr"}, {"suffix": "SPIM"}, {"sample": "A"}):
        assert pybids(layout, **query) == [ZARR]
        assert ours(RECORDINGS, **query) == ZARR_PARTS
    # what lies inside is no file of BIDS on either side
    for query in ({"extension": ".ome.xml"}, {"suffix": "METADATA"}):
        assert pybids(layout, **query) == ours(RECORDINGS, **query) == []


def test_parsing_is_pybids_own_inside_a_recording() -> None:
    path = CTF_PARTS[-1]
    expected = {k: str(v) for k, v in parse_file_entities("/" + path).items()}
    assert parse(path) == expected
