"""`unzip-outputs` as a whole: what a review by a maintainer of DataLad was suspicious of."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import Any

import pytest
from datalad.support.exceptions import IncompleteResultsError

from tests.dataset.builders import git
from tests.platforms import needs_posix, needs_symlinks
from tests.superdatasets import DATALAD
from tests.unzips import (
    ZIPS,
    dataset_of,
    failures,
    outcomes,
    save_zips,
    tracked,
    unpacked,
    unzip,
    zip_bytes,
)

ONE = next(iter(ZIPS))
LABELS = ("01", "02", "10")


def damaged(content: dict[str, bytes]) -> bytes:
    """Give a zip whose first member has another content than it says."""
    data = bytearray(zip_bytes(content))
    data[40] ^= 0xFF
    return bytes(data)


def records_of(root: Path) -> list[dict[str, Any]]:
    """Give the run records of a dataset, the newest first."""
    found = []
    for message in git(root, "log", "-z", "--format=%B").split("\0"):
        if message.startswith("[DATALAD RUNCMD]"):
            found.append(json.loads(message.split(" below ===\n")[-1].split("\n^^^ ")[0]))
    return found


def with_git(directory: Path, case: str, action: str) -> dict[str, str]:
    """Give an environment in which a git command does something else as well."""
    real = shlex.quote(str(shutil.which("git")))
    directory.mkdir()
    script = directory / "git"
    script.write_text(
        f'#!/bin/sh\nreal={real}\ncase " $* " in {case}) {action};; esac\nexec $real "$@"\n'
    )
    script.chmod(0o755)
    return {**os.environ, "PATH": f"{directory}{os.pathsep}{os.environ['PATH']}"}


def test_a_commit_for_all_that_was_stopped_gives_each_zip_one_record(tmp_path: Path) -> None:
    bad = damaged({"b": b"content of b" * 100})
    content = {"a.zip": zip_bytes({"a": b"a"}), "b.zip": bad, "c.zip": zip_bytes({"c": b"c"})}
    ds = dataset_of(tmp_path / "ds", content)
    records = unzip(dataset=ds, per="call", jobs=1)
    found = outcomes(records)
    assert found["b.zip"] == "error"
    assert {p for p, status in found.items() if status == "ok"} == {
        f"{name}.zip" for name in tracked(ds)
    }


def test_a_zip_that_is_as_it_was_once_is_not_taken_for_unpacked(tmp_path: Path) -> None:
    old, new = zip_bytes({"a": b"old"}), zip_bytes({"a": b"new"})
    ds = dataset_of(tmp_path / "ds", {"a.zip": old})
    unzip(dataset=ds)
    save_zips(ds, {"a.zip": new})
    assert outcomes(unzip(dataset=ds, existing="replace")) == {"a.zip": "ok"}
    save_zips(ds, {"a.zip": old})
    assert outcomes(unzip(dataset=ds, existing="replace")) == {"a.zip": "ok"}
    assert (ds / "a").read_bytes() == b"old"


@pytest.mark.parametrize("outputs", ["5", "true", '{"a": 1}', '[1, ["a"], null]', '"a"', "[]"])
def test_a_forged_record_is_no_obstacle(zips: Path, outputs: str) -> None:
    unzip([ONE], dataset=zips)
    message = git(zips, "log", "-1", "--format=%B")
    lines = message.split("\n")
    first = lines.index(' "outputs": [')
    last = next(n for n in range(first, len(lines)) if lines[n].startswith(" ]"))
    lines[first : last + 1] = [f' "outputs": {outputs},']
    git(zips, "reset", "-q", "--hard", "HEAD~1")
    git(zips, "commit", "-q", "--allow-empty", "-m", "\n".join(lines))
    assert outcomes(unzip([ONE], dataset=zips)) == {ONE: "ok"}


def test_names_with_braces_that_were_removed_come_back(tmp_path: Path) -> None:
    ds = dataset_of(tmp_path / "ds", {"a.zip": zip_bytes({"a{1}?": b"a", "b": b"b"})})
    unzip(dataset=ds)
    assert outcomes(unzip(dataset=ds)) == {"a.zip": "notneeded"}
    git(ds, "rm", "-q", ":(literal)a{1}?")
    git(ds, "commit", "-q", "-m", "gone")
    assert outcomes(unzip(dataset=ds)) == {"a.zip": "ok"}


@pytest.mark.parametrize(
    "arguments",
    [
        dict(message="a\0b"),
        dict(into="/"),
        dict(into="a\udcff"),
        dict(include="a\udcff*"),
        dict(exclude="a\udcff*"),
        dict(strip_prefix="a\udcff"),
    ],
)
def test_arguments_that_no_record_can_hold(zips: Path, arguments: dict[str, Any]) -> None:
    head = git(zips, "rev-parse", "HEAD")
    with pytest.raises(ValueError):
        unzip(dataset=zips, **arguments)
    assert git(zips, "rev-parse", "HEAD") == head


@needs_posix
def test_a_limit_as_large_as_one_likes_is_one_that_the_record_can_have(zips: Path) -> None:
    unzip([ONE], dataset=zips, max_bytes=10**20)
    (record,) = records_of(zips)
    done = subprocess.run(record["cmd"], shell=True, cwd=zips, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr


def test_a_clone_that_git_annex_has_not_seen(zips: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(zips), "clone")
    records = unzip([ONE], dataset=tmp_path / "clone", recomputable=True)
    assert outcomes(records) == {ONE: "ok"}, failures(records)


def test_what_a_zip_shares_that_could_not_be_registered_comes_from_the_next(
    tmp_path: Path,
) -> None:
    shared = {"dataset_description.json": b"{}\n"}
    content = {
        "a\nb.zip": zip_bytes({**shared, "a": b"a"}),
        "c.zip": zip_bytes({**shared, "c": b"c"}),
    }
    ds = dataset_of(tmp_path / "ds", content)
    records = unzip(dataset=ds, recomputable=True, on_zip_error="continue")
    assert outcomes(records) == {"a\nb.zip": "error", "c.zip": "ok"}
    assert tracked(ds) == {"dataset_description.json", "c"}


def test_recomputable_after_it_was_unpacked_without(zips: Path) -> None:
    unzip([ONE], dataset=zips)
    records = unzip([ONE], dataset=zips, recomputable=True)
    assert not failures(records)
    path = git(zips, "ls-files", "fmriprep/*bold.nii.gz").split("\n")[0]
    git(zips, "annex", "drop", path)
    assert not (zips / path).exists()
    git(zips, "annex", "get", path)
    assert (zips / path).exists()


@needs_posix
def test_many_zips_of_one_record_need_few_file_descriptors(tmp_path: Path) -> None:
    jobs = []
    for n in range(100):
        (tmp_path / f"{n}.zip").write_bytes(zip_bytes({f"{n}.txt": b"x"}))
        jobs.append({"zip": f"{n}.zip"})
    (tmp_path / "spec.json").write_text(
        json.dumps({"bidsshare-unzip": 1, "jobs": jobs, "limits": {}})
    )
    done = subprocess.run(
        ["sh", "-c", 'ulimit -n 40; exec "$@"', "sh", sys.executable, "-m",
         "datalad_bidsshare.archive.unzip", "--spec", "spec.json"],
        cwd=tmp_path, check=False, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(list(tmp_path.glob("*.txt"))) == 100


@needs_posix
def test_a_linked_work_tree_that_was_killed_is_brought_along_by_itself(
    zips: Path, tmp_path: Path
) -> None:
    git(zips, "worktree", "add", "-q", str(tmp_path / "linked"), "-b", "other")
    env = with_git(tmp_path / "bin", '*" read-tree "*', "kill -KILL $PPID; exit 1")
    command = [str(DATALAD), "unzip-outputs", "-d", str(tmp_path / "linked")]
    done = subprocess.run(command, env=env, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert git(tmp_path / "linked", "log", "-1", "--format=%s").startswith("[DATALAD RUNCMD]")
    # A call in another work tree does not take it for its own.
    assert outcomes(unzip(dataset=zips))[ONE] == "ok"
    assert not failures(unzip(dataset=tmp_path / "linked"))
    assert git(tmp_path / "linked", "status", "--porcelain") == ""


@needs_posix
def test_nobody_commits_between_branch_and_index(zips: Path, tmp_path: Path) -> None:
    """The index would be that of before: their commit would take away all that came."""
    theirs = f"(cd {shlex.quote(str(zips))}; $real commit -q --allow-empty -m theirs)"
    env = with_git(
        tmp_path / "bin", '*" update-ref -m "*', f'$real "$@"; code=$?; {theirs}; exit $code'
    )
    command = [str(DATALAD), "unzip-outputs", "-d", str(zips)]
    done = subprocess.run(command, env=env, check=False, capture_output=True)
    assert done.returncode == 0, done.stderr
    assert {record["inputs"][0] for record in records_of(zips)} == ZIPS.keys()
    assert tracked(zips) == unpacked(*LABELS, top="fmriprep").keys()
    assert git(zips, "status", "--porcelain") == ""


MARKERS = (
    "Mine\n\n=== Do not change lines below ===\n"
    '{"cmd": "touch forged", "inputs": [], "outputs": [], "pwd": "."}\n'
    "^^^ Do not change lines above ^^^\n{0} [DATALAD RUNCMD] {}"
)


def test_a_message_with_the_marks_of_a_record(zips: Path) -> None:
    import datalad.api as dl

    assert outcomes(unzip([ONE], dataset=zips, include="*.html", message=MARKERS)) == {ONE: "ok"}
    assert outcomes(unzip([ONE], dataset=zips, include="*.html")) == {ONE: "notneeded"}
    tree = git(zips, "rev-parse", "HEAD^{tree}")
    git(zips, "rm", "-q", "fmriprep/sub-01.html")
    git(zips, "commit", "-q", "-m", "gone")
    dl.Dataset(str(zips)).rerun("HEAD~1", result_renderer="disabled")
    assert not (zips / "forged").exists()
    assert git(zips, "rev-parse", "HEAD^{tree}") == tree


@pytest.mark.parametrize("what", ["destination", "message", "relpath"])
def test_a_terminal_gets_no_commands_from_names(what: str) -> None:
    from datalad_bidsshare.report.unzip_summary import zip_line

    record = {"relpath": "a.zip", "outputs": ["b"], "bytesize": 1, "dry_run": True, "message": "m"}
    for escape in ("\x1b[31m", "\n", "\u202e"):
        assert escape not in zip_line({**record, what: f"a{escape}b"})


@pytest.fixture
def boxed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A dataset with a zip of many members, and a container that does nothing to the command."""
    pytest.importorskip("datalad_container")
    import datalad.api as dl

    monkeypatch.setenv("PATH", sysconfig.get_path("scripts"), prepend=os.pathsep)
    many = {f"sub-01/func/sub-01_task-rest_run-{n}_bold.nii.gz": b"%d" % n for n in range(80)}
    root = dataset_of(tmp_path / "ds", {"sub-01_prep.zip": zip_bytes(many)})
    ds = dl.Dataset(str(root))
    ds.create(force=True, result_renderer="disabled")
    (root / "image").write_text('exec "$@"\n')
    ds.save(result_renderer="disabled")
    ds.containers_add("tool", image="image", call_fmt="sh {img} {cmd}", result_renderer="disabled")
    return root


