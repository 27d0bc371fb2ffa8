"""`bids-get` in datasets of every kind and state: records, streaming, processes."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from datalad_bidsshare.dataset.keys import object_paths
from tests.dataset.builders import (
    HOSTILE_NAMES,
    PATIENCE,
    annex_repo,
    clone_of,
    drop_objects,
    git,
    objects_of,
    wait_for,
)
from tests.dataset.conftest import Ria
from tests.platforms import needs_posix, needs_symlinks
from tests.process_log import ProcessLog
from tests.superdatasets import (
    DATALAD,
    Record,
    bids_get,
    copy_of,
    description,
    files_of,
    make_dataset,
    write,
)

BOLD = [f"sub-0{i}/func/sub-0{i}_task-rest_bold.nii.gz" for i in (1, 2, 3)]
#: The content of the second is that of the first.
CONTENT: dict[bytes | str, bytes] = {
    BOLD[0]: b"one" * 100,
    BOLD[1]: b"one" * 100,
    BOLD[2]: b"three" * 100,
}
IN_GIT = {
    "dataset_description.json": description("raw", "raw").encode(),
    "task-rest_bold.json": b'{"RepetitionTime": 2.0}',
    "participants.tsv": b"participant_id\tage\nsub-01\t20\nsub-02\t35\nsub-03\t50\n",
}


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Path:
    """Three images, two of one content, and metadata that git keeps. Not to be changed."""
    return annex_repo(tmp_path_factory.mktemp("raw") / "ds", CONTENT, IN_GIT)


@pytest.fixture(scope="session")
def _fresh_raw_clone(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clone_of(raw, tmp_path_factory.mktemp("raw-clone") / "clone")


@pytest.fixture
def clone(_fresh_raw_clone: Path, tmp_path: Path) -> Path:
    """A clone of `raw` without content."""
    return copy_of(_fresh_raw_clone, tmp_path / "clone")


@pytest.fixture
def own_source(raw: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A source that a test may spoil, and its clone."""
    source = copy_of(raw, tmp_path / "source")
    return source, clone_of(source, tmp_path / "clone")


def statuses(records: list[Record]) -> dict[str, str]:
    return {path: r["status"] for path, r in files_of(records).items()}


def message(record: Record) -> str:
    return str(record["message"])


def content_of(root: Path, path: str) -> bytes | None:
    """Read what a user reads; None for a dangling link, and for a pointer."""
    with contextlib.suppress(FileNotFoundError):
        data = (root / path).read_bytes()
        return None if data.startswith(b"/annex/objects/") else data
    return None


def status_of(root: Path) -> str:
    return git(root, "status", "--porcelain", "--branch")


# kinds of datasets


def test_locked_files(clone: Path) -> None:
    before = status_of(clone), git(clone, "rev-parse", "HEAD")
    records = bids_get(dataset=clone, task="rest", extension="nii.gz")
    assert statuses(records) == {
        **dict.fromkeys(IN_GIT, "notneeded"),
        **dict.fromkeys(BOLD, "ok"),
    }
    assert {path: content_of(clone, path) for path in BOLD} == CONTENT
    assert (status_of(clone), git(clone, "rev-parse", "HEAD")) == before


def test_unlocked_files(raw: Path, tmp_path: Path) -> None:
    source = copy_of(raw, tmp_path / "source")
    git(source, "annex", "unlock", "-q", BOLD[0], BOLD[1])
    git(source, "commit", "-q", "-am", "unlock")
    clone = clone_of(source, tmp_path / "clone")
    assert statuses(bids_get(dataset=clone, suffix="bold", companions="none", dry_run=True)) == {
        **dict.fromkeys(BOLD, "ok"),
        "task-rest_bold.json": "notneeded",
    }
    records = bids_get(dataset=clone, suffix="bold", companions="none")
    assert {statuses(records)[path] for path in BOLD} == {"ok"}
    assert {path: content_of(clone, path) for path in BOLD} == CONTENT
    assert not (clone / BOLD[0]).is_symlink()
    assert "\n" not in status_of(clone).strip()
    assert set(statuses(bids_get(dataset=clone, suffix="bold")).values()) == {"notneeded"}


