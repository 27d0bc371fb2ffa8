"""From the parameters of the command to a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

from datalad_bidsshare.archive.executor import check_executor
from datalad_bidsshare.archive.record import is_writable, selection_digest
from datalad_bidsshare.archive.request import Existing, Layout, OnZipError, Per, UnzipRequest
from datalad_bidsshare.archive.safety import Limits
from datalad_bidsshare.archive.select import MemberSelection
from datalad_bidsshare.archive.template import check_template
from datalad_bidsshare.dataset.space import parse_size
from datalad_bidsshare.plan.open_request import as_list, path_inside, read_jobs
from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.grammar import read_texts
from datalad_bidsshare.selection.params import read_selection

__all__ = ["open_unzip"]

#: Of a limit: what the command of a record reads.
_MOST = 10**30 - 1
#: Bytes of zips that are fetched at a time where they are to be dropped again.
WINDOW = 4_000_000_000


def open_unzip(
    path: Any,
    dataset: Any,
    *,
    include: Any,
    selection: Mapping[str, Any],
    companions: str,
    into: str | None,
    strip: int | None,
    strip_prefix: str | None,
    existing: str,
    on_zip_error: str,
    per: str,
    message: str | None,
    jobs: int | str | None,
    executor: str,
    recomputable: bool,
    drop_zips: bool,
    container: str | None,
    max_bytes: int | str | None,
    max_ratio: int | None,
    max_members: int | None,
    dry_run: bool,
) -> UnzipRequest:
    """Validate the parameters of the command, and say what they ask for.

    Parameters
    ----------
    path
        Zips: none, one or many paths or globs. Relative ones are taken from the current
        directory, or from the dataset where a `Dataset` is given, as all DataLad commands do.
    dataset
        Path, `Dataset` or None for the one around the current directory.
    selection
        The shared selection parameters by name, without `where`.
    include, companions, into, strip, strip_prefix, existing, on_zip_error, per, message, jobs, \
    executor, recomputable, drop_zips, container, max_bytes, max_ratio, max_members, dry_run
        As given to the command.

    Raises
    ------
    datalad.support.exceptions.NoDatasetFound
        If there is no installed dataset.
    SelectionError
        If a parameter cannot be meant.
    """
    from datalad.distribution.dataset import require_dataset, resolve_path

    ds = require_dataset(dataset, check_installed=True, purpose="unpack zips into it")
    root = Path(ds.path)
    asked = [Path(resolve_path(each, dataset)) for each in as_list(path)]
    inside = {each: path_inside(root, each) for each in asked}
    chosen, _ = read_selection(**selection)
    globs = () if include is None else tuple(read_texts("include", include, "fmriprep/**/*.json"))
    if include is not None and not globs:
        raise SelectionError(
            "an empty list of include globs selects nothing; leave it out to have all members"
        )
    layout = _read_layout(into, strip, strip_prefix)
    members = MemberSelection(chosen, globs, cast("Any", companions))
    if container is not None and (recomputable or per == "call"):
        raise SelectionError(
            "in a container each zip has a command of its own: leave out --recomputable and "
            "--per call"
        )
    if message is not None and not (
        isinstance(message, str) and is_writable(message) and "\0" not in message
    ):
        raise SelectionError(f"message={message!r} is no text for a commit")
    for text in (*globs, *members.excluded_globs, layout.into, layout.strip_prefix):
        if not is_writable(text):
            raise SelectionError(f"{text!r} is not UTF-8 text, which a run record has to be")
    check_executor(executor)
    workers = read_jobs(jobs)
    return UnzipRequest(
        root=root,
        patterns=tuple(p.relative_to(root).as_posix() for p in inside.values() if p is not None),
        outside=tuple(each for each, found in inside.items() if found is None),
        members=members,
        digest=selection_digest(
            {
                "include": sorted(globs),
                "wishes": list(chosen.wishes),
                "exclusions": sorted(chosen.exclusions),
                "companions": None if members.is_plain else companions,
                "into": layout.into,
                "strip": layout.strip,
                "strip_prefix": layout.strip_prefix,
            }
        ),
        layout=layout,
        existing=cast("Existing", _one_of("existing", existing, ("error", "skip", "replace"))),
        on_zip_error=cast(
            "OnZipError", _one_of("on_zip_error", on_zip_error, ("stop", "continue"))
        ),
        per=cast("Per", _one_of("per", per, ("zip", "call"))),
        message=message,
        jobs=workers,
        executor=executor,
        transfers=workers,
        recomputable=bool(recomputable),
        drop_zips=bool(drop_zips),
        window=WINDOW,
        container=container,
        limits=_read_limits(max_bytes, max_ratio, max_members),
        dry_run=bool(dry_run),
    )


def _read_layout(into: str | None, strip: int | None, strip_prefix: str | None) -> Layout:
    if strip is not None and strip_prefix is not None:
        raise SelectionError("give either strip or strip_prefix")
    if strip is not None and (isinstance(strip, bool) or not isinstance(strip, int) or strip < 0):
        raise SelectionError(f"strip={strip!r} is not a number of directories")
    if strip_prefix is not None:
        prefix = strip_prefix.strip("/") if isinstance(strip_prefix, str) else ""
        if not prefix or any(part in ("", ".", "..") for part in prefix.split("/")):
            raise SelectionError(
                f"strip_prefix={strip_prefix!r} is not a directory in a zip, such as 'fmriprep'"
            )
        strip_prefix = prefix
    if into is not None and not isinstance(into, str):
        raise SelectionError(f"into={into!r} is not a directory of the dataset")
    place = "" if into in (None, "", ".") else str(into).rstrip("/") or "/"
    if place:
        check_template(place)
    return Layout(place, strip or 0, strip_prefix or "")


def _read_limits(
    max_bytes: int | str | None, max_ratio: int | None, max_members: int | None
) -> Limits:
    default = Limits()
    size: int | None = default.bytes
    if isinstance(max_bytes, int) and not isinstance(max_bytes, bool):
        size = max_bytes
    elif max_bytes is not None:
        size = parse_size(str(max_bytes))
    if not size or not 0 < size <= _MOST:
        raise SelectionError(f"max_bytes={max_bytes!r} is not a size; give one such as '2 TB'")
    for name, value in (("max_ratio", max_ratio), ("max_members", max_members)):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
            raise SelectionError(f"{name}={value!r} is not a number")
        if value is not None and not 1 <= value <= _MOST:
            raise SelectionError(f"{name}={value!r}: give 1 or more, and less than 10^30")
    return Limits(size, max_ratio or default.ratio, max_members or default.members)


def _one_of(name: str, value: str, known: Iterable[str]) -> str:
    known = tuple(known)
    if value not in known:
        raise SelectionError(f"{name}={value!r} is not known; give {' or '.join(map(repr, known))}")
    return value
