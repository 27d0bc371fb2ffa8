"""Kinds, keys and sizes of files, from git alone."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.blobs import FileInfo, describe, read_blobs
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.listing import Entry, read_index
from tests.dataset.builders import git, infos
from tests.process_log import ProcessLog


def by_path(root: Path, *paths: str) -> dict[str, FileInfo]:
    return {i.path: i for i in infos(root, *paths)}


def test_kinds(source: Path) -> None:
    found = by_path(source)
    assert list(found) == read_index(source).paths
    T1w = found["sub-01/sub-01_T1w.nii.gz"]
    assert (T1w.kind, T1w.bytesize, T1w.unlocked, T1w.mode) == ("annex", 300, False, "120000")
    assert T1w.key == git(source, "annex", "lookupkey", T1w.path).strip()
    assert found["derivatives/copy_T1w.nii.gz"].key == T1w.key
    description = found["dataset_description.json"]
    assert (description.kind, description.key, description.bytesize) == ("git", None, 13)
    assert [found[p].bytesize for p in ("empty.json", "big.json")] == [0, 40_000]
    assert found["not-a-pointer.txt"].kind == "git"
    link = found["sub-01/link.nii.gz"]
    assert (link.kind, link.key, link.bytesize) == ("symlink", None, len("sub-01_T1w.nii.gz"))
    assert found["outside"].kind == "symlink"
    assert {i.kind for p, i in found.items() if "bold" in p} == {"annex"}


def test_sizes_are_those_on_disk(source: Path) -> None:
    for info in infos(source):
        if info.kind != "symlink":
            name = os.path.join(os.fsencode(source), info.path.encode("utf-8", "surrogateescape"))
            assert info.bytesize == os.stat(name).st_size


def test_unlocked(unlocked_source: Path) -> None:
    found = by_path(unlocked_source)
    assert {p: (i.kind, i.unlocked, i.bytesize) for p, i in found.items()} == {
        "a.nii": ("annex", True, 1000),
        "same as a.nii": ("annex", True, 1000),
        "b.nii": ("annex", True, 50_000),
        "locked.nii": ("annex", False, 10),
        "same as locked.nii": ("annex", True, 10),
        "x.json": ("git", False, 2),
    }


def test_adjusted_branch(clone: Path) -> None:
    locked = {p: i.key for p, i in by_path(clone).items()}
    git(clone, "annex", "adjust", "--unlock")
    found = by_path(clone)
    assert {p: i.key for p, i in found.items()} == locked
    assert all(i.unlocked == (i.kind == "annex") for i in found.values())


def test_key_without_a_size(clone: Path) -> None:
    git(clone, "annex", "fromkey", "--force", "URL--http://example.org/x.nii", "url.nii")
    info = by_path(clone, "url.nii")["url.nii"]
    assert (info.kind, info.key, info.bytesize) == ("annex", "URL--http://example.org/x.nii", None)


def test_sha256_repository(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "--object-format=sha256")
    (tmp_path / "x.json").write_text("{}")
    git(tmp_path, "add", "-A")
    (info,) = infos(tmp_path)
    assert (info.kind, info.bytesize) == ("git", 2)
    assert list(read_blobs(tmp_path, [info.oid], 2)) == [(info.oid, b"{}")]


def test_content_of_blobs(source: Path) -> None:
    index = read_index(source)
    paths = ["big.json", "empty.json", "dataset_description.json", "big.json"]
    oids = [index[p].oid for p in paths]
    assert list(read_blobs(source, iter(oids), 40_000)) == [
        (oids[0], b" " * 40_000),
        (oids[1], b""),
        (oids[2], b'{"Name": "x"}'),
        (oids[3], b" " * 40_000),
    ]


def test_more_than_the_pipes_hold(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    for i in range(3):
        (tmp_path / f"{i}.json").write_bytes(bytes([65 + i]) * 3_000_000)
    git(tmp_path, "add", "-A")
    oids = [e.oid for e in read_index(tmp_path).entries()] * 30
    assert [c and c[:1] for _, c in read_blobs(tmp_path, oids, 3_000_000)] == [
        b"A",
        b"B",
        b"C",
    ] * 30
    many = list(read_index(tmp_path).entries()) * 10_000
    assert {i.bytesize for i in describe(tmp_path, many)} == {3_000_000}


def test_what_is_too_large_is_passed_over(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    large = git(tmp_path, "hash-object", "-w", "--stdin", text=b"x" * 5_000_000).strip()
    small = git(tmp_path, "hash-object", "-w", "--stdin", text=b"small").strip()
    oids = [large, small, large, small]
    assert list(read_blobs(tmp_path, oids, 4_999_999)) == [
        (oid, b"small" if oid == small else None) for oid in oids
    ]
    assert [len(c or b"") for _, c in read_blobs(tmp_path, oids, 5_000_000)] == [5_000_000, 5] * 2


def test_a_link_with_a_target_that_no_system_would_take(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    key = b".git/annex/objects/" + b"x" * 5_000_000 + b"/MD5-s3--x"
    oids = [git(tmp_path, "hash-object", "-w", "--stdin", text=t).strip() for t in (key, b"short")]
    lines = [f"120000 {oid}\t{name}\0" for oid, name in zip(oids, "ab", strict=True)]
    git(tmp_path, "update-index", "-z", "--index-info", text="".join(lines).encode())
    assert [(i.path, i.kind, i.bytesize) for i in infos(tmp_path)] == [
        ("a", "symlink", len(key)),
        ("b", "symlink", 5),
    ]


def test_a_pointer_with_a_size_of_thousands_of_digits(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "hostile.nii").write_text(f"/annex/objects/MD5E-s{'9' * 5000}--x\n")
    (tmp_path / "largest.nii").write_text(f"/annex/objects/MD5E-s{'9' * 19}--x\n")
    git(tmp_path, "add", "-A")
    found = {i.path: (i.kind, i.bytesize) for i in infos(tmp_path)}
    assert found == {"hostile.nii": ("git", 5025), "largest.nii": ("annex", 10**19 - 1)}


def test_nothing_asked_nothing_started(source: Path, process_log: ProcessLog) -> None:
    assert list(read_blobs(source, [], 1)) == []
    assert list(describe(source, [])) == []
    assert process_log.count() == 0


def test_two_processes_however_many_files(tmp_path: Path, process_log: ProcessLog) -> None:
    git(tmp_path, "init", "-q")
    for i in range(1000):
        (tmp_path / f"{i}.json").write_text(str(i))
    git(tmp_path, "add", "-A")
    entries = list(read_index(tmp_path).entries())
    for count in (10, 1000):
        process_log.clear()
        assert len(list(describe(tmp_path, entries[:count]))) == count
        assert process_log.count() == 2


@pytest.mark.parametrize("taken", [0, 1, 2500])
def test_stopping_early(source: Path, taken: int) -> None:
    entries = list(read_index(source).entries()) * 200
    described = describe(source, entries)
    for _ in range(taken):
        next(described)
    described.close()  # type: ignore[attr-defined]
    contents = read_blobs(source, [e.oid for e in entries], 10**6)
    next(contents)
    contents.close()


def test_a_blob_that_is_missing(source: Path) -> None:
    with pytest.raises(DatasetError, match="git fsck"):
        list(read_blobs(source, ["1" * 40], 1))
    with pytest.raises(DatasetError, match="missing"):
        list(describe(source, [Entry("x", "100644", "1" * 40)]))
    commit = git(source, "rev-parse", "HEAD").strip()
    with pytest.raises(DatasetError, match="commit"):
        list(read_blobs(source, [commit], 1))


def test_git_dies_in_between(clone: Path) -> None:
    oid = read_index(clone)["big.json"].oid
    blob = git(clone, "hash-object", "-w", "--stdin", text=b"y" * 5000).strip()
    loose = clone / ".git" / "objects" / blob[:2] / blob[2:]
    loose.chmod(0o644)
    loose.write_bytes(loose.read_bytes()[:20])
    with pytest.raises(DatasetError):
        list(read_blobs(clone, [oid, blob, oid], 10**6))
