"""Jobs, command lines and spec files are one thing in three forms."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalad_bidsshare.archive.arguments import Options, parse_argv
from datalad_bidsshare.archive.job import (
    PROGRAM,
    Job,
    UsageError,
    command_line,
    read_spec,
    to_argv,
    write_spec,
)
from datalad_bidsshare.archive.safety import Limits
from datalad_bidsshare.disk.names import is_internal
from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.globs import compile_glob
from tests.platforms import needs_posix

HOSTILE = [
    "$(touch x).zip", "`touch x`.zip", "{02}.zip", "{inputs}", "a b.zip", "it's.zip", '"q".zip',
    "new\nline.zip", "\n", "-x.zip", "--", "--help", "-", "--into=x", "a=b", "ü.zip", "u\u0308.zip",
    "\udce9.zip", "*.zip", "[a].zip", "a\\b.zip", ";rm -rf .", "@file", "x\ty", "%s", "~", "!1",
    "\u202e", " ", "-1", "- x",
]  # fmt: skip

# What the system can give us as an argument: any text without NUL, bytes that are no UTF-8 too.
texts = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(
        st.one_of(
            st.characters(exclude_characters="\0", exclude_categories=["Cs"]),
            st.characters(min_codepoint=0xDC80, max_codepoint=0xDCFF),
            st.sampled_from("-'\"$`{}\\ \n*?[]=/"),
        ),
        min_size=1,
        max_size=12,
    ),
)


def can_be_a_glob(text: str) -> bool:
    try:
        compile_glob(text)
    except SelectionError:
        return False
    return bool(text.strip("/"))


globs = st.lists(texts.filter(can_be_a_glob), max_size=3).map(tuple)
names = st.lists(texts.filter(lambda t: not t.endswith("/")), max_size=3).map(tuple)
directories = st.lists(texts, max_size=3).map(
    lambda parts: "/".join(p for part in parts for p in part.split("/") if p not in ("", ".", ".."))
)
numbers = st.integers(1, 10**15)


@st.composite
def jobs(draw: st.DrawFn) -> Job:
    by_name = draw(st.booleans())
    stripped = draw(st.sampled_from(["no", "levels", "prefix"]))
    return Job(
        zip=draw(texts),
        include=() if by_name else draw(globs),
        members=draw(names) if by_name else (),
        exclude=draw(globs),
        into=draw(directories.filter(lambda d: not d or not is_internal(d))),
        strip=draw(st.integers(0, 9)) if stripped == "levels" else 0,
        strip_prefix=draw(directories) if stripped == "prefix" else "",
    )


limits = st.one_of(st.just(Limits()), st.builds(Limits, numbers, numbers, numbers))


@given(jobs(), limits, st.sampled_from(["error", "skip", "replace"]), st.none() | numbers)
def test_a_command_line_says_what_the_job_is(
    job: Job, limits: Limits, existing: Any, threads: int | None
) -> None:
    argv = to_argv(job, limits, existing=existing, jobs=threads)
    assert parse_argv(argv) == Options((job,), limits, existing, threads)
    # ... and to git-annex, which adds something of its own
    added = parse_argv([*argv, "encryption=none", "program=x"], parameters=True)
    assert added == Options((job,), limits, existing, threads)


@needs_posix
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(job=jobs(), limits=limits)
def test_a_shell_passes_exactly_these_arguments(tmp_path: Path, job: Job, limits: Limits) -> None:
    script = tmp_path / PROGRAM
    if not script.exists():
        script.write_text("#!/bin/sh\nprintf '%s\\0' \"$@\"\n")
        script.chmod(0o755)
    argv = to_argv(job, limits)
    done = subprocess.run(
        ["sh", "-c", command_line(argv)],
        capture_output=True,
        check=True,
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"},
    )
    assert [os.fsdecode(each) for each in done.stdout.split(b"\0")[:-1]] == argv
    assert not done.stderr
    assert os.listdir(tmp_path) == [PROGRAM], "nothing of it was executed"


@given(st.lists(jobs(), min_size=1, max_size=3), limits, names)
def test_a_spec_file_says_what_the_jobs_are(
    several: list[Job], limits: Limits, leave: tuple[str, ...]
) -> None:
    given_jobs = (*several, replace(several[0], leave=leave))
    data = write_spec(given_jobs, limits)
    assert read_spec(data) == (given_jobs, limits)
    assert write_spec(*read_spec(data)) == data
    assert data.endswith(b"\n")
    json.loads(data.decode("ascii"))


def test_only_what_differs_from_the_default_is_said() -> None:
    assert to_argv(Job("a.zip"), Limits()) == ["--existing", "replace", "--", "a.zip"]
    job = Job("a b.zip", include=("fmriprep/**",), exclude=("-x",), strip=1)
    assert command_line(to_argv(job, Limits(members=5))) == (
        "bidsshare-unzip --existing replace --include 'fmriprep/**' --exclude=-x --strip 1"
        " --max-members 5 -- 'a b.zip'"
    )


def test_a_person_may_write_it_in_other_ways() -> None:
    options = parse_argv(
        [
            "a.zip",
            "-i",
            "*.nii",
            "--into",
            "./out//x/",
            "-J4",
            "b.zip",
            "-x",
            "tmp/",
            "--",
            "-c.zip",
        ]
    )
    assert [job.zip for job in options.jobs] == ["a.zip", "b.zip", "-c.zip"]
    assert {(job.include, job.exclude, job.into) for job in options.jobs} == {
        (("*.nii",), ("tmp/",), "out/x")
    }
    assert (options.existing, options.threads, options.dest) == ("error", 4, ".")
    assert parse_argv(["--into", ".", "a.zip"]).jobs[0].into == ""
    assert parse_argv(["--strip-prefix", "fmriprep/", "a.zip"]).jobs[0].strip_prefix == "fmriprep"


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        ([], "no zip"),
        (["--"], "no zip"),
        ([""], "no path of a zip"),
        (["-i", "a", "-m", "b", "z"], "not both"),
        (["--strip", "1", "--strip-prefix", "a", "z"], "not both"),
        (["--strip", "-1", "z"], "--strip"),
        (["--strip", "1_0", "z"], "number"),
        (["--max-bytes", "0", "z"], "number"),
        (["--max-ratio", "1e3", "z"], "number"),
        (["-J", "0", "z"], "number"),
        (["-i", "", "z"], "no glob"),
        (["-i", "[a", "z"], "without a ']'"),
        (["-x", "[z-a]", "z"], "cannot be read"),
        (["-m", "a/", "z"], "no file"),
        (["--into", "/abs", "z"], "relative"),
        (["--into", "a/../..", "z"], "'..'"),
        (["--into", ".git/hooks", "z"], "belongs to git"),
        (["--into", "a/.GIT", "z"], "belongs to git"),
        (["--into", ".datalad", "z"], "belongs to git"),
        (["--strip-prefix", "../a", "z"], "'..'"),
        (["--existing", "overwrite", "z"], "error, skip, replace"),
        (["--include"], "requires argument"),
        (["-q", "z"], "not recognized"),
        (["--spec", "/nowhere/to/be/found", "z"], "leave out the zip"),
        (["--spec", "s", "-i", "a", "--max-bytes", "5"], "leave out --include, --max-bytes"),
        (["--spec", "/nowhere/to/be/found"], "cannot be read"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(argv: list[str], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_argv(argv)
    assert said in str(refused.value)


@pytest.mark.parametrize("argv", [["a.zip", "b.zip"], ["a.zip", "--", "../b=c"], ["a", "b c=d"]])
def test_git_annex_may_add_parameters_and_nothing_else(argv: list[str]) -> None:
    with pytest.raises(UsageError, match="one zip at a time"):
        parse_argv(argv, parameters=True)
    assert parse_argv(["--", "a=b.zip", "x=y"], parameters=True).jobs[0].zip == "a=b.zip"
    with pytest.raises(UsageError, match="no zip"):
        parse_argv(["encryption=none"], parameters=True)


def test_a_command_line_may_point_to_a_spec_file(tmp_path: Path) -> None:
    spec = tmp_path / "spec.json"
    job, limits = Job("a.zip", members=("b", "c")), Limits(bytes=7)
    spec.write_bytes(write_spec([job], limits))
    argv = ["--existing", "replace", "--spec", str(spec)]
    assert parse_argv(argv) == Options((job,), limits, "replace", spec=str(spec))
    assert parse_argv([*argv, "encryption=none"], parameters=True).jobs == (job,)
    read: list[str] = []

    def give(path: str) -> bytes:
        read.append(path)
        return spec.read_bytes()

    assert parse_argv(["--spec", "there"], read=give).jobs == (job,)
    assert read == ["there"]


GOOD: dict[str, Any] = json.loads(write_spec([Job("a.zip")], Limits()))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"jobs": []}, "no jobs"),
        ({"jobs": [3]}, "a job is 3"),
        ({"jobs": [{}]}, "no zip"),
        ({"jobs": [{"zip": 1}]}, "'zip' of a job"),
        ({"jobs": [{"zip": "a\0b"}]}, "no path of a zip"),
        ({"jobs": [{"zip": "a", "members": "abc"}]}, "'members' of a job"),
        ({"jobs": [{"zip": "a", "members": [1]}]}, "'members' of a job"),
        ({"jobs": [{"zip": "a", "strip": True}]}, "'strip' of a job"),
        ({"jobs": [{"zip": "a", "strip": -1}]}, "--strip"),
        ({"jobs": [{"zip": "a", "into": "../x"}]}, "--into"),
        ({"jobs": [{"zip": "a", "into": ".git"}]}, "--into"),
        ({"jobs": [{"zip": "a", "run": "sh"}]}, "'run'"),
        ({"limits": None}, "no limits"),
        ({"limits": {"bytes": "1"}}, "'bytes'"),
        ({"limits": {"bytes": 0}}, "'bytes'"),
        ({"limits": {"files": 1}}, "'files'"),
        ({"more": 1}, "'more'"),
        ({PROGRAM: 2}, "newer one"),
    ],
)
def test_a_spec_file_that_says_anything_else_is_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError) as refused:
        read_spec(json.dumps({**GOOD, **change}).encode())
    assert said in str(refused.value)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b"[" * 100_000, b'"bidsshare-unzip"'])
def test_what_is_no_spec_file_is_refused(data: bytes) -> None:
    with pytest.raises(UsageError):
        read_spec(data)


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_end_well(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        parse_argv([option])
    assert not ended.value.code
    assert PROGRAM in capsys.readouterr().out
