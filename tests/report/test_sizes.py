"""Sizes for people."""

from __future__ import annotations

import pytest

from datalad_bidsshare.report.sizes import human_bytes


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"), (1, "1 B"), (999, "999 B"), (1000, "1.0 kB"), (1049, "1.0 kB"),
        (999_949, "999.9 kB"), (999_950, "1.0 MB"), (7_600_000, "7.6 MB"), (10**9, "1.0 GB"),
        (2_500 * 10**9, "2.5 TB"), (10**15, "1.0 PB"), (10**18, "1000.0 PB"),
    ],
)  # fmt: skip
def test_are_short_and_never_a_thousand_of_a_smaller_unit(size: int, text: str) -> None:
    assert human_bytes(size) == text
