"""What workers do in the tests of the pool. Imported by processes that have to start at once."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from datalad_bidsshare.archive.work import Manifest, WorkItem, do_work

FOR_EVER = 3600.0


def told(manifest: Manifest) -> Any:
    """Give what `tell` told."""
    return json.loads(manifest.member)


def tell(item: WorkItem, what: object = None) -> Manifest:
    return Manifest(item.number, (), 0, member=json.dumps(what))


def who(item: WorkItem) -> Manifest:
    """Tell about the process."""
    return tell(
        item,
        {
            "pid": os.getpid(),
            "parent": os.getppid(),
            "modules": sorted(sys.modules),
            "SIGINT": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
            "SIGTERM": signal.getsignal(signal.SIGTERM) is signal.SIG_DFL,
            "blocked": sorted(signal.pthread_sigmask(signal.SIG_BLOCK, [])),
            "path": sys.path,
        },
    )


def begin(item: WorkItem) -> None:
    """Say, in a file, that the work has begun, and in which process."""
    file = Path(item.tree, f"{item.number}-{os.getpid()}")
    file.with_name(f".{file.name}").touch()
    file.with_name(f".{file.name}").rename(file)


def sleep(item: WorkItem) -> Manifest:
    begin(item)
    time.sleep(FOR_EVER)
    return tell(item)


def odd_ones_sleep(item: WorkItem) -> Manifest:
    return sleep(item) if item.number % 2 else who(item)


def first_try_sleeps(item: WorkItem) -> Manifest:
    tries = len(list(Path(item.tree).glob(f"{item.number}-*")))
    begin(item)
    if not tries:
        time.sleep(FOR_EVER)
    return tell(item, tries)


def third_kills_itself(item: WorkItem) -> Manifest:
    begin(item)
    if item.number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(0.01)
    return who(item)


def print_and_read(item: WorkItem) -> Manifest:
    print("noise", flush=True)
    os.write(1, b"more noise\n")
    return tell(item, sys.stdin.read())


class Unpicklable(Exception):
    def __init__(self) -> None:
        super().__init__(lambda: None)


def fail(item: WorkItem) -> Manifest:
    raise [ValueError("no such thing"), Unpicklable(), SystemExit(3), MemoryError()][item.number]


def large(item: WorkItem) -> Manifest:
    return tell(item, "x" * (8 << 20))


def with_little_memory(item: WorkItem) -> Manifest:
    """Unpack with as many kilobytes more than now as the item's number says."""
    import lzma
    import resource

    assert lzma  # a library that cannot be loaded is another error
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    limit = pages * resource.getpagesize() + (item.number << 10)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        return do_work(item)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def killed_at_first(item: WorkItem) -> Manifest:
    """Unpack, but be killed in the middle, after what depends on the item, at the first try."""
    mark = Path(item.tree).parent / "killed" / str(item.number)
    if not mark.exists():
        mark.touch()
        timer = threading.Timer(0.0005 * item.number, os.kill, (os.getpid(), signal.SIGKILL))
        timer.start()
        do_work(item)
        time.sleep(FOR_EVER)
    return do_work(item)
