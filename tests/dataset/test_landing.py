"""New commits come to branch, index and work tree: whole, or not yet, and never half for long."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.commits import Change, NewCommit, blob_name, write_commits
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.ingest import ingest
from datalad_bidsshare.dataset.landing import (
    MovedError,
    finish,
    follow,
    land,
    obstacles,
    publish,
)
from datalad_bidsshare.dataset.listing import read_index, read_tree
from datalad_bidsshare.dataset.state import own_git_directory, read_head, unsaved
from tests.dataset.builders import git
from tests.platforms import needs_posix, needs_symlinks
from tests.process_log import ProcessLog


@pytest.fixture
def ds(tmp_path: Path) -> Path:
    """A repository with files to be replaced, and some that are nobody's business."""
    root = tmp_path / "ds"
    root.mkdir()
    git(root, "init", "-q")
    for name in ("a.txt", "dir/old.txt", "dir/other.txt", "mine.txt"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(f"{name}, old\n")
    (root / ".gitignore").write_text("*.log\n")
    git(root, "add", "-A")
    git(root, "commit", "-q", "-m", "first")
    return root


NEW = {f"new/{i}.txt": f"new {i}\n" * 50 for i in range(5)} | {
    "a.txt": "a, new\n" * 50,
    "dir/old.txt": "old, new\n" * 50,
    "dir/z\n\"'.txt": "odd\n",
}


def prepared(root: Path, files: dict[str, str] = NEW, links: Sequence[str] = ("l/ink",)) -> str:
    """Make a commit with files, and links to somewhere, that no branch has yet."""
    head = read_head(root)
    changes = [
        Change(p, "100644", blob_name(t.encode(), head.commit), t.encode())
        for p, t in files.items()
    ]
    target = b"../.git/annex/objects/nowhere"
    changes += [Change(p, "120000", blob_name(target, head.commit), target) for p in links]
    return write_commits(root, head.commit, [NewCommit("new\n", tuple(changes))])[0]


def assert_landed(root: Path, new: str, files: dict[str, str] = NEW) -> None:
    assert read_head(root).commit == new
    assert {p: (root / p).read_text() for p in files} == files
    assert git(root, "write-tree") == git(root, "rev-parse", "HEAD^{tree}")
    assert unsaved(root) == []
    left = [n for n in os.listdir(own_git_directory(root)) if "bidsshare" in n or "lock" in n]
    assert left == []


def test_commits_land(ds: Path, tmp_path: Path) -> None:
    (ds / "kept.log").write_text("ignored, and not in the way")
    new = prepared(ds)
    journal = tmp_path / "journal"
    land(ds, read_head(ds), new, "a test", journal)
    assert_landed(ds, new)
    assert os.readlink(ds / "l" / "ink") == "../.git/annex/objects/nowhere"
    assert (ds / "kept.log").read_text() == "ignored, and not in the way"
    assert not journal.exists()
    assert "a test" in git(ds, "reflog", "-1", "HEAD")
    assert finish(ds, journal) == []


def test_what_the_user_changes_meanwhile_elsewhere_stays(ds: Path, tmp_path: Path) -> None:
    head, new = read_head(ds), prepared(ds)
    (ds / "mine.txt").write_text("edited")
    (ds / "dir" / "other.txt").write_text("staged")
    git(ds, "add", "dir/other.txt")
    (ds / "untracked").write_text("x")
    land(ds, head, new, "a test", tmp_path / "journal")
    assert unsaved(ds) == ["dir/other.txt", "mine.txt", "untracked"]
    assert (ds / "mine.txt").read_text() == "edited"
    assert {p: (ds / p).read_text() for p in NEW} == NEW


def test_a_branch_that_moved(ds: Path, tmp_path: Path) -> None:
    head, new = read_head(ds), prepared(ds)
    git(ds, "commit", "-q", "--allow-empty", "-m", "of somebody else")
    theirs = read_head(ds)
    for act in (
        lambda: publish(ds, head.branch, head.commit, new, "x"),
        lambda: land(ds, head, new, "x", tmp_path / "journal"),
    ):
        with pytest.raises(MovedError, match=f"was at {head.commit}.*at {theirs.commit} now"):
            act()
    assert read_head(ds) == theirs
    assert unsaved(ds) == []
    assert not (tmp_path / "journal").exists()


def test_another_branch_was_checked_out(ds: Path, tmp_path: Path) -> None:
    head, new = read_head(ds), prepared(ds)
    git(ds, "switch", "-q", "-c", "other")
    with pytest.raises(MovedError, match=r"refs/heads/main was checked out.*refs/heads/other is"):
        land(ds, head, new, "x", tmp_path / "journal")
    assert git(ds, "rev-parse", "main").strip() == head.commit
    assert unsaved(ds) == []


def test_a_branch_that_somebody_has_locked(ds: Path, tmp_path: Path) -> None:
    head, new = read_head(ds), prepared(ds)
    (ds / ".git" / "refs" / "heads" / "main.lock").touch()
    with pytest.raises(DatasetError, match=r"could not be moved.*main\.lock.*next: see") as caught:
        land(ds, head, new, "x", tmp_path / "journal")
    assert not isinstance(caught.value, MovedError)
    assert not (tmp_path / "journal").exists()


def test_a_file_of_the_user_in_the_way(ds: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    head, new = read_head(ds), prepared(ds)
    (ds / "new").mkdir()
    (ds / "new" / "1.txt").write_text("of the user")
    with pytest.raises(DatasetError, match=r"(?s)not all files came.*new/1\.txt.*next"):
        land(ds, head, new, "x", journal)
    assert (ds / "new" / "1.txt").read_text() == "of the user"
    with pytest.raises(ValueError, match="not finished"):
        land(ds, head, new, "x", journal)
    assert finish(ds, journal) == ["new/1.txt"]
    assert (ds / "new" / "1.txt").read_text() == "of the user"
    assert unsaved(ds) == ["new/1.txt"]
    git(ds, "checkout", "-q", "--", "new/1.txt")
    assert_landed(ds, new)


@needs_symlinks
def test_what_stands_in_the_way(ds: Path, tmp_path: Path) -> None:
    (ds / "ignored.log").touch()
    (ds / "untracked").touch()
    (ds / "directory").mkdir()
    (ds / "link").symlink_to(tmp_path)
    (ds / "dir" / "dangling").symlink_to("nowhere")
    git(ds, "init", "-q", "repository/inner")
    git(ds, "update-index", "--add", "--cacheinfo", f"160000,{read_head(ds).commit},sub")
    tracked = read_index(ds)
    free = ["a.txt", "dir/old.txt", "dir/new", "new/x", "directory/x", "repository/x"]
    assert obstacles(ds, free, tracked) == []
    given = {
        "ignored.log": "ignored.log",
        "untracked": "untracked",
        "untracked/x/y": "untracked",
        "directory": "directory",
        "dir": "dir",
        "link/x": "link",
        "link": "link",
        "dir/dangling": "dir/dangling",
        "a.txt/x": "a.txt",
        "mine.txt/x/y": "mine.txt",
        "repository/inner/x/y": "repository/inner",
        "sub": "sub",
        "sub/x": "sub",
    }
    for path, expected in given.items():
        assert obstacles(ds, [path], tracked) == [expected]
    assert obstacles(ds, [*free, *given], tracked) == sorted(set(given.values()))


def test_a_linked_work_tree(ds: Path, tmp_path: Path) -> None:
    root = tmp_path / "linked"
    git(ds, "worktree", "add", "-q", "-b", "linked", str(root))
    theirs = read_head(ds)
    new = prepared(root)
    land(root, read_head(root), new, "x", tmp_path / "journal")
    assert_landed(root, new)
    assert read_head(ds) == theirs
    assert unsaved(ds) == []


@pytest.mark.parametrize("setting", ["splitIndex", "untrackedCache", "preloadIndex"])
def test_indexes_of_other_kinds(ds: Path, tmp_path: Path, setting: str) -> None:
    git(ds, "config", f"core.{setting}", "true")
    git(ds, "config", "index.version", "4")
    git(ds, "update-index", "--force-write-index")
    new = prepared(ds)
    land(ds, read_head(ds), new, "x", tmp_path / "journal")
    assert_landed(ds, new)


def test_nothing_to_finish(ds: Path, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    assert finish(ds, journal) == []
    head, new = read_head(ds), prepared(ds)
    # never published, and collected as garbage since
    for name in (new, "1" * 40):
        journal.write_text(json.dumps({"branch": head.branch, "old": head.commit, "new": name}))
        assert finish(ds, journal) == []
        assert not journal.exists()
    assert read_head(ds) == head
    assert unsaved(ds) == []
    for text in ("", "{}", "[]", "null"):
        journal.write_text(text)
        with pytest.raises(DatasetError, match=r"cannot be read.*next: see with git status"):
            finish(ds, journal)


# What a child process does that ends itself, or has itself ended, somewhere on the way
_CHILD = """
import os, signal, sys
from pathlib import Path
from datalad_bidsshare.dataset import held_index, landing
from datalad_bidsshare.dataset.state import read_head

root, new, journal, place = Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4]

def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def dies_after(module, name):
    inner = getattr(module, name)
    def outer(*args, **kwargs):
        inner(*args, **kwargs)
        die()
    setattr(module, name, outer)

if place == "after the journal":
    dies_after(landing, "_write_journal")
elif place == "after the branch":
    dies_after(landing, "publish")
elif place == "with the index locked":
    dies_after(held_index, "_take")
elif place == "with a copy of the index":
    dies_after(held_index, "_copy")
elif place == "before the index is replaced":
    held_index.os.replace = lambda a, b: die() if Path(b).name == "index" else os.rename(a, b)
elif place == "after the index":
    landing._populate = die
elif place == "at the end":
    dies_after(landing, "_populate")
landing.land(root, read_head(root), new, "x", journal)
"""
PLACES = [
    "after the journal", "with the index locked", "with a copy of the index", "after the branch",
    "before the index is replaced", "after the index", "at the end",
]  # fmt: skip


def killed(root: Path, new: str, journal: Path, place: str) -> None:
    """Land a commit in a process that is killed: alone, or with git if git has itself killed."""
    child = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(_CHILD), str(root), new, str(journal), place],
        start_new_session=True,
    )
    assert child.wait() == -signal.SIGKILL
    assert journal.exists()


def killed_in_git(root: Path, new: str, journal: Path) -> None:
    """Kill everything while git writes the work tree: a filter of the file where it dies does it.

    Of the files that git is to write, it has written those before `dir/z`.
    """
    shell = "kill -9 -$(ps -o pgid= -p $$ | tr -d ' ')"
    info = root / ".git" / "info"
    info.mkdir(exist_ok=True)
    (info / "attributes").write_text("dir/z* filter=deadly\n")
    git(root, "config", "filter.deadly.smudge", shell)
    killed(root, new, journal, "in git")
    (info / "attributes").unlink()
    assert (root / "a.txt").read_text() == NEW["a.txt"]
    assert not (root / "new").exists()


@needs_posix
@pytest.mark.parametrize("place", PLACES)
def test_killed_at_any_point_the_next_call_brings_the_rest(
    ds: Path, tmp_path: Path, place: str
) -> None:
    old, new, journal = read_head(ds), prepared(ds), tmp_path / "journal"
    killed(ds, new, journal, place)
    assert finish(ds, journal) == []
    assert not journal.exists()
    if place in PLACES[:3]:
        assert read_head(ds) == old
        assert unsaved(ds) == []
        land(ds, old, new, "x", journal)
    assert_landed(ds, new)
    assert finish(ds, journal) == []


@needs_posix
def test_killed_with_git_in_the_middle_of_the_work_tree(ds: Path, tmp_path: Path) -> None:
    new, journal = prepared(ds), tmp_path / "journal"
    killed_in_git(ds, new, journal)
    # as a full disk leaves it, too
    os.truncate(ds / "dir" / "old.txt", 10)
    (ds / "new").mkdir()
    (ds / "new" / "0.txt").write_text(NEW["new/0.txt"][:7])
    (ds / "new" / "1.txt").write_text("")
    (ds / "new" / "2.txt").write_text(NEW["new/2.txt"])
    assert finish(ds, journal) == []
    assert_landed(ds, new)


@needs_posix
def test_killed_while_it_finishes(ds: Path, tmp_path: Path) -> None:
    new, journal = prepared(ds), tmp_path / "journal"
    killed_in_git(ds, new, journal)
    code = (
        "import os, sys, signal; from pathlib import Path\n"
        "from datalad_bidsshare.dataset import held_index, landing\n"
        "die = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
        "rename = lambda a, b: die() if Path(b).name == 'index' else os.rename(a, b)\n"
        "held_index.os.replace = rename\n"
        "landing.finish(Path(sys.argv[1]), Path(sys.argv[2]))\n"
    )
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code, str(ds), str(journal)], check=False)
        assert done.returncode == -signal.SIGKILL
    assert finish(ds, journal) == []
    assert_landed(ds, new)


