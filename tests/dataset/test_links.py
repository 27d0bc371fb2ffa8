"""Where tracked symbolic links lead."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalad_bidsshare.dataset.blobs import read_blobs
from datalad_bidsshare.dataset.links import LinkError, resolve_link
from datalad_bidsshare.dataset.listing import Index, decode, encode, read_index
from tests.dataset.builders import add_link, annex_repo
from tests.platforms import needs_posix_names, needs_symlinks


def made_up(files: list[str], links: dict[str, str], mounts: tuple[str, ...] = ()) -> Index:
    """An index that holds files and links, all of one made up blob."""
    paths = sorted([*files, *links], key=encode)
    prefixes = [f"{'120000' if p in links else '100644'} {'0' * 40} 0\t" for p in paths]
    return Index(paths, dict.fromkeys(mounts, "1" * 40), "".join(prefixes).encode(), 50, (7, 47))


def resolve(path: str, files: list[str], links: dict[str, str], *mounts: str) -> str:
    return resolve_link(path, made_up(files, links, mounts), links.__getitem__)


ANNEXED = ".git/annex/objects/aa/bb/MD5E-s1--0123/MD5E-s1--0123"
FILES = ["a", "d/b", "d/e/c", "d-/x", "z/.git"]


@pytest.mark.parametrize(
    ("target", "end"),
    [
        ("../a", "a"),
        ("b", "d/b"),
        ("./e/../b", "d/b"),
        (".//e//c", "d/e/c"),
        ("../annexed", "annexed"),
        ("../to-a", "a"),
        ("../to-to-a", "a"),
        ("../to-annexed", "annexed"),
        ("../to-d/b", "d/b"),
        # the parent of where a link leads, and not of where it lies
        ("../to-e/../b", "d/b"),
        ("../to-e/to-c", "d/e/c"),
        ("../to-slash/b", "d/b"),
    ],
)
def test_leads_to_a_tracked_file(target: str, end: str) -> None:
    links = {
        "annexed": ANNEXED,
        "to-a": "a",
        "to-to-a": "./to-a",
        "to-annexed": "annexed",
        "to-d": "d",
        "to-slash": "d/",
        "to-e": "d/e",
        "d/e/to-c": "c",
        "d/link": target,
    }
    assert resolve("d/link", FILES, links) == end


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("/etc/passwd", "absolute"),
        ("//etc/passwd", "absolute"),
        ("/", "absolute"),
        ("../../secret", "out of the dataset"),
        ("../../../../../../etc/passwd", "out of the dataset"),
        # though it may come back
        ("../../ds/a", "out of the dataset"),
        ("..", "directory"),
        (".", "directory"),
        ("e", "directory"),
        ("e/", "directory"),
        ("../.git/config", r"into \.git"),
        ("../.GIT/config", r"into \.git"),
        ("../to-git", r"into \.git"),
        ("../.git", r"into \.git"),
        ("none", "not tracked"),
        ("none/../b", "not tracked"),
        ("../d-", "directory"),
        ("b/", "which is a file"),
        ("b/.", "which is a file"),
        ("b/..", "which is a file"),
        ("b/x", "which is a file"),
        ("../annexed/x", "which is a file"),
        ("../a/../d/b", "which is a file"),
        ("link", "circles"),
        ("../loop-1", "circles"),
        ("../into-loop/x", "circles"),
        ("../sub/x", "subdataset"),
        ("../sub", "subdataset"),
        ("../su", "not tracked"),
        ("", "nowhere"),
        ("../empty", "nowhere"),
        ("b\0", "nowhere"),
        ("../to-etc/passwd", "absolute"),
        # git-annex writes none like these: they are links like any other
        (".git/annex/objects/../../config", "not tracked"),
        ("../.git/annex/objects/a/../../../config", r"into \.git"),
    ],
)
def test_leads_nowhere(target: str, reason: str) -> None:
    links = {
        "annexed": ANNEXED,
        "to-git": ".git/config",
        "to-etc": "/etc",
        "loop-1": "loop-2",
        "loop-2": "./loop-1",
        "into-loop": "d/../loop-1",
        "empty": "",
        "d/link": target,
    }
    with pytest.raises(LinkError, match=reason):
        resolve("d/link", FILES, links, "sub")


def test_as_many_links_as_the_system_follows() -> None:
    links = {f"{i}": f"{i - 1}" for i in range(1, 100)}
    assert resolve("40", ["0"], links) == "0"
    with pytest.raises(LinkError, match="too many"):
        resolve("41", ["0"], links)


def test_what_is_no_link() -> None:
    assert resolve("a", FILES, {}) == "a"
    assert resolve("annexed", FILES, {"annexed": ANNEXED}) == "annexed"


@needs_posix_names
def test_with_a_real_index(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"annexed \u00e9": b"x"}, {"d/plain": b"y"})
    add_link(root, "1", "annexed \u00e9")
    add_link(root, "2", "d")
    add_link(root, "3", "2/plain")
    index = read_index(root)

    def read_link(path: str) -> str:
        ((_, content),) = read_blobs(root, [index[path].oid], 5000)
        return decode(content or b"")

    assert [resolve_link(p, index, read_link) for p in "13"] == ["annexed \u00e9", "d/plain"]
    with pytest.raises(LinkError, match="directory"):
        resolve_link("2", index, read_link)


NAMES = st.sampled_from(["a", "b", "c"])
PLACES = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
TARGETS = st.lists(
    st.sampled_from(["a", "b", "c", "..", ".", "", "d"]), min_size=1, max_size=5
).map("/".join)


@needs_symlinks
@settings(max_examples=300, deadline=None)
@given(st.dictionaries(PLACES, st.none() | TARGETS, min_size=1, max_size=12))
def test_agrees_with_the_system(wanted: dict[str, str | None]) -> None:
    with tempfile.TemporaryDirectory() as base:
        root = os.path.join(os.path.realpath(base), "ds")
        files: list[str] = []
        links: dict[str, str] = {}
        for path, target in wanted.items():
            parents = path.split("/")[:-1]
            # a path that would be file and directory, or lead through a link, cannot be made
            if any("/".join(parents[: i + 1]) in (*files, *links) for i in range(len(parents))):
                continue
            place = os.path.join(root, path)
            if os.path.lexists(place):
                continue
            os.makedirs(os.path.dirname(place), exist_ok=True)
            if target:
                links[path] = target
                os.symlink(target, place)
            else:
                files.append(path)
                Path(place).write_text("x")
        index = made_up(files, links)
        for path in links:
            try:
                real = os.path.realpath(os.path.join(root, path), strict=True)
                # Python takes 'file/..' for a path, the system does not
                os.stat(os.path.join(root, path))
                inside = real.startswith(root + os.sep) and os.path.isfile(real)
                expected = os.path.relpath(real, root) if inside else None
            except OSError:
                expected = None
            try:
                found = resolve_link(path, index, links.__getitem__)
            except LinkError:
                found = None
            assert found == expected
