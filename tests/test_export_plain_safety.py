"""What an export must never do: give anything else away, write anywhere else, change its source.

The whole command, on the dataset of `tests.export.hostile` and on small ones.
"""

from __future__ import annotations

import errno
import getpass
import hashlib
import json
import os
import platform
import re
import shutil
import stat
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.dataset.builders import PATIENCE, add_link, annex_repo, clone_of, git, wait_for
from tests.dataset.conftest import for_nobody
from tests.export.exfat import mounted_exfat
from tests.export.hostile import Hostile, add_links, hostile_dataset
from tests.platforms import needs_posix, needs_posix_names, needs_symlinks
from tests.superdatasets import DATALAD, make_dataset

__all__ = ["for_nobody"]

pytestmark = [needs_posix, needs_posix_names, needs_symlinks]

Record = dict[str, Any]

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
needs_mount = pytest.mark.skipif(
    not ROOT or not shutil.which("unshare"), reason="mounting takes root and unshare"
)

SECRET = b"SECRET-outside-of-all-1b7e44c0"


def export(dest: Path | str, *path: str | Path, **arguments: Any) -> list[Record]:
    """Call the command and give all its records, whatever their status."""
    return list(exporting(dest, *path, **arguments))


def exporting(dest: Path | str, *path: str | Path, **arguments: Any) -> Iterator[Record]:
    """Do the same one record after the other."""
    import datalad.api as dl

    quiet = {"on_failure": "ignore", "return_type": "generator", "result_renderer": "disabled"}
    arguments = {**quiet, **arguments}
    # Told apart by DataLad's own types, not by what a generator of its wrapper is.
    yield from dl.export_plain(dest, [str(p) for p in path] or None, **arguments)


