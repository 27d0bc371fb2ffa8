"""A process that copies: jobs come in, and what became of them goes out.

Imports as little as it can: it has to start at once.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import sys
import threading
import time
from types import FrameType
from typing import cast

from datalad_bidsshare.disk.frames import read_frame, write_frame
from datalad_bidsshare.export.copier import RELATIVE, Copier, Stopped
from datalad_bidsshare.export.jobs import Done, Job

__all__ = ["main"]

_INTERVAL = 0.1
"""Seconds after which is told what was done, if a batch takes longer."""


def main() -> None:
    """Copy until nobody asks for more. The way in of the process that `copying.Pool` starts.

    Arguments
        Where the package is, the destination (a descriptor's number, or a path), and how the
        names of temporary files begin.
    Standard input
        Frames, each a list of jobs as tuples. When it ends, so does the process: in the middle
        of a file too, without leaving anything of it. It also ends when who asked was killed.
    Standard output
        Frames, each a pair: what is done, as a list of tuples, and how many bytes were written
        since the last one. The first is empty, and says that it has started.
    """
    destination, temporary = sys.argv[-2:]
    # Who asked decides what an interrupt means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    os.umask(0o022)
    replies = _Replies(sys.stdout.fileno())
    copier = Copier(
        int(destination) if RELATIVE else destination, temporary, progress=replies.progress
    )
    requests: queue.SimpleQueue[list[tuple[object, ...]] | None] = queue.SimpleQueue()

    def stop(_number: int = 0, _frame: FrameType | None = None) -> None:
        copier.stopping = True
        requests.put(None)

    def receive() -> None:
        # Always reading: who asks is never kept waiting, and its end is seen at once.
        with contextlib.suppress(OSError):
            while (batch := read_frame(0)) is not None:
                requests.put(cast("list[tuple[object, ...]]", batch))
        stop()

    for number in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, number):
            signal.signal(getattr(signal, number), stop)
    threading.Thread(target=receive, daemon=True).start()
    with contextlib.suppress(Stopped, BrokenPipeError):
        replies.send()
        while (batch := requests.get()) is not None:
            for job in batch:
                replies.add(copier.copy(Job(*job)))  # type: ignore[arg-type]
            replies.send()
    # The other thread may be reading: Python would wait for it.
    os._exit(0)


class _Replies:
    """Tells what was done: at the end of a batch, or when a while has passed."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._done: list[tuple[object, ...]] = []
        self._written = 0
        self._due = 0.0

    def add(self, done: Done) -> None:
        self._done.append(tuple(done))

    def progress(self, length: int) -> None:
        self._written += length
        if time.monotonic() > self._due:
            self.send()

    def send(self) -> None:
        write_frame(self._fd, (self._done, self._written))
        self._done = []
        self._written = 0
        self._due = time.monotonic() + _INTERVAL
