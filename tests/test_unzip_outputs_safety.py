"""What `unzip-outputs` refuses: zips that would do harm, datasets that are not fit for commits.

Each bad zip is a real file in a real dataset. What is refused leaves nothing behind.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from datalad.api import Dataset

from datalad_bidsshare.archive.safety import shown
from tests.archive.zips import (
    COLLISIONS,
    HOSTILE,
    LYING,
    MODES,
    NAMES,
    OK,
    ORDINARY,
    Entry,
    count_bomb,
    write_zip,
)
from tests.dataset.builders import git
from tests.exports import state_of
from tests.platforms import needs_posix, needs_posix_names, needs_symlinks
from tests.raw_dataset import datalad
from tests.superdatasets import DATALAD, copy_of, make_dataset, write
from tests.unzips import (
    ZIPS,
    Record,
    dataset_of,
    failures,
    members,
    outcomes,
    save_zips,
    tracked,
    tree_of,
    unzip,
    zip_bytes,
    zips_of,
)

ONE, TWO, TEN = ZIPS
GOOD = {"sub-99/a.txt": b"a" * 100, "sub-99/b.nii": b"b" * 5000}


#: git-annex takes a pointer for one, and not for a zip.
LABELS = [label for label in HOSTILE if label != "a pointer"]


def bad_name(label: str) -> str:
    """Give the name under which a bad zip stands in the dataset."""
    return "".join(c if c.isalnum() else "_" for c in label) + ".zip"


def state(root: Path) -> dict[str, tuple[int, int, int, str]]:
    """Take down all of a dataset, but for the directory in which the command has its lock."""
    # git-annex's cache comes and goes with any `git status`.
    ours = tuple(str(root / ".git" / name) for name in ("bidsshare", "annex/keysdb"))
    return {
        path: told
        for path, told in state_of(root).items()
        if not path.startswith(ours) and path not in (str(root / ".git"), str(root / ".git/annex"))
    }


def content_of(root: Path) -> dict[str, bytes]:
    return {path: (root / path).read_bytes() for path in tracked(root)}


def is_clean(root: Path) -> bool:
    return not git(root, "status", "--porcelain", "--untracked-files=all")


def no_leftovers(root: Path) -> bool:
    """Tell whether nothing is left of a call in the git directory."""
    own = root / ".git/bidsshare/unzip"
    # What zips hold nothing that is wanted is kept for the next call.
    return not own.exists() or {p.name for p in own.iterdir()} <= {"barren"}


def objects(root: Path) -> set[str]:
    """Give the keys whose content is in the annex."""
    return {p.name for p in (root / ".git/annex/objects").rglob("*") if p.is_file()}


# ---------------------------------------------------------------- hostile zips


@pytest.fixture(scope="module")
def _hostile(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Path:
    """A dataset of all bad zips there are, and a good one. Not to be changed."""
    root = tmp_path_factory.mktemp("hostile") / "ds"
    root.mkdir()
    git(root, "init", "-q")
    git(root, "annex", "init", "-q")
    for label in LABELS:
        HOSTILE[label](root / bad_name(label))
    (root / "good.zip").write_bytes(zip_bytes(GOOD))
    git(root, "annex", "add", "-q", "--force-large", ".")
    git(root, "commit", "-q", "-m", "zips")
    git(root, "status")
    return root


@pytest.fixture(scope="module")
def after_stop(
    _hostile: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Record]]:
    """What came of all of them together, but for those whose lies are found when unpacked."""
    root = copy_of(_hostile, tmp_path_factory.mktemp("stop") / "ds")
    names = [bad_name(label) for label in LABELS if label not in LYING]
    git(root, "status")
    before = state(root)
    # a good one and bad ones: nothing of any
    records = unzip([*names, "good.zip"], dataset=root, into="{stem}")
    assert state(root) == before
    assert no_leftovers(root)
    return root, records


@pytest.fixture(scope="module")
def after_continue(
    _hostile: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[Record]]:
    """What came of all of them when the good one is to be unpacked nevertheless."""
    root = copy_of(_hostile, tmp_path_factory.mktemp("continue") / "ds")
    records = unzip(dataset=root, on_zip_error="continue", into="{stem}", jobs=2)
    return root, records


def test_each_is_refused_and_the_good_one_comes(
    after_continue: tuple[Path, list[Record]], _hostile: Path
) -> None:
    root, records = after_continue
    assert outcomes(records) == {bad_name(label): "error" for label in LABELS} | {"good.zip": "ok"}
    assert content_of(root) == {f"good/{name}": data for name, data in GOOD.items()}
    assert is_clean(root)
    assert no_leftovers(root)
    assert git(root, "rev-list", "--count", "HEAD").strip() == "2"
    # nothing beside the dataset or in the places that zips named
    assert [p.name for p in root.parent.iterdir()] == ["ds"]
    keys = {git(root, "annex", "lookupkey", f"good/{name}").strip() for name in GOOD}
    assert objects(root) == objects(_hostile) | keys
    hooks = root / ".git/hooks"
    assert not hooks.exists() or not (hooks / "post-commit").exists()
    git(root, "annex", "fsck", "-q")


@pytest.mark.parametrize("label", [label for label in LABELS if label not in LYING])
def test_why_it_is_refused(after_stop: tuple[Path, list[Record]], label: str) -> None:
    """One of them is enough that no zip is unpacked; each tells why."""
    _, records = after_stop
    record = zips_of(records)[bad_name(label)]
    assert record["status"] == "error"
    assert record["message"]
    assert outcomes(records)["good.zip"] == "impossible"
    assert all(shown(name) in record["message"] for name in members_of(label))


def members_of(label: str) -> list[str]:
    """Give the members that must be named; none where it is the zip as a whole that is bad."""
    if label.startswith("name: "):
        others = {"not UTF-8": ".txt: ", "up in the Unicode field": "../../up"}
        return [{**NAMES, **others}[label.removeprefix("name: ")]]
    if label.startswith("collision: "):
        return [COLLISIONS[label.removeprefix("collision: ")][0].rstrip("/")]
    if label in LYING:
        return ["sub-01/lie"]
    if label in MODES or label.startswith("packed: ") or label.endswith("encrypted"):
        return ["sub-01/odd"]
    return []


@pytest.fixture(scope="module")
def _lying(_hostile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset for those that are found out one by one."""
    return copy_of(_hostile, tmp_path_factory.mktemp("lying") / "ds")


