"""BIDS trees made up on the spot: the names that the tests of every room work on.

The same seed gives the same names on every run. Names follow BIDS
1.11 for raw data and fMRIPrep's habits for derivatives; labels, runs and formats
vary with the seed, and zero padded and unpadded index entities come side by side.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "DATATYPES",
    "Content",
    "Slot",
    "bids_tree",
    "derivative_tree",
    "tree_content",
    "write_tree",
]

Content = Callable[[str], bytes]

SUBJECTS = ("01", "02", "10", "1", "A1", "011", "NOT1ACH001", "pilot", "003", "20")
SESSIONS = ("01", "1", "pre", "NOT1ACH001", "2")
TASKS = ("rest", "resting", "nback", "faces", "rest2")
CTF_FILES = (
    "BadChannels", "bad.segments", "ClassFile.cls", "MarkerFile.mrk", "params.dsc",
    "processing.cfg", "{stem}.acq", "{stem}.hc", "{stem}.infods", "{stem}.meg4",
    "{stem}.newds", "{stem}.res4", "{stem}.1_meg4", "hz.ds/hz.meg4", "hz.ds/hz.res4",
)  # fmt: skip
ZARR_FILES = (
    ".zattrs", ".zgroup", "0/.zarray", "0/0/0/0/0/0", "0/0/0/0/0/1", "1/.zarray",
    "1/0/0/0/0/0", "OME/METADATA.ome.xml",
)  # fmt: skip
MEF_FILES = (
    "LG01.timd/LG01-000000.segd/LG01-000000.tdat",
    "LG01.timd/LG01-000000.segd/LG01-000000.tidx",
    "LG01.timd/LG01-000000.segd/LG01-000000.tmet",
    "LG02.timd/LG02-000000.segd/LG02-000000.tdat",
)
ZIPPED = ".nii.gz"


@dataclass(frozen=True, slots=True)
class Slot:
    """One subject at one session: where files go and how their names begin."""

    directory: str
    stem: str
    rng: random.Random

    def file(self, datatype: str, *parts: str) -> str:
        """Join the non-empty parts (the last is suffix and extension) to a path."""
        return f"{self.directory}/{datatype}/" + "_".join(p for p in (self.stem, *parts) if p)

    def pair(self, datatype: str, *parts: str, ext: str = ZIPPED) -> Iterator[str]:
        """Give a data file and its JSON sidecar."""
        stem = self.file(datatype, *parts)
        yield stem + ext
        yield stem + ".json"

    def runs(self) -> Sequence[str]:
        """Draw how the runs of one recording are numbered."""
        return self.rng.choice(
            ([""], ["run-1", "run-10"], ["run-01", "run-02"], ["run-1", "run-2"], ["run-001"])
        )

    def tasks(self) -> Sequence[str]:
        """Draw two of the tasks."""
        return [f"task-{t}" for t in self.rng.sample(TASKS, 2)]


def _anat(s: Slot) -> Iterator[str]:
    for run in s.runs():
        yield from s.pair("anat", s.rng.choice(["", "acq-highres", "rec-norm"]), run, "T1w")
    yield from s.pair("anat", "ce-gad", "T1w")
    yield from s.pair("anat", "T2w", ext=".nii")
    yield s.file("anat", "mod-T1w", "defacemask.nii.gz")
    for echo in s.rng.choice((["echo-1", "echo-2"], ["echo-01", "echo-02", "echo-10"])):
        for part in ("part-mag", "part-phase"):
            yield from s.pair("anat", echo, part, "MEGRE")
    for inv in s.rng.choice((["inv-1", "inv-2"], ["inv-01", "inv-02"])):
        yield from s.pair("anat", inv, "part-mag", "MP2RAGE")
    yield from s.pair("anat", "UNIT1")
    for mt in ("mt-on", "mt-off"):
        yield from s.pair("anat", "flip-06", mt, "MTS")
    yield from s.pair("anat", "acq-fine", "chunk-01", "T2starw")


def _func(s: Slot) -> Iterator[str]:
    for task in s.tasks():
        acq = s.rng.choice(["", "acq-fast", "dir-AP"])
        for run in s.runs():
            echoes = s.rng.choice(([""], ["echo-1", "echo-2"], ["echo-01", "echo-02"]))
            for echo in echoes:
                yield from s.pair("func", task, acq, run, echo, "bold")
            yield s.file("func", task, acq, run, "sbref.nii.gz")
            yield s.file("func", task, acq, run, "events.tsv")
            yield from s.pair("func", task, acq, run, "recording-cardiac", "physio", ext=".tsv.gz")
    yield from s.pair("func", "task-rest", "part-phase", "bold", ext=".nii")
    yield from s.pair("func", "task-rest", "stim", ext=".tsv.gz")


def _dwi(s: Slot) -> Iterator[str]:
    for direction in ("dir-AP", "dir-PA"):
        for run in s.runs():
            yield from s.pair("dwi", "acq-multi", direction, run, "dwi")
            for ext in (".bval", ".bvec"):
                yield s.file("dwi", "acq-multi", direction, run, "dwi" + ext)
    yield from s.pair("dwi", "dir-PA", "sbref")


def _fmap(s: Slot) -> Iterator[str]:
    for kind in ("phasediff", "magnitude1", "magnitude2"):
        yield from s.pair("fmap", kind)
    for kind in ("phase1", "phase2"):
        yield from s.pair("fmap", "run-02", kind)
    yield from s.pair("fmap", "acq-direct", "fieldmap")
    yield s.file("fmap", "acq-direct", "magnitude.nii.gz")
    for direction in ("dir-AP", "dir-PA"):
        yield from s.pair("fmap", "acq-se", direction, s.rng.choice(["", "run-1", "run-01"]), "epi")
    for flip in ("flip-1", "flip-02"):
        yield from s.pair("fmap", flip, "TB1DAM")


def _perf(s: Slot) -> Iterator[str]:
    for run in s.runs():
        yield from s.pair("perf", run, "asl")
        yield s.file("perf", run, "aslcontext.tsv")
    yield from s.pair("perf", "m0scan")
    yield s.file("perf", "asllabeling.jpg")


def _montage(s: Slot, datatype: str) -> Iterator[str]:
    """Give what eeg, ieeg and emg share: where the electrodes are."""
    yield s.file(datatype, "space-CapTrak", "electrodes.tsv")
    yield s.file(datatype, "space-CapTrak", "coordsystem.json")


def _eeg(s: Slot) -> Iterator[str]:
    for task in s.tasks():
        for run in s.runs():
            formats = s.rng.choice(
                ((".vhdr", ".vmrk", ".eeg"), (".set", ".fdt"), (".edf",), (".bdf",))
            )
            for ext in (*formats, ".json"):
                yield s.file("eeg", task, run, "eeg" + ext)
            yield s.file("eeg", task, run, "channels.tsv")
            yield from s.pair("eeg", task, run, "events", ext=".tsv")
    yield from _montage(s, "eeg")
    yield s.file("eeg", "photo.jpg")


def _ieeg(s: Slot) -> Iterator[str]:
    recording = s.file("ieeg", "task-faces", "run-01", "ieeg.mefd")
    yield from (f"{recording}/{inner}" for inner in MEF_FILES)
    yield s.file("ieeg", "task-faces", "run-01", "ieeg.json")
    yield from s.pair("ieeg", "task-faces", "run-2", "ieeg", ext=".nwb")
    for run in ("run-01", "run-2"):
        yield s.file("ieeg", "task-faces", run, "channels.tsv")
        yield s.file("ieeg", "task-faces", run, "events.tsv")
    yield from _montage(s, "ieeg")


def _meg(s: Slot) -> Iterator[str]:
    for run in s.runs():
        recording = s.file("meg", "task-nback", run, "meg.ds")
        stem = recording.rpartition("/")[2].removesuffix(".ds")
        yield from (f"{recording}/{inner.format(stem=stem)}" for inner in CTF_FILES)
        yield s.file("meg", "task-nback", run, "meg.json")
        yield s.file("meg", "task-nback", run, "channels.tsv")
        yield s.file("meg", "task-nback", run, "events.tsv")
    for split in s.rng.choice((["split-01", "split-02"], ["split-1", "split-2", "split-10"])):
        yield s.file("meg", "task-rest", split, "meg.fif")
    yield s.file("meg", "task-rest", "meg.json")
    yield s.file("meg", "task-rest", "proc-tsss", "meg.fif")
    bti = s.file("meg", "task-faces", "run-01", "meg")
    yield from (f"{bti}/{inner}" for inner in ("c,rfDC", "config", "hs_file", "e,rfhp1.0Hz.COH"))
    yield bti + ".json"
    yield s.file("meg", "acq-calibration", "meg.dat")
    yield s.file("meg", "acq-crosstalk", "meg.fif")
    yield s.file("meg", "coordsystem.json")
    yield s.file("meg", "headshape.pos")


def _pet(s: Slot) -> Iterator[str]:
    for reconstruction in ("rec-acdyn", "rec-nacstat"):
        yield from s.pair("pet", "trc-FDG", reconstruction, s.rng.choice(["", "run-1"]), "pet")
    yield from s.pair("pet", "trc-FDG", "recording-manual", "blood", ext=".tsv")


def _micr(s: Slot) -> Iterator[str]:
    for sample in ("sample-A", "sample-B2"):
        for chunk in s.rng.choice((["chunk-01", "chunk-02"], ["chunk-1", "chunk-2"])):
            recording = s.file("micr", sample, "stain-LFB", chunk, "SPIM.ome.zarr")
            yield from (f"{recording}/{inner}" for inner in ZARR_FILES)
            yield s.file("micr", sample, "stain-LFB", chunk, "SPIM.json")
        yield from s.pair("micr", sample, "TEM", ext=".png")
        yield from s.pair("micr", sample, "acq-wide", "BF", ext=".ome.tif")
    yield s.file("micr", "sample-A", "photo.jpg")


def _motion(s: Slot) -> Iterator[str]:
    for system in ("tracksys-imu", "tracksys-optical"):
        for run in s.runs():
            yield from s.pair("motion", "task-walk", system, run, "motion", ext=".tsv")
            yield s.file("motion", "task-walk", system, run, "channels.tsv")
    yield s.file("motion", "task-walk", "events.tsv")


def _nirs(s: Slot) -> Iterator[str]:
    for run in s.runs():
        yield from s.pair("nirs", "task-nback", run, "nirs", ext=".snirf")
        yield s.file("nirs", "task-nback", run, "channels.tsv")
        yield s.file("nirs", "task-nback", run, "events.tsv")
    yield s.file("nirs", "optodes.tsv")
    yield s.file("nirs", "coordsystem.json")


def _mrs(s: Slot) -> Iterator[str]:
    for kind in ("svs", "mrsref"):
        yield from s.pair("mrs", "nuc-1H", "voi-hippocampus", s.rng.choice(["", "run-01"]), kind)
    yield from s.pair("mrs", "nuc-31P", "inv-1", "mrsi")


def _beh(s: Slot) -> Iterator[str]:
    yield from s.pair("beh", "task-flanker", s.rng.choice(["", "run-3"]), "beh", ext=".tsv")
    yield s.file("beh", "task-flanker", "events.tsv")
    yield from s.pair("beh", "task-flanker", "recording-eye1", "physio", ext=".tsv.gz")


def _emg(s: Slot) -> Iterator[str]:
    for run in s.runs():
        yield from s.pair("emg", "task-grip", run, "emg", ext=".bdf")
        yield s.file("emg", "task-grip", run, "channels.tsv")
        yield s.file("emg", "task-grip", run, "events.tsv")
    yield from _montage(s, "emg")


_MAKERS: dict[str, Callable[[Slot], Iterator[str]]] = {
    "anat": _anat, "func": _func, "dwi": _dwi, "fmap": _fmap, "perf": _perf, "eeg": _eeg,
    "ieeg": _ieeg, "meg": _meg, "pet": _pet, "micr": _micr, "motion": _motion, "nirs": _nirs,
    "mrs": _mrs, "beh": _beh, "emg": _emg,
}  # fmt: skip
DATATYPES = tuple(_MAKERS)


def _slots(rng: random.Random, subjects: int, sessions: int) -> list[tuple[str, str, Slot]]:
    """Draw subjects and sessions ('' without), all before anything else is drawn."""
    slots: list[tuple[str, str, Slot]] = []
    for subject in rng.sample(SUBJECTS, subjects):
        for session in rng.sample(SESSIONS, sessions) or [""]:
            directory, stem = f"sub-{subject}", f"sub-{subject}"
            if session:
                directory, stem = f"{directory}/ses-{session}", f"{stem}_ses-{session}"
            slots.append((subject, session, Slot(directory, stem, rng)))
    return slots


def _root_files() -> Iterator[str]:
    yield from ("dataset_description.json", "README", "CHANGES", "LICENSE", "CITATION.cff")
    yield from ("participants.tsv", "participants.json", "samples.tsv", "samples.json")
    yield from ("task-rest_bold.json", "task-nback_acq-fast_bold.json", "acq-highres_T1w.json")
    yield from ("T1w.json", "task-rest_events.json", "task-faces_run-01_ieeg.json", "dwi.bval")
    yield from ("acq-multi_dwi.json", "task-rest_recording-cardiac_physio.json", "sessions.json")
    yield from (".bidsignore", "scans.json", "events.json", "nuc-1H_svs.json")


def _aside(first: str) -> Iterator[str]:
    """Give what lies beside the subjects: pybids leaves most of it out of its index."""
    image = f"{first}/anat/{first}_T1w.nii.gz"
    yield from ("code/run-1_analysis.py", f"code/{image}", "code/lib/task-rest_bold.json")
    yield from (f"sourcedata/{image}", "sourcedata/sub-99/func/sub-99_task-rest_bold.dcm.tgz")
    yield from ("stimuli/faces/task-faces_face-01.png", "stimuli/README")
    yield from ("models/model-main_smdl.json", "models/sub-01/sub-01_desc-x_smdl.json")
    yield from ("phenotype/adhd.tsv", "phenotype/adhd.json", "phenotype/tool_v-1.tsv")
    yield from (".datalad/config", ".heudiconv/01/info/sub-01_T1w.json")
    yield from (f"{first}/.cache/{first}_T1w.nii.gz", f"{first}/anat/.{first}_T2w.nii.gz")
    yield from (f"rawextra/{image}", "docs/notes.v1/task-rest_notes.txt")
    yield f"{first}/anat/plain.nii.gz"


def bids_tree(
    seed: int = 0,
    *,
    datatypes: Sequence[str] | None = None,
    subjects: int = 3,
    sessions: int = 0,
    derivatives: bool = True,
    aside: bool = True,
) -> list[str]:
    """Make up the names of one raw BIDS dataset.

    Parameters
    ----------
    seed
        What to draw labels, runs and formats from.
    datatypes
        Which of `DATATYPES`; all by default.
    subjects, sessions
        How many of each; no session level with 0 sessions.
    derivatives
        Also ``derivatives/fmriprep/`` (see `derivative_tree`).
    aside
        Also code/, sourcedata/, stimuli/, models/, phenotype/, hidden and stray files.

    Returns
    -------
    list of str
        Sorted POSIX paths relative to the root, without duplicates.
    """
    rng = random.Random(seed)
    paths: set[str] = set(_root_files())
    names: list[str] = []
    for subject, session, slot in _slots(rng, subjects, sessions):
        names.append(f"sub-{subject}")
        for datatype in datatypes if datatypes is not None else DATATYPES:
            paths.update(_MAKERS[datatype](slot))
        paths.add(f"{slot.directory}/{slot.stem}_scans.tsv")
        if session:
            paths.add(f"sub-{subject}/sub-{subject}_sessions.tsv")
            # a sidecar one level above its data, as the inheritance principle allows
            paths.add(f"sub-{subject}/sub-{subject}_task-rest_bold.json")
    if aside:
        paths.update(_aside(min(names)))
    if derivatives:
        below = derivative_tree(seed, subjects=subjects, sessions=sessions)
        paths.update(f"derivatives/fmriprep/{path}" for path in below)
    return sorted(paths)


def _derived_anat(s: Slot) -> Iterator[str]:
    for space in ("", "space-MNI152NLin2009cAsym", "space-MNI152NLin6Asym", "space-T1w"):
        for res in ("", "res-2", "res-02") if space else ("",):
            yield from s.pair("anat", space, res, "desc-preproc", "T1w")
            yield from s.pair("anat", space, res, "desc-brain", "mask")
            yield s.file("anat", space, res, "dseg.nii.gz")
            for label in ("GM", "WM", "CSF"):
                yield s.file("anat", space, res, f"label-{label}", "probseg.nii.gz")
    for source, target in (("T1w", "MNI152NLin2009cAsym"), ("MNI152NLin2009cAsym", "T1w")):
        yield s.file("anat", f"from-{source}", f"to-{target}", "mode-image", "xfm.h5")
    yield s.file("anat", "from-fsnative", "to-T1w", "mode-image", "xfm.txt")
    for hemi in ("hemi-L", "hemi-R"):
        for kind in ("white", "pial", "inflated"):
            yield s.file("anat", hemi, kind + ".surf.gii")
        yield s.file("anat", hemi, "space-fsLR", "den-32k", "desc-msmsulc", "sphere.surf.gii")
        yield s.file("anat", hemi, "thickness.shape.gii")
    yield s.file("anat", "desc-aparcaseg", "dseg.nii.gz")
    yield s.file("anat", "space-fsLR", "den-91k", "curv.dscalar.nii")
    yield s.file("anat", "atlas-Schaefer", "seg-17n", "scale-400", "dseg.tsv")


def _derived_func(s: Slot) -> Iterator[str]:
    for task in s.tasks():
        for run in s.runs():
            yield from s.pair("func", task, run, "desc-confounds", "timeseries", ext=".tsv")
            for space in ("space-T1w", "space-MNI152NLin2009cAsym"):
                for kind in ("desc-preproc_bold", "desc-brain_mask"):
                    yield from s.pair("func", task, run, space, "res-2", kind)
                yield s.file("func", task, run, space, "boldref.nii.gz")
            for hemi in ("hemi-L", "hemi-R"):
                yield s.file("func", task, run, hemi, "space-fsaverage5", "bold.func.gii")
            yield from s.pair(
                "func", task, run, "space-fsLR", "den-91k", "bold", ext=".dtseries.nii"
            )
            yield s.file("func", task, run, "from-boldref", "to-T1w", "mode-image",
                         "desc-coreg", "xfm.txt")  # fmt: skip
            yield s.file("figures", task, run, "desc-carpetplot", "bold.svg")
    yield s.file("figures", "desc-summary", "T1w.html")


def derivative_tree(seed: int = 0, *, subjects: int = 3, sessions: int = 0) -> list[str]:
    """Make up the names of one fMRIPrep-like derivative dataset, relative to its own root."""
    rng = random.Random(seed)
    paths = {"dataset_description.json", ".bidsignore", "desc-aseg_dseg.tsv", "README.md"}
    paths.update(("logs/CITATION.md", "logs/CITATION.html", "logs/run-1_desc-x_log.toml"))
    paths.update(("space-MNI152NLin2009cAsym_bold.json", "task-rest_desc-preproc_bold.json"))
    template = "tpl-MNIInfant/cohort-1/tpl-MNIInfant_cohort-1_res-1"
    paths.update((template + "_T1w.nii.gz", template + "_desc-brain_mask.nii.gz"))
    for subject, session, slot in _slots(rng, subjects, sessions):
        paths.add(f"sub-{subject}.html")
        paths.update(_derived_func(slot))
        paths.update(_derived_anat(slot))
        paths.add(f"sourcedata/freesurfer/sub-{subject}/mri/T1.mgz")
        if session:
            paths.add(f"sub-{subject}/figures/sub-{subject}_desc-conform_T1w.html")
    return sorted(paths)


def _description(path: str) -> dict[str, object]:
    if path == "dataset_description.json":
        return {"Name": "made up", "BIDSVersion": "1.11.0", "DatasetType": "raw"}
    made_by = [{"Name": path.split("/")[-2]}]
    return {
        "Name": "made up", "BIDSVersion": "1.11.0", "DatasetType": "derivative",
        "GeneratedBy": made_by,
    }  # fmt: skip


def _table(path: str, paths: Sequence[str]) -> str:
    directory, _, name = path.rpartition("/")
    if name == "participants.tsv":
        subjects = sorted({p.split("/")[0] for p in paths if p.startswith("sub-") and "/" in p})
        rows = [f"{s}\t{20 + 7 * i}\t{'FM'[i % 2]}" for i, s in enumerate(subjects)]
        return "\n".join(["participant_id\tage\tsex", *rows]) + "\n"
    if name.endswith("_sessions.tsv"):
        below = {p.split("/")[1] for p in paths if p.startswith(directory + "/ses-")}
        return "\n".join(["session_id\tpathology", *(f"{s}\tn/a" for s in sorted(below))]) + "\n"
    if name.endswith("_scans.tsv"):
        images = [p for p in paths if p.startswith(directory + "/") and p.endswith(ZIPPED)]
        rows = [p.removeprefix(directory + "/") for p in images]
        return (
            "\n".join(["filename\tacq_time", *(f"{r}\t1877-06-15T12:47:38" for r in rows)]) + "\n"
        )
    return "onset\tduration\ttrial_type\n0.0\t1.0\tgo\n"


def tree_content(paths: Iterable[str]) -> Content:
    """Give small content for a tree: JSON and TSV that readers accept, else the name itself.

    Every JSON has a key of its own (``From_<path>``) and shares ``Source``, so that what a
    sidecar contributed, and which won, can be seen. Those in fmap/ say what they are for.
    """
    everything = sorted(paths)

    def content(path: str) -> bytes:
        directory, _, name = path.rpartition("/")
        if name == "dataset_description.json":
            return json.dumps(_description(path)).encode()
        if name.endswith(".json"):
            record: dict[str, object] = {"Source": path, f"From_{path}": True}
            if directory.endswith("/fmap"):
                above = directory.removesuffix("fmap")
                bolds = (p for p in everything if p.startswith(f"{above}func/"))
                subject = directory.split("/")[0]
                record["IntendedFor"] = [
                    p.removeprefix(subject + "/") for p in bolds if p.endswith("_bold.nii.gz")
                ]
            return json.dumps(record).encode()
        if name.endswith(".tsv"):
            return _table(path, everything).encode()
        if name == ".bidsignore":
            return b"*_sbref.nii.gz\nrawextra/\n"
        if name.endswith(".bval"):
            return b"0 1000\n"
        if name.endswith(".bvec"):
            return b"0 1\n0 0\n0 0\n"
        return path.encode(errors="surrogateescape") + b"\n"

    return content


def write_tree(root: Path, paths: Iterable[str], content: Content | None = None) -> None:
    """Write the paths below a directory that may not exist yet.

    Parameters
    ----------
    root
        Where the tree goes.
    paths
        POSIX paths relative to it.
    content
        Path to bytes; `tree_content` of the paths by default.
    """
    everything = list(paths)
    give = content if content is not None else tree_content(everything)
    for path in everything:
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(give(path))
