"""The datasets of an export, and which of their files are in it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from datalad_bidsshare.disk.names import Refusals, is_internal, unfit_names
from datalad_bidsshare.export.items import Part
from datalad_bidsshare.export.records import ExportRecorder
from datalad_bidsshare.export.request import ExportRequest
from datalad_bidsshare.export.target import Target
from datalad_bidsshare.plan.choose import choose
from datalad_bidsshare.plan.outcome import Problem, Subdataset

__all__ = ["lacks_subdatasets", "read_parts", "target_paths", "unfit_names_of"]

#: What DataLad and git put into any dataset: that it is not exported goes without saying.
_EXPECTED = frozenset(
    (".git", ".gitattributes", ".gitmodules", ".gitignore", ".datalad", ".noannex")
)


def read_parts(
    request: ExportRequest, recorder: ExportRecorder, parts: list[Part]
) -> Iterator[dict[str, Any]]:
    """Find out which files are exported, from which datasets.

    Parameters
    ----------
    request
        What is wanted.
    recorder
        Makes the records.
    parts
        Takes the datasets, parents first.

    Yields
    ------
    dict
        Records of problems, and of subdatasets that were or would be installed.
    """
    root = request.files.root
    for found in choose(request.files):
        if isinstance(found, Problem):
            yield recorder.problem(found)
        elif isinstance(found, Subdataset):
            yield recorder.subdataset(found)
        else:
            mount = found.visit.root.relative_to(root).as_posix()
            part = Part(found, "" if mount == "." else mount)
            yield from _turn_down_internal(request, part, recorder)
            parts.append(part)


def _turn_down_internal(
    request: ExportRequest, part: Part, recorder: ExportRecorder
) -> Iterator[dict[str, Any]]:
    """Report what is asked for by name, and belongs to git, git-annex or DataLad.

    Other names that are not exported have the records of files: see `unfit_names_of`.
    """
    for path in request.files.paths:
        if part.root in path.parents:
            inside = path.relative_to(part.root).as_posix()
            if (
                inside in part.choice.visit.index
                and is_internal(part.prefix + inside)
                and not _EXPECTED.isdisjoint(inside.split("/"))
            ):
                message = "belongs to git, git-annex or DataLad, and is never exported"
                yield recorder.problem(Problem(path, "impossible", message, "path"))


def lacks_subdatasets(parts: Iterable[Part]) -> bool:
    """Tell whether there are subdatasets that nothing is exported of."""
    parts = list(parts)
    mounts = {part.mount for part in parts}
    return any(
        part.prefix + mount not in mounts
        for part in parts
        for mount in part.choice.visit.index.gitlinks
    )


def target_paths(parts: Iterable[Part]) -> Iterator[str]:
    """Give the target paths of all selected files."""
    for part in parts:
        for path in part.choice.asked:
            yield part.prefix + path
        for path in part.choice.riding:
            yield part.prefix + path


def unfit_names_of(targets: Iterable[str], target: Target | None = None) -> dict[str, str]:
    """Find the files that are not exported for the names they have.

    Parameters
    ----------
    targets
        All target paths.
    target
        The destination; None for an archive, which tells all names apart.

    Returns
    -------
    dict
        Target path to why; the empty text where nobody needs to be told.
    """
    unfit = unfit_names(
        targets,
        case_insensitive=target is not None and target.case_insensitive,
        normalising=target is not None and target.normalising,
        refusals=target.refusals if target is not None else Refusals(),
    )
    for path, why in unfit.items():
        if not why and _EXPECTED.isdisjoint(path.split("/")):
            unfit[path] = "not exported: the name means something to git, DataLad or this program"
    return unfit
