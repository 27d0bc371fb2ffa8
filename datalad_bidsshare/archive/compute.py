"""The program `git-annex-compute-bidsshare-unzip`: git-annex has files unpacked again by it.

For git-annex's special remotes of type `compute`: https://git-annex.branchable.com/special_remotes/compute

Its arguments are those of `bidsshare-unzip`, for one zip. They come from a dataset, which is
somebody else's input: what they may do is the same as there, and less. The zip, and a spec file,
are read where git-annex says, and files are written where it says.

For files to be dropped, git-annex looks for copies of all inputs, and finds none of a file that git
itself tracks. So what is registered should name members in its arguments, not in a spec file.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from datalad_bidsshare.archive.arguments import Options, parse_argv
from datalad_bidsshare.archive.extract import ExtractionError, Wanted, extract
from datalad_bidsshare.archive.inflate import crc32
from datalad_bidsshare.archive.job import Job, UsageError
from datalad_bidsshare.archive.members import output_of
from datalad_bidsshare.archive.safety import shown
from datalad_bidsshare.archive.staging import Stage
from datalad_bidsshare.archive.unzip import Failed, open_zip, processors, wanted_of

__all__ = ["COMPUTE_PROGRAM", "EXTRACTED", "main"]

COMPUTE_PROGRAM = "git-annex-compute-bidsshare-unzip"
"""Name of the console script, which `git annex initremote` is given as `program`."""

EXTRACTED = "BIDSSHARE_EXTRACTED"
"""Variable of the environment that names a directory in which all outputs are already."""

_CHUNK = 1 << 20


def main(argv: Sequence[str] | None = None) -> int:
    """Talk to git-annex, and unpack.

    Returns
    -------
    int
        Exit code: 0 done, 1 failed, 2 arguments that cannot be meant.
    """
    try:
        _compute(sys.argv[1:] if argv is None else argv)
    except UsageError as e:
        print(f"{COMPUTE_PROGRAM}: {e}\nSee {COMPUTE_PROGRAM} --help", file=sys.stderr)
        return 2
    except Failed as e:
        print(f"{COMPUTE_PROGRAM}: {e}", file=sys.stderr)
        return 1
    return 0


def _compute(argv: Sequence[str]) -> None:
    options = parse_argv(argv, program=COMPUTE_PROGRAM, read=_read_spec, parameters=True)
    sources = _ask("INPUT", [job.zip for job in options.jobs])
    if "" in sources:
        # `addcomputed --fast`: it only wants to know what there will be.
        _ask("OUTPUT", [output for job in options.jobs for output in _foretold(job)])
        _say("REPRODUCIBLE")
        return
    with contextlib.ExitStack() as stack:
        fds: list[int] = []
        wanted: list[list[Wanted]] = []
        for job, source in zip(options.jobs, sources, strict=True):
            fds.append(open_zip(source, job.zip))
            stack.callback(os.close, fds[-1])
            wanted.append(wanted_of(fds[-1], job, options.limits).wanted)
        # The names that git-annex answers with are to be used, not ours.
        names = iter(_ask("OUTPUT", [each.output for share in wanted for each in share]))
        _say("REPRODUCIBLE")
        for job, fd, share in zip(options.jobs, fds, wanted, strict=True):
            pairs = [(each, next(names)) for each in share]
            try:
                _deliver(options, job, fd, pairs)
            except OSError as e:
                raise Failed(f"{shown(job.zip)}: cannot be unpacked: {e}") from e


def _deliver(options: Options, job: Job, fd: int, pairs: Sequence[tuple[Wanted, str]]) -> None:
    ready = os.environ.get(EXTRACTED)
    for _, path in pairs:
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    if ready:
        for each, path in pairs:
            _copy(os.path.join(ready, *each.output.split("/")), path, each)
        return
    with Stage(".") as stage:
        try:
            extract(
                fd,
                [each for each, _ in pairs],
                stage.path,
                threads=options.threads or processors(),
            )
        except ExtractionError as e:
            raise Failed(f"{shown(job.zip)}: {e}") from e
        for each, path in pairs:
            os.replace(os.path.join(stage.path, *each.output.split("/")), path)


def _copy(source: str, path: str, wanted: Wanted) -> None:
    """Copy a file that was unpacked before, if it is what the zip has."""
    crc = size = 0
    with open(source, "rb", buffering=0) as file, open(path, "xb", buffering=0) as copy:
        while chunk := file.read(_CHUNK):
            crc = crc32(chunk, crc)
            size += len(chunk)
            # A write may be shorter than asked for.
            rest = memoryview(chunk)
            while rest:
                rest = rest[copy.write(rest) :]
    if (size, crc) != (wanted.member.size, wanted.member.crc):
        raise Failed(f"{shown(source)} is not what {shown(wanted.member.name)} of the zip is")


def _foretold(job: Job) -> Iterator[str]:
    """Give what a zip will give that cannot be looked at."""
    if not job.members:
        raise Failed(
            f"{shown(job.zip)}: git-annex does not give its content (--fast), and without it "
            "nobody knows what will come of it; leave out --fast, or name members with --member"
        )
    outputs = {output_of(name, job) for name in job.members}
    yield from sorted(output for output in outputs if output and output not in job.leave)


# What is said to git-annex, and what it says: lines of standard output and input.


def _read_spec(path: str) -> bytes:
    source = _ask("INPUT", [path])[0]
    if not source:
        raise UsageError("git-annex does not give its content (--fast)")
    with open(source, "rb") as file:
        return file.read()


def _ask(word: str, names: Sequence[str]) -> list[str]:
    """Ask about files one by one: both sides would wait for ever once the pipes are full."""
    answers = []
    for name in names:
        if "\n" in name or "\r" in name:
            raise Failed(f"{shown(name)}: git-annex cannot be told of names of several lines")
        _say(f"{word} {name}")
        line = sys.stdin.buffer.readline()
        # git-annex has said why, and ended.
        if not line:
            raise Failed(f"{shown(name)}: git-annex has no answer to {word}")
        answers.append(os.fsdecode(line.removesuffix(b"\n").removesuffix(b"\r")))
    return answers


def _say(line: str) -> None:
    sys.stdout.buffer.write(os.fsencode(line) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    sys.exit(main())
