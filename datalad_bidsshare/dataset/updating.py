"""What is new at the source of a managed clone: fetched, looked at, and only then taken over."""

from __future__ import annotations

import logging
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path

from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.explaining import is_disk_full, reason_of
from datalad_bidsshare.dataset.presence import git_directory
from datalad_bidsshare.dataset.process import run, start
from datalad_bidsshare.dataset.removed import take_out_removed
from datalad_bidsshare.dataset.secrets import Secret, revealed
from datalad_bidsshare.dataset.state import own_git_directory
from datalad_bidsshare.dataset.termination import guarded
from datalad_bidsshare.dataset.unpushed import BASE, KNOWN, TARGET, installed_mounts, unpushed

__all__ = ["Fetched", "accept", "fetch", "fetch_environment", "head", "interrupted", "move_to"]

lgr = logging.getLogger("datalad.bidsshare.dataset")

# Below this is what came and was not yet taken over. A suffix, because git-annex merges every
# branch whose last part is 'git-annex', wherever it is.
_INCOMING = "refs/bidsshare/incoming/"
_SUFFIX = "-new"
_HEAD = f"{_INCOMING}HEAD"
# No housekeeping: it would go on in the background, in what is about to be removed.
_FETCH = (
    *("git", "-c", "gc.auto=0", "-c", "maintenance.auto=false", "fetch", "--quiet", "--prune"),
    *("--no-recurse-submodules", "--no-write-fetch-head"),
)
_PATIENCE = 5.0
"""Seconds in which a git process that outlived its parent lets go of its locks."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """What a source has.

    Attributes
    ----------
    commit
        Its HEAD, in hex digits.
    news
        Whether a branch of it differs from what was taken over last.
    """

    commit: str
    news: bool


def fetch_environment() -> dict[str, str]:
    """Give the variables with which git reaches what DataLad reaches."""
    if "GIT_SSH_COMMAND" in os.environ:
        return {}
    from datalad.runner.gitrunner import GIT_SSH_COMMAND

    return {"GIT_SSH_COMMAND": GIT_SSH_COMMAND, "GIT_SSH_VARIANT": "ssh"}


def fetch(root: Path, secret: Secret | None = None, *, alone: bool = False) -> Fetched:
    """Fetch what is new, without touching what the clone has: that is `accept`.

    One connection. Others may work with the clone meanwhile.

    Parameters
    ----------
    root
        Root of the clone; its remote is `origin`.
    secret
        What the server wants to know.
    alone
        Whether nobody else works in the clone: locks that are left of a killed git are removed.

    Raises
    ------
    DatasetError
        When the source cannot be reached.
    """
    everything = [f"+refs/heads/*:{_INCOMING}*{_SUFFIX}"]
    try:
        _fetch(root, [f"+HEAD:{_HEAD}", *everything], secret, alone)
        has_head = True
    except DatasetError as e:
        if "couldn't find remote ref HEAD" not in str(e):
            raise
        # Its HEAD names a branch that it does not have: stores whose default has another name.
        _fetch(root, everything, secret, alone)
        has_head = False
    incoming, known = _refs(root)
    commit = incoming.pop("HEAD", "") if has_head else ""
    if not commit:
        commit = _followed(root, incoming)
    return Fetched(commit, incoming != known)


def _fetch(root: Path, refspecs: list[str], secret: Secret | None, alone: bool) -> None:
    # With '--tags', tags that somebody made here are not removed; those that moved do move.
    # Without '--refmap=', git moves the branches of the remote on its own, before we have looked.
    options = ["--tags", "--force", "--refmap=", "origin", *refspecs]
    try:
        with revealed(secret):
            _patiently(root, [*_FETCH, *options], alone=alone)
    except DatasetError as e:
        if is_disk_full(str(e), root):
            raise DatasetError(
                f"No space left on the device of {root}: {reason_of(str(e))}; next: make room"
            ) from e
        raise


def _patiently(root: Path, command: list[str], *, alone: bool) -> None:
    """Run git; when a lock of its own is in the way, wait for it, and then remove it if we may."""
    until = time.monotonic() + _PATIENCE
    removed = False
    while True:
        try:
            # ended also when we are killed: it may run for long
            with start(command, root, env=fetch_environment()) as git, guarded(git.process):
                git.stdout.read()
            return
        except DatasetError as e:
            if not _is_locked(str(e)) or removed:
                raise
            if time.monotonic() > until:
                removed = alone and _remove_locks(root)
                if not removed:
                    raise
        time.sleep(0.2)


def _is_locked(said: str) -> bool:
    return ".lock" in said and ("File exists" in said or "cannot lock ref" in said)


def _remove_locks(root: Path) -> bool:
    """Remove the lock files of a git that was killed. Nobody else works there."""
    found = False
    for directory in {own_git_directory(root), git_directory(root)}:
        places = [directory, *(directory / "refs").rglob("*")]
        candidates = list(directory.glob("*.lock"))
        candidates += [p for p in places if p.name.endswith(".lock") and p.is_file()]
        for path in candidates:
            path.unlink(missing_ok=True)
            found = True
    return found


def _refs(root: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Give what came and what was taken over, by names of branches."""
    command = ["git", "for-each-ref", "--format=%(objectname) %(symref) %(refname)"]
    incoming: dict[str, str] = {}
    known: dict[str, str] = {}
    for line in decode(run([*command, _INCOMING, "refs/remotes/origin/"], root)).splitlines():
        oid, symref, name = line.split(" ", 2)
        if name == _HEAD:
            incoming["HEAD"] = oid
        elif name.startswith(_INCOMING):
            incoming[name.removeprefix(_INCOMING).removesuffix(_SUFFIX)] = oid
        elif not symref:
            known[name.removeprefix("refs/remotes/origin/")] = oid
    return incoming, known


