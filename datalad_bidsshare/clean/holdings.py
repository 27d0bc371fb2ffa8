"""What datasets hold, and what of it may go."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datalad_bidsshare.clean.request import CleanRequest
from datalad_bidsshare.dataset.blobs import FileInfo, describe
from datalad_bidsshare.dataset.copies import Copies
from datalad_bidsshare.dataset.drop import refuse_to_drop
from datalad_bidsshare.dataset.edited import edited_objects
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.objects import Object, info_of, walk_objects
from datalad_bidsshare.dataset.presence import Annex, encode_path
from datalad_bidsshare.dataset.state import changed_paths
from datalad_bidsshare.dataset.versions import other_versions
from datalad_bidsshare.disk.usage import allocated
from datalad_bidsshare.plan.choose import Choice, choose
from datalad_bidsshare.plan.outcome import Problem, Subdataset
from datalad_bidsshare.plan.request import Request

__all__ = ["NOTHING_GOES", "Candidate", "Holding", "Kept", "Why", "read_holdings"]

#: Of files whose dataset has a problem, which has a record of its own.
NOTHING_GOES = "nothing is dropped in this dataset"


#: Why content stays, in two or three words, for the totals.
Why = Literal[
    "no other copy",
    "edited",
    "not dropped",
    "refused",
    "shared with other files",
    "used since",
    "in limits",
]


@dataclass(slots=True)
class Candidate:
    """Content that may go.

    Attributes
    ----------
    holding
        Whose it is.
    infos
        Selected files that have it. For content of other versions, one that stands for its key.
    object
        As it lies on the disk.
    copies
        Bytes that copies of it have in the work tree: unlocked files. They go with it.
    paths
        How many names of the object are known: itself, and unlocked files that are links to it.
    siblings
        How many objects of its dataset are names of the same content, itself among them.
    """

    holding: Holding
    infos: list[FileInfo]
    object: Object
    copies: int = 0
    paths: int = 1
    siblings: int = 1

    @property
    def key(self) -> str:
        """The git-annex key."""
        return self.object.key

    @property
    def is_of_another_version(self) -> bool:
        """Whether no file of the version that is checked out has it."""
        return not self.infos[0].path

    @property
    def used(self) -> float:
        """When it was used last, in seconds since 1970."""
        return self.object.used

    @property
    def held(self) -> int:
        """Bytes that it has on the disk."""
        return self.object.allocated + self.copies

    @property
    def may_free(self) -> bool:
        """Whether something is free on the disk when it goes, it and its siblings."""
        return bool(self.copies) or self.object.links < self.paths + self.siblings


@dataclass(frozen=True, slots=True)
class Kept:
    """A selected file that stays as it is.

    Attributes
    ----------
    info
        The file, or what stands for the key of another version.
    status
        'notneeded', 'impossible' or 'error'.
    message
        Why, and the next step; '' where there is nothing to say.
    why
        Why its content stays; None when git has it, or nobody here.
    bytesize
        Bytes on the disk that its content has. It counts for the first file that has it.
    """

    info: FileInfo
    status: str
    message: str = ""
    why: Why | None = None
    bytesize: int = 0


@dataclass(slots=True)
class Holding:
    """What one dataset holds.

    Attributes
    ----------
    root
        Absolute path.
    entities
        Tells what the name of one of its files says.
    candidates
        What may go.
    kept
        Selected files that stay, and why.
    held
        Bytes on the disk that all of its content has, selected or not; unlocked files count too.
    refused
        Why nothing may be dropped here at all; ''.
    left
        Content of other versions that is not meant: how much of it there is, and its bytes.
    versions
        Names of branches and tags (not the one checked out) that selected files occur in, with
        how many.
    """

    root: Path
    entities: Callable[[str], Mapping[str, str]]
    candidates: list[Candidate] = field(default_factory=list)
    kept: list[Kept] = field(default_factory=list)
    held: int = 0
    refused: str = ""
    left: tuple[int, int] = (0, 0)
    versions: dict[str, int] = field(default_factory=dict)


def read_holdings(request: CleanRequest, files: Request) -> Iterator[Holding | Problem]:
    """Look at what datasets hold. Nothing is changed.

    Parameters
    ----------
    request
        What is to be given back.
    files
        Which files of one dataset, and of its subdatasets.

    Yields
    ------
    Problem
        As they are met.
    Holding
        Last, for each dataset with selected files.

    Raises
    ------
    DatasetError
        When the dataset given cannot be read.
    """
    for found in choose(files):
        if isinstance(found, Subdataset):
            # What is not installed holds nothing.
            continue
        if isinstance(found, Problem):
            yield found
            continue
        try:
            yield _look(request, found)
        except DatasetError as error:
            yield Problem(found.visit.root, "error", str(error), "dataset")


def _look(request: CleanRequest, choice: Choice) -> Holding:
    visit = choice.visit
    root = visit.root
    holding = Holding(root, visit.selector.entities)
    chosen = {*choice.asked, *choice.riding}
    infos = list(describe(root, visit.index.entries()))
    objects = {found.key: found for found in walk_objects(root)}
    by_key: dict[str, list[FileInfo]] = {}
    tracked: dict[str, FileInfo] = {}
    for info in infos:
        if info.key is not None and info.path not in chosen:
            tracked.setdefault(info.key, info)
    shared: set[str] = set()
    for info in infos:
        if info.path not in chosen:
            continue
        found = objects.get(info.key or "")
        if found is None:
            holding.kept.append(Kept(info, "notneeded"))
        elif (other := tracked.get(found.key)) is not None:
            # A scan and its duplicate, or the same events of all subjects.
            message = f"its content is also that of {other.path}, which is not selected"
            size = 0 if found.key in shared else found.allocated
            shared.add(found.key)
            holding.kept.append(Kept(info, "notneeded", message, "shared with other files", size))
        else:
            by_key.setdefault(found.key, []).append(info)
    others = [found for key, found in objects.items() if key not in by_key and key not in tracked]
    holding.candidates = [Candidate(holding, same, objects[key]) for key, same in by_key.items()]
    if request.managed and request.everything:
        holding.candidates += [Candidate(holding, [info_of(o)], o) for o in others]
    else:
        holding.left = (len(others), _allocated(others))
    holding.held = _allocated(objects.values()) + _look_for_copies(holding, infos, objects)
    holding.refused = _why_refused(root, holding)
    if holding.refused or not holding.candidates:
        return holding
    edited = edited_objects(root, [c.object for c in holding.candidates])
    _keep(holding, lambda key: edited.get(key, ""), "edited")
    if not request.unchecked:
        _keep_last_copies(holding)
    if not request.managed:
        named = [info.oid for c in holding.candidates for info in c.infos if info.path]
        holding.versions = other_versions(root, named)
    return holding


def _allocated(objects: Iterable[Object]) -> int:
    """Sum what objects have on the disk: one that has several names counts once."""
    return sum({(o.device, o.inode): o.allocated for o in objects}.values())


def _look_for_copies(
    holding: Holding, infos: Iterable[FileInfo], objects: Mapping[str, Object]
) -> int:
    """Look what unlocked files and links have of the same content; note it with the candidates.

    Returns
    -------
    int
        Bytes that all copies in the work tree have.
    """
    candidates = {candidate.key: candidate for candidate in holding.candidates}
    several = Counter((o.device, o.inode) for o in objects.values() if o.links > 1)
    for candidate in holding.candidates:
        if candidate.object.links > 1:
            candidate.siblings = several[candidate.object.device, candidate.object.inode]
    held = 0
    for info in infos:
        found = objects.get(info.key or "") if info.unlocked else None
        if found is None:
            continue
        try:
            status = os.lstat(encode_path(holding.root, info.path))
        except OSError:
            continue
        goes = candidates.get(found.key)
        if (status.st_dev, status.st_ino) == (found.device, found.inode):
            # annex.thin: one file with two names
            if goes is not None:
                goes.paths += 1
        elif status.st_size == found.bytesize and status.st_nlink == 1:
            held += allocated(status)
            if goes is not None:
                goes.copies += allocated(status)
    return held


def _why_refused(root: Path, holding: Holding) -> str:
    """Say why nothing may be dropped in a dataset, if something of it is here; or ''."""
    why_not = refuse_to_drop(root)
    if not why_not:
        return _why_unsaved(root, holding) if holding.candidates else ""
    # The objects of an annex that is another one's were not looked at, and its files are here.
    annex = Annex(root)
    here = {kept.info.path for kept in holding.kept if annex.find(kept.info) is not None}
    holding.kept = [
        Kept(kept.info, "impossible", NOTHING_GOES, "refused") if kept.info.path in here else kept
        for kept in holding.kept
    ]
    return why_not if here or holding.candidates else ""


def _why_unsaved(root: Path, holding: Holding) -> str:
    """Refuse a dataset in which selected files were changed, as `datalad drop` does."""
    changed = changed_paths(root)
    unsaved = sorted(
        info.path
        for candidate in holding.candidates
        for info in candidate.infos
        if info.path in changed
    )
    # Unlocked, edited, and the object is gone: the work tree has the only trace of the edit.
    unsaved += sorted(
        kept.info.path
        for kept in holding.kept
        if kept.info.key is not None and kept.info.unlocked and kept.info.path in changed
    )
    if not unsaved:
        return ""
    more = f" and {len(unsaved) - 3} more" if len(unsaved) > 3 else ""
    return (
        f"files were changed and not saved: {', '.join(unsaved[:3])}{more}; nothing is dropped "
        "in this dataset. Next: datalad save (or git restore) them, or leave them out with "
        "--exclude"
    )


def _keep_last_copies(holding: Holding) -> None:
    """Take from the candidates what git-annex knows too few copies of."""
    copies = Copies(holding.root, [c.key for c in holding.candidates])
    _keep(holding, copies.why_kept, "no other copy")


def _keep(holding: Holding, why_kept: Callable[[str], str], why: Why) -> None:
    """Take from the candidates those for whose key there is a reason."""
    going: list[Candidate] = []
    for candidate in holding.candidates:
        why_not = why_kept(candidate.key)
        if not why_not:
            going.append(candidate)
            continue
        holding.kept += [
            Kept(info, "impossible", why_not, why, 0 if n else candidate.held)
            for n, info in enumerate(candidate.infos)
        ]
    holding.candidates = going
