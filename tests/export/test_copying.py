"""Copying many files by several processes, some of which do not live to the end."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalad_bidsshare.export import copying
from datalad_bidsshare.export.copier import RELATIVE
from datalad_bidsshare.export.copying import Pool
from datalad_bidsshare.export.jobs import Done, Job
from tests.dataset.builders import HOSTILE_NAMES, PATIENCE, wait_for
from tests.platforms import needs_posix

GIGABYTE = 1 << 30


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    dest = tmp_path / "dest"
    dest.mkdir()
    return dest


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    return source


@pytest.fixture(autouse=True)
def _nothing_is_left(tmp_path: Path) -> Iterator[None]:
    """No temporary file, and no descriptor."""
    descriptors = _descriptors()
    yield
    wait_for(lambda: not _temporaries(tmp_path))
    wait_for(lambda: _descriptors() <= descriptors)


def _descriptors() -> int:
    with contextlib.suppress(OSError):
        return len(os.listdir("/proc/self/fd"))
    return 0


def _temporaries(directory: Path) -> list[Path]:
    return list(directory.rglob(".bidsshare-tmp-*"))


def job(number: int, path: str, source: bytes | tuple[Path, str], **changes: object) -> Job:
    """Make a job for a file that nothing is known of; `changes` are fields of it."""
    given = source if isinstance(source, bytes) else (os.fspath(source[0]), source[1])
    plain = Job(number, path, given, None, "sha256", None, False, 10**18, None, False, False, True)
    return plain._replace(**changes)  # type: ignore[arg-type]


def large(source: Path, size: int = 4 * GIGABYTE) -> tuple[Path, str]:
    """Give a source that takes seconds to copy, and no space."""
    with (source / "large").open("wb") as file:
        file.truncate(size)
    return source, "large"


def pids(pool: Pool) -> list[int]:
    return [w._process.pid for w in pool._workers]


def by_status(done: list[Done]) -> Counter[tuple[str, str, str]]:
    return Counter((d.status, errno.errorcode.get(d.errno, ""), d.where) for d in done)


OK = ("ok", "", "")


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_many_files(dest: Path, source: Path, workers: int) -> None:
    expected: dict[str, bytes] = {}
    reported: list[int] = []
    for number in range(300):
        (source / f"{number}").write_bytes(os.urandom(number * 10))
    with Pool(dest, workers, reported.append) as pool:
        done = []
        for number in range(3000):
            path = f"sub-{number // 100:02}/func/f{number}"
            if number % 2:
                expected[path] = content = b"c%d" % number
                pool.submit(job(number, path, content))
            else:
                expected[path] = (source / f"{number // 10}").read_bytes()
                pool.submit(job(number, path, (source, f"{number // 10}")))
            done += pool.done(False)
            assert len(pool._workers) <= workers
        done += pool.done(True)
        assert list(pool.done(True)) == []
    assert sorted(d.number for d in done) == list(range(3000))
    assert by_status(done) == {OK: 3000}
    found = {str(p.relative_to(dest)): p.read_bytes() for p in dest.rglob("*") if p.is_file()}
    assert {name.replace(os.sep, "/"): content for name, content in found.items()} == expected
    assert sum(reported) == sum(map(len, expected.values()))
    for d in done:
        path = f"sub-{d.number // 100:02}/func/f{d.number}"
        assert d.digest == hashlib.sha256(expected[path]).hexdigest()
        assert (d.size, d.mtime_ns) == (len(expected[path]), (dest / path).stat().st_mtime_ns)
    # Each directory was made by one of them.
    made = Counter(path for d in done for path in d.created)
    assert made == Counter(
        [f"sub-{n:02}" for n in range(30)] + [f"sub-{n:02}/func" for n in range(30)]
    )


def test_what_is_known_already_and_what_fails(dest: Path, source: Path) -> None:
    (dest / "theirs").write_bytes(b"theirs")
    (dest / "kept").write_bytes(b"kept")
    with Pool(dest, 2) as pool:
        pool.submit(job(1, "theirs", b"ours"))
        pool.submit(job(2, "kept", b"kept", unlisted=True))
        pool.submit(job(3, "a", b"x", digest="0" * 64))
        pool.submit(job(4, "a", (source, "none")))
        pool.submit(job(5, "theirs/a", b"x"))
        pool.submit(job(6, "ours", b"ours", executable=True))
        done = {d.number: d for d in pool.done(True)}
    assert {n: d.status for n, d in done.items()} == {
        1: "foreign", 2: "kept", 3: "corrupt", 4: "gone", 5: "error", 6: "ok",
    }  # fmt: skip
    assert {p.name: p.read_bytes() for p in dest.iterdir()} == {
        "theirs": b"theirs", "kept": b"kept", "ours": b"ours",
    }  # fmt: skip
    if os.name == "posix":
        assert (dest / "ours").stat().st_mode & 0o777 == 0o755


def test_hostile_names(dest: Path, source: Path) -> None:
    """Through the pipes, in sources and targets."""
    with Pool(dest, 2) as pool:
        for number, raw in enumerate(HOSTILE_NAMES):
            path = raw.decode("utf-8", "surrogateescape")
            place = os.path.join(os.fsencode(source), raw)
            os.makedirs(os.path.dirname(place), exist_ok=True)
            with open(place, "wb") as file:
                file.write(raw)
            pool.submit(job(number, path, (source, path)))
        done = list(pool.done(True))
    assert by_status(done) == {OK: len(HOSTILE_NAMES)}
    for raw in HOSTILE_NAMES:
        with open(os.path.join(os.fsencode(dest), raw), "rb") as file:
            assert file.read() == raw


def test_nothing_to_do(dest: Path) -> None:
    with Pool(dest, 2) as pool:
        pool.flush()
        assert list(pool.done(True)) == []
        assert not pool._workers
        pool.sync()


def test_a_few_files_take_one_process(dest: Path) -> None:
    with Pool(dest, 4) as pool:
        for number in range(10):
            pool.submit(job(number, str(number), b"x"))
        assert by_status(list(pool.done(True))) == {OK: 10}
        assert len(pool._workers) == 1


def test_large_files_are_spread(dest: Path, source: Path) -> None:
    """One that has much before it gets no more, as long as another has nothing."""
    large(source, 1 << 25)
    with Pool(dest, 2) as pool:
        for number in range(8):
            pool.submit(job(number, str(number), (source, "large"), size=1 << 25))
            assert all(len(w.batches) <= 1 for w in pool._workers)
        assert by_status(list(pool.done(True))) == {OK: 8}


def test_no_more_is_under_way_than_a_little(dest: Path) -> None:
    with Pool(dest, 2) as pool:
        for number in range(5000):
            pool.submit(job(number, f"{number % 10}/{number}", b"x" * 10_000))
            held = [j for w in pool._workers for b in w.batches for j in b.jobs.values()]
            assert len(held) <= 2 * copying._AHEAD * copying._COUNT
        assert by_status(list(pool.done(True))) == {OK: 5000}


def test_no_destination(dest: Path) -> None:
    if RELATIVE:
        with pytest.raises(FileNotFoundError):
            Pool(dest / "none", 1)


@needs_posix
@pytest.mark.skipif(not RELATIVE, reason="needs a descriptor of the destination")
def test_a_destination_that_is_swapped_for_a_link(dest: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    with Pool(dest, 2) as pool:
        dest.rename(tmp_path / "moved")
        dest.symlink_to(outside)
        for number in range(200):
            pool.submit(job(number, f"{number}", b"x"))
        assert by_status(list(pool.done(True))) == {OK: 200}
    assert not list(outside.iterdir())
    assert len(list((tmp_path / "moved").iterdir())) == 200


# Processes that end before their time


@needs_posix
@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_process_killed_in_the_middle_of_a_file(
    dest: Path, source: Path, how: signal.Signals, verify: bool
) -> None:
    killed: list[int] = []

    def kill(_: int) -> None:
        if not killed:
            assert _temporaries(dest)
            killed.extend(pids(pool))
            os.kill(killed[0], how)

    if not verify:
        # Sharing blocks is over at once.
        shared = shutil.which("cp") and not subprocess.call(
            ["cp", "--reflink=always", os.fspath(_small(source)), os.fspath(source / "shared")],
            stderr=subprocess.DEVNULL,
        )
        if shared:
            pytest.skip("this file system copies in no time")
    size = 4 * GIGABYTE
    with Pool(dest, 1, kill) as pool:
        big = job(0, "d/large", large(source, size), size=size, digest="0" * 64, verify=verify)
        pool.submit(big)
        for number in range(1, 500):
            pool.submit(job(number, f"e/{number}", b"x"))
        done = list(pool.done(True))
        assert pids(pool) != killed
        assert not _temporaries(dest)
    assert by_status(done) == {("error", "EIO", "target"): 1, OK: 499}
    assert sorted(d.number for d in done) == list(range(500))
    assert os.listdir(dest / "d") == []


def _small(source: Path) -> Path:
    (source / "small").write_bytes(b"x" * 8192)
    return source / "small"


@needs_posix
def test_processes_killed_all_the_time(dest: Path) -> None:
    """Each job has an answer, and files are complete or not there."""
    content = b"x" * 5000
    done: list[Done] = []
    deaths = 0
    with Pool(dest, 2) as pool:
        for number in range(6000):
            pool.submit(job(number, f"{number // 50}/{number}", content))
            if number % 500 == 499:
                for pid in pids(pool)[: 1 + deaths % 2]:
                    os.kill(pid, signal.SIGKILL)
                deaths += 1
            done += pool.done(False)
        done += pool.done(True)
    assert sorted(d.number for d in done) == list(range(6000))
    assert set(by_status(done)) <= {OK, ("error", "EIO", "target")}
    # No more than a batch is lost with a process.
    assert by_status(done)[("error", "EIO", "target")] <= 2 * deaths * copying._COUNT
    assert by_status(done)[OK] > 3000
    files = [p for p in dest.rglob("*") if p.is_file()]
    assert {p.read_bytes() for p in files} == {content}
    names = {p.name for p in files}
    assert {str(d.number) for d in done if d.status == "ok"} <= names


@needs_posix
def test_an_idle_process_is_killed(dest: Path) -> None:
    with Pool(dest, 1) as pool:
        pool.submit(job(1, "a", b"x"))
        assert by_status(list(pool.done(True))) == {OK: 1}
        os.kill(pids(pool)[0], signal.SIGKILL)
        pool._workers[0]._process.wait()
        pool.submit(job(2, "b", b"x"))
        answers = list(pool.done(True))
        # It was idle: nothing is lost, or the job that went to it is answered.
        assert [d.number for d in answers] == [2]
        pool.submit(job(3, "c", b"x"))
        assert by_status(list(pool.done(True))) == {OK: 1}


@needs_posix
def test_a_program_that_does_not_start(dest: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with Pool(dest, 2) as pool, pytest.raises(ChildProcessError, match="false, exit code 1"):
        for number in range(1000):
            pool.submit(job(number, str(number), b"x"))
        list(pool.done(True))
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with Pool(dest, 2) as pool, pytest.raises(FileNotFoundError):
        pool.submit(job(1, "a", b"x"))
        list(pool.done(True))
    assert list(dest.iterdir()) == []


class Boom(Exception):
    pass


@pytest.mark.parametrize("verify", [True, False])
def test_leaving_in_the_middle_of_a_file(dest: Path, source: Path, verify: bool) -> None:
    """It ends at once, and leaves nothing."""
    size = 16 * GIGABYTE

    def boom(_: int) -> None:
        raise Boom

    asked = job(1, "a/b", large(source, size), size=size, digest="0" * 64, verify=verify)
    # Sharing blocks is over at once: then it is no more than complete.
    with contextlib.suppress(Boom), Pool(dest, 2, boom) as pool:
        pool.submit(asked)
        list(pool.done(True))
    assert all(w._process.returncode == 0 for w in pool._workers)
    assert not _temporaries(dest)


def test_leaving_with_jobs_that_nobody_asked_for(dest: Path) -> None:
    with Pool(dest, 2) as pool:
        for number in range(1000):
            pool.submit(job(number, str(number), b"content"))
    assert {p.read_bytes() for p in dest.iterdir()} <= {b"content"}


_SCRIPT = """
import os, signal, sys, time
from pathlib import Path
from datalad_bidsshare.export.copying import Pool
from datalad_bidsshare.export.jobs import Job

