"""The command `unzip-outputs`, on real datasets: what is unpacked, where to, and what is said."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from datalad.api import Dataset

from tests.dataset.builders import annex_repo, clone_of, git
from tests.exports import state_of
from tests.raw_dataset import datalad
from tests.superdatasets import copy_of, make_dataset, write
from tests.unzips import (
    DESCRIPTION,
    REST,
    ZIPS,
    dataset_of,
    expected,
    failures,
    files_in_commit,
    files_of,
    members,
    outcomes,
    save_zips,
    subjects,
    summary,
    tracked,
    unpacked,
    unzip,
    zip_bytes,
    zips_of,
)

ONE, TWO, TEN = ZIPS
ENTITIES: dict[str, Any] = {"task": "rest", "space": "MNI152NLin6Asym", "desc": "preproc"}


def record_of(root: Path, commit: str = "HEAD") -> dict[str, Any]:
    """Give the run record of a commit."""
    message = git(root, "log", "-1", "--format=%B", commit)
    found = re.search(
        r"=== Do not change lines below ===\n(.*)\n\^\^\^ Do not change", message, re.DOTALL
    )
    assert found, message
    record: dict[str, Any] = json.loads(found[1])
    return record


def content_at(root: Path, paths: set[str]) -> dict[str, bytes]:
    """Give what files of the work tree hold."""
    return {path: (root / path).read_bytes() for path in paths}


def subjects_of(root: Path, since: str) -> list[str]:
    """Give the subjects of the commits since then, the oldest first."""
    return git(root, "log", "--reverse", "--format=%s", f"{since}..HEAD").splitlines()


def settled_state_of(root: Path) -> dict[str, tuple[int, int, int, str]]:
    """Take down all that is on disk, but for a database that git-annex looks into for git."""
    return {path: told for path, told in state_of(root).items() if "/annex/keysdb" not in path}


def children() -> set[str]:
    """Give the processes that this one started, where the system tells."""
    return {
        child
        for told in Path("/proc/self/task").glob("*/children")
        for child in told.read_text().split()
    }


def is_clean(root: Path) -> bool:
    return not git(root, "status", "--porcelain", "--untracked-files=all")


# ---------------------------------------------------------------- what, and where to


def test_everything_of_every_zip(zips: Path) -> None:
    before = git(zips, "rev-parse", "HEAD").strip()
    records = unzip(dataset=zips)
    assert not failures(records)
    assert outcomes(records) == dict.fromkeys(ZIPS, "ok")
    assert content_at(zips, tracked(zips)) == unpacked("01", "02", "10", top="fmriprep")
    assert is_clean(zips)
    assert subjects_of(zips, before) == [
        f"[DATALAD RUNCMD] Unzip {ONE}: 9 files",
        f"[DATALAD RUNCMD] Unzip {TWO}: 9 files",
        f"[DATALAD RUNCMD] Unzip {TEN}: 9 files",
    ]
    # the directory for what is being unpacked is gone
    assert not (zips / ".git/bidsshare/unzip/stage").exists()
    assert not git(zips, "for-each-ref", "refs/bidsshare/")
    assert not (zips / ".git/bidsshare/unzip/journal").exists()


def test_a_record_says_what_was_done(zips: Path) -> None:
    unzip(ONE, dataset=zips, include="fmriprep/*.html", into="reports/{subject}", strip=1)
    record = record_of(zips)
    assert record["cmd"] == (
        "bidsshare-unzip --existing replace --include 'fmriprep/*.html' --into reports/01 "
        f"--strip 1 --expect {expected(zips / ONE)} -- {ONE}"
    )
    assert record["inputs"] == [ONE]
    assert record["outputs"] == ["reports/01/sub-01.html"]
    assert record["pwd"] == "."
    assert record["exit"] == 0
    told = record["bidsshare"]
    html = members("01")["fmriprep/sub-01.html"]
    assert (told["zip"], told["members"], told["bytes"]) == (ONE, 1, len(html))
    assert told["key"] == git(zips, "annex", "lookupkey", ONE).strip()
    assert record["dsid"]
    # nothing of this machine
    assert str(zips) not in json.dumps(record)


def test_records_one_a_zip_and_one_a_file(zips: Path) -> None:
    records = unzip([ONE, TWO], dataset=zips, strip=1, **ENTITIES)
    assert {r["action"] for r in records} == {"unzip-outputs"}
    assert {r["refds"] for r in records} == {str(zips)}
    by_zip = zips_of(records)
    assert by_zip.keys() == {ONE, TWO}
    first = by_zip[ONE]
    sidecar = REST.format("01").replace(".nii.gz", ".json")
    wanted = {"dataset_description.json", sidecar, REST.format("01")}
    assert first["path"] == str(zips / ONE)
    assert first["type"] == "file"
    assert first["status"] == "ok"
    assert set(first["outputs"]) == {str(zips / path) for path in wanted}
    assert first["bytesize"] == sum(len(unpacked("01")[path]) for path in wanted)
    assert files_in_commit(zips, first["commit"]) == wanted
    by_file = files_of(records)
    assert by_file.keys() == wanted | {
        path.replace("sub-01", "sub-02") for path in wanted if "sub-01" in path
    }
    bold = by_file[REST.format("01")]
    assert bold["from_zip"] == str(zips / ONE)
    assert bold["member"] == f"fmriprep/{REST.format('01')}"
    assert bold["path"] == str(zips / REST.format("01"))
    assert bold["bytesize"] == len(unpacked("01")[REST.format("01")])
    assert bold["key"] == git(zips, "annex", "lookupkey", REST.format("01")).strip()
    assert (bold["type"], bold["status"]) == ("file", "ok")
    total = summary(records)
    assert total["zips"] == {"ok": 2}
    assert total["files"] == {"written": 5}
    assert total["path"] == str(zips)


def test_entities_bring_their_companions_or_not(zips: Path) -> None:
    unzip(ONE, dataset=zips, strip=1, companions="none", **ENTITIES)
    sidecar = REST.format("01").replace(".nii.gz", ".json")
    assert tracked(zips) == {REST.format("01"), sidecar}
    unzip(TWO, dataset=zips, strip=1, **ENTITIES)
    assert tracked(zips) == {
        REST.format("01"),
        sidecar,
        REST.format("02"),
        REST.format("02").replace(".nii.gz", ".json"),
        "dataset_description.json",
    }


def test_globs_and_entities_and_what_is_left_out(zips: Path) -> None:
    unzip(
        ONE,
        dataset=zips,
        strip_prefix="fmriprep",
        include=["*_bold.nii.gz", "*.html"],
        exclude=["space=T1w", "*nback*"],
        suffix="bold",
        companions="none",
    )
    assert tracked(zips) == {REST.format("01")}


def test_members_that_lie_less_deep_are_left_out(zips: Path) -> None:
    (record,) = zips_of(unzip(ONE, dataset=zips, strip=2, into="s{subject}")).values()
    assert "2 members are left out" in record["message"]
    assert {path.split("/")[0] for path in tracked(zips)} == {"s01"}
    assert "s01/func/" + REST.format("01").rpartition("/")[2] in tracked(zips)


@pytest.mark.parametrize("wishes", [{}, {"include": "*.html"}, ENTITIES])
def test_where_too_much_is_stripped_that_is_said(zips: Path, wishes: dict[str, Any]) -> None:
    records = unzip(dataset=zips, strip=6, dry_run=True, **wishes)
    (message,) = failures(records).values()
    assert "fewer directories than --strip takes away" in message
    assert "called as 'fmriprep/" in message


def test_all_placeholders(tmp_path: Path) -> None:
    ds = dataset_of(
        tmp_path / "ds",
        {
            "in/sub-01_ses-2_fmriprep-20.2.3.zip": zip_bytes(members("01", "2", top="")),
            "in/group.zip": zip_bytes({"a.txt": b"a"}),
        },
    )
    records = unzip(
        dataset=ds, into="{pipeline}/s{subject}/{session}/{stem}", on_zip_error="continue"
    )
    assert outcomes(records) == {
        "in/group.zip": "error",
        "in/sub-01_ses-2_fmriprep-20.2.3.zip": "ok",
    }
    assert "no pipeline in its name" in failures(records)["in/group.zip"]
    top = "fmriprep-20.2.3/s01/2/sub-01_ses-2_fmriprep-20.2.3/"
    assert tracked(ds) == {top + name for name in members("01", "2", top="")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"into": "{sub}"}, r"\{sub\}"),
        ({"into": "../up"}, "not one of the dataset"),
        ({"into": ".git/hooks"}, "belongs to git"),
        ({"strip": -1}, "strip=-1"),
        ({"strip": 1, "strip_prefix": "a"}, "either strip or strip_prefix"),
        ({"strip_prefix": ".."}, "strip_prefix"),
        ({"include": []}, "include"),
        ({"existing": "maybe"}, "existing='maybe'"),
        ({"per": "day"}, "per='day'"),
        ({"on_zip_error": "ignore"}, "on_zip_error='ignore'"),
        ({"max_ratio": 0}, "max_ratio=0"),
        ({"max_bytes": "many"}, "many"),
        ({"executor": "slurm"}, "'slurm'"),
        ({"jobs": 0}, "jobs"),
        ({"companions": "linked"}, "linked"),
        ({"entities": {"colour": "red"}}, "colour"),
        ({"message": "a\udce9"}, "message"),
    ],
)
def test_parameters_that_cannot_be_meant(_zips: Path, arguments: dict[str, Any], said: str) -> None:
    before = settled_state_of(_zips)
    with pytest.raises(ValueError, match=said):
        unzip(dataset=_zips, dry_run=True, **arguments)
    assert settled_state_of(_zips) == before


# ---------------------------------------------------------------- what matches nothing


def test_zips_that_are_not_there_are_said_and_the_others_done(zips: Path) -> None:
    records = unzip([ONE, "sub-9*.zip", "nowhere.zip"], dataset=zips, include="*.html")
    assert outcomes(records) == {ONE: "ok"}
    said = failures(records)
    assert "no tracked zip (*.zip) matches 'sub-9*.zip'" in said["sub-9*.zip"]
    assert "nowhere.zip" in said
    assert tracked(zips) == {"fmriprep/sub-01.html"}


def test_a_glob_that_matches_nowhere_is_impossible_and_the_others_are_done(zips: Path) -> None:
    out, _ = datalad(
        "unzip-outputs", "-d", zips, "-i", "*.html", "-i", "*.pdf", "-x", "*.zzz", cwd=zips, code=1
    )
    assert "'*.pdf' matches nothing in any zip" in out
    assert "'*.zzz' matches nothing in any zip" in out
    assert tracked(zips) == {f"fmriprep/sub-{label}.html" for label in ("01", "02", "10")}


def test_a_value_that_occurs_nowhere_is_named_with_near_ones(zips: Path) -> None:
    records = unzip(dataset=zips, task=["rest", "rset"], suffix="bold", companions="none")
    (message,) = failures(records).values()
    assert "rset" in message and "rest" in message
    assert outcomes(records) == dict.fromkeys(ZIPS, "ok")


def test_a_glob_that_matches_in_some_zips_is_fine(zips: Path) -> None:
    out, _ = datalad("unzip-outputs", "-d", zips, "-i", "sub-02.html", cwd=zips)
    assert tracked(zips) == {"fmriprep/sub-02.html"}
    assert "1 zip unpacked" in out
    records = unzip(dataset=zips, subject="10", suffix="T1w", companions="none")
    assert not failures(records)
    assert outcomes(records) == {ONE: "notneeded", TWO: "notneeded", TEN: "ok"}
    assert "its name says" in zips_of(records)[ONE]["message"]
    said = failures(unzip(dataset=zips, subject="1", suffix="T1w"))
    assert "subject '1' occurs in no zip; near: 01, 10" in " ".join(said.values())


def test_no_zips_at_all(tmp_path: Path) -> None:
    ds = dataset_of(tmp_path / "ds", {"a.txt": b"a"})
    records = unzip(dataset=ds)
    (message,) = failures(records).values()
    assert message == "the dataset tracks no zips (*.zip)"


def test_paths_are_taken_from_where_one_is(zips: Path, tmp_path: Path) -> None:
    save_zips(zips, {"more/sub-03_x.zip": zip_bytes({"three.txt": b"3"})})
    datalad("unzip-outputs", "sub-03_x.zip", "--into", "out", cwd=zips / "more")
    # but outputs are those of the dataset
    assert tracked(zips) == {"out/three.txt"}
    out, _ = datalad("unzip-outputs", "-d", zips, "/etc/passwd", cwd=zips, code=1)
    assert "not in the dataset" in out


# ---------------------------------------------------------------- what is there already


def test_outputs_that_are_there_are_refused(zips: Path) -> None:
    save_zips(zips, {"fmriprep/sub-01.html": "mine"})
    head = git(zips, "rev-parse", "HEAD")
    records = unzip(ONE, dataset=zips)
    said = failures(records)[ONE]
    assert "fmriprep/sub-01.html is in the dataset already" in said
    assert "--existing skip" in said
    assert git(zips, "rev-parse", "HEAD") == head
    assert (zips / "fmriprep/sub-01.html").read_bytes() == b"mine"


def test_skip_keeps_what_is_the_same_and_refuses_what_is_not(zips: Path) -> None:
    same = members("01")
    save_zips(zips, {"fmriprep/sub-01.html": same["fmriprep/sub-01.html"]})
    records = unzip(ONE, dataset=zips, existing="skip", include="*.html")
    assert outcomes(records) == {ONE: "notneeded"}
    assert files_of(records)["fmriprep/sub-01.html"]["status"] == "notneeded"
    records = unzip(ONE, dataset=zips, existing="skip")
    assert outcomes(records) == {ONE: "ok"}
    assert summary(records)["files"] == {"written": 8, "unchanged": 1}
    assert content_at(zips, tracked(zips)) == same
    save_zips(zips, {"fmriprep/sub-02.html": "mine"})
    head = git(zips, "rev-parse", "HEAD")
    records = unzip(TWO, dataset=zips, existing="skip")
    assert "other content in fmriprep/sub-02.html" in failures(records)[TWO]
    assert git(zips, "rev-parse", "HEAD") == head
    assert is_clean(zips)


def test_replace_replaces_and_leaves_the_old_object_alone(zips: Path) -> None:
    save_zips(zips, {"fmriprep/sub-01.html": b"mine " * 20})
    old = (zips / "fmriprep/sub-01.html").resolve()
    records = unzip(ONE, dataset=zips, existing="replace")
    assert outcomes(records) == {ONE: "ok"}
    assert content_at(zips, tracked(zips)) == members("01")
    assert old.read_bytes() == b"mine " * 20
    git(zips, "annex", "fsck", "-q", "--all")


def test_a_directory_or_subdataset_in_the_place_of_an_output(zips: Path) -> None:
    save_zips(zips, {"fmriprep/sub-01.html/x": "x", "fmriprep/sub-02": "a file"})
    make_dataset(zips / "fmriprep/sub-10", {})
    Dataset(str(zips)).save(result_renderer="disabled")
    for existing in ("error", "replace"):
        records = unzip(dataset=zips, existing=existing, on_zip_error="continue")
        said = failures(records)
        assert "fmriprep/sub-01.html would be a file, and is a directory" in said[ONE]
        assert "fmriprep/sub-02, which is a file" in said[TWO]
        assert "subdataset fmriprep/sub-10" in said[TEN]
        assert "-d fmriprep/sub-10" in said[TEN]
        assert is_clean(zips)


def test_an_ignored_file_in_the_way_is_not_overwritten(zips: Path) -> None:
    save_zips(zips, {".gitignore": "*.html\n"})
    write(zips, {"fmriprep/sub-01.html": "mine"})
    records = unzip(dataset=zips, existing="replace", on_zip_error="continue")
    assert failures(records).keys() == {ONE}
    assert "fmriprep/sub-01.html is in the way" in failures(records)[ONE]
    assert (zips / "fmriprep/sub-01.html").read_text() == "mine"
    # ignored ones are tracked where nothing stands in the way
    assert "fmriprep/sub-02.html" in tracked(zips)


# ---------------------------------------------------------------- several zips


def sessions(**more: bytes) -> dict[str, bytes]:
    """Give two zips that would be one when flattened, and another one."""
    return {
        f"sub-01_ses-{session}_prep.zip": zip_bytes(
            {"out/bold.txt": session.encode(), "out/description.json": b"{}"}
        )
        for session in ("1", "2")
    } | {"sub-02_prep.zip": zip_bytes({"out/two.txt": b"2"})}


def test_collisions_are_listed_before_anything_is_written(tmp_path: Path) -> None:
    ds = dataset_of(tmp_path / "ds", sessions())
    head = git(ds, "rev-parse", "HEAD")
    before = state_of(ds / ".git/annex/objects")
    records = unzip(dataset=ds, strip=1)
    said = failures(records)
    first, second, third = sessions()
    assert f"bold.txt (also out/bold.txt of {second})" in said[first]
    assert f"bold.txt (also out/bold.txt of {first})" in said[second]
    assert "{session}" in said[first]
    assert "description.json" not in said[first]
    assert "another zip could not be" in said[third]
    assert git(ds, "rev-parse", "HEAD") == head
    assert state_of(ds / ".git/annex/objects") == before
    # the others are done, if that is what is wanted
    records = unzip(dataset=ds, strip=1, on_zip_error="continue")
    assert failures(records).keys() == {first, second}
    assert tracked(ds) == {"two.txt"}
    # and the way out that is named is one
    records = unzip([first, second], dataset=ds, strip=1, into="ses-{session}")
    assert not failures(records)
    assert (ds / "ses-2/bold.txt").read_bytes() == b"2"


def test_names_that_are_one_on_some_file_systems_collide(tmp_path: Path) -> None:
    zips = {"a.zip": zip_bytes({"README": b"1"}), "b.zip": zip_bytes({"Readme": b"1"})}
    ds = dataset_of(tmp_path / "ds", zips)
    records = unzip(dataset=ds, on_zip_error="continue")
    assert "same name on some file systems" in " ".join(failures(records).values())
    assert len(tracked(ds)) <= 1


def test_what_zips_have_in_common_is_unpacked_once(zips: Path) -> None:
    records = unzip(dataset=zips)
    first, second = zips_of(records)[ONE], zips_of(records)[TWO]
    shared = str(zips / "fmriprep/dataset_description.json")
    assert shared in first["outputs"]
    assert shared not in second["outputs"]
    assert second["shared"] == {"fmriprep/dataset_description.json": ONE}
    # each record replays it
    path = "fmriprep/dataset_description.json"
    assert path in record_of(zips, second["commit"])["outputs"]
    assert path not in files_in_commit(zips, second["commit"])


def damaged(data: bytes) -> bytes:
    """Give a zip in which the bytes of the last member are not what its CRC says."""
    header = data.rindex(b"PK\3\4")
    at = header + 30 + data[header + 26] + 2
    return data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]


def test_what_a_damaged_zip_shares_comes_from_the_next(tmp_path: Path) -> None:
    content = {
        "a.zip": damaged(zip_bytes({"description.json": DESCRIPTION, "z.txt": b"one " * 100})),
        "b.zip": zip_bytes({"description.json": DESCRIPTION, "b.txt": b"two"}),
    }
    ds = dataset_of(tmp_path / "ds", content)
    records = unzip(dataset=ds, on_zip_error="continue")
    assert outcomes(records) == {"a.zip": "error", "b.zip": "ok"}, failures(records)
    assert "z.txt" in failures(records)["a.zip"]
    assert content_at(ds, tracked(ds)) == {"description.json": DESCRIPTION, "b.txt": b"two"}


def test_what_colliding_zips_share_comes_from_the_next(tmp_path: Path) -> None:
    def one(**more: bytes) -> bytes:
        return zip_bytes({"description.json": DESCRIPTION} | {k: v for k, v in more.items()})

    content = {"a.zip": one(x=b"1"), "b.zip": one(y=b"2"), "c.zip": one(x=b"3")}
    ds = dataset_of(tmp_path / "ds", content)
    records = unzip(dataset=ds, on_zip_error="continue")
    assert outcomes(records) == {"a.zip": "error", "b.zip": "ok", "c.zip": "error"}
    assert tracked(ds) == {"description.json", "y"}


def test_the_first_bad_zip_ends_the_call_unless_told_otherwise(zips: Path) -> None:
    save_zips(zips, {TWO: b"no zip at all"})
    head = git(zips, "rev-parse", "HEAD")
    records = unzip(dataset=zips)
    assert "not a zip" in failures(records)[TWO]
    assert outcomes(records) == {ONE: "impossible", TWO: "error", TEN: "impossible"}
    assert "--on-zip-error continue" in failures(records)[ONE]
    assert git(zips, "rev-parse", "HEAD") == head
    out, _ = datalad("unzip-outputs", "--on-zip-error", "continue", cwd=zips, code=1)
    assert "2 zips unpacked" in out
    assert "1 could not be unpacked" in out
    assert {path.split("/")[1] for path in tracked(zips)} == {
        "dataset_description.json",
        *("sub-01", "sub-01.html", "sub-10", "sub-10.html"),
    }


# ---------------------------------------------------------------- again


def test_again_is_all_notneeded(zips: Path) -> None:
    unzip(dataset=zips, strip=1, **ENTITIES)
    before = state_of(zips / ".git/annex/objects"), git(zips, "rev-parse", "HEAD", "git-annex")
    records = unzip(dataset=zips, strip=1, **ENTITIES)
    assert outcomes(records) == dict.fromkeys(ZIPS, "notneeded")
    assert not failures(records)
    assert summary(records)["status"] == "notneeded"
    after = state_of(zips / ".git/annex/objects"), git(zips, "rev-parse", "HEAD", "git-annex")
    assert after == before
    # in a clone without content, too
    clone = clone_of(zips, zips.parent / "clone")
    assert outcomes(unzip(dataset=clone, strip=1, **ENTITIES)) == dict.fromkeys(ZIPS, "notneeded")
    # another selection is something else
    records = unzip(dataset=zips, strip=1, include="*.html")
    assert outcomes(records) == dict.fromkeys(ZIPS, "ok")


def test_new_zips_are_done_and_the_others_left_alone(zips: Path) -> None:
    unzip(dataset=zips)
    save_zips(zips, subjects("11", "12"))
    records = unzip(dataset=zips)
    assert not failures(records)
    eleven, twelve = subjects("11", "12")
    assert outcomes(records) == dict.fromkeys(ZIPS, "notneeded") | {eleven: "ok", twelve: "ok"}
    everybody = ("01", "02", "10", "11", "12")
    assert content_at(zips, tracked(zips)) == unpacked(*everybody, top="fmriprep")
    assert outcomes(unzip(dataset=zips)) == dict.fromkeys([*ZIPS, eleven, twelve], "notneeded")


def test_what_only_zips_had_that_were_done_before_is_not_missed(tmp_path: Path) -> None:
    root = dataset_of(tmp_path / "ds", {"sub-01.zip": zip_bytes({"a_T1w.nii": b"1"})})
    wanted = {"include": ["*_T1w.nii", "*_T2w.nii"]}
    assert "'*_T2w.nii' matches nothing" in " ".join(
        failures(unzip(dataset=root, **wanted)).values()
    )
    save_zips(root, {"sub-02.zip": zip_bytes({"b_T2w.nii": b"2"})})
    records = unzip(dataset=root, **wanted)
    assert not failures(records)
    assert tracked(root) == {"a_T1w.nii", "b_T2w.nii"}


def test_a_zip_that_turns_out_to_be_damaged_ends_the_call(tmp_path: Path) -> None:
    content = {
        f"{name}.zip": zip_bytes({f"{name}.txt": b"x" * 100, f"{name}2.txt": b"y" * 100})
        for name in ("a", "b", "c")
    }
    content["b.zip"] = damaged(content["b.zip"])
    root = dataset_of(tmp_path / "ds", content)
    records = unzip(dataset=root, jobs=1)
    assert outcomes(records)["a.zip"] == "ok"
    assert outcomes(records)["b.zip"] == "error"
    assert "b2.txt: " in failures(records)["b.zip"]
    # whether the last one was begun by then is not said
    assert outcomes(records)["c.zip"] in ("ok", "impossible")
    assert tracked(root) >= {"a.txt", "a2.txt"}
    assert tracked(root).isdisjoint({"b.txt", "b2.txt"})
    assert is_clean(root)
    # what was committed is not done again, and the rest is
    records = unzip(dataset=root, on_zip_error="continue")
    assert outcomes(records)["a.zip"] == "notneeded"
    assert failures(records).keys() == {"b.zip"}
    assert tracked(root) == {"a.txt", "a2.txt", "c.txt", "c2.txt"}


def test_new_zips_do_not_change_what_others_gave(zips: Path) -> None:
    unzip(dataset=zips)
    other = members("11") | {"fmriprep/dataset_description.json": b'{"Name": "newer"}'}
    save_zips(zips, {"sub-11_x.zip": zip_bytes(other)})
    head = git(zips, "rev-parse", "HEAD")
    records = unzip(dataset=zips)
    assert failures(records).keys() == {"sub-11_x.zip"}
    assert "dataset_description.json" in failures(records)["sub-11_x.zip"]
    assert git(zips, "rev-parse", "HEAD") == head


def test_a_zip_that_changed_is_done_again(zips: Path) -> None:
    unzip(dataset=zips)
    newer = members("02") | {"fmriprep/sub-02.html": b"newer " * 30}
    save_zips(zips, {TWO: zip_bytes(newer)})
    records = unzip(dataset=zips)
    said = failures(records)[TWO]
    assert "other content in fmriprep/sub-02.html" in said
    assert "--existing replace" in said
    records = unzip(dataset=zips, existing="replace")
    assert outcomes(records) == {ONE: "notneeded", TWO: "ok", TEN: "notneeded"}
    assert files_in_commit(zips, "HEAD") == {"fmriprep/sub-02.html"}
    assert (zips / "fmriprep/sub-02.html").read_bytes() == b"newer " * 30


def test_outputs_that_were_removed_come_back(zips: Path) -> None:
    unzip(dataset=zips, include="*.html")
    git(zips, "rm", "-q", "fmriprep/sub-02.html")
    git(zips, "commit", "-q", "-m", "gone")
    records = unzip(dataset=zips, include="*.html")
    assert outcomes(records) == {ONE: "notneeded", TWO: "ok", TEN: "notneeded"}
    assert "fmriprep/sub-02.html" in tracked(zips)


def test_a_commit_for_all(zips: Path) -> None:
    before = git(zips, "rev-parse", "HEAD").strip()
    records = unzip(dataset=zips, per="call", message="All of fMRIPrep")
    assert not failures(records)
    assert {r["commit"] for r in zips_of(records).values()} == {
        git(zips, "rev-parse", "HEAD").strip()
    }
    assert subjects_of(zips, before)[-1] == "[DATALAD RUNCMD] All of fMRIPrep"
    record = record_of(zips)
    assert [each["zip"] for each in record["bidsshare"]["zips"]] == [*ZIPS]
    assert set(ZIPS) <= set(record["inputs"])
    assert content_at(zips, tracked(zips)) == unpacked("01", "02", "10", top="fmriprep")
    assert outcomes(unzip(dataset=zips)) == dict.fromkeys(ZIPS, "notneeded")


def test_the_message_is_that_of_the_user(zips: Path) -> None:
    before = git(zips, "rev-parse", "HEAD").strip()
    message = "Reports, für {subject}\n\nBecause."
    unzip([ONE, TWO], dataset=zips, include="*.html", message=message)
    assert subjects_of(zips, before) == ["[DATALAD RUNCMD] Reports, für {subject}"] * 2
    assert "Because." in git(zips, "log", "-1", "--format=%B")
    assert record_of(zips)["inputs"] == [TWO]
    assert outcomes(unzip([ONE, TWO], dataset=zips, include="*.html")) == {
        ONE: "notneeded",
        TWO: "notneeded",
    }


def test_a_commit_for_all_that_could_be_unpacked(tmp_path: Path) -> None:
    content = {"a.zip": zip_bytes({"a": b"a"}), "b.zip": b"none", "c.zip": zip_bytes({"c": b"c"})}
    root = dataset_of(tmp_path / "ds", content)
    records = unzip(dataset=root, per="call", on_zip_error="continue")
    assert failures(records).keys() == {"b.zip"}
    assert tracked(root) == {"a", "c"}
    told = record_of(root)
    assert [each["zip"] for each in told["bidsshare"]["zips"]] == ["a.zip", "c.zip"]
    assert "b.zip" not in told["inputs"]
    assert git(root, "log", "-1", "--format=%s").strip() == (
        "[DATALAD RUNCMD] Unzip 2 zips: 2 files"
    )


def test_a_long_list_of_members_goes_to_a_file(tmp_path: Path) -> None:
    many = {
        f"prep/sub-01/func/sub-01_task-rest_run-{run}_bold.nii.gz": str(run).encode()
        for run in range(80)
    }
    ds = dataset_of(tmp_path / "ds", {"sub-01_prep.zip": zip_bytes(many)})
    before = git(ds, "rev-parse", "HEAD").strip()
    records = unzip(dataset=ds, strip=1, suffix="bold", companions="none")
    assert not failures(records)
    assert len(tracked(ds)) == 80
    record = record_of(ds)
    (spec,) = (path for path in record["inputs"] if path.endswith(".json"))
    assert spec.startswith(".datalad/bidsshare/unzip/")
    assert record["cmd"] == f"bidsshare-unzip --existing replace --spec {spec}"
    assert len(git(ds, "log", "-1", "--format=%B")) < 3000
    assert len(json.loads((ds / spec).read_text())["jobs"][0]["members"]) == 80
    # in git, and readable
    assert git(ds, "ls-files", "-s", spec).startswith("100644")
    assert subjects_of(ds, before)[0] == "[bidsshare] List of members for unzip-outputs"
    assert is_clean(ds)


def test_of_many_outputs_the_directories_are_declared_that_are_of_this_zip(tmp_path: Path) -> None:
    """DataLad unlocks all that is in them before a rerun: not to be all subjects."""
    many = members("01") | {f"fmriprep/sub-01/func/run-{n}.nii": str(n).encode() for n in range(60)}
    root = dataset_of(tmp_path / "ds", {"sub-01.zip": zip_bytes(many)})
    assert not failures(unzip(dataset=root))
    assert record_of(root)["outputs"] == [
        "fmriprep/dataset_description.json",
        "fmriprep/sub-01.html",
        "fmriprep/sub-01/anat/",
        "fmriprep/sub-01/figures/",
        "fmriprep/sub-01/func/",
    ]
    assert outcomes(unzip(dataset=root)) == {"sub-01.zip": "notneeded"}


# ---------------------------------------------------------------- dry run


def test_a_dry_run_changes_nothing(zips: Path) -> None:
    before, processes = settled_state_of(zips), children()
    records = unzip(dataset=zips, strip=1, dry_run=True, **ENTITIES)
    assert settled_state_of(zips) == before
    assert children() == processes
    assert all(r["dry_run"] for r in records)
    assert not failures(records)
    told = zips_of(records)[ONE]
    real = unzip(dataset=zips, strip=1, **ENTITIES)
    assert children() == processes
    done = zips_of(real)[ONE]
    for name in ("outputs", "bytesize", "status", "key"):
        assert told[name] == done[name]
    assert told["packed"] > 0
    assert told["content_from"] == "present"
    assert files_of(records).keys() == files_of(real).keys()
    assert summary(records)["files"] == summary(real)["files"]
    assert summary(records)["bytes"]["written"] == summary(real)["bytes"]["written"]


def test_a_dry_run_tells_of_all_that_is_in_the_way(tmp_path: Path) -> None:
    ds = dataset_of(tmp_path / "ds", sessions() | {"bad.zip": b"none"})
    before = settled_state_of(ds)
    records = unzip([".", "x.zip"], dataset=ds, strip=1, include=["*.txt", "*.pdf"], dry_run=True)
    first, second, third = sessions()
    said = failures(records)
    assert {first, second, "bad.zip"} <= said.keys()
    assert any("'*.pdf'" in message for message in said.values())
    assert any("x.zip" in path for path in said)
    assert outcomes(records)[third] == "ok"
    assert settled_state_of(ds) == before


def test_a_dry_run_in_a_dataset_with_changes_says_so_and_goes_on(zips: Path) -> None:
    write(zips, {"new.txt": "x"})
    records = unzip(dataset=zips, dry_run=True)
    (message,) = failures(records).values()
    assert "new.txt" in message
    assert outcomes(records) == dict.fromkeys(ZIPS, "ok")


# ---------------------------------------------------------------- the state of the dataset


def test_a_dataset_with_changes_is_refused(zips: Path) -> None:
    write(zips, {"new.txt": "x"})
    records = unzip(dataset=zips)
    (message,) = failures(records).values()
    assert "unsaved changes, such as new.txt" in message
    assert "datalad save" in message
    assert not tracked(zips)


def test_a_detached_head_is_refused(zips: Path) -> None:
    git(zips, "checkout", "-q", "--detach")
    (message,) = failures(unzip(dataset=zips)).values()
    assert "detached HEAD" in message
    assert "switch" in message


# ---------------------------------------------------------------- zips of other kinds


@pytest.fixture(scope="session")
def _with_inputs(_zips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset that has the zips in a subdataset, which is installed. Not to be changed."""
    import datalad.api as dl

    root = make_dataset(tmp_path_factory.mktemp("with-inputs") / "ds", {}).pathobj
    dl.clone(str(_zips), str(root / "inputs"), dataset=root, result_renderer="disabled")
    return root