@needs_posix
@needs_symlinks
def test_what_somebody_did_after_a_kill_is_kept(ds: Path, tmp_path: Path) -> None:
    new, journal = prepared(ds), tmp_path / "journal"
    killed_in_git(ds, new, journal)
    # Paths that git has written, and such that it has not
    (ds / "a.txt").write_text("edited, and longer than both versions of it" * 20)
    (ds / "new").mkdir()
    (ds / "new" / "1.txt").write_text("made by the user")
    (ds / "new" / "3.txt").mkdir()
    (ds / "new" / "3.txt" / "deep").write_text("in a directory of the user")
    (ds / "l").symlink_to(tmp_path)
    (ds / "mine.txt").write_text("edited")
    left = finish(ds, journal)
    assert sorted(left) == ["a.txt", "l/ink", "new/1.txt", "new/3.txt"]
    assert (ds / "a.txt").read_text().startswith("edited")
    assert (ds / "new" / "1.txt").read_text() == "made by the user"
    assert (ds / "new" / "3.txt" / "deep").read_text() == "in a directory of the user"
    assert not (tmp_path / "ink").is_symlink()
    # The next commit would not take back what was brought.
    assert git(ds, "write-tree") == git(ds, "rev-parse", "HEAD^{tree}")
    brought = {p: t for p, t in NEW.items() if p not in left}
    assert {p: (ds / p).read_text() for p in brought} == brought


