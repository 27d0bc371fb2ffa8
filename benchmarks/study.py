"""Made-up studies: the names of their files, shaped like those of real ones."""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

__all__ = ["Study", "harmony", "listed", "population", "resting"]

#: Number of subjects of `harmony`, and how many of them a query asks for.
HARMONY_SUBJECTS = 20
ASKED_SUBJECTS = 3


@dataclass(frozen=True, slots=True)
class Study:
    """The names of a dataset's files.

    Attributes
    ----------
    paths
        Tracked files, sorted within a subject. A list, or made anew at each iteration.
    annexed
        Those that are annexed have one of these endings; the others are plain git files.
    subjects
        A few labels to ask for.
    """

    paths: Iterable[str]
    subjects: tuple[str, ...]
    annexed: tuple[str, ...] = (".nii.gz", ".csv", ".pdf")


@dataclass(frozen=True, slots=True)
class _Visit:
    """What one scanner does in a session."""

    site: str
    #: How many such sessions there are, over all subjects.
    sessions: int
    anat: tuple[str, ...] = ("T1w", "T2w")
    func: tuple[str, ...] = ("task-rest_bold",)
    fmap: bool = False
    #: Gradient echo images in swi/, without their suffix.
    gre: tuple[str, ...] = ()


def _echoes(count: int, parts: Iterable[str], before: str = "") -> tuple[str, ...]:
    return tuple(f"{before}echo-{e}_part-{p}" for e, p in product(range(1, count + 1), parts))


def _coils(count: int) -> tuple[str, ...]:
    each = [_echoes(2, ("mag", "phase"), f"coil-{coil}_") for coil in range(1, count + 1)]
    both = _echoes(2, ("mag", "phase")) + _echoes(2, ("mag",), "rec-norm_")
    return (*(name for names in each for name in names), *both)


_COMPLEX = (
    *_echoes(4, ("mag", "real", "imag")),
    *_echoes(4, ("mag", "real", "imag"), "rec-norm_"),
    "rec-norm_echo-2_part-phase",
    "rec-norm_echo-3_part-phase",
)
_MAGNITUDES = _echoes(8, ("mag",)) + _echoes(8, ("mag",), "rec-norm_")
_PHASES = _echoes(8, ("mag", "phase"))
_TWO_ECHOES = _echoes(2, ("mag", "phase"))
_MANY_T2W = ("T1w", "acq-1x1x2_T2w", "acq-1p5isores_T2w")


def _rest(*acquisitions: str) -> tuple[str, ...]:
    return tuple(f"task-rest_acq-{a}_bold" for a in acquisitions)


# Counts of sessions and files are those of ON-Harmony (OpenNeuro ds004712, version 2.0.1).
_HARMONY = (
    _Visit("NOT1ACH", 40, fmap=True, gre=_TWO_ECHOES),
    _Visit("NOT2ING", 1, func=_rest("multiband4"), fmap=True, gre=_TWO_ECHOES),
    _Visit("NOT2ING", 9, func=_rest("multiband4", "multiband6"), fmap=True, gre=_TWO_ECHOES),
    _Visit("NOT3GEM", 1, _MANY_T2W, _rest("resopt1", "resopt3"), gre=_PHASES),
    _Visit("NOT3GEM", 9, ("FLAIR", *_MANY_T2W), _rest("resopt1", "resopt2"), gre=_PHASES),
    _Visit("NOT4GEP", 15, gre=_COMPLEX),
    _Visit("OXF1PRI", 45, gre=_coils(32)),
    _Visit("OXF2PRI", 30, gre=_coils(52)),
    _Visit("OXF4GEP", 15, gre=_MAGNITUDES),
)
_HARMONY_ROOT = (
    ".bidsignore",
    ".datalad/config",
    ".gitattributes",
    "CHANGES",
    "README",
    "all_idps.csv",
    "data_dictionary.pdf",
    "dataset_description.json",
    "participants.json",
    "participants.tsv",
    "protocol_accelerations.csv",
    "radiographers.csv",
    "scan_delays.csv",
    "software_versions.csv",
)


def harmony(subjects: int = HARMONY_SUBJECTS) -> Study:
    """Make a study of travelling heads, with the shape of ON-Harmony's 29,645 names.

    Nearly all of it are gradient echo images in ``swi/``, one a coil, echo and part; half is
    annexed, the other half their JSON.
    """
    paths = list(_HARMONY_ROOT)
    labels = [f"{3286 + 719 * at:05}" for at in range(HARMONY_SUBJECTS)][:subjects]
    offset = 0
    scans: dict[str, list[_Visit]] = {label: [] for label in labels}
    for visit in _HARMONY:
        for session in range(visit.sessions):
            label = f"{3286 + 719 * ((offset + session) % HARMONY_SUBJECTS):05}"
            if label in scans:
                scans[label].append(visit)
        offset += visit.sessions
    for label, visits in scans.items():
        own: list[str] = []
        for number, visit in enumerate(visits, start=1):
            own += _session(f"sub-{label}", f"ses-{visit.site}{number:03}", visit)
        paths += sorted(own)
    return Study(paths, tuple(labels[:ASKED_SUBJECTS]))


