"""Giving back disk space."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.drop import DropResult, drop
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.presence import present
from datalad_bidsshare.dataset.transfer import get
from tests.dataset.builders import annex_repo, clone_of, git, infos
from tests.dataset.conftest import Ria
from tests.platforms import needs_symlinks
from tests.process_log import ProcessLog


def here(root: Path) -> set[str]:
    return {p for p, yes in present(root, infos(root)).items() if yes}


def dropped(results: list[DropResult]) -> dict[str, tuple[str, int]]:
    return {r.info.path: (r.status, r.bytesize) for r in results}


def test_what_was_fetched_is_given_back(source: Path, clone: Path) -> None:
    described = infos(clone)
    before = here(clone)
    assert {r.status for r in get(clone, described)} <= {"ok", "notneeded"}
    assert here(clone) == {i.path for i in described}
    results = list(drop(clone, described))
    assert [r.message for r in results if r.message] == []
    assert here(clone) == before
    assert {r.info.path for r in results} == {i.path for i in described}
    assert len(results) == len(described)
    keys = {i.key: i.bytesize for i in described if i.key}
    # each key once, however many files have it
    assert sum(r.bytesize for r in results) == sum(b or 0 for b in keys.values())
    assert {r.info.kind for r in results if r.status == "ok"} == {"annex"}
    assert here(source) == {i.path for i in described}
    assert {r.status for r in drop(clone, described)} == {"notneeded"}
    assert git(clone, "status", "--porcelain") == ""


def test_only_what_is_asked_for(clone: Path) -> None:
    git(clone, "annex", "get", "-q", "sub-02", "sub-03")
    (info,) = infos(clone, "sub-02/sub-02_T1w.nii.gz")
    assert dropped(list(drop(clone, [info]))) == {info.path: ("ok", 600)}
    assert "sub-03/sub-03_T1w.nii.gz" in here(clone)


def test_the_last_copy_stays(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"a": b"A", "new\nline": b"NL"}, {"x.json": b"{}"})
    results = {r.info.path: r for r in drop(root, infos(root))}
    assert {p: r.status for p, r in results.items()} == {
        "a": "error",
        "new\nline": "error",
        "x.json": "notneeded",
    }
    assert here(root) == {"a", "new\nline", "x.json"}
    for path in ("a", "new\nline"):
        assert results[path].bytesize == 0
        message = results[path].message
        assert message.startswith(
            "it is kept: this is the only known copy; next: copy it elsewhere"
        )
        assert "annex copy --key=" in message
    # and one that is somewhere else but cannot be reached
    clone = clone_of(root, tmp_path / "clone")
    git(clone, "annex", "get", "-q")
    root.rename(tmp_path / "gone")
    assert {r.status for r in drop(clone, infos(clone, "a"))} == {"error"}
    assert "a" in here(clone)


def test_unlocked_files_are_pointers_again(unlocked_source: Path, tmp_path: Path) -> None:
    root = clone_of(unlocked_source, tmp_path / "clone")
    described = infos(root)
    list(get(root, described))
    assert (root / "a.nii").read_bytes() == b"A" * 1000
    results = list(drop(root, described))
    assert {r.status for r in results} == {"ok", "notneeded"}
    assert here(root) == {"x.json"}
    for name in ("a.nii", "same as a.nii", "b.nii", "same as locked.nii"):
        assert (root / name).read_bytes().startswith(b"/annex/objects/"), name
    # a file that the user changed is the user's
    list(get(root, described))
    (root / "a.nii").unlink()
    (root / "a.nii").write_bytes(b"changed")
    list(drop(root, infos(root, "a.nii")))
    assert (root / "a.nii").read_bytes() == b"changed"


def test_by_key_and_deleted_from_the_work_tree(clone: Path) -> None:
    described = infos(clone, "sub-02/sub-02_T1w.nii.gz", "sub-03/sub-03_T1w.nii.gz")
    list(get(clone, described))
    shutil.rmtree(clone / "sub-02")
    assert [r.status for r in drop(clone, described)] == ["ok", "ok"]
    git(clone, "checkout", "-q", ".")
    list(get(clone, described))
    assert [r.status for r in drop(clone, described, by_key=True)] == ["ok", "ok"]


@needs_symlinks
def test_a_borrowed_annex_is_left_alone(ria: Ria, tmp_path: Path) -> None:
    import datalad.api as dl

    root = tmp_path / "ephemeral"
    dl.clone(ria.url, root, reckless="ephemeral", result_renderer="disabled")
    described = infos(root)
    stored = sorted(ria.store.rglob("*"))
    # whatever its configuration says
    git(root, "config", "--unset-all", "datalad.clone.reckless")
    git(root, "config", "annex.private", "false")
    with pytest.raises(DatasetError, match="symbolic link"):
        list(drop(root, described))
    assert sorted(ria.store.rglob("*")) == stored
    # nor through its objects
    os.unlink(root / ".git" / "annex")
    (root / ".git" / "annex").mkdir()
    (objects,) = ria.store.glob("???/*/annex/objects")
    (root / ".git" / "annex" / "objects").symlink_to(objects)
    with pytest.raises(DatasetError, match="symbolic link"):
        list(drop(root, described))


@needs_symlinks
def test_a_linked_work_tree_has_its_own_annex(clone: Path, tmp_path: Path) -> None:
    git(clone, "annex", "get", "-q", "sub-02")
    linked = tmp_path / "linked"
    git(clone, "worktree", "add", "-q", "--detach", str(linked))
    (info,) = infos(linked, "sub-02/sub-02_T1w.nii.gz")
    assert [r.status for r in drop(linked, [info])] == ["ok"]
    assert info.path not in here(clone)


def test_one_process_that_is_not_forced(clone: Path, process_log: ProcessLog) -> None:
    described = [i for i in infos(clone) if "\n" not in i.path]
    list(get(clone, described))
    process_log.clear()
    list(drop(clone, described))
    commands = process_log.commands()
    assert sum(c.startswith("git ") and "annex drop --batch -z" in c for c in commands) == 1
    assert not any("--force" in c for c in commands)


def test_stopping_early(clone: Path) -> None:
    described = infos(clone)
    list(get(clone, described))
    results = drop(clone, described)
    next(r for r in results if r.status == "ok")
    results.close()
    # nothing is locked, and what is left can be dropped
    assert {r.status for r in drop(clone, described)} <= {"ok", "notneeded"}
    assert here(clone) == {i.path for i in described if i.kind != "annex"}
