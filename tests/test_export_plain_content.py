"""`export-plain` where content is absent: read in place, or fetched a little at a time."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.dataset.builders import annex_repo, clone_of, git, objects_of
from tests.dataset.conftest import Ria
from tests.exports import content_of, export, failures, far_away, outcomes, source_state, summary
from tests.platforms import needs_posix, needs_symlinks
from tests.process_log import ProcessLog
from tests.raw_dataset import FILES, raw_content
from tests.superdatasets import copy_of

QUIET: dict[str, Any] = {"result_renderer": "disabled", "return_type": "list"}
T1W = "sub-01/anat/sub-01_T1w.nii.gz"


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """A place that is not there yet."""
    return tmp_path / "dest"


def keys_here(root: Path) -> set[str]:
    """Give the keys whose content is in the annex of a clone."""
    objects = root / ".git/annex/objects"
    return {p.name for p in objects.rglob("*") if p.is_file()}


# ---------------------------------------------------------------- read where it lies


def clone_with_datalad(source: str, target: Path, **arguments: Any) -> Path:
    import datalad.api as dl

    dl.clone(source, str(target), **arguments, **QUIET)
    return target


def from_path(raw: Path, base: Path) -> Path:
    return clone_of(raw, base / "clone")


def from_file_url(raw: Path, base: Path) -> Path:
    git(base, "clone", "-q", raw.as_uri(), str(base / "clone"))
    git(base / "clone", "annex", "init", "-q")
    return base / "clone"


def from_another_clone(raw: Path, base: Path) -> Path:
    root = clone_of(raw, base / "clone")
    git(root, "remote", "add", "colleague", str(raw))
    git(root, "remote", "set-url", "origin", "ssh://nobody@unreachable.invalid/x")
    git(root, "config", "remote.origin.annex-ignore", "true")
    return root


@needs_posix
@pytest.mark.parametrize("make", [from_path, from_file_url, from_another_clone])
def test_read_from_another_clone(
    raw: Path,
    dest: Path,
    tmp_path: Path,
    process_log: ProcessLog,
    make: Callable[[Path, Path], Path],
) -> None:
    root = make(raw, tmp_path)
    before = source_state(root)
    process_log.clear()
    planned = export(dest, dataset=root, dry_run=True)
    records = export(dest, dataset=root)
    assert process_log.count("git-annex") == 0
    assert process_log.count("git") < 40
    assert not failures(records)
    assert {r["content_from"] for r in records if "key" in r} == {"store"}
    assert summary(planned)["files"] == summary(records)["files"]
    assert not keys_here(root)
    assert source_state(root) == before
    written = content_of(dest)
    assert written.keys() == FILES.keys()
    changed = {"dataset_description.json"}
    assert all(written[path] == raw_content(path) for path in FILES.keys() - changed)


@needs_symlinks
def test_read_from_what_an_ephemeral_clone_shares(
    raw: Path, dest: Path, tmp_path: Path, process_log: ProcessLog
) -> None:
    root = clone_with_datalad(str(raw), tmp_path / "clone", reckless="ephemeral")
    assert (root / ".git/annex").is_symlink()
    shared = source_state(raw)
    process_log.clear()
    records = export(dest, dataset=root, drop_fetched=True)
    assert process_log.count("git-annex") == 0
    assert not failures(records)
    assert content_of(dest)[T1W] == raw_content(T1W)
    assert source_state(raw) == shared


def test_read_from_a_ria_store(
    ria: Ria, dest: Path, tmp_path: Path, process_log: ProcessLog
) -> None:
    root = clone_with_datalad(ria.url, tmp_path / "clone")
    process_log.clear()
    records = export(dest, dataset=root)
    assert process_log.count("git-annex") == 0
    assert not failures(records)
    assert not keys_here(root)
    assert content_of(dest) == {"a.nii": b"A" * 1000, "b.nii": b"B" * 2000}
    assert {r["content_from"] for r in records if "key" in r} == {"store"}
    # an ephemeral clone of it has the same
    shutil.rmtree(root)
    shutil.rmtree(dest)
    root = clone_with_datalad(ria.url, tmp_path / "brief", reckless="ephemeral")
    process_log.clear()
    assert not failures(export(dest, dataset=root))
    assert process_log.count("git-annex") == 0
    assert content_of(dest) == {"a.nii": b"A" * 1000, "b.nii": b"B" * 2000}


def test_damage_in_a_store_is_an_error_of_that_file(raw: Path, dest: Path, tmp_path: Path) -> None:
    source = copy_of(raw, tmp_path / "source")
    root = clone_of(source, tmp_path / "clone")
    (place,) = objects_of(source, git(source, "annex", "lookupkey", T1W).strip())
    place.write_bytes(raw_content(T1W)[::-1])
    records = export(dest, dataset=root)
    assert failures(records).keys() == {T1W}
    assert str(source) in failures(records)[T1W]
    assert "damaged" in failures(records)[T1W]
    assert content_of(dest).keys() == FILES.keys() - {T1W}


# ---------------------------------------------------------------- fetched

SIZE = 10_000
FAR = {f"sub-01/f{number}.nii": bytes([number + 65]) * SIZE for number in range(6)}


@pytest.fixture(scope="module")
def _far(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> tuple[Path, Path, Path]:
    base = tmp_path_factory.mktemp("far")
    files: dict[bytes | str, bytes] = dict(FAR)
    files |= {"twin.nii": FAR["sub-01/f0.nii"], "here.nii": b"H" * SIZE}
    root = annex_repo(base / "ds", files, {"text.txt": b"text"})
    log = far_away(root, base / "store", base / "dest")
    git(root, "annex", "get", "-q", "here.nii")
    git(root, "annex", "sync", "-q", "--no-push", "--no-pull", "--no-content")
    return root, log, base / "dest"


class Far:
    """A dataset whose objects must be fetched, but for one; and what was fetched."""

    def __init__(self, root: Path, log: Path, dest: Path) -> None:
        self.root = root
        self.dest = dest
        self._log = log
        log.write_text("")
        self.before = keys_here(root)

    def transfers(self) -> list[tuple[str, int]]:
        """Give key, and bytes that were exported before it, of each transfer."""
        lines = [line.split() for line in self._log.read_text().splitlines()]
        return [(key, int(size)) for key, size in lines]


@pytest.fixture
def far(_far: tuple[Path, Path, Path]) -> Far:
    root, log, dest = _far
    shutil.rmtree(dest, ignore_errors=True)
    git(root, "annex", "drop", "-q", "--force", "sub-01", "twin.nii")
    return Far(root, log, dest)


def gets(process_log: ProcessLog) -> int:
    return sum(" get " in f"{command} " for command in process_log.commands("git-annex"))


@needs_posix
def test_fetched_in_windows(far: Far, process_log: ProcessLog) -> None:
    """Never is more fetched and not yet exported than a window holds."""
    window = 2 * SIZE + SIZE // 2
    process_log.clear()
    records = export(far.dest, dataset=far.root, window=window)
    assert not failures(records)
    assert gets(process_log) == 3
    assert content_of(far.dest) == {
        **FAR, "twin.nii": FAR["sub-01/f0.nii"], "here.nii": b"H" * SIZE, "text.txt": b"text",
    }  # fmt: skip
    transfers = far.transfers()
    # each content once, also that of two files
    assert len(transfers) == len({key for key, _ in transfers}) == len(FAR)
    for number, (_, written) in enumerate(transfers, start=1):
        # what needed no transfer was written first; the twin is written with the first window
        fetched_and_written = max(0, written - SIZE - len(b"text"))
        twin = SIZE if fetched_and_written else 0
        assert number * SIZE - (fetched_and_written - twin) <= window
    assert summary(records)["files"]["from fetch"] == len(FAR) + 1
    assert sum(r.get("transferred", 0) for r in records) == len(FAR) * SIZE
    # they stay
    assert len(keys_here(far.root)) == len(FAR) + 1
    assert summary(export(far.dest, dataset=far.root))["files"] == {"unchanged": len(FAR) + 3}


@needs_posix
def test_a_window_smaller_than_a_file(far: Far, process_log: ProcessLog) -> None:
    process_log.clear()
    paths = [str(far.root / name) for name in ("sub-01/f0.nii", "twin.nii", "sub-01/f1.nii")]
    records = export(
        far.dest, paths, dataset=far.root, window=1, drop_fetched=True, companions="none"
    )
    assert not failures(records)
    assert gets(process_log) == 2
    assert len(far.transfers()) == 2
    assert keys_here(far.root) == far.before


@needs_posix
def test_what_came_is_given_back_and_nothing_else(far: Far) -> None:
    git(far.root, "annex", "get", "-q", "sub-01/f3.nii")
    before = keys_here(far.root)
    assert len(before) == 2
    records = export(far.dest, dataset=far.root, drop_fetched=True, window="25 kB")
    assert not failures(records)
    assert content_of(far.dest).items() >= FAR.items()
    assert len(far.transfers()) == len(FAR)
    assert keys_here(far.root) == before
    git(far.root, "annex", "fsck", "-q", "--fast")


@needs_posix
def test_of_an_older_version_only_that_is_given_back(tmp_path: Path, dest: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"a.nii": b"1" * 100}, {})
    older = git(root, "rev-parse", "HEAD").strip()
    (root / "a.nii").unlink()
    (root / "a.nii").write_bytes(b"2" * 100)
    git(root, "annex", "add", "-q", "a.nii")
    git(root, "commit", "-q", "-m", "second")
    far_away(root, tmp_path / "far" / "store", dest)
    git(root, "annex", "get", "-q", "a.nii")
    before = keys_here(root)
    records = export(dest, dataset=root, at=older, drop_fetched=True)
    assert not failures(records)
    assert content_of(dest) == {"a.nii": b"1" * 100}
    assert keys_here(root) == before


@needs_posix
def test_what_has_no_other_copy_is_not_given_back(
    far: Far, caplog: pytest.LogCaptureFixture
) -> None:
    git(far.root, "config", "annex.numcopies", "5")
    try:
        records = export(
            far.dest, str(far.root / "sub-01/f1.nii"), dataset=far.root, drop_fetched=True
        )
    finally:
        git(far.root, "config", "--unset", "annex.numcopies")
    assert not failures(records)
    assert len(keys_here(far.root)) == 2
    assert "are kept in" in caplog.text


@needs_posix
def test_what_stands_there_is_looked_at_without_the_content(far: Far) -> None:
    image = "sub-01/f3.nii"
    export(far.dest, dataset=far.root, drop_fetched=True)
    transfers = far.transfers()
    for missing in ("get", "error"):
        records = export(far.dest, dataset=far.root, checksum=True, missing=missing)
        assert {r["status"] for r in records} == {"notneeded"}
    shutil.rmtree(far.dest / ".bidsshare")
    (far.dest / image).write_bytes(b"x" * SIZE)
    for missing in ("get", "skip"):
        for dry_run in (True, False):
            records = export(far.dest, dataset=far.root, missing=missing, dry_run=dry_run)
            assert failures(records).keys() == {image}
            assert "--force" in failures(records)[image]
    assert {r["verdict"] for r in export(far.dest, verify=True) if "verdict" in r} == {
        "ok", "extra",
    }  # fmt: skip
    assert far.transfers() == transfers
    # what is to be replaced is fetched, and nothing else
    records = export(far.dest, dataset=far.root, force=True, checksum=True)
    assert {p for p, status in outcomes(records).items() if status == "ok"} == {image}
    assert content_of(far.dest).items() >= FAR.items()
    assert len(far.transfers()) == len(transfers) + 1


@needs_posix
def test_one_that_cannot_be_fetched(far: Far) -> None:
    key = git(far.root, "annex", "lookupkey", "sub-01/f2.nii").strip()
    store = far.root.parent / "store"
    (store / key).rename(store / "hidden")
    try:
        records = export(far.dest, dataset=far.root, window=2 * SIZE, drop_fetched=True)
    finally:
        (store / "hidden").rename(store / key)
    assert failures(records).keys() == {"sub-01/f2.nii"}
    assert failures(records)["sub-01/f2.nii"]
    assert content_of(far.dest).keys() == FAR.keys() - {"sub-01/f2.nii"} | {
        "twin.nii", "here.nii", "text.txt"
    }  # fmt: skip
    assert keys_here(far.root) == far.before
    # and it goes on later, with that one alone
    records = export(far.dest, dataset=far.root)
    assert {p for p, status in outcomes(records).items() if status == "ok"} == {"sub-01/f2.nii"}


@needs_posix
def test_missing_error_writes_nothing(far: Far, process_log: ProcessLog) -> None:
    process_log.clear()
    planned = export(far.dest, dataset=far.root, missing="error", dry_run=True)
    records = export(far.dest, dataset=far.root, missing="error")
    missing = FAR.keys() | {"twin.nii"}
    assert {p for p, status in outcomes(records).items() if status == "error"} == missing
    assert {p for p, status in outcomes(planned).items() if status == "error"} == missing
    assert all("annex whereis" in failures(records)[path] for path in missing)
    # no file is without its record, and no byte was written
    assert len(outcomes(records)) == len(missing) + 2
    assert {outcomes(records)[path] for path in ("here.nii", "text.txt")} == {"impossible"}
    assert content_of(far.dest) == {}
    assert process_log.count("git-annex") == 0
    assert summary(records)["message"] == "nothing was written"


@needs_posix
def test_missing_error_lists_only_what_is_needed(far: Far) -> None:
    """What stands at the destination is not missing."""
    export(far.dest, dataset=far.root, drop_fetched=True)
    records = export(far.dest, dataset=far.root, missing="error")
    assert {r["status"] for r in records} == {"notneeded"}


@needs_posix
def test_missing_skip_exports_the_rest(far: Far, process_log: ProcessLog) -> None:
    process_log.clear()
    planned = export(far.dest, dataset=far.root, missing="skip", dry_run=True)
    records = export(far.dest, dataset=far.root, missing="skip")
    assert outcomes(planned) == outcomes(records)
    missing = FAR.keys() | {"twin.nii"}
    assert outcomes(records) == {
        **dict.fromkeys(missing, "impossible"), "here.nii": "ok", "text.txt": "ok",
    }  # fmt: skip
    assert content_of(far.dest) == {"here.nii": b"H" * SIZE, "text.txt": b"text"}
    assert process_log.count("git-annex") == 0
    # which makes the command fail
    from datalad.support.exceptions import IncompleteResultsError

    with pytest.raises(IncompleteResultsError):
        export(far.dest, dataset=far.root, missing="skip", on_failure="continue")


@needs_posix
def test_a_dry_run_fetches_nothing(far: Far, process_log: ProcessLog) -> None:
    process_log.clear()
    records = export(far.dest, dataset=far.root, dry_run=True)
    assert process_log.count("git-annex") == 0
    assert summary(records)["files"] == {
        "written": 9, "from fetch": 7, "from present": 1, "from git": 1
    }  # fmt: skip
    assert not far.transfers()
    assert not far.dest.exists()


@needs_posix
def test_damage_on_the_way_is_found(far: Far) -> None:
    """git-annex looks at what it fetches; nothing of it gets to the destination."""
    key = git(far.root, "annex", "lookupkey", "sub-01/f4.nii").strip()
    place = far.root.parent / "store" / key
    content = place.read_bytes()
    place.write_bytes(content[::-1].replace(b"E", b"e"))
    try:
        records = export(far.dest, dataset=far.root)
    finally:
        place.write_bytes(content)
    assert failures(records).keys() == {"sub-01/f4.nii"}
    assert "sub-01/f4.nii" not in content_of(far.dest)


@needs_posix
def test_tables_that_a_selection_needs_are_given_back(tmp_path: Path, dest: Path) -> None:
    files: dict[bytes | str, bytes] = {
        f"sub-{s}/anat/sub-{s}_T1w.nii.gz": s.encode() * 100 for s in ("01", "02")
    }
    files["participants.tsv"] = b"participant_id\tage\nsub-01\t20\nsub-02\t30\n"
    root = annex_repo(
        tmp_path / "ds", files, {"dataset_description.json": b'{"Name": "x", "BIDSVersion": "1"}'}
    )
    far_away(root, tmp_path / "far" / "store", dest)
    records = export(dest, dataset=root, where="age > 25", drop_fetched=True)
    assert not failures(records)
    assert content_of(dest)["participants.tsv"] == b"participant_id\tage\nsub-02\t30\n"
    assert content_of(dest)["sub-02/anat/sub-02_T1w.nii.gz"] == b"02" * 100
    assert not keys_here(root)
    # also when there is nothing to write
    records = export(dest, dataset=root, where="age > 25", drop_fetched=True)
    assert {r["status"] for r in records} == {"notneeded"}
    assert not keys_here(root)


@pytest.mark.parametrize("far", [True, False], ids=["fetched", "read in place"])
@pytest.mark.parametrize("where", ["age > 99", "age > 25", "nope == 1"])
def test_what_decides_is_exported_only_if_it_is_selected(
    tmp_path: Path, dest: Path, where: str, far: bool
) -> None:
    """The table of everybody is read to find somebody; it goes to nobody for that."""
    files: dict[bytes | str, bytes] = {
        f"sub-{s}/anat/sub-{s}_T1w.nii.gz": s.encode() * 100 for s in ("01", "02")
    }
    files["participants.tsv"] = b"participant_id\tage\nsub-01\t20\nsub-02\t30\n"
    root = annex_repo(
        tmp_path / "ds", files, {"dataset_description.json": b'{"Name": "x", "BIDSVersion": "1"}'}
    )
    if far:
        far_away(root, tmp_path / "far" / "store", dest)
    else:
        root = clone_of(root, tmp_path / "clone")
    foretold = export(dest, dataset=root, where=where, dry_run=True)
    records = export(dest, dataset=root, where=where)
    if where == "age > 25":
        table = content_of(dest)["participants.tsv"]
        assert table == b"participant_id\tage\nsub-02\t30\n"
        assert len(outcomes(records)) == 3
        if not far:
            assert outcomes(foretold) == outcomes(records)
            assert not keys_here(root)
    else:
        assert failures(records)
        assert outcomes(records) == {}
        # The far remote may have made the directory.
        assert not dest.exists() or content_of(dest) == {}


def test_what_links_lead_through_is_exported_only_if_it_is_selected(
    tmp_path: Path, dest: Path
) -> None:
    fmap = b'{"IntendedFor": "bids::sub-01/func/sub-01_task-rest_bold.nii.gz"}'
    files: dict[bytes | str, bytes] = {
        "sub-01/func/sub-01_task-rest_bold.nii.gz": b"bold",
        "sub-01/fmap/sub-01_dir-AP_epi.nii.gz": b"ap",
        "sub-01/fmap/sub-01_dir-AP_epi.json": fmap,
        "sub-01/fmap/sub-01_dir-PA_epi.nii.gz": b"pa",
        "sub-01/fmap/sub-01_dir-PA_epi.json": b"{}",
    }
    root = annex_repo(
        tmp_path / "ds", files, {"dataset_description.json": b'{"Name": "x", "BIDSVersion": "1"}'}
    )
    here = export(tmp_path / "here", dataset=root, suffix="bold", companions="linked")
    clone = clone_of(root, tmp_path / "clone")
    there = export(dest, dataset=clone, suffix="bold", companions="linked")
    assert outcomes(there) == outcomes(here)
    assert content_of(dest) == content_of(tmp_path / "here")
    assert "sub-01/fmap/sub-01_dir-PA_epi.json" not in outcomes(there)
