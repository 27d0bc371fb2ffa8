"""What a repository has that is nowhere else, as far as git knows."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from datalad_bidsshare.dataset.annexnotes import told_here
from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.explaining import reason_of
from datalad_bidsshare.dataset.hierarchy import contains_repo, leads_outside
from datalad_bidsshare.dataset.listing import read_index
from datalad_bidsshare.dataset.presence import git_directory
from datalad_bidsshare.dataset.process import run
from datalad_bidsshare.dataset.state import own_git_directory, unsaved

__all__ = ["BASE", "KNOWN", "TARGET", "installed_mounts", "unpushed"]

KNOWN = "refs/bidsshare/source/"
"""Where it is noted what came from the source, also when that has it no more."""
BASE = f"{KNOWN}base"
"""The commit that was checked out by us."""
TARGET = f"{KNOWN}target"
"""The one that is being checked out."""

_MOST = 5
# git-annex's own branches: what it writes there is not what somebody worked on
_NOT_WORK = ("git-annex", "synced/*", "adjusted/*")
# When all goes: what is elsewhere, or of git-annex alone, or looked at otherwise
_NOT_LOST = (
    *("refs/remotes/*", "refs/bidsshare/*", "refs/annex/*", "refs/tags/*", "refs/stash"),
    *("refs/heads/git-annex", "refs/heads/synced/git-annex"),
)
_ADJUSTING = "git-annex adjusted branch"
"""The message of the commit that git-annex makes to show another one in a form of its own."""


def unpushed(root: Path, *, removing: bool = False) -> list[str]:
    """Tell what only this repository has in git; each a short text, none when all is elsewhere.

    Local commits that no branch of a remote holds, stashes, modified and untracked files, work
    trees elsewhere; also of the subdatasets that are installed in it. Content of annexed files is
    not looked at.

    Parameters
    ----------
    root
        Root of the dataset.
    removing
        Whether all is to go, and not only to be moved to another commit. Then also: commits on
        tags, on any branch (git-annex's for synchronizing and adjusting, too), git notes, files
        that git ignores, repositories of subdatasets that have no work tree (`.git/modules`), and
        what git-annex was told of files here. The log of what HEAD was is not looked at: a commit
        that is only there was thrown away, by somebody or by an update.

    Raises
    ------
    DatasetError
        When git cannot tell.
    """
    return _unpushed(root, "", None, removing)


def _unpushed(root: Path, at: str, registered: str | None, removing: bool) -> list[str]:
    own = [*_own(root, registered, removing)]
    if removing:
        own += _only_in(("git",), root, git_directory(root), registered)
    found = [f"{at}: {what}" if at else what for what in own]
    below: set[Path] = set()
    for mount, commit in installed_mounts(root):
        found += _unpushed(root / mount, f"{at}/{mount}" if at else mount, commit, removing)
        below.add(git_directory(root / mount))
    if removing:
        for directory in _modules(git_directory(root), below):
            # Its work tree is gone, and git would look for it.
            git = ("git", f"--git-dir={directory}", f"--work-tree={directory}")
            what = [*_stashes(git, directory), *_only_in(git, directory, directory, None)]
            found += [f"{directory}: {each}" for each in what]
    return found


def _modules(directory: Path, spared: Collection[Path]) -> Iterator[Path]:
    """Give the repositories that git keeps for subdatasets, without some and what is in them."""
    pending = [directory / "modules"]
    while pending:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            for path in sorted(pending.pop().iterdir()):
                if path.is_symlink() or not path.is_dir() or path in spared:
                    continue
                if (path / "HEAD").exists() and (path / "objects").is_dir():
                    yield path
                    pending.append(path / "modules")
                else:
                    # names of subdatasets have slashes
                    pending.append(path)


def _only_in(
    git: Sequence[str], root: Path, directory: Path, registered: str | None
) -> Iterator[str]:
    """Tell what goes with a repository, other than what `_own` and `_stashes` tell."""
    there = [registered] if registered and _has(git, root, registered) else []
    known = ["--remotes", "--glob=refs/bidsshare/*", *there]
    kept = [f"--exclude={pattern}" for pattern in _NOT_LOST]
    commits = _logged(git, root, [*kept, "--all", "--not", *known])
    if commits:
        yield _told(commits)
    # Tags came with the clone, and may be of commits that no branch of the source holds.
    positive = ["--tags", "--not", *known, "--exclude=refs/tags/*", *kept, "--all"]
    tagged = _logged(git, root, positive)
    if tagged:
        oids, why = _tags_elsewhere(git, root)
        known_oids = [oid for oid in oids if _has(git, root, oid)]
        tagged = _logged(git, root, [*positive, *known_oids])
        if tagged:
            yield f"{_told(tagged)}, on tags{why}"
    told = told_here(git, root, directory)
    if told:
        more = ", ..." * (len(told) > _MOST)
        yield f"what git-annex was told here: {', '.join(told[:_MOST])}{more}"


def _told(commits: Sequence[str]) -> str:
    number = len(commits)
    return f"{number} local commit{'s' * (number != 1)}, such as {commits[0]}"


def _logged(git: Sequence[str], root: Path, revisions: Sequence[str]) -> list[str]:
    """Give commits, without those that git-annex made to show others in its own form."""
    who = "%an %ae %at %cn %ce %ct"
    form = f"--format=%P%x00{who}%x00%h %s"
    command = [*git, "log", "--no-show-signature", form, *revisions, "--"]
    found: list[str] = []
    for line in decode(run(command, root)).splitlines():
        parents, made, shown = line.split("\0", 2)
        if shown.endswith(f" {_ADJUSTING}") and parents and " " not in parents:
            # It has the name and the time of the commit that it shows. One that somebody amended
            # has another time.
            form = f"--format={who}"
            of = run([*git, "log", "-1", "--no-show-signature", form, parents, "--"], root)
            if decode(of).strip("\n") == made:
                continue
        found.append(shown)
    return found


def _tags_elsewhere(git: Sequence[str], root: Path) -> tuple[set[str], str]:
    """Ask the remotes for their tags: what they are of, and who could not be asked."""
    environment = {"GIT_TERMINAL_PROMPT": "0"}
    if "GIT_SSH_COMMAND" not in os.environ:
        environment["GIT_SSH_COMMAND"] = "ssh -oBatchMode=yes"
    oids: set[str] = set()
    why = ""
    for remote in decode(run([*git, "remote"], root)).splitlines():
        try:
            said = run([*git, "ls-remote", "--tags", "--", remote], root, env=environment)
            oids.update(line.split("\t")[0] for line in decode(said).splitlines())
        except DatasetError as e:
            why += f" ({remote} cannot be asked for its own: {reason_of(str(e))})"
    return oids, why


def installed_mounts(root: Path) -> Iterator[tuple[str, str]]:
    """Give the subdatasets that are installed: mounts, and the commit that is registered."""
    for mount, commit in read_index(root).gitlinks.items():
        if not leads_outside(root, mount) and contains_repo(root / mount):
            yield mount, commit


def _stashes(git: Sequence[str], root: Path) -> Iterator[str]:
    stashes = decode(run([*git, "stash", "list"], root)).splitlines()
    if stashes:
        yield f"{len(stashes)} stash{'es' * (len(stashes) != 1)}"


def _ignored(root: Path) -> list[str]:
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "--directory"]
    return decode(run([*command, "--no-empty-directory", "-z"], root)).split("\0")[:-1]


def _own(root: Path, registered: str | None, removing: bool) -> Iterator[str]:
    if not removing:
        commits = _local_commits(root, registered)
        if commits:
            yield _told(commits)
    yield from _stashes(("git",), root)
    spared = _half_moved(root)
    paths = [p for p in unsaved(root, most=_MOST + len(spared)) if not _is_spared(p, spared)]
    # An installed subdataset that is at another commit is asked itself.
    paths = [p for p in paths if not contains_repo(root / p) or not _is_mount(root, p)]
    if paths:
        more = "..." * (len(paths) > _MOST)
        yield f"modified or untracked: {', '.join([*paths[:_MOST], more]).removesuffix(', ')}"
    paths = [p for p in _ignored(root) if not _is_spared(p, spared)] if removing else []
    if paths:
        more = ", ..." * (len(paths) > _MOST)
        yield f"ignored files: {', '.join(paths[:_MOST])}{more}"
    with contextlib.suppress(OSError):
        elsewhere = os.listdir(own_git_directory(root) / "worktrees")
        if elsewhere:
            yield f"{len(elsewhere)} linked work tree{'s' * (len(elsewhere) != 1)}"


def _half_moved(root: Path) -> frozenset[str]:
    """Give the files that were being checked out when `updating.move_to` was killed."""
    command = ["git", "for-each-ref", "--format=%(objectname)", BASE, TARGET]
    commits = decode(run(command, root)).split()
    if len(commits) < 2:
        return frozenset()
    command = ["git", "diff", "--name-only", "--no-renames", "-z", *commits, "--"]
    return frozenset(decode(run(command, root)).split("\0")) - {""}


def _local_commits(root: Path, registered: str | None) -> list[str]:
    try:
        run(["git", "rev-parse", "--verify", "--quiet", "HEAD^{commit}"], root)
        here = ["HEAD"]
    except DatasetError:
        # no commit yet
        here = []
    # The superdataset knows it, and so it is, or was, in the source of this one.
    there = [registered] if registered and _has(("git",), root, registered) else []
    command = ["git", "log", "--no-show-signature", "--format=%h %s", *here]
    command += [f"--exclude={pattern}" for pattern in _NOT_WORK]
    # What was checked out by us is from the source, also when the source has it no more.
    command += ["--branches", "--not", "--remotes", f"--glob={KNOWN}*", *there]
    found = decode(run(command, root)).splitlines()
    if here and _is_adjusted(root):
        # git-annex made that commit, for this clone alone.
        found = [line for line in found if not line.endswith(f" {_ADJUSTING}")]
    return found


def _has(git: Sequence[str], root: Path, commit: str) -> bool:
    try:
        run([*git, "cat-file", "-e", f"{commit}^{{commit}}"], root)
    except DatasetError:
        return False
    return True


def _is_adjusted(root: Path) -> bool:
    try:
        return run(["git", "symbolic-ref", "HEAD"], root).startswith(b"refs/heads/adjusted/")
    except DatasetError:
        # no branch
        return False


def _is_spared(path: str, spared: Collection[str]) -> bool:
    if path in spared:
        return True
    # a directory of which nothing is tracked
    return path.endswith("/") and any(name.startswith(path) for name in spared)


def _is_mount(root: Path, path: str) -> bool:
    return path in read_index(root).gitlinks
