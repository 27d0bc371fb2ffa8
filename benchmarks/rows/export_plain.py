"""Benchmarks of `export-plain`, against `rsync -aL` in a work tree."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.delivered import delivered, disk_use
from benchmarks.exports import Mixed
from benchmarks.fixtures import Fixtures
from benchmarks.measure import Side, compare
from benchmarks.stores import InStore
from benchmarks.table import Below, Faster, Reach, Row, Told, Within

__all__ = ["again", "again_many", "first", "from_store", "from_store_large", "large", "memory"]

_EXPORT = ("datalad", "export-plain")
# The peers, for the shell in the source; $1 is where to copy to.
_RSYNC = 'rsync -aL --exclude=.git ./ "$1"/'
#: What `export-plain` does before it vouches for the files, and rsync never does.
_DURABLE = f'{_RSYNC} && sync -f "$1"'
_GET = f"datalad get . && {_RSYNC}"


def first(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """`export-plain` of many small files to where there is nothing, against `rsync -aL`."""
    mixed = fixtures.exports.mixed
    copy = _Copies(fixtures, lambda: mixed.root)
    work = f"first copy of {_of(mixed)}"
    yield copy.row(work, Within(0.8), pairs or 5)
    if not fixtures.quick:
        yield copy.row(work, Told(), pairs or 5, peer=_DURABLE, label="rsync -aL, then sync")


def again(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """The same again: with nothing changed, and with 1 % changed."""
    yield from _again(fixtures, fixtures.exports.mixed, pairs or 7, Within(1))


def again_many(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """Again, with ten times as many files."""
    yield from _again(fixtures, fixtures.exports.many, pairs or 5, Within(0.6))


def _again(fixtures: Fixtures, mixed: Mixed, pairs: int, reach: Reach) -> Iterator[Row]:
    copy = _Copies(fixtures, lambda: mixed.root)
    copy.fill()
    work = f"nothing changed in a copy of {mixed.files:,} files"
    yield copy.row(work, reach, pairs, anew=False)

    work = f"1 % changed in a copy of {mixed.files:,} files"
    yield copy.row(work, reach, pairs, anew=False, before_pair=mixed.change)


def large(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """`export-plain` of big files to where there is nothing, against `rsync -aL`."""
    exports = fixtures.exports
    work = f"first copy of {exports.big_files} files of {exports.big_size / 1e6:.0f} MB"
    sha256 = _Copies(fixtures, lambda: exports.large("SHA256E"))
    yield sha256.row(f"{work}, SHA256 keys", Within(1), pairs or 3)
    md5 = _Copies(fixtures, lambda: exports.large("MD5E"))
    yield md5.row(f"{work}, MD5 keys", Within(1.2), pairs or 3)
    yield sha256.row(f"{work}, --no-verify", Within(0.6), pairs or 3, options=("--no-verify",))
    if fixtures.quick:
        return
    label = "rsync -aL, then sync"
    yield sha256.row(f"{work}, SHA256 keys", Told(), pairs or 3, peer=_DURABLE, label=label)


def from_store(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """Absent small files in a RIA store, against `datalad get` and then `rsync -aL`."""
    yield _from_store(fixtures, fixtures.exports.small_in_store, pairs or 1, 25)


def from_store_large(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """Absent big files in a RIA store, against `datalad get` and then `rsync -aL`."""
    yield _from_store(fixtures, fixtures.exports.large_in_store, pairs or 3, 2)


def _from_store(fixtures: Fixtures, dataset: InStore, pairs: int, factor: float) -> Row:
    each = dataset.size // dataset.files
    amount = f"{each // 1000} KB" if each < 1_000_000 else f"{each / 1e6:.0f} MB"
    work = f"{dataset.files:,} absent files of {amount} in a RIA store"
    # Next to nothing beside what has to be written anyway: 1 % of it.
    reach = Faster(factor, disk=dataset.size // 100)
    copy = _Copies(fixtures, dataset.clones.fresh)
    row = copy.row(
        work,
        reach,
        pairs,
        peer=_GET,
        label="datalad get, rsync -aL",
        disk=_disk_of_git,
        warm_up=False,
    )
    dataset.clones.remove()
    return row


def _disk_of_git(clone: Path) -> int:
    return disk_use(clone / ".git")


def memory(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """Memory of `export-plain --dry-run` of a million files, against `git ls-tree`."""
    exports = fixtures.exports
    exports.clear()
    root = exports.million
    command = (*_EXPORT, "--dry-run", str(exports.here))
    ours = Side("export-plain --dry-run", command, lambda: root)
    peer = Side("git ls-tree", ("git", "ls-tree", "-r", "-z", "HEAD"), lambda: root)
    found = compare(ours, peer, pairs or 3, warm_up=not fixtures.quick)
    yield Row(f"dry run of {exports.million_files:,} files", peer.label, Below(300_000_000), found)


class _Copies:
    """Copies of one dataset by both sides, each into a place of its own.

    Parameters
    ----------
    fixtures
        Where the places are.
    source
        Gives the work tree to copy from, perhaps a new one.
    """

    def __init__(self, fixtures: Fixtures, source: Callable[[], Path]) -> None:
        self._fixtures = fixtures
        self._exports = fixtures.exports
        self._source = source

    def fill(self) -> None:
        """Have both sides copy for the first time, unmeasured, and keep the copies."""
        if _can_run():
            self._exports.clear()
            ours, peer = self._sides(_RSYNC, "rsync -aL", (), anew=False)
            compare(ours, peer, 1, warm_up=False)

    def row(
        self,
        work: str,
        reach: Reach,
        pairs: int,
        *,
        peer: str = _RSYNC,
        label: str = "rsync -aL",
        options: tuple[str, ...] = (),
        anew: bool = True,
        before_pair: Callable[[], None] | None = None,
        disk: Callable[[Path], int] | None = None,
        warm_up: bool = True,
    ) -> Row:
        """Compare.

        Parameters
        ----------
        work, reach, label
            For the table.
        pairs
            How often.
        peer
            Command of the shell, run in the source.
        options
            Of `export-plain`.
        anew
            Each run starts with no copy, of either side; else with its own of the run before.
        before_pair
            Called before each pair, not measured.
        disk
            How many bytes of disk are in use beside the copy, given the source.
        warm_up
            Run each once before it counts.
        """
        if not _can_run():
            return Row(work, label, reach, None)
        ours, other = self._sides(peer, label, options, anew=anew, before=before_pair, disk=disk)
        found = compare(ours, other, pairs, warm_up=warm_up and not self._fixtures.quick)
        if anew:
            self._exports.clear()
        return Row(work, label, reach, found)

    def _sides(
        self,
        peer: str,
        label: str,
        options: tuple[str, ...],
        *,
        anew: bool,
        before: Callable[[], None] | None = None,
        disk: Callable[[Path], int] | None = None,
    ) -> tuple[Side, Side]:
        here, there = self._exports.here, self._exports.there

        def start(*, pair: bool) -> Path:
            if anew:
                self._exports.clear()
            if pair and before:
                before()
            root = self._source()
            if not self._fixtures.quick:
                # Nobody is to wait for what others have left to be written.
                os.sync()
            return root

        ours = Side(
            "export-plain",
            (*_EXPORT, *options, str(here)),
            lambda: start(pair=True),
            lambda _, __: delivered(here),
            disk,
        )
        other = Side(
            label,
            ("sh", "-c", peer, "sh", str(there)),
            lambda: start(pair=False),
            lambda _, __: delivered(there),
            disk,
        )
        return ours, other


def _can_run() -> bool:
    return shutil.which("rsync") is not None


def _of(mixed: Mixed) -> str:
    half = f"{mixed.files // 2:,}"
    return f"{half} annexed files of {mixed.size // 1000} KB and {half} in git"
