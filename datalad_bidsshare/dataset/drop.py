"""Giving back disk space: one streaming `git annex drop` a dataset.

Never forced: git-annex itself sees to it that enough other copies are left.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shlex
from collections.abc import Generator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.gitannex import AnnexDrop
from datalad_bidsshare.dataset.presence import Annex, encode_path, git_directory

__all__ = ["DropResult", "drop", "give_back"]

lgr = logging.getLogger("datalad.bidsshare.dataset")


@dataclass(frozen=True, slots=True)
class DropResult:
    """How it went for one file.

    Attributes
    ----------
    info
        The file.
    status
        'ok' when its content is here no more, 'notneeded' when it was not, 'error' when it is
        kept: git-annex found no other copy, or could not drop it.
    message
        Reason and next step; empty when all is well.
    bytesize
        Bytes that were given back: 0 unless 'ok', and where the key does not tell.
    """

    info: FileInfo
    status: Literal["ok", "notneeded", "error"]
    message: str
    bytesize: int


def drop(
    root: Path, infos: Iterable[FileInfo], *, by_key: bool = False
) -> Generator[DropResult, None, None]:
    """Drop the content of files from one dataset, where other copies are known to be left.

    One git-annex process for all of them (a second one for names that it cannot look up). When
    the generator is closed, or Ctrl-C arrives, git-annex is ended; what was dropped by then is.

    Parameters
    ----------
    root
        Root of the dataset. Nothing is committed.
    infos
        From `describe`. Content that several of them share goes with the first.
    by_key
        Drop from the annex, whatever the work tree holds at these paths. How many copies are
        to be left then follows from git-annex's settings, and not from `.gitattributes`.

    Yields
    ------
    DropResult
        Exactly one a file.

    Raises
    ------
    DatasetError
        When the annex belongs to another repository (an ephemeral clone): dropping there could
        take away the only copy. When the presence of content cannot be found out. What goes
        wrong with a file is a result.
    """
    asked = list(infos)
    _refuse_borrowed(root)
    annex = Annex(root)
    first: dict[str, FileInfo] = {}
    for info in asked:
        if info.key is None or info.key in first or annex.find(info) is None:
            yield DropResult(info, "notneeded", "", 0)
        else:
            first[info.key] = info
    if not first:
        return
    from datalad.distribution.dataset import Dataset

    run = AnnexDrop(Dataset(str(root)), 1)
    for keyed in (False, True):
        batch = [i for i in first.values() if (by_key or _only_by_key(root, i)) == keyed]
        waiting = {i.key: i for i in batch}
        paths = {i.path: i for i in batch}
        with contextlib.closing(run.records(batch, keyed)) as records:
            for record in records:
                # By key first: names that are no UTF-8 come back changed.
                found = waiting.get(record.get("key")) or _named(record, paths)
                if found is not None and waiting.pop(found.key, None) is not None:
                    yield _settled(annex, found, record, run.said)
        for left in waiting.values():
            yield _settled(annex, left, None, run.said)


def give_back(root: Path, fetched: Iterable[FileInfo]) -> None:
    """Drop what a command fetched, where git-annex knows another copy; warn of what is kept.

    Parameters
    ----------
    root
        Root of the dataset.
    fetched
        Annexed files whose content was not here before.
    """
    once = list({info.key: info for info in fetched}.values())
    if not once:
        return
    kept = []
    try:
        # By key: of another commit, or of what is not saved, a name may mean other content.
        with contextlib.closing(drop(root, once, by_key=True)) as results:
            kept = [result for result in results if result.status not in ("ok", "notneeded")]
    except DatasetError as error:
        lgr.warning("What was fetched is kept: %s", error)
    if kept:
        lgr.warning(
            "%d of the files that were fetched are kept in %s, such as %s: %s",
            len(kept),
            root,
            kept[0].info.path,
            kept[0].message,
        )


def _refuse_borrowed(root: Path) -> None:
    """Refuse an annex that is a link to that of another repository.

    Seen at the link itself: the configuration of an ephemeral clone may have been changed.
    """
    annex = git_directory(root) / "annex"
    for place in (annex, annex / "objects"):
        if place.is_symlink():
            raise DatasetError(
                f"{root} has the annex of another repository ({place} is a symbolic link to "
                f"{os.readlink(place)}): what is dropped here would be gone there; drop it there, "
                "if it is to be dropped at all"
            )


def _only_by_key(root: Path, info: FileInfo) -> bool:
    """Tell whether git-annex could not look a file up by its name."""
    return "\n" in info.path or not os.path.lexists(encode_path(root, info.path))


def _named(record: dict[str, Any], paths: dict[str, FileInfo]) -> FileInfo | None:
    names = [*(record.get("input") or []), record.get("file")]
    return next((paths[n] for n in names if n in paths), None)


def _settled(annex: Annex, info: FileInfo, record: dict[str, Any] | None, said: str) -> DropResult:
    """Look, and explain what is still there."""
    if annex.find(info) is None:
        return DropResult(info, "ok", "", info.bytesize or 0)
    texts = (record or {}).get("error-messages") or said.splitlines()
    lines = [str((record or {}).get("note") or ""), *map(str, texts)]
    told = "; ".join(dict.fromkeys(t.strip().rstrip(".") for t in "\n".join(lines).split("\n")))
    whereis = ["git", "-C", str(annex.root), "annex", "whereis", f"--key={info.key}"]
    return DropResult(
        info,
        "error",
        f"it is kept: {told.strip('; ') or 'git-annex did not say why'}; next: see where else it "
        f"is: {shlex.join(whereis)}",
        0,
    )
