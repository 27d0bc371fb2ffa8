"""What starting up costs: nothing heavy is imported before a command needs it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import datalad_bidsshare
from datalad_bidsshare.selection.vocabulary import vocabulary

HEAVY = ("bids", "bidsschematools", "pandas", "numpy", "datalad.api", "nibabel")
ROOT = Path(datalad_bidsshare.__file__).parent


def modules_after(code: str) -> set[str]:
    """Run Python code in a process of its own and give what it imported."""
    done = subprocess.run(
        [sys.executable, "-c", f"import atexit, sys\n"
         f"atexit.register(lambda: print(*sys.modules, sep='\\n', file=sys.stderr))\n{code}"],
        capture_output=True, text=True, check=False, cwd=ROOT.parent,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return set(done.stderr.split())


def command_line(*args: str) -> str:
    return f"sys.argv = ['datalad', *{args!r}]\nfrom datalad.cli.main import main\nsys.exit(main())"


COMMANDS = [(module, name) for module, _, name, _ in datalad_bidsshare.command_suite[1]]


@pytest.mark.parametrize(("module", "name"), COMMANDS)
def test_help_imports_nothing_heavy(module: str, name: str) -> None:
    imported = modules_after(command_line(name, "--help-np"))
    assert module in imported
    assert imported.isdisjoint(HEAVY)
    ours = {m for m in imported if m.startswith("datalad_bidsshare")}
    # the command and its parameters, and none of the rooms behind them
    assert ours == {
        "datalad_bidsshare", module, "datalad_bidsshare.selection",
        "datalad_bidsshare.selection.params",
    }  # fmt: skip


def test_the_list_of_commands_does_not_import_them() -> None:
    imported = modules_after(command_line("--help-np"))
    assert "datalad_bidsshare" in imported
    assert imported.isdisjoint(HEAVY)


def test_datalad_lists_the_suite() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys\n" + command_line("--help-np")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    listed = done.stdout.split("*Sharing BIDS data*", 1)[1]
    for _, _, name, _ in datalad_bidsshare.command_suite[1]:
        assert f"\n  {name}\n" in listed
    assert "Get the BIDS files that entities select" in listed
    assert "Copy files of a dataset" in listed


def test_selection_is_a_library_without_datalad() -> None:
    rooms = "select, names, filters, filter_files, globs, companions, links, tables, where"
    imported = modules_after(f"from datalad_bidsshare.selection import {rooms}")
    assert not {m for m in imported if m.split(".")[0] in ("datalad", *HEAVY)}
    assert not {m for m in imported if m.startswith("datalad_bidsshare.dataset")}


def test_selecting_imports_nothing_heavy_either() -> None:
    imported = modules_after(
        "from datalad_bidsshare.selection.grammar import build_selection\n"
        "from datalad_bidsshare.selection.select import Selector\n"
        "names = ['sub-01/anat/sub-01_T1w.nii', 'README']\n"
        "assert list(Selector(build_selection({'suffix': 'T1w'})).select(names)) == names[:1]"
    )
    assert not {m for m in imported if m.split(".")[0] in ("datalad", *HEAVY)}


@pytest.mark.parametrize("name", ["selection", "dataset"])
def test_the_rooms_do_not_know_what_is_behind_them(name: str) -> None:
    """Imports point one way, those inside functions too."""
    forbidden = {
        "selection": ("dataset", "plan", "fetch", "report"),
        "dataset": ("selection", "plan", "fetch", "report"),
    }[name]
    for file in (ROOT / name).glob("*.py"):
        text = file.read_text()
        for other in forbidden:
            assert f"datalad_bidsshare.{other}" not in text, file
            assert f"from ..{other}" not in text, file


def test_the_help_is_complete_and_readable() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import sys\n" + command_line("bids-get", "--help-np")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    text = done.stdout
    for option in (
        "--subject", "--sub", "--session", "--ses", "--datatype", "--task", "--run", "--suffix",
        "--extension", "--ext", "--space", "--desc", "-e", "--entity", "--where", "--filter-file",
        "--filter-query", "--exclude", "--companions", "-r", "-R", "-J", "--from", "--dry-run",
        "-d",
    ):  # fmt: skip
        assert f" {option} " in text or f" {option}," in text or f"[{option}" in text, option
    assert "% datalad bids-get --sub 01,02 " in text
    # what is for programmers, or only about Python, has no place here
    for noise in ("[PY:", "[CMD:", "``", "EnsureStr", "value must be a string"):
        assert noise not in text, noise
    assert "reserved" not in text
    assert max(map(len, text.splitlines())) <= 95
    assert vocabulary().canonical("acq") == "acquisition"  # as the help's example has it
