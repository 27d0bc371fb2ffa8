"""`cache-clean` of a dataset: what goes, in what order, what stays, and what is told of it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from datalad.support.exceptions import NoDatasetFound

from datalad_bidsshare.selection.errors import SelectionError
from tests.cleans import (
    IMAGES,
    annexed,
    clean,
    held,
    messages,
    on_disk,
    statuses,
    total,
)
from tests.dataset.builders import git
from tests.process_log import ProcessLog
from tests.raw_dataset import datalad
from tests.superdatasets import bids_get, copy_of

BOLD = {path for path in IMAGES if "bold" in path}
T1W = set(IMAGES) - BOLD


def test_what_is_selected_goes_and_comes_back(full: Path) -> None:
    before = on_disk(full)
    records = clean(dataset=full, suffix="bold")
    assert annexed(records, "ok") == BOLD
    assert held(full) == T1W
    assert total(records)["freed"] == before - on_disk(full) > 0
    assert not messages(records)
    assert git(full, "status", "--porcelain") == ""
    bids_get(dataset=full, suffix="bold", companions="none")
    assert held(full) == set(IMAGES)


def test_all_of_it_without_a_selection(full: Path) -> None:
    records = clean(dataset=full)
    assert held(full) == set()
    assert annexed(records, "ok") == set(IMAGES)
    # What git keeps has a record, too.
    assert statuses(records)["dataset_description.json"] == "notneeded"
    assert {r["status"] for r in clean(dataset=full)} == {"notneeded"}


def test_paths_limit_it(full: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(full / "sub-01")
    records = clean("anat", dataset=str(full))
    assert annexed(records, "ok") == {"sub-01/anat/sub-01_T1w.nii.gz"}


def test_companions_stay_unless_asked_for(full: Path) -> None:
    records = clean(dataset=full, subject="01", suffix="bold")
    assert set(statuses(records)) == {"sub-01/func/sub-01_task-rest_bold.nii.gz"}


def test_a_value_that_occurs_nowhere_is_told(full: Path) -> None:
    records = clean(dataset=full, suffix="blod")
    assert "bold" in messages(records)["."] and held(full) == set(IMAGES)


def test_a_dry_run_gives_the_same_list_and_total_and_changes_nothing(full: Path) -> None:
    planned = clean(dataset=full, subject="02", dry_run=True)
    assert held(full) == set(IMAGES)
    assert all(r["dry_run"] for r in planned)
    done = clean(dataset=full, subject="02")
    assert statuses(planned) == statuses(done)
    assert total(planned)["freed"] == total(done)["freed"]


def test_the_size_limit_takes_what_was_not_used_for_longest(full: Path) -> None:
    # Read one after the other: what was read first goes first. ctime, which cannot be set, is
    # renewed with it.
    order = sorted(IMAGES, key=lambda path: path[::-1])
    for path in order:
        os.utime((full / path).resolve())
        time.sleep(0.02)
    sizes = [(full / path).stat().st_blocks * 512 for path in order]
    records = clean(dataset=full, max_size=sum(sizes[3:]))
    assert annexed(records, "ok") == set(order[:3])
    assert held(full) == set(order[3:])
    assert on_disk(full) == sum(sizes[3:])
    kept = [r for r in records if r["status"] == "notneeded" and "key" in r]
    assert {r["message"] for r in kept} == {"the limits hold without it"}


def test_no_more_goes_than_needed(full: Path) -> None:
    records = clean(dataset=full, max_size=on_disk(full) - 1)
    assert len(annexed(records, "ok")) == 1
    assert not annexed(clean(dataset=full, max_size="1 GB"), "ok")


def test_what_cannot_go_makes_others_go(full: Path) -> None:
    shutil.rmtree(full.parent / "source/.git/annex/objects", onerror=_forced)
    records = clean(dataset=full, max_size=0)
    assert held(full) == set(IMAGES)
    assert total(records)["status"] == "impossible"
    assert "more than 0 B" in total(records)["message"]
    assert total(records)["freed"] == 0


def _forced(function: object, path: str, info: object) -> None:
    os.chmod(os.path.dirname(path), 0o700)
    os.chmod(path, 0o700)
    function(path)  # type: ignore[operator]


def test_a_limit_of_free_space_that_holds_takes_nothing(full: Path) -> None:
    records = clean(dataset=full, free="1 MB")
    assert not annexed(records, "ok") and total(records)["status"] == "notneeded"


def test_a_limit_of_free_space_that_cannot_hold_is_told(full: Path) -> None:
    records = clean(dataset=full, free="1000 PB")
    assert held(full) == set()
    assert total(records)["status"] == "impossible"
    assert "free, less than 1000.0 PB" in total(records)["message"]


def test_what_was_used_since_stays(full: Path) -> None:
    records = clean(dataset=full, older_than="1h")
    assert held(full) == set(IMAGES)
    assert total(records)["kept"] == {"used since": len(IMAGES)}
    time.sleep(1.1)
    (full / "sub-01/anat/sub-01_T1w.nii.gz").resolve().read_bytes()
    os.utime((full / "sub-01/anat/sub-01_T1w.nii.gz").resolve())
    records = clean(dataset=full, older_than="1s")
    assert held(full) == {"sub-01/anat/sub-01_T1w.nii.gz"}


def test_content_of_a_file_that_is_not_selected_stays(full: Path) -> None:
    shutil.copyfile(full / "sub-01/anat/sub-01_T1w.nii.gz", full / "sub-01/anat/copy.nii.gz")
    git(full, "annex", "add", "-q", "sub-01/anat/copy.nii.gz")
    git(full, "commit", "-qm", "a copy")
    records = clean("sub-01/anat/sub-01_T1w.nii.gz", dataset=_instance(full))
    record = next(r for r in records if "key" in r)
    assert record["status"] == "notneeded"
    assert "sub-01/anat/copy.nii.gz, which is not selected" in record["message"]
    assert held(full) == set(IMAGES)
    records = clean(dataset=full, subject="01", suffix="T1w", path=None)
    assert held(full) == set(IMAGES)
    # Both: it counts once.
    size = (full / "sub-01/anat/copy.nii.gz").stat().st_blocks * 512
    records = clean("sub-01/anat", dataset=_instance(full))
    assert total(records)["freed"] == size
    assert len(annexed(records, "ok")) == 2


def _instance(root: Path) -> object:
    from datalad.api import Dataset

    return Dataset(str(root))


def test_a_hard_link_elsewhere_means_that_nothing_is_freed(full: Path) -> None:
    path = "sub-01/anat/sub-01_T1w.nii.gz"
    os.link((full / path).resolve(), full.parent / "link")
    records = clean(dataset=full, subject="01", suffix="T1w")
    assert annexed(records, "ok") == {path}
    assert total(records)["freed"] == 0


def test_what_frees_nothing_does_not_go_for_free_space_and_counts_as_held(full: Path) -> None:
    for path in T1W:
        os.link((full / path).resolve(), full.parent / Path(path).name)
    records = clean(dataset=full, free="1000 PB")
    assert held(full) == T1W
    assert {r["message"] for r in records if r["status"] == "notneeded" and "key" in r} == {
        "dropping it would free nothing there: something else is linked to it, or it is on another "
        "file system"
    }
    # It is here less then, whatever is free.
    size = on_disk(full)
    records = clean(dataset=full, max_size=size - 1)
    assert len(annexed(records, "ok")) == 1
    assert total(records)["status"] == "ok" and total(records)["freed"] == 0


def test_two_keys_of_one_content_free_it_once(full: Path) -> None:
    path = "sub-01/func/sub-01_task-rest_bold.nii.gz"
    key = Path(os.readlink(full / path)).name
    git(full, "annex", "migrate", "-q", "--backend=SHA256E", path)
    git(full, "commit", "-qm", "another backend")
    git(full, "tag", "new")
    git(full, "annex", "copy", "-q", "--to", "origin", path)
    shutil.copyfile(full / path, full / "same")
    git(full, "annex", "reinject", "-q", "--known", "same")
    old = next((full / ".git/annex/objects").rglob(f"{key}/{key}"), None)
    new = (full / path).resolve()
    if old is None or not os.path.samefile(old, new):
        pytest.skip("this git-annex makes no hard link")
    size = new.stat().st_blocks * 512
    (full / "both").symlink_to(os.path.relpath(old, full))
    git(full, "add", "both")
    git(full, "commit", "-qm", "both")
    before = on_disk(full)
    assert before > 0
    planned = clean([full / "both", full / path], dataset=full, dry_run=True)
    assert total(planned)["freed"] == size
    records = clean([full / "both", full / path], dataset=full)
    assert annexed(records, "ok") == {"both", path}
    assert total(records)["freed"] == size


def test_unlocked_files_count_as_held(full: Path) -> None:
    git(full, "annex", "unlock", "-q", *sorted(BOLD))
    git(full, "commit", "-qm", "unlocked")
    copies = sum((full / path).stat().st_blocks * 512 for path in BOLD)
    # All objects would fit, with no copy of them in the work tree.
    limit = on_disk(full)
    records = clean(dataset=full, max_size=limit)
    gone = annexed(records, "ok")
    assert total(records)["status"] == "ok" and gone != set(IMAGES)
    left = sum((full / path).stat().st_blocks * 512 for path in BOLD - gone)
    assert on_disk(full) + left <= limit
    assert on_disk(full) + left == limit + copies - total(records)["freed"]
    assert BOLD & gone


def test_where_nothing_goes_few_processes_find_out(full: Path, process_log: ProcessLog) -> None:
    for number in range(30):
        (full / f"many{number}").write_bytes(b"%d" % number * 1000)
    git(full, "annex", "add", "-q", ".")
    git(full, "commit", "-qm", "many")
    git(full, "annex", "copy", "-q", "--to", "origin", ".")
    (full.parent / "source").rename(full.parent / "away")
    process_log.clear()
    records = clean(dataset=full, max_size=on_disk(full) - 1)
    assert total(records)["freed"] == 0 and total(records)["status"] == "impossible"
    drops = [c for c in process_log.commands() if " drop " in c and "annex" in c]
    assert len(drops) <= 2 * 6


def test_unlocked_files_in_a_layout_of_its_own(full: Path, tmp_path: Path) -> None:
    source = full.parent / "source"
    root = tmp_path / "tuned"
    root.mkdir()
    git(root, "init", "-q")
    git(root, "-c", "annex.tune.objecthash1=true", "annex", "init", "-q")
    for name in ("a", "b", "locked"):
        (root / name).write_bytes(name.encode() * 5000)
    git(root, "annex", "add", "-q", ".")
    git(root, "annex", "unlock", "-q", "a", "b")
    git(root, "commit", "-qm", "files")
    git(root, "remote", "add", "store", str(source.parent / "store"))
    subprocess.run(["git", "clone", "-q", root, source.parent / "store"], check=True)
    git(source.parent / "store", "annex", "init", "-q")
    git(root, "annex", "copy", "-q", "--to", "store", "a", "locked")
    records = clean(dataset=root)
    assert annexed(records, "ok") == {"a", "locked"}
    assert set(messages(records)) == {"b"}
    assert b"/annex/objects" in (root / "a").read_bytes()[:50]
    assert (root / "b").read_bytes() == b"b" * 5000


@pytest.mark.parametrize("thin", [False, True])
def test_unlocked_files_free_what_they_have(thin: bool, full: Path) -> None:
    git(full, "config", "annex.thin", str(thin).lower())
    path = "sub-01/func/sub-01_task-rest_bold.nii.gz"
    git(full, "annex", "unlock", "-q", path)
    git(full, "commit", "-qm", "unlocked")
    size = (full / path).stat().st_blocks * 512
    records = clean(dataset=full, subject="01", suffix="bold")
    assert annexed(records, "ok") == {path}
    assert total(records)["freed"] == size * (1 if thin else 2)
    assert (full / path).stat().st_size < 200
    assert git(full, "status", "--porcelain") == ""


def test_subdatasets_with_recursion_only_and_none_is_installed(
    study: Path, tmp_path: Path, process_log: ProcessLog
) -> None:
    import datalad.api as dl

    clone = tmp_path / "clone"
    dl.clone(str(study), str(clone), result_renderer="disabled")
    dl.get(str(clone / "sub-01"), dataset=str(clone), recursive=True, result_renderer="disabled")
    image = clone / "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz"
    assert image.exists()
    clean(dataset=clone)
    assert image.exists()
    clean(dataset=clone, recursive=True, dry_run=True)
    assert image.exists()
    clean(dataset=clone, recursive=True)
    assert not image.exists() and image.is_symlink()
    assert not (clone / "sub-02/.git").exists()


def test_one_git_annex_process_however_many_files(full: Path, process_log: ProcessLog) -> None:
    clean(dataset=full, subject="01")
    few = process_log.count()
    process_log.clear()
    clean(dataset=full)
    assert process_log.count() <= few
    drops = [c for c in process_log.commands() if " drop " in c and "annex" in c]
    assert 1 <= len(drops) <= 2


def test_branches_and_tags_with_the_same_files_are_told(full: Path) -> None:
    git(full, "tag", "same")
    git(full, "branch", "other")
    git(full, "commit", "--allow-empty", "-qm", "no change")
    records = clean(dataset=full, subject="01", dry_run=True)
    assert total(records)["also_in"] == {}
    git(full, "rm", "-q", "sub-02/anat/sub-02_T1w.nii.gz")
    git(full, "commit", "-qm", "less")
    records = clean(dataset=full, subject="01", dry_run=True)
    assert set(total(records)["also_in"].values()) == {2}
    out, _ = datalad("cache-clean", "-d", full, "--sub", "01", "--dry-run", cwd=full)
    assert "in other branches and tags" in out
    # The object of the file that is gone is another version's.
    assert total(records)["other_versions"]["files"] == 1


def test_files_with_one_content_have_a_record_each_on_the_command_line(full: Path) -> None:
    same = {f"sub-01/anat/sub-01_run-{n}_T2w.nii.gz" for n in (1, 2, 3)}
    for path in same:
        (full / path).write_bytes(b"same" * 5000)
    git(full, "annex", "add", "-q", ".")
    git(full, "commit", "-qm", "same")
    git(full, "annex", "copy", "-q", "--to", "origin", ".")
    for how in (["--dry-run"], ["--older-than", "1y"], []):
        out, _ = datalad("-f", "json", "cache-clean", "-d", ".", "--suffix", "T2w", *how, cwd=full)
        *files, totals = map(json.loads, out.splitlines())
        assert {r["relpath"] for r in files} == same and len(files) == 3
        assert sum(r.get("freed", 0) for r in files) == totals["freed"]


def test_what_git_has_is_not_said_to_be_absent(full: Path) -> None:
    out, _ = datalad("cache-clean", "-d", ".", cwd=full)
    assert "no content here" not in out
    out, _ = datalad("cache-clean", "-d", ".", cwd=full)
    assert f"{len(IMAGES)} with no content here" in out


def test_the_command_line_tells_totals_and_fails_with_what_failed(full: Path) -> None:
    out, _ = datalad("cache-clean", "-d", ".", "--suffix", "bold", cwd=full)
    assert "3 files dropped" in out and "freed on disk" in out
    assert len(out.splitlines()) == 1
    git(full, "remote", "remove", "origin")
    out, _ = datalad("cache-clean", "-d", ".", cwd=full, code=1)
    assert held(full) == T1W
    out, _ = datalad("-f", "json", "cache-clean", "-d", ".", cwd=full, code=1)
    assert json.loads(out.splitlines()[-1])["freed"] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (dict(older_than="30"), "older_than='30' is no age"),
        (dict(older_than="3m"), "is no age"),
        (dict(max_size="lots"), "max_size='lots' is not a size"),
        (dict(max_size=1.5), "max_size=1.5 is not a size"),
        (dict(path=[]), "an empty list of paths"),
        (dict(free=-1), "free=-1 is not a size"),
        (dict(reckless="kill"), "give 'availability'"),
        (dict(clones=True), "about managed clones, and a dataset was given"),
        (dict(list_=True), "a dataset was given"),
        (dict(source="/x"), "about managed clones, and a dataset was given"),
        (dict(jobs=0), "jobs=0"),
        (dict(subject=[]), "subject"),
    ],
)
def test_mistakes_are_explained_and_nothing_goes(
    arguments: dict[str, object], said: str, full: Path
) -> None:
    with pytest.raises(SelectionError, match=said):
        clean(dataset=full, **arguments)
    assert held(full) == set(IMAGES)


def test_no_dataset_there(tmp_path: Path) -> None:
    with pytest.raises((NoDatasetFound, ValueError)):
        clean(dataset=tmp_path)


def test_two_copies_of_a_dataset_are_two_datasets(full: Path, tmp_path: Path) -> None:
    other = copy_of(full, tmp_path / "other")
    clean(dataset=other)
    assert held(full) == set(IMAGES)
