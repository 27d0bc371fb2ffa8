"""What one zip is to give, and how that is written: as a command line, or as a file.

What a run record says and what a worker does is one `Job`: either becomes the other without loss.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, cast

from datalad_bidsshare.archive.safety import Limits
from datalad_bidsshare.disk.names import is_internal
from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.globs import compile_glob

__all__ = [
    "PROGRAM",
    "Existing",
    "Job",
    "UsageError",
    "checked",
    "command_line",
    "read_spec",
    "to_argv",
    "write_spec",
]

PROGRAM = "bidsshare-unzip"
"""Name of the console script."""

Existing = Literal["error", "skip", "replace"]

_FORMAT = 1
"""Of spec files."""

_LISTS = ("include", "members", "exclude", "leave")


class UsageError(ValueError):
    """Arguments, or a spec file, that cannot be meant. The text says what to do instead."""


@dataclass(frozen=True, slots=True)
class Job:
    """What one zip is to give.

    Attributes
    ----------
    zip
        POSIX path of the zip, relative to where the command runs.
    include
        Globs on names of members, as gitignore writes them.
    members
        Exact names of members, instead of globs. If both are empty, all members are wanted.
    exclude
        Globs on names of members that are taken away.
    into
        Directory that outputs go to, relative to where the command runs; '' for that itself.
    strip
        Leading directories that are taken away from the names of members. Members with fewer
        are left out.
    strip_prefix
        Leading directory that is taken away from the names of the members that have it.
    expect
        Beginning of the digest of the directory of the zip (`directory.digest_of`), if it has to
        be this one: another version of the zip is refused. '' takes any.
    leave
        Outputs that another zip gives as well, with the same content: not written. They are in
        spec files, not in command lines.
    """

    zip: str
    include: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    into: str = ""
    strip: int = 0
    strip_prefix: str = ""
    expect: str = ""
    leave: tuple[str, ...] = ()


def checked(job: Job) -> Job:
    """Give a job with its directories in normal form.

    Raises
    ------
    UsageError
        When it cannot be meant: a directory outside, a glob that cannot be read, two ways of
        saying which members.
    """
    if not job.zip or "\0" in job.zip:
        raise UsageError(f"{job.zip!r} is no path of a zip")
    if job.include and job.members:
        raise UsageError("give --include or --member, not both")
    for glob in (*job.include, *job.exclude):
        if not glob.strip("/"):
            raise UsageError(f"{glob!r} is no glob; give one such as 'fmriprep/**/*.json'")
        try:
            compile_glob(glob)
        except SelectionError as e:
            raise UsageError(str(e)) from None
    for name in job.members:
        if not name or name.endswith("/"):
            raise UsageError(f"--member {name!r} is no file; give --include for a directory")
    if job.strip < 0:
        raise UsageError(f"--strip {job.strip}: give a number of directories")
    if job.strip and job.strip_prefix:
        raise UsageError("give --strip or --strip-prefix, not both")
    if not re.fullmatch("[0-9a-f]{0,64}", job.expect):
        raise UsageError(f"--expect {job.expect!r}: give the beginning of a digest, in hex digits")
    into = _directory("--into", job.into)
    if into and is_internal(into):
        raise UsageError(f"--into {job.into!r} belongs to git or DataLad; give another directory")
    return Job(
        job.zip,
        tuple(job.include),
        tuple(job.members),
        tuple(job.exclude),
        into,
        job.strip,
        _directory("--strip-prefix", job.strip_prefix),
        job.expect,
        tuple(job.leave),
    )


def _directory(option: str, text: str) -> str:
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if text.startswith("/") or ".." in parts or "\0" in text:
        raise UsageError(f"{option} {text!r}: give a relative directory, without '..'")
    return "/".join(parts)


# Command lines


def to_argv(
    job: Job, limits: Limits, *, existing: Existing = "replace", jobs: int | None = None
) -> list[str]:
    """Write a job as arguments for the program: what is the default is left out.

    Parameters
    ----------
    job
        Its `leave` is not in the arguments.
    limits
        Of what is unpacked.
    existing
        What becomes of outputs that are there.
    jobs
        Threads. None: none are named.
    """
    default = Limits()
    argv = _option("--existing", existing)
    for option, values in (
        ("--include", job.include),
        ("--member", job.members),
        ("--exclude", job.exclude),
    ):
        for value in values:
            argv += _option(option, value)
    if job.into:
        argv += _option("--into", job.into)
    if job.strip:
        argv += _option("--strip", str(job.strip))
    if job.strip_prefix:
        argv += _option("--strip-prefix", job.strip_prefix)
    if job.expect:
        argv += _option("--expect", job.expect)
    for option, number, usual in (
        ("--max-bytes", limits.bytes, default.bytes),
        ("--max-ratio", limits.ratio, default.ratio),
        ("--max-members", limits.members, default.members),
        ("--jobs", jobs, None),
    ):
        if number != usual:
            argv += _option(option, str(number))
    return [*argv, "--", job.zip]


def _option(name: str, value: str) -> list[str]:
    # A value that looks like an option must not stand alone.
    return [f"{name}={value}"] if value.startswith("-") else [name, value]


def command_line(argv: Sequence[str]) -> str:
    """Write a command as a POSIX shell reads it, whatever characters are in the arguments."""
    return shlex.join([PROGRAM, *argv])


# Spec files


def write_spec(jobs: Sequence[Job], limits: Limits) -> bytes:
    """Write jobs as a file: JSON, the same bytes for the same jobs."""
    import json

    spec = {
        PROGRAM: _FORMAT,
        "jobs": [dict(_said(job)) for job in jobs],
        "limits": {"bytes": limits.bytes, "ratio": limits.ratio, "members": limits.members},
    }
    # ASCII: paths may be bytes that are no UTF-8, which JSON can only escape.
    return (json.dumps(spec, indent=1, sort_keys=True) + "\n").encode("ascii")


def _said(job: Job) -> Iterator[tuple[str, object]]:
    for field in fields(job):
        value = getattr(job, field.name)
        if value != field.default:
            yield field.name, list(value) if field.name in _LISTS else value


def read_spec(data: bytes) -> tuple[tuple[Job, ...], Limits]:
    """Read what `write_spec` wrote.

    Raises
    ------
    UsageError
        When it is anything else.
    """
    # Here, because command lines do without it, and it takes milliseconds.
    import json

    try:
        spec = json.loads(data)
    except (ValueError, RecursionError):
        raise UsageError("is no JSON") from None
    if not isinstance(spec, dict) or PROGRAM not in spec:
        raise UsageError(f"is no list of members of {PROGRAM}")
    if spec[PROGRAM] != _FORMAT:
        raise UsageError(
            f"has format {spec[PROGRAM]!r}, and this version of datalad-bidsshare reads "
            f"{_FORMAT}: install a newer one"
        )
    _only(spec, (PROGRAM, "jobs", "limits"), "the file")
    jobs = spec.get("jobs")
    if not isinstance(jobs, list) or not jobs:
        raise UsageError("has no jobs")
    return tuple(_read_job(each) for each in jobs), _read_limits(spec.get("limits"))


def _read_job(said: object) -> Job:
    if not isinstance(said, dict):
        raise UsageError(f"a job is {said!r}")
    _only(said, [field.name for field in fields(Job)], "a job")
    given: dict[str, Any] = {}
    for name, value in said.items():
        if name in _LISTS:
            right = isinstance(value, list) and all(isinstance(each, str) for each in value)
            given[name] = tuple(value) if right else value
        elif name == "strip":
            right = isinstance(value, int) and not isinstance(value, bool)
            given[name] = value
        else:
            right = isinstance(value, str)
            given[name] = value
        if not right:
            raise UsageError(f"{name!r} of a job is {value!r}")
    if "zip" not in given:
        raise UsageError("a job has no zip")
    return checked(Job(**given))


def _read_limits(said: object) -> Limits:
    if not isinstance(said, dict):
        raise UsageError("has no limits")
    _only(said, ("bytes", "ratio", "members"), "the limits")
    for name, value in said.items():
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            raise UsageError(f"the limit {name!r} is {value!r}")
    return Limits(**cast("dict[str, int]", said))


def _only(said: Mapping[str, object], known: Sequence[str], what: str) -> None:
    unknown = sorted(set(said) - set(known))
    if unknown:
        raise UsageError(f"{what} has {unknown[0]!r}, which this version does not know")
