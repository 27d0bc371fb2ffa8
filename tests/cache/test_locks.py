"""Who may use a managed clone: processes and threads."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import datalad_bidsshare.cache.locks as locks
from datalad_bidsshare.cache.locks import GoneError, Lock
from tests.dataset.builders import wait_for
from tests.platforms import needs_posix

pytestmark = needs_posix

_HOLD = """
import sys
from pathlib import Path
from datalad_bidsshare.cache.locks import lock_of
lock = lock_of(Path(sys.argv[1]))
print(lock.acquire(exclusive=sys.argv[2] == "exclusive", wait=sys.argv[3] == "wait"), flush=True)
sys.stdin.readline()
"""


class _Other:
    """Another process with the lock."""

    def __init__(self, path: Path, how: str, wait: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _HOLD, str(path), how, wait],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def had(self) -> bool:
        assert self.process.stdout is not None
        return self.process.stdout.readline() == "True\n"

    def end(self) -> None:
        self.process.communicate("\n")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "lock"


@pytest.fixture
def lock(path: Path) -> Iterator[Lock]:
    yield Lock(path)


def _try(lock: Lock, exclusive: bool) -> bool:
    return lock.acquire(exclusive=exclusive, wait=False)


def test_many_share_and_one_excludes(lock: Lock, path: Path) -> None:
    other = _Other(path, "shared")
    assert other.had()
    assert not _try(lock, True)
    assert _try(lock, False)
    assert _try(lock, False)
    other.end()
    assert not _try(lock, True)
    lock.release()
    assert not _try(lock, True)
    lock.release()
    assert _try(lock, True)
    assert not _try(lock, False)
    other = _Other(path, "shared")
    assert not other.had()
    other.end()
    lock.release()


def test_the_lock_of_a_killed_process_is_free(lock: Lock, path: Path) -> None:
    other = _Other(path, "exclusive")
    assert other.had()
    assert not _try(lock, False)
    other.process.kill()
    other.process.communicate()
    assert _try(lock, True)


def test_one_thread_that_ends_does_not_free_the_lock_of_another(lock: Lock, path: Path) -> None:
    assert _try(lock, False)
    thread = threading.Thread(target=lambda: (_try(lock, False), lock.release()))
    thread.start()
    thread.join()
    other = _Other(path, "exclusive")
    assert not other.had()
    other.end()


def test_what_one_had_becomes_shared_with_no_gap(lock: Lock, path: Path) -> None:
    assert _try(lock, True)
    waiting = _Other(path, "exclusive", "wait")
    assert lock.share()
    reader = _Other(path, "shared")
    assert reader.had()
    reader.end()
    lock.release()
    assert waiting.had()
    assert not _try(lock, False)
    waiting.end()


def test_it_is_said_that_something_is_waited_for(
    lock: Lock, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    other = _Other(path, "exclusive")
    assert other.had()
    with caplog.at_level(logging.INFO, "datalad.bidsshare.cache"):
        thread = threading.Thread(
            target=lambda: lock.acquire(exclusive=False, wait=True, purpose="the clone of X")
        )
        thread.start()
        wait_for(lambda: caplog.messages)
        other.end()
        thread.join()
    assert str(path) in caplog.messages[0]
    assert "the clone of X" in caplog.messages[0]


def test_a_lock_whose_directory_is_gone(tmp_path: Path) -> None:
    with pytest.raises(GoneError):
        Lock(tmp_path / "gone" / "lock").acquire(exclusive=True, wait=True)
    assert not (tmp_path / "gone").exists()


def test_a_file_that_was_replaced_does_not_count(lock: Lock, path: Path) -> None:
    assert _try(lock, True)
    path.unlink()
    other = _Other(path, "exclusive")
    assert other.had()
    lock.release()
    assert not _try(lock, True)
    other.end()
    assert _try(lock, True)


def test_without_locks_it_goes_on_and_says_so_once(
    lock: Lock,
    path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    fcntl = pytest.importorskip("fcntl")

    # The one thing that cannot be had here: a file system that has none.
    def refuse(*_: Any) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "lockf", refuse)
    monkeypatch.setattr(locks, "_warned", False)
    for _ in range(2):
        assert _try(lock, True)
        assert lock.share()
        assert _try(lock, False)
        lock.release()
        lock.release()
    assert _try(lock, True)
    assert ["has no locks" in message for message in caplog.messages] == [True]
