"""Cloning into a place of the user's, and what only a clone has."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from datalad.distribution.update import Update

from datalad_bidsshare.cache.urls import Source, read_source
from datalad_bidsshare.dataset.cloning import (
    clone,
    clone_into,
    dataset_id_at,
    identify,
    unpushed,
)
from datalad_bidsshare.dataset.errors import DatasetError
from tests.cache.conftest import change, make_origin
from tests.cache.servers import serving
from tests.dataset.builders import annex_repo, clone_of, git, wait_for
from tests.dataset.conftest import Ria
from tests.platforms import needs_posix


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return make_origin(tmp_path / "from" / "origin")


@pytest.fixture
def source(origin: Path) -> Source:
    return read_source(origin)


def _left(directory: Path) -> list[str]:
    return sorted(p.name for p in directory.iterdir())


# Into a directory


def test_a_source_is_cloned_to_where_nothing_is(
    source: Source, origin: Path, tmp_path: Path
) -> None:
    dest = tmp_path / "new" / "parents" / "clone"
    commit = clone_into(source, dest)
    assert commit == git(origin, "rev-parse", "HEAD").strip()
    assert git(dest, "symbolic-ref", "--short", "HEAD").strip() == "main"
    git(dest, "annex", "get", "-q", ".")
    assert not git(dest, "status", "--porcelain")
    assert _left(dest.parent) == ["clone"]
    # it is the user's, and no secret
    assert git(dest, "config", "--default", "none", "annex.private").strip() == "none"
    assert str(dest.parent) not in (dest / ".git" / "config").read_text()


def test_only_the_source_is_named_while_it_is_cloned(
    origin: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of a bare repository, DataLad would show that it 'updates' what it cloned."""
    bare = tmp_path / "src.git"
    git(tmp_path, "clone", "-q", "--bare", str(origin), str(bare))
    level = logging.getLogger("datalad.core.distributed.clone").level
    with caplog.at_level(logging.INFO, "datalad"):
        clone_into(read_source(bare), tmp_path / "dest")
    told = [r.getMessage() for r in caplog.records if r.levelno >= logging.INFO]
    assert told == [f"Cloning {bare}"]
    assert capsys.readouterr().out == ""
    # as it was
    assert logging.getLogger("datalad.core.distributed.clone").level == level
    assert "result_renderer" not in vars(Update)