def test_zips_in_a_subdataset(_with_inputs: Path, tmp_path: Path) -> None:
    root = copy_of(_with_inputs, tmp_path / "ds")
    inner = git(root / "inputs", "rev-parse", "HEAD")
    records = unzip(dataset=root, strip=1, include="*.html")
    assert not failures(records)
    assert outcomes(records) == {f"inputs/{name}": "ok" for name in ZIPS}
    assert tracked(root) == {"inputs", "sub-01.html", "sub-02.html", "sub-10.html"}
    assert record_of(root)["inputs"] == [f"inputs/{TEN}"]
    assert git(root / "inputs", "rev-parse", "HEAD") == inner
    assert is_clean(root)
    assert zips_of(records)[f"inputs/{ONE}"]["parentds"] == str(root / "inputs")
    again = unzip(dataset=root, strip=1, include="*.html")
    assert set(outcomes(again).values()) == {"notneeded"}


def test_a_subdataset_that_is_not_installed(_with_inputs: Path, tmp_path: Path) -> None:
    import datalad.api as dl

    root = tmp_path / "clone"
    dl.clone(str(_with_inputs), str(root), result_renderer="disabled")
    records = unzip(dataset=root)
    (message,) = failures(records).values()
    assert "inputs" in message and "not installed" in message
    before = settled_state_of(root)
    records = unzip("inputs/sub-0*.zip", dataset=root, include="*.html", dry_run=True)
    assert settled_state_of(root) == before
    assert next(r["path"] for r in records if r["type"] == "dataset") == str(root / "inputs")
    records = unzip("inputs/sub-0*.zip", dataset=root, include="*.html")
    assert not failures(records)
    assert tracked(root) == {"inputs", "fmriprep/sub-01.html", "fmriprep/sub-02.html"}
    assert is_clean(root)


