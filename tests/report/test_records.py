"""The fields of result records."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from datalad_bidsshare.dataset.blobs import describe
from datalad_bidsshare.dataset.listing import read_index
from datalad_bidsshare.plan.outcome import DatasetPlan, PlannedFile, Problem, Reason, Subdataset
from datalad_bidsshare.report.records import Recorder
from datalad_bidsshare.selection.entities import parse
from tests.dataset.builders import git

ROOT = Path("/ds")
COMMON = {"action": "bids-get", "refds": "/ds"}


def recorder(*, dry_run: bool = False) -> Recorder:
    return Recorder("bids-get", ROOT, dry_run, logging.getLogger("test"))


def without_logger(record: dict[str, Any]) -> dict[str, Any]:
    assert isinstance(record.pop("logger"), logging.Logger)
    return record


def plan(root: Path = ROOT) -> DatasetPlan:
    return DatasetPlan(root, parse)


def planned(tmp_path: Path, **more: Any) -> list[PlannedFile]:
    """Plan the files of a real repository: text that git keeps, and a link."""
    git(tmp_path, "init", "-q")
    (tmp_path / "100%.json").write_text("{}")
    (tmp_path / "link").symlink_to("100%.json")
    git(tmp_path, "add", "-A")
    infos = describe(tmp_path, read_index(tmp_path).entries())
    fields: dict[str, Any] = {"reason": None, "present": True, **more}
    return [PlannedFile(info, **fields) for info in infos]


def test_of_files(tmp_path: Path) -> None:
    text, link = planned(tmp_path)
    record = without_logger(recorder().file(plan(ROOT / "sub-01"), text, "notneeded"))
    assert record == {
        **COMMON, "path": "/ds/sub-01/100%.json", "relpath": "sub-01/100%.json",
        "parentds": "/ds/sub-01", "status": "notneeded", "type": "file", "bytesize": 2,
        "entities": {"extension": ".json"},
    }  # fmt: skip
    assert recorder().file(plan(), link, "notneeded")["type"] == "symlink"


def test_of_companions(tmp_path: Path) -> None:
    (text, _) = planned(tmp_path, reason=Reason("sidecar", "/ds/sub-01/x_bold.nii"))
    record = recorder(dry_run=True).file(plan(), text, "ok", "100% would come", transferred=3)
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
        number = {"failure": 1} if shown == "impossible" else {}
        assert without_logger(recorder().subdataset(found)) == {
            **COMMON, "path": "/ds/a/b", "relpath": "a/b", "parentds": "/ds/a", "status": shown,
            "type": "dataset", "message": message, **number,
        }  # fmt: skip


def test_of_problems() -> None:
    record = without_logger(recorder().problem(Problem(ROOT, "impossible", "why", "nothing")))
    assert record == {
        **COMMON, "path": "/ds", "status": "impossible", "type": "dataset",
        "problem": "nothing", "message": "why", "failure": 1,
    }  # fmt: skip
    outside = recorder().problem(Problem(Path("/etc/passwd"), "error", "why", "path"))
    assert outside["relpath"] == "../etc/passwd"
    file = recorder().problem(Problem(ROOT / "x", "error", "why", "path"))
    assert (file["type"], file["relpath"]) == ("file", "x")
    assert recorder().problem(Problem(ROOT / "x", "error", "why", "dataset"))["type"] == "dataset"


def test_failures_are_numbered_by_kind() -> None:
    one = recorder()
    assert [
        one.problem(Problem(ROOT, "error", "why", kind))["failure"]
        for kind in ("path", "path", "x")
    ] == [1, 2, 1]
    # another call counts for itself
    assert recorder().problem(Problem(ROOT, "error", "why", "path"))["failure"] == 1
