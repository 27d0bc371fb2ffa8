"""The index as records."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.errors import BareRepositoryError, DatasetError, NotADatasetError
from datalad_bidsshare.dataset.listing import (
    Entry,
    decode,
    encode,
    read_index,
    read_tree,
    stream_paths,
)
from tests.dataset.builders import HOSTILE_NAMES, git
from tests.process_log import ProcessLog


def listed(root: Path) -> list[str]:
    return [name for names in stream_paths(root) for name in names]


def test_lists_what_git_lists(source: Path) -> None:
    expected = git(source, "ls-files", "-z").split("\0")[:-1]
    assert read_index(source).paths == expected
    assert listed(source) == expected


def test_names_survive_the_round_trip(source: Path) -> None:
    paths = read_index(source).paths
    assert set(HOSTILE_NAMES) <= {encode(p) for p in paths}
    assert all(decode(encode(p)) == p for p in paths)
    assert all(os.path.lexists(os.path.join(os.fsencode(source), encode(p))) for p in paths)


def test_every_entry_is_found_by_its_path(source: Path) -> None:
    index = read_index(source)
    staged = git(source, "ls-files", "-s", "-z").split("\0")[:-1]
    expected = [Entry(r.partition("\t")[2], r[:6], r[7:47]) for r in staged]
    assert list(index.entries()) == expected
    assert list(index.entries(reversed(index.paths))) == expected[::-1]
    assert len(index) == len(expected)
    assert "sub-01/sub-01_T1w.nii.gz" in index
    assert "sub-01" not in index
    assert 1 not in index
    assert "lone surrogate \ud800" not in index
    with pytest.raises(KeyError):
        index["sub-01/none.nii.gz"]


def test_lookup_where_no_name_is_ascii_or_all_are(tmp_path: Path) -> None:
    for names in (["a", "b"], ["\uffee", "\U0001f9e0", "a"]):
        root = tmp_path / str(len(names))
        root.mkdir()
        git(root, "init", "-q")
        for name in names:
            (root / name).write_text(name)
        git(root, "add", "-A")
        index = read_index(root)
        assert [e.path for e in index.entries(sorted(names))] == sorted(names)
        assert "missing" not in index


def test_keep_decides_what_is_held(source: Path) -> None:
    assert [
        p for ps in stream_paths(source, lambda ps: [p for p in ps if "sub-02" in p]) for p in ps
    ] == ["sub-02/sub-02_T1w.nii.gz"]
    assert list(stream_paths(source, lambda _: [])) == []


def test_many_chunks_with_subdatasets_in_between(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    blob = git(tmp_path, "hash-object", "-w", "--stdin", text=b"x").strip()
    names = [f"sub-{i:05}/{'long' * 20}_bold.nii.gz" for i in range(30_000)]
    links = [f"sub-{i:05}/mount" for i in range(0, 30_000, 1000)]
    lines = [f"100644 {blob}\t{n}\0" for n in names]
    lines += [f"160000 {'1' * 40}\t{m}\0" for m in links]
    git(tmp_path, "update-index", "-z", "--index-info", text="".join(lines).encode())
    index = read_index(tmp_path)
    assert index.paths == names
    assert index.gitlinks == dict.fromkeys(links, "1" * 40)
    assert {e.oid for e in index.entries()} == {blob}
    chunks = list(stream_paths(tmp_path))
    assert len(chunks) > 1
    assert sorted(p for c in chunks for p in c) == sorted(names + links)


def test_a_merge_that_is_not_finished_lists_each_path_once(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "both").write_text("base")
    (tmp_path / "deleted here").write_text("base")
    git(tmp_path, "add", "-A")
    git(tmp_path, "commit", "-q", "-m", "base")
    git(tmp_path, "checkout", "-q", "-b", "other")
    (tmp_path / "both").write_text("theirs")
    (tmp_path / "deleted here").write_text("theirs")
    git(tmp_path, "commit", "-q", "-am", "theirs")
    git(tmp_path, "checkout", "-q", "main")
    (tmp_path / "both").write_text("ours")
    git(tmp_path, "rm", "-q", "deleted here")
    git(tmp_path, "commit", "-q", "-am", "ours")
    merge = subprocess.run(["git", "merge", "-q", "other"], cwd=tmp_path, capture_output=True)
    assert merge.returncode == 1
    index = read_index(tmp_path)
    assert index.paths == ["both", "deleted here"]
    assert index["both"].oid == git(tmp_path, "rev-parse", "main:both").strip()
    assert listed(tmp_path) == ["both", "deleted here"]


def test_a_subdataset_in_a_merge_is_the_current_branchs(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    stages = "".join(f"160000 {str(n) * 40} {n}\tsub\0" for n in (1, 2, 3))
    git(tmp_path, "update-index", "-z", "--index-info", text=stages.encode())
    assert read_index(tmp_path).gitlinks == {"sub": "2" * 40}
    git(tmp_path, "rm", "-q", "--cached", "sub")
    git(tmp_path, "update-index", "-z", "--index-info", text=stages[:53].encode())
    assert read_index(tmp_path).gitlinks == {"sub": "1" * 40}


def head(root: Path) -> str:
    return git(root, "rev-parse", "HEAD").strip()


def test_a_commit_holds_what_the_index_did(source: Path) -> None:
    index, tree = read_index(source), read_tree(source, head(source))
    assert tree.paths == index.paths
    assert list(tree.entries()) == list(index.entries())
    assert list(tree.entries(reversed(tree.paths))) == list(index.entries())[::-1]
    assert tree.gitlinks == {}


def test_an_older_commit_whatever_is_checked_out(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    root.mkdir()
    git(root, "init", "-q")
    (root / "a b").write_text("old")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "1")
    first = head(root)
    (root / "a b").write_text("new")
    (root / "c").write_text("new")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "2")
    (root / "staged").write_text("x")
    git(root, "add", "-A")
    (root / "c").unlink()
    assert read_tree(root, first).paths == ["a b"]
    assert read_tree(root, first)["a b"].oid == git(root, "rev-parse", f"{first}:a b").strip()
    assert read_tree(root, head(root)).paths == ["a b", "c"]
    with pytest.raises(ValueError, match="full name"):
        read_tree(root, "HEAD")
    with pytest.raises(DatasetError, match="1111"):
        read_tree(root, "1" * 40)
    with pytest.raises(NotADatasetError):
        read_tree(tmp_path, first)


def test_a_big_commit_with_subdatasets_in_between(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    blob = git(tmp_path, "hash-object", "-w", "--stdin", text=b"x").strip()
    names = [f"sub-{i:05}/{'long' * 20}_bold.nii.gz" for i in range(30_000)]
    links = {f"sub-{i:05}/a mount": f"{i:040x}" for i in range(1, 30_000, 1000)}
    links["a"] = "1" * 40
    lines = [f"100755 {blob}\t{n}\0" for n in names]
    lines += [f"160000 {oid}\t{m}\0" for m, oid in links.items()]
    git(tmp_path, "update-index", "-z", "--index-info", text="".join(lines).encode())
    git(tmp_path, "commit", "-q", "-m", "big")
    tree = read_tree(tmp_path, head(tmp_path))
    assert tree.paths == names
    assert tree.gitlinks == links == read_index(tmp_path).gitlinks
    assert {(e.mode, e.oid) for e in tree.entries()} == {("100755", blob)}
    assert tree[names[20_000]].path == names[20_000]


def test_empty_commit(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "nothing")
    tree = read_tree(tmp_path, head(tmp_path))
    assert tree.paths == []
    assert "x" not in tree


def test_commit_with_sha256(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--object-format=sha256")
    (tmp_path / "a b").write_text("x")
    git(tmp_path, "add", "-A")
    git(tmp_path, "update-index", "--add", "--cacheinfo", f"160000,{'ab' * 32},sub")
    git(tmp_path, "commit", "-q", "-m", "x")
    tree = read_tree(tmp_path, head(tmp_path))
    assert list(tree.entries()) == list(read_index(tmp_path).entries())
    assert tree.gitlinks == {"sub": "ab" * 32} == read_index(tmp_path).gitlinks


def commit_of_tree(root: Path, entries: list[tuple[str, bytes, str]]) -> str:
    """Commit a tree that git would refuse to write: (mode, name, oid) as they come."""
    raw = b"".join(m.encode() + b" " + n + b"\0" + bytes.fromhex(o) for m, n, o in entries)
    made = git(root, "hash-object", "-t", "tree", "-w", "--stdin", "--literally", text=raw)
    return git(root, "commit-tree", "-m", "x", made.strip()).strip()


def test_a_commit_that_git_would_not_check_out(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    blob = git(tmp_path, "hash-object", "-w", "--stdin", text=b"x").strip()
    file, link, folder = "100644", "160000", "40000"
    fine = commit_of_tree(tmp_path, [(file, b"a\t../b".replace(b"/", b"_"), blob)])
    assert read_tree(tmp_path, fine).paths == ["a\t.._b"]
    inner = git(tmp_path, "rev-parse", f"{fine}^{{tree}}").strip()
    tabbed = commit_of_tree(tmp_path, [(folder, b"a\t..", inner)])
    assert read_tree(tmp_path, tabbed).paths == ["a\t../a\t.._b"]
    for entries in (
        [(file, b"..", blob)],
        [(file, b".", blob)],
        [(file, b"../../etc/passwd", blob)],
        [(file, b"a/../b", blob)],
        [(file, b"/etc/passwd", blob)],
        [(file, b"a//b", blob)],
        [(folder, b"..", inner)],
        [(folder, b"", inner)],
        [(link, b"..", "1" * 40)],
        [(link, b"a/../../b", "1" * 40), (file, b"z", blob)],
        # twice, out of order
        [(file, b"a", blob), (file, b"a", blob)],
        [(file, b"b", blob), (file, b"a", blob)],
        [(file, b"b\xe9", blob), (file, b"a\xe9", blob)],
    ):
        with pytest.raises(DatasetError, match="git fsck"):
            read_tree(tmp_path, commit_of_tree(tmp_path, entries))


def test_empty_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    index = read_index(tmp_path)
    assert index.paths == [] == list(index.gitlinks) == listed(tmp_path)
    assert "x" not in index


def test_sha256(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--object-format=sha256")
    (tmp_path / "a b").write_text("x")
    git(tmp_path, "add", "-A")
    entry = read_index(tmp_path)["a b"]
    assert entry.oid == git(tmp_path, "rev-parse", ":a b").strip()
    assert len(entry.oid) == 64


def test_sparse_checkout_lists_everything(source: Path, tmp_path: Path) -> None:
    root = tmp_path / "sparse"
    git(tmp_path, "clone", "-q", "--sparse", str(source), str(root))
    git(root, "sparse-checkout", "init", "--cone", "--sparse-index")
    assert not (root / "sub-01").exists()
    assert read_index(root).paths == read_index(source).paths
    assert listed(root) == listed(source)


def test_detached_head_and_linked_work_tree(source: Path, clone: Path, tmp_path: Path) -> None:
    git(clone, "checkout", "-q", "--detach")
    git(clone, "worktree", "add", "-q", "--detach", str(tmp_path / "linked"))
    assert read_index(clone).paths == read_index(source).paths
    assert read_index(tmp_path / "linked").paths == read_index(source).paths


def test_bare_repository_says_so(source: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(source), "bare.git")
    for read in (read_index, listed):
        with pytest.raises(BareRepositoryError, match="clone it"):
            read(tmp_path / "bare.git")


def test_not_a_repository(source: Path, tmp_path: Path) -> None:
    with pytest.raises(NotADatasetError, match="no directory"):
        read_index(tmp_path / "missing")
    with pytest.raises(NotADatasetError, match=r"holds no \.git"):
        read_index(tmp_path)
    # below a dataset is not a dataset
    with pytest.raises(NotADatasetError):
        listed(source / "sub-01")
    # a .git that is none must not be answered with the parent's files
    git(tmp_path, "init", "-q")
    (tmp_path / "inner" / ".git").mkdir(parents=True)
    with pytest.raises(NotADatasetError, match="not a git repository"):
        read_index(tmp_path / "inner")
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(NotADatasetError):
        read_index(file)


def test_git_is_missing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DatasetError, match="install git"):
        read_index(source)


def test_damaged_index(clone: Path) -> None:
    index = clone / ".git" / "index"
    whole = index.read_bytes()
    for damaged in (whole[:20], whole[:60], whole[:200], whole[:1000]):
        index.write_bytes(damaged)
        for read in (read_index, listed):
            with pytest.raises(DatasetError, match="git fsck"):
                read(clone)


def test_environment_of_a_hook_does_not_lead_elsewhere(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q")
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    monkeypatch.setenv("GIT_INDEX_FILE", str(tmp_path / "nothing"))
    assert len(read_index(source)) > 20


def test_one_process(source: Path, process_log: ProcessLog) -> None:
    read_index(source)
    assert process_log.count() == 1
    listed(source)
    assert process_log.count() == 2
    commit = head(source)
    process_log.clear()
    read_tree(source, commit)
    assert process_log.count() == 1


def test_stopping_early_leaves_no_process(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    lines = [
        f"100644 {'e69de29bb2d1d6434b8b29ae775ad8c2e48c5391'}\t{i:0200}\0" for i in range(50000)
    ]
    git(tmp_path, "update-index", "-z", "--index-info", text="".join(lines).encode())
    names = stream_paths(tmp_path)
    assert next(iter(names))
    names.close()  # type: ignore[attr-defined]
    if shutil.which("ps"):
        children = subprocess.run(
            ["ps", "-o", "args=", "--ppid", str(os.getpid())], capture_output=True, text=True
        )
        assert "ls-files" not in children.stdout


def test_works_without_datalad() -> None:
    code = (
        "import sys; import datalad_bidsshare.dataset.listing, datalad_bidsshare.dataset.blobs; "
        "import datalad_bidsshare.dataset.presence, datalad_bidsshare.dataset.transfer; "
        "import datalad_bidsshare.dataset.hierarchy, datalad_bidsshare.dataset.drop; "
        "import datalad_bidsshare.dataset.stores, datalad_bidsshare.dataset.version; "
        "print([m for m in sys.modules if m == 'datalad' or m.startswith('datalad.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs two users")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
def test_another_users_repository_comes_with_gits_advice(source: Path, tmp_path: Path) -> None:
    root = tmp_path / "theirs"
    shutil.copytree(source, root, symlinks=True)
    subprocess.run(["chown", "-R", "12345", str(root)], check=True)
    with pytest.raises(DatasetError, match=r"git config --global --add safe\.directory"):
        read_index(root)
