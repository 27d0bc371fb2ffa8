"""From the parameters of the command to a request."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import datalad

from datalad_bidsshare.clean.ages import parse_age
from datalad_bidsshare.clean.request import CleanRequest, Limits
from datalad_bidsshare.dataset.space import parse_size
from datalad_bidsshare.plan.open_request import as_list, open_request, read_jobs
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.params import read_selection

__all__ = ["open_clean"]

_PURPOSE = "give disk space back"


def open_clean(
    path: Any,
    dataset: Any,
    source: Any,
    *,
    selection: Mapping[str, Any],
    companions: str,
    recursive: bool,
    recursion_limit: int | None,
    older_than: Any,
    max_size: Any,
    free: Any,
    clones: bool,
    only_list: bool,
    reckless: str | None,
    jobs: int | str | None,
    dry_run: bool,
) -> CleanRequest:
    """Validate the parameters of the command, and say what they ask for.

    Parameters
    ----------
    path, dataset, source, companions, recursive, recursion_limit, older_than, max_size, free, \
    clones, only_list, reckless, jobs, dry_run
        As given to the command.
    selection
        The shared selection parameters by name.

    Raises
    ------
    SelectionError
        If a parameter cannot be meant.
    datalad.support.exceptions.NoDatasetFound
        If the dataset given is none.
    """
    limits = Limits(
        _read_age(older_than), _read_size("max_size", max_size), _read_size("free", free)
    )
    if reckless not in (None, "availability"):
        raise SelectionError(f"reckless={reckless!r} is not known; give 'availability'")
    paths = as_list(path)
    # The command line gives an empty list where none was typed.
    if path is not None and not paths and datalad.get_apimode() != "cmdline":
        raise SelectionError("an empty list of paths means nothing; leave it out for everything")
    selected = any(value is not None for value in selection.values())
    managed = dataset is None
    if managed and paths and source is None:
        raise SelectionError(
            "paths are of one dataset: give it (-d DATASET), or the source of a managed clone "
            "(-s URL)"
        )
    if not managed and (clones or source is not None):
        what = "--clones" if clones else "--source"
        raise SelectionError(f"{what} is about managed clones, and a dataset was given; leave one")
    if not managed and only_list:
        raise SelectionError("--list lists managed clones, and a dataset was given; leave one")
    if clones and (paths or selected):
        raise SelectionError("with --clones, clones go as a whole: a selection cannot be meant")

    # Also if there is no clone to which it would be applied
    read_selection(**selection)

    def open_files(root: Path) -> Request:
        from datalad.distribution.dataset import Dataset

        # With an instance, relative paths begin at its root: those of a managed clone have to.
        of = Dataset(str(root)) if managed else dataset
        return open_request(
            paths,
            of,
            _PURPOSE,
            selection=selection,
            companions=companions,
            recursive=recursive or managed,
            recursion_limit=recursion_limit,
            # Looking installs and fetches nothing, whatever becomes of it.
            dry_run=True,
        )

    if managed:
        from datalad_bidsshare.cache.place import cache_directory

        root = cache_directory()
    else:
        root = open_files(Path()).root
    return CleanRequest(
        root=root,
        managed=managed,
        open_files=open_files,
        everything=not (paths or selected),
        limits=limits,
        source=_read_source(source),
        whole_clones=bool(clones),
        only_list=bool(only_list),
        unchecked=reckless == "availability",
        jobs=read_jobs(jobs),
        dry_run=bool(dry_run),
    )


def _read_source(source: Any) -> Any:
    if source is None:
        return None
    from datalad_bidsshare.cache.urls import read_source

    return read_source(source)


def _read_age(given: Any) -> float | None:
    if given is None:
        return None
    age = parse_age(given)
    if age is None:
        raise SelectionError(
            f"older_than={given!r} is no age; give a number and a unit: s, min, h, d, w, months, y "
            "('30d')"
        )
    return age


def _read_size(name: str, given: Any) -> int | None:
    if given is None:
        return None
    size: int | None = None
    if isinstance(given, int) and not isinstance(given, bool):
        size = given
    elif isinstance(given, str):
        size = parse_size(given)
    if size is None or size < 0:
        raise SelectionError(f"{name}={given!r} is not a size; give one such as '50 GB'")
    return size
