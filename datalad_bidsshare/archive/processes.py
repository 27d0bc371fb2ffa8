"""An executor of which each thread has a process, and lets it work.

Why not `ProcessPoolExecutor`: its processes begin by importing DataLad's main script (or are
forked from a program with threads), outlive a parent that is killed, cannot be ended before
Python 3.14, and all go down with one that dies. Here a process starts in less than half of the
time, ends with its parent, and takes nothing along but the call it was at.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

from datalad_bidsshare.disk.frames import read_frame, write_frame

__all__ = ["ProcessExecutor"]

_P = ParamSpec("_P")
_T = TypeVar("_T")

# Standard library only, at first: what `site` does takes longer than all the rest.
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from datalad_bidsshare.archive.serve import main; main()"
)
_PACKAGES = str(Path(__file__).resolve().parents[2])

_PATIENCE = 10.0
"""Seconds that a process with nothing to do gets to end by itself."""


class ProcessExecutor(ThreadPoolExecutor):
    """Calls functions in other processes.

    Functions, arguments and results are pickled; functions are imported by name. A process that
    ends in the middle of a call gives `BrokenExecutor` to the future of that call; the others go
    on, and the executor can be used further.

    Parameters
    ----------
    workers
        Processes at most. They are started when there is work for them.
    """

    def __init__(self, workers: int) -> None:
        super().__init__(max(workers, 1), thread_name_prefix="bidsshare-process")
        self._lock_workers = threading.Lock()
        self._running: set[_Worker] = set()
        self._resting: list[_Worker] = []
        self._given_up = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have a function called. Does not block."""
        return super().submit(self._call, (fn, args, kwargs))

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the processes.

        Parameters
        ----------
        wait
            Until all calls are done. Otherwise calls that are under way are given up (their
            futures get `BrokenExecutor`), and others cancelled. Either way, no process is left
            when this returns.
        cancel_futures
            Whether calls that have not begun are cancelled.
        """
        if not wait:
            with self._lock_workers:
                self._given_up = True
                for worker in self._running:
                    worker.kill()
        super().shutdown(True, cancel_futures=cancel_futures or not wait)
        with self._lock_workers:
            ended, self._resting = self._resting, []
        for worker in ended:
            worker.dismiss()
        for worker in ended:
            worker.wait()

    def _call(self, call: tuple[Callable[..., _T], tuple[object, ...], dict[str, object]]) -> _T:
        """Have it called, and wait. In a thread of the executor."""
        question = pickle.dumps(call, protocol=5)
        worker = self._take()
        answer = None
        try:
            answer = worker.ask(question)
        finally:
            with self._lock_workers:
                self._running.discard(worker)
                if answer is not None:
                    self._resting.append(worker)
            if answer is None:
                worker.kill()
                worker.wait()
        if answer is None:
            raise BrokenExecutor(f"a process ended unexpectedly ({worker.how_it_ended()})")
        succeeded, result = cast("tuple[bool, Any]", pickle.loads(answer))
        if not succeeded:
            raise result
        return cast(_T, result)

    def _take(self) -> _Worker:
        # Under the lock all the time: none must start when all are being ended.
        with self._lock_workers:
            if self._given_up:
                raise BrokenExecutor("it was given up")
            while self._resting:
                worker = self._resting.pop()
                if worker.is_alive():
                    break
                # It was killed while it had nothing to do: no call's fault.
                worker.wait()
            else:
                worker = _Worker()
            self._running.add(worker)
            return worker


class _Worker:
    """One process."""

    def __init__(self) -> None:
        # Path names must mean the same to it, whatever made us use UTF-8.
        options = ["-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}", "-c", _PROGRAM]
        with _interrupts_held():
            self._process = subprocess.Popen(
                [sys.executable, *options, _PACKAGES],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
            )
        assert self._process.stdin is not None and self._process.stdout is not None
        self._questions, self._answers = self._process.stdin, self._process.stdout
        # Not the current directory, which may be anybody's.
        self._send([os.path.abspath(path) for path in sys.path if path])

    def ask(self, question: bytes) -> bytes | None:
        """Give the answer, None when the process has ended."""
        self._send(question)
        return cast("bytes | None", read_frame(self._answers.fileno()))

    def _send(self, content: object) -> None:
        # When it has ended, reading says so.
        with contextlib.suppress(OSError):
            write_frame(self._questions.fileno(), content)

    def is_alive(self) -> bool:
        """Tell whether it has not ended yet."""
        return self._process.poll() is None

    def dismiss(self) -> None:
        """Let it see that nobody asks any more."""
        with contextlib.suppress(OSError):
            self._questions.close()

    def kill(self) -> None:
        """End it, whatever it does."""
        self._process.kill()

    def wait(self) -> None:
        """Reap it, and let go of its pipes."""
        try:
            self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self.dismiss()
        self._answers.close()

    def how_it_ended(self) -> str:
        """Say it in two words, for the user."""
        code = self._process.returncode
        if code is not None and code < 0:
            with contextlib.suppress(ValueError):
                return signal.Signals(-code).name
        return f"exit code {code}"


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Keep Ctrl-C from a process until it has begun: it comes to all that the terminal runs."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
