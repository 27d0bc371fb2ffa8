"""What has to agree between the files around the package."""

from __future__ import annotations

import configparser
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import datalad_bidsshare

ROOT = Path(__file__).parent.parent
COMMANDS = datalad_bidsshare.command_suite[1]

pytestmark = pytest.mark.skipif(
    not (ROOT / ".ci").is_dir(), reason="not a checkout: the project's own files are not here"
)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def readme_commands() -> list[str]:
    """Give the two commands of the section "Try it"."""
    section = text("README.md").split("## Try it", 1)[1]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1].splitlines()


@pytest.mark.parametrize(
    "name",
    [
        ".ci/run",
        ".noannex",
        ".pre-commit-config.yaml",
        "CHANGELOG.md",
        "CITATION.cff",
        "CONTRIBUTING.md",
        "LICENSE",
        "README.md",
        "benchmarks",
        "changelog.d",
        "docs/conf.py",
        "pyproject.toml",
        "setup.cfg",
    ],
)
def test_the_project_has(name: str) -> None:
    assert (ROOT / name).exists()


def test_the_readme_has_two_commands_which_exist() -> None:
    commands = readme_commands()
    assert len(commands) == 2
    for command in commands:
        shell, script = command.split()
        assert shell == "sh"
        assert (ROOT / script).is_file()


def test_ci_runs_the_commands_of_the_readme() -> None:
    lines = [line.strip() for line in text(".ci/run").splitlines()]
    for command in readme_commands():
        assert command in lines


def test_workflows_run_the_commands_of_ci() -> None:
    workflows = "".join(p.read_text() for p in (ROOT / ".github/workflows").glob("*.yml"))
    assert "bash .ci/run" in workflows
    test_command = readme_commands()[1]
    assert f"run: {test_command}\n" in workflows


@pytest.mark.parametrize("script", ["tools/demo.sh", "tools/test.sh", "tools/environment.sh"])
def test_scripts_are_valid_for_a_plain_shell(script: str) -> None:
    done = subprocess.run(["sh", "-n", ROOT / script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs a POSIX shell on PATH")
@pytest.mark.parametrize("script", ["tools/demo.sh", "tools/test.sh"])
def test_scripts_say_what_is_missing(script: str, tmp_path: Path) -> None:
    fake = tmp_path / "python3.6"
    fake.write_text("#!/bin/sh\ncase $1 in -V) echo Python 3.6.9;; *) exit 1;; esac\n")
    fake.chmod(0o755)
    for python, said in [(str(fake), "Python 3.10 or newer"), ("no-such-python", "was not found")]:
        done = subprocess.run(
            ["sh", ROOT / script],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin", "PYTHON": python},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert said in done.stderr
        assert len(done.stderr.splitlines()) == 1


def test_one_version() -> None:
    version = datalad_bidsshare.__version__
    assert re.search(rf"^version: {re.escape(version)}$", text("CITATION.cff"), re.MULTILINE)
    config = configparser.ConfigParser()
    config.read_string(text("setup.cfg"))
    assert config["metadata"]["version"] == "attr: datalad_bidsshare.__version__"


def test_the_oldest_job_installs_the_lower_bounds() -> None:
    config = configparser.ConfigParser()
    config.read_string(text("setup.cfg"))
    bounds = dict(
        re.split(r"\s*>=\s*", line)
        for line in config["options"]["install_requires"].splitlines()
        if line
    )
    pins = dict(line.split("==") for line in text(".ci/oldest.txt").splitlines() if "==" in line)
    assert bounds.keys() == pins.keys(), "every bound has a pin"
    for name, bound in bounds.items():
        assert f"{pins[name]}.".startswith(f"{bound}."), name


def test_python_versions_agree() -> None:
    config = configparser.ConfigParser()
    config.read_string(text("setup.cfg"))
    declared = re.findall(r"Python :: (3\.\d+)$", config["metadata"]["classifiers"], re.MULTILINE)
    matrix = re.search(r"python: \[(.*)\]", text(".github/workflows/test.yml"))
    assert matrix
    assert re.findall(r"3\.\d+", matrix[1]) == declared
    assert config["options"]["python_requires"] == f">= {declared[0]}"


def test_there_is_something_to_say_in_the_changelog() -> None:
    fragments = list((ROOT / "changelog.d").glob("*.md"))
    released = f"## {datalad_bidsshare.__version__} " in text("CHANGELOG.md")
    assert fragments or released


@pytest.mark.parametrize("spec", COMMANDS, ids=lambda spec: spec[2])
def test_every_command_is_in_the_readme(spec: tuple[str, str, str, str]) -> None:
    _, _, shell_name, python_name = spec
    section = re.search(rf"### `{shell_name}`.*?(?=\n##|\Z)", text("README.md"), re.DOTALL)
    assert section
    assert f"datalad {shell_name} " in section[0]
    assert f"dl.{python_name}(" in section[0]


@pytest.mark.parametrize("spec", COMMANDS, ids=lambda spec: spec[2])
def test_every_command_has_examples_for_shell_and_python(
    spec: tuple[str, str, str, str],
) -> None:
    module, name, shell_name, python_name = spec
    examples = getattr(importlib.import_module(module), name)._examples_
    assert examples
    for example in examples:
        assert example["text"]
        assert f"datalad {shell_name}" in example["code_cmd"]
        assert f"{python_name}(" in example["code_py"]


class TestCommandPages:
    """The generator of reference pages, without the rest of Sphinx."""

    @pytest.fixture
    def command_pages(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.syspath_prepend(str(ROOT / "docs" / "_ext"))
        return importlib.import_module("command_pages")

    def test_every_command_yields_a_page(self, command_pages) -> None:
        available = command_pages.parsers()
        for _, _, shell_name, _ in COMMANDS:
            page = command_pages.page(shell_name, available[shell_name])
            for section in ("Synopsis", "Description", "Examples", "Options"):
                assert f"\n{section}\n{'-' * len(section)}\n" in page
            assert f"$ datalad {shell_name}" in page
            for action in available[shell_name]._actions:
                for flag in action.option_strings:
                    assert f"``{flag}" in page

    def test_a_command_without_a_page_stops_the_build(
        self, command_pages, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        class App:
            srcdir = str(tmp_path)

        broken = ("no.such.module", "Missing", "bids-missing", "bids_missing")
        monkeypatch.setattr(
            datalad_bidsshare, "command_suite", ("Sharing BIDS data", [*COMMANDS, broken])
        )
        with pytest.raises(command_pages.MissingPageError, match="bids-missing"):
            command_pages.write_pages(App())
