"""Objects of an annex, as they lie on the disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.errors import NotADatasetError
from datalad_bidsshare.dataset.objects import Object, info_of, objects_below, walk_objects
from datalad_bidsshare.dataset.presence import Annex
from tests.dataset.builders import annex_repo, clone_of, git, infos
from tests.dataset.conftest import Ria
from tests.platforms import needs_symlinks
from tests.process_log import ProcessLog


def walked(root: Path) -> dict[str, Object]:
    found = list(walk_objects(root))
    by_key = {o.key: o for o in found}
    assert len(by_key) == len(found)
    return by_key


def test_every_object_and_nothing_else(source: Path, process_log: ProcessLog) -> None:
    described = infos(source)
    process_log.clear()
    found = walked(source)
    assert process_log.count() == 0
    assert set(found) == {i.key for i in described if i.key is not None}
    annex = Annex(source)
    assert annex.objects is not None
    for info in described:
        one = found.get(info.key or "")
        if one is not None:
            assert one.path == annex.find(info)
            seen = os.lstat(annex.objects / one.path)
            assert (one.bytesize, one.links) == (info.bytesize, 1)
            assert (one.device, one.inode) == (seen.st_dev, seen.st_ino)
    assert process_log.count() == 0


def test_what_is_absent_is_not_found(clone: Path) -> None:
    assert walked(clone) == {}


def test_names_of_every_kind_come_back(tmp_path: Path) -> None:
    # Keys of this backend hold the name of the file, and what the name holds.
    files: dict[bytes | str, bytes] = {
        "per%cent": b"1", "a:b": b"2", "am&p": b"3", "new\nline": b"4", b"latin-\xe9": b"5",
        "sp ace": b"6",
    }  # fmt: skip
    root = tmp_path / "ds"
    root.mkdir()
    git(root, "init", "-q")
    git(root, "annex", "init", "-q")
    git(root, "config", "annex.backend", "WORM")
    for name, content in files.items():
        Path(os.fsdecode(os.path.join(os.fsencode(root), os.fsencode(name)))).write_bytes(content)
    git(root, "annex", "add", "-q", ".")
    git(root, "commit", "-q", "-m", "content")
    assert set(walked(root)) == {i.key for i in infos(root)}


def test_sizes_on_the_disk(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"big": os.urandom(1 << 20), "small": b"x"}, {})
    for info in infos(root):
        one = walked(root)[info.key or ""]
        assert one.bytesize == info.bytesize
        # Blocks, as `du` counts them.
        assert one.allocated % 512 == 0
        assert one.path == "" or one.allocated >= one.bytesize > 0


def test_when_it_was_used_is_the_latest_that_the_disk_tells(source: Path, tmp_path: Path) -> None:
    clone = clone_of(source, tmp_path / "clone")
    git(clone, "annex", "get", "-q", "sub-01/sub-01_T1w.nii.gz")
    (found,) = walked(clone).values()
    objects = Annex(clone).objects
    assert objects is not None
    file = objects / found.path
    # As of old: when it came here is in the time of the inode alone.
    os.utime(file, (1_000_000_000, 1_000_000_000))
    (again,) = walked(clone).values()
    seen = file.stat()
    assert seen.st_atime == seen.st_mtime == 1_000_000_000
    assert again.used == seen.st_ctime >= found.used
    os.utime(file, (9_000_000_000, 1_000_000_000))
    (again,) = walked(clone).values()
    assert again.used == 9_000_000_000


@needs_symlinks
def test_names_of_one_content_share_an_inode(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"a": b"A" * 5000}, {})
    git(root, "config", "annex.thin", "true")
    git(root, "annex", "unlock", "-q", "a")
    git(root, "annex", "fix", "-q", ".")
    (found,) = walked(root).values()
    seen = (root / "a").stat()
    assert found.links == 2
    assert (found.device, found.inode) == (seen.st_dev, seen.st_ino)


def test_no_annex_no_objects(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q", "plain")
    assert walked(tmp_path / "plain") == {}
    with pytest.raises(NotADatasetError):
        walked(tmp_path)


def test_strays_are_left_out(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"a": b"A"}, {})
    (found,) = walked(root).values()
    objects = root / ".git/annex/objects"
    key_directory = (objects / found.path).parent
    key_directory.chmod(0o755)
    (key_directory / f"{found.key}.lck").touch()
    (objects / "stray").write_bytes(b"")
    (objects / "a/b/c/d/e").mkdir(parents=True)
    (objects / "a/b/no key").mkdir()
    (objects / "a/b/no key/no key").write_bytes(b"x")
    # The directory of a key with nothing in it, and one with something else
    (objects / "a/b/MD5-s1--empty").mkdir()
    (objects / "a/b/MD5-s1--deep/MD5-s1--deep").mkdir(parents=True)
    assert walked(root) == {found.key: found}


@needs_symlinks
def test_links_are_not_followed(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"a": b"A"}, {})
    (found,) = walked(root).values()
    objects = root / ".git/annex/objects"
    other = annex_repo(tmp_path / "other", {"b": b"B"}, {})
    (objects / "xx").symlink_to(other / ".git/annex/objects")
    (objects / "yy/zz/MD5-s1--x").mkdir(parents=True)
    (objects / "yy/zz/MD5-s1--x/MD5-s1--x").symlink_to(tmp_path / "ds/.git/HEAD")
    assert set(walked(root)) == {found.key}


@needs_symlinks
def test_a_borrowed_annex_has_no_objects_of_ours(ria: Ria, tmp_path: Path) -> None:
    import datalad.api as dl

    root = tmp_path / "ephemeral"
    dl.clone(ria.url, root, reckless="ephemeral", result_renderer="disabled")
    assert Annex(root).find(infos(root, "a.nii")[0]) is not None
    assert walked(root) == {}


def test_both_layouts_and_a_layout_of_its_own(tmp_path: Path, ria: Ria) -> None:
    (bare,) = (p.parent.parent for p in ria.store.glob("???/*/annex/objects"))
    assert set(walked(bare)) == {i.key for i in infos(ria.source) if i.key}
    root = tmp_path / "tuned"
    root.mkdir()
    git(root, "init", "-q")
    git(root, "-c", "annex.tune.objecthash1=true", "annex", "init", "-q")
    (root / "a").write_bytes(b"A")
    git(root, "annex", "add", "-q", "a")
    git(root, "commit", "-q", "-m", "a")
    (found,) = walked(root).values()
    assert found.path.count("/") == 2
    assert (root / "a").readlink() == Path(".git/annex/objects", found.path)


def test_those_of_repositories_that_nothing_leads_to(source: Path, tmp_path: Path) -> None:
    root = clone_of(source, tmp_path / "super/.git/modules/old name")
    assert list(objects_below(tmp_path)) == []
    git(root, "annex", "get", "-q", "sub-02")
    (tmp_path / "link").symlink_to(source)
    below = list(objects_below(tmp_path))
    objects = Annex(root).objects
    assert sorted(below) == sorted(f"{objects}/{o.path}" for o in walked(root).values())
    assert below


def test_what_goes_meanwhile_is_left_out(source: Path, tmp_path: Path) -> None:
    root = clone_of(source, tmp_path / "clone")
    git(root, "annex", "get", "-q", "sub-02", "sub-03")
    found = walk_objects(root)
    next(found)
    subprocess_free_removal(root / ".git/annex/objects")
    list(found)


def subprocess_free_removal(directory: Path) -> None:
    for path, _, _ in os.walk(directory):
        os.chmod(path, 0o755)
    shutil.rmtree(directory)


def test_an_object_is_described_without_a_file(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"a": b"A"}, {})
    (found,) = walked(root).values()
    info = info_of(found)
    assert (info.key, info.bytesize, info.path) == (found.key, 1, "")
    assert Annex(root).find(info) == found.path
