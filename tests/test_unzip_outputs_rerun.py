"""`datalad rerun` of what `unzip-outputs` recorded: in clones that have no content yet."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from datalad_bidsshare.dataset.history import run_records
from tests.dataset.builders import clone_of, git
from tests.platforms import needs_posix, needs_posix_names
from tests.superdatasets import DATALAD, copy_of, make_dataset
from tests.unzips import (
    ZIPS,
    clone_of_store,
    dataset_of,
    failures,
    members,
    outcomes,
    save_zips,
    tracked,
    tree_of,
    unzip,
    zip_bytes,
    zips_of,
)

ONE, TWO, TEN = ZIPS
QUIET: dict[str, Any] = {"result_renderer": "disabled", "return_type": "list"}

pytestmark = needs_posix


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the programs of this environment found, as after `activate`."""
    monkeypatch.setenv("PATH", f"{DATALAD.parent}{os.pathsep}{os.environ['PATH']}")


def stored(root: Path, base: Path) -> str:
    """Put a dataset into a store, and give the URL to clone it from."""
    from datalad.api import Dataset

    ds = Dataset(str(root))
    ds.create_sibling_ria(
        f"ria+file://{base}", name="store", new_store_ok=True, alias="ds", **QUIET
    )
    ds.push(to="store", **QUIET)
    return f"ria+file://{base}#~ds"


def rerun(root: Path, revision: str | None = None, **arguments: Any) -> None:
    """Rerun, which must succeed, and leave all saved."""
    from datalad.api import Dataset

    records = Dataset(str(root)).rerun(revision, **arguments, **QUIET)
    assert {r["status"] for r in records} <= {"ok", "notneeded"}
    assert any(r["action"] == "run" for r in records)
    assert not git(root, "status", "--porcelain", "--untracked-files=all")


def is_here(root: Path, path: str) -> bool:
    """Tell whether the content of a file is in a clone."""
    return (root / path).exists()


@needs_posix_names
def test_names_that_a_shell_or_datalad_would_take_for_something_else(tmp_path: Path) -> None:
    names = ["$(touch x)", "{02}", "-a 'b' \"c\" [1-9]*?"]
    content = {f"{name}.zip": zip_bytes({f"out/{name}.txt": name.encode()}) for name in names}
    source = make_dataset(tmp_path / "source", content).pathobj
    base = git(source, "rev-parse", "HEAD").strip()
    assert not failures(unzip(dataset=source, into="by {{name}}/{stem}", strip=1))
    wanted = {f"by {{name}}/{name}/{name}.txt": name.encode() for name in names}
    assert tracked(source) == wanted.keys()
    again = unzip(dataset=source, into="by {{name}}/{stem}", strip=1)
    assert set(outcomes(again).values()) == {"notneeded"}
    clone = clone_of_store(stored(source, tmp_path / "store"), tmp_path / "clone")
    # as if it had never been done
    rerun(clone, since=base, onto=base, branch="again")
    assert tree_of(clone) == tree_of(source)
    assert {path: (clone / path).read_bytes() for path in wanted} == wanted
    assert git(clone, "rev-list", "--count", f"{base}..HEAD").strip() == str(len(names))
    # and what that recorded
    rerun(clone, since=base, onto=base, branch="and-again")
    assert tree_of(clone) == tree_of(source)
    assert not (clone / "x").exists()


@needs_posix_names
def test_a_newline_in_the_name_of_a_zip(tmp_path: Path) -> None:
    """DataLad can compare no commits of a dataset with such a name, so a shell must do."""
    name = "new\nline $(touch x).zip"
    source = dataset_of(tmp_path / "source", {name: zip_bytes({"a.txt": b"a" * 10})})
    assert not failures(unzip(dataset=source, into="{stem}"))
    assert tracked(source) == {f"{name[:-4]}/a.txt"}
    assert set(outcomes(unzip(dataset=source, into="{stem}")).values()) == {"notneeded"}
    clone = clone_of(source, tmp_path / "clone")
    git(clone, "annex", "get", "-q", "--all")
    ((_, record),) = run_records(clone, "HEAD", "unzip-outputs")
    subprocess.run(record["cmd"].format(), shell=True, cwd=clone, check=True)
    git(clone, "annex", "add", "-q", ".")
    assert git(clone, "write-tree").strip() == tree_of(source)
    assert not (clone / "x").exists()


@pytest.fixture(scope="module")
def _history(
    _zips: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, dict[str, str]]:
    """A dataset with records of several kinds; where its store is; the commits by name."""
    base = tmp_path_factory.mktemp("history")
    root = copy_of(_zips, base / "ds")
    own = members("01")["fmriprep/sub-01.html"]
    save_zips(root, {"fmriprep/sub-01.html": own, "fmriprep/sub-02.html": b"other content"})
    commits = {"base": git(root, "rev-parse", "HEAD").strip()}
    for name, path, arguments in (
        ("skip", ONE, {"existing": "skip"}),
        ("replace", TWO, {"existing": "replace"}),
        (
            "entities",
            TEN,
            {"existing": "skip", "suffix": "bold", "strip": 1, "into": "d/{subject}"},
        ),
        ("call", None, {"per": "call", "into": "all", "suffix": "bold"}),
    ):
        records = unzip(path, dataset=root, **arguments)
        assert not failures(records)
        (commits[name],) = {record["commit"] for record in zips_of(records).values()}
    return root, stored(root, base / "store"), commits


def test_one_commit_in_a_fresh_clone(
    _history: tuple[Path, str, dict[str, str]], tmp_path: Path
) -> None:
    source, url, commits = _history
    clone = clone_of_store(url, tmp_path / "clone")
    assert not is_here(clone, "fmriprep/sub-02.html")
    rerun(clone, commits["replace"])
    assert tree_of(clone) == tree_of(source)
    assert (clone / "fmriprep/sub-02.html").read_bytes() == members("02")["fmriprep/sub-02.html"]
    # of no other
    assert not is_here(clone, "fmriprep/sub-01.html")
    assert not is_here(clone, ONE)
    rerun(clone, commits["call"])
    assert tree_of(clone) == tree_of(source)
    assert is_here(clone, "all/fmriprep/dataset_description.json")


def test_all_of_them_from_the_beginning(
    _history: tuple[Path, str, dict[str, str]], tmp_path: Path
) -> None:
    source, url, commits = _history
    clone = clone_of_store(url, tmp_path / "clone")
    rerun(clone, since=commits["base"], onto=commits["base"], branch="again")
    assert tree_of(clone) == tree_of(source)
    wanted = {path for path in tracked(source) if path.startswith(("all/", "d/"))}
    assert wanted
    for path in wanted:
        assert (clone / path).read_bytes() == (source / path).read_bytes()
    # one of those that a rerun made, once more
    rerun(clone, "HEAD")
    assert tree_of(clone) == tree_of(source)


def test_a_zip_in_a_subdataset_that_is_not_installed(_zips: Path, tmp_path: Path) -> None:
    import datalad.api as dl

    source = make_dataset(tmp_path / "source", {}).pathobj
    dl.clone(str(_zips), str(source / "inputs"), dataset=source, **QUIET)
    base = git(source, "rev-parse", "HEAD").strip()
    assert not failures(unzip(f"inputs/{ONE}", dataset=source, include="*.html", strip=1))
    clone = tmp_path / "clone"
    dl.clone(str(source), str(clone), **QUIET)
    rerun(clone, "HEAD", onto=base, branch="again")
    assert tree_of(clone) == tree_of(source)
    assert (clone / "sub-01.html").read_bytes() == members("01")["fmriprep/sub-01.html"]
