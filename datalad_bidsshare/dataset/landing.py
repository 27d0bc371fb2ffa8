"""Bringing finished commits to a branch, its index and its work tree: at once, or later.

Whoever calls this has the lock of the dataset: no other command of ours works in it. git
commands of the user are kept out while the index is worked on, as they keep out each other.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from datalad_bidsshare.dataset.blobs import read_blobs
from datalad_bidsshare.dataset.commits import Difference, read_difference, words_of
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.held_index import held_index, let_go
from datalad_bidsshare.dataset.hierarchy import mount_of
from datalad_bidsshare.dataset.listing import Index, decode, encode
from datalad_bidsshare.dataset.presence import LARGEST_READ, annex_directory, encode_path
from datalad_bidsshare.dataset.process import read_chunks, run, start
from datalad_bidsshare.dataset.state import Head, read_head

__all__ = ["Landing", "MovedError", "finish", "follow", "land", "obstacles", "publish"]


class MovedError(DatasetError):
    """The branch is not where it was when the work began."""


@dataclass(frozen=True, slots=True)
class Landing:
    """A branch on its way from one commit to the next: what the journal holds."""

    branch: str
    old: str
    new: str


def obstacles(root: Path, paths: Iterable[str], tracked: Index) -> list[str]:
    """Tell what stands in the work tree where new files are to be, and is not tracked as a file.

    git itself would overwrite ignored files without a word.

    Parameters
    ----------
    root
        Root of the dataset, in which all that is tracked is saved.
    paths
        POSIX, relative to the root: where files are to be.
    tracked
        What the dataset tracks.

    Returns
    -------
    list of str
        Paths, in order, each once: files, links and directories at one of the paths that are
        not tracked; on the way to one of them, files and links (tracked or not), subdatasets
        (installed or not) and other repositories.
    """
    found: set[str] = set()
    ways: dict[str, str | None] = {"": None}
    for path in paths:
        mount = mount_of(path, tracked.gitlinks)
        in_the_way = mount if mount is not None else _in_the_way(root, path, ways, tracked)
        if in_the_way is not None:
            found.add(in_the_way)
        elif path not in tracked and os.path.lexists(encode_path(root, path)):
            found.add(path)
    return sorted(found)


def _in_the_way(
    root: Path, path: str, ways: dict[str, str | None], tracked: Index | None = None
) -> str | None:
    """Give what stands on the way to a path and is no directory of the dataset, or None.

    Parameters
    ----------
    root, path
        The dataset, and a path in it.
    ways
        What was found for directories before. '' must be in it.
    tracked
        What is a file in the index cannot be a directory. None: does not matter.
    """
    directory = path.rpartition("/")[0]
    if directory not in ways:
        above = _in_the_way(root, directory, ways, tracked)
        if above is None and (
            (tracked is not None and directory in tracked) or _is_closed(root, directory)
        ):
            above = directory
        ways[directory] = above
    return ways[directory]


def _is_closed(root: Path, directory: str) -> bool:
    """Tell whether something stands there that is no directory, or another repository."""
    name = encode_path(root, directory)
    try:
        found = os.lstat(name)
    except OSError:
        return False
    return not stat.S_ISDIR(found.st_mode) or os.path.lexists(os.path.join(name, b".git"))


def land(root: Path, head: Head, new: str, why: str, journal: Path) -> None:
    """Do `publish` and `follow` as one, so that `finish` can take up what is left by a kill.

    Parameters
    ----------
    root
        Root of the dataset.
    head
        What was checked out when the work began.
    new
        Full name of a commit that descends from it.
    why
        For the reflog.
    journal
        File that tells of it until all is done. Its directory must exist, and not the file.

    Raises
    ------
    MovedError
        When the branch moved meanwhile, or another one is checked out. Nothing was changed.
    DatasetError
        When git failed. If the branch was moved, the journal is still there: `finish`.
    """
    _write_journal(journal, Landing(head.branch, head.commit, new))
    moved = False
    try:
        # Before the branch moves: a commit that somebody makes in between would have the index
        # of before, and take away again all that came.
        with held_index(root) as env:
            publish(root, head.branch, head.commit, new, why)
            moved = True
            _bring_along(root, head.commit, new, env)
    except DatasetError:
        if not moved:
            journal.unlink()
        raise
    _populate(root)
    journal.unlink()


def publish(root: Path, branch: str, old: str, new: str, why: str) -> None:
    """Move the branch that is checked out, if it still is where it was.

    Raises
    ------
    MovedError
        When it is not.
    DatasetError
        When git cannot move it.
    """
    _require_unmoved(root, branch, old)
    try:
        # git compares once more, with the branch locked.
        run(["git", "update-ref", "-m", why, branch, new, old], root)
    except DatasetError as e:
        _require_unmoved(root, branch, old)
        raise DatasetError(
            f"{branch} of {root} could not be moved to the new commits: {words_of(e)}; next: see "
            "that you may write there and that no other git process is at work, then try again"
        ) from e


def _require_unmoved(root: Path, branch: str, old: str) -> None:
    head = read_head(root)
    if head.branch != branch:
        raise MovedError(
            f"In {root} {branch} was checked out when this began, and {head.branch} is now. "
            "Nothing was changed; next: check out the branch that is meant, then try again"
        )
    if head.commit != old:
        raise MovedError(
            f"{branch} of {root} was at {old} when this began, and is at {head.commit} now. "
            "Nothing was changed; next: try again"
        )


def follow(root: Path, old: str, new: str) -> None:
    """Bring index and work tree along, from one commit to another.

    What the user has changed elsewhere stays as it is. Nothing that is not tracked and not
    ignored is overwritten; for what is ignored see `obstacles`.

    Raises
    ------
    DatasetError
        When a file is in the way, or git cannot write; `finish` brings the rest.
    """
    with held_index(root) as env:
        _bring_along(root, old, new, env)
    _populate(root)


def _bring_along(root: Path, old: str, new: str, env: dict[str, str]) -> None:
    try:
        run(["git", "read-tree", "-m", "-u", "--no-recurse-submodules", old, new], root, env=env)
    except DatasetError as e:
        raise _unfollowed(root, new, e) from e


def _unfollowed(root: Path, new: str, error: DatasetError) -> DatasetError:
    return DatasetError(
        f"The commits were made ({new}), but not all files came into the work tree of {root}: "
        f"{words_of(error)}; next: see to that, then try again: what is missing will come"
    )


def _populate(root: Path) -> None:
    """Let git-annex put content into unlocked files that git wrote: they are pointers at first.

    git-annex notes them as git writes them. It notes those as well that it has put content into
    while git looked at them, and of which git does not know yet.
    """
    annex = annex_directory(root)
    for log, command in (("smudge.log", ["smudge", "--update"]), ("restage.log", ["restage"])):
        with contextlib.suppress(FileNotFoundError):
            if annex is not None and (annex / log).stat().st_size:
                run(["git", "annex", *command], root)


def finish(root: Path, journal: Path) -> list[str]:
    """Bring to an end what a journal tells of, and remove it. Nothing to do without a journal.

    If the branch was not moved, nothing happens. Else index and work tree are brought along
    where they were not, unless somebody changed them since.

    Parameters
    ----------
    root
        Root of the dataset.
    journal
        File as `land` has it; it need not exist.

    Returns
    -------
    list of str
        Paths that were left as they are in the work tree, because somebody changed them.

    Raises
    ------
    DatasetError
        When git cannot write; when another git process is at work, or was killed (the text
        names its lock file).
    """
    landing = _read_journal(journal)
    if landing is None:
        return []
    left: list[str] = []
    if _holds(root, landing.new):
        with held_index(root) as env:
            left = _bring(root, landing, env)
        _populate(root)
    else:
        let_go(root)
    journal.unlink()
    return left


def _holds(root: Path, commit: str) -> bool:
    """Tell whether what is checked out has a commit in its history."""
    try:
        return not run(["git", "rev-list", "--max-count=1", commit, "^HEAD"], root)
    except DatasetError as e:
        # Never published, it may have been collected as garbage.
        if "bad object" in str(e) or "bad revision" in str(e):
            return False
        raise


def _bring(root: Path, landing: Landing, env: dict[str, str]) -> list[str]:
    """Bring those paths along that the index has as they were, and the new commit otherwise.

    The index is written last. If it has them as they were, it is not known what of the work
    tree git has written before it was killed.
    """
    rows = _staged(root, env)
    ways: dict[str, str | None] = {"": None}
    behind: list[Difference] = []
    settled: set[str] = set()
    unsure: list[Difference] = []
    for d in read_difference(root, landing.old, landing.new):
        row = rows.get(d.path)
        if row is None or row[1:] != (d.mode, d.old_mode, d.oid, d.old_oid):
            # Brought along, or changed since
            continue
        behind.append(d)
        if _in_the_way(root, d.path, ways) is None:
            if (row[0] == "." and int(d.old_mode, 8)) or not os.path.lexists(
                encode_path(root, d.path)
            ):
                settled.add(d.path)
            else:
                unsure.append(d)
    contents = read_blobs(root, (d.oid for d in unsure), LARGEST_READ)
    for d, (_, content) in zip(unsure, contents, strict=True):
        if content is not None and _is_begun(encode_path(root, d.path), d.mode, content):
            settled.add(d.path)
    if behind:
        entries = b"".join(
            b"%b %b\t%b\0" % (d.mode.encode("ascii"), d.oid.encode("ascii"), encode(d.path))
            for d in behind
        )
        names = b"".join(encode(d.path) + b"\0" for d in behind if d.path in settled)
        try:
            run(["git", "update-index", "-z", "--index-info"], root, given=entries, env=env)
            command = ["git", "checkout-index", "--quiet", "--force", "-u", "-z", "--stdin"]
            run(command, root, given=names, env=env)
        except DatasetError as e:
            raise _unfollowed(root, landing.new, e) from e
    return [d.path for d in behind if d.path not in settled]


def _staged(root: Path, env: dict[str, str]) -> dict[str, tuple[str, str, str, str, str]]:
    """Tell where the index differs from what is checked out, or the work tree from the index.

    Returns
    -------
    dict
        Path to git's letter for the work tree ('.' when it is as in the index), and mode there,
        mode in the index, blob there, blob in the index.
    """
    rows: dict[str, tuple[str, str, str, str, str]] = {}
    command = ["git", "status", "--porcelain=v2", "-z", "--no-renames", "--untracked-files=no"]
    with start([*command, "--ignore-submodules=all"], root, env=env) as git:
        for chunk in read_chunks(git.stdout):
            for record in decode(chunk).split("\0"):
                # '1 XY SUB mH mI mW hH hI PATH'
                if record.startswith("1 "):
                    _, xy, _, there, here, _, oid, staged, path = record.split(" ", 8)
                    rows[path] = (xy[1], there, here, oid, staged)
    return rows


def _is_begun(name: bytes, mode: str, content: bytes) -> bool:
    """Tell whether git has written a file, or had begun to: nothing of anybody else's is in it."""
    found = os.lstat(name)
    if stat.S_ISLNK(found.st_mode):
        return mode == "120000" and os.fsencode(os.readlink(name)) == content
    if not stat.S_ISREG(found.st_mode) or mode == "120000" or found.st_size > len(content):
        return False
    with open(name, "rb") as file:
        return content.startswith(file.read())


def _write_journal(journal: Path, landing: Landing) -> None:
    """Have it on the disk, whole or not at all."""
    if journal.exists():
        raise ValueError(f"{journal} was not finished")
    temporary = journal.with_name(f"{journal.name}.new")
    try:
        with temporary.open("w", encoding="utf-8", errors="surrogateescape") as file:
            json.dump(asdict(landing), file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, journal)
        if os.name == "posix":
            fd = os.open(journal.parent, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
    except OSError as e:
        raise DatasetError(
            f"{journal} cannot be written: {e.strerror}; next: make room, or ask for write "
            "access, then try again"
        ) from e


def _read_journal(journal: Path) -> Landing | None:
    try:
        said = json.loads(journal.read_bytes())
        return Landing(str(said["branch"]), str(said["old"]), str(said["new"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise DatasetError(
            f"{journal} cannot be read: {e}; next: see with git status if the work tree is as it "
            "should be, and remove the file"
        ) from e
