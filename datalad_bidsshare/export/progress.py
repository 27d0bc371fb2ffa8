"""How many bytes have been exported."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datalad.log import log_progress

from datalad_bidsshare.report.sizes import human_bytes

__all__ = ["counted_bytes"]

lgr = logging.getLogger("datalad.bidsshare.export")

_BAR = "bidsshare-export"
#: Seconds between two updates: drawing costs more than copying a small file.
_BEAT = 0.1


@contextmanager
def counted_bytes(files: int, nbytes: int) -> Iterator[Callable[[int], None]]:
    """Show a bar over the bytes to write, or say it once where there is no terminal.

    Parameters
    ----------
    files
        How many there are; with 0 nothing is shown.
    nbytes
        Their bytes, as far as that is known.

    Yields
    ------
    callable
        To be called with the number of bytes that were written since the last call.
    """
    if not files:
        yield lambda _: None
        return
    plural = "s" * (files != 1)
    log_progress(
        lgr.info,
        _BAR,
        "Exporting %d file%s (%s)",
        files,
        plural,
        human_bytes(nbytes),
        total=nbytes,
        label="Exporting",
        unit=" Bytes",
    )
    held, last = 0, time.monotonic()

    def advance(written: int) -> None:
        nonlocal held, last
        held += written
        now = time.monotonic()
        if held and now - last >= _BEAT:
            log_progress(
                lgr.info,
                _BAR,
                "%d bytes were written",
                held,
                update=held,
                increment=True,
                noninteractive_level=5,
            )
            held, last = 0, now

    try:
        yield advance
    finally:
        log_progress(lgr.info, _BAR, "Exporting ended", noninteractive_level=5)
