"""The arguments of `bidsshare-unzip`: what `job.to_argv` writes, and what a person may write."""

from __future__ import annotations

import getopt
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar, cast, get_args

from datalad_bidsshare import __version__
from datalad_bidsshare.archive.job import PROGRAM, Existing, Job, UsageError, checked, read_spec
from datalad_bidsshare.archive.safety import Limits

__all__ = ["Options", "parse_argv"]

# What git-annex appends to the arguments of a compute program: `encryption=none`.
_PARAMETER = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*=.*", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Options:
    """What a command line asks for.

    Attributes
    ----------
    jobs
        One for each zip.
    limits
        Of what is unpacked.
    existing
        What becomes of outputs that are there.
    threads
        That unpack at a time. None: as many as there are processors.
    dest
        Directory that outputs are relative to.
    spec
        Path of the spec file that the jobs come from, or ''.
    """

    jobs: tuple[Job, ...]
    limits: Limits
    existing: Existing = "error"
    threads: int | None = None
    dest: str = "."
    spec: str = ""


def _read_file(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def parse_argv(
    argv: Sequence[str],
    *,
    program: str = PROGRAM,
    read: Callable[[str], bytes] = _read_file,
    parameters: bool = False,
) -> Options:
    """Read the arguments of the program.

    Parameters
    ----------
    argv
        What comes after the name of the program.
    program
        Its name, for the help.
    read
        Gives the content of a spec file.
    parameters
        Whether NAME=VALUE may follow the one zip, which says nothing (git-annex adds it).

    Raises
    ------
    UsageError
        When they cannot be meant.
    SystemExit
        After the help, or the version.
    """
    try:
        # Not argparse: several versions of it take '--' for no value, even in '--into=--'.
        given, zips = getopt.gnu_getopt(list(argv), _SHORT, _LONG)
    except getopt.GetoptError as e:
        raise UsageError(str(e)) from None
    values: dict[str, list[str]] = {}
    for option, value in given:
        values.setdefault(_MEANS.get(option, option), []).append(value)
    if "--help" in values:
        print(_HELP.format(program), end="")
        raise SystemExit(0)
    if "--version" in values:
        print(program, __version__)
        raise SystemExit(0)
    existing = values.get("--existing", ["error"])[-1]
    if existing not in get_args(Existing):
        raise UsageError(f"--existing {existing!r}: give {', '.join(get_args(Existing))}")
    threads = _number(values, "--jobs", None)
    if parameters:
        # Without '--', what looks like a parameter is one.
        none = "--spec" in values or ("--" not in argv and _PARAMETER.fullmatch("".join(zips[:1])))
        zips = _without_parameters(zips, 0 if none else 1)
    if "--spec" in values:
        jobs, limits = _from_spec(values, zips, read)
    elif zips:
        jobs = tuple(_job(values, path) for path in zips)
        limits = Limits(
            bytes=_number(values, "--max-bytes", Limits().bytes),
            ratio=_number(values, "--max-ratio", Limits().ratio),
            members=_number(values, "--max-members", Limits().members),
        )
    else:
        raise UsageError("no zip is given")
    spec = values.get("--spec", [""])[-1]
    return Options(jobs, limits, cast("Existing", existing), threads, spec=spec)


_T = TypeVar("_T", int, "int | None")


def _number(values: Mapping[str, list[str]], option: str, usual: _T, least: int = 1) -> _T | int:
    if option not in values:
        return usual
    text = values[option][-1]
    # Not `int` alone: it takes '1_0' and digits of other scripts.
    if not re.fullmatch(r"[0-9]{1,30}", text) or int(text) < least:
        raise UsageError(f"{option} {text!r}: give a number, {least} or more")
    return int(text)


def _job(values: Mapping[str, list[str]], path: str) -> Job:
    return checked(
        Job(
            zip=path,
            include=tuple(values.get("--include", ())),
            members=tuple(values.get("--member", ())),
            exclude=tuple(values.get("--exclude", ())),
            into=values.get("--into", [""])[-1],
            strip=_number(values, "--strip", 0, least=0),
            strip_prefix=values.get("--strip-prefix", [""])[-1],
            expect=values.get("--expect", [""])[-1],
        )
    )


def _without_parameters(operands: list[str], zips: int) -> list[str]:
    for text in operands[zips:]:
        if not _PARAMETER.fullmatch(text):
            raise UsageError(f"{text!r}: one zip at a time can be given here")
    return operands[:zips]


def _from_spec(
    values: Mapping[str, list[str]], zips: Sequence[str], read: Callable[[str], bytes]
) -> tuple[tuple[Job, ...], Limits]:
    others = sorted(set(values) - {"--spec", "--existing", "--jobs"})
    if zips or others:
        too_many = ", ".join([*others, "the zip"] if zips else others)
        raise UsageError(f"--spec says all of what is wanted: leave out {too_many}")
    path = values["--spec"][-1]
    try:
        return read_spec(read(path))
    except OSError as e:
        raise UsageError(f"--spec {path!r} cannot be read: {e.strerror}") from None
    except UsageError as e:
        raise UsageError(f"--spec {path!r} {e}") from None


_SHORT = "i:x:m:J:h"
_LONG = [
    "include=", "exclude=", "member=", "into=", "strip=", "strip-prefix=", "expect=", "existing=",
    "max-bytes=", "max-ratio=", "max-members=", "jobs=", "spec=", "help", "version",
]  # fmt: skip
_MEANS = {"-i": "--include", "-x": "--exclude", "-m": "--member", "-J": "--jobs", "-h": "--help"}
_HELP = """\
usage: {0} [options] [--] ZIP...
       {0} [--existing WHAT] [-J N] --spec FILE

Unpack the wanted part of zips, all of it or nothing. Names that lead elsewhere, links, bombs and
whatever else makes a zip dangerous are refused before anything is written, and sizes and
checksums are verified. Nothing is written through a symbolic link. A file that is replaced is
unlinked: the content of an annexed file stays as it is. Zips can be annexed, if their content is
here.

what:
  -i, --include GLOB     unpack members that match (repeat for more); default: all
  -m, --member NAME      unpack just this member (repeat for more), instead of --include
  -x, --exclude GLOB     but not members that match this (repeat for more)

where to:
  --into DIR             below this directory, made if missing; default: the current one
  --strip N              take N leading directories away; members with fewer are left out
  --strip-prefix DIR     take this leading directory away from the names that have it
  --existing WHAT        about outputs that are there: 'error' (default) does nothing at all,
                         'skip' keeps them if they are identical, 'replace' replaces them

which version:
  --expect DIGEST        refuse zips with another directory: records of unzip-outputs have this,
                         so that a rerun does not take a zip that was replaced for the one it was

limits:
  --max-bytes N          unpack no more than N bytes (16 TiB)
  --max-ratio N          refuse what grows by more than N times (200)
  --max-members N        refuse zips of more than N members (1000000)

other:
  -J, --jobs N           threads; default: as many as there are processors
  --spec FILE            read all that is wanted from a file that unzip-outputs wrote
  -h, --help             print this
  --version              print the version

GLOB is written as in .gitignore: '*.json' at any depth, 'fmriprep/*/func/' for a directory, '**'
for any number of directories. Exit code: 0 done, 1 not done, 2 arguments that cannot be meant.
"""
