"""What the tests of `export-plain` share: calling it, and looking at what it wrote."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

from tests.dataset.builders import git
from tests.superdatasets import Record

__all__ = [
    "Record",
    "content_of",
    "export",
    "failures",
    "far_away",
    "outcomes",
    "source_state",
    "state_of",
    "summary",
]

_DEFAULTS: dict[str, Any] = {
    "on_failure": "ignore",
    "return_type": "list",
    "result_renderer": "disabled",
}


def export(dest: Path | str, path: Any = None, **arguments: Any) -> list[Record]:
    """Call the command and give all its records, whatever their status."""
    import datalad.api as dl

    records: list[Record] = dl.export_plain(dest, path, **{**_DEFAULTS, **arguments})
    return records


def outcomes(records: list[Record]) -> dict[str, str]:
    """Give the status of each selected file; there must be one record of each."""
    files = [r for r in records if "entities" in r]
    found: dict[str, str] = {r["relpath"]: r["status"] for r in files}
    assert len(found) == len(files), "a file has two records"
    return found


def summary(records: list[Record]) -> Record:
    """Give the one record of the destination, which comes last."""
    assert [r for r in records if "files" in r] == records[-1:]
    return records[-1]


def failures(records: list[Record]) -> dict[str, str]:
    """Give the messages of all that went wrong."""
    return {
        r.get("relpath", r["path"]): r["message"]
        for r in records
        if r["status"] in ("error", "impossible")
    }


def content_of(dest: Path, *, all_of_it: bool = False) -> dict[str, bytes]:
    """Give the content of all files, which must be plain, but for our own in `.bidsshare`."""
    found = {}
    for directory, directories, files in os.walk(dest):
        for name in [*directories, *files]:
            path = os.path.join(directory, name)
            mode = os.lstat(path).st_mode
            assert stat.S_ISDIR(mode) or stat.S_ISREG(mode), f"{path} is neither file nor directory"
        if not all_of_it and directory == str(dest) and ".bidsshare" in directories:
            directories.remove(".bidsshare")
        for name in files:
            path = os.path.join(directory, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, dest).replace(os.sep, "/")] = file.read()
    return found


def state_of(root: Path) -> dict[str, tuple[int, int, int, str]]:
    """Take down all that is on disk, with what tells of a change."""
    state = {}
    for directory, directories, files in os.walk(root):
        for name in [".", *directories, *files]:
            path = os.path.join(directory, name)
            info = os.lstat(path)
            target = os.readlink(path) if os.path.islink(path) else ""
            state[os.path.normpath(path)] = (info.st_mtime_ns, info.st_size, info.st_mode, target)
    return state


def source_state(root: Path) -> dict[str, tuple[int, int, int, str]]:
    """Take down a dataset, but for our own log in its git directory."""
    own = str(root / ".git/bidsshare")
    return {
        path: told
        for path, told in state_of(root).items()
        if not path.startswith(own) and path != str(root / ".git")
    }


def far_away(root: Path, store: Path, watched: Path) -> Path:
    """Move the objects of a dataset to where they can be fetched from, but not read in place.

    Parameters
    ----------
    root
        The dataset.
    store
        Directory to make for them.
    watched
        Directory, of which the paths of files are listed at each transfer.

    Returns
    -------
    Path
        Log: a line a transfer, the key and how many bytes of files `watched` had before it.
    """
    store.mkdir(parents=True)
    log = store.parent / "transfers"
    log.touch()
    size = f"$(find '{watched}' -path '*/.bidsshare' -prune -o -type f -printf '%s\\n' 2>/dev/null"
    size += " | awk '{s+=$1} END {print s+0}')"
    hooks = {
        "store": f'cp "$ANNEX_FILE" \'{store}\'/"$ANNEX_KEY"',
        "retrieve": f"echo \"$ANNEX_KEY {size}\" >> '{log}'"
        f' && cp \'{store}\'/"$ANNEX_KEY" "$ANNEX_FILE"',
        "remove": f"rm -f '{store}'/\"$ANNEX_KEY\"",
        "checkpresent": f'test -e \'{store}\'/"$ANNEX_KEY" && echo "$ANNEX_KEY" || true',
    }
    for hook, command in hooks.items():
        git(root, "config", f"annex.far-{hook}-hook", command)
    git(root, "annex", "initremote", "-q", "far", "type=hook", "hooktype=far", "encryption=none")
    git(root, "annex", "move", "-q", "--all", "--to", "far")
    return log
