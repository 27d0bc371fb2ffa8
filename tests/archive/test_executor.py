"""Work given to processes, some of which do not live to the end."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from datalad_bidsshare.archive.executor import Pool, check_executor, count_workers, open_executor
from datalad_bidsshare.archive.job import Job
from datalad_bidsshare.archive.processes import ProcessExecutor
from datalad_bidsshare.archive.safety import Limits
from datalad_bidsshare.archive.work import Manifest, WorkItem
from datalad_bidsshare.selection.errors import SelectionError
from tests.archive import workers
from tests.archive.workers import told
from tests.dataset.builders import wait_for
from tests.platforms import needs_posix

pytestmark = needs_posix


def item(number: int, tree: Path) -> WorkItem:
    return WorkItem(number, Job(zip="a.zip"), Limits(), ("/", "a.zip"), str(tree), 1, 0, "")


def local(count: int) -> Callable[[], Executor]:
    return partial(open_executor, f"local:{count}", None)


def standard(count: int) -> Callable[[], Executor]:
    """An executor of somebody else, which goes down with any of its workers."""
    context = multiprocessing.get_context("spawn")
    return partial(ProcessPoolExecutor, count, mp_context=context)


def all_of(pool: Pool) -> list[Manifest]:
    manifests = []
    while pool.in_flight:
        manifests += pool.wait()
    return sorted([*manifests, *pool.wait()], key=lambda m: m.number)


def begun(tree: Path, number: int | None = None) -> list[int]:
    """The processes that have begun with an item, or with any."""
    pattern = "*" if number is None else f"{number}-*"
    files = [f.name for f in tree.glob(pattern) if not f.name.startswith(".")]
    return [int(name.partition("-")[2]) for name in files]


def runs(pid: int) -> bool:
    """Whether a process has not ended. One that nobody has reaped yet has."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            ended = file.read().rpartition(")")[2].split()[0] in "ZX"
        # Its other threads may end a moment later, and nobody can reap it before.
        return not ended or len(os.listdir(f"/proc/{pid}/task")) > 1
    except (FileNotFoundError, ProcessLookupError):
        return False


def children() -> set[int]:
    """The processes that this one has started, and not reaped."""
    found = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            if int((entry / "stat").read_text().rpartition(")")[2].split()[1]) == os.getpid():
                found.add(int(entry.name))
    return found


@pytest.fixture(autouse=True)
def _nothing_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """No process, no thread, no descriptor. (The standard executor leaves a tracker.)"""
    before = children(), set(threading.enumerate()), len(os.listdir("/proc/self/fd"))
    yield
    if "standard" not in request.node.name:
        assert children() <= before[0]
        assert set(threading.enumerate()) <= before[1]
        assert len(os.listdir("/proc/self/fd")) <= before[2]


# Which executors there are


def test_local_is_a_pool_of_processes() -> None:
    with open_executor("local", 3) as executor:
        assert isinstance(executor, ProcessExecutor)
        pids = {executor.submit(os.getpid).result() for _ in range(5)}
    assert os.getpid() not in pids


@pytest.mark.parametrize(
    ("spec", "jobs", "count"), [("local", 3, 3), ("local:5", 3, 5), ("local:1", None, 1)]
)
def test_the_number_of_workers(spec: str, jobs: int | None, count: int) -> None:
    assert count_workers(spec, jobs) == count
    check_executor(spec)


def test_without_a_number_it_is_that_of_the_processors() -> None:
    assert 1 <= count_workers("local", None) <= len(os.sched_getaffinity(0))


@pytest.mark.parametrize("spec", ["", "slurm", "Local", "local4", "dask:4"])
def test_an_unknown_executor_is_an_error_that_names_what_there_is(spec: str) -> None:
    for function in (check_executor, lambda s: open_executor(s, 2)):
        with pytest.raises(SelectionError, match="local:N"):
            function(spec)