def datalad(*arguments: str | Path, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command line."""
    return subprocess.run(
        [str(DATALAD), *map(str, arguments)],
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=PATIENCE,
        check=False,
        **options,
    )


def of_files(records: list[Record]) -> dict[str, Record]:
    """Give the records of files by their target path; each has one."""
    found = [r for r in records if "relpath" in r]
    twice = [path for path, n in Counter(r["relpath"] for r in found).items() if n > 1]
    assert twice == []
    return {r["relpath"]: r for r in found}


def problems(records: list[Record]) -> list[str]:
    """Give the messages of all that went wrong."""
    return [r["message"] for r in records if r["status"] in ("error", "impossible")]


def content_of(dest: Path) -> dict[str, bytes]:
    """Give the data files below a directory. All there is must be files and directories."""
    found: dict[str, bytes] = {}
    for base, directories, files in os.walk(os.fsencode(dest)):
        for name in directories:
            assert stat.S_ISDIR(os.lstat(os.path.join(base, name)).st_mode), name
        for name in files:
            path = os.path.join(base, name)
            status = os.lstat(path)
            assert stat.S_ISREG(status.st_mode), path
            assert status.st_nlink == 1, path
            assert stat.S_IMODE(status.st_mode) in (0o644, 0o755), path
            with open(path, "rb") as file:
                inside = os.path.relpath(path, os.fsencode(dest))
                found[inside.decode("utf-8", "surrogateescape")] = file.read()
    return {path: data for path, data in found.items() if not path.startswith(".bidsshare/")}


def secret_in(directory: Path, *secrets: bytes) -> list[tuple[bytes, str]]:
    """Tell which bytes are in names or contents below a directory, all of it."""
    found = []
    for base, directories, files in os.walk(os.fsencode(directory)):
        for name in directories + files:
            path = os.path.join(base, name)
            content = name
            if os.path.islink(path):
                content += b"\n" + os.readlink(path)
            elif os.path.isfile(path):
                with open(path, "rb") as file:
                    content += b"\n" + file.read()
            found += [(s, os.fsdecode(path)) for s in secrets if s in content]
    return found


def snapshot(root: Path) -> dict[str, tuple[Any, ...]]:
    """Give all that can be told of a dataset, but for what exports note in its git directory.

    Also the times of directories: nothing may even have been made there and removed. Not that of
    the git directory itself, in which the notes are.
    """
    found: dict[str, tuple[Any, ...]] = {}
    for base, directories, files in os.walk(os.fsencode(root)):
        if base == os.fsencode(root / ".git"):
            directories[:] = [d for d in directories if d != b"bidsshare"]
        for name in [*directories, *files]:
            path = os.path.join(base, name)
            status = os.lstat(path)
            told: tuple[Any, ...] = (status.st_mode, status.st_uid, status.st_ino)
            if path != os.fsencode(root / ".git"):
                told += (status.st_mtime_ns, status.st_nlink)
            if stat.S_ISLNK(status.st_mode):
                told += (os.readlink(path),)
            elif stat.S_ISREG(status.st_mode):
                with open(path, "rb") as file:
                    told += (status.st_size, hashlib.sha256(file.read()).hexdigest())
            found[os.fsdecode(path)] = told
    return found


def object_of(root: Path, name: str) -> Path:
    """Give the object of an annexed file, made writable."""
    key = git(root, "annex", "lookupkey", name).strip()
    place = root / git(root, "annex", "contentlocation", key).strip()
    place.parent.chmod(0o755)
    place.chmod(0o644)
    return place


# The hostile dataset


@dataclass
class Exported:
    """The hostile dataset, exported as a whole with what is here."""

    hostile: Hostile
    dest: Path
    records: list[Record]
    before: dict[str, tuple[Any, ...]]
    after: dict[str, tuple[Any, ...]]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Hostile:
    """Not to be changed."""
    return hostile_dataset(tmp_path_factory.mktemp("hostile") / "ds")


@pytest.fixture(scope="module")
def exported(hostile: Hostile, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    dest = tmp_path_factory.mktemp("exported") / "dest"
    before = snapshot(hostile.root)
    records = export(dest, dataset=hostile.root, missing="skip")
    return Exported(hostile, dest, records, before, snapshot(hostile.root))


def expected(hostile: Hostile) -> dict[str, bytes]:
    """Give what an export of all that is present holds."""
    kept = hostile.annexed | hostile.plain
    return kept | {name: kept[end] for name, end in hostile.links.items()}


def without_description(content: dict[str, bytes]) -> dict[str, bytes]:
    """Leave out what is written anew for each export."""
    return {p: c for p, c in content.items() if p != "dataset_description.json"}


def test_no_secret_gets_out(exported: Exported) -> None:
    # The pointer's text is one: the content of what is absent.
    assert exported.hostile.found_in(exported.dest) == []


def test_all_that_is_tracked_and_nothing_else(exported: Exported) -> None:
    found = content_of(exported.dest)
    wanted = expected(exported.hostile)
    assert set(found) == set(wanted)
    assert without_description(found) == without_description(wanted)
    assert json.loads(found["dataset_description.json"])["Name"] == "hostile"


def test_each_file_has_one_record(exported: Exported) -> None:
    hostile = exported.hostile
    records = of_files(exported.records)
    assert set(records) == hostile.tracked() - set(hostile.internal) | {".bidsshare/x"}
    for path in expected(hostile):
        assert records[path]["status"] == "ok", path
    for path, target in hostile.refused.items():
        assert records[path]["status"] == "impossible", path
        assert f"symbolic link to {target!r}" in records[path]["message"]
        assert "not followed: it " in records[path]["message"]
        assert "--exclude" in records[path]["message"]
    for path in hostile.absent:
        # A directory that is a link is seen to be one when the object is opened.
        assert records[path]["status"] in ("impossible", "error"), path
        assert records[path]["message"]
    for path in hostile.corrupt:
        assert records[path]["status"] == "error"
        assert "does not match its key" in records[path]["message"]
        assert "annex fsck" in records[path]["message"]
    assert records[".bidsshare/x"]["status"] == "impossible"


def test_the_dataset_is_not_changed(exported: Exported) -> None:
    assert exported.after == exported.before
    # The corrupt ones are not: that is what is wrong with them.
    # Of names that are no Unicode, git-annex takes none here.
    names = [os.fsencode(name) for name in exported.hostile.annexed if "\udce9" not in name]
    git(exported.hostile.root, "annex", "fsck", "-q", "--", *names)


def test_the_manifest_is_of_what_is_there(exported: Exported) -> None:
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", ".bidsshare/manifest-sha256.txt"],
        cwd=exported.dest, capture_output=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked
    lines = (exported.dest / ".bidsshare/manifest-sha256.txt").read_bytes().splitlines()
    assert len(lines) == len(expected(exported.hostile))
    receipt = json.loads((exported.dest / ".bidsshare/export.json").read_text())
    assert receipt["files"] == len(lines)
    failed = [r for r in of_files(exported.records).values() if r["status"] != "ok"]
    assert receipt["missing"] == len(failed)


@pytest.mark.parametrize(
    "arguments",
    [
        {"missing": "get"},
        {"no_verify": True},
        {"no_receipt": True},
        {"at": "HEAD", "jobs": 1, "exclude": ["*.json"]},
    ],
    ids=lambda arguments: "-".join(arguments) or "plain",
)
def test_whatever_is_asked_for(hostile: Hostile, tmp_path: Path, arguments: dict[str, Any]) -> None:
    dest = tmp_path / "dest"
    arguments = {"missing": "skip", **arguments}
    for more in ({"dry_run": True}, {}, {"checksum": True, "force": True, "delete": True}):
        records = of_files(export(dest, dataset=hostile.root, **{**arguments, **more}))
        assert {r["status"] for p, r in records.items() if p in hostile.refused} == {"impossible"}
        if "dry_run" in more:
            assert not dest.exists()
            continue
        assert {r["status"] for p, r in records.items() if p in hostile.absent} <= {
            "impossible",
            "error",
        }
        assert hostile.found_in(dest) == []
        wanted = expected(hostile)
        found = content_of(dest)
        if arguments.get("no_verify"):
            # Of the same size: what the option is about
            assert found.pop("corrupt-bit.nii")
        if "exclude" in arguments:
            wanted = {p: c for p, c in wanted.items() if not p.endswith(".json")}
        assert without_description(found) == without_description(wanted)
        assert (dest / ".bidsshare").exists() == ("no_receipt" not in arguments)


@pytest.mark.parametrize("ending", [".tar", ".zip"])
def test_no_secret_gets_into_an_archive(hostile: Hostile, tmp_path: Path, ending: str) -> None:
    dest = tmp_path / f"all{ending}"
    records = of_files(export(dest, dataset=hostile.root, missing="skip", archive=True))
    for path in (*hostile.refused, *hostile.absent, *hostile.corrupt):
        assert records[path]["status"] in ("impossible", "error"), path
    unpacked = tmp_path / "unpacked"
    if ending == ".zip":
        with zipfile.ZipFile(dest) as archive:
            members = {m.filename: archive.read(m) for m in archive.infolist()}
            modes = {m.external_attr >> 16 for m in archive.infolist()}
        assert modes == {stat.S_IFREG | 0o644}
    else:
        with tarfile.open(dest) as tar:
            assert all(m.isreg() and m.mode == 0o644 and m.uid == 0 for m in tar.getmembers())
            assert {m.uname + m.gname for m in tar.getmembers()} <= {"", "rootroot"}
            opened = {m.name: tar.extractfile(m) for m in tar.getmembers()}
            members = {name: file.read() for name, file in opened.items() if file is not None}
    unpacked.mkdir()
    for number, (name, content) in enumerate(members.items()):
        (unpacked / str(number)).write_bytes(os.fsencode(name) + b"\n" + content)
    assert hostile.found_in(unpacked) == []
    inside = {n.partition("/")[2] for n in members}
    there = inside if "README" in inside else set(members)
    there = {n for n in there if not n.startswith(".bidsshare/")}
    # A zip holds no names that are no Unicode, or mean directories to some.
    unfit = {p for p in expected(hostile) if ending == ".zip" and ("\\" in p or "\udce9" in p)}
    assert {p for p in expected(hostile) if records[p]["status"] != "ok"} == unfit
    assert there == set(expected(hostile)) - unfit


def test_what_is_asked_for_by_name(hostile: Hostile, tmp_path: Path) -> None:
    """One record, and nothing is made, not even for what is asked for alone."""
    dest = tmp_path / "dest"
    for path in [
        "to-passwd", "to-secret", "sub-01/to-git-config", "to-environ", "to-directory", "loop-1",
        "chain-to-secret", "fake-climbing-out", "through-directory-outside",
    ]:  # fmt: skip
        records = export(dest, hostile.root / path, dataset=hostile.root, companions="none")
        assert [(r["status"], r["relpath"]) for r in records if "relpath" in r] == [
            ("impossible", path)
        ]
        assert hostile.found_in(tmp_path) == []
        assert not dest.exists() or content_of(dest) == {}
    for path in hostile.internal:
        said = problems(export(dest, hostile.root / path, dataset=hostile.root, companions="none"))
        assert len(said) == 1, path
        assert not dest.exists() or content_of(dest) == {}


def test_the_command_line_fails_and_says_why(hostile: Hostile, tmp_path: Path) -> None:
    for dry_run in (["--dry-run"], []):
        done = datalad(
            "export-plain", "-d", hostile.root, tmp_path / "dest", "--missing", "skip", *dry_run
        )
        assert done.returncode == 1
        assert "symbolic link to 'sub-01/to-secret', not followed: " in done.stdout
        assert "not be exported" in done.stdout
        for marker in hostile.markers:
            assert marker.decode("utf-8", "replace") not in done.stdout + done.stderr
    assert hostile.found_in(tmp_path) == []


# Links that lead to what is tracked, and not exported


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A dataset of a few files: annexed with a checksum and without one, and kept in git."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(SECRET)
    root = annex_repo(
        tmp_path / "data" / "ds",
        {"sub-01/a.nii": b"A" * len(SECRET), "sub-02/b.nii": b"B" * 3_000_000},
        {"README": b"read me\n", "sub-01/a.json": b"{}"},
    )
    (root / "sub-01" / "worm.nii").write_bytes(b"W" * len(SECRET))
    git(root, "annex", "add", "-q", "--force-large", "--backend=WORM", "sub-01/worm.nii")
    git(root, "commit", "-q", "-m", "worm")
    return root


SMALL = {"README", "sub-01/a.json", "sub-01/a.nii", "sub-01/worm.nii", "sub-02/b.nii"}


def test_links_to_what_belongs_to_git_or_datalad(small: Path, tmp_path: Path) -> None:
    for name in (".datalad/config", ".gitattributes", ".gitmodules", "sub-01/.gitignore"):
        (small / name).parent.mkdir(exist_ok=True)
        (small / name).write_bytes(b"# " + SECRET + b"\n")
    (small / ".bidsshare").mkdir()
    (small / ".bidsshare/x").write_bytes(SECRET)
    git(small, "-c", "annex.largefiles=nothing", "add", "-f", ".")
    links = {
        "c1": ".datalad/config",
        "c2": "sub-01/../.datalad/config",
        "c3": "to-datalad/config",
        "to-datalad": ".datalad",
        "a": ".gitattributes",
        "m": "m2",
        "m2": ".gitmodules",
        "sub-01/i": ".gitignore",
        "x": ".bidsshare/x",
    }
    add_links(small, links)
    git(small, "commit", "-q", "-m", "links")
    dest = tmp_path / "dest"
    records = of_files(export(dest, dataset=small))
    for name in links:
        assert records[name]["status"] == "impossible", name
        assert records[name]["message"]
    assert secret_in(dest, SECRET) == []
    assert set(content_of(dest)) == SMALL


def test_links_whose_text_is_no_path(small: Path, tmp_path: Path) -> None:
    texts = {"empty": b"", "nul": b"README\0/etc/passwd", "long": b"/x" * 10_000}
    texts["huge"] = b"y" * 20_000_000
    for name, text in texts.items():
        oid = git(small, "hash-object", "-w", "--stdin", text=text).strip()
        git(small, "update-index", "--add", "--cacheinfo", f"120000,{oid},{name}")
    git(small, "commit", "-q", "--no-verify", "-m", "links")
    dest = tmp_path / "dest"
    records = of_files(export(dest, dataset=small))
    for name in texts:
        assert records[name]["status"] == "impossible", name
        assert len(records[name]["message"]) < 500
    assert set(content_of(dest)) == SMALL


def test_links_between_datasets(tmp_path: Path) -> None:
    """What is beneath is one tree when exported; still, no link leads from one to the other."""
    sub = tmp_path / "super" / "sub"
    make_dataset(sub, {"data.nii": "data", "README": "sub"})
    add_links(
        sub, {"up": "../secret.txt", "up-git": "../.git/config", "own": ".git", "ok": "README"}
    )
    git(sub, "commit", "-q", "-m", "links")
    ds = make_dataset(tmp_path / "super", {"secret.txt": SECRET, "README": "super"})
    (tmp_path / "super" / ".git" / "x").write_bytes(SECRET)
    add_links(ds.pathobj, {"down": "sub/data.nii", "modules": ".git/modules", "dir": "sub"})
    ds.save(result_renderer="disabled")
    dest = tmp_path / "dest"
    records = of_files(export(dest, dataset=ds.pathobj, recursive=True))
    refused = {"sub/up", "sub/up-git", "sub/own", "down", "modules", "dir"}
    assert {p for p, r in records.items() if r["status"] == "impossible"} == refused
    assert set(content_of(dest)) == {"README", "secret.txt", "sub/README", "sub/data.nii", "sub/ok"}


# Swapped meanwhile


def swap(place: Path, how: str, outside: Path) -> None:
    """Put something else in the place of an annex object."""
    place.parent.chmod(0o755)
    if how == "directory is a link":
        target = outside / "as-directory"
        target.mkdir(exist_ok=True)
        (target / place.name).write_bytes(SECRET)
        place.parent.rename(outside / "was")
        place.parent.symlink_to(target)
        return
    place.chmod(0o644)
    place.unlink()
    if how == "link":
        place.symlink_to(outside / "secret")
    elif how == "chain":
        (outside / "link").symlink_to("secret")
        place.symlink_to(outside / "link")
    elif how == "fifo":
        os.mkfifo(place)
    elif how == "device":
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    elif how == "directory":
        place.mkdir()
    else:
        assert how == "gone"


SWAPS = ["link", "chain", "directory is a link", "fifo", "device", "directory", "gone"]


@pytest.mark.parametrize("no_verify", [False, True])
@pytest.mark.parametrize("when", ["before", "between"])
def test_objects_that_are_something_else(
    small: Path, tmp_path: Path, no_verify: bool, when: str
) -> None:
    """Also without a checksum, when nothing but the way to it tells that it is another file."""
    swaps = {h: h.replace(" ", "-") for h in SWAPS if h != "device" or ROOT}
    names = {}
    for backend in ("SHA256E", "WORM"):
        for how, word in swaps.items():
            names[f"{backend}/{word}"] = how
            (small / backend).mkdir(exist_ok=True)
            (small / backend / word).write_bytes(os.urandom(len(SECRET)))
        git(small, "annex", "add", "-q", "--force-large", f"--backend={backend}", backend)
    add_link(small, "out", "/etc/passwd")
    git(small, "commit", "-q", "-m", "more")
    dest = tmp_path / "dest"
    places = {name: object_of(small, name) for name in names}
    running = exporting(dest, dataset=small, no_verify=no_verify, missing="skip")
    records = []
    if when == "between":
        # All files have been looked at when the link is reported.
        records.append(next(running))
        assert records[0]["relpath"] == "out"
        assert content_of(dest) == {}
    for number, (name, place) in enumerate(places.items()):
        outside = tmp_path / f"outside-{number}"
        shutil.copytree(tmp_path / "outside", outside)
        swap(place, names[name], outside)
    records += running
    found = of_files(records)
    for name, how in names.items():
        assert found[name]["status"] in ("error", "impossible"), (name, found[name])
        assert found[name]["message"]
        if when == "between" and how == "gone":
            assert "vanished" in found[name]["message"]
    assert set(content_of(dest)) == SMALL
    assert secret_in(dest, SECRET, b".bidsshare-tmp-") == []


def test_an_object_swapped_for_a_link_all_the_time(small: Path, tmp_path: Path) -> None:
    """Nothing but the way to it tells: no checksum, and the secret has the same size."""
    place = object_of(small, "sub-01/worm.nii")
    good, link = place.parent / "good", place.parent / "link"
    good.write_bytes(place.read_bytes())
    link.symlink_to(tmp_path / "outside" / "secret")
    directory = place.parent
    other = tmp_path / "outside" / "as-directory"
    other.mkdir()
    (other / place.name).write_bytes(SECRET)
    stop = threading.Event()

    def swapping() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            for source in (link, good):
                new = directory / f"new-{number % 2}"
                if source is link:
                    new.symlink_to(os.readlink(link))
                else:
                    shutil.copyfile(good, new)
                os.replace(new, place)
            if number % 3 == 0:
                directory.rename(directory.with_name("aside"))
                directory.symlink_to(other)
                directory.unlink()
                directory.with_name("aside").rename(directory)

    thread = threading.Thread(target=swapping)
    thread.start()
    seen: Counter[str] = Counter()
    try:
        for number in range(25):
            dest = tmp_path / "dest" / str(number)
            files = of_files(
                export(
                    dest, small / "sub-01/worm.nii", dataset=small, companions="none",
                    missing="skip", no_verify=bool(number % 2), jobs=1,
                )
            )  # fmt: skip
            seen[files["sub-01/worm.nii"]["status"]] += 1
            assert secret_in(dest, SECRET) == [], number
    finally:
        stop.set()
        thread.join()
    # It was had now and then, and now and then not.
    assert seen["ok"], seen
    assert seen["error"] + seen["impossible"], seen


@pytest.mark.parametrize("no_verify", [False, True])
def test_an_unlocked_file_swapped_in_the_work_tree(
    small: Path, tmp_path: Path, no_verify: bool
) -> None:
    """Its object is gone, so that the work tree alone might have its content."""
    names = ["sub-01/a.nii", "sub-01/worm.nii", "sub-02/b.nii"]
    git(small, "annex", "unlock", "-q", *names)
    git(small, "commit", "-q", "-am", "unlock")
    for name in names:
        object_of(small, name).unlink()
    for name in names[:2]:
        (small / name).unlink()
        (small / name).symlink_to(tmp_path / "outside" / "secret")
    (small / "sub-02").rename(small / "elsewhere")
    (small / "sub-02").symlink_to("elsewhere")
    dest = tmp_path / "dest"
    found = of_files(export(dest, dataset=small, missing="skip", no_verify=no_verify))
    assert {n: found[n]["status"] for n in names[:2]} == dict.fromkeys(names[:2], "impossible")
    assert found[names[2]]["status"] in ("impossible", "error")
    assert set(content_of(dest)) == {"README", "sub-01/a.json"}
    assert secret_in(dest, SECRET) == []


# Pointers


@pytest.mark.parametrize("no_verify", [False, True])
def test_a_pointer_is_never_taken_for_data(tmp_path: Path, no_verify: bool) -> None:
    """Also where it has just the size of the content that it stands for."""
    origin = annex_repo(tmp_path / "origin", {"warm-up.nii": b"x"}, {})
    key = git(origin, "annex", "lookupkey", "warm-up.nii").strip()
    # As long as its pointer: the size has one digit more
    size = len(f"/annex/objects/{key}\n") + 1
    content = {"same-size.nii": b"d" * size, "small.nii": b"e", "large.nii": b"f" * 40_000}
    for name, data in content.items():
        (origin / name).write_bytes(data)
    git(origin, "annex", "add", "-q", "--force-large", ".")
    git(origin, "annex", "unlock", "-q", *content)
    git(origin, "commit", "-q", "-am", "unlocked")
    clone = clone_of(origin, tmp_path / "clone")
    assert (clone / "same-size.nii").stat().st_size == size
    git(clone, "remote", "set-url", "origin", str(tmp_path / "nowhere"))
    for n in range(2):
        dest = tmp_path / f"dest-{n}"
        found = of_files(export(dest, dataset=clone, missing="skip", no_verify=no_verify))
        assert {p: r["status"] for p, r in found.items()} == dict.fromkeys(
            [*content, "warm-up.nii"], "impossible"
        )
        assert not dest.exists() or content_of(dest) == {}
        # again with all files touched, and links replaced: an adjusted branch
        if n == 0:
            git(clone, "annex", "adjust", "--unlock")
            assert (clone / "warm-up.nii").read_bytes().startswith(b"/annex/objects/")
    git(clone, "remote", "set-url", "origin", str(origin))
    dest = tmp_path / "dest-2"
    found = of_files(export(dest, dataset=clone, missing="get", no_verify=no_verify))
    assert {p: (r["status"], r["content_from"]) for p, r in found.items()} == dict.fromkeys(
        [*content, "warm-up.nii"], ("ok", "store")
    )
    assert content_of(dest) == {**content, "warm-up.nii": b"x"}


@pytest.mark.parametrize("no_verify", [False, True])
def test_only_what_was_saved_of_an_unlocked_file(
    small: Path, tmp_path: Path, no_verify: bool
) -> None:
    """A change that has not been saved is of the same size; with the object, and without it."""
    name = "sub-01/a.nii"
    git(small, "annex", "unlock", "-q", name)
    git(small, "commit", "-q", "-am", "unlock")
    (small / name).write_bytes(SECRET)
    (small / "README").write_bytes(SECRET)
    found = of_files(export(tmp_path / "d1", dataset=small, missing="skip", no_verify=no_verify))
    assert found[name]["status"] == "ok"
    assert content_of(tmp_path / "d1")[name] == b"A" * len(SECRET)
    object_of(small, name).unlink()
    found = of_files(export(tmp_path / "d2", dataset=small, missing="skip", no_verify=no_verify))
    assert found[name]["status"] in ("error", "impossible")
    assert name not in content_of(tmp_path / "d2")
    assert secret_in(tmp_path / "d1", SECRET) == secret_in(tmp_path / "d2", SECRET) == []


@pytest.mark.parametrize("mode", ["--unlock", "--hide-missing", "--unlock-present"])
def test_adjusted_branches(small: Path, tmp_path: Path, mode: str) -> None:
    clone = clone_of(small, tmp_path / "clone")
    git(clone, "annex", "get", "-q", "sub-02/b.nii")
    git(clone, "remote", "set-url", "origin", str(tmp_path / "nowhere"))
    git(clone, "annex", "adjust", mode)
    before = snapshot(clone)
    dest = tmp_path / "dest"
    found = of_files(export(dest, dataset=clone, missing="skip"))
    absent = {"sub-01/a.nii", "sub-01/worm.nii"}
    hidden = mode == "--hide-missing"
    assert {p for p, r in found.items() if r["status"] == "impossible"} == (
        set() if hidden else absent
    )
    assert content_of(dest) == {
        "README": b"read me\n", "sub-01/a.json": b"{}", "sub-02/b.nii": b"B" * 3_000_000,
    }  # fmt: skip
    assert snapshot(clone) == before


# Special files in the tree


def test_special_files_in_the_work_tree(small: Path, tmp_path: Path) -> None:
    """Beside what is tracked, and in its place: neither is opened."""
    git(small, "annex", "unlock", "-q", "sub-01/worm.nii")
    git(small, "commit", "-q", "-am", "unlock")
    os.mkfifo(small / "sub-01" / "fifo")
    for name in ("README", "sub-01/worm.nii", "sub-02/b.nii"):
        (small / name).unlink()
        os.mkfifo(small / name)
    if ROOT:
        os.mknod(small / "sub-01" / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
        (small / "sub-01" / "a.json").unlink()
        os.mknod(small / "sub-01" / "a.json", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    dest = tmp_path / "dest"
    before = snapshot(small)
    assert problems(export(dest, dataset=small)) == []
    assert content_of(dest) == {
        "README": b"read me\n",
        "sub-01/a.json": b"{}",
        "sub-01/a.nii": b"A" * len(SECRET),
        "sub-01/worm.nii": b"W" * len(SECRET),
        "sub-02/b.nii": b"B" * 3_000_000,
    }
    assert snapshot(small) == before


# The destination


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    """A directory outside of the destination, with files of the names that are exported."""
    victim = tmp_path / "victim"
    (victim / "sub-01").mkdir(parents=True)
    for name in ("README", "a.nii", "sub-01/a.nii", "b.nii"):
        (victim / name).write_bytes(SECRET)
    return victim


@pytest.mark.parametrize("force", [False, True])
def test_links_in_the_destination(small: Path, tmp_path: Path, victim: Path, force: bool) -> None:
    dest = tmp_path / "dest"
    (dest / "sub-01").mkdir(parents=True)
    (dest / "README").symlink_to(victim / "README")
    (dest / "sub-01" / "a.nii").symlink_to("../../victim/none")
    os.link(victim / "a.nii", dest / "sub-01" / "a.json")
    (dest / "sub-02").symlink_to(victim)
    before = snapshot(victim)
    records = of_files(export(dest, dataset=small, force=force, existing="update"))
    content = {r: (dest / r).read_bytes() for r in ("README", "sub-01/a.json")}
    if force:
        assert {p for p, r in records.items() if r["status"] != "ok"} == {"sub-02/b.nii"}
        assert content == {"README": b"read me\n", "sub-01/a.json": b"{}"}
        assert not (dest / "README").is_symlink()
        assert not (dest / "sub-01/a.nii").is_symlink()
        # One name less, nothing else
        assert (victim / "a.nii").stat().st_nlink == 1
        before[str(victim / "a.nii")] = snapshot(victim)[str(victim / "a.nii")]
        assert (victim / "a.nii").read_bytes() == SECRET
    else:
        assert {p for p, r in records.items() if r["status"] == "error"} == {
            "README", "sub-01/a.nii", "sub-01/a.json", "sub-02/b.nii",
        }  # fmt: skip
        assert os.readlink(dest / "README") == str(victim / "README")
    assert (dest / "sub-02").is_symlink()
    assert snapshot(victim) == before
    assert "link" in records["sub-02/b.nii"]["message"]


def test_nothing_is_deleted_through_a_link(small: Path, tmp_path: Path, victim: Path) -> None:
    dest = tmp_path / "dest"
    assert problems(export(dest, dataset=small)) == []
    kept = (dest / "sub-01/a.nii").stat()
    shutil.rmtree(dest / "sub-01")
    (dest / "sub-01").symlink_to(victim)
    (victim / "a.nii").write_bytes(b"A" * len(SECRET))
    os.utime(victim / "a.nii", ns=(kept.st_mtime_ns, kept.st_mtime_ns))
    before = snapshot(victim)
    for force in (False, True):
        records = export(
            dest, small / "README", dataset=small, companions="none", delete=True, force=force
        )
        assert snapshot(victim) == before
        assert (dest / "sub-01").is_symlink()
        assert not (dest / "sub-02/b.nii").exists()
        assert any("sub-01" in r["relpath"] for r in records if r["status"] == "error")


def test_a_directory_of_the_destination_swapped_for_a_link(
    small: Path, tmp_path: Path, victim: Path
) -> None:
    """After all was looked at, and before anything is written."""
    add_link(small, "out", "/etc/passwd")
    git(small, "commit", "-q", "-m", "link")
    dest = tmp_path / "dest"
    (dest / "sub-01").mkdir(parents=True)
    before = snapshot(victim)
    running = exporting(dest, dataset=small)
    records = [next(running)]
    (dest / "sub-01").rmdir()
    (dest / "sub-01").symlink_to(victim)
    (dest / "README").symlink_to(victim / "README")
    records += running
    found = of_files(records)
    for name in ("sub-01/a.nii", "sub-01/a.json", "README"):
        assert found[name]["status"] == "error", name
        assert found[name]["message"]
    assert found["sub-02/b.nii"]["status"] == "ok"
    assert snapshot(victim) == before


def test_our_own_directory_swapped_for_a_link(small: Path, tmp_path: Path, victim: Path) -> None:
    """After it was opened, and before anything is written."""
    add_link(small, "out", "/etc/passwd")
    git(small, "commit", "-q", "-m", "link")
    dest = tmp_path / "dest"
    running = exporting(dest, dataset=small)
    records = [next(running)]
    before = snapshot(victim)
    (dest / ".bidsshare").rename(dest / "was")
    (dest / ".bidsshare").symlink_to(victim)
    records += running
    assert snapshot(victim) == before


@pytest.mark.parametrize("leads", ["out", "nowhere", "to a file"])
def test_our_own_directory_is_a_link(small: Path, tmp_path: Path, victim: Path, leads: str) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    where = {"out": victim, "nowhere": tmp_path / "none", "to a file": victim / "README"}
    (dest / ".bidsshare").symlink_to(where[leads])
    before = snapshot(victim)
    for arguments in ({}, {"no_receipt": True}, {"dry_run": True}, {"force": True}):
        (said,) = problems(export(dest, dataset=small, **arguments))
        assert ".bidsshare" in said
        assert os.listdir(dest) == [".bidsshare"]
        assert snapshot(victim) == before
        assert not (tmp_path / "none").exists()


OWN = [
    "files.tsv",
    "journal",
    "directories",
    "manifest-sha256.txt",
    "export.json",
    "lock",
    "running",
]


@pytest.mark.parametrize("name", OWN)
def test_our_own_files_are_links(small: Path, tmp_path: Path, victim: Path, name: str) -> None:
    """Whoever can write to the destination cannot have other files of ours read or written."""
    dest = tmp_path / "dest"
    assert problems(export(dest, small / "README", dataset=small)) == []
    own = dest / ".bidsshare"
    (victim / "words").write_bytes(b"\0".join([SECRET, b"more", SECRET, b""]))
    before = snapshot(victim)
    (own / name).unlink(missing_ok=True)
    (own / name).symlink_to(victim / "words")
    done = datalad("export-plain", "-d", small, dest)
    assert snapshot(victim) == before
    assert "Traceback" not in done.stderr
    assert SECRET.decode() not in done.stdout + done.stderr
    assert (own / name).is_symlink() or SECRET not in (own / name).read_bytes()
    (own / name).unlink(missing_ok=True)
    assert secret_in(dest, SECRET) == []
    assert datalad("export-plain", "-d", small, dest).returncode == 0
    assert len(content_of(dest)) == 5


@pytest.mark.parametrize("name", OWN)
def test_our_own_files_are_fifos(small: Path, tmp_path: Path, name: str) -> None:
    """Nothing waits for somebody who may never come."""
    dest = tmp_path / "dest"
    assert problems(export(dest, small / "README", dataset=small)) == []
    (dest / ".bidsshare" / name).unlink(missing_ok=True)
    os.mkfifo(dest / ".bidsshare" / name)
    done = subprocess.run(
        [str(DATALAD), "export-plain", "-d", str(small), str(dest)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert "Traceback" not in done.stderr
    if done.returncode == 0:
        assert len(content_of(dest)) == 5
        assert stat.S_ISREG((dest / ".bidsshare" / name).stat().st_mode) or name in (
            "journal", "lock", "running",
        )  # fmt: skip
    else:
        assert name in done.stdout + done.stderr


def test_what_a_killed_export_had_unpacked_does_not_stay(small: Path, tmp_path: Path) -> None:
    """Large files of git lie in our directory while they are copied. One may be left out next."""
    dest = tmp_path / "dest"
    large = SECRET + os.urandom(60_000_000)
    (small / "large.txt").write_bytes(large)
    git(small, "-c", "annex.largefiles=nothing", "add", "large.txt")
    git(small, "commit", "-q", "-m", "large")
    started = subprocess.Popen(
        [str(DATALAD), "export-plain", "-d", str(small), str(dest)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def has_begun() -> bool:
        found = [p for p in (dest / ".bidsshare").glob("*/*") if p.is_file()]
        return any(p.stat().st_size > 1_000_000 for p in found) or started.poll() is not None

    wait_for(has_begun)
    started.kill()
    started.wait()
    if started.returncode == 0:
        pytest.skip("it was too quick to be killed")
    assert secret_in(dest / ".bidsshare", SECRET)
    (dest / "large.txt").unlink(missing_ok=True)
    assert problems(export(dest, dataset=small, exclude=["large.txt"], delete=True)) == []
    assert secret_in(dest, SECRET) == []


def test_where_no_export_goes(small: Path, tmp_path: Path) -> None:
    other = annex_repo(tmp_path / "other", {"a.nii": b"a"}, {})
    bare = tmp_path / "bare"
    git(tmp_path, "init", "-q", "--bare", str(bare))
    file = tmp_path / "file"
    file.write_bytes(b"x")
    links = {
        "to-dataset": small, "to-inside": small / "sub-01", "to-git": small / ".git",
        "to-other": other, "to-around": small.parent, "to-file": file,
    }  # fmt: skip
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    places = [
        small,
        small / "new",
        small / "sub-01",
        small / ".git" / "new",
        small / ".git" / "annex" / "objects",
        small.parent,
        tmp_path,
        other,
        other / ".git",
        other / ".git" / "x",
        bare,
        bare / "x",
        file,
        file / "x",
        *(tmp_path / name for name in links),
        tmp_path / "to-inside" / "new",
        tmp_path / "to-git" / "new",
        tmp_path / "none" / ".." / "data" / "ds" / "x",
    ]
    before = snapshot(tmp_path)
    for place in places:
        said = problems(export(place, dataset=small, force=True, delete=True))
        assert len(said) == 1, (place, said)
        assert len(problems(export(place, dataset=small, dry_run=True))) == 1
    assert snapshot(tmp_path) == before
    done = datalad("export-plain", "-d", small, small / "new")
    assert done.returncode == 1
    assert "lies in the dataset" in done.stdout
    for place in (small / "x.zip", small / ".git" / "x.tar", tmp_path / "to-inside" / "x.zip"):
        assert len(problems(export(place, dataset=small, archive=True))) == 1
    assert snapshot(tmp_path) == before


def test_into_a_directory_of_another_clone(small: Path, tmp_path: Path) -> None:
    """Nothing of the clone is replaced, and nothing of its annex is written through its links."""
    clone = clone_of(small, tmp_path / "clone")
    git(clone, "annex", "get", "-q", ".")
    (clone / "sub-01" / "sub-01").mkdir()
    (clone / "sub-01" / "sub-01" / "a.nii").symlink_to(os.readlink(clone / "sub-01/a.nii"))
    git(clone, "add", "sub-01")
    git(clone, "commit", "-q", "--no-verify", "-m", "more")
    git(small, "annex", "unlock", "-q", "sub-01/a.nii")
    (small / "sub-01/a.nii").write_bytes(b"changed, and of another size")
    git(small, "commit", "-q", "-am", "changed")
    before = snapshot(clone)
    records = of_files(export(clone / "sub-01", dataset=small))
    assert records["sub-01/a.nii"]["status"] == "error"
    assert records["README"]["status"] == "ok"
    after = snapshot(clone)
    directories = {str(clone / "sub-01"), str(clone / "sub-01/sub-01")}
    assert {p for p in before if after[p] != before[p]} <= directories
    export(clone / "sub-01", dataset=small, force=True, delete=True)
    assert (clone / "sub-01/sub-01/a.nii").read_bytes() == b"changed, and of another size"
    after = snapshot(clone)
    changed = {p for p in before if after.get(p) != before[p]}
    assert changed == {*directories, str(clone / "sub-01/sub-01/a.nii")}
    git(clone, "annex", "fsck", "-q", "--all")


def test_a_destination_through_a_link(small: Path, tmp_path: Path) -> None:
    """The user's own link, to where it leads. Those within are another matter."""
    real = tmp_path / "real"
    real.mkdir()
    (tmp_path / "link").symlink_to("real")
    for dest in (tmp_path / "link", tmp_path / "link" / "deeper" / "yet"):
        assert problems(export(dest, dataset=small)) == []
        assert len(content_of(dest)) == 5 or dest == tmp_path / "link"
    assert (tmp_path / "link").is_symlink()
    assert (real / "README").read_bytes() == b"read me\n"
    assert (real / "deeper/yet/sub-01/a.nii").is_file()


def test_two_exports_into_one_destination(small: Path, tmp_path: Path) -> None:
    add_link(small, "out", "/etc/passwd")
    git(small, "commit", "-q", "-m", "link")
    dest = tmp_path / "dest"
    running = exporting(dest, dataset=small)
    records = [next(running)]
    before = snapshot(dest)
    for arguments in ({}, {"no_receipt": True}, {"delete": True, "force": True}):
        (said,) = problems(export(dest, dataset=small, **arguments))
        assert f"process {os.getpid()}, since " in said
    done = datalad("export-plain", "-d", small, dest)
    assert done.returncode == 1
    assert f"process {os.getpid()}, since " in done.stdout
    assert snapshot(dest) == before
    records += running
    assert {r["status"] for p, r in of_files(records).items() if p != "out"} == {"ok"}
    # and then it is free
    assert problems(export(dest, dataset=small, exclude=["out"])) == []


# Names that are one


def test_on_a_file_system_from_windows(hostile: Hostile, tmp_path: Path) -> None:
    with mounted_exfat(tmp_path) as mount:
        dest = mount / "dest"
        again: set[str] = set()
        for arguments in ({}, {"force": True}, {"checksum": True}):
            records = of_files(export(dest, dataset=hostile.root, missing="skip", **arguments))
            unfit = {
                p for p, r in records.items()
                if r["status"] == "impossible" and "cannot be written" in r["message"]
            }  # fmt: skip
            illegal = {
                p for p in expected(hostile)
                if any(c in p for c in '"*:<>?\\|\n') or not p.isprintable() or "\udce9" in p
            }  # fmt: skip
            # Both of a group: which one would be right is not ours to say.
            for group in hostile.collisions:
                if group[0].startswith("twin"):
                    continue
                assert set(group) <= unfit
            assert illegal <= unfit
            assert not again or again == unfit
            again = unfit
            names = {
                p.decode("utf-8", "surrogateescape"): None
                for base, _, files in os.walk(os.fsencode(dest))
                for p in (os.path.relpath(os.path.join(base, f), os.fsencode(dest)) for f in files)
            }
            written = {p for p in names if not p.startswith(".bidsshare/")}
            assert written == set(expected(hostile)) - unfit
            for path in without_description(dict.fromkeys(written, b"")):
                assert (dest / path).read_bytes() == expected(hostile)[path], path
        assert hostile.found_in(dest) == []


def test_a_name_that_is_spelled_otherwise_now(small: Path, tmp_path: Path) -> None:
    git(small, "mv", "README", "readme.txt")
    git(small, "commit", "-q", "-m", "longer")
    with mounted_exfat(tmp_path) as mount:
        dest = mount / "dest"
        export(dest, dataset=small)
        git(small, "mv", "readme.txt", "ReadMe.txt")
        git(small, "commit", "-q", "-m", "otherwise")
        before = (dest / "readme.txt").read_bytes()
        assert of_files(export(dest, dataset=small))["ReadMe.txt"]["status"] == "notneeded"
        records = export(dest, dataset=small, delete=True)
        assert of_files(records)["ReadMe.txt"]["status"] == "notneeded"
        assert not [r for r in records if r.get("deleted")]
        assert (dest / "ReadMe.txt").read_bytes() == before


# Ephemeral clones


def test_only_the_version_of_an_ephemeral_clone(tmp_path: Path) -> None:
    """Its annex is the store itself, with all versions in it: rsync -L ships them all."""
    import datalad.api as dl

    quiet: Any = {"result_renderer": "disabled"}
    ds = make_dataset(
        tmp_path / "ds",
        {"sub-01/a.nii": SECRET * 10, "gone.nii": b"gone " + SECRET, "README": SECRET},
    )
    store = tmp_path / "store"
    ds.create_sibling_ria(f"ria+file://{store}", name="ria", new_store_ok=True, alias="x", **quiet)
    ds.push(to="ria", **quiet)
    for name in ("sub-01/a.nii", "README"):
        (ds.pathobj / name).unlink()
        (ds.pathobj / name).write_bytes(b"anonymous now")
    (ds.pathobj / "gone.nii").unlink()
    ds.save(**quiet)
    ds.push(to="ria", **quiet)
    assert secret_in(store, SECRET)
    clone = tmp_path / "clone"
    dl.clone(f"ria+file://{store}#~x", str(clone), reckless="ephemeral", **quiet)
    assert (clone / ".git" / "annex").is_symlink()
    before, before_clone = snapshot(store), snapshot(clone)
    dest = tmp_path / "dest"
    for arguments in ({}, {"no_verify": True, "force": True}, {"drop_fetched": True}):
        assert problems(export(dest, dataset=clone, **arguments)) == []
        assert content_of(dest) == {"README": b"anonymous now", "sub-01/a.nii": b"anonymous now"}
        assert secret_in(dest, SECRET) == []
    assert not [p for p in dest.rglob("*") if ".git" in p.name or "annex" in p.name]
    archive = tmp_path / "x.tar"
    assert problems(export(archive, dataset=clone, archive=True)) == []
    assert SECRET not in archive.read_bytes()
    assert snapshot(store) == before
    assert snapshot(clone) == before_clone


# The dataset afterwards


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"no_verify": True, "no_receipt": True},
        {"at": "HEAD"},
        {"dry_run": True},
        {"archive": True},
    ],
    ids=lambda arguments: "-".join(arguments) or "plain",
)
def test_nothing_of_the_dataset_changes(
    small: Path, tmp_path: Path, arguments: dict[str, Any]
) -> None:
    git(small, "annex", "unlock", "-q", "sub-01/a.nii")
    git(small, "commit", "-q", "-am", "unlock")
    # What makes git want to refresh its index, and what is not saved
    os.utime(small / "README", ns=(1, 1))
    (small / "sub-01" / "a.json").write_bytes(b'{"changed": true}')
    (small / "untracked").write_bytes(b"x")
    before = snapshot(small)
    dest = tmp_path / ("dest.tar" if "archive" in arguments else "dest")
    assert problems(export(dest, dataset=small, **arguments)) == []
    assert snapshot(small) == before
    if "dry_run" in arguments:
        assert not (small / ".git" / "bidsshare").exists()
        assert not dest.exists()
    git(small, "annex", "fsck", "-q", "--all")
    assert git(small, "annex", "unused").count("\n") <= 2


