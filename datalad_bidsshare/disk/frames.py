"""Messages on a pipe between this program and the processes it starts.

Standard library only: those processes have to start at once.
"""

from __future__ import annotations

import os
import pickle
import struct
from typing import cast

__all__ = ["read_frame", "write_frame"]

_HEAD = struct.Struct("<Q")


def read_frame(fd: int) -> object | None:
    """Read what `write_frame` wrote to a pipe. None: it has ended, maybe half-way."""
    head = _read_exactly(fd, _HEAD.size)
    body = None if head is None else _read_exactly(fd, _HEAD.unpack(head)[0])
    return None if body is None else cast(object, pickle.loads(body))


def _read_exactly(fd: int, length: int) -> bytes | None:
    parts = []
    while length:
        part = os.read(fd, min(length, 1 << 20))
        if not part:
            return None
        parts.append(part)
        length -= len(part)
    return b"".join(parts)


def write_frame(fd: int, content: object) -> None:
    """Write plain values (no instances of classes) to a pipe."""
    body = pickle.dumps(content, protocol=5)
    rest = memoryview(_HEAD.pack(len(body)) + body)
    while rest:
        rest = rest[os.write(fd, rest) :]
