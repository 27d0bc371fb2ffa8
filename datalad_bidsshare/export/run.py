"""From an export request to result records."""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.dataset.drop import give_back
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.disk.names import TEMPORARY
from datalad_bidsshare.export.explain import missing_message
from datalad_bidsshare.export.fetching import drop_tables, fetch_window, windows
from datalad_bidsshare.export.foretelling import foretell
from datalad_bidsshare.export.given import (
    Given,
    describe_given,
    ledger_directory,
    notes_directory,
)
from datalad_bidsshare.export.items import Item, Part, Settled
from datalad_bidsshare.export.ledger import FILES, Ledger, LedgerError
from datalad_bidsshare.export.made import MadeDirectories
from datalad_bidsshare.export.parts import (
    lacks_subdatasets,
    read_parts,
    target_paths,
    unfit_names_of,
)
from datalad_bidsshare.export.planned import Planned
from datalad_bidsshare.export.receipt import read_totals, write_receipt
from datalad_bidsshare.export.recipes import Recipes
from datalad_bidsshare.export.records import ExportRecorder
from datalad_bidsshare.export.request import ExportRequest
from datalad_bidsshare.export.secret import Secret
from datalad_bidsshare.export.survey import Survey
from datalad_bidsshare.export.target import Target, TargetBusy, TargetError
from datalad_bidsshare.plan.outcome import Problem
from datalad_bidsshare.report.progress import counted_bytes
from datalad_bidsshare.report.sizes import human_bytes

if TYPE_CHECKING:
    from datalad_bidsshare.export.writing import Writer

__all__ = ["export"]

lgr = logging.getLogger("datalad.bidsshare.export")

#: Bytes of small git files that are held from when git is asked what they are.
_HELD = 64 * 1024 * 1024
#: Files for which another process is started to look at them.
_MANY = 5000


def export(action: str, request: ExportRequest) -> Iterator[dict[str, Any]]:
    """Export what a request means, or in a dry run say what that would be.

    Parameters
    ----------
    action
        Name of the command in the records.
    request
        What is wanted.

    Yields
    ------
    dict
        Result records: exactly one a selected file, one for each subdataset that was (or would
        be) installed, for each problem, for each file that is deleted; one for the destination,
        with the totals, at the end.
    """
    recorder = ExportRecorder(action, request, lgr)
    try:
        why_not = None
        if request.archive is None:
            why_not = Target.check(request.dest, [request.files.root, *request.apart])
        if why_not is not None:
            yield recorder.problem(Problem(request.dest, "error", why_not, "destination"))
            return
        with ExitStack() as stack:
            if request.archive is None:
                dry_run = request.files.dry_run
                target = stack.enter_context(
                    Target(request.dest, dry_run=dry_run, receipt=request.receipt)
                )
                # Before the dataset is looked at: what lies there is read meanwhile.
                notes = _open_notes(request, target)
            parts: list[Part] = []
            try:
                yield from read_parts(request, recorder, parts)
                if not parts:
                    # What is wrong has been told.
                    return
                if lacks_subdatasets(parts):
                    request = replace(request, partial=True)
                given = describe_given(request, parts)
            except DatasetError as error:
                # Told here: the destination is left as it was, with no mark of a run cut short.
                yield recorder.problem(Problem(request.files.root, "error", str(error), "dataset"))
                return
            if request.archive is None:
                records = _Run(request, recorder, parts, given, target, *notes).records()
            else:
                from datalad_bidsshare.export.archiving import write_archive

                records = write_archive(request, recorder, parts, given)
            try:
                yield from filter(None, records)
            finally:
                if request.drop_fetched:
                    drop_tables(parts)
    except (TargetBusy, TargetError, LedgerError) as error:
        yield recorder.problem(Problem(request.dest, "error", str(error), "destination"))
    except DatasetError as error:
        yield recorder.problem(Problem(request.files.root, "error", str(error), "dataset"))
    except OSError as error:
        # What concerns a single file has been told with it. This is about the ledger or the disk.
        message = (
            f"what was written could not be taken down: {error.strerror or error} "
            f"({error.filename or request.dest}); see to that, then run the same command again: "
            "it keeps what is complete"
        )
        yield recorder.problem(Problem(request.dest, "error", message, "destination"))


def _open_notes(request: ExportRequest, target: Target) -> tuple[Path, Ledger]:
    """Read what earlier exports took down, and begin to read what they left."""
    place = ledger_directory(request)
    if not request.files.dry_run:
        place.mkdir(parents=True, exist_ok=True)
        if target.unclean:
            target.remove_stale()
            _tidy(place)
    # Until it is: a mistake in the selection must not cost what earlier exports noted.
    target.done = False
    ledger = Ledger.read(place)
    if len(ledger) >= _MANY and not request.checksum:
        target.read_ahead(place / FILES)
    return place, ledger


