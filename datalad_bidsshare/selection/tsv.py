"""BIDS tabular files (BIDS, "Tabular files"), read with the faults they have in the wild."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from datalad_bidsshare.selection.conditions import is_missing
from datalad_bidsshare.selection.errors import SelectionError, near_matches

__all__ = ["Key", "Pair", "Table", "read_tsv"]

Pair = tuple[str, "str | None"]
"""The labels of a subject and of a session, if any."""

Key = str | Pair
"""What a row is found by."""


@dataclass(frozen=True, slots=True)
class Table:
    """A tabular file: cells are text without surrounding blanks, '' beyond a short row."""

    path: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...] = field(repr=False)

    def by_key(self, columns: Sequence[str], key: Callable[..., Key]) -> dict[Key, tuple[str, ...]]:
        """Index the rows.

        Parameters
        ----------
        columns : sequence of str
            The columns whose cells make up the key. A row that lacks one is left out.
        key : callable
            Makes the key of these cells.

        Raises
        ------
        SelectionError
            A key column is absent, or a key has two rows that differ.
        """
        for name in columns:
            if name not in self.columns:
                near = near_matches(name, self.columns, 1)
                raise SelectionError(
                    f"{self.path} has no column {name!r}"
                    + (f" but {near[0]!r}: rename it" if near else ", which --where needs")
                )
        wanted = [self.columns.index(name) for name in columns]
        values = [i for i in range(len(self.columns)) if i not in wanted]
        index: dict[Key, tuple[str, ...]] = {}
        for row in self.rows:
            cells = [row[i] for i in wanted]
            if any(map(is_missing, cells)):
                continue
            known = index.setdefault(key(*cells), row)
            if known is not row and any(known[i] != row[i] for i in values):
                raise SelectionError(
                    f"{self.path} has rows that differ for the same {' and '.join(columns)}"
                    f" {', '.join(map(repr, cells))}: keep one of them"
                )
        return index


def read_tsv(data: bytes, path: str) -> Table:
    """Read a BIDS tabular file (BIDS, "Tabular files").

    More is accepted than BIDS allows: a byte order mark, any line ends, blank lines,
    blanks around cells, rows shorter than the header, columns without a name (they
    are left out). A cell in double quotes may hold tabs and line ends; a stray double
    quote is a character like others.

    Parameters
    ----------
    data : bytes
        The content.
    path : str
        The name of the file, for messages.

    Raises
    ------
    SelectionError
        The content is not UTF-8 or empty, two columns have the same name, or a row has
        more cells than there are columns, so that its values cannot be told apart.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SelectionError(
            f"{path} is not UTF-8 text (byte {error.start + 1}), which BIDS requires: convert it"
        ) from error
    lines = _lines(text.replace("\r\n", "\n").replace("\r", "\n"))
    header = [name.strip() for name in next(lines, (0, []))[1]]
    width = len(header)
    named = [i for i, name in enumerate(header) if name]
    if not named:
        raise SelectionError(f"{path} is empty: a table starts with the names of its columns")
    columns = tuple(header[i] for i in named)
    if len(set(columns)) < len(columns):
        double = next(name for i, name in enumerate(columns) if name in columns[:i])
        raise SelectionError(f"{path} has two columns {double!r}: rename one of them")
    rows = []
    for number, line in lines:
        cells = [cell.strip() for cell in line]
        if len(cells) < width:
            cells += [""] * (width - len(cells))
        elif any(cells[width:]):
            raise SelectionError(
                f"{path}, line {number}: {len(cells)} cells below {width} columns;"
                " cells are separated by one tab"
            )
        rows.append(tuple(cells[i] for i in named))
    return Table(path, columns, tuple(rows))


def _lines(text: str) -> Iterator[tuple[int, list[str]]]:
    """Give number and cells of the lines that are not blank."""
    for number, cells in _quoted(text) if '"' in text else _plain(text):
        if any(cell and not cell.isspace() for cell in cells):
            yield number, cells


def _plain(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        yield number, line.split("\t")


def _quoted(text: str) -> Iterable[tuple[int, list[str]]]:
    # Quotes that do not pair up across the file are resolved line by line, and
    # within a line where they do not pair up they are plain characters.
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t", strict=True)
        return [(reader.line_num, cells) for cells in reader]
    except csv.Error:
        return _quoted_lines(text)


def _quoted_lines(text: str) -> Iterator[tuple[int, list[str]]]:
    for number, line in enumerate(text.split("\n"), 1):
        try:
            yield number, next(csv.reader([line], delimiter="\t", strict=True), [])
        except csv.Error:
            yield number, line.split("\t")
