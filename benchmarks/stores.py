"""Datasets in a RIA store, and clones of them that have no content."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from benchmarks import trees

__all__ = ["InStore", "in_store"]


@dataclass(frozen=True, slots=True)
class InStore:
    """A dataset in a RIA store, and clones of it that have no content.

    Attributes
    ----------
    clones
        Clones as `datalad clone ria+file://...` makes them.
    store
        The RIA store.
    objects
        Directory of the store in which the content is.
    files
        How many files are annexed.
    size
        Bytes in these.
    """

    clones: trees.Clones
    store: Path
    objects: Path
    files: int
    size: int


def in_store(
    scratch: Path, name: str, files: Iterable[trees.File], annexed: int, size: int
) -> InStore:
    """Make a RIA store of version 1 with one dataset, whose objects are put there by hand.

    As `datalad create-sibling-ria`, `datalad push` and `datalad clone` would, of which the
    second takes as long as what is measured.

    Parameters
    ----------
    scratch
        Directory for store, source and clones; on one file system with content that is a path.
    name
        What to call them.
    files
        What is in the dataset.
    annexed, size
        How many of these files are annexed, and the bytes in them.
    """
    store = scratch / f"store-{name}"
    bare = store / trees.DATASET_ID[:3] / trees.DATASET_ID[3:]
    bare.parent.mkdir(parents=True)
    (store / "ria-layout-version").write_text("1\n")
    trees.git(store, "init", "--quiet", "--bare", "--initial-branch", "main", str(bare))
    (bare / "ria-layout-version").write_text("2\n")

    source = trees.annex(scratch / f"source-{name}")
    objects = bare / "annex/objects"
    keys = trees.commit(source, files, objects)
    trees.git(
        source,
        *("annex", "initremote", "store-storage", "type=external", "externaltype=ora"),
        *("encryption=none", "autoenable=true", f"archive-id={trees.DATASET_ID}"),
        f"url=ria+{store.as_uri()}",
    )
    uuid = trees.git(source, "config", "remote.store-storage.annex-uuid").decode().strip()
    trees.set_present(source, keys, uuid)
    trees.git(source, "push", "--quiet", str(bare), "main", "git-annex")

    pristine = scratch / f"clone-{name}"
    subprocess.run(["git", "clone", "--quiet", bare, pristine], check=True)
    # The bare repository is no remote for git-annex: the storage remote beside it is.
    trees.git(pristine, "config", "remote.origin.annex-ignore", "true")
    trees.git(pristine, "annex", "init", "--quiet", "clone")
    return InStore(trees.Clones(pristine, scratch), store, objects, annexed, size)
