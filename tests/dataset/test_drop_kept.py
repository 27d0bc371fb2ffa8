"""What is kept when content is dropped, and what is said of it: on real repositories."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.drop import DropResult, drop, drop_keys
from datalad_bidsshare.dataset.keys import object_paths
from datalad_bidsshare.dataset.objects import walk_objects
from tests.dataset.builders import (
    PATIENCE,
    annex_repo,
    clone_of,
    drop_objects,
    git,
    infos,
    objects_of,
    wait_for,
)
from tests.dataset.conftest import Ria
from tests.platforms import POSIX
from tests.process_log import ProcessLog

# A special remote on a directory that holds back what it says of a key for as long as there is a
# file 'hold-KEY'. It puts down which git-annex asked in 'asked-KEY'.
_SLOW_REMOTE = """#!/bin/sh
''':'
exec {python} "$0" "$@"
'''
import os, shutil, sys, time
store = {store!r}
def say(*words):
    print(*words, flush=True)
say("VERSION 1")
for line in sys.stdin:
    word, _, rest = line.rstrip("\\n").partition(" ")
    if word in ("INITREMOTE", "PREPARE"):
        say(word + "-SUCCESS")
    elif word == "CHECKPRESENT":
        hold = os.path.join(store, "hold-" + rest)
        if os.path.exists(hold):
            with open(os.path.join(store, "new-" + rest), "w") as f:
                f.write(str(os.getppid()))
            os.replace(os.path.join(store, "new-" + rest), os.path.join(store, "asked-" + rest))
        until = time.monotonic() + {patience}
        while os.path.exists(hold) and time.monotonic() < until:
            time.sleep(0.01)
        there = os.path.exists(os.path.join(store, rest))
        say("CHECKPRESENT-SUCCESS" if there else "CHECKPRESENT-FAILURE", rest)
    elif word == "TRANSFER":
        direction, key, file = rest.split(" ", 2)
        shutil.copyfile(file, os.path.join(store, key))
        say("TRANSFER-SUCCESS", direction, key)
    else:
        say("UNSUPPORTED-REQUEST")
