"""git-annex keys: how they are written in links and pointer files, and where objects lie.

Formats as in git-annex's `internals/key_format`, `internals/pointer_file` and
`internals/hashing`; the tests hold them against `git annex lookupkey` itself.
"""

from __future__ import annotations

import hashlib
import os
import re
import struct

__all__ = [
    "LARGEST_POINTER",
    "bytesize_of_key",
    "file_of_key",
    "key_of_file",
    "key_of_link",
    "key_of_pointer",
    "object_paths",
]

LARGEST_POINTER = 32 * 1024
"""Bytes. Anything bigger is data, whatever it starts with (git-annex: `internals/pointer_file`)."""

# BACKEND[-sSIZE][-mMTIME][-SCHUNKSIZE][-CCHUNK]--NAME, fields in this order only. No file has a
# size of more than 19 digits, and Python refuses to read numbers of thousands of them.
_KEY = re.compile(
    r"[A-Z0-9_]+(?:-s(?P<bytes>[0-9]{1,19}))?(?:-m[0-9]+)?(?:-S[0-9]+)?(?:-C[0-9]+)?--[^\n\0]*"
)
# Only on Windows does git-annex take backslashes for separators.
_SEPARATOR = r"[/\\]" if os.name == "nt" else "/"
_OBJECT_DIRECTORY = re.compile(f"{_SEPARATOR}annex{_SEPARATOR}objects{_SEPARATOR}")
_ESCAPED = frozenset("&%:/")
_ESCAPES = {"&a": "&", "&s": "%", "&c": ":", "%": "/"}
_MORE_LINES = re.compile(rb"(?:/annex/[^\n]*\n)+")
# git-annex's own alphabet for directories that differ in more than case
_LETTERS = "0123456789zqjxkmvwgpfZQJXKMVWGPF"


def bytesize_of_key(key: str) -> int | None:
    """Give the size in bytes that a key records, or None where it records none (URL keys)."""
    match = _KEY.fullmatch(key)
    return int(match["bytes"]) if match and match["bytes"] else None


def key_of_file(name: str) -> str | None:
    """Give the key that a file name in the object directory stands for, or None."""
    if _ESCAPED.isdisjoint(name):
        return name if _KEY.fullmatch(name) else None
    key = re.sub("&[asc]|%", lambda m: _ESCAPES[m[0]], name)
    return key if _KEY.fullmatch(key) and file_of_key(key) == name else None


def file_of_key(key: str) -> str:
    """Give the file name under which the object directory holds a key."""
    return key.replace("&", "&a").replace("%", "&s").replace(":", "&c").replace("/", "%")


def key_of_link(target: bytes) -> str | None:
    """Give the key that the target of a symbolic link names, or None for other links.

    Stricter than git-annex in one point: a target that climbs or stands still (`..`, `.`, an
    empty component) within the object directory is not a link that git-annex writes, and may
    lead anywhere.
    """
    text = target.decode("utf-8", "surrogateescape")
    ends = [found.end() for found in _OBJECT_DIRECTORY.finditer(text)]
    if not ends:
        return None
    components = re.split(_SEPARATOR, text[ends[-1] :])
    if any(c in ("", ".", "..") for c in components):
        return None
    return key_of_file(components[-1])


def key_of_pointer(content: bytes) -> str | None:
    """Give the key of a pointer file from its whole content, or None when it is data.

    A pointer is at most 32 KiB. Its first line is `/annex/objects/KEY`, or the target of a link
    (what git writes where the file system has no links); any more lines start with `/annex/`.
    """
    if len(content) > LARGEST_POINTER:
        return None
    first, _, rest = content.partition(b"\n")
    if rest and not _MORE_LINES.fullmatch(rest):
        return None
    return key_of_link(first.removesuffix(b"\r"))


def object_paths(key: str) -> tuple[str, str]:
    """Give where a key's object may lie below `annex/objects`, likeliest first.

    Returns
    -------
    tuple of str
        In the layout of repositories with a work tree, and in that of bare ones.
    """
    digest = hashlib.md5(key.encode("utf-8", "surrogateescape"), usedforsecurity=False).digest()
    word = struct.unpack("<I", digest[:4])[0]
    a, b, c, d = (_LETTERS[word >> (6 * i) & 31] for i in range(4))
    file = file_of_key(key)
    hexed = digest.hex()
    return f"{b}{a}/{d}{c}/{file}/{file}", f"{hexed[:3]}/{hexed[3:6]}/{file}/{file}"
