"""What each zip would give, and whether that can be: all of it before anything is written."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from datalad_bidsshare.archive.directory import BadZip, Directory, digest_of, read_directory
from datalad_bidsshare.archive.job import Job
from datalad_bidsshare.archive.members import output_of, taken_away, wanted_members
from datalad_bidsshare.archive.request import UnzipRequest
from datalad_bidsshare.archive.safety import Refused, check_directory, check_wanted
from datalad_bidsshare.archive.template import expand
from datalad_bidsshare.archive.zips import TrackedZip
from datalad_bidsshare.dataset.beneath import open_beneath
from datalad_bidsshare.dataset.listing import Index
from datalad_bidsshare.disk.names import collisions
from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.names import parents

__all__ = [
    "Nothing",
    "Output",
    "Planned",
    "ZipError",
    "chunks",
    "find_collisions",
    "plan_zip",
    "standing_outputs",
]

#: Files that a message names; the rest is counted.
_MOST_NAMED = 3
#: Hex digits of a digest that go into a record.
_DIGITS = 16


class ZipError(Exception):
    """A zip that is not unpacked. The text says why, and what to do next."""


class Nothing(ZipError):
    """A zip in which nothing is wanted; that may be so, and is no error by itself."""


@dataclass(frozen=True, slots=True)
class Output:
    """One file that a zip gives.

    Attributes
    ----------
    path
        Relative to the dataset.
    member
        Name in the zip.
    size, packed
        Bytes, as the directory of the zip has them.
    crc
        CRC-32 of the content.
    """

    path: str
    member: str
    size: int
    packed: int
    crc: int


@dataclass(slots=True)
class Planned:
    """One zip that is to be unpacked.

    Attributes
    ----------
    zip
        The zip.
    job
        What it is to give.
    outputs
        The files, by path.
    source
        Where it is read: a directory and the path beneath it.
    how
        `'git'`, `'present'`, `'store'` or `'fetch'` (it was fetched).
    bytesize
        Of the zip.
    digest
        Of its directory.
    riding
        Outputs that are companions of others.
    gone
        Outputs that were let go.
    stale
        What an earlier version of the zip gave, is tracked, and not among the outputs.
    standing
        Outputs that the dataset tracks already.
    leave
        Outputs that another zip of the call gives, and that zip.
    note
        What the user should know of it.
    failed
        Whether it turned out that it cannot be unpacked.
    heirs
        If so: the zips that give instead what others had left to it, by path.
    """

    zip: TrackedZip
    job: Job
    outputs: dict[str, Output]
    source: tuple[str, str]
    how: str
    bytesize: int
    digest: str
    riding: frozenset[str] = frozenset()
    stale: tuple[str, ...] = ()
    gone: set[str] = field(default_factory=set)
    standing: frozenset[str] = frozenset()
    leave: dict[str, Planned] = field(default_factory=dict)
    note: str = ""
    failed: bool = False
    heirs: dict[str, Planned] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What tells the version of the zip."""
        return self.zip.key

    @property
    def written(self) -> list[Output]:
        """The outputs that this zip itself gives."""
        return [out for path, out in self.outputs.items() if path not in self.leave]

    @property
    def shared(self) -> dict[str, Any]:
        """For its record: the outputs that it leaves to other zips, and which these are."""
        if not self.leave:
            return {}
        return {"shared": {path: other.zip.path for path, other in self.leave.items()}}

    @property
    def unpacked(self) -> int:
        """Bytes that it gives."""
        return sum(out.size for out in self.written)

    @property
    def packed(self) -> int:
        """Bytes that are read of it for that."""
        return sum(out.packed for out in self.written)

    def let_go(self, paths: Sequence[str]) -> None:
        """Leave out outputs that are companions: what is recorded does not give them."""
        names = {self.outputs.pop(path).member for path in paths}
        self.gone.update(paths)
        for path in paths:
            self.leave.pop(path, None)
        members = tuple(name for name in self.job.members if name not in names)
        self.job = replace(self.job, members=members)

    def take_over(self) -> bool:
        """Have it give itself what it had left to zips that failed.

        Returns
        -------
        bool
            Whether it gives more now. What was left to one zip is given by the first that asks.
        """
        before = len(self.leave)
        for path, other in [*self.leave.items()]:
            while other.failed:
                heir = other.heirs.setdefault(path, self)
                if heir is self:
                    del self.leave[path]
                    break
                self.leave[path] = other = heir
        return len(self.leave) < before