@needs_posix
def test_an_empty_directory_stays_the_one_it_is(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dest = tmp_path / "dest"
    dest.mkdir(mode=0o750)
    before = dest.stat()
    (tmp_path / "link").symlink_to(dest)
    # who is in it stays in it
    monkeypatch.chdir(dest)
    clone_into(source, tmp_path / "link")
    assert Path("a.json").exists()
    assert (dest.stat().st_ino, dest.stat().st_mode) == (before.st_ino, before.st_mode)
    assert _left(dest) == [".datalad", ".git", "a.json", "sub-01_T1w.nii.gz"]
    git(dest, "annex", "get", "-q", ".")
    assert not git(dest, "status", "--porcelain")


def test_a_directory_with_something_in_it_is_refused(source: Source, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    (dest / "mine").write_text("mine")
    with pytest.raises(DatasetError, match=r"not empty; next: "):
        clone_into(source, dest)
    assert _left(dest) == ["mine"]
    assert _left(tmp_path) == ["dest", "from"]


def test_a_version_is_checked_out(source: Source, origin: Path, tmp_path: Path) -> None:
    first = git(origin, "rev-parse", "HEAD").strip()
    git(origin, "tag", "v1")
    git(origin, "branch", "older/one")
    last = change(origin)
    for number, (at, commit) in enumerate(
        {None: last, "v1": first, first: first, first[:10]: first, "older/one": first}.items()
    ):
        dest = tmp_path / f"dest{number}"
        assert clone_into(source, dest, at=at) == commit
        assert git(dest, "rev-parse", "HEAD").strip() == commit
        assert (dest / "new.json").exists() == (commit == last)
    assert git(dest, "symbolic-ref", "--short", "HEAD").strip() == "older/one"


@pytest.mark.parametrize("at", ["v9", "", "-q", "--upload-pack=x", "^HEAD", "a b", "HEAD:a.json"])
@pytest.mark.parametrize("there", [False, True])
def test_a_version_that_is_not_there_leaves_nothing(
    at: str, there: bool, source: Source, tmp_path: Path
) -> None:
    dest = tmp_path / "dest"
    if there:
        dest.mkdir()
    with pytest.raises(DatasetError, match="next: "):
        clone_into(source, dest, at=at)
    assert _left(tmp_path) == ["dest", "from"] if there else ["from"]
    assert not there or not _left(dest)


def test_a_source_that_is_none_leaves_nothing(tmp_path: Path) -> None:
    for text in (tmp_path / "nothing", "http://127.0.0.1:1/ds", f"ria+{tmp_path.as_uri()}#~x"):
        with pytest.raises(DatasetError, match=r"next: "):
            clone_into(read_source(text), tmp_path / "new" / "parents" / "dest")
        assert not _left(tmp_path)


def test_the_version_of_a_ria_url_is_checked_out(ria: Ria, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(ria.store, store, symlinks=True)
    bare = next((store / "alias").iterdir()).resolve()
    git(bare, "tag", "v1")
    first = git(bare, "rev-parse", "HEAD").strip()
    git(tmp_path, "clone", "-q", str(bare), "work")
    last = change(tmp_path / "work")
    git(tmp_path / "work", "push", "-q", "origin", "HEAD")
    url = f"ria+{store.as_uri()}#~x"
    assert clone_into(read_source(f"{url}@v1"), tmp_path / "one") == first
    assert clone_into(read_source(url), tmp_path / "two") == last
    assert clone_into(read_source(f"{url}@v1"), tmp_path / "three", at=last) == last
    # content comes from the store
    git(tmp_path / "one", "annex", "get", "-q", "a.nii")


# Killed and interrupted

_CALL = """
import sys
from pathlib import Path
from datalad_bidsshare.cache.urls import read_source
from datalad_bidsshare.dataset.cloning import clone_into
print(clone_into(read_source(sys.argv[1]), Path(sys.argv[2])))
"""


def _start(source: Source, dest: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _CALL, source.url, str(dest)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@pytest.fixture
def pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Give a function that makes git stand still at a command, as long as a file is there."""
    here = tmp_path / "from" / "paused"
    here.mkdir(parents=True)
    real = shutil.which("git")
    (here / "git").write_text(
        f"#!/bin/sh\nif [ -f '{here}/hold' ]; then case \"$*\" in $(cat '{here}/hold'))\n"
        f"touch '{here}/reached'; while [ -f '{here}/hold' ]; do sleep 0.05; done\nesac; fi\n"
        f"exec '{real}' \"$@\"\n"
    )
    (here / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}{os.pathsep}{os.environ['PATH']}")

    def at(pattern: str) -> Path:
        (here / "reached").unlink(missing_ok=True)
        (here / "hold").write_text(pattern)
        return here / "reached"

    return at


@needs_posix
@pytest.mark.parametrize("there", [False, True])
def test_a_clone_that_was_killed_is_never_at_its_place(
    there: bool, source: Source, tmp_path: Path, pause: Callable[[str], Path]
) -> None:
    dest = tmp_path / "dest"
    if there:
        dest.mkdir()
    for command in ("*clone*", "*annex*init*"):
        reached = pause(command)
        process = _start(source, dest)
        wait_for(reached.exists)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        reached.with_name("hold").unlink()
        assert not (dest / ".git").exists()
    assert clone_into(source, dest) == git(dest, "rev-parse", "HEAD").strip()
    assert _left(tmp_path) == ["dest", "from"]
    assert not [name for name in _left(dest) if "bidsshare" in name]


@needs_posix
def test_an_interrupt_leaves_nothing(
    source: Source, tmp_path: Path, pause: Callable[[str], Path]
) -> None:
    reached = pause("*annex*init*")
    process = _start(source, tmp_path / "new" / "dest")
    wait_for(reached.exists)
    os.killpg(process.pid, signal.SIGINT)
    reached.with_name("hold").unlink()
    process.communicate()
    assert process.returncode != 0
    assert _left(tmp_path) == ["from"]


@needs_posix
def test_a_clone_that_was_being_moved_in_is_finished(source: Source, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    begun = dest / ".bidsshare-0123456789abcdef"
    begun.mkdir()
    clone(source, begun / "clone")
    (begun / "complete").touch()
    (begun / "clone" / "a.json").rename(dest / "a.json")
    commit = clone_into(source, dest)
    assert git(dest, "rev-parse", "HEAD").strip() == commit
    assert not git(dest, "status", "--porcelain")
    assert ".bidsshare-0123456789abcdef" not in _left(dest)


@needs_posix
@pytest.mark.parametrize("there", [False, True])
def test_of_two_calls_one_clones_and_the_other_is_told(
    there: bool, source: Source, tmp_path: Path, pause: Callable[[str], Path]
) -> None:
    dest = tmp_path / "dest"
    if there:
        dest.mkdir()
    reached = pause("*annex*init*")
    process = _start(source, dest)
    wait_for(reached.exists)
    reached.with_name("hold").unlink()
    # What the other one makes is not taken for what a killed one left.
    said: list[str] = []
    try:
        clone_into(source, dest)
    except DatasetError as e:
        said.append(str(e))
    out, err = process.communicate()
    assert len(said) + (process.returncode != 0) == 1, (said, out, err)
    assert git(dest, "status", "--porcelain") == ""
    assert _left(tmp_path) == ["dest", "from"]


@needs_posix
def test_a_name_like_ours_is_not_removed(source: Source, tmp_path: Path) -> None:
    names = [".dest.bidsshare-notes", ".dest.bidsshare-0123456789abcdeX", ".other.bidsshare-0"]
    for name in names:
        (tmp_path / name).mkdir()
    (tmp_path / ".dest.bidsshare-0123456789abcdef").symlink_to(tmp_path / "from")
    clone_into(source, tmp_path / "dest")
    assert {*names, ".dest.bidsshare-0123456789abcdef"} <= {*_left(tmp_path)}
    assert (tmp_path / "from" / "origin" / "a.json").exists()


# What a source is


def test_a_source_is_identified_without_a_clone(
    source: Source, origin: Path, tmp_path: Path, ria: Ria
) -> None:
    commit = git(origin, "rev-parse", "HEAD").strip()
    found = identify(source)
    assert (found.commit, found.dataset_id) == (commit, "11111111-0000-0000-0000-000000000000")
    assert dataset_id_at(origin) == found.dataset_id
    assert identify(read_source(ria.url)).commit == git(ria.source, "rev-parse", "HEAD").strip()
    plain = annex_repo(tmp_path / "plain", {"x": b"x"}, {})
    assert identify(read_source(plain)).dataset_id is None
    served = tmp_path / "served"
    served.mkdir()
    git(served, "clone", "-q", str(origin), "ds")
    git(served / "ds", "update-server-info")
    with serving(served, user="me", password="hush") as host:
        assert identify(read_source(f"http://me:hush@{host}/ds")).commit == commit
        with pytest.raises(DatasetError, match="next: ") as caught:
            identify(read_source(f"http://me:hushed@{host}/ds"))
    assert "hush" not in str(caught.value)


# What only this repository has


def test_what_is_elsewhere_is_not_told(source: Source, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    clone_into(source, dest)
    assert unpushed(dest) == []
    git(dest, "annex", "get", "-q", ".")
    assert unpushed(dest) == []


def test_what_only_this_repository_has_is_told(origin: Path, tmp_path: Path) -> None:
    dest = clone_of(origin, tmp_path / "dest")
    (dest / "untracked.txt").write_text("x")
    assert unpushed(dest) == ["modified or untracked: untracked.txt"]
    git(dest, "add", "untracked.txt")
    git(dest, "stash", "-q")
    assert unpushed(dest) == ["1 stash"]
    git(dest, "stash", "drop", "-q")
    git(dest, "checkout", "-q", "-b", "mine")
    commit = change(dest)
    git(dest, "checkout", "-q", "main")
    assert unpushed(dest) == [f"1 local commit, such as {commit[:7]} change new.json"]
    git(dest, "checkout", "-q", "--detach", "mine")
    git(dest, "branch", "-D", "-q", "mine")
    assert len(unpushed(dest)) == 1
    git(origin, "fetch", "-q", str(dest), f"{commit}:refs/heads/theirs")
    git(dest, "fetch", "-q")
    assert unpushed(dest) == []
    git(dest, "worktree", "add", "-q", str(tmp_path / "tree"), "main")
    assert unpushed(dest) == ["1 linked work tree"]


def test_what_an_adjusted_branch_adds_is_not_told_but_what_is_committed_on_it_is(
    origin: Path, tmp_path: Path
) -> None:
    dest = clone_of(origin, tmp_path / "dest")
    git(dest, "annex", "adjust", "--unlock", "-q")
    assert unpushed(dest) == []
    change(dest)
    (told,) = unpushed(dest)
    assert "change new.json" in told


def test_a_repository_without_a_remote_has_all_for_itself(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "unborn")
    assert unpushed(tmp_path / "unborn") == []
    root = annex_repo(tmp_path / "ds", {"x": b"x"}, {})
    (told,) = unpushed(root)
    assert told.startswith("1 local commit, such as ")
