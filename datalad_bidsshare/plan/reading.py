"""Content that planning itself needs: tables for `--where`, JSON for links."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from datalad_bidsshare.dataset.blobs import FileInfo, describe
from datalad_bidsshare.dataset.presence import read_content
from datalad_bidsshare.plan.request import Request
from datalad_bidsshare.plan.walk import Visit

if TYPE_CHECKING:
    from datalad_bidsshare.dataset.transfer import GetResult

__all__ = ["ContentReader"]

lgr = logging.getLogger("datalad.bidsshare.plan")


class ContentReader:
    """Reads small files of the visited datasets, fetching what is absent.

    Nothing is fetched in a dry run.

    Attributes
    ----------
    fetched
        By dataset root and path: what had to be fetched, and how that went.
    absent
        By dataset root and path: what is absent and could not or must not be
        fetched.
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.fetched: dict[tuple[Path, str], GetResult] = {}
        self.absent: dict[tuple[Path, str], FileInfo] = {}

    def read(self, visit: Visit, paths: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Give the content of files of one dataset; None where it cannot be had."""
        infos = list(describe(visit.root, visit.index.entries(paths)))
        missing = []
        for info, (path, content) in zip(infos, read_content(visit.root, infos), strict=True):
            if content is None and info.kind == "annex":
                missing.append(info)
            else:
                yield path, content
        if missing and not self._request.dry_run:
            self._fetch(visit.root, missing)
            yield from self._read_again(visit.root, missing)
        else:
            for info in missing:
                self.absent[visit.root, info.path] = info
                yield info.path, None

    def _fetch(self, root: Path, infos: list[FileInfo]) -> None:
        shown = ", ".join(info.path for info in infos[:3])
        more = f" and {len(infos) - 3} more" if len(infos) > 3 else ""
        lgr.info("Fetching what the selection depends on: %s%s", shown, more)
        from datalad.distribution.dataset import Dataset

        from datalad_bidsshare.dataset.transfer import get

        request = self._request
        for result in get(Dataset(root), infos, jobs=request.jobs, source=request.source):
            self.fetched[root, result.info.path] = result

    def _read_again(self, root: Path, infos: list[FileInfo]) -> Iterator[tuple[str, bytes | None]]:
        for info, (path, content) in zip(infos, read_content(root, infos), strict=True):
            if content is None:
                self.absent[root, info.path] = info
            yield path, content
