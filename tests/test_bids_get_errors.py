"""What goes wrong: one clear message that says what to do, and a failing exit code."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.dataset.builders import clone_of, git, objects_of
from tests.dataset.conftest import Ria
from tests.platforms import needs_posix
from tests.raw_dataset import FILES, datalad, raw_content
from tests.superdatasets import bids_get, copy_of, files_of

T1W_01 = "sub-01/anat/sub-01_T1w.nii.gz"
BARE: dict[str, Any] = {"companions": "none"}
IS_ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


def messages(*args: str | Path, cwd: Path, code: int = 1, **more: Any) -> list[str]:
    """Run a command that fails, and give the lines in which it says why."""
    out, err = datalad("bids-get", *args, cwd=cwd, code=code, **more)
    return [
        line
        for line in [*out.splitlines(), *err.splitlines()]
        if line.startswith(("bids-get(error)", "bids-get(impossible)", "[ERROR]"))
    ]


def nothing_came(root: Path) -> bool:
    return not any((root / path).exists() for path in FILES)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["-e", "aquisition=x"], "unknown BIDS entity 'aquisition'; did you mean acquisition"),
        (["-e", "acq"], "'acq' is not of the form KEY=VALUE, such as acq=highres"),
        (["--sub", "01", "-e", "sub=02"], "conflicting filters for 'subject'"),
        (["--sub", "01", "--exclude", "sub=01"], "takes away all that the selection asks for"),
        (["--run", "first"], "'run' is a whole number in BIDS, 'first' is not"),
        (["--task", "re:("], "'(' (for 'task') is not a regular expression"),
        (["--exclude", "sub-[0"], "has a '[' without a ']'"),
        (["--where", "age >"], "--where"),
        (["--where", "agee > 3"], "age"),
        (["--filter-query", "bold"], "give the file too"),
        (["--filter-file", "no.json"], "filter file no.json cannot be read"),
        (["--jobs", "0"], "jobs=0 is not a number of transfers; give 1 or more, or 'auto'"),
        (["--recursion-limit", "-1"], "recursion limit of -1 levels"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)  # fmt: skip
def test_what_cannot_be_meant(raw_clone: Path, args: list[str], said: str) -> None:
    (message,) = messages(*args, cwd=raw_clone)
    assert said in message
    if args[0] != "--where":  # which needs a table
        assert nothing_came(raw_clone)


@pytest.mark.parametrize(
    "arguments",
    [
        {"subject": []}, {"entities": {"acq": []}}, {"exclude": []},
        {"filter_file": "x", "filter_query": []}, {"companions": "some"}, {"path": 1},
        {"recursion_limit": -1},
    ],
    ids=str,
)  # fmt: skip
def test_what_only_python_can_say(
    raw_clone: Path, arguments: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(raw_clone)
    (raw_clone / "x").write_text('{"q": {"acq": "a"}}')
    with pytest.raises(
        ValueError, match=r"empty list|is not known; give|is not a path|of -1 levels"
    ):
        bids_get(**arguments)
    assert nothing_came(raw_clone)


def test_a_value_that_occurs_nowhere(raw_clone: Path) -> None:
    (message,) = messages("--sub", "01,sub-3", "--suffix", "T1w", cwd=raw_clone)
    assert "subject '3' occurs nowhere in this dataset; near: 01, 02, 10" in message
    # what did match is acted on
    assert (raw_clone / T1W_01).read_bytes() == raw_content(T1W_01)
    (message,) = messages("--ext", "gz", "--dry-run", cwd=raw_clone)
    assert "extension '.gz' occurs nowhere" in message
    assert ".nii.gz" in message
    records = bids_get(dataset=raw_clone, subject="01,1,2,zz,10", suffix="T1w", dry_run=True)
    problems = [r for r in records if r["status"] == "impossible"]
    assert {r["problem"] for r in problems} == {"value"}
    assert len(problems) == 3
    assert "subject '1' occurs nowhere in this dataset; near: 01" in problems[0]["message"]


def test_an_entity_that_no_name_has(raw_clone: Path) -> None:
    (message,) = messages("--space", "T1w", cwd=raw_clone)
    assert "space 'T1w' occurs nowhere in this dataset: no name has the entity 'space'" in message


def test_nothing_matched(raw_clone: Path) -> None:
    (message,) = messages("--suffix", "T1w", "--task", "rest", cwd=raw_clone)
    assert "no file matches suffix=T1w task=rest" in message or "task=rest suffix=T1w" in message
    assert "leave out one filter at a time" in message


def test_what_matches_only_in_a_side_directory(raw_clone: Path) -> None:
    (message,) = messages("--suffix", "bold", "--ext", "py", cwd=raw_clone)
    assert "1 would match in code/" in message
    assert "add code as a path" in message


def test_paths_that_are_not_there(raw_clone: Path, tmp_path: Path) -> None:
    (raw_clone / "new").write_text("")
    found = messages("gone", "new", tmp_path, "sub-01/anat", cwd=raw_clone)
    said = "\n".join(found)
    assert len(found) == 3
    assert "path does not exist" in said
    assert "exists but is not tracked by the dataset; see datalad status -d " in said
    assert f"the path is not in the dataset {raw_clone}" in said
    assert (raw_clone / T1W_01).exists()


def test_no_dataset(tmp_path: Path) -> None:
    for args in ([], ["-d", tmp_path], ["-d", tmp_path / "gone"]):
        (message,) = messages("--sub", "01", *args, cwd=tmp_path, code=2)
        assert "dataset found at" in message
        assert str(tmp_path) in message


def test_jobs_that_are_no_number(raw_clone: Path) -> None:
    _, err = datalad("bids-get", "-J", "many", cwd=raw_clone, code=2)
    assert "argument -J/--jobs: invalid" in err


def test_an_absent_source(raw: Path, tmp_path: Path) -> None:
    source = copy_of(raw, tmp_path / "source")
    clone = clone_of(source, tmp_path / "clone")
    source.rename(tmp_path / "elsewhere")
    (message,) = messages("--sub", "01", "--suffix", "T1w", "--companions", "none", cwd=clone)
    assert f"(error): {T1W_01} (file) " in message
    assert " annex whereis -- " in message
    assert "origin" in message
    # each file has its record, and a table that is needed is named
    records = bids_get(dataset=clone, suffix="T1w", **BARE)
    assert [r["status"] for r in records] == ["error"] * 3
    (message,) = messages("--where", "age > 3", cwd=clone)
    assert "participants.tsv" in message
    assert "could not be fetched" in message


@pytest.mark.parametrize("unlocked", [False, True])
def test_a_corrupt_source_is_never_present(raw: Path, tmp_path: Path, unlocked: bool) -> None:
    source = copy_of(raw, tmp_path / "source")
    clone = clone_of(source, tmp_path / "clone")
    if unlocked:
        git(clone, "annex", "unlock", "-q", T1W_01)
    key = git(source, "annex", "lookupkey", T1W_01).strip()
    (object_file,) = objects_of(source, key)
    good = object_file.read_bytes()
    object_file.write_bytes(b"X" * len(good))
    for _ in range(2):
        (record,) = bids_get(dataset=clone, subject="01", suffix="T1w", **BARE)
        assert record["status"] == "error"
        assert "next: " in record["message"]
        assert record.get("transferred", 0) == 0
        assert not objects_of(clone / ".git" / "annex" / "objects", key)
    # nor does what came stand in the way of what is right
    object_file.write_bytes(good)
    (record,) = bids_get(dataset=clone, subject="01", suffix="T1w", **BARE)
    assert record["status"] == "ok"
    assert (clone / T1W_01).read_bytes() == raw_content(T1W_01)


def test_too_little_room(raw_clone: Path) -> None:
    git(raw_clone, "config", "annex.diskreserve", "1000 PB")
    (message,) = messages("--suffix", "T1w", "--companions", "none", cwd=raw_clone)
    assert "not enough disk space: 12.6 kB (12600 bytes) are to be fetched" in message
    assert "annex.diskreserve" in message
    assert "Nothing is fetched then; select less, or make room" in message
    assert nothing_came(raw_clone)
    records = bids_get(dataset=raw_clone, suffix="T1w", **BARE)
    assert [r["status"] for r in records] == ["error", *["impossible"] * 3]
    assert "not fetched: there is no room" in records[1]["message"]
    # a dry run says it too, with what there would be to fetch
    records = bids_get(dataset=raw_clone, suffix="T1w", dry_run=True, **BARE)
    assert [r["status"] for r in records] == ["error", *["ok"] * 3]


def test_a_reserve_that_is_no_size(raw_clone: Path) -> None:
    git(raw_clone, "config", "annex.diskreserve", "plenty")
    assert "annex.diskreserve is 'plenty'" in messages("--suffix", "T1w", cwd=raw_clone)[0]
    records = bids_get(dataset=raw_clone, suffix="T1w", **BARE)
    assert [r["status"] for r in records] == ["error", *["impossible"] * 3]
    assert records[0]["problem"] == "dataset"
    assert nothing_came(raw_clone)


@pytest.mark.skipif(
    not IS_ROOT or not shutil.which("unshare"), reason="mounting takes root and unshare"
)
def test_a_disk_that_is_full(raw: Path, tmp_path: Path) -> None:
    """On a real small file system, which is gone with the process that mounted it."""
    clone = clone_of(raw, tmp_path / "clone")
    script = (
        'set -e; mount -t tmpfs -o size=1m none "$2"; cp -a "$1/." "$2"; cd "$2"; '
        "git config annex.diskreserve 2kb; free=$(stat -f -c %a .); "
        "head -c $(( (free - 2) * $(stat -f -c %S .) )) /dev/zero > filler; "
        'shift 2; exec "$@"'
    )
    mount = tmp_path / "mnt"
    mount.mkdir()
    size = sum(f.stat().st_size for f in clone.rglob("*") if f.is_file() and not f.is_symlink())
    assert size < 900_000
    (message,) = messages(
        "--suffix", "T1w", "--companions", "none", cwd=clone,
        launcher=("unshare", "-m", "sh", "-c", script, "sh", str(clone), str(mount)),
    )  # fmt: skip
    assert "not enough disk space: 12.6 kB (12600 bytes)" in message


# ---------------------------------------------------------------- rights


@pytest.fixture
def powerless() -> tuple[str, ...]:
    """Give what starts a process that may only do what file modes allow."""
    if not IS_ROOT:
        return ()
    if not shutil.which("setpriv"):
        pytest.skip("as root this needs setpriv")
    return ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--")


@pytest.fixture
def read_only(raw_clone: Path) -> Iterator[Path]:
    subprocess.run(["chmod", "-R", "a-w", raw_clone], check=True)
    yield raw_clone
    subprocess.run(["chmod", "-R", "u+w", raw_clone], check=True)


@needs_posix
def test_a_read_only_dataset(read_only: Path, powerless: tuple[str, ...]) -> None:
    args = ("--sub", "01", "--suffix", "T1w", "--companions", "none")
    out, _ = datalad("bids-get", *args, "--dry-run", cwd=read_only, launcher=powerless)
    assert "1 to fetch (4.2 kB)" in out
    (message,) = messages(*args, cwd=read_only, launcher=powerless)
    assert f"(error): {T1W_01} (file) " in message
    assert "ermission denied" in message
    assert "get it in a clone of your own, or ask for write access" in message


@pytest.mark.skipif(not IS_ROOT, reason="only root can give files away")
def test_a_dataset_of_somebody_else(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    base = Path(tempfile.mkdtemp(prefix="bidsshare-"))
    clone = clone_of(raw, base / "clone")
    subprocess.run(["chown", "-R", "65534", base], check=True)
    try:
        out, err = datalad("bids-get", "--sub", "01", cwd=clone, code=1)
        said = out + err
        assert f"git refuses to read {clone}, which belongs to another user" in said
        # git's own advice
        assert f"git config --global --add safe.directory {clone}" in said
    finally:
        subprocess.run(["chmod", "-R", "u+w", base], check=True)
        shutil.rmtree(base)


def test_content_from_a_ria_store(
    ria: Ria, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datalad.api as dl

    clone = tmp_path / "clone"
    dl.clone(ria.url, str(clone), result_renderer="disabled")
    monkeypatch.chdir(clone)
    for name in ("a.nii", "b.nii"):
        (record,) = bids_get(name, **BARE)
        assert record["status"] == "ok"
        assert (clone / name).read_bytes() == (ria.source / name).read_bytes()


def test_content_from_a_ria_store_that_is_not_verified(ria: Ria, tmp_path: Path) -> None:
    """New git-annex does not trust a special remote that it was not told to trust."""
    import datalad.api as dl

    clone = tmp_path / "clone"
    dl.clone(ria.url, str(clone), result_renderer="disabled")
    trust = "remote.ria-storage.annex-verified"
    if not git(clone, "config", "--default", "", trust).strip():
        pytest.skip("this git-annex trusts every remote")
    git(clone, "config", "--unset", trust)
    for name in ("a.nii", "b.nii"):
        (record,) = bids_get(str(clone / name), dataset=clone, **BARE)
        assert record["status"] == "error"
        # it is said how to look at where it leads, and nothing is declared safe
        assert "git annex verifyremote" in record["message"]
        assert "git annex info" in record["message"]
        assert not git(clone, "config", "--default", "", trust).strip()


def test_a_failure_leaves_the_others_alone(raw: Path, tmp_path: Path) -> None:
    source = copy_of(raw, tmp_path / "source")
    clone = clone_of(source, tmp_path / "clone")
    key = git(source, "annex", "lookupkey", T1W_01).strip()
    (object_file,) = objects_of(source, key)
    object_file.unlink()
    records = files_of(bids_get(dataset=clone, suffix="T1w", **BARE))
    assert {p: r["status"] for p, r in records.items()} == {
        T1W_01: "error", "sub-02/anat/sub-02_T1w.nii.gz": "ok",
        "sub-10/anat/sub-10_T1w.nii.gz": "ok",
    }  # fmt: skip
