"""What whole processes cost: two ways to do the same work, in turns."""

from __future__ import annotations

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from multiprocessing.connection import Connection
from pathlib import Path

__all__ = ["Comparison", "Cost", "Figures", "Side", "compare", "isolate"]

#: ru_maxrss counts KiB, on macOS bytes.
_RSS_UNIT = 1 if sys.platform == "darwin" else 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process cost, with all the processes that it waited for.

    Attributes
    ----------
    wall, cpu
        Seconds. CPU time is that of user and system.
    rss
        Bytes: peak resident memory of the largest of the processes.
    disk
        Bytes that its place on disk grew by at the most, or None where nobody watched.
    """

    wall: float
    cpu: float
    rss: int
    disk: int | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """One way to do the work.

    Attributes
    ----------
    label
        What to call it in the table.
    command
        The process.
    cwd
        Where it runs; called before each run, so it can put things back to where they were.
    answer
        What the work came to, from what the process wrote. Both sides must come to the same.
    disk
        How many bytes of disk are used, given where the process runs; asked again and again
        while it does.
    """

    label: str
    command: Sequence[str]
    cwd: Callable[[], Path]
    answer: Callable[[bytes, Path], object] | None = None
    disk: Callable[[Path], int] | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Costs of two sides, pair by pair."""

    ours: list[Cost]
    peer: list[Cost]

    def median(self, quantity: str) -> tuple[float, float]:
        """Give the medians of `wall`, `cpu` or `rss`: ours, the peer's."""
        ours, peer = ([float(getattr(c, quantity)) for c in s] for s in (self.ours, self.peer))
        return statistics.median(ours), statistics.median(peer)

    @property
    def judged(self) -> tuple[float, float]:
        """What is compared: medians of wall time, ours and the peer's."""
        return self.median("wall")

    @property
    def disk(self) -> tuple[int, int] | None:
        """Most bytes of disk that each took: ours, the peer's; None where nobody watched."""
        ours, peer = ([c.disk for c in s if c.disk is not None] for s in (self.ours, self.peer))
        return (max(ours), max(peer)) if ours and peer else None

    @property
    def pair_ratios(self) -> list[float]:
        """Wall time, ours divided by the peer's, of each pair."""
        return [o.wall / p.wall for o, p in zip(self.ours, self.peer, strict=True)]


@dataclass(frozen=True, slots=True)
class Figures:
    """One figure of both sides that is not the cost of a process, run by run.

    Attributes
    ----------
    ours, peer
        What was found.
    unit
        Of these: ``'s a zip'``, ``'MB'``.
    cpu
        Medians of CPU seconds that went with them: ours, the peer's. None where nobody counted.
    """

    ours: list[float]
    peer: list[float]
    unit: str
    cpu: tuple[float, float] | None = None

    @property
    def judged(self) -> tuple[float, float]:
        """What is compared: the medians, ours and the peer's."""
        return statistics.median(self.ours), statistics.median(self.peer)

    @property
    def pair_ratios(self) -> list[float]:
        """Ours divided by the peer's, of each run."""
        return [o / p for o, p in zip(self.ours, self.peer, strict=True)]


def compare(ours: Side, peer: Side, pairs: int, *, warm_up: bool = True) -> Comparison:
    """Run both sides in turns.

    Parameters
    ----------
    ours, peer
        What to run.
    pairs
        How often.
    warm_up
        Run each once before it counts, so that neither pays for what is read first.

    Raises
    ------
    RuntimeError
        If a process fails, or the two do not come to the same.
    """
    found = Comparison([], [])
    for turn in range(-int(warm_up), pairs):
        one, our_answer = _run(ours)
        other, peer_answer = _run(peer)
        if ours.answer and peer.answer and our_answer != peer_answer:
            raise RuntimeError(
                f"{ours.label} and {peer.label} do not do the same work: "
                f"{our_answer!r:.200} is not {peer_answer!r:.200}"
            )
        if turn >= 0:
            found.ours.append(one)
            found.peer.append(other)
    return found


