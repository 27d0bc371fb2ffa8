"""What must hold before commits are made: held against `datalad run`'s own look."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.errors import DatasetError, NotADatasetError
from datalad_bidsshare.dataset.state import Head, own_git_directory, read_head, unsaved
from tests.dataset.builders import HOSTILE_NAMES, git
from tests.platforms import needs_symlinks
from tests.process_log import ProcessLog

HOSTILE = HOSTILE_NAMES[0].rpartition(b"/")[2]


@pytest.fixture(scope="module")
def _saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import datalad.api as dl

    root = tmp_path_factory.mktemp("state") / "ds"
    ds = dl.create(root, result_renderer="disabled")
    (root / "annexed.bin").write_bytes(b"\0" * 100)
    (root / "unlocked.bin").write_bytes(b"\1" * 100)
    (root / ".gitignore").write_text("*.log\n")
    ds.create("sub", result_renderer="disabled")
    (root / "sub" / "inner").write_text("inner")
    ds.save(recursive=True, result_renderer="disabled")
    git(root, "annex", "unlock", "unlocked.bin")
    ds.save(result_renderer="disabled")
    return root


@pytest.fixture
def ds(_saved: Path, tmp_path: Path) -> Path:
    root = tmp_path / "ds"
    shutil.copytree(_saved, root, symlinks=True)
    return root


def is_dirty(root: Path) -> bool:
    from datalad.api import Dataset

    return bool(Dataset(root).repo.dirty)


def _commit_in_subdataset(root: Path) -> None:
    (root / "sub" / "more").write_text("more")
    git(root / "sub", "add", "more")
    git(root / "sub", "commit", "-q", "-m", "more")


def _adjust_subdataset(root: Path) -> None:
    git(root / "sub", "annex", "adjust", "--unlock", "-q")


def _write(name: str | bytes) -> Callable[[Path], None]:
    def write(root: Path) -> None:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.islink(path):
            os.unlink(path)
        with open(path, "wb") as file:
            file.write(b"other")

    return write


def _configure_blindness(root: Path) -> None:
    git(root, "config", "status.showUntrackedFiles", "no")
    git(root, "config", "diff.ignoreSubmodules", "all")
    git(root, "config", "status.renames", "copies")
    (root / "untracked").write_text("x")
    _commit_in_subdataset(root)


CASES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "clean": (lambda root: None, []),
    "modified": (_write("annexed.bin"), ["annexed.bin"]),
    "unlocked and modified": (_write("unlocked.bin"), ["unlocked.bin"]),
    "touched": (lambda root: (root / ".gitignore").touch(), []),
    "deleted": (lambda root: (root / "annexed.bin").unlink(), ["annexed.bin"]),
    "staged": (
        lambda root: (_write("annexed.bin")(root), git(root, "add", "annexed.bin")),
        ["annexed.bin"],
    ),
    "moved": (lambda root: git(root, "mv", "annexed.bin", "b"), ["annexed.bin", "b"]),
    "untracked": (_write(HOSTILE), [os.fsdecode(HOSTILE)]),
    "untracked directory": (_write("new/deep/file"), ["new/"]),
    "ignored": (_write("new/deep/file.log"), []),
    "subdataset at another commit": (_commit_in_subdataset, ["sub"]),
    "subdataset not there": (lambda root: git(root, "submodule", "deinit", "-f", "sub"), []),
    "subdataset on an adjusted branch": (_adjust_subdataset, []),
    "configured not to tell": (_configure_blindness, ["sub", "untracked"]),
}


@needs_symlinks
@pytest.mark.parametrize("case", CASES)
def test_unsaved_agrees_with_what_datalad_run_refuses(ds: Path, case: str) -> None:
    change, expected = CASES[case]
    change(ds)
    assert unsaved(ds) == expected
    assert is_dirty(ds) == bool(expected)


def test_what_is_unsaved_within_a_subdataset_is_its_own(ds: Path) -> None:
    (ds / "sub" / "untracked").write_text("x")
    # the one deviation from `datalad run`, which would refuse
    assert is_dirty(ds)
    assert unsaved(ds) == []
    assert unsaved(ds / "sub") == ["untracked"]


def test_as_many_as_asked_for_from_one_process(ds: Path, process_log: ProcessLog) -> None:
    for number in range(20):
        (ds / f"new-{number:02}").touch()
    process_log.clear()
    assert unsaved(ds) == [f"new-{number:02}" for number in range(5)]
    assert len(unsaved(ds, 100)) == 20
    assert [c for c in process_log.commands("git") if " status " not in f"{c} "] == []


def test_head_of_a_branch(ds: Path) -> None:
    commit = git(ds, "rev-parse", "HEAD").strip()
    branch = git(ds, "symbolic-ref", "HEAD").strip()
    assert read_head(ds) == Head(commit, branch)
    git(ds, "switch", "-q", "-c", "some/branch")
    # Names that could be taken for it
    (ds / "HEAD").write_text("a file")
    git(ds, "tag", "some/branch", "HEAD~1")
    assert read_head(ds) == Head(commit, "refs/heads/some/branch")


def test_no_head_to_commit_to(ds: Path, tmp_path: Path) -> None:
    git(ds, "checkout", "-q", "--detach")
    with pytest.raises(DatasetError, match=r"not on a branch.*next: git -C .* switch BRANCH"):
        read_head(ds)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(NotADatasetError):
        read_head(empty)
    git(empty, "init", "-q")
    with pytest.raises(DatasetError, match=r"no commit yet; next: datalad save -d"):
        read_head(empty)


def test_a_merge_that_was_not_finished(ds: Path) -> None:
    git(ds, "switch", "-q", "-c", "other")
    git(ds, "commit", "-q", "--allow-empty", "-m", "other")
    git(ds, "switch", "-q", "-")
    git(ds, "commit", "-q", "--allow-empty", "-m", "mine")
    git(ds, "merge", "-q", "--no-commit", "--no-ff", "other")
    with pytest.raises(DatasetError, match=r"a merge was begun and not finished; next: git"):
        read_head(ds)


def test_the_git_directory_of_each_kind_of_work_tree(ds: Path, tmp_path: Path) -> None:
    assert own_git_directory(ds) == ds / ".git"
    linked = tmp_path / "new\nline"
    git(ds, "worktree", "add", "-q", "-b", "linked", str(linked))
    assert own_git_directory(linked).parent == ds / ".git" / "worktrees"
    assert read_head(linked).branch == "refs/heads/linked"
