"""What metadata points to, near and far, well-formed and not."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import pytest

from datalad_bidsshare.selection import links
from datalad_bidsshare.selection.companions import Companion
from datalad_bidsshare.selection.links import (
    DanglingLink,
    Linked,
    Unread,
    Unreadable,
    linked,
)
from datalad_bidsshare.selection.names import Names
from datalad_bidsshare.selection.vocabulary import load_schema

Content = dict[str, object]

DESCRIPTION = "dataset_description.json"
OUTSIDE = "it leads out of the dataset"
GONE = "there is no such file"
BOLD = "sub-01/func/sub-01_task-rest_bold.nii.gz"
EVENTS = "sub-01/func/sub-01_task-rest_events.tsv"
BOLD_JSON = "sub-01/func/sub-01_task-rest_bold.json"
EPI = "sub-01/fmap/sub-01_dir-AP_epi"


def as_bytes(content: object) -> bytes | None:
    if content is None or isinstance(content, bytes):
        return content
    return json.dumps(content).encode()


class Store:
    """Content by path; a dict becomes JSON, None is absent."""

    def __init__(self, content: Content) -> None:
        self.content = content
        self.calls: list[list[str]] = []

    def __call__(self, paths: Sequence[str]) -> Iterable[tuple[str, bytes | None]]:
        self.calls.append(list(paths))
        for path in paths:
            yield path, as_bytes(self.content[path])


def run(selected: str | Sequence[str], content: Content) -> list[Linked]:
    selected = [selected] if isinstance(selected, str) else list(selected)
    store = Store(content)
    found = list(linked(selected, Names({*selected, *content}), store))
    asked = [path for call in store.calls for path in call]
    assert len(set(asked)) == len(asked), "a file was read twice"
    paths = [item.path for item in found if isinstance(item, Companion)]
    assert len(set(paths)) == len(paths), "a companion came twice"
    return found


def companions(selected: str | Sequence[str], content: Content) -> dict[str, str]:
    """Give path -> reason; there must be nothing else."""
    found = run(selected, content)
    assert [item for item in found if not isinstance(item, Companion)] == []
    return {item.path: item.reason for item in found if isinstance(item, Companion)}


# -- backward: IntendedFor -------------------------------------------------------------


@pytest.mark.parametrize(
    "target",
    [
        "func/sub-01_task-rest_bold.nii.gz",
        "./func/sub-01_task-rest_bold.nii.gz",
        "bids::sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-01/func/sub-01_task-rest_bold.nii.gz",
        "/sub-01/func/sub-01_task-rest_bold.nii.gz",
        "sub-01_task-rest_bold.nii.gz",
        ["func/other.nii.gz", "func/sub-01_task-rest_bold.nii.gz"],
    ],
)
def test_a_field_map_that_is_intended_for_a_run_comes_with_its_own(target: object) -> None:
    content: Content = {
        f"{EPI}.nii.gz": None,
        f"{EPI}.json": {"IntendedFor": target},
        "sub-01/fmap/sub-01_dir-PA_epi.nii.gz": None,
        "sub-02/fmap/sub-02_dir-AP_epi.nii.gz": None,
        "sub-02/fmap/sub-02_dir-AP_epi.json": {"IntendedFor": target},
    }
    assert companions(BOLD, content) == {f"{EPI}.nii.gz": "IntendedFor", f"{EPI}.json": "sidecar"}


@pytest.mark.parametrize("target", ["", ".", "./", "func/", "fold.nii.gz", "bids::func", None, 7])
def test_what_is_intended_for_something_else_stays(target: object) -> None:
    content: Content = {f"{EPI}.nii.gz": None, f"{EPI}.json": {"IntendedFor": target}}
    assert companions(BOLD, content) == {}


def test_inherited_metadata_counts_and_the_nearest_wins() -> None:
    content: Content = {
        "epi.json": {"IntendedFor": "func/sub-01_task-rest_bold.nii.gz"},
        f"{EPI}.nii.gz": None,
        "sub-01/fmap/sub-01_dir-PA_epi.nii.gz": None,
        "sub-01/fmap/sub-01_dir-PA_epi.json": {"IntendedFor": "dwi/sub-01_dwi.nii.gz"},
    }
    assert set(companions(BOLD, content)) == {f"{EPI}.nii.gz", "epi.json"}
    # As in pybids, a nearer null does override, and then counts as absent.
    content["sub-01/fmap/sub-01_dir-AP_epi.json"] = {"IntendedFor": None}
    assert companions(BOLD, content) == {}


def test_legacy_targets_with_the_session_only() -> None:
    bold = "sub-01/ses-1/func/sub-01_ses-1_bold.nii.gz"
    epi = "sub-01/ses-1/fmap/sub-01_ses-1_epi"
    content: Content = {
        f"{epi}.nii": None,
        f"{epi}.json": {"IntendedFor": "func/sub-01_ses-1_bold.nii.gz"},
    }
    assert f"{epi}.nii" in companions(bold, content)


def test_all_that_get_fieldmap_lists_rides() -> None:
    stem = "sub-01/fmap/sub-01"
    content: Content = {
        f"{stem}_phasediff.nii.gz": None,
        f"{stem}_phasediff.json": {"IntendedFor": "func/sub-01_task-rest_bold.nii.gz"},
        f"{stem}_magnitude1.nii.gz": None,
        f"{stem}_magnitude2.nii.gz": None,
    }
    assert companions(BOLD, content) == {
        f"{stem}_phasediff.nii.gz": "IntendedFor",
        f"{stem}_phasediff.json": "sidecar",
        f"{stem}_magnitude1.nii.gz": "magnitude1",
        f"{stem}_magnitude2.nii.gz": "magnitude2",
    }


def test_the_field_map_of_a_linked_image_is_followed() -> None:
    asl, m0scan = "sub-01/perf/sub-01_asl.nii.gz", "sub-01/perf/sub-01_acq-x_m0scan"
    content: Content = {
        f"{m0scan}.nii.gz": None,
        f"{m0scan}.json": {"IntendedFor": [f"bids::{asl}"]},
        f"{EPI}.nii.gz": None,
        f"{EPI}.json": {"IntendedFor": f"bids::{m0scan}.nii.gz"},
    }
    assert set(companions(asl, content)) == set(content)


def test_a_directory_recording_may_be_the_target() -> None:
    inside = "sub-01/meg/sub-01_task-x_meg.ds/x.meg4"
    content: Content = {
        f"{EPI}.nii.gz": None,
        f"{EPI}.json": {"IntendedFor": "bids::sub-01/meg/sub-01_task-x_meg.ds"},
    }
    assert f"{EPI}.nii.gz" in companions(inside, content)


# -- B0 fields -------------------------------------------------------------------------


def test_all_images_of_an_estimation_come_from_the_whole_participant() -> None:
    content: Content = {
        BOLD_JSON: {"B0FieldSource": ["a", "b"]},
        "sub-01/ses-2/fmap/sub-01_ses-2_dir-AP_epi.nii.gz": None,
        "sub-01/ses-2/fmap/sub-01_ses-2_dir-AP_epi.json": {"B0FieldIdentifier": "a"},
        "sub-01/ses-2/dwi/sub-01_ses-2_dwi.nii.gz": None,
        "sub-01/ses-2/dwi/sub-01_ses-2_dwi.json": {"B0FieldIdentifier": ["x", "b"]},
        "sub-01/anat/sub-01_T1w.nii.gz": None,
        "sub-01/anat/sub-01_T1w.json": {"B0FieldIdentifier": "c"},
        "sub-02/fmap/sub-02_dir-AP_epi.nii.gz": None,
        "sub-02/fmap/sub-02_dir-AP_epi.json": {"B0FieldIdentifier": "a"},
    }
    found = companions(BOLD, content)
    assert set(found) == {p for p in content if "ses-2" in p}
    assert found["sub-01/ses-2/dwi/sub-01_ses-2_dwi.nii.gz"] == "B0FieldSource"


def test_estimations_that_need_estimations_end() -> None:
    other = "sub-01/func/sub-01_task-x_bold"
    content: Content = {
        BOLD_JSON: {"B0FieldSource": "a", "B0FieldIdentifier": "b"},
        f"{other}.nii.gz": None,
        f"{other}.json": {"B0FieldSource": "b", "B0FieldIdentifier": "a"},
    }
    assert set(companions(BOLD, content)) == {f"{other}.nii.gz", f"{other}.json"}


def test_a_source_that_nothing_has_is_told() -> None:
    content: Content = {BOLD_JSON: {"B0FieldSource": "gone"}}
    (note,) = run(BOLD, content)
    assert isinstance(note, DanglingLink)
    assert (note.source, note.field, note.target) == (BOLD, "B0FieldSource", "gone")
    assert "B0FieldIdentifier" in note.reason


# -- forward ---------------------------------------------------------------------------


def test_an_empty_room_of_another_subject_comes_with_its_own() -> None:
    meg = "sub-01/meg/sub-01_task-rest_meg.fif"
    room = "sub-emptyroom/ses-20200101/meg/sub-emptyroom_ses-20200101_task-noise_meg"
    for link in (f"{room}.fif", [f"bids::{room}.fif"]):
        content: Content = {
            "sub-01/meg/sub-01_task-rest_meg.json": {"AssociatedEmptyRoom": link},
            f"{room}.fif": None,
            f"{room}.json": {"Sources": ["not followed from here"]},
        }
        assert companions(meg, content) == {
            f"{room}.fif": "AssociatedEmptyRoom",
            f"{room}.json": "sidecar",
        }


def test_an_empty_room_that_is_a_directory_comes_whole() -> None:
    room = "sub-emptyroom/meg/sub-emptyroom_task-noise_meg.ds"
    content: Content = {
        "sub-01/meg/sub-01_task-rest_meg.json": {"AssociatedEmptyRoom": room},
        f"{room}/a.meg4": None,
        f"{room}/a.res4": None,
    }
    assert set(companions("sub-01/meg/sub-01_task-rest_meg.fif", content)) == {
        f"{room}/a.meg4",
        f"{room}/a.res4",
    }
    (note,) = run(BOLD, {BOLD_JSON: {"Sources": ["bids::sub-02"]}, "sub-02/anat/x.nii": None})
    assert isinstance(note, DanglingLink)  # a directory as such is no file


def test_sources_in_the_dataset_around_a_derivative() -> None:
    top = "derivatives/prep"
    image = f"{top}/sub-01/func/sub-01_task-rest_desc-preproc_bold.nii.gz"
    own = "sub-01/anat/sub-01_desc-preproc_T1w.nii.gz"
    content: Content = {
        DESCRIPTION: {},
        f"{top}/{DESCRIPTION}": {
            "DatasetLinks": {"raw": "../..", "far": "../../..", "web": "https://x.y", "odd": 3}
        },
        image.replace(".nii.gz", ".json"): {
            "Sources": [f"bids::{own}", f"bids:raw:{BOLD}"],
            "RawSources": [EVENTS],
        },
        f"{top}/{own}": None,
        BOLD: None,
        BOLD_JSON: {"Sources": ["bids::not/followed/further.nii"]},
        EVENTS: None,
    }
    assert companions(image, content) == {
        f"{top}/{own}": "Sources",
        BOLD: "Sources",
        BOLD_JSON: "sidecar",
        EVENTS: "events",
        DESCRIPTION: "root",
    }
    for target in ("bids:far:x.nii", "bids:web:x.nii", "bids:odd:x.nii", "bids:none:x.nii"):
        content[image.replace(".nii.gz", ".json")] = {"Sources": [target]}
        (note,) = run(image, content)
        assert isinstance(note, DanglingLink)
        assert (note.source, note.field, note.target) == (image, "Sources", target)


def test_names_in_a_uri_may_be_quoted() -> None:
    content: Content = {BOLD_JSON: {"Sources": ["bids::sourcedata/a%20b.nii"]}}
    assert set(companions(BOLD, {**content, "sourcedata/a b.nii": None})) == {"sourcedata/a b.nii"}
    assert set(companions(BOLD, {**content, "sourcedata/a%20b.nii": None})) == {
        "sourcedata/a%20b.nii"
    }


@pytest.mark.parametrize(
    ("reference", "followed"),
    [
        ("bids::sub-01/anat/ref.nii.gz", True),
        ("sub-01/anat/ref.nii.gz", True),
        ({"VolumeReference": "sub-01/anat/ref.nii.gz", "SurfaceReference": "orig"}, True),
        ("orig", False),
        ("MNI152NLin2009cAsym", False),
        ("https://templateflow.s3.amazonaws.com/tpl-X.nii.gz", False),
        (["x", 3], False),
    ],
)
def test_a_spatial_reference_is_followed_where_it_is_a_file(
    reference: object, followed: bool
) -> None:
    content: Content = {
        BOLD_JSON: {"SpatialReference": reference},
        "sub-01/anat/ref.nii.gz": None,
    }
    expected = {"sub-01/anat/ref.nii.gz": "SpatialReference"} if followed else {}
    assert companions(BOLD, content) == expected


def test_the_image_that_landmarks_were_set_on() -> None:
    t1w = "sub-01/anat/sub-01_T1w.nii.gz"
    content: Content = {
        "sub-01/meg/sub-01_coordsystem.json": {"IntendedFor": "anat/sub-01_T1w.nii.gz"},
        t1w: None,
    }
    assert companions("sub-01/meg/sub-01_task-rest_meg.fif", content) == {t1w: "IntendedFor"}


def test_a_selected_json_speaks_for_itself() -> None:
    content: Content = {BOLD_JSON: {"Sources": ["a.nii"]}, "a.nii": None}
    assert companions(BOLD_JSON, content) == {"a.nii": "Sources"}


def test_a_selected_field_map_brings_what_it_is_for() -> None:
    content: Content = {
        f"{EPI}.json": {"IntendedFor": ["func/sub-01_task-rest_bold.nii.gz", "func/gone.nii"]},
        BOLD: None,
        EVENTS: b"",
    }
    *found, note = run(f"{EPI}.nii.gz", content)[1:2] + run(f"{EPI}.nii.gz", content)
    paths = {item.path for item in [*found, note] if isinstance(item, Companion)}
    assert paths == {BOLD, EVENTS}
    notes = [item for item in [*found, note] if isinstance(item, DanglingLink)]
    assert {n.target for n in notes} == {"func/gone.nii"}


# -- stimuli -----------------------------------------------------------------------------


def test_stimuli_of_the_events_that_ride_along() -> None:
    table = (
        b"\xef\xbb\xbfonset\tstim_file\r\n0\ta.png\r\n1\ta.png\r\n2\tn/a\r\n3\tdeep/b.png\r\n"
        b"4\tstimuli/c.png\r\n5\r\n6\t\r\n"
    )
    content: Content = {
        EVENTS: table,
        "stimuli/a.png": None,
        "stimuli/deep/b.png": None,
        "stimuli/c.png": None,
        "stimuli/unused.png": None,
    }
    expected = {p: "stim_file" for p in content if p.startswith("stimuli") and "un" not in p}
    assert companions(BOLD, content) == expected
    assert companions(EVENTS, content) == expected


def test_stimuli_that_are_elsewhere_are_told_once() -> None:
    table = b"stim_file\n../x.png\n../../x.png\n/etc/passwd\nhttp://a.b/c\ngone.png\ngone.png\n"
    notes = run(BOLD, {EVENTS: table, "x.png": None})
    assert [type(n) for n in notes] == [Companion, *[DanglingLink] * 4]
    told = {n.target: (n.source, n.reason) for n in notes if isinstance(n, DanglingLink)}
    assert told == {
        "../../x.png": (EVENTS, OUTSIDE),
        "/etc/passwd": (EVENTS, OUTSIDE),
        "http://a.b/c": (EVENTS, OUTSIDE),
        "gone.png": (EVENTS, GONE),
    }


def test_tables_without_the_column_or_without_a_line() -> None:
    assert companions(BOLD, {EVENTS: b"onset\n0\n"}) == {}
    assert companions(BOLD, {EVENTS: b""}) == {}
    assert companions(BOLD, {EVENTS: b"\xff\xfe\x00stim_file"}) == {}


# -- what is wrong with other people's input -----------------------------------------------


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("../../../etc/passwd", OUTSIDE),
        ("bids::../x.nii", OUTSIDE),
        ("/etc/passwd", OUTSIDE),
        ("https://example.org/x.nii", OUTSIDE),
        ("bids:nonsense", "it is not a BIDS URI (bids:DATASET:PATH)"),
        ("bids:", "it is not a BIDS URI (bids:DATASET:PATH)"),
        ("C:/x.nii", OUTSIDE),
        (".", OUTSIDE),
        ("gone.nii", GONE),
        ("bids::sub-03/gone.nii", GONE),
    ],
)
def test_links_that_lead_nowhere_are_told_and_not_followed(target: str, reason: str) -> None:
    (note,) = run(BOLD, {BOLD_JSON: {"Sources": [target, target]}})
    assert isinstance(note, DanglingLink)
    assert (note.source, note.field, note.target) == (BOLD, "Sources", target)
    assert note.reason == reason


@pytest.mark.parametrize("value", [7, True, [[]], [7], {"a": 1}, ""])
def test_values_of_the_wrong_type_are_told(value: object) -> None:
    (note,) = run(BOLD, {BOLD_JSON: {"Sources": value, "B0FieldSource": value}})[:1]
    assert isinstance(note, DanglingLink)
    assert note.field == "Sources"
    assert note.reason == "it is not a path"


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[1, 2]", b'"text"', b"\xff\xfe{", b"{" * 100_000, b"[" * 100_000, b"nan{}"],
)
def test_malformed_json_is_told(content: bytes) -> None:
    (note,) = run(BOLD, {BOLD_JSON: content})
    assert isinstance(note, Unreadable)
    assert note.path == BOLD_JSON
    assert "JSON" in note.message


def test_a_byte_order_mark_is_tolerated() -> None:
    content: Content = {BOLD_JSON: b'\xef\xbb\xbf{"Sources": ["a.nii"]}', "a.nii": None}
    assert companions(BOLD, content) == {"a.nii": "Sources"}


def test_what_is_absent_is_named_so_that_it_can_be_fetched() -> None:
    content: Content = {
        "task-rest_bold.json": {"Sources": ["a.nii"]},
        BOLD_JSON: None,
        EVENTS: None,
        f"{EPI}.nii.gz": None,
        f"{EPI}.json": None,
        "a.nii": None,
    }
    found = run(BOLD, content)
    assert [item for item in found if isinstance(item, Unread)] == [
        Unread(BOLD_JSON, BOLD),
        Unread(f"{EPI}.json", BOLD),
        Unread(EVENTS, BOLD),
    ]
    # What could be read was followed all the same.
    assert Companion("a.nii", BOLD, "Sources") in found
    # After fetching, the answer is complete.
    content.update({BOLD_JSON: {}, EVENTS: b"", f"{EPI}.json": {"IntendedFor": BOLD}})
    assert not [item for item in run(BOLD, content) if isinstance(item, Unread)]


def test_a_reader_that_answers_less_or_more_than_was_asked() -> None:
    names = Names([BOLD, BOLD_JSON, DESCRIPTION])

    def read(paths: Sequence[str]) -> Iterable[tuple[str, bytes | None]]:
        return [("other.json", b"{}"), (DESCRIPTION, b"{}"), (DESCRIPTION, b"{")]

    assert list(linked([BOLD], names, read)) == [Unread(BOLD_JSON, BOLD)]


def test_what_has_no_subject_or_is_not_there() -> None:
    assert companions("README", {}) == {}
    assert companions([BOLD, "task-rest_bold.json"], {"task-rest_bold.json": {}}) == {}
    # Selected in a subdataset that is mounted here: the names say nothing of it.
    assert list(linked([BOLD], Names(["README"]), Store({}))) == []


def test_few_calls_however_many_files() -> None:
    content: Content = {DESCRIPTION: {}}
    selected = []
    for run_ in range(40):
        stem = f"sub-01/func/sub-01_task-x_run-{run_}"
        selected.append(f"{stem}_bold.nii.gz")
        content[f"{stem}_bold.json"] = {"B0FieldSource": "a"}
        content[f"{stem}_events.tsv"] = b"onset\n"
        content[f"sub-01/fmap/sub-01_run-{run_}_epi.nii.gz"] = None
        content[f"sub-01/fmap/sub-01_run-{run_}_epi.json"] = {"B0FieldIdentifier": "a"}
        content[f"sub-01/anat/sub-01_run-{run_}_T1w.nii.gz"] = None
        content[f"sub-01/anat/sub-01_run-{run_}_T1w.json"] = {}
    store = Store(content)
    found = [c for c in linked(selected, Names({*content, *selected}), store)]
    assert len([c for c in found if isinstance(c, Companion)]) == 80
    assert [len(call) for call in store.calls] == [81, 40, 40]


def test_origins_are_selected_files() -> None:
    second = "sub-02/func/sub-02_task-rest_bold.nii.gz"
    content: Content = {
        "bold.json": {"AssociatedEmptyRoom": "room.fif"},
        "room.fif": None,
        "sub-02/fmap/sub-02_epi.nii.gz": None,
        "sub-02/fmap/sub-02_epi.json": {"IntendedFor": f"bids::{second}"},
    }
    found = run([BOLD, second], content)
    assert [(c.path, c.companion_of) for c in found if isinstance(c, Companion)] == [
        ("room.fif", BOLD),
        ("sub-02/fmap/sub-02_epi.nii.gz", second),
        ("sub-02/fmap/sub-02_epi.json", second),
    ]


def formats(definition: object) -> Iterable[str]:
    if isinstance(definition, dict):
        if isinstance(definition.get("format"), str):
            yield definition["format"]
        definition = list(definition.values())
    if isinstance(definition, list):
        for part in definition:
            yield from formats(part)


def test_fields_of_the_schema_that_hold_paths_are_known() -> None:
    # Head points may be described in words; the headshape rule finds the file.
    left_out = {"DigitizedHeadPoints"}
    fields = {
        raw["name"]
        for raw in load_schema()["objects"]["metadata"].values()
        if any(kind.endswith("_relative") or kind == "bids_uri" for kind in formats(raw))
    }
    assert "IntendedFor" in fields
    new = fields - set(links._FIELDS) - left_out
    assert not new, f"the BIDS schema has new fields that hold paths: {sorted(new)}"
