"""What the benchmarks work on: made when first asked for, and shared among them."""

from __future__ import annotations

import subprocess
import sys
from functools import cached_property
from pathlib import Path

from benchmarks import study, trees
from benchmarks.cleaning import Cleaning
from benchmarks.exports import Exports
from benchmarks.sourcing import Sourcing
from benchmarks.zips import Zips

__all__ = ["Fixtures"]

#: Bytes that an annexed image pretends to have where it has no content.
_PRETENDED = 5_000_000


class Fixtures:
    """The datasets of one run.

    Parameters
    ----------
    scratch
        Directory for all of it.
    quick
        Small ones, which only show that the benchmarks work.
    listing
        A table of real names to use for the dataset of 29,645 made-up ones, or None:
        tab-separated, with a head, the first column the path, perhaps gzipped.
    peer_python
        The Python that has those peers that are best kept apart; None: this one.
    """

    def __init__(
        self,
        scratch: Path,
        *,
        quick: bool = False,
        listing: Path | None = None,
        peer_python: str | None = None,
    ) -> None:
        self.scratch = scratch
        self.quick = quick
        self.peer_python = peer_python or sys.executable
        self._listing = listing

    @cached_property
    def cleaning(self) -> Cleaning:
        """What `cache-clean` is measured on."""
        return Cleaning(self.scratch / "cleaning", quick=self.quick)

    @cached_property
    def sourcing(self) -> Sourcing:
        """What work from a URL is measured on."""
        return Sourcing(self.scratch / "sourcing", quick=self.quick)

    @cached_property
    def exports(self) -> Exports:
        """What `export-plain` is measured on."""
        return Exports(self.scratch / "exports", quick=self.quick)

    @cached_property
    def zips(self) -> Zips:
        """What `unzip-outputs` is measured on."""
        return Zips(self.scratch / "zips", quick=self.quick)

    @cached_property
    def harmony(self) -> study.Study:
        """The names that have the shape of ds004712's, or are."""
        if self._listing:
            return study.listed(self._listing)
        return study.harmony(subjects=2) if self.quick else study.harmony()

    @cached_property
    def on_disk(self) -> Path:
        """The names of `harmony`, as regular files in git."""
        return trees.plain_files(self.scratch / "on-disk", list(self.harmony.paths))

    @cached_property
    def clone(self) -> Path:
        """The names of `harmony`, annexed, without content."""
        return _annexed(self.scratch / "clone", self.harmony, present=False)

    @cached_property
    def million(self) -> study.Study:
        """The names of a population study."""
        return study.population(20_000 if self.quick else 1_000_000)

    @cached_property
    def million_index(self) -> Path:
        """An index with the names of `million`."""
        return trees.index_only(self.scratch / "million", self.million.paths)

    @cached_property
    def images(self) -> study.Study:
        """Annexed images and their plain JSON."""
        return study.resting(100 if self.quick else 2_000)

    @cached_property
    def image_paths(self) -> list[str]:
        """The annexed files of `images`."""
        return [path for path in self.images.paths if path.endswith(self.images.annexed)]

    @cached_property
    def present(self) -> Path:
        """The files of `images`, with content."""
        return _annexed(self.scratch / "present", self.images, present=True)

    @cached_property
    def clones(self) -> trees.Clones:
        """Clones of `present` that have no content yet."""
        pristine = self.scratch / "pristine"
        subprocess.run(["git", "clone", "--quiet", self.present, pristine], check=True)
        trees.git(pristine, "annex", "init", "--quiet", "clone")
        return trees.Clones(pristine, self.scratch)


def _annexed(root: Path, names: study.Study, *, present: bool) -> Path:
    """Make a git-annex repository with the names of a study.

    Parameters
    ----------
    root
        Where.
    names
        What.
    present
        Whether the annexed files have content, and git-annex knows.
    """

    def file(path: str) -> trees.File:
        if not path.endswith(names.annexed):
            return trees.File(path, trees.SMALL.get(path, b"{}\n"))
        content = f"{path}\n".encode() * 20
        size = None if present else _PRETENDED
        return trees.File(path, content, trees.key_for(path, content, size=size))

    trees.annex(root)
    keys = trees.commit(root, map(file, names.paths), trees.objects_of(root) if present else None)
    trees.checkout(root)
    if present:
        trees.set_present(root, keys)
    return root
