"""Benchmarks of work from a URL, `export-plain --source`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import trees
from benchmarks.delivered import delivered, disk_use
from benchmarks.fixtures import Fixtures
from benchmarks.measure import Side, compare
from benchmarks.sourcing import Place
from benchmarks.table import Faster, Row, Within

__all__ = ["again", "uniharmony"]

_JOB = Path(__file__).parents[1] / "jobs" / "with_uniharmony.py"


def again(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """`export-plain -s` of a URL for the second time, with nothing new, against the first."""
    sourcing = fixtures.sourcing
    store = fixtures.exports.small_in_store
    url = f"ria+{store.store.as_uri()}#{trees.DATASET_ID}"
    place = sourcing.here
    command = _export(place, url)

    def second() -> Path:
        if not place.is_used:
            subprocess.run(
                ("datalad", "-l", "error", *command[1:]),
                cwd=place.clear(),
                stdout=subprocess.DEVNULL,
                check=True,
            )
        return _settled(fixtures, place.root)

    def copied(_: bytes, __: Path) -> object:
        return delivered(place.copy)

    ours = Side("export-plain -s", command, second, copied)
    peer = Side("the first time", command, lambda: _settled(fixtures, place.clear()), copied)
    found = compare(ours, peer, pairs or 5, warm_up=False)
    place.clear()
    work = f"the second time from a URL: {store.files:,} files of {_each(store.size, store.files)}"
    yield Row(f"{work} in a RIA store", peer.label, Within(0.1), found)


def uniharmony(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """`export-plain -s` of 40 images with nothing kept, against uniharmony's hidden mode."""
    sourcing = fixtures.sourcing
    label = "uniharmony"
    size = _each(sourcing.size, 1)
    work = f"{sourcing.asked} images of {size}, hidden clone, content given back"
    if not _has_uniharmony(fixtures.peer_python):
        yield Row(work, label, Faster(10), None)
        return
    yield _uniharmony(fixtures, f"{work}, from a path", str(sourcing.source), pairs or 3)
    with sourcing.served() as url:
        yield _uniharmony(fixtures, f"{work}, by HTTP from this machine", url, pairs or 3)


def _uniharmony(fixtures: Fixtures, work: str, url: str, pairs: int) -> Row:
    here, there = fixtures.sourcing.here, fixtures.sourcing.there
    subjects = ",".join(fixtures.sourcing.subjects)
    images = ("--sub", subjects, "--task", "rest", "--suffix", "bold", "--extension", "nii.gz")
    exporting = _export(here, url, *images, "--companions", "none", "--drop-fetched")
    # The hidden clone is in the system's directory for temporary files.
    hidden = ("env", f"TMPDIR={there.cache}", fixtures.peer_python, str(_JOB), url)
    downloading = (*hidden, str(there.copy), subjects)

    def side(label: str, command: Sequence[str], place: Place) -> Side:
        return Side(
            label,
            command,
            lambda: _settled(fixtures, place.clear()),
            lambda _, __: (delivered(place.copy), _content(place.cache)),
            lambda _: disk_use(place.cache),
        )

    ours = side("export-plain -s", exporting, here)
    peer = side("uniharmony", downloading, there)
    found = compare(ours, peer, pairs, warm_up=not fixtures.quick)
    here.clear()
    there.clear()
    return Row(work, peer.label, Faster(10), found)


def _export(place: Place, url: str, *options: str) -> tuple[str, ...]:
    config = f"datalad.bidsshare.cache={place.cache}"
    return ("datalad", "-c", config, "export-plain", "-s", url, str(place.copy), *options)


def _content(cache: Path) -> int:
    """Give how many objects are left in the clones of a cache."""
    objects = (path for top in cache.rglob("annex/objects") for path in top.rglob("*"))
    return sum(path.is_file() for path in objects)


def _settled(fixtures: Fixtures, root: Path) -> Path:
    if not fixtures.quick:
        # Nobody is to wait for what others have left to be written.
        os.sync()
    return root


def _has_uniharmony(python: str) -> bool:
    looking = (
        "from importlib.util import find_spec; raise SystemExit(find_spec('uniharmony') is None)"
    )
    return subprocess.run([python, "-c", looking]).returncode == 0


def _each(size: int, files: int) -> str:
    return f"{size // files // 1000} KB"
