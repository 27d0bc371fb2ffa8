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
    """

    def __init__(self, request: Request) -> None:
        self._request = request
        self.fetched: dict[tuple[Path, str], GetResult] = {}

    def read(self, visit: Visit, paths: Iterable[str]) -> Iterator[tuple[str, bytes | None]]:
        """Give the content of files of one dataset; None where it cannot be had."""
        infos = list(describe(visit.root, visit.index.entries(paths)))
        missing = []
        # What the user changed in the work tree is no version of another commit.
        current = visit.commit is None
        contents = read_content(visit.root, infos, work_tree=current)
        for info, (path, content) in zip(infos, contents, strict=True):
            if content is None and info.kind == "annex" and self._request.elsewhere is not None:
                content = self._request.elsewhere(visit.root, info)
            if content is None and info.kind == "annex":
                missing.append(info)
            else:
                yield path, content
        # What failed once is not waited for again.
        untried = [i for i in missing if (visit.root, i.path) not in self.fetched]
        if untried and not self._request.dry_run:
            self._fetch(visit.root, untried, by_key=not current)
        if missing:
            yield from read_content(visit.root, missing, work_tree=current)

    def why_absent(self, visit: Visit, path: str) -> str:
        """Give what went wrong when a file was fetched, to be added to a message."""
        result = self.fetched.get((visit.root, path))
        return f": {result.message}" if result is not None and result.message else ""

    def _fetch(self, root: Path, infos: list[FileInfo], *, by_key: bool) -> None:
        from datalad_bidsshare.dataset.transfer import get

        shown = ", ".join(info.path for info in infos[:3])
        more = f" and {len(infos) - 3} more" if len(infos) > 3 else ""
        lgr.info("Fetching what the selection depends on: %s%s", shown, more)
        request = self._request
        for result in get(root, infos, jobs=request.jobs, remote=request.remote, by_key=by_key):
            self.fetched[root, result.info.path] = result
