#!/usr/bin/env python3
"""Make up a small BIDS dataset, and count what of a dataset is here.

    python example_dataset.py DIRECTORY            write the example
    python example_dataset.py --zips DIRECTORY     write zips of a pipeline's outputs
    python example_dataset.py --count DIRECTORY    count annexed files and bytes

Needs nothing but Python. The images are valid NIfTI files full of noise that
does not compress, so that their sizes are what they seem to be. The same files
come out every time.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

#: participant label -> age in years, sex
PARTICIPANTS = {"01": (24, "F"), "02": (31, "M"), "03": (42, "F")}
SESSIONS = ("pre", "post")
TASKS = {"rest": "Resting state", "nback": "N-back"}

#: Text goes into git, so that a clone has it at once; images are annexed.
ATTRIBUTES = """\
* annex.backend=MD5E
* annex.largefiles=nothing
*.nii.gz annex.largefiles=anything
"""


def nifti(shape: tuple[int, int, int, int], seed: str) -> bytes:
    """Give a gzipped NIfTI-1 image of noise, 8 bits a voxel, 2 mm, TR 2 s.

    Layout of the 348 byte header: https://nifti.nimh.nih.gov/nifti-1
    """
    x, y, z, t = shape
    header = bytearray(348)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 4 if t > 1 else 3, x, y, z, t, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 2, 8)  # DT_UINT8, bits a voxel
    struct.pack_into("<8f", header, 76, 1, 2, 2, 2, 2, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)  # where the voxels start
    header[123] = 2 | 8  # millimetres, seconds
    header[344:348] = b"n+1\0"
    voxels = random.Random(seed).randbytes(x * y * z * t)
    # No time stamp: the same bytes, hence the same annex key, every time.
    return gzip.compress(bytes(header) + b"\0\0\0\0" + voxels, compresslevel=1, mtime=0)


def as_json(**fields: object) -> bytes:
    return (json.dumps(fields, indent=2) + "\n").encode()


def as_table(*rows: tuple[object, ...]) -> bytes:
    return "".join("\t".join(str(cell) for cell in row) + "\n" for row in rows).encode()


def study() -> Iterator[tuple[str, bytes]]:
    """Give path and content of every file of the example."""
    yield ".gitattributes", ATTRIBUTES.encode()
    yield (
        "dataset_description.json",
        as_json(Name="Made-up example study", BIDSVersion="1.10.0", DatasetType="raw"),
    )
    yield "README", b"A made-up example of a BIDS dataset. The images are noise.\n"
    yield (
        "participants.tsv",
        as_table(
            ("participant_id", "age", "sex"),
            *((f"sub-{label}", age, sex) for label, (age, sex) in PARTICIPANTS.items()),
        ),
    )
    yield "participants.json", as_json(age={"Units": "year"}, sex={"Levels": {"F": "", "M": ""}})
    for task, name in TASKS.items():
        # At the root: holds for all images of the task (inheritance principle).
        yield f"task-{task}_bold.json", as_json(TaskName=name, RepetitionTime=2.0)
    for label in PARTICIPANTS:
        for session in SESSIONS:
            yield from visit(label, session)


def visit(label: str, session: str) -> Iterator[tuple[str, bytes]]:
    """Give path and content of the files of one participant at one session."""
    stem = f"sub-{label}_ses-{session}"
    where = f"sub-{label}/ses-{session}"

    def image(name: str, *shape: int) -> tuple[str, bytes]:
        path = f"{where}/{name}.nii.gz"
        x, y, z, t = shape
        return path, nifti((x, y, z, t), seed=path)

    yield image(f"anat/{stem}_T1w", 48, 48, 48, 1)
    yield f"{where}/anat/{stem}_T1w.json", as_json(MagneticFieldStrength=3)
    for task in TASKS:
        yield image(f"func/{stem}_task-{task}_bold", 24, 24, 16, 20)
    yield (
        f"{where}/func/{stem}_task-nback_events.tsv",
        as_table(("onset", "duration", "trial_type"), (0, 20, "one"), (20, 20, "two")),
    )
    yield image(f"dwi/{stem}_dwi", 24, 24, 16, 8)
    yield f"{where}/dwi/{stem}_dwi.json", as_json(PhaseEncodingDirection="j")
    yield f"{where}/dwi/{stem}_dwi.bval", b"0 1000 1000 1000 1000 1000 1000 1000\n"
    yield f"{where}/dwi/{stem}_dwi.bvec", b"0 1 0 0 1 0 0 1\n0 0 1 0 0 1 0 0\n0 0 0 1 0 0 1 0\n"
    for direction in ("AP", "PA"):
        yield image(f"fmap/{stem}_dir-{direction}_epi", 24, 24, 16, 1)
        yield (
            f"{where}/fmap/{stem}_dir-{direction}_epi.json",
            as_json(
                PhaseEncodingDirection="j-" if direction == "AP" else "j",
                TotalReadoutTime=0.05,
                IntendedFor=[
                    f"bids::{where}/func/{stem}_task-{task}_bold.nii.gz" for task in TASKS
                ],
            ),
        )


def outputs(label: str) -> Iterator[tuple[str, bytes]]:
    """Give name and content of what a pipeline made of one participant."""
    yield (
        "fmriprep/dataset_description.json",
        as_json(Name="Made-up outputs", BIDSVersion="1.10.0", DatasetType="derivative"),
    )
    yield f"fmriprep/sub-{label}.html", b"<html>A made-up report</html>\n"
    for session in SESSIONS:
        stem = f"fmriprep/sub-{label}/ses-{session}/func/sub-{label}_ses-{session}_task-rest"
        for space in ("MNI152NLin6Asym", "T1w"):
            name = f"{stem}_space-{space}_desc-preproc_bold"
            yield f"{name}.json", as_json(RepetitionTime=2.0, SkullStripped=False)
            yield f"{name}.nii.gz", nifti((24, 24, 16, 20), seed=name)


def write_zips(directory: Path) -> None:
    """Write a zip for each participant, as a pipeline on a cluster leaves them."""
    for label in PARTICIPANTS:
        with zipfile.ZipFile(directory / f"sub-{label}_fmriprep-20.2.3.zip", "w") as file:
            for name, content in outputs(label):
                # With a time stamp of its own: the same bytes every time.
                file.writestr(zipfile.ZipInfo(name), content)


def write(directory: Path) -> None:
    """Write the example into a directory."""
    for name, content in study():
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)


def count(directory: Path) -> str:
    """Say how many annexed files there are, and how much of them is here.

    git-annex is asked and not the file system, so that the answer is the same
    where annexed files are symbolic links and where they are not.
    """

    def find(*condition: str) -> list[int]:
        command = ["git", "annex", "find", *condition, "--format=${bytesize}\\n"]
        done = subprocess.run(command, cwd=directory, check=True, stdout=subprocess.PIPE)
        return [int(size) for size in done.stdout.split()]

    everything, here = find("--anything"), find("--in=here")
    return (
        f"{len(here)} of {len(everything)} images present, "
        f"{sum(here):,} of {sum(everything):,} bytes"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--count", action="store_true", help="count instead of writing")
    what.add_argument("--zips", action="store_true", help="write zips of outputs instead")
    parser.add_argument("directory", type=Path)
    arguments = parser.parse_args()
    if arguments.count:
        print(count(arguments.directory))
    elif arguments.zips:
        write_zips(arguments.directory)
    else:
        write(arguments.directory)


if __name__ == "__main__":
    main()
