"""Zips unpacked by others: a pool of work, over any `concurrent.futures.Executor`.

What is asked of an executor is `submit`, futures, and `shutdown`. Work items are small and
picklable, can be done twice, and no content of files goes through the pipe.
"""

from __future__ import annotations

import contextlib
import os
import queue
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future

from datalad_bidsshare.archive.work import Manifest, WorkItem, do_work
from datalad_bidsshare.selection.errors import SelectionError

__all__ = ["Pool", "check_executor", "count_workers", "open_executor"]

_MOST = 8
"""Workers when the user does not say how many. More than that wait for the disk."""
_TICK = 1.0
"""Seconds that one wait lasts: on Windows, nothing interrupts it."""
_ATTEMPTS = 2
"""Workers that an item gets: while the second one has it, nothing else runs."""


def check_executor(spec: str) -> None:
    """See if there is such an executor.

    Parameters
    ----------
    spec
        `local`, or `local:N` for N processes.

    Raises
    ------
    SelectionError
        If there is not; the text names what there is.
    """
    count_workers(spec, None)


def count_workers(spec: str, jobs: int | None) -> int:
    """Tell how many items an executor works on at a time.

    Parameters
    ----------
    spec
        As `check_executor` takes it. Its number counts, if it has one.
    jobs
        What the user wants otherwise. None: one a processor that we may use, at most eight.

    Raises
    ------
    SelectionError
        If there is no such executor.
    """
    kind, colon, number = spec.partition(":")
    if kind != "local":
        raise SelectionError(
            f"there is no executor {spec!r}: use 'local', or 'local:N' for N processes"
        )
    if not colon:
        return max(jobs, 1) if jobs is not None else min(_processors(), _MOST)
    if not (number.isascii() and number.isdigit() and int(number)):
        raise SelectionError(f"the executor {spec!r} needs a number of processes, as in 'local:4'")
    return int(number)


def _processors() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def open_executor(spec: str, jobs: int | None) -> Executor:
    """Make an executor.

    Parameters
    ----------
    spec, jobs
        As `count_workers` takes them.

    Returns
    -------
    Executor
        `local`: processes of this machine that know nothing of DataLad. It is told to give up
        what is under way by `shutdown(wait=False)`.

    Raises
    ------
    SelectionError
        If there is no such executor.
    """
    workers = count_workers(spec, jobs)
    # Imported here: who only checks a command line need not wait for it.
    from datalad_bidsshare.archive.processes import ProcessExecutor

    return ProcessExecutor(workers)


