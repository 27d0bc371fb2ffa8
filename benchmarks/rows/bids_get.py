"""Benchmarks of `bids-get` and of the resolver beneath it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

from benchmarks.fixtures import Fixtures
from benchmarks.measure import Side, compare
from benchmarks.table import Faster, Reach, Row, Within

__all__ = [
    "absent",
    "dry_run",
    "million",
    "million_companions",
    "present",
    "resolver_bids2table",
    "resolver_pybids",
    "start_up",
]

_JOBS = Path(__file__).parents[1] / "jobs"
_QUERY = ("--task", "rest", "--suffix", "bold", "--extension", "nii.gz")
_IMAGES = (*_QUERY, "--companions", "none")
_HELP = ("datalad", "get", "--help")


def resolver_pybids(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """The resolver as a library, against BIDSLayout without validation and metadata."""
    yield _resolver(fixtures, pairs or 3, "BIDSLayout", "with_pybids.py", "bids", Faster(70))


def resolver_bids2table(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """The resolver as a library, against bids2table."""
    yield _resolver(
        fixtures, pairs or 7, "bids2table", "with_bids2table.py", "bids2table", Faster(8)
    )


def _resolver(
    fixtures: Fixtures, pairs: int, label: str, script: str, package: str, reach: Reach
) -> Row:
    files = len(list(fixtures.harmony.paths))
    work = f"rest BOLD of 3 subjects among {files:,} names"
    if find_spec(package) is None:
        return Row(work, label, reach, None)
    root = fixtures.on_disk
    subjects = ",".join(fixtures.harmony.subjects)
    ours = _job("resolver", "with_bidsshare.py", root, subjects, answer=_paths)
    peer = _job(label, script, root, subjects, answer=_paths)
    return Row(work, label, reach, compare(ours, peer, pairs))


def million(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """Selection in an index of a million files, against `git ls-files`."""
    yield from _in_the_million(fixtures, pairs or 7, "", Within(5, rss=500_000_000))


def million_companions(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """The same with the companions that ride along by default."""
    yield from _in_the_million(fixtures, pairs or 7, "--companions", Within(12))


def _in_the_million(fixtures: Fixtures, pairs: int, option: str, reach: Reach) -> Iterator[Row]:
    root = fixtures.million_index
    peer = Side("git ls-files", ("git", "ls-files", "-z"), lambda: root)
    among = "with companions among" if option else "among"
    files = f"{sum(1 for _ in fixtures.million.paths):,} names"
    options = (option,) if option else ()
    for who, subjects in (
        ("3 subjects", ",".join(fixtures.million.subjects)),
        ("all subjects", "all"),
    ):
        ours = _job("resolver", "with_bidsshare.py", root, subjects, *options)
        yield Row(
            f"rest BOLD of {who} {among} {files}", peer.label, reach, compare(ours, peer, pairs)
        )


def present(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """`bids-get` of files that are all there, against `datalad get` of their paths."""
    root, paths = fixtures.present, fixtures.image_paths
    ours = Side("bids-get", ("datalad", "bids-get", *_IMAGES), lambda: root)
    peer = Side("datalad get", ("datalad", "get", *paths), lambda: root)
    work = f"{len(paths):,} files that are present"
    yield Row(work, peer.label, Faster(4), compare(ours, peer, pairs or 5))


def absent(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """`bids-get` of files from a clone on the same disk, against `git annex get`."""
    jobs = f"-J{min(4, os.cpu_count() or 1)}"
    paths = fixtures.image_paths

    def all_there(_: bytes, clone: Path) -> object:
        return sum((clone / path).is_file() for path in paths), len(paths)

    ours = Side(
        "bids-get", ("datalad", "bids-get", *_IMAGES, jobs), fixtures.clones.fresh, all_there
    )
    peer = Side("git annex get", ("git", "annex", "get", jobs), fixtures.clones.fresh, all_there)
    work = f"{len(paths):,} absent files from a local clone, {jobs}"
    found = compare(ours, peer, pairs or 3, warm_up=False)
    yield Row(work, peer.label, Within(1.1), found)


def dry_run(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """`bids-get --dry-run` in a clone without content, against `datalad get --help`."""
    root = fixtures.clone
    subjects = ",".join(fixtures.harmony.subjects)
    command = ("datalad", "bids-get", *_QUERY, "--subject", subjects, "--dry-run")
    ours = Side("bids-get --dry-run", command, lambda: root)
    peer = Side("datalad get --help", _HELP, lambda: root)
    work = f"bids-get --dry-run among {len(list(fixtures.harmony.paths)):,} names"
    yield Row(work, peer.label, Within(1.5, plus=0.5), compare(ours, peer, pairs or 9))


def start_up(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """`datalad bids-get --help`, against `datalad get --help`."""
    ours = Side("bids-get --help", ("datalad", "bids-get", "--help"), lambda: fixtures.scratch)
    peer = Side("datalad get --help", _HELP, lambda: fixtures.scratch)
    yield Row("bids-get --help", peer.label, Within(1.15), compare(ours, peer, pairs or 15))


def _job(
    label: str,
    script: str,
    root: Path,
    *args: str,
    answer: Callable[[bytes, Path], object] | None = None,
) -> Side:
    return Side(
        label, (sys.executable, str(_JOBS / script), str(root), *args), lambda: root, answer
    )


def _paths(said: bytes, _: Path) -> object:
    return sorted(said.decode().split())
