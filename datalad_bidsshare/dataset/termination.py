"""Ending a process with everything it started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["end_tree", "guarded"]

_PROC = Path("/proc")
_GRACE = 5.0
"""Seconds that a process gets to end in good order before it is killed."""


def end_tree(process: subprocess.Popen[bytes], grace: float = _GRACE) -> None:
    """End a process and its descendants, in good order if they can, and reap it.

    git-annex puts some helpers into process groups of their own, so neither the group nor the
    process alone is enough: descendants are looked up while their parents still live.

    Parameters
    ----------
    process
        A child of ours.
    grace
        Seconds to wait after asking (SIGTERM) before killing (SIGKILL).
    """
    if sys.platform == "win32":  # pragma: no cover
        subprocess.run(["taskkill", "/T", "/F", "/PID", str(process.pid)], check=False)
        process.wait()
        return
    table = _process_table()
    family = {pid: table[pid][1] for pid in _descendants(process.pid, table)}
    if process.poll() is None:
        # git hands the signal on to git-annex, and waits for it.
        process.terminate()
    _signal(family, signal.SIGTERM)
    until = time.monotonic() + grace
    try:
        process.wait(grace)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    while family and time.monotonic() < until:
        family = _alive(family)
        time.sleep(0.02)
    _signal(family, signal.SIGKILL)


def _signal(family: dict[int, str], number: int) -> None:
    for pid in _alive(family):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _alive(family: dict[int, str]) -> dict[int, str]:
    """Keep those that still run; a process that got a dead one's number is none of them."""
    table = _process_table()
    return {p: began for p, began in family.items() if table.get(p, (0, ""))[1] == began}


def _descendants(pid: int, table: dict[int, tuple[int, str]]) -> Iterable[int]:
    found = [pid]
    for parent in found:
        found += [child for child, (its_parent, _) in table.items() if its_parent == parent]
    return found[1:]


def _process_table() -> dict[int, tuple[int, str]]:
    """Give for every running process its parent and when it began."""
    if (_PROC / "self" / "stat").exists():
        return _table_from_proc()
    return _table_from_ps()


def _table_from_proc() -> dict[int, tuple[int, str]]:
    table = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit():
            # Gone since we listed it, or not for us to see.
            with contextlib.suppress(OSError):
                # The name in parentheses may hold anything: fields count from the last one.
                fields = (entry / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()
                if fields[0] != "Z":
                    table[int(entry.name)] = (int(fields[1]), fields[19])
    return table


def _table_from_ps() -> dict[int, tuple[int, str]]:
    listed = subprocess.run(
        ["ps", "-A", "-o", "pid=,ppid=,stat=,lstart="],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C"},
    )
    table = {}
    for line in listed.stdout.splitlines():
        pid, parent, state, *began = line.split()
        if not state.startswith("Z"):
            table[int(pid)] = (int(parent), " ".join(began))
    return table


# Waits for a line that a living parent writes, or for the end of input that a dead one leaves.
_GUARD = 'read -r _ || kill -TERM "$1"'


@contextlib.contextmanager
def guarded(process: subprocess.Popen[bytes], *, group: bool = False) -> Iterator[None]:
    """End a process also when we are killed in a way that runs no code of ours.

    Parameters
    ----------
    process
        Of ours; git hands the signal on to git-annex.
    group
        Whether it is the leader of a group, and all of that is to end.
    """
    if os.name == "nt":  # pragma: no cover
        yield
        return
    guard = subprocess.Popen(
        ["sh", "-c", _GUARD, "sh", f"{'-' if group else ''}{process.pid}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # not reached by a Ctrl-C in the terminal
        start_new_session=True,
    )
    try:
        yield
    finally:
        guard.communicate(b"over\n")
