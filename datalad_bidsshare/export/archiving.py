"""An export into one archive: the same survey, and one writer instead of many."""

from __future__ import annotations

import errno
import logging
import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from datalad_bidsshare.dataset.beneath import TooLarge
from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.dataset.checksums import DEFAULT, checksum_of_key
from datalad_bidsshare.dataset.drop import give_back
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.export.archive import (
    ArchiveError,
    ArchiveWriter,
    Member,
    SourceCorrupt,
    UnfitName,
    unfit_name,
)
from datalad_bidsshare.export.content import Damaged, read_object, with_blobs
from datalad_bidsshare.export.destination import why_in_repository
from datalad_bidsshare.export.explain import explain, missing_message
from datalad_bidsshare.export.fetching import fetch_window
from datalad_bidsshare.export.given import Given
from datalad_bidsshare.export.items import Item, Part, Settled
from datalad_bidsshare.export.jobs import Done
from datalad_bidsshare.export.ledger import Ledger, Written
from datalad_bidsshare.export.parts import target_paths, unfit_names_of
from datalad_bidsshare.export.planned import Planned
from datalad_bidsshare.export.receipt import write_receipt
from datalad_bidsshare.export.recipes import Recipes
from datalad_bidsshare.export.records import ExportRecorder
from datalad_bidsshare.export.request import ExportRequest
from datalad_bidsshare.export.survey import Survey
from datalad_bidsshare.export.tables import TableError
from datalad_bidsshare.plan.outcome import Problem
from datalad_bidsshare.report.progress import counted_bytes

__all__ = ["write_archive"]

lgr = logging.getLogger("datalad.bidsshare.export")


def write_archive(
    request: ExportRequest, recorder: ExportRecorder, parts: Sequence[Part], given: Given
) -> Iterator[dict[str, Any]]:
    """Write all that is selected into one archive, in the order of the names.

    What cannot be had is left out and reported. An archive that is there already is only replaced
    if forced, and only by a complete one.

    Parameters
    ----------
    request, recorder, parts, given
        What is exported.

    Yields
    ------
    dict
        Result records, as `run.export` gives them.
    """
    obstacle = _obstacle(request)
    if obstacle is not None:
        status, message = obstacle
        if status == "error":
            yield recorder.problem(Problem(request.dest, "error", message, "destination"))
        else:
            yield recorder.summary(message)
        return
    with tempfile.TemporaryDirectory() as notes:
        ledger = Ledger.read(Path(notes))
        archiving = _Archiving(request, recorder, parts, given, ledger, Path(notes))
        try:
            yield from archiving.records()
        except ArchiveError as error:
            yield recorder.problem(Problem(request.dest, "error", str(error), "destination"))
            yield from archiving.given_up()


def _obstacle(request: ExportRequest) -> tuple[str, str] | None:
    """Say why the archive cannot, or need not, be written: status and message."""
    dest, root = request.dest, Path(os.path.realpath(request.files.root))
    if root in dest.parents:
        return "error", "an archive inside the dataset would become part of it; write it elsewhere"
    if (why := why_in_repository(dest, dest, dest.parents)) is not None:
        return "error", why
    if dest.is_dir():
        return "error", "is a directory; give another name, or leave --archive out"
    if os.path.lexists(dest) and not request.force:
        if request.existing == "skip":
            return "notneeded", "exists; left as it is"
        return "error", "exists already; replace it with --force, or give another name"
    if (why := unfit_name(request.archive or "", f"{_prefix(request)}/-")) is not None:
        return "error", f"all files lie in a directory named as the archive is, and {why}"
    return None


def _prefix(request: ExportRequest) -> str:
    """Give the directory in the archive in which all files are."""
    return request.dest.name[: -len(request.archive or "")]


