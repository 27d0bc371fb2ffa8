"""Repositories with given files, made quickly: git is fed by the batch, not file by file."""

from __future__ import annotations

import hashlib
import os
import stat
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from datalad_bidsshare.dataset.keys import object_paths

__all__ = [
    "DATASET_ID",
    "SMALL",
    "Clones",
    "File",
    "annex",
    "checkout",
    "commit",
    "git",
    "index_only",
    "key_for",
    "objects_of",
    "plain_files",
    "remove",
    "set_present",
]

DATASET_ID = "3d4a8c4e-8f8c-4d0c-9b42-0b8d6f6b2f10"
SMALL: dict[str, bytes] = {
    "dataset_description.json": b'{"Name": "Made up", "BIDSVersion": "1.10.0"}\n',
    ".datalad/config": f'[datalad "dataset"]\n\tid = {DATASET_ID}\n'.encode(),
    ".gitattributes": b"* annex.backend=MD5E\n",
    ".bidsignore": b"",
}
"""Contents of files whose names mean something; of the others any JSON will do."""

_ALGORITHMS = {"MD5E": "md5", "SHA256E": "sha256"}
#: Seconds since 1970: commits that are made anew are to be the same.
_COMMITTED = 1_700_000_000
#: Bytes that are read at once.
_PIECE = 1 << 20


class File(NamedTuple):
    """A file to commit.

    Attributes
    ----------
    path
        Where.
    content
        What is in it. A path: a file on the same file system, to be hard-linked.
    key
        The file is annexed with this key; None: it is in git (and its content is bytes).
    """

    path: str
    content: bytes | Path
    key: str | None = None


def index_only(root: Path, paths: Iterable[str]) -> Path:
    """Make a repository whose index holds the names, all with one content, and nothing else."""
    _init(root)
    blob = git(root, "hash-object", "-w", "--stdin", stdin=b"{}\n").decode().strip()
    with subprocess.Popen(
        ["git", "update-index", "-z", "--index-info"], cwd=root, stdin=subprocess.PIPE
    ) as updating:
        assert updating.stdin is not None
        for path in paths:
            updating.stdin.write(f"100644 {blob}\t{path}\0".encode())
    if updating.returncode:
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
        (root / path).write_bytes(SMALL.get(path, b""))
    return root


def annex(root: Path) -> Path:
    """Make a git-annex repository with nothing in it."""
    _init(root)
    git(root, "annex", "init", "--quiet", "made up")
    return root


def objects_of(root: Path) -> Path:
    """Give where a repository with a work tree holds annexed content."""
    return root / ".git/annex/objects"


def key_for(
    path: str, content: bytes | Path, *, backend: str = "MD5E", size: int | None = None
) -> str:
    """Give the key of a file.

    Parameters
    ----------
    path, content
        The file. A content that is a path: what is in that file.
    backend
        ``'MD5E'`` or ``'SHA256E'``.
    size
        Bytes to pretend; None: those of the content.
    """
    hasher = hashlib.new(_ALGORITHMS[backend], usedforsecurity=False)
    length = 0
    for piece in _pieces(content):
        hasher.update(piece)
        length += len(piece)
    extension = ".nii.gz" if path.endswith(".nii.gz") else os.path.splitext(path)[1]
    return f"{backend}-s{length if size is None else size}--{hasher.hexdigest()}{extension}"


def _pieces(content: bytes | Path) -> Iterator[bytes]:
    if isinstance(content, bytes):
        yield content
        return
    with content.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def commit(root: Path, files: Iterable[File], objects: Path | None) -> list[str]:
    """Commit files to the branch `main`, on top of what is there. Only the branch is changed.

    Parameters
    ----------
    root
        Repository.
    files
        What is new or other than before.
    objects
        Directory of annexed content, in the layout of repositories with a work tree. None: there
        is no content.

    Returns
    -------
    list of str
        Keys of the annexed files.
    """
    keys: list[str] = []
    known = subprocess.run(
        ["git", "rev-parse", "--quiet", "--verify", "refs/heads/main"],
        cwd=root,
        stdout=subprocess.DEVNULL,
    )
    with subprocess.Popen(
        ["git", "fast-import", "--quiet"], cwd=root, stdin=subprocess.PIPE
    ) as importing:
        assert importing.stdin is not None
        write = importing.stdin.write
        who = f"committer B <b@example.org> {_COMMITTED} +0000\n"
        write(f"commit refs/heads/main\n{who}".encode() + _data(b"made up\n"))
        if known.returncode == 0:
            write(b"from refs/heads/main^0\n")
        for path, content, key in files:
            mode = "100644"
            if key is not None:
                keys.append(key)
                place = object_paths(key)[0]
                if objects is not None:
                    _store(objects / place, content)
                mode = "120000"
                content = f"{'../' * path.count('/')}.git/annex/objects/{place}".encode()
            assert isinstance(content, bytes)
            write(f"M {mode} inline {_quoted(path)}\n".encode() + _data(content))
    if importing.returncode:
        raise RuntimeError(f"git fast-import failed in {root}")
    return keys


def checkout(root: Path) -> None:
    """Make index and work tree those of the branch `main`."""
    # git-annex need not see content that is known not to be annexed.
    off = [o for f in ("process", "smudge", "clean") for o in ("-c", f"filter.annex.{f}=")]
    git(root, *off, "reset", "--quiet", "--hard", "main")


def set_present(root: Path, keys: list[str], uuid: str | None = None) -> None:
    """Have git-annex know that a repository holds the content of keys.

    Parameters
    ----------
    root
        Where that is recorded.
    keys
        Of what.
    uuid
        Who has it; None: `root` itself.
    """
    uuid = uuid or git(root, "config", "annex.uuid").decode().strip()
    facts = "".join(f"{key} {uuid} 1\n" for key in keys)
    git(root, "annex", "setpresentkey", "--batch", stdin=facts.encode())
    git(root, "annex", "merge", "--quiet")


class Clones:
    """Copies of one clone, of which there is one at a time.

    Parameters
    ----------
    pristine
        The clone that is copied.
    scratch
        Directory for the copies; they are named after `pristine`.
    """

    def __init__(self, pristine: Path, scratch: Path) -> None:
        self._pristine = pristine
        self._scratch = scratch
        self._made = 0

    def fresh(self) -> Path:
        """Make a copy; the one before is removed."""
        self.remove()
        self._made += 1
        subprocess.run(["cp", "-a", self._pristine, self._last], check=True)
        return self._last

    def remove(self) -> None:
        """Remove the last copy."""
        if self._last.exists():
            remove(self._last)

    @property
    def _last(self) -> Path:
        return self._scratch / f"{self._pristine.name}-{self._made}"


def _store(place: Path, content: bytes | Path) -> None:
    place.parent.mkdir(parents=True)
    if isinstance(content, Path):
        os.link(content, place)
    else:
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
    git(root, "init", "--quiet", "--initial-branch", "main")


def git(root: Path, *args: str, stdin: bytes = b"") -> bytes:
    """Run git in a repository, and give what it wrote."""
    return subprocess.run(
        ["git", *args], cwd=root, input=stdin, stdout=subprocess.PIPE, check=True
    ).stdout


def remove(root: Path) -> None:
    """Remove a tree, read-only annex objects and their directories included."""
    # Root needs no permission, and in big trees it takes as long as the rest.
    if os.geteuid() != 0:
        for directory, _, _ in os.walk(root):
            os.chmod(directory, stat.S_IRWXU)
    subprocess.run(["rm", "-rf", "--", root], check=True)
