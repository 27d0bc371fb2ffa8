"""`cache-clean` of a dataset: what must not happen does not."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from datalad_bidsshare.dataset.drop import drop
from tests.cleans import IMAGES, annexed, clean, held, messages, total
from tests.dataset.builders import clone_of, git, infos, wait_for
from tests.platforms import needs_posix
from tests.superdatasets import DATALAD

pytestmark = needs_posix

T1W = "sub-01/anat/sub-01_T1w.nii.gz"
BOLD = "sub-01/func/sub-01_task-rest_bold.nii.gz"


def ephemeral(full: Path) -> Path:
    """Make a clone that shares the annex of the source, as DataLad does."""
    import datalad.api as dl

    source = full.parent / "source"
    target = full.parent / "ephemeral"
    dl.clone(str(source), str(target), reckless="ephemeral", result_renderer="disabled")
    assert (target / ".git/annex").is_symlink()
    return target


@pytest.mark.parametrize("how", [{}, {"reckless": "availability"}, {"dry_run": True}])
def test_nothing_goes_from_an_ephemeral_clone(how: dict[str, Any], full: Path) -> None:
    clone = ephemeral(full)
    records = clean(dataset=clone, **how)
    assert "annex of another repository" in messages(records)["."]
    assert total(records)["freed"] == 0
    assert held(full.parent / "source") == set(IMAGES)


def test_nor_without_assertions(full: Path) -> None:
    """DataLad itself does not run without them. Our guard would."""
    program = (
        "import sys; from pathlib import Path\n"
        "from datalad_bidsshare.dataset.drop import refuse_to_drop\n"
        "print(refuse_to_drop(Path(sys.argv[1])))"
    )
    done = subprocess.run(
        [sys.executable, "-O", "-c", program, ephemeral(full)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "annex of another repository" in done.stdout


def test_nor_when_only_the_objects_are_linked(full: Path) -> None:
    objects = full / ".git/annex/objects"
    objects.rename(full.parent / "objects")
    objects.symlink_to(full.parent / "objects")
    records = clean(dataset=full)
    assert "annex of another repository" in messages(records)["."]
    assert held(full) == set(IMAGES)


def _edit(full: Path) -> str:
    git(full, "annex", "unlock", "-q", T1W)
    git(full, "commit", "-qm", "unlocked")
    (full / T1W).write_bytes(b"edited")
    return T1W


def _stage(full: Path) -> str:
    (full / T1W).unlink()
    (full / T1W).write_bytes(b"another")
    git(full, "annex", "add", "-q", T1W)
    return T1W


def _delete(full: Path) -> str:
    (full / T1W).unlink()
    return T1W


def _replace(full: Path) -> str:
    (full / T1W).unlink()
    (full / T1W).write_bytes(b"another")
    return T1W


def _swap(full: Path) -> str:
    (full / T1W).unlink()
    shutil.copyfile(full / BOLD, full / T1W, follow_symlinks=False)
    return T1W


@pytest.mark.parametrize("change", [_edit, _stage, _delete, _replace, _swap])
def test_nothing_goes_where_a_selected_file_was_changed(change: Any, full: Path) -> None:
    path = change(full)
    before = sorted(str(p) for p in (full / ".git/annex/objects").rglob("*"))
    content = (full / path).read_bytes() if (full / path).exists() else None
    records = clean(dataset=full)
    assert path in messages(records)["."] and "not saved" in messages(records)["."]
    assert "datalad save" in messages(records)["."]
    assert sorted(str(p) for p in (full / ".git/annex/objects").rglob("*")) == before
    assert ((full / path).read_bytes() if (full / path).exists() else None) == content
    # What was not changed can go by itself.
    records = clean(dataset=full, subject="02")
    assert len(annexed(records, "ok")) == 2


def test_a_file_of_git_that_was_changed_is_no_reason(full: Path) -> None:
    (full / "dataset_description.json").write_text("{}")
    records = clean(dataset=full, subject="02")
    assert len(annexed(records, "ok")) == 2


def _alone(full: Path, path: str = T1W) -> None:
    """Make the clone the only one that has a file, and let git-annex know."""
    source = full.parent / "source"
    git(source, "annex", "drop", "-q", "--force", path)
    git(full, "fetch", "-q")
    git(full, "annex", "merge", "-q")


def test_the_only_known_copy_stays_and_the_others_go(full: Path) -> None:
    _alone(full)
    for dry_run in (True, False):
        records = clean(dataset=full, dry_run=dry_run)
        assert "only known copy" in messages(records)[T1W]
        assert annexed(records, "ok") == set(IMAGES) - {T1W}
        assert total(records)["kept"] == {"no other copy": 1}
    assert held(full) == {T1W}


def test_reckless_drops_what_it_is_told_to(full: Path) -> None:
    _alone(full)
    records = clean(dataset=full, reckless="availability")
    assert not messages(records)
    assert held(full) == set()


@pytest.mark.parametrize("trust", ["untrust", "dead"])
def test_copies_in_untrusted_or_dead_places_do_not_count(trust: str, full: Path) -> None:
    git(full, "annex", trust, "origin", *(["--force"] if trust == "trust" else []))
    for dry_run in (True, False):
        records = clean(dataset=full, subject="01", dry_run=dry_run)
        said = messages(records)
        assert set(said) == {T1W, BOLD}
        assert "untrusted" in said[T1W] if trust == "untrust" else "dead" in said[T1W]
    assert held(full) == set(IMAGES)


@pytest.mark.parametrize("how", ["config", "log"])
def test_numcopies_counts(how: str, full: Path) -> None:
    if how == "config":
        git(full, "config", "annex.numcopies", "2")
    else:
        git(full, "annex", "numcopies", "2", "-q")
    for dry_run in (True, False):
        records = clean(dataset=full, subject="01", dry_run=dry_run)
        assert "numcopies" in messages(records)[T1W]
    assert held(full) == set(IMAGES)


def test_numcopies_of_attributes_counts_when_it_is_dropped(full: Path) -> None:
    with (full / ".gitattributes").open("a") as file:
        file.write("sub-01/** annex.numcopies=2\n")
    git(full, "commit", "-qam", "two copies of sub-01")
    records = clean(dataset=full)
    assert held(full) == {T1W, BOLD}
    assert set(messages(records)) == {T1W, BOLD}


def test_a_remote_that_cannot_be_reached_vouches_for_nothing(full: Path) -> None:
    (full.parent / "source").rename(full.parent / "away")
    records = clean(dataset=full, subject="01")
    assert set(messages(records)) == {T1W, BOLD}
    assert held(full) == set(IMAGES)
    (full.parent / "away").rename(full.parent / "source")
    assert annexed(clean(dataset=full, subject="01"), "ok") == {T1W, BOLD}


@pytest.mark.parametrize("how", ["annex", "annex/objects"])
def test_a_remote_with_our_own_annex_has_no_copy_of_its_own(how: str, full: Path) -> None:
    """To git-annex, the one copy that there is looks like two."""
    other = full.parent / "other"
    clone_of(full, other)
    git(other, "annex", "get", "-q", ".")
    git(full, "remote", "add", "other", str(other))
    git(full, "fetch", "-q", "other")
    git(full, "annex", "merge", "-q")
    git(full, "annex", "dead", "-q", "origin")
    git(full, "remote", "remove", "origin")
    git(full, "annex", "whereis", "-q")
    (other / ".git" / how).rename(other / "away")
    (other / ".git" / how).symlink_to(full / ".git" / how)
    for dry_run in (True, False):
        said = messages(clean(dataset=full, dry_run=dry_run))
        assert set(said) == set(IMAGES)
        assert "other, which has the annex of this clone" in said[T1W]
    # The verdict of git-annex itself, with no forecast before
    info = infos(full, T1W)[0]
    (result,) = drop(full, [info])
    assert result.status == "error"
    assert held(full) == set(IMAGES)


def _objects(root: Path, path: str) -> Path:
    return (root / path).resolve()


def test_a_log_that_lies_is_not_believed(full: Path) -> None:
    lost = _objects(full.parent / "source", T1W)
    lost.parent.chmod(0o755)
    lost.unlink()
    records = clean(dataset=full, subject="01")
    assert held(full) == set(IMAGES) - {BOLD}
    assert set(messages(records)) == {T1W}
    assert "whereis" in messages(records)[T1W] or "fsck" in messages(records)[T1W]


def test_a_copy_of_another_size_is_not_taken_for_one(full: Path) -> None:
    damaged = _objects(full.parent / "source", T1W)
    damaged.parent.chmod(0o755)
    damaged.chmod(0o644)
    damaged.write_bytes(b"damaged")
    records = clean(dataset=full, subject="01")
    assert held(full) == set(IMAGES) - {BOLD}
    assert set(messages(records)) == {T1W}


def test_an_object_that_was_edited_where_it_lies_stays(full: Path) -> None:
    """It is the only one that has the edit, whatever its key says."""
    edited = _objects(full, T1W)
    edited.chmod(0o644)
    with edited.open("r+b") as file:
        file.write(b"edited")
    records = clean(dataset=full, subject="01")
    assert held(full) == set(IMAGES) - {BOLD}
    assert "annex fsck" in messages(records)[T1W]
    assert edited.read_bytes().startswith(b"edited")


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("unshare"), reason="mounting needs root, unshare"
)
def test_on_a_full_disk_it_ends_and_says_so(full: Path, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    script = (
        'mount -t tmpfs -o size=6m tmpfs "$0" && cp -a "$1" "$0/clone" && cd "$0" '
        "&& { head -c 6000k /dev/zero > fill; true; } && exec timeout 100 "
        '"$2" cache-clean -d "$0/clone"'
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, place, full, DATALAD],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "file system is full" in done.stdout
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming another user needs root")
def test_a_dataset_that_is_not_ours_to_write_is_refused(full: Path) -> None:
    subprocess.run(["chmod", "-R", "a+rX", full.parents[1]], check=True)
    for parent in full.parents:
        if parent == Path("/tmp"):
            break
        parent.chmod(parent.stat().st_mode | 0o755)
    home = full.parents[1] / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    (home / ".gitconfig").write_text("[safe]\n\tdirectory = *\n[user]\n\tname=x\n\temail=x@x\n")
    become = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    done = subprocess.run(
        [*become, DATALAD, "cache-clean", "-d", full],
        env={
            **os.environ,
            "GIT_CONFIG_GLOBAL": str(home / ".gitconfig"),
            "HOME": str(home),
            "XDG_CACHE_HOME": str(home / "cache"),
        },
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )
    if "ermission denied" in done.stderr and "python" in done.stderr:
        pytest.skip("the other user cannot run this Python")
    assert done.returncode == 1, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert "cannot be written" in done.stdout or "not writable" in done.stdout
    assert held(full) == set(IMAGES)


def test_two_clones_do_not_drop_each_others_last_copy(full: Path) -> None:
    """Each knows the other to have a copy, and both are right, until one of them drops it."""
    source, other = full.parent / "source", full.parent / "other"
    clone_of(full, other)
    git(other, "annex", "get", "-q", ".")
    git(full, "remote", "add", "other", str(other))
    git(full, "annex", "sync", "-q", "other", "--no-content", "--no-commit")
    git(full, "annex", "merge", "-q")
    # Only the two have it.
    git(full, "remote", "remove", "origin")
    git(source, "annex", "drop", "-q", "--force", ".")
    for clone in (full, other):
        git(clone, "annex", "dead", "-q", git(source, "config", "annex.uuid").strip())
    both = [
        subprocess.Popen([DATALAD, "cache-clean", "-d", clone], stdout=subprocess.PIPE)
        for clone in (full, other)
    ]
    for process in both:
        process.communicate(timeout=300)
    assert held(full) | held(other) == set(IMAGES)


def test_killed_while_dropping_the_next_call_goes_on(full: Path) -> None:
    process = subprocess.Popen(
        [DATALAD, "cache-clean", "-d", full], stdout=subprocess.DEVNULL, start_new_session=True
    )
    wait_for(lambda: held(full) != set(IMAGES) or process.poll() is not None)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    time.sleep(0.5)
    records = clean(dataset=full)
    assert not messages(records)
    assert held(full) == set()
    assert git(full, "status", "--porcelain") == ""
    git(full, "annex", "get", "-q", ".")
    assert held(full) == set(IMAGES)


def test_ctrl_c_ends_git_annex_and_says_so(full: Path) -> None:
    process = subprocess.Popen(
        [DATALAD, "cache-clean", "-d", full],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(lambda: held(full) != set(IMAGES) or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    assert process.returncode in (0, 3)
    assert not messages(clean(dataset=full))


def test_hostile_names_go_too_and_nothing_else(full: Path) -> None:
    names = ["-rf", "$(touch here)", "sub-01/é\u0308 'x\".nii.gz", "sub-01/*"]
    for number, name in enumerate(names):
        (full / name).write_bytes(b"odd %d " % number * 5000)
    git(full, "annex", "add", "-q", "--", ".")
    git(full, "commit", "-qm", "odd")
    git(full, "annex", "copy", "-q", "--to", "origin", ".")
    records = clean([full / name for name in names], dataset=full)
    assert not messages(records), messages(records)
    assert annexed(records, "ok") == set(names)
    assert held(full) == set(IMAGES)
    assert not (full / "here").exists()
