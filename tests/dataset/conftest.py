"""Repositories that the tests of the dataset room share."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.dataset.builders import HOSTILE_NAMES, PATIENCE, add_link, annex_repo, clone_of, git
from tests.platforms import POSIX
from tests.process_log import process_log

__all__ = ["process_log"]

# A special remote that keeps its objects in a directory, and holds a transfer back for as long as
# there is a file 'hold-KEY' beside the object. It says what it does in 'started-KEY'.
# For the shell and for Python: the system takes no interpreter whose path has a space in it.
_SLOW_REMOTE = """#!/bin/sh
''':'
exec {python} "$0" "$@"
'''
import os, shutil, sys, time
store = os.environ["BIDSSHARE_TEST_STORE"]
def say(*words):
    print(*words, flush=True)
say("VERSION 1")
for line in sys.stdin:
    word, _, rest = line.rstrip("\\n").partition(" ")
    if word in ("INITREMOTE", "PREPARE"):
        say(word + "-SUCCESS")
    elif word == "CHECKPRESENT":
        there = os.path.exists(os.path.join(store, rest))
        say("CHECKPRESENT-SUCCESS" if there else "CHECKPRESENT-FAILURE", rest)
    elif word == "TRANSFER":
        direction, key, file = rest.split(" ", 2)
        here = os.path.join(store, key)
        if direction == "STORE":
            shutil.copyfile(file, here)
        else:
            started = os.path.join(store, "started-" + key)
            with open(os.path.join(store, "new-" + key), "w") as f:
                f.write(str(os.getpid()))
            os.replace(os.path.join(store, "new-" + key), started)
            until = time.monotonic() + {patience}
            while os.path.exists(os.path.join(store, "hold-" + key)):
                if time.monotonic() > until:
                    sys.exit("held for too long")
                time.sleep(0.01)
            shutil.copyfile(here, file)
        say("TRANSFER-SUCCESS", direction, key)
    else:
        say("UNSUPPORTED-REQUEST")
"""


@pytest.fixture(scope="session", autouse=True)
def _quiet_git(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give git an identity, and nothing of the configuration of whoever runs the tests."""
    home = tmp_path_factory.mktemp("home")
    config = home / "gitconfig"
    config.write_text(
        "[user]\n\tname = Tester\n\temail = tester@example.org\n"
        '[init]\n\tdefaultBranch = main\n[protocol "file"]\n\tallow = always\n'
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GIT_CONFIG_GLOBAL", str(config))
        patch.setenv("HOME", str(home))
        patch.setenv("DATALAD_UI_PROGRESSBAR", "none")
        patch.setenv("DATALAD_LOG_LEVEL", "error")
        import datalad

        datalad.cfg.reload(force=True)
        yield


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An annex with content: nine plain files, two of one key, names of every kind, JSON in git."""
    files: dict[bytes | str, bytes] = {
        f"sub-0{i}/sub-0{i}_T1w.nii.gz": b"T1w" * (i * 100) for i in range(1, 10)
    }
    files["derivatives/copy_T1w.nii.gz"] = files["sub-01/sub-01_T1w.nii.gz"]
    files.update({name: b"content of " + name for name in HOSTILE_NAMES})
    files["sub-01/events.tsv"] = b"onset\tduration\n"
    tracked = {
        "dataset_description.json": b'{"Name": "x"}',
        "empty.json": b"",
        "big.json": b" " * 40_000,
        "not-a-pointer.txt": b"/annex/objects/",
    }
    root = annex_repo(tmp_path_factory.mktemp("source") / "ds", files, tracked)
    for link, target in (("sub-01/link.nii.gz", "sub-01_T1w.nii.gz"), ("outside", "/etc/passwd")):
        add_link(root, link, target)
    git(root, "commit", "-q", "-m", "links")
    return root


@pytest.fixture
def clone(source: Path, tmp_path: Path) -> Path:
    """A clone of `source` without content."""
    return clone_of(source, tmp_path / "clone")


@pytest.fixture(scope="session")
def unlocked_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An annex whose files are unlocked, but for one."""
    files: dict[bytes | str, bytes] = {
        "a.nii": b"A" * 1000,
        "same as a.nii": b"A" * 1000,
        "b.nii": b"B" * 50_000,
        "locked.nii": b"C" * 10,
        "same as locked.nii": b"C" * 10,
    }
    root = annex_repo(tmp_path_factory.mktemp("unlocked") / "ds", files, {"x.json": b"{}"})
    git(root, "annex", "unlock", "-q", "a.nii", "same as a.nii", "b.nii", "same as locked.nii")
    git(root, "commit", "-q", "-am", "unlock")
    return root


@dataclass
class Ria:
    """A dataset, and the RIA store that it was pushed to."""

    source: Path
    store: Path
    url: str


@pytest.fixture(scope="session")
def ria(tmp_path_factory: pytest.TempPathFactory) -> Ria:
    """A DataLad dataset in a RIA store: one locked, one unlocked file."""
    import datalad.api as dl

    base = tmp_path_factory.mktemp("ria")
    ds = dl.create(base / "ds", result_renderer="disabled")
    (ds.pathobj / "a.nii").write_bytes(b"A" * 1000)
    (ds.pathobj / "b.nii").write_bytes(b"B" * 2000)
    ds.save(result_renderer="disabled")
    ds.unlock("b.nii", result_renderer="disabled")
    ds.save(result_renderer="disabled")
    store = base / "store"
    ds.create_sibling_ria(
        f"ria+file://{store}", name="ria", new_store_ok=True, alias="x", result_renderer="disabled"
    )
    ds.push(to="ria", result_renderer="disabled")
    return Ria(ds.pathobj, store, f"ria+file://{store}#~x")


@pytest.fixture
def slow_remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Path]:
    """Give a function that moves a dataset's objects to a special remote that can be held."""
    if not POSIX:
        pytest.skip("needs a system that runs scripts by their first line")
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "git-annex-remote-slowtest"
    program.write_text(_SLOW_REMOTE.format(python=shlex.quote(sys.executable), patience=PATIENCE))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    store = tmp_path / "slow-store"
    store.mkdir()
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("BIDSSHARE_TEST_STORE", str(store))

    def move_to_slow_remote(root: Path) -> Path:
        git(
            root,
            "annex",
            "initremote",
            "slow",
            "type=external",
            "externaltype=slowtest",
            "encryption=none",
        )
        git(root, "annex", "move", "-q", "--to", "slow")
        return store

    return move_to_slow_remote


@pytest.fixture
def for_nobody() -> Iterator[Path]:
    """Give a directory that every user can enter, with a git configuration that trusts all."""
    base = Path(tempfile.mkdtemp(prefix="bidsshare-"))
    base.chmod(0o755)
    (base / "config").write_text("[safe]\n\tdirectory = *\n")
    yield base
    subprocess.run(["chmod", "-R", "u+w", str(base)], check=True)
    shutil.rmtree(base)
