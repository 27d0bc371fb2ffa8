"""Which version of a dataset."""

from __future__ import annotations

from pathlib import Path

import pytest

from datalad_bidsshare.dataset.errors import DatasetError, NotADatasetError
from datalad_bidsshare.dataset.version import read_version
from tests.dataset.builders import annex_repo, git
from tests.dataset.conftest import Ria
from tests.process_log import ProcessLog

ID = "01234567-89ab-cdef-0123-456789abcdef"


@pytest.fixture
def repo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two commits; the second has a tag, and a DataLad id."""
    root = tmp_path / "ds"
    root.mkdir()
    git(root, "init", "-q")
    for number in (1, 2):
        monkeypatch.setenv("GIT_COMMITTER_DATE", f"{number}000000000 +0200")
        if number == 2:
            (root / ".datalad").mkdir()
            (root / ".datalad" / "config").write_text(f'[datalad "dataset"]\n\tid = {ID}\n')
        (root / "a").write_text(str(number))
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", str(number))
    git(root, "tag", "v2")
    return root


def commit_of(root: Path, name: str) -> str:
    return git(root, "rev-parse", name).strip()


def test_what_is_checked_out(repo: Path) -> None:
    version = read_version(repo)
    assert version.commit == commit_of(repo, "HEAD")
    assert (version.describe, version.time, version.dataset_id) == ("v2", 2_000_000_000, ID)
    assert version.urls == ()


def test_another_commit_in_any_spelling(repo: Path) -> None:
    first = commit_of(repo, "HEAD~1")
    git(repo, "tag", "-a", "-m", "x", "with space".replace(" ", "_"), first)
    for name in (first, first[:8], "HEAD~1", "main~1", "with_space", "v2^", "HEAD^{/1}"):
        version = read_version(repo, name)
        assert version.commit == first, name
        assert (version.describe, version.time) == ("with_space", 1_000_000_000)
        # not what lies in the work tree
        assert version.dataset_id is None


def test_describe(repo: Path) -> None:
    (repo / "a").write_text("3")
    git(repo, "commit", "-q", "-am", "3")
    assert read_version(repo).describe == f"v2-1-g{commit_of(repo, 'HEAD')[:10]}"
    (repo / "a").write_text("changed")
    assert read_version(repo).describe.startswith("v2-1-g")
    assert "dirty" not in read_version(repo).describe
    git(repo, "tag", "-d", "v2")
    # as git has it, whatever the user's git is told
    git(repo, "config", "core.abbrev", "30")
    assert read_version(repo).describe == commit_of(repo, "HEAD")[:10]


def test_no_commit_of_it(repo: Path, tmp_path: Path) -> None:
    blob = commit_of(repo, "HEAD:a")
    for name in (
        *("none", "", "-h", "--all", "v2:a", blob, "1" * 40, "v2..HEAD", "a", "x\0y", "x\ny"),
        *("^v2", "--branches", "refs/heads/none", "HEAD^{tree}"),
    ):
        with pytest.raises(DatasetError, match=r"is not a commit of .*; next: see git -C \S+ log"):
            read_version(repo, name)
    empty = tmp_path / "empty dataset"
    empty.mkdir()
    git(empty, "init", "-q")
    with pytest.raises(DatasetError, match="has no commit yet; next: datalad save -d '"):
        read_version(empty)
    with pytest.raises(NotADatasetError):
        read_version(tmp_path)


def test_id_is_anybodys_input(repo: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text(f'[datalad "dataset"]\n\tid = {ID}\n')
    for text in (
        '[datalad "dataset"]\n\tid = /home/me/secret\n',
        f"[include]\n\tpath = {secret}\n",
        "no configuration at all [",
        '[datalad "dataset"]\n\tid\n',
    ):
        (repo / ".datalad" / "config").write_text(text)
        git(repo, "commit", "-q", "-am", "x")
        assert read_version(repo).dataset_id is None, text


def test_datalad_agrees(ria: Ria) -> None:
    from datalad.distribution.dataset import Dataset

    assert read_version(ria.source).dataset_id == Dataset(ria.source).id


def test_an_adjusted_branch_is_of_what_it_was_made_from(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"a.nii": b"a"}, {"b": b"b"})
    version = read_version(root)
    git(root, "annex", "adjust", "-q", "--unlock")
    assert commit_of(root, "HEAD") != version.commit
    assert read_version(root) == version
    # what somebody committed there is not, as long as git-annex has not put it in order
    (root / "b").write_text("new")
    git(root, "commit", "-q", "-a", "-m", "mine")
    assert read_version(root).commit == commit_of(root, "HEAD")
    # nor is a commit that only says so
    git(root, "checkout", "-q", "-b", "other")
    git(root, "commit", "-q", "--allow-empty", "-m", "git-annex adjusted branch")
    assert read_version(root).commit == commit_of(root, "HEAD")


@pytest.mark.parametrize(
    ("said", "time"),
    [(b"", 0), (b" 5 +0000", 5), (b" 99999999999999999999 +0000", 253_402_300_799)],
)
def test_any_time_of_a_commit(repo: Path, said: bytes, time: int) -> None:
    tree = git(repo, "write-tree").strip().encode()
    text = b"tree %b\nauthor a <a>%b\ncommitter a <a>%b\n\nx\n" % (tree, said, said)
    options = ["-t", "commit", "--literally", "-w", "--stdin"]
    commit = git(repo, "hash-object", *options, text=text).strip()
    assert read_version(repo, commit).time == time


def test_urls_of_remotes(repo: Path) -> None:
    for name, url in (
        ("backup", "ssh://host/x"),
        ("origin", "https://user:pw@example.org/ds"),
        ("mirror", "ssh://host/x"),
    ):
        git(repo, "remote", "add", name, url)
    git(repo, "config", "remote.special.annex-uuid", ID)
    git(repo, "config", "url.git@example.org:.insteadOf", "https://user:pw@example.org/")
    assert read_version(repo).urls == ("https://user:pw@example.org/ds", "ssh://host/x")


def test_a_handful_of_processes(repo: Path, process_log: ProcessLog) -> None:
    for i in range(10):
        git(repo, "remote", "add", f"r{i}", f"https://example.org/{i}")
    process_log.clear()
    read_version(repo, "v2")
    assert process_log.count() == 5
