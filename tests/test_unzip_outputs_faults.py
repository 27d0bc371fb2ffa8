"""What `unzip-outputs` leaves behind when it is killed, or the disk, memory or rights fail it.

The command line in processes of its own, on real repositories and file systems. Where it has to
be at a certain point, a `git` first on PATH sees to that.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.util
import io
import os
import random
import shlex
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.archive.zips import LZMA, Entry, write_zip
from tests.dataset.builders import PATIENCE, git, wait_for
from tests.dataset.conftest import for_nobody
from tests.exports import state_of
from tests.superdatasets import DATALAD, copy_of
from tests.test_export_plain_faults import (
    Mounted,
    _python_for_all,
    mounted,
    needs_mount,
    needs_users,
)
from tests.unzips import (
    ZIPS,
    dataset_of,
    failures,
    outcomes,
    save_zips,
    tracked,
    tree_of,
    unpacked,
    unzip,
    zip_bytes,
)

__all__ = ["for_nobody", "mounted"]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks at processes in /proc"
)

KILLS = int(os.environ.get("BIDSSHARE_TEST_KILLS", "3"))
"""How many times the kill test kills at random. Set it to 20 or more by hand after changes."""

ONE, TWO, TEN = ZIPS
WANTED = unpacked("01", "02", "10", top="fmriprep")


# Processes


@dataclass
class Ended:
    """What came of a command."""

    code: int
    said: str


_STARTED: list[int] = []


@pytest.fixture(autouse=True)
def _nothing_runs_on() -> Iterator[None]:
    """End what a test that failed has left, or left standing still."""
    yield
    while _STARTED:
        for pid in _session(_STARTED.pop()):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


class Running:
    """The command line, in a session of its own."""

    def __init__(
        self, root: Path, *arguments: str, launcher: tuple[str, ...] = (), **environment: str
    ) -> None:
        self._process = subprocess.Popen(
            [*launcher, str(DATALAD), "unzip-outputs", "-d", str(root), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="surrogateescape",
            start_new_session=True,
            env={**os.environ, **environment},
        )
        self.pid = self._process.pid
        _STARTED.append(self.pid)

    def send(self, number: int, *, to_all: bool) -> None:
        """Send a signal to the command, or as a terminal does to all processes of its group."""
        with contextlib.suppress(ProcessLookupError):
            if to_all:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def waits_until(self, reached: Callable[[], object]) -> None:
        """Wait until something is so, while it runs."""
        wait_for(lambda: reached() or self._process.poll() is not None)
        assert self._process.poll() is None, self.end().said

    def end(self) -> Ended:
        """Wait for its end, and that of all it started."""
        said, _ = self._process.communicate(timeout=PATIENCE)
        wait_for(lambda: not _session(self.pid))
        # The number may be another's now.
        _STARTED.remove(self.pid)
        return Ended(self._process.returncode, said)

    def workers(self) -> list[int]:
        """Give the processes that unpack."""
        found = []
        for pid in _session(self.pid):
            with contextlib.suppress(OSError):
                if b"archive.serve" in Path(f"/proc/{pid}/cmdline").read_bytes():
                    found.append(pid)
        return found


def _session(leader: int) -> dict[int, str]:
    """Give the processes of a session that have not ended, and their states."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                if int(fields[3]) == leader and fields[0] not in "ZX":
                    found[int(entry.name)] = fields[0]
    return found


def run(root: Path, *arguments: str, launcher: tuple[str, ...] = (), **environment: str) -> Ended:
    return Running(root, *arguments, launcher=launcher, **environment).end()


def fails(root: Path, *arguments: str, launcher: tuple[str, ...] = (), **environment: str) -> str:
    """Run it, which must fail with a message for people, and give that."""
    ended = run(root, *arguments, launcher=launcher, **environment)
    assert ended.code == 1, ended.said
    assert "Traceback" not in ended.said, ended.said
    return ended.said


_WRAPPER = """#!/bin/sh
case " $* " in *{pattern}*)
    echo >> {count}
    if [ "$(wc -l < {count})" -eq {nth} ]; then
        touch {reached}
        PATH={path}
        {action}
    fi
esac
exec {real} "$@"
"""


