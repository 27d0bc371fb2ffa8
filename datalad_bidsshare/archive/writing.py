"""Taking down what zips gave: files to git-annex, a commit a zip, all of a lot at once."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalad_bidsshare.archive.plan import Output, Planned, ZipError
from datalad_bidsshare.archive.record import (
    Command,
    Unpacked,
    command_for,
    record_message,
    title_for,
    zip_details,
)
from datalad_bidsshare.archive.records import UnzipRecorder
from datalad_bidsshare.archive.request import UnzipRequest
from datalad_bidsshare.archive.workspace import Workspace
from datalad_bidsshare.dataset.blobs import describe
from datalad_bidsshare.dataset.commits import Change, NewCommit, blob_name
from datalad_bidsshare.dataset.ingest import Ingested, ingest
from datalad_bidsshare.dataset.listing import Entry, Index

if TYPE_CHECKING:
    from datalad_bidsshare.archive.registering import Registrar

__all__ = ["Writer", "spec_commit"]

#: Files that a message names; the rest is counted.
_MOST_NAMED = 5


@dataclass(slots=True)
class _Taken:
    """A zip whose files git and git-annex have taken over."""

    planned: Planned
    changes: list[Change]
    same: list[str]
    keys: dict[str, str | None]
    outputs: list[Output] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    replaced: int = 0

    @property
    def unpacked(self) -> Unpacked:
        """What goes into the record: all that its command gives."""
        outputs = tuple(self.planned.outputs)
        size = sum(output.size for output in self.planned.outputs.values())
        return Unpacked(self.planned.zip.path, self.planned.key, outputs, size)


def spec_commit(commands: Iterable[Command], tracked: Index, like: str) -> NewCommit | None:
    """Give the commit of the files that commands need; None when all of them are tracked.

    Of its own, before those of the zips: a rerun onto what was there before needs it.

    Parameters
    ----------
    commands
        Of the records.
    tracked
        What the dataset tracks.
    like
        Name of a commit of the dataset.
    """
    specs = {}
    for command in commands:
        if command.spec is not None:
            path, content = command.spec
            change = Change(path, "100644", blob_name(content, like), content)
            if path not in tracked or tracked[path] != Entry(path, change.mode, change.oid):
                specs[path] = change
    if not specs:
        return None
    title = f"[bidsshare] List{'s' * (len(specs) != 1)} of members for unzip-outputs"
    return NewCommit(f"{title}\n", tuple(specs.values()))


class Writer:
    """The one that commits.

    Parameters
    ----------
    request
        What is asked for.
    recorder
        Makes the records.
    workspace
        The dataset; its head is moved along.
    tracked
        What the head tracked at the beginning.
    dataset_id
        Of the dataset, if it has one.
    """

    def __init__(
        self,
        request: UnzipRequest,
        recorder: UnzipRecorder,
        workspace: Workspace,
        tracked: Index,
        dataset_id: str | None,
    ) -> None:
        self._request = request
        self._recorder = recorder
        self._workspace = workspace
        self._tracked = tracked
        self._dataset_id = dataset_id
        self._held: list[_Taken] = []
        self._registrar: Registrar | None = None

    def take(
        self, lot: Sequence[Planned], tree: Path
    ) -> Iterator[tuple[Planned, str] | dict[str, Any]]:
        """Take down a lot of zips whose files are in a tree.

        Parameters
        ----------
        lot
            The zips.
        tree
            Directory with their files, at their paths in the dataset, and nothing else. It is
            removed.

        Yields
        ------
        dict or tuple of Planned and str
            Records of the zips and of their files, after all of them are on the branch; or a zip
            that is left out, and why.

        Raises
        ------
        DatasetError
            When git or git-annex fail. The branch is where it was.
        """
        index = self._workspace.index
        if self._request.recomputable and self._registrar is None:
            from datalad_bidsshare.archive.registering import Registrar

            self._registrar = Registrar(self._request, self._workspace)
        ingested = ingest(self._request.root, tree, index, self._tracked, jobs=self._request.jobs)
        taken: list[_Taken] = []
        failures: list[tuple[Planned, str]] = []
        for planned in lot:
            planned.take_over()
            try:
                found = self._compare(planned, ingested)
                if self._registrar is not None and (
                    why_not := self._registrar.register(planned, found.keys, tree)
                ):
                    raise ZipError(why_not)
            except ZipError as error:
                # Before the next ones: they give what they had left to it.
                planned.failed = True
                failures.append((planned, str(error)))
            else:
                taken.append(found)
        shutil.rmtree(tree, ignore_errors=True)
        if self._request.per == "call":
            self._held += taken
        elif taken:
            yield from self._commit([[each] for each in taken])
        yield from failures

    def finish(self) -> Iterator[dict[str, Any]]:
        """Commit what was held back for one commit.

        Yields
        ------
        dict
            Records of the zips and of their files.

        Raises
        ------
        DatasetError
            When git fails. The branch is where it was.
        """
        if self._held:
            held, self._held = self._held, []
            yield from self._commit([held])

    def _compare(self, planned: Planned, ingested: dict[str, Ingested]) -> _Taken:
        """Sort the files of a zip into those that change something and those that do not."""
        taken = _Taken(planned, [], [], {})
        # What it shares with another zip, and that one let go
        taken.kept = [path for path, other in planned.leave.items() if path in other.gone]
        planned.let_go(taken.kept)
        standing = planned.standing.difference(planned.leave)
        known = {}
        if standing:
            entries = self._tracked.entries(sorted(standing))
            known = {info.path: info for info in describe(self._request.root, entries)}
        others: list[str] = []
        kept: list[str] = []
        for output in planned.written:
            found = ingested.get(output.path)
            if found is None or found.bytesize != output.size:
                raise ZipError(
                    f"{output.path} has not arrived in git-annex as it was unpacked; run the same "
                    "command again"
                )
            taken.keys[output.path] = found.key
            taken.outputs.append(output)
            info = known.get(output.path)
            if info is None:
                taken.changes.append(found.change)
            elif info.oid == found.change.oid or (info.key and info.key == found.key):
                taken.same.append(output.path)
            elif self._request.existing == "replace":
                taken.changes.append(found.change)
                taken.replaced += 1
            elif output.path in planned.riding:
                kept.append(output.path)
            else:
                others.append(output.path)
        if others:
            shown = ", ".join(others[:_MOST_NAMED])
            more = len(others) - _MOST_NAMED
            raise ZipError(
                f"the dataset has other content in {shown}"
                f"{f' and {more} more' if more > 0 else ''}; --existing replace replaces it, "
                "-x leaves files out"
            )
        if kept:
            # Somebody edited what all zips share. It stays, and no record claims to give it.
            planned.let_go(kept)
            taken.outputs = [out for out in taken.outputs if out.path in planned.outputs]
            taken.kept += kept
        return taken

    def _commit(self, groups: Sequence[Sequence[_Taken]]) -> Iterator[dict[str, Any]]:
        """Make a commit of each group of zips, and bring them to the branch together."""
        changed = [group for group in groups if any(taken.changes for taken in group)]
        commits: dict[int, str] = {}
        if changed:
            commits = self._make_commits(changed)
        for group in groups:
            commit = commits.get(id(group))
            for taken in group:
                yield from self._records(taken, commit)

    def _make_commits(self, groups: Sequence[Sequence[_Taken]]) -> dict[int, str]:
        commands = [
            command_for([taken.planned.job for taken in group], self._request.limits)
            for group in groups
        ]
        new: list[NewCommit] = []
        specs = spec_commit(commands, self._tracked, self._workspace.head.commit)
        if specs is not None:
            new.append(specs)
        first = len(new)
        for group, command in zip(groups, commands, strict=True):
            changes = tuple(change for taken in group for change in taken.changes)
            new.append(NewCommit(self._message(group, command), changes))
        zips = sum(map(len, groups))
        why = f"unzip-outputs: {zips} zip{'s' * (zips != 1)}"
        names = self._workspace.add(new, self._tracked, why)
        return {id(group): name for group, name in zip(groups, names[first:], strict=True)}

    def _message(self, group: Sequence[_Taken], command: Command) -> str:
        unpacked = [taken.unpacked for taken in group]
        files = sum(len(each.outputs) for each in unpacked)
        what = unpacked[0].zip if len(group) == 1 else f"{len(group)} zips"
        message = self._request.message or title_for(what, files)
        details: dict[str, Any] = {"selection": self._request.digest}
        if self._request.recomputable:
            details["recomputable"] = True
        if self._request.per == "call":
            details["zips"] = [zip_details(each) for each in unpacked]
        else:
            details |= zip_details(unpacked[0])
        return record_message(
            message, command, unpacked, dataset_id=self._dataset_id, details=details
        )

    def _records(self, taken: _Taken, commit: str | None) -> Iterator[dict[str, Any]]:
        planned = taken.planned
        notes = [planned.note] if planned.note else []
        if taken.same:
            were = "was" if len(taken.same) == 1 else "were"
            notes.append(f"{len(taken.same)} of its files {were} there already")
        if taken.replaced:
            notes.append(f"{taken.replaced} of its files replaced others")
        if taken.kept:
            notes.append(f"{', '.join(taken.kept[:_MOST_NAMED])}: kept, though the zip has another")
        if planned.stale:
            shown = ", ".join(planned.stale[:_MOST_NAMED])
            others = len(planned.stale) - _MOST_NAMED
            notes.append(
                f"still there from an earlier version of this zip: {shown}"
                f"{f' and {others} more' if others > 0 else ''} (unpack them anew, or git rm them)"
            )
        more: dict[str, Any] = {} if commit is None else {"commit": commit}
        if not taken.changes:
            self._recorder.left["same"] += 1
        yield self._recorder.zip(
            planned.zip,
            "ok" if taken.changes else "notneeded",
            "; ".join(notes),
            outputs=[output.path for output in taken.outputs],
            bytesize=planned.unpacked,
            content_from=planned.how,
            **planned.shared,
            **more,
        )
        yield from self._recorder.written(planned, taken.outputs, taken.keys, taken.same)