@needs_posix
def test_what_was_committed_after_a_kill_is_kept(ds: Path, tmp_path: Path) -> None:
    new, journal = prepared(ds), tmp_path / "journal"
    killed(ds, new, journal, "after the branch")
    # git keeps them from it, and says to remove the lock file. With the old index this takes
    # everything back, which is seen and can be undone.
    (ds / ".git" / "index.lock").unlink()
    (ds / "a.txt").write_text("theirs")
    git(ds, "commit", "-q", "-m", "theirs", "a.txt")
    git(ds, "rm", "-q", "--cached", "mine.txt")
    theirs = read_head(ds)
    assert theirs.commit != new
    assert finish(ds, journal) == []
    assert read_head(ds) == theirs
    assert (ds / "a.txt").read_text() == "theirs"
    brought = {p: t for p, t in NEW.items() if p != "a.txt"}
    assert {p: (ds / p).read_text() for p in brought} == brought
    assert git(ds, "diff", "--cached", "--name-status") == "D\tmine.txt\n"


@needs_posix
def test_a_branch_that_was_set_back_after_a_kill(ds: Path, tmp_path: Path) -> None:
    old, new, journal = read_head(ds), prepared(ds), tmp_path / "journal"
    killed(ds, new, journal, "after the branch")
    (ds / ".git" / "index.lock").unlink()
    git(ds, "reset", "-q", "--hard", old.commit)
    assert finish(ds, journal) == []
    assert read_head(ds) == old
    assert unsaved(ds) == []