class _Archiving:
    """One export into an archive."""

    def __init__(
        self,
        request: ExportRequest,
        recorder: ExportRecorder,
        parts: Sequence[Part],
        given: Given,
        ledger: Ledger,
        notes: Path,
    ) -> None:
        self._request = request
        self._recorder = recorder
        self._parts = parts
        self._given = given
        self._ledger = ledger
        self._notes = notes
        self._recipes = Recipes(request, parts, given.versions)
        #: What goes into the archive, and has no record yet: whether it is in one shows at the end.
        self._pending: dict[int, Item] = {}
        self._sizes: dict[int, int] = {}

    def given_up(self) -> Iterator[dict[str, Any]]:
        """Give the records of what would be in the archive, had it been completed."""
        why = "not exported: the archive could not be completed"
        for item in self._pending.values():
            yield self._recorder.item(item, "impossible", why, problem="destination")
        yield self._recorder.summary("nothing was written")

    def records(self) -> Iterator[dict[str, Any]]:
        """Do it."""
        request, recorder = self._request, self._recorder
        unfit = unfit_names_of(target_paths(self._parts))
        survey = Survey(
            request,
            None,
            self._ledger,
            self._recipes.by_target,
            unfit,
            recorder,
            str,
            Planned(self._notes),
        )
        items: list[Item] = []
        for part in self._parts:
            for found in survey.of(part):
                if isinstance(found, Settled):
                    yield recorder.settled(found)
                elif found.how == "fetch" and request.missing != "get":
                    status = "error" if request.missing == "error" else "impossible"
                    yield recorder.item(found, status, missing_message(found))
                elif request.files.dry_run:
                    yield recorder.item(found, "ok", "would be written")
                else:
                    found.source = None if found.how == "git" else found.source
                    items.append(found)
        if request.files.dry_run:
            yield recorder.summary("")
            return
        if request.missing == "error" and recorder.tally.files["failed"]:
            for item in items:
                why = "not exported: the content of other files is missing"
                yield recorder.item(item, "impossible", why, problem="missing")
            yield recorder.summary("nothing was written")
            return
        items.sort(key=lambda item: os.fsencode(item.target))
        times = self._given.times
        newest = max(times.values()) // 10**9
        self._pending = {id(item): item for item in items}
        nbytes = sum(item.info.bytesize or 0 for item in items)
        with (
            counted_bytes(lgr, "Exporting", len(items), nbytes) as progress,
            ArchiveWriter(request.dest, newest, _prefix(request), replace=request.force) as writer,
        ):
            for lot in self._lots(items):
                yield from self._write(writer, lot, progress)
            self._add_notes(writer)
            writer.commit()
        for number, item in self._pending.items():
            yield recorder.item(item, "ok", bytesize=self._sizes[number])
        keys = sorted({written.key for _, written in self._ledger.items() if written.key})
        self._given.log(request, recorder.tally.files, keys)
        yield recorder.summary("")

    def _lots(self, items: Sequence[Item]) -> Iterator[list[Item]]:
        """Divide the items, in their order, by dataset and by what may be fetched ahead."""
        lot: list[Item] = []
        held = 0
        for item in items:
            size = (item.info.bytesize or 0) if item.how == "fetch" else 0
            if lot and (lot[-1].part is not item.part or (size and held + size > self._window)):
                yield lot
                lot, held = [], 0
            lot.append(item)
            held += size
        if lot:
            yield lot

    @property
    def _window(self) -> int:
        return self._request.window

    def _write(
        self, writer: ArchiveWriter, lot: Sequence[Item], progress: Callable[[int], None]
    ) -> Iterator[dict[str, Any]]:
        """Fetch what is absent of some items, write them, and drop it again if so wanted."""
        request, recorder, part = self._request, self._recorder, lot[0].part
        fetched: list[FileInfo] = []
        failed: set[int] = set()
        lacking = [item for item in lot if item.how == "fetch"]
        try:
            if lacking:
                come: set[int] = set()
                with closing(fetch_window(request, recorder, part, lacking, fetched)) as found:
                    for one in found:
                        if isinstance(one, Item):
                            come.add(id(one))
                        else:
                            yield one
                failed = {id(item) for item in lacking} - come
                for number in failed:
                    del self._pending[number]
            for item in with_blobs(part, lot, self._notes):
                if id(item) not in failed:
                    failure = self._add(writer, item, progress)
                    if failure is not None:
                        del self._pending[id(item)]
                        yield failure
                    if item.how == "git":
                        item.source = None
        except DatasetError as error:
            # An archive that lacks what git could not give is not what was asked for.
            raise ArchiveError(str(error)) from error
        finally:
            if request.drop_fetched:
                give_back(part.root, fetched)

    def _add(
        self, writer: ArchiveWriter, item: Item, progress: Callable[[int], None]
    ) -> dict[str, Any] | None:
        """Add a file, and give the record of what kept it out."""
        checksum = checksum_of_key(item.info.key) if item.info.key else None
        size, source = item.info.bytesize, item.source
        try:
            if item.recipe is not None:
                content = read_object(item)
                if content is None:
                    return self._failed(item, "gone")
                source = self._recipes.apply(item, content)
                size, checksum = len(source), None
            assert source is not None
            algorithm = checksum.algorithm if checksum else DEFAULT
            digest = checksum.digest if checksum else None
            member = Member(item.target, source, size, algorithm, digest, item.is_executable)
            digest, size = writer.add(member, progress)
        except (Damaged, SourceCorrupt):
            return self._failed(item, "corrupt")
        except (TableError, TooLarge, UnfitName) as error:
            return self._recorder.item(item, "error", str(error))
        except FileNotFoundError:
            return self._failed(item, "gone")
        except OSError as error:
            return self._failed(item, "error", error.errno or errno.EIO)
        key = item.info.key or "" if checksum else ""
        self._ledger.put(item.target, Written(size, 0, item.source_id, algorithm, digest, key))
        self._sizes[id(item)] = size
        return None

    def _failed(self, item: Item, status: str, number: int = 0) -> dict[str, Any]:
        done = Done(0, status, 0, 0, "", number, "source", ())
        return self._recorder.item(item, "error", explain(item, done))

    def _add_notes(self, writer: ArchiveWriter) -> None:
        """Add manifests and receipt, without anything that is different the next time."""
        if not self._request.receipt:
            return
        self._ledger.write()
        receipt = self._given.receipt(
            self._request,
            files=len(self._ledger),
            nbytes=sum(self._sizes.values()),
            missing=self._recorder.tally.files["failed"] + self._recorder.troubles,
            manifests=self._ledger.manifests,
            dated=False,
        )
        write_receipt(self._notes, receipt)
        for name in ("export.json", *self._ledger.manifests):
            source = (str(self._notes), name)
            writer.add(Member(f".bidsshare/{name}", source, None, DEFAULT, None, False))
