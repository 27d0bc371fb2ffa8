"""A process that is asked to call functions: calls come in, and what they gave goes out.

Imports as little as it can: it has to start at once.
"""

from __future__ import annotations

import os
import pickle
import queue
import signal
import sys
import threading
from typing import cast

from datalad_bidsshare.disk.frames import read_frame, write_frame

__all__ = ["main"]


def main() -> None:
    """Call until nobody asks for more. The way in of the process that `ProcessExecutor` starts.

    Standard input
        Frames: where to import from (a list of text) first, then pickled calls, each a function,
        its arguments, and those with names. When it ends, so does the process, in the middle of
        a call too: it also ends when who asked was killed.
    Standard output
        Frames, each a pickled pair: whether the call succeeded, and what it gave or raised.
    """
    # Who asked decides what an interrupt means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    # What a library prints must not come between the answers, nor read the questions.
    asked, replies = os.dup(0), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    sys.path[:] = cast("list[str]", read_frame(asked) or sys.path)
    calls: queue.SimpleQueue[bytes] = queue.SimpleQueue()

    def receive() -> None:
        # Always reading: the end of who asks is seen at once. However this ends (no memory), the
        # process must: it would never be asked again.
        try:
            while (call := read_frame(asked)) is not None:
                calls.put(cast(bytes, call))
        finally:
            os._exit(0)

    try:
        threading.Thread(target=receive, daemon=True).start()
        while True:
            write_frame(replies, _answer(calls.get()))
    finally:
        os._exit(1)


def _answer(call: bytes) -> bytes:
    try:
        function, args, named = pickle.loads(call)
        return pickle.dumps((True, function(*args, **named)), protocol=5)
    except BaseException as e:
        # SystemExit too: an answer is waited for.
        try:
            if isinstance(e, Exception):
                return pickle.dumps((False, e), protocol=5)
        except Exception:
            # Not every exception can travel.
            pass
        return pickle.dumps((False, RuntimeError(f"{type(e).__name__}: {e}")), protocol=5)
