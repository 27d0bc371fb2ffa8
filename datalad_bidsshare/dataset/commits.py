"""Making many commits at once, without the index and the work tree: one `git fast-import`."""

from __future__ import annotations

import contextlib
import hashlib
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.listing import Entry, decode, encode, read_tree
from datalad_bidsshare.dataset.process import Running, read_chunks, run, start
from datalad_bidsshare.dataset.state import own_git_directory

__all__ = [
    "Change",
    "Difference",
    "NewCommit",
    "blob_name",
    "check_difference",
    "check_identity",
    "clean_refs",
    "read_difference",
    "words_of",
    "write_commits",
]

_REFS = "refs/bidsshare/"
_NOTHING = "000000"
# What git cannot have in a tree. What is dangerous besides is the caller's to refuse.
_IMPROPER = re.compile(r"(^|/)(\.{0,2}|\.git)(/|$)|\0", re.IGNORECASE)
_QUOTED = re.compile(rb'[\x00-\x1f"\\\x7f-\xff]')


@dataclass(frozen=True, slots=True)
class Change:
    """What is to stand at one path.

    Attributes
    ----------
    path
        POSIX, relative to the root of the dataset.
    mode
        git's: '100644', '100755' or '120000'.
    oid
        Name of the blob, in hex digits.
    data
        What it holds, where git does not have it yet. None: it has.
    """

    path: str
    mode: str
    oid: str
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class NewCommit:
    """A commit to be made.

    Attributes
    ----------
    message
        Whole, with the newline at its end.
    changes
        To what the commit before it holds.
    """

    message: str
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """What two commits have at one path; mode '000000' is nothing.

    Attributes
    ----------
    path
        POSIX, relative to the root of the dataset.
    old_mode, old_oid
        In the one.
    mode, oid
        In the other.
    """

    path: str
    old_mode: str
    old_oid: str
    mode: str
    oid: str


def blob_name(data: bytes, like: str) -> str:
    """Give the name under which git keeps data, in a repository with names such as `like`."""
    name = hashlib.new("sha1" if len(like) == 40 else "sha256", usedforsecurity=False)
    name.update(b"blob %d\0" % len(data))
    name.update(data)
    return name.hexdigest()


def check_identity(root: Path) -> None:
    """See whether git knows whom to put down as author and committer.

    Raises
    ------
    DatasetError
        When it does not.
    """
    for variable in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
        _ident(root, variable)


