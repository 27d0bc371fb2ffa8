"""Repositories with given names, made quickly: git is fed by the batch, not file by file."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterable
from pathlib import Path

from benchmarks.study import Study
from datalad_bidsshare.dataset.keys import object_paths

__all__ = ["annexed", "index_only", "plain_files", "remove"]

#: Bytes that an annexed image pretends to have where it has no content.
_PRETENDED = 5_000_000
_CONTENT = {
    "dataset_description.json": b'{"Name": "Made up", "BIDSVersion": "1.10.0"}\n',
    ".datalad/config": b'[datalad "dataset"]\n\tid = 3d4a8c4e-8f8c-4d0c-9b42-0b8d6f6b2f10\n',
    ".gitattributes": b"* annex.backend=MD5E\n",
    ".bidsignore": b"",
}


def index_only(root: Path, paths: Iterable[str]) -> Path:
    """Make a repository whose index holds the names, all with one content, and nothing else."""
    _init(root)
    blob = _git(root, "hash-object", "-w", "--stdin", stdin=b"{}\n").decode().strip()
    with subprocess.Popen(
        ["git", "update-index", "-z", "--index-info"], cwd=root, stdin=subprocess.PIPE
    ) as git:
        assert git.stdin is not None
        for path in paths:
            git.stdin.write(f"100644 {blob}\t{path}\0".encode())
    if git.returncode:
        raise RuntimeError(f"git update-index failed in {root}")
    return root


def plain_files(root: Path, paths: list[str]) -> Path:
    """Make a repository with the names, and regular files on disk for peers that look there.

    Not the dangling links of a clone without content: pybids leaves those out.
    """
    index_only(root, paths)
    made: set[str] = set()
    for path in paths:
        directory = os.path.dirname(path)
        if directory not in made:
            (root / directory).mkdir(parents=True, exist_ok=True)
            made.add(directory)
        (root / path).write_bytes(_CONTENT.get(path, b""))
    return root


def annexed(root: Path, study: Study, *, present: bool) -> Path:
    """Make a git-annex repository with the names of a study.

    Parameters
    ----------
    root
        Where.
    study
        What.
    present
        Whether the annexed files have content, and git-annex knows.
    """
    _init(root)
    _git(root, "annex", "init", "--quiet", "made up")
    keys: list[str] = []
    with subprocess.Popen(
        ["git", "fast-import", "--quiet"], cwd=root, stdin=subprocess.PIPE
    ) as git:
        assert git.stdin is not None
        git.stdin.write(b"commit refs/heads/main\ncommitter B <b@example.org> 0 +0000\n")
        git.stdin.write(_data(b"made up\n"))
        for path in study.paths:
            if path.endswith(study.annexed):
                content = f"{path}\n".encode() * 20
                key = _key(path, content, present)
                place = object_paths(key)[0]
                if present:
                    _store(root / ".git/annex/objects" / place, content)
                    keys.append(key)
                mode, content = (
                    "120000",
                    f"{'../' * path.count('/')}.git/annex/objects/{place}".encode(),
                )
            else:
                mode, content = "100644", _CONTENT.get(path, b"{}\n")
            git.stdin.write(f"M {mode} inline {_quoted(path)}\n".encode() + _data(content))
    if git.returncode:
        raise RuntimeError(f"git fast-import failed in {root}")
    _git(root, "reset", "--quiet", "--hard", "main")
    if keys:
        uuid = _git(root, "config", "annex.uuid").decode().strip()
        facts = "".join(f"{key} {uuid} 1\n" for key in keys)
        _git(root, "annex", "setpresentkey", "--batch", stdin=facts.encode())
        _git(root, "annex", "merge", "--quiet")
    return root


def _key(path: str, content: bytes, present: bool) -> str:
    size = len(content) if present else _PRETENDED
    extension = ".nii.gz" if path.endswith(".nii.gz") else os.path.splitext(path)[1]
    return f"MD5E-s{size}--{hashlib.md5(content, usedforsecurity=False).hexdigest()}{extension}"


def _store(place: Path, content: bytes) -> None:
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    place.chmod(0o444)
    place.parent.chmod(0o555)


def _data(content: bytes) -> bytes:
    return b"data %d\n%s\n" % (len(content), content)


def _quoted(path: str) -> str:
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _init(root: Path) -> None:
    root.mkdir(parents=True)
    _git(root, "init", "--quiet", "--initial-branch", "main")


def _git(root: Path, *args: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(
        ["git", *args], cwd=root, input=stdin, stdout=subprocess.PIPE, check=True
    ).stdout


def remove(root: Path) -> None:
    """Remove a tree, read-only annex objects and their directories included."""
    for directory, _, _ in os.walk(root):
        os.chmod(directory, stat.S_IRWXU)
    subprocess.run(["rm", "-rf", "--", root], check=True)
