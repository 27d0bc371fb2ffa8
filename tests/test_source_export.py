"""`export-plain --source`: from a URL, by way of a clone that the user need not mind."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from datalad_bidsshare.cache.clones import clones, exclusively, use_clone
from datalad_bidsshare.cache.urls import read_source
from tests.cache.servers import serving
from tests.dataset.builders import add_link, annex_repo, git
from tests.dataset.conftest import Ria
from tests.exports import content_of, export, failures, outcomes, state_of, summary
from tests.platforms import needs_symlinks
from tests.process_log import ProcessLog
from tests.raw_dataset import FILES, ROOT_FILES, datalad, raw_content
from tests.sources import (
    cache,
    clones_made,
    content_in,
    data,
    far,
    fetches,
    gets,
    save,
    texts,
)
from tests.superdatasets import (
    DATALAD,
    Record,
    bids_get,
    copy_of,
    description,
    make_dataset,
)

__all__ = ["cache", "data"]

pytestmark = pytest.mark.usefixtures("cache")

T1W = "sub-01/anat/sub-01_T1w.nii.gz"
ONE: dict[str, Any] = {"subject": "01", "suffix": "T1w"}
BARE: dict[str, Any] = {"companions": "none"}
TEXT = {
    ".gitattributes": "* annex.backend=MD5E\n*.json annex.largefiles=nothing\n"
    "*.tsv annex.largefiles=nothing\n.gitattributes annex.largefiles=nothing\n",
    "dataset_description.json": description("far", "raw"),
    "participants.tsv": "participant_id\tage\nsub-01\t20\nsub-02\t30\n",
}
IMAGES = {f"sub-0{n}/anat/sub-0{n}_T1w.nii.gz": f"image {n} " * 200 for n in (1, 2)}


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A dataset that may be changed. Its content has to be fetched."""
    return far(tmp_path / "far away", {**TEXT, **IMAGES}, tmp_path / "store")


def went_well(records: list[Record]) -> dict[str, str]:
    assert failures(records) == {}
    return outcomes(records)


def root_of(url: Any) -> Path:
    """Give where the managed clone of a source is."""
    with use_clone(read_source(str(url)), update=False) as clone:
        return clone.root


# ---------------------------------------------------------------- what is given


def test_plain_files_come_from_a_path(raw: Path, dest: Path, cache: Path) -> None:
    records = export(dest, source=str(raw), **ONE)
    assert set(went_well(records).values()) == {"ok"}
    assert content_of(dest)[T1W] == raw_content(T1W)
    assert set(content_of(dest)) == {T1W} | ROOT_FILES
    # read where it lies: the clone has names only
    assert content_in(cache) == []
    assert summary(records)["source"] == str(raw)
    assert summary(records)["bytes"]["from store"] > 0


def test_what_is_far_away_is_fetched(source: Path, dest: Path, cache: Path) -> None:
    records = export(dest, source=source)
    assert set(went_well(records).values()) == {"ok"}
    assert summary(records)["files"]["from fetch"] == 2
    assert {k: v.decode() for k, v in content_of(dest).items() if k in IMAGES} == IMAGES
    assert "participants.tsv" in content_of(dest)
    assert len(content_in(cache)) == 2


def test_dropping_what_was_fetched_keeps_names_only(source: Path, dest: Path, cache: Path) -> None:
    assert went_well(export(dest, source=source, drop_fetched=True))
    assert content_in(cache) == []
    assert content_of(dest)["sub-01/anat/sub-01_T1w.nii.gz"]
    # and with that, all is known that a second run needs
    records = export(dest, source=source, drop_fetched=True)
    assert set(went_well(records).values()) == {"notneeded"}


@pytest.mark.parametrize("spelled", ["file://{}", "{}/", "{}/.git"])
def test_other_spellings_have_the_same_clone(
    raw: Path, dest: Path, spelled: str, process_log: ProcessLog
) -> None:
    export(dest, source=raw, **ONE)
    process_log.clear()
    records = export(dest, source=spelled.format(raw), **ONE)
    assert set(went_well(records).values()) == {"notneeded"}
    assert not clones_made(process_log)
    assert len(clones()) == 1


def test_of_a_store(ria: Ria, dest: Path, cache: Path) -> None:
    records = export(dest, source=ria.url)
    assert went_well(records) == {"a.nii": "ok", "b.nii": "ok"}
    assert content_of(dest) == {"a.nii": b"A" * 1000, "b.nii": b"B" * 2000}
    # no second copy on the way
    assert content_in(cache) == []
    assert {r.get("content_from") for r in records[:-1]} == {"store"}


