"""What is to be unpacked, and how."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datalad_bidsshare.archive.job import Existing
from datalad_bidsshare.archive.safety import Limits
from datalad_bidsshare.archive.select import MemberSelection

__all__ = ["Existing", "Layout", "OnZipError", "Per", "UnzipRequest"]

OnZipError = Literal["stop", "continue"]
Per = Literal["zip", "call"]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where members go.

    Attributes
    ----------
    into
        Directory of the dataset, with placeholders for what the name of a zip says; '' for its
        root.
    strip
        Leading directories that are taken away from members.
    strip_prefix
        A leading directory that is taken away where it is there.
    """

    into: str = ""
    strip: int = 0
    strip_prefix: str = ""


@dataclass(frozen=True, slots=True)
class UnzipRequest:
    """What a call asks for.

    Attributes
    ----------
    root
        Root of the dataset that gets the files, and the commits.
    patterns
        Paths or globs of zips, relative to it. Empty: all zips.
    outside
        Positional paths that are not in the dataset.
    members
        Which members.
    digest
        The same for calls that want the same of a zip.
    layout
        Where they go.
    existing
        What becomes of outputs that are there.
    on_zip_error
        Whether a zip that cannot be unpacked ends the call.
    per
        A commit each zip, or one for the call.
    message
        Of the commits, or None.
    jobs
        How many work at a time; None where nobody said.
    executor
        Where they work.
    transfers
        How many transfers run at a time; None where nobody said.
    recomputable
        Whether git-annex is told how to get the files from the zips.
    drop_zips
        Whether what was fetched is dropped.
    window
        Bytes of zips that are fetched ahead, when they are dropped afterwards.
    container
        Name of a container to work in, or None.
    limits
        Of what is unpacked.
    dry_run
        Whether nothing is to be changed.
    """

    root: Path
    patterns: tuple[str, ...]
    outside: tuple[Path, ...]
    members: MemberSelection
    digest: str
    layout: Layout
    existing: Existing
    on_zip_error: OnZipError
    per: Per
    message: str | None
    jobs: int | None
    executor: str
    transfers: int | None
    recomputable: bool
    drop_zips: bool
    window: int
    container: str | None
    limits: Limits
    dry_run: bool
