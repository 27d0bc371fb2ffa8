"""`unzip-outputs` where the zips are elsewhere; and what others make of the result."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.dataset.builders import drop_objects, git
from tests.exports import content_of, far_away, state_of
from tests.platforms import needs_posix
from tests.process_log import ProcessLog
from tests.raw_dataset import datalad
from tests.superdatasets import bids_get, copy_of, files_of, make_dataset
from tests.unzips import (
    REST,
    ZIPS,
    clone_of_store,
    dataset_of,
    failures,
    members,
    outcomes,
    save_zips,
    subjects,
    summary,
    tracked,
    unpacked,
    unzip,
    zips_of,
)

ONE, TWO, TEN = ZIPS


def key_of(root: Path, path: str) -> str:
    return git(root, "annex", "lookupkey", path).strip()


def keys_here(root: Path) -> set[str]:
    """Give the keys whose content is in the annex of a clone."""
    return {p.name for p in (root / ".git/annex/objects").rglob("*") if p.is_file()}


def zips_here(root: Path) -> set[str]:
    """Give the zips whose content is here."""
    here = keys_here(root)
    return {path for path in ZIPS if key_of(root, path) in here}


def transfers(log: ProcessLog) -> list[str]:
    """Give the git-annex processes that move content."""
    words = ("get", "copy", "move", "drop", "dropkey", "transferkey")
    return [line for line in log.commands() if set(words).intersection(line.split()[:6])]


# ---------------------------------------------------------------- read where it lies


@needs_posix
def test_a_zip_in_a_store_is_never_fetched(
    _zips_store: str, tmp_path: Path, process_log: ProcessLog
) -> None:
    root = clone_of_store(_zips_store, tmp_path / "clone")
    store = Path(_zips_store.removeprefix("ria+file://").split("#")[0])
    stored = state_of(store)
    git(root, "status")  # git-annex has its say about a fresh index
    process_log.clear()
    planned = unzip(dataset=root, include="*.html", dry_run=True)
    assert not process_log.commands("git-annex")
    records = unzip(dataset=root, include="*.html", drop_zips=True)
    assert not failures(records)
    assert not transfers(process_log)
    assert outcomes(planned) == outcomes(records) == dict.fromkeys(ZIPS, "ok")
    for told in (planned, records):
        assert {r["content_from"] for r in zips_of(told).values()} == {"store"}
        assert "fetch_bytes" not in summary(told)
    assert not zips_here(root)
    assert {path: (root / path).read_bytes() for path in tracked(root)} == {
        path: data for path, data in unpacked("01", "02", "10", top="fmriprep").items()
        if path.endswith(".html")
    }  # fmt: skip
    assert state_of(store) == stored


def test_zips_of_a_subdataset_are_read_in_its_store(_zips_store: str, tmp_path: Path) -> None:
    import datalad.api as dl

    root = make_dataset(tmp_path / "ds", {}).pathobj
    dl.clone(_zips_store, str(root / "inputs"), dataset=root, result_renderer="disabled")
    records = unzip("inputs/sub-0*", dataset=root, strip=1)
    assert not failures(records)
    assert not keys_here(root / "inputs")
    assert tracked(root) == {"inputs", *unpacked("01", "02")}
    assert not git(root, "status", "--porcelain")


# ---------------------------------------------------------------- fetched


@pytest.fixture(scope="module")
def _far(_zips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of `ZIPS`; they are where only git-annex gets at them."""
    base = tmp_path_factory.mktemp("far")
    root = copy_of(_zips, base / "ds")
    far_away(root, base / "store", base)
    return root


@pytest.fixture
def far(_far: Path, tmp_path: Path) -> Path:
    """The same, for one test alone."""
    return copy_of(_far, tmp_path / "ds")


@needs_posix
def test_a_dry_run_fetches_nothing_and_says_what_it_cannot_know(far: Path) -> None:
    git(far, "annex", "get", "-q", ONE)
    before = keys_here(far), git(far, "rev-parse", "HEAD", "git-annex")
    out, _ = datalad("unzip-outputs", "--dry-run", cwd=far)
    assert (keys_here(far), git(far, "rev-parse", "HEAD", "git-annex")) == before
    size = len(ZIPS[TWO]) / 1000
    assert f"{TWO}: its content is not here" in out
    assert f"before it is fetched ({size:.1f} kB)" in out
    assert out.splitlines()[-1] == (
        "unzip-outputs (dry run): 1 zip to be unpacked (9 files, 9.3 kB), "
        f"{2 * size:.1f} kB to be fetched for 2 zips; what they hold is not known before"
    )
    records = unzip(dataset=far, dry_run=True)
    assert summary(records)["fetch_bytes"] == len(ZIPS[TWO]) + len(ZIPS[TEN])
    assert summary(records)["unknown"] == 2
    assert zips_of(records)[TWO]["fetch_bytes"] == len(ZIPS[TWO])
    assert zips_of(records)[TWO]["content_from"] == "fetch"


