"""Names that are not exported, or that a target cannot hold."""

from __future__ import annotations

import itertools
from unicodedata import normalize

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalad_bidsshare.disk import names
from datalad_bidsshare.disk.names import (
    Refusals,
    collisions,
    is_internal,
    unfit_names,
    why_refused,
)

INTERNAL = [".git", ".gitattributes", ".gitmodules", ".gitignore", ".datalad", ".noannex"]


def test_internal_names_at_every_depth() -> None:
    for name in INTERNAL:
        for path in (name, f"{name}/x", f"sub-01/{name}", f"sub-01/{name}/a/b", f"sub/x/{name}"):
            assert is_internal(path), path
            assert is_internal(path.upper()), path


@pytest.mark.parametrize(
    "path",
    [
        # what other file systems take for .git
        ".git./config",
        ".git /config",
        ".git. . /config",
        ".GiT/hooks/post-commit",
        ".git::$INDEX_ALLOCATION/config",
        ".git:stream",
        "git~1/config",
        "sub/GIT~1",
        "git~2",
        ".g\u200cit/config",
        "\ufeff.git",
        ".git\u206f",
        "a/.gi\u200dt/b",
        ".\u202egitmodules",
        "a\\.git\\config",
        ".git\\config",
        ".DATALAD./config",
        # what is no path beneath a directory
        "",
        ".",
        "..",
        "../x",
        "a/../b",
        "a/..",
        "a/./b",
        "a//b",
        "/etc/passwd",
        "a/",
        # our own
        ".bidsshare/files.tsv",
        ".BidsShare",
        ".bidsshare./x",
        ".bidsshare-tmp-0123",
        "sub-01/anat/.bidsshare-tmp-0123",
        "sub-01/.BIDSSHARE-TMP-0123/x",
    ],
)
def test_internal(path: str) -> None:
    assert is_internal(path)


@pytest.mark.parametrize(
    "path",
    [
        "sub-01/anat/sub-01_T1w.nii.gz",
        ".bidsignore",
        ".github/workflows/test.yml",
        ".gitlab-ci.yml",
        ".gitkeep",
        "a.git/x",
        "x/y.git",
        "git/config",
        "gitmodules",
        "datalad/config",
        "code/.bidsshare/x",  # only at the beginning it is an export's
        ".bidsshare2",
        "...",
        "..a",
        "a..",
        "a../b",
        ".hidden",
        " .git",
        "git~",
        "git~1x",
        "back\\slash",
        "\\x",
        "a\\",
        "sub-01/über\udce9",
        "new\nline",
        "git\n",
        "g",
        "~",
    ],
)
def test_not_internal(path: str) -> None:
    assert not is_internal(path)


@settings(deadline=None)
@given(st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1), st.booleans())
def test_the_short_way_and_the_long_way_agree(component: str, inside: bool) -> None:
    # An invisible character sends a path the long way, and changes nothing about its names.
    path = f"sub-01/{component}" if inside else component
    assert is_internal(path) == is_internal(
        f"a/{path}" + "/x\u00e9"
    ) or component.lower().startswith(".bidsshare")


def test_temporary_names_are_those_of_the_copying_process() -> None:
    from datalad_bidsshare.export import copier

    assert copier.TEMPORARY == names.TEMPORARY


def test_collisions_of_case_and_normal_forms() -> None:
    composed, decomposed = "n\u00e9", "ne\u0301"
    groups = [
        ["a/sub-01_T1w.nii", "a/sub-01_t1w.nii", "a/SUB-01_T1W.NII"],
        [composed, decomposed, composed.upper()],
        ["stra\u00dfe", "STRASSE"],
        ["\u03a3", "\u03c3", "\u03c2"],
        ["k\u212a", "kk"],
        ["x\u200cy", "xy"],
    ]
    alone = ["a/sub-01_T2w.nii", "b/sub-01_T1w.nii", "ne", "sub-1", "sub-01", "x/y", "a/a"]
    paths = [*itertools.chain.from_iterable(groups), *alone]
    for order in (paths, paths[::-1], sorted(paths)):
        found = collisions(order)
        assert found.keys() == set(itertools.chain.from_iterable(groups))
        for group in groups:
            for path in group:
                assert found[path] != path
                assert found[path] in group


def test_where_case_counts_only_normal_forms_collide() -> None:
    paths = ["A", "a", "n\u00e9", "ne\u0301", "N\u00c9", "d/A", "D/a"]
    found = collisions(paths, case_insensitive=False)
    assert found == {"n\u00e9": "ne\u0301", "ne\u0301": "n\u00e9"}


def test_a_file_in_the_way_of_a_directory() -> None:
    paths = ["Sub/x/1", "Sub/x/2", "other/x", "sub"]
    for order in (paths, paths[::-1]):
        found = collisions(order)
        assert found.keys() == {"Sub/x/1", "Sub/x/2", "sub"}
        assert found["sub"].startswith("Sub/x/")
        assert found["Sub/x/1"] == found["Sub/x/2"] == "sub"
    deeper = collisions(["a/B", "a/b/c/d"])
    assert deeper == {"a/B": "a/b/c/d", "a/b/c/d": "a/B"}