def test_paths_begin_at_the_dataset(
    raw: Path, dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "sub-02").mkdir()
    monkeypatch.chdir(tmp_path)
    # while the destination is seen from where one is
    went_well(export("out", "sub-02", source=raw, suffix="T1w", **BARE))
    assert set(content_of(dest)) == {"sub-02/anat/sub-02_T1w.nii.gz"}


def test_an_archive(raw: Path, tmp_path: Path) -> None:
    path = tmp_path / "out.zip"
    assert went_well(export(path, source=raw, archive=True, **ONE))
    with zipfile.ZipFile(path) as file:
        assert T1W in " ".join(file.namelist())


def test_from_the_command_line(raw: Path, tmp_path: Path) -> None:
    out, _ = datalad("export-plain", "-s", raw, "out", "sub-01", "--suffix", "T1w", cwd=tmp_path)
    assert "4 written" in out
    out, _ = datalad("export-plain", "-s", raw, "out", "--sub", "01", "--suffix", "T1w",
                     "--no-update", cwd=tmp_path)  # fmt: skip
    assert "4 unchanged" in out


# ---------------------------------------------------------------- again


def test_again_asks_once_and_does_nothing_else(
    source: Path, dest: Path, process_log: ProcessLog
) -> None:
    export(dest, source=source)
    assert clones_made(process_log)
    assert len(gets(process_log)) == 1
    process_log.clear()
    records = export(dest, source=source)
    assert set(went_well(records).values()) == {"notneeded"}
    assert summary(records)["status"] == "notneeded"
    assert process_log.commands("git-annex") == []
    assert not clones_made(process_log)
    assert len(fetches(process_log)) == 1


def test_without_an_update_nobody_is_asked(
    source: Path, dest: Path, process_log: ProcessLog
) -> None:
    export(dest, source=source)
    save(source, {"sub-03/anat/sub-03_T1w.nii.gz": "image 3"}, to="far")
    process_log.clear()
    assert set(went_well(export(dest, source=source, no_update=True)).values()) == {"notneeded"}
    assert fetches(process_log) == []


def test_only_what_is_new_is_fetched(source: Path, dest: Path, process_log: ProcessLog) -> None:
    export(dest, source=source)
    new = "sub-03/anat/sub-03_T1w.nii.gz"
    save(source, {new: "image 3", next(iter(IMAGES)): "image 1, better"}, to="far")
    process_log.clear()
    records = export(dest, source=source)
    # the description names the version
    written = {new, next(iter(IMAGES)), "dataset_description.json"}
    assert {p for p, s in went_well(records).items() if s == "ok"} == written
    assert summary(records)["files"]["from fetch"] == 2
    assert not clones_made(process_log)
    assert content_of(dest)[next(iter(IMAGES))] == b"image 1, better"


def test_another_destination_needs_no_second_transfer(
    source: Path, dest: Path, tmp_path: Path, process_log: ProcessLog
) -> None:
    export(dest, source=source)
    process_log.clear()
    assert set(went_well(export(tmp_path / "other", source=source)).values()) == {"ok"}
    assert gets(process_log) == []
    assert content_of(tmp_path / "other") == content_of(dest)


def test_a_source_that_cannot_be_reached(source: Path, dest: Path) -> None:
    export(dest, source=source)
    source.rename(source.with_name("away"))
    before = state_of(dest)
    (record,) = export(dest, source=source)
    assert (record["status"], record["path"]) == ("error", str(dest))
    assert str(source) in record["message"]
    assert "--no-update" in record["message"]
    assert set(went_well(export(dest, source=source, no_update=True)).values()) == {"notneeded"}
    assert {p for p in state_of(dest) if state_of(dest)[p] != before.get(p)} <= {
        str(dest), str(dest / ".bidsshare")
    }  # fmt: skip


def test_subdatasets_have_the_version_that_is_registered(
    study: Path, dest: Path, tmp_path: Path
) -> None:
    top = copy_of(study, tmp_path / "study")
    new = "ses-1/anat/sub-01_ses-1_T2w.nii.gz"
    query: dict[str, Any] = {"subject": "01", "datatype": "anat", "recursive": True}
    went_well(export(dest, source=top, **query))
    assert f"sub-01/{new}" not in content_of(dest)
    # committed in the subdataset, and not yet registered
    save(top / "sub-01", {new: "T2w"})
    went_well(export(dest, source=top, **query))
    assert f"sub-01/{new}" not in content_of(dest)
    save(top, {})
    records = export(dest, source=top, **query)
    assert went_well(records)[f"sub-01/{new}"] == "ok"
    assert content_of(dest)[f"sub-01/{new}"] == b"T2w"