def test_zips_in_git_and_unlocked_ones(tmp_path: Path) -> None:
    in_git, unlocked = ({f"{n}.txt": n.encode() * 50} for n in ("a", "b"))
    root = annex_repo(tmp_path / "ds", {"b.zip": zip_bytes(unlocked)}, {"a.zip": zip_bytes(in_git)})
    git(root, "annex", "unlock", "-q", "b.zip")
    git(root, "commit", "-q", "-am", "unlocked")
    records = unzip(dataset=root)
    assert not failures(records)
    assert content_at(root, tracked(root)) == in_git | unlocked
    assert record_of(root, "HEAD~1")["bidsshare"]["key"].startswith("git:")
    assert "dsid" not in record_of(root)
    assert is_clean(root)
    assert set(outcomes(unzip(dataset=root)).values()) == {"notneeded"}


def test_a_dataset_without_git_annex(tmp_path: Path) -> None:
    root = tmp_path / "ds"
    root.mkdir()
    git(root, "init", "-q")
    write(root, {"a.zip": zip_bytes({"x/a.txt": b"a"})})
    git(root, "add", ".")
    git(root, "commit", "-q", "-m", "zip")
    records = unzip(dataset=root)
    assert not failures(records)
    assert tracked(root) == {"x/a.txt"}
    assert is_clean(root)


