"""Run records as `datalad run` writes them, for work that was not done by it."""

from __future__ import annotations

import hashlib
import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from datalad_bidsshare import __version__
from datalad_bidsshare.archive.job import Existing, Job, command_line, to_argv, write_spec
from datalad_bidsshare.archive.safety import Limits
from datalad_bidsshare.selection.names import parents

__all__ = [
    "COMMAND",
    "NAMESPACE",
    "Command",
    "Unpacked",
    "as_pattern",
    "command_for",
    "declared_outputs",
    "is_writable",
    "own_details",
    "record_message",
    "selection_digest",
    "title_for",
    "zip_details",
]

NAMESPACE = "bidsshare"
"""Field of a run record that holds what only this package knows."""

COMMAND = "unzip-outputs"
"""Name of the command in it."""

SPECS = ".datalad/bidsshare/unzip"
"""Where lists of members go that are too long for a command line."""

#: Characters of a command that a person still reads in `git log`.
_LONGEST = 1500
#: Outputs that are named one by one.
_MOST_OUTPUTS = 50
#: What decides which members are meant; to be raised when that changes.
_FORMAT = 1

_MESSAGE = """\
[DATALAD RUNCMD] {}

=== Do not change lines below ===
{}
^^^ Do not change lines above ^^^
"""


@dataclass(frozen=True, slots=True)
class Command:
    """The command of a record.

    Attributes
    ----------
    argv
        Arguments for the program.
    spec
        (path, content) of a file with the list of members, if it needs one; to be tracked.
    """

    argv: tuple[str, ...]
    spec: tuple[str, bytes] | None = None

    @property
    def line(self) -> str:
        """The command for a shell."""
        return command_line(self.argv)

    @property
    def text(self) -> str:
        """The command as it is recorded: `run` and `rerun` put it through `str.format`."""
        return self.line.replace("{", "{{").replace("}", "}}")


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What one zip gave.

    Attributes
    ----------
    zip
        Path of the zip, relative to the dataset.
    key
        git-annex key of the zip, or `git:` and the name of its blob.
    outputs
        Paths that it gave, relative to the dataset.
    bytesize
        Bytes of them.
    """

    zip: str
    key: str
    outputs: tuple[str, ...]
    bytesize: int


def command_for(jobs: Sequence[Job], limits: Limits, *, existing: Existing = "replace") -> Command:
    """Give the command that does some jobs: in words if it is short, else by a spec file.

    Parameters
    ----------
    jobs
        What the zips are to give.
    limits
        Of what is unpacked.
    existing
        What becomes of outputs that are there when the command is run.
    """
    if len(jobs) == 1:
        argv = to_argv(jobs[0], limits, existing=existing)
        if len(command_line(argv)) <= _LONGEST:
            return Command(tuple(argv))
    content = write_spec(jobs, limits)
    name = hashlib.sha256(content).hexdigest()[:16]
    if len(jobs) == 1:
        stem = re.sub(r"[^A-Za-z0-9_.-]", "-", posixpath.basename(jobs[0].zip))
        name = f"{stem.removesuffix('.zip').lstrip('.-')}-{name}"
    path = f"{SPECS}/{name}.json"
    return Command(("--existing", existing, "--spec", path), (path, content))


def record_message(
    message: str,
    command: Command,
    unpacked: Sequence[Unpacked],
    *,
    dataset_id: str | None,
    details: Mapping[str, Any],
) -> str:
    """Give the message of a commit that `datalad rerun` can do again.

    Parameters
    ----------
    message
        For people; its first line becomes the subject.
    command
        What does it again, in the root of the dataset.
    unpacked
        What it takes and gives.
    dataset_id
        Of the dataset, if it has one.
    details
        Goes into the field `NAMESPACE`.
    """
    inputs = [as_pattern(each.zip) for each in unpacked]
    if command.spec is not None:
        inputs.append(as_pattern(command.spec[0]))
    record: dict[str, Any] = {
        "chain": [],
        "cmd": command.text,
        "exit": 0,
        "extra_inputs": [],
        "inputs": inputs,
        "outputs": [
            as_pattern(path) for path in declared_outputs([p for u in unpacked for p in u.outputs])
        ],
        "pwd": ".",
        NAMESPACE: own_details(details),
    }
    if dataset_id:
        record["dsid"] = dataset_id
    text = json.dumps(record, indent=1, sort_keys=True, ensure_ascii=False)
    return _MESSAGE.format(message, text)


def own_details(details: Mapping[str, Any]) -> dict[str, Any]:
    """Give what goes into the field `NAMESPACE`."""
    return {"command": COMMAND, "version": __version__, **details}


def title_for(zip_path: str, files: int) -> str:
    """Give the message of a commit where the user has none."""
    name = posixpath.basename(zip_path)
    shown = name if name.isprintable() else ascii(name)
    return f"Unzip {shown}: {files} file{'s' * (files != 1)}"


def zip_details(unpacked: Unpacked) -> dict[str, Any]:
    """Give what is put down about one zip, for people and for the next call."""
    return {
        "zip": unpacked.zip,
        "key": unpacked.key,
        "members": len(unpacked.outputs),
        "bytes": unpacked.bytesize,
    }


def declared_outputs(paths: Iterable[str]) -> list[str]:
    """Give the outputs as a record declares them.

    Files; of many, the directories that they are in, as deep as a readable list allows. Before a
    rerun, all is unlocked (copied) that is in what is declared. So files that have other outputs
    in directories beside them are declared by name, as those at the root of the dataset: what is
    above a subject's directory may have those of all subjects.
    """
    files = sorted(set(paths))
    if len(files) <= _MOST_OUTPUTS:
        return files
    deepest = max(path.count("/") for path in files)
    for depth in range(deepest, 0, -1):
        places = {path: _above(path, depth) for path in files}
        above = {f"{each}/" for place in places.values() for each in parents(place.rstrip("/"))}
        found = {path if place in above else place for path, place in places.items()}
        if len(found) <= _MOST_OUTPUTS:
            return sorted(found)
    return sorted({_above(path, 1) for path in files})


def _above(path: str, depth: int) -> str:
    """Give the directory of a file that is at most so deep; a file at the root stays itself."""
    directories = path.split("/")[:-1][:depth]
    return "/".join(directories) + "/" if directories else path


def as_pattern(path: str) -> str:
    """Write a path so that DataLad takes it for that path, also in a rerun of a rerun.

    Inputs and outputs of a record are formatted with `str.format`, then taken for globs, and what
    came of the former is recorded by a rerun. So braces cannot be doubled; a `?` stands for each.
    """
    text = re.sub(r"([*?\[])", r"[\1]", path)
    text = re.sub(r"[{}]", "?", text)
    # It would be the current directory, or lose its ends.
    return f"./{text}" if text.strip() in (".", "") or text.startswith("-") else text


def selection_digest(wishes: Mapping[str, Any]) -> str:
    """Give what is the same for calls that want the same of a zip."""
    text = json.dumps([_FORMAT, wishes], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def is_writable(path: str) -> bool:
    """Tell whether a path can stand in a record, which is UTF-8 text."""
    try:
        path.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
