"""The rows of BIDS tables that speak of what is exported.

Names and keys of the tables are those of the BIDS schema (``rules.files.common.tables`` and
``rules.tabular_data``; a test compares), and what datasets in the wild have besides:

=================================================  ==========================================
table, below the root of its BIDS dataset          a row stays when
=================================================  ==========================================
participants.tsv, samples.tsv, phenotype/**.tsv    its participant_id is exported
sessions.tsv                                       its participant_id and session_id are
sub-X/sub-X_sessions.tsv, sub-X/sessions.tsv       its session_id is
sub-X/[ses-Y/]*_scans.tsv                          its filename is, or part of this recording
=================================================  ==========================================

A table that nothing is exported for was asked for by its own name, and stays whole:
one about subjects when there is no subject, one of a subject or session when there is
nothing but such tables in its directory.

Bytes in, bytes out: nothing here opens a file.
"""

from __future__ import annotations

import csv
import hashlib
import posixpath
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Literal

from datalad_bidsshare.selection.errors import near_matches
from datalad_bidsshare.selection.names import Names

__all__ = ["Exported", "Kind", "TableError", "is_table", "recipe", "reduce_table"]

Kind = Literal["participants", "samples", "phenotype", "sessions", "scans"]
"""What a table is about."""

# Part of every recipe: to be raised when the same recipe would give other rows than before.
_RULES = "1"

_OF_SUBJECT = re.compile(r"sub-[^/]+/(?:ses-[^/]+/)?(?:[^/]*_)?(sessions|scans)\.tsv", re.S)
# Also what describes the columns: exported by itself it is no data of the subject either.
_TABLE_ENDINGS = tuple(f"{stem}.{ext}" for stem in ("sessions", "scans") for ext in ("tsv", "json"))

# A directory of a subject and, in it, of a session, wherever it is: sourcedata/sub-X, too.
_IN_DIRECTORY = re.compile(r"(?:^|/)sub-([^/]+)/(?:ses-([^/]+)/)?", re.S)
# A name that starts with a subject, as reports do that lie beside the directories.
_IN_NAME = re.compile(r"(?:^|/)sub-([^/_.]+)[^/]*$", re.S)
_SESSION_IN_NAME = re.compile(r"_ses-([^/_.]+)[^/]*$", re.S)

_BOM = b"\xef\xbb\xbf"


class TableError(ValueError):
    """A table whose rows cannot be told apart.

    The text is one sentence for the user: what is wrong, and what to do next.
    """


class Exported:
    """What is exported from one BIDS dataset.

    Parameters
    ----------
    paths : iterable of str
        The exported files, relative to the root of the BIDS dataset, each once. Those of
        BIDS datasets inside of it (``derivatives/...``) may be among them: their subjects
        count, so that tables which ride along with them do not speak of others.
    """

    def __init__(self, paths: Iterable[str]) -> None:
        self._names = Names(paths)
        self._of_subject: dict[str, str] = {}
        self._data_below: dict[str, bool] = {}

    @property
    def subjects(self) -> frozenset[str]:
        """The labels of the subjects there is any file of, without ``sub-``."""
        return self._labels[0]

    @property
    def sessions(self) -> Mapping[str, frozenset[str]]:
        """The labels of the sessions there is any file of, without ``ses-``, by subject."""
        return self._labels[1]

    @cached_property
    def _labels(self) -> tuple[frozenset[str], Mapping[str, frozenset[str]]]:
        found: dict[str, set[str]] = {}
        settled, in_session = "/", False
        for path in self._names:
            # Sorted: mostly what follows lies beside, and says nothing new.
            if path.startswith(settled) and (in_session or "ses-" not in path):
                continue
            match = _IN_DIRECTORY.search(path)
            if match is not None:
                subject, session = match.groups()
                settled, in_session = path[: match.end()], session is not None
            elif (match := _IN_NAME.search(path)) is not None:
                subject, session = match[1], None
            else:
                continue
            sessions = found.setdefault(subject, set())
            if session is None and (match := _SESSION_IN_NAME.search(path)) is not None:
                session = match[1]
            if session is not None:
                sessions.add(session)
        return frozenset(found), {s: frozenset(labels) for s, labels in found.items() if labels}

    def holds(self, path: str) -> bool:
        """Tell whether a file is exported, or anything of a recording that is a directory."""
        if path in self._names:
            return True
        # Never 'sub-01' or 'sub-01/anat': sub-01_task-rest_meg.ds and the like.
        name = posixpath.basename(path)
        return name.startswith("sub-") and "_" in name and bool(self._names.below(path))

    def has_data(self, directory: str) -> bool:
        """Tell whether more than tables is exported from a subject's or session's directory."""
        known = self._data_below.get(directory)
        if known is None:
            below = self._names.below(directory)
            known = any(not path.endswith(_TABLE_ENDINGS) for path in below)
            self._data_below[directory] = known
        return known

    def digest_below(self, directory: str) -> str:
        """Give the SHA-256 of the names below a directory."""
        known = self._of_subject.get(directory)
        if known is None:
            known = self._of_subject[directory] = _digest(self._names.below(directory))
        return known

    @cached_property
    def digest_of_subjects(self) -> str:
        """The SHA-256 of the labels of the subjects."""
        return _digest(sorted(self.subjects))

    @cached_property
    def digest_of_sessions(self) -> str:
        """The SHA-256 of the labels of all sessions and their subjects."""
        return _digest(
            f"{subject}/{session}"
            for subject in sorted(self.sessions)
            for session in sorted(self.sessions[subject])
        )