def write_commits(root: Path, parent: str, commits: Sequence[NewCommit]) -> list[str]:
    """Make commits, one upon the other. No branch holds them yet: see `landing`.

    Author, committer and date are those that `git commit` would put down; nothing is signed.

    Parameters
    ----------
    root
        Root of the dataset.
    parent
        Full name of the commit that the first is based on.
    commits
        In order.

    Returns
    -------
    list of str
        Their names, in order.

    Raises
    ------
    DatasetError
        When git has no name for the author, or cannot write (no space, no permission).
    ValueError
        When there is no commit to be made, or a message or path holds what git cannot.
    """
    if not commits:
        raise ValueError("no commits")
    for commit in commits:
        _require_proper(commit)
    author, committer = (_ident(root, v) for v in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"))
    # A name of its own: the lock file of one that was killed is in nobody's way.
    ref = f"{_REFS}{secrets.token_hex(8)}".encode()
    command = ["git", "fast-import", "--quiet", "--force", "--done", "--date-format=raw"]
    names: list[str] = []
    git: Running | None = None
    try:
        with start(command, root, stdin=True) as git:
            base = parent.encode("ascii")
            for mark, commit in enumerate(commits, 1):
                git.ask(_commit_command(ref, mark, base, author, committer, commit))
                base = b":%d" % mark
            # The ref goes by the hand that made it, in the same write: it is never on the disk.
            git.ask(b"".join(b"get-mark :%d\n" % m for m in range(1, len(commits) + 1)))
            git.ask(b"reset %b\nfrom %b\n\ndone\n" % (ref, b"0" * len(parent)))
            git.ask_no_more()
            names = git.stdout.read().decode("ascii").split()
    except DatasetError as e:
        raise DatasetError(
            f"git could not write commits in {root}: {words_of(e)}; next: see that there is space "
            "and that you may write there, or if 'git fsck' finds damage; then try again"
        ) from e
    finally:
        if git is not None and len(names) != len(commits):
            _clean_crash(root, git.process.pid)
    if len(names) != len(commits):
        raise DatasetError(f"git made {len(names)} of {len(commits)} commits in {root}")
    return names


def _require_proper(commit: NewCommit) -> None:
    if "\0" in commit.message:
        raise ValueError("a message cannot hold NUL")
    for change in commit.changes:
        if _IMPROPER.search(change.path):
            raise ValueError(f"not a path that git can hold: {change.path!r}")


def _ident(root: Path, variable: str) -> bytes:
    """Give name, address and time as git would put them into a commit."""
    try:
        return run(["git", "var", variable], root).rstrip(b"\n")
    except DatasetError as e:
        if "ident" not in str(e) and "auto-detect" not in str(e):
            raise
        raise DatasetError(
            f"git does not know who you are, and a commit in {root} needs an author; next: "
            "git config --global user.name 'YOUR NAME' and "
            "git config --global user.email YOU@EXAMPLE.ORG"
        ) from e


def _commit_command(
    ref: bytes, mark: int, base: bytes, author: bytes, committer: bytes, commit: NewCommit
) -> bytes:
    message = encode(commit.message)
    parts = [
        b"commit %b\nmark :%d\nauthor %b\ncommitter %b\n" % (ref, mark, author, committer),
        b"data %d\n%b\nfrom %b\n" % (len(message), message, base),
    ]
    for change in commit.changes:
        blob = b"inline" if change.data is not None else change.oid.encode("ascii")
        parts.append(b"M %b %b %b\n" % (change.mode.encode("ascii"), blob, _quoted(change.path)))
        if change.data is not None:
            parts.append(b"data %d\n%b\n" % (len(change.data), change.data))
    return b"".join(parts)


def _quoted(path: str) -> bytes:
    """Write a path as fast-import reads it, whatever bytes it holds."""
    return b'"%b"' % _QUOTED.sub(lambda m: b"\\%03o" % ord(m[0]), encode(path))


def words_of(error: DatasetError) -> str:
    """Give git's own words without the advice that `process` adds to them."""
    said = str(error).partition("): ")[2].rpartition(". Run 'git fsck'")[0] or str(error)
    return said.strip().partition("\n")[0]


def _clean_crash(root: Path, pid: int) -> None:
    """Remove the report that a fast-import leaves in the repository when it fails."""
    with contextlib.suppress(OSError, DatasetError):
        (own_git_directory(root) / f"fast_import_crash_{pid}").unlink(missing_ok=True)


def clean_refs(root: Path) -> None:
    """Remove what calls of `write_commits` left that were killed. None may be running.

    Raises
    ------
    DatasetError
        When git cannot.
    """
    found = run(["git", "for-each-ref", "--format=delete %(refname)", _REFS], root)
    if found:
        run(["git", "update-ref", "--stdin"], root, given=found)


def read_difference(root: Path, old: str, new: str) -> Iterator[Difference]:
    """Compare what two commits hold, subdatasets included, in the order of paths.

    Raises
    ------
    DatasetError
        When git cannot read them.
    """
    command = ["git", "diff-tree", "-r", "-z", "--raw", "--no-renames", "--no-abbrev"]
    with start([*command, "--ignore-submodules=none", old, new], root) as git:
        meta = ""
        for chunk in read_chunks(git.stdout):
            for field in decode(chunk).split("\0"):
                if not meta:
                    meta = field
                    continue
                # ':OLDMODE NEWMODE OLDOID NEWOID STATUS', then the path
                old_mode, mode, old_oid, oid, _ = meta[1:].split(" ")
                yield Difference(field, old_mode, old_oid, mode, oid)
                meta = ""


def check_difference(root: Path, old: str, new: str, expected: Mapping[str, Change]) -> None:
    """Make sure that one commit differs from another in what is expected, and in nothing else.

    Parameters
    ----------
    root
        Root of the dataset.
    old, new
        Full names of commits.
    expected
        By path. What stood there before as it is expected need not differ.

    Raises
    ------
    DatasetError
        When it is not so; the text names a path.
    """
    missing = dict(expected)
    for difference in read_difference(root, old, new):
        change = missing.pop(difference.path, None)
        if change is None:
            what = "is gone" if difference.mode == _NOTHING else "is there"
            raise _unexpected(root, difference.path, f"{what}, and should not be")
        if (difference.mode, difference.oid) != (change.mode, change.oid):
            raise _unexpected(root, difference.path, "is not what it should be")
    if not missing:
        return
    # Rare: a file came out as it was.
    index = read_tree(root, new)
    for path, change in missing.items():
        if path not in index or index[path] != Entry(path, change.mode, change.oid):
            raise _unexpected(root, path, "is not what it should be")


def _unexpected(root: Path, path: str, what: str) -> DatasetError:
    return DatasetError(
        f"The commits made for {root} are not right: {path!r} {what}. Nothing was changed; next: "
        f"run 'git fsck' there, and report this"
    )
