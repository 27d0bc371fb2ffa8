"""Which names mean an archive, and what an archive makes of the names of its members."""

from __future__ import annotations

import re
from pathlib import Path

from datalad_bidsshare.export.archive_zip import unfit_for_zip

__all__ = ["ENDINGS", "archive_format", "is_compressed", "unfit_name"]

ENDINGS = (".zip", ".tar", ".tar.gz", ".tar.zst")
"""What DEST may end in, in any case."""

# Deflate finds nothing in these. HDF5 (.h5, .snirf) is left out: it may be compressed, or not.
_COMPRESSED = re.compile(
    r"\.(7z|avi|br|bz2|flac|gif|gz|jpe?g|lz4|m4a|mgz|mkv|mov|mp[34]|mpeg|npz|ogg|png|tgz|web[mp]"
    r"|xz|zip|zst)\Z",
    re.IGNORECASE,
)


def archive_format(dest: Path) -> str | None:
    """Give which of `ENDINGS` a path has, or None when it is to be a directory."""
    name = dest.name.lower()
    # A name that is an ending and nothing else is that of a hidden directory.
    return next((e for e in reversed(ENDINGS) if name.endswith(e) and name != e), None)


def unfit_name(form: str, name: str) -> str | None:
    """Say why an archive cannot hold a name, and what to do; None when it can.

    Parameters
    ----------
    form
        One of `ENDINGS`.
    name
        With the prefix.
    """
    if "\0" in name or any(c in ("", ".", "..") for c in name.split("/")):
        return f"{name!r} is no path that an archive should hold; leave the file out"
    if form == ".zip" and (why := unfit_for_zip(name)) is not None:
        return f"{name!r} cannot be in a zip archive: {why}; export to a .tar, .tar.gz or .tar.zst"
    return None


def is_compressed(path: str) -> bool:
    """Tell by its ending whether a file is compressed already."""
    return _COMPRESSED.search(path) is not None
