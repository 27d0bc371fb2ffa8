"""From a request to commits and result records."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from datalad_bidsshare.archive.barren import Barren
from datalad_bidsshare.archive.extracting import Extraction
from datalad_bidsshare.archive.fetching import Fetched, fetch_zips, windows
from datalad_bidsshare.archive.job import PROGRAM
from datalad_bidsshare.archive.plan import Planned
from datalad_bidsshare.archive.records import UnzipRecorder
from datalad_bidsshare.archive.request import UnzipRequest
from datalad_bidsshare.archive.resume import Earlier
from datalad_bidsshare.archive.survey import Found, Survey
from datalad_bidsshare.archive.workspace import Workspace
from datalad_bidsshare.archive.writing import Writer
from datalad_bidsshare.archive.zips import TrackedZip, find_zips
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.listing import read_tree
from datalad_bidsshare.dataset.space import free_space
from datalad_bidsshare.dataset.version import read_version
from datalad_bidsshare.plan.outcome import Problem, Subdataset
from datalad_bidsshare.report.sizes import human_bytes
from datalad_bidsshare.selection.errors import SelectionError

if TYPE_CHECKING:
    from datalad_bidsshare.archive.contained import ContainedExtraction

__all__ = ["unzip"]

lgr = logging.getLogger("datalad.bidsshare.unzip")


def unzip(action: str, request: UnzipRequest) -> Iterator[dict[str, Any]]:
    """Unpack zips into a dataset, or in a dry run say what that would be.

    Parameters
    ----------
    action
        Name of the command in the records.
    request
        What is wanted.

    Yields
    ------
    dict
        Result records: one a zip, one a file that is unpacked, one for each problem; one for
        the dataset, with the totals, at the end.
    """
    recorder = UnzipRecorder(action, request, lgr)
    try:
        with Workspace(request.root, dry_run=request.dry_run) as workspace:
            yield from _Run(request, recorder, workspace).records()
    except (DatasetError, SelectionError) as error:
        yield recorder.problem(Problem(request.root, "error", str(error), "dataset"))
    except OSError as error:
        message = (
            f"{error.strerror or error} ({error.filename or request.root}); see to that, then run "
            "the same command again: what was committed is complete"
        )
        yield recorder.problem(Problem(request.root, "error", message, "dataset"))


class _Stopped(Exception):
    """No further zip is to be unpacked."""


class _Run:
    """One call."""

    def __init__(
        self, request: UnzipRequest, recorder: UnzipRecorder, workspace: Workspace
    ) -> None:
        self._request = request
        self._recorder = recorder
        self._workspace = workspace
        self._fetched = Fetched()
        self._some_before = False
        self._survey: Survey | None = None

    def records(self) -> Iterator[dict[str, Any]]:
        """Do it."""
        request = self._request
        for outside in request.outside:
            message = f"the path is not in the dataset {request.root}"
            yield self._recorder.problem(Problem(outside, "error", message, "path"))
        if shutil.which(PROGRAM) is None:
            lgr.warning(
                "%s is not on PATH: 'datalad rerun' of what is recorded here needs it. Activate "
                "the environment in which datalad-bidsshare is installed",
                PROGRAM,
            )
        ready = True
        for why_not in self._obstacles():
            ready = request.dry_run
            problem = Problem(request.root, "impossible", why_not, "dataset")
            yield self._recorder.problem(problem)
        if not ready or (request.outside and not request.patterns):
            return
        zips: list[TrackedZip] = []
        for found in find_zips(request.root, request.patterns, dry_run=request.dry_run):
            if isinstance(found, TrackedZip):
                zips.append(found)
            elif isinstance(found, Subdataset):
                yield self._recorder.subdataset(found)
            else:
                yield self._recorder.problem(found)
        absent: list[TrackedZip] = []
        try:
            yield from self._unpack(zips, absent)
        finally:
            if request.drop_zips:
                self._fetched.give_back()
        # What zips hold that were unpacked before, or are not fetched for a dry run, is not known.
        if not (self._some_before or (request.dry_run and absent)):
            for message in self._unmatched():
                yield self._recorder.problem(Problem(request.root, "impossible", message, "value"))
        more: dict[str, Any] = {}
        if self._fetched.bytesize:
            more["fetch_bytes"] = self._fetched.bytesize
        elif request.dry_run and absent:
            more["fetch_bytes"] = sum(tracked.info.bytesize or 0 for tracked in absent)
            more["unknown"] = len(absent)
        yield self._recorder.summary(**more)

    def _unmatched(self) -> Iterator[str]:
        """Say what of the request matched nothing in any zip."""
        partly = bool(self._recorder.zips["error"])
        yield from self._request.members.unmatched(partly=partly)
        prefix = self._request.layout.strip_prefix
        saw = self._survey is not None and self._survey.saw_prefix
        if prefix and self._recorder.zips["ok"] and not saw:
            yield f"no wanted member lies in {prefix!r}: --strip-prefix took nothing away"

    def _obstacles(self) -> Iterator[str]:
        """Say what must be seen to before anything can be done here."""
        why_not = self._workspace.why_not_clean()
        if why_not:
            yield why_not
        if self._request.recomputable:
            from datalad_bidsshare.dataset.compute import supports_compute

            unsupported = supports_compute()
            if unsupported:
                yield unsupported

    def _unpack(
        self, zips: Sequence[TrackedZip], absent: list[TrackedZip]
    ) -> Iterator[dict[str, Any]]:
        """Unpack zips; those whose content is not here are noted in `absent`."""
        request, recorder = self._request, self._recorder
        tracked_files = read_tree(request.root, self._workspace.head.commit)
        earlier = Earlier(
            request.root,
            self._workspace.head.commit,
            request.digest,
            recomputable=request.recomputable,
        )
        with ExitStack() as stack:
            barren = Barren(self._workspace.barren, request.digest)
            if not request.dry_run:
                stack.callback(barren.write)
            survey = Survey(request, recorder, tracked_files, earlier, barren, stack)
            self._survey = survey
            here: list[Found] = []
            for tracked in zips:
                if earlier.covers(tracked, tracked_files):
                    self._some_before = True
                    yield recorder.left_alone(tracked, "before", "unpacked before")
                    continue
                if not request.members.may_hold(tracked.path):
                    message = "its name says that it holds nothing that is wanted"
                    yield recorder.left_alone(tracked, "nothing", message)
                    continue
                why_not = survey.why_not(tracked)
                if why_not:
                    yield recorder.zip(tracked, "error", why_not)
                    continue
                how, source = survey.find(tracked)
                if source is not None:
                    here.append((tracked, source, how))
                elif barren.holds(tracked.key):
                    self._some_before = True
                    message = "no member of it is wanted, as an earlier call saw"
                    yield recorder.left_alone(tracked, "nothing", message)
                else:
                    absent.append(tracked)
            if request.dry_run:
                yield from survey.foretell(here, absent)
                return
            writer = Writer(
                request,
                recorder,
                self._workspace,
                tracked_files,
                read_version(request.root).dataset_id,
            )
            extraction: Extraction | ContainedExtraction = stack.enter_context(
                Extraction(request, recorder, writer, self._workspace.stage, len(tracked_files))
            )
            if request.container is not None:
                from datalad_bidsshare.archive.contained import ContainedExtraction

                extraction = ContainedExtraction(
                    request, recorder, self._workspace, tracked_files, request.container
                )
            stopped = False
            try:
                self._see_failures()
                for lot in windows(absent, request.window if request.drop_zips else None):
                    yield from self._work_on(here, lot, survey, extraction)
                    here = []
                if here:
                    yield from self._work_on(here, [], survey, extraction)
            except _Stopped:
                stopped = True
            # First: what is held back for one commit has no records before.
            yield from writer.finish()
            if stopped:
                yield from self._leave_out(zips)

    def _work_on(
        self,
        here: Sequence[Found],
        absent: Sequence[TrackedZip],
        survey: Survey,
        extraction: Extraction | ContainedExtraction,
    ) -> Iterator[dict[str, Any]]:
        """Fetch zips, then unpack them and those that are here."""
        request = self._request
        lot = list(here)
        for tracked, why_not in fetch_zips(absent, request.transfers, self._fetched):
            _, source = survey.find(tracked, fetched=True)
            if source is None:
                message = why_not or "its content did not come; try again"
                yield self._recorder.zip(tracked, "error", message)
            else:
                lot.append((tracked, source, "fetch"))
        self._see_failures()
        # Those that were fetched came as the transfers ended.
        lot.sort(key=lambda found: found[0].path)
        plans = yield from survey.plan(lot)
        self._see_failures()
        self._see_room(plans)
        yield from extraction.unpack(plans)
        if extraction.stopped:
            raise _Stopped
        self._see_failures()
        if request.drop_zips:
            self._fetched.give_back()

    def _see_failures(self) -> None:
        if self._request.on_zip_error == "stop" and self._recorder.zips["error"]:
            raise _Stopped

    def _leave_out(self, zips: Sequence[TrackedZip]) -> Iterator[dict[str, Any]]:
        for tracked in zips:
            if not self._recorder.has(tracked):
                yield self._recorder.not_begun(tracked)

    def _see_room(self, plans: Sequence[Planned]) -> None:
        needed = sum(planned.unpacked for planned in plans)
        free, reserve = free_space(self._request.root)
        if needed > free - reserve:
            raise DatasetError(
                f"{human_bytes(needed)} would be unpacked, and {human_bytes(free)} are free, of "
                f"which git-annex keeps {human_bytes(reserve)}; choose less, or make room"
            )
