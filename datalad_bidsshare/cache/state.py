"""What is noted of a managed clone, beside it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import stat
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

__all__ = ["State", "now", "read_state", "write_state"]

_FILE = "state.json"
_FORMAT = 1
_LARGEST = 1 << 16


@dataclass(frozen=True, slots=True)
class State:
    """What is noted of a managed clone.

    Attributes
    ----------
    url
        Of the source, without passwords.
    key
        Of the source: `Source.key`.
    origin
        What git has as the URL of the remote.
    dataset_id
        DataLad's, or empty.
    created, fetched, last_used
        ISO 8601, UTC. When it was made, when the source was asked last, and when it was used last.
    commit
        HEAD of the source, when it was asked last.
    git_bytes, content_bytes, content_files
        Sizes, when they were measured last.
    """

    url: str
    key: str
    origin: str
    dataset_id: str
    created: str
    fetched: str
    last_used: str
    commit: str
    git_bytes: int = 0
    content_bytes: int = 0
    content_files: int = 0


def now() -> str:
    """Give the time, as it is noted: in order as a text, to the microsecond."""
    seconds = time.time()
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
    return f"{whole}.{int(seconds % 1 * 1_000_000):06d}Z"


def read_state(entry: Path) -> State | None:
    """Read what is noted; None when there is nothing, or nothing that can be trusted."""
    try:
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        fd = os.open(entry / _FILE, flags)
    except OSError:
        return None
    with open(fd, "rb") as file, contextlib.suppress(OSError, ValueError, RecursionError):
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            return None
        said = json.loads(file.read(_LARGEST))
        if isinstance(said, dict) and said.pop("format", None) == _FORMAT:
            return _checked(said)
    return None


def _checked(said: dict[str, object]) -> State | None:
    kinds = {field.name: str if field.type == "str" else int for field in fields(State)}
    if said.keys() != kinds.keys():
        return None
    if any(type(said[name]) is not kind for name, kind in kinds.items()):
        return None
    return State(**said)  # type: ignore[arg-type]


def write_state(entry: Path, state: State) -> None:
    """Write it down; what was there is replaced in one step.

    Raises
    ------
    OSError
        When it cannot be written; then the old one stands.
    """
    text = json.dumps({"format": _FORMAT, **asdict(state)}, indent=1).encode()
    temporary = entry / f".state-{secrets.token_hex(8)}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    fd = os.open(temporary, flags, 0o600)
    try:
        with open(fd, "wb") as file:
            file.write(text)
            file.flush()
            os.fsync(fd)
        os.replace(temporary, entry / _FILE)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
