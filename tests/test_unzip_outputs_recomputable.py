"""`unzip-outputs --recomputable`: files that git-annex frees, and gets again from the zip."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.compute import supports_compute
from tests.dataset.builders import annex_repo, git
from tests.exports import state_of
from tests.platforms import needs_posix
from tests.process_log import ProcessLog
from tests.raw_dataset import datalad
from tests.superdatasets import DATALAD, make_dataset
from tests.test_unzip_outputs_faults import Trap, run, trap
from tests.unzips import (
    REST,
    ZIPS,
    clone_of_store,
    dataset_of,
    failures,
    members,
    outcomes,
    save_zips,
    tracked,
    tree_of,
    unpacked,
    unzip,
    zip_bytes,
)

__all__ = ["trap"]

ONE, TWO, TEN = ZIPS

pytestmark = [needs_posix, pytest.mark.skipif(bool(supports_compute()), reason="old git-annex")]


@pytest.fixture(autouse=True)
def _programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the programs of this environment found, as after `activate`."""
    monkeypatch.setenv("PATH", f"{DATALAD.parent}{os.pathsep}{os.environ['PATH']}")


def annexed(root: Path) -> list[str]:
    """Give what is annexed of the files that came from zips."""
    found = git(root, "annex", "find", "--anything", "--include=*").splitlines()
    return [path for path in found if not path.endswith(".zip")]


def see_dropped_and_got(root: Path, wanted: dict[str, bytes]) -> None:
    """See that all files can be dropped, one be got, and then the rest."""
    files = annexed(root)
    assert files
    datalad("drop", "--what", "filecontent", *files, cwd=root)
    assert not any((root / path).exists() for path in files)
    datalad("get", files[0], cwd=root)
    assert (root / files[0]).read_bytes() == wanted[files[0]]
    datalad("get", *files, cwd=root)
    assert {path: (root / path).read_bytes() for path in tracked(root)} == wanted
    assert not git(root, "status", "--porcelain", "--untracked-files=all")
    git(root, "annex", "fsck", "-q", *files)


def test_dropped_and_got_again(zips: Path, process_log: ProcessLog) -> None:
    out, _ = datalad("unzip-outputs", "--recomputable", cwd=zips)
    assert "3 zips unpacked" in out
    # One registration a zip, and what is unpacked is not unpacked again
    commands = process_log.commands("git-annex")
    assert sum(" addcomputed " in command for command in commands) == 3
    plain = unpacked("01", "02", "10", top="fmriprep")
    see_dropped_and_got(zips, plain)
    assert set(outcomes(unzip(dataset=zips, recomputable=True)).values()) == {"notneeded"}


def test_the_tree_is_that_without(zips: Path) -> None:
    assert not failures(unzip(dataset=zips, recomputable=True))
    tree = tree_of(zips)
    git(zips, "reset", "-q", "--hard", "HEAD~3")
    assert not failures(unzip(dataset=zips))
    assert tree_of(zips) == tree


def test_a_part_of_it_elsewhere(zips: Path) -> None:
    """Globs, stripped names, a directory; what two zips share."""
    arguments = ("--strip", "1", "--into", "d {{x}}", "-i", "*.html", "-i", "*.json")
    datalad("unzip-outputs", "--recomputable", *arguments, ONE, TWO, cwd=zips)
    wanted = {
        f"d {{x}}/{path}": data
        for path, data in unpacked("01", "02").items()
        if path.endswith((".html", ".json"))
    }
    see_dropped_and_got(zips, wanted)


def test_by_entities(zips: Path) -> None:
    arguments = ("--strip", "1", "--task", "rest", "--suffix", "bold", "--space", "T1w")
    datalad("unzip-outputs", "--recomputable", *arguments, ONE, cwd=zips)
    see_dropped_and_got(zips, {path: unpacked("01")[path] for path in tracked(zips)})


def test_where_git_keeps_text(tmp_path: Path) -> None:
    import datalad.api as dl

    ds = dl.create(str(tmp_path / "ds"), cfg_proc="text2git", result_renderer="disabled").pathobj
    content = {f"out/{n}.nii": bytes(range(256)) * (n + 1) for n in range(3)}
    content |= {"out/a.tsv": b"onset\n1\n", "out/b.json": b"{}"}
    save_zips(ds, {"a.zip": zip_bytes(content)})
    datalad("unzip-outputs", "--recomputable", cwd=ds)
    assert set(annexed(ds)) == {path for path in content if path.endswith(".nii")}
    see_dropped_and_got(ds, content)


def test_files_that_are_there(zips: Path) -> None:
    """Also of an earlier call that did not register them."""
    own = {"fmriprep/sub-01.html": members("01")["fmriprep/sub-01.html"]}
    save_zips(zips, own)
    datalad("unzip-outputs", "--recomputable", "--existing", "skip", ONE, cwd=zips)
    see_dropped_and_got(zips, members("01"))