@pytest.mark.parametrize("spec", ["local:", "local:0", "local:-1", "local:x", "local:²"])
def test_a_number_that_is_none_is_an_error(spec: str) -> None:
    with pytest.raises(SelectionError, match="number of processes"):
        check_executor(spec)


# What the workers are like


def test_a_worker_knows_nothing_of_datalad_and_leaves_interrupts_to_us(tmp_path: Path) -> None:
    with Pool(local(1), 1, workers.who) as pool:
        pool.submit(item(0, tmp_path))
        (manifest,) = all_of(pool)
    about = told(manifest)
    assert about["parent"] == os.getpid()
    packages = {name.partition(".")[0] for name in about["modules"]}
    assert packages.isdisjoint(
        {"datalad", "bids", "pandas", "numpy", "pytest", "site", "concurrent", "multiprocessing"}
    )
    assert about["SIGINT"]
    assert about["SIGTERM"]
    assert about["blocked"] == []
    assert set(filter(None, sys.path)) == set(about["path"])


_SCRIPT = """
    import os, sys
    with open(sys.argv[1], "a") as log:
        log.write("run\\n")
    import datalad_bidsshare.archive.executor as e
    from tests.archive import workers
    from tests.archive.test_executor import all_of, item
    from pathlib import Path
    with e.Pool(lambda: e.open_executor("local:2", None), 4, workers.who) as pool:
        for number in range(4):
            pool.submit(item(number, Path()))
        print(sum(not m.error for m in all_of(pool)))
"""


def test_the_script_that_was_started_is_not_run_again(tmp_path: Path) -> None:
    script = tmp_path / "a-script"  # like `datalad`: no module of that name can be imported
    script.write_text(textwrap.dedent(_SCRIPT))
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, script, tmp_path / "log"],
        stdout=subprocess.PIPE, text=True, check=True, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    assert done.stdout == "4\n"
    assert (tmp_path / "log").read_text() == "run\n"


