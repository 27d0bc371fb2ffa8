"""`export-plain` as it is called: what is copied, and what is said about it."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sysconfig
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datalad.api import Dataset
from datalad.utils import swallow_outputs

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.selection.errors import SelectionError
from tests.dataset.builders import add_link, annex_repo, git
from tests.exports import content_of, export, failures, outcomes, source_state, state_of, summary
from tests.platforms import needs_posix
from tests.process_log import ProcessLog
from tests.raw_dataset import FILES, datalad, raw_content
from tests.superdatasets import bids_get, copy_of, files_of, make_dataset, write

INTERNAL = {".gitattributes", ".datalad/.gitattributes", ".datalad/config", ".gitmodules"}
#: What is changed on the way.
DESCRIPTION = "dataset_description.json"
T1W = {f"sub-{s}/anat/sub-{s}_T1w.nii.gz" for s in ("01", "02", "10")}
ANAT: dict[str, Any] = {"subject": "01", "datatype": "anat"}
ANAT_FILES = {"sub-01/anat/sub-01_T1w.nii.gz", "README", DESCRIPTION, "participants.tsv"}
QUIET: dict[str, Any] = {"result_renderer": "disabled", "return_type": "list"}


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """A place that is not there yet."""
    return tmp_path / "dest"


@pytest.fixture
def here(raw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in the dataset, with all content."""
    root = copy_of(raw, tmp_path / "raw")
    monkeypatch.chdir(root)
    return root


