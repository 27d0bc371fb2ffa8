"""What the tests of managed clones share: a cache of their own, and sources."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import datalad
import pytest

from datalad_bidsshare.cache.urls import Source, read_source
from tests.dataset.builders import annex_repo, git


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty place for managed clones, which is configured and not there yet."""
    directory = tmp_path / "cache"
    with configured(monkeypatch, directory):
        yield directory


@contextlib.contextmanager
def configured(monkeypatch: pytest.MonkeyPatch, directory: Path) -> Iterator[None]:
    """Configure where managed clones are, here and in processes that are started."""
    with monkeypatch.context() as patch:
        patch.setenv("DATALAD_BIDSSHARE_CACHE", str(directory))
        datalad.cfg.reload(force=True)
        yield
    datalad.cfg.reload(force=True)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """A dataset that may be changed, with one annexed file and a DataLad id."""
    return make_origin(tmp_path / "origin ä")


def make_origin(root: Path, identifier: str = "11111111-0000-0000-0000-000000000000") -> Path:
    config = f'[datalad "dataset"]\n\tid = {identifier}\n'.encode()
    return annex_repo(
        root, {"sub-01_T1w.nii.gz": b"T1w" * 1000}, {".datalad/config": config, "a.json": b"{}"}
    )


@pytest.fixture
def source(origin: Path) -> Source:
    return read_source(origin)


def change(origin: Path, name: str = "new.json", content: str = "{}") -> str:
    """Commit something new in a source, and give the commit."""
    (origin / name).write_text(content)
    git(origin, "add", name)
    git(origin, "commit", "-q", "-m", f"change {name}")
    return git(origin, "rev-parse", "HEAD").strip()


def everything_below(directory: Path) -> bytes:
    """Give names and contents of all that is below a directory."""
    found = []
    for parent, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(parent, name)
            found.append(os.fsencode(path))
            if not os.path.islink(path):
                found.append(Path(path).read_bytes())
    return b"\n".join(found)


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def can_unshare() -> bool:
    done = subprocess.run(["unshare", "-m", "true"], capture_output=True, check=False)
    return done.returncode == 0