def _session(subject: str, session: str, visit: _Visit) -> Iterator[str]:
    def name(datatype: str, rest: str) -> str:
        return f"{subject}/{session}/{datatype}/{subject}_{session}_{rest}"

    images = [name("anat", a) for a in visit.anat]
    images += [name("func", f) for f in visit.func]
    images += [name("dwi", f"dir-{d}_dwi") for d in ("AP", "PA")]
    images += [name("swi", f"{g}_GRE") for g in visit.gre]
    if visit.fmap:
        images += [name("fmap", f"dir-{d}_epi") for d in ("AP", "PA")]
    for image in images:
        yield f"{image}.nii.gz"
        yield f"{image}.json"
        if image.endswith("_dwi"):
            yield f"{image}.bval"
            yield f"{image}.bvec"
    yield name("anat", "mod-T1w_defacemask.nii.gz")


#: Twenty files a session, as population studies have them.
_POPULATION = (
    "anat/{}_T1w.json",
    "anat/{}_T1w.nii.gz",
    "anat/{}_T2w.json",
    "anat/{}_T2w.nii.gz",
    "dwi/{}_dir-AP_dwi.bval",
    "dwi/{}_dir-AP_dwi.bvec",
    "dwi/{}_dir-AP_dwi.json",
    "dwi/{}_dir-AP_dwi.nii.gz",
    "fmap/{}_dir-AP_epi.json",
    "fmap/{}_dir-AP_epi.nii.gz",
    "fmap/{}_dir-PA_epi.json",
    "fmap/{}_dir-PA_epi.nii.gz",
    "func/{}_task-faces_bold.json",
    "func/{}_task-faces_bold.nii.gz",
    "func/{}_task-faces_events.tsv",
    "func/{}_task-rest_bold.json",
    "func/{}_task-rest_bold.nii.gz",
    "func/{}_task-rest_sbref.json",
    "func/{}_task-rest_sbref.nii.gz",
    "{}_scans.tsv",
)
POPULATION_ROOT = (
    "CHANGES",
    "README",
    "dataset_description.json",
    "participants.json",
    "participants.tsv",
)


class _Population:
    """The names of a population study, made as they are read: a million are never held."""

    def __init__(self, files: int) -> None:
        self._sessions = max(1, files // len(_POPULATION))

    def __iter__(self) -> Iterator[str]:
        yield from POPULATION_ROOT
        for at in range(self._sessions):
            subject, session = f"sub-{at // 2 + 1:07}", f"ses-{at % 2 + 1}"
            stem = f"{subject}_{session}"
            for name in _POPULATION:
                yield f"{subject}/{session}/{name.format(stem)}"


def population(files: int = 1_000_000) -> Study:
    """Make a study of many subjects: two sessions each, with twenty files in each."""
    asked = tuple(f"{n + 1:07}" for n in range(ASKED_SUBJECTS))
    return Study(_Population(files), asked)


def resting(images: int = 2_000) -> Study:
    """Make a study of resting state images only: ten sessions a subject, two runs each."""
    paths = list(POPULATION_ROOT)
    for at in range(images):
        subject, session = f"sub-{at // 20 + 1:04}", f"ses-{at // 2 % 10 + 1:02}"
        stem = f"{subject}/{session}/func/{subject}_{session}_task-rest_run-{at % 2 + 1}_bold"
        paths += [f"{stem}.json", f"{stem}.nii.gz"]
    return Study(paths, ("0001", "0002", "0003"))


def listed(table: Path) -> Study:
    """Read a study's names from a table.

    Parameters
    ----------
    table
        Tab-separated, with a head; the first column is the path. Perhaps gzipped.
    """
    raw = table.read_bytes()
    text = (gzip.decompress(raw) if table.suffix == ".gz" else raw).decode("utf-8")
    paths = sorted(line.partition("\t")[0] for line in text.splitlines()[1:])
    images = [path for path in paths if path.endswith("_task-rest_bold.nii.gz")]
    labels = dict.fromkeys(path.partition("/")[0].removeprefix("sub-") for path in images)
    return Study(paths, tuple(labels)[:ASKED_SUBJECTS])