# ---------------------------------------------------------------- versions


def test_versions(source: Path, tmp_path: Path) -> None:
    git(source, "tag", "v1")
    git(source, "checkout", "-q", "-b", "dev")
    save(source, {"dev.json": "{}"})
    git(source, "checkout", "-q", "main")
    save(source, {"main.json": "{}"})

    def given(at: str | None) -> set[str]:
        dest = tmp_path / f"out-{at}"
        went_well(export(dest, source=source, at=at, delete=True, **BARE))
        found = {p for p in content_of(dest) if p in ("main.json", "dev.json")}
        receipt = json.loads((dest / ".bidsshare/export.json").read_text())
        name = "main" if at is None else at
        assert receipt["datasets"][0]["commit"] == git(source, "rev-parse", name).strip()
        return found

    assert given(None) == {"main.json"}
    assert given("v1") == set()
    assert given("dev") == {"dev.json"}
    # a branch of the source, wherever the clone was when it was made
    save(source, {"main.json": '{"more": 1}'})
    git(source, "checkout", "-q", "dev")
    save(source, {"dev.json": '{"more": 1}'})
    assert given("dev") == {"dev.json"}
    assert given("main") == {"main.json"}
    # what is checked out there counts
    (record, *_) = export(tmp_path / "now", source=source, **BARE)
    assert (tmp_path / "now/dev.json").exists()
    assert record["status"] == "ok"


def test_a_version_that_is_nowhere(source: Path, dest: Path) -> None:
    for at in ("v7", "--all", "git-annex", "main:dataset_description.json"):
        (record,) = export(dest, source=source, at=at)
        assert (record["status"], record["problem"]) == ("error", "source")
        assert repr(at) in record["message"]
    assert not dest.exists()


def test_the_version_that_the_url_of_a_store_names(ria: Ria, dest: Path, tmp_path: Path) -> None:
    store = tmp_path / "store"
    shutil.copytree(ria.store, store, symlinks=True)
    url = ria.url.replace(str(ria.store), str(store))
    bare = next(p.parent for p in store.rglob("HEAD"))
    first = git(bare, "rev-list", "--max-parents=0", "HEAD").strip()
    git(bare, "tag", "v0", first)
    export(dest, source=f"{url}@v0")
    receipt = json.loads((dest / ".bidsshare/export.json").read_text())
    assert receipt["datasets"][0]["commit"] == first


# ---------------------------------------------------------------- what is kept, and where


def test_nothing_at_the_destination_tells_of_the_cache(
    source: Path, dest: Path, cache: Path
) -> None:
    export(dest, source=source)
    assert os.fsencode(cache.name) not in texts(dest)
    # nor of where it is on this machine; public addresses are named
    assert b"far away" not in texts(dest)


def test_what_was_given_outlives_the_clone(
    source: Path, dest: Path, cache: Path, data: Path
) -> None:
    export(dest, source=source, **ONE)
    subprocess.run(["chmod", "-R", "u+w", str(cache)], check=True)
    shutil.rmtree(cache)
    (log,) = data.rglob("exports.jsonl")
    (entry,) = map(json.loads, log.read_text().splitlines())
    assert entry["dataset"] == str(source)
    assert entry["destination"] == str(dest)
    assert entry["versions"] == {".": git(source, "rev-parse", "HEAD").strip()}
    # for nobody else
    assert {os.lstat(p).st_mode & 0o77 for p in (log.parent, log.parent.parent)} == {0}
    assert os.fsencode(cache.name) not in texts(data)


@pytest.mark.parametrize("receipt", [True, False])
def test_a_clone_that_was_removed_costs_nothing_that_was_exported(
    source: Path, dest: Path, cache: Path, receipt: bool
) -> None:
    more: dict[str, Any] = {**ONE, "no_receipt": not receipt}
    export(dest, source=source, **more)
    before = state_of(dest)
    subprocess.run(["chmod", "-R", "u+w", str(cache)], check=True)
    shutil.rmtree(cache)
    # a table that was reduced among them
    records = export(dest, source=source, **more)
    assert "participants.tsv" in went_well(records)
    assert set(went_well(records).values()) == {"notneeded"}
    assert summary(records)["files"].get("from fetch") is None
    after = state_of(dest)
    assert {p: after[str(dest / p)] for p in outcomes(records)} == {
        p: before[str(dest / p)] for p in outcomes(records)
    }
    # and what is new replaces what an export wrote
    save(source, {T1W: "better"}, to="far")
    assert went_well(export(dest, source=source, **more))[T1W] == "ok"
    assert content_of(dest)[T1W] == b"better"


