"""Where managed clones are."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from datalad_bidsshare.cache.place import cache_directory, open_cache
from datalad_bidsshare.dataset.errors import DatasetError
from tests.cache.conftest import configured
from tests.dataset.builders import git
from tests.platforms import needs_posix


def _said(*options: str, cwd: Path, **environment: str) -> str:
    """Ask a process of its own, which reads the configuration anew."""
    code = "from datalad_bidsshare.cache.place import cache_directory; print(cache_directory())"
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        cwd=cwd,
        env={**os.environ, **environment},
    )
    return done.stdout.strip()


def test_it_is_in_the_cache_of_datalad(tmp_path: Path) -> None:
    assert _said(cwd=tmp_path, XDG_CACHE_HOME=str(tmp_path / "c")).endswith(
        os.path.join("datalad", "bidsshare")
    )
    elsewhere = str(tmp_path / "elsewhere")
    assert _said(cwd=tmp_path, DATALAD_LOCATIONS_CACHE=elsewhere) == os.path.join(
        elsewhere, "bidsshare"
    )


def test_the_user_chooses_it(tmp_path: Path) -> None:
    config = tmp_path / "config"
    config.write_text('[datalad "bidsshare"]\n\tcache = ~/mine\n')
    said = _said(cwd=tmp_path, GIT_CONFIG_GLOBAL=str(config), HOME=str(tmp_path))
    assert said == str(tmp_path / "mine")


def test_a_dataset_does_not_choose_it(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "ds")
    root = tmp_path / "ds"
    (root / ".datalad").mkdir()
    (root / ".datalad" / "config").write_text('[datalad "bidsshare"]\n\tcache = /planted\n')
    git(root, "add", ".datalad")
    git(root, "commit", "-q", "-m", "x")
    assert "planted" not in _said(cwd=root)


def test_a_relative_path_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with (
        configured(monkeypatch, Path("somewhere/else")),
        pytest.raises(DatasetError, match=r"no absolute path; next: "),
    ):
        cache_directory()


@needs_posix
def test_it_is_made_for_its_owner_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "new" / "cache"
    with configured(monkeypatch, place):
        assert open_cache(make=False) is None
        assert not place.parent.exists()
        cache = open_cache()
        assert cache is not None
        assert cache.directory == place
        assert stat.S_IMODE(place.stat().st_mode) == 0o700
        # what others may read, but not write, is theirs to decide
        place.chmod(0o755)
        assert open_cache() is not None
        for mode in (0o770, 0o702):
            place.chmod(mode)
            with pytest.raises(DatasetError, match="chmod 700"):
                open_cache()
