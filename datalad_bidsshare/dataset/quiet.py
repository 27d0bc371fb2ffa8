"""What DataLad says on its own when one of its commands is a step of ours."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

__all__ = ["quiet_clone"]

# They tell of places that are ours and gone in a moment.
_TALKING = ("datalad.core.distributed.clone", "datalad.distribution.update")
_lock = threading.Lock()
_users = 0
_before = contextlib.ExitStack()


@contextlib.contextmanager
def quiet_clone() -> Iterator[None]:
    """Keep what DataLad's clone tells of its steps from who asked for something else.

    Warnings come through, and who wants to debug gets all. Several threads may do so.
    """
    global _users
    with _lock:
        if not _users:
            _silence()
        _users += 1
    try:
        yield
    finally:
        with _lock:
            _users -= 1
            if not _users:
                _before.close()


def _silence() -> None:
    """Silence, and note how it was."""
    from datalad.distribution.update import Update

    for logger in map(logging.getLogger, _TALKING):
        if logger.getEffectiveLevel() == logging.INFO:
            _before.callback(logger.setLevel, logger.level)
            logger.setLevel(logging.WARNING)
    # It updates what it cloned from a bare repository, and shows the results of that: the default
    # of a command is an attribute of its class.
    if "result_renderer" not in vars(Update):
        Update.result_renderer = "disabled"
        _before.callback(delattr, Update, "result_renderer")