def test_the_source_is_left_as_it_is(source: Path, dest: Path) -> None:
    before = state_of(source)
    export(dest, source=source)
    # no clone is known there: neither in its configuration nor in its git-annex branch
    assert state_of(source) == before


def test_a_password_in_the_url_is_written_down_nowhere(
    tmp_path: Path, dest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = make_dataset(tmp_path / "served", IMAGES).pathobj
    git(source, "update-server-info")
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "annex.security.allowed-ip-addresses")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "all")
    with serving(source, user="me", password="hunter@2") as host:
        url = f"http://me:hunter%402@{host}/.git"
        records = export(dest, source=url)
        assert set(went_well(records).values()) == {"ok"}
        assert summary(records)["source"] == f"http://{host}/.git"
        # content comes by the password, too, and the same clone is known with and without it
        assert summary(records)["files"]["from fetch"] == 2
        assert set(went_well(export(dest, source=url)).values()) == {"notneeded"}
        (refused,) = export(dest, source=f"http://me:wrong@{host}/.git")
        assert refused["status"] == "error"
        found = bids_get(source=url, dataset=tmp_path / "clone", suffix="T1w", companions="none")
        assert [r["status"] for r in found] == ["ok", "ok", "ok"]
    for told in (texts(tmp_path), repr([*records, refused, *found]).encode()):
        assert b"hunter" not in told
    assert len(clones()) == 1


# ---------------------------------------------------------------- dry runs


def test_a_dry_run_leaves_nothing(source: Path, dest: Path, tmp_path: Path) -> None:
    before = state_of(tmp_path)
    records = export(dest, source=source, dry_run=True)
    assert set(went_well(records).values()) == {"ok"}
    assert summary(records)["files"]["from fetch"] == 2
    assert state_of(tmp_path).keys() == before.keys()
    # where the clone was meanwhile is of no interest
    assert "trial" not in repr(records)


def test_a_dry_run_with_a_clone_changes_nothing(source: Path, dest: Path, cache: Path) -> None:
    export(dest, source=source, **ONE)
    save(source, {"new.json": "{}"})
    before = {k: v for k, v in state_of(cache).items() if not k.endswith(("state.json", "lock"))}
    out = state_of(dest)
    records = export(dest, source=source, dry_run=True)
    assert {s for s in went_well(records).values()} == {"ok", "notneeded"}
    assert state_of(dest) == out
    after = {k: v for k, v in state_of(cache).items() if not k.endswith(("state.json", "lock"))}
    assert after == before


# ---------------------------------------------------------------- at once


