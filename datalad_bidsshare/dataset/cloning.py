"""Cloning datasets: the only place that does, apart from the installing of subdatasets."""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from pathlib import Path
from typing import Any

from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.explaining import message_of
from datalad_bidsshare.dataset.hierarchy import contains_repo
from datalad_bidsshare.dataset.origin import (
    Identity,
    Origin,
    dataset_id_at,
    git_url,
    identify,
    why_not_cloned,
)
from datalad_bidsshare.dataset.process import run
from datalad_bidsshare.dataset.quiet import quiet_clone
from datalad_bidsshare.dataset.secrets import Secret, revealed
from datalad_bidsshare.dataset.unpushed import unpushed
from datalad_bidsshare.disk.removing import remove_tree
from datalad_bidsshare.disk.temporary import hold, sweep, take_away, temporary

__all__ = [
    "Identity",
    "Origin",
    "Secret",
    "clone",
    "clone_into",
    "dataset_id_at",
    "git_url",
    "identify",
    "revealed",
    "unpushed",
]

lgr = logging.getLogger("datalad.bidsshare.dataset")

# What a copy of git's own, made on the way, is called: in the directory that was asked for, and
# beside it.
_TEMPORARY = ".bidsshare-"
_COMPLETE = "complete"


def clone(source: Origin, path: Path, *, private: bool = False) -> None:
    """Clone a source without content, as `datalad clone` does.

    Parameters
    ----------
    source
        What to clone. The version that it names is not looked at: its HEAD is checked out.
    path
        Absolute; nothing is there, and its parent is.
    private
        Whether git-annex is to keep to itself that there is this clone: nothing that is ever
        pushed or merged from here names it.

    Raises
    ------
    DatasetError
        When there is no dataset to clone, or it cannot be cloned. Nothing is left then.
    """
    from datalad.core.distributed.clone import Clone
    from datalad.support.exceptions import CapturedException

    options = []
    if private:
        # git sets it before it fetches anything, and so before git-annex gets to see the clone.
        options = ["--origin=origin", "--config", "annex.private=true"]
    lgr.info("Cloning %s", source.shown)
    try:
        with revealed(source.secret), quiet_clone():
            results: list[dict[str, Any]] = Clone.__call__(
                source.url,
                str(path),
                git_clone_opts=options,
                on_failure="ignore",
                result_renderer="disabled",
                return_type="list",
                result_filter=None,
                result_xfm=None,
            )
        failed = [r for r in results if r["status"] in ("error", "impossible")]
        said = "; ".join(dict.fromkeys(filter(None, map(message_of, failed))))
    except Exception as e:
        # DataLad and its extensions raise what they meet on their way: there is no list of it.
        failed, said = [{}], CapturedException(e).format_short()
    except BaseException:
        take_away(path)
        raise
    if failed or not contains_repo(path):
        take_away(path)
        raise DatasetError(why_not_cloned(source, said, path.parent))
    if private:
        _assert_private(source, path)


def _assert_private(source: Origin, path: Path) -> None:
    """Make sure that the clone is named in no git-annex branch."""
    uuid = _config(path, "annex.uuid")
    if not uuid:
        return
    try:
        known = decode(run(["git", "cat-file", "blob", "refs/heads/git-annex:uuid.log"], path))
    except DatasetError:
        # none there: then it is not in it
        known = ""
    if uuid in known:
        take_away(path)
        raise DatasetError(
            f"git-annex wrote into the branch of a clone of {source.shown} that there is this "
            "clone, though it is private; next: update git-annex"
        )


def _config(root: Path, name: str) -> str:
    try:
        return decode(run(["git", "config", "--get", name], root)).rstrip("\n")
    except DatasetError:
        return ""


# Into a place of the user's


def clone_into(source: Origin, dest: Path, *, at: str | None = None) -> str:
    """Clone a source to where nothing is; it is there complete or not at all.

    Parameters
    ----------
    source
        What to clone.
    dest
        Absolute. Nothing, or an empty directory. Missing parents are made.
    at
        Commit, tag or branch to check out; None: the version that the source names, or its HEAD.

    Returns
    -------
    str
        The commit that is checked out.

    Raises
    ------
    DatasetError
        When it cannot be cloned, or has no such version. Nothing is left then.
    """
    dest = Path(os.path.realpath(dest))
    made = _make_parents(dest.parent)
    try:
        sweep(dest.parent, f".{dest.name}{_TEMPORARY}")
        if not dest.exists():
            return _clone_beside(source, dest, at)
        return _clone_inside(source, dest, at)
    except OSError as e:
        raise DatasetError(
            f"{source.shown} could not be cloned to {dest}: {e.strerror or e}; next: make room "
            "there, or give another directory"
        ) from e
    finally:
        for parent in made:
            # Not those that are in use now
            with contextlib.suppress(OSError):
                parent.rmdir()


