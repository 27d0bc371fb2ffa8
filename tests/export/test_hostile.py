"""The hostile dataset is as hostile as it claims to be."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.keys import key_of_link
from datalad_bidsshare.dataset.presence import read_content
from tests.dataset.builders import git, infos
from tests.dataset.conftest import _quiet_git
from tests.export.hostile import Hostile, hostile_dataset
from tests.platforms import needs_posix, needs_posix_names, needs_symlinks

__all__ = ["_quiet_git"]

pytestmark = [needs_posix, needs_posix_names, needs_symlinks]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Hostile:
    return hostile_dataset(tmp_path_factory.mktemp("hostile") / "ds")


def test_git_tracks_what_it_says(hostile: Hostile) -> None:
    listed = git(hostile.root, "ls-tree", "-r", "-z", "--name-only", "HEAD").split("\0")[:-1]
    assert set(listed) == hostile.tracked()
    assert len(listed) == len(hostile.tracked())
    assert git(hostile.root, "diff", "--cached", "--name-only") == ""


def test_files_are_of_the_kind_that_it_says(hostile: Hostile) -> None:
    by_name = {i.path: i for i in infos(hostile.root)}
    for name in hostile.annexed | hostile.absent | hostile.corrupt:
        assert by_name[name].kind == "annex", name
    for name in hostile.plain:
        assert by_name[name].kind == "git", name
    for name in hostile.refused | hostile.links:
        assert by_name[name].kind == "symlink", name
    for name, key in (hostile.absent | hostile.corrupt | hostile.unverifiable).items():
        assert by_name[name].key == key
    assert by_name["sub-01/unlocked.nii.gz"].unlocked
    assert {key.split("-")[0] for key in hostile.unverifiable.values()} == {"WORM", "URL"}


def test_contents_are_what_it_says(hostile: Hostile) -> None:
    asked = [i for i in infos(hostile.root) if i.path in hostile.annexed | hostile.plain]
    found = dict(read_content(hostile.root, asked))
    assert found == hostile.annexed | hostile.plain


def test_following_links_gives_secrets_away(hostile: Hostile) -> None:
    secrets: dict[str, str] = {}
    for name in [*hostile.refused, *hostile.absent]:
        path = hostile.root / name
        if path.is_file() and not name.startswith("to-environ"):
            content = path.read_bytes()
            secrets.update((what, name) for m, what in hostile.markers.items() if m in content)
    expected = {
        "beside the dataset",
        "directory beside the dataset",
        "file in .git",
        "git config",
        "object in another annex",
        "object-is-link.nii",
        "directory-is-link.nii",
        "untracked file",
    }
    assert expected <= set(secrets)
    assert os.path.exists("/etc/passwd") == ("/etc/passwd" in secrets)


def test_links_inside_end_where_it_says(hostile: Hostile) -> None:
    for name, end in hostile.links.items():
        assert os.path.realpath(hostile.root / name) == os.path.realpath(hostile.root / end)


def test_secrets_are_in_its_history(hostile: Hostile) -> None:
    assert "older version" in {
        hostile.markers[m]
        for m in hostile.markers
        if m.decode() in git(hostile.root, "show", f"{hostile.old_commit}:sub-01/sub-01_T1w.json")
    }
    where = {what for what, place in hostile.found_in(hostile.root / ".git" / "annex")}
    assert {"older annexed version", "removed annexed file"} <= where
    link = git(hostile.root, "show", "HEAD:sub-01/sub-01_T1w.nii.gz")
    key = key_of_link(link.encode())
    assert key is not None
    assert key not in git(hostile.root, "show", f"{hostile.old_commit}:sub-01/sub-01_T1w.nii.gz")


def test_git_annex_sees_the_damage(hostile: Hostile) -> None:
    for key in hostile.corrupt.values():
        (place,) = (
            p for p in (hostile.root / ".git").rglob(key) if p.is_file() and not p.is_symlink()
        )
        with pytest.raises(AssertionError, match=r"checksum|size"):
            git(hostile.root, "annex", "fsck", "--key", key)
        # It moves what is bad out of the way: put it back.
        assert not place.exists()
        bad = hostile.root / ".git" / "annex" / "bad" / key
        place.parent.mkdir(parents=True, exist_ok=True)
        place.parent.chmod(0o755)
        bad.rename(place)


def test_the_work_tree_has_a_fifo(hostile: Hostile) -> None:
    for name in ("fifo", "piped.tsv"):
        assert stat.S_ISFIFO((hostile.root / name).lstat().st_mode)


def test_it_finds_its_secrets(hostile: Hostile, tmp_path: Path) -> None:
    marker = next(iter(hostile.markers))
    (tmp_path / "sub").mkdir()
    assert hostile.found_in(tmp_path) == []
    (tmp_path / "sub" / "x").write_bytes(b"..." + marker)
    (tmp_path / marker.decode()).mkdir()
    (tmp_path / "link").symlink_to(marker.decode())
    assert len(hostile.found_in(tmp_path)) == 3
