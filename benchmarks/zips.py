"""What `unzip-outputs` is measured on: zips, datasets of zips, and a zip in a RIA store."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from benchmarks import trees
from benchmarks.fmriprep import Output, outputs
from benchmarks.stores import InStore, in_store
from benchmarks.zip_files import is_text, members, name_of, write_zip

__all__ = ["Zips"]

#: Big images in the zip of which everything is wanted: the three largest of each of four runs.
_IMAGES, _IMAGE_RUNS = 12, 4
#: Runs in the zip of which a part is wanted.
_LARGE_RUNS = 3
#: Bytes that no file of the many zips exceeds: what is measured is not the copying.
_SMALL = 50_000


class Zips:
    """Zips of made-up outputs of fMRIPrep.

    Parameters
    ----------
    scratch
        Directory for all of it; on one file system, since content is hard-linked.
    quick
        Small sizes.
    """

    def __init__(self, scratch: Path, *, quick: bool) -> None:
        self._scratch = scratch
        self._quick = quick
        #: Places to unpack in, one for each side.
        self.here, self.there = scratch / "unpacked-here", scratch / "unpacked-there"
        self.image_size, self.text_size = (
            (250_000, 1_000_000) if quick else (25_000_000, 97_000_000)
        )
        self.large_size = 15_000_000 if quick else 1_500_000_000
        self.few_count = 2 if quick else 20
        self.many_count, self.window = (12, 3) if quick else (200, 20)

    def clear(self) -> None:
        """Remove what was unpacked."""
        for directory in (self.here, self.there):
            if directory.exists():
                trees.remove(directory)

    @cached_property
    def one(self) -> Path:
        """A zip of 12 images of 25 MB and 97 MB of text, 398 MB unpacked."""
        subject = list(outputs("01", _IMAGE_RUNS))
        images = [output for output in subject if output.name.endswith(".nii.gz")]
        big = {image.name for image in sorted(images, key=lambda i: i.size)[-_IMAGES:]}
        text = sum(output.size for output in subject if is_text(output.name))

        def size(output: Output) -> int:
            if output.name in big:
                return self.image_size
            if is_text(output.name):
                return output.size * self.text_size // text
            return min(output.size, _SMALL)

        return write_zip(self._scratch / "one" / name_of("01"), members(subject, size))

    @cached_property
    def large(self) -> Path:
        """A zip with the proportions of a real one, 1.5 GB unpacked."""
        subject = list(outputs("01", _LARGE_RUNS))
        total = sum(output.size for output in subject)

        def size(output: Output) -> int:
            return output.size * self.large_size // total

        return write_zip(self._scratch / "large" / name_of("01"), members(subject, size))

    @cached_property
    def large_in_store(self) -> InStore:
        """A dataset with the zip `large` in a RIA store."""
        name = self.large.name
        files = [*_dataset(), trees.File(name, self.large, trees.key_for(name, self.large))]
        return in_store(self._scratch, "zip", files, 1, self.large.stat().st_size)

    @cached_property
    def few(self) -> trees.Clones:
        """A dataset with 20 zips of 41 files each, all present."""
        return trees.Clones(self._many("few", self.few_count), self._scratch)

    @cached_property
    def many(self) -> trees.Clones:
        """A dataset with 200 such zips."""
        return trees.Clones(self._many("many", self.many_count), self._scratch)

    def names(self, first: int, last: int) -> list[str]:
        """Give the names of zips of `many`, from one number to before another."""
        return [name_of(f"{at + 1:03}") for at in range(first, last)]

    def _many(self, name: str, count: int) -> Path:
        root = trees.annex(self._scratch / name)
        files = [*_dataset(), *_small_zips(self._scratch / f"zips-{name}", count)]
        trees.set_present(root, trees.commit(root, files, trees.objects_of(root)))
        trees.checkout(root)
        return root


def _dataset() -> Iterator[trees.File]:
    for path, content in trees.SMALL.items():
        yield trees.File(path, content)


def _small_zips(directory: Path, count: int) -> Iterator[trees.File]:
    for at in range(count):
        subject = f"{at + 1:03}"
        name = name_of(subject)
        files = members(outputs(subject, 1, parts=("func",)), lambda o: min(o.size, _SMALL))
        place = write_zip(directory / name, files)
        yield trees.File(name, place, trees.key_for(name, place))
