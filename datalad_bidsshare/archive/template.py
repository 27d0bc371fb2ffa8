"""Where the members of a zip go, as a template that the zip's name fills in."""

from __future__ import annotations

from collections.abc import Iterator
from string import Formatter

from datalad_bidsshare.disk.names import is_internal
from datalad_bidsshare.selection.entities import parser
from datalad_bidsshare.selection.errors import SelectionError, near_matches
from datalad_bidsshare.selection.vocabulary import vocabulary

__all__ = ["PLACEHOLDERS", "check_template", "expand", "zip_values"]

PLACEHOLDERS = ("subject", "session", "pipeline", "stem")
"""What a template may ask of a zip's name."""


def zip_values(path: str) -> dict[str, str]:
    """Tell what the name of a zip says.

    Parameters
    ----------
    path
        POSIX, relative to the dataset.

    Returns
    -------
    dict
        Those of `PLACEHOLDERS` that have a value:

        stem
            The name without `.zip`.
        subject, session
            Labels, of the name or else of the directories above it.
        pipeline
            What follows the entities in the name: `fmriprep-20.2.3` of
            `sub-01_ses-1_fmriprep-20.2.3.zip`. Where neither the name nor a directory has an
            entity, nothing tells that the name is a pipeline's.
    """
    directory, _, name = path.rpartition("/")
    stem = name[:-4] if name[-4:].lower() == ".zip" else name
    # Read as a directory, in which a dot (of a version) ends nothing.
    own, above = parser().directory(stem), parser().directory(directory)
    values = {}
    for entity in ("subject", "session"):
        label = own.get(entity) or above.get(entity)
        if label:
            values[entity] = label
    rest = _behind_entities(stem)
    if rest and (rest != stem or values):
        values["pipeline"] = rest
    if stem:
        values["stem"] = stem
    return values


def _behind_entities(stem: str) -> str:
    """Give what is left of a name without the entities that it begins with."""
    keys = {entity.key for entity in vocabulary().entities.values() if entity.key}
    tokens = stem.split("_")
    while tokens and "-" in tokens[0] and tokens[0].partition("-")[0] in keys:
        del tokens[0]
    # Wherever they stand: a pipeline does not change its name from one session to the next.
    return "_".join(t for t in tokens if not t.startswith(("sub-", "ses-")))


def check_template(template: str) -> None:
    """Check what can be said of a template before there is a zip.

    Parameters
    ----------
    template
        A directory, relative to the dataset, with placeholders such as `{subject}`; braces that
        are meant are doubled.

    Raises
    ------
    SelectionError
        For unknown placeholders, single braces, and what leads out of the dataset or to what
        belongs to git or DataLad.
    """
    _check_directory(
        template, "".join(text + "x" * bool(field) for text, field in _parts(template))
    )


def expand(template: str, path: str) -> str:
    """Give the directory for the members of one zip.

    Parameters
    ----------
    template
        See `check_template`.
    path
        The zip: POSIX, relative to the dataset.

    Returns
    -------
    str
        Relative to the dataset, without `.` and empty components; `''` for its root.

    Raises
    ------
    SelectionError
        As `check_template`; if a placeholder has no value; if the name of the zip makes a
        directory of it that is not to be written to.
    """
    values = zip_values(path)
    text = ""
    for literal, field in _parts(template):
        text += literal
        if field:
            if field not in values:
                raise SelectionError(
                    f"{path!r} has no {field} in its name, and the template {template!r} needs "
                    f"one: leave {{{field}}} out, or give only zips that have one"
                )
            text += values[field]
    return _check_directory(template, text)


def _parts(template: str) -> Iterator[tuple[str, str]]:
    """Give pieces of text, each with the placeholder behind it or `''`."""
    known = ", ".join(f"{{{name}}}" for name in PLACEHOLDERS)
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise SelectionError(
            f"the template {template!r} cannot be read ({error}): there are {known}; a brace that "
            "is meant is written twice"
        ) from None
    for literal, field, spec, conversion in parts:
        if field is None:
            yield literal, ""
            continue
        if field not in PLACEHOLDERS or spec or conversion:
            written = field + f"!{conversion}" * bool(conversion) + f":{spec}" * bool(spec)
            near = near_matches(field, PLACEHOLDERS, 1)
            raise SelectionError(
                f"the template {template!r} has the unknown placeholder {{{written}}}; "
                + (f"near: {{{near[0]}}}; " if near else "")
                + f"there are {known}"
            )
        yield literal, field


def _check_directory(template: str, text: str) -> str:
    """Give a directory in its shortest form, or say why it is none to write to."""
    shown = f"{template!r}" + (f" ({text!r})" if text != template else "")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    directory = "/".join(parts)
    if text.startswith("/") or text[1:2] == ":" or "\\" in text or ".." in parts or "\0" in text:
        raise SelectionError(
            f"the directory {shown} is not one of the dataset: give a path relative to its root, "
            "without '..' and backslashes"
        )
    if directory and is_internal(directory):
        raise SelectionError(
            f"the directory {shown} belongs to git or DataLad, and nothing is unpacked there: "
            "give another"
        )
    return directory