class Pool:
    """Has items worked on. A context manager.

    When the block is left, however it is, what is under way is given up, and the processes of
    `local` have ended.

    An item whose worker dies (killed, out of memory) is tried once more, while nothing else
    runs: it may have been another one that took the memory, and where all that was under way is
    lost with one worker (`ProcessPoolExecutor`), nobody knows whose fault it was.

    Parameters
    ----------
    make
        Gives an executor: at the first item, and when one has become unusable.
    ahead
        Items that should be in flight at most: a few more than there are workers. It is the
        caller who sees to that, with `has_room`.
    work
        What is done with an item.
    """

    def __init__(
        self,
        make: Callable[[], Executor],
        ahead: int,
        work: Callable[[WorkItem], Manifest] = do_work,
    ) -> None:
        self._make = make
        self._ahead = max(ahead, 1)
        self._work = work
        self._executor: Executor | None = None
        self._events: queue.SimpleQueue[Future[Manifest]] = queue.SimpleQueue()
        self._waiting: deque[WorkItem] = deque()
        self._suspects: deque[WorkItem] = deque()  # to be tried once more, each alone
        self._under_way: dict[Future[Manifest], WorkItem] = {}
        self._alone = False  # what is under way is a suspect
        self._tries: dict[int, int] = {}
        self._finished: list[Manifest] = []

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def in_flight(self) -> int:
        """How many items were submitted whose manifest is not there yet."""
        return len(self._waiting) + len(self._suspects) + len(self._under_way)

    def has_room(self) -> bool:
        """Tell whether another item should be submitted now."""
        return self.in_flight < self._ahead

    def submit(self, item: WorkItem) -> None:
        """Have an item worked on. Does not block."""
        self._waiting.append(item)
        self._hand_out()

    def wait(self, timeout: float | None = None) -> list[Manifest]:
        """Give the manifests that are there, and wait for one if there is none.

        Parameters
        ----------
        timeout
            Seconds; 0 to look only. None: as long as it takes.

        Returns
        -------
        list of Manifest
            In the order in which they came. Each item has one, once. Empty when nothing is in
            flight, or when the time is up.
        """
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            with contextlib.suppress(queue.Empty):
                while True:
                    self._settle(self._events.get_nowait())
            self._hand_out()
            if self._finished or not self.in_flight:
                break
            left = _TICK if until is None else min(_TICK, until - time.monotonic())
            if left <= 0:
                break
            with contextlib.suppress(queue.Empty):
                self._settle(self._events.get(timeout=left))
        finished, self._finished = self._finished, []
        return finished

    def close(self) -> None:
        """Give up what is under way, and let go of the executor."""
        self._waiting.clear()
        self._suspects.clear()
        idle = not self._under_way
        for future in self._under_way:
            future.cancel()
        self._under_way.clear()
        self._let_go(wait=idle)

    # Giving out

    def _hand_out(self) -> None:
        if self._suspects or self._alone:
            while self._suspects and not self._under_way:
                self._start(self._suspects.popleft())
                self._alone = bool(self._under_way)
            if self._suspects or self._alone:
                return
        while self._waiting:
            self._start(self._waiting.popleft())

    def _start(self, item: WorkItem) -> None:
        try:
            future = self._submit(item)
        except BrokenExecutor as e:
            self._let_go(wait=True)
            self._try_again(item, e)
        except Exception as e:
            # No thread, no process. The executor may yet begin with the item: nobody would hear.
            self._let_go(wait=False)
            self._try_again(item, e)
        else:
            self._under_way[future] = item
            future.add_done_callback(self._events.put)

    def _submit(self, item: WorkItem) -> Future[Manifest]:
        if self._executor is not None:
            # One that went down with a worker takes no more.
            with contextlib.suppress(BrokenExecutor):
                return self._executor.submit(self._work, item)
            self._let_go(wait=True)
        self._executor = self._make()
        return self._executor.submit(self._work, item)

    def _let_go(self, *, wait: bool) -> None:
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=wait)

    # Taking back

    def _settle(self, future: Future[Manifest]) -> None:
        item = self._under_way.pop(future, None)
        if item is None:
            return
        self._alone = False
        try:
            self._finished.append(future.result())
        except (BrokenExecutor, OSError) as e:
            self._try_again(item, e)
        except CancelledError:
            self._fail(item, "its work was cancelled by the executor; try again")
        except Exception as e:
            # Of the executor's, or what could not be pickled: `do_work` raises none.
            self._fail(item, f"{type(e).__name__}: {e}")

    def _try_again(self, item: WorkItem, why: Exception) -> None:
        tries = self._tries[item.number] = self._tries.get(item.number, 0) + 1
        if tries < _ATTEMPTS:
            self._suspects.append(item)
        elif isinstance(why, BrokenExecutor):
            self._fail(
                item,
                f"the process that unpacked it was killed (out of memory?), twice: {why}. Unpack "
                "it where there is more memory, or with fewer at a time (-J 1)",
            )
        else:
            number = (why.errno if isinstance(why, OSError) else None) or 0
            self._fail(
                item, f"no process could be started to unpack it: {why}; see to that", number
            )

    def _fail(self, item: WorkItem, error: str, number: int = 0) -> None:
        self._finished.append(
            Manifest(number=item.number, files=(), bytes_read=0, error=error, errno=number)
        )
