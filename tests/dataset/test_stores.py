"""Reading objects where they lie."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.beneath import read_beneath
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.stores import Store, stores
from tests.dataset.builders import annex_repo, clone_of, git, infos, objects_of
from tests.dataset.conftest import Ria
from tests.platforms import MAKES_SYMLINKS, needs_symlinks
from tests.process_log import ProcessLog


def read(store: Store, key: str | None) -> bytes | None:
    path = store.find(key or "")
    return None if path is None else read_beneath(store.objects, path, 10**6)


def contents(root: Path, found: list[Store]) -> dict[str, list[bytes | None]]:
    """Read every annexed file in every store."""
    return {i.path: [read(s, i.key) for s in found] for i in infos(root) if i.key}


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return annex_repo(tmp_path / "small", {"a": b"A" * 10, "b c": b"BC"}, {"x.json": b"{}"})


HELD = {"a": [b"A" * 10], "b c": [b"BC"]}


def test_origin_in_all_its_spellings(small: Path, tmp_path: Path) -> None:
    clone = clone_of(small, tmp_path / "clone here")
    for url in (
        str(small),
        f"{small}/",
        f"{small}/.git",
        f"file://{small}",
        f"file://{tmp_path}/%73mall",
        "../small",
        "./../small/.git",
        f"{tmp_path}/clone here/../small",
        "short:small",
    ):
        git(clone, "config", f"url.{tmp_path}/.insteadOf", "short:")
        git(clone, "config", "remote.origin.url", url)
        found = stores(clone)
        assert [(s.name, s.objects) for s in found] == [
            ("origin", small / ".git" / "annex" / "objects")
        ], url
        assert contents(clone, found) == HELD


def test_a_clone_that_git_annex_ignores_and_a_bare_one(small: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", "--bare", str(small), "bare.git")
    git(tmp_path / "bare.git", "annex", "init", "-q")
    git(tmp_path / "bare.git", "annex", "get", "-q", "--all")
    clone = clone_of(small, tmp_path / "clone")
    git(clone, "remote", "rename", "origin", "worktree")
    git(clone, "config", "remote.worktree.annex-ignore", "true")
    # git adds what is missing
    git(clone, "remote", "add", "bare", str(tmp_path / "bare"))
    found = stores(clone)
    assert [s.name for s in found] == ["worktree", "bare"]
    assert contents(clone, found) == {name: held * 2 for name, held in HELD.items()}


def test_each_once_and_never_its_own(small: Path, tmp_path: Path) -> None:
    clone = clone_of(small, tmp_path / "clone")
    git(clone, "remote", "add", "again", f"file://{small}/.git")
    git(clone, "remote", "add", "itself", str(clone))
    assert [s.name for s in stores(clone)] == ["origin"]
    assert stores(small) == []


def test_what_is_not_here(small: Path, tmp_path: Path) -> None:
    clone = clone_of(small, tmp_path / "clone")
    (tmp_path / "plain").mkdir()
    (tmp_path / "file").write_text("x")
    for i, url in enumerate(
        [
            "ssh://host.invalid/small",
            f"host.invalid:{small}",
            "me@host.invalid:../small",
            "https://host.invalid/small",
            f"http://localhost{small}",
            f"file://host.invalid{small}",
            f"rsync://host.invalid{small}",
            f"ext::sh -c touch% {tmp_path}/ran",
            str(tmp_path / "none"),
            str(tmp_path / "plain"),
            str(tmp_path / "file"),
            "",
            "~",
        ]
    ):
        git(clone, "config", f"remote.r{i}.url", url)
    git(clone, "config", "remote.nothing.fetch", "+refs/heads/*:refs/remotes/nothing/*")
    git(clone, "config", "remote.dir.annex-directory", str(tmp_path / "gone"))
    assert [s.name for s in stores(clone)] == ["origin"]
    small.rename(tmp_path / "moved")
    assert stores(clone) == []
    assert not (tmp_path / "ran").exists()
    with pytest.raises(DatasetError):
        stores(tmp_path / "none")


def test_directory_special_remote(small: Path, tmp_path: Path) -> None:
    for name, options in (
        ("plain", ["encryption=none"]),
        ("chunked", ["encryption=none", "chunk=4"]),
        ("encrypted", ["encryption=shared"]),
        ("tree", ["encryption=none", "exporttree=yes"]),
    ):
        (tmp_path / name).mkdir()
        git(
            small,
            *("annex", "initremote", name, "type=directory", f"directory={tmp_path / name}"),
            *options,
        )
        if name == "tree":
            git(small, "annex", "export", "-q", "HEAD", "--to", name)
        else:
            git(small, "annex", "copy", "-q", "--to", name)
    found = stores(small)
    assert [s.objects for s in found] == [
        tmp_path / n for n in ("plain", "chunked", "encrypted", "tree")
    ]
    # the two bytes are one chunk, which has its own key
    assert contents(small, found) == {n: [h[0], None, None, None] for n, h in HELD.items()}
    # not enabled in a clone, but by its own choice
    clone = clone_of(small, tmp_path / "clone")
    assert [s.name for s in stores(clone)] == ["origin"]
    git(clone, "annex", "enableremote", "plain", f"directory={tmp_path / 'plain'}")
    assert [s.name for s in stores(clone)] == ["origin", "plain"]


def ria_clone(ria: Ria, tmp_path: Path, url: str | None = None) -> Path:
    import datalad.api as dl

    return Path(dl.clone(url or ria.url, tmp_path / "clone", result_renderer="disabled").path)


RIA_HELD = {"a.nii": [b"A" * 1000], "b.nii": [b"B" * 2000]}


def objects_in(store: Path) -> Path:
    (objects,) = store.glob("???/*/annex/objects")
    return objects


def test_ria_store(ria: Ria, tmp_path: Path) -> None:
    clone = ria_clone(ria, tmp_path)
    found = stores(clone)
    # by its alias
    assert [(s.name, s.objects) for s in found] == [("origin", objects_in(ria.store))]
    assert contents(clone, found) == RIA_HELD
    # by the special remote alone
    git(clone, "remote", "set-url", "origin", "ssh://host.invalid/x")
    found = stores(clone)
    assert [(s.name, s.objects) for s in found] == [("ria-storage", objects_in(ria.store))]
    assert contents(clone, found) == RIA_HELD
    # and where the dataset was made
    assert contents(ria.source, stores(ria.source)) == RIA_HELD


def new_ria(tmp_path: Path, layout: str) -> tuple[Path, Path]:
    """Make a dataset, and a store for it, whose objects have a layout."""
    import datalad.api as dl

    ds = dl.create(tmp_path / "ds", result_renderer="disabled")
    (ds.pathobj / "a.nii").write_bytes(b"A" * 1000)
    (ds.pathobj / "b.nii").write_bytes(b"B" * 2000)
    ds.save(result_renderer="disabled")
    store = tmp_path / "new store"
    ds.create_sibling_ria(
        f"ria+file://{store}", name="new", new_store_ok=True, result_renderer="disabled"
    )
    (objects_in(store).parents[1] / "ria-layout-version").write_text(f"{layout}\n")
    ds.push(to="new", result_renderer="disabled")
    return ds.pathobj, store


@pytest.mark.parametrize(("layout", "letters"), [("1", 3), ("2", 2)])
def test_ria_store_in_both_layouts(tmp_path: Path, layout: str, letters: int) -> None:
    root, store = new_ria(tmp_path, layout)
    git(root, "remote", "remove", "new")
    (found,) = stores(root)
    assert (found.name, found.objects) == ("new-storage", objects_in(store))
    assert contents(root, [found]) == RIA_HELD
    places = [found.find(i.key) or "" for i in infos(root) if i.key]
    assert {len(p.split("/")[0]) for p in places} == {letters}


def test_settings_of_a_ria_store(ria: Ria, tmp_path: Path) -> None:
    clone = ria_clone(ria, tmp_path)
    git(clone, "remote", "remove", "origin")
    shutil.copytree(ria.store, tmp_path / "moved store", symlinks=True)

    def where() -> list[Path]:
        return [s.objects for s in stores(clone)]

    assert where() == [objects_in(ria.store)]
    # moved, as the user says in the clone
    git(clone, "config", "remote.ria-storage.ora-url", f"ria+file://{tmp_path}/moved%20store")
    assert where() == [objects_in(tmp_path / "moved store")]
    git(clone, "config", "remote.ria-storage.ora-url", "lab:moved store")
    assert where() == []
    git(clone, "config", f"url.ria+file://{tmp_path}/.insteadOf", "lab:")
    assert where() == [objects_in(tmp_path / "moved store")]
    # read over the network, written here
    for url in ("ria+ssh://host.invalid/store", "ria+https://host.invalid/store"):
        git(clone, "config", "remote.ria-storage.ora-url", url)
        assert where() == []
        git(clone, "config", "remote.ria-storage.ora-push-url", f"ria+file://{ria.store}")
        assert where() == [objects_in(ria.store)]
        git(clone, "config", "--unset", "remote.ria-storage.ora-push-url")
    git(clone, "config", "--unset", "remote.ria-storage.ora-url")
    # renamed here, changed for all by somebody
    git(clone, "config", "--rename-section", "remote.ria-storage", "remote.other")
    git(clone, "annex", "enableremote", "other", f"url=ria+file://{tmp_path}/moved store")
    assert where() == [objects_in(tmp_path / "moved store")]
    # an identifier is a part of a path
    (line,) = git(clone, "cat-file", "blob", "git-annex:remote.log").splitlines()
    assert "moved&32;store" in line
    uuid = line.split()[0]
    for identifier in ("../../../x", "..", "a/b", ""):
        log = f"{uuid} archive-id={identifier} url=ria+file://{ria.store} timestamp=1s\n"
        commit_log(clone, log)
        assert where() == []
    # the newest line counts; nonsense does not harm
    commit_log(clone, f"{line}\n{uuid} archive-id=none url=x timestamp=12s\n{uuid}\n\nx y=z\n")
    assert where() == [objects_in(tmp_path / "moved store")]
    git(clone, "update-ref", "-d", "refs/heads/git-annex")
    assert where() == []


def commit_log(root: Path, text: str) -> None:
    """Commit a remote.log to the git-annex branch."""
    blob = git(root, "hash-object", "-w", "--stdin", text=text.encode()).strip()
    tree = git(root, "mktree", text=f"100644 blob {blob}\tremote.log\n".encode()).strip()
    git(
        root,
        "update-ref",
        "refs/heads/git-annex",
        git(root, "commit-tree", "-m", "x", tree).strip(),
    )


def test_age_old_settings_of_a_ria_store(ria: Ria, tmp_path: Path) -> None:
    clone = ria_clone(ria, tmp_path)
    git(clone, "remote", "remove", "origin")
    uuid = git(clone, "config", "remote.ria-storage.annex-uuid").strip()
    identifier = "".join(objects_in(ria.store).parts[-4:-2])
    for host, there in (("ssh-host=0", True), ("", True), ("ssh-host=host.invalid", False)):
        log = f"{uuid} archive-id={identifier} base-path={ria.store} {host} timestamp=1s\n"
        commit_log(clone, log)
        assert [s.objects for s in stores(clone)] == [objects_in(ria.store)] * there


@needs_symlinks
def test_ephemeral_clone(ria: Ria, tmp_path: Path) -> None:
    import datalad.api as dl

    root = tmp_path / "ephemeral"
    dl.clone(ria.url, root, reckless="ephemeral", result_renderer="disabled")
    # the store is its annex
    assert stores(root) == []


def test_keys_that_are_no_file_names(tmp_path: Path) -> None:
    root, _ = new_ria(tmp_path, "2")
    git(root, "remote", "remove", "new")
    directory = tmp_path / "directory"
    directory.mkdir()
    git(root, *f"annex initremote dir type=directory directory={directory} encryption=none".split())
    keys = ["WORM-s3-m1--100%&:b", "URL--http://example.org/x?z", "URL--x y"]
    for i, key in enumerate(keys):
        (root / f"content {i}").write_bytes(b"c%d\n" % i)
        git(root, "annex", "setkey", key, f"content {i}")
        git(root, "annex", "fromkey", "--force", key, f"file {i}")
    git(root, "annex", "copy", "-q", "--to", "dir", "file 0", "file 1", "file 2")
    # git-annex cannot tell helpers about spaces
    git(root, "annex", "copy", "-q", "--to", "new-storage", "file 0", "file 1")
    ora, plain = stores(root)
    assert [read(ora, key) for key in keys] == [b"c0\n", b"c1\n", None]
    assert [read(plain, key) for key in keys] == [b"c0\n", b"c1\n", b"c2\n"]
    # none of them climbs
    for key in ("URL--../../../../../../../../../../../etc/passwd", "URL--/etc/passwd", ".", ".."):
        assert [store.find(key) for store in (ora, plain)] == [None, None]


def test_what_is_no_object(small: Path, tmp_path: Path) -> None:
    clone = clone_of(small, tmp_path / "clone")
    (found,) = stores(clone)
    info = infos(clone, "a")[0]
    (file,) = objects_of(small, info.key or "")
    file.write_bytes(b"A" * 9)
    # cut off: another store, or git-annex, may have the whole
    assert found.find(info.key or "") is None
    file.write_bytes(b"B" * 10)
    assert read(found, info.key) == b"B" * 10
    file.unlink()
    assert found.find(info.key or "") is None
    file.mkdir()
    assert found.find(info.key or "") is None
    if MAKES_SYMLINKS:
        file.rmdir()
        (tmp_path / "secret").write_bytes(b"S" * 10)
        file.symlink_to(tmp_path / "secret")
        assert found.find(info.key or "") is None
        # seen, but not read: through a link that leads out
        file.unlink()
        file.parent.rmdir()
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / file.name).write_bytes(b"S" * 10)
        file.parent.symlink_to(tmp_path / "out")
        assert read(found, info.key) is None


def test_two_processes_that_start_no_annex(
    ria: Ria, tmp_path: Path, process_log: ProcessLog
) -> None:
    clone = ria_clone(ria, tmp_path)
    for i in range(5):
        git(clone, "remote", "add", f"r{i}", f"ria+ssh://host.invalid/{i}")
    process_log.clear()
    (found,) = stores(clone)
    assert process_log.count() == 2
    for info in infos(ria.source):
        process_log.clear()
        found.find(info.key or "x")
        assert process_log.count() == 0


def test_only_this_clone_and_its_user_say_where_remotes_are(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git(tmp_path, "init", "-q", "plain")
    root = tmp_path / "plain"
    (root / ".datalad").mkdir()
    (root / ".datalad" / "config").write_text(f'[remote "evil"]\n\turl = {small}\n')
    (root / ".gitmodules").write_text(f'[remote "evil"]\n\turl = {small}\n')
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "x")
    assert stores(root) == []
    config = tmp_path / "user"
    config.write_text(f'[remote "mine"]\n\turl = {small}\n[remote]\n\tpushDefault = x\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))
    assert [s.name for s in stores(root)] == ["mine"]
