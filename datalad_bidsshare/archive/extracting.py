"""Having zips unpacked by a pool, and taking down what they gave lot by lot."""

from __future__ import annotations

import contextlib
import errno
import logging
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from datalad_bidsshare.archive.executor import Pool, count_workers, open_executor
from datalad_bidsshare.archive.plan import Planned, chunks
from datalad_bidsshare.archive.records import UnzipRecorder
from datalad_bidsshare.archive.request import UnzipRequest
from datalad_bidsshare.archive.work import Manifest, WorkItem
from datalad_bidsshare.archive.writing import Writer
from datalad_bidsshare.report.progress import counted_bytes, counted_things

__all__ = ["Extraction"]

lgr = logging.getLogger("datalad.bidsshare.unzip")

#: What is taken down at a time: whichever comes first.
_FILES, _BYTES, _ZIPS = 500, 2_000_000_000, 100
#: Each time git goes through all that is tracked. So in a large dataset lots are larger: no more
#: than so many for all of it.
_MOST_LOTS = 100
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Extraction:
    """Unpacks zips into trees of their lots. A context manager: it has processes.

    Parameters
    ----------
    request
        What is asked for.
    recorder
        Makes the records.
    writer
        Takes down what was unpacked.
    stage
        Directory for the trees.
    tracked
        How many files the dataset has.

    Attributes
    ----------
    stopped
        Whether no further zips are to be unpacked.
    """

    def __init__(
        self,
        request: UnzipRequest,
        recorder: UnzipRecorder,
        writer: Writer,
        stage: Path,
        tracked: int,
    ) -> None:
        self._request = request
        self._recorder = recorder
        self._writer = writer
        self._stage = stage
        self._tracked = tracked
        self._workers = count_workers(request.executor, request.jobs)
        # While one lot is taken down, those of the next are unpacked.
        self._pool = Pool(
            lambda: open_executor(request.executor, request.jobs), 4 * self._workers + 64
        )
        self._lots = self._items = 0
        self.stopped = False

    def __enter__(self) -> Extraction:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.close()

    def unpack(self, plans: Sequence[Planned]) -> Iterator[dict[str, Any]]:
        """Unpack zips.

        Yields
        ------
        dict
            Records of zips and their files, when they are on the branch; and of those that could
            not be unpacked. With `stopped`, the zips that were not begun have none.

        Raises
        ------
        DatasetError
            When git or git-annex fail.
        """
        files = self._tracked + sum(len(planned.outputs) for planned in plans)
        scale = max(1, files // (_FILES * _MOST_LOTS))
        lots = list(chunks(plans, files=_FILES * scale, nbytes=_BYTES * scale, zips=_ZIPS * scale))
        # One that is left over gets all.
        threads = max(1, self._workers // max(len(plans), 1))
        queue: deque[tuple[Planned, Path]] = deque()
        trees: list[Path] = []
        for lot in lots:
            self._lots += 1
            trees.append(self._stage / f"{self._lots:06}")
            queue.extend((planned, trees[-1]) for planned in lot)
        under_way: dict[int, Planned] = {}
        manifests: dict[int, Manifest] = {}
        counted: set[int] = set()

        def submit(planned: Planned, tree: Path) -> None:
            self._items += 1
            under_way[self._items] = planned
            self._pool.submit(self._item(self._items, planned, tree, threads))

        def feed() -> None:
            while queue and self._pool.has_room() and not self.stopped:
                submit(*queue.popleft())

        nbytes = sum(planned.unpacked for planned in plans)
        with (
            counted_bytes(lgr, "Unpacking", len(plans), nbytes, "zip") as count_bytes,
            counted_things(lgr, "Unpacking", len(plans), nbytes, "zip", said=True) as count_zip,
        ):
            for lot, tree in zip(lots, trees, strict=True):
                missing = {id(planned) for planned in lot}
                while True:
                    feed()
                    missing.difference_update(manifests)
                    if not missing or not self._pool.in_flight:
                        again = _heirs(lot, manifests, tree)
                        if not again:
                            break
                        for planned in again:
                            del manifests[id(planned)]
                            missing.add(id(planned))
                            submit(planned, tree)
                    for manifest in self._pool.wait():
                        planned = under_way.pop(manifest.number)
                        manifests[id(planned)] = manifest
                        if id(planned) not in counted:
                            counted.add(id(planned))
                            count_zip()
                            count_bytes(planned.unpacked)
                        if manifest.error:
                            self._note_failure(manifest)
                done = [(p, manifests.pop(id(p))) for p in lot if id(p) in manifests]
                yield from self._take(done, tree)

    def _item(self, number: int, planned: Planned, tree: Path, threads: int) -> WorkItem:
        return WorkItem(
            number,
            replace(planned.job, leave=tuple(planned.leave)),
            self._request.limits,
            planned.source,
            str(tree),
            threads,
            planned.bytesize,
            planned.digest,
        )

    def _note_failure(self, manifest: Manifest) -> None:
        # A full disk is no affair of one zip.
        if self._request.on_zip_error == "stop" or manifest.errno in _FULL:
            self.stopped = True

    def _take(
        self, lot: Sequence[tuple[Planned, Manifest]], tree: Path
    ) -> Iterator[dict[str, Any]]:
        """Take down the zips of a lot that were unpacked, then tell of the others.

        In this order: DataLad's on_failure='stop' ends the command at the first failure.
        """
        good = [planned for planned, manifest in lot if not manifest.error]
        if good:
            tree.mkdir(parents=True, exist_ok=True)
            for found in self._writer.take(good, tree):
                if isinstance(found, dict):
                    yield found
                    continue
                planned, why_not = found
                self.stopped = self.stopped or self._request.on_zip_error == "stop"
                yield self._recorder.zip(planned.zip, "error", why_not)
        for planned, manifest in lot:
            if not manifest.error:
                continue
            member: dict[str, Any] = {"member": manifest.member} if manifest.member else {}
            message = manifest.error
            if ";" not in message:
                message += "; see if the zip is what it should be (git annex fsck), or get it anew"
            yield self._recorder.zip(planned.zip, "error", message, **member)


def _heirs(lot: Sequence[Planned], manifests: Mapping[int, Manifest], tree: Path) -> list[Planned]:
    """Tidy up after the zips of a lot that failed, and give those that have to step in for them.

    These are unpacked once more, with what they had left to the others.
    """
    for planned in lot:
        manifest = manifests.get(id(planned))
        if manifest is not None and manifest.error and not planned.failed:
            planned.failed = True
            # One that was killed could not clean up.
            for output in planned.written:
                with contextlib.suppress(OSError):
                    (tree / output.path).unlink()
    unpacked = [p for p in lot if id(p) in manifests and not p.failed]
    return [planned for planned in unpacked if planned.take_over()]