@dataclass
class Trap:
    """A `git` that does something when it is called in a certain way."""

    directory: Path

    def set(self, pattern: str, action: str, *, nth: int = 1) -> dict[str, str]:
        """Make it, and give the environment in which it is found.

        Parameters
        ----------
        pattern
            Of a shell, for the words of the command.
        action
            For a shell; `$real` is git. What does not end it comes before git.
        nth
            Which of the calls that match.
        """
        self.directory.mkdir()
        real = shutil.which("git")
        assert real
        text = _WRAPPER.format(
            pattern=pattern,
            action=action.replace("$real", shlex.quote(real)),
            nth=nth,
            real=shlex.quote(real),
            path=shlex.quote(os.environ["PATH"]),
            count=shlex.quote(str(self.directory / "count")),
            reached=shlex.quote(str(self.reached)),
        )
        (self.directory / "git").write_text(text)
        (self.directory / "git").chmod(0o755)
        return {"PATH": f"{self.directory}{os.pathsep}{os.environ['PATH']}"}

    @property
    def reached(self) -> Path:
        """Is there when it did it."""
        return self.directory / "reached"

    @property
    def go(self) -> Path:
        """To be made by whoever holds it."""
        return self.directory / "go"

    def hold(self, pattern: str) -> dict[str, str]:
        """Have git wait for `go`."""
        go = shlex.quote(str(self.go))
        return self.set(pattern, f"until [ -e {go} ]; do sleep 0.02; done")


@pytest.fixture
def trap(tmp_path: Path) -> Trap:
    return Trap(tmp_path / "trap")


# Datasets


@dataclass
class Undisturbed:
    """What a call gives that nothing happens to."""

    tree: str
    objects: set[str]
    commits: int


