"""Whether there is room for what would be fetched, before anything is."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.presence import annex_directory
from datalad_bidsshare.dataset.space import free_space
from datalad_bidsshare.plan.outcome import DatasetPlan, Problem
from datalad_bidsshare.report.sizes import human_bytes

__all__ = ["lack_of_room"]


@dataclass(slots=True)
class _FileSystem:
    needed: int
    free: int
    reserve: int
    roots: list[Path]


def lack_of_room(plans: Iterable[DatasetPlan]) -> Iterator[Problem]:
    """Report the datasets whose file system cannot take all that is missing.

    Each key counts once a dataset; datasets on one file system count together;
    what git-annex keeps free (``annex.diskreserve``) is not there to fill. An
    object of unknown size (URL keys) counts nothing: git-annex itself watches
    those.

    Yields
    ------
    Problem
        One for each such dataset, with the bytes needed and free.
    """
    systems: dict[int, _FileSystem] = {}
    for plan in plans:
        needed = plan.bytes_ahead
        if not needed:
            continue
        device = os.stat(annex_directory(plan.root) or plan.root).st_dev
        try:
            free, reserve = free_space(plan.root)
        except DatasetError as error:
            # Of this dataset only: the others can go on.
            yield Problem(plan.root, "error", str(error), "dataset")
            continue
        system = systems.setdefault(device, _FileSystem(0, free, reserve, []))
        system.needed += needed
        system.reserve = max(system.reserve, reserve)
        system.roots.append(plan.root)
    for system in systems.values():
        if system.needed > system.free - system.reserve:
            for root in system.roots:
                yield Problem(
                    root,
                    "error",
                    f"not enough disk space: {human_bytes(system.needed)} ({system.needed} bytes) "
                    f"are to be fetched, {human_bytes(system.free)} are free, and git-annex keeps "
                    f"{human_bytes(system.reserve)} of what is free (annex.diskreserve). "
                    "Nothing is fetched then; select less, or make room",
                    "room",
                )
