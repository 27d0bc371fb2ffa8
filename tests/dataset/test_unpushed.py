"""What is lost with a repository: found, each kind of it, and nothing else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.unpushed import unpushed
from tests.dataset.builders import annex_repo, git


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return annex_repo(tmp_path / "source", {"a.dat": b"a" * 500}, {".gitignore": b"*.log\n"})


@pytest.fixture
def clone(source: Path, tmp_path: Path) -> Path:
    """A private clone, as managed ones are."""
    root = tmp_path / "clone"
    git(tmp_path, "clone", "-q", "-c", "annex.private=true", str(source), str(root))
    git(root, "annex", "init", "-q")
    git(root, "annex", "get", "-q", ".")
    return root


def lost(root: Path) -> list[str]:
    return unpushed(root, removing=True)


def loose(root: Path, message: str) -> str:
    """Make a commit that nothing leads to."""
    return git(root, "commit-tree", "-p", "HEAD", "-m", message, "HEAD^{tree}").strip()


def on_a_tag(root: Path) -> None:
    git(root, "tag", "mine", loose(root, "work"))


def on_an_annotated_tag(root: Path) -> None:
    git(root, "tag", "-m", "x", "mine", loose(root, "work"))


def on_a_branch_for_synchronizing(root: Path) -> None:
    git(root, "branch", "synced/main", loose(root, "work"))


def on_a_branch_of_any_name(root: Path) -> None:
    git(root, "update-ref", "refs/whatever/x", loose(root, "work"))


def with_no_branch(root: Path) -> None:
    git(root, "checkout", "-q", "--detach")
    git(root, "commit", "-q", "--allow-empty", "-m", "work")


def on_an_adjusted_branch(root: Path) -> None:
    git(root, "annex", "adjust", "-q", "--unlock")
    git(root, "commit", "-q", "--allow-empty", "-m", "work")


def amended_on_an_adjusted_branch(root: Path) -> None:
    git(root, "annex", "adjust", "-q", "--unlock")
    (root / "work").write_text("x")
    git(root, "add", "work")
    git(root, "commit", "-q", "--amend", "--no-edit", "--date=2001-01-01T00:00:00")


def in_notes(root: Path) -> None:
    git(root, "notes", "add", "-m", "thoughts", "HEAD")


def stashed(root: Path) -> None:
    (root / ".gitignore").write_text("changed")
    git(root, "stash", "-q")


def ignored(root: Path) -> None:
    (root / "results.log").write_text("x")


def metadata(root: Path) -> None:
    git(root, "annex", "metadata", "-q", "a.dat", "-s", "seen=yes")


def metadata_in_the_journal(root: Path) -> None:
    git(root, "-c", "annex.alwayscommit=false", *("annex", "metadata", "a.dat", "-s", "seen=yes"))
    assert list((root / ".git/annex/journal").glob("*.met"))


def _copy_new(source: str, target: str) -> str:
    """Copy what is not there: objects are read-only."""
    return target if Path(target).exists() else shutil.copy2(source, target)


def in_a_repository_without_a_work_tree(root: Path) -> None:
    modules = root / ".git" / "modules" / "sub" / "deep"
    git(root, "clone", "-q", "--bare", str(root), str(modules))
    git(modules, "config", "core.bare", "false")
    git(modules, "config", "core.worktree", "../../../../nowhere")
    git(modules, "--work-tree=.", "fetch", "-q", "origin", "+refs/heads/*:refs/remotes/origin/*")
    assert lost(root) == []
    commit = loose(root, "work")
    shutil.copytree(
        root / ".git/objects", modules / "objects", dirs_exist_ok=True, copy_function=_copy_new
    )
    git(modules, "--work-tree=.", "update-ref", "refs/heads/new", commit)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (on_a_tag, "1 local commit, such as .* work, on tags"),
        (on_an_annotated_tag, "1 local commit, such as .* work, on tags"),
        (on_a_branch_for_synchronizing, "1 local commit, such as .* work"),
        (on_a_branch_of_any_name, "1 local commit, such as .* work"),
        (with_no_branch, "1 local commit, such as .* work"),
        (on_an_adjusted_branch, "1 local commit, such as .* work"),
        (amended_on_an_adjusted_branch, "1 local commit, such as .*adjusted"),
        (in_notes, "1 local commit, such as .*otes added"),
        (stashed, "1 stash"),
        (ignored, "ignored files: results.log"),
        (metadata, "what git-annex was told here: .*log.met"),
        (metadata_in_the_journal, "what git-annex was told here: .*log.met"),
        (in_a_repository_without_a_work_tree, "modules/sub/deep: 1 local commit.* work"),
    ],
)
def test_each_kind_of_work_is_found(clone: Path, make: Callable[[Path], None], told: str) -> None:
    assert lost(clone) == []
    make(clone)
    (found,) = lost(clone)
    assert re.search(told, found), found


def test_what_git_annex_did_by_itself_is_no_work(source: Path, clone: Path) -> None:
    git(source, "annex", "metadata", "-q", "a.dat", "-s", "seen=yes")
    git(clone, "fetch", "-q")
    git(clone, "config", "annex.private", "false")
    git(clone, "annex", "drop", "-q", "a.dat")
    git(clone, "annex", "get", "-q", "a.dat")
    git(clone, "annex", "adjust", "-q", "--unlock")
    assert lost(clone) == []


def test_tags_of_the_source_are_no_work_and_are_asked_for(source: Path, clone: Path) -> None:
    git(source, "tag", "release", loose(source, "only on a tag"))
    git(clone, "fetch", "-q", "--tags")
    assert lost(clone) == []
    source.rename(source.with_name("gone"))
    (found,) = lost(clone)
    assert "only on a tag, on tags (origin cannot be asked" in found


def test_what_was_thrown_away_is_no_work(clone: Path) -> None:
    git(clone, "commit", "-q", "--allow-empty", "-m", "work")
    assert lost(clone)
    git(clone, "reset", "-q", "--hard", "origin/HEAD")
    assert lost(clone) == []
