"""The program `bidsshare-unzip`: what run records call, and what a person can call as well.

It knows nothing of git, git-annex and DataLad: zips come in, files come out.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shlex
import signal
import stat
import sys
from collections.abc import Iterator, Sequence
from types import FrameType

from datalad_bidsshare.archive.arguments import Options, parse_argv
from datalad_bidsshare.archive.directory import BadZip
from datalad_bidsshare.archive.extract import ExtractionError, Wanted, extract
from datalad_bidsshare.archive.job import PROGRAM, Job, UsageError
from datalad_bidsshare.archive.members import Layout, read_wanted
from datalad_bidsshare.archive.placing import PlacingError, missing_outputs, place_files
from datalad_bidsshare.archive.safety import Limits, Refused, shown
from datalad_bidsshare.archive.staging import Stage
from datalad_bidsshare.disk.names import collisions

__all__ = ["Failed", "main", "open_zip", "processors", "wanted_of", "why_not"]

_POINTER = b"/annex/objects/"


class Failed(Exception):
    """A zip that was not unpacked. The text is for the user: which one, why, what to do next."""


def main(argv: Sequence[str] | None = None) -> int:
    """Unpack what the arguments ask for.

    Parameters
    ----------
    argv
        Arguments. None: those of this process.

    Returns
    -------
    int
        Exit code: 0 done, 1 failed, 2 arguments that cannot be meant.
    """
    try:
        options = parse_argv(sys.argv[1:] if argv is None else argv)
    except UsageError as e:
        return _fail(f"{e}\nSee {PROGRAM} --help", 2)
    try:
        with _ending_in_order():
            told = _unzip(options)
    except (Failed, PlacingError) as e:
        return _fail(str(e))
    except MemoryError:
        return _fail("there is not enough memory; try with fewer threads (-J 1)")
    except _Ended as e:
        return _end_by(e.number)
    # Nobody may be listening: what was asked for is done.
    with contextlib.suppress(OSError):
        print(*told, sep="\n", flush=True)
    return 0


def _fail(message: str, code: int = 1) -> int:
    with contextlib.suppress(OSError):
        print(f"{PROGRAM}: {message}", file=sys.stderr, flush=True)
    return code


def _unzip(options: Options) -> list[str]:
    """Do it, and give what to tell about each zip."""
    layouts: list[Layout] = []
    for job in options.jobs:
        with _opened(job) as fd:
            layouts.append(wanted_of(fd, job, options.limits))
    _tell_unmatched(options.jobs, layouts)
    shares = _without_doubles(options.jobs, layouts)
    try:
        missing = [missing_outputs(options.dest, share, options.existing) for share in shares]
        if any(missing):
            with Stage(options.dest) as stage:
                _unpack(options, missing, stage.path)
    except OSError as e:
        raise Failed(f"{options.dest}: cannot be written to: {e.strerror or e}") from e
    return [
        _told(job, share, written)
        for job, share, written in zip(options.jobs, shares, missing, strict=True)
    ]


@contextlib.contextmanager
def _opened(job: Job) -> Iterator[int]:
    """Open the zip of a job; only one at a time, as there may be more than files may be open."""
    fd = open_zip(job.zip)
    try:
        yield fd
    finally:
        os.close(fd)


def _unpack(options: Options, missing: Sequence[Sequence[Wanted]], tree: str) -> None:
    for job, wanted in zip(options.jobs, missing, strict=True):
        if not wanted:
            continue
        try:
            # If the zip was changed since it was looked at, headers, sizes and CRCs tell.
            with _opened(job) as fd:
                extract(fd, wanted, tree, threads=options.threads or processors())
        except ExtractionError as e:
            raise Failed(f"{shown(job.zip)}: {e}{_next_step(e)}; nothing was written") from e
    outputs = sorted(each.output for wanted in missing for each in wanted)
    place_files(options.dest, tree, outputs, options.existing)


def _next_step(error: ExtractionError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "; make room, and run the same command again"
    if error.errno is None:
        return "; get the zip anew"
    return ""


def _told(job: Job, share: Sequence[Wanted], written: Sequence[Wanted]) -> str:
    size = sum(each.member.size for each in written)
    kept = len(share) - len(written)
    more = f", {kept} identical ones kept" if kept else ""
    return f"{shown(job.zip)}: {len(written)} file{'s' * (len(written) != 1)}, {size:,} bytes{more}"


# The zip


def open_zip(path: str, shown_as: str | None = None) -> int:
    """Open a zip, which may be annexed: a link to its content.

    Parameters
    ----------
    path
        Of the zip.
    shown_as
        How messages name it; None: by its path.

    Raises
    ------
    Failed
        When it is not there, its content is not, or it is no file.
    """
    name = path if shown_as is None else shown_as
    flags = os.O_RDONLY
    # A FIFO must not hang us, a terminal not become ours.
    for flag in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, flag, 0)
    try:
        fd = os.open(path, flags)
    except OSError as e:
        if e.errno == errno.ENOENT and os.path.islink(path):
            raise Failed(_absent(name)) from None
        raise Failed(f"{shown(name)}: cannot be opened: {e.strerror or e}") from None
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise Failed(f"{shown(name)}: is no file")
        # What stands for an unlocked file whose content is absent.
        if os.read(fd, len(_POINTER)) == _POINTER:
            raise Failed(_absent(name))
    except OSError as e:
        os.close(fd)
        raise Failed(f"{shown(name)}: cannot be read: {e.strerror or e}") from None
    except BaseException:
        os.close(fd)
        raise
    return fd


def _absent(path: str) -> str:
    # Not to be taken for an option.
    operand = f"./{path}" if path.startswith("-") else path
    return f"{shown(path)}: its content is not here: datalad get {shlex.quote(operand)}"


def wanted_of(fd: int, job: Job, limits: Limits) -> Layout:
    """Check a zip, and say what a job wants of it, which is something.

    Raises
    ------
    Failed
        When it is not to be unpacked, or nothing in it is wanted.
    """
    try:
        directory, layout = read_wanted(fd, job, limits)
    except BadZip as e:
        raise Failed(f"{shown(job.zip)}: {e}; see if the file is what it should be") from None
    except Refused as e:
        raise Failed(f"{shown(job.zip)}: {e}") from None
    except OSError as e:
        raise Failed(f"{shown(job.zip)}: cannot be read: {e.strerror or e}") from None
    if not layout.wanted and not job.leave and directory.members:
        raise Failed(f"{shown(job.zip)}: {why_not(job, layout)}")
    return layout


def why_not(job: Job, layout: Layout) -> str:
    """Say why nothing in a zip is wanted."""
    if layout.too_shallow:
        return (
            f"all {layout.too_shallow} members that are wanted are in less than {job.strip} "
            "directories; give --strip a smaller number"
        )
    if layout.unmatched:
        return f"no member matches {', '.join(map(shown, layout.unmatched))}"
    return "no member is left to unpack"


def _tell_unmatched(jobs: Sequence[Job], layouts: Sequence[Layout]) -> None:
    """Tell of globs that matched nowhere. No failure: a record has the same globs for all zips."""
    matched = {
        glob
        for job, layout in zip(jobs, layouts, strict=True)
        for glob in (*job.include, *job.exclude)
        if glob not in layout.unmatched
    }
    for glob in dict.fromkeys(g for layout in layouts for g in layout.unmatched):
        if glob not in matched:
            _fail(f"note: no member matches {shown(glob)}")


def _without_doubles(jobs: Sequence[Job], layouts: Sequence[Layout]) -> list[list[Wanted]]:
    """Give each zip its outputs; one that several have with the same content, to the first.

    Raises
    ------
    Failed
        When zips would give one output with different content.
    """
    first: dict[str, tuple[Job, Wanted]] = {}
    shares = []
    for job, layout in zip(jobs, layouts, strict=True):
        share = []
        for each in layout.wanted:
            other = first.setdefault(each.output, (job, each))
            if other[1] is each:
                share.append(each)
            elif (other[1].member.size, other[1].member.crc) != (each.member.size, each.member.crc):
                raise Failed(_collision(job, each, *other))
        shares.append(share)
    if len(jobs) > 1:
        for output, other_output in collisions(first).items():
            raise Failed(_collision(*first[output], *first[other_output]))
    return shares


def _collision(job: Job, wanted: Wanted, other_job: Job, other: Wanted) -> str:
    return (
        f"{shown(job.zip)}: {shown(wanted.member.name)}: would become {shown(wanted.output)}, one "
        f"name with what {shown(other.member.name)} of {shown(other_job.zip)} would become; "
        "unpack them one by one, each with its own --into"
    )


def processors() -> int:
    """Tell how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


# The end


class _Ended(BaseException):
    """A signal that asks to end. What is private is removed on the way out."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


@contextlib.contextmanager
def _ending_in_order() -> Iterator[None]:
    """Have signals end what goes on in good order."""
    numbers = [
        getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
    ]
    # What a shell starts in the background ignores interrupts; `nohup` ignores SIGHUP.
    numbers = [n for n in numbers if signal.getsignal(n) not in (signal.SIG_IGN, None)]

    def end(number: int, _frame: FrameType | None) -> None:
        # Once is enough: the second one must not disturb the tidying.
        for each in numbers:
            signal.signal(each, signal.SIG_IGN)
        raise _Ended(number)

    before = {number: signal.signal(number, end) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _end_by(number: int) -> int:
    """End as the signal would have it, so that who started us knows."""
    if os.name == "posix":
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
    return 128 + number


if __name__ == "__main__":
    sys.exit(main())
