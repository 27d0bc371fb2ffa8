"""One raw BIDS dataset without subdatasets, everything in it annexed, and clones of it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.superdatasets import DATALAD, copy_of, description, make_dataset

__all__ = [
    "FILES",
    "ROOT_FILES",
    "_fresh_raw_clone",
    "datalad",
    "raw",
    "raw_clone",
    "raw_content",
]

SUBJECTS = ("01", "02", "10")
#: What comes along with every selection.
ROOT_FILES = {"README", "dataset_description.json", "participants.tsv"}


def _files() -> dict[str, bytes | str]:
    files: dict[str, bytes | str] = {
        "dataset_description.json": description("raw", "raw"),
        "README": "Made up.\n",
        "participants.tsv": "participant_id\tage\n"
        + "".join(f"sub-{s}\t{20 + int(s)}\n" for s in SUBJECTS),
        "task-rest_bold.json": '{"RepetitionTime": 2.0}',
        "code/sub-01_task-rest_bold.py": "print()",
    }
    for subject in SUBJECTS:
        stem = f"sub-{subject}"
        files[f"{stem}/anat/{stem}_T1w.nii.gz"] = f"T1w of {stem} ".encode() * 300
        for run in ("1", "10"):
            name = f"{stem}/func/{stem}_task-rest_run-{run}"
            files[f"{name}_bold.nii.gz"] = f"{name} ".encode() * 100
            files[f"{name}_events.tsv"] = f"onset\tduration\n{run}\t{subject}\n"
        files[f"{stem}/func/{stem}_task-nback_bold.nii.gz"] = f"nback of {stem} ".encode() * 50
        files[f"{stem}/fmap/{stem}_epi.nii.gz"] = f"epi of {stem} ".encode() * 20
        files[f"{stem}/fmap/{stem}_epi.json"] = json.dumps(
            {"IntendedFor": f"bids::{stem}/func/{stem}_task-nback_bold.nii.gz"}
        )
    return files


#: Paths to content.
FILES: Mapping[str, bytes | str] = _files()


def raw_content(path: str) -> bytes:
    """Give what a file holds."""
    content = FILES[path]
    return content if isinstance(content, bytes) else content.encode()


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Path:
    """The dataset, with all content. Not to be changed."""
    return make_dataset(tmp_path_factory.mktemp("raw") / "raw", FILES).pathobj


@pytest.fixture(scope="session")
def _fresh_raw_clone(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import datalad.api as dl

    target = tmp_path_factory.mktemp("fresh-raw") / "clone"
    dl.clone(str(raw), str(target), result_renderer="disabled")
    return target


@pytest.fixture
def raw_clone(_fresh_raw_clone: Path, tmp_path: Path) -> Path:
    """A clone of the dataset without content, for one test alone."""
    return copy_of(_fresh_raw_clone, tmp_path / "clone")


def datalad(
    *args: str | Path, cwd: Path, code: int = 0, launcher: tuple[str, ...] = ()
) -> tuple[str, str]:
    """Run a DataLad command line, which must exit with a code, and give stdout and stderr.

    Whatever happens, nobody wants to see a traceback.
    """
    done = subprocess.run(
        [*launcher, DATALAD, *args], cwd=cwd, capture_output=True, text=True, check=False
    )
    assert "Traceback" not in done.stderr
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    return done.stdout, done.stderr
