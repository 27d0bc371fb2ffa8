"""Subdatasets: where they are, and how they come."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.explaining import message_of
from datalad_bidsshare.dataset.hierarchy import (
    contains_repo,
    install,
    leads_outside,
    mount_of,
)
from datalad_bidsshare.dataset.listing import read_index
from tests.dataset.builders import annex_repo, git
from tests.dataset.conftest import Ria
from tests.platforms import MAKES_SYMLINKS, needs_symlinks
from tests.process_log import ProcessLog


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
    mounts = read_index(top).gitlinks
    assert list(mounts) == ["derivatives/pipe line", "sourcedata"]
    assert mounts["sourcedata"] == git(top, "rev-parse", "HEAD:sourcedata").strip()
    assert [contains_repo(top / m) for m in mounts] == [False, False]
    result = install(top, "derivatives/pipe line")
    assert (result.status, result.message) == ("ok", "")
    assert [contains_repo(top / m) for m in mounts] == [True, False]
    middle = top / "derivatives" / "pipe line"
    recorded = git(top, "rev-parse", "HEAD:derivatives/pipe line")
    assert git(middle, "rev-parse", "HEAD") == recorded
    assert not os.path.exists(middle / "a")
    assert install(middle, "sub-01").status == "ok"
    assert read_index(middle / "sub-01").paths == ["bold.nii", "x.json"]
    assert install(middle, "sub-01").status == "notneeded"
    assert git(top, "status", "--porcelain") == ""


def test_looking_starts_and_installs_nothing(top: Path, process_log: ProcessLog) -> None:
    mounts = read_index(top).gitlinks
    process_log.clear()
    assert not any(contains_repo(top / m) or leads_outside(top, m) for m in mounts)
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
    if MAKES_SYMLINKS:
        (broken / ".git").symlink_to("nowhere")
        assert not contains_repo(broken)


@needs_symlinks
def test_links_on_the_way_to_a_mount(top: Path, tmp_path: Path) -> None:
    assert not leads_outside(top, "derivatives/pipe line")
    assert not leads_outside(top, "not/there")
    git(tmp_path, "init", "-q", "elsewhere/pipe line")
    shutil.rmtree(top / "derivatives")
    (top / "derivatives").symlink_to(tmp_path / "elsewhere")
    shutil.rmtree(top / "sourcedata")
    (top / "sourcedata").symlink_to(tmp_path / "elsewhere" / "pipe line")
    for mount in read_index(top).gitlinks:
        # a repository is there, and is not the subdataset
        assert contains_repo(top / mount)
        assert leads_outside(top, mount)
        result = install(top, mount)
        assert result.status == "error"
        assert "symbolic link" in result.message and "git status" in result.message
    (top / "dangling").symlink_to("nowhere")
    assert leads_outside(top, "dangling")
    assert leads_outside(top, "dangling/sub")
    for climbing in ("..", "sub-01/../..", ".", ""):
        assert leads_outside(top, climbing)
    # how one came to the dataset does not matter
    (tmp_path / "to-top").symlink_to(top)
    assert not leads_outside(tmp_path / "to-top", "not/there")


class Unexpected(Exception):
    """What an extension of DataLad may raise."""


def test_whatever_datalad_raises_is_a_result(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datalad.distribution.dataset import Dataset

    def broken(*_: object, **__: object) -> None:
        raise Unexpected("out of order")

    monkeypatch.setattr(Dataset, "get", broken)
    result = install(top, "sourcedata")
    assert result.status == "error"
    assert "out of order" in result.message and "next: " in result.message

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Dataset, "get", interrupted)
    with pytest.raises(KeyboardInterrupt):
        install(top, "sourcedata")


def test_messages_of_datalad_that_do_not_fit_their_template() -> None:
    assert message_of({"message": ("%s of %s", 1, 2)}) == "1 of 2"
    assert message_of({"message": ("%s of %s", "one")}) == "%s of %s one"
    assert message_of({"message": None}) == ""


def test_mount_that_holds_a_path() -> None:
    gitlinks = {"sub-01", "derivatives/pipe"}
    assert mount_of("sub-01", gitlinks) == "sub-01"
    assert mount_of("sub-01/anat/x.nii", gitlinks) == "sub-01"
    assert mount_of("sub-011/anat/x.nii", gitlinks) is None
    assert mount_of("derivatives", gitlinks) is None
    assert mount_of("derivatives/pipe/sub-01", gitlinks) == "derivatives/pipe"
    assert mount_of("", gitlinks) is None
