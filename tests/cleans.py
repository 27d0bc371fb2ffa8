"""What the tests of `cache-clean` share: a clone with content, and calling the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.dataset.builders import clone_of, git
from tests.superdatasets import Record, copy_of, make_dataset

__all__ = [
    "IMAGES",
    "Record",
    "_full",
    "annexed",
    "clean",
    "full",
    "held",
    "messages",
    "on_disk",
    "statuses",
    "total",
]

_QUIET: dict[str, Any] = {"result_renderer": "disabled"}

#: Annexed files and their content; sizes that blocks of a file system tell apart.
IMAGES = {
    f"sub-{s}/{kind}/sub-{s}_{suffix}.nii.gz": f"{suffix} of {s} ".encode() * size
    for s in ("01", "02", "03")
    for kind, suffix, size in (("anat", "T1w", 1000), ("func", "task-rest_bold", 5000))
}
_TEXT = {
    ".gitattributes": "* annex.backend=MD5E\n*.json annex.largefiles=nothing\n"
    ".gitattributes annex.largefiles=nothing\n",
    "dataset_description.json": '{"Name": "made up", "BIDSVersion": "1.9.0"}\n',
}


@pytest.fixture(scope="session")
def _full(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Path:
    """A directory with a dataset, `source`, and a clone of it that has all content, `clone`."""
    directory = tmp_path_factory.mktemp("full")
    make_dataset(directory / "source", {**_TEXT, **IMAGES})
    clone = clone_of(directory / "source", directory / "clone")
    git(clone, "annex", "get", "-q", ".")
    return directory


@pytest.fixture
def full(_full: Path, tmp_path: Path) -> Path:
    """A clone with all content, and its source next to it (`../source`), for one test alone."""
    copy_of(_full, tmp_path / "full")
    clone = tmp_path / "full" / "clone"
    git(clone, "remote", "set-url", "origin", str(tmp_path / "full" / "source"))
    return clone


def clean(path: Any = None, **arguments: Any) -> list[Record]:
    """Call the command and give all its records, whatever their status."""
    import datalad.api as dl

    arguments = {"on_failure": "ignore", "return_type": "list", **_QUIET, **arguments}
    records: list[Record] = dl.cache_clean(path, **arguments)
    return records


def statuses(records: list[Record]) -> dict[str, str]:
    """Give what became of selected files, by path; there must be one record of each."""
    files = [r for r in records if "entities" in r]
    found = {r["relpath"]: r["status"] for r in files}
    assert len(found) == len(files), "a file has two records"
    return found


def messages(records: list[Record]) -> dict[str, str]:
    """Give the messages of all that failed, by path."""
    return {
        r.get("relpath", "."): r["message"]
        for r in records
        if r["status"] in ("error", "impossible")
    }


def total(records: list[Record]) -> Record:
    """Give the last record."""
    assert "freed" in records[-1]
    return records[-1]


def annexed(records: list[Record], status: str) -> set[str]:
    """Give the annexed files with a status."""
    return {r["relpath"] for r in records if r["status"] == status and "key" in r}


def held(root: Path) -> set[str]:
    """Give which annexed files have their content in the work tree's annex."""
    return {path for path in IMAGES if (root / path).exists()}


def on_disk(root: Path) -> int:
    """Give the bytes that the objects of an annex have on the disk."""
    objects = (root / ".git/annex/objects").rglob("*")
    return sum(p.stat().st_blocks * 512 for p in objects if p.is_file())
