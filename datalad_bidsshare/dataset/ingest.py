"""Giving files of a private tree to git and git-annex, beside the user's work tree and index."""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from datalad_bidsshare.dataset.blobs import describe, read_blobs
from datalad_bidsshare.dataset.commits import Change, blob_name
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.full_disk import NO_ROOM, room, watched
from datalad_bidsshare.dataset.keys import (
    LARGEST_POINTER,
    bytesize_of_key,
    key_of_link,
)
from datalad_bidsshare.dataset.listing import Entry, Index, decode, encode
from datalad_bidsshare.dataset.presence import annex_directory
from datalad_bidsshare.dataset.process import read_chunks, run, start
from datalad_bidsshare.dataset.state import own_git_directory
from datalad_bidsshare.dataset.termination import guarded

__all__ = ["Ingested", "ingest"]

_OBJECTS = "/annex/objects/"
# What is right for the user's work tree is wrong for ours.
_SETTINGS = ("sparseCheckout=false", "fsmonitor=false", "untrackedCache=false", "splitIndex=false")
_MOST_SAID = 5

_LEAST_ROOM = 16 << 20
"""Bytes that must be free: links, git's objects and git-annex's databases grow."""


@dataclass(frozen=True, slots=True)
class Ingested:
    """A file that git or git-annex has taken over.

    Attributes
    ----------
    change
        What a commit is to have at its path.
    key
        git-annex key; None for what git keeps.
    bytesize
        Of the content, in bytes.
    """

    change: Change
    key: str | None
    bytesize: int


def ingest(
    root: Path, tree: Path, index: Path, tracked: Index, *, jobs: int | None = None
) -> dict[str, Ingested]:
    """Give all files of a private tree to git-annex, or to git as the dataset has its rules.

    The rules are those that `datalad save` would go by: `.gitattributes` as tracked,
    `.git/info/attributes`, configuration. Files that are ignored are taken too.

    Parameters
    ----------
    root
        Root of the dataset.
    tree
        Directory with the files, at the paths that they are to have in the dataset. On the file
        system of the annex, best in the git directory. What goes to the annex is moved: a link,
        or an unlocked file, is left in its place.
    index
        File for an index of its own, made anew. In a directory of ours. Afterwards it has what is
        tracked and the files.
    tracked
        What the dataset tracks; nothing else is staged.
    jobs
        Files that git-annex takes at a time. None: as many as there are processors, at most four.

    Returns
    -------
    dict
        Path to what became of it: every file of the tree.

    Raises
    ------
    DatasetError
        When git or git-annex cannot take a file (no space, no permission), or left one out.
    """
    env = {
        "GIT_DIR": os.fspath(own_git_directory(root)),
        "GIT_WORK_TREE": os.path.abspath(tree),
        "GIT_INDEX_FILE": os.path.abspath(index),
    }
    try:
        for leftover in (index, index.with_name(f"{index.name}.lock")):
            leftover.unlink(missing_ok=True)
        wanted = set(_files(tree))
        _prepare(root, env, index, wanted, tracked)
    except (OSError, DatasetError) as e:
        raise _failure(root, [str(e)]) from e
    _add(root, tree, env, wanted, jobs or _usual_jobs())
    added = [e for e in _entries(root, env) if e.path in wanted]
    if len(added) != len(wanted):
        left = min(wanted.difference(e.path for e in added))
        raise DatasetError(
            f"git did not take {left!r} and {len(wanted) - len(added) - 1} more files for {root}, "
            "and did not say why"
        )
    return {i.change.path: i for i in _described(root, added)}


def _files(tree: Path) -> Iterator[str]:
    """Give all files of a tree that is ours: no link leads out of it."""
    top = os.fsencode(tree)
    for directory, _, names in os.walk(top, onerror=_raise):
        prefix = os.path.relpath(directory, top).replace(os.fsencode(os.sep), b"/") + b"/"
        for name in names:
            yield decode((prefix + name).removeprefix(b"./"))


def _raise(error: OSError) -> None:
    raise error


def _command(*args: str) -> list[str]:
    settings = [word for setting in _SETTINGS for word in ("-c", f"core.{setting}")]
    return ["git", *settings, *args]


def _prepare(root: Path, env: dict[str, str], index: Path, paths: set[str], tracked: Index) -> None:
    """Make an index that has what is tracked, but for some paths.

    A copy of the user's. With one that holds nothing else, git-annex would take all other files
    for deleted, and make its database of keys anew: now, and when the user runs it the next time
    (at 100,000 files half a minute). It also has the rules of the dataset, in `.gitattributes`.
    """
    with contextlib.suppress(FileNotFoundError):
        shutil.copyfile(own_git_directory(root) / "index", index)
    # Whatever it has of them afterwards has been added.
    given = b"".join(encode(path) + b"\0" for path in paths if path in tracked)
    if given:
        command = _command("update-index", "-z", "--force-remove", "--stdin")
        run(command, root, given=given, env=env)


