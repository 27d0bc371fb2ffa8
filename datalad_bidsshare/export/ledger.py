"""What exports wrote to a destination: files.tsv, a journal of what is newer, and manifests.

Only files that are on the disk are taken down, so that what is listed can be trusted. Nothing
is held in memory but what changed since the table was written, and of that not too much.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from datalad_bidsshare.dataset.checksums import DIGITS, checksum_of_key
from datalad_bidsshare.dataset.encoding import decode, encode
from datalad_bidsshare.disk.names import is_internal
from datalad_bidsshare.export.escaping import field_of, path_of
from datalad_bidsshare.export.journal import Journal
from datalad_bidsshare.export.lines import DamagedTable, Table, merged
from datalad_bidsshare.export.manifests import (
    algorithm_of,
    manifest_name,
    manifests_are_of,
    manifests_in,
    writing_manifests,
)
from datalad_bidsshare.export.replacing import replacing

__all__ = ["FILES", "JOURNAL", "Ledger", "LedgerError", "Written"]

FILES: Final = "files.tsv"
JOURNAL: Final = "journal"
_HEADER = b"path\tsize\tmtime_ns\tsource\tchecksum\tkey\trecipe\n"
_COLUMNS = 7
_WORDS = {algorithm: b"\t%b:" % algorithm.encode() for algorithm in DIGITS}
_HELD = 100_000
"""Changes after which the table is written anew: about 80 MB."""


class LedgerError(Exception):
    """What exports took down at a destination cannot be read. The text is for the user."""


class Written(NamedTuple):
    """A file that an export wrote.

    Attributes
    ----------
    size
        Bytes.
    mtime_ns
        Its time stamp, as the file system gives it.
    source
        `MODE OID` of what it was made from.
    algorithm, digest
        Of its content, as in `Checksum`.
    key
        The annex key with its checksum, or empty.
    recipe
        What decided about a content that was changed on the way, or empty.
    """

    size: int
    mtime_ns: int
    source: str
    algorithm: str
    digest: str
    key: str = ""
    recipe: str = ""


class Ledger:
    """What exports wrote to one destination. Made by `Ledger.read`."""

    def __init__(self, directory: Path, table: Table | None, journal: Journal) -> None:
        self._directory = directory
        self._table = table
        self._journal = journal
        # Path to the rest of the line
        self._changes: dict[str, str | None] = {}
        # Of them, those that the journal lacks
        self._unwritten: dict[str, None] = {}
        # The part of the table that was looked into last
        self._near: dict[str, str] = {}
        self._length = table.lines if table is not None else 0

    @classmethod
    def read(cls, directory: Path) -> Ledger:
        """Read what was taken down.

        Parameters
        ----------
        directory
            `DEST/.bidsshare`. May be missing, as may be what is in it.

        Raises
        ------
        LedgerError
            When something there cannot be read, or is not as it was written.
        """
        if directory.is_symlink():
            raise LedgerError(
                f"{directory} is a symbolic link, and what it leads to is not trusted: remove it. "
                "The next export re-reads the files that are there, and keeps the complete ones"
            )
        ledger = cls(directory, _read_table(directory), Journal(directory, JOURNAL))
        try:
            changes = ledger._journal.read()
            for field, rest in sorted(changes.items()):
                path = path_of(field)
                ledger._length += (rest is not None) - (path in ledger)
                ledger._changes[path] = None if rest is None else decode(rest)
        except OSError as e:
            raise _unreadable(directory / JOURNAL, f"cannot be read ({e.strerror})") from e
        except ValueError as e:
            raise _unreadable(directory / JOURNAL, f"has an {e}") from e
        return ledger

    def __len__(self) -> int:
        return self._length

    def __contains__(self, path: object) -> bool:
        return isinstance(path, str) and self.line(path) is not None

    @property
    def finished(self) -> bool:
        """Whether nothing was taken down that the table and the manifests lack."""
        return not (self._journal.exists or self._changes)

    @property
    def manifests(self) -> tuple[str, ...]:
        """The names of the manifests, as `write` left them or will leave them unchanged."""
        return tuple(sorted(map(manifest_name, self._algorithms())))

    def _algorithms(self) -> list[str]:
        return list(self._table.counts) if self._table is not None else []

    def paths(self) -> Iterator[str]:
        """Give the paths of all files, relative to the destination, in order of their bytes.

        What is put or removed meanwhile may be given or not.

        Raises
        ------
        LedgerError
            When it lists what is no file of an export, such as '../x', or cannot be read.
        """
        return (path for path, _ in self._listed())

    def items(self) -> Iterator[tuple[str, Written]]:
        """Give all files, as `paths` does, with what is known of them.

        Raises
        ------
        LedgerError
            As `paths` and `get`.
        """
        return ((path, self._understood(path, line)) for path, line in self._listed())

    def _listed(self) -> Iterator[tuple[str, str]]:
        try:
            for lines in merged(self._table, self._sorted_changes()):
                for line in decode(lines[:-1]).split("\n"):
                    field, _, rest = line.partition("\t")
                    path = path_of(encode(field)) if "\\" in field else field
                    if is_internal(path):
                        raise ValueError(f"{path!r} is no file of an export")
                    yield path, rest
        except (OSError, ValueError) as e:
            raise _unreadable(self._directory / FILES, f"cannot be read ({e})") from e

    def line(self, path: str) -> str | None:
        """Give what is known of a file as it is written down, without the path.

        `SIZE<tab>MTIME_NS<tab>SOURCE<tab>ALGORITHM:DIGEST<tab>KEY<tab>RECIPE`. Quickest when
        asked in order of the paths' bytes.

        Raises
        ------
        LedgerError
            When the table cannot be read any more.
        """
        changes = self._changes
        if changes and path in changes:
            return changes[path]
        return self._near.get(path) or self._look(path)

    def _look(self, path: str) -> str | None:
        """Look into the part of the table that may hold a path."""
        if self._table is None:
            return None
        try:
            lines = self._table.around(field_of(path))
            if not lines:
                return None
            pairs = [line.split("\t", 1) for line in decode(lines[:-1]).split("\n") if line]
            if b"\\" in lines:
                pairs = [[path_of(encode(field)), rest] for field, rest in pairs]
            self._near = dict(pairs)
        except (OSError, ValueError) as e:
            raise _unreadable(self._directory / FILES, f"cannot be read ({e})") from e
        return self._near.get(path)

    def get(self, path: str) -> Written | None:
        """Give what is known of a file, or None.

        Raises
        ------
        LedgerError
            When its line is not as it was written.
        """
        line = self.line(path)
        return None if line is None else self._understood(path, line)

    def _understood(self, path: str, line: str) -> Written:
        try:
            size, mtime_ns, source, checksum, key, recipe = line.split("\t")
            algorithm, _, digest = checksum.partition(":")
            return Written(int(size), int(mtime_ns), source, algorithm, digest, key, recipe)
        except ValueError as e:
            why = f"has a line for {path!r} that cannot be understood"
            raise _unreadable(self._directory / FILES, why) from e

    def put(self, path: str, written: Written) -> None:
        """Take a file down. Its content must be on the disk before `journal` or `write` is called.

        A key without a checksum that we know is left out: it may hold a name or an address.

        Raises
        ------
        ValueError
            When the digest is not one of its algorithm.
        """
        if DIGITS.get(written.algorithm) != len(written.digest):
            raise ValueError(f"no {written.algorithm} digest: {written.digest!r}")
        key = written.key
        if key and (checksum_of_key(key) is None or not key.isprintable()):
            key = ""
        rest = (
            f"{written.size}\t{written.mtime_ns}\t{written.source}\t"
            f"{written.algorithm}:{written.digest}\t{key}\t{written.recipe}"
        )
        before = self.line(path)
        if rest != before:
            self._length += before is None
            self._change(path, rest)

    def remove(self, path: str) -> None:
        """Forget a file, if it is known."""
        if path in self:
            self._length -= 1
            self._change(path, None)

    def _change(self, path: str, rest: str | None) -> None:
        self._changes[path] = rest
        self._unwritten[path] = None

    def _sorted_changes(self) -> list[tuple[bytes, bytes | None]]:
        return sorted(map(_as_bytes, self._changes.items()))

    def journal(self) -> None:
        """Have on the disk what was put and removed since the last time.

        Raises
        ------
        OSError
            When it cannot be written.
        """
        if not self._unwritten:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        self._journal.append(_as_bytes((path, self._changes[path])) for path in self._unwritten)
        self._unwritten.clear()
        if len(self._changes) >= _HELD:
            self._write(manifests=False)
            # Left empty: it says that the manifests are still to be written.
            self._journal.clear()

    def write(self) -> None:
        """Write the table and the manifests anew, if anything changed, and end the journal.

        Killed meanwhile, the journal is still there, and the next `write` does the rest.

        Raises
        ------
        OSError
            When something cannot be written. Each file is complete, the old or the new one.
        """
        self.journal()
        if self.finished and manifests_are_of(self._directory, self._algorithms()):
            return
        self._write(manifests=True)
        for name in manifests_in(self._directory):
            if algorithm_of(name) and name not in self.manifests:
                (self._directory / name).unlink()
        self._journal.remove()

    def _write(self, manifests: bool) -> None:
        """Write the table, if it changed, and the manifests, if wanted, in one go."""
        with contextlib.ExitStack() as files:
            table = listing = None
            if self._changes:
                table = files.enter_context(replacing(self._directory, FILES))
                table.write(_HEADER)
            if manifests:
                # Entered last, they are put in place first: the table vouches for them.
                listing = files.enter_context(writing_manifests(self._directory))
            for lines in merged(self._table, self._sorted_changes()):
                if table is not None:
                    table.write(lines)
                if listing is not None:
                    listing.take(lines)
            if table is not None and self._table is not None and os.name == "nt":
                # Windows replaces no open file.
                self._table.close()
        if table is not None:
            self._table = _read_table(self._directory)
            self._near = {}
            self._changes.clear()


def _as_bytes(change: tuple[str, str | None]) -> tuple[bytes, bytes | None]:
    path, rest = change
    return field_of(path), None if rest is None else encode(rest)


def _read_table(directory: Path) -> Table | None:
    try:
        return Table(directory, FILES, _HEADER, tabs=_COLUMNS - 1, words=_WORDS)
    except FileNotFoundError:
        return None
    except OSError as e:
        raise _unreadable(directory / FILES, f"cannot be read ({e.strerror})") from e
    except DamagedTable as e:
        raise _unreadable(directory / FILES, str(e)) from e


def _unreadable(file: Path, why: str) -> LedgerError:
    return LedgerError(
        f"{file} {why}: something else than an export of this version changed it, or the disk "
        "fails. Remove it, and export again: the files that are there are then read, and the "
        "complete ones kept"
    )
