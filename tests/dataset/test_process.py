"""Processes of git that are left half-way."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.process import run, start
from tests.dataset.builders import PATIENCE, git
from tests.platforms import needs_posix

# How a generator can still be there when Python ends.
LEFT = {
    "global": "kept = left(); next(kept)",
    "cycle": "kept = [left()]; kept.append(kept); next(kept[0]); del kept",
    "exception": """
        def consumer():
            mine = left()
            for n, _ in enumerate(mine):
                if n == 3:
                    raise KeyError(n)
        try:
            consumer()
        except KeyError as e:
            kept = e
        """,
    "thread": """
        import threading
        kept = left()
        t = threading.Thread(target=lambda: next(kept))
        t.start(); t.join()
        """,
}
GENERATORS = {
    # more than the pipes hold is asked and not yet answered, or answered and not yet read
    "describe": "describe(root, list(read_index(root).entries()) * 2000)",
    "read_blobs": "read_blobs(root, [e.oid for e in read_index(root).entries()] * 2000, 10**6)",
    "stream_paths": "stream_paths(root)",
}


@pytest.mark.parametrize("generator", GENERATORS)
@pytest.mark.parametrize("how", LEFT)
def test_a_generator_that_is_left_when_python_ends(
    tmp_path: Path, generator: str, how: str
) -> None:
    git(tmp_path, "init", "-q")
    for name in "abcd":
        (tmp_path / f"{name}.json").write_text(name * 30_000)
    git(tmp_path, "add", "-A")
    code = (
        "import sys; from pathlib import Path\n"
        "from datalad_bidsshare.dataset.blobs import describe, read_blobs\n"
        "from datalad_bidsshare.dataset.listing import read_index, stream_paths\n"
        "root = Path(sys.argv[1])\n"
        f"def left():\n    yield from {GENERATORS[generator]}\n    yield from 'more'\n"
        f"{textwrap.dedent(LEFT[how])}\n"
    )
    for _ in range(4):
        done = subprocess.run(
            [sys.executable, "-c", code, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@needs_posix
def test_more_words_than_a_pipe_holds_and_more_questions(tmp_path: Path) -> None:
    script = 'head -c 300000 /dev/zero | tr "\\0" x >&2; wc -c; exit 3'
    with (
        pytest.raises(DatasetError, match=r"exit code 3\): x{300000}"),
        start(["sh", "-c", script], tmp_path, stdin=True) as running,
    ):
        for _ in range(5):
            running.ask(b"q" * 1_000_000)
        running.ask_no_more()
        assert int(running.stdout.read()) == 5_000_000


@needs_posix
def test_a_process_that_does_not_listen(tmp_path: Path) -> None:
    with start(["sh", "-c", "exec <&-; echo deaf"], tmp_path, stdin=True) as running:
        running.ask(b"q" * 1_000_000)
        assert running.stdout.read() == b"deaf\n"


@needs_posix
def test_something_that_keeps_the_pipe_of_a_process_that_has_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("datalad_bidsshare.dataset.process._PATIENCE", 3.0)
    # ends when this test removes the file, and on its own at the latest in two minutes
    keeper = (
        "i=0; while [ -e held ] && [ $i -lt 1200 ]; do sleep 0.1; i=$((i+1)); done; echo > gone"
    )
    (tmp_path / "held").touch()
    script = f"({keeper}) </dev/null >/dev/null & echo last words >&2; exit 1"
    try:
        with pytest.raises(DatasetError, match="last words"):
            run(["sh", "-c", script], tmp_path)
        # we are here, and it still has the pipe
        assert not (tmp_path / "gone").exists()
    finally:
        (tmp_path / "held").unlink()
