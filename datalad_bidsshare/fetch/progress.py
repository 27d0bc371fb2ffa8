"""How many files have been dealt with, next to DataLad's own bars for the bytes."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from datalad.log import log_progress

from datalad_bidsshare.report.sizes import human_bytes

__all__ = ["counted_files"]

lgr = logging.getLogger("datalad.bidsshare.fetch")

_BAR = "bidsshare-fetch-files"


@contextmanager
def counted_files(files: int, nbytes: int) -> Iterator[Callable[[], None]]:
    """Show a bar over the files to fetch, or say it once where there is no terminal.

    Parameters
    ----------
    files
        How many there are; with 0 nothing is shown.
    nbytes
        Bytes they will bring, as far as their keys tell.

    Yields
    ------
    callable
        To be called for each file that is done with, however that ended.
    """
    if not files:
        yield lambda: None
        return
    log_progress(
        lgr.info,
        _BAR,
        "Fetching %d file%s (%s)",
        files,
        "s" * (files != 1),
        human_bytes(nbytes),
        total=files,
        label="Files",
        unit=" files",
    )
    try:
        yield lambda: log_progress(
            lgr.info,
            _BAR,
            "A file was dealt with",
            update=1,
            increment=True,
            noninteractive_level=5,
        )
    finally:
        log_progress(lgr.info, _BAR, "Fetching ended", noninteractive_level=5)
