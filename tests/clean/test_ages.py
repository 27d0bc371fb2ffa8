"""Ages as people write them."""

from __future__ import annotations

from datetime import timedelta

import pytest

from datalad_bidsshare.clean.ages import parse_age

DAY = 86400


@pytest.mark.parametrize(
    ("given", "seconds"),
    [
        ("30d", 30 * DAY),
        ("12 hours", DAY / 2),
        ("1.5y", 1.5 * 365 * DAY),
        (" 2 Weeks ", 14 * DAY),
        ("90min", 5400),
        ("45s", 45),
        ("3 months", 90 * DAY),
        ("0d", 0),
        (timedelta(days=2), 2 * DAY),
    ],
)
def test_ages(given: object, seconds: float) -> None:
    assert parse_age(given) == seconds


@pytest.mark.parametrize(
    "given",
    ["30", 30, "d", "", "-3d", "3m", "3 d ago", "1e9999d", "٣d", timedelta(-1), True, b"3d"],
)
def test_no_ages(given: object) -> None:
    assert parse_age(given) is None
