"""Subdatasets that the source of a managed clone does not have any more."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import datalad.api as dl
import pytest
from datalad.utils import swallow_logs

from datalad_bidsshare.cache.clones import use_clone
from datalad_bidsshare.cache.urls import Source, read_source
from datalad_bidsshare.dataset.cloning import unpushed
from datalad_bidsshare.dataset.errors import DatasetError
from tests.cache.conftest import change
from tests.dataset.builders import annex_repo, git, objects_of
from tests.superdatasets import make_dataset

_X = "sourcedata/x"


@pytest.fixture
def above(tmp_path: Path) -> Path:
    """A source with a subdataset, in which there is another one."""
    root = tmp_path / "above"
    annex_repo(root / _X / "deep", {"y.nii": b"y" * 100}, {"y.json": b"{}"})
    make_dataset(root / _X, {"x.nii": "x" * 100})
    make_dataset(root, {"README": "x", "file": "f"})
    return root


@pytest.fixture
def clone(above: Path, cache: Path) -> Path:
    """A managed clone of it, with both subdatasets and no content."""
    with use_clone(read_source(above)) as made:
        dl.get(
            [str(made.root / _X), str(made.root / _X / "deep")],
            get_data=False,
            dataset=str(made.root),
            result_renderer="disabled",
        )
        assert (made.root / _X / "deep" / "y.json").exists()
        return made.root


def _commit(root: Path) -> str:
    git(root, "commit", "-q", "-m", "changed")
    return git(root, "rev-parse", "HEAD").strip()


def _follows(source: Source, root: Path, commit: str) -> None:
    """Show that a clone has a commit in its work tree, and nothing else."""
    with use_clone(source) as clone:
        assert clone.root == root
        assert clone.commit == git(root, "rev-parse", "HEAD").strip() == commit
        assert not git(root, "status", "--porcelain", "--ignored")
        assert unpushed(root) == []


def _removed(above: Path) -> None:
    git(above, "rm", "-q", "-f", _X)


def _moved(above: Path) -> None:
    git(above, "mv", _X, "elsewhere")


def _replaced_by_files(above: Path) -> None:
    _removed(above)
    (above / _X).mkdir(parents=True)
    (above / _X / "a.json").write_text("a")
    git(above, "add", _X)


def _replaced_by_a_file(above: Path) -> None:
    _removed(above)
    (above / "sourcedata").mkdir(exist_ok=True)
    (above / _X).write_text("a")
    git(above, "add", _X)


def _replaced_above(above: Path) -> None:
    _removed(above)
    shutil.rmtree(above / "sourcedata", ignore_errors=True)
    (above / "sourcedata").write_text("a")
    git(above, "add", "sourcedata")


@pytest.mark.parametrize(
    ("how", "content"),
    [
        (_removed, False),
        (_moved, False),
        (_replaced_by_files, True),
        (_replaced_by_a_file, False),
        (_replaced_above, True),
    ],
)
def test_the_clone_follows(
    how: Callable[[Path], None], content: bool, above: Path, clone: Path
) -> None:
    source = read_source(above)
    if content:
        git(clone / _X, "annex", "get", "-q", "x.nii")
    how(above)
    with swallow_logs(new_level=30) as log:
        _follows(source, clone, _commit(above))
        assert ("has no subdataset sourcedata/x any more" in log.out) == content
    for name in ("one", "two"):
        _follows(source, clone, change(above, name))
    kept = clone / ".git" / "bidsshare"
    assert kept.exists() == content
    if how in (_removed, _moved):
        assert not os.path.lexists(clone / "sourcedata")


def test_content_of_one_that_was_removed_is_kept_until_it_was_given_back(
    above: Path, clone: Path
) -> None:
    source = read_source(above)
    deep = clone / _X / "deep"
    git(deep, "annex", "get", "-q", "y.nii")
    key = git(deep, "annex", "lookupkey", "y.nii").strip()
    _removed(above)
    with swallow_logs(new_level=30) as log:
        _follows(source, clone, _commit(above))
        (kept,) = (clone / ".git" / "bidsshare" / "removed").iterdir()
        assert str(kept / _X) in log.out
    with swallow_logs(new_level=30) as log:
        _follows(source, clone, change(above))
        assert not log.out
    (_,) = objects_of(kept / _X / "deep", key)
    git(kept / _X / "deep", "annex", "drop", "-q", "--force", "--all")
    _follows(source, clone, change(above, "more"))
    assert not kept.exists()
    assert not (clone / ".git" / "bidsshare").exists()


def test_one_that_was_removed_further_down_goes_too(above: Path, clone: Path) -> None:
    git(above / _X, "rm", "-q", "-f", "deep")
    _commit(above / _X)
    git(above, "add", _X)
    _follows(read_source(above), clone, _commit(above))
    assert not (clone / _X / "deep").exists()
    assert (clone / _X / "x.nii").is_symlink()
    _follows(read_source(above), clone, change(above))


def test_a_file_that_became_a_subdataset(above: Path, clone: Path) -> None:
    source = read_source(above)
    git(above, "rm", "-q", "file")
    annex_repo(above / "file", {"z.nii": b"z" * 100}, {"z.json": b"{}"})
    dl.Dataset(above).save(result_renderer="disabled")
    _follows(source, clone, git(above, "rev-parse", "HEAD").strip())
    dl.get(str(clone / "file"), get_data=False, dataset=str(clone), result_renderer="disabled")
    _follows(source, clone, change(above))


def test_work_in_one_that_was_removed_is_kept_in_its_place(above: Path, clone: Path) -> None:
    source = read_source(above)
    (clone / _X / "mine.txt").write_text("mine")
    _removed(above)
    commit = _commit(above)
    with pytest.raises(DatasetError, match=r"sourcedata/x: .*mine\.txt.*next: "), use_clone(source):
        pass
    assert (clone / _X / "mine.txt").read_text() == "mine"
    with use_clone(source, update=False) as kept:
        assert kept.root == clone
    (clone / _X / "mine.txt").unlink()
    _follows(source, clone, commit)


def test_a_call_that_was_killed_when_one_was_taken_out_is_finished_by_the_next_one(
    above: Path, clone: Path
) -> None:
    """Nothing stands in the mount, and git has not moved yet."""
    from datalad_bidsshare.dataset.removed import take_out_removed
    from datalad_bidsshare.dataset.unpushed import BASE, TARGET

    _removed(above)
    commit = _commit(above)
    git(clone, "fetch", "-q")
    git(clone, "update-ref", BASE, "HEAD")
    git(clone, "update-ref", TARGET, commit)
    take_out_removed(clone, commit)
    assert not (clone / _X).exists()
    assert unpushed(clone) == []
    # what is left of one that was being removed
    rest = clone / ".git" / "bidsshare" / "removed" / "01234567" / "sourcedata"
    rest.mkdir(parents=True)
    _follows(read_source(above), clone, commit)
    assert not (clone / ".git" / "bidsshare").exists()
