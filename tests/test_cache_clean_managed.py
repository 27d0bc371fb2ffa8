"""`cache-clean` of managed clones: listed, emptied, removed; never under the feet of others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from datalad_bidsshare.cache.clones import clones, use_clone
from datalad_bidsshare.cache.urls import read_source
from datalad_bidsshare.report.installation import describe_installation
from datalad_bidsshare.report.sizes import human_bytes
from datalad_bidsshare.selection.errors import SelectionError
from tests.cache.conftest import can_unshare
from tests.cleans import IMAGES, Record, annexed, clean, held, messages, on_disk, total
from tests.dataset.builders import git, wait_for
from tests.platforms import needs_posix
from tests.raw_dataset import datalad
from tests.superdatasets import make_dataset

pytestmark = needs_posix


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for managed clones, configured for this process and those it starts."""
    import datalad

    place = tmp_path / "cäche dir"
    monkeypatch.setenv("DATALAD_BIDSSHARE_CACHE", str(place))
    datalad.cfg.reload(force=True)
    yield place
    monkeypatch.undo()
    datalad.cfg.reload(force=True)


def filled(source: Path) -> Path:
    """Make a managed clone with all content."""
    with use_clone(read_source(str(source))) as clone:
        git(clone.root, "annex", "get", "-q", ".")
        return clone.root


@pytest.fixture
def source(full: Path) -> Path:
    """A dataset with content, which is nobody's cache."""
    return full.parent / "source"


def whole(records: list[Record]) -> dict[str, Record]:
    """Give the records of clones, by their source."""
    return {r["source"]: r for r in records if "source" in r}


def test_nothing_there(cache: Path, tmp_path: Path) -> None:
    out, _ = datalad("cache-clean", "--list", cwd=tmp_path)
    assert "no managed clones" in out
    assert total(clean())["freed"] == 0
    assert not cache.exists()


def test_the_list_tells_source_size_and_last_use(cache: Path, source: Path, tmp_path: Path) -> None:
    filled(source)
    out, _ = datalad("cache-clean", "--list", cwd=tmp_path)
    head, row, last = out.splitlines()
    assert head.split() == ["source", "git", "content", "files", "last", "used"]
    assert str(source) in row and f" {len(IMAGES)} " in row
    assert last.startswith("1 clone, ")
    out, _ = datalad("-f", "json", "cache-clean", "--list", cwd=tmp_path)
    record = json.loads(out)
    assert record["content_bytes"] == on_disk(clones()[0].root)
    assert record["content_files"] == len(IMAGES)
    assert record["dataset_id"] and record["last_used"] and not record["in_use"]
    assert held(clones()[0].root) == set(IMAGES)


def test_all_content_goes_and_the_clone_stays(cache: Path, source: Path) -> None:
    root = filled(source)
    planned = clean(dry_run=True)
    assert held(root) == set(IMAGES)
    records = clean()
    assert held(root) == set()
    assert total(planned)["freed"] == total(records)["freed"] > 0
    assert len([r for r in records if r["type"] == "file" and r["status"] == "ok"]) == len(IMAGES)
    assert held(source) == set(IMAGES)
    with use_clone(read_source(str(source))) as clone:
        assert not clone.fresh


def test_content_of_other_versions_goes_too(cache: Path, source: Path) -> None:
    root = filled(source)
    git(source, "rm", "-q", "sub-01/anat/sub-01_T1w.nii.gz")
    git(source, "commit", "-qm", "less")
    with use_clone(read_source(str(source))):
        pass
    records = clean()
    assert [r["status"] for r in records if r["type"] == "key"] == ["ok"]
    assert not [p for p in (root / ".git/annex/objects").rglob("*") if p.is_file()]


def test_a_selection_of_a_clone_and_of_all(cache: Path, source: Path, tmp_path: Path) -> None:
    root = filled(source)
    make_dataset(tmp_path / "second", {"sub-09/anat/sub-09_T1w.nii.gz": b"nine" * 5000})
    other = filled(tmp_path / "second")
    # What only one of them has is no mistake; what none has is.
    records = clean(subject="09")
    assert not messages(records)
    assert not (other / "sub-09/anat/sub-09_T1w.nii.gz").exists()
    assert held(root) == set(IMAGES)
    assert "near: 01, 02, 03" in str(messages(clean(subject="77")))
    clean("sub-01", source=str(source))
    assert {path[:6] for path in held(root)} == {"sub-02", "sub-03"}
    with pytest.raises(SelectionError, match="-d DATASET"):
        clean("sub-01")


