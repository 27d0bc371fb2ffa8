"""Zips that must be fetched before they can be read."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from datalad_bidsshare.archive.zips import TrackedZip
from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.dataset.errors import DatasetError

__all__ = ["Fetched", "fetch_zips", "windows"]


class Fetched:
    """What came into annexes for a call, by dataset."""

    def __init__(self) -> None:
        self._infos: dict[Path, list[FileInfo]] = defaultdict(list)
        self.bytesize = 0

    def note(self, root: Path, info: FileInfo, bytesize: int) -> None:
        """Note what came, and was not there before."""
        self._infos[root].append(info)
        self.bytesize += bytesize

    def give_back(self) -> None:
        """Drop it again, where git-annex knows another copy."""
        from datalad_bidsshare.dataset.drop import give_back

        for root, infos in self._infos.items():
            give_back(root, infos)
        self._infos.clear()


def windows(zips: Iterable[TrackedZip], limit: int | None) -> Iterator[list[TrackedZip]]:
    """Divide zips so that each lot has at most so many bytes; None: one lot.

    A zip that is larger has a lot of its own.
    """
    lot: list[TrackedZip] = []
    held = 0
    for tracked in zips:
        size = tracked.info.bytesize or 0
        if lot and limit is not None and held + size > limit:
            yield lot
            lot, held = [], 0
        lot.append(tracked)
        held += size
    if lot:
        yield lot


def fetch_zips(
    zips: Sequence[TrackedZip], transfers: int | None, fetched: Fetched
) -> Iterator[tuple[TrackedZip, str]]:
    """Fetch zips: one git-annex process a dataset.

    Parameters
    ----------
    zips
        They may be of several datasets.
    transfers
        At a time; None for what is usual.
    fetched
        Takes what came.

    Yields
    ------
    tuple of TrackedZip and str
        Each zip, and '' or why it could not be had.
    """
    from datalad_bidsshare.dataset.transfer import get

    by_root: dict[Path, dict[str, TrackedZip]] = defaultdict(dict)
    for tracked in zips:
        by_root[tracked.root][tracked.inner] = tracked
    for root, waiting in by_root.items():
        infos = [tracked.info for tracked in waiting.values()]
        try:
            with closing(get(root, infos, jobs=transfers, by_key=True)) as results:
                for result in results:
                    tracked = waiting.pop(result.info.path)
                    if result.status == "ok":
                        fetched.note(root, result.info, result.bytesize)
                    fine = result.status in ("ok", "notneeded")
                    yield tracked, "" if fine else result.message
        except DatasetError as error:
            # The trouble of one dataset: the others go on.
            for tracked in waiting.values():
                yield tracked, str(error)