# ---------------------------------------------------------------- the rules of the dataset


def in_annex(root: Path) -> set[str]:
    """Give the files that are annexed, in whatever way."""
    return set(git(root, "annex", "find", "--anything", "--include=*").splitlines())


def test_rules_say_what_goes_to_git(zips: Path) -> None:
    save_zips(
        zips,
        {
            ".gitattributes": "*.json annex.largefiles=nothing\n* annex.backend=SHA256E\n",
            "fmriprep/.gitattributes": "*.html annex.largefiles=nothing\n",
        },
    )
    records = unzip(ONE, dataset=zips)
    assert not failures(records)
    annexed = in_annex(zips)
    for path in members("01"):
        assert (path in annexed) == (not path.endswith((".json", ".html")))
    by_file = files_of(records)
    assert by_file["fmriprep/" + REST.format("01")]["key"].startswith("SHA256E-")
    assert "key" not in by_file["fmriprep/sub-01.html"]
    assert is_clean(zips)


def test_a_text2git_dataset(tmp_path: Path) -> None:
    import datalad.api as dl

    ds = dl.create(str(tmp_path / "ds"), cfg_proc="text2git", result_renderer="disabled")
    binary = {"image.nii.gz": bytes(range(256)) * 4, "text.tsv": b"onset\n1\n"}
    save_zips(ds.pathobj, {"a.zip": zip_bytes(binary)})
    assert not failures(unzip(dataset=ds.pathobj))
    assert "image.nii.gz" in in_annex(ds.pathobj)
    assert "text.tsv" not in in_annex(ds.pathobj)
    assert is_clean(ds.pathobj)


