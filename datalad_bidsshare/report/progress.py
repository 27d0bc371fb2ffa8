"""Progress bars: how many bytes, and how many files or zips, have been dealt with."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datalad.log import log_progress

from datalad_bidsshare.report.sizes import human_bytes

__all__ = ["counted_bytes", "counted_things"]

#: Seconds between two updates: drawing costs more than copying a small file.
_BEAT = 0.1


@contextmanager
def counted_bytes(
    lgr: logging.Logger, doing: str, things: int, nbytes: int, thing: str = "file"
) -> Iterator[Callable[[int], None]]:
    """Show a bar over bytes, or say it once where there is no terminal.

    Parameters
    ----------
    lgr
        Gets the messages.
    doing
        What is done, such as `'Exporting'`.
    things
        How many files (or what `thing` says) that is; with 0 nothing is shown.
    nbytes
        Their bytes, as far as that is known.
    thing
        What they are, in the singular.

    Yields
    ------
    callable
        To be called with the number of bytes that were dealt with since the last call.
    """
    if not things:
        yield lambda _: None
        return
    bar = f"bidsshare-{doing}-bytes"
    _start(lgr, bar, doing, things, nbytes, thing, total=nbytes, label=doing, unit=" Bytes")
    held, last = 0, time.monotonic()

    def advance(done: int) -> None:
        nonlocal held, last
        held += done
        now = time.monotonic()
        if held and now - last >= _BEAT:
            _advance(lgr, bar, held)
            held, last = 0, now

    try:
        yield advance
    finally:
        _end(lgr, bar, doing)


@contextmanager
def counted_things(
    lgr: logging.Logger,
    doing: str,
    things: int,
    nbytes: int,
    thing: str = "file",
    *,
    said: bool = False,
) -> Iterator[Callable[[], None]]:
    """Show a bar over files (or what `thing` says), or say it once where there is no terminal.

    Parameters
    ----------
    lgr, doing, things, nbytes, thing
        As for `counted_bytes`.
    said
        Whether another bar says the same where there is no terminal.

    Yields
    ------
    callable
        To be called for each one that is done with, however that ended.
    """
    if not things:
        yield lambda: None
        return
    bar = f"bidsshare-{doing}-things"
    label = f"{thing.capitalize()}s"
    _start(
        lgr,
        bar,
        doing,
        things,
        nbytes,
        thing,
        total=things,
        label=label,
        unit=f" {thing}s",
        **({"noninteractive_level": 5} if said else {}),
    )
    try:
        yield lambda: _advance(lgr, bar, 1)
    finally:
        _end(lgr, bar, doing)


def _start(
    lgr: logging.Logger,
    bar: str,
    doing: str,
    things: int,
    nbytes: int,
    thing: str,
    *,
    total: int,
    label: str,
    unit: str,
    **more: int,
) -> None:
    log_progress(
        lgr.info,
        bar,
        "%s %d %s%s (%s)",
        doing,
        things,
        thing,
        "s" * (things != 1),
        human_bytes(nbytes),
        total=total,
        label=label,
        unit=unit,
        **more,
    )


def _advance(lgr: logging.Logger, bar: str, by: int) -> None:
    log_progress(lgr.info, bar, "%d more", by, update=by, increment=True, noninteractive_level=5)


def _end(lgr: logging.Logger, bar: str, doing: str) -> None:
    log_progress(lgr.info, bar, "%s ended", doing, noninteractive_level=5)