class _Run:
    """One export into a directory."""

    def __init__(
        self,
        request: ExportRequest,
        recorder: ExportRecorder,
        parts: Sequence[Part],
        given: Given,
        target: Target,
        notes: Path,
        ledger: Ledger,
    ) -> None:
        self._request = request
        self._recorder = recorder
        self._parts = parts
        self._given = given
        self._target = target
        self._notes = notes
        self._ledger = ledger
        # What a run that was cut short wrote is in its journal, and in no receipt or log yet.
        self._resumed = target.unclean or not ledger.finished
        self._made = MadeDirectories(self._notes)
        self._planned = Planned(notes)
        #: What is left over of exports that did not end, beyond what this one holds.
        self._unfinished: set[str] = set()
        # What this export deletes needs no rows any more.
        left = tuple if request.delete else self._left
        self._recipes = Recipes(request, parts, given.versions, left)

    def _left(self) -> Iterator[str]:
        """Give what earlier exports left at the destination."""
        yield from self._ledger.paths()
        yield from filter(self._is_left_over, self._planned)

    def _is_left_over(self, path: str) -> bool:
        standing = self._target.standing(path)
        return standing is not None and self._planned.holds(path, standing[:2])

    def records(self) -> Iterator[dict[str, Any]]:
        """Do it."""
        request, recorder = self._request, self._recorder
        survey = Survey(
            request,
            self._target,
            self._ledger,
            self._recipes.by_target,
            unfit_names_of(target_paths(self._parts), self._target),
            recorder,
            Secret(notes_directory(request), keep=not request.files.dry_run).hide,
            self._planned,
        )
        items: list[tuple[Part, list[Item]]] = []
        held = 0
        for part in self._parts:
            if request.files.dry_run:
                yield from foretell(request, recorder, self._recipes, part, survey.of(part))
                continue
            items.append((part, []))
            for found in survey.of(part):
                if isinstance(found, Settled):
                    yield recorder.settled(found)
                else:
                    items[-1][1].append(found)
                    if isinstance(found.source, bytes):
                        held += len(found.source)
                        if held > _HELD:
                            found.source = None
        if request.files.dry_run:
            yield from self._remove()
            yield self._summary()
            return
        stopped = yield from self._turned_down([item for _, listed in items for item in listed])
        if stopped:
            yield recorder.summary("nothing was written")
            return
        before = None if self._resumed else read_totals(self._notes)
        try:
            yield from self._remove()
            yield from self._write(items)
        finally:
            self._target.assure()
            try:
                # First: what the ledger still lists, the next run deletes with its directories.
                self._made.write()
            finally:
                # Also by what was found there, and is right.
                renewed = not self._ledger.finished
                if len(self._ledger) or recorder.tally.files["deleted"]:
                    self._ledger.write()
        self._unfinished = {
            p for p in self._planned if p not in self._ledger and self._is_left_over(p)
        }
        self._planned.settle(self._unfinished)
        self._take_down(before, renewed)
        self._target.done = True
        yield self._summary()

    def _turned_down(self, items: Sequence[Item]) -> Generator[dict[str, Any], None, bool]:
        """Report what keeps all of it from being written: missing content, or lack of room."""
        request, recorder = self._request, self._recorder
        missing = sum(item.how == "fetch" for item in items)
        if missing and request.missing == "error":
            why, kind = f"the content of {missing} files is missing", "missing"
        else:
            ahead = [i for i in items if i.how != "fetch" or request.missing == "get"]
            needed = sum(_growth(i) for i in ahead)
            free = self._target.free()
            if needed <= free:
                return False
            kind = "room"
            why = "there is no room for all of it"
            message = (
                f"not enough disk space: {human_bytes(needed)} ({needed} bytes) are to be written, "
                f"{human_bytes(free)} are free. Nothing is written then; select less, or make room"
            )
            yield recorder.problem(Problem(request.dest, "error", message, "room"))
        for item in items:
            if kind == "missing" and item.how == "fetch":
                yield recorder.item(item, "error", missing_message(item))
            else:
                yield recorder.item(item, "impossible", f"not exported: {why}", problem=kind)
        return True

    def _remove(self) -> Iterator[dict[str, Any]]:
        """Delete what is no longer held, unless something may have hidden files from us."""
        request, recorder = self._request, self._recorder
        if not request.delete:
            return
        if recorder.troubles or recorder.hidden:
            lgr.warning("Nothing is deleted, because not all that was asked for could be found")
            return
        from datalad_bidsshare.export.removing import remove_leftovers

        yield from remove_leftovers(
            self._target,
            self._ledger,
            self._made,
            self._planned,
            recorder,
            set(target_paths(self._parts)),
            dry_run=request.files.dry_run,
            force=request.force,
        )

    def _write(self, items: Sequence[tuple[Part, list[Item]]]) -> Iterator[dict[str, Any]]:
        """Write all items: what can be read at once, then what must be fetched."""
        request, recorder = self._request, self._recorder
        flat = [item for _, listed in items for item in listed]
        if request.missing == "skip":
            for item in flat:
                if item.how == "fetch":
                    yield recorder.item(item, "impossible", missing_message(item))
            items = [(part, [i for i in listed if i.how != "fetch"]) for part, listed in items]
            flat = [item for _, listed in items for item in listed]
        if not flat:
            return
        # Written down before they are made: killed meanwhile, the next run still knows them.
        self._target.assure()
        self._planned.announce(flat, self._given.times)
        self._made.plan(request.dest, (item.target for item in flat))
        self._made.write()
        # Only now: most runs of a copy that is kept up to date write nothing.
        from datalad_bidsshare.export.writing import Writer

        with (
            counted_bytes(
                lgr, "Exporting", len(flat), sum(i.info.bytesize or 0 for i in flat)
            ) as progress,
            Writer(
                request,
                recorder,
                self._recipes,
                self._ledger,
                self._made,
                self._given.times,
                self._notes,
                progress,
                self._target.assure,
            ) as writer,
        ):
            for part, listed in items:
                yield from writer.write(part, [i for i in listed if i.how != "fetch"])
            for part, listed in items:
                lacking = [i for i in listed if i.how == "fetch"]
                for lot in windows(lacking, request.window):
                    yield from self._write_window(writer, part, lot)
            yield from writer.finish()
            while gone := writer.gone():
                for part in {item.part.mount: item.part for item in gone}.values():
                    again = [item for item in gone if item.part is part]
                    for lot in windows(again, request.window):
                        yield from self._write_window(writer, part, lot)

    def _write_window(
        self, writer: Writer, part: Part, lot: Sequence[Item]
    ) -> Iterator[dict[str, Any]]:
        """Fetch some files, write them, and drop them again if so wanted."""
        fetched: list[FileInfo] = []
        came = fetch_window(self._request, self._recorder, part, lot, fetched, writer.lost)
        try:
            with closing(came):
                for found in came:
                    if isinstance(found, Item):
                        yield from writer.write(part, [found])
                    else:
                        yield found
            yield from writer.finish()
        finally:
            if self._request.drop_fetched:
                give_back(part.root, fetched)

    def _take_down(self, before: tuple[int, int] | None, renewed: bool) -> None:
        """Write the receipt, and note in the dataset what was given.

        Parameters
        ----------
        before
            How many files and bytes there were at the destination before; None if not known.
        renewed
            Whether other files are vouched for than before.
        """
        request, tally, ledger = self._request, self._recorder.tally, self._ledger
        done = tally.files
        keys: set[str] = set()
        if before is None or renewed:
            files = nbytes = 0
            for _, written in ledger.items():
                files, nbytes = files + 1, nbytes + written.size
                keys.add(written.key)
        else:
            files, nbytes = before
        if renewed or self._resumed or done["written"] + done["updated"]:
            self._given.log(request, done, sorted(keys - {""}))
        if request.receipt:
            receipt = self._given.receipt(
                request,
                files=files,
                nbytes=nbytes,
                missing=done["failed"] + self._recorder.troubles,
                manifests=ledger.manifests,
            )
            write_receipt(self._notes, receipt)

    def _summary(self) -> dict[str, Any]:
        request = self._request
        more: dict[str, Any] = {}
        if self._unfinished:
            more["unfinished"] = len(self._unfinished)
        if request.files.dry_run:
            more["free_bytes"] = self._target.free()
        return self._recorder.summary("", **more)


def _tidy(notes: Path) -> None:
    """Remove what an export that was killed left among its notes, wherever those are kept."""
    for stale in notes.glob(f"{TEMPORARY}*"):
        if stale.is_dir() and not stale.is_symlink():
            shutil.rmtree(stale, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):
                stale.unlink()


def _growth(item: Item) -> int:
    """Give the bytes that the destination grows by."""
    return (item.info.bytesize or 0) - (item.standing[0] if item.standing else 0)
