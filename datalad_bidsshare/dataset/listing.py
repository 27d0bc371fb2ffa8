"""What the index of a dataset holds: one git process, however many files.

Does not import DataLad: the resolver uses this as a library, in a process of its own.

Paths are POSIX, relative to the root of the dataset, decoded as UTF-8 with `surrogateescape`,
so that any name that git can hold survives the round trip (`os.fsencode` gives the bytes back
where the file system encoding is UTF-8).
"""

from __future__ import annotations

import shlex
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from datalad_bidsshare.dataset.errors import BareRepositoryError, DatasetError, NotADatasetError
from datalad_bidsshare.dataset.process import read_chunks, start

__all__ = ["Entry", "Index", "decode", "encode", "read_index", "stream_paths"]


def decode(raw: bytes) -> str:
    """Decode a path as git stores it."""
    return raw.decode("utf-8", "surrogateescape")


def encode(path: str) -> bytes:
    """Give back the bytes of a path as git stores it."""
    return path.encode("utf-8", "surrogateescape")


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
    """The files and subdatasets of one dataset, as its git index holds them.

    Modes and blob names stay packed in one string until somebody asks for an entry: a million
    files cost what their names cost, and 51 bytes each.

    Parameters
    ----------
    paths
        Files, in the order of the index (by bytes), each once.
    gitlinks
        Paths at which subdatasets are mounted, installed or not.
    prefixes
        For every path 'MODE OID STAGE<tab>', joined.
    width
        Characters of one prefix: 51 with SHA-1, 75 with SHA-256.
    """

    __slots__ = ("_ascending", "_prefixes", "_width", "gitlinks", "paths")

    def __init__(self, paths: list[str], gitlinks: list[str], prefixes: str, width: int) -> None:
        self.paths = paths
        self.gitlinks = gitlinks
        self._prefixes = prefixes
        self._width = width
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

    def _entry(self, path: str, position: int) -> Entry:
        at = position * self._width
        # 'MODE OID STAGE<tab>': six digits of mode, and three characters after the blob's name
        return Entry(
            path, self._prefixes[at : at + 6], self._prefixes[at + 7 : at + self._width - 3]
        )

    def _position(self, path: str) -> int | None:
        if self._ascending is None:
            self._ascending = all(map(str.isascii, self.paths)) or not any(
                map(_has_surrogates, self.paths)
            )
        if self._ascending and not _has_surrogates(path):
            at = bisect_left(self.paths, path)
        else:
            at = bisect_left(self.paths, _order(path), key=_order)
        return at if at < len(self.paths) and self.paths[at] == path else None


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
    prefixes: list[str] = []
    # In a merge that is not finished, one may stand there up to three times.
    gitlinks: dict[str, None] = {}
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
                    if r.startswith("160000"):
                        gitlinks[r[width:]] = None
                    else:
                        files.append(r)
                prefix = "".join([r[:width] for r in files])
                names = [r[width:] for r in files]
            # git does not check the index as a whole. Behind a cut end it reads zeros, and writes
            # a name of no characters as './'.
            if prefix[::width].count("1") != len(names) or "./" in names:
                raise _damaged(root)
            unmerged = unmerged or prefix[width - 2 :: width].count("0") != len(names)
            paths += names
            prefixes.append(prefix)
    index = Index(paths, list(gitlinks), "".join(prefixes), width)
    return _merged(index) if unmerged else index


def _merged(index: Index) -> Index:
    """Keep one stage of every path: the current branch's (2), or else what there is."""
    width, packed = index._width, index._prefixes
    chosen: dict[str, str] = {}
    for position, path in enumerate(index.paths):
        prefix = packed[position * width : (position + 1) * width]
        if path not in chosen or prefix[width - 2] == "2":
            chosen[path] = prefix
    return Index(list(chosen), index.gitlinks, "".join(chosen.values()), width)


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