def plan_zip(
    request: UnzipRequest, tracked: TrackedZip, source: tuple[str, str], how: str
) -> Planned:
    """Read the directory of a zip, and find out what it gives.

    Parameters
    ----------
    request
        What is asked for.
    tracked
        The zip.
    source
        Where it can be read: a directory and the path beneath it.
    how
        How its content is had.

    Raises
    ------
    ZipError
        If it cannot be read, or not be unpacked safely, or has nothing that is wanted.
    """
    directory = _read(source, request.limits.members)
    try:
        into = expand(request.layout.into, tracked.path) if request.layout.into else ""
        job = Job(
            zip=tracked.path,
            into=into,
            strip=request.layout.strip,
            strip_prefix=request.layout.strip_prefix,
            exclude=request.members.excluded_globs,
        )
        digest = digest_of(directory)
        job = replace(job, expect=digest[:_DIGITS])
        check_directory(directory, request.limits, taken_away=taken_away(job))
        job, riding = _with_members(request, job, directory)
        layout = wanted_members(job, directory)
        check_wanted([wanted.member for wanted in layout.wanted], request.limits)
    except (Refused, SelectionError) as error:
        raise ZipError(str(error)) from error
    note = ""
    if layout.too_shallow:
        note = (
            f"{layout.too_shallow} members are left out: they lie in fewer than "
            f"{job.strip} directories"
        )
    outputs = {
        w.output: Output(w.output, w.member.name, w.member.size, w.member.packed, w.member.crc)
        for w in layout.wanted
    }
    return Planned(
        tracked,
        job,
        outputs,
        source,
        how,
        directory.bytesize,
        digest,
        riding=frozenset(w.output for w in layout.wanted if w.member.name in riding),
        note=note,
    )


def _read(source: tuple[str, str], most: int) -> Directory:
    try:
        fd = open_beneath(source[0], source[1])
    except OSError as error:
        raise ZipError(f"it cannot be opened: {error.strerror or error}") from error
    try:
        return read_directory(fd, most=most)
    except BadZip as error:
        step = "" if ";" in str(error) else "; see if the file is what it should be, or get it anew"
        raise ZipError(f"{error}{step}") from error
    except OSError as error:
        raise ZipError(f"it cannot be read: {error.strerror or error}") from error
    finally:
        os.close(fd)


def _with_members(
    request: UnzipRequest, job: Job, directory: Directory
) -> tuple[Job, frozenset[str]]:
    """Say which members are wanted, in terms that mean the same wherever they are read.

    Returns
    -------
    tuple of Job and frozenset
        With the members that only ride along.
    """
    members = request.members
    names = [member.name for member in directory.members if not member.is_directory]
    anywhere = replace(job, into="")
    chosen = members.choose(names, lambda name: output_of(name, anywhere))
    if not chosen.names:
        raise Nothing("no member of it is wanted" if names else "it holds no files")
    if members.is_plain:
        return replace(job, include=members.include), frozenset()
    # Literally: what BIDS has to say of names may change with the versions of pybids and others.
    return replace(job, members=tuple(sorted(chosen.names))), chosen.companions


