"""Which content is here: of annexed files by looking, not by asking git-annex for each."""

from __future__ import annotations

import contextlib
import logging
import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from datalad_bidsshare.dataset.beneath import TooLarge, read_beneath
from datalad_bidsshare.dataset.blobs import FileInfo, read_blobs
from datalad_bidsshare.dataset.encoding import encode
from datalad_bidsshare.dataset.errors import NotADatasetError
from datalad_bidsshare.dataset.keys import (
    LARGEST_POINTER,
    key_of_link,
    key_of_pointer,
    object_paths,
)
from datalad_bidsshare.dataset.process import start

__all__ = [
    "LARGEST_READ",
    "Annex",
    "annex_directory",
    "git_directory",
    "present",
    "read_content",
]

lgr = logging.getLogger("datalad.bidsshare.dataset")

LARGEST_READ = 256 * 1024 * 1024
"""Bytes. A larger JSON or TSV file is not what it should be, and is not read into memory."""

_OBJECTS = "annex/objects/"


def git_directory(root: Path) -> Path:
    """Give the directory in which git keeps the repository of a dataset, resolved.

    Follows what git sets up itself: `.git` as a file or a link (subdatasets), a bare repository.
    All linked work trees of a repository share one.

    Raises
    ------
    NotADatasetError
        When there is none.
    """
    git = _git_directory(root)
    with contextlib.suppress(OSError):
        git = git / _first_bytes(git / "commondir")
    if not (git / "HEAD").exists() and not (git / "HEAD").is_symlink():
        raise NotADatasetError(f"{root} is not the root of a dataset: it has no git repository")
    return Path(os.path.realpath(git))


def annex_directory(root: Path) -> Path | None:
    """Give the directory in which a dataset keeps its annex, resolved.

    Follows what git and git-annex set up themselves: `.git` as a file or a link (subdatasets,
    linked work trees), a bare repository, `.git/annex` as a link (ephemeral clones).

    Returns
    -------
    Path or None
        None where no annex was initialized.
    """
    git = _git_directory(root)
    candidates = [git]
    with contextlib.suppress(OSError):
        candidates.append(git / _first_bytes(git / "commondir"))
    for candidate in candidates:
        annex = candidate / "annex"
        if annex.is_dir():
            return Path(os.path.realpath(annex))
    return None


def _git_directory(root: Path) -> Path:
    """Give the directory that `.git` is or leads to: in a linked work tree, that one's own."""
    git = root / ".git"
    if git.is_file():
        return root / _first_bytes(git).removeprefix("gitdir:").strip()
    return git if git.is_dir() else root


def _first_bytes(file: Path) -> str:
    """Read a file of git's that holds one path."""
    with file.open("rb") as opened:
        return opened.read(1 << 16).decode("utf-8", "surrogateescape").strip()


class Annex:
    """Looks for the objects of one dataset, whose place it finds out once.

    Parameters
    ----------
    root
        Root of the dataset.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.objects: Path | None = None
        self._beneath = b""
        self._look()

    def _look(self) -> None:
        """Find out where the objects are, unless that is known: an annex comes, and stays."""
        if self.objects is None:
            annex = annex_directory(self.root)
            self.objects = annex / "objects" if annex is not None else None
            # Joined as bytes: thousands of look-ups should not encode it each time.
            self._beneath = os.fsencode(self.objects or self.root) + b"/"

    def present(self, infos: Iterable[FileInfo]) -> dict[str, bool]:
        """Tell which files have their content here, as the function `present` does.

        Also true when git-annex was initialized since this was made.
        """
        self._look()
        answer: dict[str, bool] = {}
        unsettled: list[FileInfo] = []
        for info in infos:
            if info.kind != "annex":
                answer[info.path] = True
                continue
            state = _work_tree_state(self.root, info.path) if info.unlocked else None
            if state is None:
                state = self.find(info) is not None
                if not state and info.unlocked:
                    unsettled.append(info)
            answer[info.path] = state
        located = self.locate(unsettled)
        for info in unsettled:
            answer[info.path] = located.get(info.key or "") is not None
        return answer

    def find(self, info: FileInfo) -> str | None:
        """Give an object's path below `annex/objects`, or None when it is not seen there."""
        if self.objects is None or info.key is None:
            return None
        for path in object_paths(info.key):
            if self._holds(path):
                return path
        # A repository with a layout of its own (annex.tune.*): the link names the place.
        if not info.unlocked:
            with contextlib.suppress(OSError):
                target = os.readlink(encode_path(self.root, info.path))
                if key_of_link(target) == info.key:
                    path = os.fsdecode(target).replace("\\", "/").rpartition(_OBJECTS)[2]
                    return path if self._holds(path) else None
        return None

    def _holds(self, path: str) -> bool:
        try:
            return stat.S_ISREG(os.lstat(self._beneath + encode(path)).st_mode)
        except OSError:
            return False

    def locate(self, infos: Sequence[FileInfo]) -> dict[str, str | None]:
        """Let git-annex say where objects are: one process for all, by key."""
        keys = list(dict.fromkeys(i.key for i in infos if i.key is not None))
        if self.objects is None or not keys:
            return {}
        # Only a look: no repository is initialized, upgraded or merged for it.
        command = ["git"]
        for setting in ("autoinit", "merge-annex-branches", "autoupgraderepository"):
            command += ["-c", f"annex.{setting}=false"]
        with start([*command, "annex", "contentlocation", "--batch"], self.root, stdin=True) as git:
            git.ask(b"".join(encode(key) + b"\n" for key in keys))
            git.ask_no_more()
            answers = git.stdout.read().split(b"\n")
        found: dict[str, str | None] = {}
        for key, answer in zip(keys, answers, strict=False):
            place = answer.decode("utf-8", "surrogateescape").replace("\\", "/")
            found[key] = place.rpartition(_OBJECTS)[2] or None
        return found