@needs_posix
def test_what_is_fetched_stays_or_is_given_back(far: Path, process_log: ProcessLog) -> None:
    git(far, "annex", "get", "-q", ONE)
    process_log.clear()
    records = unzip([ONE, TWO], dataset=far, drop_zips=True)
    assert not failures(records)
    # that it had to fetch TWO; ONE was here
    assert zips_here(far) == {ONE}
    assert summary(records)["fetch_bytes"] == len(ZIPS[TWO])
    assert {r["content_from"] for r in zips_of(records).values()} == {"present", "fetch"}
    assert len([line for line in transfers(process_log) if " get " in line]) == 1
    assert {path: (far / path).read_bytes() for path in tracked(far)} == unpacked(
        "01", "02", top="fmriprep"
    )
    out, _ = datalad("unzip-outputs", cwd=far)
    assert out.splitlines()[-1].startswith("unzip-outputs: 1 zip unpacked (8 files, ")
    assert "fetched" in out and "2 zips unpacked before" in out
    assert zips_here(far) == {ONE, TEN}


@needs_posix
def test_what_was_fetched_is_given_back_if_it_was_no_use(far: Path) -> None:
    records = unzip(dataset=far, drop_zips=True, max_members=3)
    assert outcomes(records).keys() == ZIPS.keys()
    assert "more than the limit of 3" in " ".join(failures(records).values())
    assert not zips_here(far)
    assert not tracked(far)


def test_a_zip_that_nobody_has_is_an_error_of_that_zip(zips: Path) -> None:
    drop_objects(zips, key_of(zips, TWO))
    records = unzip(dataset=zips, on_zip_error="continue")
    assert outcomes(records) == {ONE: "ok", TWO: "error", TEN: "ok"}
    assert "whereis" in failures(records)[TWO]
    head = git(zips, "rev-parse", "HEAD")
    assert outcomes(unzip(dataset=zips)) == {ONE: "notneeded", TWO: "error", TEN: "notneeded"}
    assert git(zips, "rev-parse", "HEAD") == head


# ---------------------------------------------------------------- processes


@needs_posix
def test_as_many_processes_for_many_zips_as_for_few(
    tmp_path: Path, process_log: ProcessLog
) -> None:
    counts = []
    for number in (3, 12):
        content = subjects(*(f"{at:02}" for at in range(number)))
        root = dataset_of(tmp_path / str(number), content)
        process_log.clear()
        records = unzip(dataset=root)
        assert not failures(records)
        counts.append((process_log.count("git"), process_log.count("git-annex")))
        assert len(tracked(root)) == 1 + 8 * number
        # once more, with nothing to do
        process_log.clear()
        assert set(outcomes(unzip(dataset=root)).values()) == {"notneeded"}
        assert not process_log.count("git-annex")
        counts.append((process_log.count("git"), 0))
    assert counts[:2] == counts[2:]
    assert counts[0][0] < 40
    assert counts[0][1] < 5


# ---------------------------------------------------------------- what comes of it


@needs_posix
def test_raw_zips_to_selected_plain_files_in_two_commands(_zips_store: str, tmp_path: Path) -> None:
    root = clone_of_store(_zips_store, tmp_path / "clone")
    wanted = ("--task", "rest", "--space", "MNI152NLin6Asym", "--desc", "preproc")
    datalad("unzip-outputs", "--strip", "1", *wanted, cwd=root)
    datalad("export-plain", "../for-ann", "--sub", "01,02", *wanted, cwd=root)
    bolds = [REST.format(label) for label in ("01", "02")]
    expected = {path: unpacked("01", "02")[path] for path in bolds}
    given = content_of(tmp_path / "for-ann")
    assert {path: given[path] for path in bolds} == expected
    assert set(given) == {
        *bolds,
        *(bold.replace(".nii.gz", ".json") for bold in bolds),
        "dataset_description.json",
    }
    assert not zips_here(root)


def test_bids_get_and_pybids_know_what_came_of_it(zips: Path, tmp_path: Path) -> None:
    import datalad.api as dl
    from bids import BIDSLayout

    assert not failures(unzip(dataset=zips, into="derivatives/{pipeline}", strip=1))
    clone = tmp_path / "clone"
    dl.clone(str(zips), str(clone), result_renderer="disabled")
    place = "derivatives/fmriprep-20.2.3"
    query: dict[str, Any] = {"task": "rest", "space": "MNI152NLin6Asym", "suffix": "bold"}
    records = bids_get(clone / place, dataset=clone, subject="01", extension="nii.gz", **query)
    assert f"{place}/{REST.format('01')}" in files_of(records)
    assert (clone / place / REST.format("01")).read_bytes() == members("01")[
        "fmriprep/" + REST.format("01")
    ]
    layout = BIDSLayout(zips / place, validate=False, is_derivative=True)
    found = layout.get(extension=".nii.gz", return_type="filename", **query)
    assert {Path(path).name for path in found} == {
        Path(REST.format(label)).name for label in ("01", "02", "10")
    }


def test_new_subjects_in_a_store_are_the_only_ones_that_are_looked_at(
    zips: Path, tmp_path: Path
) -> None:
    unzip(dataset=zips)
    for path in ZIPS:
        drop_objects(zips, key_of(zips, path))
    save_zips(zips, subjects("11"))
    records = unzip(dataset=zips)
    assert not failures(records)
    assert outcomes(records)[next(iter(subjects("11")))] == "ok"