"""

FILES: dict[bytes | str, bytes] = {f"f{i}": b"content %d" % i for i in range(4)}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return annex_repo(tmp_path / "origin", FILES, {})


@pytest.fixture
def slow(origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Copy all of `origin` to a special remote that can be held up; give its directory."""
    if not POSIX:
        pytest.skip("needs a system that runs scripts by their first line")
    store = tmp_path / "slow-store"
    store.mkdir()
    program = tmp_path / "git-annex-remote-slowcheck"
    program.write_text(
        _SLOW_REMOTE.format(python=shlex.quote(sys.executable), store=str(store), patience=PATIENCE)
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    git(
        origin, "annex", "initremote", "-q", "slow", "type=external", "externaltype=slowcheck",
        "encryption=none",
    )  # fmt: skip
    git(origin, "annex", "copy", "-q", "--to", "slow")
    return store


@pytest.fixture
def here(origin: Path, tmp_path: Path) -> Path:
    """A clone with all content."""
    root = clone_of(origin, tmp_path / "here")
    git(root, "annex", "get", "-q")
    return root


def uuid(root: Path) -> str:
    return git(root, "config", "annex.uuid").strip()


def key(root: Path, path: str) -> str:
    (info,) = infos(root, path)
    assert info.key is not None
    return info.key


def there(root: Path) -> set[str]:
    return {o.key for o in walk_objects(root)}


def kept(root: Path, path: str = "f1") -> str:
    """Drop a file, by name and by key, which is to be kept for the same reason; give that."""
    wanted = infos(root, path)
    by_name = list(drop(root, wanted))
    by_key = list(drop(root, wanted, by_key=True))
    alone = list(drop_keys(root, [o for o in walk_objects(root) if o.key == wanted[0].key]))
    assert [r.status for r in (*by_name, *by_key, *alone)] == ["error"] * 3
    assert {r.bytesize for r in (*by_name, *by_key, *alone)} == {0}
    assert wanted[0].key in there(root)
    (message,) = {r.message for r in (*by_name, *by_key, *alone)}
    # One line, with a next step
    assert "\n" not in message and "; next: " in message
    assert message.startswith("it is kept: ")
    return message


def ok(results: Iterator[DropResult]) -> list[str]:
    found = list(results)
    assert [r.message for r in found if r.message] == []
    return [r.status for r in found]


def test_a_remote_that_cannot_be_reached(origin: Path, here: Path) -> None:
    origin.rename(origin.parent / "away")
    message = kept(here)
    assert "origin could not be reached" in message
    (origin.parent / "away").rename(origin)
    assert ok(drop(here, infos(here, "f1"))) == ["ok"]


def test_a_directory_remote_that_is_not_mounted(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", FILES, {})
    store = with_directory(root, tmp_path / "store")
    store.rename(tmp_path / "away")
    assert "dir could not be reached" in kept(root)
    (tmp_path / "away").rename(store)
    assert ok(drop(root, infos(root))) == ["ok"] * 4


def with_directory(root: Path, store: Path) -> Path:
    store.mkdir()
    git(
        root, "annex", "initremote", "-q", "dir", "type=directory", f"directory={store}",
        "encryption=none",
    )  # fmt: skip
    git(root, "annex", "copy", "-q", "--to", "dir")
    return store


def test_a_copy_that_is_on_record_and_not_there(origin: Path, here: Path) -> None:
    drop_objects(origin / ".git/annex", key(origin, "f1"))
    message = kept(here)
    assert "it is on record in origin, but not there" in message
    # What is said to be next helps: then it is no more on record
    fsck = message.partition("next: ")[2].partition("git -C")[2].split()
    subprocess.run(["git", "-C", *fsck], check=False, capture_output=True, timeout=PATIENCE)
    assert "this is the only known copy" in kept(here)


def test_an_object_of_a_ria_store_that_was_deleted(ria: Ria, tmp_path: Path) -> None:
    import datalad.api as dl

    store = tmp_path / "store"
    subprocess.run(["cp", "-a", ria.store, store], check=True)
    root = tmp_path / "clone"
    dl.clone(f"ria+file://{store}#~x", root, result_renderer="disabled")
    git(root, "config", "remote.ria-storage.ora-url", f"ria+file://{store}")
    git(root, "annex", "get", "-q", ".")
    drop_objects(store, key(root, "a.nii"))
    assert "on record in ria-storage, but not there" in kept(root, "a.nii")
    store.rename(tmp_path / "away")
    assert "ria-storage could not be reached" in kept(root, "b.nii")


def test_a_copy_that_is_cut_short_is_none(here: Path, origin: Path, tmp_path: Path) -> None:
    (object_file,) = objects_of(origin / ".git/annex", key(origin, "f1"))
    whole = object_file.read_bytes()
    object_file.write_bytes(whole[:-1])
    message = kept(here)
    assert "the copy in origin is damaged (8 bytes of 9)" in message
    assert "annex fsck --key=" in message
    object_file.write_bytes(whole)
    assert ok(drop(here, infos(here, "f1"))) == ["ok"]
    # in a special remote
    root = annex_repo(tmp_path / "ds", FILES, {})
    store = with_directory(root, tmp_path / "store")
    (object_file,) = objects_of(store, key(root, "f1"))
    object_file.write_bytes(b"")
    assert "the copy in dir is damaged" in kept(root)
    assert ok(drop(root, infos(root, "f2"))) == ["ok"]


def test_more_copies_are_asked_for_than_there_are(origin: Path, here: Path, tmp_path: Path) -> None:
    git(here, "annex", "numcopies", "2")
    assert "2 other copies are asked for (numcopies), and it is in origin only" in kept(here)
    with_directory(here, tmp_path / "store")
    assert ok(drop(here, infos(here, "f1"))) == ["ok"]
    # One of two that is not there
    drop_objects(origin / ".git/annex", key(origin, "f2"))
    message = kept(here, "f2")
    assert "on record in" in message and "in 1 of them only, and 2 are asked for" in message
    git(here, "annex", "numcopies", "1")
    assert ok(drop(here, infos(here, "f2"))) == ["ok"]


def test_attributes_ask_for_more_copies(here: Path) -> None:
    (here / ".gitattributes").write_text("f1 annex.numcopies=3\n")
    assert "3 other copies are asked for (numcopies)" in kept(here)
    assert ok(drop(here, infos(here, "f2"))) == ["ok"]
    (here / ".gitattributes").write_text("f1 annex.mincopies=2\n")
    message = kept(here)
    assert "mincopies" in message and "annex copy --key=" in message


@pytest.mark.parametrize("how", ["untrust", "dead", "configured"])
def test_a_remote_that_is_not_trusted(here: Path, how: str) -> None:
    if how == "configured":
        git(here, "config", "remote.origin.annex-trustlevel", "untrusted")
    else:
        git(here, "annex", how, "origin", "--force")
    message = kept(here)
    assert "it is elsewhere only in origin" in message
    assert ("dead" if how == "dead" else "untrusted") in message


def test_trust_is_no_reason_not_to_look(origin: Path, here: Path, tmp_path: Path) -> None:
    git(here, "annex", "trust", "--force", "origin")
    drop_objects(origin / ".git/annex", key(origin, "f1"))
    # git-annex alone takes it at its word
    other = tmp_path / "other"
    subprocess.run(["cp", "-a", here, other], check=True)
    git(other, "annex", "drop", "-q", "f1")
    assert key(other, "f1") not in there(other)
    assert "on record in origin, but not there" in kept(here)
    assert ok(drop(here, infos(here, "f2"))) == ["ok"]
    # nor that of a repository that is no remote here
    git(here, "remote", "remove", "origin")
    assert "cannot be asked" in kept(here, "f3")


def test_trust_by_configuration_or_in_nobody_known(origin: Path, here: Path) -> None:
    git(here, "config", "remote.origin.annex-trustlevel", "trusted")
    drop_objects(origin / ".git/annex", key(origin, "f1"))
    assert "on record in origin, but not there" in kept(here)
    assert ok(drop(here, infos(here, "f2"))) == ["ok"]
    # A record that came with a dataset vouches for a copy of which nothing else is known
    nobody = "11111111-2222-3333-4444-555555555555"
    git(here, "annex", "setpresentkey", key(here, "f3"), nobody, "1")
    git(here, "config", "annex.alwayscommit", "false")
    journal = here / ".git/annex/journal"
    journal.mkdir(exist_ok=True)
    (journal / "trust.log").write_text(f"{nobody} 1 timestamp=2000000000s\n")
    drop_objects(origin / ".git/annex", key(origin, "f3"))
    assert nobody in kept(here, "f3")


def test_a_remote_that_git_annex_is_to_ignore(here: Path) -> None:
    git(here, "config", "remote.origin.annex-ignore", "true")
    assert "it is elsewhere only in origin, which cannot be asked" in kept(here)


def test_content_that_is_required(here: Path) -> None:
    git(here, "annex", "required", ".", "include=*")
    assert "required here" in kept(here)


@pytest.mark.skipif(not POSIX, reason="talks to git-annex-shell")
def test_content_that_somebody_else_is_using(here: Path) -> None:
    with subprocess.Popen(
        ["git-annex-shell", "p2pstdio", str(here), uuid(here)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as other:
        assert other.stdin is not None and other.stdout is not None
        other.stdin.write(f"LOCKCONTENT {key(here, 'f1')}\n".encode())
        other.stdin.flush()
        assert other.stdout.readline().startswith(b"AUTH-SUCCESS")
        assert other.stdout.readline() == b"SUCCESS\n"
        assert "another process uses it" in kept(here)
        assert ok(drop(here, infos(here, "f2"))) == ["ok"]
        other.stdin.write(b"UNLOCKCONTENT\n")
        other.stdin.close()
        other.wait(PATIENCE)
    # git-annex keeps its promise for some minutes to whoever may only be out of reach
    assert [r.status for r in drop(here, infos(here, "f1"))] in (["ok"], ["error"])


def test_nothing_is_lost_unless_it_is_asked_for(origin: Path, process_log: ProcessLog) -> None:
    described = infos(origin)
    assert {r.status for r in drop(origin, described)} == {"error"}
    assert not any("--force" in line for line in process_log.commands())
    assert ok(drop(origin, described[:2], unchecked=True)) == ["ok"] * 2
    assert sum("annex drop --batch" in c and "--force" in c for c in process_log.commands("git"))
    rest = list(walk_objects(origin))
    assert ok(drop_keys(origin, rest, unchecked=True)) == ["ok"] * 2
    assert there(origin) == set()


def test_objects_without_a_file(origin: Path, tmp_path: Path, process_log: ProcessLog) -> None:
    root = clone_of(origin, tmp_path / "here")
    git(root, "annex", "get", "-q")
    objects = list(walk_objects(root))
    git(root, "rm", "-q", "f0", "f1")
    git(root, "commit", "-q", "-m", "gone")
    process_log.clear()
    results = list(drop_keys(root, objects))
    assert {(r.status, r.info.path, r.bytesize) for r in results} == {("ok", "", 9)}
    assert {r.info.key for r in results} == {o.key for o in objects}
    commands = process_log.commands("git")
    assert sum("annex drop --batch-keys" in line for line in commands) == 1
    assert there(root) == set()
    assert {r.status for r in drop_keys(root, objects)} == {"notneeded"}


def test_objects_in_a_layout_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "tuned"
    root.mkdir()
    git(root, "init", "-q")
    git(root, "-c", "annex.tune.objecthash1=true", "annex", "init", "-q")
    (root / "a").write_bytes(b"A")
    git(root, "annex", "add", "-q", "a")
    git(root, "commit", "-q", "-m", "a")
    objects = list(walk_objects(root))
    (result,) = drop_keys(root, objects)
    assert "only known copy" in result.message
    with_directory(root, tmp_path / "store")
    assert ok(drop_keys(root, objects)) == ["ok"]
    assert there(root) == set()


def test_several_at_a_time(here: Path, process_log: ProcessLog) -> None:
    assert ok(drop(here, infos(here), jobs=2)) == ["ok"] * 4
    assert sum("annex drop" in c and "-J2" in c for c in process_log.commands("git")) == 1


def test_results_come_as_git_annex_answers(origin: Path, slow: Path) -> None:
    described = infos(origin)
    hold = slow / f"hold-{described[1].key}"
    hold.touch()
    results = drop(origin, described)
    first = next(results)
    assert (first.info.path, first.status) == ("f0", "ok")
    assert key(origin, "f1") in there(origin)
    hold.unlink()
    assert [r.status for r in results] == ["ok"] * 3


def test_closing_ends_git_annex(origin: Path, slow: Path) -> None:
    described = infos(origin)
    hold, asked = (slow / f"{word}-{described[1].key}" for word in ("hold", "asked"))
    hold.touch()
    results = drop(origin, described)
    next(results)
    wait_for(asked.exists)
    results.close()
    pid = int(asked.read_text())
    wait_for(lambda: not _runs(pid))
    assert key(origin, "f1") in there(origin)
    hold.unlink()
    # Nothing stays locked
    assert {r.status for r in drop(origin, described)} == {"ok", "notneeded"}


_DROP_AND_SAY = """
import sys
from pathlib import Path
from datalad_bidsshare.dataset.drop import drop_keys
from datalad_bidsshare.dataset.objects import walk_objects
root = Path(sys.argv[1])
for result in drop_keys(root, list(walk_objects(root))):
    print(result.status, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["Ctrl-C", "killed"])
def test_ending_us_ends_git_annex(origin: Path, slow: Path, number: signal.Signals) -> None:
    described = infos(origin)
    for info in described:
        (slow / f"hold-{info.key}").touch()
    with subprocess.Popen([sys.executable, "-c", _DROP_AND_SAY, str(origin)]) as running:
        (asked,) = wait_for(lambda: list(slow.glob("asked-*")))
        running.send_signal(number)
        running.wait(PATIENCE)
    assert running.returncode != 0
    pid = int(asked.read_text())
    wait_for(lambda: not _runs(pid))
    assert len(there(origin)) == len(described)
    for info in described:
        (slow / f"hold-{info.key}").unlink()
    # What was locked is free again
    assert [r.status for r in drop(origin, described)] == ["ok"] * len(described)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


_DROP_ALL = """
import sys
from pathlib import Path
from datalad_bidsshare.dataset.drop import drop_keys
from datalad_bidsshare.dataset.objects import walk_objects
root = Path(sys.argv[1])
objects = list(walk_objects(root))
print("ready", flush=True)
sys.stdin.readline()
print(*(r.status for r in drop_keys(root, objects)))
"""


def test_two_clones_that_drop_the_last_copy_of_each_other(tmp_path: Path) -> None:
    many: dict[bytes | str, bytes] = {f"f{i}": b"content %d" % i for i in range(30)}
    one = annex_repo(tmp_path / "one", many, {})
    two = clone_of(one, tmp_path / "two")
    git(two, "annex", "get", "-q")
    git(one, "remote", "add", "two", str(two))
    git(one, "fetch", "-q", "two")
    git(two, "fetch", "-q")
    every = there(one)
    assert there(two) == every and len(every) == 30
    running = []
    for root in (one, two):
        running.append(
            subprocess.Popen(
                [sys.executable, "-c", _DROP_ALL, str(root)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    for process in running:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
    said = []
    for process in running:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    for process in running:
        said.append(process.communicate(timeout=PATIENCE)[0].split())
        assert process.returncode == 0
    assert [len(s) for s in said] == [30, 30]
    assert there(one) | there(two) == every
    # And what was said to be dropped is what is gone
    assert [s.count("ok") for s in said] == [30 - len(there(one)), 30 - len(there(two))]
    git(one, "annex", "fsck", "-q")
    git(two, "annex", "fsck", "-q")


def test_an_object_is_where_its_key_says(here: Path) -> None:
    # What the tests above rely on
    assert {o.path for o in walk_objects(here)} == {object_paths(k)[0] for k in there(here)}