dest, source = map(Path, sys.argv[1:3])

def job(number, path, source, **changes):
    plain = Job(number, path, source, None, "sha256", None, False, 1, None, False, False, True)
    return plain._replace(**changes)

def say(_):
    global said
    if not said:
        print(*[w._process.pid for w in pool._workers], flush=True)
        said = True

said = False
"""


@contextlib.contextmanager
def program(text: str, dest: Path, source: Path, *launcher: str) -> Iterator[subprocess.Popen[str]]:
    """Run a program that copies, in a process group of its own."""
    code = _SCRIPT + textwrap.dedent(text)
    with subprocess.Popen(
        [*launcher, sys.executable, "-c", code, str(dest), str(source)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    ) as running:  # fmt: skip
        try:
            yield running
        finally:
            running.kill()


def _runs(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


needs_proc = pytest.mark.skipif(
    not os.path.exists("/proc/self/stat"), reason="needs /proc to see processes"
)
COPIES_LARGE = """
    with Pool(dest, 2, say) as pool:
        for n in range(2):
            pool.submit(job(n, f"{n}/a", (str(source), "large"), size=SIZE, digest="0" * 64))
        for n in range(2, 1000):
            pool.submit(job(n, f"x/{n}", b"x"))
        list(pool.done(True))
    """


@needs_proc
@pytest.mark.parametrize("verify", [True, False])
def test_who_asked_is_killed(dest: Path, source: Path, verify: bool) -> None:
    size = 16 * GIGABYTE
    large(source, size)
    text = COPIES_LARGE.replace("SIZE", f"{size}, verify={verify}")
    with program(text, dest, source) as running:
        assert running.stdout is not None
        workers = list(map(int, running.stdout.readline().split()))
        assert len(workers) == 2
        running.kill()
        running.wait()
        wait_for(lambda: not any(map(_runs, workers)))
        assert not _temporaries(dest)
        if verify:
            assert not list(dest.glob("?/a"))


@needs_proc
def test_all_are_killed(dest: Path, source: Path) -> None:
    """Only then are temporary files left, under names that say so."""
    size = 16 * GIGABYTE
    large(source, size)
    with program(COPIES_LARGE.replace("SIZE", str(size)), dest, source) as running:
        assert running.stdout is not None
        workers = list(map(int, running.stdout.readline().split()))
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
        wait_for(lambda: not any(map(_runs, workers)))
    assert not list(dest.glob("?/a"))
    for left in _temporaries(dest):
        left.unlink()


@needs_posix
def test_an_interrupt_is_for_who_asked(dest: Path, source: Path) -> None:
    """Ctrl-C goes to all of them; the processes go on until they are told."""
    text = """
        seen = []
        signal.signal(signal.SIGINT, lambda *_: seen.append(1))
        with Pool(dest, 2) as pool:
            for n in range(3000):
                pool.submit(job(n, f"{n // 100}/{n}", b"x"))
                if n % 50 == 0:
                    os.killpg(0, signal.SIGINT)
            done = list(pool.done(True))
        print(len(done), {d.status for d in done}, bool(seen))
        """
    with program(text, dest, source) as running:
        out, err = running.communicate(timeout=PATIENCE)
    assert (out, err) == ("3000 {'ok'} True\n", "")


@needs_proc
def test_an_interrupt_ends_it(dest: Path, source: Path) -> None:
    size = 16 * GIGABYTE
    large(source, size)
    with program(COPIES_LARGE.replace("SIZE", str(size)), dest, source) as running:
        assert running.stdout is not None
        workers = list(map(int, running.stdout.readline().split()))
        os.killpg(running.pid, signal.SIGINT)
        _, err = running.communicate(timeout=PATIENCE)
        assert err.count("Traceback") == 1
        assert err.splitlines()[-1] == "KeyboardInterrupt"
        assert not any(map(_runs, workers))
        assert not _temporaries(dest)


@needs_posix
@pytest.mark.parametrize("left", ["global", "thread"])
def test_a_pool_that_is_left_open_when_python_ends(dest: Path, source: Path, left: str) -> None:
    copy = "pool = Pool(dest, 2); [pool.submit(job(n, str(n), b'x')) for n in range(500)]"
    text = {
        "global": copy,
        "thread": f"""
            import threading
            def copy():
                global pool
                {copy}
            t = threading.Thread(target=copy); t.start(); t.join()
            """,
    }[left]
    with program(text, dest, source) as running:
        out, err = running.communicate(timeout=PATIENCE)
    assert (running.returncode, out, err) == (0, "", "")
    assert {p.read_bytes() for p in dest.iterdir() if "tmp" not in p.name} <= {b"x"}


# Systems


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0 or not shutil.which("unshare"),
    reason="mounting takes root and unshare",
)
def test_no_space(dest: Path, source: Path) -> None:
    """What was begun is tried; the rest is told at once."""
    mount = 'mount -t tmpfs -o size=4m tmpfs "$0" && exec "$@"'
    text = """
        from collections import Counter
        import errno
        counted = Counter()
        with Pool(dest, 2) as pool:
            for n in range(20000):
                pool.submit(job(n, f"{n // 100}/{n}", b"x" * 5000))
                for d in pool.done(False):
                    counted[d.status, errno.errorcode.get(d.errno), d.where] += 1
            for d in pool.done(True):
                counted[d.status, errno.errorcode.get(d.errno), d.where] += 1
        files = [f for _, _, names in os.walk(dest) for f in names]
        assert not [f for f in files if "tmp" in f]
        assert set(counted) == {("ok", None, ""), ("error", "ENOSPC", "target")}, counted
        assert counted["ok", None, ""] == len(files)
        print(sum(counted.values()))
        (dest / "0/0").unlink()
        with Pool(dest, 1) as pool:
            pool.submit(job(1, "large", bytes(8 << 20)))
            assert [d.errno for d in pool.done(True)] == [errno.ENOSPC]
            # It might go in, but the copy as a whole does not.
            pool.submit(job(2, "small", b"x"))
            print(*[(d.number, errno.errorcode[d.errno]) for d in pool.done(True)])
        """
    with program(text, dest, source, "unshare", "-m", "sh", "-c", mount, str(dest)) as running:
        out, err = running.communicate(timeout=PATIENCE)
    assert (out, err) == ("20000\n(2, 'ENOSPC')\n", "")


@needs_posix
@pytest.mark.parametrize(
    "world",
    [{"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}, {"PYTHONUTF8": "1"}],
)
def test_any_locale(
    dest: Path, source: Path, world: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths mean the same to both."""
    inner = os.fsencode(source) + b"/d\xc3\xa9\xff"
    with contextlib.suppress(OSError):
        os.mkdir(inner)
    if not os.path.isdir(inner):
        pytest.skip("needs a file system that takes names of any bytes")
    with open(inner + b"/o\xc3\xa9\xff", "wb") as file:
        file.write(b"content")
    for name, value in world.items():
        monkeypatch.setenv(name, value)
    text = """
        beneath = "o\\u00e9\\udcff"
        with Pool(dest, 1) as pool:
            inner = os.fsdecode(os.fsencode(source) + b"/d\\xc3\\xa9\\xff")
            pool.submit(job(1, "t\\u00e9\\udcff", (inner, beneath)))
            print(*[d.status for d in pool.done(True)])
        """
    with program(text, dest, source) as running:
        out, err = running.communicate(timeout=PATIENCE)
    assert (out, err) == ("ok\n", "")
    with open(os.fsencode(dest) + b"/t\xc3\xa9\xff", "rb") as file:
        assert file.read() == b"content"


def test_options_of_python_do_not_reach_the_processes(
    dest: Path, source: Path, tmp_path: Path
) -> None:
    """Modules in the way of the standard library are not imported."""
    evil = tmp_path / "evil"
    evil.mkdir()
    for name in ("pickle", "hashlib", "struct"):
        (evil / f"{name}.py").write_text("raise SystemExit('evil')")
    code = _SCRIPT + textwrap.dedent(
        """
        os.chdir(os.environ["EVIL"])
        os.environ["PYTHONPATH"] = os.environ["EVIL"]
        with Pool(dest, 1) as pool:
            pool.submit(job(1, "a", b"x"))
            print(*[d.status for d in pool.done(True)])
        """
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(dest), str(source)],
        env={**os.environ, "EVIL": str(evil)},
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert (done.stdout, done.stderr) == ("ok\n", "")