def test_the_limit_is_of_all_clones_together(cache: Path, source: Path, tmp_path: Path) -> None:
    first = filled(source)
    make_dataset(tmp_path / "second", {"sub-09/anat/sub-09_T1w.nii.gz": b"nine" * 5000})
    second = filled(tmp_path / "second")
    image = second / "sub-09/anat/sub-09_T1w.nii.gz"
    os.utime(image.resolve())
    size = image.stat().st_blocks * 512
    records = clean(max_size=size)
    assert held(first) == set() and image.exists()
    assert total(records)["status"] == "ok"


def test_whole_clones_go(cache: Path, source: Path) -> None:
    filled(source)
    assert whole(clean(clones=True, dry_run=True))[str(source)]["status"] == "ok"
    assert len(clones()) == 1
    before = _bytes_below(cache)
    planned = total(clean(clones=True, dry_run=True))["freed"]
    records = clean(clones=True)
    assert clones() == [] and list(cache.iterdir()) == []
    assert whole(records)[str(source)]["status"] == "ok"
    freed = total(records)["freed"]
    # git has hard links to the objects of a source on the same file system: these stay.
    assert 0.5 * before < freed <= before
    assert abs(planned - freed) < 100_000
    assert total(records)["files"]["clones"] == 1
    assert held(source) == set(IMAGES)


def _bytes_below(directory: Path) -> int:
    found = subprocess.run(["du", "-sk", directory], capture_output=True, check=True).stdout
    return int(found.split()[0]) * 1024


def test_only_clones_that_were_not_used_for_long(cache: Path, source: Path) -> None:
    filled(source)
    records = clean(clones=True, older_than="1d")
    assert whole(records)[str(source)]["status"] == "notneeded"
    assert len(clones()) == 1


def test_a_clone_with_the_only_copy_stays_and_says_of_what(cache: Path, source: Path) -> None:
    filled(source)
    path = "sub-01/anat/sub-01_T1w.nii.gz"
    lost = (source / path).resolve()
    lost.parent.chmod(0o755)
    lost.unlink()
    records = clean(clones=True)
    assert whole(records)[str(source)]["status"] == "impossible"
    assert any(path in r.get("path", "") for r in records if r["status"] == "error")
    assert len(clones()) == 1
    assert clones()[0].content_files == 1


