"""Keys, held against git-annex's own reading of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.keys import (
    bytesize_of_key,
    file_of_key,
    key_of_file,
    key_of_link,
    key_of_pointer,
    object_paths,
)
from tests.dataset.builders import annex_repo, git
from tests.platforms import needs_posix, needs_symlinks

KEYS = [
    "SHA256E-s6--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03.nii.gz",
    "MD5E-s1000--7644672d049290f0390d9c993c7d343d.nii",
    "SHA1--f572d396fae9206628714fb2ce00f72e94f2258f",
    "WORM-s3-m1289672605--some file",
    "URL--http://example.org/%20/a&b/x.nii.gz",
    "URL-s123--https&c%%example.org/x:y",
    "SHA256E-s10-S5-C2--5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03",
    "XBACKEND-s12--anything-s7--else",
]

TARGETS = [
    b".git/annex/objects/zK/02/%b/%b",
    b"../../.git/annex/objects/zK/02/%b/%b",
    b"/elsewhere/.git/annex/objects/zK/02/%b/%b",
    b"..\\.git\\annex\\objects\\zK\\02\\%b\\%b",
    b".git/annex/objects/%b",
    b".git/annex/object/%b",
    b"annex/objects/zK/02/%b/%b",
    b"xannex/objects/zK/02/%b/%b",
    b".git/annex/objects/zK/02/%b/%bx/",
    b"%b",
]
MALFORMED = [
    b".git/annex/objects/../../x",
    b".git/annex/objects/",
    b".git/annex/objects",
    b".git/annex/objects/aa/bb/nokey/nokey",
    b".git/annex/objects/aa/bb/SHA256E-s6/SHA256E-s6",
    b".git/annex/objects/aa/bb/--x/--x",
    b".git/annex/objects/aa/bb/MD5-sX--0/MD5-sX--0",
    b"../secret",
    b"/etc/passwd",
]
EMPTY_NAME = b".git/annex/objects/aa/bb/MD5-s3--/MD5-s3--"


@pytest.mark.parametrize("key", KEYS)
def test_file_names_of_keys(key: str) -> None:
    assert "/" not in file_of_key(key)
    assert key_of_file(file_of_key(key)) == key


def test_names_that_git_annex_would_not_write_are_no_keys() -> None:
    assert key_of_file("URL--http:x") is None
    assert key_of_file("MD5--a&z") is None


def test_sizes() -> None:
    assert [bytesize_of_key(k) for k in KEYS] == [6, 1000, None, 3, None, 123, 10, 12]
    assert bytesize_of_key("no key") is None


@pytest.mark.parametrize("digits", [20, 5000, 30_000])
def test_sizes_that_no_file_has_make_no_key(digits: int) -> None:
    key = f"MD5E-s{'9' * digits}--x"
    assert bytesize_of_key(key) is None
    assert key_of_file(key) is None
    assert key_of_pointer(f"/annex/objects/{key}\n".encode()) is None
    assert key_of_link(f".git/annex/objects/aa/bb/{key}/{key}".encode()) is None
    # the other numbers of a key are not read
    assert bytesize_of_key(f"MD5E-s3-m{'9' * digits}--x") == 3


@pytest.fixture(scope="module")
def oracle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return annex_repo(tmp_path_factory.mktemp("oracle") / "ds", {}, {"x": b"x"})


def asked(oracle: Path, names: list[str]) -> list[str | None]:
    given = git(
        oracle, "annex", "lookupkey", "--batch", text="".join(f"{n}\n" for n in names).encode()
    )
    return [line or None for line in given.split("\n")[: len(names)]]


@needs_posix
@needs_symlinks
def test_links_as_git_annex_reads_them(oracle: Path) -> None:
    targets = [t.replace(b"%b", file_of_key(k).encode()) for t in TARGETS for k in KEYS]
    targets += [EMPTY_NAME, *MALFORMED]
    names = []
    for i, target in enumerate(targets):
        names.append(f"link-{i}")
        os.symlink(target, os.fsencode(oracle / names[-1]))
    git(oracle, "add", "-A")
    theirs = asked(oracle, names)
    ours = [key_of_link(t) for t in targets]
    # Stricter on purpose: what ends in a slash, or climbs, is no link that git-annex writes.
    differing = [(t, o, a) for t, o, a in zip(targets, ours, theirs, strict=True) if o != a]
    assert [d for d in differing if d[1] is not None] == []
    assert all(t.endswith(b"/") for t, _, _ in differing)
    assert ours.count(None) < len(ours) - 30
    assert ours[-len(MALFORMED) :] == [None] * len(MALFORMED)


@pytest.mark.parametrize("between", [b"../..", b".", b"a//b", b"zK/../.."])
def test_links_that_climb_are_not_annexed(between: bytes) -> None:
    assert key_of_link(b".git/annex/objects/" + between + b"/" + KEYS[0].encode()) is None


def test_pointers_as_git_annex_reads_them(oracle: Path) -> None:
    key = KEYS[0].encode()
    contents = [b"/annex/objects/" + file_of_key(k).encode() + b"\n" for k in KEYS]
    contents += [
        b"/annex/objects/" + key,
        b"/annex/objects/" + key + b"\r\n",
        b"/annex/objects/" + key + b"\n/annex/more\n",
        b"/annex/objects/" + key + b"\n/annex/more",
        b"/annex/objects/" + key + b"\nmore\n",
        b"/annex/objects/" + key + b"\n\n",
        b"/annex/objects/" + key + b"\n" + b"/annex/" + b"x" * 40_000 + b"\n",
        b" /annex/objects/" + key + b"\n",
        b"../../.git/annex/objects/zK/02/" + key + b"/" + key,
        b"../../.git/annex/objects/zK/02/" + key + b"/" + key + b"\n",
        b"/annex/objects/" + key + b"\r",
        b"text before\n/annex/objects/" + key + b"\n",
        b'{"x": ".git/annex/objects/' + key + b'"}\n',
        b"/annex/objects/nokey\n",
        b"/annex/objects/../../x\n",
        b"/annex/objects/\n",
        b"annex/objects/" + key + b"\n",
        b"",
    ]
    names = []
    for i, content in enumerate(contents):
        names.append(f"pointer-{i}")
        (oracle / names[-1]).write_bytes(content)
    git(oracle, "-c", "filter.annex.clean=", "-c", "filter.annex.process=", "add", "-A")
    theirs = asked(oracle, names)
    ours = [key_of_pointer(c) for c in contents]
    assert dict(zip(contents, ours, strict=True)) == dict(zip(contents, theirs, strict=True))
    assert None in ours and KEYS[4] in ours


def test_object_directories_are_git_annexs(source: Path, tmp_path: Path) -> None:
    from tests.dataset.builders import infos

    git(tmp_path, "clone", "-q", "--bare", str(source), "bare.git")
    bare = tmp_path / "bare.git"
    git(bare, "annex", "init", "-q")
    annexed = [i for i in infos(source) if i.key is not None]
    assert len(annexed) > 10
    git(bare, "annex", "get", "-q", "--all")
    for info in annexed:
        assert info.key is not None
        mixed, lower = object_paths(info.key)
        assert (source / ".git" / "annex" / "objects" / mixed).is_file()
        assert (bare / "annex" / "objects" / lower).is_file()
