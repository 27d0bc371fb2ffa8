"""Managed clones of real sources."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from datalad_bidsshare.cache.clones import (
    clones,
    exclusively,
    find_clone,
    remove_entry,
    use_clone,
)
from datalad_bidsshare.cache.state import read_state
from datalad_bidsshare.cache.urls import Source, read_source
from datalad_bidsshare.dataset.cloning import unpushed
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.listing import read_tree
from tests.cache.conftest import change, everything_below
from tests.cache.servers import serving
from tests.dataset.builders import annex_repo, git
from tests.dataset.conftest import Ria
from tests.platforms import needs_posix
from tests.process_log import ProcessLog
from tests.superdatasets import make_dataset


def test_the_first_use_clones_and_the_second_does_not(
    source: Source, cache: Path, process_log: ProcessLog
) -> None:
    with use_clone(source) as first:
        assert first.fresh
        assert (first.root / "a.json").read_text() == "{}"
        assert first.commit == git(first.root, "rev-parse", "HEAD").strip()
    assert any(" clone " in command for command in process_log.commands("git"))
    process_log.clear()
    with use_clone(source) as second:
        assert not second.fresh
        assert (second.root, second.commit) == (first.root, first.commit)
    commands = process_log.commands()
    assert not any(" clone " in command for command in commands)
    assert sum(" fetch " in command for command in commands) == 1
    assert not process_log.commands("git-annex")


def test_without_update_the_source_is_not_asked(
    source: Source, origin: Path, cache: Path, process_log: ProcessLog
) -> None:
    with use_clone(source) as first:
        pass
    change(origin)
    process_log.clear()
    with use_clone(source, update=False) as second:
        assert second.commit == first.commit
    assert not any("fetch" in command for command in process_log.commands())


def test_what_is_new_comes_with_the_next_use(source: Source, origin: Path, cache: Path) -> None:
    with use_clone(source):
        pass
    commit = change(origin)
    git(origin, "tag", "v2")
    git(origin, "branch", "other/branch")
    with use_clone(source) as clone:
        assert clone.commit == commit
        assert git(clone.root, "rev-parse", "HEAD").strip() == commit
        assert (clone.root / "new.json").exists()
        assert git(clone.root, "rev-parse", "v2").strip() == commit
        assert git(clone.root, "rev-parse", "origin/other/branch").strip() == commit
        assert not git(clone.root, "status", "--porcelain")
    # a branch takes the place of a directory of branches
    git(origin, "branch", "-D", "-q", "other/branch")
    git(origin, "branch", "other")
    commit = change(origin, "newer.json")
    with use_clone(source) as clone:
        assert clone.commit == commit
        branches = git(clone.root, "branch", "-r", "--format=%(refname:short)").split()
        assert "origin/other" in branches
        assert "origin/other/branch" not in branches


def test_what_the_source_says_of_its_content_comes_too(
    source: Source, origin: Path, cache: Path
) -> None:
    with use_clone(source):
        pass
    before = git(origin, "rev-parse", "HEAD")
    git(origin, "annex", "untrust", "-q", "here")
    assert git(origin, "rev-parse", "HEAD") == before
    with use_clone(source) as clone:
        assert "untrusted" in git(clone.root, "annex", "info", "--json", "origin")


def test_history_that_was_written_anew_is_followed(
    source: Source, origin: Path, cache: Path
) -> None:
    change(origin)
    with use_clone(source):
        pass
    git(origin, "reset", "-q", "--hard", "HEAD~1")
    commit = change(origin, "instead.json")
    with use_clone(source) as clone:
        assert clone.commit == git(clone.root, "rev-parse", "HEAD").strip() == commit
        assert not (clone.root / "new.json").exists()
        assert unpushed(clone.root) == []


def test_another_default_branch_is_followed(source: Source, origin: Path, cache: Path) -> None:
    with use_clone(source):
        pass
    git(origin, "checkout", "-q", "-b", "release")
    commit = change(origin)
    with use_clone(source) as clone:
        assert clone.commit == commit
        assert (clone.root / "new.json").exists()


def test_a_source_whose_head_is_nowhere_is_used(tmp_path: Path, origin: Path, cache: Path) -> None:
    bare = tmp_path / "bare.git"
    git(tmp_path, "clone", "-q", "--bare", str(origin), str(bare))
    git(bare, "symbolic-ref", "HEAD", "refs/heads/gone")
    with use_clone(read_source(bare)) as clone:
        first = clone.commit
    commit = change(origin)
    git(origin, "push", "-q", str(bare), "HEAD:main")
    with use_clone(read_source(bare)) as clone:
        assert clone.commit == commit != first


def test_the_source_never_hears_of_the_clone(source: Source, origin: Path, cache: Path) -> None:
    before = git(origin, "rev-parse", "git-annex")
    with use_clone(source) as clone:
        git(clone.root, "annex", "get", "-q", ".")
        git(clone.root, "annex", "drop", "-q", ".")
        git(clone.root, "annex", "get", "-q", ".")
        uuid = git(clone.root, "config", "annex.uuid").strip()
        assert uuid not in git(clone.root, "show", "git-annex:uuid.log")
        for line in git(clone.root, "ls-tree", "-r", "git-annex").splitlines():
            oid = line.split()[2]
            assert uuid not in git(clone.root, "cat-file", "blob", oid)
    assert git(origin, "rev-parse", "git-annex") == before
    assert git(origin, "annex", "info", "--fast", "--json").count(uuid) == 0


def test_content_is_got_and_kept(source: Source, cache: Path) -> None:
    with use_clone(source) as clone:
        git(clone.root, "annex", "get", "-q", ".")
    (listed,) = clones()
    # as the disk has it, in blocks
    assert listed.content_files == 1 and 3000 <= listed.content_bytes <= 8192
    assert listed.git_bytes > 0
    with use_clone(source) as clone:
        assert (clone.root / "sub-01_T1w.nii.gz").read_bytes() == b"T1w" * 1000


@needs_posix
def test_only_its_owner_sees_the_cache(source: Source, cache: Path) -> None:
    old = os.umask(0)
    try:
        with use_clone(source) as clone:
            pass
    finally:
        os.umask(old)
    for path in (cache, clone.entry):
        assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_what_is_noted(source: Source, origin: Path, cache: Path) -> None:
    with use_clone(source) as clone:
        pass
    state = read_state(clone.entry)
    assert state is not None
    assert state.url == source.url
    assert state.dataset_id == "11111111-0000-0000-0000-000000000000"
    assert state.commit == clone.commit
    assert state.created <= state.last_used
    assert state.git_bytes > 0
    with use_clone(source):
        used = read_state(clone.entry)
        assert used is not None
        assert used.last_used > state.last_used
        assert used.created == state.created


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 99}', "\0" * 100])
def test_a_state_that_cannot_be_trusted_is_found_out_again(
    text: str, source: Source, origin: Path, cache: Path
) -> None:
    with use_clone(source) as clone:
        before = read_state(clone.entry)
    (clone.entry / "state.json").write_text(text)
    assert [listed.url for listed in clones()] == [""]
    commit = change(origin)
    with use_clone(source) as again:
        assert not again.fresh
        assert again.commit == commit
    state = read_state(clone.entry)
    assert before is not None and state is not None
    assert (state.url, state.dataset_id, state.commit) == (before.url, before.dataset_id, commit)


# Sources of all kinds


def test_a_path_and_its_file_url_are_one_clone(origin: Path, cache: Path) -> None:
    with use_clone(read_source(origin)) as by_path:
        pass
    with use_clone(read_source(origin.as_uri())) as by_url:
        assert by_url.root == by_path.root
        assert not by_url.fresh


def test_a_dataset_in_a_ria_store(ria: Ria, cache: Path, process_log: ProcessLog) -> None:
    with use_clone(read_source(ria.url)) as clone:
        git(clone.root, "annex", "get", "-q", "a.nii")
        assert (clone.root / "a.nii").read_bytes() == b"A" * 1000
    process_log.clear()
    identifier = ria.source.joinpath(".datalad", "config").read_text().split("id = ")[1].split()[0]
    with use_clone(read_source(f"ria+{ria.store.as_uri()}#{identifier}")) as by_id:
        assert (by_id.root, by_id.fresh) == (clone.root, False)
    assert not process_log.commands("git-annex")


def test_the_version_of_a_ria_url_is_what_is_given(
    tmp_path: Path, cache: Path, ria: Ria, origin: Path
) -> None:
    store = tmp_path / "store"
    shutil.copytree(ria.store, store, symlinks=True)
    bare = next(p for p in (store / "alias").iterdir()).resolve()
    git(bare, "tag", "v1")
    first = git(bare, "rev-parse", "HEAD").strip()
    work = tmp_path / "work"
    git(tmp_path, "clone", "-q", str(bare), str(work))
    later = change(work)
    git(work, "push", "-q", "origin", f"HEAD:{git(bare, 'symbolic-ref', 'HEAD').strip()}")
    url = f"ria+{store.as_uri()}#~x"
    with use_clone(read_source(f"{url}@v1")) as old, use_clone(read_source(url)) as new:
        assert old.root == new.root
        assert (old.commit, new.commit) == (first, later)
    with (
        pytest.raises(DatasetError, match=r"no version 'v9'; next: "),
        use_clone(read_source(f"{url}@v9")),
    ):
        pass


def _published(origin: Path, directory: Path) -> None:
    """Put a dataset with its content where files are handed out."""
    bare = directory / "ds"
    git(directory, "clone", "-q", "--bare", str(origin), str(bare))
    git(bare, "annex", "init", "-q", "served")
    git(bare, "annex", "get", "-q", "--all", "--from", "origin")
    git(bare, "update-server-info")


@pytest.fixture
def _local_addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = tmp_path / "gitconfig"
    shutil.copy(os.environ["GIT_CONFIG_GLOBAL"], config)
    git(
        tmp_path,
        *("config", "--file", str(config), "annex.security.allowed-ip-addresses", "all"),
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(config))


@pytest.mark.usefixtures("_local_addresses")
def test_a_server_that_hands_out_files(origin: Path, tmp_path: Path, cache: Path) -> None:
    served = tmp_path / "served"
    served.mkdir()
    _published(origin, served)
    with serving(served) as host:
        source = read_source(f"http://{host}/ds/")
        with use_clone(source) as clone:
            git(clone.root, "annex", "get", "-q", ".")
            assert (clone.root / "sub-01_T1w.nii.gz").read_bytes() == b"T1w" * 1000
        commit = change(origin)
        git(served / "ds", "fetch", "-q", "origin", "+main:main")
        git(served / "ds", "update-server-info")
        with use_clone(read_source(f"http://{host}/ds.git")) as clone:
            assert (clone.fresh, clone.commit) == (False, commit)


@pytest.mark.usefixtures("_local_addresses")
def test_a_password_is_used_and_never_written_or_shown(
    origin: Path,
    tmp_path: Path,
    cache: Path,
    process_log: ProcessLog,
    capfd: pytest.CaptureFixture[str],
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    _published(origin, served)
    # a helper of the user's that would store what works
    store = tmp_path / "stored passwords"
    git(
        tmp_path,
        *("config", "--file", os.environ["GIT_CONFIG_GLOBAL"]),
        *("credential.helper", f"store --file '{store}'"),
    )
    with serving(served, user="me", password="hush/hush") as host:
        source = read_source(f"http://me:hush%2Fhush@{host}/ds")
        for _ in range(2):
            with use_clone(source) as clone:
                git(clone.root, "annex", "get", "-q", ".")
                assert (clone.root / "sub-01_T1w.nii.gz").read_bytes() == b"T1w" * 1000
        assert "GIT_CONFIG_COUNT" not in os.environ
        assert not any("BIDSSHARE_PASSWORD" in name for name in os.environ)
        wrong = read_source(f"http://me:hushed@{host}/ds2")
        with pytest.raises(DatasetError) as caught, use_clone(wrong):
            pass
    assert "hush" not in str(caught.value)
    with pytest.raises(DatasetError) as caught, use_clone(source):
        pass
    assert "hush" not in str(caught.value)
    assert "--no-update" in str(caught.value)
    assert b"hush" not in everything_below(cache)
    assert not store.exists()
    assert "hush" not in "".join(process_log.commands())
    assert "hush" not in "".join(capfd.readouterr())
    assert "hush" not in repr(clones())


_SSH = """#!/bin/sh
# As ssh does, but on this machine: options, the host, and a command
while [ $# -gt 0 ]; do
    case "$1" in
    -[oplSF]) shift 2 ;;
    -*) shift ;;
    *) break ;;
    esac
