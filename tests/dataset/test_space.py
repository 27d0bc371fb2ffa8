"""Room for content."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.space import DEFAULT_RESERVE, free_space, parse_size
from tests.dataset.builders import git


@pytest.mark.parametrize(
    ("text", "bytesize"),
    [
        ("4096", 4096),
        ("0", 0),
        ("1 GB", 10**9),
        ("1gb", 10**9),
        ("1G", 10**9),
        ("100mb", 10**8),
        ("100 megabytes", 10**8),
        ("1 megabyte", 10**6),
        ("0.5 tb", 5 * 10**11),
        ("1 KiB", 1024),
        ("2 mebibytes", 2 * 1024**2),
        ("1gib", 1024**3),
        ("10 B", 10),
        ("3 bytes", 3),
        ("1 byte", 1),
        ("  7 kB ", 7000),
        ("1e3", 1000),
        ("2 PB", 2 * 10**15),
        ("big", None),
        ("", None),
        ("1 parsec", None),
        ("-1", None),
        ("mb", None),
        ("9" * 5000, None),
        ("1e400", None),
        ("1e300 yb", None),
    ],
)
def test_sizes_as_git_annex_writes_them(text: str, bytesize: int | None) -> None:
    assert parse_size(text) == bytesize


def test_free_space(clone: Path, tmp_path: Path) -> None:
    free, reserve = free_space(clone)
    assert abs(free - shutil.disk_usage(clone).free) < 10**9
    assert reserve == DEFAULT_RESERVE == 10**8
    git(clone, "config", "annex.diskreserve", "2 GB")
    assert free_space(clone)[1] == 2 * 10**9
    git(clone, "config", "annex.diskreserve", "much")
    with pytest.raises(DatasetError, match=r"annex\.diskreserve is 'much'"):
        free_space(clone)
    git(tmp_path, "init", "-q", "plain")
    assert free_space(tmp_path / "plain")[1] == DEFAULT_RESERVE
    with pytest.raises(DatasetError):
        free_space(tmp_path / "none")


def test_the_default_reserve_is_git_annexs(clone: Path) -> None:
    said = git(clone, "annex", "info", "--fast")
    assert "(+100 megabytes reserved)" in said
