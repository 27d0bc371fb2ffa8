"""Zips in which nothing was wanted: not to be fetched again to find that out."""

from __future__ import annotations

import contextlib
from pathlib import Path

from datalad_bidsshare import __version__

__all__ = ["Barren"]

#: Lines that are kept; one is some 100 bytes.
_MOST = 200_000


class Barren:
    """Remembers, in this clone alone, which zips hold nothing of what a selection wants.

    Parameters
    ----------
    file
        Where; it need not exist. Nothing depends on it but what is fetched.
    digest
        Of what is wanted.
    """

    def __init__(self, file: Path, digest: str) -> None:
        self._file = file
        # What BIDS has to say of names may change with the version.
        self._prefix = f"{digest} {__version__} "
        self._lines: list[str] = []
        with contextlib.suppress(OSError, UnicodeDecodeError):
            self._lines = file.read_text(encoding="utf-8").splitlines()[-_MOST:]
        self._known = set(self._lines)

    def holds(self, key: str) -> bool:
        """Tell whether a version of a zip is known to hold nothing that is wanted."""
        return self._prefix + key in self._known

    def add(self, key: str) -> None:
        """Remember one."""
        line = self._prefix + key
        if line not in self._known and "\n" not in line:
            self._known.add(line)
            self._lines.append(line)

    def write(self) -> None:
        """Write it down. Failing that, they are fetched once more."""
        with contextlib.suppress(OSError):
            self._file.write_text("".join(f"{line}\n" for line in self._lines), encoding="utf-8")
