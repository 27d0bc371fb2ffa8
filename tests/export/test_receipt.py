"""export.json and the log of exports: what they say, and to whom."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from datalad_bidsshare.export.log import append_log
from datalad_bidsshare.export.receipt import Receipt, SourceDataset, public_url, write_receipt
from tests.dataset.conftest import for_nobody  # noqa: F401 (a fixture)
from tests.platforms import POSIX, needs_posix, needs_symlinks

DATASET = SourceDataset(
    id="6b4d3c4e-0000-4000-8000-000000000000",
    commit="3b18e512dba79e4c8300dd08aeb37f8e728b8dad",
    describe="1.0.2-3-g3b18e51",
    url="https://user:password@example.org/ds.git?token=1#x",
)
RECEIPT = Receipt(
    tool_version="0.1",
    date="2026-11-21T15:26:00Z",
    datasets=(DATASET, SourceDataset(None, "ab", "ab", "sub/ds", "ssh://host.org/home/me/ds")),
    selection="subject=01",
    options={"tables": "reduced", "of": ("a", "b")},
    files=12,
    bytes=3456,
    missing=1,
    subset=True,
    manifests=("manifest-md5.txt",),
)


def receipt_in(directory: Path) -> dict[str, object]:
    content = json.loads((directory / "export.json").read_bytes())
    assert isinstance(content, dict)
    return content


def test_what_a_receipt_says(tmp_path: Path) -> None:
    assert write_receipt(tmp_path, RECEIPT)
    assert receipt_in(tmp_path) == {
        "format": 1,
        "tool": {"name": "datalad-bidsshare", "version": "0.1"},
        "date": "2026-11-21T15:26:00Z",
        "datasets": [
            {
                "path": "",
                "id": DATASET.id,
                "commit": DATASET.commit,
                "describe": "1.0.2-3-g3b18e51",
                "url": "https://example.org/ds.git",
            },
            {"path": "sub/ds", "id": None, "commit": "ab", "describe": "ab"},
        ],
        "selection": "subject=01",
        "options": {"tables": "reduced", "of": ["a", "b"]},
        "files": 12,
        "bytes": 3456,
        "missing": 1,
        "subset": True,
        "manifests": ["manifest-md5.txt"],
    }
    assert os.listdir(tmp_path) == ["export.json"]
    text = (tmp_path / "export.json").read_bytes()
    for secret in (b"password", b"token", b"home", b"ssh:"):
        assert secret not in text


def test_only_another_date_changes_nothing(tmp_path: Path) -> None:
    write_receipt(tmp_path, RECEIPT)
    before = (tmp_path / "export.json").read_bytes()
    os.utime(tmp_path / "export.json", (1, 1))
    assert not write_receipt(tmp_path, dataclasses.replace(RECEIPT, date="2027-01-01T00:00:00Z"))
    assert (tmp_path / "export.json").read_bytes() == before
    assert (tmp_path / "export.json").stat().st_mtime == 1
    assert write_receipt(tmp_path, dataclasses.replace(RECEIPT, files=13))
    assert receipt_in(tmp_path)["files"] == 13
    assert write_receipt(tmp_path, dataclasses.replace(RECEIPT, files=13, date=None))
    assert "date" not in receipt_in(tmp_path)


@pytest.mark.parametrize("before", [b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_damaged_receipt_is_replaced(tmp_path: Path, before: bytes) -> None:
    (tmp_path / "export.json").write_bytes(before)
    assert write_receipt(tmp_path, RECEIPT)
    assert receipt_in(tmp_path)["files"] == 12


@needs_symlinks
def test_no_receipt_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("mine")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "export.json").symlink_to("../outside")
    assert write_receipt(tmp_path / "in", RECEIPT)
    assert (tmp_path / "outside").read_text() == "mine"
    assert not (tmp_path / "in" / "export.json").is_symlink()


def test_any_name_can_stand_in_a_receipt(tmp_path: Path) -> None:
    name = 'sub-\u00e9\udce9\n"\\\U0001f9e0'
    receipt = dataclasses.replace(RECEIPT, selection=name)
    assert write_receipt(tmp_path, receipt)
    assert receipt_in(tmp_path)["selection"] == name
    assert not write_receipt(tmp_path, receipt)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://github.com/x/y", "https://github.com/x/y"),
        ("HTTPS://GitHub.com/x/Y.git", "https://github.com/x/Y.git"),
        ("http://example.org:8080/x", "http://example.org:8080/x"),
        ("https://me:secret@example.org/x?token=secret#secret", "https://example.org/x"),
        ("https://ghp_secret@github.com/x/y", "https://github.com/x/y"),
        ("https://93.184.216.34/x", "https://93.184.216.34/x"),
        ("https://[2606:4700::1111]:443/x", "https://[2606:4700::1111]:443/x"),
        ("https://example.org", "https://example.org"),
    ],
)
def test_public_urls(url: str, expected: str) -> None:
    assert public_url(url) == expected
    assert public_url(expected) == expected


@pytest.mark.parametrize(
    "url",
    """
    /data/ds ../ds file:///data/ds ssh://example.org/ds git@example.org:ds git://example.org/ds
    ria+https://example.org/store#~x ria+file:///data/store#~x ftp://example.org/ds https:///x
    https://localhost/x https://LOCALHOST:80/x https://localhost./x https://me.localhost/x
    https://server/x https://server:8080/x https://nas.local/x https://nas.LAN/x
    https://git.internal/x https://git.corp/x https://box.home.arpa/x https://git.intranet./x
    http://127.0.0.1/x http://127.1/x http://2130706433/x http://0x7f.1/x http://0x7f000001/x
    http://10.0.0.1/x http://192.168.1.2/x http://172.16.0.1/x http://169.254.169.254/x
    http://100.64.0.1/x http://0.0.0.0/x http://224.0.0.1/x http://255.255.255.255/x
    http://10.0.0.1./x http://010.0.0.1/x
    http://[::1]/x http://[fe80::1]/x http://[fd00::1]/x http://[::ffff:10.0.0.1]/x
    http://[2002:a00:1::]/x http://[::]/x http://[fe80::1%25eth0]/x http://[::1/x
    https://example.org:port/x https://example.org:99999/x https://example..org/x
    https://user@/x https://ex_ample-.org-/x https://%6cocalhost.org%2f/x
    https://example.org\\@server/x https://b\u00fccher.example/x
    """.split(),  # noqa: SIM905
)  # fmt: skip
def test_urls_that_are_not_public(url: str) -> None:
    assert public_url(url.strip()) is None


def test_urls_with_white_space_are_none_at_all() -> None:
    for url in (
        "https://example.org/a b",
        "https://example.org\tx/",
        " https://example.org",
        "https://exam\nple.org/x",
    ):
        assert public_url(url) is None


def log_of(git_dir: Path) -> list[dict[str, object]]:
    lines = (git_dir / "bidsshare" / "exports.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_the_log_grows(tmp_path: Path) -> None:
    name = "latin1-\udce9\n"
    log = append_log(tmp_path / "bidsshare", {"destination": name, "keys": ["a"]})
    assert log == tmp_path / "bidsshare" / "exports.jsonl"
    append_log(tmp_path / "bidsshare", {"when": "then", "files": 2})
    first, second = log_of(tmp_path)
    assert str(first.pop("when")).endswith("Z")
    assert first == {"format": 1, "destination": name, "keys": ["a"]}
    assert second == {"format": 1, "when": "then", "files": 2}


def test_words_that_were_cut_short_spoil_nothing(tmp_path: Path) -> None:
    log = append_log(tmp_path / "bidsshare", {"number": 1})
    with log.open("ab") as file:
        file.write(b'{"number": 2, "ke')
    append_log(tmp_path / "bidsshare", {"number": 3})
    lines = log.read_text().splitlines()
    assert json.loads(lines[0])["number"] == 1
    assert json.loads(lines[2])["number"] == 3


@needs_posix
def test_two_exports_at_once_write_whole_lines(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib\n"
        "from datalad_bidsshare.export.log import append_log\n"
        "for number in range(50):\n"
        "    keys = ['k' * 50] * 2000\n"
        "    append_log(pathlib.Path(sys.argv[1], 'bidsshare'), {'n': number, 'keys': keys})\n"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, tmp_path]) for _ in range(3)]
    assert [run.wait(120) for run in runs] == [0, 0, 0]
    entries = log_of(tmp_path)
    assert len(entries) == 150
    assert all(entry["keys"] == ["k" * 50] * 2000 for entry in entries)


@needs_symlinks
@needs_posix
def test_no_log_is_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("")
    (tmp_path / "bidsshare").mkdir()
    (tmp_path / "bidsshare" / "exports.jsonl").symlink_to("../outside")
    with pytest.raises(OSError):
        append_log(tmp_path / "bidsshare", {})
    assert (tmp_path / "outside").read_text() == ""


def test_a_log_that_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "bidsshare").write_text("in the way")
    with pytest.raises(OSError):
        append_log(tmp_path / "bidsshare", {})


@pytest.mark.skipif(not POSIX or not hasattr(os, "geteuid") or os.geteuid() != 0,
                    reason="needs root, to become somebody who may not")  # fmt: skip
def test_a_read_only_dataset_is_an_error(for_nobody: Path) -> None:  # noqa: F811
    code = (
        "import sys, pathlib\n"
        "from datalad_bidsshare.export.log import append_log\n"
        "import os; os.setuid(65534)\n"
        "try:\n    append_log(pathlib.Path(sys.argv[1]) / 'bidsshare', {})\n"
        "except PermissionError:\n    sys.exit(7)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(for_nobody)], check=False, timeout=60)
    assert done.returncode == 7
