"""Looking for content, and reading it."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.beneath import TooLarge, read_beneath
from datalad_bidsshare.dataset.errors import DatasetError, NotADatasetError
from datalad_bidsshare.dataset.keys import object_paths
from datalad_bidsshare.dataset.presence import (
    LARGEST_READ,
    Annex,
    annex_directory,
    git_directory,
    present,
    read_content,
)
from tests.dataset.builders import annex_repo, clone_of, drop_objects, git, infos, objects_of
from tests.dataset.conftest import Ria
from tests.platforms import needs_posix, needs_posix_names, needs_symlinks
from tests.process_log import ProcessLog


def here(root: Path, *paths: str) -> dict[str, bool]:
    return present(root, infos(root, *paths))


def contents(root: Path, *paths: str) -> dict[str, bytes | None]:
    return dict(read_content(root, infos(root, *paths)))


def test_source_has_all_and_a_clone_none(source: Path, clone: Path) -> None:
    assert set(here(source).values()) == {True}
    for info in infos(clone):
        assert present(clone, [info]) == {info.path: info.kind != "annex"}


def test_locked_files_need_no_process(source: Path, clone: Path, process_log: ProcessLog) -> None:
    known = {root: infos(root) for root in (source, clone)}
    process_log.clear()
    for root, described in known.items():
        assert any(present(root, described).values())
    assert process_log.count() == 0


@needs_posix_names
def test_contents(source: Path, clone: Path) -> None:
    paths = [
        "sub-01/events.tsv",
        "dataset_description.json",
        "sub-01/link.nii.gz",
        "outside",
        "empty.json",
        "sub-01/latin1-\udce9_bold.nii.gz",
    ]
    assert contents(source, *paths) == dict(
        zip(
            paths,
            [
                b"onset\tduration\n",
                b'{"Name": "x"}',
                None,
                None,
                b"",
                b"content of sub-01/latin1-\xe9_bold.nii.gz",
            ],
            strict=True,
        )
    )
    assert list(contents(clone, *paths).values()) == [None, b'{"Name": "x"}', None, None, b"", None]
    assert list(read_content(source, [])) == []


def test_what_is_staged_is_read_and_not_the_work_tree(clone: Path) -> None:
    (clone / "dataset_description.json").write_text("changed")
    assert contents(clone, "dataset_description.json") == {
        "dataset_description.json": b'{"Name": "x"}'
    }
    (clone / "dataset_description.json").unlink()
    assert here(clone, "dataset_description.json") == {"dataset_description.json": True}


def test_reading_stops_early(source: Path) -> None:
    described = infos(source) * 50
    reading = read_content(source, described)
    next(iter(reading))
    reading.close()  # type: ignore[attr-defined]


def test_unlocked_with_and_without_content(unlocked_source: Path, tmp_path: Path) -> None:
    assert set(here(unlocked_source).values()) == {True}
    assert contents(unlocked_source, "a.nii") == {"a.nii": b"A" * 1000}
    root = clone_of(unlocked_source, tmp_path / "clone")
    assert (root / "a.nii").read_bytes().startswith(b"/annex/objects/")
    assert {p for p, yes in here(root).items() if yes} == {"x.json"}
    assert contents(root, "a.nii", "x.json") == {"a.nii": None, "x.json": b"{}"}
    git(root, "annex", "get", "-q", "a.nii")
    assert here(root, "a.nii", "same as a.nii", "b.nii") == {
        "a.nii": True,
        "same as a.nii": True,
        "b.nii": False,
    }


def test_pointer_over_an_object_that_is_here(unlocked_source: Path, tmp_path: Path) -> None:
    root = clone_of(unlocked_source, tmp_path / "clone")
    pointer = (root / "a.nii").read_bytes()
    git(root, "annex", "get", "-q", "a.nii")
    (root / "a.nii").write_bytes(pointer)
    assert here(root, "a.nii") == {"a.nii": False}
    assert contents(root, "a.nii") == {"a.nii": b"A" * 1000}


def test_unlocked_and_changed_by_the_user(unlocked_source: Path, tmp_path: Path) -> None:
    root = clone_of(unlocked_source, tmp_path / "clone")
    (root / "a.nii").write_bytes(b"edited")
    (root / "b.nii").write_bytes(b"edited" * 10_000)
    assert here(root, "a.nii", "b.nii") == {"a.nii": True, "b.nii": True}
    assert contents(root, "a.nii") == {"a.nii": b"edited"}


def test_unlocked_and_not_in_the_work_tree(
    unlocked_source: Path, tmp_path: Path, process_log: ProcessLog
) -> None:
    root = clone_of(unlocked_source, tmp_path / "clone")
    git(root, "annex", "get", "-q", "a.nii")
    for name in ("a.nii", "b.nii", "same as locked.nii"):
        (root / name).unlink()
    (root / "same as locked.nii").mkdir()
    described = infos(root, "a.nii", "b.nii", "same as locked.nii")
    process_log.clear()
    assert list(present(root, described).values()) == [True, False, False]
    assert process_log.commands("git-annex") == ["git-annex contentlocation --batch"]


@needs_posix_names
def test_adjusted_branch(source: Path, clone: Path) -> None:
    git(clone, "annex", "get", "-q", "sub-01")
    git(clone, "annex", "adjust", "--unlock")
    found = here(clone)
    described = {i.path: i for i in infos(clone)}
    annexed = {p for p in found if described[p].kind == "annex"}
    expected = {p for p in annexed if p.startswith("sub-01/")} | {"derivatives/copy_T1w.nii.gz"}
    # git-annex has its content, but cannot write to a name that is no UTF-8
    expected.remove("sub-01/latin1-\udce9_bold.nii.gz")
    assert {p for p in annexed if found[p]} == expected
    assert contents(clone, "sub-01/events.tsv") == contents(source, "sub-01/events.tsv")


@needs_symlinks
def test_layout_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "tuned"
    git(tmp_path, "init", "-q", str(root))
    git(root, "-c", "annex.tune.objecthash1=true", "annex", "init", "-q")
    (root / "a").write_text("a")
    (root / "b").write_text("b")
    (root / "u").write_text("u")
    git(root, "annex", "add", "-q", ".")
    git(root, "commit", "-q", "-m", "x")
    git(root, "annex", "drop", "-q", "--force", "b")
    git(root, "annex", "unlock", "-q", "u")
    git(root, "commit", "-q", "-am", "u")
    assert here(root) == {"a": True, "b": False, "u": True}
    assert contents(root) == {"a": b"a", "b": None, "u": b"u"}
    (root / "a").unlink()
    (root / "a").symlink_to("b")
    assert here(root, "a") == {"a": False}


@needs_symlinks
def test_ephemeral_clone(ria: Ria, tmp_path: Path) -> None:
    import datalad.api as dl

    root = tmp_path / "ephemeral"
    dl.clone(ria.url, root, reckless="ephemeral", result_renderer="disabled")
    assert (root / ".git" / "annex").is_symlink()
    assert here(root, "a.nii", "b.nii") == {"a.nii": True, "b.nii": True}
    assert contents(root, "a.nii", "b.nii") == {"a.nii": b"A" * 1000, "b.nii": b"B" * 2000}


@needs_symlinks
def test_ephemeral_clone_of_a_bare_repository(source: Path, tmp_path: Path) -> None:
    # its objects lie where bare repositories keep them, and no link of the clone names that
    bare, root = tmp_path / "bare.git", tmp_path / "ephemeral"
    git(tmp_path, "clone", "-q", "--bare", str(source), str(bare))
    git(bare, "annex", "init", "-q")
    git(bare, "annex", "get", "-q", "--all")
    git(tmp_path, "clone", "-q", str(bare), str(root))
    (root / ".git" / "annex").symlink_to(bare / "annex")
    assert set(here(root).values()) == {True}
    assert contents(root, "sub-01/events.tsv") == {"sub-01/events.tsv": b"onset\tduration\n"}


@needs_symlinks
def test_where_the_annex_is(source: Path, clone: Path, tmp_path: Path) -> None:
    assert annex_directory(source) == source / ".git" / "annex"
    linked = tmp_path / "linked"
    git(clone, "annex", "get", "-q", "sub-01/events.tsv")
    git(clone, "worktree", "add", "-q", "--detach", str(linked))
    # git-annex makes a link of the file with which git begins
    assert (linked / ".git").is_symlink()
    gitdir = (linked / ".git").resolve()
    for _ in range(2):
        assert annex_directory(linked) == clone / ".git" / "annex"
        assert here(linked, "sub-01/events.tsv") == {"sub-01/events.tsv": True}
        (linked / ".git").unlink()
        (gitdir / "annex").unlink(missing_ok=True)
        (linked / ".git").write_text(f"gitdir: {gitdir}\n")
    super_ = tmp_path / "super"
    super_.mkdir()
    git(super_, "init", "-q")
    git(super_, "submodule", "--quiet", "add", str(source), "sub")
    assert (super_ / "sub" / ".git").is_file()
    assert annex_directory(super_ / "sub") is None
    assert here(super_ / "sub", "sub-01/events.tsv") == {"sub-01/events.tsv": False}
    git(super_ / "sub", "annex", "init", "-q")
    git(super_ / "sub", "annex", "get", "-q", "sub-01/events.tsv")
    assert annex_directory(super_ / "sub") == super_ / ".git" / "modules" / "sub" / "annex"
    assert contents(super_ / "sub", "sub-01/events.tsv", "sub-02/sub-02_T1w.nii.gz") == {
        "sub-01/events.tsv": b"onset\tduration\n",
        "sub-02/sub-02_T1w.nii.gz": None,
    }
    git(tmp_path, "clone", "-q", "--bare", str(clone), "bare.git")
    assert annex_directory(tmp_path / "bare.git") is None


@needs_symlinks
def test_where_the_repository_is(source: Path, clone: Path, tmp_path: Path) -> None:
    assert git_directory(clone) == clone / ".git"
    linked = tmp_path / "linked"
    git(clone, "worktree", "add", "-q", "--detach", str(linked))
    # git-annex makes a link of the file with which git begins
    assert (linked / ".git").is_symlink()
    gitdir = (linked / ".git").resolve()
    assert git_directory(linked) == clone / ".git"
    (linked / ".git").unlink()
    (linked / ".git").write_text(f"gitdir: {gitdir}\n")
    assert git_directory(linked) == clone / ".git"
    git(tmp_path, "clone", "-q", "--bare", str(source), "bare.git")
    assert git_directory(tmp_path / "bare.git") == tmp_path / "bare.git"
    (tmp_path / "to-clone").symlink_to(clone)
    assert git_directory(tmp_path / "to-clone") == clone / ".git"
    super_ = tmp_path / "super"
    super_.mkdir()
    git(super_, "init", "-q")
    git(super_, "submodule", "--quiet", "add", str(source), "sub")
    assert git_directory(super_ / "sub") == super_ / ".git" / "modules" / "sub"
    for directory in (tmp_path, tmp_path / "none", clone / "sub-01"):
        with pytest.raises(NotADatasetError):
            git_directory(directory)


def test_looking_initializes_nothing(unlocked_source: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(unlocked_source), "plain")
    root = tmp_path / "plain"
    before = git(root, "config", "--list", "--local")
    (root / "a.nii").unlink()
    assert {p for p, yes in here(root).items() if yes} == {"x.json"}
    assert contents(root, "a.nii", "b.nii") == {"a.nii": None, "b.nii": None}
    assert git(root, "config", "--list", "--local") == before
    assert not (root / ".git" / "annex").exists()


@needs_posix
def test_git_annex_is_missing(
    unlocked_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = clone_of(unlocked_source, tmp_path / "clone")
    described = infos(root)
    programs = tmp_path / "only-git"
    programs.mkdir()
    real = shutil.which("git")
    assert real
    (programs / "git").symlink_to(real)
    monkeypatch.setenv("PATH", str(programs))
    # pointers in the work tree tell enough
    assert sum(present(root, described).values()) == 1
    (root / "a.nii").unlink()
    with pytest.raises(DatasetError, match="annex"):
        present(root, described)


@needs_symlinks
def test_an_object_that_is_a_link_is_not_content(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"a.json": b"{}"}, {})
    secret = tmp_path / "secret"
    secret.write_text("secret")
    (info,) = infos(root)
    (path,) = (root / ".git" / "annex" / "objects").rglob(f"*/{info.key}/{info.key}")
    drop_objects(root, info.key or "")
    path.symlink_to(secret)
    assert present(root, [info]) == {"a.json": False}
    assert dict(read_content(root, [info])) == {"a.json": None}
    # and not through a directory that is one either
    path.unlink()
    path.parent.rmdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / path.name).write_text("secret")
    path.parent.symlink_to(tmp_path / "elsewhere")
    assert dict(read_content(root, [info])) == {"a.json": None}


def test_what_is_too_large_is_not_read(
    unlocked_source: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr("datalad_bidsshare.dataset.presence.LARGEST_READ", 999)
    origin = annex_repo(
        tmp_path / "ds",
        {"by key": b"x" * 1000, "small": b"s" * 999, "by lie": b"short"},
        {"in git": b"y" * 1000, "small in git": b"z" * 999},
    )
    (info,) = infos(origin, "by lie")
    (lie,) = objects_of(origin, info.key or "")
    lie.write_bytes(b"l" * 1000)
    git(origin, "annex", "fromkey", "--force", "URL--http://example.org/x", "no size")
    (without,) = infos(origin, "no size")
    place = origin / ".git" / "annex" / "objects" / object_paths(without.key or "")[0]
    place.parent.mkdir(parents=True)
    place.write_bytes(b"u" * 1000)
    expected = {
        "by key": None,
        "by lie": None,
        "in git": None,
        "no size": None,
        "small": b"s" * 999,
        "small in git": b"z" * 999,
    }
    caplog.set_level(logging.WARNING, "datalad.bidsshare")
    monkeypatch.setattr(logging.getLogger("datalad"), "propagate", True)
    assert contents(origin) == expected
    told = [r.getMessage() for r in caplog.records]
    assert [t.split(" in /")[0] for t in told] == [p for p, c in expected.items() if c is None]
    assert all(str(origin) in t for t in told)
    # changed by the user, who may write anything
    root = clone_of(unlocked_source, tmp_path / "clone")
    (root / "same as locked.nii").write_bytes(b"e" * 1000)
    assert contents(root, "same as locked.nii") == {"same as locked.nii": None}
    (root / "same as locked.nii").write_bytes(b"e" * 999)
    assert contents(root, "same as locked.nii") == {"same as locked.nii": b"e" * 999}
    # what is here is here, whatever its size
    assert set(here(origin).values()) == {True}


def test_no_metadata_of_a_real_study_is_too_large() -> None:
    assert LARGEST_READ >= 100 * 10**6


def test_looking_again_sees_an_annex_that_came_later(source: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(source), "plain")
    root = tmp_path / "plain"
    described = infos(root, "sub-01/events.tsv")
    annex = Annex(root)
    assert annex.objects is None
    assert annex.present(described) == {"sub-01/events.tsv": False}
    git(root, "annex", "get", "-q", "sub-01/events.tsv")
    assert annex.present(described) == {"sub-01/events.tsv": True}


@needs_symlinks
@pytest.mark.parametrize("relative", [True, False])
def test_reading_beneath(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative: bool) -> None:
    if not relative:
        # the way of systems that cannot open relative to a directory
        monkeypatch.setattr("datalad_bidsshare.dataset.beneath._RELATIVE", False)
    base = tmp_path / "base"
    (base / "d" / "e").mkdir(parents=True)
    (base / "d" / "e" / "f").write_text("f")
    (tmp_path / "secret").write_text("secret")
    (base / "out").symlink_to(tmp_path)
    (base / "link").symlink_to("d/e/f")
    assert read_beneath(base, "d/e/f", 100) == b"f"
    for path in (
        "d/e",
        "d/e/none",
        "none/f",
        "link",
        "out/secret",
        "../secret",
        "d//e/f",
        "d/./e/f",
        "/etc/passwd",
        "",
        "d/e/f/g",
    ):
        assert read_beneath(base, path, 100) is None, path
    (tmp_path / "to-base").symlink_to(base)
    assert read_beneath(tmp_path / "to-base", "d/e/f", 100) == b"f"
    assert read_beneath(tmp_path / "none", "f", 100) is None
    (base / "large").write_bytes(b"x" * 101)
    with pytest.raises(TooLarge):
        read_beneath(base, "large", 100)
    assert read_beneath(base, "large", 101) == b"x" * 101
    if hasattr(os, "mkfifo"):
        os.mkfifo(base / "fifo")
        assert read_beneath(base, "fifo", 100) is None


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs two users")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_objects_that_this_user_may_not_read(tmp_path: Path, for_nobody: Path) -> None:
    root = annex_repo(for_nobody / "ds", {"a.json": b"{}"}, {})
    for path in (root / ".git" / "annex" / "objects").rglob("*"):
        if path.is_file():
            path.chmod(0o400)
    code = (
        "import sys; from pathlib import Path; "
        "from datalad_bidsshare.dataset.presence import read_content, present; "
        "from datalad_bidsshare.dataset.blobs import describe; "
        "from datalad_bidsshare.dataset.listing import read_index; root = Path(sys.argv[1]); "
        "i = list(describe(root, read_index(root).entries())); "
        "print(present(root, i), dict(read_content(root, i)))"
    )
    done = subprocess.run(
        [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            sys.executable,
            "-c",
            code,
            str(root),
        ],
        capture_output=True,
        text=True,
        cwd=for_nobody,
        env={
            **os.environ,
            "GIT_CONFIG_COUNT": "0",
            "GIT_CONFIG_GLOBAL": str(for_nobody / "config"),
            "HOME": str(for_nobody),
            "PYTHONPATH": os.getcwd(),
        },
    )
    assert done.stdout.strip() == "{'a.json': True} {'a.json': None}", done.stderr
