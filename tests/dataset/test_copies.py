"""What is on record about copies; git-annex itself is the oracle."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.annexlogs import AnnexLogs
from datalad_bidsshare.dataset.copies import Copies, Known, Repositories
from datalad_bidsshare.dataset.errors import DatasetError, NotADatasetError
from tests.dataset.builders import annex_repo, clone_of, git, infos
from tests.dataset.conftest import Ria
from tests.process_log import ProcessLog

FILES: dict[bytes | str, bytes] = {f"f{i}": b"content %d" % i for i in range(6)}


def keys(root: Path) -> dict[str, str]:
    return {i.path: i.key for i in infos(root) if i.key}


def uuid(root: Path) -> str:
    return git(root, "config", "annex.uuid").strip()


def known(root: Path) -> dict[str, Known]:
    """Tell what is on record, by the name of the file."""
    wanted = keys(root)
    copies = Copies(root, wanted.values())
    return {path: copies.known(key) for path, key in wanted.items()}


def elsewhere(found: Known) -> set[str]:
    return {*found.trusted, *found.apart, *found.untrusted, *found.dead}


def check_with_whereis(root: Path) -> None:
    """Hold what is read against `git annex whereis`, which merges and commits: so, first."""
    found = known(root)
    copies = Copies(root, keys(root).values())
    own = uuid(root)
    done = subprocess.run(
        ["git", "annex", "whereis", "--json"], cwd=root, capture_output=True, check=False
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    told = {
        r["file"]: (
            {w["uuid"] for w in r["whereis"]} - {own},
            {w["uuid"] for w in r["untrusted"]} - {own},
        )
        for r in records
    }
    assert {p: ({*k.trusted, *k.apart}, {*k.untrusted}) for p, k in found.items()} == told
    names = copies.repositories.names
    for record in records:
        for where in [*record["whereis"], *record["untrusted"]]:
            if where["uuid"] != own:
                assert names[where["uuid"]] in where["description"]


def dropped(root: Path) -> dict[str, bool]:
    """Have git-annex drop all, and tell what it would let go."""
    done = subprocess.run(
        ["git", "annex", "drop", "--json", "."], cwd=root, capture_output=True, check=False
    )
    records = [json.loads(line) for line in done.stdout.splitlines()]
    return {r["file"]: r["success"] for r in records}


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    return annex_repo(tmp_path / "origin", FILES, {})


@pytest.fixture
def here(origin: Path, tmp_path: Path) -> Path:
    """A clone with all content."""
    root = clone_of(origin, tmp_path / "here")
    git(root, "annex", "get", "-q")
    return root


def test_the_place_it_came_from(origin: Path, here: Path) -> None:
    assert {known(here)[p] for p in known(here)} == {Known((uuid(origin),), (), (), (), (), 1)}
    check_with_whereis(here)
    copies = Copies(here, keys(here).values())
    assert {copies.why_kept(k) for k in keys(here).values()} == {""}
    assert copies.repositories.names[uuid(origin)] == "origin"
    assert set(dropped(here).values()) == {True}


def test_the_only_copy(origin: Path) -> None:
    found = known(origin)
    assert {found[p] for p in found} == {Known((), (), (), (), (), 1)}
    copies = Copies(origin, keys(origin).values())
    why = copies.why_kept(keys(origin)["f1"])
    assert why.startswith("this is the only known copy; next: copy it elsewhere: git -C ")
    assert keys(origin)["f1"] in why
    assert set(dropped(origin).values()) == {False}
    # As a key that nobody ever heard of
    copies = Copies(origin, ["MD5-s1--unheard"])
    assert copies.known("MD5-s1--unheard") == Known((), (), (), (), (), 1)
    assert "only known copy" in copies.why_kept("MD5-s1--unheard")


def test_what_is_fetched_and_not_merged_counts(origin: Path, here: Path, tmp_path: Path) -> None:
    third = clone_of(origin, tmp_path / "third")
    git(here, "remote", "add", "third", str(third))
    git(here, "fetch", "-q", "third")
    git(here, "annex", "info", "-q", "--fast")
    git(third, "annex", "get", "-q", "f1")
    merged = git(here, "rev-parse", "git-annex")
    git(here, "fetch", "-q", "third")
    assert elsewhere(known(here)["f1"]) == {uuid(origin), uuid(third)}
    assert elsewhere(known(here)["f2"]) == {uuid(origin)}
    assert git(here, "rev-parse", "git-annex") == merged
    check_with_whereis(here)
    # And what is gone again: the newest line counts, wherever it is
    git(third, "annex", "drop", "-q", "f1")
    git(here, "fetch", "-q", "third")
    assert elsewhere(known(here)["f1"]) == {uuid(origin)}
    check_with_whereis(here)


def test_where_git_annex_was_never_at_work(origin: Path, tmp_path: Path) -> None:
    root = tmp_path / "bare of annex"
    git(tmp_path, "clone", "-q", str(origin), str(root))
    found = known(root)
    assert {elsewhere(k) == {uuid(origin)} for k in found.values()} == {True}
    # Who `origin` is, git-annex finds out when it needs it
    copies = Copies(root, keys(root).values())
    assert {copies.why_kept(k) for k in keys(root).values()} == {""}
    assert git(root, "branch", "--list", "git-annex") == ""


def test_the_journal_counts(origin: Path, here: Path) -> None:
    git(here, "config", "annex.alwayscommit", "false")
    fact = f"{keys(here)['f1']} {uuid(origin)} 0\n"
    git(here, "annex", "setpresentkey", "--batch", text=fact.encode())
    assert any((here / ".git/annex/journal").iterdir())
    assert elsewhere(known(here)["f1"]) == set()
    assert elsewhere(known(here)["f2"]) == {uuid(origin)}
    check_with_whereis(here)


def test_names_with_underscores_in_the_journal(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    root.mkdir()
    git(root, "init", "-q")
    git(root, "annex", "init", "-q")
    git(root, "config", "annex.backend", "WORM")
    git(root, "config", "annex.alwayscommit", "false")
    for name in ("a_b__c", "d%e"):
        (root / name).write_bytes(b"x")
    git(root, "annex", "add", "-q", ".")
    other = "11111111-2222-3333-4444-555555555555"
    for key in keys(root).values():
        git(root, "annex", "setpresentkey", key, other, "1")
    assert {elsewhere(k) == {other} for k in known(root).values()} == {True}
    assert len(known(root)) == 2


def test_a_private_clone_knows_itself_in_private(origin: Path, tmp_path: Path) -> None:
    root = tmp_path / "private"
    git(tmp_path, "clone", "-q", str(origin), str(root))
    git(root, "config", "annex.private", "true")
    git(root, "annex", "init", "-q")
    git(root, "annex", "get", "-q")
    assert {elsewhere(k) == {uuid(origin)} for k in known(root).values()} == {True}
    check_with_whereis(root)
    # Of another private repository, it is in the private journal alone
    special = git_directory_remote(root, tmp_path / "store", "--private")
    git(root, "annex", "copy", "-q", "--to", "dir", "f1")
    assert any((root / ".git/annex/journal-private").iterdir())
    assert elsewhere(known(root)["f1"]) == {uuid(origin), special}
    check_with_whereis(root)


def git_directory_remote(root: Path, store: Path, *options: str, **settings: str) -> str:
    """Make a special remote 'dir', and give its UUID."""
    store.mkdir()
    given = [f"{name}={value}" for name, value in settings.items()]
    git(
        root, "annex", "initremote", "-q", *options, "dir", "type=directory",
        f"directory={store}", "encryption=none", *given,
    )  # fmt: skip
    return git(root, "config", "remote.dir.annex-uuid").strip()


@pytest.mark.parametrize("level", ["untrusted", "dead"])
def test_who_is_not_to_be_trusted_does_not_count(origin: Path, here: Path, level: str) -> None:
    command = {"untrusted": ["untrust", "origin"], "dead": ["dead", "origin", "--force"]}[level]
    git(here, "annex", *command)
    found = known(here)["f1"]
    assert found.trusted == ()
    assert getattr(found, "untrusted" if level == "untrusted" else "dead") == (uuid(origin),)
    why = Copies(here, keys(here).values()).why_kept(keys(here)["f1"])
    assert "origin" in why and level in why and "next: " in why
    check_with_whereis(here)
    assert set(dropped(here).values()) == {False}
    # Until that is taken back: the newest line counts
    git(here, "annex", "semitrust", "origin")
    assert known(here)["f1"].trusted == (uuid(origin),)
    check_with_whereis(here)
    # As the configuration of the clone says
    git(here, "config", "remote.origin.annex-trustlevel", level)
    assert known(here)["f1"].trusted == ()
    assert set(dropped(here).values()) == {False}
    git(here, "config", "remote.origin.annex-trustlevel", "semitrusted")
    git(here, "annex", *command)
    assert known(here)["f1"].trusted == (uuid(origin),)
    check_with_whereis(here)
    assert set(dropped(here).values()) == {True}


def test_who_is_trusted_blindly(origin: Path, here: Path) -> None:
    assert Repositories.read(here).taken_at_their_word == []
    git(here, "annex", "trust", "--force", "origin")
    assert Repositories.read(here).taken_at_their_word == [uuid(origin)]
    git(here, "config", "remote.origin.annex-trustlevel", "semitrusted")
    assert Repositories.read(here).taken_at_their_word == []


def test_a_repository_that_cannot_be_asked(origin: Path, here: Path) -> None:
    git(here, "config", "remote.origin.annex-ignore", "true")
    found = known(here)["f1"]
    assert (found.trusted, found.apart) == ((), (uuid(origin),))
    copies = Copies(here, keys(here).values())
    why = copies.why_kept(keys(here)["f1"])
    assert "origin" in why and "cannot be asked" in why and "datalad siblings" in why
    git(here, "remote", "remove", "origin")
    assert known(here)["f1"].apart == (uuid(origin),)
    copies = Copies(here, keys(here).values())
    # What it is described as, for want of a remote
    assert "source" in copies.why_kept(keys(here)["f1"])
    assert set(dropped(here).values()) == {False}


def test_what_may_be_replaced_at_any_time_does_not_count(origin: Path, tmp_path: Path) -> None:
    special = git_directory_remote(origin, tmp_path / "tree", exporttree="yes")
    git(origin, "annex", "export", "-q", "HEAD", "--to", "dir")
    found = known(origin)["f1"]
    assert (found.trusted, found.untrusted) == ((), (special,))
    # It is what somebody declared it to be, and no more than that
    git(origin, "annex", "trust", "--force", "dir")
    assert known(origin)["f1"].untrusted == (special,)
    assert set(dropped(origin).values()) == {False}


def test_special_remotes_and_a_ria_store(ria: Ria, tmp_path: Path) -> None:
    import datalad.api as dl

    root = tmp_path / "clone"
    dl.clone(ria.url, root, result_renderer="disabled")
    dl.get(str(root), dataset=str(root), result_renderer="disabled")
    found = known(root)
    storage = git(root, "config", "remote.ria-storage.annex-uuid").strip()
    for path in ("a.nii", "b.nii"):
        assert found[path].trusted == (storage,)
        # The dataset that it was pushed from is no remote of the clone
        assert found[path].apart == (uuid(ria.source),)
    check_with_whereis(root)


def test_the_web_counts_as_a_copy(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"a": b"A"}, {})
    key = keys(root)["a"]
    git(root, "annex", "setpresentkey", key, "00000000-0000-0000-0000-000000000001", "1")
    assert known(root)["a"].trusted == ("00000000-0000-0000-0000-000000000001",)
    check_with_whereis(root)
    git(root, "annex", "untrust", "web")
    assert known(root)["a"].trusted == ()
    assert "web" in Copies(root, [key]).why_kept(key)


def oracle_numcopies(root: Path) -> int:
    return int(git(root, "annex", "numcopies"))


def test_how_many_copies_are_asked_for(origin: Path, here: Path, tmp_path: Path) -> None:
    assert known(here)["f1"].needed == 1
    git(here, "config", "annex.numcopies", "3")
    assert known(here)["f1"].needed == 3
    why = Copies(here, keys(here).values()).why_kept(keys(here)["f1"])
    assert why.startswith("3 other copies are asked for (numcopies), and it is in origin only")
    assert set(dropped(here).values()) == {False}
    # What git-annex has on record wins
    git(here, "annex", "numcopies", "2")
    assert known(here)["f1"].needed == oracle_numcopies(here) == 2
    assert set(dropped(here).values()) == {False}
    git(here, "annex", "numcopies", "1")
    assert known(here)["f1"].needed == oracle_numcopies(here) == 1
    git(here, "annex", "mincopies", "2")
    assert known(here)["f1"].needed == 2
    assert set(dropped(here).values()) == {False}
    git_directory_remote(here, tmp_path / "store")
    git(here, "annex", "copy", "-q", "--to", "dir", "f1")
    assert Copies(here, keys(here).values()).why_kept(keys(here)["f1"]) == ""
    assert Copies(here, keys(here).values()).why_kept(keys(here)["f2"]) != ""


def test_records_of_old_and_broken_ones(origin: Path, here: Path) -> None:
    git(here, "config", "annex.alwayscommit", "false")
    journal = here / ".git/annex/journal"
    journal.mkdir(exist_ok=True)
    # Before there were times; times with fractions; what makes no sense
    (journal / "trust.log").write_text(f"{uuid(origin)} X\nnonsense\n\n \n")
    (journal / "uuid.log").write_text(f"{uuid(origin)} of old, with spaces\n")
    (journal / "numcopies.log").write_text("1.5s 2\n1.25s 7\nx y\n9s many\n")
    found = known(here)["f1"]
    assert (found.dead, found.needed) == ((uuid(origin),), 2)


def test_a_branch_with_directories_of_one_level(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    root.mkdir()
    git(root, "init", "-q")
    git(root, "-c", "annex.tune.branchhash1=true", "annex", "init", "-q")
    (root / "a").write_bytes(b"A")
    git(root, "annex", "add", "-q", "a")
    git(root, "commit", "-q", "-m", "a")
    special = git_directory_remote(root, tmp_path / "store")
    git(root, "annex", "copy", "-q", "--to", "dir")
    assert known(root)["a"].trusted == (special,)
    check_with_whereis(root)


def test_packed_or_not(here: Path) -> None:
    before = known(here)
    git(here, "gc", "-q")
    assert known(here) == before
    check_with_whereis(here)
    # Objects of git that are in another repository
    linked = here.parent / "linked"
    git(here.parent, "clone", "-q", "--shared", str(here), str(linked))
    found = known(linked)
    assert {p: elsewhere(k) - {uuid(here)} for p, k in found.items()} == {
        p: elsewhere(k) for p, k in before.items()
    }


def test_a_handful_of_processes(here: Path, process_log: ProcessLog) -> None:
    wanted = list(keys(here).values())
    counts = []
    for some in (wanted[:1], wanted):
        process_log.clear()
        copies = Copies(here, some)
        for key in some:
            copies.known(key)
            copies.why_kept(key)
        counts.append(process_log.count())
        assert process_log.count("git-annex") == 0
        assert not any(" annex " in line for line in process_log.commands())
    assert counts[0] == counts[1] <= 4


def test_a_damaged_branch_is_told(here: Path) -> None:
    _, _, blob, path = git(here, "ls-tree", "-r", "git-annex", "uuid.log").split()
    file = here / ".git/objects" / blob[:2] / blob[2:]
    assert list(AnnexLogs(here).read([path])) == [path]
    file.chmod(0o644)
    file.write_bytes(b"")
    with pytest.raises(DatasetError, match="git fsck"):
        AnnexLogs(here).read([path])


def test_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(NotADatasetError):
        Copies(tmp_path, [])


def test_of_one_time_the_line_that_says_less_counts(here: Path, origin: Path) -> None:
    git(here, "config", "annex.alwayscommit", "false")
    key = keys(here)["f1"]
    when = int(time.time()) + 1000
    path = git(here, "ls-tree", "-r", "--name-only", "git-annex").split()
    (log,) = (p for p in path if key in p)
    journal = here / ".git/annex/journal"
    journal.mkdir(exist_ok=True)
    name = log.replace("_", "__").replace("/", "_")
    for order in ("10", "01"):
        lines = "".join(f"{when}s {status} {uuid(origin)}\n" for status in order)
        (journal / name).write_text(lines)
        assert elsewhere(known(here)["f1"]) == set()
