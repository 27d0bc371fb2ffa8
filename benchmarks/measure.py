"""What whole processes cost: two ways to do the same work, in turns."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Comparison", "Cost", "Side", "compare", "isolate"]

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
    """

    wall: float
    cpu: float
    rss: int


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
    """

    label: str
    command: Sequence[str]
    cwd: Callable[[], Path]
    answer: Callable[[bytes, Path], object] | None = None


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
    def pair_ratios(self) -> list[float]:
        """Wall time, ours divided by the peer's, of each pair."""
        return [o.wall / p.wall for o, p in zip(self.ours, self.peer, strict=True)]


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
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        start = time.perf_counter()
        process = subprocess.Popen(
            side.command,
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            # What nobody looks at is not worth a file.
            stdout=output if side.answer else subprocess.DEVNULL,
            stderr=errors,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace").strip()
            raise RuntimeError(f"{side.label} failed ({process.returncode}): {said[-1000:]}")
        output.seek(0)
        answer = side.answer(output.read(), cwd) if side.answer else None
    cost = Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * _RSS_UNIT)
    return cost, answer


def isolate(home: Path) -> None:
    """Shield this process and its children from the user's configuration.

    Programs of this Python's environment come first on the search path.
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
