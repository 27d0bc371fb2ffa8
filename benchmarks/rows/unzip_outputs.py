"""Benchmarks of `unzip-outputs` and of the command that its records have."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from statistics import median
from typing import NamedTuple

from benchmarks import trees
from benchmarks.delivered import delivered
from benchmarks.fixtures import Fixtures
from benchmarks.measure import Figures, Side, compare
from benchmarks.pace import first_and_last
from benchmarks.reading import bytes_read, why_not
from benchmarks.table import Faster, Row, Within
from benchmarks.zip_files import FOLDER, Needed, needed

__all__ = ["everything", "from_store", "many", "part", "records"]

_A_ZIP = "s a zip"
_JOBS = Path(__file__).parents[1] / "jobs"
#: A tenth of the bytes of a subject: images in two of the spaces. `unzip` and we read them alike.
_TENTH = (
    "fmriprep/sub-*/func/*_space-T1w_*",
    "fmriprep/sub-*/func/*_run-?_desc-preproc_bold.*",
)
#: Ten files of a subject with one run.
_TEN = (
    "fmriprep/sub-*.html",
    "fmriprep/sub-*/func/*_desc-confounds_timeseries.*",
    "fmriprep/sub-*/func/*_space-MNI152NLin2009cAsym_*",
)


def everything(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """`bidsshare-unzip` of all that is in a zip, against Info-ZIP's `unzip`."""
    archive = fixtures.zips.one
    work = f"all of a zip of {_amount(archive.stat().st_size)}"
    yield _against_unzip(fixtures, work, archive, (), pairs or 7)


