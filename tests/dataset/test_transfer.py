"""Getting content, from real repositories and special remotes."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from datalad_bidsshare.dataset import gitannex, presence
from datalad_bidsshare.dataset.gitannex import AnnexGet
from datalad_bidsshare.dataset.presence import present
from datalad_bidsshare.dataset.transfer import GetResult, default_jobs, get
from tests.dataset.builders import (
    HOSTILE_NAMES,
    PATIENCE,
    annex_repo,
    clone_of,
    drop_objects,
    git,
    infos,
    objects_of,
    wait_for,
)
from tests.dataset.conftest import Ria
from tests.platforms import needs_posix, needs_posix_names
from tests.process_log import ProcessLog


def got(root: Path, *paths: str, **options: Any) -> dict[str, GetResult]:
    """Get files, and see that each has exactly one result, which is true."""
    described = infos(root, *paths)
    results = list(get(root, described, **options))
    assert sorted(r.info.path for r in results) == sorted(i.path for i in described)
    there = present(root, described)
    for result in results:
        assert there[result.info.path] == (result.status in ("ok", "notneeded")), result
        assert bool(result.message) == (result.status in ("error", "impossible")), result
    return {r.info.path: r for r in results}


def statuses(results: dict[str, GetResult]) -> dict[str, str]:
    return {p: r.status for p, r in results.items()}


def test_everything_then_nothing(source: Path, clone: Path) -> None:
    head = git(clone, "rev-parse", "HEAD")
    results = got(clone)
    for info in infos(clone):
        assert results[info.path].status == ("ok" if info.kind == "annex" else "notneeded")
    for name in HOSTILE_NAMES:
        with open(os.path.join(os.fsencode(clone), name), "rb") as file:
            assert file.read() == b"content of " + name
    # one key, two files: the bytes came once
    assert sorted(
        results[p].bytesize for p in ("sub-01/sub-01_T1w.nii.gz", "derivatives/copy_T1w.nii.gz")
    ) == [0, 300]
    assert sum(r.bytesize for r in results.values()) == sum(
        {i.key: i.bytesize or 0 for i in infos(clone) if i.key}.values()
    )
    assert set(statuses(got(clone)).values()) == {"notneeded"}
    assert git(clone, "rev-parse", "HEAD") == head
    assert git(clone, "status", "--porcelain") == ""


def test_a_dirty_tree_stays_as_it_is(clone: Path) -> None:
    (clone / "dataset_description.json").write_text("changed")
    (clone / "untracked").write_text("x")
    (clone / "big.json").unlink()
    git(clone, "rm", "-q", "--cached", "empty.json")
    before = git(clone, "status", "--porcelain")
    assert got(clone, "sub-01/events.tsv")["sub-01/events.tsv"].status == "ok"
    assert git(clone, "status", "--porcelain") == before


def test_while_another_process_holds_the_index(clone: Path) -> None:
    (clone / ".git" / "index.lock").touch()
    assert got(clone, "sub-01/events.tsv")["sub-01/events.tsv"].status == "ok"


def test_detached_head_and_numcopies(clone: Path) -> None:
    git(clone, "checkout", "-q", "--detach")
    git(clone, "config", "annex.numcopies", "5")
    assert got(clone, "sub-01/events.tsv")["sub-01/events.tsv"].status == "ok"


def test_clone_that_git_annex_has_not_seen(source: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(source), "plain")
    assert got(tmp_path / "plain", "sub-01/events.tsv")["sub-01/events.tsv"].status == "ok"


def test_plain_git_dataset(tmp_path: Path, process_log: ProcessLog) -> None:
    git(tmp_path, "init", "-q", "plain")
    (tmp_path / "plain" / "x.json").write_text("{}")
    git(tmp_path / "plain", "add", "-A")
    described = infos(tmp_path / "plain")
    process_log.clear()
    assert [r.status for r in get(tmp_path / "plain", described)] == ["notneeded"]
    assert process_log.count("git-annex") == 0


def test_annexed_files_in_a_repository_without_git_annex(source: Path, tmp_path: Path) -> None:
    git(tmp_path, "clone", "-q", str(source), "plain")
    root = tmp_path / "plain"
    git(root, "remote", "remove", "origin")
    (result,) = got(root, "sub-01/events.tsv").values()
    assert result.status == "error"
    assert "annex init" in result.message


def test_unlocked(unlocked_source: Path, tmp_path: Path) -> None:
    root = clone_of(unlocked_source, tmp_path / "clone")
    assert statuses(got(root)) == {
        "a.nii": "ok",
        "same as a.nii": "ok",
        "b.nii": "ok",
        "locked.nii": "ok",
        "same as locked.nii": "ok",
        "x.json": "notneeded",
    }
    assert (root / "same as a.nii").read_bytes() == b"A" * 1000
    assert (root / "same as locked.nii").read_bytes() == b"C" * 10
    assert git(root, "status", "--porcelain") == ""


@needs_posix_names
def test_adjusted_branch(source: Path, clone: Path) -> None:
    git(clone, "annex", "adjust", "--unlock")
    results = got(clone)
    failed = {p for p, r in results.items() if r.status == "error"}
    # git-annex reports success for it, but cannot write to a name that is no UTF-8
    assert failed == {"sub-01/latin1-\udce9_bold.nii.gz"}
    assert "still a pointer" in results[failed.pop()].message
    assert (clone / "sub-01" / "events.tsv").read_bytes() == b"onset\tduration\n"


def test_pointer_over_an_object_that_is_here(unlocked_source: Path, tmp_path: Path) -> None:
    root = clone_of(unlocked_source, tmp_path / "clone")
    pointer = (root / "a.nii").read_bytes()
    git(root, "annex", "get", "-q", "a.nii")
    (root / "a.nii").write_bytes(pointer)
    (result,) = got(root, "a.nii").values()
    assert result.status == "error"
    assert f"git -C {root} annex fsck -- a.nii" in result.message
    git(root, "annex", "fsck", "-q", "a.nii")
    assert statuses(got(root, "a.nii")) == {"a.nii": "notneeded"}


def test_deleted_from_the_work_tree(clone: Path) -> None:
    (clone / "sub-01" / "sub-01_T1w.nii.gz").unlink()
    shutil.rmtree(clone / "sub-02")
    paths = ["derivatives/copy_T1w.nii.gz", "sub-01/sub-01_T1w.nii.gz", "sub-02/sub-02_T1w.nii.gz"]
    described = infos(clone, *paths)
    results = {r.info.path: r for r in get(clone, described)}
    assert [results[p].status for p in paths] == ["ok", "impossible", "impossible"]
    assert " restore -- " in results[paths[1]].message


def test_absent_everywhere(source: Path, tmp_path: Path) -> None:
    middle = clone_of(source, tmp_path / "middle")
    git(middle, "annex", "get", "-q", "sub-02")
    root = clone_of(middle, tmp_path / "clone")
    (key,) = {i.key for i in infos(root, "sub-01/events.tsv")}
    results = got(root, "sub-01/events.tsv", "sub-02/sub-02_T1w.nii.gz")
    assert results["sub-02/sub-02_T1w.nii.gz"].status == "ok"
    failed = results["sub-01/events.tsv"]
    assert failed.status == "error"
    assert "known to be in: source" in failed.message
    assert " annex whereis -- " in failed.message and "datalad siblings" in failed.message
    assert key and key not in failed.message


def test_source_that_is_gone(source: Path, tmp_path: Path) -> None:
    moved = annex_repo(tmp_path / "ds", {"a": b"a", "copy of a": b"a"}, {})
    root = clone_of(moved, tmp_path / "clone")
    moved.rename(tmp_path / "elsewhere")
    results = got(root)
    assert set(statuses(results).values()) == {"error"}
    for result in results.values():
        assert "Unable to access these remotes: origin" in result.message
        assert "datalad siblings" in result.message


@pytest.mark.parametrize("damage", [b"y" * 5000, b"short", b""])
def test_corrupt_source(tmp_path: Path, damage: bytes) -> None:
    origin = annex_repo(tmp_path / "ds", {"a": b"x" * 5000, "good": b"good"}, {})
    root = clone_of(origin, tmp_path / "clone")
    (info,) = infos(root, "a")
    (damaged,) = objects_of(origin, info.key or "")
    damaged.write_bytes(damage)
    results = got(root)
    assert statuses(results) == {"a": "error", "good": "ok"}
    assert "fail" in results["a"].message or "verif" in results["a"].message.lower()


def test_named_remote(clone: Path, source: Path) -> None:
    git(clone, "remote", "add", "second", str(source))
    assert got(clone, "sub-01/events.tsv", remote="second")["sub-01/events.tsv"].status == "ok"
    results = got(clone, "sub-02/sub-02_T1w.nii.gz", "sub-03/sub-03_T1w.nii.gz", remote="nobody")
    for result in results.values():
        assert result.status == "error"
        assert 'no available git remote named "nobody"' in result.message
        assert "datalad siblings" in result.message


def test_ria_store_and_its_unverified_remote(ria: Ria, tmp_path: Path) -> None:
    import datalad.api as dl

    root = tmp_path / "clone"
    dl.clone(ria.url, root, result_renderer="disabled")
    verified = git(root, "config", "--default", "", "remote.ria-storage.annex-verified").strip()
    if verified:
        # git-annex knows of verification, and trusted the remote when it enabled it
        git(root, "config", "--unset", "remote.ria-storage.annex-verified")
        (result,) = got(root, "a.nii").values()
        assert result.status == "error"
        assert "not verified" in result.message
        assert "git annex verifyremote ria-storage" in result.message
        assert "git annex info ria-storage" in result.message
        # nothing was declared safe on the user's behalf
        git(root, "config", "remote.ria-storage.annex-verified", verified)
    assert statuses(got(root)) == {
        i.path: "ok" if i.kind == "annex" else "notneeded" for i in infos(root)
    }


def test_remote_that_is_not_enabled(
    clone: Path, slow_remote: Callable[[Path], Path], tmp_path: Path
) -> None:
    origin = annex_repo(tmp_path / "ds", {"a": b"a"}, {})
    slow_remote(origin)
    root = clone_of(origin, tmp_path / "second")
    (result,) = got(root, "a").values()
    assert result.status == "error"
    assert "slow" in result.message


def test_results_come_as_transfers_end(tmp_path: Path, slow_remote: Callable[[Path], Path]) -> None:
    root = annex_repo(tmp_path / "ds", {"fast": b"fast", "held": b"held"}, {})
    store = slow_remote(root)
    described = {i.path: i for i in infos(root)}
    hold = store / f"hold-{described['held'].key}"
    hold.touch()
    results = get(root, described.values(), jobs=2)
    first = next(results)
    assert (first.info.path, first.status) == ("fast", "ok")
    assert not (root / "held").exists()
    hold.unlink()
    assert [(r.info.path, r.status) for r in results] == [("held", "ok")]


def family(store: Path) -> list[int]:
    """Give the processes that serve the special remote, and all above them up to us."""
    pids = [int(p.read_text()) for p in store.glob("started-*")]
    for pid in pids:
        parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        if parent not in (os.getpid(), 1, *pids):
            pids.append(parent)
    return pids


def running(pids: list[int]) -> list[int]:
    alive = []
    for pid in pids:
        stat = Path(f"/proc/{pid}/stat")
        if stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z":
            alive.append(pid)
    return alive


needs_proc = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@needs_proc
def test_closing_ends_git_annex(tmp_path: Path, slow_remote: Callable[[Path], Path]) -> None:
    root = annex_repo(tmp_path / "ds", {"fast": b"fast", "held": b"held"}, {})
    store = slow_remote(root)
    described = {i.path: i for i in infos(root)}
    hold = store / f"hold-{described['held'].key}"
    hold.touch()
    results = get(root, described.values(), jobs=2)
    assert next(results).info.path == "fast"
    wait_for(lambda: (store / f"started-{described['held'].key}").exists())
    pids = family(store)
    assert len(running(pids)) >= 3  # the remote, git-annex, git
    results.close()
    assert running(pids) == []
    hold.unlink()
    assert statuses(got(root)) == {"fast": "notneeded", "held": "ok"}


def test_a_file_that_another_process_is_getting(
    tmp_path: Path, slow_remote: Callable[[Path], Path]
) -> None:
    root = annex_repo(tmp_path / "ds", {"fast": b"fast", "held": b"held"}, {})
    store = slow_remote(root)
    described = {i.path: i for i in infos(root)}
    hold = store / f"hold-{described['held'].key}"
    hold.touch()
    first = get(root, described.values(), jobs=2)
    assert next(first).info.path == "fast"
    wait_for(lambda: (store / f"started-{described['held'].key}").exists())
    (second,) = got(root, "held").values()
    assert second.status == "error"
    assert "already in progress" in second.message
    assert "wait for the other process" in second.message
    hold.unlink()
    assert [r.status for r in first] == ["ok"]
    assert statuses(got(root, "held")) == {"held": "notneeded"}


@needs_proc
@pytest.mark.parametrize("signal_name", ["SIGINT", "SIGTERM", "SIGKILL"])
def test_a_killed_process_leaves_no_orphan_and_can_resume(
    tmp_path: Path, slow_remote: Callable[[Path], Path], signal_name: str
) -> None:
    import signal

    files: dict[bytes | str, bytes] = {f"f{i}": b"%d" % i for i in range(4)}
    root = annex_repo(tmp_path / "ds", files, {})
    store = slow_remote(root)
    described = infos(root)
    # two of the three transfers at a time are held, whatever the order
    holds = [store / f"hold-{i.key}" for i in described[2:]]
    for hold in holds:
        hold.touch()
    code = (
        "import sys; from pathlib import Path\n"
        "from datalad_bidsshare.dataset.transfer import get\n"
        "from datalad_bidsshare.dataset.blobs import describe\n"
        "from datalad_bidsshare.dataset.listing import read_index\n"
        "root = Path(sys.argv[1]); infos = describe(root, read_index(root).entries())\n"
        "for r in get(root, infos, jobs=3):\n"
        "    print(r.info.path, r.status, *r.message.splitlines(), flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(root)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
    )
    assert process.stdout is not None
    first = process.stdout.readline()
    assert first in ("f0 ok\n", "f1 ok\n")
    wait_for(lambda: all((store / f"started-{i.key}").exists() for i in described[2:]))
    pids = [p for p in family(store) if p != process.pid]
    assert len(running(pids)) >= 3
    # to the one process only, as a batch system or a parent does: no terminal hands it on
    os.kill(process.pid, getattr(signal, signal_name))
    _, stderr = process.communicate(timeout=PATIENCE)
    if signal_name == "SIGINT":
        assert "KeyboardInterrupt" in stderr
        assert running(pids) == []
    helpers = {int(p.read_text()) for p in store.glob("started-*")}
    wait_for(lambda: set(running(pids)) <= helpers)
    for hold in holds:
        hold.unlink()
    # a helper that we could not end ourselves ends when it finds nobody to report to
    wait_for(lambda: not running(pids))
    results = got(root)
    assert results[first[:2]].status == "notneeded"
    assert "".join(r.message for r in results.values()) == ""


@needs_proc
def test_git_annex_that_dies_in_between(
    tmp_path: Path, slow_remote: Callable[[Path], Path]
) -> None:
    import signal

    root = annex_repo(tmp_path / "ds", {"fast": b"fast", "held": b"held"}, {})
    store = slow_remote(root)
    described = {i.path: i for i in infos(root)}
    (store / f"hold-{described['held'].key}").touch()
    results = get(root, described.values(), jobs=2)
    assert next(results).status == "ok"
    wait_for(lambda: (store / f"started-{described['held'].key}").exists())
    for pid in family(store):
        os.kill(pid, signal.SIGKILL)
    (last,) = list(results)
    assert (last.info.path, last.status) == ("held", "error")
    assert last.message


def test_the_same_number_of_processes_however_many_files(
    tmp_path: Path, process_log: ProcessLog
) -> None:
    files: dict[bytes | str, bytes] = {f"{i}.nii": b"%d" % i for i in range(300)}
    origin = annex_repo(tmp_path / "ds", files, {})
    counts = {}
    for count in (10, 300):
        root = clone_of(origin, tmp_path / f"clone{count}")
        described = infos(root)[:count]
        process_log.clear()
        assert [r.status for r in get(root, described, jobs=2)] == ["ok"] * count
        counts[count] = process_log.count()
        assert sum(" get --batch" in c for c in process_log.commands("git-annex")) == 1
        process_log.clear()
        assert [r.status for r in get(root, described)] == ["notneeded"] * count
        assert process_log.count() == 0
    # git-annex starts one helper a transfer thread, and how many threads it needs is up to time
    assert abs(counts[300] - counts[10]) <= 4, counts
    assert counts[10] < 40, counts


def test_where_objects_are_is_found_out_once(
    unlocked_source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = []
    real = presence.annex_directory

    def annex_directory(root: Path) -> Path | None:
        looked.append(root)
        return real(root)

    monkeypatch.setattr(presence, "annex_directory", annex_directory)
    root = clone_of(unlocked_source, tmp_path / "clone")
    assert {r.status for r in get(root, infos(root))} == {"ok", "notneeded"}
    assert looked == [root]
    # git-annex makes the annex while the files come: looked for twice in vain, then found
    git(tmp_path, "clone", "-q", str(unlocked_source), "plain")
    plain = tmp_path / "plain"
    looked.clear()
    assert {r.status for r in get(plain, infos(plain))} == {"ok", "notneeded"}
    assert looked == [plain] * 3


class Unexpected(Exception):
    """What DataLad or an extension of it may raise."""


@pytest.mark.parametrize("when", ["starting", "guarding", "running"])
def test_whatever_datalad_raises_is_a_result(
    clone: Path, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    from datalad.support.annexrepo import AnnexRepo

    def broken(*_: Any, **__: Any) -> Any:
        raise Unexpected("out of order")

    def broken_later(*_: Any, **__: Any) -> Any:
        yield from ()
        raise Unexpected("out of order")

    if when == "guarding":
        monkeypatch.setattr(gitannex, "guarded", broken)
    else:
        monkeypatch.setattr(
            AnnexRepo, "_call_annex", broken if when == "starting" else broken_later
        )
    results = got(clone, "sub-01/events.tsv", "sub-02/sub-02_T1w.nii.gz")
    for result in results.values():
        assert result.status == "error"
        assert "out of order" in result.message and str(clone) in result.message
        assert "next: " in result.message


def test_what_a_consumer_throws_stays_its_own(clone: Path) -> None:
    (info,) = infos(clone, "sub-01/events.tsv")
    from datalad.distribution.dataset import Dataset

    records = AnnexGet(Dataset(str(clone)), 1, None).records([info], by_key=False)
    assert next(records)["success"]
    with pytest.raises(Unexpected, match="mine"):
        records.throw(Unexpected("mine"))


def test_ctrl_c_is_no_result(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datalad.support.annexrepo import AnnexRepo

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(AnnexRepo, "_call_annex", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(get(clone, infos(clone, "sub-01/events.tsv")))


def _program_for_all(base: Path) -> Path:
    """Put a git-annex where every user can run it: the one on PATH may lie in root's home."""
    found = importlib.util.find_spec("git_annex")
    programs = base / "programs"
    programs.mkdir()
    if found is not None and found.origin:
        (programs / "git-annex").symlink_to(Path(found.origin).parent / "git-annex")
    as_nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"
    tried = subprocess.run(
        [*as_nobody, "git", "annex", "version", "--raw"],
        capture_output=True,
        cwd=base,
        env={**os.environ, "PATH": path, "HOME": str(base)},
    )
    if tried.returncode:
        pytest.skip("git-annex cannot be run by every user")
    return programs


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs two users")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs setpriv")
@pytest.mark.parametrize("home_is_writable", [True, False])
def test_somebody_elses_read_only_dataset(for_nobody: Path, home_is_writable: bool) -> None:
    home = str(for_nobody)
    if home_is_writable:
        home += "/home"
        os.mkdir(home)
        os.chown(home, 65534, 65534)
    origin = annex_repo(for_nobody / "ds", {"a": b"a" * 100, "b": b"b"}, {"x.json": b"{}"})
    root = clone_of(origin, for_nobody / "clone")
    git(root, "annex", "get", "-q", "b")
    subprocess.run(["chmod", "-R", "a+rX", str(for_nobody)], check=True)
    code = (
        "import sys, json; from pathlib import Path\n"
        "from datalad_bidsshare.dataset.transfer import get\n"
        "from datalad_bidsshare.dataset.blobs import describe\n"
        "from datalad_bidsshare.dataset.listing import read_index\n"
        "root = Path(sys.argv[1]); infos = describe(root, read_index(root).entries())\n"
        "print(json.dumps({r.info.path: [r.status, r.message]"
        " for r in get(root, infos)}))\n"
    )
    done = subprocess.run(
        [
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
            sys.executable,
            "-c",
            code,
            str(root),
        ],
        capture_output=True,
        text=True,
        cwd=for_nobody,
        env={
            **os.environ,
            "GIT_CONFIG_GLOBAL": str(for_nobody / "config"),
            "HOME": home,
            "PATH": f"{_program_for_all(for_nobody)}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.getcwd(),
        },
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert {p: r[0] for p, r in results.items()} == {
        "a": "error",
        "b": "notneeded",
        "x.json": "notneeded",
    }
    assert "permission denied" in results["a"][1].lower()
    assert "clone of your own" in results["a"][1]


@needs_posix
def test_git_annex_is_missing(clone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # in a process of its own: DataLad remembers the version that it saw first
    programs = tmp_path / "only-git"
    programs.mkdir()
    real = shutil.which("git")
    assert real
    (programs / "git").symlink_to(real)
    code = (
        "import sys; from pathlib import Path\n"
        "from datalad_bidsshare.dataset.transfer import get\n"
        "from datalad_bidsshare.dataset.blobs import describe\n"
        "from datalad_bidsshare.dataset.listing import read_index\n"
        "root = Path(sys.argv[1]); index = read_index(root)\n"
        "infos = describe(root, index.entries(['sub-01/events.tsv']))\n"
        "print([(r.status, r.message) for r in get(root, infos, jobs=1)])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(clone)],
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": str(programs), "PYTHONPATH": os.getcwd()},
    )
    assert done.stdout.startswith("[('error', "), done.stderr
    assert "git-annex" in done.stdout


def test_jobs(clone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from datalad.distribution.dataset import Dataset

    def jobs() -> int:
        ds = Dataset(str(clone))
        ds.config.reload(force=True)
        return default_jobs(ds)

    usual = min(4, os.cpu_count() or 1)
    assert jobs() == usual
    # what somebody committed in the dataset counts nothing
    (clone / ".datalad").mkdir()
    (clone / ".datalad" / "config").write_text('[datalad "runtime"]\n\tmax-annex-jobs = 77\n')
    assert jobs() == usual
    git(clone, "config", "annex.jobs", "cpus")
    assert jobs() == (os.cpu_count() or 1)
    git(clone, "config", "annex.jobs", "3")
    assert jobs() == 3
    git(clone, "config", "datalad.runtime.max-annex-jobs", "9" * 5000)
    assert jobs() == 3
    git(clone, "config", "datalad.runtime.max-annex-jobs", "6")
    assert jobs() == 6
    git(clone, "config", "--add", "datalad.runtime.max-annex-jobs", "7")
    assert jobs() == 7
    git(clone, "config", "--replace-all", "datalad.runtime.max-annex-jobs", "nonsense")
    assert jobs() == 3


def test_lost_object_of_a_remote_that_believes_to_have_it(tmp_path: Path) -> None:
    origin = annex_repo(tmp_path / "ds", {"a": b"a", "b": b"b"}, {})
    root = clone_of(origin, tmp_path / "clone")
    (info,) = infos(root, "a")
    drop_objects(origin, info.key or "")
    assert statuses(got(root)) == {"a": "error", "b": "ok"}
