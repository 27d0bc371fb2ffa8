"""What to tell somebody whose request is not, or not wholly, met."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from datalad_bidsshare.dataset.hierarchy import mount_of
from datalad_bidsshare.plan.outcome import Problem, Subdataset
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.plan.walk import Visit
from datalad_bidsshare.selection.entities import parse, recording_directory
from datalad_bidsshare.selection.filters import ValueFilter
from datalad_bidsshare.selection.names import Names
from datalad_bidsshare.selection.select import Selector, unmet_values, values_near

__all__ = [
    "count_labels",
    "count_unsearched",
    "entities_said",
    "unknown_value",
    "unmet_problems",
    "untracked_path",
    "untracked_paths",
    "why_nothing",
]


def untracked_paths(request: Request, visits: list[Visit]) -> Iterator[Problem]:
    """Report positional paths that no visited dataset tracks."""
    by_root = {visit.root: visit for visit in visits}
    names: dict[Path, tuple[Names, Names, set[str]]] = {}
    for path in request.paths:
        owner = next((p for p in (path, *path.parents) if p in by_root), None)
        if owner is None or path == owner:
            continue
        if owner not in names:
            index = by_root[owner].index
            names[owner] = Names(index.paths), Names(index.gitlinks), set(index.gitlinks)
        files, mounts, known_mounts = names[owner]
        inner = path.relative_to(owner).as_posix()
        # What lies below a mount is the subdataset's to tell.
        if (
            inner in files
            or files.below(inner)
            or mounts.below(inner)
            or mount_of(inner, known_mounts) is not None
        ):
            continue
        yield untracked_path(path, owner)


def untracked_path(path: Path, owner: Path) -> Problem:
    """Report a positional path that the dataset in which it lies does not track."""
    there = path.exists() or path.is_symlink()
    return Problem(
        path,
        "impossible",
        f"exists but is not tracked by the dataset; see {_datalad('status', owner)}"
        if there
        else "path does not exist",
        "path",
    )


def _datalad(command: str, root: Path) -> str:
    """Write a command as it can be pasted into a shell anywhere."""
    return shlex.join(["datalad", command, "-d", str(root)])


def unmet_problems(
    request: Request,
    visits: list[Visit],
    asked: Mapping[Path, Iterable[str]],
    hidden: list[Problem | Subdataset],
) -> Iterator[Problem]:
    """Report listed values that occur nowhere in what was searched.

    A value that does occur, but not together with the others, is no typing
    error: it is not reported. Neither is one that may occur in subdatasets
    that a dry run does not install.

    Parameters
    ----------
    request, visits
        What was asked, and what was looked into.
    asked
        By dataset: the paths that matched.
    hidden
        Subdatasets that could not be looked into.
    """
    said = (entities for v in visits for entities in entities_said(v.selector, asked[v.root]))
    unmet = unmet_values(request.selection, said)
    by_root = {visit.root: visit for visit in visits}
    not_yet = [h for h in hidden if isinstance(h, Subdataset) and h.status == "planned"]
    for subdataset in not_yet:
        mount_says = by_root[subdataset.parent].selector.directory_entities(
            subdataset.path.relative_to(subdataset.parent).as_posix()
        )
        unmet = {pair: wanted for pair, wanted in unmet.items() if pair[0] in mount_says}
    if not unmet:
        return
    known = _labels(visits, {entity for entity, _ in unmet})
    for (entity, value), wanted in unmet.items():
        labels = known[entity]
        if not any(wanted.has_literal(value, label) for label in labels):
            yield Problem(
                request.root,
                "impossible",
                unknown_value(wanted, value, labels, incomplete=bool(hidden)),
                "value",
            )


def entities_said(selector: Selector, paths: Iterable[str]) -> Iterator[Mapping[str, str]]:
    """Give what the names of files say, for a part of a recording what both names say."""
    for path in paths:
        yield selector.entities(path)
        if recording_directory(path) is not None:
            # A part may have been asked for by what its own name says.
            yield parse(path)


def _labels(visits: list[Visit], entities: Iterable[str]) -> dict[str, Counter[str]]:
    """Count the labels that some entities have, in all that was looked into."""
    found: dict[str, Counter[str]] = {entity: Counter() for entity in entities}
    for visit in visits:
        count_labels(entities_said(visit.selector, visit.index.paths), found)
        count_labels(map(visit.selector.directory_entities, visit.index.gitlinks), found)
    return found


def count_labels(said: Iterable[Mapping[str, str]], found: Mapping[str, Counter[str]]) -> None:
    """Count the labels that some entities have.

    Parameters
    ----------
    said
        What each name says.
    found
        A counter for each entity that matters.
    """
    for entities in said:
        for entity, counter in found.items():
            if entity in entities:
                counter[entities[entity]] += 1


def unknown_value(
    wanted: ValueFilter,
    value: str,
    labels: Counter[str],
    *,
    where: str = "nowhere in this dataset",
    incomplete: bool = False,
) -> str:
    """Say that a listed value does not occur, and what may have been meant.

    Parameters
    ----------
    wanted, value
        The filter, and which of its values.
    labels
        Those that there are.
    where
        Ends the sentence that begins with "occurs".
    incomplete
        Whether there are subdatasets that could not be looked into.
    """
    text = f"{wanted.entity} {value!r} occurs {where}"
    near = values_near(value, labels)
    if near:
        text += f"; near: {', '.join(near)}"
    elif labels:
        common = [label for label, _ in labels.most_common(5)]
        text += f"; there are {len(labels)} others, such as {', '.join(common)}"
    else:
        text += f": no name has the entity {wanted.entity!r}"
    if incomplete:
        text += " (subdatasets that are not installed were not searched)"
    return text


def why_nothing(request: Request, visits: list[Visit], *, explained: bool) -> Iterator[Problem]:
    """Say why not a single file was selected.

    Parameters
    ----------
    request, visits
        What was asked, and what was looked into.
    explained
        Whether values that occur nowhere were reported before.
    """
    if not any(visit.index.paths or visit.index.gitlinks for visit in visits):
        yield Problem(request.root, "impossible", "the dataset tracks no files", "nothing")
        return
    text = f"no file matches {request.selection}".rstrip()
    if request.where is not None:
        text += f" where {request.where.text}"
    if request.paths:
        shown = [path.relative_to(request.root).as_posix() for path in request.paths[:3]]
        text += f" in {', '.join(shown)}" + " and other paths" * (len(request.paths) > 3)
    hints = []
    elsewhere = _in_skipped_places(request, visits)
    if elsewhere:
        hints.append(
            f"{elsewhere[1]} would match in {elsewhere[0]}/, which is only searched when named: "
            f"add {elsewhere[0]} as a path"
        )
    unsearched = count_unsearched(request, visits)
    if unsearched:
        hints.append(f"{unsearched} subdatasets could match and were not searched: add -r")
    if explained and not hints:
        return
    if not hints and request.selection.queries:
        hints.append("leave out one filter at a time to see which one rules everything out")
    yield Problem(request.root, "impossible", "; ".join([text, *hints]), "nothing")


def count_unsearched(request: Request, visits: list[Visit]) -> int:
    """Count the subdatasets that could hold wanted files, had recursion been asked for."""
    if request.recursive:
        return 0
    searched = {visit.root for visit in visits}
    return sum(
        visit.root / mount not in searched and visit.selector.may_hold(mount)
        for visit in visits
        for mount in visit.index.gitlinks
    )


def _in_skipped_places(request: Request, visits: list[Visit]) -> tuple[str, int] | None:
    """Find the side directory with most files that would match, if it were searched."""
    if not request.has_query:
        return None
    counts: Counter[str] = Counter()
    for visit in visits:
        everywhere = Selector(request.selection, visit.within, skip=False)
        for path in everywhere.select(visit.index.paths):
            parts = path.split("/")
            place = "/".join(parts[:2]) if parts[0] == "derivatives" else parts[0]
            counts[(visit.root / place).relative_to(request.root).as_posix()] += 1
    return counts.most_common(1)[0] if counts and request.where is None else None
