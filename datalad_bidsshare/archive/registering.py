"""Telling git-annex how files are had from their zip, so that they can be dropped."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from datalad_bidsshare.archive.compute import COMPUTE_PROGRAM
from datalad_bidsshare.archive.job import Job, to_argv
from datalad_bidsshare.archive.plan import Planned
from datalad_bidsshare.archive.request import UnzipRequest
from datalad_bidsshare.archive.workspace import Workspace
from datalad_bidsshare.dataset.compute import (
    MOST_OUTPUTS,
    compute_remote,
    how_to_enable,
    register,
    why_not_output,
)

__all__ = ["Registrar"]

lgr = logging.getLogger("datalad.bidsshare.unzip")


class Registrar:
    """Registers what zips gave with git-annex's special remote of type `compute`.

    Parameters
    ----------
    request
        What is asked for.
    workspace
        The dataset.

    Raises
    ------
    DatasetError
        When the remote cannot be made or enabled.
    """

    def __init__(self, request: UnzipRequest, workspace: Workspace) -> None:
        self._root = request.root
        self._limits = request.limits
        self._tree = workspace.stage / "compute"
        # That of the files: it has the zip, and the rules that decide on the backend of keys.
        self._index = workspace.index
        self._remote = compute_remote(request.root, COMPUTE_PROGRAM)
        lgr.info(
            "In other clones the files can be computed after: %s",
            how_to_enable(self._remote, COMPUTE_PROGRAM),
        )

    def register(self, planned: Planned, keys: Mapping[str, str | None], tree: Path) -> str:
        """Register the annexed files of one zip.

        Parameters
        ----------
        planned
            The zip. Its content is in the annex.
        keys
            Keys of the files that it gave, by path; None for those that git keeps.
        tree
            Directory in which they are.

        Returns
        -------
        str
            Why it could not be done, or ''.

        Raises
        ------
        DatasetError
            When git cannot be run.
        """
        for job, expected in self._computations(planned, keys):
            shutil.rmtree(self._tree, ignore_errors=True)
            argv = to_argv(job, self._limits)
            result = register(
                self._root, self._remote, self._tree, self._index, argv, tree, expected
            )
            if result.message:
                return (
                    f"its files could not be registered as recomputable: {result.message}; "
                    "without --recomputable it can be unpacked"
                )
        return ""

    def _computations(
        self, planned: Planned, keys: Mapping[str, str | None]
    ) -> Iterator[tuple[Job, dict[str, str]]]:
        """Divide what a zip gave, since git-annex notes with each file all of its computation."""
        annexed = [
            (output, key)
            for output in planned.written
            if (key := keys.get(output.path)) is not None and why_not_output(output.path) is None
        ]
        if len(annexed) == len(planned.outputs) <= MOST_OUTPUTS:
            yield planned.job, {output.path: key for output, key in annexed}
            return
        for at in range(0, len(annexed), MOST_OUTPUTS):
            part = annexed[at : at + MOST_OUTPUTS]
            members = tuple(sorted(output.member for output, _ in part))
            yield (
                replace(planned.job, include=(), members=members),
                {output.path: key for output, key in part},
            )
