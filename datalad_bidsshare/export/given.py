"""What was given: the versions of the datasets, the receipt, and the log."""

from __future__ import annotations

import getpass
import hashlib
import logging
import os
import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datalad_bidsshare import __version__
from datalad_bidsshare.dataset.presence import git_directory
from datalad_bidsshare.dataset.version import Version, has_staged_changes, read_version
from datalad_bidsshare.export.items import Part
from datalad_bidsshare.export.log import append_log
from datalad_bidsshare.export.receipt import Receipt, SourceDataset, public_url
from datalad_bidsshare.export.request import ExportRequest

__all__ = ["Given", "describe_given", "ledger_directory", "notes_directory"]

lgr = logging.getLogger("datalad.bidsshare.export")


@dataclass(frozen=True, slots=True)
class Given:
    """Which versions are exported.

    Attributes
    ----------
    versions
        Of each dataset, by its mount.
    """

    versions: Mapping[str, Version]

    @property
    def times(self) -> dict[str, int]:
        """Time stamps in nanoseconds, by mount, for what git keeps: when it was committed."""
        return {mount: version.time * 10**9 for mount, version in self.versions.items()}

    def receipt(
        self,
        request: ExportRequest,
        *,
        files: int,
        nbytes: int,
        missing: int,
        manifests: Sequence[str],
        dated: bool = True,
    ) -> Receipt:
        """Write out what the receiver is told: nothing of this machine, nor of who works on it."""
        return Receipt(
            tool_version=__version__,
            date=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()) if dated else None,
            datasets=tuple(
                SourceDataset(
                    id=version.dataset_id,
                    commit=version.commit,
                    describe=version.describe,
                    path=mount,
                    url=next(filter(None, map(public_url, version.urls)), None),
                )
                for mount, version in self.versions.items()
            ),
            selection=request.told,
            options=_options(request),
            files=files,
            bytes=nbytes,
            missing=missing,
            subset=request.is_subset,
            manifests=tuple(manifests),
        )

    def log(self, request: ExportRequest, counts: Mapping[str, int], keys: Sequence[str]) -> None:
        """Keep with the dataset what was given, when, to where, and by whom."""
        root = request.files.root
        entry: dict[str, Any] = {
            "user": _user(),
            "host": platform.node(),
            "destination": str(request.dest),
            "dataset": request.source or str(root),
            "versions": {m or ".": v.commit for m, v in self.versions.items()},
            "selection": request.described,
            "options": _options(request),
            "files": dict(counts),
        }
        if len(keys) <= 100_000:
            entry["keys"] = list(keys)
        else:
            entry["keys-sha256"] = hashlib.sha256("\n".join(keys).encode()).hexdigest()
        try:
            append_log(notes_directory(request), entry)
        except OSError as error:
            place = request.notes or root
            lgr.warning(
                "That this was exported could not be noted in %s: %s", place, error.strerror
            )


def notes_directory(request: ExportRequest) -> Path:
    """Give where is kept what the receiver is not to have: the log, and a secret.

    In the git directory of the dataset, unless that is a clone that may be removed at any time.
    """
    return request.notes or git_directory(request.files.root) / "bidsshare"


def ledger_directory(request: ExportRequest) -> Path:
    """Give where it is written down what an export wrote.

    At the destination; without a receipt there, among the notes.
    """
    if request.receipt:
        return request.dest / ".bidsshare"
    name = hashlib.sha256(os.fsencode(request.dest)).hexdigest()[:16]
    return notes_directory(request) / "exports" / name


def describe_given(request: ExportRequest, parts: Sequence[Part]) -> Given:
    """Find out which versions are exported.

    Raises
    ------
    DatasetError
        If a dataset has no commit yet.
    """
    versions = {}
    for part in parts:
        versions[part.mount] = version = read_version(part.root, part.choice.visit.commit)
        if part.choice.visit.commit is None and has_staged_changes(part.root):
            lgr.warning(
                "%s has changes that are not saved; they are exported, and the receipt says so. "
                "Save them first to be able to tell later what was given",
                part.root,
            )
            versions[part.mount] = version.modified()
    return Given(versions)


def _options(request: ExportRequest) -> dict[str, Any]:
    return {
        "tables": request.tables,
        "verified": request.verify,
        "recursive": request.files.recursive,
        "recursion_limit": request.files.recursion_limit,
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"
