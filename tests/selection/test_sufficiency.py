"""What is selected, with its companions, is enough for pybids.

Trees with content on disk, random selections, and pybids' own answers on the
whole tree and on the subset that a selection would fetch.
"""

from __future__ import annotations

import json
import random
import shutil
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
from bids import BIDSLayout

from datalad_bidsshare.selection.companions import Companion, companions
from datalad_bidsshare.selection.links import linked
from datalad_bidsshare.selection.names import Names
from tests.platforms import needs_posix

# Elsewhere pybids gives paths, and entities that are paths, with another separator.
pytestmark = needs_posix

Tree = dict[str, bytes]
Answers = dict[tuple[str, str], Any]

DESCRIPTION = json.dumps({"Name": "x", "BIDSVersion": "1.10.0"}).encode()


class Grower:
    """Grows one random tree; equal seeds grow equal trees."""

    def __init__(self, seed: int, uris: bool = False) -> None:
        self.uris = uris
        self.rng = random.Random(seed)
        self.tree: Tree = {}
        self.images: list[str] = []

    def maybe(self, chance: float = 0.5) -> bool:
        return self.rng.random() < chance

    def put(self, path: str, content: bytes = b"") -> None:
        self.tree[path] = content or path.encode()

    def sidecar(self, path: str, **fields: object) -> None:
        # Overlapping keys, so that it matters which file wins.
        for key in self.rng.sample(["Echo", "Repetition", "Manufacturer", "Flip"], 2):
            fields.setdefault(key, self.rng.randrange(1000))
        fields["Own" + str(self.rng.randrange(30))] = path
        if self.maybe(0.1):
            fields["Manufacturer"] = None
        self.put(path, json.dumps(fields).encode())

    def image(self, stem: str, extension: str = ".nii.gz", **fields: object) -> str:
        path = stem + extension
        self.put(path)
        self.images.append(path)
        if fields or self.maybe(0.7):
            self.sidecar(stem + ".json", **fields)
        return path

    def grow(self) -> Tree:
        self.put("dataset_description.json", DESCRIPTION)
        self.put("README")
        self.put("participants.tsv", b"participant_id\n")
        for name in (
            "bold",
            "task-rest_bold",
            "task-rest_acq-x_bold",
            "acq-x_bold",
            "task-nback_run-1_bold",
            "T1w",
            "dwi",
            "dir-AP_dwi",
            "phasediff",
            "dir-PA_epi",
            "asl",
            "task-rest_eeg",
            "task-rest_channels",
            "task-rest_events",
        ):
            if self.maybe(0.6):
                self.sidecar(f"{name}.json")
        for name in ("dwi", "dir-AP_dwi", "acq-x_dir-AP_dwi"):
            if self.maybe():
                self.put(f"{name}.bval")
                self.put(f"{name}.bvec")
        for subject in ("01", "02", "10"):
            sessions = self.rng.choice([[""], ["1", "02"], ["pre"]])
            for session in sessions:
                self.visit(subject, session)
            if sessions != [""]:
                self.put(f"sub-{subject}/sub-{subject}_sessions.tsv")
        return self.tree

    def visit(self, subject: str, session: str) -> None:
        label = f"sub-{subject}_ses-{session}" if session else f"sub-{subject}"
        self.top = label.replace("_", "/")
        self.label = label
        for level in {f"sub-{subject}": f"sub-{subject}", self.top: label}.items():
            directory, start = level
            for name in ("bold", "task-rest_bold", "run-01_bold", "T1w", "dwi", "dir-AP_epi"):
                if self.maybe(0.3):
                    self.sidecar(f"{directory}/{start}_{name}.json")
            if self.maybe(0.3):
                self.put(f"{directory}/{start}_dwi.bval")
            if self.maybe(0.3):
                self.put(f"{directory}/{start}_dir-PA_dwi.bvec")
        self.put(f"{self.top}/{label}_scans.tsv", b"filename\n")
        images = [*self.anatomy(), *self.function(), *self.diffusion(), *self.perfusion()]
        self.fieldmaps(subject, images)
        self.electrical()

    def anatomy(self) -> list[str]:
        stem = f"{self.top}/anat/{self.label}"
        found = [self.image(f"{stem}_T1w", self.rng.choice([".nii", ".nii.gz"]))]
        found += [self.image(f"{stem}_echo-{e}_part-mag_MEGRE") for e in (1, 2)]
        return found

    def function(self) -> list[str]:
        found = []
        for task in ("rest", "nback"):
            for run in self.rng.choice([[""], ["_run-1", "_run-02"], ["_acq-x_run-01"]]):
                stem = f"{self.top}/func/{self.label}_task-{task}{run}"
                fields: dict[str, Any] = {}
                if self.maybe(0.3):
                    fields["B0FieldSource"] = self.rng.choice(["pepolar", ["pepolar", "phase"]])
                found.append(self.image(f"{stem}_bold", **fields))
                self.put(f"{stem}_events.tsv", b"onset\tduration\n0\t1\n")
                if self.maybe():
                    self.put(f"{stem}_recording-pulse_physio.tsv.gz")
                    self.sidecar(f"{stem}_recording-pulse_physio.json")
        return found

    def diffusion(self) -> list[str]:
        found = []
        for direction in ("_dir-AP", "_dir-PA", "")[: self.rng.randrange(4)]:
            stem = f"{self.top}/dwi/{self.label}{direction}_dwi"
            found.append(self.image(stem))
            for kind in ("bval", "bvec"):
                if self.maybe():
                    self.put(f"{stem}.{kind}")
        return found

    def perfusion(self) -> list[str]:
        if self.maybe():
            return []
        stem = f"{self.top}/perf/{self.label}"
        found = [self.image(f"{stem}_asl")]
        self.put(f"{stem}_aslcontext.tsv")
        self.image(f"{stem}_m0scan", IntendedFor=[f"bids::{found[0]}"])
        return found

    def intended(self, subject: str, images: Sequence[str]) -> Any:
        chosen = self.rng.sample(list(images), self.rng.randrange(1, 3))
        forms: list[Callable[[str], str]] = [
            lambda p: p.removeprefix(f"sub-{subject}/"),
            lambda p: f"./{p.removeprefix(f'sub-{subject}/')}",
            lambda p: p,
            lambda p: p.rpartition("/")[2],
        ]
        if self.uris:
            # pybids' get_fieldmap raises ValueError on these, its index reads them.
            forms[1:] = [lambda p: f"bids::{p}"]
        targets = [self.rng.choice(forms)(p) for p in chosen]
        return targets[0] if self.maybe(0.3) else targets

    def fieldmaps(self, subject: str, images: Sequence[str]) -> None:
        for acquisition in ("", "_acq-y", "_run-1")[: self.rng.randrange(1, 4)]:
            stem = f"{self.top}/fmap/{self.label}{acquisition}"
            kind = self.rng.choice(["phasediff", "phase", "fieldmap", "epi"])
            link = {} if self.maybe(0.2) else {"IntendedFor": self.intended(subject, images)}
            if self.maybe(0.3):
                link["B0FieldIdentifier"] = "pepolar" if kind == "epi" else "phase"
            if kind == "phasediff":
                self.image(f"{stem}_phasediff", **link)
                for i in (1, 2)[: self.rng.randrange(1, 3)]:
                    self.image(f"{stem}_magnitude{i}")
            elif kind == "phase":
                for i in (1, 2):
                    self.image(f"{stem}_phase{i}", **link)
                    self.image(f"{stem}_magnitude{i}")
            elif kind == "fieldmap":
                self.image(f"{stem}_fieldmap", **link)
                self.image(f"{stem}_magnitude")
            else:
                for direction in ("AP", "PA"):
                    self.image(f"{stem.replace('_run-1', '')}_dir-{direction}_epi", **link)

    def electrical(self) -> None:
        stem = f"{self.top}/eeg/{self.label}"
        self.image(f"{stem}_task-rest_eeg", ".vhdr")
        self.put(f"{stem}_task-rest_eeg.vmrk")
        self.put(f"{stem}_task-rest_eeg.eeg")
        self.put(f"{stem}_task-rest_channels.tsv")
        self.put(f"{stem}_space-CapTrak_electrodes.tsv")
        self.sidecar(f"{stem}_space-CapTrak_coordsystem.json")
        stem = f"{self.top}/motion/{self.label}_task-rest_tracksys-imu"
        self.image(f"{stem}_motion", ".tsv")
        self.put(f"{stem}_channels.tsv")
        stem = f"{self.top}/meg/{self.label}_task-rest"
        for split in ("01", "02"):
            self.image(f"{stem}_split-{split}_meg", ".fif")
        self.put(f"{stem}_channels.tsv")
        self.sidecar(f"{self.top}/meg/{self.label}_coordsystem.json")
        self.image(f"{self.top}/nirs/{self.label}_task-rest_nirs", ".snirf")