def test_directories_that_become_one() -> None:
    paths = ["sub-A/x", "sub-a/y", "sub-a/deep/er/z", "sub-b/x", "top", "q/Sub-A/x"]
    for order in (paths, paths[::-1]):
        found = collisions(order)
        assert found.keys() == {"sub-A/x", "sub-a/y", "sub-a/deep/er/z"}
        assert found["sub-A/x"].startswith("sub-a/")
        assert found["sub-a/y"] == found["sub-a/deep/er/z"] == "sub-A/x"
    # also when one of the files is in the way of the other
    found = collisions(["D/f", "d/F", "d/g", "e/f"])
    assert found.keys() == {"D/f", "d/F", "d/g"}
    assert (found["D/f"], found["d/F"], found["d/g"]) == ("d/F", "D/f", "D/f")


def test_a_path_that_comes_twice_collides_with_nothing() -> None:
    assert collisions(["a/b", "a/" + "b", "c"]) == {}
    assert collisions([]) == {}


_NAMES = st.sampled_from(["a", "A", "b", "\u00e9", "e\u0301", "\u00c9", "ss", "\u00df"])


@settings(deadline=None)
@given(
    st.lists(
        st.lists(_NAMES, min_size=1, max_size=3).map("/".join), max_size=8, unique=True
    )
)  # fmt: skip
def test_collisions_are_what_a_model_of_such_a_file_system_says(paths: list[str]) -> None:
    # Without files that are directories as well: git has no such trees.
    paths = [p for p in paths if not any(q.startswith(f"{p}/") for q in paths)]

    def fold(path: str) -> str:
        return normalize("NFC", normalize("NFC", path).casefold())

    def prefixes(path: str) -> list[str]:
        parts = path.split("/")
        return ["/".join(parts[: n + 1]) for n in range(len(parts))]

    spelled: dict[str, set[str]] = {}
    for path in paths:
        for prefix in prefixes(path):
            spelled.setdefault(fold(prefix), set()).add(prefix)
    expected = {p for p in paths if any(len(spelled[fold(q)]) > 1 for q in prefixes(p))}
    found = collisions(paths)
    assert found.keys() == expected
    for path, other in found.items():
        assert other != path
        assert other in expected


def test_refused_names() -> None:
    usual = "sub-01/anat/sub-01_T1w.nii.gz"
    everything = Refusals('"*:<>?\\|\x01\n', trailing=True, undecodable=True, devices=True)
    assert why_refused(usual, everything) is None
    assert why_refused(usual, Refusals()) is None
    anything = ["a:b", "a.", "a /b", "\udce9", "con", "nul.txt/x", "-]^"]
    assert [why_refused(p, Refusals()) for p in anything] == [None] * len(anything)
    for path, said in {
        "a/b:c": "the character ':'",
        "back\\slash": r"the character '\\'",
        "new\nline": r"the character '\n'",
        "a\x01": r"the character '\x01'",
        "dot.": "a dot at the end",
        "dot./x": "a dot at the end",
        "space ": "a space at the end",
        "a/space /x": "a space at the end",
        "latin\udce9": "bytes that are not Unicode (UTF-8)",
        "sub/CON": "the name of a device (CON)",
        "nul.nii.gz": "the name of a device (nul)",
        "com1/x": "the name of a device (com1)",
        "LPT\u00b9.txt": "the name of a device (LPT\u00b9)",
    }.items():
        assert why_refused(path, everything) == said
    for path in ("dot.x", " space", "a b/c", "icon", "con1", "console.txt", "xcon", "com10", "com"):
        assert why_refused(path, everything) is None, path


def test_unfit_names() -> None:
    paths = ["A", "a", "b:c", ".git/config", "sub/.datalad/x", "fine", "\u00e9", "e\u0301"]
    none = unfit_names(paths, case_insensitive=False, normalising=False)
    assert none == {".git/config": "", "sub/.datalad/x": ""}
    folded = unfit_names(
        iter(paths), case_insensitive=True, normalising=False, refusals=Refusals(":")
    )
    assert folded.keys() == set(paths) - {"fine"}
    assert "takes its name and a for one" in folded["A"]
    assert "takes its name and A for one" in folded["a"]
    assert "cannot have the character ':'" in folded["b:c"]
    assert all("--exclude" in why for why in folded.values() if why)
    assert [folded[p] for p in none] == ["", ""]
    normal = unfit_names(paths, case_insensitive=False, normalising=True)
    assert {p for p, why in normal.items() if why} == {"\u00e9", "e\u0301"}


def test_what_is_refused_collides_with_nothing() -> None:
    unfit = unfit_names(
        ["x:", "X:", "y", ".git", ".GIT"],
        case_insensitive=True,
        normalising=True,
        refusals=Refusals(":"),
    )
    assert unfit.keys() == {"x:", "X:", ".git", ".GIT"}
    assert "for one" not in unfit["x:"] + unfit["X:"] + unfit[".git"]
