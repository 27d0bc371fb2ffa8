"""Unpacking in containers that need no image service, as in tests/test_containers.py."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from datalad.api import Dataset, clone

from datalad_bidsshare.archive.container import Container, find_container, run_in_container
from datalad_bidsshare.archive.job import Job, command_line, to_argv
from datalad_bidsshare.archive.safety import Limits
from datalad_bidsshare.selection.errors import SelectionError
from tests.dataset.builders import git
from tests.raw_dataset import datalad
from tests.superdatasets import make_dataset

pytest.importorskip("datalad_container")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux'")

QUIET: dict[str, Any] = {"result_renderer": "disabled"}
RUNNERS = {
    "unshare": "unshare --user --map-root-user --mount --net --",
    "bwrap": "bwrap --unshare-user --unshare-net --dev-bind / / --",
}
# Tells that it was there beside what the command gives.
IMAGE = '#!/bin/sh\necho inside > image-was-here\nexec "$@"\n'
MEMBERS = {
    "prep/sub-01/anat/T1w.nii.gz": b"T1w" * 500,
    "prep/sub-01/func/{0} bold's.nii.gz": b"bold" * 500,
    "prep/log.txt": b"log",
}
OUTPUTS = ["sub-01/anat/T1w.nii.gz", "sub-01/func/{0} bold's.nii.gz"]
HOSTILE = "zips/$(touch gotcha) {02} [a]'s.zip"


@pytest.fixture(autouse=True)
def _on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have `bidsshare-unzip`, `datalad` and git-annex found, in the container as well."""
    scripts = sysconfig.get_path("scripts")
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
    if shutil.which("bidsshare-unzip") is None:
        pytest.skip("the console scripts are not installed: pip install -e .")


