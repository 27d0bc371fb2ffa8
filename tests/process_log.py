"""Counting processes: wrappers of git and git-annex, first on PATH, that log every start."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.platforms import POSIX

_WRAPPER = """#!/bin/sh
printf '%s\\n' "{name} $*" >> '{log}'
exec '{real}' "$@"
"""


class ProcessLog:
    """What was started since the last `clear`, one command a line."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def clear(self) -> None:
        """Forget what was started."""
        self._file.write_text("")

    def commands(self, program: str | None = None) -> list[str]:
        """Give the command lines, of one program ('git', 'git-annex') or of both."""
        lines = self._file.read_text(errors="replace").splitlines()
        return [
            line
            for line in lines
            if line.startswith(("git ", "git-annex "))
            and (program is None or line.split(" ", 1)[0] == program)
        ]

    def count(self, program: str | None = None) -> int:
        """Give how many processes were started."""
        return len(self.commands(program))


@pytest.fixture
def process_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessLog]:
    """Log every git and git-annex that this test starts, by us or by one another.

    Processes that git starts as parts of itself from its own directory are not seen.
    """
    if not POSIX:
        pytest.skip("needs a system that runs shell scripts as programs")
    log = tmp_path / "processes.log"
    log.touch()
    wrappers = tmp_path / "wrappers"
    wrappers.mkdir()
    for name in ("git", "git-annex"):
        real = shutil.which(name)
        assert real, f"{name} is not on PATH"
        wrapper = wrappers / name
        wrapper.write_text(_WRAPPER.format(name=name, log=log, real=real))
        wrapper.chmod(0o755)
    monkeypatch.setenv("PATH", f"{wrappers}{os.pathsep}{os.environ['PATH']}")
    yield ProcessLog(log)