def test_files_are_unlocked_where_the_dataset_has_it_so(zips: Path) -> None:
    git(zips, "config", "annex.addunlocked", "true")
    records = unzip(ONE, dataset=zips)
    assert not failures(records)
    assert not (zips / "fmriprep/sub-01.html").is_symlink()
    assert "fmriprep/sub-01.html" in in_annex(zips)
    assert content_at(zips, tracked(zips)) == members("01")
    assert is_clean(zips)


def test_an_adjusted_branch(zips: Path) -> None:
    git(zips, "annex", "adjust", "--unlock")
    records = unzip(dataset=zips, include="*.html")
    assert not failures(records)
    assert (zips / "fmriprep/sub-01.html").read_bytes() == members("01")["fmriprep/sub-01.html"]
    assert not (zips / "fmriprep/sub-01.html").is_symlink()
    assert is_clean(zips)
    assert git(zips, "branch", "--show-current").startswith("adjusted/")
    assert set(outcomes(unzip(dataset=zips, include="*.html")).values()) == {"notneeded"}


# ---------------------------------------------------------------- from Python, and by hand


def test_records_come_as_the_work_goes_on(zips: Path) -> None:
    import datalad.api as dl

    records: Iterator[Any] = dl.unzip_outputs(
        dataset=zips, return_type="generator", result_renderer="disabled", on_failure="ignore"
    )
    first = next(iter(records))
    assert first["status"] == "ok"
    assert first["path"] == str(zips / ONE)
    assert sum("from_zip" in r for r in records) == 25


