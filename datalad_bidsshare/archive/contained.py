"""Having zips unpacked in a container: one `datalad run` a zip, made by DataLad itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from datalad_bidsshare.archive.container import Container, find_container, run_in_container
from datalad_bidsshare.archive.plan import Planned
from datalad_bidsshare.archive.record import (
    COMMAND,
    NAMESPACE,
    Command,
    Unpacked,
    command_for,
    declared_outputs,
    own_details,
    title_for,
    zip_details,
)
from datalad_bidsshare.archive.records import UnzipRecorder
from datalad_bidsshare.archive.request import UnzipRequest
from datalad_bidsshare.archive.workspace import Workspace
from datalad_bidsshare.archive.writing import spec_commit
from datalad_bidsshare.dataset.listing import Index
from datalad_bidsshare.dataset.state import read_head
from datalad_bidsshare.selection.errors import SelectionError

__all__ = ["ContainedExtraction"]


class ContainedExtraction:
    """Unpacks zips in a container, one after the other.

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
    name
        Of the container.

    Attributes
    ----------
    stopped
        Whether no further zips are to be unpacked.

    Raises
    ------
    SelectionError
        If there is no such container, or it cannot be used.
    """

    def __init__(
        self,
        request: UnzipRequest,
        recorder: UnzipRecorder,
        workspace: Workspace,
        tracked: Index,
        name: str,
    ) -> None:
        self._request = request
        self._recorder = recorder
        self._workspace = workspace
        self._tracked = tracked
        self._container: Container
        self._container, _ = find_container(request.root, name)
        self.stopped = False

    def unpack(self, plans: Sequence[Planned]) -> Iterator[dict[str, Any]]:
        """Unpack zips.

        Yields
        ------
        dict
            Records of zips and their files, each when it is committed.
        """
        for planned in plans:
            yield from self._unpack(planned)
            if self.stopped:
                return

    def _unpack(self, planned: Planned) -> Iterator[dict[str, Any]]:
        request = self._request
        # What stands there may only stay as it is, unless it is to be replaced.
        keeps = bool(planned.standing) and request.existing != "replace"
        command = command_for(
            [planned.job], request.limits, existing="skip" if keeps else "replace"
        )
        outputs = tuple(planned.outputs)
        size = sum(output.size for output in planned.outputs.values())
        unpacked = Unpacked(planned.zip.path, planned.key, outputs, size)
        before = read_head(request.root).commit
        failure = ""
        try:
            if command.spec is not None:
                self._save_spec(command)
                before = self._workspace.head.commit
            inputs = [planned.zip.path, *([command.spec[0]] if command.spec else [])]
            for record in run_in_container(
                request.root,
                self._container,
                command.line,
                inputs,
                declared_outputs(outputs),
                request.message or title_for(planned.zip.path, len(outputs)),
                {
                    NAMESPACE: own_details(
                        {"selection": request.digest, **zip_details(unpacked)},
                    )
                },
            ):
                if record["status"] in ("error", "impossible"):
                    failure = _said(record)
        except SelectionError as error:
            failure = str(error)
        if failure:
            self.stopped = request.on_zip_error == "stop"
            yield self._recorder.zip(planned.zip, "error", failure)
            return
        head = self._workspace.head = read_head(request.root)
        changed = head.commit != before
        yield self._recorder.zip(
            planned.zip,
            "ok" if changed else "notneeded",
            planned.note,
            outputs=outputs,
            bytesize=size,
            **({"commit": head.commit} if changed else {}),
        )
        same = () if changed else outputs
        yield from self._recorder.written(planned, planned.outputs.values(), {}, same)

    def _save_spec(self, command: Command) -> None:
        # Not by `datalad save`: somebody else's dataset may have a link where it would be written.
        commit = spec_commit([command], self._tracked, self._workspace.head.commit)
        if commit is not None:
            self._workspace.add([commit], self._tracked, f"{COMMAND}: a list of members")


def _said(record: dict[str, Any]) -> str:
    message = record.get("message") or record.get("error_message") or "it failed in the container"
    if isinstance(message, tuple):
        message = message[0] % message[1:]
    return f"{message}; see what was printed above"
