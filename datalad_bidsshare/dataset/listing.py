"""What the index of a dataset holds, or one of its commits: one git process for all files.

Does not import DataLad: the resolver uses this as a library, in a process of its own.

Paths are POSIX, relative to the root of the dataset, decoded as UTF-8 with `surrogateescape`,
so that any name that git can hold survives the round trip (`os.fsencode` gives the bytes back
where the file system encoding is UTF-8).
"""

from __future__ import annotations

import operator
import re
import shlex
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from datalad_bidsshare.dataset.encoding import decode, encode
from datalad_bidsshare.dataset.errors import BareRepositoryError, DatasetError, NotADatasetError
from datalad_bidsshare.dataset.process import read_chunks, start

__all__ = ["Entry", "Index", "decode", "encode", "read_index", "read_tree", "stream_paths"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the index.

    Attributes
    ----------
    path
        POSIX, relative to the root of the dataset.
    mode
        git's mode, in octal digits: '100644', '100755' or '120000' (symbolic link).
    oid
        Name of the blob, in hex digits.
    """

    path: str
    mode: str
    oid: str


class Index:
    """The files and subdatasets of one dataset, as its git index or a commit holds them.

    Modes and blob names stay packed in one string until somebody asks for an entry: a million
    files cost what their names cost, and some 50 bytes each.

    Parameters
    ----------
    paths
        Files, in the order of the index (by bytes), each once.
    gitlinks
        Paths at which subdatasets are mounted, installed or not, in the order of the index, and
        the commit that each should have there.
    prefixes
        For every path what git writes in front of it, joined: six digits of mode first.
    width
        Characters of one prefix, the tab at its end included.
    oid
        Where in a prefix the name of the blob is.
    """

    __slots__ = ("_ascending", "_oid", "_prefixes", "_width", "gitlinks", "paths")

    def __init__(
        self,
        paths: list[str],
        gitlinks: dict[str, str],
        prefixes: bytes | bytearray,
        width: int,
        oid: tuple[int, int],
    ) -> None:
        self.paths = paths
        self.gitlinks = gitlinks
        self._prefixes = prefixes
        self._width = width
        self._oid = oid
        # Code points sort as their UTF-8 bytes do, except for the surrogates that stand for
        # undecodable bytes. Found out at the first lookup.
        self._ascending: bool | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self._position(path) is not None

    def __getitem__(self, path: str) -> Entry:
        position = self._position(path)
        if position is None:
            raise KeyError(path)
        return self._entry(path, position)

    def entries(self, paths: Iterable[str] | None = None) -> Iterator[Entry]:
        """Give the entries of some files, or of all in the order of the index.

        Raises
        ------
        KeyError
            When the index does not hold one of the paths.
        """
        if paths is None:
            for position, path in enumerate(self.paths):
                yield self._entry(path, position)
            return
        for path in paths:
            yield self[path]

    def ids(self, paths: Iterable[str]) -> Iterator[str]:
        """Give `MODE OID` for files, which tells their versions apart: quicker than entries.

        Quickest for `paths` itself.

        Raises
        ------
        KeyError
            When the index does not hold one of the paths.
        """
        begin, end = self._oid
        width = self._width
        if paths is self.paths:
            step = width * 4096
            for block in range(0, len(self._prefixes), step):
                prefixes = self._prefixes[block : block + step].decode("ascii")
                for at in range(0, len(prefixes), width):
                    yield f"{prefixes[at : at + 6]} {prefixes[at + begin : at + end]}"
            return
        for path in paths:
            position = self._position(path)
            if position is None:
                raise KeyError(path)
            prefix = self._prefix(position)
            yield f"{prefix[:6]} {prefix[begin:end]}"

    def _prefix(self, position: int) -> str:
        at = position * self._width
        return self._prefixes[at : at + self._width].decode("ascii")

    def _entry(self, path: str, position: int) -> Entry:
        prefix = self._prefix(position)
        begin, end = self._oid
        return Entry(path, prefix[:6], prefix[begin:end])

    def holds_below(self, directory: str) -> bool:
        """Tell whether there are files below a directory (a path without a slash at its end)."""
        at = self._place(directory + "/")
        return at < len(self.paths) and self.paths[at].startswith(directory + "/")

    def is_ordered(self) -> bool:
        """Tell whether the paths are in order, each once: git sees to that in an index."""
        if self._is_ascending():
            return all(map(operator.lt, self.paths, islice(self.paths, 1, None)))
        names = list(map(_order, self.paths))
        return all(map(operator.lt, names, islice(names, 1, None)))

    def _is_ascending(self) -> bool:
        if self._ascending is None:
            self._ascending = all(map(str.isascii, self.paths)) or not any(
                map(_has_surrogates, self.paths)
            )
        return self._ascending

    def _position(self, path: str) -> int | None:
        at = self._place(path)
        return at if at < len(self.paths) and self.paths[at] == path else None

    def _place(self, path: str) -> int:
        """Give where a path is, or would be."""
        if self._is_ascending() and not _has_surrogates(path):
            return bisect_left(self.paths, path)
        return bisect_left(self.paths, _order(path), key=_order)


def _has_surrogates(path: str) -> bool:
    return not path.isascii() and any("\ud800" <= c <= "\udfff" for c in path)


def _order(path: str) -> bytes:
    # 'surrogatepass' would be wrong for names from git, and is right for what a caller makes up
    try:
        return encode(path)
    except UnicodeEncodeError:
        return path.encode("utf-8", "surrogatepass")


def read_index(root: Path) -> Index:
    """Read the index of a dataset.

    Parameters
    ----------
    root
        Root of the dataset (not a directory below it).

    Returns
    -------
    Index
        Files and mounted subdatasets. In a merge that is not finished, each path stands once,
        with the version of the current branch where it has one.

    Raises
    ------
    DatasetError
        When `root` is not a git repository, is bare, belongs to somebody whom git does not
        trust (`safe.directory`), has a damaged index, or git is missing.
    """
    paths: list[str] = []
    # Grows in place: texts that are joined in the end are there twice then.
    prefixes = bytearray()
    gitlinks: dict[str, str] = {}
    # 'MODE OID STAGE<tab>'
    width = 0
    unmerged = False
    _require_repository(root)
    with start(["git", "ls-files", "-s", "-z"], root) as git:
        for chunk in read_chunks(git.stdout):
            raw = decode(chunk).split("\0")
            if not width:
                width = raw[0].index("\t") + 1
            prefix = "".join([r[:width] for r in raw])
            names = [r[width:] for r in raw]
            # One character of each mode tells a subdataset (160000); strides keep this in C.
            if "6" in prefix[1::width]:
                files = []
                for r in raw:
                    if not r.startswith("160000"):
                        files.append(r)
                    # In a merge that is not finished, one may stand there up to three times.
                    elif r[width - 2] == "2" or r[width:] not in gitlinks:
                        gitlinks[r[width:]] = r[7 : width - 3]
                prefix = "".join([r[:width] for r in files])
                names = [r[width:] for r in files]
            # git does not check the index as a whole. Behind a cut end it reads zeros, and writes
            # a name of no characters as './'.
            if prefix[::width].count("1") != len(names) or "./" in names:
                raise _damaged(root)
            unmerged = unmerged or prefix[width - 2 :: width].count("0") != len(names)
            paths += names
            prefixes += prefix.encode("ascii")
    index = Index(paths, gitlinks, prefixes, width, (7, width - 3))
    return _merged(index) if unmerged else index


def _merged(index: Index) -> Index:
    """Keep one stage of every path: the current branch's (2), or else what there is."""
    chosen: dict[str, str] = {}
    for position, path in enumerate(index.paths):
        prefix = index._prefix(position)
        if path not in chosen or prefix[-2] == "2":
            chosen[path] = prefix
    prefixes = "".join(chosen.values()).encode("ascii")
    return Index(list(chosen), index.gitlinks, prefixes, index._width, index._oid)


def read_tree(root: Path, commit: str) -> Index:
    """Read what a commit of a dataset holds, whatever is checked out.

    Parameters
    ----------
    root
        Root of the dataset (not a directory below it).
    commit
        Full name of the commit, in hex digits (`version.read_version` gives it).

    Returns
    -------
    Index
        As `read_index` gives it for the index.

    Raises
    ------
    DatasetError
        As `read_index`; when the commit or one of its directories is not in the repository (a
        shallow clone); when the commit holds what git itself would never check out: names that
        climb, or stand there twice.
    ValueError
        When `commit` is no full name.
    """
    if not _COMMIT.fullmatch(commit):
        raise ValueError(f"not the full name of a commit: {commit!r}")
    paths: list[str] = []
    # Grows in place: texts that are joined in the end are there twice then.
    prefixes = bytearray()
    gitlinks: dict[str, str] = {}
    # 'MODE blob OID<tab>'
    width = 13 + len(commit)
    _require_repository(root)
    with start(["git", "ls-tree", "-r", "-z", "--full-tree", commit], root) as git:
        for chunk in read_chunks(git.stdout):
            raw = decode(chunk).split("\0")
            prefix = "".join([r[:width] for r in raw])
            # as in `read_index`
            if "6" in prefix[1::width]:
                files = []
                for r in raw:
                    if r.startswith("160000"):
                        # 'MODE commit OID<tab>'
                        gitlinks[r[width + 2 :]] = r[14 : width + 1]
                    else:
                        files.append(r)
                prefix = "".join([r[:width] for r in files])
                raw = files
            names = [r[width:] for r in raw]
            # Anybody can write such a tree, and git lists it as it is.
            if not _are_proper(names):
                raise _malformed(root, commit)
            paths += names
            prefixes += prefix.encode("ascii")
    index = Index(paths, gitlinks, prefixes, width, (12, width - 1))
    # Else a look-up by name would find something else than a walk through all.
    if not index.is_ordered() or not _are_proper(gitlinks):
        raise _malformed(root, commit)
    return index


_COMMIT = re.compile("[0-9a-f]{40}|[0-9a-f]{64}")


def _are_proper(paths: Collection[str]) -> bool:
    """Tell whether no path has a component that is empty, '.' or '..'."""
    # There are few directories, and few endings: to see each once is several times as fast as
    # to look at each path.
    endings = {p[-3:] for p in paths}
    directories = {p[: p.rfind("/") + 1] for p in paths}
    return not any(e in ("", ".", "..") or e.endswith(("/", "/.", "/..")) for e in endings) and (
        not any("//" in d or "/./" in d or "/../" in d for d in (f"/{d}" for d in directories))
    )


def _malformed(root: Path, commit: str) -> DatasetError:
    return DatasetError(
        f"The commit {commit} of {root} holds names that git would not check out (see 'git fsck' "
        "there): take another version, and ask who made this one"
    )


def stream_paths(
    root: Path, keep: Callable[[list[str]], list[str]] | None = None
) -> Iterator[list[str]]:
    """Give the names in the index of a dataset, many at a time, as git writes them.

    Nothing but the names is read, and nothing is held: with a `keep` that lets few through,
    a million files cost the memory of a few thousand.

    Parameters
    ----------
    root
        Root of the dataset.
    keep
        Takes some thousand names and gives those that matter. Default: all of them.

    Yields
    ------
    list of str
        Files, and the mount points of subdatasets (names alone do not tell them apart).
        Empty lists are left out.

    Raises
    ------
    DatasetError
        As `read_index`.
    """
    _require_repository(root)
    with start(["git", "ls-files", "-z", "--deduplicate"], root) as git:
        for chunk in read_chunks(git.stdout):
            names = chunk.decode("utf-8", "surrogateescape").split("\0")
            if "./" in names:
                raise _damaged(root)
            if keep is not None:
                names = keep(names)
            if names:
                yield names


def _damaged(root: Path) -> DatasetError:
    return DatasetError(
        f"The index of {root} is damaged (it holds files without a name or a mode): if 'git fsck' "
        "finds nothing else, remove .git/index and make it anew with 'git reset'"
    )


def _require_repository(root: Path) -> None:
    if (root / ".git").exists():
        return
    if (root / "HEAD").is_file() and (root / "objects").is_dir() and (root / "refs").is_dir():
        # git itself would list nothing, and call that a success
        raise BareRepositoryError(
            f"{root} is a bare repository and has no files to list: clone it "
            f"({shlex.join(['datalad', 'clone', str(root)])} DIRECTORY) and work in the clone"
        )
    if not root.exists():
        raise NotADatasetError(f"There is no directory {root}")
    # git would climb up, and an uninstalled subdataset be answered with its parent's files.
    raise NotADatasetError(
        f"{root} is not the root of a dataset: it holds no .git. If it is a subdataset that "
        f"is not installed, install it with: datalad get -n {root}"
    )
