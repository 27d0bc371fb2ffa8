"""What dataset_description.json says of a dataset that is a plain copy.

BIDS, "Dataset description": ``GeneratedBy`` names what made the dataset, ``SourceDatasets``
what it was made from. Text that is not concerned stays as it is, character by character.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

__all__ = ["NAME", "describe_export"]

NAME = "datalad-bidsshare"
"""The name in ``GeneratedBy`` by which an entry of ours is known."""

_BOM = b"\xef\xbb\xbf"
_BLANK = " \t\r\n"
_IDENTIFIERS = ("URL", "DOI")
_KEYS = (*_IDENTIFIERS, "Version")


def describe_export(
    content: bytes, *, subset: bool, version: str, url: str | None, tool_version: str
) -> bytes:
    """Say in a dataset description that this dataset is a plain copy, and of what.

    Depends on nothing else: the same input gives the same bytes, and what was described
    before is brought up to date, not described twice.

    Parameters
    ----------
    content : bytes
        A dataset_description.json.
    subset : bool
        Whether files of the dataset are left out. A ``DatasetDOI`` then becomes that of the
        source: it stands for all of the dataset.
    version : str
        Of the dataset that is exported, as ``git describe`` gives it.
    url : str or None
        Where that dataset is found by anybody. It gets out as it is: no credentials.
    tool_version : str
        Of this package.

    Returns
    -------
    bytes
        The new content; `content` itself (the same object) if it is no JSON object.
    """
    try:
        text = content.removeprefix(_BOM).decode("utf-8")
        known = json.loads(text)
    except (ValueError, RecursionError):
        return content
    if not isinstance(known, dict):
        return content

    entry = {"URL": url} if url else {}
    doi = known.get("DatasetDOI")
    # Placeholders ('', null) claim nothing and stay
    moved = doi.strip() if subset and isinstance(doi, str) else ""
    if moved:
        entry["DOI"] = moved
    entry["Version"] = version

    tools = _as_list(known.get("GeneratedBy"))
    again = any(_is_ours(tool) for tool in tools)
    part = "a part of the dataset" if subset else "the dataset"
    ours = {
        "Name": NAME,
        "Version": tool_version,
        "Description": f"Plain copy (export-plain) of {part} at version {version}",
    }

    document = _Document(text)
    if moved:
        document.remove("DatasetDOI")
    document.set("GeneratedBy", _with_tool(tools, ours))
    document.set("SourceDatasets", _with_source(known.get("SourceDatasets"), entry, again))
    return (_BOM if content.startswith(_BOM) else b"") + document.text().encode("utf-8")


def _as_list(value: Any) -> list[Any]:
    """Give what should be a list as one: nothing that somebody wrote is lost."""
    if isinstance(value, list):
        return value
    return [] if value in (None, "", {}) else [value]


def _is_ours(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("Name") == NAME


def _with_tool(tools: list[Any], ours: dict[str, str]) -> list[Any]:
    """Put our entry in the place of an earlier one, else last.

    The first entry is taken for the pipeline by many readers, and stays it.
    """
    found: list[Any] = []
    for tool in tools:
        if not _is_ours(tool):
            found.append(tool)
        elif ours not in found:
            found.append(ours)
    return found if ours in found else [*found, ours]


def _with_source(value: Any, entry: dict[str, str], again: bool) -> list[Any]:
    """Add the source to the sources that are known.

    An entry that says as much already is enough. One that an earlier export wrote (`again`)
    about the same source is brought up to date.
    """
    sources = _as_list(value)
    if any(isinstance(s, dict) and entry.items() <= s.items() for s in sources):
        return sources
    for i, source in enumerate(sources):
        if again and isinstance(source, dict) and _is_same(source, entry):
            both = source | entry
            return [*sources[:i], {k: both[k] for k in _KEYS if k in both}, *sources[i + 1 :]]
    return [*sources, entry]


def _is_same(source: dict[str, Any], entry: dict[str, str]) -> bool:
    if not source.keys() <= set(_KEYS):
        return False
    shared = [key for key in _IDENTIFIERS if key in source and key in entry]
    if not shared:
        # By their versions alone two sources cannot be told apart
        return not any(key in both for key in _IDENTIFIERS for both in (source, entry))
    return all(source[key] == entry[key] for key in shared)


@dataclass
class _Member:
    """A member of a JSON object: the blanks before and behind it, and its text between."""

    key: str
    lead: str
    text: str
    value: Any
    behind: str


class _Document:
    """The text of a JSON object, whose members can be changed one by one.

    Parameters
    ----------
    text : str
        Valid JSON, an object.
    """

    def __init__(self, text: str) -> None:
        decoder = json.JSONDecoder()
        start = at = text.index("{") + 1
        self._members: list[_Member] = []
        self._colon = ": "
        while True:
            first = _skip(text, at)
            if text[first] == "}":
                break
            key, end = decoder.raw_decode(text, first)
            begin = _skip(text, _skip(text, end) + 1)
            if not self._members and not {"\r", "\n"} & set(text[end:begin]):
                self._colon = text[end:begin]
            value, end = decoder.raw_decode(text, begin)
            behind = _skip(text, end)
            member = _Member(key, text[at:first], text[first:end], value, text[end:behind])
            self._members.append(member)
            at = behind + 1
            if text[behind] == "}":
                break
        self._ascii = text.isascii()
        self._newline = "\r\n" if "\r\n" in text else "\n"
        if self._members:
            self._lead = self._members[0].lead
            # The blanks before the closing brace go with whatever is last then
            self._last, self._members[-1].behind = self._members[-1].behind, ""
            end = behind
        else:
            self._lead, self._last, end = f"{self._newline}    ", self._newline, first
        self._before, self._after = text[:start], text[end:]

    def remove(self, key: str) -> None:
        """Take a member away."""
        self._members = [m for m in self._members if m.key != key]

    def set(self, key: str, value: Any) -> None:
        """Change a member, or add it behind the others. The same value changes nothing."""
        found = [m for m in self._members if m.key == key]
        if found and found[-1].value == value:
            return
        text = f'"{key}"{self._colon}{self._dump(value)}'
        if not found:
            self._members.append(_Member(key, self._between(), text, value, ""))
            return
        # Of members with the same key the last counts
        self._members = [m for m in self._members if m.key != key or m is found[-1]]
        found[-1].text, found[-1].value = text, value

    def text(self) -> str:
        """Give the text as it is now."""
        pieces = []
        for i, member in enumerate(self._members):
            last = i == len(self._members) - 1
            lead = member.lead if i else self._lead
            pieces.append(lead + member.text + (self._last if last else member.behind))
        return self._before + ",".join(pieces) + self._after

    @property
    def _is_compact(self) -> bool:
        return "\n" not in self._lead

    def _between(self) -> str:
        """Give the blanks before a new member."""
        if not self._is_compact:
            return self._newline + self._lead.rpartition("\n")[2]
        if len(self._members) > 1:
            return self._members[1].lead
        return " " if self._colon.endswith(" ") else ""

    def _dump(self, value: Any) -> str:
        if self._is_compact:
            return self._encode(value, None, f",{self._between()}")
        margin = self._lead.rpartition("\n")[2]
        return self._encode(value, margin, ",").replace("\n", self._newline + margin)

    def _encode(self, value: Any, indent: str | None, comma: str) -> str:
        for ascii_only in (self._ascii, True):
            text = json.dumps(
                value, ensure_ascii=ascii_only, indent=indent, separators=(comma, self._colon)
            )
            try:
                text.encode("utf-8")
            except UnicodeEncodeError:
                # Half a surrogate pair, which only an escape can hold
                continue
            break
        return text


def _skip(text: str, at: int) -> int:
    while text[at] in _BLANK:
        at += 1
    return at
