"""What `export-plain` is measured on: datasets, a RIA store, and the places to copy to."""

from __future__ import annotations

import json
import os
import random
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from benchmarks import study, trees
from benchmarks.stores import InStore, in_store

__all__ = ["Exports", "Mixed", "made_up"]

#: One in so many files is changed by `Mixed.change`.
_CHANGED = 100
#: Bytes by which the big files differ from each other: the same random ones, turned.
_TURN = 4096
#: Bytes that an image without content pretends to have.
_PRETENDED = 5_000_000


class Mixed:
    """A dataset of small files, all present: half of them annexed, half in git.

    Parameters
    ----------
    root
        Where to make it.
    images
        How many files are annexed; there is one JSON for each.
    size
        Bytes in an annexed file, at first.
    """

    def __init__(self, root: Path, images: int, size: int) -> None:
        self.root = root
        self.files = 2 * images
        self.size = size
        self._names = study.resting(images)
        self._changes = 0
        trees.annex(root)
        self._commit(made_up(self._names, size))

    def change(self) -> None:
        """Commit other content for 1 % of the files, each time for others."""
        images = [path for path in self._names.paths if path.endswith(self._names.annexed)]
        others = images[self._changes % _CHANGED :: _CHANGED]
        self._changes += 1
        paths = [file for path in others for file in (path.replace(".nii.gz", ".json"), path)]
        # Of another size: what has the same size and second of change, rsync takes for the same.
        changed = study.Study(paths, ())
        self._commit(_files(changed, self.size + self._changes, version=self._changes))

    def _commit(self, files: Iterable[trees.File]) -> None:
        trees.commit(self.root, files, trees.objects_of(self.root))
        trees.checkout(self.root)


class Exports:
    """Datasets to export, and where to.

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
        self._large: dict[str, Path] = {}
        #: Places to copy to, one for each side.
        self.here, self.there = scratch / "copied-here", scratch / "copied-there"
        self.million_files = 2_000 if quick else 1_000_000
        self.big_files, self.big_size = (4, 1_000_000) if quick else (40, 128_000_000)

    def clear(self) -> None:
        """Remove what was copied."""
        for directory in (self.here, self.there):
            if directory.exists():
                trees.remove(directory)

    @cached_property
    def mixed(self) -> Mixed:
        """20,000 annexed files of 20 KB, and as many small ones in git."""
        return Mixed(self._scratch / "mixed", 100 if self._quick else 20_000, 20_000)

    @cached_property
    def many(self) -> Mixed:
        """200,000 annexed files of 200 bytes, and as many in git."""
        return Mixed(self._scratch / "many", 100 if self._quick else 200_000, 200)

    @cached_property
    def million(self) -> Path:
        """The names of a population study, committed: images are annexed, and have no content.

        There are no files in the work tree.
        """
        names = study.population(self.million_files)
        root = trees.annex(self._scratch / "million")
        trees.commit(root, made_up(names, None), None)
        trees.git(root, "read-tree", "main")
        return root

    def large(self, backend: str) -> Path:
        """Give a dataset of 40 big annexed files that are present.

        Parameters
        ----------
        backend
            Of their keys: ``'MD5E'`` or ``'SHA256E'``. The content is the same, and on disk once.
        """
        if backend not in self._large:
            root = trees.annex(self._scratch / f"large-{backend}")
            trees.commit(root, self._big_files(backend), trees.objects_of(root))
            trees.checkout(root)
            self._large[backend] = root
        return self._large[backend]

    @cached_property
    def small_in_store(self) -> InStore:
        """The files of `mixed` in a RIA store."""
        images, size = 50 if self._quick else 20_000, 20_000
        files = made_up(study.resting(images), size)
        return in_store(self._scratch, "small", files, images, images * size)

    @cached_property
    def large_in_store(self) -> InStore:
        """The files of `large` in a RIA store, with the keys that DataLad makes: MD5E."""
        size = self.big_files * self.big_size
        files = self._big_files("MD5E")
        return in_store(self._scratch, "big", files, self.big_files, size)

    def _big_files(self, backend: str) -> Iterator[trees.File]:
        for path, content in (*trees.SMALL.items(), ("participants.tsv", _participants(["01"]))):
            yield trees.File(path, content)
        for at, place in enumerate(self._big):
            path = f"sub-01/func/sub-01_task-rest_run-{at + 1}_bold.nii.gz"
            key = trees.key_for(path, place.read_bytes(), backend=backend)
            yield trees.File(path, place, key)

    @cached_property
    def _big(self) -> list[Path]:
        directory = self._scratch / "big-files"
        directory.mkdir(parents=True)
        content = random.Random(0).randbytes(self.big_size)
        places = [directory / str(at) for at in range(self.big_files)]
        for at, place in enumerate(places):
            turn = at * _TURN
            with place.open("wb") as file:
                file.write(content[turn:])
                file.write(content[:turn])
        return places


def made_up(names: study.Study, size: int | None) -> Iterator[trees.File]:
    """Make up a whole dataset."""
    for path, content in trees.SMALL.items():
        yield trees.File(path, content)
    yield from _files(names, size)


def _files(names: study.Study, size: int | None, *, version: int = 0) -> Iterator[trees.File]:
    """Make up contents for names.

    Parameters
    ----------
    names
        Paths.
    size
        Bytes in annexed files, incompressible ones; None: nobody will see them.
    version
        Another one is other content.
    """
    for path in names.paths:
        if not path.endswith(names.annexed):
            yield trees.File(path, _small(path, names, version))
        elif size is None:
            yield trees.File(path, b"", trees.key_for(path, path.encode(), size=_PRETENDED))
        else:
            content = random.Random(f"{path} {version}").randbytes(size)
            yield trees.File(path, content, trees.key_for(path, content))


def _small(path: str, names: study.Study, version: int) -> bytes:
    if path in trees.SMALL:
        return trees.SMALL[path]
    if path == "participants.tsv":
        return _participants(_subjects(names))
    if path.endswith("_scans.tsv"):
        stem = os.path.basename(path).removesuffix("_scans.tsv")
        return f"filename\nanat/{stem}_T1w.nii.gz\nfunc/{stem}_task-rest_bold.nii.gz\n".encode()
    if path.endswith(".json"):
        return json.dumps({"RepetitionTime": 2.0, "Of": path, "Version": version}).encode()
    return f"{path} {version}\n".encode()


def _subjects(names: study.Study) -> Iterable[str]:
    tops = dict.fromkeys(path.partition("/")[0] for path in names.paths)
    return [top.removeprefix("sub-") for top in tops if top.startswith("sub-")]


def _participants(subjects: Iterable[str]) -> bytes:
    return "".join(["participant_id\n", *(f"sub-{label}\n" for label in subjects)]).encode()
