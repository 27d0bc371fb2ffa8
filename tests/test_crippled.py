"""On file systems without symbolic links (Windows, VFAT, some network shares).

git-annex then keeps every file unlocked, on an adjusted branch. The other tests of the commands
make repositories that such a file system cannot hold; this one runs everywhere.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dataset.builders import git
from tests.superdatasets import bids_get, description, files_of, make_dataset

T1W = [f"sub-0{i}/anat/sub-0{i}_T1w.nii.gz" for i in (1, 2)]


@pytest.mark.parametrize("told", [False, True], ids=["as it is", "git is told so"])
def test_selected_files_come_and_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: bool
) -> None:
    import datalad.api as dl

    if told:
        # On a usual file system: what git and git-annex would find out on another.
        known = {"annex.crippledfilesystem": "true", "core.symlinks": "false"}
        monkeypatch.setenv("GIT_CONFIG_COUNT", str(len(known)))
        for i, (key, value) in enumerate(known.items()):
            monkeypatch.setenv(f"GIT_CONFIG_KEY_{i}", key)
            monkeypatch.setenv(f"GIT_CONFIG_VALUE_{i}", value)
    content = {path: path * 100 for path in T1W}
    about = {"dataset_description.json": description("ds", "raw"), "T1w.json": "{}"}
    make_dataset(tmp_path / "source", {**content, **about})
    clone = tmp_path / "clone"
    dl.clone(str(tmp_path / "source"), str(clone), result_renderer="disabled")
    before = git(clone, "rev-parse", "HEAD"), git(clone, "status", "--porcelain")
    for dry_run in (True, False):
        records = files_of(bids_get(dataset=clone, subject="01", suffix="T1w", dry_run=dry_run))
        assert {path: r["status"] for path, r in records.items()} == dict.fromkeys(
            [T1W[0], *about], "ok"
        )
    assert (clone / T1W[0]).read_text() == content[T1W[0]]
    if told:
        assert "adjusted" in git(clone, "branch", "--show-current")
    # a pointer, or a link that leads nowhere
    there = clone / T1W[1]
    assert not there.exists() or there.read_bytes().startswith(b"/annex/objects/")
    records = files_of(bids_get(dataset=clone, subject="01", suffix="T1w"))
    assert {r["status"] for r in records.values()} == {"notneeded"}
    assert (git(clone, "rev-parse", "HEAD"), git(clone, "status", "--porcelain")) == before