def test_what_a_library_prints_does_not_come_between(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Pool(local(1), 1, workers.print_and_read) as pool:
        for number in range(3):
            pool.submit(item(number, tmp_path))
        assert [told(m) for m in all_of(pool)] == ["", "", ""]
    assert capfd.readouterr().err.count("more noise") == 3


# Many items


@pytest.mark.parametrize("make", [local, standard])
@pytest.mark.parametrize("count", [1, 3])
def test_every_item_has_one_manifest(
    tmp_path: Path, make: Callable[[int], Callable[[], Executor]], count: int
) -> None:
    numbers = iter(range(60))
    manifests: list[Manifest] = []
    with Pool(make(count), 6, workers.who) as pool:
        assert pool.wait() == []
        left = True
        while left or pool.in_flight:
            while left and pool.has_room():
                if (number := next(numbers, None)) is None:
                    left = False
                else:
                    pool.submit(item(number, tmp_path))
            assert pool.in_flight <= 6
            manifests += pool.wait()
        assert pool.wait() == []
    assert sorted(m.number for m in manifests) == list(range(60))
    pids = {told(m)["pid"] for m in manifests}
    assert os.getpid() not in pids
    assert 1 <= len(pids) <= count


def test_an_executor_of_threads_does_as_well(tmp_path: Path) -> None:
    with Pool(lambda: ThreadPoolExecutor(2), 4, workers.who) as pool:
        for number in range(5):
            pool.submit(item(number, tmp_path))
        assert [told(m)["pid"] for m in all_of(pool)] == [os.getpid()] * 5


def test_submitting_waits_for_nothing(tmp_path: Path) -> None:
    with Pool(local(2), 4, workers.sleep) as pool:
        for number in range(50):
            pool.submit(item(number, tmp_path))
        assert not pool.has_room()
        assert pool.in_flight == 50
        assert pool.wait(timeout=0) == []
        assert pool.wait(timeout=0.01) == []


def test_large_manifests_and_items_come_through(tmp_path: Path) -> None:
    job = Job(zip="a.zip", members=tuple(f"sub-01/{number:060}" for number in range(20_000)))
    with Pool(local(2), 4, workers.large) as pool:
        for number in range(4):
            pool.submit(WorkItem(number, job, Limits(), ("/", "a"), str(tmp_path), 1, 0, ""))
        assert {len(told(m)) for m in all_of(pool)} == {8 << 20}


def test_what_is_raised_becomes_an_error_of_that_item(tmp_path: Path) -> None:
    with Pool(local(1), 4, workers.fail) as pool:
        for number in range(4):
            pool.submit(item(number, tmp_path))
        errors = [m.error for m in all_of(pool)]
    assert errors[0] == "ValueError: no such thing"
    assert "Unpicklable" in errors[1]
    assert "SystemExit" in errors[2] or "3" in errors[2]
    assert "MemoryError" in errors[3]


# Workers that are killed


@pytest.mark.parametrize("make", [local, standard])
def test_an_item_whose_worker_is_killed_is_tried_again(
    tmp_path: Path, make: Callable[[int], Callable[[], Executor]]
) -> None:
    with Pool(make(2), 4, workers.first_try_sleeps) as pool:
        pool.submit(item(0, tmp_path))
        wait_for(lambda: begun(tmp_path, 0))
        os.kill(begun(tmp_path, 0)[0], signal.SIGKILL)
        (manifest,) = all_of(pool)
    assert not manifest.error
    assert told(manifest) == 1
    assert len(begun(tmp_path, 0)) == 2


@pytest.mark.parametrize("make", [local, standard])
def test_an_item_that_kills_its_workers_is_an_error_and_the_others_are_done(
    tmp_path: Path, make: Callable[[int], Callable[[], Executor]]
) -> None:
    with Pool(make(2), 4, workers.third_kills_itself) as pool:
        for number in range(8):
            pool.submit(item(number, tmp_path))
        manifests = all_of(pool)
    assert [m.number for m in manifests] == list(range(8))
    assert [m.number for m in manifests if m.error] == [3]
    error = manifests[3].error
    assert error.startswith("the process that unpacked it was killed (out of memory?), twice")
    assert "-J 1" in error
    assert manifests[3].files == ()
    assert len(begun(tmp_path, 3)) == 2


def test_a_local_worker_takes_nothing_along_but_its_item(tmp_path: Path) -> None:
    with Pool(local(2), 4, workers.odd_ones_sleep) as pool:
        pool.submit(item(1, tmp_path))
        pool.submit(item(3, tmp_path))
        wait_for(lambda: len(begun(tmp_path)) == 2)
        (victim,) = begun(tmp_path, 1)
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: pool.wait(timeout=0.05) or pool._suspects)
        (other,) = begun(tmp_path, 3)
        # Still at it, and the one that is tried again waits until nothing else runs.
        assert runs(other)
        assert begun(tmp_path, 1) == [victim]
        # What comes meanwhile waits, too.
        pool.submit(item(2, tmp_path))
        assert pool.wait(timeout=0.05) == []
        os.kill(other, signal.SIGKILL)
        # One after the other now, and what had waited when they are done with.
        for number, first in ((1, victim), (3, other)):
            assert not begun(tmp_path, 2)
            wait_for(lambda n=number: pool.wait(timeout=0.05) or len(begun(tmp_path, n)) == 2)
            (second,) = set(begun(tmp_path, number)) - {first}
            os.kill(second, signal.SIGKILL)
            manifests = wait_for(partial(pool.wait, timeout=0.05))
            assert [m.number for m in manifests] == [number]
            assert "SIGKILL" in manifests[0].error
        assert [(m.number, m.error) for m in all_of(pool)] == [(2, "")]


def test_a_local_worker_that_dies_while_it_rests_is_nobodys_fault(tmp_path: Path) -> None:
    with Pool(local(1), 2, workers.who) as pool:
        for number in range(4):
            pool.submit(item(number, tmp_path))
            (manifest,) = pool.wait()
            pid = told(manifest)["pid"]
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda pid=pid: not runs(pid))
        assert pool._tries == {}


