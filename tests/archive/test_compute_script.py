"""The program that git-annex has files unpacked again by: with git-annex itself."""

from __future__ import annotations

import os
import shutil
import subprocess
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalad_bidsshare.archive.compute import COMPUTE_PROGRAM, EXTRACTED
from datalad_bidsshare.archive.job import Job, to_argv, write_spec
from datalad_bidsshare.archive.safety import Limits
from tests.dataset.builders import PATIENCE, annex_repo, clone_of, git
from tests.platforms import needs_posix

SCRIPTS = sysconfig.get_path("scripts")
MEMBERS = {
    "fmriprep/sub-01/func/bold.nii.gz": os.urandom(100_000),
    "fmriprep/sub-01/figures/it's {0} $(touch x) ü.svg": b"<svg>" * 1000,
    "fmriprep/sub-01.html": b"<html>",
    "logs/log.txt": b"log",
}
WANTED = {name.split("/", 1)[1]: MEMBERS[name] for name in MEMBERS if name.startswith("fmriprep")}
ZIP = "in/sub-01 fmriprep.zip"
JOB = Job(ZIP, include=("fmriprep/",), strip=1)

pytestmark = needs_posix


@pytest.fixture(autouse=True)
def _on_path(_quiet_git: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    assert shutil.which(COMPUTE_PROGRAM, path=SCRIPTS), "the package is not installed"
    monkeypatch.setenv("PATH", SCRIPTS + os.pathsep + os.environ["PATH"])
    yield


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """An annexed zip, and a compute remote `unzip`."""
    with zipfile.ZipFile(tmp_path / "zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in MEMBERS.items():
            file.writestr(name, data)
    root = annex_repo(tmp_path / "ds", {ZIP: (tmp_path / "zip").read_bytes()}, {})
    done = subprocess.run(
        ["git", "annex", "initremote", "unzip", "type=compute", f"program={COMPUTE_PROGRAM}",
         "encryption=none"],
        cwd=root, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if done.returncode and "compute" in done.stderr:
        pytest.skip("git-annex is too old for compute remotes")
    assert done.returncode == 0, done.stderr
    return root


def add(root: Path, *args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "annex", "addcomputed", "--to=unzip", "--", *args],
        cwd=root, capture_output=True, text=True, check=False, timeout=PATIENCE,
        env={**os.environ, **environment},
    )  # fmt: skip


def registered(root: Path, *args: str, **environment: str) -> None:
    done = add(root, *args, **environment)
    assert done.returncode == 0, done.stderr
    git(root, "commit", "-q", "-m", "computed")


def contents(root: Path) -> dict[str, bytes]:
    return {path: (root / path).read_bytes() for path in tracked(root) if (root / path).exists()}


def tracked(root: Path) -> list[str]:
    return [p for p in git(root, "ls-files", "-z").split("\0") if p and p != ZIP]


def test_dropped_files_come_back_from_the_zip(dataset: Path) -> None:
    registered(dataset, *to_argv(JOB, Limits()))
    assert contents(dataset) == WANTED
    # git-annex counts the zip as a copy.
    git(dataset, "annex", "drop", "-q", "sub-01", "sub-01.html")
    assert contents(dataset) == {}
    git(dataset, "annex", "get", "-q", "sub-01/func/bold.nii.gz")
    assert contents(dataset)["sub-01/func/bold.nii.gz"] == WANTED["sub-01/func/bold.nii.gz"]
    git(dataset, "annex", "get", "-q", ".")
    assert contents(dataset) == WANTED
    git(dataset, "annex", "fsck", "-q")
    assert git(dataset, "status", "--porcelain") == ""


def test_they_come_back_in_a_clone_that_has_only_the_zip(dataset: Path, tmp_path: Path) -> None:
    registered(dataset, *to_argv(JOB, Limits()))
    clone = clone_of(dataset, tmp_path / "clone")
    git(clone, "annex", "get", "-q", ZIP)
    git(clone, "config", "annex.security.allowed-compute-programs", COMPUTE_PROGRAM)
    git(clone, "annex", "enableremote", "unzip")
    # Newer ones want to be told that it is the right remote.
    subprocess.run(
        ["git", "annex", "verifyremote", "unzip", "--safe", "1"],
        cwd=clone, capture_output=True, check=False,
    )  # fmt: skip
    git(clone, "remote", "remove", "origin")
    git(clone, "annex", "get", "-q", "--from=unzip", "sub-01.html")
    git(clone, "annex", "get", "-q", ".")
    assert contents(clone) == WANTED


def test_nothing_is_unpacked_twice(dataset: Path, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    for name, data in WANTED.items():
        (ready / name).parent.mkdir(parents=True, exist_ok=True)
        (ready / name).write_bytes(data)
    registered(dataset, *to_argv(JOB, Limits()), **{EXTRACTED: str(ready)})
    assert contents(dataset) == WANTED
    git(dataset, "annex", "drop", "-q", "sub-01", "sub-01.html")
    git(dataset, "annex", "get", "-q", ".")
    assert contents(dataset) == WANTED


@pytest.mark.parametrize("wrong", [None, b"", b"<HTML>"])
def test_what_was_unpacked_before_has_to_be_right(
    dataset: Path, tmp_path: Path, wrong: bytes | None
) -> None:
    if wrong is not None:
        (tmp_path / "sub-01.html").write_bytes(wrong)
    job = Job(ZIP, members=("fmriprep/sub-01.html",), strip=1)
    done = add(dataset, *to_argv(job, Limits()), **{EXTRACTED: str(tmp_path)})
    assert done.returncode == 1
    assert "sub-01.html" in done.stderr
    assert "Traceback" not in done.stderr
    assert tracked(dataset) == []


@pytest.mark.parametrize("annexed", [True, False], ids=["annexed", "in git"])
def test_a_spec_file_is_an_input_too(dataset: Path, annexed: bool) -> None:
    spec = dataset / "spec.json"
    members = tuple(name for name in MEMBERS if name.startswith("fmriprep"))
    spec.write_bytes(write_spec([Job(ZIP, members=members, strip=1)], Limits()))
    git(dataset, *(["annex", "add", "-q", "--force-large"] if annexed else ["add"]), "spec.json")
    git(dataset, "commit", "-q", "-m", "spec")
    registered(dataset, "--spec", "spec.json")
    # git-annex does not find copies of what git has, and so counts none of what comes of it.
    git(dataset, "annex", "drop", "-q", *([] if annexed else ["--force"]), "sub-01")
    git(dataset, "annex", "get", "-q", "sub-01")
    assert contents(dataset).items() >= WANTED.items()


def test_it_may_be_registered_from_a_subdirectory(dataset: Path) -> None:
    (dataset / "sub").mkdir()
    job = Job(f"../{ZIP}", include=("*.html",), strip=1, into="x")
    registered(dataset / "sub", *to_argv(job, Limits()))
    git(dataset, "annex", "drop", "-q", "sub")
    git(dataset, "annex", "get", "-q", "sub")
    assert contents(dataset) == {"sub/x/sub-01.html": b"<html>"}


def test_with_fast_the_outputs_are_known_if_members_are_named(dataset: Path) -> None:
    def fast(job: Job) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["git", "annex", "addcomputed", "--fast", "--to=unzip", "--", *to_argv(job, Limits())],
            cwd=dataset, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = fast(JOB)
    assert done.returncode == 1
    assert "leave out --fast" in done.stderr
    assert fast(Job(ZIP, members=("fmriprep/sub-01.html",), into="x")).returncode == 0
    assert tracked(dataset) == ["x/fmriprep/sub-01.html"]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--into", "../up", "--", ZIP], "'..'"),
        (["--into", ".git/hooks", "--", ZIP], "belongs to git"),
        (["-i", "*.tsv", "--", ZIP], "no member matches"),
        (["--", ZIP, "another.zip"], "one zip at a time"),
        (["--spec", "/etc/passwd"], "outside"),
        (["--", "../../ds/in.zip"], "outside"),
        ([], "no zip"),
    ],
)
def test_what_a_dataset_asks_for_may_be_refused(dataset: Path, args: list[str], said: str) -> None:
    done = add(dataset, *args)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert git(dataset, "status", "--porcelain") == ""


def talk(where: Path, args: list[str], answers: bytes) -> subprocess.CompletedProcess[bytes]:
    """Be git-annex."""
    return subprocess.run(
        [COMPUTE_PROGRAM, *args], cwd=where, input=answers, capture_output=True, check=False,
        timeout=PATIENCE,
    )  # fmt: skip


def test_files_are_written_where_git_annex_says(dataset: Path, tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    job = Job("z.zip", include=("*.html", "*.txt"))
    answers = f"{tmp_path}/zip\n./elsewhere/1\n2\n".encode()
    done = talk(tmp_path / "work", [*to_argv(job, Limits()), "encryption=none"], answers)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.decode().splitlines() == [
        "INPUT z.zip",
        "OUTPUT fmriprep/sub-01.html",
        "OUTPUT logs/log.txt",
        "REPRODUCIBLE",
    ]
    assert (tmp_path / "work" / "elsewhere" / "1").read_bytes() == b"<html>"
    assert (tmp_path / "work" / "2").read_bytes() == b"log"
    assert sorted(os.listdir(tmp_path / "work")) == ["2", "elsewhere"]


@pytest.mark.parametrize("said", [b"", b"{zip}\n", b"{zip}\nsub-01.html"])
def test_it_ends_when_git_annex_does(dataset: Path, tmp_path: Path, said: bytes) -> None:
    (tmp_path / "work").mkdir()
    answers = said.replace(b"{zip}", os.fsencode(tmp_path / "zip"))
    done = talk(tmp_path / "work", to_argv(JOB, Limits()), answers)
    assert done.returncode == 1
    assert b"git-annex has no answer" in done.stderr
    assert os.listdir(tmp_path / "work") == []


def test_names_of_several_lines_cannot_be_said(tmp_path: Path) -> None:
    done = talk(tmp_path, to_argv(Job("a\nOUTPUT b"), Limits()), b"x\n" * 9)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"names of several lines" in done.stderr
