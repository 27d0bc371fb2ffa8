"""What can be cloned: how it is reached, and what it is now."""

from __future__ import annotations

import os
import shlex
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.explaining import is_disk_full, reason_of
from datalad_bidsshare.dataset.process import run
from datalad_bidsshare.dataset.secrets import Secret, revealed
from datalad_bidsshare.dataset.updating import fetch_environment

__all__ = ["Identity", "Origin", "dataset_id_at", "git_url", "identify", "why_not_cloned"]


class Origin(Protocol):
    """What can be cloned; `cache.urls.Source` is one."""

    @property
    def url(self) -> str:
        """What DataLad's clone is given, without a password."""

    @property
    def shown(self) -> str:
        """For messages."""

    @property
    def version(self) -> str | None:
        """Tag or branch that is meant, or None."""

    @property
    def secret(self) -> Secret | None:
        """What the server wants to know."""


@dataclass(frozen=True, slots=True)
class Identity:
    """What a source is now.

    Attributes
    ----------
    commit
        Its HEAD, in hex digits.
    dataset_id
        DataLad's, or None.
    """

    commit: str
    dataset_id: str | None


def dataset_id_at(root: Path, commit: str = "HEAD") -> str | None:
    """Give DataLad's id of a dataset as a commit has it, or None. The repository may be bare."""
    command = ["git", "config", "--blob", f"{commit}:.datalad/config", "--no-includes"]
    try:
        return decode(run([*command, "--get", "datalad.dataset.id"], root)).strip() or None
    except DatasetError:
        # no such file in it, or no such line
        return None


def git_url(source: Origin) -> str:
    """Give the address that git knows of a source, as DataLad sees it."""
    from datalad.core.distributed.clone_utils import decode_source_spec

    return str(decode_source_spec(source.url)["giturl"])


def identify(source: Origin) -> Identity:
    """Ask a source for its HEAD and dataset id; nothing of it is kept.

    Raises
    ------
    DatasetError
        When it cannot be reached, or has no commit.
    """
    with tempfile.TemporaryDirectory(prefix="bidsshare-", ignore_cleanup_errors=True) as directory:
        bare = Path(directory)
        run(["git", "init", "--quiet", "--bare", "."], bare)
        said = ""
        url = git_url(source)
        command = ["git", "fetch", "--quiet", "--no-tags"]
        # Servers that only hand out files know no depth. git itself tries '.git', but not there.
        addresses = [url, f"{url.rstrip('/')}/.git"] if url.startswith("http") else [url]
        for address in addresses:
            for depth in (["--depth=1"], []):
                with revealed(source.secret):
                    try:
                        run(
                            [*command, *depth, "--", address, "+HEAD:refs/heads/it"],
                            bare,
                            env=fetch_environment(),
                        )
                    except DatasetError as e:
                        said = said or str(e)
                        continue
                commit = decode(run(["git", "rev-parse", "refs/heads/it"], bare)).strip()
                return Identity(commit, dataset_id_at(bare, commit))
    raise DatasetError(why_not_cloned(source, said))


def why_not_cloned(source: Origin, said: str, target: Path | None = None) -> str:
    """Say why a source could not be cloned, and what to do.

    Parameters
    ----------
    source
        What was to be cloned.
    said
        What git or DataLad wrote.
    target
        Directory that it was to be written to.
    """
    shown = source.shown
    if is_disk_full(said, target):
        return f"{shown} could not be cloned: no space is left on the device; next: make room"
    if "dubious ownership" in said:
        return (
            f"{shown} could not be cloned: it belongs to another user, and git does not read it; "
            f"next: if you trust it: git config --global --add safe.directory {shlex.quote(shown)}"
        )
    if os.path.isabs(shown) and not os.path.exists(shown):
        return f"There is nothing at {shown}; next: see how the source is written"
    reason = reason_of(said) or "DataLad gave no reason"
    return (
        f"{shown} could not be cloned: {reason}; next: see how the source is written, that it is "
        f"a dataset, and that you may read it: git ls-remote {shlex.quote(shown)}"
    )