def test_processes_that_cannot_be_started_are_an_error_of_each_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "no-python"))
    with Pool(local(2), 4, workers.who) as pool:
        for number in range(3):
            pool.submit(item(number, tmp_path))
        errors = [m.error for m in all_of(pool)]
    assert len(errors) == 3
    assert all("could be started" in error and "no-python" in error for error in errors)


def test_processes_that_end_at_once_are_an_error_of_each_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with Pool(local(2), 4, workers.who) as pool:
        for number in range(3):
            pool.submit(item(number, tmp_path))
        errors = [m.error for m in all_of(pool)]
    assert len(errors) == 3
    assert all("exit code 1" in error for error in errors)


# The end


@pytest.mark.parametrize("count", [1, 3])
def test_leaving_the_pool_ends_its_processes_in_the_middle(tmp_path: Path, count: int) -> None:
    with pytest.raises(KeyboardInterrupt), Pool(local(count), 9, workers.sleep) as pool:
        for number in range(9):
            pool.submit(item(number, tmp_path))
        wait_for(lambda: len(begun(tmp_path)) == count)
        assert len(children()) >= count
        raise KeyboardInterrupt
    assert not any(map(runs, begun(tmp_path)))
    assert len(begun(tmp_path)) == count  # none of those that waited has begun


def test_leaving_the_pool_while_its_processes_start(tmp_path: Path) -> None:
    for _ in range(10):
        with Pool(local(3), 9, workers.sleep) as pool:
            for number in range(3):
                pool.submit(item(number, tmp_path))
    assert not any(map(runs, begun(tmp_path)))


_PARENT = """
    import sys
    from pathlib import Path
    from datalad_bidsshare.archive.executor import Pool, open_executor
    from tests.archive import workers
    from tests.archive.test_executor import item
    tree = Path(sys.argv[1])
    with Pool(lambda: open_executor("local:2", None), 4, workers.odd_ones_sleep) as pool:
        for number in (0, 2, 4, 1, 3):
            pool.submit(item(number, tree))
        while pool.in_flight:
            pool.wait()
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_workers_end_with_their_parent(tmp_path: Path, number: signal.Signals) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_PARENT), tmp_path],
        stderr=subprocess.PIPE, text=True, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    with parent:
        wait_for(lambda: len(begun(tmp_path)) == 2)
        pids = begun(tmp_path)
        assert all(map(runs, pids))
        if number == signal.SIGINT:
            # as a terminal does it: all of them get it
            os.killpg(parent.pid, number)
        else:
            os.kill(parent.pid, number)
        assert parent.stderr is not None
        said = parent.stderr.read()
        parent.wait()
    wait_for(lambda: not any(map(runs, pids)))
    # An interrupt is the parent's affair alone.
    assert said.count("Traceback") == said.count("KeyboardInterrupt") == (number == signal.SIGINT)


def test_a_worker_ignores_interrupts(tmp_path: Path) -> None:
    with Pool(local(1), 1, workers.first_try_sleeps) as pool:
        pool.submit(item(0, tmp_path))
        wait_for(lambda: begun(tmp_path))
        (pid,) = begun(tmp_path)
        os.kill(pid, signal.SIGINT)
        assert pool.wait(timeout=0.2) == []
        assert runs(pid)


def test_a_worker_that_has_no_memory_for_its_answer_is_no_end(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_AS)
    with Pool(local(1), 2, workers.large) as pool:
        # Limits are inherited; that of this process is put back before anything is done in it.
        pool.submit(item(0, tmp_path))
        assert not all_of(pool)[0].error
        for pid in children():
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(pid, resource.RLIMIT_AS, (1 << 20, before[1]))
        pool.submit(item(1, tmp_path))
        (manifest,) = all_of(pool)
    # Either it could say so, or it died of it; the second process had no limit then.
    assert "MemoryError" in manifest.error or not manifest.error
