"""git processes: started in one dataset, drained without deadlock, never left behind.

Standard library only, because the listing must be importable in a few milliseconds.
"""

from __future__ import annotations

import contextlib
import io
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, cast

from datalad_bidsshare.dataset.errors import DatasetError, NotADatasetError
from datalad_bidsshare.dataset.secrets import without_secrets

__all__ = ["CHUNK", "Running", "read_chunks", "run", "start"]

CHUNK = 1 << 20
"""Bytes that one read asks for, and the size of the pipe where the system allows one."""

_PATIENCE = 5.0
"""Seconds to wait for the last words of a process that has ended."""

# They would point git at another repository than the one asked for (set in hooks and aliases).
_LOCATION_VARIABLES = (
    "GIT_DIR",
    "GIT_WORK_TREE",
    "GIT_INDEX_FILE",
    "GIT_OBJECT_DIRECTORY",
    "GIT_ALTERNATE_OBJECT_DIRECTORIES",
    "GIT_COMMON_DIR",
    "GIT_NAMESPACE",
    "GIT_PREFIX",
)


class Running:
    """A process that runs; `start` makes it and takes it down."""

    def __init__(self, process: subprocess.Popen[bytes], root: Path) -> None:
        self.process = process
        self.root = root
        self._stderr: list[bytes] = []
        self._questions: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        # Each thread has a pipe of its own, without a buffer, and is the only one to close it:
        # when Python ends, such a thread stands still for ever, and with it what it holds (the
        # lock of a buffer: touching that is fatal then).
        # git may write more to stderr than a pipe holds (one warning a file): drain it always.
        self._drain = threading.Thread(
            target=_drain, args=(_unbuffered(process.stderr), self._stderr), daemon=True
        )
        self._drain.start()
        process.stderr = None
        if process.stdin is not None:
            threading.Thread(
                target=_feed, args=(_unbuffered(process.stdin), self._questions), daemon=True
            ).start()
            process.stdin = None

    @property
    def stdout(self) -> IO[bytes]:
        """Where the process writes its answers."""
        assert self.process.stdout is not None
        return self.process.stdout

    def ask(self, question: bytes) -> None:
        """Write to the process, without waiting until it reads.

        It may be blocked on its answers while we would be on our questions. When it has died,
        the reader sees the end of its answers and tells why.
        """
        self._questions.put(question)

    def ask_no_more(self) -> None:
        """Let the process see the end of its input."""
        self._questions.put(None)

    def finish(self) -> None:
        """Say that there are no more questions, and wait for the end.

        Raises
        ------
        DatasetError
            When the process failed; the text holds what it said.
        """
        self.ask_no_more()
        code = self.process.wait()
        # Not for ever: something that the process started may have kept the pipe.
        self._drain.join(_PATIENCE)
        if code:
            said = b"".join(self._stderr).decode("utf-8", "replace").strip()
            raise _failure(self.root, self.process.args, code, said)

    def stop(self) -> None:
        """End the process if it still runs, and let go of its pipes.

        Waits for no thread: a generator that was left half-way comes here when Python ends.
        """
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self.ask_no_more()
        with contextlib.suppress(OSError):
            self.stdout.close()


def _unbuffered(pipe: IO[bytes] | None) -> io.FileIO:
    """Take a pipe out of its buffer, in which nothing is yet."""
    return cast(io.FileIO, cast(io.BufferedReader, pipe).detach())


def _drain(pipe: io.FileIO, into: list[bytes]) -> None:
    with contextlib.suppress(OSError), pipe:
        while data := pipe.read(1 << 16):
            into.append(data)


def _feed(pipe: io.FileIO, questions: queue.SimpleQueue[bytes | None]) -> None:
    # The process may have died, or been killed.
    with contextlib.suppress(OSError), pipe:
        while (data := questions.get()) is not None:
            rest = memoryview(data)
            while rest:
                rest = rest[pipe.write(rest) :]


