"""What the tests of `--source` share: places for managed clones, and sources that are far away."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from tests.dataset.builders import git
from tests.process_log import ProcessLog
from tests.superdatasets import make_dataset, write

__all__ = ["cache", "clones_made", "content_in", "data", "far", "fetches", "gets", "save", "texts"]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where managed clones are kept, for one test alone. Not there yet."""
    import datalad

    monkeypatch.setenv("DATALAD_BIDSSHARE_CACHE", str(tmp_path / "cäche"))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    datalad.cfg.reload(force=True)
    yield tmp_path / "cäche"
    monkeypatch.undo()
    datalad.cfg.reload(force=True)


@pytest.fixture
def data(tmp_path: Path, cache: Path) -> Path:
    """Where it is kept what was exported. Not there yet."""
    return tmp_path / "data"


def far(root: Path, files: Mapping[str, bytes | str], store: Path) -> Path:
    """Make a dataset whose content can be fetched by any clone, and not be read in place."""
    make_dataset(root, files)
    options = ("type=rsync", f"rsyncurl={store}", "encryption=none", "autoenable=true")
    store.mkdir()
    git(root, "annex", "initremote", "-q", "far", *options)
    git(root, "annex", "move", "-q", "--all", "--to", "far")
    return root


def save(root: Path, files: Mapping[str, bytes | str], *, to: str = "") -> str:
    """Change files of a dataset, and give the commit; their content may go to a remote."""
    from datalad.api import Dataset

    for name in files:
        (root / name).unlink(missing_ok=True)
    write(root, dict(files))
    Dataset(str(root)).save(result_renderer="disabled")
    if to:
        git(root, "annex", "move", "-q", "--all", "--to", to)
    return git(root, "rev-parse", "HEAD").strip()


def clones_made(log: ProcessLog) -> list[str]:
    """Give what was cloned."""
    return [line for line in log.commands("git") if " clone " in f"{line} "]


def fetches(log: ProcessLog) -> list[str]:
    """Give what was asked of a source."""
    return [line for line in log.commands("git") if " fetch " in f"{line} "]


def gets(log: ProcessLog) -> list[str]:
    """Give the processes that transferred content."""
    return [line for line in log.commands("git-annex") if " get " in f"{line} "]


def content_in(directory: Path) -> list[str]:
    """Give the keys of which a clone below a directory has the content."""
    return sorted(
        name
        for parent, _, names in os.walk(directory)
        if "/annex/objects/" in f"{parent}/"
        for name in names
    )


def texts(directory: Path) -> bytes:
    """Give names and contents of all that is below a directory."""
    found = []
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            found.append(os.fsencode(path))
            if not os.path.islink(path):
                found.append(Path(path).read_bytes())
    return b"\n".join(found)
