"""What rides along with what."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalad_bidsshare.selection import inheritance
from datalad_bidsshare.selection.associations import Association, Facts, associations
from datalad_bidsshare.selection.companions import (
    Companion,
    bids_root,
    companions,
    expand,
    sidecars,
)
from datalad_bidsshare.selection.entities import parse, parser
from datalad_bidsshare.selection.inheritance import Inheritance
from datalad_bidsshare.selection.names import Names, parents


def found(selected: str | Iterable[str], *names: str) -> dict[str, str]:
    """Give path -> reason of the companions, in order."""
    selected = [selected] if isinstance(selected, str) else list(selected)
    listed = list(companions(selected, Names({*selected, *names})))
    paths = [companion.path for companion in listed]
    assert len(set(paths)) == len(paths), "a companion came twice"
    assert set(paths) <= set(names) - set(selected)
    return {companion.path: companion.reason for companion in listed}


FUNC = "sub-01/func/sub-01_task-rest"
BOLD = f"{FUNC}_bold.nii.gz"


# -- metadata -------------------------------------------------------------------------


def test_json_is_inherited_from_every_level() -> None:
    levels = [
        f"{FUNC}_bold.json",
        "sub-01/func/sub-01_bold.json",
        "sub-01/sub-01_task-rest_bold.json",
        "task-rest_bold.json",
        "bold.json",
    ]
    others = [
        "sub-01/func/sub-01_task-rest_run-1_bold.json",  # says more than the image
        "sub-01/func/sub-01_task-nback_bold.json",
        "task-nback_bold.json",
        "T1w.json",
        "sub-01/anat/sub-01_bold.json",  # not above the image
        "sub-02/sub-02_bold.json",
    ]
    assert found(BOLD, *levels, *others) == dict.fromkeys(levels, "sidecar")


def test_the_strongest_sidecar_comes_first_as_in_pybids() -> None:
    names = Names([BOLD, "bold.json", "task-rest_bold.json", f"{FUNC}_bold.json"])
    assert sidecars(BOLD, Inheritance(names)) == [
        f"{FUNC}_bold.json",
        "bold.json",
        "task-rest_bold.json",
    ]


def test_within_a_directory_the_order_is_natural_as_in_pybids() -> None:
    names = ["run-01_task-rest_bold.json", "run-1_bold.json", "run-1_acq-x_bold.json"]
    image = "sub-01/func/sub-01_task-rest_acq-x_run-1_bold.nii.gz"
    assert sidecars(image, Inheritance(Names(names))) == [names[2], names[1], names[0]]


def test_a_superscript_is_no_number() -> None:
    names = ["acq-a_run-1²2_bold.json", "acq-a_bold.json"]
    image = "sub-01/func/sub-01_acq-a_run-1_bold.nii.gz"
    assert set(sidecars(image, Inheritance(Names(names)))) == set(names)


def test_run_is_a_number_and_nothing_else_is() -> None:
    stem = "sub-01/func/sub-01_task-rest"
    yes = "sub-01/func/sub-01_run-1_bold.json"
    no = "sub-01/func/sub-01_echo-1_bold.json"
    assert found(f"{stem}_run-01_echo-01_bold.nii.gz", yes, no) == {yes: "sidecar"}


def test_a_directory_outvotes_the_name() -> None:
    # pybids takes the leftmost match: everything below sub-01 is of subject 01.
    image = "sub-01/anat/sub-02_T1w.nii.gz"
    assert found(image, "sub-01/sub-01_T1w.json") == {"sub-01/sub-01_T1w.json": "sidecar"}


def test_json_that_has_no_suffix_is_found_by_its_stem() -> None:
    names = ["phenotype/my-scale.json", "phenotype/my-other.json"]
    assert found("phenotype/my-scale.tsv", *names) == {names[0]: "sidecar"}


def test_a_json_file_brings_neither_data_nor_other_json() -> None:
    assert found(f"{FUNC}_bold.json", BOLD, "bold.json", f"{FUNC}_events.tsv") == {}
    dtseries = f"{FUNC}_space-fsLR_bold.dtseries"
    assert found(f"{dtseries}.json", f"{dtseries}.nii") == {}


# -- parts ----------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [".vhdr", ".vmrk", ".eeg"])
def test_the_parts_of_a_recording_bring_each_other(chosen: str) -> None:
    stem = "sub-01/eeg/sub-01_task-x_eeg"
    others = {f"{stem}{e}" for e in (".vhdr", ".vmrk", ".eeg")} - {stem + chosen}
    assert found(stem + chosen, *others, "sub-01/eeg/sub-01_task-y_eeg.eeg") == dict.fromkeys(
        sorted(others), "part"
    )


@pytest.mark.parametrize("extension", [".json", ".bval", ".bvec"])
def test_sidecars_bring_no_data(extension: str) -> None:
    stem = "sub-01/dwi/sub-01_dwi"
    parts = [f"{stem}{e}" for e in (".nii.gz", ".bval", ".bvec")]
    assert found(stem + extension, *parts) == {}


def test_other_encodings_of_an_image_stay() -> None:
    assert found("sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1w.nii") == {}
    stem = "sub-01/micr/sub-01_sample-a_SEM"
    assert found(f"{stem}.ome.tif", f"{stem}.png") == {}
    fmap = "sub-01/fmap/sub-01"
    magnitudes = [f"{fmap}_magnitude1.nii", f"{fmap}_magnitude1.nii.gz"]
    assert found(f"{fmap}_phasediff.nii", *magnitudes) == {magnitudes[0]: "magnitude1"}
    assert found(f"{fmap}_phasediff.nii", magnitudes[1]) == {magnitudes[1]: "magnitude1"}


def test_split_fif_is_one_recording() -> None:
    stem = "sub-01/meg/sub-01_task-x"
    others = [
        f"{stem}_split-02_meg.fif",
        f"{stem}_split-03_meg.fif",
        f"{stem}_split-02_meg.json",
        f"{stem}_meg.json",
    ]
    result = found(
        f"{stem}_split-01_meg.fif",
        *others,
        f"{stem}_run-1_split-02_meg.fif",
        f"{stem}_meg.fif",
    )
    assert result == {
        others[0]: "part",
        others[1]: "part",
        others[2]: "sidecar",
        others[3]: "sidecar",
    }
    # Also when the selected part lies in a subdataset, out of sight.
    names = Names(["dataset_description.json"])
    assert [c.path for c in companions([f"{stem}_split-01_meg.fif"], names)] == [
        "dataset_description.json"
    ]


@pytest.mark.parametrize(
    ("directory", "inside"),
    [
        ("sub-01/meg/sub-01_task-x_meg.ds", ["BadChannels", "sub-01_task-x_meg.meg4"]),
        ("sub-01/meg/sub-01_task-x_meg", ["config", "e,rfhp1.0Hz"]),
        ("sub-01/ieeg/sub-01_task-x_ieeg.mefd", ["C1.timd/C1-000.segd/C1-000.tdat"]),
        ("sub-01/micr/sub-01_sample-a_SPIM.ome.zarr", [".zattrs", "0/0/0/0/0", "0/0/0/0/1"]),
    ],
)
def test_a_directory_recording_rides_whole(directory: str, inside: list[str]) -> None:
    members = [f"{directory}/{name}" for name in [*inside, "more/of.it"]]
    top, _, name = directory.rpartition("/")
    stem = f"{top}/{name.partition('.')[0]}"
    channels = stem.rpartition("_")[0] + "_channels.tsv"
    others = [f"{stem}.json", channels] if "micr" not in top else [f"{stem}.json"]
    for selected in ([members[0]], members[:-1]):
        result = found(selected, *members, *others)
        expected = dict.fromkeys(set(members) - set(selected), "recording")
        assert result == {**expected, others[0]: "sidecar", **dict.fromkeys(others[1:], "channels")}


# -- associations ---------------------------------------------------------------------


def test_events_and_their_json_ride_with_a_run() -> None:
    names = [
        f"{FUNC}_events.tsv",
        f"{FUNC}_events.json",
        "task-rest_events.json",
        f"{FUNC}_recording-cardiac_physio.tsv.gz",
        f"{FUNC}_recording-cardiac_physio.json",
        f"{FUNC}_stim.tsv.gz",
        f"{FUNC}_recording-eye_physioevents.tsv.gz",
    ]
    others = ["sub-01/func/sub-01_task-rest_run-2_events.tsv", "task-nback_events.json"]
    result = found(BOLD, *names, *others)
    assert set(result) == set(names)
    assert result[names[0]] == "events"
    assert result[names[1]] == result[names[2]] == result[names[4]] == "sidecar"
    assert result[names[3]] == "physio"
    assert result[names[5]] == "stim"


def test_tables_bring_no_recordings() -> None:
    physio = f"{FUNC}_physio.tsv.gz"
    assert found(f"{FUNC}_events.tsv", BOLD, physio) == {}
    assert found(physio, BOLD, f"{FUNC}_events.tsv") == {}
    # But a table that is data has its events.
    motion = "sub-01/motion/sub-01_task-x_tracksys-imu_motion.tsv"
    events = "sub-01/motion/sub-01_task-x_events.tsv"
    channels = "sub-01/motion/sub-01_task-x_tracksys-imu_channels.tsv"
    assert found(motion, events, channels) == {events: "events", channels: "channels"}


def test_electrodes_lead_to_their_coordinate_system() -> None:
    stem = "sub-01/eeg/sub-01"
    names = {
        f"{stem}_task-x_channels.tsv": "channels",
        f"{stem}_space-CapTrak_coordsystem.json": "coordsystem",
        f"{stem}_space-CapTrak_electrodes.tsv": "electrodes",
        f"{stem}_space-CapTrak_electrodes.json": "sidecar",
    }
    assert found(f"{stem}_task-x_eeg.edf", *names) == names
    assert found(f"{stem}_space-CapTrak_electrodes.tsv", *names) == {
        f"{stem}_space-CapTrak_coordsystem.json": "coordsystem",
        f"{stem}_space-CapTrak_electrodes.json": "sidecar",
    }


def test_the_nearest_table_wins() -> None:
    near, far = "sub-01/dwi/sub-01_dwi.bval", "dwi.bval"
    image = "sub-01/dwi/sub-01_dir-AP_dwi.nii.gz"
    assert found(image, near, far, "dwi.bvec") == {near: "bval", "dwi.bvec": "bvec"}


def test_gradients_that_pybids_would_take_ride_too() -> None:
    # It takes the best that does not contradict, be it more specific or not.
    image = "sub-01/dwi/sub-01_dwi.nii.gz"
    specific = "sub-01/dwi/sub-01_dir-AP_dwi.bval"
    other = "sub-01/dwi/sub-01_dir-PA_dwi.bval"
    assert found(image, "dwi.bval", specific, other) == {"dwi.bval": "bval", specific: "bval"}


def test_neuromag_calibration_and_other_meg_files() -> None:
    stem = "sub-01/meg/sub-01"
    names = {
        f"{stem}_acq-calibration_meg.dat": "calibration",
        f"{stem}_acq-crosstalk_meg.fif": "crosstalk",
        f"{stem}_acq-HSP_headshape.pos": "headshape",
        f"{stem}_task-x_acq-pre_markers.mrk": "markers",
        f"{stem}_coordsystem.json": "coordsystem",
    }
    others = [f"{stem}_acq-other_meg.fif", "sub-02/meg/sub-02_acq-calibration_meg.dat"]
    assert found(f"{stem}_task-x_meg.fif", *names, *others) == names
    kit = {k: v for k, v in names.items() if v not in ("calibration", "crosstalk")}
    assert found(f"{stem}_task-x_meg.con", *names) == kit


def test_derivative_tables_at_the_root() -> None:
    names = {
        "desc-aseg_dseg.tsv": "dseg",
        "descriptions.tsv": "descriptions",
        "descriptions.json": "sidecar",
    }
    image = "sub-01/anat/sub-01_space-MNI_desc-aseg_dseg.nii.gz"
    assert found(image, *names, "desc-aparcaseg_dseg.tsv") == names
    tables = {"atlas-X_description.json": "atlas_description", "atlas-X_dseg.json": "sidecar"}
    image = "sub-01/anat/sub-01_atlas-X_dseg.nii.gz"
    assert found(image, *tables, "atlas-Y_description.json") == tables


def test_transforms_inherit_by_what_they_are_from_and_to() -> None:
    stem = "sub-01/anat/sub-01_from-T1w"
    wrong, right = (f"sub-01/sub-01_from-{x}_mode-image_xfm.json" for x in ("MNI", "T1w"))
    image = f"{stem}_to-MNI_mode-image_xfm.h5"
    assert found(image, wrong, right) == {right: "sidecar"}
    assert parser().whole_path_entities == {"scans", "fmap", "from", "to", "mode"}, (
        "pybids has a new entity that is read from the whole path: see that the prefix of a "
        "name still settles its entities (inheritance._Reader)"
    )


# -- the dataset -------------------------------------------------------------------------


ROOT = {
    name: "root"
    for name in (
        "CHANGES",
        "CITATION.cff",
        "LICENSE",
        "README.md",
        "dataset_description.json",
        "genetic_info.json",
        "participants.json",
        "participants.tsv",
    )
}


def test_files_that_describe_the_dataset_ride_once() -> None:
    others = ["code", "Makefile", "samples.tsv", "sub-01/README", ".bidsignore"]
    result = list(companions(["sub-01/anat/sub-01_T1w.nii", BOLD], Names([*ROOT, *others])))
    assert {c.path: c.reason for c in result} == ROOT
    assert {c.companion_of for c in result} == {"sub-01/anat/sub-01_T1w.nii"}
    assert found("sub-01/micr/sub-01_sample-a_SEM.png", "samples.tsv", "samples.json") == {
        "samples.json": "root",
        "samples.tsv": "root",
    }


def test_scans_and_sessions_of_the_selected_only() -> None:
    image = "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"
    names = {
        "sub-01/ses-1/sub-01_ses-1_scans.tsv": "scans",
        "sub-01/sub-01_sessions.tsv": "sessions",
        "sessions.tsv": "sessions",
        "sub-01/ses-1/sub-01_ses-1_scans.json": "sidecar",
        "scans.json": "sidecar",
        "sub-01/sub-01_sessions.json": "sidecar",
        "sessions.json": "sidecar",
    }
    others = ["sub-01/ses-2/sub-01_ses-2_scans.tsv", "sub-02/sub-02_sessions.tsv"]
    assert found(image, *names, *others) == names


def test_a_dataset_within_a_dataset_is_on_its_own() -> None:
    top = "derivatives/prep"
    image = f"{top}/sub-01/anat/sub-01_desc-x_T1w.nii.gz"
    own = {f"{top}/T1w.json": "sidecar", f"{top}/dataset_description.json": "root"}
    others = ["T1w.json", "dataset_description.json", "participants.tsv"]
    assert found(image, *own, *others) == own
    names = Names([image, *own, *others])
    assert bids_root(image, names) == top
    assert bids_root("sub-01/anat/sub-01_T1w.nii.gz", names) == ""
    # Without a description of its own it belongs to what is around it.
    del own[f"{top}/dataset_description.json"]
    assert set(found(image, *own, *others)) == {*own, *others}


def test_a_path_in_a_subdataset_that_is_mounted_here() -> None:
    names = Names(["dataset_description.json", "task-rest_bold.json", "sub-01_scans.tsv"])
    assert [c.path for c in companions([BOLD], names)] == [
        "task-rest_bold.json",
        "sub-01_scans.tsv",
        "dataset_description.json",
    ]


def test_inside_a_subject_subdataset() -> None:
    names = ["sub-01_scans.tsv", "func/sub-01_task-rest_events.tsv", "sub-01_bold.json"]
    result = found("func/sub-01_task-rest_bold.nii.gz", *names)
    assert set(result) == set(names)


# -- the order and the bookkeeping -----------------------------------------------------


def test_each_once_for_the_first_that_needs_it_and_never_a_selected_one() -> None:
    runs = [f"sub-01/func/sub-01_task-x_run-{r}_bold.nii.gz" for r in (1, 2)]
    events = [p.replace("bold.nii.gz", "events.tsv") for p in runs]
    names = Names([*runs, *events, "task-x_bold.json", "README"])
    result = list(companions([*runs, events[1], runs[0]], names))
    assert result == [
        Companion("task-x_bold.json", runs[0], "sidecar"),
        Companion(events[0], runs[0], "events"),
        Companion("README", runs[0], "root"),
    ]


def test_companions_stream() -> None:
    def selected() -> Iterable[str]:
        for subject in range(10):
            yield f"sub-{subject}/anat/sub-{subject}_T1w.nii.gz"

    names = Names(p.replace(".nii.gz", ".json") for p in selected())
    stream = companions(selected(), names)
    assert next(stream).path == "sub-0/anat/sub-0_T1w.json"
    assert len(list(stream)) == 9


def test_expand_continues_where_another_left_off() -> None:
    names = Names([BOLD, f"{FUNC}_bold.json", "README"])
    seen = {BOLD, "README"}
    assert [c.path for c in expand([BOLD], seen, Inheritance(names))] == [f"{FUNC}_bold.json"]
    assert seen == {*names}


def test_forgetting_directories_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["bold.json", "README"]
    for subject in range(12):
        stem = f"sub-{subject}/func/sub-{subject}_task-x"
        names += [f"{stem}_bold.nii.gz", f"{stem}_bold.json", f"{stem}_events.tsv"]
        names += [f"{stem}_acq-{subject}_bold.nii.gz"]  # no two are alike
    images = [name for name in names if name.endswith(".nii.gz")]
    expected = list(companions(images, Names(names)))
    monkeypatch.setattr(inheritance, "_MOST_FOLDERS", 3)
    assert list(companions(images, Names(names))) == expected


# -- against a definition without any index or memory -------------------------------------


def plainly_inherited(path: str, entities: dict[str, object], names: Sequence[str]) -> list[str]:
    return [name for name in names if said(name).items() <= entities.items()]


def said(path: str) -> dict[str, object]:
    found: dict[str, object] = {**parse(path)}
    for key in ("suffix", "extension", "scans", "fmap"):
        found.pop(key, None)
    if "run" in found:
        found["run"] = int(str(found["run"]))
    return found


def levels(path: str, names: Names) -> list[list[str]]:
    above = []
    for directory in parents(path):
        files = names.files_in(directory)
        above.append(files)
        if f"{directory}/dataset_description.json".lstrip("/") in files:
            break
    return above


def kind(path: str) -> tuple[str, str]:
    found = parse(path)
    return found.get("suffix", ""), found.get("extension", "")


def goes_with(candidate: str, rule: Association, entities: dict[str, object]) -> bool:
    has = said(candidate)
    if any(has.pop(key, None) not in labels for key, labels in rule.fixed.items()):
        return False
    return all(
        entities[key] == value if key in entities else key in rule.extra
        for key, value in has.items()
    )


def plain_needs(path: str, names: Names) -> set[str]:
    """Give what the rules and inheritance bring, one file compared with every other."""
    (suffix, extension), entities = kind(path), said(path)
    if extension == ".json" or not suffix:
        return set()
    needed: set[str] = set()
    above = levels(path, names)
    for files in above:
        same = [f for f in files if kind(f) == (suffix, ".json")]
        needed.update(plainly_inherited(path, entities, same))
    facts = Facts(suffix, extension, str(entities.get("datatype", "")), frozenset(entities))
    table = extension in (".tsv", ".tsv.gz") and suffix in (
        "events",
        "physio",
        "electrodes",
        "channels",
    )
    for rule in associations():
        if not rule.applies(facts) or (table and not rule.narrow):
            continue
        for files in above[:1] if rule.search == "here" else above:
            right = [
                f
                for f in files
                if kind(f)[0] == (rule.suffix or suffix)
                and kind(f)[1] in rule.extensions
                and goes_with(f, rule, entities)
            ]
            needed.update(right)
            if right and rule.search == "nearest":
                break
    return needed


def plain_closure(path: str, names: Names) -> set[str]:
    needed: set[str] = set()
    queue = [path]
    while queue:
        fresh = plain_needs(queue.pop(), names) - needed
        needed |= fresh
        queue += fresh
    return needed - {path}


LABELS = ["sub-01", "sub-02", "ses-1", "ses-pre", "task-x", "acq-a", "run-1", "run-01", "space-T"]
SUFFIXES = [
    *("bold.nii.gz", "bold.json", "events.tsv", "events.json", "physio.tsv.gz"),
    *("eeg.edf", "electrodes.tsv", "coordsystem.json", "channels.tsv", "T1w.nii.gz", "T1w.json"),
]
DIRECTORIES = [
    *("", "sub-01", "sub-02", "sub-01/ses-1", "sub-02/ses-1", "sub-01/ses-1/func"),
    *("sub-02/ses-1/func", "sub-01/eeg", "sub-02/eeg", "der", "der/sub-01", "der/sub-01/func"),
]


@st.composite
def trees(draw: st.DrawFn) -> list[str]:
    def name(directory: str) -> str:
        usual = [c for c in directory.split("/") if c.startswith(("sub-", "ses-"))]
        labels = usual if draw(st.integers(0, 3)) else []
        labels += draw(st.lists(st.sampled_from(LABELS), max_size=3, unique=True))
        base = "_".join([*dict.fromkeys(labels), draw(st.sampled_from(SUFFIXES))])
        if draw(st.integers(0, 30)) == 0:
            base = draw(st.sampled_from(["_bold.json", "a.b_T1w.json", "bold.x_run-1.json"]))
        return f"{directory}/{base}".lstrip("/")

    directories = draw(st.lists(st.sampled_from(DIRECTORIES), min_size=1, max_size=40))
    files = {name(directory) for directory in directories}
    if draw(st.booleans()):
        files.add("der/dataset_description.json")
    return sorted(files)


@settings(max_examples=150, deadline=None)
@given(trees())
def test_the_index_finds_what_comparing_all_with_all_finds(paths: list[str]) -> None:
    names = Names(paths)
    describing = {"scans", "sessions", "root", "part"}
    walk = Inheritance(names)  # shared, so that what one directory taught is used in another
    for path in paths:
        one = {c.path for c in expand([path], {path}, walk) if c.reason not in describing}
        # A JSON of the same stem rides in any case.
        stem = path.rpartition("/")[2].partition(".")[0]
        twins = {f"{path.rpartition('/')[0]}/{stem}.json".lstrip("/")}
        assert one - twins == plain_closure(path, names) - twins, path


def test_a_million_times_the_same_shape_is_worked_out_once() -> None:
    names, images = ["dataset_description.json"], []
    for subject in range(300):
        for session in (1, 2):
            stem = f"sub-{subject}/ses-{session}/func/sub-{subject}_ses-{session}_task-x"
            images += [f"{stem}_run-{r}_bold.nii.gz" for r in (1, 2)]
            names += [f"{stem}_run-{r}_bold.json" for r in (1, 2)]
    walk = Inheritance(Names([*names, *images]))
    result = list(expand(images, set(images), walk))
    assert len(result) == 1201
    shapes = {walk.folder(image.rpartition("/")[0]).shape for image in images}
    assert len(shapes) == 1


def test_a_name_that_repeats_a_subject_elsewhere_keeps_subjects_apart() -> None:
    # At the root, a JSON for one subject only: sub-02 must not learn from sub-01.
    names = ["sub-01_T1w.json"]
    images = [f"sub-{s}/anat/sub-{s}_T1w.nii.gz" for s in ("02", "01", "03")]
    expected = [Companion("sub-01_T1w.json", images[1], "sidecar")]
    assert list(companions(images, Names([*names, *images]))) == expected
    # What starts with an underscore is not what the labels were taken from.
    names = ["sub-01/anat/_T1w.json", "sub-02/anat/sub-02_T1w.json"]
    assert [c.path for c in companions(images, Names([*names, *images]))] == names[::-1]


# -- hostile names -----------------------------------------------------------------------


def test_numbers_of_absurd_length_are_compared_as_text() -> None:
    long = "1" * 5000
    image = f"sub-01/func/sub-01_task-x_run-{long}_bold.nii.gz"
    own = f"sub-01/func/sub-01_task-x_run-{long}_bold.json"
    other = "sub-01/func/sub-01_task-x_run-1_bold.json"
    assert found(image, own, other) == {own: "sidecar"}
    assert sidecars(image, Inheritance(Names([own, other]))) == [own]


def test_natural_order_is_that_of_numbers_of_any_length() -> None:
    ordered = ["a", "a0", "a1", "a02", "a10", f"a{'9' * 5000}", f"a1{'0' * 5000}", "b1"]
    assert sorted(reversed(ordered), key=inheritance.natural_order) == ordered
    assert inheritance.natural_order("a01") == inheritance.natural_order("A1")
