"""Processes that copy, fed with jobs: several at a time, so that hashing uses more than one core.

What a process does with a job is in `export.copier`.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import queue
import secrets
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import cast

from datalad_bidsshare.disk.frames import read_frame, write_frame
from datalad_bidsshare.disk.syncing import sync_file_system
from datalad_bidsshare.export.copier import RELATIVE, TEMPORARY, Copier
from datalad_bidsshare.export.jobs import Done, Job

__all__ = ["Pool"]

_COUNT = 64
"""Jobs that go to a process at once."""
_FEW = 24
"""Jobs after which a batch ends with its directory: processes that write to one wait for each
other."""
_BYTES = 4 << 20
"""Bytes of files after which a batch is complete."""
_AHEAD = 3
"""Batches that a process has before it: it should not wait while the caller is busy."""
_BYTES_AHEAD = 16 << 20
"""Bytes after which a process gets no more: another one may be idle before."""
_TICK = 1.0
"""Seconds that one wait lasts: on Windows, nothing interrupts it."""
_PATIENCE = 10.0
"""Seconds that a process gets to end, which it does at its next block."""
_ATTEMPTS = 3
"""Processes in a row that end before they begin, after which no more are tried."""

# Standard library only, at first: that takes a third of the time, and site-packages not at all.
_PROGRAM = (
    "import sys; sys.path.append(sys.argv[1]); "
    "from datalad_bidsshare.export.worker import main; main()"
)
_PACKAGES = str(Path(__file__).resolve().parents[2])


class Pool:
    """Copies files beneath a directory. A context manager.

    When the block is left, however it is, the processes end: what is under way is given up, and
    nothing of it stays. Ask `done(wait=True)` before to have all of it.

    Parameters
    ----------
    dest
        The directory. May be reached through symbolic links itself.
    workers
        Processes at most. They are started when there is work for them.
    progress
        Told how many bytes were written since it was told last, in the caller's thread. Bytes
        of files that fail in the end are among them.

    Raises
    ------
    OSError
        When there is no such directory. From all methods: when no process can be started.
    """

    def __init__(
        self, dest: Path, workers: int, progress: Callable[[int], None] | None = None
    ) -> None:
        self._limit = max(workers, 1)
        self._progress = progress or _ignore
        self._temporary = f"{TEMPORARY}{secrets.token_hex(6)}-"
        self._dest = os.path.abspath(dest)
        # One descriptor for all processes, and for `sync`: whatever happens to the path.
        self._fd: int | None = None
        if RELATIVE:
            self._fd = os.open(dest, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._workers: list[_Worker] = []
        self._events: queue.SimpleQueue[tuple[_Worker, object | None]] = queue.SimpleQueue()
        self._batch = _Batch()
        self._directory = ""  # of the last job in it
        self._waiting: deque[_Batch] = deque()  # complete, and with no process yet
        self._finished: deque[Done] = deque()
        self._full = 0  # errno, when there is no space left
        self._failures = 0  # processes that ended before they began, in a row
        self._closed = False

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def submit(self, job: Job) -> None:
        """Have a file copied.

        Jobs whose paths are sorted by directory are quickest. Blocks while all processes have
        enough before them.
        """
        if self._full:
            self._finished.append(_failed(job, self._full))
            return
        directory = job.path.rpartition("/")[0]
        batch = self._batch
        if directory != self._directory:
            self._directory = directory
            if len(batch.jobs) >= _FEW:
                self.flush()
                batch = self._batch
        batch.jobs[job.number] = job
        batch.bytes += len(job.source) if isinstance(job.source, bytes) else job.size or 0
        if len(batch.jobs) >= _COUNT or batch.bytes >= _BYTES:
            self.flush()

    def flush(self) -> None:
        """Give the jobs to a process that are still held back to make up a batch."""
        if self._batch.jobs:
            self._waiting.append(self._batch)
            self._batch = _Batch()
        while not self._distribute():
            self._wait()

    def done(self, wait: bool) -> Iterator[Done]:
        """Give what became of jobs, in no certain order, each once.

        Parameters
        ----------
        wait
            Until all jobs that were submitted are done. Otherwise gives what is known now.
        """
        if wait:
            self.flush()
        while True:
            while self._finished:
                yield self._finished.popleft()
            if not self._events.empty():
                self._handle(*self._events.get())
                self._distribute()
            elif not wait or self._idle():
                return
            else:
                self._distribute()
                if not self._finished:
                    self._wait()

    def sync(self) -> None:
        """Wait until what was written is on the disk.

        Raises
        ------
        OSError
            When something could not be written.
        """
        sync_file_system(Path(self._dest) if self._fd is None else self._fd)

    def close(self) -> None:
        """End the processes. Gives up what is under way."""
        if self._closed:
            return
        self._closed = True
        try:
            for worker in self._workers:
                worker.dismiss()
            for worker in self._workers:
                if not worker.has_ended(_PATIENCE):
                    worker.kill()
                    self._clean_up_after(worker)
        finally:
            for worker in self._workers:
                worker.kill()
            if self._fd is not None:
                os.close(self._fd)

    # Giving out

    def _distribute(self) -> bool:
        """Give waiting batches to processes. Tell whether none is left."""
        while self._waiting:
            if self._full:
                for job in self._waiting.popleft().jobs.values():
                    self._finished.append(_failed(job, self._full))
                continue
            worker = min(self._workers, key=_Worker.load, default=None)
            if (worker is None or worker.batches) and len(self._workers) < self._limit:
                worker = self._start() or worker
            if worker is None or not worker.has_room():
                return False
            worker.give(self._waiting.popleft())
        return True

    def _idle(self) -> bool:
        return not (
            self._waiting or self._batch.jobs or any(worker.batches for worker in self._workers)
        )

    def _start(self) -> _Worker | None:
        """Start a process; None when that fails, and others run that can do the work."""
        try:
            worker = _Worker(self._fd, self._dest, self._temporary, self._events)
        except OSError:
            if not self._workers:
                raise
            return None
        self._workers.append(worker)
        return worker

    # Taking back

    def _wait(self) -> None:
        """Wait for something to happen, and see to it."""
        while True:
            with contextlib.suppress(queue.Empty):
                self._handle(*self._events.get(timeout=_TICK))
                return

    def _handle(self, worker: _Worker, message: object | None) -> None:
        if message is None:
            self._bury(worker)
            return
        worker.begun = True
        self._failures = 0
        reports, written = cast("tuple[list[tuple[object, ...]], int]", message)
        for fields in reports:
            done = Done(*fields)  # type: ignore[arg-type]
            worker.finish(done.number)
            if done.errno in (errno.ENOSPC, errno.EDQUOT) and done.where == "target":
                self._full = done.errno
            self._finished.append(done)
        if written:
            self._progress(written)

    def _bury(self, worker: _Worker) -> None:
        """See to what a process leaves behind that has ended by itself, or was killed."""
        self._workers.remove(worker)
        worker.kill()
        if not worker.begun:
            self._failures += 1
            if self._failures >= _ATTEMPTS:
                raise ChildProcessError(
                    errno.ECHILD,
                    f"The processes that copy end as soon as they start ({sys.executable}, exit "
                    f"code {worker.code}). See if that program runs, and if there is memory left",
                )
        else:
            self._clean_up_after(worker)
            # Which of its files are there is not known. Those of later batches are not.
            for job in worker.batches.popleft().jobs.values() if worker.batches else ():
                self._finished.append(_failed(job, errno.EIO))
        self._waiting.extendleft(reversed(worker.batches))
        worker.batches.clear()

    def _clean_up_after(self, worker: _Worker) -> None:
        """Remove the temporary file of a process that could not do it."""
        destination = self._dest if self._fd is None else self._fd
        with contextlib.closing(Copier(destination, self._temporary, _ignore)) as copier:
            for batch in worker.batches:
                for job in batch.jobs.values():
                    copier.discard(job)


def _ignore(_: int) -> None:
    pass


def _failed(job: Job, number: int) -> Done:
    return Done(job.number, "error", 0, 0, "", number, "target", ())


class _Batch:
    """Jobs that go to one process together; those that are done are taken out."""

    def __init__(self) -> None:
        self.jobs: dict[int, Job] = {}
        self.bytes = 0


class _Worker:
    """One process, what it has before it, and a thread that listens to it."""

    def __init__(
        self,
        fd: int | None,
        dest: str,
        temporary: str,
        events: queue.SimpleQueue[tuple[_Worker, object | None]],
    ) -> None:
        self.batches: deque[_Batch] = deque()
        self.begun = False  # it has said something
        # Path names must mean the same to it, whatever made us use UTF-8.
        options = ["-I", "-S", "-X", f"utf8={sys.flags.utf8_mode}", "-c", _PROGRAM]
        with _interrupts_held():
            self._process = subprocess.Popen(
                [sys.executable, *options, _PACKAGES, dest if fd is None else str(fd), temporary],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                bufsize=0,
                pass_fds=() if fd is None else (fd,),
            )
        # The thread is the only one to close its pipe: when Python ends, it stands still.
        replies = cast(io.FileIO, self._process.stdout)
        self._process.stdout = None
        threading.Thread(target=self._listen, args=(replies, events), daemon=True).start()

    @property
    def code(self) -> int | None:
        """How it ended."""
        return self._process.returncode

    def load(self) -> tuple[int, int]:
        """Tell how much it has before it, for comparing."""
        return sum(batch.bytes for batch in self.batches), len(self.batches)

    def has_room(self) -> bool:
        """Tell whether it should get more."""
        return len(self.batches) < _AHEAD and self.load()[0] < _BYTES_AHEAD

    def give(self, batch: _Batch) -> None:
        """Hand over a batch."""
        self.batches.append(batch)
        assert self._process.stdin is not None
        # When it has ended, its last message says so.
        with contextlib.suppress(OSError):
            write_frame(self._process.stdin.fileno(), [tuple(job) for job in batch.jobs.values()])

    def finish(self, number: int) -> None:
        """Take a job out that is done."""
        jobs = self.batches[0].jobs
        del jobs[number]
        if not jobs:
            self.batches.popleft()

    def dismiss(self) -> None:
        """Let it see that nobody waits for it."""
        with contextlib.suppress(OSError):
            if self._process.stdin is not None:
                self._process.stdin.close()

    def has_ended(self, timeout: float) -> bool:
        """Wait for its end, some seconds at most."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout)
            return True
        return False

    def kill(self) -> None:
        """Make sure that it has ended, and reap it."""
        self._process.kill()
        self._process.wait()
        self.dismiss()

    def _listen(
        self, pipe: io.FileIO, events: queue.SimpleQueue[tuple[_Worker, object | None]]
    ) -> None:
        with contextlib.suppress(OSError), pipe:
            while (message := read_frame(pipe.fileno())) is not None:
                events.put((self, message))
        events.put((self, None))


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