def test_an_adjusted_branch(clone: Path) -> None:
    git(clone, "annex", "adjust", "-q", "--unlock")
    branch = git(clone, "symbolic-ref", "HEAD")
    assert "adjusted" in branch
    records = bids_get(dataset=clone, subject="03", suffix="bold", companions="none")
    assert statuses(records) == {BOLD[2]: "ok"}
    assert content_of(clone, BOLD[2]) == CONTENT[BOLD[2]]
    assert content_of(clone, BOLD[0]) is None
    assert git(clone, "symbolic-ref", "HEAD") == branch
    assert "\n" not in status_of(clone).strip()
    assert set(statuses(bids_get(dataset=clone, subject="03")).values()) == {"notneeded"}


def test_a_plain_git_dataset_of_datalad(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    make_dataset(root, {**IN_GIT, BOLD[0]: b"image"}, annex=False)
    records = bids_get(dataset=root, suffix="bold")
    assert statuses(records) == dict.fromkeys([*IN_GIT, BOLD[0]], "notneeded")
    image = files_of(records)[BOLD[0]]
    assert image["bytesize"] == 5
    assert "key" not in image


def test_a_git_repository_that_knows_nothing_of_datalad(tmp_path: Path) -> None:
    root = tmp_path / "plain"
    write(root, {**IN_GIT, BOLD[0]: b"image"})
    git(root, "init", "-q")
    git(root, "add", "-A")
    # Not even a commit
    records = bids_get(dataset=root, subject="01")
    assert statuses(records) == dict.fromkeys([*IN_GIT, BOLD[0]], "notneeded")
    assert not (root / ".git/annex").exists()


def test_a_clone_in_which_git_annex_never_ran(raw: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(raw), "clone")
    clone = tmp_path / "clone"
    foretold = bids_get(dataset=clone, subject="03", suffix="bold", dry_run=True)
    assert statuses(foretold)[BOLD[2]] == "ok"
    assert not (clone / ".git/annex").exists()
    assert statuses(bids_get(dataset=clone, subject="03", suffix="bold"))[BOLD[2]] == "ok"
    assert content_of(clone, BOLD[2]) == CONTENT[BOLD[2]]


@needs_symlinks
def test_ria_clones(ria: Ria, tmp_path: Path) -> None:
    import datalad.api as dl

    quiet: dict[str, Any] = {"result_renderer": "disabled"}
    ephemeral = tmp_path / "ephemeral"
    dl.clone(ria.url, str(ephemeral), reckless="ephemeral", **quiet)
    assert (ephemeral / ".git/annex").is_symlink()
    before = sorted(ria.store.rglob("*"))
    # The work tree of an unlocked file may hold a pointer until git-annex fills it.
    filled = content_of(ephemeral, "b.nii") is not None
    records = bids_get(["a.nii", "b.nii"], dataset=dl.Dataset(str(ephemeral)))
    locked, unlocked = files_of(records)["a.nii"], files_of(records)["b.nii"]
    assert locked["status"] == "notneeded"
    assert unlocked["status"] == ("notneeded" if filled else "ok")
    assert content_of(ephemeral, "a.nii") == b"A" * 1000
    assert content_of(ephemeral, "b.nii") == b"B" * 2000
    assert set(statuses(bids_get(dataset=ephemeral)).values()) == {"notneeded"}
    assert sorted(ria.store.rglob("*")) == before

    dl.clone(ria.url, str(tmp_path / "usual"), **quiet)
    records = bids_get(["a.nii", "b.nii"], dataset=dl.Dataset(str(tmp_path / "usual")))
    assert statuses(records) == {"a.nii": "ok", "b.nii": "ok"}
    assert content_of(tmp_path / "usual", "b.nii") == b"B" * 2000


def test_a_detached_head(clone: Path) -> None:
    git(clone, "checkout", "-q", "--detach")
    assert statuses(bids_get(dataset=clone, subject="01"))[BOLD[0]] == "ok"
    assert content_of(clone, BOLD[0]) == CONTENT[BOLD[0]]
    assert git(clone, "rev-parse", "--abbrev-ref", "HEAD") == "HEAD\n"


@needs_symlinks
def test_a_second_work_tree(clone: Path, tmp_path: Path) -> None:
    git(clone, "worktree", "add", "-q", str(tmp_path / "second"))
    records = bids_get(dataset=tmp_path / "second", subject="01", companions="none")
    assert statuses(records) == {BOLD[0]: "ok"}
    assert content_of(tmp_path / "second", BOLD[0]) == CONTENT[BOLD[0]]
    # One annex for both
    assert content_of(clone, BOLD[0]) == CONTENT[BOLD[0]]


def test_names_above_the_dataset_say_nothing(raw: Path, tmp_path: Path) -> None:
    root = copy_of(raw, tmp_path / "sub-x/meg/run-7")
    records = bids_get(dataset=root, suffix="bold", extension="nii.gz", companions="none")
    assert set(files_of(records)) == set(BOLD)
    assert files_of(records)[BOLD[0]]["entities"] == {
        "subject": "01",
        "task": "rest",
        "suffix": "bold",
        "extension": ".nii.gz",
        "datatype": "func",
    }
    for nothing in ({"subject": "x"}, {"run": 7}, {"datatype": "meg"}):
        records = bids_get(dataset=root, **nothing)
        assert not files_of(records)
        assert {r["status"] for r in records} == {"impossible"}


@needs_symlinks
def test_a_dataset_reached_through_a_link(clone: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(clone)
    records = bids_get(str(link / BOLD[0]), dataset=str(link), companions="none")
    assert statuses(records) == {BOLD[0]: "ok"}
    # The path is the one that the user knows.
    assert records[0]["path"] == str(link / BOLD[0])


@needs_symlinks
def test_links_that_are_not_git_annexs(raw: Path, tmp_path: Path) -> None:
    root = copy_of(raw, tmp_path / "links")
    (root / "sub-01/func/sub-01_task-rest_sbref.nii.gz").symlink_to("nowhere")
    (root / "passwd").symlink_to("/etc/passwd")
    git(root, "add", "-A")
    records = bids_get(dataset=root, exclude="*.json")
    links = {p: r["status"] for p, r in files_of(records).items() if r["type"] == "symlink"}
    assert links == {
        "passwd": "notneeded",
        "sub-01/func/sub-01_task-rest_sbref.nii.gz": "notneeded",
    }


# names


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Path:
    """Names of every kind, all of them bold images."""
    files: dict[bytes | str, bytes] = {name: b"content of " + name for name in HOSTILE_NAMES}
    return annex_repo(tmp_path_factory.mktemp("hostile") / "ds", files, IN_GIT)


def test_names_of_every_kind(hostile: Path, tmp_path: Path) -> None:
    clone = clone_of(hostile, tmp_path / "clone")
    names = [os.fsdecode(name) for name in HOSTILE_NAMES]
    # By path, at first some of them: each path means itself and is no pattern.
    some = names[::2]
    paths = [f"{clone}/{name}" for name in some]
    assert statuses(bids_get(paths, dataset=clone, companions="none")) == dict.fromkeys(some, "ok")
    foretold = bids_get(dataset=clone, suffix="bold", extension="nii.gz", dry_run=True)
    records = bids_get(dataset=clone, suffix="bold", extension="nii.gz")
    for said in (foretold, records):
        images = {p: r["status"] for p, r in files_of(said).items() if "companion_of" not in r}
        assert images == {n: "notneeded" if n in some else "ok" for n in names}
    for name in names:
        assert content_of(clone, name) == b"content of " + os.fsencode(name)
        assert files_of(records)[name]["path"] == f"{clone}/{name}"


def test_names_of_every_kind_on_the_command_line(hostile: Path, tmp_path: Path) -> None:
    clone = clone_of(hostile, tmp_path / "clone")
    git(clone, "remote", "set-url", "origin", str(tmp_path / "nowhere"))

    def ended(*options: str) -> str:
        command = [str(DATALAD), *options, "bids-get", "--suffix", "bold", "--companions", "none"]
        done = subprocess.run(
            command, cwd=clone, capture_output=True, text=True, errors="replace", check=False
        )
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        return done.stdout

    # What cannot be had is told, whatever its name, and that is all that goes wrong. To a person
    # the first ones are, and how many there are.
    assert f"{len(HOSTILE_NAMES)} could not be had" in ended()
    told = {r["relpath"]: r["status"] for r in map(json.loads, ended("-f", "json").splitlines())}
    assert told == {
        **dict.fromkeys(map(os.fsdecode, HOSTILE_NAMES), "error"),
        "task-rest_bold.json": "notneeded",
    }
    git(clone, "remote", "set-url", "origin", str(hostile))
    # A name with a leading dash can be given after '--'.
    got = subprocess.run(
        [
            DATALAD,
            "-f",
            "json",
            "bids-get",
            "--companions",
            "none",
            "--",
            "-leading-dash_bold.nii.gz",
        ],
        cwd=clone,
        capture_output=True,
        text=True,
        check=True,
    )
    said = {r["relpath"]: r["status"] for r in map(json.loads, got.stdout.splitlines())}
    assert said == {"-leading-dash_bold.nii.gz": "ok"}


# states of the work tree and the index


def test_staged_and_unsaved_changes_stay_as_they_are(clone: Path) -> None:
    write(clone, {"task-rest_bold.json": '{"RepetitionTime": 3.0}', "untracked.txt": "mine"})
    write(clone, {"sub-04/func/sub-04_task-rest_bold.json": "{}"})
    git(clone, "add", "sub-04")
    (clone / BOLD[2]).unlink()
    write(clone, {BOLD[2]: "changed by me"})
    before, staged = status_of(clone), git(clone, "ls-files", "-s")
    records = bids_get(dataset=clone, suffix="bold")
    assert statuses(records)[BOLD[0]] == "ok"
    # What is staged is tracked.
    assert statuses(records)["sub-04/func/sub-04_task-rest_bold.json"] == "notneeded"
    assert "untracked.txt" not in files_of(records)
    assert content_of(clone, BOLD[2]) == b"changed by me"
    assert (status_of(clone), git(clone, "ls-files", "-s")) == (before, staged)
    index = (clone / ".git/index").read_bytes()
    assert set(statuses(bids_get(dataset=clone, suffix="bold")).values()) == {"notneeded"}
    # A look at what is present does not even refresh it.
    assert (clone / ".git/index").read_bytes() == index


@pytest.mark.parametrize("unlocked", [False, True])
def test_while_somebody_else_holds_the_index(clone: Path, unlocked: bool) -> None:
    if unlocked:
        git(clone, "annex", "unlock", "-q", BOLD[2])
        git(clone, "commit", "-q", "-am", "unlock")
    (clone / ".git/index.lock").touch()
    records = bids_get(dataset=clone, suffix="bold")
    assert {statuses(records)[path] for path in BOLD} == {"ok"}
    assert {path: content_of(clone, path) for path in BOLD} == CONTENT
    assert set(statuses(bids_get(dataset=clone, suffix="bold")).values()) == {"notneeded"}
    assert (clone / ".git/index.lock").exists()


def test_a_file_deleted_from_the_work_tree(clone: Path) -> None:
    (clone / BOLD[2]).unlink()
    records = bids_get(dataset=clone, suffix="bold", companions="none")
    assert statuses(records)[BOLD[0]] == "ok"
    assert statuses(records)[BOLD[2]] == "impossible"
    assert " restore -- " in message(files_of(records)[BOLD[2]])
    assert not (clone / BOLD[2]).exists()


def test_a_sparse_checkout(clone: Path) -> None:
    # git leaves alone what looks changed, as all does after the copying: have it look.
    git(clone, "update-index", "-q", "--refresh")
    git(clone, "sparse-checkout", "set", "sub-01")
    assert not (clone / "sub-02").exists()
    records = bids_get(dataset=clone, suffix="bold", extension="nii.gz", companions="none")
    assert statuses(records)[BOLD[0]] == "ok"
    assert content_of(clone, BOLD[0]) == CONTENT[BOLD[0]]
    # Left out of the work tree, so not to be had without changing that. But the second shares
    # its content with the first, and is not missing.
    assert statuses(records)[BOLD[2]] == "impossible"
    assert not (clone / "sub-03").exists()


# records


def test_fields_of_records(clone: Path) -> None:
    records = bids_get(dataset=clone, subject="01")
    files = files_of(records)
    assert len(records) == len(files)
    image = dict(files[BOLD[0]])
    assert image.pop("key").startswith("SHA256E-s300--")
    assert image == {
        "action": "bids-get",
        "path": str(clone / BOLD[0]),
        "refds": str(clone),
        "parentds": str(clone),
        "relpath": BOLD[0],
        "status": "ok",
        "type": "file",
        "bytesize": 300,
        "transferred": 300,
        "entities": {
            "subject": "01",
            "task": "rest",
            "suffix": "bold",
            "extension": ".nii.gz",
            "datatype": "func",
        },
    }
    sidecar = files["task-rest_bold.json"]
    assert sidecar["companion_of"] == BOLD[0]
    assert sidecar["status"] == "notneeded"
    assert sidecar["bytesize"] == len(IN_GIT["task-rest_bold.json"])
    assert "key" not in sidecar


def test_spellings_of_paths(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datalad.api import Dataset

    monkeypatch.chdir(clone / "sub-01")
    everything = dict(extension="nii.gz", companions="none", dry_run=True)
    for path in (
        "func",
        "func/",
        "./func/../func",
        Path("func"),
        clone / "sub-01",
        BOLD[0][7:],
        "",
    ):
        assert set(files_of(bids_get(path, **everything))) == {BOLD[0]}, path
    # Named more than once, a file still is one file.
    several = ["func", str(clone / BOLD[0]), "../sub-01", f"../{BOLD[2]}"]
    assert set(files_of(bids_get(several, **everything))) == {BOLD[0], BOLD[2]}
    records = Dataset(str(clone)).bids_get(
        "sub-02", **everything, return_type="list", result_renderer="disabled"
    )
    assert set(files_of(records)) == {BOLD[1]}


def test_two_files_of_one_content_both_come_and_cost_once(clone: Path) -> None:
    records = bids_get(dataset=clone, suffix="bold", companions="none", jobs=4)
    files = files_of(records)
    assert files[BOLD[0]]["key"] == files[BOLD[1]]["key"]
    assert [files[path]["status"] for path in BOLD] == ["ok"] * 3
    assert sorted(files[path]["transferred"] for path in BOLD) == [0, 300, 500]


def test_a_second_run_is_quick_and_does_nothing(clone: Path) -> None:
    first = bids_get(dataset=clone, suffix="bold")
    second = bids_get(dataset=clone, suffix="bold")
    assert set(files_of(second)) == set(files_of(first))
    assert set(statuses(second).values()) == {"notneeded"}
    assert not any("transferred" in r for r in second)


def test_content_that_the_source_lost(own_source: tuple[Path, Path]) -> None:
    source, clone = own_source
    drop_objects(source, key_of(source, BOLD[0]))
    records = bids_get(dataset=clone, suffix="bold", companions="none")
    # Per file, also for both of one key
    assert [statuses(records)[path] for path in BOLD] == ["error", "error", "ok"]
    lost = files_of(records)[BOLD[1]]
    assert " annex whereis -- " in message(lost)
    assert "transferred" not in lost
    again = bids_get(dataset=clone, suffix="bold", companions="none", dry_run=True)
    assert [statuses(again)[path] for path in BOLD] == ["ok", "ok", "notneeded"]


@pytest.mark.parametrize("damage", ["bits", "cut"])
def test_a_corrupt_source_is_never_present(own_source: tuple[Path, Path], damage: str) -> None:
    source, clone = own_source
    (there,) = objects_of(source, key_of(source, BOLD[2]))
    there.write_bytes(b"THREE" * 100 if damage == "bits" else b"three")
    for _ in range(2):
        records = bids_get(dataset=clone, suffix="bold", companions="none")
        assert statuses(records)[BOLD[2]] == "error"
        assert content_of(clone, BOLD[2]) is None
    assert statuses(records)[BOLD[0]] == "notneeded"


def test_a_source_that_is_gone(own_source: tuple[Path, Path]) -> None:
    source, clone = own_source
    source.rename(source.with_name("elsewhere"))
    records = bids_get(dataset=clone, suffix="bold", companions="none")
    assert [statuses(records)[path] for path in BOLD] == ["error"] * 3
    assert statuses(records)["task-rest_bold.json"] == "notneeded"
    from datalad.support.exceptions import IncompleteResultsError

    with pytest.raises(IncompleteResultsError):
        bids_get(dataset=clone, suffix="bold", on_failure="continue")


def key_of(root: Path, path: str) -> str:
    return git(root, "annex", "lookupkey", path).strip()


def test_stopping_at_the_first_failure(own_source: tuple[Path, Path]) -> None:
    from datalad.support.exceptions import IncompleteResultsError

    source, clone = own_source
    drop_objects(source, key_of(source, BOLD[0]))
    drop_objects(source, key_of(source, BOLD[2]))
    with pytest.raises(IncompleteResultsError) as caught:
        bids_get(dataset=clone, suffix="bold", companions="none", on_failure="stop")
    assert len(caught.value.failed) == 1
    assert not [told for told in processes_in(clone).values() if "annex" in told]


# streaming, and being interrupted


@pytest.fixture
def held(
    raw: Path, tmp_path: Path, slow_remote: Callable[[Path], Path]
) -> tuple[Path, Path, list[Path]]:
    """A dataset whose transfers can be held: its root, the store, what holds each image back."""
    root = copy_of(raw, tmp_path / "held")
    store = slow_remote(root)
    holds = [store / f"hold-{key_of(root, path)}" for path in BOLD]
    return root, store, holds


@needs_posix
def test_records_come_while_transfers_are_under_way(held: tuple[Path, Path, list[Path]]) -> None:
    root, _, holds = held
    holds[2].touch()
    records = bids_get(
        dataset=root, suffix="bold", companions="none", jobs=2, return_type="generator"
    )
    seen = {}
    for record in records:
        seen[record["relpath"]] = record["status"]
        if record["relpath"] == BOLD[0]:
            # Its record is here, and the other transfer cannot have ended.
            assert content_of(root, BOLD[0]) == CONTENT[BOLD[0]]
            assert BOLD[2] not in seen
            holds[2].unlink()
    assert seen == {**dict.fromkeys(BOLD, "ok"), "task-rest_bold.json": "notneeded"}


def processes_in(*directories: Path) -> dict[int, str]:
    """Give the processes that stand in, or were told of, one of some directories."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            told = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            at = os.readlink(entry / "cwd")
            if told and any(at.startswith(str(d)) or str(d) in told for d in directories):
                found[int(entry.name)] = told
    return found


@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")
@pytest.mark.parametrize("whom", ["the command", "the terminal's processes"])
def test_ctrl_c_leaves_nothing_behind_but_what_came(
    held: tuple[Path, Path, list[Path]], whom: str
) -> None:
    root, store, holds = held
    holds[2].touch()
    process = subprocess.Popen(
        [DATALAD, "bids-get", "--suffix", "bold", "-J", "2"],
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    wait_for(lambda: (store / holds[2].name.replace("hold-", "started-")).exists())
    wait_for(lambda: content_of(root, BOLD[0]) is not None)
    assert any("annex" in told for told in processes_in(root).values())
    if whom == "the command":
        process.send_signal(signal.SIGINT)
    else:
        os.killpg(process.pid, signal.SIGINT)
    # It does not wait for the transfer, which is held.
    _, err = process.communicate(timeout=PATIENCE / 2)
    assert process.returncode not in (0, None)
    assert b"Traceback" not in err, err
    # Of git-annex nothing runs any more; the remote's own program ends with the pipe it reads.
    wait_for(lambda: not [t for t in processes_in(root).values() if "slowtest" not in t])
    holds[2].unlink()
    wait_for(lambda: not processes_in(root))
    records = bids_get(dataset=root, suffix="bold", companions="none")
    assert [statuses(records)[path] for path in BOLD] == ["notneeded", "notneeded", "ok"]
    assert content_of(root, BOLD[2]) == CONTENT[BOLD[2]]


@needs_posix
@pytest.mark.skipif(not Path("/proc/self/cwd").exists(), reason="needs /proc")
def test_a_generator_that_is_closed_early(held: tuple[Path, Path, list[Path]]) -> None:
    root, _, holds = held
    holds[2].touch()
    records: Any = bids_get(
        dataset=root, suffix="bold", companions="none", jobs=2, return_type="generator"
    )
    next(r for r in records if r["relpath"] == BOLD[0])
    records.close()
    assert not [t for t in processes_in(root).values() if "git" in t and "slowtest" not in t]
    holds[2].unlink()


@needs_posix
def test_a_dataset_that_breaks_meanwhile(held: tuple[Path, Path, list[Path]]) -> None:
    root, store, holds = held
    git(root, "annex", "unlock", "-q", BOLD[2])
    holds[2].touch()
    records = bids_get(
        dataset=root, suffix="bold", companions="none", jobs=2, return_type="generator"
    )
    seen: dict[str, Record] = {}
    for record in records:
        assert record["relpath"] not in seen
        seen[record["relpath"]] = record
        if record["relpath"] == BOLD[0]:
            # From now on neither the content nor the repository can be had.
            (root / BOLD[2]).unlink()
            (root / ".git/config").write_text("[no config")
            (store / holds[2].name.removeprefix("hold-")).unlink()
            holds[2].unlink()
    assert seen[BOLD[0]]["status"] == "ok"
    assert seen[BOLD[2]]["status"] == "error"
    assert message(seen[BOLD[2]])


# processes


@pytest.fixture(scope="session")
def many(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Path:
    """A thousand and ten images in two sessions.

    Links, objects and their location are written by hand: `git annex add` would take a while.
    """
    root = annex_repo(tmp_path_factory.mktemp("many") / "ds", {}, IN_GIT)
    uuid = git(root, "config", "annex.uuid").strip()
    keys = []
    for session, length in (("few", 10), ("many", 1000)):
        for i in range(length):
            stem = f"sub-{i:04}_ses-{session}"
            content = stem.encode()
            keys.append(f"MD5-s{len(content)}--{hashlib.md5(content).hexdigest()}")
            place = f".git/annex/objects/{object_paths(keys[-1])[0]}"
            write(root, {place: content})
            link = root / f"sub-{i:04}/ses-{session}/anat/{stem}_T1w.nii.gz"
            link.parent.mkdir(parents=True)
            link.symlink_to(f"../../../{place}")
    present = "".join(f"{key} {uuid} 1\n" for key in keys)
    git(root, "annex", "setpresentkey", "--batch", text=present.encode())
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "images")
    return root


def counted(log: ProcessLog, expected: int, **arguments: Any) -> Counter[str]:
    """Count the processes of one call by program and subcommand."""
    log.clear()
    records = bids_get(suffix="T1w", companions="none", **arguments)
    assert len(files_of(records)) == expected
    return Counter(" ".join(words(line)) for line in log.commands())


def words(line: str) -> Iterable[str]:
    """Give a command line's program and subcommand."""
    skip = False
    kept = []
    for word in line.split():
        if not skip and not word.startswith("-"):
            kept.append(word)
        skip = word in ("-c", "-C", "--git-dir", "--work-tree")
    return kept[:3] if kept[1:2] == ["annex"] else kept[:2]


@needs_posix
@needs_symlinks
@pytest.mark.parametrize("dry_run", [True, False])
def test_as_many_processes_for_a_thousand_present_files(
    many: Path, process_log: ProcessLog, dry_run: bool
) -> None:
    # DataLad asks for versions once, and remembers.
    counted(process_log, 10, dataset=many, session="few", dry_run=dry_run)
    few = counted(process_log, 10, dataset=many, session="few", dry_run=dry_run)
    thousand = counted(process_log, 1000, dataset=many, session="many", dry_run=dry_run)
    assert thousand == few
    assert few.total() <= 8, few
    assert not [command for command in few if "annex" in command], few


@needs_posix
@needs_symlinks
def test_as_many_processes_for_many_absent_files(
    many: Path, tmp_path: Path, process_log: ProcessLog
) -> None:
    clone = clone_of(many, tmp_path / "clone")
    # What DataLad and git-annex find out once, they find out now.
    counted(process_log, 1, dataset=clone, session="many", subject="0999", jobs=2)
    few = counted(process_log, 10, dataset=clone, session="few", jobs=2)
    # 01*: a hundred of them
    hundred = counted(process_log, 100, dataset=clone, session="many", subject="01*", jobs=2)
    assert hundred == few
    assert few["git annex get"] == 1
    assert few.total() <= 12, few
    thousand = counted(process_log, 1000, dataset=clone, session="many", dry_run=True)
    assert not [command for command in thousand if "annex" in command], thousand
    assert thousand.total() <= 8, thousand


# inside `datalad run`


def run(*command: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    path = f"{DATALAD.parent}{os.pathsep}{os.environ['PATH']}"
    return subprocess.run(
        [str(DATALAD), *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PATH": path},
    )


@needs_posix
def test_inside_datalad_run(clone: Path) -> None:
    head = git(clone, "rev-parse", "HEAD")
    done = run("run", "datalad bids-get --sub 03 --suffix bold", cwd=clone)
    assert done.returncode == 0, done.stderr
    assert content_of(clone, BOLD[2]) == CONTENT[BOLD[2]]
    # It brought content, and changed nothing that could be recorded.
    assert git(clone, "rev-parse", "HEAD") == head
    assert "\n" not in status_of(clone).strip()
    write(clone, {"unsaved.txt": "mine"})
    script = f"datalad bids-get --sub 01 --suffix bold && wc -c < {BOLD[0]} > bytes.txt"
    done = run("run", "--explicit", "--output", "bytes.txt", script, cwd=clone)
    assert done.returncode == 0, done.stderr
    assert git(clone, "diff", "--name-only", head.strip(), "HEAD") == "bytes.txt\n"
    assert git(clone, "rev-parse", "HEAD~1") == head
    assert (clone / "bytes.txt").read_text().strip() == "300"
    assert git(clone, "status", "--porcelain") == "?? unsaved.txt\n"
