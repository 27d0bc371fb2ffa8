"""Which content is here: of annexed files by looking, not by asking git-annex for each."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from .beneath import read_beneath
from .blobs import FileInfo, read_blobs
from .keys import LARGEST_POINTER, key_of_link, key_of_pointer, object_paths
from .listing import encode
from .process import start

__all__ = ["annex_directory", "present", "read_content"]

_OBJECTS = "annex/objects/"


def annex_directory(root: Path) -> Path | None:
    """Give the directory in which a dataset keeps its annex, resolved.

    Follows what git and git-annex set up themselves: `.git` as a file or a link (subdatasets,
    linked work trees), a bare repository, `.git/annex` as a link (ephemeral clones).

    Returns
    -------
    Path or None
        None where no annex was initialized.
    """
    git = root / ".git"
    if git.is_file():
        text = git.read_bytes().decode("utf-8", "surrogateescape").strip()
        git = root / text.removeprefix("gitdir:").strip()
    elif not git.is_dir():
        git = root
    candidates = [git]
    with contextlib.suppress(OSError):
        common = (git / "commondir").read_bytes().decode("utf-8", "surrogateescape").strip()
        candidates.append(git / common)
    for candidate in candidates:
        annex = candidate / "annex"
        if annex.is_dir():
            return Path(os.path.realpath(annex))
    return None


class _Annex:
    """Where the objects of one dataset lie."""

    def __init__(self, root: Path) -> None:
        self.root = root
        annex = annex_directory(root)
        self.objects = annex / "objects" if annex is not None else None
        # Joined as bytes: thousands of look-ups should not encode it each time.
        self._beneath = os.fsencode(self.objects or root) + b"/"

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
            feeder = threading.Thread(
                target=_feed, args=(git.stdin, [encode(k) for k in keys]), daemon=True
            )
            feeder.start()
            answers = git.stdout.read().split(b"\n")
            feeder.join()
        found: dict[str, str | None] = {}
        for key, answer in zip(keys, answers, strict=False):
            place = answer.decode("utf-8", "surrogateescape").replace("\\", "/")
            found[key] = place.rpartition(_OBJECTS)[2] or None
        return found


def _feed(pipe: IO[bytes], keys: list[bytes]) -> None:
    # When git-annex dies early, the reader of its answers finds out why.
    with contextlib.suppress(BrokenPipeError), pipe:
        pipe.write(b"".join(k + b"\n" for k in keys))


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
    annex = _Annex(root)
    answer: dict[str, bool] = {}
    unsettled: list[FileInfo] = []
    for info in infos:
        if info.kind != "annex":
            answer[info.path] = True
            continue
        state = _work_tree_state(root, info.path) if info.unlocked else None
        if state is None:
            state = annex.find(info) is not None
            if not state and info.unlocked:
                unsettled.append(info)
        answer[info.path] = state
    located = annex.locate(unsettled)
    for info in unsettled:
        answer[info.path] = located.get(info.key or "") is not None
    return answer


def read_content(root: Path, infos: Iterable[FileInfo]) -> Iterator[tuple[str, bytes | None]]:
    """Read small files whole: JSON and TSV.

    For what git keeps, the blob in the index is read and not the work tree. Annex objects are
    opened beneath `.git/annex/objects` without following links.

    Parameters
    ----------
    root
        Root of the dataset.
    infos
        From `describe`. Held in memory; the contents are not.

    Yields
    ------
    tuple of str and (bytes or None)
        Path and content, in the order given. None when the content is not here, cannot be
        read, or the file is a symbolic link that is not git-annex's.

    Raises
    ------
    DatasetError
        When git or git-annex fails.
    """
    asked = list(infos)
    annex = _Annex(root)
    places = {i.key: annex.find(i) for i in asked if i.kind == "annex"}
    located = annex.locate([i for i in asked if i.unlocked and places[i.key] is None])
    with contextlib.closing(read_blobs(root, [i.oid for i in asked if i.kind == "git"])) as blobs:
        for info in asked:
            if info.kind == "git":
                yield info.path, next(blobs)[1]
            elif info.kind == "annex":
                place = places[info.key] or located.get(info.key or "")
                yield info.path, _read_annexed(annex, info, place)
            else:
                yield info.path, None


def _read_annexed(annex: _Annex, info: FileInfo, place: str | None) -> bytes | None:
    with contextlib.suppress(PermissionError):
        if place is not None and annex.objects is not None:
            return read_beneath(annex.objects, place)
        if info.unlocked:
            # Changed by the user, and the object gone (annex.thin): what lies there is the data.
            content = read_beneath(annex.root, info.path)
            if content is not None and key_of_pointer(content) is None:
                return content
    return None