def run_all(*commands: list[str | Path], cwd: Path) -> list[subprocess.CompletedProcess[str]]:
    running = [
        subprocess.Popen(
            [DATALAD, *map(str, command)], cwd=cwd, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for command in commands
    ]  # fmt: skip
    said = [process.communicate(timeout=300) for process in running]
    return [
        subprocess.CompletedProcess(p.args, p.returncode, out, err)
        for p, (out, err) in zip(running, said, strict=True)
    ]


@pytest.mark.parametrize("options", [[], ["--drop-fetched"]], ids=["keep", "drop"])
def test_two_at_once_share_one_clone(
    source: Path, tmp_path: Path, process_log: ProcessLog, options: list[str]
) -> None:
    commands: list[list[str | Path]] = [
        ["export-plain", "-s", source, tmp_path / f"out{n}", *options] for n in (1, 2)
    ]
    for done in run_all(*commands, cwd=tmp_path):
        assert done.returncode == 0, done.stdout + done.stderr
    assert len(clones_made(process_log)) == 1
    assert content_of(tmp_path / "out1") == content_of(tmp_path / "out2")
    assert set(IMAGES) <= set(content_of(tmp_path / "out1"))
    (listed,) = clones()
    assert not listed.problem


@needs_symlinks
def test_what_somebody_drops_meanwhile_is_fetched_again(source: Path, dest: Path) -> None:
    """As another export does with what it fetched itself and this one found there."""
    import datalad.api as dl

    add_link(source, "out", "/etc/passwd")
    git(source, "commit", "-q", "-m", "link")
    root = root_of(source)
    git(root, "annex", "get", "-q", ".")
    records = dl.export_plain(
        str(dest), source=str(source), return_type="generator", on_failure="ignore",
        result_renderer="disabled",
    )  # fmt: skip
    # All files have been looked at when the link is reported.
    assert next(records)["relpath"] == "out"
    git(root, "annex", "drop", "-q", ".")
    found = {r["relpath"]: r for r in records if "entities" in r}
    assert {r["status"] for r in found.values()} == {"ok"}
    assert {found[path]["content_from"] for path in IMAGES} == {"fetch"}
    assert {k: v.decode() for k, v in content_of(dest).items() if k in IMAGES} == IMAGES


@needs_symlinks
def test_what_is_gone_for_good_is_an_error(source: Path, dest: Path, tmp_path: Path) -> None:
    import datalad.api as dl

    add_link(source, "out", "/etc/passwd")
    git(source, "commit", "-q", "-m", "link")
    root = root_of(source)
    git(root, "annex", "get", "-q", ".")
    records = dl.export_plain(
        str(dest), source=str(source), return_type="generator", on_failure="ignore",
        result_renderer="disabled",
    )  # fmt: skip
    next(records)
    git(root, "annex", "drop", "-q", ".")
    (tmp_path / "store").rename(tmp_path / "no store")
    found = {r["relpath"]: r for r in records if "entities" in r}
    assert {found[path]["status"] for path in IMAGES} == {"error"}
    assert {"vanished while the export went on" in found[path]["message"] for path in IMAGES} == {
        True
    }


def test_a_clone_is_held_until_the_end_of_the_export(raw: Path, dest: Path) -> None:
    import datalad.api as dl

    records = dl.export_plain(
        str(dest), source=str(raw), return_type="generator", result_renderer="disabled"
    )
    next(records)
    (listed,) = clones()
    assert listed.in_use
    with exclusively(listed) as mine:
        assert not mine
    records.close()
    (listed,) = clones()
    assert not listed.in_use
    with exclusively(listed) as mine:
        assert mine


# ---------------------------------------------------------------- what is refused


def test_a_destination_in_the_source(source: Path) -> None:
    before = state_of(source)
    (message,) = failures(export(source / "out", source=source)).values()
    assert f"lies in the dataset {source}" in message
    assert state_of(source) == before


def test_a_destination_among_the_managed_clones(source: Path, cache: Path) -> None:
    (message,) = failures(export(cache / "mine", source=source)).values()
    assert "where managed clones are kept" in message
    assert not (cache / "mine").exists()


def test_a_destination_that_holds_something_else(source: Path, dest: Path) -> None:
    dest.mkdir()
    (dest / "dataset_description.json").write_text("mine")
    found = failures(export(dest, source=source))
    assert set(found) == {"dataset_description.json"}
    assert (dest / "dataset_description.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-s", "SRC", "-d", "SRC"], "leave out one of them"),
        (["-d", "SRC", "--no-update"], "--no-update is about the clone of a --source"),
        (["-s", ""], "The source is empty"),
        (["-s", "foo::bar"], "names a transport of git's"),
        (["-s", "SRC", "--at", ""], "is not the name of a version"),
    ],
)
def test_what_cannot_be_meant(
    raw: Path, tmp_path: Path, cache: Path, args: list[str], said: str
) -> None:
    given = [str(raw) if arg == "SRC" else arg for arg in args]
    out, err = datalad("export-plain", *given, "out", cwd=tmp_path, code=1)
    assert said in out + err
    assert not (tmp_path / "out").exists()
    assert not cache.exists()


def test_a_source_that_is_none(tmp_path: Path, dest: Path) -> None:
    (record,) = export(dest, source=tmp_path / "gone")
    assert record["status"] == "error"
    assert f"There is nothing at {tmp_path / 'gone'}" in record["message"]
    assert record["action"] == "export-plain"
    assert not dest.exists()


def test_a_source_that_is_another_dataset_now(source: Path, dest: Path, tmp_path: Path) -> None:
    export(dest, source=source)
    shutil.move(source, tmp_path / "away")
    annex_repo(source, {T1W: b"another"}, {})
    before = content_of(dest)
    (record,) = export(dest, source=source)
    assert "another dataset" in record["message"]
    assert "cache-clean --clones" in record["message"]
    assert content_of(dest) == before


def test_a_selection_of_nothing_is_told_as_ever(raw: Path, dest: Path) -> None:
    records = export(dest, source=raw, subject="77")
    assert {r["status"] for r in records} == {"impossible"}
    assert FILES.keys().isdisjoint(content_of(dest)) if dest.exists() else True
    assert root_of(raw).exists()
