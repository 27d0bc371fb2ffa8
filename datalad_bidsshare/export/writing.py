"""Writing items to the destination, and vouching for them once they are on the disk."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from datalad_bidsshare.dataset.beneath import TooLarge
from datalad_bidsshare.dataset.checksums import DEFAULT, checksum_of_key
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.export.content import Damaged, read_object, with_blobs
from datalad_bidsshare.export.copying import Pool
from datalad_bidsshare.export.explain import explain
from datalad_bidsshare.export.items import Item, Part
from datalad_bidsshare.export.jobs import Done, Job
from datalad_bidsshare.export.ledger import Ledger, Written
from datalad_bidsshare.export.made import MadeDirectories
from datalad_bidsshare.export.recipes import Recipes
from datalad_bidsshare.export.records import ExportRecorder
from datalad_bidsshare.export.request import ExportRequest
from datalad_bidsshare.export.tables import TableError

__all__ = ["Writer"]

#: Seconds of work that a crash may cost: so often the ledger catches up with the disk.
_CHECKPOINT = 60.0
#: Times that content is fetched again which somebody drops before it is read.
_TRIES = 5


class Writer:
    """Writes the items of one export.

    Parameters
    ----------
    request
        What is exported.
    recorder
        Makes the records.
    recipes
        Changes what is to be changed.
    ledger, made
        Take down what was written, after it reached the disk.
    times
        Time stamp (ns) for what git keeps, by mount: that of the commit.
    spool
        Directory for large blobs on their way out of git.
    progress
        Called with bytes written.
    assure
        Called before the ledger is written: raises when that is no longer where it was.
    """

    def __init__(
        self,
        request: ExportRequest,
        recorder: ExportRecorder,
        recipes: Recipes,
        ledger: Ledger,
        made: MadeDirectories,
        times: dict[str, int],
        spool: Path,
        progress: Callable[[int], None],
        assure: Callable[[], None],
    ) -> None:
        self._request = request
        self._recorder = recorder
        self._recipes = recipes
        self._ledger = ledger
        self._made = made
        self._times = times
        self._spool = spool
        self._progress = progress
        self._assure = assure
        self._items: dict[int, Item] = {}
        self._count = 0
        self._unsynced: list[tuple[str, Written]] = []
        self._synced_at = time.monotonic()
        self._pool: Pool | None = None
        self._gone: list[Item] = []

    def __enter__(self) -> Writer:
        self._pool = Pool(self._request.dest, self._request.workers, self._progress)
        self._pool.__enter__()
        return self

    def __exit__(self, *why: Any) -> None:
        pool = self._pool
        assert pool is not None
        try:
            # What is done is done, also when we were interrupted. Synchronised by the pool, which
            # held the destination open since before the first write: it hears of every error.
            for done in pool.done(wait=False):
                self._made.add(done.created)
                # An interrupt may have come when it was just being dealt with.
                item = self._items.pop(done.number, None)
                if item is not None and done.status in ("ok", "kept"):
                    self._take_down(item, done)
            self._checkpoint()
        finally:
            self._pool = None
            pool.__exit__(*why)

    def write(self, part: Part, items: Iterable[Item]) -> Iterator[dict[str, Any]]:
        """Write the items of one dataset, and give the records of those that are done.

        Some may still be under way at the end; see `finish`.
        """
        waiting = list(items)
        begun = 0
        try:
            for item in with_blobs(part, waiting, self._spool):
                begun += 1
                yield from self._submit(item)
                if isinstance(item.source, tuple):
                    if item.how == "git":
                        # It lies in a file that is gone when the next is asked for.
                        yield from self.finish()
                elif item.how == "git":
                    # Handed over. Held for all items, it would fill the memory.
                    item.source = None
                yield from self._records(wait=False)
        except DatasetError as error:
            # The trouble of what git should have given; the rest goes on.
            for item in waiting[begun:]:
                if item.source is None:
                    yield self._recorder.item(item, "error", str(error))
                else:
                    yield from self._submit(item)
                    yield from self._records(wait=False)

    def finish(self) -> Iterator[dict[str, Any]]:
        """Wait for all that is under way."""
        yield from self._records(wait=True)

    def _submit(self, item: Item) -> Iterator[dict[str, Any]]:
        source = item.source
        checksum = checksum_of_key(item.info.key) if item.info.key else None
        size, mtime_ns = item.info.bytesize, None
        if item.recipe is not None:
            try:
                content = read_object(item)
                if content is None:
                    yield from self._failed(item, Done(0, "gone", 0, 0, "", 0, "source", ()))
                    return
                source = self._recipes.apply(item, content)
            except Damaged:
                yield from self._failed(item, Done(0, "corrupt", 0, 0, "", 0, "source", ()))
                return
            except (TableError, TooLarge) as error:
                yield self._recorder.item(item, "error", str(error) or "too large to be read")
                return
            except OSError as error:
                failed = Done(0, "error", 0, 0, "", error.errno or 0, "source", ())
                yield from self._failed(item, failed)
                return
            size, checksum = len(source), None
        assert source is not None
        if item.how == "git" or item.recipe is not None:
            mtime_ns = self._times[item.part.mount]
        self._count += 1
        self._items[self._count] = item
        assert self._pool is not None
        self._pool.submit(
            Job(
                self._count,
                item.target,
                source,
                size,
                checksum.algorithm if checksum else DEFAULT,
                checksum.digest if checksum else None,
                item.is_executable,
                mtime_ns,
                item.standing if item.ours or not item.unlisted else None,
                item.unlisted,
                self._request.replaces_foreign,
                self._request.verify,
            )
        )

    def _records(self, *, wait: bool) -> Iterator[dict[str, Any]]:
        assert self._pool is not None
        for done in self._pool.done(wait):
            item = self._items.pop(done.number)
            self._made.add(done.created)
            if done.status in ("ok", "kept"):
                self._take_down(item, done)
                yield self._recorder.item(
                    item, "ok" if done.status == "ok" else "notneeded", bytesize=done.size
                )
            else:
                yield from self._failed(item, done)
        if time.monotonic() - self._synced_at > _CHECKPOINT:
            self._checkpoint()

    def lost(self, item: Item) -> bool:
        """Note that content was gone when it was to be read, and tell whether to fetch it again.

        Another export drops what it fetched, though this one found it there.
        """
        if self._request.missing != "get" or item.info.key is None or item.lost >= _TRIES:
            return False
        item.lost += 1
        item.how = "fetch"
        self._gone.append(item)
        return True

    def gone(self) -> list[Item]:
        """Give the items that are to be fetched again. To be asked when all is finished."""
        found, self._gone = self._gone, []
        return found

    def _failed(self, item: Item, done: Done) -> Iterator[dict[str, Any]]:
        if done.status != "gone" or not self.lost(item):
            yield self._recorder.item(item, "error", explain(item, done))

    def _take_down(self, item: Item, done: Done) -> None:
        checksum = checksum_of_key(item.info.key) if item.info.key else None
        algorithm = checksum.algorithm if checksum and item.recipe is None else DEFAULT
        written = Written(
            size=done.size,
            mtime_ns=done.mtime_ns,
            source=item.source_id,
            algorithm=algorithm,
            digest=done.digest,
            # Others hold names and addresses; of what was changed, it tells of what was held back.
            key=item.info.key or "" if checksum and item.recipe is None else "",
            recipe=item.recipe.digest if item.recipe else "",
        )
        self._unsynced.append((item.target, written))

    def _checkpoint(self) -> None:
        """Put what was written onto the disk; only then it is vouched for."""
        if self._unsynced:
            assert self._pool is not None
            self._pool.sync()
            for target, written in self._unsynced:
                self._ledger.put(target, written)
            self._unsynced.clear()
            self._assure()
            self._ledger.journal()
        self._synced_at = time.monotonic()