def standing_outputs(
    request: UnzipRequest, planned: Planned, index: Index, given: Callable[[str], bool]
) -> frozenset[str]:
    """Find out which outputs the dataset tracks already.

    Parameters
    ----------
    request
        What is asked for.
    planned
        The zip.
    index
        What the dataset tracks.
    given
        Tells whether an earlier call that wanted the same gave a file. Of zips that came later,
        or of a call that was cut short, some files are there from others.

    Raises
    ------
    ZipError
        If there are some and they are not to be touched, or if something else stands there.
    """
    standing = []
    mounts = index.gitlinks
    files_above: dict[str, bool] = {"": False}
    for path in planned.outputs:
        if path in index:
            standing.append(path)
            continue
        if path in mounts or index.holds_below(path):
            kind = "a subdataset" if path in mounts else "a directory"
            raise ZipError(f"{path} would be a file, and is {kind} in the dataset")
        for directory in parents(path):
            if directory in mounts:
                raise ZipError(
                    f"{path} would be in the subdataset {directory}: unpack it there, with "
                    f"-d {directory}"
                )
            known = files_above.get(directory)
            if known is None:
                known = files_above[directory] = directory in index
            if known:
                raise ZipError(
                    f"{path} would be in the directory {directory}, which is a file in the dataset"
                )
    # What rides along, as dataset_description.json does, may have come with other files before. It
    # has to be the same, which is known when it is unpacked.
    in_the_way = [path for path in standing if not (path in planned.riding or given(path))]
    if in_the_way and request.existing == "error":
        raise ZipError(
            f"{_some(in_the_way)} {'are' if len(in_the_way) > 1 else 'is'} in the dataset already; "
            "--existing skip keeps files that are the same, --existing replace replaces them"
        )
    return frozenset(standing)


def find_collisions(plans: Sequence[Planned], earlier: dict[str, Planned]) -> dict[int, str]:
    """Find outputs that two zips would give.

    Where both have the same bytes (size and CRC-32), as each zip of a pipeline has the same
    dataset_description.json, the second leaves it to the first; that is noted in it.

    Parameters
    ----------
    plans
        The zips, in their order.
    earlier
        Outputs of zips that came before, which these must not collide with either; grows.

    Returns
    -------
    dict
        By position in `plans`: what collides.
    """
    found: dict[int, list[str]] = {}
    position = {id(planned): at for at, planned in enumerate(plans)}
    for planned in plans:
        for path, output in planned.outputs.items():
            other = earlier.setdefault(path, planned)
            if other.failed:
                other = earlier[path] = planned
            if other is planned:
                continue
            same = other.outputs[path]
            if (same.size, same.crc) == (output.size, output.crc):
                planned.leave[path] = other
                continue
            for one, two in ((planned, other), (other, planned)):
                if id(one) in position:
                    found.setdefault(position[id(one)], []).append(
                        f"{path} (also {two.outputs[path].member} of {two.zip.path})"
                    )
    for path, other_path in collisions(earlier).items():
        planned, other = earlier[path], earlier[other_path]
        if id(planned) in position and planned is not other:
            found.setdefault(position[id(planned)], []).append(
                f"{path} ({other_path} of {other.zip.path} is the same name on some file systems)"
            )
    return {
        at: (
            f"{len(texts)} of its files would be where another zip has others: "
            f"{_some(texts)}; --into with {{subject}}, {{session}} or {{stem}} keeps them "
            "apart, -x leaves some out"
        )
        for at, texts in found.items()
    }


def _some(texts: Iterable[str]) -> str:
    texts = list(texts)
    shown = ", ".join(texts[:_MOST_NAMED])
    more = len(texts) - _MOST_NAMED
    return f"{shown} and {more} more" if more > 0 else shown


def chunks(
    plans: Iterable[Planned], *, files: int, nbytes: int, zips: int
) -> Iterator[list[Planned]]:
    """Divide zips into lots that are taken down together."""
    lot: list[Planned] = []
    held_files = held_bytes = 0
    for planned in plans:
        lot.append(planned)
        held_files += len(planned.outputs)
        held_bytes += planned.unpacked
        if held_files >= files or held_bytes >= nbytes or len(lot) >= zips:
            yield lot
            lot, held_files, held_bytes = [], 0, 0
    if lot:
        yield lot
