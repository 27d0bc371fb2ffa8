"""What an export leaves behind when it is killed, or the disk, the source or the rights fail it.

The command line in processes of its own, on real repositories and file systems.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.keys import object_paths
from datalad_bidsshare.export.ledger import Ledger
from tests.dataset.builders import PATIENCE, annex_repo, clone_of, git, wait_for
from tests.dataset.conftest import for_nobody
from tests.exports import far_away
from tests.superdatasets import DATALAD

__all__ = ["for_nobody"]

pytestmark = pytest.mark.skipif(
    not Path("/proc/self/stat").exists(), reason="looks at processes in /proc"
)

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
needs_mount = pytest.mark.skipif(
    not (ROOT and shutil.which("unshare") and shutil.which("nsenter")),
    reason="mounting takes root, unshare and nsenter",
)
needs_users = pytest.mark.skipif(
    not ROOT or not shutil.which("setpriv"), reason="needs two users, and setpriv"
)

KILLS = int(os.environ.get("BIDSSHARE_TEST_KILLS", "5"))
"""How many times the kill test kills. Set it to 20 or more by hand after changes."""

Tree = dict[str, bytes]


# Datasets


@dataclass
class Planted:
    """A dataset whose objects were put in place without git-annex: hundreds of files at once.

    Attributes
    ----------
    root
        The dataset.
    versions
        What each commit holds, the last one checked out.
    """

    root: Path
    versions: list[Tree] = field(default_factory=list)

    @property
    def files(self) -> Tree:
        """What is checked out."""
        return self.versions[-1]


def plant(root: Path, *versions: Tree, sized: bool = True) -> Planted:
    """Make a dataset of one commit a version. What ends in '.json' or '.txt' is kept by git."""
    root.mkdir(parents=True)
    git(root, "init", "-q", "-b", "main")
    git(root, "annex", "init", "-q", "planted")
    stream = bytearray()
    for number, files in enumerate(versions):
        stream += b"commit refs/heads/main\ncommitter T <t@e> %d +0000\n" % (16 * 10**8 + number)
        stream += b"data 2\nv\ndeleteall\n"
        for path, content in files.items():
            mode, blob = b"100644", content
            if not path.endswith((".json", ".txt")):
                mode, blob = b"120000", _put_object(root, path, content, sized=sized)
            stream += b"M %b inline %b\ndata %d\n%b\n" % (mode, path.encode(), len(blob), blob)
    done = subprocess.run(["git", "fast-import", "--quiet"], cwd=root, input=stream, check=False)
    assert done.returncode == 0
    git(root, "reset", "-q", "--hard")
    return Planted(root, list(versions))


def _put_object(root: Path, path: str, content: bytes, *, sized: bool) -> bytes:
    """Put content into the annex, and give the link to it. Of every algorithm some."""
    name = ("md5", "sha256", "sha1")[len(path) % 3]
    key = f"{name.upper()}E-s{len(content)}--{hashlib.new(name, content).hexdigest()}.nii"
    if not sized:
        key = f"URL--http&c%%example.org%{hashlib.md5(path.encode()).hexdigest()}"
    mixed = object_paths(key)[0]
    place = root / ".git/annex/objects" / mixed
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)
    place.chmod(0o444)
    return os.fsencode("../" * path.count("/") + f".git/annex/objects/{mixed}")


def mixed_files(seed: int, count: int = 400) -> Tree:
    """Give files of mixed sizes, some of several megabytes, one of them in git."""
    chance = random.Random(seed)
    files = {}
    for number in range(count):
        size = 3_000_000 if number % 70 == 3 else chance.choice([0, 100, 3000, 30_000, 200_000])
        path = f"sub-{number % 20:02}/func/sub-{number % 20:02}_run-{number}_bold.nii"
        files[path] = path.encode() + chance.randbytes(size)
    for number in range(20):
        files[f"sub-{number:02}/sub-{number:02}_x.json"] = b'{"x": %d}' % chance.randrange(10**6)
    files["large.txt"] = chance.randbytes(6_000_000)
    return files


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Planted:
    """Two versions: in the second, some files changed, some are gone, some are new."""
    old = mixed_files(1)
    new = dict(old)
    for number, path in enumerate(old):
        if number % 5 == 0:
            new[path] = b"changed " + old[path][::-1]
        elif number % 7 == 0:
            del new[path]
    new.update({f"new-{n}/f_bold.nii": b"new %d" % n * n * 100 for n in range(40)})
    # of a directory that is gone altogether
    old = {**old, "gone/deep/f_bold.nii": b"gone"}
    return plant(tmp_path_factory.mktemp("planted") / "ds", old, new)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


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
        self, *arguments: str | Path, launcher: tuple[str, ...] = (), **environment: str
    ) -> None:
        self._process = subprocess.Popen(
            [*launcher, str(DATALAD), "export-plain", *map(str, arguments)],
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

    def freeze_when(self, reached: Callable[[], object]) -> bool:
        """Stop all its processes as soon as something is so. False: it has ended before."""
        until = time.monotonic() + PATIENCE
        while not reached():
            if self._process.poll() is not None:
                return False
            assert time.monotonic() < until, "waited in vain"
        self.send(signal.SIGSTOP, to_all=True)
        # One that has just forked waits (D) for a child that is stopped before it has begun.
        wait_for(lambda: all(state in "TDZ" for state in _session(self.pid).values()))
        return self._process.poll() is None

    def thaw(self) -> None:
        """Let them go on."""
        self.send(signal.SIGCONT, to_all=True)

    def end(self) -> Ended:
        """Wait for its end, and that of all it started."""
        said, _ = self._process.communicate(timeout=PATIENCE)
        wait_for(lambda: not _session(self.pid))
        # The number may be another's now.
        _STARTED.remove(self.pid)
        return Ended(self._process.returncode, said)

    def workers(self) -> list[int]:
        """Give the processes that copy."""
        found = []
        for pid in _session(self.pid):
            with contextlib.suppress(OSError):
                if b"export.worker" in Path(f"/proc/{pid}/cmdline").read_bytes():
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


def export(*arguments: str | Path, **environment: str) -> Ended:
    return Running(*arguments, launcher=(), **environment).end()


def frozen(dest: Path, start: Callable[[], Running], least: int, most: int) -> Running:
    """Start an export, and stop it when some of its files are there and others are not."""
    for _ in range(30):
        running = start()
        if running.freeze_when(lambda: len(names_in(dest)) >= least):
            if len(names_in(dest)) <= most:
                return running
            running.thaw()
        running.end()
        shutil.rmtree(dest)
    pytest.fail("it is always quicker than we are")


# Destinations


def names_in(dest: Path) -> list[str]:
    """Give the names of data files, temporary ones and our own left out."""
    found = []
    for directory, directories, files in os.walk(dest):
        if ".bidsshare" in directories:
            directories.remove(".bidsshare")
        base = os.path.relpath(directory, dest)
        found += [
            name if base == "." else f"{base}/{name}"
            for name in files
            if not name.startswith(".bidsshare-tmp-")
        ]
    return found


def temporary_in(dest: Path) -> list[str]:
    """Give all that is meant to be there for a moment only."""
    return [p.name for p in dest.rglob("*") if p.name.startswith(".bidsshare-tmp-")]


def tree(dest: Path) -> Tree:
    return {name: (dest / name).read_bytes() for name in names_in(dest)}


def digest_of(algorithm: str, content: bytes) -> str:
    return hashlib.new(algorithm, content).hexdigest()


def see_nothing_is_partial(dest: Path, *versions: Mapping[str, bytes]) -> Tree:
    """See that every file is all of a version of it, and that what is listed can be trusted."""
    found = tree(dest)
    for name, content in found.items():
        assert content in [v[name] for v in versions if name in v], f"{name} is partial"
    ledger = Ledger.read(dest / ".bidsshare")
    for name, written in ledger.items():
        path = dest / name
        if name not in found:
            # on its way out, or to be
            assert any(name not in version for version in versions), f"{name} is listed, and gone"
        elif (path.stat().st_size, path.stat().st_mtime_ns) == (written.size, written.mtime_ns):
            assert digest_of(written.algorithm, found[name]) == written.digest, name
        else:
            # replaced, and not yet taken down
            assert len({v[name] for v in versions if name in v}) > 1, f"{name} is not as listed"
    for manifest in (dest / ".bidsshare").glob("manifest-*.txt"):
        algorithm = manifest.stem.partition("-")[2]
        for line in manifest.read_text().splitlines():
            digest, _, name = line.partition("  ")
            known = [digest_of(algorithm, v[name]) for v in versions if name in v]
            assert digest in known, f"{name} in {manifest.name} was never so"
    return found


def state(dest: Path) -> dict[str, tuple[object, ...]]:
    """Take down all that a finished export left, but for the date in its receipt."""
    found: dict[str, tuple[object, ...]] = {}
    for path in dest.rglob("*"):
        name, info = str(path.relative_to(dest)), path.lstat()
        if path.is_dir():
            found[name] = (stat.S_IMODE(info.st_mode),)
        elif name == ".bidsshare/export.json":
            found[name] = tuple(
                (k, str(v)) for k, v in json.loads(path.read_text()).items() if k != "date"
            )
        elif name.startswith(".bidsshare/"):
            found[name] = (stat.S_IMODE(info.st_mode), path.read_bytes())
        else:
            found[name] = (stat.S_IMODE(info.st_mode), info.st_mtime_ns, path.read_bytes())
    return found


def differing(
    one: Mapping[str, tuple[object, ...]], other: Mapping[str, tuple[object, ...]]
) -> dict[str, list[tuple[object, ...] | None]]:
    """Give what is not the same in both."""
    names = sorted(one.keys() | other.keys())
    return {n: [one.get(n), other.get(n)] for n in names if one.get(n) != other.get(n)}


def see_complete(planted: Planted, dest: Path, *arguments: str) -> None:
    """See that another run brings the rest, that one more has nothing to do, and what is there."""
    done = export("-d", planted.root, dest, *arguments)
    assert done.code == 0, done.said
    assert see_nothing_is_partial(dest, planted.files) == planted.files
    assert temporary_in(dest) == []
    before = state(dest)
    done = export("-d", planted.root, dest, *arguments)
    assert done.code == 0, done.said
    assert f"export-plain: {len(planted.files)} unchanged" in done.said
    assert differing(state(dest), before) == {}


# Killed


def test_killed_at_any_time(planted: Planted, tmp_path: Path) -> None:
    """An update is killed, again and again: nothing is partial, and it comes to the same end."""
    seed = int(os.environ.get("BIDSSHARE_TEST_SEED", random.randrange(10**6)))
    print(f"BIDSSHARE_TEST_SEED={seed} BIDSSHARE_TEST_KILLS={KILLS}")
    chance = random.Random(seed)
    old, undisturbed, dest = tmp_path / "old", tmp_path / "undisturbed", tmp_path / "dest"
    arguments: list[str | Path] = ["-d", planted.root, "--delete"]
    assert export("-d", planted.root, old, "--at", "main~1").code == 0
    assert see_nothing_is_partial(old, planted.versions[0]) == planted.versions[0]
    shutil.copytree(old, undisturbed)
    begun = time.monotonic()
    assert export(*arguments, undisturbed).code == 0
    lasts = time.monotonic() - begun
    expected = state(undisturbed)
    assert tree(undisturbed) == planted.files
    kills = 0
    while kills < KILLS:
        # From the older one; some of them several times in a row.
        shutil.copytree(old, dest)
        for _ in range(min(chance.choice([1, 1, 2, 4]), KILLS - kills)):
            running = Running(*arguments, dest)
            # Start-up takes a part of it in which nothing happens.
            time.sleep(chance.uniform(0.25, 1.05) * lasts)
            running.send(signal.SIGKILL, to_all=True)
            running.end()
            kills += 1
            see_nothing_is_partial(dest, *planted.versions)
        done = export(*arguments, dest)
        assert done.code == 0, done.said
        after = state(dest)
        assert {
            n for n in after.keys() | expected.keys() if after.get(n) != expected.get(n)
        } == set()
        done = export(*arguments, dest)
        assert (done.code, differing(state(dest), expected)) == (0, {})
        assert f"export-plain: {len(planted.files)} unchanged" in done.said, done.said
        shutil.rmtree(dest)


@pytest.mark.parametrize("receipt", [True, False], ids=["receipt", "no receipt"])
def test_nothing_of_ours_is_left_of_a_killed_one(
    planted: Planted, dest: Path, receipt: bool
) -> None:
    """Not in the directories either where a large file of git waits, and where notes are kept."""
    options = () if receipt else ("--no-receipt",)
    notes = dest / ".bidsshare" if receipt else planted.root / ".git/bidsshare/exports"
    running = Running("-d", planted.root, dest, *options)
    assert running.freeze_when(lambda: temporary_in(notes))
    running.send(signal.SIGKILL, to_all=True)
    running.end()
    left = temporary_in(notes)
    done = export("-d", planted.root, dest, *options)
    assert done.code == 0, done.said
    assert left
    assert temporary_in(notes) == []
    assert temporary_in(dest) == []
    assert tree(dest) == planted.files


def test_directories_of_a_killed_one_are_ours(planted: Planted, dest: Path) -> None:
    """Those that it made are known, so that they go when what lies in them does."""
    running = frozen(dest, lambda: Running("-d", planted.root, dest, "--at", "main~1"), 20, 300)
    running.send(signal.SIGKILL, to_all=True)
    running.end()
    assert export("-d", planted.root, dest, "--at", "main~1").code == 0
    # As it is left when it is killed between deleting files, and directories, and noting that
    shutil.rmtree(dest / "gone/deep")
    (dest / ".bidsshare/running").touch()
    done = export("-d", planted.root, "--delete", dest, planted.root / "sub-01")
    assert done.code == 0, done.said
    assert {p.name for p in dest.iterdir()} == {".bidsshare", "sub-01"}
    known = (dest / ".bidsshare/directories").read_bytes().split(b"\0")[:-1]
    assert known == [b"sub-01", b"sub-01/func"]


def test_files_of_a_killed_one_are_ours(planted: Planted, dest: Path) -> None:
    """Those that it made are told of, and deleted when they are not wanted."""
    running = frozen(dest, lambda: Running("-d", planted.root, dest), 20, 300)
    running.send(signal.SIGKILL, to_all=True)
    running.end()
    theirs = dest / "sub-01" / "theirs.txt"
    theirs.parent.mkdir(exist_ok=True)
    theirs.write_text("not of an export")
    made = {name for name in names_in(dest) if name != "sub-01/theirs.txt"}
    assert made
    wanted = planted.root / "sub-01"
    done = export("-d", planted.root, dest, wanted)
    assert done.code == 0, done.said
    # Companions are wanted too: what describes the dataset.
    others = {name for name in made if "/" in name and not name.startswith("sub-01/")}
    assert others
    assert "more of an export that did not end are there" in done.said
    done = export("-d", planted.root, "--delete", dest, wanted)
    assert done.code == 0, done.said
    left = {name for name in names_in(dest) if not name.startswith("sub-01/")}
    assert left.isdisjoint(others)
    assert theirs.read_text() == "not of an export"
    assert not (dest / ".bidsshare/planned").exists()


@pytest.mark.parametrize(
    ("number", "to_all"),
    [
        pytest.param(signal.SIGINT, True, id="as Ctrl-C"),
        pytest.param(signal.SIGINT, False, id="SIGINT"),
        pytest.param(signal.SIGTERM, True, id="SIGTERM to all"),
        pytest.param(signal.SIGTERM, False, id="SIGTERM"),
        pytest.param(signal.SIGHUP, True, id="the terminal is closed"),
    ],
)
def test_interrupted(planted: Planted, dest: Path, number: int, to_all: bool) -> None:
    """What was complete is kept, and not copied again."""
    running = frozen(dest, lambda: Running("-d", planted.root, dest), 40, 300)
    running.send(number, to_all=to_all)
    running.thaw()
    ended = running.end()
    assert ended.code != 0, ended.said
    assert "Traceback" not in ended.said, ended.said
    found = see_nothing_is_partial(dest, planted.files)
    assert 0 < len(found) < len(planted.files)
    inodes = {name: (dest / name).stat().st_ino for name in found}
    if number == signal.SIGINT:
        assert temporary_in(dest) == []
        # Python runs what ends it in good order: what was done is known to the next one.
        assert len(Ledger.read(dest / ".bidsshare")) > 0
    see_complete(planted, dest)
    assert {name: (dest / name).stat().st_ino for name in found} == inodes


def test_a_copying_process_is_killed(planted: Planted, dest: Path) -> None:
    """As the system does when memory runs out: some files are errors, and the others come."""
    running = frozen(dest, lambda: Running("-d", planted.root, dest, "-J", "2"), 20, 200)
    os.kill(running.workers()[0], signal.SIGKILL)
    running.thaw()
    ended = running.end()
    assert ended.code == 1, ended.said
    found = see_nothing_is_partial(dest, planted.files)
    assert len(found) > len(planted.files) - 65
    assert temporary_in(dest) == []
    see_complete(planted, dest)


def test_the_command_is_killed_and_its_helpers_are_not(planted: Planted, dest: Path) -> None:
    """They end by themselves, and the next one need not wait for them."""
    running = frozen(dest, lambda: Running("-d", planted.root, dest), 20, 300)
    assert running.workers()
    running.send(signal.SIGKILL, to_all=False)
    running.thaw()
    done = export("-d", planted.root, dest)
    assert done.code == 0, done.said
    assert running.end().code == -signal.SIGKILL
    assert temporary_in(dest) == []
    see_complete(planted, dest)


def test_two_at_once(planted: Planted, dest: Path) -> None:
    """The second says who is there; the first is not harmed."""
    first = frozen(dest, lambda: Running("-d", planted.root, dest), 20, 300)
    before = {name: (dest / name).stat().st_ino for name in names_in(dest)}
    for arguments in ([], ["--delete", "--force"], ["--no-receipt"]):
        second = export("-d", planted.root, dest, *arguments)
        assert second.code == 1, second.said
        assert f"process {first.pid}, since 2" in second.said
    assert {name: (dest / name).stat().st_ino for name in names_in(dest)} == before
    first.thaw()
    ended = first.end()
    assert ended.code == 0, ended.said
    assert tree(dest) == planted.files
    see_complete(planted, dest)


# No space


@dataclass
class Mounted:
    """A small file system that only those see who are told of it."""

    directory: Path
    holder: subprocess.Popen[str]

    @property
    def seen(self) -> Path:
        """Where this process sees it."""
        return Path(f"/proc/{self.holder.pid}/root{self.directory}")

    @property
    def launcher(self) -> tuple[str, ...]:
        """What runs a command where it is seen."""
        return ("nsenter", "-t", str(self.holder.pid), "-m", "--wd=/")

    def remount(self, options: str) -> None:
        subprocess.run(
            [*self.launcher, "mount", "-o", f"remount,{options}", str(self.directory)], check=True
        )

    def export(self, planted: Planted, *arguments: str) -> Ended:
        return self.start(planted, *arguments).end()

    def start(self, planted: Planted, *arguments: str) -> Running:
        given: list[str | Path] = ["-d", planted.root, self.directory / "d", *arguments]
        return Running(*given, launcher=self.launcher)


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Mounted]:
    """A tmpfs of one megabyte."""
    directory = tmp_path / "small"
    directory.mkdir()
    script = 'mount -t tmpfs -o size=1m tmpfs "$1" && echo mounted && exec cat'
    holder = subprocess.Popen(
        ["unshare", "-m", "sh", "-c", script, "sh", str(directory)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    if holder.stdout.readline() != "mounted\n":
        pytest.skip("no file system can be mounted here")
    yield Mounted(directory, holder)
    holder.communicate()


@pytest.fixture(scope="module")
def thirty(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Planted:
    """Thirty files of 100 kB."""
    files = {f"sub-{n:02}/f{n}_bold.nii": b"%02d" % n * 50_000 for n in range(30)}
    return plant(tmp_path_factory.mktemp("thirty") / "ds", files)


@pytest.fixture(scope="module")
def unsized(thirty: Planted, tmp_path_factory: pytest.TempPathFactory) -> Planted:
    """The same, of which no key tells the size."""
    return plant(tmp_path_factory.mktemp("unsized") / "ds", thirty.files, sized=False)


@needs_mount
def test_no_room_from_the_start(thirty: Planted, mounted: Mounted) -> None:
    done = mounted.export(thirty)
    assert done.code == 1
    assert "not enough disk space: 3.0 MB (3000000 bytes) are to be written" in done.said
    assert list(mounted.seen.iterdir()) == []


@needs_mount
def test_it_fills_up_with_what_has_no_size(unsized: Planted, mounted: Mounted) -> None:
    seen = mounted.seen / "d"
    for _ in range(2):
        done = mounted.export(unsized)
        assert done.code == 1, done.said
        assert "Traceback" not in done.said, done.said
        assert "the destination is full" in done.said
        # What is not full may be full of what is not taken down: then nothing is listed.
        found = see_nothing_is_partial(seen, unsized.files)
        assert 3 < len(found) < 11
        assert temporary_in(seen) == []
    mounted.remount("size=8m")
    done = mounted.export(unsized)
    assert done.code == 0, done.said
    assert see_nothing_is_partial(seen, unsized.files) == unsized.files
    assert f"{len(unsized.files)} unchanged" in mounted.export(unsized).said


@needs_mount
@pytest.mark.parametrize("room", ["none", "a little"])
def test_somebody_else_fills_it_up(planted: Planted, mounted: Mounted, room: str) -> None:
    mounted.remount("size=80m")
    seen = mounted.seen / "d"
    running = frozen(seen, lambda: mounted.start(planted), 20, 300)
    filler = seen.parent / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    if room == "a little":
        os.truncate(filler, filler.stat().st_size - 3_000_000)
    running.thaw()
    ended = running.end()
    assert ended.code == 1, ended.said
    assert "Traceback" not in ended.said, ended.said
    assert "is full" in ended.said or "No space left" in ended.said, ended.said
    found = see_nothing_is_partial(seen, planted.files)
    assert 0 < len(found) < len(planted.files)
    assert temporary_in(seen) == []
    filler.unlink()
    done = mounted.export(planted)
    assert done.code == 0, done.said
    assert see_nothing_is_partial(seen, planted.files) == planted.files
    assert f"{len(planted.files)} unchanged" in mounted.export(planted).said


@needs_mount
@pytest.mark.parametrize("inodes", [2, 4, 5, 8, 20, 34])
def test_no_room_for_names(thirty: Planted, mounted: Mounted, inodes: int) -> None:
    """The table of files is full: at every step of it another thing cannot be made."""
    mounted.remount(f"size=8m,nr_inodes={inodes}")
    done = mounted.export(thirty)
    assert done.code == 1, done.said
    assert "Traceback" not in done.said, done.said
    assert os.strerror(errno.ENOSPC) in done.said or "is full" in done.said
    seen = mounted.seen / "d"
    if (seen / ".bidsshare").exists():
        see_nothing_is_partial(seen, thirty.files)
        assert temporary_in(seen) == []
    mounted.remount("nr_inodes=1000")
    done = mounted.export(thirty)
    assert done.code == 0, done.said
    assert see_nothing_is_partial(seen, thirty.files) == thirty.files
    assert f"{len(thirty.files)} unchanged" in mounted.export(thirty).said


# A disk that fails

_SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
/* FAULT_<CALL>: what the path of the descriptor, or the new name, must hold for it to fail. */
static int named(const char *call, const char *name) {
    const char *part = getenv(call);
    return part && name && strstr(name, part) != NULL;
}
static int of(const char *call, int fd) {
    char link[64], path[4096];
    if (!getenv(call)) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return named(call, path);
}
#define FAIL do { errno = EIO; return -1; } while (0)
#define REAL(name) ((__typeof__(&name)) dlsym(RTLD_NEXT, #name))
ssize_t read(int fd, void *b, size_t n) {
    if (of("FAULT_READ", fd)) FAIL; return REAL(read)(fd, b, n);
}
ssize_t write(int fd, const void *b, size_t n) {
    if (of("FAULT_WRITE", fd)) FAIL; return REAL(write)(fd, b, n);
}
int close(int fd) {
    if (of("FAULT_CLOSE", fd)) { REAL(close)(fd); FAIL; } return REAL(close)(fd);
}
int fsync(int fd) { if (of("FAULT_FSYNC", fd)) FAIL; return REAL(fsync)(fd); }
int syncfs(int fd) { if (of("FAULT_SYNCFS", fd)) FAIL; return REAL(syncfs)(fd); }
ssize_t copy_file_range(int a, off_t *ao, int b, off_t *bo, size_t n, unsigned f) {
    if (of("FAULT_READ", a)) FAIL; return REAL(copy_file_range)(a, ao, b, bo, n, f);
}
int rename(const char *a, const char *b) {
    if (named("FAULT_RENAME", b)) FAIL; return REAL(rename)(a, b);
}
int renameat(int da, const char *a, int db, const char *b) {
    if (named("FAULT_RENAME", b)) FAIL; return REAL(renameat)(da, a, db, b);
}
int renameat2(int da, const char *a, int db, const char *b, unsigned f) {
    if (named("FAULT_RENAME", b)) FAIL; return REAL(renameat2)(da, a, db, b, f);
}
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A library that makes single system calls fail."""
    if not shutil.which("gcc"):
        pytest.skip("needs gcc")
    place = tmp_path_factory.mktemp("shim")
    (place / "shim.c").write_text(_SHIM)
    library = str(place / "shim.so")
    subprocess.run(
        ["gcc", "-shared", "-fPIC", "-O1", "-o", library, str(place / "shim.c"), "-ldl"], check=True
    )
    return library


