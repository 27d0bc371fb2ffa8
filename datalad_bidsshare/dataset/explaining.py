"""What git and DataLad say when something fails, as one line for people."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from datalad_bidsshare.dataset.secrets import without_secrets

__all__ = ["is_disk_full", "message_of", "reason_of"]

_TELLING = re.compile(r"(?:fatal|error): (?P<said>.+)")
# `process` adds it, for repositories that cannot be read
_ADVICE = re.compile(r"\. Run 'git fsck' there to see if the repository is damaged")

# How DataLad shows what a command wrote: [err: '...'], with many lines in it
_QUOTED_BEGIN = re.compile(r"\s*\[(?:out|err): '")
_QUOTED_END = re.compile(r"'\](?=\s*(?:\[(?:out|err|info)\b|$))", re.MULTILINE)

_FULL = re.compile("No space left on device|disk quota exceeded", re.IGNORECASE)
# What curl, and git on the other end of a pipe, say of any write that failed
_NOT_WRITTEN = re.compile(
    r"curl_result = 23\b|curl 23\b|Failure writing output|Failed writing|unable to write|"
    "write error|could not write|cannot write",
    re.IGNORECASE,
)
_LITTLE = 1 << 20
"""Free bytes below which a failed write is put down to the disk."""


def is_disk_full(said: str, target: Path | None = None) -> bool:
    """Tell whether something failed because no space is left.

    Parameters
    ----------
    said
        What git, or DataLad on behalf of it, wrote.
    target
        Directory that it wrote to. What came may have been removed since, so that there is space
        again: free space alone is asked for only when nothing tells of writing.
    """
    if _FULL.search(said):
        return True
    if "curl_result = 23" in said or "Failure writing output" in said:
        # of a file that git had opened for it
        return True
    if target is None or not _NOT_WRITTEN.search(said):
        return False
    try:
        return shutil.disk_usage(target).free < _LITTLE
    except OSError:
        return False


def reason_of(said: str) -> str:
    """Give what matters of what git, or DataLad on behalf of it, wrote.

    Parameters
    ----------
    said
        All of it, perhaps many lines.

    Returns
    -------
    str
        One line without passwords, and without a full stop. Empty when nothing was said.
    """
    said, quoted = _QUOTED_BEGIN.subn("\n", _ADVICE.sub("", said))
    if quoted:
        said = _QUOTED_END.sub("", said)
    lines = dict.fromkeys(m["said"].strip().rstrip(".") for m in _TELLING.finditer(said))
    # Advice that is meant for who typed the command
    telling = [line for line in lines if not line.startswith("some local refs")]
    text = "; ".join(telling) or " ".join(said.split())
    return without_secrets(text)[:1000].rstrip(". ")


def message_of(result: Mapping[str, object]) -> str:
    """Give the message of one of DataLad's result records; '' where it has none."""
    message = result.get("message")
    if isinstance(message, tuple):
        # DataLad delays formatting: (template, values...)
        try:
            message = str(message[0]) % message[1:]
        except (TypeError, ValueError):
            message = " ".join(map(str, message))
    return str(message or "").strip()
