"""From the parameters of the command to an export request."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from datalad_bidsshare.dataset.sources import Elsewhere
from datalad_bidsshare.dataset.space import parse_size
from datalad_bidsshare.export.request import Existing, ExportRequest, Missing, Tables
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.selection.errors import SelectionError

if TYPE_CHECKING:
    from datalad_bidsshare.plan.sourcing import Managed

__all__ = ["default_workers", "open_destination", "open_export"]


def open_export(
    dest: Any,
    dataset: Any,
    files: Request,
    *,
    missing: str,
    existing: str,
    tables: str,
    window: int | str,
    jobs: int | str | None,
    drop_fetched: bool,
    delete: bool,
    force: bool,
    checksum: bool,
    no_verify: bool,
    archive: bool,
    no_receipt: bool,
    managed: Managed | None = None,
) -> ExportRequest:
    """Validate the parameters of the command, and say what they ask for.

    Parameters
    ----------
    dest
        The destination; a relative path is taken from the current directory, or from the dataset
        where a `Dataset` is given, as all DataLad commands do.
    dataset
        As given to the command.
    files
        Which files.
    missing, existing, tables, window, jobs, drop_fetched, delete, force, checksum, no_verify, \
    archive, no_receipt
        As given to the command.
    managed
        The managed clone that is exported from, if it is one.

    Raises
    ------
    SelectionError
        If a parameter cannot be meant.
    """
    place = open_destination(dest, dataset)
    fmt = _read_archive(place, archive)
    if fmt is not None and (delete or checksum):
        raise SelectionError("an archive is written anew: --delete and --checksum are for copies")
    return ExportRequest(
        # What decides about the selection need not come into the clone, if it can be read.
        files=replace(files, elsewhere=Elsewhere()),
        dest=place,
        missing=cast("Missing", _one_of("missing", missing, ("get", "error", "skip"))),
        existing=cast("Existing", _one_of("existing", existing, ("update", "skip", "error"))),
        tables=cast("Tables", _one_of("tables", tables, ("selected", "all"))),
        window=_read_window(window),
        workers=jobs if isinstance(jobs, int) else default_workers(),
        archive=fmt,
        drop_fetched=bool(drop_fetched),
        delete=bool(delete),
        force=bool(force),
        checksum=bool(checksum),
        verify=not no_verify,
        receipt=not no_receipt,
        source=managed.source if managed else "",
        notes=managed.notes if managed else None,
        apart=managed.apart if managed else (),
    )


def open_destination(dest: Any, dataset: Any) -> Path:
    """Give the destination with all links on the way resolved."""
    from datalad.distribution.dataset import resolve_path

    if not isinstance(dest, (str, os.PathLike)) or not os.fspath(dest) or "\0" in str(dest):
        raise SelectionError(f"{dest!r} is no destination; give a directory")
    return Path(os.path.realpath(resolve_path(dest, dataset)))


def default_workers() -> int:
    """Say how many processes copy when the user does not: one a processor, at most four.

    More than that wait for the disk.
    """
    try:
        processors = len(os.sched_getaffinity(0))
    except AttributeError:
        processors = os.cpu_count() or 1
    return min(4, processors)


def _one_of(name: str, value: str, known: tuple[str, ...]) -> str:
    if value not in known:
        raise SelectionError(f"{name}={value!r} is not known; give {' or '.join(map(repr, known))}")
    return value


def _read_window(window: int | str) -> int:
    if isinstance(window, int) and not isinstance(window, bool):
        size: int | None = window
    else:
        size = parse_size(str(window))
    if not size or size < 0:
        raise SelectionError(f"window={window!r} is not a size; give one such as '2 GB'")
    return size


def _read_archive(dest: Path, archive: bool) -> str | None:
    from datalad_bidsshare.export.archive_names import ENDINGS, archive_format

    ending = archive_format(dest)
    if archive and ending is None:
        raise SelectionError(
            f"an archive is written by the ending of its name: {dest.name!r} has none of "
            + ", ".join(ENDINGS)
        )
    if not archive and ending is not None and not dest.is_dir():
        raise SelectionError(
            f"{dest.name!r} looks like an archive: add --archive to write one, or name a directory"
        )
    return ending if archive else None
