"""git-annex's compute special remote, with a small shell script as its program."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.dataset.compute import (
    EXTRACTED,
    NAME,
    RegisterResult,
    compute_remote,
    how_to_enable,
    register,
    supports_compute,
    why_not_input,
    why_not_output,
)
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.listing import read_index
from tests.dataset.builders import PATIENCE, git, infos, wait_for
from tests.platforms import POSIX
from tests.process_log import ProcessLog

pytestmark = pytest.mark.skipif(not POSIX, reason="the program is a shell script")

PROGRAM = "git-annex-compute-bidsshare-test"
# Arguments: the zip, then its members. What it does goes to a log beside it.
_SCRIPT = """#!/bin/sh
log="$(dirname "$0")/log"
zip="$1"; shift
echo "INPUT $zip"
read -r content || exit 1
for member in "$@"; do
    echo "OUTPUT $member"
    IFS= read -r output
    # git-annex makes the directory, but may do so after it has answered
    mkdir -p -- "$(dirname -- "$output")"
    if [ "$member" = hold ]; then
        echo $$ > "$log.new"; mv "$log.new" "$log.pid"
        exec sleep 1000
    elif [ "$member" = broken ]; then
        echo "broken: no such member" >&2
        exit 1
    elif [ -n "$BIDSSHARE_EXTRACTED" ]; then
        echo "copied $member" >> "$log"
        cp "$BIDSSHARE_EXTRACTED/$member" "$output" || exit 1
    else
        echo "inflated $member" >> "$log"
        python3 -c 'import sys, zipfile
sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read(sys.argv[2]))
' "$content" "$member" > "$output" || exit 1
    fi
done
echo REPRODUCIBLE
"""
MEMBERS = {
    "sub-01/anat/T1w.nii.gz": os.urandom(3000),
    "sub-01/anat/T1w.json": b'{"a": 1}' * 100,
    "sub-01/empty.dat": b"",
    "sub-01/raw.dat": os.urandom(500),
}
ZIP = "zips/sub-01_prep.zip"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the program did; it is on PATH."""
    programs = tmp_path / "compute programs"
    programs.mkdir()
    program = programs / PROGRAM
    program.write_text(_SCRIPT)
    program.chmod(0o755)
    path = os.pathsep.join([str(programs), os.path.dirname(sys.executable), os.environ["PATH"]])
    monkeypatch.setenv("PATH", path)
    (programs / "log").touch()
    return programs / "log"