@pytest.fixture
def inside(raw_clone: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a clone without content."""
    monkeypatch.chdir(raw_clone)
    return raw_clone


# ---------------------------------------------------------------- which files


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"subject": "01"},
        {"task": "rest", "suffix": "bold", "companions": "none"},
        {"subject": ["01", "10"], "suffix": "epi", "companions": "linked"},
        {"path": "sub-02/func"},
        {"path": "code"},
        {"where": "age > 25", "datatype": "anat"},
        {"exclude": ["suffix=events", "*.json"], "datatype": "func"},
    ],
    ids=str,
)
def test_the_same_files_as_with_bids_get(here: Path, dest: Path, query: dict[str, Any]) -> None:
    selected = set(files_of(bids_get(dry_run=True, **query))) - INTERNAL
    assert selected
    records = export(dest, **query)
    assert outcomes(records) == dict.fromkeys(selected, "ok")
    written = content_of(dest)
    assert written.keys() == selected
    for path in selected - {DESCRIPTION, "participants.tsv"}:
        assert written[path] == raw_content(path)


def test_companions_ride_along_with_their_reason(here: Path, dest: Path) -> None:
    records = files_of(export(dest, subject="01", task="rest", suffix="bold"))
    assert records["task-rest_bold.json"]["companion_reason"] == "sidecar"
    assert records["task-rest_bold.json"]["companion_of"].startswith("sub-01/func/sub-01_task-rest")
    assert "companion_of" not in records["sub-01/func/sub-01_task-rest_run-1_bold.nii.gz"]


def test_nothing_of_git_annex_and_datalad(study: Path, dest: Path, tmp_path: Path) -> None:
    root = copy_of(study, tmp_path / "study")
    write(root, {"sub/.gitignore": "x", ".noannex": "", "keep/.hidden": "mine"})
    git(root, "-c", "annex.largefiles=nothing", "add", "-f", "sub/.gitignore", ".noannex", "keep")
    git(root, "commit", "-q", "-m", "more")
    records = export(dest, dataset=root, recursive=True)
    assert not failures(records)
    parts = {part for path in content_of(dest, all_of_it=True) for part in path.split("/")}
    assert not parts & {".git", ".gitattributes", ".gitmodules", ".gitignore", ".datalad"}
    assert ".noannex" not in parts
    assert content_of(dest)["keep/.hidden"] == b"mine"
    # and it is not even mentioned
    assert not any(".git" in path or ".datalad" in path for path in outcomes(records))


def test_what_belongs_to_datalad_is_refused_by_name(here: Path, dest: Path) -> None:
    records = export(dest, [".datalad/config", "README"], companions="none")
    (message,) = failures(records).values()
    assert "never exported" in message
    assert content_of(dest).keys() == {"README"}


def test_untracked_and_changed_files_of_the_work_tree_stay(here: Path, dest: Path) -> None:
    (here / "notes.txt").write_text("not for you")
    (here / "README").unlink()
    (here / "README").write_text("not yet")
    assert not failures(export(dest))
    written = content_of(dest)
    assert "notes.txt" not in written
    assert written["README"] == raw_content("README")


def test_what_is_staged_is_exported_and_said(
    here: Path, dest: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(here, {"new.txt": "new"})
    git(here, "-c", "annex.largefiles=nothing", "add", "new.txt")
    assert outcomes(export(dest))["new.txt"] == "ok"
    assert "changes that are not saved" in caplog.text
    assert json.loads((dest / ".bidsshare/export.json").read_text())["datasets"][0][
        "describe"
    ].endswith("-dirty")


def test_nothing_matches(here: Path, dest: Path) -> None:
    (record,) = export(dest, subject="nobody")
    assert record["status"] == "impossible"
    assert "subject 'nobody' occurs nowhere" in record["message"]
    assert not dest.exists()


# ---------------------------------------------------------------- how they are


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Path:
    """All kinds of files: locked, unlocked, programs, links, keys without a checksum, doubles."""
    root = annex_repo(
        tmp_path_factory.mktemp("mixed") / "ds",
        {
            "locked.nii": b"L" * 1000,
            "unlocked.nii": b"U" * 1000,
            "twin.nii": b"L" * 1000,
            "tool.nii": b"#!annexed" * 10,
            "empty.nii": b"",
        },
        {
            "plain.txt": b"kept in git",
            "run.sh": b"#!/bin/sh\n",
            "big.txt": b"big" * 2_000_000,
            "big-twin.txt": b"big" * 2_000_000,
        },
    )
    write(root, {"worm.nii": b"W" * 500})
    git(root, "annex", "add", "-q", "--backend=WORM", "worm.nii")
    content = root.parent / "content"
    content.write_bytes(b"of an address")
    key = "URL--http&c%%private.example.org%secret"
    git(root, "annex", "fromkey", "-q", "--force", key, "url.nii")
    git(root, "annex", "setkey", "-q", key, str(content))
    git(root, "annex", "unlock", "-q", "unlocked.nii", "tool.nii")
    git(root, "update-index", "--chmod=+x", "run.sh", "tool.nii")
    add_link(root, "to-annexed.nii", "locked.nii")
    add_link(root, "to-plain.txt", "plain.txt")
    when = {"GIT_COMMITTER_DATE": "2001-02-03T04:05:06Z"}
    subprocess.run(
        ["git", "commit", "-q", "-m", "more"], cwd=root, env={**os.environ, **when}, check=True
    )
    return root


@needs_posix
def test_modes_whatever_the_umask(mixed: Path, dest: Path) -> None:
    before = os.umask(0o077)
    try:
        assert not failures(export(dest, dataset=mixed))
    finally:
        os.umask(before)
    programs = {"run.sh", "tool.nii"}
    for path in content_of(dest, all_of_it=True):
        mode = stat.S_IMODE((dest / path).stat().st_mode)
        assert mode == (0o755 if path in programs else 0o644), path


def test_time_stamps_are_of_the_object_or_the_commit(mixed: Path, dest: Path) -> None:
    export(dest, dataset=mixed)
    committed = 981_173_106 * 10**9
    for path in ("plain.txt", "run.sh", "big.txt", "to-plain.txt"):
        assert (dest / path).stat().st_mtime_ns == committed, path
    for path in ("locked.nii", "unlocked.nii", "worm.nii", "to-annexed.nii"):
        key = git(mixed, "annex", "lookupkey", path.removeprefix("to-annexed.nii") or "locked.nii")
        (place,) = [p for p in (mixed / ".git/annex/objects").rglob(key.strip()) if p.is_file()]
        assert (dest / path).stat().st_mtime_ns == place.stat().st_mtime_ns, path


ALL_KINDS = {
    "locked.nii": b"L" * 1000, "twin.nii": b"L" * 1000, "to-annexed.nii": b"L" * 1000,
    "unlocked.nii": b"U" * 1000, "worm.nii": b"W" * 500, "url.nii": b"of an address",
    "tool.nii": b"#!annexed" * 10, "empty.nii": b"", "plain.txt": b"kept in git",
    "to-plain.txt": b"kept in git", "run.sh": b"#!/bin/sh\n", "big.txt": b"big" * 2_000_000,
    "big-twin.txt": b"big" * 2_000_000,
}  # fmt: skip


@pytest.mark.parametrize("verify", [True, False])
def test_all_kinds_of_files_become_plain(mixed: Path, dest: Path, verify: bool) -> None:
    records = export(dest, dataset=mixed, no_verify=not verify)
    assert set(outcomes(records).values()) == {"ok"}
    assert content_of(dest) == ALL_KINDS
    # Copies, not the objects: what the receiver does to them is nobody's harm.
    assert all((dest / path).stat().st_nlink == 1 for path in content_of(dest))
    # What large files of git went through is gone.
    assert {p.name for p in (dest / ".bidsshare").iterdir()} <= {
        "export.json", "files.tsv", "directories", "manifest-md5.txt", "manifest-sha256.txt",
    }  # fmt: skip


def test_all_kinds_of_files_are_members_of_an_archive(mixed: Path, tmp_path: Path) -> None:
    assert not failures(export(tmp_path / "x.zip", dataset=mixed, archive=True))
    with zipfile.ZipFile(tmp_path / "x.zip") as file:
        found = {name.removeprefix("x/"): file.read(name) for name in file.namelist()}
    assert {p: c for p, c in found.items() if not p.startswith(".bidsshare/")} == ALL_KINDS


def test_keys_with_names_and_addresses_stay_home(mixed: Path, dest: Path) -> None:
    export(dest, dataset=mixed)
    everything = b"".join(content_of(dest, all_of_it=True).values())
    for word in (b"WORM", b"private", b"URL--", str(mixed).encode(), os.uname().nodename.encode()):
        assert word not in everything, word
    # ... where they are known.
    (entry,) = log_of(mixed)[-1:]
    assert entry["destination"] == str(dest)


@pytest.mark.parametrize("verify", [True, False])
def test_the_source_is_left_as_it_was(mixed: Path, dest: Path, verify: bool) -> None:
    before = source_state(mixed)
    export(dest, dataset=mixed, no_verify=not verify)
    assert source_state(mixed) == before
    git(mixed, "annex", "fsck", "-q")


def test_links_that_lead_nowhere_good_are_not_followed(
    mixed: Path, dest: Path, tmp_path: Path
) -> None:
    root = copy_of(mixed, tmp_path / "ds")
    (tmp_path / "secret").write_text("secret")
    for number, target in enumerate(["../secret", "/etc/passwd", ".git/config", "gone"]):
        add_link(root, f"bad-{number}", target)
    git(root, "commit", "-q", "-m", "links")
    records = export(dest, dataset=root)
    bad = {p: m for p, m in failures(records).items() if p.startswith("bad-")}
    assert len(bad) == len(failures(records)) == 4
    assert all("not followed" in message for message in bad.values())
    assert "leave it out with --exclude" in bad["bad-0"]
    assert not [p for p in content_of(dest) if p.startswith("bad-")]
    assert summary(records)["files"]["failed"] == 4


# ---------------------------------------------------------------- a BIDS dataset of its own


def test_tables_have_the_rows_of_exported_subjects(here: Path, dest: Path) -> None:
    export(dest, **ANAT)
    assert (dest / "participants.tsv").read_text() == "participant_id\tage\nsub-01\t21\n"
    export(dest.parent / "whole", tables="all", **ANAT)
    whole = (dest.parent / "whole/participants.tsv").read_bytes()
    assert whole == raw_content("participants.tsv")


def test_what_a_reduced_table_was_made_of_is_not_told(here: Path, dest: Path) -> None:
    """A hash of the whole table would say which guess of the rows that are held back is right."""
    git(here, "mv", "participants.tsv", "people.tsv")
    add_link(here, "participants.tsv", "people.tsv")
    git(here, "commit", "-q", "-m", "link")
    export(dest, subject="01", exclude="people.tsv")
    assert (dest / "participants.tsv").read_text() == "participant_id\tage\nsub-01\t21\n"
    told = (dest / ".bidsshare/files.tsv").read_text()
    for name in ("people.tsv", "participants.tsv"):
        assert git(here, "rev-parse", f"HEAD:{name}").strip() not in told
    assert {r["status"] for r in export(dest, subject="01", exclude="people.tsv")} == {"notneeded"}


def test_tables_of_everything_are_whole(here: Path, dest: Path) -> None:
    export(dest)
    assert (dest / "participants.tsv").read_bytes() == raw_content("participants.tsv")


def test_tables_in_subjects_are_reduced(study: Path, dest: Path) -> None:
    export(dest, dataset=study, recursive=True, subject="01", session="1", task="rest",
           companions="default")  # fmt: skip
    written = content_of(dest)
    assert written["participants.tsv"] == b"participant_id\tage\nsub-01\t20\n"
    assert written["sub-01/sub-01_sessions.tsv"] == b"session_id\tmood\nses-1\tgood\n"
    scans = written["sub-01/ses-1/sub-01_ses-1_scans.tsv"].decode().splitlines()
    assert [row.split("\t")[0] for row in scans] == [
        "filename", "func/sub-01_ses-1_task-rest_bold.nii.gz",
    ]  # fmt: skip
    assert not [path for path in written if "ses-2" in path or "sub-02" in path]


def test_a_table_without_its_column_is_an_error_of_its_own(here: Path, dest: Path) -> None:
    git(here, "rm", "-q", "participants.tsv")
    write(here, {"participants.tsv": "who\tage\n01\t21\n"})
    Dataset(here).save(**QUIET)
    records = export(dest, **ANAT)
    (message,) = failures(records).values()
    assert "--tables all" in message
    assert content_of(dest).keys() == ANAT_FILES - {"participants.tsv"}


def test_the_description_says_what_this_is(here: Path, dest: Path) -> None:
    git(here, "tag", "1.0")
    git(here, "rm", "-q", DESCRIPTION)
    text = {"Name": "x", "BIDSVersion": "1.8.0", "DatasetDOI": "doi:10.1/x"}
    write(here, {DESCRIPTION: json.dumps(text)})
    Dataset(here).save(version_tag="2.0", **QUIET)
    git(here, "remote", "add", "pub", "https://me:pw@data.example.org/x.git")
    git(here, "remote", "add", "priv", "ssh://me@cluster.example.org/x.git")

    export(dest, **ANAT)
    told = json.loads((dest / DESCRIPTION).read_text())
    assert "DatasetDOI" not in told
    (tool,) = told["GeneratedBy"]
    assert tool["Name"] == "datalad-bidsshare"
    (source,) = told["SourceDatasets"]
    assert source == {
        "URL": "https://data.example.org/x.git", "DOI": "doi:10.1/x", "Version": "2.0"
    }  # fmt: skip

    export(dest.parent / "whole")
    told = json.loads((dest.parent / "whole" / DESCRIPTION).read_text())
    assert told["DatasetDOI"] == "doi:10.1/x"
    assert told["SourceDatasets"][0]["Version"] == "2.0"
    receipt = (dest / ".bidsshare/export.json").read_text()
    assert "https://data.example.org/x.git" in receipt
    assert "cluster" not in receipt


# ---------------------------------------------------------------- subdatasets


def test_subdatasets_become_directories(study: Path, dest: Path) -> None:
    records = export(dest, dataset=study, recursive=True)
    assert not failures(records)
    tracked = set()
    for directory, directories, files in os.walk(study):
        directories[:] = [d for d in directories if d not in (".git", ".datalad")]
        tracked |= {os.path.relpath(os.path.join(directory, f), study) for f in files}
    written = content_of(dest)
    assert written.keys() == {p for p in tracked if not os.path.basename(p).startswith(".git")}
    for path in written:
        if os.path.basename(path) != DESCRIPTION:
            assert written[path] == (study / path).read_bytes()
    mounts = [d["path"] for d in receipt_of(dest)["datasets"]]
    assert mounts[0] == ""
    assert {"sub-01", "derivatives/prep", "derivatives/prep/sub-01"} <= set(mounts)


def test_without_recursion_subdatasets_are_nothing(study: Path, dest: Path) -> None:
    export(dest, dataset=study)
    assert content_of(dest).keys() == {
        "README", DESCRIPTION, "participants.tsv", "task-rest_bold.json"
    }  # fmt: skip
    assert sorted(p.name for p in dest.iterdir() if p.is_dir()) == [".bidsshare"]


@pytest.mark.parametrize("options", [{}, {"recursive": True, "recursion_limit": 1}], ids=str)
def test_what_lacks_subdatasets_is_a_part(study: Path, dest: Path, options: dict[str, Any]) -> None:
    export(dest, dataset=study, **options)
    assert receipt_of(dest)["subset"] is True


def test_recursion_limit(study: Path, dest: Path) -> None:
    export(dest, dataset=study, recursive=True, recursion_limit=1)
    written = content_of(dest)
    assert "derivatives/prep/sub-02/func/sub-02_space-MNI_bold.nii.gz" in written
    assert not [path for path in written if path.startswith("derivatives/prep/sub-01")]


def test_subdatasets_that_are_not_installed(study_clone: Path, dest: Path) -> None:
    query: dict[str, Any] = {"dataset": study_clone, "recursive": True, "subject": "02"}
    planned = export(dest, dry_run=True, **query)
    assert not dest.exists()
    assert not (study_clone / "sub-02/.git").exists()
    assert [r["message"] for r in planned if r["type"] == "dataset"]
    records = export(dest, **query)
    assert not failures(records)
    bold = "sub-02/ses-1/func/sub-02_ses-1_task-rest_bold.nii.gz"
    assert content_of(dest)[bold] == (study_clone.parent / "dest" / bold).read_bytes()
    assert content_of(dest)[bold].startswith(b"rest sub-02_ses-1")
    assert not [path for path in content_of(dest) if path.startswith(("sub-01/", "sub-03/"))]
    # only what may match was installed
    assert not (study_clone / "sub-01/.git").exists()
    # Nothing came into the annexes: it was read where it lies.
    assert not list((study_clone / "sub-02/.git/annex").rglob("MD5E*.gz"))
    assert {r["status"] for r in export(dest, **query)} == {"notneeded"}


# ---------------------------------------------------------------- versions


@pytest.fixture(scope="module")
def history(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Path:
    """A dataset with a subdataset, both changed since the tag v1."""
    root = tmp_path_factory.mktemp("history") / "ds"
    text = ".gitattributes", "* annex.backend=MD5E\n*.txt annex.largefiles=nothing\n"
    make_dataset(root / "sub", dict([text, ("inner.nii", "old inner"), ("inner.txt", "old")]))
    super_ = make_dataset(
        root, dict([text, ("a.nii", "old a"), ("gone.nii", "gone later"), ("a.txt", "old text")])
    )
    git(root, "tag", "v1")
    for path in ("a.nii", "gone.nii", "sub/inner.nii"):
        (root / path).unlink()
    write(root, {"a.nii": "new a", "a.txt": "new text", "new.nii": "new",
                 "sub/inner.nii": "new inner", "sub/inner.txt": "new"})  # fmt: skip
    super_.save(recursive=True, **QUIET)
    git(root, "branch", "later")
    return root


OLD = {
    "a.nii": b"old a", "gone.nii": b"gone later", "a.txt": b"old text",
    "sub/inner.nii": b"old inner", "sub/inner.txt": b"old",
}  # fmt: skip
NEW = {
    "a.nii": b"new a", "new.nii": b"new", "a.txt": b"new text",
    "sub/inner.nii": b"new inner", "sub/inner.txt": b"new",
}  # fmt: skip


@pytest.mark.parametrize("at", ["v1", "later~1", "commit"])
def test_another_version_is_not_checked_out(history: Path, dest: Path, at: str) -> None:
    commit = git(history, "rev-parse", "v1").strip()
    before = source_state(history)
    records = export(dest, dataset=history, recursive=True, at=commit if at == "commit" else at)
    assert not failures(records)
    assert content_of(dest) == OLD
    assert source_state(history) == before
    datasets = {d["path"]: d for d in receipt_of(dest)["datasets"]}
    assert datasets[""]["commit"] == commit
    assert datasets[""]["describe"] == "v1"
    assert datasets["sub"]["commit"] == git(history, "rev-parse", "v1:sub").strip()


def test_the_version_that_is_checked_out(history: Path, dest: Path) -> None:
    export(dest, dataset=history, recursive=True)
    assert content_of(dest) == NEW
    # and on to another, and back
    records = export(dest, dataset=history, recursive=True, at="v1", delete=True)
    assert content_of(dest) == OLD
    assert summary(records)["files"]["deleted"] == 1
    export(dest, dataset=history, recursive=True, at="later", delete=True)
    assert content_of(dest) == NEW


def test_an_old_version_of_which_a_clone_has_nothing(
    history: Path, dest: Path, tmp_path: Path, process_log: ProcessLog
) -> None:
    import datalad.api as dl

    root = tmp_path / "clone"
    dl.clone(str(history), str(root), **QUIET)
    process_log.clear()
    records = export(dest, dataset=root, at="v1")
    assert content_of(dest) == {p: c for p, c in OLD.items() if "/" not in p}
    assert {r.get("content_from") for r in records if "key" in r} == {"store"}
    assert process_log.count("git-annex") == 0
    # and where no place is known any more
    git(root, "config", "remote.origin.url", str(tmp_path / "nowhere"))
    git(root, "config", "remote.origin.annex-ignore", "true")
    records = export(tmp_path / "other", dataset=root, at="v1", missing="error")
    message = failures(records)["a.nii"]
    assert "annex whereis" in message


def test_no_such_version(history: Path, dest: Path) -> None:
    with pytest.raises(DatasetError, match="'nothing' is not a commit of"):
        export(dest, dataset=history, at="nothing")
    assert not dest.exists()


# ---------------------------------------------------------------- receipt, manifests, log


def receipt_of(dest: Path) -> dict[str, Any]:
    told: dict[str, Any] = json.loads((dest / ".bidsshare/export.json").read_text())
    return told


def log_of(root: Path) -> list[dict[str, Any]]:
    lines = (root / ".git/bidsshare/exports.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_receipt(here: Path, dest: Path) -> None:
    export(dest, "sub-01", suffix="T1w")
    told = receipt_of(dest)
    assert told["format"] == 1
    assert told["tool"]["name"] == "datalad-bidsshare"
    assert told["date"].endswith("Z")
    assert told["datasets"] == [
        {
            "path": "",
            "id": Dataset(here).id,
            "commit": git(here, "rev-parse", "HEAD").strip(),
            "describe": git(here, "rev-parse", "--short=10", "HEAD").strip(),
        }
    ]
    assert told["selection"] == "suffix=T1w in sub-01"
    assert told["subset"] is True
    written = content_of(dest)
    assert (told["files"], told["bytes"]) == (len(written), sum(map(len, written.values())))
    assert told["missing"] == 0
    everything = b"".join(content_of(dest, all_of_it=True).values())
    for secret in (str(here), str(dest), "tester@example.org", "Tester"):
        assert secret.encode() not in everything


def test_the_receipt_of_everything(here: Path, dest: Path) -> None:
    export(dest)
    assert receipt_of(dest)["subset"] is False
    assert receipt_of(dest)["selection"] == "everything"


@needs_posix
def test_manifests_are_checked_with_what_every_system_has(mixed: Path, dest: Path) -> None:
    export(dest, dataset=mixed)
    listed = []
    for tool, name in (("md5sum", "manifest-md5.txt"), ("sha256sum", "manifest-sha256.txt")):
        if not (dest / ".bidsshare" / name).exists():
            assert name == "manifest-md5.txt"
            continue
        done = subprocess.run(
            [tool, "--strict", "-c", f".bidsshare/{name}"], cwd=dest, capture_output=True, text=True
        )
        assert done.returncode == 0, (done.stdout, done.stderr)
        listed += [line.removesuffix(": OK") for line in done.stdout.splitlines()]
    assert sorted(listed) == sorted(content_of(dest))


@needs_posix
def test_annexed_files_are_listed_with_the_checksum_of_their_key(here: Path, dest: Path) -> None:
    export(dest, **ANAT)
    lines = (dest / ".bidsshare/manifest-md5.txt").read_text().splitlines()
    assert {line.split("  ")[1] for line in lines} == ANAT_FILES - {DESCRIPTION, "participants.tsv"}
    # what was changed on the way has no key that says what it is
    lines = (dest / ".bidsshare/manifest-sha256.txt").read_text().splitlines()
    assert {line.split("  ")[1] for line in lines} == {DESCRIPTION, "participants.tsv"}
    done = subprocess.run(["md5sum", "-c", ".bidsshare/manifest-md5.txt"], cwd=dest)
    assert done.returncode == 0


def test_the_log_stays_with_the_dataset(here: Path, dest: Path) -> None:
    export(dest, **ANAT)
    (entry,) = log_of(here)
    assert entry["destination"] == str(dest)
    assert entry["dataset"] == str(here)
    assert entry["versions"] == {".": git(here, "rev-parse", "HEAD").strip()}
    assert entry["selection"] == "subject=01 datatype=anat"
    assert entry["user"]
    assert entry["host"]
    assert entry["when"].endswith("Z")
    assert entry["files"]["written"] == 4
    assert git(here, "annex", "lookupkey", "README").strip() in entry["keys"]
    # nothing new was given
    export(dest, **ANAT)
    assert len(log_of(here)) == 1
    export(dest, subject="01,02", datatype="anat")
    assert len(log_of(here)) == 2
    assert git(here, "status", "--porcelain") == ""


def test_a_log_that_cannot_be_written(
    here: Path, dest: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (here / ".git/bidsshare").write_text("in the way")
    assert not failures(export(dest, **ANAT))
    assert "could not be noted" in caplog.text
    assert content_of(dest).keys() == ANAT_FILES
    # What is needed to go on with later is an error.
    records = export(dest.parent / "other", no_receipt=True, **ANAT)
    (message,) = failures(records).values()
    assert str(here / ".git/bidsshare") in message


def test_without_a_receipt_only_data(here: Path, dest: Path) -> None:
    export(dest, no_receipt=True, **ANAT)
    assert content_of(dest, all_of_it=True).keys() == ANAT_FILES
    assert {p.name for p in dest.iterdir()} == {Path(p).parts[0] for p in ANAT_FILES}
    before = state_of(dest / "sub-01") | {p.name: p.stat() for p in dest.glob("*.*")}
    assert {r["status"] for r in export(dest, no_receipt=True, **ANAT)} == {"notneeded"}
    assert state_of(dest / "sub-01") | {p.name: p.stat() for p in dest.glob("*.*")} == before
    # What was written is known all the same.
    records = export(dest, no_receipt=True, subject="02", datatype="anat", delete=True)
    assert not failures(records)
    assert not (dest / "sub-01").exists()
    assert len(log_of(here)) == 2


# ---------------------------------------------------------------- verify


def verdicts(records: list[dict[str, Any]]) -> dict[str, tuple[str, str]]:
    return {r["relpath"]: (r["status"], r["verdict"]) for r in records if "verdict" in r}


def test_verify(here: Path, dest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(dest, **ANAT)
    # at the receiver's: no dataset, no repository
    other = copy_of(dest, tmp_path / "elsewhere" / "got")
    shutil.rmtree(dest)
    monkeypatch.chdir(other.parent)
    before = state_of(other)
    assert verdicts(export("got", verify=True)) == dict.fromkeys(ANAT_FILES, ("ok", "ok"))
    assert state_of(other) == before

    (other / "README").write_bytes(raw_content("README").upper())
    (other / "participants.tsv").unlink()
    (other / "mine.txt").write_text("extra")
    records = export("got", verify=True)
    assert verdicts(records) == {
        "README": ("error", "changed"),
        "participants.tsv": ("error", "missing"),
        "mine.txt": ("notneeded", "extra"),
        **dict.fromkeys(ANAT_FILES - {"README", "participants.tsv"}, ("ok", "ok")),
    }
    assert records[-1]["verified"] == {"changed": 1, "missing": 1, "extra": 1, "ok": 2}


def test_verify_says_what_came_of_it(here: Path, dest: Path) -> None:
    export(dest, **ANAT)
    (line,) = shown(dest, verify=True)
    assert line == f"export-plain --verify: 4 ok (4.5 kB read) -> {dest}"
    (dest / "README").write_text("x")
    (dest / "more").write_text("x")
    # the exit code as well
    out, _ = datalad("export-plain", dest, "--verify", cwd=dest.parent, code=1)
    first, last = (" ".join(line.split()) for line in out.splitlines())
    assert "README" in first
    assert "holds other bytes than were exported" in first
    assert "3 ok, 1 changed, 1 not of the export" in last


def test_nothing_to_verify(tmp_path: Path) -> None:
    (record,) = export(tmp_path, verify=True)
    assert record["status"] == "error"
    assert "manifest" in record["message"]


def test_verify_with_no_jobs_at_all(here: Path, dest: Path) -> None:
    export(dest, **ANAT)
    for jobs in (0, -1):
        with pytest.raises(SelectionError, match="jobs"):
            export(dest, verify=True, jobs=jobs)


# ---------------------------------------------------------------- dry run


@pytest.mark.parametrize("query", [{}, {"subject": "01"}, {"suffix": "T1w", "companions": "none"}])
def test_a_dry_run_tells_what_comes_and_changes_nothing(
    inside: Path, dest: Path, query: dict[str, Any]
) -> None:
    before = state_of(inside)
    planned = export(dest, dry_run=True, **query)
    assert state_of(inside) == before
    assert not dest.exists()
    done = export(dest, **query)
    assert outcomes(planned) == outcomes(done)
    for field in ("content_from", "key", "entities", "companion_of", "destination", "path"):
        told = {r["relpath"]: r.get(field) for r in planned[:-1]}
        assert told == {r["relpath"]: r.get(field) for r in done[:-1]}
    assert summary(planned)["files"] == summary(done)["files"]
    assert summary(planned)["free_bytes"] > 0
    assert all(r["dry_run"] for r in planned)
    before = state_of(dest)
    again = export(dest, dry_run=True, **query)
    assert {r["status"] for r in again} == {"notneeded"}
    assert state_of(dest) == before


def test_a_dry_run_foretells_the_bytes(here: Path, dest: Path) -> None:
    planned = summary(export(dest, dry_run=True, subject="01"))
    assert planned["bytes"] == summary(export(dest, subject="01"))["bytes"]


def test_a_dry_run_over_what_stands_there(here: Path, dest: Path) -> None:
    export(dest, subject="01")
    (dest / "README").write_text("mine")
    (dest / "sub-01/anat/sub-01_T1w.nii.gz").unlink()
    before = state_of(dest)
    query: dict[str, Any] = {"subject": ["02", "01"], "datatype": "anat", "delete": True}
    planned = export(dest, dry_run=True, **query)
    assert state_of(dest) == before
    done = export(dest, **query)
    assert outcomes(planned) == outcomes(done)
    assert failures(planned).keys() == failures(done).keys() == {"README"}
    assert summary(planned)["files"] == summary(done)["files"]
    gone = {r["relpath"] for r in planned if "deleted" in r}
    assert gone == {r["relpath"] for r in done if "deleted" in r}
    # all but the image, which is still selected, the tables and the description
    assert len(gone) == summary(done)["files"]["deleted"] == 8


# ---------------------------------------------------------------- as it is called


def test_records(here: Path, dest: Path) -> None:
    records = export(dest, **ANAT)
    path = "sub-01/anat/sub-01_T1w.nii.gz"
    record = files_of(records)[path]
    record.pop("logger", None)
    assert record == {
        "action": "export-plain", "status": "ok", "type": "file", "path": str(here / path),
        "refds": str(here), "parentds": str(here), "relpath": path,
        "destination": str(dest / path), "bytesize": 4200, "content_from": "present",
        "key": git(here, "annex", "lookupkey", path).strip(),
        "entities": {
            "subject": "01", "datatype": "anat", "suffix": "T1w", "extension": ".nii.gz",
        },
    }  # fmt: skip
    total = summary(records)
    assert (total["path"], total["type"], total["status"]) == (str(dest), "directory", "ok")
    assert total["files"]["written"] == 4
    assert total["bytes"]["written"] == sum(map(len, content_of(dest).values()))


def test_records_of_files_in_subdatasets(study: Path, dest: Path) -> None:
    path = "sub-02/ses-1/anat/sub-02_ses-1_T1w.nii.gz"
    record = files_of(export(dest, str(study / path), dataset=study))[path]
    assert record["path"] == str(study / path)
    assert record["parentds"] == str(study / "sub-02")
    assert record["refds"] == str(study)
    assert record["destination"] == str(dest / path)


def test_a_dataset_instance(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ds = Dataset(here)
    records = ds.export_plain(tmp_path / "one", "sub-01", suffix="T1w", **QUIET)
    assert outcomes(records).keys() == ANAT_FILES
    assert (tmp_path / "one/README").exists()
    # as all DataLad commands do it: a path is relative to the instance, if there is one
    export("two", dataset=here, **ANAT)
    assert content_of(tmp_path / "two") == content_of(tmp_path / "one")
    ds.export_plain("../three", **ANAT, **QUIET)
    assert content_of(here / "../three") == content_of(tmp_path / "one")


def test_from_a_subdirectory(here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here / "sub-01")
    records = export("../../dest", "anat", companions="none")
    assert outcomes(records).keys() == {"sub-01/anat/sub-01_T1w.nii.gz"}
    assert content_of(tmp_path / "dest").keys() == {"sub-01/anat/sub-01_T1w.nii.gz"}


def test_json(here: Path, dest: Path) -> None:
    out, _ = datalad(
        "-f", "json", "export-plain", dest, "--sub", "01", "--datatype", "anat", cwd=here
    )
    records = [json.loads(line) for line in out.splitlines()]
    assert outcomes(records) == dict.fromkeys(ANAT_FILES, "ok")
    assert summary(records)["files"] == {"written": 4, "from present": 4}
    out, _ = datalad(
        "-f", "json", "export-plain", dest, "--sub", "01", "--datatype", "anat", cwd=here
    )
    again = [json.loads(line) for line in out.splitlines()]
    assert outcomes(again) == dict.fromkeys(ANAT_FILES, "notneeded")
    assert {r["relpath"]: r.get("key") for r in again[:-1]} == {
        r["relpath"]: r.get("key") for r in records[:-1]
    }


def shown(dest: Path, **arguments: Any) -> list[str]:
    """Give the lines that a person sees, spaces squeezed."""
    with swallow_outputs() as out:
        export(dest, result_renderer="tailored", **arguments)
        return [" ".join(line.split()) for line in out.out.splitlines()]


def test_what_is_shown(here: Path, dest: Path) -> None:
    *table, total = shown(dest, subject="01", dry_run=True)
    assert table[0] == "content from files bytes"
    assert table[1].startswith("annex of the dataset 12 ")
    assert total.startswith("export-plain (dry run): 12 to be written (")
    assert total.endswith(f" free there -> {dest}")
    *table, total = shown(dest, subject="01")
    assert table == ["content from files bytes", "annex of the dataset 12 12.8 kB"]
    assert total == f"export-plain: 12 written (12.8 kB) -> {dest}"
    assert shown(dest, subject="01") == [f"export-plain: 12 unchanged (12.8 kB) -> {dest}"]
    (dest / "README").write_text("mine")
    (dest / "task-rest_bold.json").unlink()
    trouble, *rest = shown(dest, subject="01", datatype="func", delete=True)
    assert "README" in trouble
    assert "--force" in trouble
    assert rest[-1] == (
        "export-plain: 1 written (23 B), 7 unchanged (8.2 kB), 3 deleted (4.5 kB), "
        f"1 could not be exported -> {dest}"
    )


def test_many_failures_are_counted(mixed: Path, dest: Path, tmp_path: Path) -> None:
    root = copy_of(mixed, tmp_path / "ds")
    oid = git(root, "hash-object", "-w", "--stdin", text=b"/etc/passwd").strip()
    lines = "".join(f"120000 {oid}\tbad-{number:02}\n" for number in range(15))
    git(root, "update-index", "--index-info", text=lines.encode())
    git(root, "commit", "-q", "-m", "links")
    lines_shown = shown(dest, dataset=root)
    assert sum("not followed" in line for line in lines_shown) == 10
    assert "[only 10 failures of a kind are shown; all: -f json]" in lines_shown
    assert "15 could not be exported" in lines_shown[-1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"missing": "maybe"}, "missing='maybe'"),
        ({"existing": "keep"}, "existing='keep'"),
        ({"tables": "none"}, "tables='none'"),
        ({"window": "many"}, "window='many'"),
        ({"window": 0}, "window=0"),
        ({"archive": True}, "has none of"),
        ({"jobs": 0}, "give 1 or more"),
    ],
    ids=str,
)
def test_arguments_that_cannot_be_meant(
    here: Path, dest: Path, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises((SelectionError, ValueError), match=message):
        export(dest, **arguments)
    assert not dest.exists()


@pytest.mark.parametrize("place", ["", "inner", ".git/x", ".."])
def test_not_into_or_around_the_dataset(here: Path, place: str) -> None:
    before = state_of(here)
    (record,) = export(here / place)
    assert record["status"] == "error"
    assert "Name a directory elsewhere" in record["message"]
    assert state_of(here) == before


def test_not_into_another_dataset(here: Path, tmp_path: Path) -> None:
    other = annex_repo(tmp_path / "other", {}, {"a": b"a"})
    before = state_of(other)
    (record,) = export(other)
    assert record["status"] == "error"
    assert state_of(other) == before


def test_jobs_do_the_same(here: Path, tmp_path: Path) -> None:
    results = []
    for jobs in (1, 3, "auto"):
        export(tmp_path / str(jobs), jobs=jobs)
        results.append(content_of(tmp_path / str(jobs)))
    assert results[0] == results[1] == results[2]
    assert len(results[0]) == len(FILES)


# ---------------------------------------------------------------- processes


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Path:
    """A dataset that tracks 10 files in one directory, and 1,000 in another."""
    root = annex_repo(
        tmp_path_factory.mktemp("many") / "ds",
        {f"ten/{i}.nii": b"%d" % i for i in range(5)},
        {"text": b"kept in git"},
    )
    tracked = git(root, "ls-files", "-s", "ten", "text").splitlines()
    *links, text = (" ".join(line.split()[:2]) for line in tracked)
    # The index alone knows of them: no file is made.
    lines = [f"{text}\tten/{number}.txt" for number in range(5)]
    for number in range(100):
        for at, link in enumerate(links):
            lines.append(f"{link}\tthousand/{number}-{at}.nii")
            lines.append(f"{text}\tthousand/{number}-{at}.txt")
    git(root, "update-index", "--index-info", text="\n".join(lines).encode())
    git(root, "commit", "-q", "-m", "many")
    return root


def test_processes_do_not_grow_with_files(
    many: Path, tmp_path: Path, process_log: ProcessLog
) -> None:
    counts = []
    for directory, number in (("ten", 10), ("thousand", 1000)):
        process_log.clear()
        place = tmp_path / directory
        records = export(place, str(many / directory), dataset=many)
        assert len(outcomes(records)) == len(content_of(place)) == number
        counts.append(sorted(c.split()[1] for c in process_log.commands()))
        assert process_log.count("git-annex") == 0
        process_log.clear()
        export(place, str(many / directory), dataset=many)
        counts.append(sorted(c.split()[1] for c in process_log.commands()))
        assert process_log.count("git-annex") == 0
    assert counts[0] == counts[2]
    assert counts[1] == counts[3]
    assert 0 < len(counts[0]) <= 20


# ---------------------------------------------------------------- inside of a run


@pytest.fixture
def on_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let jobs find this DataLad."""
    scripts = sysconfig.get_path("scripts")
    monkeypatch.setenv("PATH", f"{scripts}{os.pathsep}{os.environ['PATH']}")
    yield


@needs_posix
def test_inside_a_container(inside: Path, dest: Path, on_path: None) -> None:
    pytest.importorskip("datalad_container")
    runner = "unshare --user --map-root-user --mount --net --"
    if shutil.which("unshare") is None or subprocess.run([*runner.split(), "true"]).returncode:
        pytest.skip("unshare may not be used here")
    (inside / "image").write_text('#!/bin/sh\nexec "$@"\n')
    ds = Dataset(inside)
    ds.save("image", **QUIET)
    ds.containers_add("tool", image="image", call_fmt=f"{runner} sh {{img}} {{cmd}}", **QUIET)
    job = f"sh -c 'datalad export-plain {dest} --sub 10 --suffix T1w && ls {dest} > listed'"
    datalad("containers-run", "-n", "tool", "-o", "listed", job, cwd=inside)
    assert "participants.tsv" in (inside / "listed").read_text()
    assert content_of(dest)["sub-10/anat/sub-10_T1w.nii.gz"] == raw_content(
        "sub-10/anat/sub-10_T1w.nii.gz"
    )
