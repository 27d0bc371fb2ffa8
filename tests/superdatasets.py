"""A BIDS study spread over many DataLad datasets, made up on the spot.

::

    study/                     raw BIDS dataset, a superdataset
      participants.tsv         sub-01 is 20 years old, sub-02 35, sub-03 50
      task-rest_bold.json      inherited by the runs in the subjects' subdatasets
      sub-01/ sub-02/ sub-03/  one subdataset a subject, without a description of its own
      derivatives/prep/        subdataset with a description
        sub-01/                its subdataset: the third level
      sourcedata/raw/          subdataset with a description
"""

from __future__ import annotations

import json
import os
import shutil
import sysconfig
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from datalad.api import Dataset

from tests.dataset.builders import annex_repo

__all__ = [
    "AGES",
    "DATALAD",
    "bids_get",
    "by_status",
    "copy_of",
    "files_of",
    "make_dataset",
    "make_study",
    "write",
]

#: The command, of the environment that the tests run in.
DATALAD = Path(sysconfig.get_path("scripts")) / "datalad"

AGES = {"01": 20, "02": 35, "03": 50}

Record = dict[str, Any]

_QUIET: dict[str, Any] = {"result_renderer": "disabled"}


def write(root: Path, files: Mapping[str, bytes | str]) -> None:
    """Write files below a directory; names may be anything that a file system takes."""
    for name, content in files.items():
        path = os.path.join(os.fsencode(root), name.encode("utf-8", "surrogateescape"))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)


def make_dataset(root: Path, files: Mapping[str, bytes | str], *, annex: bool = True) -> Dataset:
    """Create a DataLad dataset with files, and save it.

    Registers what datasets there are below it as subdatasets.
    """
    import datalad.api as dl

    ds = dl.create(str(root), annex=annex, force=True, **_QUIET)
    write(root, files)
    ds.save(**_QUIET)
    return ds


def subject_files(subject: str) -> dict[str, str]:
    """Give what is in the subdataset of one subject: two sessions, with tables."""
    files = {f"sub-{subject}_sessions.tsv": "session_id\tmood\nses-1\tgood\nses-2\tbad\n"}
    for session in ("1", "2"):
        stem = f"sub-{subject}_ses-{session}"
        images = {
            f"func/{stem}_task-rest_bold.nii.gz": f"rest {stem}" * 20,
            f"func/{stem}_task-nback_bold.nii.gz": f"nback {stem}" * 30,
            f"anat/{stem}_T1w.nii.gz": f"T1w {stem}" * 40,
        }
        files.update({f"ses-{session}/{name}": text for name, text in images.items()})
        files[f"ses-{session}/func/{stem}_task-rest_bold.json"] = '{"FlipAngle": 90}'
        rows = "".join(f"{name}\t{len(name) % 7}\n" for name in images)
        files[f"ses-{session}/{stem}_scans.tsv"] = f"filename\tquality\n{rows}"
    return files


def description(name: str, kind: str) -> str:
    """Give a dataset_description.json."""
    return json.dumps({"Name": name, "BIDSVersion": "1.11.0", "DatasetType": kind})


def make_study(root: Path) -> None:
    """Make the study that this module describes, from the bottom up.

    Some datasets are made with DataLad, others with git-annex alone: both are found in the wild.
    """
    prep = root / "derivatives/prep"
    annex_repo(prep / "sub-01", {"func/sub-01_space-MNI_bold.nii.gz": b"one" * 50}, {})
    make_dataset(
        prep,
        {
            "dataset_description.json": description("prep", "derivative"),
            "space-MNI_bold.json": "{}",
            "sub-02/func/sub-02_space-MNI_bold.nii.gz": b"two" * 50,
        },
    )
    annex_repo(
        root / "sourcedata/raw",
        {"sub-01/anat/sub-01_T1w.nii.gz": b"source" * 50},
        {"dataset_description.json": description("raw", "raw").encode()},
    )
    first, *others = AGES
    make_dataset(root / f"sub-{first}", subject_files(first))
    for subject in others:
        files: dict[bytes | str, bytes] = {
            name: text.encode() for name, text in subject_files(subject).items()
        }
        annex_repo(root / f"sub-{subject}", files, {})
    ages = "".join(f"sub-{subject}\t{age}\n" for subject, age in AGES.items())
    make_dataset(
        root,
        {
            ".gitattributes": "* annex.backend=MD5E\n"
            "*.json annex.largefiles=nothing\n"
            "*.tsv annex.largefiles=nothing\n"
            "README annex.largefiles=nothing\n",
            "dataset_description.json": description("study", "raw"),
            "README": "A study.\n",
            "participants.tsv": f"participant_id\tage\n{ages}",
            "task-rest_bold.json": '{"RepetitionTime": 2.0}',
        },
    )


def copy_of(root: Path, target: Path) -> Path:
    """Copy a clone as it lies there, links as links."""
    shutil.copytree(root, target, symlinks=True)
    return target


def bids_get(path: Any = None, **arguments: Any) -> list[Record]:
    """Call the command and give all its records, whatever their status."""
    import datalad.api as dl

    arguments = {"on_failure": "ignore", "return_type": "list", **_QUIET, **arguments}
    records: list[Record] = dl.bids_get(path, **arguments)
    return records


def files_of(records: list[Record]) -> dict[str, Record]:
    """Give the records of selected files by their path; there must be one of each."""
    files = [r for r in records if "entities" in r]
    by_path = {r["relpath"]: r for r in files}
    assert len(by_path) == len(files), "a file has two records"
    return by_path


def by_status(records: list[Record]) -> dict[str, set[str]]:
    """Give the paths of all records by status."""
    found: dict[str, set[str]] = {}
    for record in records:
        found.setdefault(record["status"], set()).add(record.get("relpath", "."))
    return found
