"""The fields of result records."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from datalad_bidsshare.dataset.blobs import describe
from datalad_bidsshare.dataset.listing import read_index
from datalad_bidsshare.plan.outcome import PlannedFile, Problem, Subdataset
from datalad_bidsshare.report.records import Recorder
from tests.dataset.builders import git

ROOT = Path("/ds")
COMMON = {"action": "bids-get", "refds": "/ds"}


def recorder(*, dry_run: bool = False) -> Recorder:
    return Recorder("bids-get", ROOT, dry_run, logging.getLogger("test"))


def without_logger(record: dict[str, Any]) -> dict[str, Any]:
    assert isinstance(record.pop("logger"), logging.Logger)
    return record


def planned(tmp_path: Path, **more: Any) -> list[PlannedFile]:
    """Plan the files of a real repository: text that git keeps, and a link."""
    git(tmp_path, "init", "-q")
    (tmp_path / "100%.json").write_text("{}")
    (tmp_path / "link").symlink_to("100%.json")
    git(tmp_path, "add", "-A")
    infos = describe(tmp_path, read_index(tmp_path).entries())
    fields: dict[str, Any] = {
        "entities": {}, "companion_of": None, "reason": None, "present": True, **more,
    }  # fmt: skip
    return [PlannedFile(info, **fields) for info in infos]


def test_of_files(tmp_path: Path) -> None:
    text, link = planned(tmp_path, entities={"extension": ".json"})
    record = without_logger(recorder().file(ROOT / "sub-01", text, "notneeded"))
    assert record == {
        **COMMON, "path": "/ds/sub-01/100%.json", "relpath": "sub-01/100%.json",
        "parentds": "/ds/sub-01", "status": "notneeded", "type": "file", "bytesize": 2,
        "entities": {"extension": ".json"},
    }  # fmt: skip
    assert recorder().file(ROOT, link, "notneeded")["type"] == "symlink"


def test_of_companions(tmp_path: Path) -> None:
    (text, _) = planned(tmp_path, companion_of="/ds/sub-01/x_bold.nii", reason="sidecar")
    record = recorder(dry_run=True).file(ROOT, text, "ok", "100% would come", transferred=3)
    assert record["companion_of"] == "sub-01/x_bold.nii"
    assert record["companion_reason"] == "sidecar"
    assert record["message"] == "100% would come"
    assert record["dry_run"] is True
    assert record["transferred"] == 3


def test_of_subdatasets() -> None:
    for status, shown, message in [
        ("ok", "ok", "installed"), ("impossible", "impossible", "gone"),
        ("planned", "ok", "would be installed; which files in it match is not known before"),
    ]:  # fmt: skip
        found = Subdataset(ROOT / "a" / "b", ROOT / "a", status, "gone")  # type: ignore[arg-type]
        assert without_logger(recorder().subdataset(found)) == {
            **COMMON, "path": "/ds/a/b", "relpath": "a/b", "parentds": "/ds/a", "status": shown,
            "type": "dataset", "message": message,
        }  # fmt: skip


def test_of_problems() -> None:
    record = without_logger(recorder().problem(Problem(ROOT, "impossible", "why", "nothing")))
    assert record == {
        **COMMON, "path": "/ds", "relpath": ".", "status": "impossible", "type": "dataset",
        "problem": "nothing", "message": "why",
    }  # fmt: skip
    file = recorder().problem(Problem(ROOT / "x", "error", "why", "path"))
    assert (file["type"], file["relpath"]) == ("file", "x")
    assert recorder().problem(Problem(ROOT / "x", "error", "why", "dataset"))["type"] == "dataset"
