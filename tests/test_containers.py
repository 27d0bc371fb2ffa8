"""Inside `datalad run` and `containers-run`, with containers that need no image service.

datalad-container takes any command as a call format, so the runner is util-linux's `unshare`
or bubblewrap, and the "image" is a small script that makes itself known to what it runs.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from datalad.api import Dataset

from tests.dataset.builders import git
from tests.raw_dataset import FILES, datalad, raw_content
from tests.superdatasets import bids_get

pytest.importorskip("datalad_container")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux'")

BOLD = [f"sub-01/func/sub-01_task-rest_run-{run}_bold.nii.gz" for run in ("10", "1")]
RUNNERS = {
    "unshare": "unshare --user --map-root-user --mount --net --",
    "bwrap": "bwrap --unshare-user --unshare-net --dev-bind / / --",
}
IMAGE = '#!/bin/sh\nexport INSIDE_IMAGE=yes\nexec "$@"\n'
QUIET: dict[str, Any] = {"result_renderer": "disabled"}


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> str:
    """Give the start of a command line that isolates what follows."""
    command = RUNNERS[request.param]
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    tried = subprocess.run([*command.split(), "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"{request.param} may not be used here: {tried.stderr!r}")
    return command


@pytest.fixture
def clone(raw_clone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a clone whose jobs find this DataLad."""
    scripts = sysconfig.get_path("scripts")
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(raw_clone)
    return raw_clone


@pytest.fixture
def contained(clone: Path, runner: str) -> Dataset:
    """The clone, with a container called `tool`."""
    (clone / "image").write_text(IMAGE)
    ds = Dataset(clone)
    ds.save("image", **QUIET)
    ds.containers_add("tool", image="image", call_fmt=f"{runner} sh {{img}} {{cmd}}", **QUIET)
    return ds


def run_record(ds: Dataset) -> dict[str, Any]:
    """Give the run record of the last commit."""
    message = git(ds.pathobj, "log", "-1", "--format=%B")
    text = message.split("=== Do not change lines below ===")[1].split("^^^")[0]
    record: dict[str, Any] = json.loads(text)
    return record


def here(root: Path) -> set[str]:
    return {path for path in FILES if (root / path).exists()}


def test_selected_files_are_the_inputs_of_a_container(contained: Dataset) -> None:
    selected = bids_get(subject="01", task="rest", suffix="bold", companions="none", dry_run=True)
    inputs = [r["relpath"] for r in selected]
    assert inputs == BOLD
    assert not here(contained.pathobj)

    contained.containers_run(
        "sh -c 'echo $INSIDE_IMAGE > joined; cat {inputs} >> joined'",
        container_name="tool", inputs=inputs, outputs=["joined"], **QUIET,
    )  # fmt: skip

    record = run_record(contained)
    assert record["inputs"] == BOLD
    assert record["extra_inputs"] == ["image"]
    # containers-run brought them, and nothing else
    assert here(contained.pathobj) == set(BOLD)
    joined = b"yes\n" + b"".join(raw_content(path) for path in BOLD)
    assert (contained.pathobj / "joined").read_bytes() == joined

    # and again from scratch: the record needs nothing of this extension
    contained.drop(BOLD, **QUIET)
    contained.drop("joined", reckless="availability", **QUIET)
    assert not here(contained.pathobj)
    head = git(contained.pathobj, "rev-parse", "HEAD")
    (contained.pathobj / "joined").unlink()
    (contained.pathobj / "joined").write_text("spoiled")
    contained.save(**QUIET)
    contained.rerun(head.strip(), **QUIET)
    assert (contained.pathobj / "joined").read_bytes() == joined
    assert here(contained.pathobj) == set(BOLD)


def test_the_command_line_feeds_a_container(contained: Dataset) -> None:
    """What the how-to tells: one `-i` a selected file."""
    root = contained.pathobj
    listed, _ = datalad(
        *("-f", "{relpath}", "bids-get", "--sub", "02", "--suffix", "T1w,bold", "--task", ",nback"),
        *("--companions", "none", "--dry-run"),
        cwd=root,
    )
    inputs = sorted(listed.split())
    assert len(inputs) == 2
    options = [word for path in inputs for word in ("-i", path)]
    job = "sh -c 'cat {inputs} | wc -c > size'"
    datalad("containers-run", "-n", "tool", *options, "-o", "size", job, cwd=root)
    assert sorted(run_record(contained)["inputs"]) == inputs
    assert int((root / "size").read_text()) == sum(len(raw_content(p)) for p in inputs)
    assert here(root) == set(inputs)


def test_the_command_works_inside_a_container(contained: Dataset) -> None:
    job = (
        "sh -c 'datalad bids-get --sub 10 --suffix T1w --companions none"
        " && test $INSIDE_IMAGE = yes && wc -c < sub-10/anat/sub-10_T1w.nii.gz > size'"
    )
    datalad("containers-run", "-n", "tool", "-o", "size", job, cwd=contained.pathobj)
    assert int((contained.pathobj / "size").read_text()) == 4200
    assert git(contained.pathobj, "show", "--name-only", "--format=").split() == ["size"]


def test_the_command_works_inside_a_run(clone: Path) -> None:
    before = git(clone, "rev-parse", "HEAD")
    job = (
        "datalad bids-get --sub 10 --suffix T1w --companions none"
        " && wc -c < sub-10/anat/sub-10_T1w.nii.gz > size"
    )
    datalad("run", "-o", "size", job, cwd=clone)
    # it did not commit: the one new commit is that of the run, and holds its output
    assert git(clone, "rev-parse", "HEAD~1") == before
    assert git(clone, "show", "--name-only", "--format=").split() == ["size"]
    assert git(clone, "status", "--porcelain") == ""
    assert run_record(Dataset(clone))["inputs"] == []
    datalad("drop", "--what", "filecontent", "sub-10", cwd=clone)
    assert not here(clone)
    datalad("rerun", cwd=clone)
    assert here(clone) == {"sub-10/anat/sub-10_T1w.nii.gz"}
    assert git(clone, "rev-parse", "HEAD~1") == before


def test_a_failing_selection_fails_the_job(clone: Path) -> None:
    before = git(clone, "rev-parse", "HEAD")
    out, err = datalad("run", "datalad bids-get --sub nobody && touch done", cwd=clone, code=1)
    assert "subject 'nobody' occurs nowhere" in out + err
    assert not (clone / "done").exists()
    assert git(clone, "rev-parse", "HEAD") == before


def test_many_jobs_at_once_on_one_clone(clone: Path) -> None:
    command = [shutil.which("datalad") or "", "bids-get", "--sub", "01,02", "--suffix", "bold"]
    jobs = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(3)
    ]
    outputs = [job.communicate(timeout=120)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0, 0, 0], outputs
    for path in here(clone):
        assert (clone / path).read_bytes() == raw_content(path)
    assert len([p for p in here(clone) if p.endswith("_bold.nii.gz")]) == 6
