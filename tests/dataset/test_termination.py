"""Ending processes with all they started."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from datalad_bidsshare.dataset import termination
from tests.dataset.builders import wait_for
from tests.platforms import needs_posix

pytestmark = needs_posix

# Starts a grandchild in a session of its own; both may refuse to end when asked.
_PARENT = """
trap '{trap}' TERM
setsid sh -c "trap '{trap}' TERM; echo \\$\\$ > '{file}'; while :; do sleep 0.1; done" &
while :; do sleep 0.1; done
"""


@pytest.fixture(params=["proc", "ps"])
def _table(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "ps":
        if shutil.which("ps") is None:
            pytest.skip("needs ps")
        monkeypatch.setattr(termination, "_PROC", Path("/nonexistent"))
    elif not Path("/proc/self/stat").exists():
        pytest.skip("needs /proc")


@pytest.mark.usefixtures("_table")
@pytest.mark.parametrize("trap", ["exit 0", ":"])
def test_ends_all_also_those_that_refuse(tmp_path: Path, trap: str) -> None:
    file = tmp_path / "pid"
    process = subprocess.Popen(
        ["sh", "-c", _PARENT.format(trap=trap, file=file)], stdout=subprocess.PIPE
    )
    wait_for(lambda: file.exists() and file.read_text().strip())
    grandchild = int(file.read_text())
    assert grandchild in termination._process_table()
    termination.end_tree(process, grace=1.0)
    assert process.returncode is not None
    wait_for(lambda: grandchild not in termination._process_table())


@pytest.mark.usefixtures("_table")
def test_a_process_that_has_ended_already() -> None:
    process = subprocess.Popen(["true"], stdout=subprocess.PIPE)
    process.wait()
    termination.end_tree(process)
    assert process.returncode == 0