@needs_posix
def test_an_index_that_another_git_has_locked(ds: Path, tmp_path: Path) -> None:
    new, journal = prepared(ds), tmp_path / "journal"
    killed(ds, new, journal, "after the branch")
    lock = ds / ".git" / "index.lock"
    lock.write_text("")
    with pytest.raises(DatasetError, match=rf"has the lock file {lock}; next: .*rm {lock}"):
        finish(ds, journal)
    with pytest.raises(DatasetError, match="lock file"):
        follow(ds, read_head(ds).commit, new)
    assert lock.exists()
    lock.unlink()
    assert finish(ds, journal) == []
    assert_landed(ds, new)


def test_git_of_the_user_is_kept_out_while_the_index_is_worked_on(ds: Path) -> None:
    from datalad_bidsshare.dataset.held_index import held_index

    before = (ds / ".git" / "index").read_bytes()
    with pytest.raises(KeyError), held_index(ds) as env:
        done = subprocess.run(
            ["git", "add", "-A"], cwd=ds, capture_output=True, text=True, check=False
        )
        assert "index.lock" in done.stderr
        git(
            ds,
            "-c",
            f"alias.x=!GIT_INDEX_FILE='{env['GIT_INDEX_FILE']}' git rm -q --cached a.txt",
            "x",
        )
        raise KeyError
    assert (ds / ".git" / "index").read_bytes() == before
    assert unsaved(ds) == []


UNLOCKED = {f"u/{i}.nii": b"content %d" % i * 50 for i in range(3)}


def unlocked_commit(root: Path, work: Path) -> str:
    head = read_head(root)
    tree = work / "tree"
    for name, content in UNLOCKED.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    taken = ingest(root, tree, work / "index", read_tree(root, head.commit))
    assert {i.change.mode for i in taken.values()} == {"100644"}
    assert all(i.key for i in taken.values())
    changes = tuple(i.change for i in taken.values())
    return write_commits(root, head.commit, [NewCommit("unlocked\n", changes)])[0]