def part(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """`bidsshare-unzip` of a tenth of a zip, against `unzip` with the same globs."""
    archive = fixtures.zips.large
    work = f"{_share(needed(archive, _is_tenth))} of a zip of {_amount(archive.stat().st_size)}"
    yield _against_unzip(fixtures, work, archive, _TENTH, pairs or 7)


def _against_unzip(
    fixtures: Fixtures, work: str, archive: Path, globs: Sequence[str], pairs: int
) -> Row:
    zips, label, reach = fixtures.zips, "unzip", Within(0.3)
    if shutil.which("unzip") is None:
        return Row(work, label, reach, None)

    def start(place: Path) -> Path:
        zips.clear()
        place.mkdir()
        os.link(archive, place / archive.name)
        if not fixtures.quick:
            # Nobody is to wait for what others have left to be written.
            os.sync()
        return place

    def side(command: Sequence[str], place: Path) -> Side:
        return Side(
            command[0],
            command,
            lambda: start(place),
            lambda _, there: delivered(there / FOLDER),
        )

    ours = side(("bidsshare-unzip", *_included(globs), archive.name), zips.here)
    peer = side(("unzip", "-q", archive.name, *globs), zips.there)
    found = compare(ours, peer, pairs, warm_up=not fixtures.quick)
    zips.clear()
    return Row(work, label, reach, found)


def records(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """`unzip-outputs` of ten files a zip, against a bash job under `datalad run`, zip by zip."""
    zips, reach = fixtures.zips, Faster(8)
    label = "datalad run, serial"
    work = f"10 of 41 files of {zips.few_count} zips, a record each"
    if shutil.which("unzip") is None or shutil.which("bash") is None:
        yield Row(work, label, reach, None)
        return
    ours = Side("unzip-outputs", _unzip_outputs(_TEN), zips.few.fresh, _committed)
    job = ("bash", str(_JOBS / "unzip_under_run.sh"))
    peer = Side(label, job, zips.few.fresh, _committed)
    found = compare(ours, peer, pairs or 3, warm_up=False)
    zips.few.remove()
    yield Row(work, label, reach, found)


def _committed(_: bytes, root: Path) -> object:
    return (
        trees.git(root, "rev-parse", "HEAD^{tree}"),
        trees.git(root, "rev-list", "--count", "HEAD"),
    )


def many(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """Seconds a zip of `unzip-outputs`: for the last of many, against the first."""
    zips, reach = fixtures.zips, Within(1.3)
    count, window = zips.many_count, zips.window
    first: list[_Call] = []
    last: list[_Call] = []
    paces: list[tuple[float, float]] = []
    for _ in range(pairs or 3):
        root = _look(zips.many.fresh())
        first.append(_timed(root, zips.names(0, window)))
        _timed(root, zips.names(window, count - window))
        last.append(_timed(root, zips.names(count - window, count)))
        whole = _timed(_look(zips.many.fresh()), zips.names(0, count))
        pace = first_and_last(whole.arrivals, window)
        if pace is not None:
            paces.append(pace)
    zips.many.remove()
    yield Row(
        f"the last {window} of {count} zips, in a call of their own",
        f"the first {window}",
        reach,
        Figures(
            [call.wall / window for call in last],
            [call.wall / window for call in first],
            _A_ZIP,
            tuple(median(call.cpu / window for call in calls) for calls in (last, first)),
        ),
    )
    yield Row(
        f"the last {window} of {count} zips, in one call",
        f"the first {window} that can be told apart",
        reach,
        Figures([after for _, after in paces], [before for before, _ in paces], _A_ZIP)
        if paces
        else None,
        missing="all records came at once",
    )


class _Call(NamedTuple):
    """A call of `unzip-outputs`.

    Attributes
    ----------
    wall, cpu
        Seconds.
    arrivals
        Those at which the record of each zip came.
    """

    wall: float
    cpu: float
    arrivals: list[float]


def _look(root: Path) -> Path:
    """Have git notice that these are other files than those that were copied."""
    trees.git(root, "status", "--porcelain")
    return root


def _timed(root: Path, names: Sequence[str]) -> _Call:
    """Unpack zips of a dataset."""
    job = (sys.executable, str(_JOBS / "unzip_timed.py"), FOLDER, ",".join(_TEN), *names)
    ended = subprocess.run(job, cwd=root, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"unzip-outputs failed: {ended.stderr.strip()[-1000:]}")
    call = _Call(**json.loads(ended.stdout))
    if len(call.arrivals) != len(names):
        raise RuntimeError(f"unpacked {len(call.arrivals)} of {len(names)} zips")
    return call


def from_store(fixtures: Fixtures, pairs: int | None) -> Iterator[Row]:
    """Bytes that `unzip-outputs` reads of an absent zip in a RIA store, against what it must."""
    zips, reach = fixtures.zips, Within(1.2)
    archive, dataset = zips.large, zips.large_in_store
    must = needed(archive, _is_tenth)
    label = "members and directory"
    work = f"read for {_share(must)} of an absent zip of {_amount(dataset.size)} in a RIA store"
    missing = why_not()
    if missing is not None:
        yield Row(work, label, reach, None, f"not measured, {missing}")
        return
    found = Figures([], [], "MB")
    for _ in range(pairs or 1):
        clone = dataset.clones.fresh()
        count = bytes_read(_unzip_outputs(_TENTH), clone, dataset.objects)
        unpacked = trees.git(clone, "ls-files", "sub-01").decode().split()
        if len(unpacked) != must.members:
            raise RuntimeError(f"unpacked {len(unpacked)} of {must.members} files")
        found.ours.append(count / 1e6)
        found.peer.append((must.packed + must.directory) / 1e6)
    dataset.clones.remove()
    yield Row(work, label, reach, found)


def _is_tenth(name: str) -> bool:
    return any(fnmatchcase(name, glob) for glob in _TENTH)


def _unzip_outputs(globs: Sequence[str]) -> tuple[str, ...]:
    options = ("-d", ".", "--strip-prefix", FOLDER)
    return ("datalad", "unzip-outputs", *options, *_included(globs))


def _included(globs: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for glob in globs for part in ("-i", glob))


def _share(part: Needed) -> str:
    return f"{part.share:.0%} ({part.members} files)"


def _amount(size: int) -> str:
    return f"{size / 1e6:,.0f} MB"
