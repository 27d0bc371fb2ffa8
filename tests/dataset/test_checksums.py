"""Checksums of keys, held against the keys that git-annex makes."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.checksums import (
    DEFAULT,
    DIGITS,
    Checksum,
    checksum_of_key,
    new_hasher,
)
from tests.dataset.builders import PATIENCE, git

CONTENT = b"content of a file\n" * 1000

# Backends of git-annex whose checksums Python's hashlib cannot compute.
NOT_COVERED = {
    "SKEIN256", "SKEIN512", "BLAKE2BP512", "BLAKE2SP224", "BLAKE2SP256", "BLAKE3_256", "XXH3",
}  # fmt: skip
# No checksum at all, not of files, or external
WITHOUT = {"WORM", "URL", "VURL", "GITBUNDLE", "GITMANIFEST", "X*"}


def annex_backends() -> list[str]:
    """Ask the installed git-annex which backends it has."""
    done = subprocess.run(
        ["git", "annex", "version"], capture_output=True, text=True, check=True, timeout=PATIENCE
    )
    line = next(x for x in done.stdout.splitlines() if x.startswith("key/value backends:"))
    return line.partition(":")[2].split()


@pytest.fixture(scope="module")
def annex(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("checksums")
    git(root, "init", "-q")
    git(root, "annex", "init", "-q", "here")
    (root / "sub-01_bold.nii.gz").write_bytes(CONTENT)
    (root / "empty").touch()
    return root


def test_every_backend_of_git_annex_is_covered_or_known_not_to_be(annex: Path) -> None:
    covered, not_covered = set(), set()
    backends = [b for b in annex_backends() if b not in WITHOUT]
    for backend in backends:
        key = git(annex, "annex", "calckey", f"--backend={backend}", "sub-01_bold.nii.gz").strip()
        assert key.startswith(f"{backend}-s{len(CONTENT)}--")
        checksum = checksum_of_key(key)
        if checksum is None:
            not_covered.add(backend.removesuffix("E"))
            continue
        covered.add(backend)
        hasher = new_hasher(checksum.algorithm)
        hasher.update(CONTENT[:10])
        hasher.update(memoryview(CONTENT)[10:])
        assert key.partition("--")[2].split(".")[0] == checksum.digest == hasher.hexdigest()
        assert key.endswith(".nii.gz") == backend.endswith("E")
    # Older ones have not all of them.
    assert not_covered <= NOT_COVERED
    assert {"MD5", "MD5E", "SHA1E", "SHA256E", "SHA512", "SHA3_256E", "BLAKE2B256E"} <= covered
    assert {c.removesuffix("E") for c in covered} | not_covered == {
        b.removesuffix("E") for b in backends
    }


def test_an_empty_file_has_a_checksum(annex: Path) -> None:
    key = git(annex, "annex", "calckey", "--backend=MD5E", "empty").strip()
    assert checksum_of_key(key) == ("md5", new_hasher("md5").hexdigest())


HELLO = "5891b5b522d5df086d0ff0b110fbd9d21bb4fc7163af34d08286a2e846f6be03"


@pytest.mark.parametrize(
    "key",
    [
        f"SHA256-s6--{HELLO}",
        f"SHA256E-s6--{HELLO}.nii.gz",
        f"SHA256E--{HELLO}",
        # git-annex verifies these as well.
        f"SHA256-s6--{HELLO}.txt",
        f"SHA256-s6--\\{HELLO}",
        f"SHA256E-s6-m1289672605--{HELLO}.a b.c",
    ],
)
def test_keys_that_git_annex_verifies(annex: Path, key: str) -> None:
    assert checksum_of_key(key) == Checksum("sha256", HELLO)
    content = annex / "content"
    content.write_bytes(b"hello\n")
    git(annex, "annex", "setkey", key, "content")
    assert "checksum" in git(annex, "annex", "fsck", f"--key={key}")


@pytest.mark.parametrize(
    "key",
    [
        "WORM-s3-m1289672605--some file",
        "URL--http://example.org/x.nii.gz",
        f"URL--{HELLO}",
        f"SHA256E-s10-S5-C2--{HELLO}",
        f"SHA512-s6--{HELLO}",
        f"SHA256-s6--{HELLO[1:]}",
        f"SHA256-s6--{HELLO.upper()}",
        f"SHA256-s6--{HELLO}0",
        f"XSHA256-s6--{HELLO}",
        f"SHA256EE-s6--{HELLO}",
        f"SHA256-s6-{HELLO}",
        "SHA256-s6--",
        "",
    ],
)
def test_keys_without_a_checksum_that_we_know(key: str) -> None:
    assert checksum_of_key(key) is None


def test_digests_have_the_digits_that_are_said() -> None:
    assert DEFAULT in DIGITS
    for algorithm, digits in DIGITS.items():
        assert len(new_hasher(algorithm).hexdigest()) == digits


@pytest.mark.parametrize("algorithm", ["", "sha", "sha256-128", "blake2b-7", "blake2x-256"])
def test_other_algorithms_there_are_none(algorithm: str) -> None:
    with pytest.raises(ValueError, match="unsupported hash type"):
        new_hasher(algorithm)