SICK = "sub-07/f7_bold.nii"
"""The file that has bad luck."""


@pytest.mark.parametrize(
    ("call", "options", "what"),
    [
        ("READ", (), "content cannot be read"),
        ("READ", ("--no-verify",), "content cannot be read"),
        ("WRITE", (), "could not be written"),
        ("CLOSE", (), "could not be written"),
        ("RENAME", (), "could not be written"),
    ],
)
def test_one_file_fails(
    thirty: Planted, dest: Path, shim: str, call: str, options: tuple[str, ...], what: str
) -> None:
    """The others come, and the next run brings it."""
    name = os.path.basename(SICK)
    if call == "READ":
        name = os.path.basename(os.readlink(thirty.root / SICK))
    elif call != "RENAME":
        name = "dest/sub-07/.bidsshare-tmp-"
    fault = {f"FAULT_{call}": name, "LD_PRELOAD": shim}
    for _ in range(2):
        done = export("-d", thirty.root, dest, *options, **fault)
        assert done.code == 1, done.said
        assert "Traceback" not in done.said, done.said
        assert what in done.said
        assert os.strerror(errno.EIO) in done.said
        expected = {path: c for path, c in thirty.files.items() if path != SICK}
        assert see_nothing_is_partial(dest, thirty.files) == expected
        assert set(Ledger.read(dest / ".bidsshare").paths()) == set(expected)
        assert temporary_in(dest) == []
    see_complete(thirty, dest)


