"""Run records in the history, as `datalad run` writes them and others may."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.history import run_records
from datalad_bidsshare.dataset.state import read_head
from tests.dataset.builders import git
from tests.process_log import ProcessLog


def message(record: str, title: str = "[DATALAD RUNCMD] x") -> str:
    return (
        f"{title}\n\n=== Do not change lines below ===\n{record}\n"
        "^^^ Do not change lines above ^^^\n"
    )


def commit(root: Path, text: str | bytes) -> str:
    given = text if isinstance(text, bytes) else text.encode()
    git(root, "commit", "-q", "--allow-empty", "--cleanup=verbatim", "-F", "-", text=given)
    return git(root, "rev-parse", "HEAD").strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    git(tmp_path, "init", "-q")
    commit(tmp_path, "first\n")
    return tmp_path


def records(root: Path, needle: str = "tool") -> list[tuple[str, dict[str, object]]]:
    return list(run_records(root, read_head(root).commit, needle))


def test_a_record_of_datalad_itself(tmp_path: Path) -> None:
    import datalad.api as dl

    ds = dl.create(tmp_path / "ds", result_renderer="disabled")
    ds.run("echo tool > out", result_renderer="disabled", message="a title\nof two lines")
    ds.run("echo other > out2", result_renderer="disabled")
    ds.run("echo tool > out3", result_renderer="disabled", sidecar=True)
    found = records(ds.pathobj)
    assert [r["cmd"] for _, r in found] == ["echo tool > out"]
    assert found[0][0] == git(ds.pathobj, "rev-parse", "HEAD~2").strip()


def test_newest_first_from_one_commit_on(repository: Path) -> None:
    names = [commit(repository, message(json.dumps({"cmd": f"tool {n}"}))) for n in range(3)]
    found = list(run_records(repository, names[1], "tool"))
    assert found == [(names[1], {"cmd": "tool 1"}), (names[0], {"cmd": "tool 0"})]


@pytest.mark.parametrize(
    "text",
    [
        message('{"cmd": "tool'),
        message('"tool"'),
        message('["cmd", "tool"]'),
        message('{"command": "tool"}'),
        message("[" * 100_000 + "tool"),
        message('{"cmd": "tool"}', "tool [DATALAD RUNCMD] x"),
        "[DATALAD RUNCMD] tool\n",
        message('{"cmd": "TOOL"}'),
        message('{"cmd": "t.*l"}'),
    ],
    ids=range(9),
)
def test_what_is_no_record_is_passed_over(repository: Path, text: str) -> None:
    good = commit(repository, message('{"cmd": "tool \u00e9"}'))
    commit(repository, text)
    git(repository, "config", "grep.patternType", "perl")
    git(repository, "config", "log.showSignature", "true")
    git(repository, "config", "i18n.logOutputEncoding", "latin1")
    assert records(repository) == [(good, {"cmd": "tool \u00e9"})]


def test_bytes_that_are_no_text(repository: Path) -> None:
    text = message('{"cmd": "tool"}').encode().replace(b" x\n", b" \xe9\xff\n")
    assert [r for _, r in [(commit(repository, text), None), *records(repository)][1:]] == [
        {"cmd": "tool"}
    ]


def test_merged_history_counts(repository: Path) -> None:
    git(repository, "switch", "-q", "-c", "side")
    name = commit(repository, message('{"cmd": "tool"}'))
    git(repository, "switch", "-q", "-")
    commit(repository, "between\n")
    git(repository, "merge", "-q", "-m", "merged", "side")
    assert [n for n, _ in records(repository)] == [name]


def test_one_process_and_none_is_left(repository: Path, process_log: ProcessLog) -> None:
    for n in range(5):
        commit(repository, message(json.dumps({"cmd": f"tool {n} " + "x" * 100_000})))
    head = read_head(repository).commit
    process_log.clear()
    generator = run_records(repository, head, "tool")
    next(generator)
    generator.close()
    assert process_log.count() == 1


@pytest.mark.parametrize("needle", ["", "a\nb", "a\0b"])
def test_needles_that_are_none(repository: Path, needle: str) -> None:
    with pytest.raises(ValueError, match="one line"):
        records(repository, needle)