# What the receipt tells


def test_the_receipt_tells_nothing_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = {
        "user": "secretuser", "name": "Secret Person", "mail": "secret-person@example.org",
        "password": "p4ssw0rd", "token": "t0k3n-77", "remote": "secret-remote",
        "worm": "secret-worm-name", "url": "secret-url-path", "host": "secret-host.lan",
        "annex": "secret-description", "filter": "secret-filter", "place": "secret-place",
    }  # fmt: skip
    place = tmp_path / words["place"]
    monkeypatch.setenv("LOGNAME", words["user"])
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", words["name"])
        monkeypatch.setenv(f"GIT_{role}_EMAIL", words["mail"])
    assert getpass.getuser() == words["user"]
    root = annex_repo(
        place / "ds",
        {"sub-01/anat/sub-01_T1w.nii": b"one", "sub-02/anat/sub-02_T1w.nii": b"two"},
        {
            "dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.9.0"}',
            "participants.tsv": b"participant_id\tage\nsub-01\t1\nsub-02\t2\n",
        },
    )
    git(root, "annex", "describe", "here", words["annex"])
    worm = f"{words['worm']}.nii"
    (root / worm).write_bytes(b"worm")
    git(root, "annex", "add", "-q", "--force-large", "--backend=WORM", worm)
    git(root, "mv", worm, "sub-01/anat/sub-01_T2w.nii")
    (place / "content").write_bytes(b"url")
    key = f"URL--http://{words['host']}/{words['url']}&ctoken={words['token']}"
    git(root, "annex", "fromkey", "-q", "--force", key, "sub-01/anat/sub-01_PDw.nii")
    git(root, "annex", "setkey", "-q", key, str(place / "content"))
    git(root, "commit", "-q", "-m", "more")
    git(root, "tag", "-m", "release", "1.0")
    uuid = git(root, "config", "annex.uuid").strip()
    for number, url in enumerate(
        [
            f"ssh://{words['user']}@{words['host']}/{words['place']}",
            f"http://{words['user']}:{words['password']}@{words['host']}/x",
            f"{words['user']}@{words['host']}:x",
            str(place / "other"),
            f"file://{place}/other",
            f"http://10.0.0.7/{words['token']}",
            "https://user:{password}@data.example.org/ds.git?token={token}#{token}".format(**words),
        ]
    ):
        git(root, "remote", "add", f"{words['remote']}-{number}", url)
    filters = place / f"{words['filter']}.json"
    filters.write_text('{"t1": {"subject": "01"}}')
    asked: list[dict[str, Any]] = [
        {},
        {"subject": "01", "exclude": ["*_PDw.nii"]},
        {"filter_file": str(filters)},
        {"path": [root / "sub-01"]},
        {"where": "age < 2"},
        {"archive": True},
    ]
    for number, arguments in enumerate(asked):
        dest = place / f"dest-{number}{'.tar' if 'archive' in arguments else ''}"
        paths = arguments.pop("path", [])
        assert problems(export(dest, *paths, dataset=root, **arguments)) == []
        if dest.is_file():
            unpacked = place / "unpacked"
            unpacked.mkdir()
            subprocess.run(["tar", "-xf", str(dest), "-C", str(unpacked)], check=True)
            dest = unpacked
        secrets = [*map(str.encode, words.values()), os.fsencode(tmp_path), uuid.encode()]
        secrets += [b"WORM-", b"URL--", b"10.0.0.7", os.fsencode(Path.home())]
        assert secret_in(dest, *secrets) == [], arguments
        host = re.compile(rb"(?<![\w-])%b(?![\w-])" % re.escape(platform.node().encode()))
        (receipt,) = dest.rglob("export.json")
        for file in receipt.parent.iterdir():
            assert not host.search(file.read_bytes()), file
        told = json.loads(receipt.read_text())
        assert told["datasets"][0]["url"] == "https://data.example.org/ds.git"
        assert told["datasets"][0]["describe"] == "1.0"
    # who wants to know looks here
    log = (root / ".git" / "bidsshare" / "exports.jsonl").read_text()
    assert words["user"] in log
    assert str(place / "dest-0") in log
    assert words["password"] not in log