def _failure(root: Path, args: object, code: int, said: str) -> DatasetError:
    """Turn what git said into the sentence that the user gets."""
    if "dubious ownership" in said or "unsafe repository" in said:
        # git's own advice names the command to run; keep it whole.
        return DatasetError(f"git refuses to read {root}, which belongs to another user: {said}")
    if "not a git repository" in said:
        return NotADatasetError(f"{root} is not a dataset: {said}")
    command = " ".join(map(str, args)) if isinstance(args, (list, tuple)) else str(args)
    # Remotes that somebody configured may have passwords in their URLs.
    command, said = without_secrets(command), without_secrets(said)
    return DatasetError(
        f"{command!r} failed in {root} (exit code {code}): {said or 'it gave no reason'}. "
        "Run 'git fsck' there to see if the repository is damaged"
    )


def environment(root: Path) -> dict[str, str]:
    """Give the environment in which a process sees this repository and no other."""
    env = {k: v for k, v in os.environ.items() if k not in _LOCATION_VARIABLES}
    # What git says is recognised by its English words; its paths stay UTF-8.
    env["LC_ALL"] = "C.UTF-8"
    env["LANGUAGE"] = "C"
    # Never take the index lock just to refresh it: somebody may be committing.
    env["GIT_OPTIONAL_LOCKS"] = "0"
    # An uninstalled subdataset is an empty directory: git must not climb to its parent.
    env["GIT_CEILING_DIRECTORIES"] = os.path.dirname(os.path.realpath(root))
    return env


@contextlib.contextmanager
def start(
    args: Sequence[str],
    root: Path,
    *,
    stdin: bool = False,
    env: Mapping[str, str] | None = None,
) -> Iterator[Running]:
    """Run a command in a dataset, for as long as the block lasts.

    Parameters
    ----------
    args
        The command, `git` first.
    root
        The root of the dataset, which becomes the working directory.
    stdin
        Whether the caller asks the process something (`Running.ask`). Without, it reads nothing.
    env
        Variables to be set besides: they may name another index or work tree.

    Yields
    ------
    Running
        The process. On a normal end of the block it is waited for; when the block is left
        early (an exception, a generator that is closed) it is killed. None is left behind.

    Raises
    ------
    DatasetError
        When git is missing, `root` cannot be entered, or the command failed.
    """
    try:
        process = subprocess.Popen(
            list(args),
            cwd=root,
            env=environment(root) | dict(env or {}),
            stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=CHUNK,
        )
    except (FileNotFoundError, NotADirectoryError) as e:
        if not root.is_dir():
            raise NotADatasetError(f"There is no directory {root}") from e
        raise DatasetError(f"{args[0]!r} was not found on PATH: install git, then try again") from e
    except PermissionError as e:
        raise DatasetError(f"{root} cannot be entered: {e.strerror}. Ask its owner") from e
    running = Running(process, root)
    _enlarge(running.stdout)
    try:
        yield running
        running.finish()
    finally:
        running.stop()


def _enlarge(pipe: IO[bytes]) -> None:
    """Make a pipe hold CHUNK bytes, so that git need not wait for us every 64 KiB."""
    if sys.platform == "linux":
        import fcntl

        # Refused above /proc/sys/fs/pipe-max-size, or when the user has too many of them:
        # the small pipe works too.
        with contextlib.suppress(OSError):
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, CHUNK)


def read_chunks(pipe: IO[bytes], end: bytes = b"\0") -> Iterator[bytes]:
    """Read a pipe in big pieces that each close with a terminator, which is cut off.

    A last record without its terminator is given as it is.
    """
    fd = pipe.fileno()
    parts: list[bytes] = []
    while data := os.read(fd, CHUNK):
        cut = data.rfind(end)
        if cut < 0:
            parts.append(data)
            continue
        parts.append(data[:cut])
        yield b"".join(parts)
        parts = [data[cut + 1 :]] if cut + 1 < len(data) else []
    if parts:
        yield b"".join(parts)


def run(
    args: Sequence[str],
    root: Path,
    *,
    given: bytes | None = None,
    env: Mapping[str, str] | None = None,
) -> bytes:
    """Run a short command in a dataset and give what it wrote.

    Parameters
    ----------
    args, root, env
        As `start` has them.
    given
        What the command is to read. None: nothing.

    Raises
    ------
    DatasetError
        As `start`.
    """
    with start(args, root, stdin=given is not None, env=env) as running:
        if given is not None:
            running.ask(given)
            running.ask_no_more()
        return running.stdout.read()
