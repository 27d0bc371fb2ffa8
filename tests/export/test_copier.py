"""Copying one file: what is there afterwards, and what is not."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.checksums import new_hasher
from datalad_bidsshare.export import copier as module
from datalad_bidsshare.export.copier import Copier, Stopped
from datalad_bidsshare.export.jobs import Done, Job
from tests.dataset.builders import HOSTILE_NAMES, PATIENCE
from tests.platforms import needs_posix, needs_symlinks

MTIME = 1_600_000_000_123_456_789
BIG = module._WHOLE + module._BLOCK + 1
ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
WAYS = ["exclusive", "looking", "paths"]


@pytest.fixture(autouse=True)
def _umask() -> Iterator[None]:
    """As `main` sets it."""
    if os.name == "posix":
        before = os.umask(0o022)
        yield
        os.umask(before)
    else:
        yield


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    dest = tmp_path / "dest"
    dest.mkdir()
    return dest


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.mkdir()
    return source


class Written:
    """Hears of bytes that are written, and lets something happen then."""

    def __init__(self) -> None:
        self.bytes = 0
        self.then: Callable[[], None] = lambda: None

    def __call__(self, length: int) -> None:
        self.bytes += length
        then, self.then = self.then, lambda: None
        then()


@pytest.fixture
def written() -> Written:
    return Written()


@pytest.fixture(params=WAYS)
def copier(
    request: pytest.FixtureRequest, dest: Path, written: Written, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Copier]:
    """Copy in each of the ways that there are: by what system and file system can do."""
    destination: int | str = str(dest)
    if request.param == "paths":
        monkeypatch.setattr(module, "RELATIVE", False)
    elif not module.RELATIVE:
        pytest.skip("this system cannot open relative to a directory")
    else:
        destination = os.open(dest, os.O_RDONLY)
    copier = Copier(destination, module.TEMPORARY + "x-", written)
    if request.param == "exclusive" and not copier._renames_exclusively:
        pytest.skip("this system cannot rename without replacing")
    if request.param == "looking":
        copier._renames_exclusively = False
    yield copier
    copier.close()
    if isinstance(destination, int):
        os.close(destination)
    # Whatever happened: no temporary file is left.
    assert not list(dest.rglob("*bidsshare*"))


def job(path: str, source: bytes | tuple[Path, str], **changes: object) -> Job:
    """Make a job for a file that nothing is known of; `changes` are fields of it."""
    given = source if isinstance(source, bytes) else (os.fspath(source[0]), source[1])
    plain = Job(7, path, given, None, "sha256", None, False, MTIME, None, False, False, True)
    return plain._replace(**changes)  # type: ignore[arg-type]


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tree(directory: Path) -> dict[str, bytes | None]:
    """Everything below a directory; None for what is no regular file."""
    return {
        str(p.relative_to(directory)): p.read_bytes()
        if p.is_file() and not p.is_symlink()
        else None
        for p in directory.rglob("*")
    }


def failed(done: Done) -> tuple[str, str, str]:
    assert (done.size, done.mtime_ns, done.digest) == (0, 0, "")
    return done.status, errno.errorcode.get(done.errno, ""), done.where


# What is written


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha512", "sha3_256", "blake2b-160"])
@pytest.mark.parametrize("kind", ["content", "small", "large"])
def test_a_file_is_written_with_its_digest_and_time(
    copier: Copier, dest: Path, source: Path, written: Written, kind: str, algorithm: str
) -> None:
    content = os.urandom(BIG if kind == "large" else 1000)
    (source / "o").write_bytes(content)
    hasher = new_hasher(algorithm)
    hasher.update(content)
    for digest in (None, hasher.hexdigest()):
        done = copier.copy(
            job(
                f"sub-01/{digest}",
                content if kind == "content" else (source, "o"),
                algorithm=algorithm,
                digest=digest,
                size=len(content),
            )
        )
        file = dest / "sub-01" / str(digest)
        found = file.stat()
        assert file.read_bytes() == content
        assert done == Done(
            7, "ok", len(content), found.st_mtime_ns, hasher.hexdigest(), 0, "",
            () if digest else ("sub-01",),
        )  # fmt: skip
        # Windows has no finer time stamps.
        assert abs(found.st_mtime_ns - MTIME) < 100
    assert written.bytes == 2 * len(content)


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize(
    "size",
    [0, 1, module._WHOLE - 1, module._WHOLE, module._WHOLE + 1, 8 * module._BLOCK, 3_000_000],
)
def test_any_size(copier: Copier, dest: Path, source: Path, size: int, verify: bool) -> None:
    content = os.urandom(size)
    (source / "o").write_bytes(content)
    given = sha256(content)
    done = copier.copy(job("a", (source, "o"), size=size, digest=given, verify=verify))
    assert (done.status, done.size, done.digest) == ("ok", size, given)
    assert (dest / "a").read_bytes() == content
    done = copier.copy(job("b", (source, "o"), verify=verify))
    assert (done.status, done.digest) == ("ok", given)
    done = copier.copy(job("c", content, digest=given, verify=verify))
    assert (done.status, done.digest) == ("ok", given)
    assert (dest / "c").read_bytes() == (dest / "b").read_bytes() == content


@needs_posix
def test_modes_are_those_of_git_and_not_those_of_the_annex(
    copier: Copier, dest: Path, source: Path
) -> None:
    (source / "o").write_bytes(b"x")
    (source / "o").chmod(0o400)
    for executable in (False, True):
        copier.copy(job(f"d/e/{executable}", (source, "o"), executable=executable))
    assert stat.S_IMODE((dest / "d/e/False").stat().st_mode) == 0o644
    assert stat.S_IMODE((dest / "d/e/True").stat().st_mode) == 0o755
    assert stat.S_IMODE((dest / "d/e").stat().st_mode) == 0o755


@pytest.mark.parametrize("size", [10, BIG])
def test_the_time_of_the_source_when_none_is_given(
    copier: Copier, dest: Path, source: Path, size: int
) -> None:
    (source / "o").write_bytes(b"x" * size)
    os.utime(source / "o", ns=(1, 1_400_000_000_000_000_000))
    done = copier.copy(job("a", (source, "o"), mtime_ns=None))
    assert done.mtime_ns == (dest / "a").stat().st_mtime_ns == 1_400_000_000_000_000_000


def test_directories_are_told_once(copier: Copier) -> None:
    assert copier.copy(job("a/b/c/1", b"")).created == ("a", "a/b", "a/b/c")
    assert copier.copy(job("a/b/c/2", b"")).created == ()
    assert copier.copy(job("a/d/1", b"")).created == ("a/d",)
    assert copier.copy(job("1", b"")).created == ()
    assert copier.copy(job("a/b/c/3", b"")).created == ()


def test_hostile_names(copier: Copier, dest: Path, source: Path) -> None:
    longest = b"n" * 255
    names = [longest, *HOSTILE_NAMES] if os.name == "posix" else HOSTILE_NAMES
    if not module.RELATIVE:
        # They mean something else where paths are all there is.
        names = [n for n in names if b"\\" not in n and b":" not in n]
    for number, raw in enumerate(names):
        path = raw.decode("utf-8", "surrogateescape")
        (source / "o").write_bytes(raw)
        assert copier.copy(job(path, (source, "o"), number=number)).status == "ok"
    for raw in names:
        with open(os.path.join(os.fsencode(dest), raw), "rb") as file:
            assert file.read() == raw


# Sources that are not what they should be


@pytest.mark.parametrize("size", [10, BIG])
def test_content_that_is_not_what_the_key_says(
    copier: Copier, dest: Path, source: Path, size: int
) -> None:
    (source / "o").write_bytes(b"x" * size)
    wrong = sha256(b"y" * size)
    corrupt = ("corrupt", "", "source")
    for verify in (True, False):
        assert failed(copier.copy(job("a", (source, "o"), size=1, verify=verify))) == corrupt
        assert failed(copier.copy(job("a", b"x" * size, size=1, verify=verify))) == corrupt
    assert failed(copier.copy(job("a", (source, "o"), size=size, digest=wrong))) == corrupt
    assert failed(copier.copy(job("a", b"x" * size, digest=wrong))) == corrupt
    assert tree(dest) == {}
    # Who did not ask to verify gets it.
    assert copier.copy(job("a", (source, "o"), digest=wrong, verify=False)).status == "ok"


@needs_symlinks
@needs_posix
def test_what_is_no_regular_file(copier: Copier, dest: Path, source: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (source / "link").symlink_to(tmp_path / "secret")
    (source / "up").symlink_to("..")
    (source / "d").mkdir()
    os.mkfifo(source / "fifo")
    expected = {
        "none": ("gone", "ENOENT"),
        "none/none": ("gone", "ENOENT"),
        "../secret": ("gone", "ENOENT"),
        "link": ("error", "ELOOP"),
        "up/secret": ("error", "ELOOP"),
        "d": ("error", "EISDIR"),
        "fifo": ("error", "ENXIO"),
    }
    if not module.RELATIVE:
        pytest.skip("what is told is tested with open_beneath")
    for path, (status, number) in expected.items():
        assert failed(copier.copy(job("a", (source, path)))) == (status, number, "source"), path
    done = copier.copy(job("a", (source / "nowhere", "o")))
    assert failed(done) == ("gone", "ENOENT", "source")
    assert tree(dest) == {}


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("known", [True, False])
def test_a_source_that_becomes_shorter_meanwhile(
    copier: Copier, dest: Path, source: Path, written: Written, known: bool, verify: bool
) -> None:
    size = 4 * module._PIECE
    _sparse(source / "o", size)
    _without_clones(copier)
    written.then = lambda: os.truncate(source / "o", size // 2)
    digest = "0" * 64 if known else None
    done = copier.copy(job("a", (source, "o"), size=size, digest=digest, verify=verify))
    assert failed(done) == ("corrupt", "", "source")
    assert tree(dest) == {}


@pytest.mark.parametrize("change", ["longer", "other", "gone"])
def test_a_source_that_changes_meanwhile(
    copier: Copier, dest: Path, source: Path, written: Written, change: str
) -> None:
    size = 4 * module._BLOCK + module._WHOLE
    (source / "o").write_bytes(b"x" * size)

    def happen() -> None:
        if change == "gone":
            (source / "o").unlink()
            return
        with (source / "o").open("r+b") as file:
            file.seek(size if change == "longer" else size - 1)
            file.write(b"y")

    written.then = happen
    done = copier.copy(job("a", (source, "o")))
    if change == "gone":
        # It was open already, and is complete.
        assert (dest / "a").read_bytes() == b"x" * size
    else:
        assert failed(done) == ("corrupt", "", "source")
        assert tree(dest) == {}


@needs_posix
def test_a_link_in_the_place_of_the_source_is_never_read(
    copier: Copier, source: Path, dest: Path
) -> None:
    """Swapped all the time: what is copied is the file, or nothing."""
    secret = source.parent / "secret"
    secret.write_bytes(b"S" * 100)
    stop = threading.Event()

    def swap() -> None:
        while not stop.is_set():
            (source / "new").symlink_to(secret)
            os.replace(source / "new", source / "o")
            (source / "new").write_bytes(b"f" * 100)
            os.replace(source / "new", source / "o")

    (source / "o").write_bytes(b"f" * 100)
    swapping = threading.Thread(target=swap)
    swapping.start()
    try:
        statuses = {copier.copy(job(str(n), (source, "o"), number=n)).status for n in range(2000)}
    finally:
        stop.set()
        swapping.join()
    if module.RELATIVE:
        assert statuses == {"ok", "error"}
        assert {p.read_bytes() for p in dest.iterdir()} == {b"f" * 100}


# What stands at the final name


def put(file: Path, content: bytes) -> tuple[int, int]:
    file.write_bytes(content)
    os.utime(file, ns=(MTIME, MTIME - 100))
    found = file.stat()
    return found.st_size, found.st_mtime_ns


@pytest.mark.parametrize("size", [10, BIG])
def test_only_what_is_known_is_replaced(
    copier: Copier, dest: Path, source: Path, size: int, written: Written
) -> None:
    (source / "o").write_bytes(b"n" * size)
    standing = put(dest / "a", b"old")
    for known in (None, (standing[0], standing[1] + 1000), (standing[0] + 1, standing[1])):
        done = copier.copy(job("a", (source, "o"), standing=known))
        assert failed(done) == ("foreign", "", "target")
    assert tree(dest) == {"a": b"old"}
    if size == BIG:
        # Told before gigabytes are copied
        assert written.bytes == 0
    assert copier.copy(job("a", (source, "o"), standing=standing)).status == "ok"
    assert tree(dest) == {"a": b"n" * size}


def test_what_was_there_and_is_gone_is_written(copier: Copier, dest: Path) -> None:
    assert copier.copy(job("a", b"new", standing=(1, 1))).status == "ok"
    assert copier.copy(job("b", b"new", unlisted=True)).status == "ok"
    assert copier.copy(job("c", b"new", force=True)).status == "ok"
    assert tree(dest) == dict.fromkeys("abc", b"new")


def test_force_replaces_a_file(copier: Copier, dest: Path) -> None:
    put(dest / "a", b"theirs")
    assert copier.copy(job("a", b"new", force=True)).status == "ok"
    assert tree(dest) == {"a": b"new"}


@pytest.mark.parametrize("size", [10, BIG])
@pytest.mark.parametrize("known", [True, False])
def test_a_file_that_comes_or_changes_meanwhile_stays(
    copier: Copier, dest: Path, source: Path, written: Written, size: int, known: bool
) -> None:
    (source / "o").write_bytes(b"n" * size)
    standing = put(dest / "a", b"old") if known else None
    written.then = lambda: put(dest / "a", b"theirs") and None
    done = copier.copy(job("a", (source, "o"), standing=standing))
    assert failed(done) == ("foreign", "", "target")
    assert tree(dest) == {"a": b"theirs"}


@needs_symlinks
@needs_posix
@pytest.mark.parametrize("size", [10, BIG])
@pytest.mark.parametrize("unlisted", [True, False])
def test_what_is_no_regular_file_at_the_target(
    copier: Copier, dest: Path, source: Path, tmp_path: Path, size: int, unlisted: bool
) -> None:
    (source / "o").write_bytes(b"n" * size)
    victim = tmp_path / "victim"
    victim.write_bytes(b"n" * size)
    (dest / "link").symlink_to(victim)
    (dest / "directory").mkdir()
    os.mkfifo(dest / "fifo")
    for name, number in [("link", "ELOOP"), ("directory", "EISDIR"), ("fifo", "EEXIST")]:
        for force in (False, True):
            plain = job(name, (source, "o"), unlisted=unlisted, force=force)
            for asked in (plain, plain._replace(standing=(size, MTIME))):
                done = copier.copy(asked)
                if force and name == "link":
                    assert done.status in ("ok", "kept")
                    continue
                assert failed(done) == ("foreign", number, "target")
    assert not (dest / "link").is_symlink()
    victim.write_bytes(b"seen")
    assert tree(dest) == {"link": b"n" * size, "directory": None, "fifo": None}


@pytest.mark.parametrize("kind", ["content", "small", "large"])
@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("verify", [True, False])
def test_a_complete_file_that_no_manifest_lists_is_kept(
    copier: Copier, dest: Path, source: Path, kind: str, known: bool, verify: bool
) -> None:
    content = os.urandom(BIG if kind == "large" else 100)
    (source / "o").write_bytes(content)
    asked = job(
        "a",
        content if kind == "content" else (source, "o"),
        digest=sha256(content) if known else None,
        unlisted=True,
        verify=verify,
    )
    standing = put(dest / "a", content)
    inode = (dest / "a").stat().st_ino
    done = copier.copy(asked)
    assert done == Done(7, "kept", *standing, sha256(content), 0, "", ())
    assert (dest / "a").stat().st_ino == inode
    # What differs in the last byte only is not complete.
    for theirs in (content[:-1] + bytes([content[-1] ^ 1]), content[:-1], content + b"x"):
        standing = put(dest / "a", theirs)
        # Nor is it replaced, unless it is the very file that may be.
        for known_as in (None, (standing[0], standing[1] + 1), (standing[0] + 1, standing[1])):
            done = copier.copy(asked._replace(standing=known_as))
            assert failed(done) == ("foreign", "", "target")
        assert tree(dest) == {"a": theirs}
        assert copier.copy(asked._replace(standing=standing)).status == "ok"
        assert tree(dest) == {"a": content}
    put(dest / "a", b"theirs")
    assert copier.copy(asked._replace(force=True)).status == "ok"
    assert tree(dest) == {"a": content}


def test_a_source_that_is_gone_under_a_file_that_no_manifest_lists(
    copier: Copier, dest: Path, source: Path
) -> None:
    put(dest / "a", b"x")
    asked = job("a", (source, "o"), unlisted=True)
    assert failed(copier.copy(asked)) == ("gone", "ENOENT", "source")
    # With a checksum the source is not needed.
    assert copier.copy(asked._replace(digest=sha256(b"x"))).status == "kept"


# Targets that lead elsewhere


@needs_symlinks
def test_a_link_in_the_destination_leads_nowhere(
    copier: Copier, dest: Path, tmp_path: Path
) -> None:
    outside = tmp_path / "outside"
    (outside / "e").mkdir(parents=True)
    (dest / "out").symlink_to(outside)
    (dest / "in").mkdir()
    (dest / "again").symlink_to("in")
    (dest / "nowhere").symlink_to(tmp_path / "new")
    (dest / "file").write_bytes(b"f")
    for directory, number in [
        ("out", "ELOOP"), ("out/e", "ELOOP"), ("again", "ELOOP"), ("nowhere", "ELOOP"),
        ("file", "ENOTDIR"), ("file/x", "ENOTDIR"),
    ]:  # fmt: skip
        for force in (False, True):
            done = copier.copy(job(f"{directory}/a", b"x", force=force))
            assert failed(done) == ("error", number, "target"), directory
    assert tree(outside) == {"e": None}
    assert not (tmp_path / "new").exists()
    assert copier.copy(job("in/a", b"x")).status == "ok"


@pytest.mark.parametrize(
    "path",
    ["", "/a", "a/", "a//b", "./a", "a/.", "../a", "a/../b", "..", ".", "a\0b", "a\0/b", "\ud800"],
)
def test_paths_that_are_none(copier: Copier, dest: Path, path: str) -> None:
    done = copier.copy(job(path, b"x"))
    assert failed(done) == ("error", "EINVAL", "target")
    assert [p for p in dest.parent.rglob("*") if p.is_file()] == []
    # The next one is not troubled.
    assert copier.copy(job("z/z", b"x")).status == "ok"


def test_an_algorithm_that_there_is_not(copier: Copier) -> None:
    assert failed(copier.copy(job("a", b"", algorithm="skein"))) == ("error", "EINVAL", "target")


@pytest.mark.skipif(module._renameat2 is None, reason="needs to exchange a file and a link")
def test_a_directory_swapped_for_a_link_all_the_time(
    dest: Path, tmp_path: Path, written: Written
) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (dest / "d").mkdir()
    (dest / "link").symlink_to(outside)
    stop = threading.Event()
    fd = os.open(dest, os.O_RDONLY)

    def swap() -> None:
        assert module._renameat2 is not None
        while not stop.is_set():
            assert module._renameat2(fd, b"d", fd, b"link", 2) == 0  # RENAME_EXCHANGE

    copier = Copier(fd, module.TEMPORARY, written)
    swapping = threading.Thread(target=swap)
    swapping.start()
    refused = 0
    try:
        for number in range(4000):
            # another directory in between, so that it is opened each time
            copier.copy(job("other/a", b"x", number=number, force=True))
            done = copier.copy(job(f"d/{number}", b"x", number=number))
            refused += (done.status, done.errno) == ("error", errno.ELOOP)
    finally:
        stop.set()
        swapping.join()
        copier.close()
        os.close(fd)
    assert list(outside.iterdir()) == []
    assert refused


# Failures of the system


def _sparse(file: Path, size: int) -> None:
    with file.open("wb") as opened:
        opened.truncate(size)


def _without_clones(copier: Copier) -> None:
    """See to it that bytes are copied, also where the file system could share them."""

    class All:
        def __contains__(self, _: object) -> bool:
            return True

    copier._no_clone = All()  # type: ignore[assignment]


def test_it_stops_in_the_middle_of_a_file(
    copier: Copier, dest: Path, source: Path, written: Written
) -> None:
    _sparse(source / "o", 64 * module._BLOCK)

    def stop() -> None:
        copier.stopping = True

    for verify in (True, False):
        copier.stopping = False
        _without_clones(copier)
        written.then = stop
        with pytest.raises(Stopped):
            copier.copy(job("a", (source, "o"), digest="0" * 64, verify=verify))
    copier.stopping = True
    put(dest / "a", b"x")
    with pytest.raises(Stopped):
        copier.copy(job("b", b"x"))
    assert tree(dest) == {"a": b"x"}


_SCRIPT = """
import errno, os, sys
from datalad_bidsshare.export.copier import Copier
from datalad_bidsshare.export.jobs import Job
dest, source = sys.argv[1:3]
copier = Copier(os.open(dest, os.O_RDONLY), ".bidsshare-tmp-", lambda _: None)
def copy(path, source, **changes):
    job = Job(1, path, source, None, "sha256", None, False, 1, None, False, False, True)
    done = copier.copy(job._replace(**changes))
    print(done.status, errno.errorcode.get(done.errno, "-"), done.where or "-", *done.created)
    return done