@pytest.mark.parametrize("annexed", [False, True])
def test_no_hash_of_rows_that_are_not_given(tmp_path: Path, annexed: bool) -> None:
    """Who has all rows but one could try which one gives the hash."""
    table = b"participant_id\tage\nsub-01\t1\nsub-02\t2\n"
    files: dict[bytes | str, bytes] = {f"sub-0{n}/anat/sub-0{n}_T1w.nii": b"x" for n in (1, 2)}
    tracked = {"dataset_description.json": b'{"Name": "x", "BIDSVersion": "1.9.0"}'}
    (files if annexed else tracked)["participants.tsv"] = table  # type: ignore[index]
    root = annex_repo(tmp_path / "ds", files, tracked)
    dest = tmp_path / "dest"
    for _ in range(2):
        assert problems(export(dest, dataset=root, subject="01")) == []
        assert (dest / "participants.tsv").read_bytes() == b"participant_id\tage\nsub-01\t1\n"
        blob = git(root, "rev-parse", "HEAD:participants.tsv").strip()
        hashes = [hashlib.new(name, table).hexdigest() for name in ("md5", "sha1", "sha256")]
        assert secret_in(dest, blob.encode(), *map(str.encode, hashes)) == []


# Failures of the system


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Path:
    """Forty annexed files of 30 kB."""
    files: dict[bytes | str, bytes] = {
        f"sub-{n:02}/data.nii": b"%02d" % n * 15_000 for n in range(40)
    }
    return annex_repo(tmp_path_factory.mktemp("many") / "ds", files, {"README": b"r"})


