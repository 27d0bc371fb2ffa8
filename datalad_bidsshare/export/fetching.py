"""Items whose content must be fetched first: by windows, so that the disk need not hold all."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.dataset.drop import give_back
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.sources import Sources
from datalad_bidsshare.export.items import Item, Part
from datalad_bidsshare.export.records import ExportRecorder
from datalad_bidsshare.export.request import ExportRequest

__all__ = ["drop_tables", "fetch_window", "windows"]


def windows(items: Iterable[Item], limit: int) -> Iterator[list[Item]]:
    """Divide items so that the content of each lot has at most so many bytes.

    Files of one content are in one lot. A single file that is larger has a lot of its own.
    """
    by_key: dict[str | None, list[Item]] = defaultdict(list)
    for item in items:
        by_key[item.info.key].append(item)
    lot: list[Item] = []
    held = 0
    for same in by_key.values():
        size = same[0].info.bytesize or 0
        if lot and held + size > limit:
            yield lot
            lot, held = [], 0
        lot += same
        held += size
    if lot:
        yield lot


def fetch_window(
    request: ExportRequest,
    recorder: ExportRecorder,
    part: Part,
    lot: Sequence[Item],
    fetched: list[FileInfo],
    lost: Callable[[Item], bool] = lambda item: False,
) -> Generator[Item | dict[str, Any], None, None]:
    """Fetch the content of items: one git-annex process.

    Parameters
    ----------
    request
        What is exported.
    recorder
        Makes the records.
    part
        The dataset that the items are of.
    lot
        The items.
    fetched
        Takes what came, and was not here before.
    lost
        Asked about content that was here, and was gone at once: whether the caller tries again.

    Yields
    ------
    Item or dict
        Each item whose content is here now, and the record of each that could not be had, unless
        the caller tries again.
    """
    from datalad_bidsshare.dataset.transfer import get

    sources = Sources(part.root, work_tree=False)
    waiting: dict[str, list[Item]] = defaultdict(list)
    for item in lot:
        # A link and the file that it leads to have the same.
        waiting[item.info.path].append(item)
    infos = [items[0].info for items in waiting.values()]
    with closing(get(part.root, infos, jobs=request.files.jobs, by_key=True)) as results:
        try:
            for result in results:
                items = waiting.pop(result.info.path)
                how, place = sources.find(result.info)
                if place is None:
                    came = result.status in ("ok", "notneeded")
                    for item in items:
                        if not (came and lost(item)):
                            yield recorder.item(item, "error", _why_not(item, result.message))
                    continue
                if result.status == "ok" and how == "present":
                    fetched.append(result.info)
                    items[0].transferred = result.bytesize
                for item in items:
                    item.source = place
                    yield item
        except DatasetError as error:
            # The trouble of one dataset: the others go on.
            for items in waiting.values():
                for item in items:
                    yield recorder.item(item, "error", str(error))


def _why_not(item: Item, said: str) -> str:
    if item.lost or not said:
        said = said or "somebody drops it at once"
        return f"content vanished while the export went on, and could not be had again: {said}"
    return said


def drop_tables(parts: Iterable[Part]) -> None:
    """Drop what was fetched because the selection depends on it."""
    for part in parts:
        came = [r.info for r in part.choice.fetched.values() if r.status == "ok"]
        give_back(part.root, came)
