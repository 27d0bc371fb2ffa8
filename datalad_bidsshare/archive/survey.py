"""From zips that were asked for to plans: which can be read, and what is in the way."""

from __future__ import annotations

import tempfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from datalad_bidsshare.archive.barren import Barren
from datalad_bidsshare.archive.plan import (
    Nothing,
    Planned,
    ZipError,
    find_collisions,
    plan_zip,
    standing_outputs,
)
from datalad_bidsshare.archive.record import is_writable
from datalad_bidsshare.archive.records import UnzipRecorder
from datalad_bidsshare.archive.request import UnzipRequest
from datalad_bidsshare.archive.resume import Earlier
from datalad_bidsshare.archive.zips import TrackedZip
from datalad_bidsshare.dataset.blobs import read_blobs
from datalad_bidsshare.dataset.commits import read_difference
from datalad_bidsshare.dataset.landing import obstacles
from datalad_bidsshare.dataset.listing import Index
from datalad_bidsshare.dataset.sources import Sources
from datalad_bidsshare.selection.names import parents

__all__ = ["Found", "Survey"]

#: A zip, where it is read (directory and path beneath), and how its content is had.
Found = tuple[TrackedZip, tuple[str, str], str]


class Survey:
    """Looks at zips before anything is written.

    Parameters
    ----------
    request
        What is asked for.
    recorder
        Makes the records.
    tracked
        What the dataset tracks.
    earlier
        What earlier calls gave.
    barren
        Takes zips in which nothing is wanted.
    stack
        Closed when the zips are read no more.
    """

    def __init__(
        self,
        request: UnzipRequest,
        recorder: UnzipRecorder,
        tracked: Index,
        earlier: Earlier,
        barren: Barren,
        stack: ExitStack,
    ) -> None:
        self._request = request
        self._recorder = recorder
        self._tracked = tracked
        self._earlier = earlier
        self._barren = barren
        self._stack = stack
        self._sources: dict[Path, Sources] = {}
        #: Whether any wanted member lies in the directory that is to be stripped
        self.saw_prefix = False
        #: Outputs of all zips so far
        self._claimed: dict[str, Planned] = {}

    def why_not(self, tracked: TrackedZip) -> str:
        """Say why a zip cannot be unpacked, whatever it holds; '' if it may be."""
        if not is_writable(tracked.path):
            return "its name is not UTF-8 text, which a run record has to be; rename it"
        if self._request.recomputable:
            from datalad_bidsshare.dataset.compute import why_not_input

            why_not = why_not_input(self._request.root, tracked.root, tracked.info)
            if why_not is not None:
                return f"{why_not}: leave out --recomputable"
        return ""

    def find(
        self, tracked: TrackedZip, *, fetched: bool = False
    ) -> tuple[str, tuple[str, str] | None]:
        """Tell how a zip is had, and where it can be read; None when it must be fetched."""
        if tracked.info.key is None:
            return "git", self._take_out(tracked)
        sources = self._sources.get(tracked.root)
        if sources is None:
            sources = self._sources[tracked.root] = Sources(tracked.root, work_tree=False)
        if fetched:
            sources.look_again()
        how, source = sources.find(tracked.info)
        if how == "store" and (self._request.recomputable or self._request.container):
            # git-annex computes only from what is in the annex, a container may see nothing else.
            return "fetch", None
        return how, source

    def _take_out(self, tracked: TrackedZip) -> tuple[str, str]:
        """Write a zip that git has into a file, where it can be read."""
        place = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="bidsshare-")))
        oid = tracked.info.oid
        for _ in read_blobs(tracked.root, [oid], -1, spill=place):
            pass
        return str(place), oid

    def plan(self, lot: Sequence[Found]) -> Generator[dict[str, Any], None, list[Planned]]:
        """Find out what zips give, and tell of those that cannot be unpacked, or need not be."""
        plans: list[Planned] = []
        failures: list[tuple[TrackedZip, str]] = []
        for tracked, source, how in lot:
            try:
                planned = plan_zip(self._request, tracked, source, how)
                planned.standing = standing_outputs(
                    self._request, planned, self._tracked, self._earlier.gave
                )
                planned.stale = self._stale(planned)
                prefix = f"{self._request.layout.strip_prefix}/"
                self.saw_prefix = self.saw_prefix or any(
                    output.member.startswith(prefix) for output in planned.outputs.values()
                )
            except Nothing as nothing:
                self._barren.add(tracked.key)
                yield self._recorder.left_alone(tracked, "nothing", str(nothing))
            except ZipError as error:
                failures.append((tracked, str(error)))
            else:
                plans.append(planned)
        paths = (path for planned in plans for path in planned.outputs)
        in_the_way = set(obstacles(self._request.root, paths, self._tracked))
        if in_the_way:
            plans = list(_without_obstacles(plans, in_the_way, failures))
        collisions = find_collisions(plans, self._claimed)
        for at, why in collisions.items():
            failures.append((plans[at].zip, why))
            plans[at].failed = True
        for tracked, why_not in failures:
            yield self._recorder.zip(tracked, "error", why_not)
        plans = [planned for planned in plans if not planned.failed]
        for planned in plans:
            planned.take_over()
        return plans

    def _stale(self, planned: Planned) -> tuple[str, ...]:
        """Find out what an earlier version of a zip gave that this one does not."""
        gave = self._given_by(self._earlier.commits(planned.zip, former=True))
        if not gave:
            return ()
        since = self._given_by(self._earlier.commits(planned.zip, former=False))
        return tuple(
            path
            for path, oid in sorted(gave.items())
            if path not in planned.outputs
            and path not in since
            and path in self._tracked
            # nobody has changed it
            and self._tracked[path].oid == oid
        )

    def _given_by(self, commits: Sequence[str]) -> dict[str, str]:
        return {
            change.path: change.oid
            for commit in reversed(commits)
            for change in read_difference(self._request.root, f"{commit}~1", commit)
        }

    def _foretell_standing(self, planned: Planned) -> str:
        number = len(planned.standing)
        are = "is" if number == 1 else "are"
        if self._request.existing == "replace":
            what = "replaced"
        elif planned.standing <= planned.riding:
            what = "kept"
        else:
            what = "compared: if they differ, the zip is refused"
        return f"{number} of its files {are} there, to be {what}"

    def foretell(
        self, here: Sequence[Found], absent: Sequence[TrackedZip]
    ) -> Iterator[dict[str, Any]]:
        """Say what would be done."""
        plans = yield from self.plan(here)
        for planned in plans:
            notes = [planned.note] if planned.note else []
            if planned.standing:
                notes.append(self._foretell_standing(planned))
            yield self._recorder.zip(
                planned.zip,
                "ok",
                "; ".join(notes),
                outputs=[output.path for output in planned.written],
                bytesize=planned.unpacked,
                packed=planned.packed,
                destination=planned.job.into,
                content_from=planned.how,
                fetch_bytes=0,
                **planned.shared,
            )
            yield from self._recorder.written(planned, planned.written, {})
        for tracked in absent:
            yield self._recorder.zip(
                tracked,
                "ok",
                "its content is not here, and what it holds is not known before it is fetched",
                fetch_bytes=tracked.info.bytesize or 0,
                content_from="fetch",
            )


def _without_obstacles(
    plans: Sequence[Planned], in_the_way: set[str], failures: list[tuple[TrackedZip, str]]
) -> Iterator[Planned]:
    for planned in plans:
        found = [
            place
            for path in planned.outputs
            for place in (path, *parents(path))
            if place in in_the_way
        ]
        if found:
            failures.append(
                (
                    planned.zip,
                    f"{found[0]} is in the way: something that the dataset does not track as a "
                    "file (git may be told to ignore it); move it away",
                )
            )
        else:
            yield planned
