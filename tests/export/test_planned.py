"""What an export was about to write, when it did not come to its end."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from datalad_bidsshare.export.planned import Planned
from tests.platforms import needs_symlinks


def item(target: str, size: int | None, *, how: str = "present", **more: Any) -> Any:
    fields = {"standing": None, "ours": False, "recipe": None, **more}
    return SimpleNamespace(
        target=target,
        info=SimpleNamespace(bytesize=size),
        how=how,
        part=SimpleNamespace(mount=""),
        **fields,
    )


def test_what_was_announced_is_known_to_the_next(tmp_path: Path) -> None:
    odd = "a\nb/with\ttab \udce9.tsv"
    Planned(tmp_path).announce(
        [
            item("image.nii", 5),
            item(odd, 3, how="git"),
            item("table.tsv", 9, how="git", recipe=object()),
            item("unknown", None),
            # somebody's, or an earlier export's: not made by this one
            item("stands", 5, standing=(5, 1)),
            item("ours", 5, standing=(5, 1), ours=True),
        ],
        {"": 77},
    )
    known = Planned(tmp_path)
    assert sorted(known) == sorted(["image.nii", odd, "table.tsv", "unknown", "ours"])
    assert known.holds("image.nii", (5, 123)) and not known.holds("image.nii", (6, 123))
    assert known.holds(odd, (3, 77)) and not known.holds(odd, (3, 78))
    assert known.holds("table.tsv", (2, 77)) and not known.holds("table.tsv", (2, 78))
    assert known.holds("unknown", (1, 2))
    assert not known.holds("stands", (5, 1))


def test_what_is_left_over_stays_known(tmp_path: Path) -> None:
    Planned(tmp_path).announce([item("a", 1), item("b", 2)], {"": 0})
    planned = Planned(tmp_path)
    planned.announce([item("c", 3)], {"": 0})
    assert sorted(Planned(tmp_path)) == ["a", "b", "c"]
    planned.settle(["b"])
    assert list(Planned(tmp_path)) == ["b"]
    planned.forget("b")
    planned.settle(planned)
    assert list(tmp_path.iterdir()) == []
    planned.settle([])


@pytest.mark.parametrize("said", [b"", b"a", b"a\0", b"a\0x\0y\0", b"\xff\xfe", b"../x\01\01\0"])
def test_what_cannot_be_understood_means_nothing(tmp_path: Path, said: bytes) -> None:
    (tmp_path / "planned").write_bytes(said)
    assert list(Planned(tmp_path)) == []


@needs_symlinks
def test_it_is_read_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "other").write_bytes(b"a\x001\x001\0")
    (tmp_path / "planned").symlink_to("other")
    assert list(Planned(tmp_path)) == []