@pytest.fixture(params=RUNNERS)
def runner(request: pytest.FixtureRequest) -> str:
    command = RUNNERS[request.param]
    if shutil.which(request.param) is None:
        pytest.skip(f"{request.param} is not installed")
    tried = subprocess.run([*command.split(), "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"{request.param} may not be used here: {tried.stderr!r}")
    return command


def zipped(path: Path) -> bytes:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in MEMBERS.items():
            archive.writestr(name, content)
    return path.read_bytes()


def dataset(root: Path, call_format: str, image: str = "image") -> Dataset:
    content = zipped(root.with_name("made.zip"))
    root.mkdir()
    (root / image).write_text(IMAGE)
    # for where it is called itself
    (root / image).chmod(0o755)
    ds = make_dataset(root, {"zips/a.zip": content, HOSTILE: content})
    ds.containers_add("tool", image=image, call_fmt=call_format or None, **QUIET)
    return ds


@pytest.fixture
def ds(tmp_path: Path, runner: str) -> Dataset:
    return dataset(tmp_path / "ds", f"{runner} sh {{img}} {{cmd}}")


def run(ds: Dataset, zip_name: str) -> list[dict[str, Any]]:
    """Have the zip unpacked as the command does it."""
    container, records = find_container(ds.pathobj, "tool")
    assert records == []
    job = Job(zip=zip_name, include=("prep/sub-*/**",), strip_prefix="prep")
    command = command_line(to_argv(job, Limits()))
    return list(
        run_in_container(
            ds.pathobj, container, command, [zip_name], OUTPUTS, f"Unzip {zip_name}",
            {"bidsshare": {"zip": zip_name}},
        )
    )  # fmt: skip


def record_of(ds: Dataset, commit: str = "HEAD") -> dict[str, Any]:
    message = git(ds.pathobj, "log", "-1", "--format=%B", commit)
    text = message.split("=== Do not change lines below ===")[1].split("^^^")[0]
    record: dict[str, Any] = json.loads(text)
    return record


def unpacked(root: Path, outputs: Sequence[str] = OUTPUTS) -> list[bytes | None]:
    return [(root / o).read_bytes() if (root / o).exists() else None for o in outputs]


WANTED = [MEMBERS[f"prep/{output}"] for output in OUTPUTS]


@pytest.mark.parametrize("zip_name", ["zips/a.zip", HOSTILE])
def test_a_record_that_reruns_in_a_fresh_clone(ds: Dataset, tmp_path: Path, zip_name: str) -> None:
    before = git(ds.pathobj, "rev-parse", "HEAD")
    records = run(ds, zip_name)
    assert {r["status"] for r in records} <= {"ok", "notneeded"}
    assert [r["action"] for r in records if r["action"] == "run"] == ["run"]
    assert git(ds.pathobj, "rev-parse", "HEAD~1") == before
    assert git(ds.pathobj, "status", "--porcelain") == ""
    assert unpacked(ds.pathobj) == WANTED
    assert (ds.pathobj / "image-was-here").exists()
    record = record_of(ds)
    assert record["extra_inputs"] == ["image"]
    assert len(record["inputs"]) == 1
    assert record["bidsshare"] == {"zip": zip_name}
    assert record["exit"] == 0
    text = json.dumps(record)
    assert str(tmp_path) not in text
    assert sysconfig.get_path("scripts") not in text
    tree = git(ds.pathobj, "rev-parse", "HEAD^{tree}")

    fresh = clone(str(ds.path), str(tmp_path / "fresh"), **QUIET)
    assert unpacked(fresh.pathobj, [zip_name, "image"]) == [None, None]
    commit = git(ds.pathobj, "rev-parse", "HEAD").strip()
    for _ in range(2):
        git(fresh.pathobj, "rm", "-q", *OUTPUTS)
        git(fresh.pathobj, "commit", "-q", "-m", "lost")
        results = fresh.rerun(commit, on_failure="ignore", **QUIET)
        assert {r["status"] for r in results} <= {"ok", "notneeded"}, results
        assert unpacked(fresh.pathobj) == WANTED
        assert git(fresh.pathobj, "rev-parse", "HEAD^{tree}") == tree
        # the second time: the rerun of a rerun
        commit = git(fresh.pathobj, "rev-parse", "HEAD").strip()
        again = record_of(fresh)
        assert {k: again[k] for k in ("cmd", "inputs", "outputs", "extra_inputs")} == {
            k: record[k] for k in ("cmd", "inputs", "outputs", "extra_inputs")
        }
    assert not list(tmp_path.rglob("gotcha"))


def test_one_record_a_zip(ds: Dataset) -> None:
    assert run(ds, "zips/a.zip")
    first = git(ds.pathobj, "rev-parse", "HEAD").strip()
    (ds.pathobj / OUTPUTS[0]).unlink()
    ds.save(**QUIET)
    assert run(ds, HOSTILE)
    assert unpacked(ds.pathobj) == WANTED
    assert record_of(ds)["bidsshare"] != record_of(ds, first)["bidsshare"]


def test_by_hand_in_containers_run(ds: Dataset) -> None:
    job = "bidsshare-unzip -i 'prep/sub-*/**' --strip 1 --existing replace -- zips/a.zip"
    datalad(
        *("containers-run", "-n", "tool", "-i", "zips/a.zip", "-o", "sub-01", job), cwd=ds.pathobj
    )
    assert unpacked(ds.pathobj) == WANTED
    assert (ds.pathobj / "image-was-here").exists()
    record = record_of(ds)
    assert (record["inputs"], record["extra_inputs"]) == (["zips/a.zip"], ["image"])
    shutil.rmtree(ds.pathobj / "sub-01")
    ds.save(**QUIET)
    ds.rerun("HEAD~1", **QUIET)
    assert unpacked(ds.pathobj) == WANTED


def test_a_command_that_fails_changes_nothing(ds: Dataset) -> None:
    run(ds, "zips/a.zip")
    before = git(ds.pathobj, "rev-parse", "HEAD")
    ds.drop(OUTPUTS[0], reckless="availability", **QUIET)
    container, _ = find_container(ds.pathobj, "tool")
    command = command_line(to_argv(Job(zip="zips/a.zip", members=("none",)), Limits()))
    for outputs in ([*OUTPUTS, "new"], ["sub-01/"], []):
        arguments = (ds.pathobj, container, command, ["zips/a.zip"], outputs, "Unzip", {})
        *_, failed = run_in_container(*arguments)
        assert (failed["action"], failed["status"]) == ("run", "error")
        assert git(ds.pathobj, "rev-parse", "HEAD") == before
        assert git(ds.pathobj, "status", "--porcelain") == ""
    # not even begun
    (ds.pathobj / "unsaved").touch()
    (only,) = run_in_container(*arguments)
    assert only["status"] == "impossible"
    assert "clean dataset required" in only["message"]


def test_an_input_that_cannot_be_had(ds: Dataset) -> None:
    ds.drop("zips/a.zip", reckless="availability", **QUIET)
    before = git(ds.pathobj, "rev-parse", "HEAD")
    last = run(ds, "zips/a.zip")[-1]
    assert (last["action"], last["status"]) == ("get", "error")
    assert last["path"] == str(ds.pathobj / "zips/a.zip")
    assert git(ds.pathobj, "rev-parse", "HEAD") == before
    assert git(ds.pathobj, "status", "--porcelain") == ""


def test_an_image_that_is_the_command(tmp_path: Path) -> None:
    """Without a call format; its path has what a shell and `str.format` take apart."""
    ds = dataset(tmp_path / "ds", "", "my {0} $(touch gotcha)")
    assert {r["status"] for r in run(ds, "zips/a.zip")} <= {"ok", "notneeded"}
    assert unpacked(ds.pathobj) == WANTED
    assert str(tmp_path) not in json.dumps(record_of(ds))
    assert not list(tmp_path.rglob("gotcha"))


def test_no_container_of_that_name(ds: Dataset, tmp_path: Path) -> None:
    with pytest.raises(SelectionError, match=r"container 'other': .*known containers are: tool"):
        find_container(ds.pathobj, "other")
    empty = make_dataset(tmp_path / "empty", {})
    with pytest.raises(SelectionError, match="No known containers"):
        find_container(empty.pathobj, "tool")


@pytest.mark.parametrize("quoted", ["sh -c '{cmd}'", 'sh -c "{cmd}"'])
def test_a_call_format_with_quotes(tmp_path: Path, quoted: str) -> None:
    """As others have them: good for plain names, dangerous for those of shell commands."""
    ds = dataset(tmp_path / "ds", quoted)
    container, _ = find_container(ds.pathobj, "tool")
    with pytest.raises(SelectionError, match=r"\{cmd\} outside of quotes"):
        run(ds, HOSTILE)
    assert not list(tmp_path.rglob("gotcha"))
    command = command_line(to_argv(Job(zip="zips/a.zip", strip_prefix="prep"), Limits()))
    outputs = ["log.txt", "sub-01/"]
    records = run_in_container(ds.pathobj, container, command, ["zips/a.zip"], outputs, "m", {})
    assert {r["status"] for r in records} <= {"ok", "notneeded"}
    assert unpacked(ds.pathobj) == WANTED


@pytest.mark.parametrize("broken", ["run {image} {cmd}", "run {} {cmd}", "run {img {cmd}"])
def test_a_call_format_that_is_broken(tmp_path: Path, broken: str) -> None:
    container = Container("tool", "image", ".", broken, ())
    with pytest.raises(SelectionError, match="call format that is not understood"):
        list(run_in_container(tmp_path, container, "true", [], [], "m", {}))