def _followed(root: Path, incoming: dict[str, str]) -> str:
    """Give the commit of the branch that the clone is on."""
    try:
        branch = decode(run(["git", "symbolic-ref", "--short", "HEAD"], root)).strip()
    except DatasetError:
        branch = ""
    if branch not in incoming:
        raise DatasetError(
            f"The source of {root} has no HEAD and no branch {branch!r} any more; next: see "
            f"{shlex.join(['git', '-C', str(root), 'ls-remote', 'origin'])}"
        )
    return incoming[branch]


def accept(root: Path, commit: str) -> None:
    """Take over what was fetched: the branches of the source are now what they are there.

    Parameters
    ----------
    root
        Root of the clone.
    commit
        HEAD of the source; it is kept, whatever becomes of the source.
    """
    run(["git", "update-ref", f"{KNOWN}head", commit], root)
    # from the repository itself: git knows how to do it in order
    branches = f"+{_INCOMING}*{_SUFFIX}:refs/remotes/origin/*"
    _patiently(root, [*_FETCH, "--no-tags", ".", branches], alone=False)


def head(root: Path, name: str = "HEAD") -> str | None:
    """Give the commit of a name, or None when it has none."""
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
    try:
        return decode(run(command, root)).strip() or None
    except DatasetError:
        return None


def interrupted(root: Path) -> bool:
    """Tell whether a `move_to` was killed."""
    return head(root, TARGET) is not None


def move_to(root: Path, commit: str, secret: Secret | None = None) -> list[str]:
    """Check out another commit of the source, also in the subdatasets that are installed.

    Nobody else works in the clone.

    Parameters
    ----------
    root
        Root of the clone.
    commit
        Is here.
    secret
        For subdatasets that lack their commit.

    Returns
    -------
    list of str
        What only this clone has; then nothing was done.

    Raises
    ------
    DatasetError
        When git fails.
    """
    found = unpushed(root)
    if not found:
        _move(root, commit, secret)
    return found


def _move(root: Path, commit: str, secret: Secret | None) -> None:
    if _is_adjusted(root):
        # What is checked out is git-annex's version of it, and not needed: who uses the clone
        # looks at commits.
        return
    before = head(root)
    if before is not None and head(root, BASE) is None:
        run(["git", "update-ref", BASE, before], root)
    if before != commit or interrupted(root):
        run(["git", "update-ref", TARGET, commit], root)
        take_out_removed(root, commit)
        command = ["git", "reset", "--quiet", "--hard", "--no-recurse-submodules", commit]
        _patiently(root, command, alone=True)
    for mount, registered in installed_mounts(root):
        below = root / mount
        if head(below) == registered and not interrupted(below):
            continue
        if head(below, registered) is None:
            _fetch_below(below, registered, secret)
        if head(below, registered) is not None:
            _move(below, registered, secret)
    run(["git", "update-ref", BASE, commit], root)
    run(["git", "update-ref", "-d", TARGET], root)


def _fetch_below(root: Path, commit: str, secret: Secret | None) -> None:
    """Fetch a commit of a subdataset; without success, it is missed by who needs it."""
    command = ["git", "-c", "gc.auto=0", "-c", "maintenance.auto=false", "fetch", "--quiet"]
    command += ["--no-recurse-submodules", "origin"]
    try:
        with revealed(secret):
            _patiently(root, command, alone=True)
            if head(root, commit) is None:
                # no branch has it
                _patiently(root, [*command, commit], alone=True)
    except DatasetError as e:
        lgr.warning(
            "What is new in the subdataset %s could not be fetched: %s", root, reason_of(str(e))
        )


def _is_adjusted(root: Path) -> bool:
    try:
        return run(["git", "symbolic-ref", "HEAD"], root).startswith(b"refs/heads/adjusted/")
    except DatasetError:
        # no branch
        return False
