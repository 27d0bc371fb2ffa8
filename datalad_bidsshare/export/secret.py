"""What keeps a hash from being guessed by who receives it."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from functools import cached_property
from pathlib import Path

__all__ = ["Secret"]

_NAME = "secret"
_LENGTH = 32


class Secret:
    """A number that stays with who exports.

    The ledger at the destination tells which version of a file was exported, by the hash that git
    or git-annex has of it. Of a table that was reduced, that is a hash of the rows that were held
    back too: with all others known, somebody could try which row gives it.

    Parameters
    ----------
    notes
        Directory that it is kept in: see `given.notes_directory`.
    keep
        Whether it may be written down, to be the same the next time.
    """

    def __init__(self, notes: Path, *, keep: bool) -> None:
        self._notes = notes
        self._keep = keep

    def hide(self, source_id: str) -> str:
        """Give what stands for a source in the ledger."""
        digest = hmac.new(self._number, source_id.encode(), hashlib.sha256).hexdigest()
        return f"hidden {digest}"

    @cached_property
    def _number(self) -> bytes:
        place = self._notes
        with contextlib.suppress(OSError):
            known = (place / _NAME).read_bytes()
            if len(known) == _LENGTH:
                return known
        number = secrets.token_bytes(_LENGTH)
        if self._keep:
            # Where that is not possible, such files are written anew each time.
            with contextlib.suppress(OSError):
                place.mkdir(exist_ok=True)
                flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
                with open(os.open(place / _NAME, flags, 0o600), "wb") as file:
                    file.write(number)
        return number