@pytest.mark.parametrize("label", LYING)
def test_lies_are_found_before_anything_is_taken_over(_lying: Path, label: str) -> None:
    git(_lying, "status")
    before = state(_lying)
    records = unzip(bad_name(label), dataset=_lying)
    record = zips_of(records)[bad_name(label)]
    assert record["status"] == "error"
    assert all(name in record["message"] for name in members_of(label))
    assert state(_lying) == before
    assert no_leftovers(_lying)


def test_a_zip_that_lies_stops_the_call(_lying: Path) -> None:
    """What others had given by then is theirs, whole; the rest is not begun."""
    out, _ = datalad("unzip-outputs", bad_name("bad CRC"), cwd=_lying, code=1)
    assert "sub-01/lie" in out and "CRC" in out
    assert not tracked(_lying)


def test_the_command_exits_with_an_error(_hostile: Path) -> None:
    before = state(_hostile)
    out, _ = datalad(
        *("unzip-outputs", "--on-zip-error", "continue", "--dry-run"),
        *(bad_name("symlink"), bad_name("name: newline")),
        cwd=_hostile,
        code=1,
    )
    assert "sub-01/odd" in out
    assert "sub-01/x\\ny" in out
    assert state(_hostile) == before


@pytest.mark.parametrize(
    "label", ["symlink", "set-uid", "encrypted", "collision: duplicate", "collision: case"]
)
def test_what_cannot_be_unpacked_can_be_left_out(
    _hostile: Path, tmp_path: Path, label: str
) -> None:
    """As the message says; it must be a glob of the user."""
    name = bad_name(label)
    ds = dataset_of(tmp_path / "ds", {name: (_hostile / name).read_bytes()})
    # not by what is wanted: the zip as a whole has to be sound
    assert outcomes(unzip(dataset=ds, include=OK.name)) == {name: "error"}
    exclude = "sub-01/odd" if "collision" not in label else "sub-01/[aA]"
    records = unzip(dataset=ds, exclude=exclude)
    assert outcomes(records) == {name: "ok"}
    assert content_of(ds) == {OK.name: OK.data}


