"""What lies in a target: looked at and removed, through no link."""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.disk import inside
from datalad_bidsshare.disk.names import TEMPORARY
from datalad_bidsshare.export.tree import Standing, Tree
from tests.dataset.builders import HOSTILE_NAMES
from tests.platforms import needs_posix, needs_symlinks


@pytest.fixture(params=["relative", "by path"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """As the system can, and as Windows has to."""
    if request.param == "by path":
        monkeypatch.setattr(inside, "_RELATIVE", False)
    elif not inside._RELATIVE:
        pytest.skip("this system cannot work relative to a directory")
    return str(request.param)


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    dest = tmp_path / "dest"
    (dest / "sub-01" / "anat").mkdir(parents=True)
    (dest / "sub-02").mkdir()
    (dest / "sub-01" / "anat" / "a").write_bytes(b"123")
    (dest / "top").write_bytes(b"12345")
    os.utime(dest / "top", ns=(1, 1_234_567_891_123_456_789))
    outside = tmp_path / "outside"
    (outside / "deep").mkdir(parents=True)
    (outside / "victim").write_text("victim")
    (outside / "deep" / "victim").write_text("victim")
    (outside / f"{TEMPORARY}x").write_text("victim")
    return dest


@pytest.fixture
def tree(way: str, dest: Path) -> Iterator[Tree]:
    tree = Tree(dest)
    yield tree
    tree.close()


@contextlib.contextmanager
def somebody_else() -> Iterator[None]:
    """Have no right to do everything, as root has it."""
    if os.geteuid() != 0:
        yield
        return
    os.setresuid(65534, 65534, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)


def everything_in(directory: Path) -> dict[str, bytes | None]:
    return {
        str(p.relative_to(directory)): p.read_bytes()
        if p.is_file() and not p.is_symlink()
        else None
        for p in directory.rglob("*")
    }


def stat_of(file: Path) -> tuple[int, int]:
    status = os.lstat(file)
    return status.st_size, status.st_mtime_ns


def test_what_stands_at_a_path(tree: Tree, dest: Path) -> None:
    size, mtime_ns = stat_of(dest / "top")
    assert tree.standing("top") == Standing(5, mtime_ns, "file")
    assert size == 5
    assert tree.standing("sub-01/anat/a") == (*stat_of(dest / "sub-01/anat/a"), "file")
    for path, kind in {"sub-01": "directory", "sub-01/anat": "directory"}.items():
        found = tree.standing(path)
        assert found is not None
        assert found.kind == kind
    for path in (
        "none",
        "sub-01/none",
        "sub-01/anat/none",
        "none/a/b",
        "sub-02/a/b/c",
        "sub-01/anat/a2",
    ):
        assert tree.standing(path) is None, path
    # a file where a directory would have to be
    for path in ("top/a", "top/a/b", "sub-01/anat/a/b"):
        found = tree.standing(path)
        assert found is not None
        assert found.kind == "other"
    assert tree.scan("sub-01/anat") == {"a": stat_of(dest / "sub-01/anat/a")}
    assert tree.scan("") == {"top": (size, mtime_ns)}
    assert tree.scan("sub-02") == tree.scan("none") == tree.scan("top") == {}


@needs_symlinks
def test_links_are_seen_and_never_followed(tree: Tree, dest: Path) -> None:
    outside = dest.parent / "outside"
    (dest / "link").symlink_to(outside / "victim")
    (dest / "dangling").symlink_to("none")
    (dest / "loop").symlink_to("loop")
    (dest / "out").symlink_to(outside)
    (dest / "sub-01" / "in").symlink_to("anat")
    paths = ["link", "dangling", "loop", "out", "out/victim", "out/deep/victim", "out/none/x"]
    for path in [*paths, "sub-01/in", "sub-01/in/a", "loop/x", "dangling/x"]:
        found = tree.standing(path)
        assert found is not None, path
        assert found.kind == "link", path
    assert tree.scan("out") == tree.scan("out/deep") == tree.scan("sub-01/in") == {}
    size, mtime_ns = stat_of(outside / "victim")
    for path in ("out/victim", "out/deep/victim", "link"):
        assert not tree.remove(path, size, mtime_ns)
        assert not tree.remove(path, *stat_of(dest / path))
    assert not tree.remove("sub-01/in/a", *stat_of(dest / "sub-01/anat/a"))
    (outside / "empty").mkdir()
    (outside / "deep" / "empty").mkdir()
    assert tree.prune(["out/empty", "out/deep/empty", "out", "link", "sub-01/in"]) == []
    assert tree.remove_temporary() == []
    assert (outside / "empty").is_dir()
    assert (outside / f"{TEMPORARY}x").is_file()
    assert (dest / "sub-01/anat/a").is_file()
    assert all((dest / name).is_symlink() for name in ("link", "dangling", "loop", "out"))


@needs_symlinks
def test_a_link_that_comes_after_the_directory_was_read(tree: Tree, dest: Path) -> None:
    assert tree.standing("sub-01/anat/a") is not None
    (dest / "sub-01" / "anat").rename(dest / "was")
    (dest / "sub-01" / "anat").symlink_to(dest.parent / "outside")
    (dest.parent / "outside" / "a").write_bytes(b"123")
    os.utime(dest.parent / "outside" / "a", ns=(1, stat_of(dest / "was/a")[1]))
    assert not tree.remove("sub-01/anat/a", *stat_of(dest / "was/a"))
    assert (dest.parent / "outside" / "a").is_file()
    found = tree.standing("sub-01/anat/deep/victim")
    assert found is None or found.kind == "link"


@needs_posix
def test_special_files(tree: Tree, dest: Path) -> None:
    os.mkfifo(dest / "fifo")
    found = tree.standing("fifo")
    assert found is not None
    assert found.kind == "other"
    assert tree.scan("").keys() == {"top"}
    assert not tree.remove("fifo", found.size, found.mtime_ns)


def test_names_of_every_kind(tree: Tree, dest: Path) -> None:
    names = [name.rpartition(b"/")[2] for name in HOSTILE_NAMES]
    directory = "sub-02/d"
    for name in names:
        inner = os.path.join(os.fsencode(dest), b"sub-02/d", name)
        os.makedirs(inner)
        with open(os.path.join(inner, name), "wb") as file:
            file.write(name)
    for name in names:
        path = f"{directory}/{decode(name)}/{decode(name)}"
        found = tree.standing(path)
        assert found is not None
        assert (found.size, found.kind) == (len(name), "file")
        assert tree.remove(path, found.size, found.mtime_ns)
        assert tree.standing(path) is None
    removed = tree.prune([directory, *(f"{directory}/{decode(n)}" for n in names)])
    assert len(removed) == len(names) + 1
    assert not (dest / directory).exists()


def test_any_order_gives_the_same_answers(tree: Tree, dest: Path) -> None:
    for sub in ("sub-01", "sub-01/anat", "sub-01/anat/x", "sub-01/dwi", "sub-01-x", "sub-02/z"):
        (dest / sub).mkdir(exist_ok=True)
        for name in ("a", "b", "c"):
            (dest / sub / name).write_text(sub + name)
    paths = [str(p.relative_to(dest)).replace(os.sep, "/") for p in dest.rglob("*")]
    paths += [f"{p}{end}" for p in list(paths) for end in ("/none", "-none")]
    expected = {}
    for path in paths:
        if os.path.lexists(dest / path):
            kind = "directory" if (dest / path).is_dir() else "file"
            expected[path] = Standing(*stat_of(dest / path), kind)  # type: ignore[arg-type]
        elif (dest / path).parent.is_dir():
            expected[path] = None
        else:
            expected[path] = Standing(0, 0, "other")
    for seed in range(20):
        random.Random(seed).shuffle(paths)
        assert {p: tree.standing(p) for p in paths} == expected
    # no more is held than the directories on the way to the last
    assert len(tree._listings) <= 5


def test_only_the_file_that_is_meant_is_removed(tree: Tree, dest: Path) -> None:
    size, mtime_ns = stat_of(dest / "top")
    assert not tree.remove("top", size + 1, mtime_ns)
    assert not tree.remove("top", size, mtime_ns + 1)
    assert not tree.remove("none", size, mtime_ns)
    assert not tree.remove("none/none", size, mtime_ns)
    assert not tree.remove("top/none", size, mtime_ns)
    assert not tree.remove("sub-02", *stat_of(dest / "sub-02"))
    assert not tree.remove("../outside/victim", *stat_of(dest.parent / "outside" / "victim"))
    assert not tree.remove("sub-02/../top", size, mtime_ns)
    assert (dest / "top").is_file()
    assert (dest.parent / "outside" / "victim").is_file()
    assert tree.standing("top") is not None
    assert tree.remove("top", size, mtime_ns)
    assert not (dest / "top").exists()
    # and what was known of it is forgotten
    assert tree.standing("top") is None
    assert not tree.remove("top", size, mtime_ns)


@needs_posix
def test_a_file_that_cannot_be_removed_is_an_error(tree: Tree, dest: Path) -> None:
    if inside._RELATIVE is False:
        pytest.skip("the other user cannot get here by path")
    meant = stat_of(dest / "sub-01/anat/a")
    (dest / "sub-01" / "anat").chmod(0o555)
    with somebody_else(), pytest.raises(PermissionError):
        tree.remove("sub-01/anat/a", *meant)
    (dest / "sub-02").chmod(0o000)
    with somebody_else():
        with pytest.raises(PermissionError):
            tree.standing("sub-02/a")
        assert tree.standing("top") is not None
    (dest / "sub-01" / "anat").chmod(0o755)
    (dest / "sub-02").chmod(0o755)
    assert (dest / "sub-01/anat/a").is_file()


def test_empty_directories_are_removed_innermost_first(tree: Tree, dest: Path) -> None:
    (dest / "x" / "y" / "z").mkdir(parents=True)
    (dest / "x" / "full").mkdir()
    (dest / "x" / "full" / "foreign").write_text("")
    (dest / "p" / "q").mkdir(parents=True)
    assert tree.standing("p/q") is not None
    asked = ["x", "x/y", "x/y/z", "x/full", "p", "p/q", "", "none", "none/a", "top", "../outside"]
    assert sorted(tree.prune(asked)) == ["p", "p/q", "x/y", "x/y/z"]
    assert (dest / "x" / "full" / "foreign").exists()
    assert dest.is_dir()
    assert tree.standing("p/q") is None


def test_temporary_files_are_removed(tree: Tree, dest: Path) -> None:
    before = everything_in(dest)
    stale = [
        f"{TEMPORARY}1",
        f"sub-01/{TEMPORARY}2",
        f"sub-01/anat/{TEMPORARY}3",
        f".bidsshare/{TEMPORARY}",
    ]
    (dest / ".bidsshare").mkdir()
    for path in stale:
        (dest / path).write_text("half")
    (dest / "sub-02" / f"not{TEMPORARY}").write_text("user's")
    (dest / "sub-02" / f"{TEMPORARY}directory").mkdir()
    (dest / "sub-02" / f"{TEMPORARY}directory" / "kept").write_text("user's")
    assert sorted(tree.remove_temporary()) == sorted(stale)
    after = everything_in(dest)
    assert not set(stale) & set(after)
    assert before.items() <= after.items()
    assert len(after) == len(before) + 4
    assert tree.remove_temporary() == []


@needs_posix
def test_trees_that_are_deeper_than_paths_can_be_long(way: str, tmp_path: Path) -> None:
    if way == "by path":
        pytest.skip("needs directories that are opened one from another")
    # names that sum up to more than PATH_MAX
    name, depth = "d" * 49, 100
    fd = os.open(tmp_path, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir(name, dir_fd=fd)
        inner = os.open(name, os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = inner
    for file in ("f", f"{TEMPORARY}f"):
        os.close(os.open(file, os.O_CREAT | os.O_WRONLY, dir_fd=fd))
    os.close(fd)
    tree = Tree(tmp_path)
    directory = "/".join([name] * depth)
    try:
        assert tree.remove_temporary() == [f"{directory}/{TEMPORARY}f"]
        found = tree.standing(f"{directory}/f")
        assert found is not None
        assert tree.remove(f"{directory}/f", found.size, found.mtime_ns)
        every = ["/".join([name] * n) for n in range(1, depth + 1)]
        assert len(tree.prune(every)) == depth
        assert os.listdir(tmp_path) == []
    finally:
        tree.close()


def test_a_tree_that_is_not_there(way: str, tmp_path: Path) -> None:
    tree = Tree(tmp_path / "none")
    assert tree.standing("a") is tree.standing("a/b") is None
    assert tree.scan("") == {}
    assert not tree.remove("a", 0, 0)
    assert tree.prune(["a"]) == tree.remove_temporary() == []
    tree.close()
    assert os.listdir(tmp_path) == []


@needs_posix
def test_descriptors_are_not_lost(dest: Path) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    (dest / "link").symlink_to(dest.parent / "outside")
    os.mkfifo(dest / "fifo")

    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = count()
    tree = Tree(dest)
    for path in ("top", "sub-01/anat/a", "link/x", "fifo/x", "none/x", "top/x", "sub-01/../x"):
        tree.standing(path)
        tree.remove(path, 0, 0)
        tree.prune([path])
    tree.remove_temporary()
    tree.close()
    tree.close()
    assert count() == before


@needs_posix
def test_a_tree_deeper_than_there_may_be_open_files(tmp_path: Path) -> None:
    import resource

    path = "/".join("d" * 400)
    (tmp_path / path).mkdir(parents=True)
    (tmp_path / path / "file").write_bytes(b"123")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (250, before[1]))
    tree = Tree(tmp_path)
    try:
        found = tree.standing(f"{path}/file")
        assert found is not None
        assert found.size == 3
        assert tree.standing(f"{path[:-2]}/none") is None
        assert tree.standing("d/none") is None
    finally:
        tree.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