def is_table(path: str) -> Kind | None:
    """Tell whether a file is a table with rows for subjects, sessions or files.

    Parameters
    ----------
    path : str
        Relative to the root of its BIDS dataset.
    """
    if not path.endswith(".tsv"):
        return None
    if path == "participants.tsv":
        return "participants"
    if path == "samples.tsv":
        return "samples"
    if path == "sessions.tsv":
        return "sessions"
    if path.startswith("phenotype/"):
        return "phenotype"
    match = _OF_SUBJECT.fullmatch(path)
    if match is None:
        return None
    return "scans" if match[1] == "scans" else "sessions"


def recipe(kind: Kind, path: str, exported: Exported) -> str:
    """Give a name for the rows that stay: with the same one, the same content stays the same.

    Parameters
    ----------
    kind, path
        See `is_table`.
    exported : Exported
        What is exported of the same BIDS dataset.

    Returns
    -------
    str
        SHA-256 in hex digits. It tells nothing of the labels but by comparison.
    """
    if _stays_whole(path, exported):
        return _digest([_RULES, "whole"])
    if kind == "scans":
        decides = exported.digest_below(_subject_directory(path))
    elif kind != "sessions":
        decides = exported.digest_of_subjects
    elif "/" in path:
        decides = _digest(sorted(exported.sessions.get(_subject(path), ())))
    else:
        decides = exported.digest_of_sessions
    return _digest([_RULES, kind, decides])


def reduce_table(kind: Kind, path: str, content: bytes, exported: Exported) -> bytes:
    """Keep the header of a table, and the rows of what is exported.

    What stays, stays as it is, byte by byte: byte order mark, line ends, quotes. Cells are
    read as for ``--where`` (``selection/tsv.py``), except that a row over several lines is
    one only where none of these lines could be a row by itself: a stray double quote must
    not carry the row of somebody else along.

    Parameters
    ----------
    kind, path
        See `is_table`.
    content : bytes
        The table.
    exported : Exported
        What is exported of the same BIDS dataset.

    Returns
    -------
    bytes
        `content` itself when all rows stay.

    Raises
    ------
    TableError
        The column that tells whose a row is is absent, or there twice.
    """
    if _stays_whole(path, exported):
        return content
    rows = _rows(content.removeprefix(_BOM))
    for raw, header in rows:
        kept = [_BOM, raw] if content.startswith(_BOM) else [raw]
        if not _is_blank(header):
            break
    else:
        return content
    keeps = _predicate(kind, path, [name.strip() for name in header], exported)
    dropped = False
    for raw, cells in rows:
        if _is_blank(cells):
            continue
        if keeps(cells):
            kept.append(raw)
        else:
            dropped = True
    if not dropped:
        return content
    return b"".join(kept)