def test_no_name_of_git_can_be_left_out(_hostile: Path, tmp_path: Path) -> None:
    name = bad_name("name: hook")
    ds = dataset_of(tmp_path / "ds", {name: (_hostile / name).read_bytes()})
    records = unzip(dataset=ds, exclude=".git/**")
    assert ".git/hooks/post-commit" in failures(records)[name]
    assert not tracked(ds)


def test_stripping_makes_no_name_of_git(tmp_path: Path) -> None:
    """Whether by the zip, or by what is asked."""
    names = ["a/.gitkeep", "a/ok.txt", "a/config"]
    ds = dataset_of(tmp_path / "ds", {"a.zip": zip_bytes({n: n.encode() for n in names})})
    for into in (".git", ".GIT/hooks", "x/.datalad", ".git\u200c", "../up", "/etc"):
        with pytest.raises(ValueError, match="directory"):
            unzip(dataset=ds, strip=1, into=into)
    assert not failures(unzip(dataset=ds, strip=1, into="out"))
    assert tracked(ds) == {"out/.gitkeep", "out/ok.txt", "out/config"}


@pytest.mark.parametrize(
    ("limit", "option"),
    [({"max_members": 500}, "--max-members"), ({"max_bytes": "1 kB"}, "--max-bytes")],
)
def test_limits_are_those_of_the_user(tmp_path: Path, limit: dict[str, Any], option: str) -> None:
    def build(path: Path) -> None:
        count_bomb(path, 1000)

    made = tmp_path / "made.zip"
    if "max_bytes" in limit:
        write_zip(made, OK, Entry("sub-01/a", b"a" * 2000))
    else:
        build(made)
    ds = dataset_of(tmp_path / "ds", {"a.zip": made.read_bytes()})
    before = state(ds)
    (message,) = failures(unzip(dataset=ds, **limit)).values()
    assert option in message
    assert state(ds) == before
    assert outcomes(unzip(dataset=ds, dry_run=True)) == {"a.zip": "ok"}


def test_a_bomb_that_is_none(_hostile: Path, tmp_path: Path) -> None:
    name = bad_name("ratio bomb")
    ds = dataset_of(tmp_path / "ds", {name: (_hostile / name).read_bytes()})
    assert "--max-ratio" in failures(unzip(dataset=ds))[name]
    assert outcomes(unzip(dataset=ds, max_ratio=2000)) == {name: "ok"}
    assert (ds / "sub-01/zeros.nii").stat().st_size == 120_000_000


# ---------------------------------------------------------------- names

ZIP_NAMES = ["$(touch x).zip", "{02}.zip", " a  b .zip", "it's.zip", '"q".zip', "new\nline.zip"]
ZIP_NAMES += ["-rf.zip", "--help.zip", "`touch x`.zip", "a;touch x.zip", "[1-9]*?.zip", "%s.zip"]


@needs_posix_names
def test_names_of_zips_are_only_names(tmp_path: Path) -> None:
    """On the command line, in records, and for the shell that runs what records say."""
    ds = dataset_of(
        tmp_path / "ds",
        {name: zip_bytes({f"{at}/a.txt": name.encode()}) for at, name in enumerate(ZIP_NAMES)},
    )
    datalad("unzip-outputs", "--", *(f"./{name}" for name in ZIP_NAMES[:6]), cwd=ds)
    datalad("unzip-outputs", cwd=ds)
    wanted = {f"{at}/a.txt": name.encode() for at, name in enumerate(ZIP_NAMES)}
    assert content_of(ds) == wanted
    assert is_clean(ds)
    commits = git(ds, "rev-list", "--max-count", str(len(ZIP_NAMES)), "HEAD").split()
    base = git(ds, "rev-parse", f"HEAD~{len(ZIP_NAMES)}").strip()
    copy = copy_of(ds, tmp_path / "copy")
    git(copy, "reset", "-q", "--hard", base)
    environment = {**os.environ, "PATH": f"{DATALAD.parent}{os.pathsep}{os.environ['PATH']}"}
    for commit in commits:
        lines = git(ds, "log", "-1", "--format=%B", commit)
        record = json.loads(lines.split("below ===\n")[1].split("\n^^^")[0])
        subprocess.run(record["cmd"].format(), shell=True, cwd=copy, env=environment, check=True)
    assert {path: (copy / path).read_bytes() for path in wanted} == wanted
    assert {p.name for p in copy.iterdir()} == {p.name for p in ds.iterdir()}
    assert not list(tmp_path.rglob("x"))


