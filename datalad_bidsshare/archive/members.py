"""Which members of a zip a job wants, and what they are called then: from names alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from datalad_bidsshare.archive.directory import Directory, Member, digest_of, read_directory
from datalad_bidsshare.archive.extract import Wanted
from datalad_bidsshare.archive.job import Job
from datalad_bidsshare.archive.safety import (
    Limits,
    Refused,
    check_directory,
    check_wanted,
    shown,
)
from datalad_bidsshare.disk.names import collisions, is_internal
from datalad_bidsshare.selection.globs import compile_glob

__all__ = ["Layout", "output_of", "read_wanted", "taken_away", "wanted_members"]


@dataclass(frozen=True, slots=True)
class Layout:
    """What a job comes to in one zip.

    Attributes
    ----------
    wanted
        Members to unpack, sorted by output.
    unmatched
        Globs that match no file of this zip.
    too_shallow
        Members that were left out because they have not as many directories as are stripped.
    """

    wanted: list[Wanted]
    unmatched: tuple[str, ...]
    too_shallow: int


def read_wanted(fd: int, job: Job, limits: Limits) -> tuple[Directory, Layout]:
    """Read the directory of a zip, check all of it, and say what a job wants of it.

    Parameters
    ----------
    fd
        The zip.
    job
        What is wanted.
    limits
        Of what is unpacked.

    Raises
    ------
    BadZip
        When it is no zip, or a broken one.
    Refused
        When it is dangerous, or cannot give what is wanted.
    OSError
        When it cannot be read.
    """
    directory = read_directory(fd, most=limits.members)
    if job.expect and not digest_of(directory).startswith(job.expect):
        raise Refused(
            None,
            "the zip is not the one that is expected: it was replaced since. Unpack it with "
            "'datalad unzip-outputs', which makes a record of its own, or check out the version "
            "of the zip that is meant",
        )
    check_directory(directory, limits, taken_away=taken_away(job))
    layout = wanted_members(job, directory)
    check_wanted([each.member for each in layout.wanted], limits)
    return directory, layout


def taken_away(job: Job) -> Callable[[str], bool]:
    """Give what tells whether the user leaves a member out explicitly."""
    globs = [compile_glob(glob) for glob in job.exclude]
    return lambda name: any(glob.fullmatch(name) for glob in globs)


def output_of(name: str, job: Job) -> str | None:
    """Give the path that a member gets.

    Returns
    -------
    str or None
        Relative to where the command runs. None when the member has too few directories.
    """
    if job.strip:
        *taken, name = name.split("/", job.strip)
        if len(taken) < job.strip:
            return None
    elif job.strip_prefix:
        name = name.removeprefix(f"{job.strip_prefix}/")
    return f"{job.into}/{name}" if job.into else name


def wanted_members(job: Job, directory: Directory) -> Layout:
    """Say which members a job wants, and what they become.

    Raises
    ------
    Refused
        When a member that is asked for by name is not there, when two would become one file, or
        when one would get a name that belongs to git or DataLad.
    """
    chosen, unmatched = _chosen(job, directory)
    leave = frozenset(job.leave)
    wanted: dict[str, Wanted] = {}
    too_shallow = 0
    for member in chosen:
        output = output_of(member.name, job)
        if output is None:
            too_shallow += 1
            continue
        if is_internal(output):
            raise Refused(
                member.name,
                f"would become {shown(output)}, a name that belongs to git or DataLad; leave it "
                "out with -x",
            )
        other = wanted.setdefault(output, Wanted(member, output))
        if other.member is not member:
            raise _as_one(member, output, other)
    for output, other_output in collisions(wanted).items():
        raise _as_one(wanted[output].member, output, wanted[other_output])
    return Layout(
        [wanted[output] for output in sorted(wanted) if output not in leave],
        unmatched,
        too_shallow,
    )


def _chosen(job: Job, directory: Directory) -> tuple[list[Member], tuple[str, ...]]:
    """Give the files that a job names, and the globs that name none."""
    files = [member for member in directory.members if not member.is_directory]
    unmatched: list[str] = []
    if job.members:
        asked = set(job.members)
        chosen = [member for member in files if member.name in asked]
        missing = asked.difference(member.name for member in chosen)
        if missing:
            raise Refused(min(missing), "is not in the zip")
    elif job.include:
        named = _named(job.include, files, unmatched)
        chosen = [member for at, member in enumerate(files) if at in named]
    else:
        chosen = files
    if job.exclude:
        # Against all files: a glob does its work also where another one has been before.
        taken = {files[at].name for at in _named(job.exclude, files, unmatched)}
        chosen = [member for member in chosen if member.name not in taken]
    return chosen, tuple(unmatched)


def _named(globs: tuple[str, ...], files: list[Member], unmatched: list[str]) -> set[int]:
    found: set[int] = set()
    for glob in globs:
        matches = compile_glob(glob).fullmatch
        named = {at for at, member in enumerate(files) if matches(member.name)}
        if not named:
            unmatched.append(glob)
        found |= named
    return found


def _as_one(member: Member, output: str, other: Wanted) -> Refused:
    return Refused(
        member.name,
        f"would become {shown(output)}, which is one name with what {shown(other.member.name)} "
        f"would become, {shown(other.output)}; strip less, or leave one of them out with -x",
    )
