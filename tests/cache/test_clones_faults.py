"""What goes wrong with managed clones: killed processes, full disks, planted directories."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datalad_bidsshare.cache.clones import clones, exclusively, find_clone, remove_entry, use_clone
from datalad_bidsshare.cache.urls import Source, read_source
from datalad_bidsshare.dataset.cloning import unpushed
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.unpushed import TARGET
from tests.cache.conftest import can_unshare, change, configured, is_root
from tests.cache.servers import serving
from tests.dataset.builders import git, wait_for
from tests.platforms import needs_posix
from tests.process_log import ProcessLog

pytestmark = needs_posix

_USE = """
import sys
from datalad_bidsshare.cache.clones import use_clone
from datalad_bidsshare.cache.urls import read_source
from datalad_bidsshare.dataset.errors import DatasetError
try:
    with use_clone(read_source(sys.argv[1])) as clone:
        print("using", clone.commit, clone.fresh, flush=True)
        if sys.argv[2:] == ["wait"]:
            sys.stdin.read()
except DatasetError as e:
    print("error", e, flush=True)
"""

# Stands still at the command that the file 'pattern' describes, if there is one.
_PAUSED = """#!/bin/sh
if [ -f '{here}/pattern' ]; then
    case "{name} $*" in $(cat '{here}/pattern'))
        touch '{here}/reached'
        while [ -f '{here}/pattern' ]; do sleep 0.05; done
    esac
