"""`unzip-outputs --container`: in containers that need no image service."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from datalad.api import Dataset

from tests.dataset.builders import git
from tests.raw_dataset import datalad
from tests.superdatasets import DATALAD, make_dataset
from tests.unzips import (
    ZIPS,
    clone_of_store,
    failures,
    members,
    outcomes,
    tracked,
    tree_of,
    unpacked,
    unzip,
    zip_bytes,
)

pytest.importorskip("datalad_container")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="namespaces are Linux'")

ONE, TWO, TEN = ZIPS
QUIET: dict[str, Any] = {"result_renderer": "disabled"}
HOSTILE = "$(touch gotcha) {02} 'a' b.zip"
#: Leaves a trace of every command outside of the dataset.
IMAGE = '#!/bin/sh\necho "$1" >> "$BIDSSHARE_TEST_TRACE"\nexec "$@"\n'
RUNNER = "bwrap --unshare-user --unshare-net --dev-bind / / --"


@pytest.fixture
def trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if shutil.which("bwrap") is None:
        pytest.skip("bwrap is not installed")
    tried = subprocess.run([*RUNNER.split(), "true"], capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"bwrap may not be used here: {tried.stderr!r}")
    monkeypatch.setenv("PATH", f"{DATALAD.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("BIDSSHARE_TEST_TRACE", str(tmp_path / "trace"))
    return tmp_path / "trace"


@pytest.fixture
def ds(trace: Path, tmp_path: Path) -> Dataset:
    content = {**ZIPS, HOSTILE: zip_bytes({"x/{0} $(touch gotcha).txt": b"hostile"})}
    ds = make_dataset(tmp_path / "ds", {"image": IMAGE, **content})
    ds.containers_add("tool", image="image", call_fmt=f"{RUNNER} sh {{img}} {{cmd}}", **QUIET)
    return ds


def record_of(root: Path, commit: str = "HEAD") -> dict[str, Any]:
    message = git(root, "log", "-1", "--format=%B", commit)
    text = message.split("=== Do not change lines below ===")[1].split("^^^")[0]
    record: dict[str, Any] = json.loads(text)
    return record


def test_each_zip_runs_in_the_container(ds: Dataset, trace: Path, tmp_path: Path) -> None:
    root = ds.pathobj
    base = git(root, "rev-parse", "HEAD").strip()
    records = unzip(dataset=root, container="tool", into="out")
    assert failures(records) == {}
    assert outcomes(records) == dict.fromkeys([*ZIPS, HOSTILE], "ok")
    assert trace.read_text().splitlines() == ["bidsshare-unzip"] * 4
    wanted = {
        f"out/{path}": data for path, data in unpacked("01", "02", "10", top="fmriprep").items()
    } | {"out/x/{0} $(touch gotcha).txt": b"hostile"}
    found = {p: (root / p).read_bytes() for p in tracked(root) if p != "image"}
    assert found == wanted
    # What zips have in common, each command gives.
    assert {r["relpath"] for r in records if "from_zip" in r} == set(wanted)
    assert git(root, "rev-list", "--count", f"{base}..HEAD").strip() == "4"
    assert not git(root, "status", "--porcelain", "--untracked-files=all")
    record = record_of(root)
    assert record["extra_inputs"] == ["image"]
    assert record["bidsshare"]["zip"] == TEN
    assert str(tmp_path) not in json.dumps(record)
    assert not list(tmp_path.rglob("gotcha"))
    # once more: nothing to do, and nothing is run
    again = unzip(dataset=root, container="tool", into="out")
    assert set(outcomes(again).values()) == {"notneeded"}
    assert len(trace.read_text().splitlines()) == 4
    # and replayed in a clone that has nothing
    url = f"ria+file://{tmp_path / 'store'}"
    ds.create_sibling_ria(url, name="store", new_store_ok=True, alias="ds", **QUIET)
    ds.push(to="store", **QUIET)
    clone = clone_of_store(f"{url}#~ds", tmp_path / "clone")
    Dataset(str(clone)).rerun(since=base, onto=base, branch="again", **QUIET)
    assert tree_of(clone) == tree_of(root)
    assert len(trace.read_text().splitlines()) == 8
    assert not list(tmp_path.rglob("gotcha"))


def test_on_the_command_line(ds: Dataset, trace: Path) -> None:
    arguments = ("--container", "tool", "--strip", "1", "--task", "rest", "--suffix", "bold")
    out, _ = datalad("unzip-outputs", *arguments, ONE, TWO, cwd=ds.pathobj)
    assert "2 zips unpacked" in out
    assert len(trace.read_text().splitlines()) == 2
    found = tracked(ds.pathobj) - {"image"}
    assert found
    for path in found:
        assert (ds.pathobj / path).read_bytes() == unpacked("01", "02")[path]


def test_bad_zips_do_not_get_there(ds: Dataset, trace: Path) -> None:
    root = ds.pathobj
    (root / "bad.zip").write_bytes(zip_bytes({".git/hooks/post-commit": b"x"}))
    ds.save(**QUIET)
    head = git(root, "rev-parse", "HEAD")
    records = unzip(["bad.zip", ONE], dataset=root, container="tool")
    assert ".git/hooks/post-commit" in failures(records)["bad.zip"]
    assert not trace.exists()
    assert git(root, "rev-parse", "HEAD") == head
    records = unzip(["bad.zip", ONE], dataset=root, container="tool", on_zip_error="continue")
    assert outcomes(records) == {"bad.zip": "error", ONE: "ok"}
    assert trace.read_text().splitlines() == ["bidsshare-unzip"]


def test_a_container_that_fails(ds: Dataset, trace: Path) -> None:
    """As one does that has no datalad-bidsshare: said, and nothing is left in the dataset."""
    root = ds.pathobj
    ds.containers_add("empty", image="image", call_fmt="false {img} {cmd}", update=False, **QUIET)
    head = git(root, "rev-parse", "HEAD")
    records = unzip(dataset=root, container="empty")
    said = failures(records)
    assert set(said) == {*ZIPS, HOSTILE}
    assert not trace.exists()
    assert git(root, "rev-parse", "HEAD") == head
    assert not git(root, "status", "--porcelain", "--untracked-files=all")
    assert set(outcomes(records).values()) == {"error", "impossible"}


def test_no_such_container(ds: Dataset) -> None:
    out, err = datalad("unzip-outputs", "--container", "other", cwd=ds.pathobj, code=1)
    assert "'other'" in out + err
    assert "tool" in out + err


def test_outputs_that_are_there_are_replaced(ds: Dataset) -> None:
    root = ds.pathobj
    path = "fmriprep/sub-01.html"
    (root / "fmriprep").mkdir()
    (root / path).write_bytes(b"mine")
    ds.save(**QUIET)
    old = (root / path).resolve()
    assert path in failures(unzip(ONE, dataset=root, container="tool"))[ONE]
    # This one its command finds out, which says it on the terminal.
    assert ONE in failures(unzip(ONE, dataset=root, container="tool", existing="skip"))
    assert (root / path).read_bytes() == b"mine"
    assert not git(root, "status", "--porcelain", "--untracked-files=all")
    assert not failures(unzip(ONE, dataset=root, container="tool", existing="replace"))
    assert (root / path).read_bytes() == members("01")[path]
    assert old.read_bytes() == b"mine"
