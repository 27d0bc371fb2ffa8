"""From the parameters of a command to a request."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.params import read_selection

if TYPE_CHECKING:
    from datalad_bidsshare.selection.companions import Level

__all__ = ["as_list", "open_request", "path_inside", "read_jobs"]


def open_request(
    path: Any,
    dataset: Any,
    purpose: str,
    *,
    selection: Mapping[str, Any],
    companions: str = "default",
    recursive: bool = False,
    recursion_limit: int | None = None,
    jobs: int | str | None = None,
    remote: str | None = None,
    at: str | None = None,
    dry_run: bool = False,
) -> Request:
    """Validate the parameters of a command, and say what they ask for.

    Parameters
    ----------
    path
        Positional paths: none, one or many. Relative ones are taken from the
        current directory, or from the dataset where a `Dataset` is given, as
        all DataLad commands do.
    dataset
        Path, `Dataset` or None for the one around the current directory.
    purpose
        What the dataset is needed for, should there be none.
    selection
        The shared selection parameters by name.
    companions, recursive, recursion_limit, jobs, remote, dry_run
        See `Request`. `jobs` may be ``'auto'``.
    at
        Any way to name a commit (branch, tag, ...) whose files are meant.

    Raises
    ------
    datalad.support.exceptions.NoDatasetFound
        If there is no installed dataset.
    SelectionError
        If a parameter cannot be meant.
    DatasetError
        If there is no such commit.
    """
    from datalad.distribution.dataset import require_dataset, resolve_path

    ds = require_dataset(dataset, check_installed=True, purpose=purpose)
    root = Path(ds.path)
    chosen, where = read_selection(**selection)
    if companions not in ("none", "default", "linked"):
        raise SelectionError(
            f"companions={companions!r} is not known; give 'none', 'default' or 'linked'"
        )
    if recursion_limit is not None and (
        not isinstance(recursion_limit, int) or recursion_limit < 0
    ):
        raise SelectionError(f"a recursion limit of {recursion_limit!r} levels cannot be meant")
    asked = {
        p: path_inside(root, p) for p in (Path(resolve_path(q, dataset)) for q in as_list(path))
    }
    return Request(
        root=root,
        selection=chosen,
        where=where,
        paths=tuple(p for p in asked.values() if p is not None),
        outside=tuple(p for p, inside in asked.items() if inside is None),
        companions=cast("Level", companions),
        recursive=bool(recursive),
        recursion_limit=recursion_limit,
        dry_run=bool(dry_run),
        jobs=read_jobs(jobs),
        remote=remote,
        commit=_read_commit(root, at),
    )


def _read_commit(root: Path, at: str | None) -> str | None:
    if at is None:
        return None
    if not isinstance(at, str):
        raise SelectionError(f"at={at!r} is not the name of a commit; give a text")
    if at.rpartition("/")[2] == "git-annex":
        raise SelectionError(f"{at!r} is git-annex's own branch, and holds no files of the dataset")
    from datalad_bidsshare.dataset.version import read_version

    return read_version(root, at).commit


def as_list(path: Any) -> list[Any]:
    """Give positional paths as a list: none, one or many may be given.

    Raises
    ------
    SelectionError
        If it is nothing of the kind.
    """
    if path is None:
        return []
    if isinstance(path, (str, os.PathLike)):
        return [path]
    if not isinstance(path, Iterable):
        raise SelectionError(f"{path!r} is not a path")
    return list(path)


def path_inside(root: Path, path: Path) -> Path | None:
    """Give a path as one below the root, however it came to be spelled; None if outside."""
    path = Path(os.path.normpath(path))
    if path == root or root in path.parents:
        return path
    # A directory may be reached through a link (as the current one often is),
    # but the last component is an annexed file's link as often as not.
    real = Path(os.path.realpath(path.parent), path.name)
    real_root = Path(os.path.realpath(root))
    for candidate in (real, Path(os.path.realpath(path))):
        if candidate == real_root or real_root in candidate.parents:
            return root / candidate.relative_to(real_root)
    return None


def read_jobs(jobs: int | str | None) -> int | None:
    """Say how many are to be done at a time; None where nobody said.

    Raises
    ------
    SelectionError
        If that cannot be meant.
    """
    if jobs is None or jobs == "auto":
        return None
    if isinstance(jobs, int) and jobs > 0:
        return jobs
    raise SelectionError(f"jobs={jobs!r} is not a number of transfers; give 1 or more, or 'auto'")