def in_new_file_system(
    options: str, dest: Path, root: Path, mount: Path | None = None
) -> tuple[int, str, dict[str, int]]:
    """Export to where a file system is mounted for that time: code, output, files and sizes."""
    script = (
        'mount -t tmpfs -o "$1" tmpfs "$2" || exit 99; shift; dest=$1; shift; "$@"; '
        'code=$?; echo; echo "@@@$code"; cd "$dest" && find . -type f -printf "%s %P\\n"'
    )
    command = [str(DATALAD), "export-plain", "-d", str(root), str(dest)]
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, "sh", options, str(mount or dest), *command],
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    if done.returncode == 99:
        pytest.skip(f"no file system can be mounted here: {done.stderr}")
    said, _, rest = done.stdout.partition("@@@")
    code, *files = rest.splitlines()
    found = {name: int(size) for size, _, name in (line.partition(" ") for line in files)}
    return int(code), said + done.stderr, found


@needs_mount
def test_no_space(many: Path, tmp_path: Path) -> None:
    """All is refused when that can be foreseen; else what fits is complete, the rest is told."""
    dest = tmp_path / "dest"
    dest.mkdir()
    code, said, files = in_new_file_system("size=512k", dest, many)
    assert code == 1
    assert "not enough disk space" in said
    assert [name for name in files if name.endswith(".nii")] == []
    # Room for the bytes, none for the names
    code, said, files = in_new_file_system("size=8m,nr_inodes=40", dest, many)
    assert code == 1, said
    assert "Traceback" not in said, said
    assert "the destination is full" in said or "No space left" in said, said
    assert {size for name, size in files.items() if name.endswith(".nii")} == {30_000}
    assert not [name for name in files if ".bidsshare-tmp-" in name]


