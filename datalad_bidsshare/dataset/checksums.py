"""Which checksum a git-annex key vouches for, and how it is computed.

Standard library only: the copying processes import it.
"""

from __future__ import annotations

import hashlib
import re
from types import MappingProxyType
from typing import NamedTuple, Protocol

__all__ = ["DEFAULT", "DIGITS", "Checksum", "Hasher", "checksum_of_key", "new_hasher"]

DEFAULT = "sha256"
"""Algorithm for content that has no checksum of its own: git's, and that of WORM and URL keys."""

DIGITS = MappingProxyType(
    {
        "md5": 32,
        "sha1": 40,
        **{f"sha{bits}": bits // 4 for bits in (224, 256, 384, 512)},
        **{f"sha3_{bits}": bits // 4 for bits in (224, 256, 384, 512)},
        **{f"blake2b-{bits}": bits // 4 for bits in (160, 224, 256, 384, 512)},
        **{f"blake2s-{bits}": bits // 4 for bits in (160, 224, 256)},
    }
)
"""All algorithms that there are, and how many hex digits their digests have."""

# BACKEND[-sSIZE][-mMTIME][-SCHUNKSIZE][-CCHUNK]--DIGEST[.EXTENSION] (git-annex's
# `internals/key_format`). A key of a chunk (-S, -C) is no file's. As git-annex does when it
# verifies: any key may have an extension, and an old bug's backslash does not count.
_KEY = re.compile(r"([A-Z0-9_]+)(?:-s[0-9]+)?(?:-m[0-9]+)?--\\?([0-9a-f]+)(?:\..*)?", re.S)
# BACKEND, or BACKENDE, to algorithm and digits
_BACKENDS = {
    algorithm.replace("blake2b-", "blake2b").replace("blake2s-", "blake2s").upper() + e: (
        algorithm,
        digits,
    )
    for algorithm, digits in DIGITS.items()
    for e in ("", "E")
}


class Checksum(NamedTuple):
    """A checksum.

    Attributes
    ----------
    algorithm
        As `new_hasher` takes it: ``'md5'``, ``'sha256'``, ``'sha3_256'``, ``'blake2b-256'``, ...
    digest
        Hex digits, lower case.
    """

    algorithm: str
    digest: str


class Hasher(Protocol):
    """What hashlib's objects can do."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Give the digest of all bytes so far in hex digits."""
        ...


def new_hasher(algorithm: str) -> Hasher:
    """Start a checksum.

    Parameters
    ----------
    algorithm
        One of `DIGITS`.

    Raises
    ------
    ValueError
        If there is no such algorithm.
    """
    family, _, bits = algorithm.partition("-")
    # Not for security: MD5 is what the keys of most datasets hold, also where policy forbids it.
    if not bits:
        return hashlib.new(algorithm, usedforsecurity=False)
    if algorithm not in DIGITS:
        raise ValueError(f"unsupported hash type {algorithm}")
    blake2 = hashlib.blake2b if family == "blake2b" else hashlib.blake2s
    return blake2(digest_size=int(bits) // 8, usedforsecurity=False)


def checksum_of_key(key: str) -> Checksum | None:
    """Give the checksum that a key holds.

    Returns
    -------
    Checksum or None
        None for keys without one (WORM, URL), and for the backends that Python's hashlib lacks
        (SKEIN, BLAKE2BP, BLAKE2SP, BLAKE3, XXH3, external ones): of such content only the size
        is known.
    """
    match = _KEY.fullmatch(key)
    if match is None:
        return None
    backend, digest = match.groups()
    known = _BACKENDS.get(backend)
    if known is None or len(digest) != known[1]:
        return None
    return Checksum(known[0], digest)