def write(root: Path, tree: Tree, paths: Iterable[str]) -> None:
    for path in paths:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(tree[path])


def layout(root: Path, **kwargs: Any) -> BIDSLayout:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return BIDSLayout(root, validate=False, **kwargs)


def answers(layout: BIDSLayout, root: Path, paths: Iterable[str]) -> Answers:
    """Collect what pybids says about files, with paths relative to the root."""

    def plain(value: Any) -> Any:
        return json.loads(json.dumps(value, default=str).replace(f"{root}/", ""))

    def gradient(ask: Callable[[str], Any], path: str) -> Any:
        try:
            return ask(path)
        except IndexError:
            return "there is none"

    found: Answers = {}
    for path in paths:
        there = str(root / path)
        found[path, "metadata"] = plain(dict(layout.get_metadata(there)))
        if path.endswith("_dwi.nii.gz"):
            found[path, "bval"] = plain(gradient(layout.get_bval, there))
            found[path, "bvec"] = plain(gradient(layout.get_bvec, there))
    return found


def fieldmaps(layout: BIDSLayout, root: Path, paths: Iterable[str]) -> dict[str, Any]:
    return {
        path: json.loads(
            json.dumps(layout.get_fieldmap(str(root / path), return_list=True)).replace(
                f"{root}/", ""
            )
        )
        for path in paths
        if path.endswith((".nii", ".nii.gz"))
    }