def encode_path(directory: Path, path: str) -> bytes:
    """Join a directory and a path of git's into what the system is asked for."""
    return os.path.join(os.fsencode(directory), encode(path))


def _work_tree_state(root: Path, path: str) -> bool | None:
    """Tell whether the work tree holds data at a path: True, False (a pointer), None (nothing)."""
    name = encode_path(root, path)
    try:
        found = os.lstat(name)
        if not stat.S_ISREG(found.st_mode):
            return None
        if found.st_size > LARGEST_POINTER:
            return True
        with open(name, "rb") as file:
            return key_of_pointer(file.read()) is None
    except OSError:
        return None


def present(root: Path, infos: Iterable[FileInfo]) -> dict[str, bool]:
    """Tell which files have their content here.

    A file that git tracks as a symbolic link has it when the annex holds its object. An unlocked
    one (also on an adjusted branch) has it when the file in the work tree is data and not the
    pointer that stands for absent content; a file that the user changed counts as data. Where
    the work tree holds nothing (deleted, sparse, bare), the annex decides.

    Parameters
    ----------
    root
        Root of the dataset.
    infos
        From `describe`. Files that are not annexed are always present.

    Returns
    -------
    dict
        Path to whether the content is here. Nothing is fetched, changed or initialized.

    Raises
    ------
    DatasetError
        When git-annex is needed for the answer and fails.
    """
    return Annex(root).present(infos)


def read_content(
    root: Path, infos: Iterable[FileInfo], *, work_tree: bool = True
) -> Iterator[tuple[str, bytes | None]]:
    """Read small files whole: JSON and TSV.

    For what git keeps, the blob in the index is read and not the work tree. Annex objects are
    opened beneath `.git/annex/objects` without following links.

    Parameters
    ----------
    root
        Root of the dataset.
    infos
        From `describe`. Held in memory; the contents are not.
    work_tree
        Whether an unlocked file whose object is gone may be read from the work tree, where the
        user may have changed it.

    Yields
    ------
    tuple of str and (bytes or None)
        Path and content, in the order given. None when the content is not here, cannot be
        read, is larger than `LARGEST_READ` (which is logged), or the file is a symbolic link
        that is not git-annex's.

    Raises
    ------
    DatasetError
        When git or git-annex fails.
    """
    asked = list(infos)
    annex = Annex(root)
    places = {i.key: annex.find(i) for i in asked if i.kind == "annex"}
    located = annex.locate([i for i in asked if i.unlocked and places[i.key] is None])
    oids = [i.oid for i in asked if i.kind == "git" and _is_small(i)]
    with contextlib.closing(read_blobs(root, oids, LARGEST_READ)) as blobs:
        for info in asked:
            content = None
            if info.kind != "symlink" and not _is_small(info):
                _warn_of_size(root, info)
            elif info.kind == "git":
                content = next(blobs)[1]
            elif info.kind == "annex":
                place = places[info.key] or located.get(info.key or "")
                try:
                    content = _read_annexed(annex, info, place, work_tree)
                except TooLarge:
                    # A key without a size, one that lies, or a file that the user changed.
                    _warn_of_size(root, info)
            yield info.path, content


def _is_small(info: FileInfo) -> bool:
    return info.bytesize is None or info.bytesize <= LARGEST_READ


def _warn_of_size(root: Path, info: FileInfo) -> None:
    lgr.warning(
        "%s in %s is larger than %d MiB and was not read; if it should be, see what it holds",
        info.path, root, LARGEST_READ >> 20,
    )  # fmt: skip


def _read_annexed(annex: Annex, info: FileInfo, place: str | None, work_tree: bool) -> bytes | None:
    with contextlib.suppress(PermissionError):
        if place is not None and annex.objects is not None:
            return read_beneath(annex.objects, place, LARGEST_READ)
        if info.unlocked and work_tree:
            # Changed by the user, and the object gone (annex.thin): what lies there is the data.
            content = read_beneath(annex.root, info.path, LARGEST_READ)
            if content is not None and key_of_pointer(content) is None:
                return content
    return None