def _run(side: Side) -> tuple[Cost, object]:
    cwd = side.cwd()
    with tempfile.TemporaryDirectory() as directory:
        said, errors = Path(directory) / "said", Path(directory) / "errors"
        grown = _Growth(partial(side.disk, cwd)) if side.disk else None
        # What nobody looks at is not worth a file.
        code, cost = _launcher()(side.command, cwd, said if side.answer else None, errors)
        if grown:
            cost = replace(cost, disk=grown.end())
        if code:
            why = errors.read_text("utf-8", "replace").strip()
            raise RuntimeError(f"{side.label} failed ({code}): {why[-1000:]}")
        answer = side.answer(said.read_bytes(), cwd) if side.answer else None
    return cost, answer


class _Launcher:
    """A process that does nothing but run what is measured.

    To a process that is started, the system counts the peak of memory of the one that starts it.
    So this one is made before there are fixtures, and stays small.
    """

    def __init__(self) -> None:
        # Not as a new program, which would have to import all this again.
        context = multiprocessing.get_context("fork")
        self._connection, theirs = context.Pipe()
        context.Process(target=self._serve, args=(theirs,), daemon=True).start()
        theirs.close()

    def __call__(
        self, command: Sequence[str], cwd: Path, said: Path | None, errors: Path
    ) -> tuple[int, Cost]:
        """Run a command, and give its exit code and what it cost."""
        self._connection.send((command, cwd, said, errors))
        found: tuple[int, Cost] | OSError = self._connection.recv()
        if isinstance(found, OSError):
            raise found
        return found

    def _serve(self, connection: Connection) -> None:
        # Else the end of the other process would not be seen.
        self._connection.close()
        with suppress(EOFError, KeyboardInterrupt):
            while True:
                asked = connection.recv()
                try:
                    connection.send(_measured(*asked))
                except OSError as error:
                    connection.send(error)


_launcher = cache(_Launcher)


def _measured(
    command: Sequence[str], cwd: Path, said: Path | None, errors: Path
) -> tuple[int, Cost]:
    with open(said or os.devnull, "wb") as output, errors.open("wb") as complaints:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=complaints
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    cost = Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _RSS_UNIT)
    return process.returncode, cost


class _Growth:
    """By how much something grows, watched from a thread that takes little of the machine."""

    #: Seconds between two looks; and how many times longer than a look took.
    _PAUSE, _SHARE = 0.05, 20

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self._before = self._most = size()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        pause = self._PAUSE
        while not self._ended.wait(pause):
            start = time.perf_counter()
            self._most = max(self._most, self._size())
            pause = max(self._PAUSE, self._SHARE * (time.perf_counter() - start))

    def end(self) -> int:
        """Stop, and give the bytes."""
        self._ended.set()
        self._thread.join()
        return max(self._most, self._size()) - self._before


def isolate(home: Path) -> None:
    """Shield this process and its children from the user's configuration.

    To be called first. Programs of this Python's environment come first on the search path.
    """
    home.mkdir()
    for name in [n for n in os.environ if n.startswith(("GIT_", "DATALAD_"))]:
        del os.environ[name]
    programs = os.path.dirname(sys.executable)
    os.environ.update(
        HOME=str(home),
        XDG_CONFIG_HOME=str(home / ".config"),
        XDG_CACHE_HOME=str(home / ".cache"),
        PATH=os.pathsep.join([programs, os.environ.get("PATH", os.defpath)]),
        LC_ALL="C.UTF-8",
        GIT_AUTHOR_NAME="Benchmark",
        GIT_AUTHOR_EMAIL="benchmark@example.org",
        GIT_COMMITTER_NAME="Benchmark",
        GIT_COMMITTER_EMAIL="benchmark@example.org",
        GIT_CONFIG_NOSYSTEM="1",
    )
    _launcher()
