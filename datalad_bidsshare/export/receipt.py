"""export.json: what was exported, for whoever receives it. Nothing of where, and by whom."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

from datalad_bidsshare.dataset.beneath import TooLarge, read_beneath
from datalad_bidsshare.export.replacing import replacing

__all__ = [
    "RECEIPT_FILE",
    "Receipt",
    "SourceDataset",
    "public_url",
    "read_totals",
    "write_receipt",
]

RECEIPT_FILE: Final = "export.json"
_LARGEST = 1 << 24
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?")
# Never names of public hosts: RFC 6761, 6762, 8375, 9476, and what networks at home and work use.
_PRIVATE_DOMAINS = re.compile(
    "arpa|corp|home|internal|intranet|invalid|lan|local|localdomain|localhost|private|test"
)


@dataclass(frozen=True)
class SourceDataset:
    """One of the datasets that were exported.

    Attributes
    ----------
    id
        DataLad's, or None.
    commit, describe
        Its version: the commit, and `git describe`.
    path
        Where it is mounted: '' for the one that was asked for.
    url
        Where it can be had. Written only as far as it is public.
    """

    id: str | None
    commit: str
    describe: str
    path: str = ""
    url: str | None = None


@dataclass(frozen=True)
class Receipt:
    """What export.json says.

    Attributes
    ----------
    tool_version
        Of this package.
    datasets
        The one that was asked for first.
    selection
        As a person reads it; empty for all. Goes out as it is: no local paths.
    options
        What else decided about the content. Goes out as it is.
    files, bytes
        What the export holds.
    missing
        Files that were selected, and are not in it.
    subset
        Whether it holds less than the datasets do.
    manifests
        Names of the files with checksums.
    date
        When: UTC, `2026-11-21T15:26:00Z`. None to leave it out.
    """

    tool_version: str
    datasets: tuple[SourceDataset, ...]
    selection: str
    files: int
    bytes: int
    missing: int
    subset: bool
    manifests: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    date: str | None = None


def write_receipt(directory: Path, receipt: Receipt) -> bool:
    """Write export.json, unless it says the same already but for the date.

    Parameters
    ----------
    directory
        `DEST/.bidsshare`, which must exist.
    receipt
        What it is to say.

    Returns
    -------
    bool
        Whether it was written.

    Raises
    ------
    OSError
        When it cannot be written.
    """
    content = _as_json(receipt)
    with contextlib.suppress(OSError, TooLarge, ValueError, RecursionError):
        before = json.loads(read_beneath(directory, RECEIPT_FILE, _LARGEST) or b"")
        if isinstance(before, dict) and ("date" in before) == ("date" in content):
            # Through JSON, where a tuple is a list
            now = json.loads(json.dumps(content))
            if {**before, "date": None} == {**now, "date": None}:
                return False
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    with replacing(directory, RECEIPT_FILE) as file:
        # A byte of a path that is no UTF-8 becomes '\udcXX', which JSON takes for just that.
        file.write(text.encode("utf-8", "backslashreplace"))
    return True


def read_totals(directory: Path) -> tuple[int, int] | None:
    """Give how many files and bytes an export.json tells of; None when there is none to trust."""
    with contextlib.suppress(OSError, TooLarge, ValueError, RecursionError):
        said = json.loads(read_beneath(directory, RECEIPT_FILE, _LARGEST) or b"")
        if isinstance(said, dict):
            totals = said.get("files"), said.get("bytes")
            if isinstance(totals[0], int) and isinstance(totals[1], int):
                return totals[0], totals[1]
    return None


def _as_json(receipt: Receipt) -> dict[str, Any]:
    content: dict[str, Any] = {
        "format": 1,
        "tool": {"name": "datalad-bidsshare", "version": receipt.tool_version},
    }
    if receipt.date is not None:
        content["date"] = receipt.date
    content |= {
        "datasets": [_dataset(dataset) for dataset in receipt.datasets],
        "selection": receipt.selection,
        "options": dict(receipt.options),
        "files": receipt.files,
        "bytes": receipt.bytes,
        "missing": receipt.missing,
        "subset": receipt.subset,
        "manifests": list(receipt.manifests),
    }
    return content


def _dataset(dataset: SourceDataset) -> dict[str, Any]:
    content: dict[str, Any] = {
        "path": dataset.path,
        "id": dataset.id,
        "commit": dataset.commit,
        "describe": dataset.describe,
    }
    if url := dataset.url and public_url(dataset.url):
        content["url"] = url
    return content


def public_url(url: str) -> str | None:
    """Give the part of a URL that everybody may know.

    Says what the letters say: no name is looked up. That a host of a public domain answers only
    inside of an institution is not seen.

    Returns
    -------
    str or None
        The URL without user, password, query and fragment. None unless it is http or https to a
        public host: no local one, no address of a private network, no name without a domain.
    """
    # What browsers and libraries take in more than one way
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    if parts.scheme not in ("http", "https") or not host or not _is_public(host):
        return None
    place = f"[{host}]" if ":" in host else host
    if port is not None:
        place += f":{port}"
    return urlunsplit((parts.scheme, place, parts.path, "", ""))


def _is_public(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        labels = host.removesuffix(".").split(".")
        return (
            len(labels) > 1
            and all(map(_LABEL.fullmatch, labels))
            # '127.1', '0x7f.1': addresses as well, to some
            and not re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1])
            and not _PRIVATE_DOMAINS.fullmatch(labels[-1])
        )
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is not None and not inner.is_global:
            return False
    return address.is_global and not address.is_multicast
