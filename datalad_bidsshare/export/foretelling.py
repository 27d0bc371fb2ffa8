"""What an export would do, for a dry run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.export.content import with_blobs
from datalad_bidsshare.export.explain import foreign_message, missing_message
from datalad_bidsshare.export.items import Item, Part, Settled
from datalad_bidsshare.export.recipes import Recipes
from datalad_bidsshare.export.records import ExportRecorder
from datalad_bidsshare.export.request import ExportRequest
from datalad_bidsshare.export.standing_content import changed_content, is_complete

__all__ = ["foretell"]


def foretell(
    request: ExportRequest,
    recorder: ExportRecorder,
    recipes: Recipes,
    part: Part,
    survey: Iterable[Settled | Item],
) -> Iterator[dict[str, Any]]:
    """Say what would come of the files of one dataset.

    Parameters
    ----------
    request, recorder, recipes
        What is exported.
    part
        The dataset.
    survey
        What there is to do, as `Survey.of` gives it. Nothing is held but what needs git's content.
    """
    unread: list[Item] = []
    for found in survey:
        if isinstance(found, Settled):
            yield recorder.settled(found)
        elif found.how == "git" and found.source is None and (found.unlisted or found.recipe):
            # Its content decides. Read with the others, by one process.
            unread.append(found)
        else:
            yield _foretold(request, recorder, recipes, found)
    told = 0
    try:
        for item in with_blobs(part, unread, None):
            yield _foretold(request, recorder, recipes, item)
            item.source = None
            told += 1
    except DatasetError as error:
        for item in unread[told:]:
            yield recorder.item(item, "error", str(error))


def _foretold(
    request: ExportRequest, recorder: ExportRecorder, recipes: Recipes, item: Item
) -> dict[str, Any]:
    if item.how == "fetch" and request.missing != "get":
        status = "error" if request.missing == "error" else "impossible"
        return recorder.item(item, status, missing_message(item))
    if item.unlisted:
        if is_complete(request.dest, item, recipes):
            return recorder.item(item, "notneeded")
        if not (item.ours or request.replaces_foreign):
            return recorder.item(item, "error", foreign_message(item))
    size = None
    if item.recipe is not None:
        content = changed_content(item, recipes)
        size = None if content is None else len(content)
    message = "would be updated" if item.standing else "would be written"
    return recorder.item(item, "ok", message, bytesize=size)