def test_a_clone_with_commits_of_its_own_stays(cache: Path, source: Path) -> None:
    root = filled(source)
    (root / "notes.txt").write_text("mine")
    records = clean(clones=True)
    assert "notes.txt" in whole(records)[str(source)]["message"]
    git(root, "add", "notes.txt")
    git(root, "-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "thoughts of mine")
    out, _ = datalad("cache-clean", "--clones", cwd=source, code=1)
    assert f"cache-clean(impossible): {source} " in out and "thoughts of mine" in out
    records = clean(clones=True)
    assert "thoughts of mine" in whole(records)[str(source)]["message"]
    assert (root / "notes.txt").read_text() == "mine"


def test_what_is_in_use_is_left_alone(cache: Path, source: Path) -> None:
    root = filled(source)
    program = (
        "import sys; from datalad_bidsshare.cache.clones import use_clone\n"
        "from datalad_bidsshare.cache.urls import read_source\n"
        "with use_clone(read_source(sys.argv[1])):\n"
        "    print('in', flush=True); sys.stdin.readline()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, source],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "in\n"
    for how in ({}, {"clones": True}, {"max_size": 0}):
        arguments: dict[str, Any] = dict(how)
        record = whole(clean(**arguments))[str(source)]
        assert record["status"] == "notneeded" and "in use" in record["message"]
    assert [c.in_use for c in clones()] == [True]
    assert held(root) == set(IMAGES)
    process.communicate("\n")
    clean()
    assert held(root) == set()


def test_killed_while_removing_the_next_call_ends_it(cache: Path, source: Path) -> None:
    root = filled(source)
    process = subprocess.Popen(
        [shutil.which("datalad") or "datalad", "cache-clean", "--clones"],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for(lambda: held(root) != set(IMAGES) or process.poll() is not None)
    os.killpg(process.pid, 9)
    process.wait()
    records = clean(clones=True)
    assert not messages(records)
    assert clones() == []
    assert held(source) == set(IMAGES)
    with use_clone(read_source(str(source))) as clone:
        assert clone.fresh


def test_what_a_killed_removal_left_goes(cache: Path, source: Path, tmp_path: Path) -> None:
    root = filled(source)
    root.rename(root.parent / "removing-0123456789abcdef")
    out, _ = datalad("cache-clean", "--list", cwd=tmp_path, code=1)
    assert "there is no clone in it" in out and str(source) in out
    assert whole(clean(clones=True, dry_run=True))[str(source)]["status"] == "ok"
    assert not messages(clean(clones=True))
    assert clones() == []
    assert held(source) == set(IMAGES)


def test_content_that_no_dataset_of_it_leads_to_keeps_the_clone(
    cache: Path, source: Path, tmp_path: Path
) -> None:
    root = filled(source)
    make_dataset(tmp_path / "second", {"sub-09/anat/sub-09_T1w.nii.gz": b"nine" * 5000})
    old = root / ".git/modules/old"
    shutil.copytree(tmp_path / "second/.git", old, symlinks=True)
    for branch in ("HEAD", "git-annex"):
        # its commits are known to be elsewhere
        git(old, "--git-dir=.", "update-ref", f"refs/remotes/x/{branch}", branch)
    (record,) = whole(clean(clones=True)).values()
    assert record["status"] == "impossible"
    assert ".git/modules/old/annex/objects/" in record["message"]
    assert root.exists()


def test_hard_links_of_a_clone_are_not_counted_twice(cache: Path, source: Path) -> None:
    root = filled(source)
    path = "sub-01/func/sub-01_task-rest_bold.nii.gz"
    os.link((root / path).resolve(), source.parent / "elsewhere")
    planned = total(clean(clones=True, dry_run=True))["freed"]
    freed = total(clean(clones=True))["freed"]
    assert freed > 0 and abs(planned - freed) < 100_000


def test_a_planted_cache_is_not_touched(cache: Path, source: Path, tmp_path: Path) -> None:
    cache.mkdir()
    cache.chmod(0o777)
    records = clean(clones=True)
    assert "chmod 700" in str(messages(records))
    assert cache.exists()
    out, _ = datalad("cache-clean", "--list", cwd=tmp_path, code=1)
    assert "chmod 700" in out


def test_a_source_that_is_no_clone_here(cache: Path, source: Path) -> None:
    records = clean(source=str(source))
    assert "no managed clone of" in records[0]["message"]
    assert not messages(records)


def test_subdatasets_in_clones_count_and_go(cache: Path, study: Path) -> None:
    with use_clone(read_source(str(study))) as clone:
        git(clone.root, "annex", "get", "-q", ".")
        import datalad.api as dl

        sub = clone.root / "sub-01"
        dl.get(str(sub), dataset=str(clone.root), result_renderer="disabled")
        image = sub / "ses-1/anat/sub-01_ses-1_T1w.nii.gz"
        assert image.exists()
    clean()
    assert not image.exists() and image.is_symlink()
    records = clean(clones=True)
    assert clones() == [], records


def test_annexed_is_dropped_through_the_command_line(
    cache: Path, source: Path, tmp_path: Path
) -> None:
    filled(source)
    out, _ = datalad("cache-clean", "--max-size", "0", cwd=tmp_path)
    assert f"{len(IMAGES)} files dropped" in out
    out, _ = datalad("cache-clean", "--clones", cwd=tmp_path)
    assert "1 clone removed" in out
    assert annexed(clean(), "ok") == set()


# What is not ours, or only here


def _mine_in(cache: Path) -> dict[Path, str]:
    """Put what somebody may have there into a cache."""
    cache.mkdir(mode=0o700)
    files = {
        cache / "run-0123456789ab" / "results.csv": "x",
        cache / "trial-0123456789abcdef" / "results.csv": "x",
        cache / "old-0123456789ab" / "making-0123456789abcdef" / "notes": "x",
        cache / "old-0123456789ab" / "lock": "",
        cache / "set-abcdefabcdef" / "dataset" / "data": "x",
    }
    for path, text in files.items():
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.write_text(text)
    for entry in cache.iterdir():
        entry.chmod(0o700)
    make_dataset(cache / "study-abcdefabcdef", {"sub-09/anat/sub-09_T1w.nii.gz": b"nine"})
    (cache / "study-abcdefabcdef").chmod(0o700)
    return files


def _names(directory: Path) -> set[str]:
    return {str(p.relative_to(directory)) for p in directory.rglob("*")}


def test_what_is_called_as_clones_are_and_is_not_ours_stays(cache: Path) -> None:
    _mine_in(cache)
    before = _names(cache)
    assert len(clones()) == 4
    clean(list_=True)
    assert _names(cache) == before
    for how in ({}, {"clones": True}, {"clones": True, "reckless": "availability"}):
        arguments: dict[str, Any] = dict(how)
        records = clean(**arguments)
        kept = [r for r in records if r["status"] == "impossible"]
        assert {Path(r["path"]).name for r in kept} == {c.entry.name for c in clones()}
        assert "results.csv" in str(messages(records))
        assert total(records)["freed"] == 0
    assert _names(cache) == before


def test_a_file_beside_a_clone_keeps_it(cache: Path, source: Path) -> None:
    root = filled(source)
    (root.parent / "results.csv").write_text("x")
    for dry_run in (True, False):
        (record,) = whole(clean(clones=True, reckless="availability", dry_run=dry_run)).values()
        assert record["status"] == "impossible" and "results.csv" in record["message"]
    assert held(root) == set(IMAGES)
    clean()
    assert held(root) == set()
    (root.parent / "results.csv").unlink()
    clean(clones=True)
    assert clones() == []


def test_without_a_note_nothing_is_removed_however_reckless(cache: Path, source: Path) -> None:
    root = filled(source)
    (root.parent / "state.json").unlink()
    (record,) = clean(clones=True, reckless="availability")[:1]
    assert record["status"] == "impossible" and "rm -rf" in record["message"]
    with use_clone(read_source(str(source))):
        pass
    clean(clones=True)
    assert clones() == []


def test_reckless_is_not_about_commits_nor_about_what_cannot_be_read(
    cache: Path, source: Path
) -> None:
    root = filled(source)
    commit = git(root, "commit-tree", "-m", "on a tag", "HEAD^{tree}").strip()
    git(root, "tag", "-m", "mine", "mine", commit)
    (record,) = whole(clean(clones=True, reckless="availability")).values()
    assert record["status"] == "impossible" and "on a tag" in record["message"]
    git(root, "tag", "-d", "mine")
    (root / ".git" / "HEAD").write_text("damaged")
    for dry_run in (True, False):
        (record,) = whole(clean(clones=True, reckless="availability", dry_run=dry_run)).values()
        assert record["status"] == "impossible" and "rm -rf" in record["message"]
    assert held(root) == set(IMAGES)


def test_another_dataset_at_the_place_of_a_clone_stays(cache: Path, source: Path) -> None:
    root = filled(source)
    root.rename(source.parent / "moved")
    (source.parent / "moved" / "x.txt").write_text("mine")
    root.symlink_to(source.parent / "moved")
    (record,) = whole(clean(clones=True, reckless="availability")).values()
    assert record["status"] == "impossible" and "dataset" in record["message"]
    clean()
    assert held(source.parent / "moved") == set(IMAGES)
    root.unlink()
    git(source.parent, "clone", "-q", str(source), str(root))
    (record,) = whole(clean(clones=True, reckless="availability")).values()
    assert record["status"] == "impossible" and "was not made by" in record["message"]


@pytest.mark.skipif(not can_unshare(), reason="cannot mount")
def test_a_read_only_cache_is_told_of_and_can_be_looked_at(cache: Path, source: Path) -> None:
    root = filled(source)
    program = (
        f"mount -o bind '{cache}' '{cache}' && mount -o remount,bind,ro '{cache}' && cd / && "
        "datalad -f json cache-clean "
    )

    def told(*options: str) -> list[dict[str, Any]]:
        done = subprocess.run(
            ["unshare", "-m", "sh", "-c", program + " ".join(options)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert "Traceback" not in done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    (listed,) = told("--list")
    assert (listed["status"], listed["source"]) == ("ok", str(source))
    assert listed["content_bytes"] == on_disk(root)
    for options in (("--dry-run",), ("--dry-run", "--clones")):
        records = told(*options)
        # What would be: nothing can go there.
        assert {r["status"] for r in records} == {"impossible", "notneeded"}, records
        said = [r["message"] for r in records[:-1] if r["status"] == "impossible"]
        assert str(root) in said[0] and "; next: " in said[0], said[0]
    for options in ((), ("--clones",)):
        record, last = told(*options)
        assert (record["status"], record["source"]) == ("error", str(source))
        assert "ead-only" in record["message"] and "; next: " in record["message"]
        assert last["freed"] == 0
    assert held(root) == set(IMAGES)


def test_the_report_of_the_installation_measures_and_changes_nothing(
    cache: Path, source: Path
) -> None:
    root = filled(source)
    before = _names(cache)
    noted = describe_installation()["cache"]
    assert noted["clones"] == 1 and noted["content"] == human_bytes(on_disk(root))
    shutil.rmtree(root / ".git" / "objects")
    assert describe_installation()["cache"] == noted
    assert before - _names(cache)
    assert not _names(cache) - before