def with_linked(selected: Sequence[str], tree: Tree) -> set[str]:
    names = Names(tree)
    calls = []

    def read(paths: Sequence[str]) -> Iterable[tuple[str, bytes | None]]:
        calls.append(len(paths))
        return [(path, tree[path]) for path in paths]

    found = {c.path for c in linked(selected, names, read) if isinstance(c, Companion)}
    assert len(calls) <= 5  # JSON and tables once, more JSON once for each participant
    return found


@pytest.mark.parametrize("seed", range(5))
def test_pybids_says_the_same_on_the_subset(tmp_path: Path, seed: int) -> None:
    grower = Grower(seed)
    tree = grower.grow()
    whole_root = tmp_path / "whole"
    write(whole_root, tree, tree)
    whole = layout(whole_root)
    rng = random.Random(seed)
    told = mapped = 0
    for n, size in enumerate((1, 5, 30)):
        selected = rng.sample(grower.images, size)
        default = {c.path for c in companions(selected, Names(tree))}
        assert default.isdisjoint(selected)
        more = with_linked(selected, tree)
        assert more.isdisjoint(default) and more.isdisjoint(selected)

        root = tmp_path / f"part{n}"
        write(root, tree, {*selected, *default})
        expected = answers(whole, whole_root, selected)
        assert answers(layout(root), root, selected) == expected
        told += sum(bool(value) for value in expected.values())

        write(root, tree, more)
        maps = fieldmaps(whole, whole_root, selected)
        linked_layout = layout(root)
        assert fieldmaps(linked_layout, root, selected) == maps
        mapped += sum(len(value) for value in maps.values())
        # What was linked has its own metadata, too.
        images = [path for path in sorted(more) if path in grower.images]
        assert answers(linked_layout, root, images) == answers(whole, whole_root, images)
        shutil.rmtree(root)
    # The comparison was about something.
    assert told > 10
    assert mapped > 0