def _add(root: Path, tree: Path, env: dict[str, str], paths: set[str], jobs: int) -> None:
    if not _has_annex(root):
        command = _command("add", "--force", "--pathspec-from-file=-", "--pathspec-file-nul")
        # Nothing in a name is a pattern.
        literally = {**env, "GIT_LITERAL_PATHSPECS": "1"}
        try:
            run(command, tree, given=_listed(paths), env=literally)
        except DatasetError as e:
            raise _failure(root, [str(e)]) from e
        return
    if room(tree) < _LEAST_ROOM:
        raise _failure(root, [NO_ROOM])
    # By name: to be told of a directory, it would look for each file that is tracked in it.
    lines = {path for path in paths if "\n" in path}
    _annex_add(root, tree, env, ["--batch", "-z"], _listed(paths - lines), jobs)
    if lines:
        # git-annex does not find these in a batch.
        _annex_add(root, tree, env, ["--", *(f"./{path}" for path in sorted(lines))], None, 1)


def _listed(paths: Iterable[str]) -> bytes:
    return b"".join(encode(path) + b"\0" for path in sorted(paths))


def _annex_add(
    root: Path,
    tree: Path,
    env: dict[str, str],
    which: list[str],
    given: bytes | None,
    jobs: int,
) -> None:
    command = _command("annex", "add", "--json", "--json-error-messages", "--no-check-gitignore")
    if jobs > 1:
        command.append(f"-J{jobs}")
    failures: list[str] = []
    try:
        with (
            start([*command, *which], tree, env=env, stdin=given is not None) as git,
            # With -J, git-annex that can report to nobody does not end.
            guarded(git.process),
            watched(git.process, tree) as ended,
        ):
            if given is not None:
                git.ask(given)
                git.ask_no_more()
            for chunk in read_chunks(git.stdout, b"\n"):
                failures += _failures(chunk)
    except DatasetError as e:
        said = [NO_ROOM] if ended.is_set() else []
        raise _failure(root, [*said, *failures] or [str(e)]) from e


def _usual_jobs() -> int:
    """Tell how many files git-annex takes at a time: most of it is waiting for the disk."""
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:
        processors = os.cpu_count() or 1
    return min(4, processors)


def _has_annex(root: Path) -> bool:
    """Tell whether git-annex has to do with a dataset, and make sure then that it knows it."""
    if annex_directory(root) is not None:
        return True
    refs = ["refs/heads/git-annex", "refs/remotes/*/git-annex"]
    if not run(["git", "for-each-ref", "--count=1", *refs], root):
        return False
    # A clone that git-annex has not seen yet. It would do so by itself, but with our work tree.
    run(["git", "annex", "init"], root)
    return True


def _failures(lines: bytes) -> Iterator[str]:
    for line in lines.split(b"\n"):
        # Thousands of files that went well need not be parsed.
        if b'"success":true' in line:
            continue
        with contextlib.suppress(ValueError):
            record = json.loads(decode(line))
            said = "; ".join(map(str, record.get("error-messages") or ["git-annex gave no reason"]))
            yield f"{record.get('file')}: {said}"


def _failure(root: Path, said: list[str]) -> DatasetError:
    """Turn what went wrong into the sentence that the user gets."""
    lowered = " ".join(said).lower()
    if "no space left" in lowered or "disk quota" in lowered:
        step = "make room on the disk of the dataset, then try again"
    elif "permission denied" in lowered or "read-only file system" in lowered:
        step = "ask for write access, or work in a clone of your own"
    else:
        step = f"see if the annex is sound: {shlex.join(['git', '-C', str(root), 'annex', 'info'])}"
    shown = "; ".join(said[:_MOST_SAID])
    more = f"; and {len(said) - _MOST_SAID} more" if len(said) > _MOST_SAID else ""
    return DatasetError(f"Files could not be added to {root}: {shown}{more}; next: {step}")


def _entries(root: Path, env: dict[str, str]) -> Iterator[Entry]:
    with start(["git", "ls-files", "-s", "-z"], root, env=env) as git:
        for chunk in read_chunks(git.stdout):
            for record in decode(chunk).split("\0"):
                # 'MODE OID STAGE<tab>PATH'
                meta, _, path = record.partition("\t")
                mode, oid, _ = meta.split(" ")
                yield Entry(path, mode, oid)


def _described(root: Path, entries: list[Entry]) -> Iterator[Ingested]:
    """Tell what the index holds: it is the truth, whatever git-annex said about names."""
    links = [e for e in entries if e.mode == "120000"]
    for link, (_, target) in zip(
        links, read_blobs(root, (e.oid for e in links), LARGEST_POINTER), strict=True
    ):
        key = key_of_link(target or b"")
        if key is None:
            raise DatasetError(f"{link.path!r} became a symbolic link that is not git-annex's")
        yield Ingested(_standard_link(link, target or b""), key, bytesize_of_key(key) or 0)
    for info in describe(root, (e for e in entries if e.mode != "120000")):
        yield Ingested(Change(info.path, info.mode, info.oid), info.key, info.bytesize or 0)


def _standard_link(link: Entry, target: bytes) -> Change:
    """Give the link as git-annex would have made it in the work tree of the user.

    The directories of the object are git-annex's own choice: repositories can have others.
    """
    beneath = decode(target).replace("\\", "/").rpartition(_OBJECTS)[2]
    data = encode("../" * link.path.count("/") + f".git{_OBJECTS}{beneath}")
    return Change(link.path, link.mode, blob_name(data, link.oid), data)