def _stays_whole(path: str, exported: Exported) -> bool:
    if path.startswith("sub-"):
        return not exported.has_data(posixpath.dirname(path))
    return not exported.subjects


def _predicate(
    kind: Kind, path: str, header: Sequence[str], exported: Exported
) -> Callable[[Sequence[str]], bool]:
    """Make what tells from the cells of a row whether it stays."""

    def label(column: str, prefix: str) -> Callable[[Sequence[str]], str]:
        at = _position(path, header, column)
        return lambda cells: _cell(cells, at).removeprefix(prefix)

    if kind == "scans":
        at = _position(path, header, "filename")
        subject_directory = _subject_directory(path)
        # BIDS' text means the first, the format 'participant_relative' of its schema the
        # second, and datasets have all three. What is found is exported in any case.
        bases = dict.fromkeys((posixpath.dirname(path), subject_directory, ""))

        def names_exported(cells: Sequence[str]) -> bool:
            name = _cell(cells, at).lstrip("/")
            for base in bases:
                file = posixpath.normpath(posixpath.join(base, name))
                if file.startswith(f"{subject_directory}/") and exported.holds(file):
                    return True
            return False

        return names_exported
    if kind == "sessions":
        session = label("session_id", "ses-")
        if "/" in path:
            here = exported.sessions.get(_subject(path), frozenset())
            return lambda cells: session(cells) in here
        subject = label("participant_id", "sub-")
        sessions = exported.sessions
        return lambda cells: session(cells) in sessions.get(subject(cells), ())
    subject, subjects = label("participant_id", "sub-"), exported.subjects
    return lambda cells: subject(cells) in subjects


def _position(path: str, header: Sequence[str], column: str) -> int:
    found = [i for i, name in enumerate(header) if name == column]
    if len(found) == 1:
        return found[0]
    if found:
        problem = f"{path} has {len(found)} columns {column!r}"
    else:
        near = near_matches(column, filter(None, header), 1)
        problem = f"{path} has no column {column!r}" + (f" but {near[0]!r}" if near else "")
    raise TableError(
        f"{problem}, so the rows of what is exported cannot be told from others: correct it,"
        " give all tables whole with '--tables all', or leave it out with '--exclude'"
    )


def _cell(cells: Sequence[str], at: int) -> str:
    if at >= len(cells):
        return ""
    return cells[at].encode("latin-1").decode("utf-8", "surrogateescape").strip()


def _subject_directory(path: str) -> str:
    return path.partition("/")[0]


def _subject(path: str) -> str:
    return _subject_directory(path).removeprefix("sub-")


def _is_blank(cells: Sequence[str]) -> bool:
    return not any(cell and not cell.isspace() for cell in cells)


def _rows(content: bytes) -> Iterator[tuple[bytes, list[str]]]:
    """Give the bytes and the cells of each row, the header first.

    Cells are decoded as Latin-1: any bytes survive, and those that separate are the same.
    """
    lines = content.splitlines(keepends=True)
    at = width = 0
    while at < len(lines):
        raw = lines[at]
        cells = raw.decode("latin-1").rstrip("\r\n").split("\t")
        if b'"' in raw:
            raw, cells = _quoted(lines, at, width) or (raw, cells)
        if not (width or _is_blank(cells)):
            width = len(cells)
        yield raw, cells
        # A line end only ends a line: what has several lines has several ends
        at += 1 if raw is lines[at] else len(raw.splitlines())


def _quoted(lines: Sequence[bytes], at: int, width: int) -> tuple[bytes, list[str]] | None:
    """Read a row in which cells are in double quotes, and so may go on in the next line.

    Returns
    -------
    tuple of bytes and list of str, or None
        The row, of one line or more. None where double quotes are characters like others.
    """
    text = (lines[i].decode("latin-1") for i in range(at, len(lines)))
    reader = csv.reader(text, delimiter="\t", strict=True)
    try:
        cells = next(reader)
    except csv.Error:
        return None
    if reader.line_num > 1:
        width = width or len(cells)
        more = lines[at + 1 : at + reader.line_num]
        if len(cells) != width or any(line.count(b"\t") + 1 >= width for line in more):
            return None
    return b"".join(lines[at : at + reader.line_num]), cells


def _digest(words: Iterable[str]) -> str:
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()
