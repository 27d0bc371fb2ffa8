"""Datasets in which nothing may be dropped at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.drop import drop, drop_keys, give_back, refuse_to_drop
from datalad_bidsshare.dataset.errors import DatasetError, NotADatasetError
from datalad_bidsshare.dataset.objects import info_of, walk_objects
from tests.dataset.builders import PATIENCE, clone_of, git, infos
from tests.dataset.conftest import Ria
from tests.platforms import POSIX, needs_symlinks
from tests.process_log import ProcessLog

ROOT = POSIX and os.geteuid() == 0

# `refuse_to_drop` needs no package that another user could not read.
_ASK = """
import sys
sys.path[:0] = sys.argv[2:]
from pathlib import Path
from datalad_bidsshare.dataset.drop import refuse_to_drop
print(refuse_to_drop(Path(sys.argv[1])))
"""


@pytest.fixture
def here(source: Path, tmp_path: Path) -> Path:
    """A clone with some content, all of which could be dropped."""
    root = clone_of(source, tmp_path / "clone")
    git(root, "annex", "get", "-q", "sub-01/sub-01_T1w.nii.gz", "sub-02")
    return root


def refused(root: Path) -> str:
    """Tell why, which is the same whatever is asked for, and see that nothing is changed."""
    reason = refuse_to_drop(root)
    assert reason and "\n" not in reason and "next: " in reason
    held = sorted(o.key for o in walk_objects(root))
    for results in (
        drop(root, infos(root)),
        drop(root, infos(root), by_key=True, unchecked=True),
        drop_keys(root, list(walk_objects(root))),
        drop_keys(root, [], unchecked=True),
    ):
        with pytest.raises(DatasetError) as error:
            next(results)
        assert str(error.value) == reason
    assert sorted(o.key for o in walk_objects(root)) == held
    return reason


def test_a_clone_of_our_own(here: Path, process_log: ProcessLog) -> None:
    assert refuse_to_drop(here) == ""
    assert process_log.count() == 0


def test_no_annex_yet_and_no_dataset(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "plain")
    assert refuse_to_drop(tmp_path / "plain") == ""
    assert list(drop(tmp_path / "plain", [])) == []
    with pytest.raises(NotADatasetError):
        refuse_to_drop(tmp_path)


@needs_symlinks
def test_a_borrowed_annex(ria: Ria, tmp_path: Path) -> None:
    import datalad.api as dl

    root = tmp_path / "ephemeral"
    dl.clone(ria.url, root, reckless="ephemeral", result_renderer="disabled")
    described = infos(root)
    stored = sorted(ria.store.rglob("*"))
    # Whatever its configuration says
    for name in ("datalad.clone.reckless", "annex.private"):
        git(root, "config", "--unset-all", name)
    assert "has the annex of another repository" in refused(root)
    # Also under an interpreter that skips what is asserted
    code = (
        "import sys; from pathlib import Path\n"
        "from datalad_bidsshare.dataset.drop import drop\n"
        "from tests.dataset.builders import infos\n"
        "root = Path(sys.argv[1])\n"
        "list(drop(root, infos(root), unchecked=True))\n"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", code, str(root)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode != 0 and b"has the annex of another repository" in done.stderr
    assert sorted(ria.store.rglob("*")) == stored
    give_back(root, described)
    assert sorted(ria.store.rglob("*")) == stored
    # A link further down
    os.unlink(root / ".git" / "annex")
    (root / ".git" / "annex").mkdir()
    (objects,) = ria.store.glob("???/*/annex/objects")
    (root / ".git" / "annex" / "objects").symlink_to(objects)
    assert "has the annex of another repository" in refused(root)
    assert sorted(ria.store.rglob("*")) == stored


def test_as_a_subdataset_of_others(here: Path, tmp_path: Path) -> None:
    # `.git` as a file is how git does it, and no annex of another
    parent = tmp_path / "parent"
    parent.mkdir()
    git(parent, "init", "-q")
    git(parent, "submodule", "--quiet", "add", str(here), "sub")
    sub = parent / "sub"
    git(sub, "annex", "init", "-q")
    assert refuse_to_drop(sub) == ""
    modules = parent / ".git/modules/sub/annex"
    shutil.move(modules, tmp_path / "elsewhere")
    modules.symlink_to(tmp_path / "elsewhere")
    assert "symbolic link" in refuse_to_drop(sub)


@pytest.mark.skipif(not POSIX, reason="needs permissions")
@pytest.mark.parametrize("place", [".git/annex/objects", ".git/annex", ".git"])
def test_locked_down_also_for_root(here: Path, place: str) -> None:
    directory = here / place
    mode = directory.stat().st_mode
    directory.chmod(0o555)
    try:
        reason = refused(here)
        assert f"{directory} is locked down" in reason
    finally:
        directory.chmod(mode)
    assert refuse_to_drop(here) == ""


@pytest.fixture
def of_nobody(for_nobody: Path) -> Iterator[tuple[list[str], Path]]:
    """Give a command that runs Python as another user, and a directory that it may enter."""
    python = os.path.realpath(sys.executable)
    if not ROOT or not shutil.which("setpriv"):
        pytest.skip("needs two users, and setpriv")
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-c"]
    done = subprocess.run([*command, "pass"], capture_output=True, check=False)
    if done.returncode:
        pytest.skip("the other user cannot run this Python")
    package = Path(__file__).parents[2] / "datalad_bidsshare"
    shutil.copytree(
        package, for_nobody / "datalad_bidsshare", ignore=shutil.ignore_patterns("__pycache__")
    )
    yield command, for_nobody


def test_the_dataset_of_another_user(
    here: Path, of_nobody: tuple[list[str], Path], source: Path
) -> None:
    command, base = of_nobody
    root = base / "clone"
    shutil.copytree(here, root, symlinks=True)

    def ask() -> str:
        return subprocess.run(
            [*command, _ASK, str(root), str(base)],
            capture_output=True, check=True, text=True, timeout=PATIENCE, cwd=base,
        ).stdout.strip()  # fmt: skip

    assert "belongs to another user (uid 0) and is not writable for you" in ask()
    for directory, _, _ in os.walk(root):
        os.chown(directory, 65534, 65534)
    assert ask() == ""
    # Not to be changed, although it is one's own
    (root / ".git/annex/objects").chmod(0o555)
    assert "is locked down" in ask()
    # A group that shares it may
    os.chown(root / ".git/annex/objects", 0, 65534)
    (root / ".git/annex/objects").chmod(0o775)
    assert ask() == ""
    (root / ".git/annex").chmod(0o000)
    os.chown(root / ".git/annex", 0, 0)
    reason = ask()
    assert "cannot be" in reason or "not writable" in reason or "locked down" in reason


@pytest.mark.skipif(not ROOT or not shutil.which("unshare"), reason="mounts")
def test_a_file_system_that_is_read_only(here: Path) -> None:
    # In a namespace of its own, where the clone is mounted on itself, read-only
    script = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && shift && exec "$@"'
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", here, sys.executable, "-c", _ASK, here],
        capture_output=True, check=False, text=True, timeout=PATIENCE,
        cwd=Path(__file__).parents[2],
    )  # fmt: skip
    if done.returncode and "mount" in done.stderr:
        pytest.skip("may not mount")
    assert "is on a file system that is mounted read-only" in done.stdout, done.stderr


def test_what_was_fetched_is_kept_with_a_warning(
    here: Path, caplog: pytest.LogCaptureFixture
) -> None:
    objects = list(walk_objects(here))
    (here / ".git/annex/objects").chmod(0o555)
    with caplog.at_level("WARNING", logger="datalad.bidsshare.dataset"):
        give_back(here, [info_of(o) for o in objects])
    (here / ".git/annex/objects").chmod(0o755)
    assert "What was fetched is kept" in caplog.text and "locked down" in caplog.text
    assert list(walk_objects(here)) == objects
