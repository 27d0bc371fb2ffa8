"""Benchmarks of `cache-clean`, against what drops or counts without it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks import trees
from benchmarks.cleaning import left
from benchmarks.fixtures import Fixtures
from benchmarks.measure import Side, compare
from benchmarks.table import Faster, Reach, Row, Told, Within

__all__ = ["against_datalad", "against_git_annex", "freed"]

_CLEAN = ("datalad", "cache-clean", "-d", ".")
_NOTHING = (0, 0)
_HELP = ("datalad", "get", "--help")


def against_git_annex(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """`cache-clean` of files that are all there, against one `git annex drop --json`."""
    peer = ("git", "annex", "drop", "--json")
    yield _drop(fixtures, pairs or 3, "git annex drop --json", peer, Within(1.1))


def against_datalad(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """The same, against `datalad drop`."""
    yield _drop(fixtures, pairs or 1, "datalad drop", ("datalad", "drop", "."), Faster(2))


def _drop(fixtures: Fixtures, pairs: int, label: str, peer: Sequence[str], reach: Reach) -> Row:
    cleaning = fixtures.cleaning

    def start() -> Path:
        clone = cleaning.clones.fresh()
        if not fixtures.quick:
            # Nobody is to wait for what others have left to be written.
            os.sync()
        return clone

    def nothing(_: bytes, clone: Path) -> object:
        found = left(clone)
        if found != _NOTHING:
            raise RuntimeError(f"objects left, and keys said to be there: {found}")
        return found

    ours = Side("cache-clean", _CLEAN, start, nothing)
    other = Side(label, peer, start, nothing)
    # Each starts with a clone that was just copied: nothing is read for the first time.
    found = compare(ours, other, pairs, warm_up=False)
    cleaning.clones.remove()
    return Row(f"drop of {cleaning.files:,} files that a clone beside has too", label, reach, found)


def freed(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """`cache-clean --dry-run`: how many bytes would be freed, against `datalad get --help`."""
    clone, files = fixtures.cleaning.clone, fixtures.cleaning.files
    command = (*_CLEAN, "--dry-run")
    _check(clone, command)
    ours = Side("cache-clean --dry-run", command, lambda: clone)
    work = f"how much {files:,} files would free"
    peer = Side("datalad get --help", _HELP, lambda: clone)
    yield Row(work, peer.label, Within(1, plus=1), compare(ours, peer, pairs or 7))
    counting = Side("du", ("du", "-s", ".git/annex/objects"), lambda: clone)
    yield Row(work, counting.label, Told(), compare(ours, counting, pairs or 7))


def _check(clone: Path, command: Sequence[str]) -> None:
    """See that what is measured gives the right answer.

    Raises
    ------
    RuntimeError
        If it does not.
    """
    program, *arguments = command
    said = subprocess.run(
        [program, "-f", "json", *arguments], cwd=clone, stdout=subprocess.PIPE, check=True
    ).stdout
    told = json.loads(said.splitlines()[-1])["freed"]
    objects = (path for path in trees.objects_of(clone).rglob("*") if path.is_file())
    there = sum(path.stat().st_blocks * 512 for path in objects)
    if told != there:
        raise RuntimeError(f"{told} bytes would be freed, it says, and there are {there}")