@needs_mount
def test_a_read_only_destination(many: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    dest.mkdir()
    for place in (dest, dest / "new"):
        code, said, files = in_new_file_system("ro", place, many, mount=dest)
        assert code == 1
        assert "read-only" in said
        assert files == {}


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_a_disk_that_fails(many: Path, tmp_path: Path) -> None:
    """Reading an object fails: an error for that file, and nothing with its name."""
    place = object_of(many, "sub-07/data.nii")
    dest = tmp_path / "dest"
    done = subprocess.run(
        ["strace", "-f", "-qq", "-o", os.devnull, "-P", str(place), "-e", "trace=read",
         "-e", "inject=read:error=EIO", str(DATALAD), "export-plain", "-d", str(many), str(dest)],
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    if "ptrace" in done.stderr or "PTRACE" in done.stderr:
        pytest.skip("strace may not trace here")
    assert done.returncode == 1
    assert f"{os.strerror(errno.EIO)} ({many}" in done.stdout
    found = content_of(dest)
    assert "sub-07/data.nii" not in found
    assert len(found) == 40
    assert datalad("export-plain", "-d", many, dest).returncode == 0
    assert len(content_of(dest)) == 41


def python_for_all() -> str:
    """Give a Python like this one that every user can run, also from itself."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-V'], check=True)"
    for python in (sys.executable, "/usr/bin/python{}.{}".format(*sys.version_info)):
        tried = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python, "-c", code]
        if subprocess.run(tried, capture_output=True, check=False, cwd="/").returncode == 0:
            return python
    pytest.skip("this Python cannot be run by every user")


@pytest.mark.skipif(not ROOT or not shutil.which("setpriv"), reason="needs two users")
def test_what_this_user_may_not_read_or_write(for_nobody: Path) -> None:
    """Somebody else's dataset, of which not all may be read; and a directory in the destination."""
    root = annex_repo(
        for_nobody / "ds", {"a/a.nii": b"a", "b/b.nii": b"b", "c/c.nii": b"c"}, {"README": b"r"}
    )
    object_of(root, "a/a.nii").chmod(0)
    dest, closed = for_nobody / "dest", for_nobody / "closed"
    closed.mkdir(mode=0o755)
    dest.mkdir()
    (dest / "b").mkdir(mode=0o755)
    os.chown(dest, 65534, 65534)
    home = for_nobody / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    subprocess.run(["chmod", "-R", "a+rX", str(root)], check=True)
    object_of(root, "a/a.nii").chmod(0)
    before = snapshot(root)
    command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", python_for_all()]
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        **os.environ,
        "HOME": str(home),
        "GIT_CONFIG_GLOBAL": str(for_nobody / "config"),
        "LOGNAME": "nobody",
        "DATALAD_LOG_LEVEL": "warning",
    }

    def run(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*command, str(DATALAD), *map(str, arguments)],
            capture_output=True, text=True, check=False, timeout=PATIENCE, cwd=for_nobody,
            env=environment,
        )  # fmt: skip

    tried = run("--version")
    if tried.returncode:
        pytest.skip(f"not every user can run datalad here: {tried.stderr}")
    done = run("export-plain", "-d", root, dest)
    assert done.returncode == 1, done
    assert "Traceback" not in done.stderr
    said = done.stdout + done.stderr
    assert os.strerror(errno.EACCES) in said
    assert "content cannot be read" in said
    assert "the destination cannot be written to" in said
    # the log of the dataset is not his to write
    assert "could not be noted" in said
    assert set(content_of(dest)) == {"README", "c/c.nii"}
    assert snapshot(root) == before
    done = run("export-plain", "-d", root, closed / "x")
    assert done.returncode == 1
    assert "not writable" in done.stdout + done.stderr
    assert os.listdir(closed) == []
