"""What a query means, said as plainly as can be: the judge of every shortcut."""

from __future__ import annotations

from collections.abc import Mapping

from datalad_bidsshare.selection.filters import Query

__all__ = ["admits"]


def admits(query: Query, entities: Mapping[str, str]) -> bool:
    """Say whether a name with these entities is wanted: all the filters admit it."""
    return all(wanted.admits(entities.get(wanted.entity)) for wanted in query.filters)
