"""How long ago: '30d', '12h', '2 weeks'."""

from __future__ import annotations

import re
from datetime import timedelta

__all__ = ["parse_age"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400
#: A lone 'm' is left out: to some it is a minute, to others a month.
_UNITS = {
    unit: seconds
    for seconds, units in (
        (1, "s sec second seconds"),
        (_MINUTE, "min minute minutes"),
        (_HOUR, "h hour hours"),
        (_DAY, "d day days"),
        (7 * _DAY, "w week weeks"),
        (30 * _DAY, "month months"),
        (365 * _DAY, "y year years"),
    )
    for unit in units.split()
}


def parse_age(given: object) -> float | None:
    """Read how long ago something was.

    Parameters
    ----------
    given
        A number with a unit ('30d', '12 hours', '1.5y'), or a `timedelta`. A month has 30 days, a
        year 365.

    Returns
    -------
    float or None
        Seconds. None when it is no age.
    """
    if isinstance(given, timedelta):
        seconds = given.total_seconds()
        return seconds if seconds >= 0 else None
    if not isinstance(given, str):
        return None
    match = re.fullmatch(r"\s*([0-9]{1,9}(?:\.[0-9]{1,9})?)\s*([a-z]+)\s*", given.lower())
    if match is None or match[2] not in _UNITS:
        return None
    return float(match[1]) * _UNITS[match[2]]
