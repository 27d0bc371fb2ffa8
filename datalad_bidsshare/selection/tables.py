"""Select files by the rows of participants.tsv, sessions.tsv and scans.tsv.

The tables and their keys (BIDS: "Participants file", "Sessions file", "Scans file"):

============  =========================================  ==============================
level         files, below the root of the BIDS dataset  a row is found by
============  =========================================  ==============================
participants  participants.tsv                           participant_id
sessions      sub-X/sub-X_sessions.tsv                   session_id
sessions      sessions.tsv, which some datasets keep     participant_id and session_id
scans         sub-X/[ses-Y/]sub-X[_ses-Y]_scans.tsv      filename
============  =========================================  ==============================

Where both kinds of sessions table, or of scans table, have a row for the same thing,
each column is taken from the table nearest to the data that has this column.

Nothing here opens a file: the caller hands in the names there are, and a function
that gives the content of those which turn out to be needed.
"""

from __future__ import annotations

import posixpath
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from datalad_bidsshare.selection.conditions import LEVELS, Column, Where
from datalad_bidsshare.selection.errors import SelectionError, near_matches
from datalad_bidsshare.selection.reader import Reader
from datalad_bidsshare.selection.tsv import Key, Pair, Table, read_tsv

__all__ = ["NameIndex", "RowFilter", "TableUnavailableError"]


class NameIndex(Protocol):
    """What is asked of the names of a dataset's files (see ``names.Names``)."""

    def __contains__(self, path: str, /) -> bool: ...

    def below(self, directory: str, /) -> Sequence[str]: ...


