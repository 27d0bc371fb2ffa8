"""What git-annex has on record in a dataset, read without git-annex.

Its records are files of the branch `git-annex`, in lines of which the newest counts (git-annex's
`internals`). A clone may know more than that branch says: what was fetched and not merged, and
what was written to the journal and not committed. All of it is read here, by a handful of
processes, however many files.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from datalad_bidsshare.dataset.encoding import decode, encode
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.presence import git_directory
from datalad_bidsshare.dataset.process import Running, run, start

__all__ = ["AnnexLogs"]

_BRANCH = "refs/heads/git-annex"
# What was fetched, and what others pushed here.
_OTHERS = ("refs/remotes/**/git-annex", "refs/heads/synced/git-annex")
_JOURNALS = ("journal", "journal-private")

# Bytes. More than a loose object of git-annex has, but for very many files.
_PIECE = 1 << 18


class AnnexLogs:
    """Reads files of the branch `git-annex` of one dataset.

    Parameters
    ----------
    root
        Root of the dataset.

    Raises
    ------
    DatasetError
        When there is no dataset.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._git = git_directory(root)

    def read(self, paths: Iterable[str]) -> dict[str, list[str]]:
        """Give the lines of files, from wherever there are any.

        Parameters
        ----------
        paths
            In the branch.

        Returns
        -------
        dict
            Path to all of its lines, in no order; without the paths that are nowhere.

        Raises
        ------
        DatasetError
            When git cannot read them.
        """
        asked = [encode(path) for path in paths]
        found: dict[bytes, bytes] = {}
        # The journal first: what is in it may be committed meanwhile, never the other way round.
        for path, content in [*self._journalled(set(asked)), *self._committed(asked)]:
            found[path] = found[path] + b"\n" + content if path in found else content
        return {decode(path): decode(text).splitlines() for path, text in found.items()}

    def _journalled(self, asked: set[bytes]) -> Iterator[tuple[bytes, bytes]]:
        for name in _JOURNALS:
            journal = os.fsencode(self._git / "annex" / name)
            with contextlib.suppress(OSError):
                for file in os.listdir(journal):
                    path = _path_of(file)
                    if path in asked:
                        # Gone since it was listed: then it was committed.
                        with contextlib.suppress(OSError), open(journal + b"/" + file, "rb") as f:
                            yield path, f.read()

    def _committed(self, paths: Sequence[bytes]) -> Iterator[tuple[bytes, bytes]]:
        with contextlib.closing(_GitObjects(self._root, self._git)) as objects:
            for tree in self._trees():
                yield from _files(objects, tree, paths)

    def _trees(self) -> list[str]:
        """Name the trees to read: not those of what is merged already."""
        listing = ["git", "for-each-ref", "--format=%(tree)"]
        try:
            others = run([*listing, f"--no-merged={_BRANCH}", *_OTHERS], self._root)
            own = run([*listing, _BRANCH], self._root)
        except DatasetError:
            # Where git-annex was never at work, there is no such branch to compare with.
            others, own = run([*listing, *_OTHERS], self._root), b""
        return list(dict.fromkeys([*own.decode().split(), *others.decode().split()]))


def _path_of(name: bytes) -> bytes:
    """Give the path in the branch that a file of the journal is for."""
    return name.replace(b"__", b"\0").replace(b"_", b"/").replace(b"\0", b"_")


def _files(
    objects: _GitObjects, tree: str, paths: Iterable[bytes]
) -> Iterator[tuple[bytes, bytes]]:
    """Give path and content of those files that a tree has, level by level.

    Asked for files by their path, git would read the large directory on top for each of them.
    """
    waiting = [(tree, path.split(b"/"), path) for path in paths]
    width = len(tree) // 2
    while waiting:
        trees: dict[str, dict[bytes, str]] = {}
        for oid, content in objects.read({oid for oid, _, _ in waiting}):
            trees[oid] = _entries(content, width)
        files: dict[str, list[bytes]] = {}
        deeper = []
        for oid, parts, path in waiting:
            found = trees[oid].get(parts[0])
            if found is None:
                continue
            if len(parts) == 1:
                files.setdefault(found, []).append(path)
            else:
                deeper.append((found, parts[1:], path))
        for oid, content in objects.read(files):
            for path in files[oid]:
                yield path, content
        waiting = deeper


def _entries(tree: bytes, width: int) -> dict[bytes, str]:
    """Give names and objects of a tree as git stores it: 'MODE NAME', NUL, the binary hash."""
    found = {}
    at = 0
    while at < len(tree):
        space = tree.index(b" ", at)
        end = tree.index(b"\0", space)
        found[tree[space + 1 : end]] = tree[end + 1 : end + 1 + width].hex()
        at = end + 1 + width
    return found


class _GitObjects:
    """Reads objects of git: loose ones as files, what is packed with one `git cat-file`.

    git-annex writes its records as loose objects, thousands of them in a `get`. git takes several
    times as long for these as for packed ones; a file read at once does not.
    """

    def __init__(self, root: Path, git: Path) -> None:
        self._root = root
        self._directory = os.fsencode(git / "objects") + b"/"
        self._seen: dict[str, set[bytes]] = {}
        self._stack = contextlib.ExitStack()
        self._running: Running | None = None

    def close(self) -> None:
        self._stack.close()

    def read(self, oids: Iterable[str]) -> Iterator[tuple[str, bytes]]:
        """Give names and contents, in any order."""
        packed = []
        for oid in oids:
            content = self._loose(oid)
            if content is None:
                packed.append(oid)
            else:
                yield oid, content
        if packed:
            if self._running is None:
                command = ["git", "cat-file", "--batch"]
                self._running = self._stack.enter_context(start(command, self._root, stdin=True))
            self._running.ask("".join([f"{oid}\n" for oid in packed]).encode())
            for oid in packed:
                yield oid, self._answer(self._running)

    def _loose(self, oid: str) -> bytes | None:
        directory = self._directory + oid[:2].encode()
        if oid[:2] not in self._seen:
            # Listed once: to try each name in vain costs more than to read it.
            with contextlib.suppress(OSError):
                self._seen[oid[:2]] = set(os.listdir(directory))
        if oid[2:].encode() not in self._seen.setdefault(oid[:2], set()):
            return None
        try:
            whole = zlib.decompress(_read(directory + b"/" + oid[2:].encode()))
        except (OSError, zlib.error):
            # Packed meanwhile, or broken: git will say so.
            return None
        return whole[whole.index(b"\0") + 1 :]

    def _answer(self, git: Running) -> bytes:
        line = git.stdout.readline()
        fields = line.split()
        if len(fields) == 3:
            size = int(fields[2])
            content = git.stdout.read(size + 1)
            if len(content) == size + 1:
                return content[:-1]
        if not line:
            git.finish()
        raise DatasetError(
            f"git cannot read what git-annex has on record in {self._root} "
            f"({line.decode('utf-8', 'replace').strip() or 'it ended early'}). "
            "Its branch git-annex may be damaged: run 'git fsck' there"
        )


def _read(file: bytes) -> bytes:
    descriptor = os.open(file, os.O_RDONLY)
    try:
        content = os.read(descriptor, _PIECE)
        while piece := os.read(descriptor, _PIECE) if len(content) % _PIECE == 0 else b"":
            content += piece
    finally:
        os.close(descriptor)
    return content