@pytest.mark.parametrize("seed", range(10, 12))
def test_what_pybids_associates_by_bids_uri_is_linked(tmp_path: Path, seed: int) -> None:
    grower = Grower(seed, uris=True)
    tree = grower.grow()
    write(tmp_path, tree, tree)
    whole = layout(tmp_path)
    maps = [path for path in grower.images if "/fmap/" in path or "_m0scan" in path]
    informed: dict[str, set[str]] = {}
    for path in maps:
        for target in whole.get_file(str(tmp_path / path)).get_associations("IntendedFor"):
            informed.setdefault(str(Path(target.path).relative_to(tmp_path)), set()).add(path)
    assert len(informed) > 3
    for path, expected in informed.items():
        default = {c.path for c in companions([path], Names(tree))}
        assert expected <= with_linked([path], tree) | default


def test_every_image_by_itself_gets_all_of_its_metadata(tmp_path: Path) -> None:
    # From names, file by file, against the files that pybids' index merged.
    grower = Grower(99)
    tree = grower.grow()
    write(tmp_path, tree, tree)
    whole = layout(tmp_path)
    names = Names(tree)
    for path in grower.images:
        merged = {
            str(Path(f.path).relative_to(tmp_path)) for f in inherited(whole, str(tmp_path / path))
        }
        found = {c.path for c in companions([path], names) if c.reason == "sidecar"}
        # Sidecars of the companions themselves are more than the file's own.
        assert merged <= found, path


def inherited(layout: BIDSLayout, path: str) -> list[Any]:
    """Give the JSON files that pybids associates with a file, upwards."""
    found = []
    queue = [f for f in layout.get_file(path).get_associations("Metadata")]
    while queue:
        file = queue.pop()
        if file not in found and file.path.endswith(".json"):
            found.append(file)
    return found


def test_derivatives_are_their_own_dataset(tmp_path: Path) -> None:
    top = "derivatives/prep"
    stem = f"{top}/sub-01/func/sub-01_task-rest"
    tree: Tree = {
        "dataset_description.json": DESCRIPTION,
        "task-rest_bold.json": b'{"RepetitionTime": 9}',
        f"{top}/dataset_description.json": DESCRIPTION,
        f"{top}/task-rest_bold.json": b'{"RepetitionTime": 2}',
        f"{top}/space-T1w_desc-preproc_bold.json": b'{"SkullStripped": false}',
        f"{top}/space-MNI_desc-preproc_bold.json": b'{"SkullStripped": true}',
        f"{stem}_space-T1w_desc-preproc_bold.json": b'{"Sources": []}',
        f"{stem}_space-T1w_desc-preproc_bold.nii.gz": b"x",
        f"{stem}_from-boldref_to-T1w_mode-image_xfm.txt": b"x",
        f"{stem}_from-boldref_to-T1w_mode-image_xfm.json": b'{"Type": "rigid"}',
    }
    whole_root, root = tmp_path / "whole", tmp_path / "part"
    write(whole_root, tree, tree)
    for selected in (
        f"{stem}_space-T1w_desc-preproc_bold.nii.gz",
        f"{stem}_from-boldref_to-T1w_mode-image_xfm.txt",
    ):
        fetched = [selected, *(c.path for c in companions([selected], Names(tree)))]
        assert all(path.startswith(top) for path in fetched)
        write(root, tree, fetched)
        config = {"config": ["bids", "derivatives"]}
        own = selected.removeprefix(f"{top}/")
        expected = answers(layout(whole_root / top, **config), whole_root / top, [own])
        assert expected[own, "metadata"]
        assert answers(layout(root / top, **config), root / top, [own]) == expected