@pytest.fixture(scope="module")
def undisturbed(_zips: Path, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    root = copy_of(_zips, tmp_path_factory.mktemp("undisturbed") / "ds")
    assert not failures(unzip(dataset=root))
    return Undisturbed(tree_of(root), objects(root), commits(root))


def objects(root: Path) -> set[str]:
    """Give the keys whose content is in the annex."""
    return {p.name for p in (root / ".git/annex/objects").rglob("*") if p.is_file()}


def commits(root: Path) -> int:
    return int(git(root, "rev-list", "--count", "HEAD"))


def content_of(root: Path) -> dict[str, bytes]:
    return {path: (root / path).read_bytes() for path in tracked(root)}


def is_clean(root: Path) -> bool:
    return not git(root, "status", "--porcelain", "--untracked-files=all")


def leftovers(root: Path) -> set[str]:
    """Give what is in the git directory and should not be there after a call that ended."""
    own = root / ".git/bidsshare/unzip"
    # What zips hold nothing that is wanted is kept for the next call.
    found = {p.name for p in own.iterdir()} - {"barren"} if own.exists() else set()
    names = ("index.lock", "index.bidsshare*", "fast_import_crash_*", "refs/bidsshare/*")
    found |= {p.name for name in names for p in (root / ".git").glob(name)}
    return found | set(git(root, "for-each-ref", "refs/bidsshare/").split())


def see_sound(root: Path) -> None:
    """See that all is saved, nothing is left over, and git and git-annex find no fault."""
    assert is_clean(root)
    assert leftovers(root) == set()
    git(root, "annex", "fsck", "-q")
    git(root, "fsck", "--no-dangling", "--no-progress")


def see_complete(root: Path, undisturbed: Undisturbed) -> None:
    """See that the next call comes to what an undisturbed one does, and one more does nothing."""
    assert failures(unzip(dataset=root)) == {}
    assert tree_of(root) == undisturbed.tree
    assert content_of(root) == WANTED
    assert objects(root) == undisturbed.objects
    assert commits(root) == undisturbed.commits
    see_sound(root)


def slow(size: int = 12_000_000) -> bytes:
    """Give a zip that takes half a second to unpack."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_BZIP2) as file:
        chance = random.Random(1)
        line = " ".join(str(chance.random()) for _ in range(20_000)).encode()
        file.writestr("slow/a.txt", (line * (size // len(line) + 1))[:size])
        file.writestr("slow/b.txt", b"b")
    return target.getvalue()


@pytest.fixture(scope="module")
def _with_slow(_zips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of `ZIPS` with one more, which is the first. Not to be changed."""
    root = copy_of(_zips, tmp_path_factory.mktemp("slow") / "ds")
    save_zips(root, {"a.zip": slow()})
    return root


@pytest.fixture
def with_slow(_with_slow: Path, tmp_path: Path) -> Path:
    return copy_of(_with_slow, tmp_path / "ds")


def staged(root: Path) -> list[Path]:
    """Give the files that are being unpacked."""
    stage = root / ".git/bidsshare/unzip/stage"
    return [p for p in stage.rglob("slow/*") if p.is_file()]


# Killed

BEFORE = "kill -KILL 0"
AFTER = '$real "$@"; kill -KILL 0'


def amid(condition: str) -> str:
    """Have git begin, and be killed when something is so."""
    return f'exec 3<&0; $real "$@" <&3 & until {condition}; do :; done; kill -KILL 0'


POINTS = {
    "before git annex add": ("' annex add '", BEFORE),
    "amid git annex add": (
        "' annex add '",
        amid('[ -n "$(find "$GIT_WORK_TREE" -type l -print -quit)" ]'),
    ),
    "after git annex add": ("' annex add '", AFTER),
    "before git fast-import": ("' fast-import '", BEFORE),
    "amid git fast-import": ("' fast-import '", '{ head -c 3000; kill -KILL 0; } | $real "$@"'),
    "after git fast-import": ("' fast-import '", AFTER),
    "before git update-ref": ("' update-ref -m '", BEFORE),
    "after git update-ref": ("' update-ref -m '", AFTER),
    "before git read-tree": ("' read-tree '", BEFORE),
    "amid git read-tree": ("' read-tree '", amid("[ -h fmriprep/sub-01.html ]")),
    "after git read-tree": ("' read-tree '", AFTER),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_at(zips: Path, trap: Trap, undisturbed: Undisturbed, point: str) -> None:
    """All its processes at once, as when the machine goes down."""
    head = git(zips, "rev-parse", "HEAD")
    ended = run(zips, **trap.set(*POINTS[point]))
    assert ended.code == -signal.SIGKILL, ended.said
    assert trap.reached.exists()
    # Either the branch is where it was, or all commits are there.
    moved = "read-tree" in point or point == "after git update-ref"
    assert (git(zips, "rev-parse", "HEAD") != head) == moved
    if moved:
        assert tree_of(zips) == undisturbed.tree
    see_complete(zips, undisturbed)


def test_killed_while_it_unpacks(with_slow: Path) -> None:
    head = git(with_slow, "rev-parse", "HEAD")
    running = Running(with_slow)
    running.waits_until(lambda: staged(with_slow))
    running.send(signal.SIGKILL, to_all=True)
    assert running.end().code == -signal.SIGKILL
    assert staged(with_slow)
    assert git(with_slow, "rev-parse", "HEAD") == head
    assert is_clean(with_slow)
    assert failures(unzip(dataset=with_slow)) == {}
    assert (with_slow / "slow/a.txt").stat().st_size == 12_000_000
    assert tracked(with_slow) == {*WANTED, "slow/a.txt", "slow/b.txt"}
    see_sound(with_slow)


@pytest.mark.parametrize(
    ("pattern", "action"),
    [("' read-tree '", BEFORE), ("' read-tree '", AFTER), ("' smudge --update '", BEFORE)],
    ids=["before git read-tree", "after git read-tree", "before git annex smudge"],
)
def test_killed_where_files_are_unlocked(zips: Path, trap: Trap, pattern: str, action: str) -> None:
    """git writes pointers, and git-annex the content."""
    git(zips, "config", "annex.addunlocked", "true")
    ended = run(zips, **trap.set(pattern, action))
    assert ended.code == -signal.SIGKILL, ended.said
    assert failures(unzip(dataset=zips)) == {}
    assert content_of(zips) == WANTED
    assert not (zips / "fmriprep/sub-01.html").is_symlink()
    see_sound(zips)


def test_killed_at_the_second_lot(tmp_path: Path, trap: Trap) -> None:
    """What is taken down at a time is there whole, the rest is not; the next call brings it."""
    first = {f"first/{n}.txt": str(n).encode() for n in range(500)}
    second = {f"second/{n}.txt": str(n).encode() for n in range(5)}
    content = {"a.zip": zip_bytes(first), "b.zip": zip_bytes(second)}
    ds = dataset_of(tmp_path / "ds", content)
    save_zips(ds, {".gitattributes": "*.txt annex.largefiles=nothing\n"})
    ended = run(ds, **trap.set("' update-ref -m '", BEFORE, nth=2))
    assert ended.code == -signal.SIGKILL, ended.said
    assert content_of(ds) == first
    assert is_clean(ds)
    assert outcomes(unzip(dataset=ds)) == {"a.zip": "notneeded", "b.zip": "ok"}
    assert content_of(ds) == first | second
    see_sound(ds)


def test_killed_at_any_time(zips: Path, tmp_path: Path, undisturbed: Undisturbed) -> None:
    seed = int(os.environ.get("BIDSSHARE_TEST_SEED", random.randrange(10**6)))
    print(f"BIDSSHARE_TEST_SEED={seed} BIDSSHARE_TEST_KILLS={KILLS}")
    chance = random.Random(seed)
    begun = time.monotonic()
    assert run(copy_of(zips, tmp_path / "timed")).code == 0
    lasts = time.monotonic() - begun
    kills = 0
    while kills < KILLS:
        root = copy_of(zips, tmp_path / "killed")
        # Some of them several times in a row.
        for _ in range(min(chance.choice([1, 2, 4]), KILLS - kills)):
            running = Running(root)
            # Start-up takes a part of it in which nothing happens.
            time.sleep(chance.uniform(0.3, 1.05) * lasts)
            running.send(signal.SIGKILL, to_all=True)
            running.end()
            kills += 1
        see_complete(root, undisturbed)
        subprocess.run(["chmod", "-R", "u+w", str(root)], check=True)
        shutil.rmtree(root)


def test_only_the_command_is_killed(zips: Path, trap: Trap, undisturbed: Undisturbed) -> None:
    """git-annex goes on, beside the next call; it does it no harm."""
    running = Running(zips, **trap.hold("' annex add '"))
    running.waits_until(trap.reached.exists)
    running.send(signal.SIGKILL, to_all=False)
    wait_for(lambda: running.pid not in _session(running.pid))
    assert failures(unzip(dataset=zips)) == {}
    trap.go.touch()
    assert running.end().code == -signal.SIGKILL
    see_complete(zips, undisturbed)


# Interrupted


@pytest.mark.parametrize(
    ("point", "number", "to_all"),
    [
        pytest.param("unpacking", signal.SIGINT, True, id="unpacking, Ctrl-C"),
        pytest.param("unpacking", signal.SIGTERM, False, id="unpacking, SIGTERM"),
        pytest.param("' annex add '", signal.SIGINT, True, id="adding, Ctrl-C"),
        pytest.param("' annex add '", signal.SIGINT, False, id="adding, SIGINT"),
        pytest.param("' annex add '", signal.SIGTERM, True, id="adding, SIGTERM to all"),
        pytest.param("' annex add '", signal.SIGTERM, False, id="adding, SIGTERM"),
    ],
)
def test_interrupted(with_slow: Path, trap: Trap, number: int, to_all: bool, point: str) -> None:
    """No process is left, nobody has the lock, and the next call comes to the end."""
    head = git(with_slow, "rev-parse", "HEAD")
    if point == "unpacking":
        running = Running(with_slow)
        running.waits_until(lambda: staged(with_slow))
    else:
        running = Running(with_slow, **trap.hold(point))
        running.waits_until(trap.reached.exists)
    running.send(number, to_all=to_all)
    if number == signal.SIGTERM and not to_all:
        # It is gone at once, and cannot end others in good order: they notice.
        trap.go.touch() if trap.directory.exists() else None
    ended = running.end()
    assert ended.code != 0, ended.said
    assert "Traceback" not in ended.said, ended.said
    assert git(with_slow, "rev-parse", "HEAD") == head
    assert is_clean(with_slow)
    if number == signal.SIGINT:
        assert leftovers(with_slow) == set()
    assert failures(unzip(dataset=with_slow)) == {}
    assert tracked(with_slow) == {*WANTED, "slow/a.txt", "slow/b.txt"}
    see_sound(with_slow)


# Others at work


def test_two_at_once(zips: Path, trap: Trap, undisturbed: Undisturbed) -> None:
    """The second says who is there; the first is not harmed."""
    first = Running(zips, **trap.hold("' annex add '"))
    first.waits_until(trap.reached.exists)
    said = fails(zips)
    assert f"another unzip-outputs works in this dataset (process {first.pid}, since 2" in said
    # but it can be looked at
    assert outcomes(unzip(dataset=zips, dry_run=True)) == dict.fromkeys(ZIPS, "ok")
    trap.go.touch()
    ended = first.end()
    assert ended.code == 0, ended.said
    see_complete(zips, undisturbed)


COMMITS = "echo theirs > theirs.txt; $real add theirs.txt; $real commit -q -m theirs"


@pytest.mark.parametrize("point", ["' annex add '", "' fast-import '"])
def test_somebody_commits_meanwhile(zips: Path, trap: Trap, point: str) -> None:
    """Nothing is lost of theirs, nor is anything half there; it works the next time."""
    action = f"(cd {shlex.quote(str(zips))}; unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE; {COMMITS})"
    said = fails(zips, **trap.set(point, action))
    assert "try again" in said
    assert "is at" in said
    assert git(zips, "log", "-1", "--format=%s").strip() == "theirs"
    assert content_of(zips) == {"theirs.txt": b"theirs\n"}
    see_sound(zips)
    assert failures(unzip(dataset=zips)) == {}
    assert content_of(zips) == {"theirs.txt": b"theirs\n"} | WANTED
    see_sound(zips)


def test_somebody_switches_meanwhile(zips: Path, trap: Trap, undisturbed: Undisturbed) -> None:
    """Neither branch gets anything."""
    head = git(zips, "rev-parse", "HEAD")
    branch = git(zips, "branch", "--show-current").strip()
    said = fails(zips, **trap.set("' fast-import '", "$real switch -q -c other"))
    assert "other is now" in said
    assert git(zips, "rev-parse", branch, "other") == head * 2
    assert not tracked(zips)
    see_sound(zips)
    git(zips, "switch", "-q", branch)
    see_complete(zips, undisturbed)


@pytest.mark.parametrize("ignored", [False, True], ids=["untracked", "ignored"])
def test_somebody_makes_a_file_meanwhile(zips: Path, trap: Trap, ignored: bool) -> None:
    """Where an output is to be: it stays, and nothing is committed."""
    if ignored:
        save_zips(zips, {".gitignore": "*.html\n"})
    head = git(zips, "rev-parse", "HEAD")
    action = "mkdir fmriprep; echo mine > fmriprep/sub-01.html"
    said = fails(zips, **trap.set("' fast-import '", action))
    assert "fmriprep/sub-01.html is in the way" in said
    assert (zips / "fmriprep/sub-01.html").read_text() == "mine\n"
    assert git(zips, "rev-parse", "HEAD") == head
    shutil.rmtree(zips / "fmriprep")
    see_sound(zips)
    assert failures(unzip(dataset=zips)) == {}
    assert content_of(zips) == WANTED
    see_sound(zips)


def test_somebody_makes_a_file_at_the_last_moment(
    zips: Path, trap: Trap, undisturbed: Undisturbed
) -> None:
    """It stays all the same, and the way out is said."""
    action = "mkdir fmriprep; echo mine > fmriprep/sub-01.html"
    for environment in (trap.set("' read-tree '", action), {}):
        said = fails(zips, **environment)
        assert "fmriprep/sub-01.html" in said
        assert (zips / "fmriprep/sub-01.html").read_text() == "mine\n"
    # The second call has brought the others.
    git(zips, "checkout", "-q", "--", "fmriprep/sub-01.html")
    see_complete(zips, undisturbed)


# No space, no memory


def copied_out(mounted: Mounted, target: Path) -> Path:
    return copy_of(mounted.seen / "ds", target)


@needs_mount
@pytest.mark.parametrize("room", [1 << 20, 17 << 20], ids=["for what is unpacked", "for git-annex"])
def test_no_space(tmp_path: Path, mounted: Mounted, room: int) -> None:
    """Small files take more of a disk than their size says."""
    many = {f"many/{n:04}.txt": str(n).encode() for n in range(500)}
    files = {"a.zip": zip_bytes(many), "b.zip": zip_bytes({"b/b.txt": b"b"})}
    ds = dataset_of(tmp_path / "ds", files)
    git(ds, "config", "annex.diskreserve", "0")
    git(ds, "config", "annex.largefiles", "nothing")
    mounted.remount("size=100m")
    copy_of(ds, mounted.seen / "ds")
    held = shutil.disk_usage(mounted.seen).used
    mounted.remount(f"size={(held + room) // 1024}k")
    root = mounted.directory / "ds"
    said = fails(root, "--on-zip-error", "continue", launcher=mounted.launcher)
    assert os.strerror(errno.ENOSPC) in said
    failed = copied_out(mounted, tmp_path / "failed")
    assert not tracked(failed)
    see_sound(failed)
    mounted.remount("size=200m")
    ended = run(root, launcher=mounted.launcher)
    assert ended.code == 0, ended.said
    done = copied_out(mounted, tmp_path / "done")
    assert content_of(done) == many | {"b/b.txt": b"b"}
    see_sound(done)


@needs_mount
def test_not_enough_space_from_the_start(with_slow: Path, mounted: Mounted) -> None:
    git(with_slow, "config", "annex.diskreserve", "1 MB")
    mounted.remount("size=10m")
    copy_of(with_slow, mounted.seen / "ds")
    said = fails(mounted.directory / "ds", launcher=mounted.launcher)
    assert "12.0 MB would be unpacked" in said
    assert not (mounted.seen / "ds/.git/bidsshare/unzip/stage").exists()


def test_no_file_may_be_so_large(with_slow: Path) -> None:
    """An error of the zip that has it; the others go on if they are to."""
    limit = ("prlimit", "--fsize=8000000")
    said = fails(with_slow, "--on-zip-error", "continue", launcher=limit)
    assert "slow/a.txt" in said
    assert os.strerror(errno.EFBIG) in said
    assert content_of(with_slow) == WANTED
    see_sound(with_slow)
    assert failures(unzip(dataset=with_slow)) == {}
    assert len(tracked(with_slow)) == len(WANTED) + 2
    see_sound(with_slow)


@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_is_killed(with_slow: Path, times: int) -> None:
    """Once may be bad luck. The others go on."""
    running = Running(with_slow, "--on-zip-error", "continue", "-J", "2")
    killed: set[int] = set()
    while len(killed) < times:
        running.waits_until(lambda: set(_at_slow(running)) - killed)
        for pid in set(_at_slow(running)) - killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
    ended = running.end()
    assert "Traceback" not in ended.said, ended.said
    if times == 1:
        assert ended.code == 0, ended.said
        assert len(tracked(with_slow)) == len(WANTED) + 2
    else:
        assert ended.code == 1
        assert "a.zip" in ended.said
        assert "was killed (out of memory?)" in ended.said
        assert content_of(with_slow) == WANTED
    see_sound(with_slow)


def _at_slow(running: Running) -> list[int]:
    """Give the processes that have a file of the slow zip open."""
    found = []
    for pid in running.workers():
        with contextlib.suppress(OSError):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                with contextlib.suppress(OSError):
                    if os.readlink(f"/proc/{pid}/fd/{fd}").endswith("slow/a.txt"):
                        found.append(pid)
    return found


def test_no_memory(tmp_path: Path) -> None:
    """Members that each want 256 MB to be unpacked with, and eight threads."""
    made = tmp_path / "made.zip"
    window = (1 << 28).to_bytes(4, "little")
    entry = Entry("", bytes(range(256)) * 40_000, LZMA)
    packed = entry.content[:5] + window + entry.content[9:]
    names = [f"big/{n}.nii" for n in range(8)]
    write_zip(made, *(Entry(n, entry.data, LZMA, packed=packed) for n in names))
    files = {"a.zip": made.read_bytes(), "b.zip": zip_bytes({"b/b.txt": b"b"})}
    ds = dataset_of(tmp_path / "ds", files)
    limit = ("prlimit", f"--as={900 << 20}")
    said = fails(ds, "--on-zip-error", "continue", "-J", "16", launcher=limit)
    assert "not enough memory" in said
    assert content_of(ds) == {"b/b.txt": b"b"}
    see_sound(ds)
    # The way out that it names is one.
    ended = run(ds, "-J", "1", launcher=limit)
    assert ended.code == 0, ended.said
    assert content_of(ds).keys() == {"b/b.txt", *names}
    see_sound(ds)


# Rights


@pytest.fixture
def as_nobody(for_nobody: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Give what runs the command as a user who is not root, and the environment for that."""
    home = for_nobody / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", _python_for_all())
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "HOME": str(home),
        "LOGNAME": "nobody",
        "PATH": f"{_git_annex_for_all(for_nobody)}{os.pathsep}{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": str(for_nobody / "config"),
        "GIT_AUTHOR_NAME": "n",
        "GIT_AUTHOR_EMAIL": "n@example.org",
        "GIT_COMMITTER_NAME": "n",
        "GIT_COMMITTER_EMAIL": "n@example.org",
    }
    tried = run(for_nobody, "--help", launcher=user, **environment)
    if tried.code:
        pytest.skip(f"not every user can run datalad here: {tried.said}")
    return user, environment


def _git_annex_for_all(base: Path) -> Path:
    """Give a directory with a git-annex that every user can run: not a script of ours."""
    real = shutil.which("git-annex")
    package = importlib.util.find_spec("git_annex")
    if package is not None and package.origin is not None:
        real = str(Path(package.origin).with_name("git-annex"))
    place = base / "bin"
    place.mkdir()
    program = place / "git-annex"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(str(real))} "$@"\n')
    program.chmod(0o755)
    return place


@needs_users
def test_a_dataset_that_is_read_only(
    zips: Path, for_nobody: Path, as_nobody: tuple[tuple[str, ...], dict[str, str]]
) -> None:
    user, environment = as_nobody
    root = copy_of(zips, for_nobody / "ds")
    subprocess.run(["chmod", "-R", "a+rX", str(root)], check=True)
    git(root, "status")
    before = state_of(root)
    said = fails(root, launcher=user, **environment)
    assert "nothing can be written into" in said
    assert "clone of your own" in said
    assert state_of(root) == before
    # what a look costs no right
    ended = run(root, "--dry-run", launcher=user, **environment)
    assert ended.code == 0, ended.said
    assert "3 zips to be unpacked" in ended.said


@needs_users
@pytest.mark.parametrize("closed", ["fmriprep", ".git/annex/objects", ".git/objects", ".git/refs"])
def test_where_something_cannot_be_written(
    zips: Path,
    for_nobody: Path,
    as_nobody: tuple[tuple[str, ...], dict[str, str]],
    undisturbed: Undisturbed,
    closed: str,
) -> None:
    user, environment = as_nobody
    own = {"fmriprep/dataset_description.json": WANTED["fmriprep/dataset_description.json"]}
    save_zips(zips, own)
    root = copy_of(zips, for_nobody / "ds")
    subprocess.run(["chown", "-R", "65534:65534", str(root)], check=True)
    directories = [root / closed, *(p for p in (root / closed).rglob("*") if p.is_dir())]
    modes = {path: path.stat().st_mode for path in directories}
    for path in directories:
        path.chmod(0o555)
    said = fails(root, "--existing", "skip", launcher=user, **environment)
    # What git cannot do for it, git-annex does not say.
    assert "ermission denied" in said or "writ" in said or closed == ".git/objects"
    for path, mode in modes.items():
        path.chmod(mode)
    ended = run(root, "--existing", "skip", launcher=user, **environment)
    assert ended.code == 0, ended.said
    subprocess.run(["chown", "-R", "0:0", str(root)], check=True)
    assert tree_of(root) == undisturbed.tree
    assert content_of(root) == WANTED
    see_sound(root)
