"""Which other branches and tags have the same files."""

from __future__ import annotations

from pathlib import Path

from datalad_bidsshare.dataset.versions import other_versions
from tests.dataset.builders import annex_repo, git
from tests.process_log import ProcessLog


def oids(root: Path, *paths: str) -> list[str]:
    return [git(root, "rev-parse", f"HEAD:{path}").strip() for path in paths]


def test_each_version_has_a_number_of_them(tmp_path: Path, process_log: ProcessLog) -> None:
    files = {name: name.encode() * 900 for name in ("a", "b", "new\nline", "sub/c")}
    root = annex_repo(tmp_path / "ds", files, {"text": b"text"})
    git(root, "tag", "-a", "-m", "all of them", "all")
    git(root, "branch", "same")
    git(root, "rm", "-q", "a", "text")
    git(root, "commit", "-qm", "less")
    git(root, "tag", "less")
    git(root, "mv", "b", "moved")
    git(root, "commit", "-qm", "the same under another name")
    git(root, "tag", "moved")
    git(root, "rm", "-rq", ".")
    git(root, "commit", "-qm", "none")
    git(root, "tag", "none")
    git(root, "checkout", "-q", "same")
    asked = oids(root, "a", "b", "new\nline", "sub/c")
    process_log.clear()
    found = other_versions(root, asked)
    assert process_log.count() == 3
    main = {name: count for name, count in found.items() if name not in ("less", "moved")}
    # The one that is checked out ('same', and 'all') holds them all, 'none' and the branch none.
    assert main == {}
    assert (found["less"], found["moved"]) == (3, 3)
    assert other_versions(root, oids(root, "text")) == {}
    assert other_versions(root, []) == {}


def test_two_files_with_one_blob_are_two(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"a": b"A" * 900}, {})
    git(root, "tag", "one")
    (root / "b").symlink_to((root / "a").readlink())
    git(root, "add", "b")
    git(root, "commit", "-qm", "twice")
    git(root, "tag", "two")
    (root / "x").write_text("x")
    git(root, "add", "x")
    git(root, "commit", "-qm", "x")
    assert other_versions(root, oids(root, "a", "b")) == {"one": 1, "two": 2}
