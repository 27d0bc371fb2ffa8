"""Path globs mean what they mean in a .gitignore: git itself is asked."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.globs import compile_glob

PATHS = [
    "README", "a", "aa", "ab", "abc", "a.json", "sub-01.html", "dwi", "d/dwi", "d/a", "d/ab/c",
    "d/d/a.json", "sub-01/a", "sub-01/anat/a.json", "sub-01/anat/sub-01_T1w.nii.gz",
    "sub-01/dwi/sub-01_dwi.bval", "sub-02/dwi/sub-02_dwi.bvec", "sub-02/ses-1/dwi/x.nii",
    "sub-10/x/sub-01/y", "weird]name", "a*b", "a[b]", "x!y", "x^y", "back\\slash", "new\nline",
]  # fmt: skip

Ignored = Callable[[str], set[str]]


@pytest.fixture(scope="module")
def ignored(tmp_path_factory: pytest.TempPathFactory) -> Ignored:
    """Give a function that lets git say which of the paths a pattern ignores."""
    root = tmp_path_factory.mktemp("ignoring")
    subprocess.run(["git", "init", "-q", root], check=True)
    listed = "".join(f"{p}\0" for p in PATHS)

    def ask(pattern: str) -> set[str]:
        (root / ".git" / "info" / "exclude").write_text(pattern + "\n")
        done = subprocess.run(
            ["git", "check-ignore", "--no-index", "-z", "--stdin"],
            cwd=root, input=listed, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode in (0, 1), done.stderr
        return set(done.stdout.split("\0")) - {""}

    return ask


def ours(pattern: str) -> set[str]:
    compiled = compile_glob(pattern)
    return {p for p in PATHS if compiled.fullmatch(p)}


@pytest.mark.parametrize(
    ("pattern", "count"),
    [
        ("*.json", 3), ("sub-01/", 5), ("sub-01", 5), ("/sub-01/", 4), ("sub-*/**/dwi", 3),
        ("dwi", 5), ("/dwi", 1), ("**/dwi", 5), ("d/**", 4), ("d/*", 4), ("d/*/a.json", 1),
        ("a?", 3), ("?", 7), ("a**c", 1), ("d**a", 0), ("sub-0[12]/dwi/*", 2),
        ("sub-0[!1]/", 2), ("sub-0[^1]/", 2), ("weird[]]name", 1), ("a[[]b[]]", 1),
        ("a\\*b", 1), ("x[!a-z]y", 2), ("sub-01[+-9]anat", 0), ("sub-01?anat", 0), ("*", 26),
        ("back\\\\slash", 1),
    ],
)  # fmt: skip
def test_git_agrees(ignored: Ignored, pattern: str, count: int) -> None:
    assert ours(pattern) == ignored(pattern)
    assert len(ours(pattern)) == count


_PIECES = st.sampled_from(
    ["*", "**", "?", "/", "a", "b", "d", "sub-01", "sub-0", "dwi", ".json", "anat", "[a-d]",
     "[!a]", "[]a]", "[!]b]", "[*]", "**/", "/**", "\\*", "-", "x"]
)  # fmt: skip


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(pieces=st.lists(_PIECES, min_size=1, max_size=6))
@example(pieces=["**", "a"])
@example(pieces=["d", "/**", "/"])
def test_git_agrees_on_anything(ignored: Ignored, pieces: list[str]) -> None:
    pattern = "".join(pieces)
    # '//' and '***' have no sense of their own, and git's is an accident
    if "//" not in pattern and "***" not in pattern and pattern.strip("/"):
        assert ours(pattern) == ignored(pattern)


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("sub-[01", "has a '\\[' without a ']'"),
        ("sub-[]", "has a '\\[' without a ']'"),
        ("sub-[9-0]", "cannot be read: bad character range"),
        ("sub-[[:digit:]]", "write a range such as \\[0-9\\]"),
    ],
)
def test_a_broken_glob_is_an_error(pattern: str, said: str) -> None:
    with pytest.raises(SelectionError, match=said):
        compile_glob(pattern)


def test_names_without_an_encoding_and_with_line_breaks_match(tmp_path: Path) -> None:
    assert compile_glob("*.nii").fullmatch("sub-01/new\nline\udce9.nii")
    assert compile_glob("sub-01/").fullmatch("sub-01/\n")
