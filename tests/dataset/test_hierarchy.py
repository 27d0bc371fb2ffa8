"""Subdatasets: where they are, and how they come."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.hierarchy import (
    contains_repo,
    find_root,
    install,
    mount_of,
    subdatasets,
)
from datalad_bidsshare.dataset.listing import read_index
from tests.process_log import ProcessLog

from .builders import annex_repo, git
from .conftest import Ria


@pytest.fixture(scope="module")
def nested(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three levels: top / derivatives/pipe line / sub-01."""
    base = tmp_path_factory.mktemp("nested")
    leaf = annex_repo(base / "leaf", {"bold.nii": b"bold"}, {"x.json": b"{}"})
    middle = annex_repo(base / "middle", {"a": b"a"}, {})
    git(middle, "submodule", "--quiet", "add", str(leaf), "sub-01")
    git(middle, "commit", "-q", "-m", "sub")
    top = annex_repo(base / "top", {"b": b"b"}, {})
    git(top, "submodule", "--quiet", "add", str(middle), "derivatives/pipe line")
    git(top, "submodule", "--quiet", "add", str(leaf), "sourcedata")
    git(top, "commit", "-q", "-m", "sub")
    return top


@pytest.fixture
def top(nested: Path, tmp_path: Path) -> Path:
    git(tmp_path, "clone", "-q", str(nested), "top")
    return tmp_path / "top"


def test_three_levels_one_after_the_other(top: Path) -> None:
    index = read_index(top)
    assert index.gitlinks == ["derivatives/pipe line", "sourcedata"]
    assert [(s.mount, s.path, s.installed) for s in subdatasets(top, index.gitlinks)] == [
        ("derivatives/pipe line", top / "derivatives" / "pipe line", False),
        ("sourcedata", top / "sourcedata", False),
    ]
    result = install(top, "derivatives/pipe line")
    assert (result.status, result.message) == ("ok", "")
    assert [s.installed for s in subdatasets(top, index.gitlinks)] == [True, False]
    middle = top / "derivatives" / "pipe line"
    assert git(middle, "rev-parse", "HEAD").strip() == index.commit("derivatives/pipe line")
    assert not os.path.exists(middle / "a")
    assert install(middle, "sub-01").status == "ok"
    assert read_index(middle / "sub-01").paths == ["bold.nii", "x.json"]
    assert install(middle, "sub-01").status == "notneeded"
    assert git(top, "status", "--porcelain") == ""


def test_looking_starts_and_installs_nothing(top: Path, process_log: ProcessLog) -> None:
    gitlinks = read_index(top).gitlinks
    process_log.clear()
    assert not any(s.installed for s in subdatasets(top, gitlinks))
    assert find_root(top / "sourcedata" / "x.json") == top
    assert process_log.count() == 0
    assert os.listdir(top / "sourcedata") == []


def test_source_that_is_gone(tmp_path: Path) -> None:
    leaf = annex_repo(tmp_path / "leaf", {}, {"x": b"x"})
    parent = annex_repo(tmp_path / "parent", {}, {"y": b"y"})
    git(parent, "submodule", "--quiet", "add", str(leaf), "sub")
    git(parent, "commit", "-q", "-m", "sub")
    git(tmp_path, "clone", "-q", str(parent), "clone")
    shutil.rmtree(leaf)
    shutil.rmtree(parent)
    result = install(tmp_path / "clone", "sub")
    assert result.status == "error"
    assert str(leaf) in result.message
    assert "datalad subdatasets" in result.message
    assert not contains_repo(tmp_path / "clone" / "sub")


def test_mount_without_a_source(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    entry = f"160000 {'1' * 40}\tsub\0".encode()
    git(tmp_path, "update-index", "-z", "--index-info", text=entry)
    git(tmp_path, "commit", "-q", "-m", "a gitlink without .gitmodules")
    for mount in ("sub", "no such path"):
        result = install(tmp_path, mount)
        assert (result.status, ".gitmodules" in result.message) == ("impossible", True)


def test_parent_that_is_none(tmp_path: Path) -> None:
    result = install(tmp_path, "sub")
    assert result.status == "error"
    assert result.message


def test_source_candidates_of_the_user(top: Path, tmp_path: Path) -> None:
    # the source in .gitmodules is gone, the user knows another
    url = git(top, "config", "-f", ".gitmodules", "submodule.sourcedata.url").strip()
    git(tmp_path, "clone", "-q", url, "elsewhere")
    git(top, "config", "-f", ".gitmodules", "submodule.sourcedata.url", "/no/where")
    git(top, "commit", "-q", "-am", "moved")
    git(
        top,
        "config",
        "datalad.get.subdataset-source-candidate-100mine",
        str(tmp_path / "elsewhere"),
    )
    assert install(top, "sourcedata").status == "ok"
    assert git(top / "sourcedata", "config", "remote.origin.url").strip() == str(
        tmp_path / "elsewhere"
    )


def test_from_a_ria_store(ria: Ria, tmp_path: Path) -> None:
    import datalad.api as dl

    parent = dl.create(tmp_path / "parent", result_renderer="disabled")
    dl.clone(ria.url, dataset=parent, path="sub", result_renderer="disabled")
    git(tmp_path, "clone", "-q", str(parent.pathobj), "clone")
    assert install(tmp_path / "clone", "sub").status == "ok"
    assert "a.nii" in read_index(tmp_path / "clone" / "sub").paths
    assert not (tmp_path / "clone" / "sub" / "a.nii").exists()


def test_what_a_repository_is(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "plain")
    assert contains_repo(tmp_path / "plain")
    assert not contains_repo(tmp_path)
    assert not contains_repo(tmp_path / "none")
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / ".git").write_text("gitdir: ../nowhere\n")
    assert not contains_repo(broken)
    (broken / ".git").write_text("gitdir: ../plain/.git\n")
    assert contains_repo(broken)
    (broken / ".git").write_text("something else\n")
    assert not contains_repo(broken)
    (broken / ".git").unlink()
    (broken / ".git").mkdir()
    assert not contains_repo(broken)
    (broken / ".git").rmdir()
    (broken / ".git").symlink_to("nowhere")
    assert not contains_repo(broken)


def test_root_of_a_path(source: Path, top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # a link into .git, which belongs to where it stands
    assert find_root(source / "sub-01" / "sub-01_T1w.nii.gz") == source
    assert find_root(source / "sub-01") == source
    assert find_root(source) == source
    assert find_root(source / "not" / "there.nii") == source
    assert find_root(Path(source.anchor)) is None
    monkeypatch.chdir(source / "sub-01")
    assert find_root(Path(".")) == source
    assert find_root(Path("../sub-02")) == source
    assert install(top, "sourcedata").status == "ok"
    assert find_root(top / "sourcedata" / "x.json") == top / "sourcedata"
    assert find_root(top / "derivatives" / "pipe line" / "a") == top


def test_mount_that_holds_a_path() -> None:
    gitlinks = {"sub-01", "derivatives/pipe"}
    assert mount_of("sub-01", gitlinks) == "sub-01"
    assert mount_of("sub-01/anat/x.nii", gitlinks) == "sub-01"
    assert mount_of("sub-011/anat/x.nii", gitlinks) is None
    assert mount_of("derivatives", gitlinks) is None
    assert mount_of("derivatives/pipe/sub-01", gitlinks) == "derivatives/pipe"
    assert mount_of("", gitlinks) is None