done
echo "$1" >> '{log}'
shift
exec sh -c "$*"
"""


@needs_posix
def test_a_source_by_ssh(
    origin: Path, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    log = tmp_path / "hosts"
    (programs / "ssh").write_text(_SSH.format(log=log))
    (programs / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("GIT_SSH_COMMAND", "ssh")
    plain = tmp_path / "plain"
    origin.rename(plain)
    with use_clone(read_source(f"me@example.org:{plain}")) as clone:
        assert (clone.root / "a.json").exists()
    commit = change(plain)
    with use_clone(read_source(f"ssh://example.org{plain}/.git")) as again:
        assert (again.fresh, again.commit) == (False, commit)
    assert {line.rpartition("@")[2] for line in log.read_text().split()} == {"example.org"}


# Subdatasets


def test_subdatasets_that_are_installed_get_what_is_registered(tmp_path: Path, cache: Path) -> None:
    import datalad.api as dl

    root = tmp_path / "super"
    below = annex_repo(root / "sub-01", {"x.nii": b"x" * 100}, {"a.json": b"{}"})
    make_dataset(root, {"README": "x"})
    source = read_source(root)
    with use_clone(source) as clone:
        dl.get(str(clone.root / "sub-01"), get_data=False, dataset=str(clone.root))
    commit = change(below)
    git(root, "commit", "-q", "-am", "below")
    with use_clone(source) as clone:
        assert git(clone.root / "sub-01", "rev-parse", "HEAD").strip() == commit
        assert (clone.root / "sub-01" / "new.json").exists()
        assert not git(clone.root, "status", "--porcelain")
        assert read_tree(clone.root, clone.commit).gitlinks == {"sub-01": commit}
        assert unpushed(clone.root) == []
        (clone.root / "sub-01" / "mine.txt").write_text("mine")
    change(below, "more.json")
    git(root, "commit", "-q", "-am", "below")
    with (
        pytest.raises(DatasetError, match=r"sub-01: modified or untracked: mine.txt"),
        use_clone(source),
    ):
        pass
    assert (clone.root / "sub-01" / "mine.txt").read_text() == "mine"


# Work that somebody did in the clone


def test_local_commits_and_changes_are_never_overwritten(
    source: Source, origin: Path, cache: Path
) -> None:
    with use_clone(source) as clone:
        pass
    (clone.root / "a.json").write_text('{"edited": 1}')
    change(origin, "a.json", '{"other": 2}')
    for expected in ("modified or untracked: a.json", "1 local commit, such as .* mine"):
        with (
            pytest.raises(DatasetError, match=rf"(?s){expected}.*next: .*--no-update"),
            use_clone(source),
        ):
            pass
        assert (clone.root / "a.json").read_text() == '{"edited": 1}'
        git(clone.root, "commit", "-q", "-am", "mine", "--allow-empty")
    with use_clone(source, update=False) as same:
        assert same.commit == clone.commit


def test_a_source_that_is_another_dataset_now_is_refused(
    source: Source, origin: Path, tmp_path: Path, cache: Path
) -> None:
    from tests.cache.conftest import make_origin

    with use_clone(source) as clone:
        pass
    refs = git(clone.root, "show-ref", "--heads", "main", "git-annex")
    origin.rename(tmp_path / "old")
    make_origin(origin, "22222222-0000-0000-0000-000000000000")
    for _ in range(2):
        with (
            pytest.raises(DatasetError, match=r"another dataset now \(id 2222.*1111.*cache-clean"),
            use_clone(source),
        ):
            pass
    assert git(clone.root, "show-ref", "--heads", "main", "git-annex") == refs
    with use_clone(source, update=False) as same:
        assert same.commit == clone.commit
        # nothing of the other one got into what git-annex knows
        assert git(same.root, "annex", "whereis").count("source") == 1


def test_a_source_that_is_gone_stops_what_asks_it(
    source: Source, origin: Path, tmp_path: Path, cache: Path
) -> None:
    with use_clone(source) as clone:
        pass
    origin.rename(tmp_path / "elsewhere")
    with (
        pytest.raises(DatasetError, match=r"(?s)cannot be asked for what is new.*--no-update"),
        use_clone(source),
    ):
        pass
    with use_clone(source, update=False) as same:
        assert same.commit == clone.commit


def test_a_source_that_never_was_leaves_nothing(tmp_path: Path, cache: Path) -> None:
    with (
        pytest.raises(DatasetError, match=r"nothing at .*next: "),
        use_clone(read_source(tmp_path / "nothing")),
    ):
        pass
    (tmp_path / "empty").mkdir()
    with (
        pytest.raises(DatasetError, match=r"could not be cloned.*next: "),
        use_clone(read_source(tmp_path / "empty")),
    ):
        pass
    git(tmp_path, "init", "-q", "unborn")
    with (
        pytest.raises(DatasetError, match=r"unborn.*next: "),
        use_clone(read_source(tmp_path / "unborn")),
    ):
        pass
    assert list(cache.iterdir()) == []


# Dry runs


def test_a_dry_run_without_a_clone_leaves_nothing(source: Source, cache: Path) -> None:
    with use_clone(source, dry_run=True) as clone:
        assert (clone.root / "a.json").exists()
        assert clone.fresh
        assert clones() == []
    assert not cache.exists()
    with pytest.raises(RuntimeError), use_clone(source, dry_run=True):
        raise RuntimeError
    assert not cache.exists()


def test_a_dry_run_uses_a_clone_as_it_is(
    source: Source, origin: Path, cache: Path, process_log: ProcessLog
) -> None:
    with use_clone(source) as clone:
        pass
    change(origin)
    before = everything_below(clone.entry)
    process_log.clear()
    with use_clone(source, dry_run=True) as same:
        assert (same.root, same.commit, same.fresh) == (clone.root, clone.commit, False)
    assert not any("fetch" in c or " clone " in c for c in process_log.commands())
    assert everything_below(clone.entry) == before


# Listing and removing


def test_managed_clones_are_listed(source: Source, cache: Path, tmp_path: Path) -> None:
    assert clones() == []
    assert find_clone(source) is None
    with use_clone(source) as clone:
        (used,) = clones()
        assert used.in_use
    (listed,) = clones()
    assert not listed.in_use
    assert (listed.entry, listed.root, listed.url) == (clone.entry, clone.root, source.url)
    assert listed.dataset_id == "11111111-0000-0000-0000-000000000000"
    assert listed.problem == ""
    assert find_clone(source) == listed
    (unmeasured,) = clones(sizes=False)
    noted = read_state(clone.entry)
    assert noted is not None
    assert (unmeasured.git_bytes, unmeasured.commit) == (noted.git_bytes, clone.commit)
    # what has no name of ours is not ours
    (cache / "something").mkdir()
    (cache / "file-0123456789ab").write_text("")
    assert clones() == [listed]


def test_a_clone_in_use_cannot_be_had(source: Source, cache: Path) -> None:
    with use_clone(source) as clone:
        with exclusively(clone.entry) as had:
            assert not had
        with use_clone(source) as same:
            assert same.root == clone.root
    with exclusively(clone.entry) as had:
        assert had
        with exclusively(clone.entry) as twice:
            assert not twice
    shutil.rmtree(clone.entry)
    with exclusively(clone.entry) as had:
        assert not had


def test_a_clone_is_removed_with_objects_that_are_read_only(source: Source, cache: Path) -> None:
    with use_clone(source) as clone:
        git(clone.root, "annex", "get", "-q", ".")
    with exclusively(clone.entry) as had:
        assert had
        remove_entry(clone.entry)
    assert list(cache.iterdir()) == []
    with use_clone(source) as again:
        assert again.fresh


def test_nothing_but_managed_clones_is_removed(source: Source, cache: Path, tmp_path: Path) -> None:
    with use_clone(source):
        pass
    (tmp_path / "x-0123456789ab").mkdir()
    (cache / "mine").mkdir()
    for place in (tmp_path / "x-0123456789ab", cache / "mine", cache, tmp_path):
        with pytest.raises(DatasetError, match="no managed clone"):
            remove_entry(place)
        assert place.exists()


def test_threads_of_a_process_are_kept_apart(source: Source, origin: Path, cache: Path) -> None:
    results: list[object] = []

    def use() -> None:
        try:
            with use_clone(source) as clone:
                results.append((clone.commit, (clone.root / "a.json").exists()))
        except BaseException as e:
            results.append(e)

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    commit = git(origin, "rev-parse", "HEAD").strip()
    assert results == [(commit, True)] * 4
    (listed,) = clones()
    assert not listed.in_use


def test_a_clone_can_be_made_when_the_working_directory_is_gone(
    source: Source, cache: Path, tmp_path: Path
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-c"),
            "import os, sys, tempfile\n"
            "from pathlib import Path\n"
            "from datalad_bidsshare.cache.clones import use_clone\n"
            "from datalad_bidsshare.cache.urls import read_source\n"
            "with use_clone(read_source(sys.argv[1])) as clone:\n"
            "    print(clone.commit)\n",
            str(source.url),
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0, done.stderr
