"""Small real repositories for the tests of the dataset room."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from datalad_bidsshare.dataset.blobs import FileInfo, describe
from datalad_bidsshare.dataset.listing import read_index
from tests.platforms import makes_name

__all__ = [
    "HOSTILE_NAMES",
    "PATIENCE",
    "add_link",
    "annex_repo",
    "clone_of",
    "drop_objects",
    "git",
    "infos",
    "objects_of",
    "wait_for",
]

# Every kind of name that the issue lists. The last is no UTF-8.
_ALL_NAMES = [
    b"sub-01/with space_bold.nii.gz",
    b"sub-01/with\nnewline_bold.nii.gz",
    b"sub-01/quote'and\"double_bold.nii.gz",
    b"sub-01/brackets[0-9]_bold.nii.gz",
    b"sub-01/braces{a,b}_bold.nii.gz",
    b"sub-01/back\\slash_bold.nii.gz",
    b"-leading-dash_bold.nii.gz",
    b"sub-01/percent%&colon:_bold.nii.gz",
    "sub-01/nfc-\u00e9_bold.nii.gz".encode(),
    "sub-01/nfd-e\u0301_bold.nii.gz".encode(),
    "sub-01/above-surrogates-\uffee_bold.nii.gz".encode(),
    "sub-01/brain-\U0001f9e0_bold.nii.gz".encode(),
    b"sub-01/latin1-\xe9_bold.nii.gz",
]
HOSTILE_NAMES = [name for name in _ALL_NAMES if makes_name(name.rpartition(b"/")[2])]
"""Those of them that this system can have."""


PATIENCE = 300.0
"""Seconds after which a test that waits has failed. A loaded machine needs many, and a test that
passes waits no longer than it must."""

T = TypeVar("T")


def wait_for(condition: Callable[[], T]) -> T:
    """Wait until a condition holds, and give what it gave."""
    until = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.01)
    return result


def git(root: Path, *args: str | bytes, text: bytes | None = None) -> str:
    """Run git, which must succeed, and give what it wrote."""
    done = subprocess.run(
        ["git", *args], cwd=root, input=text, capture_output=True, check=False, timeout=PATIENCE
    )
    assert done.returncode == 0, (args, done.stdout, done.stderr)
    return done.stdout.decode("utf-8", "surrogateescape")


def annex_repo(root: Path, files: dict[bytes | str, bytes], tracked: dict[str, bytes]) -> Path:
    """Make a git-annex repository with annexed `files`, and `tracked` ones that git keeps."""
    root.mkdir(parents=True)
    git(root, "init", "-q")
    git(root, "annex", "init", "-q", "source")
    for name, content in [*files.items(), *tracked.items()]:
        path = os.path.join(os.fsencode(root), os.fsencode(name))
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(content)
    for name in tracked:
        git(root, "add", "--", name)
    git(root, "annex", "add", "-q", "--force-large", ".")
    git(root, "commit", "-q", "-m", "content")
    return root


def add_link(root: Path, name: str, target: str) -> None:
    """Commit a symbolic link, also where this user can make none: git can."""
    oid = git(root, "hash-object", "-w", "--stdin", text=target.encode()).strip()
    git(root, "update-index", "--add", "--cacheinfo", f"120000,{oid},{name}")
    git(root, "checkout", "-q", "--", name)


def clone_of(source: Path, target: Path) -> Path:
    """Clone without content, as git and git-annex do it."""
    git(source.parent, "clone", "-q", str(source), str(target))
    git(target, "annex", "init", "-q", "clone")
    return target


def infos(root: Path, *paths: str) -> list[FileInfo]:
    """Describe some files of a dataset, or all, in the order of the index."""
    index = read_index(root)
    return list(describe(root, index.entries(paths or None)))


def objects_of(root: Path, key: str) -> list[Path]:
    """Give the object files of a key below a repository, made writable."""
    found = [p for p in root.rglob(key) if p.is_file() and not p.is_symlink()]
    for path in found:
        path.parent.chmod(0o755)
        path.chmod(0o644)
    return found


def drop_objects(root: Path, key: str) -> None:
    """Lose the content of a key behind git-annex's back."""
    found = objects_of(root, key)
    assert found
    for path in found:
        path.unlink()