"""


def script(text: str, dest: Path, source: Path, *launcher: str) -> list[str]:
    """Let a program copy that runs in a world of its own, and give what it says."""
    code = _SCRIPT + textwrap.dedent(text)
    done = subprocess.run(
        [*launcher, sys.executable, "-c", code, str(dest), str(source)],
        capture_output=True, text=True, check=False, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.skipif(not module.RELATIVE, reason="needs modes of files")
def test_what_may_not_be_read_or_written(dest: Path, source: Path) -> None:
    for name in ("open", "closed"):
        (source / name).write_bytes(b"x" * BIG)
    (source / "closed").chmod(0)
    (dest / "closed").mkdir()
    (dest / "unreadable").write_bytes(b"x")
    (dest / "unreadable").chmod(0)
    (dest / "closed").chmod(0o555)
    launcher: tuple[str, ...] = ()
    if ROOT:
        if not shutil.which("setpriv"):
            pytest.skip("as root this needs setpriv")
        launcher = ("setpriv", "--bounding-set", "-dac_override,-dac_read_search", "--")
    said = script(
        """
        copy("a/b", (source, "closed"))
        copy("closed/b", (source, "open"))
        copy("closed/b/c", (source, "open"))
        copy("unreadable", (source, "open"), digest="0", size=1, unlisted=True)
        copy("a/c", (source, "open"))
        """,
        dest, source, *launcher,
    )  # fmt: skip
    assert said == [
        "error EACCES source a",
        "error EACCES target",
        "error EACCES target",
        "error EACCES target",
        "ok - -",
    ]
    (dest / "closed").chmod(0o755)
    assert set(tree(dest)) == {"a", "a/c", "closed", "unreadable"}


needs_mount = pytest.mark.skipif(
    not ROOT or not shutil.which("unshare"), reason="mounting takes root and unshare"
)


def mounted(options: str, dest: Path) -> tuple[str, ...]:
    """Give what starts a program for which a new file system is mounted at a directory."""
    mount = f'mount -t tmpfs -o {options} tmpfs "$0" && exec "$@"'
    return ("unshare", "-m", "sh", "-c", mount, str(dest))


@needs_mount
def test_no_space(dest: Path, source: Path) -> None:
    for size in (1000, 300_000, BIG):
        (source / str(size)).write_bytes(os.urandom(size))
    said = script(
        f"""
        copy("full/0", (source, "300000"))
        copy("full/1", (source, "300000"))
        copy("full/2", (source, "{BIG}"))
        copy("full/3", (source, "{BIG}"), digest="0", verify=False)
        copy("full/4", bytes(250000))
        copy("full/5", (source, "1000"))
        print(sorted(os.listdir(dest + "/full")), os.path.getsize(dest + "/full/0"))
        """,
        dest, source, *mounted("size=512k", dest),
    )  # fmt: skip
    full = "error ENOSPC target"
    assert said == ["ok - - full", full, full, full, full, "ok - -", "['0', '5'] 300000"]


@needs_mount
def test_no_space_for_names(dest: Path, source: Path) -> None:
    said = script(
        """
        copy("a", b"x")
        copy("d/b", b"x")
        copy("d/e/c", b"x")
        print(sorted(os.listdir(dest)))
        """,
        dest, source, *mounted("nr_inodes=3", dest),
    )  # fmt: skip
    assert said == ["ok - -", "error ENOSPC target d", "error ENOSPC target", "['a', 'd']"]


@needs_mount
def test_a_file_system_that_is_read_only(dest: Path, source: Path) -> None:
    said = script('copy("a", b"x"); copy("d/a", b"x")', dest, source, *mounted("ro", dest))
    assert said == ["error EROFS target", "error EROFS target"]


@needs_mount
def test_another_file_system_beneath(dest: Path, source: Path) -> None:
    """Also where the source is on another one than the target."""
    (source / "o").write_bytes(os.urandom(BIG))
    (dest / "mount").mkdir()
    digest = sha256((source / "o").read_bytes())
    said = script(
        f"""
        for verify in (True, False):
            copy(f"mount/{{verify}}", (source, "o"), digest="{digest}", verify=verify)
            got = open(f"{{dest}}/mount/{{verify}}", "rb").read()
            print(got == open(f"{{source}}/o", "rb").read())
        """,
        dest, source, *mounted("size=64m", dest / "mount"),
    )  # fmt: skip
    assert said == ["ok - -", "True", "ok - -", "True"]


needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")


@needs_strace
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("read:error=EIO", "error EIO source"),
        ("write:error=EIO", "error EIO target"),
        ("utimensat:error=EPERM", "error EPERM target"),
        ("fsync,close:error=EDQUOT", "error EDQUOT target"),
        ("renameat2,renameat:error=EACCES", "error EACCES target"),
        ("renameat2:error=EINVAL", "ok - -"),
        ("openat2:error=EACCES", "error EACCES source"),
        ("openat2:error=ENOSYS", "ok - -"),
    ],
)
def test_faults_of_single_system_calls(dest: Path, source: Path, fault: str, said: str) -> None:
    """Injected for what lies in our directories alone, not for what Python itself does."""
    (source / "small").write_bytes(b"x")
    (source / "large").write_bytes(os.urandom(BIG))
    calls = fault.partition(":")[0]
    for name in ("small", "large"):
        ours = (source / name, dest, dest / ".bidsshare-tmp-1")
        # Nobody else calls openat2, and strace does not see which file it is about.
        paths = [] if calls == "openat2" else [o for path in ours for o in ("-P", str(path))]
        launcher = ("strace", "-f", "-qq", "-o", os.devnull, *paths, "-e", f"trace={calls}")
        copies = f'copy("{name}", (source, "{name}"))'
        assert script(copies, dest, source, *launcher, "-e", f"inject={fault}") == [said], name
        assert tree(dest) == ({name: (source / name).read_bytes()} if "ok" in said else {})
        for file in dest.iterdir():
            file.unlink()


# The process


def test_it_starts_with_the_standard_library_alone() -> None:
    """It has to start at once, and does not see site-packages at all."""
    code = (
        "import sys; sys.path.append(sys.argv[1]); import datalad_bidsshare.export.worker; "
        "print(*sorted(m for m in sys.modules if m.startswith('datalad')))"
    )
    package = Path(module.__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code, str(package)],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == [
        "datalad_bidsshare",
        "datalad_bidsshare.dataset",
        "datalad_bidsshare.dataset.beneath",
        "datalad_bidsshare.dataset.checksums",
        "datalad_bidsshare.disk",
        "datalad_bidsshare.disk.frames",
        "datalad_bidsshare.export",
        "datalad_bidsshare.export.copier",
        "datalad_bidsshare.export.jobs",
        "datalad_bidsshare.export.worker",
    ]
