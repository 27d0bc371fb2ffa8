"""What planning promises whatever happens: one record a file, and the reason why not."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.dataset.builders import annex_repo, clone_of, git
from tests.superdatasets import Record, bids_get, by_status, files_of, make_dataset

IMAGE = "sub-01/anat/sub-01_T1w.nii.gz"


def failures(records: list[Record]) -> dict[str, str]:
    return {
        r.get("relpath", "."): r["message"]
        for r in records
        if r["status"] in ("error", "impossible")
    }


@pytest.fixture
def umbrella(tmp_path: Path) -> Path:
    """Two studies in one dataset; only that of the first knows the age."""
    root = tmp_path / "umbrella"
    make_dataset(root, {"README": "of two"})
    for name, table in (
        ("a", "participant_id\tage\nsub-01\t30\n"),
        ("b", "participant_id\nsub-01\n"),
    ):
        files = {"participants.tsv": table, "dataset_description.json": "{}", IMAGE: name.encode()}
        make_dataset(root / name, files)
    git(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", "./a", "a")
    git(root, "-c", "protocol.file.allow=always", "submodule", "add", "-q", "./b", "b")
    git(root, "commit", "-qm", "both")
    return root


def test_a_column_that_one_study_lacks_is_its_own_trouble(umbrella: Path) -> None:
    records = bids_get(dataset=umbrella, recursive=True, suffix="T1w", where="age > 18")
    assert f"a/{IMAGE}" in files_of(records)
    assert f"b/{IMAGE}" not in files_of(records)
    ((where, why),) = failures(records).items()
    assert where == "b"
    assert "'age'" in why


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": "side"},
        {"path": "side", "exclude": "*.txt"},
        {"path": "sub-01", "exclude": "sub-01/"},
        {"path": ["sub-01", "side"], "suffix": "dwi"},
    ],
)
def test_nothing_is_never_a_success(tmp_path: Path, arguments: dict[str, object]) -> None:
    root = tmp_path / "ds"
    make_dataset(root, {IMAGE: b"x"})
    make_dataset(root / "side" / "inner", {"x.txt": "x"})
    git(
        root,
        "-c",
        "protocol.file.allow=always",
        "submodule",
        "add",
        "-q",
        "./side/inner",
        "side/inner",
    )
    git(root, "commit", "-qm", "side")
    path = arguments.pop("path")
    paths = [str(root / p) for p in ([path] if isinstance(path, str) else path)]  # type: ignore[union-attr]
    records = bids_get(paths, dataset=root, **arguments)
    assert not files_of(records)
    (why,) = failures(records).values()
    assert "no file matches" in why
    assert ("-r" in why) == ("side" in str(path))


def test_why_a_table_could_not_be_fetched(tmp_path: Path) -> None:
    table = b"participant_id\tage\nsub-01\t30\n"
    source = annex_repo(tmp_path / "source", {"participants.tsv": table, IMAGE: b"x"}, {})
    clone = clone_of(source, tmp_path / "clone")
    shutil.move(source, tmp_path / "gone")
    records = bids_get(dataset=clone, where="age > 18")
    (why,) = failures(records).values()
    assert "--where needs this table" in why
    assert "origin" in why
    assert "datalad siblings" in why


def test_content_that_decided_is_told_although_nobody_asked_for_it(tmp_path: Path) -> None:
    table = b"participant_id\tage\nsub-01\t30\n"
    source = annex_repo(tmp_path / "source", {"participants.tsv": table, IMAGE: b"x"}, {})
    clone = clone_of(source, tmp_path / "clone")
    records = files_of(bids_get(dataset=clone, where="age > 18", companions="none"))
    assert set(records) == {IMAGE, "participants.tsv"}
    assert records["participants.tsv"]["companion_reason"] == "selection"
    assert records["participants.tsv"]["transferred"] == len(table)


@pytest.mark.parametrize("present", [True, False])
def test_a_deleted_file_is_impossible_in_a_dry_run_and_in_earnest(
    tmp_path: Path, present: bool
) -> None:
    source = annex_repo(
        tmp_path / "source", {IMAGE: b"x", "sub-02/anat/sub-02_T1w.nii.gz": b"y"}, {}
    )
    root = source if present else clone_of(source, tmp_path / "clone")
    (root / IMAGE).unlink()
    for dry_run in (True, False):
        records = bids_get(dataset=root, suffix="T1w", dry_run=dry_run)
        assert by_status(records)["impossible"] == {IMAGE}
        assert f"git -C {root} restore -- {IMAGE}" in files_of(records)[IMAGE]["message"]


def test_one_content_of_many_files_counts_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {f"sub-0{i}/anat/sub-0{i}_T1w.nii.gz": b"same" * 10 for i in (1, 2, 3)}
    clone = clone_of(annex_repo(tmp_path / "source", dict(files), {}), tmp_path / "clone")
    with caplog.at_level("INFO", logger="datalad.bidsshare.fetch"):
        records = bids_get(dataset=clone, suffix="T1w")
    assert by_status(records) == {"ok": set(files)}
    assert sum(r["transferred"] for r in records) == 40
    assert "Fetching 3 files (40 B)" in caplog.text


def test_a_link_in_the_place_of_a_subdataset_is_not_followed(
    umbrella: Path, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    shutil.move(umbrella / "a", elsewhere)
    (umbrella / "a").symlink_to(elsewhere)
    records = bids_get(dataset=umbrella, recursive=True, suffix="T1w", companions="none")
    assert set(files_of(records)) == {f"b/{IMAGE}"}
    assert "symbolic link" in failures(records)["a"]


def test_exclusions_start_at_the_dataset_given(umbrella: Path) -> None:
    arguments = {"dataset": umbrella, "recursive": True, "companions": "none", "suffix": "T1w"}
    records = bids_get(**arguments, exclude="a/sub-01/anat/*.nii.gz")
    assert set(files_of(records)) == {f"b/{IMAGE}"}
    records = bids_get(**arguments, exclude="sub-01/anat/*.nii.gz")
    assert set(files_of(records)) == {f"a/{IMAGE}", f"b/{IMAGE}"}