def test_a_method_of_datasets(zips: Path) -> None:
    records = Dataset(str(zips)).unzip_outputs(
        ONE, include="*.html", result_renderer="disabled", return_type="list"
    )
    assert outcomes(records) == {ONE: "ok"}


def test_the_command_of_a_record_does_the_same_by_hand(zips: Path, tmp_path: Path) -> None:
    unzip(ONE, dataset=zips, into="a", strip=1, **ENTITIES)
    command = record_of(zips)["cmd"].replace("{{", "{").replace("}}", "}")
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    (copy / ONE).write_bytes(ZIPS[ONE])
    subprocess.run(command, shell=True, cwd=copy, check=True, capture_output=True)
    written = {p.relative_to(copy).as_posix() for p in copy.rglob("*") if p.is_file()}
    assert written == tracked(zips) | {ONE}
    assert content_at(zips, tracked(zips)) == content_at(copy, tracked(zips))


def test_what_a_person_reads(zips: Path) -> None:
    save_zips(zips, {"sub-03_bad.zip": b"x" * 100})
    out, _ = datalad("unzip-outputs", "--dry-run", "sub-0[12]*", "--into", "d", cwd=zips)
    assert out.splitlines() == [
        f"{ONE}: 9 files, 9.3 kB (packed 609 B); into d",
        f"{TWO}: 8 files, 9.2 kB (packed 541 B); into d",
        "unzip-outputs (dry run): 2 zips to be unpacked (17 files, 18.4 kB), 1 file is the same in "
        "several zips and unpacked once",
    ]
    out, _ = datalad("unzip-outputs", "--on-zip-error", "continue", cwd=zips, code=1)
    lines = out.splitlines()
    assert lines[0].startswith("unzip-outputs(error): sub-03_bad.zip (file) [not a zip file")
    assert f"{ONE}: 9 files, 9.3 kB" in lines
    assert lines[-1] == (
        "unzip-outputs: 3 zips unpacked (25 files, 27.6 kB), 1 could not be unpacked, 1 file is "
        "the same in several zips and unpacked once"
    )
    out, _ = datalad("unzip-outputs", ONE, TWO, cwd=zips)
    assert out.splitlines() == ["unzip-outputs: 2 zips unpacked before"]