@pytest.mark.parametrize(
    ("call", "name", "update"),
    [
        ("SYNCFS", "dest", False),
        ("SYNCFS", "dest", True),
        ("FSYNC", "dest/.bidsshare/journal", True),
        ("FSYNC", "dest/.bidsshare/.bidsshare-tmp-", True),
        ("FSYNC", "dest/.bidsshare", False),
        ("WRITE", "dest/.bidsshare/", False),
        ("RENAME", "files.tsv", True),
        ("RENAME", "manifest-", True),
        ("RENAME", "directories", True),
        ("RENAME", "export.json", True),
    ],
)
def test_what_was_written_cannot_be_vouched_for(
    planted: Planted, dest: Path, shim: str, call: str, name: str, update: bool
) -> None:
    """Nothing is listed then that is not surely on the disk."""
    versions = planted.versions if update else [planted.files]
    if update:
        assert export("-d", planted.root, dest, "--at", "main~1").code == 0
    done = export("-d", planted.root, dest, "--delete", LD_PRELOAD=shim, **{f"FAULT_{call}": name})
    assert done.code == 1, done.said
    assert "Traceback" not in done.said, done.said
    assert os.strerror(errno.EIO) in done.said
    if dest.exists():
        see_nothing_is_partial(dest, *versions)
    if call == "SYNCFS":
        listed = Ledger.read(dest / ".bidsshare")
        assert {w.source for _, w in listed.items()}.isdisjoint(_sources_of_new(planted, update))
    see_complete(planted, dest, "--delete")


