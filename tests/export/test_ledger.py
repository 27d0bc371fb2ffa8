"""What an export took down: tables and journals on a real disk, manifests for the real tools."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datalad_bidsshare.dataset.checksums import new_hasher
from datalad_bidsshare.dataset.encoding import encode
from datalad_bidsshare.export import ledger as ledger_module
from datalad_bidsshare.export.escaping import field_of, path_of
from datalad_bidsshare.export.ledger import Ledger, LedgerError, Written
from tests.dataset.builders import HOSTILE_NAMES, PATIENCE
from tests.platforms import makes_name, needs_posix, needs_symlinks

_MORE_NAMES = [
    "tab\there", "cr\rhere", "cr at the end\r", " lead", "trailing ", "-", "*a", "#c",
    "\\", "\\n", "a\\\\b", "\\\n", "sub-01/\r",
]  # fmt: skip
HOSTILE = [
    *(os.fsdecode(name) for name in HOSTILE_NAMES),
    *(name for name in _MORE_NAMES if makes_name(os.fsencode(name).rpartition(b"/")[2])),
]


def written(number: int = 1, algorithm: str = "md5", **others: object) -> Written:
    hasher = new_hasher(algorithm)
    hasher.update(b"%d" % number)
    plain = Written(
        number, 10**18 + number, f"120000 {number:040x}", algorithm, hasher.hexdigest(), "", ""
    )
    return plain._replace(**others)  # type: ignore[arg-type]


def filled(directory: Path, count: int = 1000) -> dict[str, Written]:
    """Have a table of many blocks on the disk."""
    directory.mkdir(exist_ok=True)
    files = {f"sub-{n:04d}/func/sub-{n:04d}_task-rest_bold.nii.gz": written(n)
             for n in range(count)}  # fmt: skip
    ledger = Ledger.read(directory)
    for path, what in files.items():
        ledger.put(path, what)
    ledger.write()
    return files


def content(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def stamps(directory: Path) -> dict[str, tuple[int, int]]:
    return {p.name: (p.stat().st_mtime_ns, p.stat().st_ino) for p in directory.iterdir()}


def assert_holds(ledger: Ledger, files: Mapping[str, Written]) -> None:
    assert len(ledger) == len(files)
    assert list(ledger.paths()) == sorted(files, key=field_of)
    assert dict(ledger.items()) == files
    shuffled = list(files)
    random.Random(1).shuffle(shuffled)
    for paths in (sorted(files), shuffled):
        for path in paths:
            assert path in ledger
            assert ledger.get(path) == files[path]
    for path in ("", "zzz", "sub-00", "\udcff", "Ledger"):
        assert path not in ledger
        assert ledger.get(path) is None


def test_a_ledger_of_nothing(tmp_path: Path) -> None:
    ledger = Ledger.read(tmp_path / "none")
    assert_holds(ledger, {})
    ledger.remove("x")
    ledger.journal()
    ledger.write()
    assert not (tmp_path / "none").exists()
    assert ledger.manifests == ()


def test_what_is_written_is_read(tmp_path: Path) -> None:
    files = filled(tmp_path)
    assert_holds(Ledger.read(tmp_path), files)
    assert sorted(content(tmp_path)) == ["files.tsv", "manifest-md5.txt"]


def test_the_form_of_the_table(tmp_path: Path) -> None:
    ledger = Ledger.read(tmp_path)
    digest = hashlib.sha256(b"x").hexdigest()
    key = f"SHA256E-s1--{digest}.nii.gz"
    ledger.put("b\tc", Written(1, 2, "100644 abc", "sha256", digest, key, "r"))
    ledger.put("a", written(3))
    assert ledger.line("b\tc") == f"1\t2\t100644 abc\tsha256:{digest}\t{key}\tr"
    ledger.write()
    assert ledger.line("b\tc") == f"1\t2\t100644 abc\tsha256:{digest}\t{key}\tr"
    md5 = hashlib.md5(b"3").hexdigest()
    assert (tmp_path / "files.tsv").read_text() == (
        "path\tsize\tmtime_ns\tsource\tchecksum\tkey\trecipe\n"
        f"a\t3\t1000000000000000003\t120000 {3:040x}\tmd5:{md5}\t\t\n"
        f"b\\tc\t1\t2\t100644 abc\tsha256:{digest}\t{key}\tr\n"
    )


@pytest.mark.parametrize(
    "key",
    ["WORM-s3-m1289672605--name of a patient.nii", "URL--http://user:password@host/x",
     "XEXTERNAL-s1--secret", f"MD5E-s1--{'0' * 32}.a\tb"],
)  # fmt: skip
def test_keys_with_names_and_addresses_stay_out(tmp_path: Path, key: str) -> None:
    ledger = Ledger.read(tmp_path)
    ledger.put("a", written(key=key))
    ledger.journal()
    assert ledger.get("a") == written()
    ledger.write()
    assert Ledger.read(tmp_path).get("a") == written()


def test_hostile_names_survive(tmp_path: Path) -> None:
    files = {name: written(n) for n, name in enumerate(HOSTILE)}
    ledger = Ledger.read(tmp_path)
    for name, what in files.items():
        ledger.put(name, what)
    assert_holds(ledger, files)
    ledger.journal()
    assert_holds(Ledger.read(tmp_path), files)
    ledger.write()
    assert_holds(Ledger.read(tmp_path), files)


@given(st.binary())
def test_fields_are_one_field_and_lead_back(raw: bytes) -> None:
    path = os.fsdecode(raw) if os.name == "posix" else raw.decode("utf-8", "surrogateescape")
    field = field_of(path)
    assert not set(field) & set(b"\t\n\r")
    assert path_of(field) == path


def test_a_bad_escape_is_an_error() -> None:
    for field in (b"\\x", b"\\", b"a\\\\\\"):
        with pytest.raises(ValueError, match="escape"):
            path_of(field)


@given(st.lists(st.tuples(
    st.sampled_from(["put", "put", "put", "remove", "journal", "write", "read"]),
    st.sampled_from(["a", "a/b", "a-b", "b", "c\nd", "\u00e9", "\udce9", "z", "\\"]),
    st.integers(0, 3),
), max_size=30))  # fmt: skip
@settings(deadline=None)
def test_agrees_with_a_dict(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, int]]
) -> None:
    directory = tmp_path_factory.mktemp("ledger")
    with pytest.MonkeyPatch.context() as patch:
        # So few that the table is written anew again and again
        patch.setattr(ledger_module, "_HELD", 3)
        ledger, expected = Ledger.read(directory), dict[str, Written]()
        durable = dict(expected)
        for step, path, number in steps:
            if step == "put":
                ledger.put(path, written(number))
                expected[path] = written(number)
            elif step == "remove":
                ledger.remove(path)
                expected.pop(path, None)
            elif step == "read":
                # What a process that was killed now leaves to the next
                ledger, expected = Ledger.read(directory), dict(durable)
            else:
                ledger.journal() if step == "journal" else ledger.write()
                durable = dict(expected)
            assert_holds(ledger, expected)
        ledger.write()
        assert_holds(Ledger.read(directory), expected)
    lines = (directory / "manifest-md5.txt").read_bytes().count(b"\n") if expected else 0
    assert lines == len(expected)
    # Not a trace of how it came to that: the same as when it is written in one go.
    shutil.rmtree(directory)
    directory.mkdir()
    again = Ledger.read(directory)
    for path, what in expected.items():
        again.put(path, what)
    again.write()
    assert_holds(again, expected)


def test_tables_of_many_blocks_are_changed_everywhere(tmp_path: Path) -> None:
    files = filled(tmp_path)
    ledger = Ledger.read(tmp_path)
    for path in list(files)[::7]:
        ledger.remove(path)
        del files[path]
    for number in range(0, 1100, 11):
        for path in (f"sub-{number:04d}/extra", f"sub-{number:04d}/func"):
            files[path] = written(number, "sha256")
            ledger.put(path, files[path])
    for path in ("!first", "~last"):
        files[path] = written(5)
        ledger.put(path, files[path])
    assert_holds(ledger, files)
    ledger.write()
    assert_holds(ledger, files)
    assert_holds(Ledger.read(tmp_path), files)
    assert ledger.manifests == ("manifest-md5.txt", "manifest-sha256.txt")


def test_nothing_is_touched_when_nothing_changed(tmp_path: Path) -> None:
    files = filled(tmp_path)
    before = stamps(tmp_path)
    ledger = Ledger.read(tmp_path)
    assert ledger.finished
    for path, what in files.items():
        ledger.put(path, what)
    ledger.remove("not there")
    ledger.journal()
    ledger.write()
    assert stamps(tmp_path) == before


def test_manifests_come_and_go_with_their_algorithms(tmp_path: Path) -> None:
    ledger = Ledger.read(tmp_path)
    (tmp_path / "manifest-mine.txt").write_text("not ours")
    for number, algorithm in enumerate(["md5", "sha3_256", "blake2b-160"]):
        ledger.put(f"{number}", written(number, algorithm))
    ledger.write()
    names = ("manifest-blake2b-160.txt", "manifest-md5.txt", "manifest-sha3-256.txt")
    assert ledger.manifests == names
    assert set(names) < set(content(tmp_path))
    ledger = Ledger.read(tmp_path)
    ledger.put("1", written(1, "md5"))
    ledger.remove("2")
    ledger.write()
    assert ledger.manifests == ("manifest-md5.txt",)
    assert sorted(content(tmp_path)) == ["files.tsv", "manifest-md5.txt", "manifest-mine.txt"]


def test_a_manifest_that_was_removed_comes_back(tmp_path: Path) -> None:
    filled(tmp_path, 10)
    before, stamp = content(tmp_path), stamps(tmp_path)["files.tsv"]
    (tmp_path / "manifest-md5.txt").unlink()
    Ledger.read(tmp_path).write()
    assert content(tmp_path) == before
    assert stamps(tmp_path)["files.tsv"] == stamp


def test_removing_all_leaves_no_manifest(tmp_path: Path) -> None:
    ledger = Ledger.read(tmp_path)
    for path in filled(tmp_path, 3):
        ledger = Ledger.read(tmp_path)
        ledger.remove(path)
        ledger.journal()
    ledger.write()
    assert sorted(content(tmp_path)) == ["files.tsv"]
    assert_holds(Ledger.read(tmp_path), {})


def test_a_killed_run_leaves_its_journal_to_the_next(tmp_path: Path) -> None:
    files = filled(tmp_path, 10)
    ledger = Ledger.read(tmp_path)
    first = next(iter(files))
    ledger.remove(first)
    ledger.put("new", written(7))
    ledger.journal()
    ledger.put("lost", written(8))
    del files[first]
    files["new"] = written(7)
    after = Ledger.read(tmp_path)
    assert not after.finished
    assert_holds(after, files)
    after.write()
    assert after.finished
    assert sorted(content(tmp_path)) == ["files.tsv", "manifest-md5.txt"]
    assert_holds(Ledger.read(tmp_path), files)


def test_no_part_of_a_torn_batch_counts(tmp_path: Path) -> None:
    ledger = Ledger.read(tmp_path)
    ledger.put("first", written(1))
    ledger.journal()
    kept = len((tmp_path / "journal").read_bytes())
    ledger.put("second", written(2))
    ledger.put("third", written(3))
    ledger.journal()
    whole = (tmp_path / "journal").read_bytes()
    damaged = [whole[:end] for end in range(kept, len(whole))]
    # Blocks that never reached the disk
    damaged.append(whole[:kept] + bytes(60) + whole[kept + 60 :])
    for text in damaged:
        (tmp_path / "journal").write_bytes(text)
        assert_holds(Ledger.read(tmp_path), {"first": written(1)})
    # The next batch takes the place of what is left of it.
    ledger = Ledger.read(tmp_path)
    ledger.put("fourth", written(4))
    ledger.journal()
    assert_holds(Ledger.read(tmp_path), {"first": written(1), "fourth": written(4)})


def test_a_run_killed_between_the_files_is_made_up_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = filled(tmp_path / "a", 10) | {"new": written(3, "sha256")}
    replace, number = os.replace, 0
    for allowed in range(4):
        shutil.rmtree(tmp_path / "b", ignore_errors=True)
        shutil.copytree(tmp_path / "a", tmp_path / "b")
        ledger = Ledger.read(tmp_path / "b")
        ledger.put("new", written(3, "sha256"))
        number = 0

        def killed(source: Path, target: Path, allowed: int = allowed) -> None:
            nonlocal number
            number += 1
            if number > allowed:
                raise KeyboardInterrupt
            replace(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", killed)
            if allowed < 3:
                with pytest.raises(KeyboardInterrupt):
                    ledger.write()
            else:
                ledger.write()
        again = Ledger.read(tmp_path / "b")
        assert_holds(again, files)
        again.write()
        assert sorted(content(tmp_path / "b")) == [
            "files.tsv", "manifest-md5.txt", "manifest-sha256.txt",
        ]  # fmt: skip
        assert content(tmp_path / "b")["manifest-sha256.txt"].count(b"\n") == 1


def test_many_changes_are_not_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "_HELD", 50)
    files = filled(tmp_path, 40)
    ledger = Ledger.read(tmp_path)
    for number in range(200):
        files[f"x{number}"] = written(number)
        ledger.put(f"x{number}", written(number))
        ledger.journal()
        assert len(ledger._changes) < 50
    # The manifest is behind, and the journal says so.
    assert (tmp_path / "journal").exists()
    after = Ledger.read(tmp_path)
    assert not after.finished
    assert_holds(after, files)
    after.write()
    assert (tmp_path / "manifest-md5.txt").read_bytes().count(b"\n") == len(files)
    assert not (tmp_path / "journal").exists()


HEADER = b"path\tsize\tmtime_ns\tsource\tchecksum\tkey\trecipe\n"
LINE = b"%b\t1\t2\ts\tmd5:" + b"0" * 32 + b"\t\t\n"


@pytest.mark.parametrize(
    "table",
    [
        b"",
        b"something else\n",
        HEADER + b"a\n",
        HEADER + LINE % b"a" + b"b\t1",
        HEADER + LINE % b"a" + LINE % b"b\tc",
        HEADER + (LINE % b"a").replace(b"md5", b"crc"),
        HEADER + LINE * 900 % tuple(b"%04d" % n for n in reversed(range(900))),
        HEADER + bytes(4096),
    ],
)
def test_a_damaged_table_is_named_with_a_way_out(tmp_path: Path, table: bytes) -> None:
    (tmp_path / "files.tsv").write_bytes(table)
    with pytest.raises(LedgerError, match="Remove it") as caught:
        Ledger.read(tmp_path)
    assert str(tmp_path / "files.tsv") in str(caught.value)


def test_a_line_that_cannot_be_understood_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "files.tsv").write_bytes(HEADER + (LINE % b"a").replace(b"\t1\t", b"\tone\t"))
    ledger = Ledger.read(tmp_path)
    with pytest.raises(LedgerError, match=r"files\.tsv.*'a'"):
        ledger.get("a")
    with pytest.raises(LedgerError, match=r"files\.tsv"):
        list(ledger.items())


@pytest.mark.parametrize("name", [b"../x", b"/etc/passwd", b"a/../../x", b".git/config", b""])
def test_a_table_that_lists_what_lies_elsewhere_is_refused(tmp_path: Path, name: bytes) -> None:
    (tmp_path / "files.tsv").write_bytes(HEADER + LINE % name)
    with pytest.raises(LedgerError, match="no file of an export"):
        list(Ledger.read(tmp_path).paths())


@needs_symlinks
@pytest.mark.parametrize("name", ["files.tsv", "journal"])
def test_no_link_is_read_or_written_through(tmp_path: Path, name: str) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(HEADER if name == "files.tsv" else b"")
    before = outside.read_bytes()
    directory = tmp_path / "in"
    directory.mkdir()
    (directory / name).symlink_to(outside)
    with pytest.raises(LedgerError, match=name):
        Ledger.read(directory)
    (directory / name).unlink()
    ledger = Ledger.read(directory)
    # Planted meanwhile
    (directory / name).symlink_to(outside)
    ledger.put("a", written())
    if name == "journal":
        with pytest.raises(OSError):
            ledger.journal()
    else:
        ledger.write()
        assert not (directory / name).is_symlink()
    assert outside.read_bytes() == before


@needs_symlinks
def test_a_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    filled(tmp_path / "real", 3)
    (tmp_path / "link").symlink_to("real")
    with pytest.raises(LedgerError, match="symbolic link"):
        Ledger.read(tmp_path / "link")


@needs_posix
@pytest.mark.parametrize("name", ["files.tsv", "journal"])
def test_a_fifo_does_not_hang(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(LedgerError, match=name):
        Ledger.read(tmp_path)


@needs_posix
def test_everybody_may_read_what_is_given_away(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        filled(tmp_path, 3)
    finally:
        os.umask(before)
    for path in tmp_path.iterdir():
        assert path.stat().st_mode & 0o777 == 0o644


def test_nonsense_is_not_taken_down(tmp_path: Path) -> None:
    ledger = Ledger.read(tmp_path)
    for algorithm, digest in (("md5", ""), ("crc32", "0" * 8), ("sha256", "0" * 32)):
        with pytest.raises(ValueError, match="digest"):
            ledger.put("a", Written(1, 2, "s", algorithm, digest, "", ""))
    assert len(ledger) == 0


TOOLS = {
    "md5": "md5sum", "sha1": "sha1sum", "sha224": "sha224sum", "sha256": "sha256sum",
    "sha384": "sha384sum", "sha512": "sha512sum", "blake2b-512": "b2sum", "blake2b-256": "b2sum",
    "blake2b-160": "b2sum",
}  # fmt: skip


def _is_coreutils_9(tool: str) -> bool:
    if not shutil.which(tool):
        return False
    done = subprocess.run([tool, "--version"], capture_output=True, text=True, check=False)
    first = done.stdout.partition("\n")[0]
    return "GNU coreutils" in first and int(first.split()[-1].split(".")[0]) >= 9


@pytest.mark.parametrize("algorithm", TOOLS)
def test_the_tools_of_the_receiver_take_the_manifests(tmp_path: Path, algorithm: str) -> None:
    tool = TOOLS[algorithm]
    if not _is_coreutils_9(tool):
        pytest.skip(f"needs {tool} of GNU coreutils 9")
    directory = tmp_path / ".bidsshare"
    directory.mkdir()
    ledger = Ledger.read(directory)
    for number, name in enumerate(HOSTILE):
        file = os.path.join(os.fsencode(tmp_path), encode(name))
        os.makedirs(os.path.dirname(file), exist_ok=True)
        with open(file, "wb") as opened:
            opened.write(b"%d" % number)
        ledger.put(name, written(number, algorithm))
    ledger.write()
    command = [tool, "-c", "--strict", "--status", f".bidsshare/{ledger.manifests[0]}"]

    def check() -> tuple[int, bytes]:
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, check=False, timeout=PATIENCE,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return done.returncode, done.stderr

    assert check() == (0, b"")
    # Each of them is really looked at.
    for name in HOSTILE:
        file = os.path.join(os.fsencode(tmp_path), encode(name))
        with open(file, "r+b") as opened:
            right = opened.read()
            opened.seek(0)
            opened.write(b"x" * len(right))
        assert check()[0] == 1, name
        with open(file, "wb") as opened:
            opened.write(right)
    assert check() == (0, b"")
