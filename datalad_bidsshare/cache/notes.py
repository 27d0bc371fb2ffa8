"""Where to keep what is known of a source and must outlive its managed clone."""

from __future__ import annotations

import contextlib
from pathlib import Path

from datalad_bidsshare.cache.urls import Source, readable_name

__all__ = ["notes_of"]


def notes_of(source: Source, *, make: bool = True) -> Path:
    """Give the directory for what a dataset keeps in its git directory otherwise.

    What was given, when, and to where has to be answered for also when the clone that it came from
    was removed to save space. So it lies with the data of the user's programs, and not in a cache.

    Parameters
    ----------
    source
        From `read_source`.
    make
        Whether to make it, for this user alone.
    """
    import platformdirs

    data = Path(platformdirs.user_data_dir("datalad", "datalad.org"))
    place = data / "bidsshare" / readable_name(source)
    if make:
        # Where that fails, whoever writes there has to say so anyway.
        with contextlib.suppress(OSError):
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            place.mkdir(mode=0o700, exist_ok=True)
    return place