def _make_parents(directory: Path) -> list[Path]:
    """Make a directory with its parents, and give those that were not there, lowest first."""
    missing = []
    while not directory.exists():
        missing.append(directory)
        directory = directory.parent
    try:
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
    except OSError as e:
        raise DatasetError(
            f"The directory {e.filename} cannot be made: {e.strerror}; next: give another one"
        ) from e
    return missing


def _clone_beside(source: Origin, dest: Path, at: str | None) -> str:
    with temporary(dest.parent, f".{dest.name}{_TEMPORARY}") as beside:
        # a name of its own: DataLad wants nothing to be there
        fresh = beside / dest.name
        clone(source, fresh)
        commit = check_out(source, fresh, at)
        if dest.exists():
            raise DatasetError(
                f"Something was put at {dest} meanwhile; next: see what it is, then try again"
            )
        fresh.rename(dest)
    return commit


def _clone_inside(source: Origin, dest: Path, at: str | None) -> str:
    """Clone into a directory that stays the one it is: somebody may be in it, or it is a mount."""
    sweep(dest, _TEMPORARY, spared=lambda path: (path / _COMPLETE).exists())
    for begun in sorted(dest.glob(f"{_TEMPORARY}*")):
        if (begun / _COMPLETE).is_file() and (held := hold(begun)) is not None:
            # A call was killed when its clone was complete, and had begun to move.
            try:
                _move_up(begun / "clone", dest)
                remove_tree(begun)
                return check_out(source, dest, at)
            finally:
                held()
    if any(dest.iterdir()):
        raise DatasetError(f"{dest} is not empty; next: give another directory")
    with temporary(dest, _TEMPORARY) as inside:
        fresh = inside / "clone"
        clone(source, fresh)
        commit = check_out(source, fresh, at)
        others = [entry.name for entry in dest.iterdir() if entry != inside]
        if others:
            raise DatasetError(
                f"Something was put into {dest} meanwhile ({others[0]}); next: see what it is, "
                "then try again"
            )
        (inside / _COMPLETE).touch()
        _move_up(fresh, dest)
    return commit


def _move_up(fresh: Path, dest: Path) -> None:
    """Move what is in a directory; the repository last, since it makes a dataset of the rest."""
    if not fresh.exists():
        return
    for entry in sorted(fresh.iterdir(), key=lambda entry: entry.name == ".git"):
        entry.rename(dest / entry.name)


def check_out(source: Origin, root: Path, at: str | None) -> str:
    """Check a version out, in a clone that nobody has worked in.

    Parameters
    ----------
    source
        Whose clone it is.
    root
        Its root.
    at
        As `clone_into` has it.

    Returns
    -------
    str
        The commit.

    Raises
    ------
    DatasetError
        When there is no such version.
    """
    wanted = at if at is not None else source.version
    if wanted is None:
        return _commit(root, "HEAD") or _no_commit(source)
    if wanted.startswith(("-", "^")) or not wanted:
        raise DatasetError(f"{wanted!r} is no version; next: give a commit, tag or branch")
    # A branch of the source is followed by a local one of its name.
    with contextlib.suppress(DatasetError):
        if _commit(root, f"refs/remotes/origin/{wanted}") and not _commit(
            root, f"refs/tags/{wanted}"
        ):
            run(["git", "checkout", "--quiet", wanted, "--"], root)
            return _commit(root, "HEAD") or _no_commit(source)
    commit = _commit(root, wanted)
    if commit is None:
        raise DatasetError(
            f"{source.shown} has no version {wanted!r}; next: see "
            f"git ls-remote {shlex.quote(source.shown)}"
        )
    run(["git", "checkout", "--quiet", "--detach", commit, "--"], root)
    return commit


def _no_commit(source: Origin) -> str:
    raise DatasetError(f"{source.shown} has no commit yet; next: save something in it first")


def _commit(root: Path, name: str) -> str | None:
    command = ["git", "rev-parse", "--verify", "--quiet", "--end-of-options", f"{name}^{{commit}}"]
    try:
        return decode(run(command, root)).strip() or None
    except DatasetError:
        return None
