"""Whether there is the remote that content shall come from, before it is asked."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from datalad_bidsshare.dataset.remotes import remote_names
from datalad_bidsshare.plan.outcome import DatasetPlan, Problem

__all__ = ["unknown_remote"]

#: Special remotes that every annex has, without any configuration (git-annex's manual).
_ALWAYS_THERE = ("web", "bittorrent")
#: git-annex also takes the UUID of a repository for its name.
_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def unknown_remote(plans: Iterable[DatasetPlan], remote: str | None) -> Iterator[Problem]:
    """Report the datasets that lack the remote that is to be used, if they need it.

    Parameters
    ----------
    plans
        What is to be fetched.
    remote
        Name of the remote; None for any.

    Yields
    ------
    Problem
        One for each such dataset, with the names that there are.
    """
    if remote is None or remote in _ALWAYS_THERE or _UUID.fullmatch(remote):
        return
    for plan in plans:
        if not plan.ahead:
            continue
        names = remote_names(plan.root)
        if remote not in names:
            there = f"there is {', '.join(names)}" if names else "there is none at all"
            yield Problem(plan.root, "error", f"there is no remote {remote!r}; {there}", "remote")