def make_zip(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def make_dataset(root: Path, members: dict[str, bytes] = MEMBERS, zip_name: str = ZIP) -> Path:
    """Make a dataset with a zip, and what was in it beside it, with backends for files."""
    root.mkdir(parents=True)
    git(root, "init", "-q")
    git(root, "annex", "init", "-q", "origin of all")
    (root / ".gitattributes").write_text("* annex.backend=MD5E\n")
    (root / "sub-01").mkdir()
    (root / "sub-01" / ".gitattributes").write_text("*.dat annex.backend=SHA1\n")
    git(root, "add", ".")
    make_zip(root / zip_name, members)
    for name, content in members.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    git(root, "annex", "add", "-q", "--force-large", ".")
    git(root, "commit", "-q", "-m", "content")
    return root


@pytest.fixture
def ds(tmp_path: Path, log: Path) -> Path:
    return make_dataset(tmp_path / "ds")


def stage(root: Path, members: dict[str, bytes] = MEMBERS) -> tuple[Path, Path, Path]:
    """Give a private tree, an index for it, and a directory with what was extracted."""
    base = Path(git(root, "rev-parse", "--absolute-git-dir")[:-1]) / "bidsshare" / "unzip"
    tree, extracted = base / "tree", base / "extracted"
    tree.mkdir(parents=True)
    for name, content in members.items():
        (extracted / name).parent.mkdir(parents=True, exist_ok=True)
        (extracted / name).write_bytes(content)
    return tree, base / "index", extracted


def put_in(
    root: Path, remote: str, members: dict[str, bytes] = MEMBERS, zip_name: str = ZIP
) -> RegisterResult:
    """Register the zip of a dataset with an index that holds no more than it must."""
    tree, index, extracted = stage(root, members)
    tracked = read_index(root)
    needed = [e for e in tracked.entries() if e.path.endswith((".gitattributes", ".zip"))]
    expected = {i.path: i.key or "" for i in infos(root, *members)}
    argv = [zip_name, *members]
    return register(root, remote, tree, index, argv, extracted, expected, needed)


def state(root: Path) -> tuple[str, str, dict[str, str]]:
    """What the user sees: status, index, files."""
    paths = [p for p in root.rglob("*") if ".git" not in p.relative_to(root).parts]
    files = {str(p): os.readlink(p) if p.is_symlink() else "" for p in paths}
    index = git(root, "rev-parse", "--git-path", "index").strip()
    digest = hashlib.sha256((root / index).read_bytes()).hexdigest()
    return git(root, "status", "--porcelain"), digest, files


def did(log: Path) -> set[str]:
    """What the program did for a file, since the last time."""
    said = {line.split(" ")[0] for line in log.read_text().splitlines()}
    log.write_text("")
    return said


def content(root: Path, *members: str) -> list[bytes | None]:
    return [(root / m).read_bytes() if (root / m).exists() else None for m in members]


# The version


def test_this_git_annex_can_do_it(
    process_log: ProcessLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert supports_compute() is None
    assert process_log.count("git-annex") == 1


def test_an_old_git_annex_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As versions before 10.20250320 introduce themselves."""
    real = shutil.which("git-annex")
    old = tmp_path / "old"
    old.mkdir()
    (old / "git-annex").write_text(
        f"#!/bin/sh\n'{real}' \"$@\" | sed -e 's/^git-annex version: .*/git-annex version: "
        "10.20241202-g1/' -e '/^remote types/s/ compute//'\n"
    )
    (old / "git-annex").chmod(0o755)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{old}{os.pathsep}{os.environ['PATH']}")
        said = supports_compute()
    assert said is not None
    assert "10.20241202-g1" in said
    assert "10.20250320" in said
    assert said.endswith("next: pip install --upgrade git-annex")
    (old / "git-annex").unlink()
    (old / "git").symlink_to(shutil.which("git") or "")
    monkeypatch.setenv("PATH", str(old))
    said = supports_compute()
    assert said is not None
    assert "git-annex was not found" in said
    assert "10.20250320" in said


# The remote


def test_a_remote_is_made_once(ds: Path, process_log: ProcessLog) -> None:
    before = state(ds)
    assert compute_remote(ds, PROGRAM) == NAME
    process_log.clear()
    assert compute_remote(ds, PROGRAM) == NAME
    assert not process_log.commands("git-annex")
    (line,) = git(ds, "show", "git-annex:remote.log").splitlines()
    # what else stood there would become an argument
    settings = {field.split("=")[0] for field in line.split(" ")[1:]}
    assert settings == {"name", "program", "type", "timestamp"}
    assert state(ds) == before


def test_one_that_was_made_by_hand_is_taken(ds: Path, log: Path) -> None:
    shutil.copy(log.with_name(PROGRAM), log.with_name(f"{PROGRAM}-2"))
    git(ds, "annex", "initremote", "other", "type=compute", f"program={PROGRAM}-2")
    git(ds, "annex", "initremote", "zips", "type=compute", f"program={PROGRAM}")
    assert compute_remote(ds, PROGRAM) == "zips"


def test_another_remote_of_that_name(ds: Path, tmp_path: Path) -> None:
    git(ds, "remote", "add", NAME, str(tmp_path / "elsewhere"))
    assert compute_remote(ds, PROGRAM) == f"{NAME}-2"
    assert git(ds, "config", f"remote.{NAME}.url").strip() == str(tmp_path / "elsewhere")


def test_a_dead_remote_is_not_taken(ds: Path) -> None:
    assert compute_remote(ds, PROGRAM) == NAME
    git(ds, "annex", "dead", NAME)
    assert compute_remote(ds, PROGRAM) == f"{NAME}-2"


@pytest.mark.parametrize("initialized", [True, False])
def test_one_that_others_made_is_enabled(ds: Path, tmp_path: Path, initialized: bool) -> None:
    """Also in a clone in which git-annex was never run, so that its branch is not here."""
    assert compute_remote(ds, PROGRAM) == NAME
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "-q", str(ds), str(clone))
    if initialized:
        git(clone, "annex", "init", "-q")
    assert compute_remote(clone, PROGRAM) == NAME
    uuid = f"remote.{NAME}.annex-uuid"
    assert git(clone, "config", uuid) == git(ds, "config", uuid)
    assert len(git(clone, "show", "git-annex:remote.log").splitlines()) == 1
    # for good: nothing is allowed that the user did not allow
    assert "allowed-compute" not in (clone / ".git" / "config").read_text()
    assert put_in(clone, NAME).message.count("content of an annexed file which is not present")


def test_a_program_that_is_not_there(ds: Path) -> None:
    with pytest.raises(DatasetError, match="'git-annex-compute-nothing' was not found on PATH"):
        compute_remote(ds, "git-annex-compute-nothing")


# Registering


def test_files_are_dropped_and_got_again(ds: Path, log: Path) -> None:
    remote = compute_remote(ds, PROGRAM)
    before = state(ds)
    objects = sorted((ds / ".git/annex/objects").rglob("*"))

    result = put_in(ds, remote)

    assert result == RegisterResult({i.path: i.key or "" for i in infos(ds, *MEMBERS)})
    backends = {path: key.split("-")[0] for path, key in result.keys.items()}
    assert backends == dict(zip(MEMBERS, ("MD5E", "MD5E", "SHA1", "SHA1"), strict=True))
    # not extracted a second time
    assert did(log) == {"copied"}
    assert state(ds) == before
    assert sorted((ds / ".git/annex/objects").rglob("*")) == objects
    for member in MEMBERS:
        assert f"[{NAME}]" in git(ds, "annex", "whereis", member)

    git(ds, "annex", "drop", "-q", *MEMBERS)
    assert content(ds, *MEMBERS) == [None] * len(MEMBERS)
    git(ds, "annex", "get", "-q", *MEMBERS)
    assert content(ds, *MEMBERS) == list(MEMBERS.values())
    assert did(log) == {"inflated"}

    git(ds, "annex", "fsck", "-q")
    shutil.rmtree(ds / ".git" / "bidsshare")
    assert "ok" in git(ds, "annex", "unused")
    assert git(ds, "annex", "unused").count("unused data") == 1
    assert state(ds)[0] == ""


def test_one_process_of_git_annex_for_a_zip(ds: Path, process_log: ProcessLog) -> None:
    remote = compute_remote(ds, PROGRAM)
    process_log.clear()
    assert put_in(ds, remote).message == ""
    ours = [c for c in process_log.commands() if c.startswith("git annex ")]
    assert ours == [f"git annex addcomputed --to={NAME} -- {ZIP} {' '.join(MEMBERS)}"]


def test_what_the_index_holds_need_not_be_given(ds: Path) -> None:
    remote = compute_remote(ds, PROGRAM)
    tree, index, extracted = stage(ds)
    shutil.copyfile(ds / ".git" / "index", index)
    expected = {i.path: i.key or "" for i in infos(ds, *MEMBERS)}
    result = register(ds, remote, tree, index, [ZIP, *MEMBERS], extracted, expected)
    assert result == RegisterResult(expected)


def test_a_clone_computes_what_nobody_has(ds: Path, tmp_path: Path, log: Path) -> None:
    remote = compute_remote(ds, PROGRAM)
    assert put_in(ds, remote).message == ""
    git(ds, "annex", "drop", "-q", *MEMBERS)
    clone = tmp_path / "a clone"
    git(tmp_path, "clone", "-q", str(ds), str(clone))
    git(clone, "annex", "init", "-q")
    did(log)

    first, second, *_ = MEMBERS
    done = subprocess.run(["git", "annex", "get", first], cwd=clone, check=False)
    assert done.returncode, "there is nothing to get it from yet"
    # as the user is told to do it
    command = how_to_enable(remote, PROGRAM).removesuffix(" (and what it says)")
    said = subprocess.run(
        ["sh", "-c", command], cwd=clone, capture_output=True, text=True, check=True
    ).stdout
    for line in said.splitlines():
        if "--safe" in line:
            git(clone, *line.split("run:")[1].replace("git-annex", "annex").split())

    git(clone, "annex", "get", "-q", first)
    assert content(clone, first) == [MEMBERS[first]]
    assert did(log) == {"inflated"}
    # the zip came by itself, and can go: others have it
    assert (clone / ZIP).exists()
    git(clone, "annex", "drop", "-q", ZIP, *MEMBERS)
    assert content(clone, ZIP, *MEMBERS) == [None] * (len(MEMBERS) + 1)
    git(clone, "annex", "get", "-q", second)
    assert content(clone, second) == [MEMBERS[second]]
    # the other files of the zip came along
    assert content(clone, *MEMBERS) == list(MEMBERS.values())
    git(clone, "annex", "get", "-q", *MEMBERS)
    git(clone, "annex", "drop", "-q", *MEMBERS)
    assert content(clone, *MEMBERS) == [None] * len(MEMBERS)


def test_the_last_copy_of_the_zip_stays(ds: Path) -> None:
    assert put_in(ds, compute_remote(ds, PROGRAM)).message == ""
    git(ds, "annex", "drop", "-q", *MEMBERS)
    done = subprocess.run(["git", "annex", "drop", ZIP], cwd=ds, check=False, capture_output=True)
    assert done.returncode
    assert (ds / ZIP).exists()


def test_in_a_dataset_of_unlocked_files(tmp_path: Path, log: Path) -> None:
    ds = make_dataset(tmp_path / "ds")
    git(ds, "config", "annex.addunlocked", "true")
    git(ds, "annex", "unlock", "-q", ".")
    git(ds, "commit", "-q", "-a", "-m", "unlocked")
    before = state(ds)
    result = put_in(ds, compute_remote(ds, PROGRAM))
    assert result == RegisterResult({i.path: i.key or "" for i in infos(ds, *MEMBERS)})
    shutil.rmtree(ds / ".git" / "bidsshare")
    assert state(ds) == before
    git(ds, "annex", "drop", "-q", *MEMBERS)
    assert all((ds / m).read_bytes().startswith(b"/annex/objects/") for m in MEMBERS)
    git(ds, "annex", "get", "-q", *MEMBERS)
    assert content(ds, *MEMBERS) == list(MEMBERS.values())
    assert git(ds, "status", "--porcelain") == ""
    git(ds, "annex", "fsck", "-q")


def test_in_a_subdataset_of_git(ds: Path, tmp_path: Path, log: Path) -> None:
    """Its git directory is in that of the dataset above, and git-annex makes `.git` a link."""
    above = tmp_path / "above"
    above.mkdir()
    git(above, "init", "-q")
    git(above, "submodule", "add", "-q", str(ds), "below")
    below = above / "below"
    git(below, "annex", "init", "-q")
    git(below, "annex", "get", "-q", ".")
    assert put_in(below, compute_remote(below, PROGRAM)).message == ""
    git(below, "annex", "drop", "-q", "--from", "origin", *MEMBERS)
    git(below, "annex", "drop", "-q", *MEMBERS)
    git(below, "annex", "get", "-q", *MEMBERS)
    assert content(below, *MEMBERS) == list(MEMBERS.values())


def test_a_zip_in_git_is_no_copy(tmp_path: Path, log: Path) -> None:
    ds = make_dataset(tmp_path / "ds")
    git(ds, "annex", "unannex", "-q", ZIP)
    git(ds, "-c", "annex.largefiles=nothing", "add", ZIP)
    git(ds, "commit", "-q", "-m", "zip in git")
    assert infos(ds, ZIP)[0].key is None
    (info,) = infos(ds, ZIP)
    assert "git-annex drops no files" in (why_not_input(ds, ds, info) or "")
    # because this is how it is
    assert put_in(ds, compute_remote(ds, PROGRAM)).message == ""
    done = subprocess.run(
        ["git", "annex", "drop", *MEMBERS], cwd=ds, capture_output=True, text=True, check=False
    )
    assert "unsafe" in done.stdout
    assert content(ds, *MEMBERS) == list(MEMBERS.values())


HOSTILE = {
    name: name.encode()
    for name in (
        *("-dash.nii.gz", "sub-01/with space.nii.gz", "sub-01/quo'te\"s.nii", "sub-01/$(x) `y`;z"),
        *("sub-01/{0} [1] *?", "sub-01/e\u0301 \u00e9 \U0001f9e0.nii", "sub-01/a=b&c%d+e#f", " x "),
        *("sub-01/back\\slash", "--to=other"),
    )
}


def test_names_of_every_kind(tmp_path: Path, log: Path) -> None:
    zip_name = "-z $(touch gotcha) {1}=2.zip"
    ds = make_dataset(tmp_path / "ds", HOSTILE, zip_name)
    result = put_in(ds, compute_remote(ds, PROGRAM), HOSTILE, zip_name)
    assert result.message == ""
    assert result == RegisterResult({i.path: i.key or "" for i in infos(ds, *HOSTILE)})
    git(ds, "annex", "drop", "-q", "--", *HOSTILE)
    git(ds, "annex", "get", "-q", "--", *HOSTILE)
    assert content(ds, *HOSTILE) == list(HOSTILE.values())
    assert not list(tmp_path.rglob("gotcha"))


def test_what_git_annex_cannot_name(tmp_path: Path) -> None:
    def why(path: str, tracked_by: Path = tmp_path) -> str | None:
        info = FileInfo(path, "annex", "MD5E-s0--0", 0, "0" * 40, "120000", False)
        return why_not_input(tmp_path, tracked_by, info)

    assert why("a b/c'd.zip") is None
    assert "line breaks" in (why("a\nb.zip") or "")
    assert "line breaks" in (why_not_output("a\rb") or "")
    assert why_not_output("-a {b}") is None
    assert why("x.zip", tmp_path / "sub") == (
        "git-annex computes files from what their own dataset tracks, and 'x.zip' is in a "
        f"subdataset, {tmp_path / 'sub'}"
    )


def test_an_input_that_is_not_tracked_or_not_here(ds: Path, tmp_path: Path) -> None:
    remote = compute_remote(ds, PROGRAM)
    tree, index, extracted = stage(ds)
    result = register(ds, remote, tree, index, ["sub/x.zip", "a"], extracted, {"a": "KEY"})
    assert "not checked into the git repository: sub/x.zip" in result.message
    assert result.keys == {}


def test_a_program_that_fails_is_quoted(ds: Path) -> None:
    remote = compute_remote(ds, PROGRAM)
    before = git(ds, "rev-parse", "git-annex")
    tree, index, extracted = stage(ds)
    tracked = read_index(ds)
    argv = [ZIP, *MEMBERS, "broken"]
    result = register(ds, remote, tree, index, argv, extracted, {}, [tracked[ZIP]])
    assert result.message == (
        f"git-annex addcomputed failed in {ds}: broken: no such member; {PROGRAM} exited "
        "unsuccessfully"
    )
    assert git(ds, "rev-parse", "git-annex") == before


def test_what_is_not_the_same_is_told(ds: Path) -> None:
    remote = compute_remote(ds, PROGRAM)
    tree, index, extracted = stage(ds)
    tracked = read_index(ds)
    first, second, *_ = MEMBERS
    expected = {i.path: i.key or "" for i in infos(ds, first, second)}
    (extracted / first).write_bytes(b"other")
    rules = [tracked[".gitattributes"], tracked[ZIP]]
    argv = [ZIP, first, second]
    result = register(ds, remote, tree, index, argv, extracted, expected, rules)
    assert f"something else than what was extracted for {first!r}:" in result.message
    assert expected[first] in result.message
    assert result.keys[second] == expected[second]


def test_the_program_that_comes_with_this_package(ds: Path) -> None:
    """All of it: taken over from a private tree by `ingest`, registered, dropped, got."""
    from datalad_bidsshare.archive.job import Job, to_argv
    from datalad_bidsshare.archive.safety import Limits
    from datalad_bidsshare.dataset.ingest import ingest

    program = "git-annex-compute-bidsshare-unzip"
    if shutil.which(program) is None:
        pytest.skip("the console scripts are not installed: pip install -e .")
    members = tuple(m for m in MEMBERS if not m.endswith(".json"))
    tree, index, _ = stage(ds)
    for member in members:
        (tree / "new" / member).parent.mkdir(parents=True, exist_ok=True)
        (tree / "new" / member).write_bytes(MEMBERS[member])
    tracked = read_index(ds)
    ingested = ingest(ds, tree, index, tracked)
    expected = {path: i.key for path, i in ingested.items() if i.key}
    assert set(expected) == {f"new/{member}" for member in members}
    remote = compute_remote(ds, program)
    argv = to_argv(Job(zip=ZIP, members=members, into="new"), Limits())
    # where git-annex took them from, there are links to the content now
    result = register(ds, remote, tree, index, argv, tree, expected, [tracked[ZIP]])
    assert result == RegisterResult(expected)
    for path, ours in ingested.items():
        (ds / path).parent.mkdir(parents=True, exist_ok=True)
        (ds / path).symlink_to(os.fsdecode(ours.change.data or b""))
    git(ds, "add", "new")
    git(ds, "commit", "-q", "-m", "new")
    shutil.rmtree(ds / ".git" / "bidsshare")
    git(ds, "annex", "drop", "-q", "new")
    assert content(ds, *expected) == [None] * len(expected)
    git(ds, "annex", "get", "-q", "new")
    assert content(ds, *expected) == [MEMBERS[path.removeprefix("new/")] for path in expected]
    git(ds, "annex", "fsck", "-q")


# Ends

_JOB = """
import sys
from pathlib import Path
from datalad_bidsshare.dataset.compute import register
from datalad_bidsshare.dataset.listing import read_index
root, tree, index, extracted, zip = sys.argv[1:]
entries = [read_index(Path(root))[zip]]
paths = Path(tree), Path(index)
register(Path(root), "bidsshare-unzip", *paths, [zip, "hold"], Path(extracted), {}, entries)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_nothing_outlives_us(ds: Path, log: Path, number: signal.Signals) -> None:
    assert compute_remote(ds, PROGRAM) == NAME
    places = stage(ds)
    job = subprocess.Popen(
        [sys.executable, "-c", _JOB, str(ds), *map(str, places), ZIP], stderr=subprocess.PIPE
    )
    pid_file = log.with_name("log.pid")
    wait_for(pid_file.exists)
    program = int(pid_file.read_text())
    assert _is_alive(program)
    job.send_signal(number)
    assert job.wait(PATIENCE) != 0
    wait_for(lambda: not _is_alive(program))
    # and nothing is locked
    assert put_in_again(ds, *places) == ""


def put_in_again(root: Path, tree: Path, index: Path, extracted: Path) -> str:
    tracked = read_index(root)
    rules = [tracked[p] for p in (".gitattributes", "sub-01/.gitattributes", ZIP)]
    expected = {i.path: i.key or "" for i in infos(root, *MEMBERS)}
    argv = [ZIP, *MEMBERS]
    return register(root, NAME, tree, index, argv, extracted, expected, rules).message


def _is_alive(pid: int) -> bool:
    done = subprocess.run(
        ["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    return bool(done.stdout.strip()) and not done.stdout.startswith("Z")


def test_the_variable_is_what_the_program_reads() -> None:
    from datalad_bidsshare.archive import compute

    assert f"${EXTRACTED}" in _SCRIPT
    assert compute.EXTRACTED == EXTRACTED
