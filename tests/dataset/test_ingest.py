"""A private tree becomes what `git annex add` makes of the same files in the user's work tree."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.commits import NewCommit, check_difference, write_commits
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.ingest import Ingested, ingest
from datalad_bidsshare.dataset.keys import bytesize_of_key
from datalad_bidsshare.dataset.landing import land
from datalad_bidsshare.dataset.listing import decode, read_tree
from datalad_bidsshare.dataset.presence import present
from datalad_bidsshare.dataset.state import own_git_directory, read_head, unsaved
from tests.dataset.builders import HOSTILE_NAMES, git, infos
from tests.platforms import needs_posix, needs_symlinks
from tests.process_log import ProcessLog

pytestmark = [needs_symlinks, needs_posix]

# Unlocked, git-annex cannot add what is no UTF-8, and forgets to tell git of names of two lines.
_NO_UNLOCKED = [
    n for n in HOSTILE_NAMES if n.decode("utf-8", "replace").encode() != n or b"\n" in n
]
FILES: dict[bytes, bytes] = {
    b"top.nii.gz": b"\0top" * 50,
    b"text.txt": b"some text\n",
    b"empty.txt": b"",
    b"a/deep/er/file.nii.gz": b"\0deep" * 50,
    b"a/deep/er/notes.txt": b"more text\n",
    b"a/deep/same.nii.gz": b"\0deep" * 50,
    b"a/ignored.log": b"ignored\n",
    b"a/run.sh": b"#!/bin/sh\n",
    b".hidden": b"hidden\n",
    b".cache/x.nii.gz": b"\0cache",
    b"sub-01/pointer.txt": b"/annex/objects/",
    **{name: b"content of " + name for name in HOSTILE_NAMES},
}


def write_files(top: Path, files: dict[bytes, bytes] = FILES) -> None:
    for name, content in files.items():
        path = os.path.join(os.fsencode(top), name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        if name.endswith(b".sh"):
            os.chmod(path, 0o755)


def _attributes(text: str, directory: str = "") -> Callable[[Path], None]:
    def write(root: Path) -> None:
        (root / directory).mkdir(parents=True, exist_ok=True)
        with (root / directory / ".gitattributes").open("a") as file:
            file.write(text)

    return write


def _config(name: str, value: str) -> Callable[[Path], None]:
    return lambda root: git(root, "config", name, value) and None


def _annex_config(name: str, value: str) -> Callable[[Path], None]:
    return lambda root: git(root, "annex", "config", "--set", name, value) and None


def _info_attributes(root: Path) -> None:
    (root / ".git" / "info").mkdir(exist_ok=True)
    (root / ".git" / "info" / "attributes").write_text("*.txt annex.largefiles=nothing\n")


def _sparse(root: Path) -> None:
    git(root, "config", "core.sparseCheckout", "true")
    (root / ".git" / "info" / "sparse-checkout").write_text("/*\n")


TEXT2GIT = "* annex.largefiles=((mimeencoding=binary)and(largerthan=0))\n"
RULES: dict[str, list[Callable[[Path], None]]] = {
    "none": [],
    "text2git": [_attributes(TEXT2GIT)],
    "backend": [_attributes("* annex.backend=MD5E\n*.txt annex.backend=SHA1\n")],
    "below": [
        _attributes("* annex.backend=MD5E\n"),
        _attributes("*.txt annex.largefiles=nothing\n", "a"),
        _attributes("*.gz annex.backend=SHA1E\n", "a/deep/er"),
        _attributes("* annex.largefiles=nothing\n", "b"),
    ],
    "nothing": [_attributes("* annex.largefiles=nothing\n")],
    "configured": [_config("annex.largefiles", "include=*.gz")],
    "in the annex's branch": [_annex_config("annex.largefiles", "include=*.gz")],
    "dotfiles": [_config("annex.dotfiles", "true")],
    "unlocked": [_config("annex.addunlocked", "true")],
    "partly unlocked": [_config("annex.addunlocked", "include=*.txt")],
    "of this clone": [_info_attributes],
    "line ends": [_attributes("*.txt text eol=crlf annex.largefiles=nothing\n")],
    "sparse": [_sparse],
    "cached": [_config("core.untrackedCache", "true"), _config("core.splitIndex", "true")],
    "adjusted": [_attributes(TEXT2GIT), lambda r: git(r, "annex", "adjust", "--unlock") and None],
}


def files_for(unlocked: bool) -> dict[bytes, bytes]:
    return {n: c for n, c in FILES.items() if not (unlocked and n in _NO_UNLOCKED)}


def _save(root: Path) -> None:
    git(root, "annex", "add", "-q", ".")
    git(root, "add", "-A")
    git(root, "commit", "-q", "--allow-empty", "-m", "rules")


def new_annex(root: Path, *options: str) -> Path:
    root.mkdir(parents=True)
    git(root, "init", "-q")
    git(root, *options, "annex", "init", "-q", "here")
    (root / ".gitignore").write_text("*.log\n")
    git(root, "add", ".gitignore")
    git(root, "commit", "-q", "-m", "first")
    return root


def taken_in(root: Path, files: dict[bytes, bytes] = FILES) -> dict[str, Ingested]:
    """Bring files into a dataset the way that is tested, and leave nothing of it."""
    head = read_head(root)
    work = own_git_directory(root) / "bidsshare" / "work"
    tree = work / "tree"
    write_files(tree, files)
    before = git(root, "ls-files", "-s"), os.listdir(root)
    ingested = ingest(root, tree, work / "index", read_tree(root, head.commit))
    # neither index nor work tree of the user has changed by it
    assert (git(root, "ls-files", "-s"), os.listdir(root)) == before
    changes = tuple(i.change for i in ingested.values())
    (commit,) = write_commits(root, head.commit, [NewCommit("x\n", changes)])
    check_difference(root, head.commit, commit, {c.path: c for c in changes})
    land(root, head, commit, "test", work / "journal")
    subprocess.run(["chmod", "-R", "u+w", str(work)], check=True)
    shutil.rmtree(work)
    return ingested


def staged(root: Path) -> list[str]:
    return git(root, "ls-files", "-s", "-z").split("\0")


def assert_sound(root: Path, files: dict[bytes, bytes] = FILES) -> None:
    """The files are here with their content, and neither git nor git-annex sees a change."""
    for name, content in files.items():
        with open(os.path.join(os.fsencode(root), name), "rb") as file:
            assert file.read() == content
    assert unsaved(root) == []
    assert all(present(root, infos(root)).values())
    git(root, "annex", "fsck", "-q")
    git(root, "annex", "fix", "-q")
    assert unsaved(root) == []


@pytest.mark.parametrize("rules", RULES)
def test_as_git_annex_add_does_it(tmp_path: Path, rules: str) -> None:
    root = new_annex(tmp_path / "ds")
    for rule in RULES[rules]:
        if rule is not RULES[rules][-1] or rules != "adjusted":
            rule(root)
    _save(root)
    if rules == "adjusted":
        RULES[rules][-1](root)
    twin = tmp_path / "twin"
    shutil.copytree(root, twin, symlinks=True)
    files = files_for(rules in ("unlocked", "adjusted"))
    ingested = taken_in(root, files)
    write_files(twin, files)
    git(twin, "annex", "add", "-q", "--no-check-gitignore", ".")
    assert staged(root) == staged(twin)
    assert set(ingested) == {decode(name) for name in files}
    if rules != "line ends":
        assert_sound(root, files)
    assert unsaved(root) == []
    for info in infos(root, *sorted(ingested)):
        found = ingested[info.path]
        assert (found.change.mode, found.change.oid) == (info.mode, info.oid)
        assert (found.key, found.bytesize) == (info.key, info.bytesize)
        if info.key is not None:
            assert found.bytesize == bytesize_of_key(info.key)
    # git-annex takes no names with a newline there
    annexed = [i for i in infos(root) if i.key is not None and "\n" not in i.path]
    names = b"".join(os.fsencode(i.path) + b"\n" for i in annexed)
    said = git(root, "annex", "lookupkey", "--batch", text=names)
    assert said == "".join(f"{i.key}\n" for i in annexed)


def test_a_repository_with_another_layout_of_objects(tmp_path: Path) -> None:
    root = new_annex(tmp_path / "ds", "-c", "annex.tune.objecthashlower=true")
    twin = tmp_path / "twin"
    shutil.copytree(root, twin, symlinks=True)
    taken_in(root)
    write_files(twin)
    git(twin, "annex", "add", "-q", "--no-check-gitignore", ".")
    assert staged(root) == staged(twin)
    assert_sound(root)


def test_a_repository_without_git_annex(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    root.mkdir()
    git(root, "init", "-q")
    (root / ".gitattributes").write_text("*.txt text eol=crlf\n")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    twin = tmp_path / "twin"
    shutil.copytree(root, twin)
    ingested = taken_in(root)
    write_files(twin)
    git(twin, "add", "-A")
    assert staged(root) == staged(twin)
    assert {i.key for i in ingested.values()} == {None}
    assert unsaved(root) == []
    assert not (root / ".git" / "annex").exists()


def test_a_clone_that_git_annex_has_not_seen(tmp_path: Path) -> None:
    origin = new_annex(tmp_path / "origin")
    git(tmp_path, "clone", "-q", str(origin), "clone")
    ingested = taken_in(tmp_path / "clone")
    assert ingested["top.nii.gz"].key
    assert_sound(tmp_path / "clone")


@pytest.mark.parametrize("kind", ["directory", "gitlink", "link"])
def test_a_subdataset(tmp_path: Path, kind: str) -> None:
    import datalad.api as dl

    parent = dl.create(tmp_path / "parent", result_renderer="disabled")
    root = Path(parent.create("inner/sub", result_renderer="disabled").path)
    if kind != "directory":
        moved = tmp_path / "parent" / ".git" / "modules" / "sub"
        moved.parent.mkdir()
        shutil.move(root / ".git", moved)
        if kind == "link":
            (root / ".git").symlink_to("../../.git/modules/sub")
        else:
            # git-annex makes a link of it when it comes by
            (root / ".git").write_text("gitdir: ../../.git/modules/sub\n")
            git(root, "config", "core.worktree", "../../../inner/sub")
    assert unsaved(root) == []
    taken_in(root)
    assert_sound(root)
    assert unsaved(tmp_path / "parent") == ["inner/sub"]


@pytest.mark.parametrize("branch", ["locked", "adjusted"])
def test_a_linked_work_tree_of_the_user(tmp_path: Path, branch: str) -> None:
    origin = new_annex(tmp_path / "origin")
    root = tmp_path / "linked"
    git(origin, "worktree", "add", "-q", "-b", "linked", str(root))
    before = git(origin, "status", "--porcelain"), staged(origin)
    if branch == "adjusted":
        git(root, "annex", "adjust", "--unlock", "-q")
    files = files_for(branch == "adjusted")
    ingested = taken_in(root, files)
    modes = {i.change.mode for i in ingested.values() if i.key}
    assert modes == {"120000" if branch == "locked" else "100644"}
    assert_sound(root, files)
    assert (git(origin, "status", "--porcelain"), staged(origin)) == before


def test_an_ephemeral_clone(tmp_path: Path) -> None:
    import datalad.api as dl

    origin = dl.create(tmp_path / "origin", result_renderer="disabled")
    dl.clone(
        str(origin.path), str(tmp_path / "clone"), reckless="ephemeral", result_renderer="disabled"
    )
    assert (tmp_path / "clone" / ".git" / "annex").is_symlink()
    taken_in(tmp_path / "clone")
    assert_sound(tmp_path / "clone")


def test_a_call_that_was_killed_is_repeated(tmp_path: Path) -> None:
    root = new_annex(tmp_path / "ds")
    tree, index = tmp_path / "tree", tmp_path / "index"
    tracked = read_tree(root, read_head(root).commit)
    write_files(tree)
    first = ingest(root, tree, index, tracked)
    # What a kill leaves: an index, its lock file, links in the place of files
    Path(f"{index}.lock").touch()
    assert ingest(root, tree, index, tracked) == first
    # and when the files are written anew
    shutil.rmtree(tree)
    write_files(tree)
    assert ingest(root, tree, index, tracked) == first


def test_as_many_processes_for_many_as_for_few(tmp_path: Path, process_log: ProcessLog) -> None:
    root = new_annex(tmp_path / "ds")
    _attributes("*.txt annex.largefiles=nothing\n", "a/b")(root)
    _save(root)
    tracked = read_tree(root, read_head(root).commit)
    counts = []
    for number in (10, 200):
        tree = tmp_path / f"tree-{number}"
        files = {b"a/b/%d-%d.%s" % (number, i, e): b"%d" % i for i in range(number // 2)
                 for e in (b"txt", b"nii")}  # fmt: skip
        write_files(tree, files)
        process_log.clear()
        assert len(ingest(root, tree, tmp_path / "index", tracked)) == number
        counts.append(process_log.count())
    assert counts[0] == counts[1] < 30


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs root")
@pytest.mark.parametrize("what", ["full", "fills up", "full, for git", "read-only"])
def test_a_disk_that_takes_no_more(
    tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=40m", "none", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs a system on which tests may mount")
    try:
        root = new_annex(disk / "ds")
        if what == "full, for git":
            shutil.rmtree(root / ".git" / "annex")
            git(root, "update-ref", "-d", "refs/heads/git-annex")
            git(root, "config", "--remove-section", "filter.annex")
        work = root / ".git" / "bidsshare"
        files = {b"a/%d.nii" % i: os.urandom(50_000) for i in range(10)}
        write_files(work / "tree", files)
        tracked = read_tree(root, read_head(root).commit)
        if what == "fills up":
            # As if there had been room before. git-annex itself would never end.
            monkeypatch.setattr("datalad_bidsshare.dataset.ingest._LEAST_ROOM", 0)
            monkeypatch.setattr("datalad_bidsshare.dataset.full_disk._PATIENCE", 1.0)
        if what != "read-only":
            with (disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError):
                while filler.write(b"x" * 4096):
                    pass
        else:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        expected = "next: make room" if what != "read-only" else "next: ask for write access"
        with pytest.raises(DatasetError, match=expected):
            ingest(root, work / "tree", work / "index", tracked)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        (disk / "filler").unlink(missing_ok=True)
        # What was done before is no hindrance.
        assert len(ingest(root, work / "tree", work / "index", tracked)) == 10
        assert unsaved(root) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    root = new_annex(tmp_path / "ds")
    tree = tmp_path / "tree"
    tree.mkdir()
    os.mkfifo(tree / "fifo")
    with pytest.raises(DatasetError, match="git did not take 'fifo'"):
        ingest(root, tree, tmp_path / "index", read_tree(root, read_head(root).commit))
