"""Many commits by one process, and the check of what they hold."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.commits import (
    Change,
    NewCommit,
    blob_name,
    check_difference,
    clean_refs,
    read_difference,
    write_commits,
)
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.listing import decode, read_tree
from datalad_bidsshare.dataset.state import read_head
from tests.dataset.builders import HOSTILE_NAMES, git
from tests.process_log import ProcessLog

ODD = [b'"quoted"', b"-dash", b" space ", b"tab\t", b"octal\\101", b"del\x7f", b"cr\r", b"a/b/c"]


@pytest.fixture(params=["sha1", "sha256"])
def repository(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    root = tmp_path / "ds"
    root.mkdir()
    git(root, "init", "-q", f"--object-format={request.param}")
    (root / "file").write_text("file")
    (root / "other").write_text("other")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


def head(root: Path) -> str:
    return read_head(root).commit


def change(root: Path, path: str, data: bytes = b"data", mode: str = "100644") -> Change:
    return Change(path, mode, blob_name(data, head(root)), data)


def refs(root: Path) -> str:
    return git(root, "for-each-ref", "--format=%(refname)")


def test_names_and_messages_of_any_kind(repository: Path) -> None:
    paths = [decode(name) for name in [*HOSTILE_NAMES, *ODD]]
    changes = tuple(change(repository, p, p.encode("utf-8", "surrogateescape")) for p in paths)
    texts = ["", "one", "two\n\n=== \u00e9\U0001f9e0 ===\n'\"\\\n\n", "data 5\nfrom :1\ndone\n"]
    link = change(repository, "link", b"a\nb", "120000")
    known = Change("again", "100755", git(repository, "rev-parse", "HEAD:file").strip())
    commits = [NewCommit(texts[0], changes), NewCommit(texts[1], (link, known))]
    commits += [NewCommit(text, ()) for text in texts[2:]]
    before = head(repository)
    names = write_commits(repository, before, commits)
    for name, text, parent in zip(names, texts, [before, *names], strict=False):
        raw = git(repository, "cat-file", "commit", name)
        assert raw.partition("\n\n")[2] == text
        assert f"parent {parent}\n" in raw
    assert (head(repository), refs(repository)) == (before, "refs/heads/main\n")
    expected = {c.path: c for c in (*changes, link, known)}
    check_difference(repository, before, names[-1], expected)
    index = read_tree(repository, names[-1])
    assert {e.path: (e.mode, e.oid) for e in index.entries()}.items() >= {
        c.path: (c.mode, c.oid) for c in expected.values()
    }.items()
    git(repository, "fsck", "--strict")


def test_author_and_committer_are_those_of_git_commit(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_AUTHOR_NAME", "\u00c9mile <X>")
    monkeypatch.setenv("GIT_AUTHOR_DATE", "1700000000 +0130")
    monkeypatch.setenv("GIT_COMMITTER_DATE", "1700000001 -0930")
    git(repository, "config", "commit.gpgsign", "true")
    (name,) = write_commits(repository, head(repository), [NewCommit("x\n", ())])
    git(repository, "config", "commit.gpgsign", "false")
    git(repository, "commit", "-q", "--allow-empty", "-m", "x")
    assert git(repository, "rev-parse", "HEAD").strip() == name


def test_without_a_name_for_the_author(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for name in ("EMAIL", "GIT_AUTHOR_NAME", "GIT_AUTHOR_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    git(repository, "config", "user.useConfigOnly", "true")
    with pytest.raises(DatasetError, match=r"does not know who you are.*next: git config --global"):
        write_commits(repository, head(repository), [NewCommit("x\n", ())])


def test_nothing_is_left_when_it_fails(repository: Path) -> None:
    before = (refs(repository), sorted(os.listdir(repository / ".git")))
    missing = Change("x", "100644", "1" * len(head(repository)))
    with pytest.raises(DatasetError, match=r"could not write commits in .*fatal: .*1111.*; next: "):
        write_commits(repository, head(repository), [NewCommit("x\n", (missing,))])
    assert (refs(repository), sorted(os.listdir(repository / ".git"))) == before


def test_what_was_left_by_a_kill_is_cleaned(repository: Path) -> None:
    clean_refs(repository)
    for name in ("a", "b"):
        git(repository, "update-ref", f"refs/bidsshare/{name}", "HEAD")
    (repository / ".git" / "refs" / "bidsshare" / "c.lock").touch()
    clean_refs(repository)
    assert refs(repository) == "refs/heads/main\n"
    assert write_commits(repository, head(repository), [NewCommit("x\n", ())])


@pytest.mark.parametrize(
    "path", ["", "/a", "a//b", "a/", "../a", "a/./b", ".git/x", "a/.GIT", "\0"]
)
def test_paths_that_no_tree_can_hold(repository: Path, path: str) -> None:
    with pytest.raises(ValueError, match="not a path"):
        write_commits(repository, head(repository), [NewCommit("", (change(repository, path),))])


def test_messages_with_nul_and_no_commits(repository: Path) -> None:
    with pytest.raises(ValueError, match="NUL"):
        write_commits(repository, head(repository), [NewCommit("a\0b", ())])
    with pytest.raises(ValueError, match="no commits"):
        write_commits(repository, head(repository), [])


def test_every_unexpected_difference_is_found(repository: Path) -> None:
    before = head(repository)
    new, also = change(repository, "new"), change(repository, "also")
    (name,) = write_commits(repository, before, [NewCommit("x\n", (new, also))])
    expected = {"new": new, "also": also}
    check_difference(repository, before, name, expected)
    wrong = {
        "'also' is there": {"new": new},
        "'also' is not what it should be": expected | {"also": change(repository, "also", b"?")},
        "'new' is not what it should be": expected
        | {"new": change(repository, "new", mode="100755")},
        "'more' is not what it should be": expected | {"more": change(repository, "more")},
        "'file' is not what it should be": expected | {"file": change(repository, "file", b"?")},
    }
    for text, these in wrong.items():
        with pytest.raises(DatasetError, match=text):
            check_difference(repository, before, name, these)
    # a file in the place of a directory, and the other way round
    (below,) = write_commits(
        repository, before, [NewCommit("x\n", (change(repository, "file/x"),))]
    )
    with pytest.raises(DatasetError, match="'file' is gone"):
        check_difference(repository, before, below, {"file/x": change(repository, "file/x")})


def test_what_is_as_it_was_need_not_differ(repository: Path) -> None:
    before = head(repository)
    same = change(repository, "file", b"file")
    new = change(repository, "new")
    (name,) = write_commits(repository, before, [NewCommit("x\n", (same, new))])
    assert [d.path for d in read_difference(repository, before, name)] == ["new"]
    check_difference(repository, before, name, {"file": same, "new": new})


def test_subdatasets_that_differ_are_found_whatever_is_configured(
    repository: Path, tmp_path: Path
) -> None:
    before = head(repository)
    git(repository, "update-index", "--add", "--cacheinfo", f"160000,{before},sub")
    git(repository, "commit", "-q", "-m", "sub")
    git(repository, "config", "diff.ignoreSubmodules", "all")
    assert [d.mode for d in read_difference(repository, before, head(repository))] == ["160000"]
    with pytest.raises(DatasetError, match="'sub' is there"):
        check_difference(repository, before, head(repository), {})


def test_as_many_processes_for_many_as_for_few(tmp_path: Path, process_log: ProcessLog) -> None:
    counts = []
    for number in (10, 200):
        root = tmp_path / str(number)
        root.mkdir()
        git(root, "init", "-q")
        git(root, "commit", "-q", "--allow-empty", "-m", "first")
        before = head(root)
        commits = [
            NewCommit(f"{i}\n", (change(root, f"d{i}/f", b"%d" % i),)) for i in range(number)
        ]
        process_log.clear()
        names = write_commits(root, before, commits)
        check_difference(
            root, before, names[-1], {c.changes[0].path: c.changes[0] for c in commits}
        )
        counts.append(process_log.count())
        shutil.rmtree(root)
    assert counts == [4, 4]