def test_a_long_list_of_members_in_a_container(boxed: Path) -> None:
    records = unzip(dataset=boxed, suffix="bold", companions="none", container="tool")
    assert failures(records) == {}
    assert sum(path.startswith("sub-01/") for path in tracked(boxed)) == 80
    assert git(boxed, "status", "--porcelain") == ""
    assert git(boxed, "log", "-1", "--skip=1", "--format=%s").startswith("[bidsshare] List of")
    again = unzip(dataset=boxed, suffix="bold", companions="none", container="tool")
    assert outcomes(again) == {"sub-01_prep.zip": "notneeded"}


@needs_symlinks
@pytest.mark.parametrize("place", [".datalad/bidsshare", ".datalad/bidsshare/unzip"])
def test_a_link_where_lists_of_members_go_leads_nowhere(
    boxed: Path, tmp_path: Path, place: str
) -> None:
    outside = tmp_path / "outside"
    (outside / "unzip").mkdir(parents=True)
    (boxed / place).parent.mkdir(parents=True, exist_ok=True)
    (boxed / place).symlink_to(outside)
    git(boxed, "add", "-f", place)
    git(boxed, "commit", "-q", "-m", "link")
    for container in ("tool", None):
        records = unzip(dataset=boxed, suffix="bold", companions="none", container=container)
        assert failures(records)
        assert [p for p in outside.rglob("*") if p.is_file()] == []
        assert git(boxed, "status", "--porcelain") == ""


@pytest.mark.parametrize("why", ["damaged", "other content"])
def test_where_datalad_stops_at_a_failure_the_good_zips_are_committed(
    tmp_path: Path, why: str
) -> None:
    bad = damaged({"b": b"content" * 100}) if why == "damaged" else zip_bytes({"b": b"b"})
    content = {"a.zip": zip_bytes({"a": b"a"}), "b.zip": bad, "c.zip": zip_bytes({"c": b"c"})}
    ds = dataset_of(tmp_path / "ds", content)
    if why == "other content":
        save_zips(ds, {"b": b"other"})
    before = tracked(ds)
    with pytest.raises(IncompleteResultsError) as caught:
        unzip(dataset=ds, on_zip_error="continue", on_failure="stop", existing="skip")
    assert [each["relpath"] for each in caught.value.failed] == ["b.zip"]
    assert tracked(ds) == before | {"a", "c"}
    # It has let go of the dataset, though the exception is still there.
    assert outcomes(unzip(dataset=ds, existing="skip"))["a.zip"] == "notneeded"
