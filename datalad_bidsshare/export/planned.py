"""What an export is about to write, put down before: killed meanwhile, the next one knows it.

The ledger vouches for what is on the disk, and lags behind. A file that an export was to make
where nothing stood, and that is there after all, was made by that export.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from datalad_bidsshare.dataset.beneath import TooLarge, read_beneath
from datalad_bidsshare.dataset.encoding import decode, encode
from datalad_bidsshare.disk.names import is_internal
from datalad_bidsshare.export.items import Item
from datalad_bidsshare.export.replacing import replacing

__all__ = ["Planned"]

_NAME = "planned"
_LARGEST = 1 << 30
#: For a size or a time stamp that nobody knows before.
_UNKNOWN = -1


class Planned:
    """Files that exports which did not end were to make.

    Parameters
    ----------
    directory
        Where that is written down: a file of path, size and time stamp (ns), each closed by a
        NUL.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, tuple[int, int]] = {}
        said = b""
        # Never through a link: others may write at the destination too.
        with contextlib.suppress(OSError, TooLarge):
            said = read_beneath(directory, _NAME, _LARGEST) or b""
        fields = decode(said).split("\0")[:-1]
        with contextlib.suppress(ValueError):
            for path, size, mtime_ns in zip(*[iter(fields)] * 3, strict=False):
                if not is_internal(path):
                    self._files[path] = int(size), int(mtime_ns)

    def __len__(self) -> int:
        return len(self._files)

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def forget(self, path: str) -> None:
        """Forget a file, if it is known: it is gone."""
        self._files.pop(path, None)

    def holds(self, path: str, found: tuple[int, int]) -> bool:
        """Say whether a file that stands there is one that was to be made.

        Parameters
        ----------
        path
            Target path.
        found
            Its bytes, and its time stamp (ns).
        """
        planned = self._files.get(path)
        return planned is not None and all(
            wanted in (_UNKNOWN, there) for wanted, there in zip(planned, found, strict=True)
        )

    def announce(self, items: Iterable[Item], times: dict[str, int]) -> None:
        """Put down what is about to be made, besides what was left over.

        Parameters
        ----------
        items
            The files.
        times
            Time stamp (ns) of what git keeps, by mount.
        """
        files = dict(self._files)
        for item in items:
            if item.standing is None or item.ours:
                size = item.info.bytesize
                fixed = item.how == "git" or item.recipe is not None
                files[item.target] = (
                    _UNKNOWN if size is None or item.recipe is not None else size,
                    times[item.part.mount] if fixed else _UNKNOWN,
                )
        self._write(files)

    def settle(self, remaining: Iterable[str]) -> None:
        """Put down what is left over now; nothing, as a rule."""
        self._files = {path: self._files[path] for path in remaining}
        if self._files:
            self._write(self._files)
        else:
            with contextlib.suppress(FileNotFoundError):
                (self._directory / _NAME).unlink()

    def _write(self, files: dict[str, tuple[int, int]]) -> None:
        with replacing(self._directory, _NAME) as out:
            for path, (size, mtime_ns) in files.items():
                out.write(encode(f"{path}\0{size}\0{mtime_ns}\0"))
