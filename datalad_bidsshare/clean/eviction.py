"""In what order content goes, and how much of it."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from datalad_bidsshare.clean.holdings import Candidate
from datalad_bidsshare.clean.request import Limits
from datalad_bidsshare.report.sizes import human_bytes

__all__ = ["Eviction"]


class Eviction:
    """Picks what is to go next, until the limits hold.

    Two things are counted, which are not the same: what is held here, and what is free on the disk
    when it goes. Something else may be linked to an object, or it may be on another file system.

    Parameters
    ----------
    limits
        How much is to go.
    held
        Bytes on the disk that all content has.
    place
        A directory of the file system that is to have free space; it need not exist yet.
    now
        Seconds since 1970.
    dry_run
        Whether nothing really goes.
    """

    def __init__(
        self, limits: Limits, held: int, place: Path, now: float, *, dry_run: bool
    ) -> None:
        self._limits = limits
        self._held = held
        while not place.exists():
            # A cache that was never used
            place = place.parent
        self._place = place
        self._device = os.stat(place).st_dev
        self._now = now
        self._dry_run = dry_run
        self._free = shutil.disk_usage(place).free
        self._gone = _Gone()

    def is_too_young(self, used: float) -> bool:
        """Tell whether what was used then (seconds since 1970) was used too recently to go."""
        age = self._limits.older_than
        return age is not None and self._now - used < age

    @property
    def holds(self) -> bool:
        """Whether there are limits, and they hold."""
        return self._limits.is_bounded and not any(self._excess())

    def _excess(self) -> tuple[int, int]:
        """Tell how many bytes are too many here, and how many are to be free yet."""
        limits = self._limits
        held = 0 if limits.max_size is None else max(0, self._held - limits.max_size)
        free = 0 if limits.free is None else max(0, limits.free - self._free)
        return held, free

    def pick(
        self, candidates: Sequence[Candidate], least: int = 1
    ) -> tuple[list[Candidate], list[Candidate]]:
        """Part candidates, which are in order, into what is to go and what is not.

        Parameters
        ----------
        candidates
            What is still here.
        least
            How many are to go, as long as the limits do not hold, if fewer would do.

        Returns
        -------
        tuple of two lists
            As few as will do; those that help with no limit that is exceeded are not among them.
        """
        if not self._limits.is_bounded:
            return list(candidates), []
        held, free = self._excess()
        if not (held or free):
            return [], list(candidates)
        picked: list[Candidate] = []
        rest: list[Candidate] = []
        gone = self._gone.copy()
        for candidate in candidates:
            enough = held <= 0 and free <= 0 and len(picked) >= least
            if enough or not (held > 0 or self._frees(candidate)):
                rest.append(candidate)
                continue
            picked.append(candidate)
            less, more = gone.add(candidate)
            held -= less
            free -= more if candidate.object.device == self._device else 0
        return picked, rest

    def _frees(self, candidate: Candidate) -> bool:
        """Tell whether something would be free where it is to be."""
        return candidate.may_free and candidate.object.device == self._device

    def went(self, candidate: Candidate) -> int:
        """Take account of content that went, or would.

        Returns
        -------
        int
            Bytes that are free on the disk for it.
        """
        held, freed = self._gone.add(candidate)
        self.note(held, freed if candidate.object.device == self._device else 0)
        return freed

    def note(self, held: int, freed: int) -> None:
        """Take account of what went, or would: of what was held here, and what is free for it.

        Some file systems tell of free space later: what is known to be gone counts at once.
        """
        self._held -= held
        self._free += freed
        if self._limits.free is not None and not self._dry_run:
            self._free = max(shutil.disk_usage(self._place).free, self._free)

    def unmet(self) -> str:
        """Say by how much the limits do not hold, or ''."""
        limits = self._limits
        held, free = self._excess()
        said = []
        if held and limits.max_size is not None:
            most = human_bytes(limits.max_size)
            said.append(f"{human_bytes(self._held)} are still here, more than {most}")
        if free and limits.free is not None:
            said.append(f"{human_bytes(self._free)} are free, less than {human_bytes(limits.free)}")
        return "; ".join(said)


class _Gone:
    """Counts what went, so that content with several names counts when the last of them goes."""

    def __init__(self) -> None:
        # Of content with several names only
        self._objects: Counter[tuple[Path, int, int]] = Counter()
        self._names: Counter[tuple[int, int]] = Counter()

    def copy(self) -> _Gone:
        """Give one that can go on counting by itself."""
        other = _Gone()
        other._objects, other._names = self._objects.copy(), self._names.copy()
        return other

    def add(self, candidate: Candidate) -> tuple[int, int]:
        """Count one more, and tell the bytes that are not held and that are free for it."""
        found = candidate.object
        held = freed = found.allocated
        if found.links > 1:
            inode = (found.device, found.inode)
            here = (candidate.holding.root, *inode)
            self._objects[here] += 1
            self._names[inode] += candidate.paths
            held = held if self._objects[here] == candidate.siblings else 0
            freed = freed if self._names[inode] >= found.links else 0
        return held + candidate.copies, freed + candidate.copies
