"""The selection parameters that all commands share, and their validation.

The one module of this room that imports DataLad (for `Parameter`). It is on
the start-up path of every command: nothing else is imported here until a
command runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalad.support.constraints import EnsureChoice
from datalad.support.param import Parameter

if TYPE_CHECKING:
    from datalad_bidsshare.selection.conditions import Where
    from datalad_bidsshare.selection.filters import Selection

__all__ = ["SELECTION_PARAMETERS", "read_selection"]

Values = str | int | Sequence[str | int] | None

_HOW = """[CMD: Give a comma list, or repeat the option, to allow several. CMD][PY: A value or
    a list of them. PY]"""


def _entity(*args: str, doc: str, metavar: str = "LABEL") -> Parameter:
    return Parameter(
        args=args,
        metavar=metavar,
        action="append",
        doc=doc,
    )


#: By Python name. A command takes those it offers into its ``_params_``.
SELECTION_PARAMETERS: Mapping[str, Parameter] = {
    "subject": _entity(
        "--subject",
        "--sub",
        doc=f"""select files of these subjects, with or without 'sub-'. {_HOW} Shell globs
        ('0*'), '*' (any), the empty string (must be absent) and 're:PATTERN' (regular
        expression for the whole label) work for this and all other entities.""",
    ),
    "session": _entity(
        "--session", "--ses", doc="select files of these sessions, with or without 'ses-'."
    ),
    "datatype": _entity(
        "--datatype", metavar="NAME", doc="select files of these datatypes, such as 'func'."
    ),
    "task": _entity("--task", doc="select files of these tasks."),
    "run": _entity("--run", metavar="NUMBER", doc="select these runs; '1' also finds 'run-01'."),
    "suffix": _entity(
        "--suffix", metavar="SUFFIX", doc="select files with these suffixes, such as 'bold'."
    ),
    "extension": _entity(
        "--extension",
        "--ext",
        metavar="EXT",
        doc="""select files with these extensions, with or without the leading dot; all of it
        counts: 'gz' does not find '.nii.gz'.""",
    ),
    "space": _entity("--space", doc="select derivatives in these spaces."),
    "desc": _entity("--desc", doc="select derivatives with these descriptions."),
    "entities": Parameter(
        args=("-e", "--entity"),
        dest="entities",
        metavar="KEY=VALUE",
        action="append",
        doc="""select by any BIDS entity, under its pybids name, its BIDS schema name or its
        short key: [CMD: '-e acq=highres', '-e echo=1,2', '-e rec=' (must be absent).
        CMD][PY: ``{'acq': 'highres', 'echo': [1, 2], 'rec': None}``, where None means that
        the entity must be absent. PY]""",
    ),
    "where": Parameter(
        args=("--where",),
        metavar="EXPR",
        doc="""select by rows of participants.tsv, sessions.tsv and scans.tsv, for example
        "age >= 18 and sex == 'F'". Compares with == != < <= > >= and in; combines with and,
        or, not and parentheses. A missing value (n/a) compares with nothing.""",
    ),
    "filter_file": Parameter(
        args=("--filter-file",),
        metavar="FILE",
        doc="""JSON file as for the --bids-filter-file option of fMRIPrep and other NiPreps. A
        file is selected when any of the queries in it matches; other options narrow them
        all.""",
    ),
    "filter_query": Parameter(
        args=("--filter-query",),
        metavar="NAME",
        action="append",
        doc="""use only this query of the filter file. [CMD: Can be given multiple times.
        CMD]""",
    ),
    "exclude": Parameter(
        args=("--exclude",),
        metavar="KEY=VALUE|GLOB",
        action="append",
        doc="""take away what matches, companions too: an entity ('suffix=sbref') or a path glob
        as in gitignore ('sub-01/', '*.json'). [CMD: Can be given multiple times. CMD]""",
    ),
    "companions": Parameter(
        args=("--companions",),
        constraints=EnsureChoice("none", "default", "linked"),
        doc="""what rides along with the selected files. 'default': all that is needed to use
        them, as far as names tell (sidecars by the inheritance principle, events, gradients,
        channels, coordinates, parts of a recording, scans and sessions tables, and the files
        that describe the dataset). 'linked' adds what JSON content points to (IntendedFor,
        B0FieldSource, ...). 'none' is the bare match.""",
    ),
}


def read_selection(
    *,
    entities: Mapping[str, object] | Iterable[str] | None = None,
    where: str | None = None,
    filter_file: str | PathLike[str] | None = None,
    filter_query: str | Iterable[str] | None = None,
    exclude: str | Iterable[str] | None = None,
    **options: Any,
) -> tuple[Selection, Where | None]:
    """Read what the shared parameters say.

    Parameters
    ----------
    entities, where, filter_file, filter_query, exclude
        As on the command line or in Python.
    **options
        The entities with an option of their own; None was not given.

    Returns
    -------
    tuple of (Selection, Where or None)

    Raises
    ------
    SelectionError
        If anything in it cannot be understood, for whatever reason.
    """
    from datalad_bidsshare.selection.errors import SelectionError
    from datalad_bidsshare.selection.filters import Query
    from datalad_bidsshare.selection.grammar import build_selection, read_texts

    if filter_query is not None and filter_file is None:
        raise SelectionError("a filter query is a query of a filter file: give the file too")
    names = None if filter_query is None else read_texts("filter_query", filter_query, "bold")
    if filter_file is not None and not isinstance(filter_file, (str, PathLike)):
        raise SelectionError(
            f"filter_file takes a path, nothing of type {type(filter_file).__name__!r}"
        )
    if where is not None and not isinstance(where, str):
        raise SelectionError(
            f"where takes a text such as 'age >= 18', nothing of type {type(where).__name__!r}"
        )
    # Most calls have neither a file nor a condition, and need not wait for what reads them.
    queries: tuple[Query, ...] = ()
    if filter_file is not None:
        from datalad_bidsshare.selection.filter_files import load_filter_file

        queries = load_filter_file(Path(filter_file), names)
    selection = build_selection(options, entities=entities, exclude=exclude, queries=queries)
    if where is None:
        return selection, None
    from datalad_bidsshare.selection.where import parse_where

    return selection, parse_where(where)
