"""Checking an export: on real files, with real faults."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
import unicodedata
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.checksums import new_hasher
from datalad_bidsshare.dataset.encoding import encode
from datalad_bidsshare.export.ledger import Ledger, Written
from datalad_bidsshare.export.verify import Verdict, VerifyError, verify
from tests.dataset.conftest import for_nobody  # noqa: F401 (a fixture)
from tests.export.test_ledger import HOSTILE
from tests.platforms import makes_name, needs_posix, needs_symlinks


def place(dest: Path, path: str) -> bytes:
    return os.path.join(os.fsencode(dest), encode(path))


def write(dest: Path, path: str, content: bytes) -> None:
    file = place(dest, path)
    os.makedirs(os.path.dirname(file), exist_ok=True)
    with open(file, "wb") as opened:
        opened.write(content)


def export(dest: Path, files: dict[str, bytes], algorithms: tuple[str, ...] = ("md5",)) -> None:
    """Make what an export leaves."""
    (dest / ".bidsshare").mkdir(parents=True)
    ledger = Ledger.read(dest / ".bidsshare")
    for number, (path, content) in enumerate(files.items()):
        write(dest, path, content)
        algorithm = algorithms[number % len(algorithms)]
        hasher = new_hasher(algorithm)
        hasher.update(content)
        ledger.put(path, Written(len(content), 1, "s", algorithm, hasher.hexdigest()))
    ledger.write()


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    """An export of a few files, with two kinds of checksums."""
    files = {
        "README": b"read me",
        "participants.tsv": b"participant_id\n",
        "sub-01/anat/sub-01_T1w.nii.gz": b"T1w" * 1_000_000,
        "sub-01/empty": b"",
        "sub-02/anat/sub-02_T1w.nii.gz": b"T1w",
    }
    export(tmp_path / "dest", files, ("md5", "sha256"))
    return tmp_path / "dest"


def faults(dest: Path, jobs: int = 2) -> dict[str, Verdict]:
    return {v.path: v for v in verify(dest, jobs) if v.status != "ok"}


def statuses(dest: Path) -> dict[str, str]:
    return {path: verdict.status for path, verdict in faults(dest).items()}


@pytest.mark.parametrize("jobs", [1, 4])
def test_an_export_is_as_it_was(dest: Path, jobs: int) -> None:
    verdicts = list(verify(dest, jobs))
    assert {v.status for v in verdicts} == {"ok"}
    assert {v.path: v.size for v in verdicts} == {
        "README": 7,
        "participants.tsv": 15,
        "sub-01/anat/sub-01_T1w.nii.gz": 3_000_000,
        "sub-01/empty": 0,
        "sub-02/anat/sub-02_T1w.nii.gz": 3,
    }


def test_manifests_are_enough(dest: Path) -> None:
    for path in (dest / ".bidsshare").iterdir():
        if not path.name.startswith("manifest-"):
            path.unlink()
    assert faults(dest) == {}


def test_all_kinds_of_checksums(tmp_path: Path) -> None:
    kinds = ("md5", "sha1", "sha224", "sha3_512", "blake2b-160", "blake2s-256")
    export(tmp_path / "x", {str(n): b"%d" % n for n in range(12)}, kinds)
    assert len(list((tmp_path / "x" / ".bidsshare").glob("manifest-*"))) == 6
    assert faults(tmp_path / "x") == {}
    for number in range(12):
        write(tmp_path / "x", str(number), b"other")
    assert {v.status for v in verify(tmp_path / "x", 2)} == {"changed"}


def test_hostile_names(tmp_path: Path) -> None:
    export(tmp_path / "x", {name: name.encode("utf-8", "replace") for name in HOSTILE})
    assert {v.path: v.status for v in verify(tmp_path / "x", 2)} == dict.fromkeys(HOSTILE, "ok")
    for name in HOSTILE:
        write(tmp_path / "x", name, b"?")
    assert statuses(tmp_path / "x") == dict.fromkeys(HOSTILE, "changed")


def test_many_files_in_order(tmp_path: Path) -> None:
    export(tmp_path / "x", {f"{n:04d}": b"%d" % n for n in range(1000)})
    assert [v.path for v in verify(tmp_path / "x", 3)] == [f"{n:04d}" for n in range(1000)]


def test_changes_of_a_single_bit_and_of_the_size(dest: Path) -> None:
    with (dest / "sub-01/anat/sub-01_T1w.nii.gz").open("r+b") as file:
        file.seek(2_500_000)
        byte = file.read(1)[0]
        file.seek(2_500_000)
        file.write(bytes([byte ^ 1]))
    with (dest / "README").open("ab") as file:
        file.write(b"!")
    (dest / "participants.tsv").write_bytes(b"participant_id")
    found = faults(dest)
    assert {p: v.status for p, v in found.items()} == {
        "README": "changed",
        "participants.tsv": "changed",
        "sub-01/anat/sub-01_T1w.nii.gz": "changed",
    }
    assert found["README"].size == 8
    assert found["README"].message


def test_what_is_missing_and_what_is_more(dest: Path) -> None:
    (dest / "README").unlink()
    shutil.rmtree(dest / "sub-01")
    (dest / "sub-01").write_bytes(b"a file now")
    write(dest, "sub-03/notes.txt", b"more")
    write(dest, "sub-02/.bidsshare/x", b"not ours")
    write(dest, "sub-02/.bidsshare-tmp-123", b"T1")
    (dest / "empty directory").mkdir()
    found = faults(dest)
    assert {p: v.status for p, v in found.items()} == {
        "README": "missing",
        "sub-01/anat/sub-01_T1w.nii.gz": "missing",
        "sub-01/empty": "missing",
        "sub-01": "extra",
        "sub-03/notes.txt": "extra",
        "sub-02/.bidsshare/x": "extra",
        "sub-02/.bidsshare-tmp-123": "extra",
    }
    assert found["sub-03/notes.txt"].size == 4
    assert "interrupted" in found["sub-02/.bidsshare-tmp-123"].message


@needs_symlinks
def test_links_are_not_followed(dest: Path, tmp_path: Path) -> None:
    shutil.move(dest / "README", tmp_path / "README")
    (dest / "README").symlink_to(tmp_path / "README")
    shutil.move(dest / "sub-02", tmp_path / "sub-02")
    (dest / "sub-02").symlink_to(tmp_path / "sub-02")
    (dest / "loop").symlink_to(".")
    (dest / "sub-01" / "up").symlink_to("/")
    found = faults(dest)
    assert {p: v.status for p, v in found.items()} == {
        "README": "changed",
        "sub-02/anat/sub-02_T1w.nii.gz": "changed",
        "sub-02": "extra",
        "loop": "extra",
        "sub-01/up": "extra",
    }
    assert all("symbolic link" in v.message for v in found.values())


@needs_symlinks
def test_the_export_itself_may_be_behind_a_link(dest: Path) -> None:
    (dest.parent / "link").symlink_to(dest)
    assert faults(dest.parent / "link") == {}


@needs_posix
def test_what_is_no_file(dest: Path) -> None:
    (dest / "README").unlink()
    os.mkfifo(dest / "README")
    (dest / "sub-01/empty").unlink()
    (dest / "sub-01/empty").mkdir()
    os.mkfifo(dest / "fifo")
    assert statuses(dest) == {"README": "changed", "sub-01/empty": "changed", "fifo": "extra"}


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
def test_what_cannot_be_read(for_nobody: Path) -> None:  # noqa: F811
    dest = for_nobody / "dest"
    export(dest, {"a": b"a", "b/c": b"c", "d": b"d"})
    (dest / "a").chmod(0)
    (dest / "b").chmod(0)
    code = (
        "import sys, os, pathlib\n"
        "from datalad_bidsshare.export.verify import verify\n"
        "os.setuid(65534)\n"
        "for v in verify(pathlib.Path(sys.argv[1]), 2): print(v.path, v.status)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(dest)], capture_output=True, text=True, timeout=60,
        check=True,
    )  # fmt: skip
    assert sorted(done.stdout.split("\n")[:-1]) == [
        "a unreadable", "b unreadable", "b/c unreadable", "d ok",
    ]  # fmt: skip


def test_an_export_that_did_not_end_says_so(dest: Path) -> None:
    ledger = Ledger.read(dest / ".bidsshare")
    md5 = hashlib.md5(b"new").hexdigest()
    write(dest, "new", b"new")
    ledger.put("new", Written(3, 1, "s", "md5", md5))
    ledger.journal()
    found = faults(dest)
    assert {p: v.status for p, v in found.items()} == {
        ".bidsshare/journal": "unfinished",
        "new": "extra",
    }
    ledger.write()
    assert faults(dest) == {}


@pytest.mark.skipif(
    not (makes_name("\u00e9".encode()) and makes_name("e\u0301".encode())), reason="needs Unicode"
)
def test_accents_spelled_in_another_way_are_another_file_unless_they_are_the_same(
    tmp_path: Path,
) -> None:
    composed = "sub-\u00e9"
    export(tmp_path / "x", {composed: b"1"})
    # As a file system does that takes both for one name: here by a hard link
    os.link(tmp_path / "x" / composed, tmp_path / "x" / unicodedata.normalize("NFD", composed))
    assert faults(tmp_path / "x") == {}
    decomposed = tmp_path / "x" / unicodedata.normalize("NFD", composed)
    decomposed.unlink()
    decomposed.write_bytes(b"1")
    assert list(statuses(tmp_path / "x").values()) == ["extra"]


def test_no_export_no_verdict(tmp_path: Path) -> None:
    for make in (lambda: None, (tmp_path / ".bidsshare").mkdir):
        make()
        with pytest.raises(VerifyError, match="export-plain"):
            verify(tmp_path, 1)
    with pytest.raises(VerifyError, match="no directory"):
        verify(tmp_path / "none", 1)
    (tmp_path / "file").touch()
    with pytest.raises(VerifyError, match="no directory"):
        verify(tmp_path / "file", 1)


MD5 = b"d41d8cd98f00b204e9800998ecf8427e"


@pytest.mark.parametrize(
    "line",
    [
        b"", b"x", MD5, MD5 + b" ", MD5 + b"  ", MD5[1:] + b"  a", MD5 + b"0  a", MD5 + b" a",
        MD5 + b"  ../a", MD5 + b"  /etc/passwd", MD5 + b"  a/../../b", MD5 + b"  a//b",
        MD5 + b"  .git/config", b"\\" + MD5 + b"  a\\x", b"\\" + MD5 + b"  a\\", b"\0" * 40,
        MD5 + b"  a\n" + MD5[:10],
    ],
)  # fmt: skip
def test_damaged_manifests(dest: Path, line: bytes) -> None:
    manifest = dest / ".bidsshare" / "manifest-md5.txt"
    manifest.write_bytes(manifest.read_bytes() + line + b"\n")
    with pytest.raises(VerifyError, match=r"manifest-md5\.txt is damaged: line [45]"):
        verify(dest, 1)


def test_a_manifest_that_is_cut_short(dest: Path) -> None:
    manifest = dest / ".bidsshare" / "manifest-md5.txt"
    manifest.write_bytes(manifest.read_bytes()[:-3])
    with pytest.raises(VerifyError, match="cut short"):
        verify(dest, 1)


def test_a_manifest_that_was_left_behind(dest: Path) -> None:
    (dest / ".bidsshare" / "export.json").write_text('{"manifests": ["manifest-md5.txt"]}')
    assert faults(dest) == {}
    (dest / ".bidsshare" / "manifest-md5.txt").unlink()
    with pytest.raises(VerifyError, match=r"holds no manifest-md5\.txt"):
        verify(dest, 1)


@pytest.mark.parametrize("receipt", [b"", b"[]", b'{"manifests": 1}', b"{}", b"\xff"])
def test_a_damaged_receipt_does_not_matter(dest: Path, receipt: bytes) -> None:
    (dest / ".bidsshare" / "export.json").write_bytes(receipt)
    assert faults(dest) == {}


def test_a_manifest_of_a_newer_version(dest: Path) -> None:
    (dest / ".bidsshare" / "manifest-sha9.txt").write_bytes(b"")
    with pytest.raises(VerifyError, match=r"manifest-sha9\.txt.*newer"):
        verify(dest, 1)


@needs_symlinks
def test_no_manifest_is_read_through_a_link(dest: Path) -> None:
    manifest = dest / ".bidsshare" / "manifest-md5.txt"
    shutil.move(manifest, dest.parent / "manifest")
    manifest.symlink_to("../../manifest")
    with pytest.raises(VerifyError, match=r"manifest-md5\.txt cannot be read"):
        verify(dest, 1)
    shutil.move(dest / ".bidsshare", dest.parent / "notes")
    (dest / ".bidsshare").symlink_to("../notes")
    with pytest.raises(VerifyError, match="symbolic link"):
        verify(dest, 1)


def test_manifests_in_the_words_of_other_tools(dest: Path) -> None:
    manifest = dest / ".bidsshare" / "manifest-md5.txt"
    lines = manifest.read_bytes().splitlines(keepends=True)
    digest, path = lines[0].split(b"  ", 1)
    manifest.write_bytes(b"".join([digest.upper() + b" *./" + path, *reversed(lines[1:])]))
    assert faults(dest) == {}


def test_given_up_early_no_thread_stays(dest: Path) -> None:
    before = threading.active_count()
    verdicts = verify(dest, 2)
    next(verdicts)
    verdicts.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before


def test_nothing_is_written(dest: Path) -> None:
    before = {p: p.lstat().st_mtime_ns for p in [dest, *dest.rglob("*")]}
    list(verify(dest, 2))
    assert {p: p.lstat().st_mtime_ns for p in [dest, *dest.rglob("*")]} == before
