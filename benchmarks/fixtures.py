"""What the benchmarks work on: made when first asked for, and shared among them."""

from __future__ import annotations

import subprocess
from functools import cached_property
from pathlib import Path

from benchmarks import study, trees

__all__ = ["Fixtures"]


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
    """

    def __init__(self, scratch: Path, *, quick: bool = False, listing: Path | None = None) -> None:
        self.scratch = scratch
        self.quick = quick
        self._listing = listing
        self._clones = 0

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
        return trees.annexed(self.scratch / "clone", self.harmony, present=False)

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
        return trees.annexed(self.scratch / "present", self.images, present=True)

    @cached_property
    def _pristine(self) -> Path:
        clone = self.scratch / "pristine"
        _run("git", "clone", "--quiet", self.present, clone)
        _run("git", "-C", clone, "annex", "init", "--quiet", "clone")
        return clone

    def fresh_clone(self) -> Path:
        """Make a clone of `present` that has no content yet; the one before is removed."""
        last = self.scratch / f"clone-{self._clones}"
        if last.exists():
            trees.remove(last)
        self._clones += 1
        fresh = self.scratch / f"clone-{self._clones}"
        _run("cp", "-a", self._pristine, fresh)
        return fresh


def _run(*command: str | Path) -> None:
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