fi
exec '{real}' "$@"
"""

Using = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def using(source: Source) -> Iterator[Using]:
    """Give a function that starts a process which uses the clone."""
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, before: tuple[str, ...] = ()) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [*before, sys.executable, "-c", _USE, source.url, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


@pytest.fixture
def pause(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Give a function that makes git or git-annex stand still at a command, and says when."""
    here = tmp_path / "paused"
    here.mkdir()
    for name in ("git", "git-annex"):
        real = shutil.which(name)
        (here / name).write_text(_PAUSED.format(here=here, name=name, real=real))
        (here / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{here}{os.pathsep}{os.environ['PATH']}")

    def at(pattern: str) -> Path:
        (here / "pattern").write_text(pattern)
        return here / "reached"

    return at


def _kill(process: subprocess.Popen[str], reached: Path) -> None:
    wait_for(reached.exists)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    reached.with_name("pattern").unlink()


@pytest.mark.parametrize("command", ["git*clone*", "git*annex*init*", "git*update-ref*base*"])
def test_a_clone_that_was_killed_half_way_is_never_used(
    command: str, source: Source, cache: Path, using: Using, pause: Callable[[str], Path]
) -> None:
    reached = pause(command)
    _kill(using(), reached)
    (listed,) = clones()
    assert not listed.root.exists()
    assert "was killed" in listed.problem
    with use_clone(source, dry_run=True) as trial:
        assert trial.entry != listed.entry
    with use_clone(source) as clone:
        assert clone.fresh
        git(clone.root, "fsck", "--strict")
        assert sorted(p.name for p in clone.entry.iterdir() if p.name != "fetching") == [
            "dataset",
            "lock",
            "state.json",
        ]
    assert [entry.name for entry in cache.iterdir()] == [clone.entry.name]


def test_what_a_killed_call_left_can_be_removed(
    source: Source, cache: Path, using: Using, pause: Callable[[str], Path]
) -> None:
    _kill(using(), pause("git*annex*init*"))
    found = find_clone(source)
    assert found is not None
    with exclusively(found) as had:
        assert had
        remove_entry(found)
    assert not list(cache.iterdir())


def test_a_dry_run_that_was_killed_is_cleared_away(
    source: Source, cache: Path, tmp_path: Path
) -> None:
    code = _USE.replace("argv[1]))", "argv[1]), dry_run=True)")
    with subprocess.Popen(
        [sys.executable, "-c", code, source.url, "wait"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("using")
        # one that lives is left alone
        assert clones() == []
        (trial,) = cache.iterdir()
        process.kill()
        process.wait()
    assert trial.exists()
    assert clones() == []
    # a list changes nothing
    assert trial.exists()
    (trial / "mine").write_text("x")
    with use_clone(source):
        assert (trial / "mine").exists()
    (trial / "mine").unlink()
    with use_clone(source):
        assert not trial.exists()


@pytest.mark.parametrize("command", ["git*fetch*origin*", "git*fetch* . *", "git*reset*--hard*"])
def test_an_update_that_was_killed_is_done_by_the_next_one(
    command: str,
    source: Source,
    origin: Path,
    cache: Path,
    using: Using,
    pause: Callable[[str], Path],
) -> None:
    with use_clone(source) as clone:
        first = clone.commit
    commit = change(origin, "a.json", '{"new": 1}')
    _kill(using(), pause(command))
    with use_clone(source, update=False) as clone:
        assert clone.commit == first
    with use_clone(source) as clone:
        assert clone.commit == git(clone.root, "rev-parse", "HEAD").strip() == commit
        assert (clone.root / "a.json").read_text() == '{"new": 1}'
        assert unpushed(clone.root) == []


def test_a_checkout_that_was_killed_half_way_is_finished(
    source: Source, origin: Path, cache: Path
) -> None:
    """What git leaves when it is killed: a lock, a file cut off, and one without an entry."""
    with use_clone(source) as clone:
        pass
    change(origin, "a.json", '{"new": 1}')
    commit = change(origin, "b.json", '{"newer": 1}')
    git(clone.root, "fetch", "-q")
    git(clone.root, "update-ref", TARGET, commit)
    (clone.root / "a.json").write_text('{"ne')
    (clone.root / "b.json").write_text("")
    (clone.root / ".git" / "index.lock").write_bytes(b"DIRC")
    assert unpushed(clone.root) == []
    with use_clone(source) as clone:
        assert git(clone.root, "rev-parse", "HEAD").strip() == commit
        assert (clone.root / "a.json").read_text() == '{"new": 1}'
        assert (clone.root / "b.json").read_text() == '{"newer": 1}'
        assert not git(clone.root, "status", "--porcelain")


def test_what_somebody_did_after_a_kill_is_kept(source: Source, origin: Path, cache: Path) -> None:
    with use_clone(source) as clone:
        pass
    commit = change(origin, "a.json", '{"new": 1}')
    git(clone.root, "fetch", "-q")
    git(clone.root, "update-ref", TARGET, commit)
    (clone.root / "mine.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"untracked: mine\.txt"), use_clone(source):
        pass
    assert (clone.root / "mine.txt").read_text() == "mine"


def test_of_many_processes_one_clones(
    source: Source, cache: Path, using: Using, process_log: ProcessLog
) -> None:
    processes = [using() for _ in range(4)]
    said = [process.communicate()[0].split() for process in processes]
    assert [words[0] for words in said] == ["using"] * 4
    assert len({words[1] for words in said}) == 1
    assert sorted(words[2] for words in said) == ["False"] * 3 + ["True"]
    assert sum(" clone " in command for command in process_log.commands("git")) == 1


def test_when_the_one_that_clones_fails_the_next_one_tries(
    source: Source, cache: Path, using: Using, pause: Callable[[str], Path]
) -> None:
    reached = pause("git*annex*init*")
    first = using()
    wait_for(reached.exists)
    second = using()
    _kill(first, reached)
    assert second.communicate()[0].split()[::2] == ["using", "True"]


def test_a_clone_in_use_by_another_process_is_kept_and_what_is_new_comes(
    source: Source, origin: Path, cache: Path, using: Using
) -> None:
    other = using("wait")
    assert other.stdout is not None
    first = other.stdout.readline().split()[1]
    commit = change(origin, "a.json", '{"new": 1}')
    found = find_clone(source)
    assert found is not None and found.in_use
    with exclusively(found) as had:
        assert not had
    with use_clone(source) as clone:
        # The commit is here, and what the other one looks at did not change.
        assert clone.commit == commit != first
        assert git(clone.root, "show", f"{commit}:a.json") == '{"new": 1}'
        assert (clone.root / "a.json").read_text() == "{}"
    other.communicate("")
    with use_clone(source) as clone:
        assert (clone.root / "a.json").read_text() == '{"new": 1}'


def test_a_clone_that_is_cleaned_is_waited_for(source: Source, cache: Path, using: Using) -> None:
    with use_clone(source) as clone:
        pass
    with exclusively(clone.entry) as had:
        assert had
        other = using()
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(1)
        remove_entry(clone.entry)
    # removed under its eyes: it makes another one
    assert other.communicate()[0].split()[::2] == ["using", "True"]


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (lambda root: (root / ".git" / "HEAD").write_text(""), "git can read"),
        (lambda root: shutil.rmtree(root / ".git" / "objects"), "git can read|lacks its commits"),
        (lambda root: shutil.rmtree(root / ".git"), "no repository of its own"),
        (
            lambda root: git(root, "remote", "set-url", "origin", "/elsewhere"),
            "is not a clone of",
        ),
    ],
    ids=["head", "objects", "git", "remote"],
)
def test_a_damaged_clone_is_neither_used_nor_removed(
    damage: Callable[[Path], object], expected: str, source: Source, cache: Path
) -> None:
    with use_clone(source) as clone:
        pass
    (clone.root / "mine.txt").write_text("mine")
    damage(clone.root)
    for arguments in ({}, {"update": False}, {"dry_run": True}):
        with (
            pytest.raises(DatasetError, match=f"(?s)({expected}).*next: "),
            use_clone(source, **arguments),
        ):
            pass
    assert (clone.root / "mine.txt").exists()


def test_a_clone_that_is_a_link_is_refused(source: Source, cache: Path, tmp_path: Path) -> None:
    with use_clone(source) as clone:
        pass
    clone.root.rename(tmp_path / "planted")
    clone.root.symlink_to(tmp_path / "planted")
    with pytest.raises(DatasetError, match="no repository of its own"), use_clone(source):
        pass
    with exclusively(clone.entry), pytest.raises(DatasetError, match="not of the clone: dataset"):
        remove_entry(clone.entry)
    assert (tmp_path / "planted" / "a.json").exists()


# Planted by others


@pytest.mark.parametrize("where", ["cache", "entry"])
@pytest.mark.parametrize("how", ["owner", "mode", "link", "file"])
def test_a_planted_directory_is_refused(
    where: str, how: str, source: Source, cache: Path, tmp_path: Path
) -> None:
    if how == "owner" and not is_root():
        pytest.skip("only root gives directories away")
    with use_clone(source) as clone:
        pass
    place = cache if where == "cache" else clone.entry
    if how == "owner":
        os.chown(place, 65534, 65534)
        expected = "another user"
    elif how == "mode":
        place.chmod(0o777)
        expected = "Others may write"
    else:
        place.rename(tmp_path / "real")
        if how == "file":
            place.write_text("")
        else:
            place.symlink_to(tmp_path / "real")
            if where == "cache":
                if not is_root():
                    pytest.skip("only root gives links away")
                os.chown(place, 65534, 65534, follow_symlinks=False)
        expected = "no directory|link of another user|cannot be"
    for arguments in ({}, {"dry_run": True}):
        with (
            pytest.raises(DatasetError, match=f"(?s)({expected}).*next: "),
            use_clone(source, **arguments),
        ):
            pass


def test_a_cache_that_is_a_link_of_ours_is_used(
    source: Source, cache: Path, tmp_path: Path
) -> None:
    (tmp_path / "scratch").mkdir(mode=0o700)
    cache.symlink_to(tmp_path / "scratch")
    with use_clone(source) as clone:
        assert clone.root.is_relative_to(tmp_path / "scratch")


# Disks


needs_mount = pytest.mark.skipif(
    not is_root() or not shutil.which("unshare") or not can_unshare(),
    reason="mounting takes root and unshare",
)


def _mounting(options: str, directory: Path) -> tuple[str, ...]:
    script = f'mount {options} "$1" && shift && exec "$@"'
    return ("unshare", "-m", "sh", "-c", script, "sh", str(directory))


@needs_mount
@pytest.mark.parametrize("size", ["16k", "64k", "160k"])
def test_a_full_disk_leaves_nothing_and_says_what_to_do(
    size: str, source: Source, cache: Path, using: Using
) -> None:
    cache.mkdir(mode=0o700)
    script = (
        f'mount -t tmpfs -o size={size},mode=700 tmpfs "$1"; cache=$1; shift; "$@"; '
        'echo; find "$cache" -mindepth 1'
    )
    process = using(before=("unshare", "-m", "sh", "-c", script, "sh", str(cache)))
    said, log = process.communicate()
    first, *rest = said.strip().splitlines()
    assert first.startswith("error "), (said, log)
    assert str(cache) in first
    assert "o space" in first
    assert "datalad.bidsshare.cache" in first
    assert not [line for line in rest if line], rest


@needs_mount
@pytest.mark.parametrize("size", ["200k", "600k"])
def test_a_disk_that_gets_full_while_a_web_server_is_asked_is_not_put_down_to_the_url(
    size: str, origin: Path, cache: Path, tmp_path: Path, using: Using
) -> None:
    change(origin, "large.json", os.urandom(500_000).hex())
    git(tmp_path, "clone", "-q", "--bare", str(origin), "www/src.git")
    git(tmp_path / "www" / "src.git", "update-server-info")
    cache.mkdir(mode=0o700)
    with serving(tmp_path / "www") as host:
        command = [sys.executable, "-c", _USE, f"http://{host}/src.git"]
        done = subprocess.run(
            [*_mounting(f"-t tmpfs -o size={size},mode=700 tmpfs", cache), *command],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout.startswith("error "), (done.stdout, done.stderr)
    assert "o space" in done.stdout and str(cache) in done.stdout
    assert "how the source is written" not in done.stdout


_FULL_UPDATE = """
import os, subprocess, sys
from pathlib import Path
from datalad_bidsshare.cache.clones import use_clone
from datalad_bidsshare.cache.urls import read_source
from datalad_bidsshare.dataset.errors import DatasetError
url, origin, bare = sys.argv[1:]
with use_clone(read_source(url)):
    pass
Path(origin, "a.json").write_text(os.urandom(1_500_000).hex())
subprocess.run(["git", "commit", "-q", "-am", "large"], cwd=origin, check=True)
subprocess.run(["git", "fetch", "-q", origin, "main:main"], cwd=bare, check=True)
subprocess.run(["git", "update-server-info"], cwd=bare, check=True)
try:
    with use_clone(read_source(url)):
        pass
except DatasetError as e:
    print("error", e, flush=True)
"""


@needs_mount
def test_a_disk_that_gets_full_in_an_update_from_a_web_server_says_so(
    origin: Path, cache: Path, tmp_path: Path
) -> None:
    bare = tmp_path / "www" / "src.git"
    git(tmp_path, "clone", "-q", "--bare", str(origin), str(bare))
    git(bare, "update-server-info")
    cache.mkdir(mode=0o700)
    with serving(tmp_path / "www") as host:
        command = [sys.executable, "-c", _FULL_UPDATE, f"http://{host}/src.git"]
        done = subprocess.run(
            [
                *_mounting("-t tmpfs -o size=1m,mode=700 tmpfs", cache),
                *command,
                str(origin),
                str(bare),
            ],
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.stdout.startswith("error No space is left"), (done.stdout, done.stderr)
    assert str(cache) in done.stdout


_FULL = """
import os, subprocess, sys
from pathlib import Path
from datalad_bidsshare.cache.clones import use_clone
from datalad_bidsshare.cache.urls import read_source
from datalad_bidsshare.dataset.errors import DatasetError
cache, origin = map(Path, sys.argv[1:])
def use():
    try:
        with use_clone(read_source(origin)) as clone:
            return clone
    except DatasetError as e:
        print("error", e, flush=True)
clone = use()
for size in (50_000, 300_000, 800_000):
    (origin / "a.json").write_text(os.urandom(size).hex())
    subprocess.run(["git", "commit", "-q", "-am", "large"], cwd=origin, check=True)
    for _ in range(2):
        use()
subprocess.run(["mount", "-o", "remount,size=50m", str(cache)], check=True)
clone = use()
head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=clone.root, capture_output=True, text=True)
assert head.stdout.strip() == clone.commit
assert (clone.root / "a.json").read_bytes() == (origin / "a.json").read_bytes()
subprocess.run(["git", "fsck", "--strict", "--no-dangling"], cwd=clone.root, check=True)
print("repaired")
"""


@needs_mount
def test_a_disk_that_gets_full_in_an_update_spoils_nothing(
    source: Source, cache: Path, tmp_path: Path
) -> None:
    cache.mkdir(mode=0o700)
    (tmp_path / "full.py").write_text(_FULL)
    command = [sys.executable, str(tmp_path / "full.py"), str(cache), source.url]
    done = subprocess.run(
        [*_mounting("-t tmpfs -o size=900k,mode=700 tmpfs", cache), *command],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    *errors, last = done.stdout.splitlines() or [""]
    assert last == "repaired", (done.stdout, done.stderr)
    assert errors
    assert all("o space" in line and "next: " in line and str(cache) in line for line in errors), (
        errors
    )


@needs_mount
def test_a_cache_that_is_read_only_says_what_to_do(
    source: Source, cache: Path, using: Using
) -> None:
    cache.mkdir(mode=0o700)
    before = _mounting(f"-o bind,ro '{cache}'", cache)
    said, _ = using(before=before).communicate()
    assert said.startswith("error "), said
    assert str(cache) in said
    assert "ead-only" in said
    assert "datalad.bidsshare.cache" in said


@needs_mount
def test_a_cache_on_another_file_system(source: Source, cache: Path, using: Using) -> None:
    cache.mkdir(mode=0o700)
    said, log = using(before=_mounting("-t tmpfs -o mode=700 tmpfs", cache)).communicate()
    assert said.startswith("using "), (said, log)


def test_a_cache_that_cannot_be_made(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    expected = r"cannot be made.*datalad\.bidsshare\.cache"
    with (
        configured(monkeypatch, tmp_path / "file" / "cache"),
        pytest.raises(DatasetError, match=expected),
        use_clone(source),
    ):
        pass


def test_names_that_are_not_ascii_with_spaces_and_quotes(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "é'\"$(x) \N{BRAIN}"
    there = tmp_path / "datä 'x\" $(y)"
    origin.rename(there)
    with configured(monkeypatch, place):
        source = read_source(there)
        with use_clone(source) as clone:
            git(clone.root, "annex", "get", "-q", ".")
        commit = change(there)
        with use_clone(source) as clone:
            assert clone.commit == commit
        (listed,) = clones()
        assert (listed.url, listed.content_files) == (str(there), 1)


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
def test_names_that_are_no_utf_8_are_an_error_with_advice(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DataLad cannot clone from, or to, such a directory."""
    place = tmp_path / os.fsdecode(b"c\xe9")
    there = tmp_path / os.fsdecode(b"d\xe9")
    origin.rename(there)
    with configured(monkeypatch, place):
        with pytest.raises(DatasetError, match="next: "), use_clone(read_source(there)):
            pass
        assert not list(place.iterdir())
