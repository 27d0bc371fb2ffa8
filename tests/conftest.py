"""What the tests of the commands share: repositories that cost seconds to make."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.cleans import _full, full
from tests.dataset.conftest import Ria, _quiet_git, ria, slow_remote
from tests.process_log import process_log
from tests.raw_dataset import _fresh_raw_clone, raw, raw_clone
from tests.superdatasets import copy_of, make_study
from tests.unzips import _zips, _zips_store, zips

# What a shell starts in the background ignores interrupts, with nohup also the end of the terminal,
# and so would all that tests start.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
for _name in ("SIGHUP", "SIGTERM"):
    if signal.getsignal(getattr(signal, _name, signal.SIGINT)) == signal.SIG_IGN:
        signal.signal(getattr(signal, _name), signal.SIG_DFL)

__all__ = [
    "Ria",
    "_fresh_raw_clone",
    "_full",
    "_quiet_git",
    "_zips",
    "_zips_store",
    "full",
    "process_log",
    "raw",
    "raw_clone",
    "ria",
    "slow_remote",
    "zips",
]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Path:
    """The superdataset of `tests.superdatasets`, with all content. Not to be changed."""
    root = tmp_path_factory.mktemp("study") / "study"
    make_study(root)
    return root


@pytest.fixture(scope="session")
def _fresh_clone(study: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    import datalad.api as dl

    target = tmp_path_factory.mktemp("fresh") / "clone"
    dl.clone(str(study), str(target), result_renderer="disabled")
    return target


@pytest.fixture
def study_clone(_fresh_clone: Path, tmp_path: Path) -> Path:
    """A clone of the study: no subdataset is installed, no content is here."""
    return copy_of(_fresh_clone, tmp_path / "clone")