@needs_posix_names
def test_names_of_members_are_only_names(tmp_path: Path) -> None:
    made = tmp_path / "made.zip"
    wanted = ORDINARY["names of all kinds"](made)
    ds = make_dataset(tmp_path / "ds", {"a.zip": made.read_bytes()})
    root = ds.pathobj
    base = git(root, "rev-parse", "HEAD").strip()
    records = unzip(dataset=root)
    assert not failures(records)
    assert content_of(root) == wanted
    tree = tree_of(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{DATALAD.parent}{os.pathsep}{os.environ['PATH']}")
        ds.rerun(since=base, onto=base, branch="again", result_renderer="disabled")
    assert tree_of(root) == tree
    assert is_clean(root)
    assert not (root / "x").exists()


# ---------------------------------------------------------------- datasets that are not fit


def modified(root: Path) -> None:
    (root / ONE).unlink()
    (root / ONE).write_bytes(b"other")


def staged(root: Path) -> None:
    write(root, {"new.txt": "new"})
    git(root, "add", "new.txt")


def deleted(root: Path) -> None:
    (root / TWO).unlink()


def untracked(root: Path) -> None:
    write(root, {"deep/er/new.txt": "new"})


def detached(root: Path) -> None:
    git(root, "checkout", "-q", "--detach")


def unborn(root: Path) -> None:
    git(root, "switch", "-q", "--orphan", "nothing")


def merging(root: Path) -> None:
    (root / ".git/MERGE_HEAD").write_text(git(root, "rev-parse", "HEAD"))


def locked(root: Path) -> None:
    (root / ".git/index.lock").touch()


@pytest.mark.parametrize(
    ("make", "said", "step"),
    [
        (modified, ONE, "datalad save"),
        (staged, "new.txt", "datalad save"),
        (deleted, TWO, "datalad save"),
        (untracked, "deep/", "datalad save"),
        (detached, "detached HEAD", "switch"),
        (unborn, "no commit yet", "datalad save"),
        (merging, "merge was begun", "--abort"),
    ],
)
def test_datasets_that_are_not_fit(
    zips: Path, make: Callable[[Path], None], said: str, step: str
) -> None:
    make(zips)
    git(zips, "status")
    before = state(zips)
    out, _ = datalad("unzip-outputs", cwd=zips, code=1)
    assert said in out
    assert step in out
    assert state(zips) == before


def test_others_of_the_group_can_go_on(zips: Path) -> None:
    """The directory for notes keeps the mode that the umask gave it."""
    before = os.umask(0o002)
    try:
        for _ in range(2):
            assert not failures(unzip(ONE, dataset=zips))
            for path in (zips / ".git/bidsshare", zips / ".git/bidsshare/unzip"):
                assert path.stat().st_mode & 0o777 == 0o775
    finally:
        os.umask(before)


def test_an_index_lock_of_somebody_is_named(zips: Path) -> None:
    """It stands in the way at the end: then the branch is where it was."""
    head = git(zips, "rev-parse", "HEAD")
    locked(zips)
    out, _ = datalad("unzip-outputs", cwd=zips, code=1)
    assert str(zips / ".git/index.lock") in out
    assert "rm " in out
    assert (zips / ".git/index.lock").exists()
    assert git(zips, "rev-parse", "HEAD") == head
    (zips / ".git/index.lock").unlink()
    assert not failures(unzip(dataset=zips))
    assert content_of(zips) == {
        name: data for label in ("01", "02", "10") for name, data in members(label).items()
    }
    assert is_clean(zips)
    assert no_leftovers(zips)


# ---------------------------------------------------------------- what stands where outputs go


@needs_symlinks
@pytest.mark.parametrize("existing", ["error", "skip", "replace"])
@pytest.mark.parametrize("unlocked", [False, True], ids=["locked", "unlocked"])
def test_the_object_of_an_output_is_not_touched(zips: Path, existing: str, unlocked: bool) -> None:
    """Root could write into it."""
    path = "fmriprep/sub-01.html"
    save_zips(zips, {path: b"mine, and precious"})
    target = (zips / path).resolve()
    if unlocked:
        git(zips, "annex", "unlock", "-q", path)
        git(zips, "commit", "-q", "-m", "unlocked")
    before = target.stat()
    records = unzip(ONE, dataset=zips, existing=existing)
    after = target.stat()
    assert target.read_bytes() == b"mine, and precious"
    assert (after.st_ino, after.st_mtime_ns, after.st_mode & 0o7777) == (
        before.st_ino,
        before.st_mtime_ns,
        before.st_mode & 0o7777,
    )
    if existing == "replace":
        assert not failures(records)
        assert (zips / path).read_bytes() == members("01")[path]
    else:
        assert path in failures(records)[ONE]
        assert (zips / path).read_bytes() == b"mine, and precious"
    assert is_clean(zips)
    git(zips, "annex", "fsck", "-q", "--all")


@needs_symlinks
@pytest.mark.parametrize("ignored", [False, True], ids=["tracked", "ignored"])
@pytest.mark.parametrize("place", ["fmriprep", "fmriprep/sub-01/func", "fmriprep/sub-01.html"])
def test_links_lead_nowhere(zips: Path, tmp_path: Path, ignored: bool, place: str) -> None:
    """Neither a link in the place of an output, nor of a directory on the way to it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "file").write_text("mine")
    target = outside / "file" if place.endswith("html") else outside
    if ignored:
        save_zips(zips, {".gitignore": "/fmriprep\nfunc\n*.html\n"})
    (zips / place).parent.mkdir(parents=True, exist_ok=True)
    (zips / place).symlink_to(target)
    if not ignored:
        git(zips, "add", place)
        git(zips, "commit", "-q", "-m", "link")
    git(zips, "status")
    before, there = state(zips), state_of(outside)
    for existing in ("error", "replace", "skip"):
        records = unzip(ONE, dataset=zips, existing=existing)
        if existing != "error" and place.endswith("html") and not ignored:
            # a tracked link is a file of the dataset like others
            continue
        assert outcomes(records) == {ONE: "error"}
        assert place in failures(records)[ONE]
        assert state(zips) == before
    assert state_of(outside) == there
    assert is_clean(zips)


def test_subdatasets_and_directories_stay(zips: Path) -> None:
    """Whatever is said about existing files: those are none."""
    inner = make_dataset(zips / "fmriprep/sub-02/func", {"inner.txt": "inner"}).pathobj
    make_dataset(zips / "fmriprep/sub-10.html", {"inner.txt": "inner"})
    write(zips, {"fmriprep/sub-01.html/x.txt": "x"})
    Dataset(str(zips)).save(result_renderer="disabled")
    # not installed
    subprocess.run(["chmod", "-R", "u+w", str(zips / "fmriprep/sub-10.html")], check=True)
    shutil.rmtree(zips / "fmriprep/sub-10.html")
    (zips / "fmriprep/sub-10.html").mkdir()
    git(zips, "status")
    before = state(zips)
    for existing in ("error", "skip", "replace"):
        records = unzip(dataset=zips, existing=existing, on_zip_error="continue")
        said = failures(records)
        assert "fmriprep/sub-01.html would be a file, and is a directory" in said[ONE]
        assert "in the subdataset fmriprep/sub-02/func" in said[TWO]
        assert "fmriprep/sub-10.html would be a file, and is a subdataset" in said[TEN]
        assert state(zips) == before
    assert (inner / "inner.txt").read_text() == "inner"


@needs_posix
def test_ignored_files_stay(zips: Path) -> None:
    save_zips(zips, {".gitignore": "*.html\nfigures\n"})
    write(zips, {"fmriprep/sub-01.html": "mine", "fmriprep/sub-02/figures": "a file"})
    (zips / "fmriprep/sub-10.html").mkdir()
    git(zips, "status")
    before = state(zips)
    for existing in ("error", "skip", "replace"):
        records = unzip(dataset=zips, existing=existing, on_zip_error="continue")
        assert outcomes(records) == dict.fromkeys(ZIPS, "error")
        said = failures(records)
        assert "fmriprep/sub-01.html is in the way" in said[ONE]
        assert "fmriprep/sub-02/figures is in the way" in said[TWO]
        assert "fmriprep/sub-10.html is in the way" in said[TEN]
        assert state(zips) == before