def _sources_of_new(planted: Planted, update: bool) -> set[str]:
    """Give what tells the versions of files apart that were written last."""
    listed = git(planted.root, "ls-tree", "-r", "main").splitlines()
    sources = {" ".join(line.split()[0:3:2]) for line in listed}
    if update:
        before = git(planted.root, "ls-tree", "-r", "main~1").splitlines()
        sources -= {" ".join(line.split()[0:3:2]) for line in before}
    return sources


# Rights


def _python_for_all() -> str:
    """Give a Python like this one that every user can run, also from itself."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-V'], check=True)"
    for python in (sys.executable, "/usr/bin/python{}.{}".format(*sys.version_info)):
        tried = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-c", code]
        if subprocess.run(tried, capture_output=True, check=False, cwd="/").returncode == 0:
            return python
    pytest.skip("this Python cannot be run by every user")


@pytest.fixture
def as_nobody(for_nobody: Path) -> Callable[..., Ended]:
    """Export as another user than the one whose the dataset is."""
    home = for_nobody / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", _python_for_all())
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "HOME": str(home),
        "LOGNAME": "nobody",
    }

    def run(*arguments: str | Path, trusted: bool = True) -> Ended:
        config = str(for_nobody / "config") if trusted else os.devnull
        given = {**environment, "GIT_CONFIG_GLOBAL": config}
        return Running(*arguments, launcher=user, **given).end()

    tried = run("--help")
    if tried.code:
        pytest.skip(f"not every user can run datalad here: {tried.said}")
    return run


@needs_users
def test_a_dataset_of_somebody_else(for_nobody: Path, as_nobody: Callable[..., Ended]) -> None:
    """git does not trust it: that is said with the way out, and nothing is written."""
    planted = plant(for_nobody / "ds", {"a/a_bold.nii": b"a", "x.json": b"{}"})
    subprocess.run(["chmod", "-R", "a+rX", str(planted.root)], check=True)
    writable = for_nobody / "writable"
    writable.mkdir()
    os.chown(writable, 65534, 65534)
    dest = writable / "dest"
    done = as_nobody("-d", planted.root, dest, trusted=False)
    assert done.code == 1, done.said
    assert "Traceback" not in done.said, done.said
    assert "safe.directory" in done.said
    assert not dest.exists()
    done = as_nobody("-d", planted.root, dest)
    assert done.code == 0, done.said
    assert tree(dest) == planted.files


@needs_users
def test_where_nothing_can_be_written_any_more(
    for_nobody: Path, as_nobody: Callable[..., Ended]
) -> None:
    """A directory in the destination, our own one, or all of it."""
    files = {f"{d}/{n}_bold.nii": d.encode() * 5000 for d in "abc" for n in range(5)}
    changed = {k: v[::-1] + b"!" for k, v in files.items() if k != "b/4_bold.nii"}
    planted = plant(for_nobody / "ds", files, changed)
    subprocess.run(["chmod", "-R", "a+rX", str(planted.root)], check=True)
    writable = for_nobody / "writable"
    writable.mkdir()
    os.chown(writable, 65534, 65534)
    dest = writable / "dest"
    assert as_nobody("-d", planted.root, dest, "--at", "main~1").code == 0
    for closed in (dest / "b", dest / ".bidsshare", dest):
        closed.chmod(0o555)
        done = as_nobody("-d", planted.root, dest, "--delete")
        assert done.code == 1, done.said
        assert "Traceback" not in done.said, done.said
        assert "writ" in done.said
        found = see_nothing_is_partial(dest, *planted.versions)
        assert {n: c for n, c in found.items() if n[0] == "b"} == {
            n: c for n, c in files.items() if n[0] == "b"
        }
        if closed == dest / "b":
            assert "could not be deleted" in done.said
            assert found["a/0_bold.nii"] == changed["a/0_bold.nii"]
        closed.chmod(0o755)
    assert as_nobody("-d", planted.root, dest, "--delete").code == 0
    assert see_nothing_is_partial(dest, planted.files) == planted.files


# The source goes away


@pytest.fixture
def clone(planted: Planted, tmp_path: Path) -> Planted:
    """A clone without content, of a copy that may be destroyed."""
    source = tmp_path / "source"
    shutil.copytree(planted.root, source, symlinks=True)
    return Planted(clone_of(source, tmp_path / "clone"), planted.versions)


@pytest.mark.parametrize("how", ["store removed", "store moved", "objects removed", "all removed"])
def test_the_source_vanishes(clone: Planted, dest: Path, tmp_path: Path, how: str) -> None:
    store = tmp_path / "source"
    if how in ("objects removed", "all removed"):
        clone, store = Planted(store, clone.versions), clone.root
    away = tmp_path / "away"
    shutil.copytree(tmp_path / "source", away, symlinks=True)
    running = frozen(dest, lambda: Running("-d", clone.root, dest, "-J", "1"), 20, 200)
    if how == "store moved":
        store.rename(tmp_path / "elsewhere")
    else:
        gone = clone.root / ".git/annex/objects" if how == "objects removed" else store
        gone = clone.root if how == "all removed" else gone
        shutil.rmtree(gone)
    running.thaw()
    ended = running.end()
    assert "Traceback" not in ended.said, ended.said
    found = see_nothing_is_partial(dest, clone.files)
    assert temporary_in(dest) == []
    if ended.code == 0:
        # Of a directory that is moved, the files can be read all the same.
        assert (how, found) == ("store moved", clone.files)
    else:
        assert len(found) < len(clone.files)
        assert "vanished while the export went on" in ended.said or how == "all removed"
    place = tmp_path / "source"
    shutil.rmtree(place, ignore_errors=True)
    away.rename(place)
    see_complete(clone, dest)


# What was fetched


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_interrupted_while_content_is_fetched(tmp_path: Path, number: int) -> None:
    """What came is given back, or stays as git-annex knows it; the next run needs all the rest."""
    files: dict[bytes | str, bytes] = {f"f{n:02}_bold.nii": b"%02d" % n * 500 for n in range(12)}
    root = annex_repo(tmp_path / "ds", files, {"x.json": b"{}"})
    dest = tmp_path / "dest"
    far_away(root, tmp_path / "far", dest)
    options = ("--window", "3 kB", "--drop-fetched", "-J", "1")
    running = frozen(dest, lambda: Running("-d", root, dest, *options), 4, 9)
    running.send(number, to_all=True)
    running.thaw()
    ended = running.end()
    assert ended.code != 0
    found = see_nothing_is_partial(dest, {**{str(k): v for k, v in files.items()}, "x.json": b"{}"})
    assert 4 <= len(found) < 13
    git(root, "annex", "fsck", "-q", "--from", "far")
    here = git(root, "annex", "find", "--in", "here").split()
    if number == signal.SIGINT:
        # what had just come; or, ended while they were given back, those of one window
        assert len(here) <= 3
    for name in here:
        assert (root / name).read_bytes() == files[name]
    fsck = ["git", "annex", "fsck", "-q"]
    checked = subprocess.run(fsck, cwd=root, capture_output=True, text=True, check=False)
    # git-annex drops first, and notes that then.
    said = re.sub(
        r"  \*\* Based on the location log, .*\n  \*\* was expected to be present, but its content "
        r"is missing\.\n|fsck: \d+ failed\n",
        "",
        checked.stderr,
    )
    assert said == ""
    git(root, "annex", "fsck", "-q")
    done = export("-d", root, dest, *options)
    assert done.code == 0, done.said
    assert len(tree(dest)) == 13
    # what was here before stays
    assert git(root, "annex", "find", "--in", "here").split() == [
        name for name in here if name in git(root, "annex", "find", "--in", "here")
    ]
    git(root, "annex", "fsck", "-q")