class TableUnavailableError(SelectionError):
    """Tables that decide the selection are tracked, but their content is not here.

    Attributes
    ----------
    paths : tuple of str
        The tables to get.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = tuple(paths)
        super().__init__(
            f"--where needs the content of {_listing(self.paths)}, which is not here:"
            " get it first ('datalad get')"
        )


class _Level:
    """The rows of all tables read at one level, by what they describe."""

    def __init__(self) -> None:
        self.paths: list[str] = []
        self.columns: dict[str, None] = {}
        self._rows: dict[Key, list[tuple[dict[str, int], tuple[str, ...]]]] = {}

    def __contains__(self, key: Key) -> bool:
        return key in self._rows

    def add(self, table: Table, rows: Mapping[Key, tuple[str, ...]]) -> None:
        """Add a table; of two that have a cell the one added first counts."""
        position = {name: i for i, name in enumerate(table.columns)}
        self.paths.append(table.path)
        self.columns.update(dict.fromkeys(table.columns))
        for key, row in rows.items():
            self._rows.setdefault(key, []).append((position, row))

    def cell(self, key: Key, column: str) -> str | None:
        for position, row in self._rows.get(key, ()):
            if column in position:
                return row[position[column]]
        return None


class RowFilter:
    """Keep the files whose subject, session and own row fulfil a condition.

    A bare column name means the first level that has this column, in the order
    participants, sessions, scans; a qualifier (``sessions.age``) overrides this. Tables
    of a level are read only when a column is still looked for, and those of a subject
    or session only while the condition can still become true for it.

    A file with no row has missing values. A file with no subject is never kept.

    Parameters
    ----------
    where : Where
        The condition.
    root : str
        The root of the BIDS dataset whose tables are meant, '' or a directory without
        trailing slash, such as ``derivatives/fmriprep``.
    """

    def __init__(self, where: Where, root: str = "") -> None:
        self._where = where
        self._prefix = f"{root}/" if root else ""
        self._forget()

    def _forget(self) -> None:
        self._levels = {name: _Level() for name in LEVELS}
        self._resolved: dict[Column, str] = {}
        self._candidates: frozenset[Pair] | None = None
        self._verdicts: dict[tuple[str, str | None, str | None], bool] = {}
        self._ready = False

    def prepare(
        self,
        names: NameIndex,
        read: Reader,
        candidates: Iterable[tuple[str | None, str | None]] | None = None,
        *,
        more_tables: bool = False,
    ) -> None:
        """Read the tables that decide.

        Parameters
        ----------
        names : NameIndex
            The names of the dataset's files.
        read : Reader
            Gives the content of tables. Called once a level, and then a few times more
            if a column is in no table read so far.
        candidates : iterable of (subject, session), optional
            The labels in the files in question; what no candidate needs is not read.
            Without it, all subjects below the root are candidates.
        more_tables : bool
            Whether there may be tables that `names` does not tell of, in subdatasets that
            are not installed. A column that is nowhere then counts as open, and only
            :meth:`may_keep_subject` can be asked.

        Raises
        ------
        TableUnavailableError
            The content of tables is not here; make it available and prepare again.
        SelectionError
            A column is in none of the candidates' tables, or a table is broken.
        """
        self._forget()
        pairs = alive = self._pairs(names, candidates)
        if candidates is not None:
            self._candidates = frozenset(pairs)
        if pairs or candidates is None:
            for level in LEVELS:
                if self._open(level):
                    alive = self._survivors(alive)
                    self._load(self._paths(level, names, alive), level, read)
            # A column that the survivors lack may be one that others have. Only all
            # tables can tell a typing error; most often the first ones do.
            for level in LEVELS:
                known = set(self._levels[level].paths)
                rest = [p for p in self._paths(level, names, pairs) if p not in known]
                for some in _growing(rest):
                    if self._open(level):
                        self._load(some, level, read)
            nowhere = sorted(self._where.columns - self._resolved.keys(), key=str)
            if nowhere and not more_tables:
                raise self._unknown(nowhere[0])
        self._ready = True

    def keeps(self, path: str, entities: Mapping[str, str]) -> bool:
        """Tell whether a file is selected.

        Parameters
        ----------
        path : str
            The file, relative to the dataset (not to the BIDS root in it).
        entities : mapping of str to str
            Its entities; ``subject`` and ``session`` are used.

        Raises
        ------
        RuntimeError
            The filter is not prepared, or not for this subject and session.
        """
        subject, session = entities.get("subject"), entities.get("session")
        if not self._ready:
            raise RuntimeError("RowFilter.keeps before a successful RowFilter.prepare")
        if subject is None or not path.startswith(self._prefix):
            return False
        if self._candidates is not None and (subject, session) not in self._candidates:
            raise RuntimeError(f"{path!r} is not of the candidates that were prepared")
        key = (subject, session, self._scan(path))
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._where.evaluate(lambda column: self._cell(column, key)) is True
            self._verdicts[key] = verdict
        return verdict

    def may_keep_subject(self, subject: str) -> bool:
        """Tell whether files of a subject can be kept, by what participants.tsv says.

        Columns of other tables count as open, so this also serves for a subject whose
        files are not listed, such as one in a subdataset that is not installed.
        """
        if not self._ready:
            raise RuntimeError("RowFilter.may_keep_subject before RowFilter.prepare")
        return self._may_hold((subject, None), ("participants",))

    def _pairs(
        self,
        names: NameIndex,
        candidates: Iterable[tuple[str | None, str | None]] | None,
    ) -> list[Pair]:
        found: dict[Pair, None] = {}
        if candidates is not None:
            for subject, session in candidates:
                if subject is not None:
                    found[subject, session] = None
        else:
            start = len(self._prefix)
            for path in names.below(self._prefix[:-1]):
                parts = path[start:].split("/", 2)
                if len(parts) > 1 and parts[0].startswith("sub-"):
                    deeper = len(parts) > 2 and parts[1].startswith("ses-")
                    found[parts[0][4:], parts[1][4:] if deeper else None] = None
        return sorted(found, key=lambda pair: (pair[0], pair[1] or ""))

    def _paths(self, level: str, names: NameIndex, pairs: Iterable[Pair]) -> list[str]:
        """Give the tables there are at a level for subjects and sessions."""
        prefix, tables = self._prefix, dict[str, None]()
        if level != "scans":
            tables[f"{prefix}{level}.tsv"] = None
        for subject, session in pairs:
            stem = f"sub-{subject}/sub-{subject}"
            if level == "sessions":
                tables[f"{prefix}{stem}_sessions.tsv"] = None
            elif level == "scans":
                tables[f"{prefix}{stem}_scans.tsv"] = None
                if session is not None:
                    inner = f"sub-{subject}/ses-{session}/sub-{subject}_ses-{session}"
                    tables[f"{prefix}{inner}_scans.tsv"] = None
        return [path for path in tables if path in names]

    def _open(self, level: str) -> bool:
        """Tell whether a column that could be of a level is still looked for."""
        return any(
            column.table in (None, level)
            for column in self._where.columns
            if column not in self._resolved
        )

    def _survivors(self, pairs: list[Pair]) -> list[Pair]:
        if not self._resolved:
            return pairs
        return [pair for pair in pairs if self._may_hold(pair, LEVELS)]

    def _may_hold(self, pair: Pair, levels: Container[str]) -> bool:
        # Scans columns are open, too: there is no file whose row could be looked up
        unread = {
            column
            for column in self._where.columns
            if (level := self._resolved.get(column, "scans")) == "scans" or level not in levels
        }
        return self._where.may_hold(lambda column: self._cell(column, (*pair, None)), unread)

    def _cell(self, column: Column, key: tuple[str, str | None, str | None]) -> str | None:
        subject, session, scan = key
        level = self._resolved[column]
        row: Key | None = scan
        if level == "participants":
            row = subject
        elif level == "sessions":
            row = (subject, session)
        return None if row is None else self._levels[level].cell(row, column.name)

    def _scan(self, path: str) -> str | None:
        """Give the row key of a file: its own path, or that of the recording it is in."""
        scans = self._levels["scans"]
        if not scans.paths or path in scans:
            return path if scans.paths else None
        directory = posixpath.dirname(path)
        while directory:
            name = posixpath.basename(directory)
            # sub-01_task-rest_meg.ds and the like, but never sub-01 or a datatype
            if name.startswith("sub-") and "_" in name and directory in scans:
                return directory
            directory = posixpath.dirname(directory)
        return None

    def _load(self, paths: Sequence[str], level: str, read: Reader) -> None:
        """Read tables of one level and resolve the columns that they have."""
        if not paths:
            return
        content = {path: data for path, data in read(paths) if data is not None}
        absent = [path for path in paths if path not in content]
        if absent:
            raise TableUnavailableError(absent)
        # the nearest to the data first
        for path in sorted(paths, key=lambda p: -p.count("/")):
            table = read_tsv(content[path], path)
            self._levels[level].add(table, self._keyed(table, level))
        for column in self._where.columns - self._resolved.keys():
            if column.table in (None, level) and column.name in self._levels[level].columns:
                self._resolved[column] = level

    def _keyed(self, table: Table, level: str) -> dict[Key, tuple[str, ...]]:
        folder = posixpath.dirname(table.path)
        if level == "participants":
            return table.by_key(["participant_id"], lambda cell: _label(cell, "sub-"))
        if level == "scans":
            return table.by_key(["filename"], lambda cell: _below(folder, cell))
        if table.path == f"{self._prefix}sessions.tsv":
            return table.by_key(
                ["participant_id", "session_id"],
                lambda who, when: (_label(who, "sub-"), _label(when, "ses-")),
            )
        subject = posixpath.basename(folder).removeprefix("sub-")
        return table.by_key(["session_id"], lambda cell: (subject, _label(cell, "ses-")))

    def _unknown(self, column: Column) -> SelectionError:
        """Say that a column is nowhere, where it was looked for, and what there is."""
        levels = LEVELS if column.table is None else (column.table,)
        read = [path for level in levels for path in self._levels[level].paths]
        problem = f"--where: no column {str(column)!r} in "
        problem += _listing(read) if read else "any table of the subjects in question"
        if "participants" in levels and not self._levels["participants"].paths:
            problem += f", and there is no {self._prefix}participants.tsv"
        elif not read:
            problem += f": they have no {column.table}.tsv"
        known: dict[str, None] = {}
        for name, level in self._levels.items():
            known.update(dict.fromkeys(level.columns))
            if column.table not in (None, name) and column.name in level.columns:
                return SelectionError(f"{problem}; did you mean '{name}.{column.name}'?")
        near = near_matches(column.name, known)
        if near:
            problem += f"; did you mean {' or '.join(map(repr, near))}?"
        elif known:
            problem += f"; the columns are {_listing(list(known), 12)}"
        if not near and column.table is None:
            problem += f" (if {column.name} is a value, put it in quotes)"
        return SelectionError(problem)


def _label(cell: str, prefix: str) -> str:
    return cell.removeprefix(prefix)


def _below(folder: str, cell: str) -> str:
    # What leads out of the folder keeps its '..' and so is the path of no file
    return f"{folder}/{posixpath.normpath(cell.lstrip('/'))}"


def _growing(paths: Sequence[str]) -> Iterator[Sequence[str]]:
    start, size = 0, 1
    while start < len(paths):
        yield paths[start : start + size]
        start, size = start + size, size * 8


def _listing(words: Sequence[str], most: int = 3) -> str:
    shown = ", ".join(words[:most])
    return shown if len(words) <= most else f"{shown} and {len(words) - most} more"