@needs_posix
@pytest.mark.parametrize("place", ["nowhere", *PLACES[3:]])
def test_unlocked_files_have_their_content(ds: Path, tmp_path: Path, place: str) -> None:
    git(ds, "annex", "init", "-q")
    git(ds, "config", "annex.addunlocked", "true")
    new, journal = unlocked_commit(ds, tmp_path / "work"), tmp_path / "journal"
    if place == "nowhere":
        land(ds, read_head(ds), new, "x", journal)
    else:
        killed(ds, new, journal, place)
        assert finish(ds, journal) == []
    assert {p: (ds / p).read_bytes() for p in UNLOCKED} == UNLOCKED
    assert unsaved(ds) == []
    assert_landed(ds, new, {})
    # Replaced: the object of what was there before stays.
    before = read_index(ds)["u/1.nii"]
    UNLOCKED_AGAIN = b"other content" * 50
    (tmp_path / "work2" / "tree" / "u").mkdir(parents=True)
    (tmp_path / "work2" / "tree" / "u" / "1.nii").write_bytes(UNLOCKED_AGAIN)
    head = read_head(ds)
    taken = ingest(ds, tmp_path / "work2" / "tree", tmp_path / "work2" / "index", read_index(ds))
    changes = tuple(i.change for i in taken.values())
    again = write_commits(ds, head.commit, [NewCommit("again\n", changes)])[0]
    land(ds, head, again, "x", journal)
    assert (ds / "u" / "1.nii").read_bytes() == UNLOCKED_AGAIN
    assert unsaved(ds) == []
    git(ds, "checkout", "-q", head.commit)
    assert read_index(ds)["u/1.nii"] == before
    assert (ds / "u" / "1.nii").read_bytes() == UNLOCKED["u/1.nii"]


def test_an_adjusted_branch(ds: Path, tmp_path: Path) -> None:
    git(ds, "annex", "init", "-q")
    git(ds, "annex", "adjust", "--unlock", "-q")
    assert read_head(ds).branch == "refs/heads/adjusted/main(unlocked)"
    new = unlocked_commit(ds, tmp_path / "work")
    land(ds, read_head(ds), new, "x", tmp_path / "journal")
    assert_landed(ds, new, {})
    assert {p: (ds / p).read_bytes() for p in UNLOCKED} == UNLOCKED
    # git-annex knows what to do with it
    git(ds, "annex", "sync", "-q", "--no-commit", "--no-content")
    assert git(ds, "ls-tree", "main", "u/1.nii").startswith("120000")


def test_as_many_processes_for_many_as_for_few(tmp_path: Path, process_log: ProcessLog) -> None:
    counts = []
    for number in (10, 200):
        root = tmp_path / str(number)
        root.mkdir()
        git(root, "init", "-q")
        git(root, "commit", "-q", "--allow-empty", "-m", "first")
        new = prepared(root, {f"d{i}/{i}": str(i) for i in range(number)})
        head = read_head(root)
        process_log.clear()
        land(root, head, new, "x", tmp_path / "journal")
        counts.append(process_log.count())
        Path(tmp_path / "journal").write_text(
            json.dumps({"branch": head.branch, "old": head.commit, "new": new})
        )
        git(root, "read-tree", "--empty")
        process_log.clear()
        assert finish(root, tmp_path / "journal") == []
        counts.append(process_log.count())
        assert_landed(root, new, {})
    assert counts[:2] == counts[2:]
    assert max(counts) <= 10


def test_who_has_the_index_for_a_moment_is_waited_for(ds: Path, tmp_path: Path) -> None:
    """As an editor does that shows what was changed."""
    new, lock = prepared(ds), ds / ".git" / "index.lock"
    lock.touch()
    threading.Timer(0.5, lock.unlink).start()
    land(ds, read_head(ds), new, "x", tmp_path / "journal")
    assert_landed(ds, new)


def test_where_somebody_has_the_index_the_branch_stays(ds: Path, tmp_path: Path) -> None:
    head, new, lock = read_head(ds), prepared(ds), ds / ".git" / "index.lock"
    lock.write_text("theirs")
    with pytest.raises(DatasetError, match=r"Another git process.*index\.lock"):
        land(ds, head, new, "x", tmp_path / "journal")
    assert lock.read_text() == "theirs"
    assert read_head(ds) == head
    assert not (tmp_path / "journal").exists()
    lock.unlink()
    assert unsaved(ds) == []


@needs_posix
def test_killed_before_the_branch_was_moved_the_index_is_given_back(
    ds: Path, tmp_path: Path
) -> None:
    head, new, journal = read_head(ds), prepared(ds), tmp_path / "journal"
    killed(ds, new, journal, "with the index locked")
    assert (ds / ".git" / "index.lock").exists()
    assert read_head(ds) == head
    assert finish(ds, journal) == []
    assert not (ds / ".git" / "index.lock").exists()
    land(ds, head, new, "x", journal)
    assert_landed(ds, new)
