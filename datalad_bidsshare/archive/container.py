"""Unpacking in a container that is registered with datalad-container, by `datalad run` itself.

One zip after the other: `datalad run` looks at the whole work tree and saves what has changed, so
two of them at a time would take each other's outputs (datalad#7899).
"""

from __future__ import annotations

import contextlib
import os
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

from datalad_bidsshare.archive.record import as_pattern
from datalad_bidsshare.dataset.restore import restore
from datalad_bidsshare.selection.errors import SelectionError

__all__ = ["Container", "find_container", "run_in_container"]

_ENVIRONMENT = "DATALAD_CONTAINER_NAME"
"""What `containers-run` tells a call format by."""


@dataclass(frozen=True, slots=True)
class Container:
    """A container, as datalad-container has it registered.

    Attributes
    ----------
    name
        As it is registered.
    image
        Path of the image, relative to the root of the dataset.
    dataset
        Path of the dataset that has the image, relative to it too.
    call_format
        Command line with placeholders; None to call the image itself.
    more_inputs
        What the call format needs besides, with placeholders.
    """

    name: str
    image: str
    dataset: str
    call_format: str | None
    more_inputs: tuple[str, ...]


def find_container(root: Path, name: str) -> tuple[Container, list[dict[str, Any]]]:
    """Find a container that is known in a dataset, or in its subdatasets (`SUBDATASET/NAME`).

    Parameters
    ----------
    root
        Root of the dataset.
    name
        As `datalad containers-list` has it, or the path of the image.

    Returns
    -------
    Container, list of dict
        And records of the subdatasets that were installed to find it.

    Raises
    ------
    SelectionError
        When there is none of this name.
    """
    from datalad.distribution.dataset import Dataset
    from datalad_container.find_container import find_container_

    records = []
    found = None
    try:
        for record in find_container_(Dataset(str(root)), name):
            if record.get("action") == "containers":
                found = record
            else:
                records.append(record)
    except ValueError as e:
        raise SelectionError(
            f"container {name!r}: {e}; see 'datalad containers-list', 'datalad containers-add'"
        ) from e
    if found is None:
        raise SelectionError(f"container {name!r} is not known; see 'datalad containers-list'")
    more = found.get("extra-input") or ()
    container = Container(
        name=found["name"],
        image=os.path.relpath(found["path"], root),
        dataset=os.path.relpath(found.get("parentds", root), root),
        call_format=found.get("cmdexec"),
        more_inputs=(more,) if isinstance(more, str) else tuple(more),
    )
    # Told before anything is done, and not at the first zip
    in_container(container, "true")
    _more_inputs(container)
    return container, records


def run_in_container(
    root: Path,
    container: Container,
    command: str,
    inputs: Sequence[str],
    outputs: Sequence[str],
    message: str,
    extra_info: Mapping[str, Any],
) -> Iterator[dict[str, Any]]:
    """Run a command in a container, and have DataLad record and save what comes of it.

    What is missing of the inputs and of the image is got. It works as `datalad containers-run`,
    but that names with braces, globs or what a shell takes for commands stay names, also when
    the record is run again, and that the record names no path of this machine.

    Parameters
    ----------
    root
        Root of the dataset, without unsaved changes. The command runs there.
    container
        From `find_container`.
    command
        For a shell, quoted with `shlex`. Braces are braces.
    inputs, outputs
        Paths relative to the root; directories end in a slash. Literal.
    message
        For the commit.
    extra_info
        Fields for the record besides.

    Yields
    ------
    dict
        DataLad's records: of what was got ('get'), of the command ('run'), of what was saved
        ('add', 'save'). One that failed is the last: then nothing is saved, and the outputs are
        as they were.

    Raises
    ------
    SelectionError
        When the call format would have a shell take names in the command for something else.
    """
    from datalad.core.local.run import run_command
    from datalad.distribution.dataset import Dataset

    line = in_container(container, command)
    with patch.dict(os.environ, {_ENVIRONMENT: container.name}):
        records = run_command(
            line,
            dataset=Dataset(str(root)),
            inputs=list(map(as_pattern, inputs)),
            extra_inputs=[as_pattern(container.image), *_more_inputs(container)],
            outputs=list(map(as_pattern, outputs)),
            message=message,
            extra_info=dict(extra_info),
        )
        # `datalad run` stops at a failure because it is told to; left alone, this would go on and
        # save what a command has left that failed.
        with contextlib.closing(records):
            for record in records:
                if record["status"] in ("error", "impossible"):
                    records.close()
                    # They may have been unlocked, or removed, to be made anew. Not where it was
                    # refused because of unsaved changes, which may be in them.
                    if record["action"] != "run" or record["status"] == "error":
                        restore(root, [output.rstrip("/") for output in outputs])
                    yield record
                    return
                yield record


def in_container(container: Container, command: str) -> str:
    """Give the command line that runs a command in a container, as `datalad run` wants it.

    Raises
    ------
    SelectionError
        When the call format cannot be used, or not with this command.
    """
    escaped = _escape_braces(command)
    if container.call_format is None:
        # As found from the root of the dataset, wherever that is
        return f"{_escape_braces(shlex.quote(os.path.join('.', container.image)))} {escaped}"
    places = {name: _escape_braces(path) for name, path in _places(container).items()}
    try:
        line = container.call_format.format(
            # The one place where datalad-container itself records a path of this machine.
            python=sys.executable,
            img=_escape_braces(container.image),
            cmd=escaped,
            **places,
        )
    except (KeyError, IndexError, ValueError) as e:
        raise SelectionError(
            f"container {container.name!r} has a call format that is not understood ({e!r}): "
            f"{container.call_format!r}; see 'datalad containers-add'"
        ) from e
    if not _keeps_words(line, escaped):
        raise SelectionError(
            f"the call format of container {container.name!r} puts the command into quotes "
            f"({container.call_format!r}), which would have a shell take special characters of "
            f"file names for commands: write it with {{cmd}} outside of quotes ('... {{img}} "
            "{cmd}'), or rename the files"
        )
    return line


def _keeps_words(line: str, command: str) -> bool:
    """Tell whether a command is still the same words where a call format has put it.

    Within other quotes, its own would end those: a name such as `$(rm x)` would be run.
    """
    words = shlex.split(command)
    if all(shlex.quote(word) == word for word in words):
        return True
    try:
        found = shlex.split(line)
    except ValueError:
        return False
    size = len(words)
    return any(found[at : at + size] == words for at in range(len(found) - size + 1))


def _places(container: Container) -> dict[str, str]:
    return {
        "img_dspath": container.dataset,
        "img_dirpath": os.path.dirname(container.image) or ".",
    }


def _more_inputs(container: Container) -> list[str]:
    try:
        return [text.format(**_places(container)) for text in container.more_inputs]
    except (KeyError, IndexError, ValueError) as e:
        raise SelectionError(
            f"container {container.name!r} has an extra input that is not understood ({e!r}): "
            f"{', '.join(container.more_inputs)}; see 'datalad containers-add'"
        ) from e


def _escape_braces(text: str) -> str:
    """Double braces: `run` and `rerun` put the command through `str.format`."""
    return text.replace("{", "{{").replace("}", "}}")