def test_in_a_clone_that_enables_it(zips: Path, tmp_path: Path) -> None:
    from datalad.api import Dataset

    quiet = {"result_renderer": "disabled"}
    datalad("unzip-outputs", "--recomputable", ONE, cwd=zips)
    datalad("drop", "--what", "filecontent", *annexed(zips), cwd=zips)
    ds = Dataset(str(zips))
    url = f"ria+file://{tmp_path / 'store'}"
    ds.create_sibling_ria(url, name="store", new_store_ok=True, alias="ds", **quiet)
    ds.push(to="store", **quiet)
    clone = clone_of_store(f"{url}#~ds", tmp_path / "clone")
    path = f"fmriprep/{REST.format('01')}"
    out, _ = datalad("unzip-outputs", "--recomputable", TWO, cwd=clone)
    assert "1 zip unpacked" in out
    # That call has enabled the remote, and the user looks at it and calls it safe.
    shown = git(clone, "annex", "verifyremote", "bidsshare-unzip")
    assert "program=git-annex-compute-bidsshare-unzip" in shown
    safe = re.search(r"--safe (\S+)", shown)
    if safe:
        git(clone, "annex", "verifyremote", "bidsshare-unzip", "--safe", safe[1])
    datalad("get", path, cwd=clone)
    assert (clone / path).read_bytes() == members("01")[path]


def test_git_annex_that_is_too_old(zips: Path, tmp_path: Path) -> None:
    """It is said before anything is done."""
    old = tmp_path / "old"
    old.mkdir()
    real = shutil.which("git-annex")
    (old / "git-annex").write_text(
        '#!/bin/sh\n[ "$1" = version ] || exec ' + shlex.quote(str(real)) + ' "$@"\n'
        "echo 'git-annex version: 10.20230126'\necho 'remote types: git directory rsync web'\n"
    )
    (old / "git-annex").chmod(0o755)
    git(zips, "status")
    before = state_of(zips / ".git/annex/objects"), git(zips, "rev-parse", "HEAD", "git-annex")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{old}{os.pathsep}{os.environ['PATH']}")
        out, _ = datalad("unzip-outputs", "--recomputable", cwd=zips, code=1)
        assert "10.20230126" in out
        assert "10.20250320" in out
        after = state_of(zips / ".git/annex/objects"), git(zips, "rev-parse", "HEAD", "git-annex")
        assert after == before
        # Without, it is new enough.
        datalad("unzip-outputs", ONE, cwd=zips)


def test_zips_that_nothing_can_be_computed_from(_zips: Path, tmp_path: Path) -> None:
    import datalad.api as dl

    root = make_dataset(tmp_path / "ds", {}).pathobj
    dl.clone(str(_zips), str(root / "inputs"), dataset=root, result_renderer="disabled")
    head = git(root, "rev-parse", "HEAD")
    said = failures(unzip(dataset=root, recomputable=True))
    assert "is in a subdataset" in said[f"inputs/{ONE}"]
    assert "leave out --recomputable" in said[f"inputs/{ONE}"]
    assert git(root, "rev-parse", "HEAD") == head
    content = {"a.txt": b"a"}
    in_git = annex_repo(tmp_path / "in-git", {"x": b"x"}, {"a.zip": zip_bytes(content)})
    said = failures(unzip(dataset=in_git, recomputable=True))
    assert "what git keeps" in said["a.zip"]
    assert not failures(unzip(dataset=in_git))


@pytest.mark.parametrize("nth", [1, 2])
def test_killed_while_it_is_registered(zips: Path, trap: Trap, nth: int) -> None:
    """What git-annex runs in a group of its own ends too; the next call registers all."""
    environment = trap.set("' addcomputed '", "kill -KILL $PPID; sleep 300", nth=nth)
    ended = run(zips, "--recomputable", **environment)
    assert ended.code == -signal.SIGKILL, ended.said
    assert not tracked(zips)
    assert not failures(unzip(dataset=zips, recomputable=True))
    see_dropped_and_got(zips, unpacked("01", "02", "10", top="fmriprep"))


def test_a_zip_that_gives_nothing_to_the_annex(tmp_path: Path) -> None:
    ds = dataset_of(tmp_path / "ds", {"a.zip": zip_bytes({"a.txt": b"a"}), "b.zip": b""})
    save_zips(ds, {".gitattributes": "*.txt annex.largefiles=nothing\n"})
    git(ds, "rm", "-q", "b.zip")
    git(ds, "commit", "-q", "-m", "none")
    assert not failures(unzip(dataset=ds, recomputable=True))
    assert (ds / "a.txt").read_bytes() == b"a"
    assert not annexed(ds)
