"""What `datalad wtf` and `datalad configuration` say of this extension."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import datalad_bidsshare
from tests.cache.conftest import configured
from tests.platforms import POSIX
from tests.test_startup import command_line, modules_after

SECTION = "datalad-bidsshare"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where managed clones are. Nothing is there yet."""
    directory = tmp_path / "managed clones"
    monkeypatch.chdir(tmp_path)
    with configured(monkeypatch, directory):
        yield directory


def wtf(*args: str, load: bool = False) -> subprocess.CompletedProcess[str]:
    """Call `datalad wtf`.

    Parameters
    ----------
    *args
        Its arguments.
    load
        Whether DataLad is told to load the extension with each command.
    """
    environment = {**os.environ}
    if load:
        environment["DATALAD_EXTENSIONS_LOAD"] = "bidsshare"
    return subprocess.run(
        [sys.executable, "-c", f"import sys\n{command_line(*args)}"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip


def sections(*args: str, load: bool = False) -> dict[str, Any]:
    done = wtf("-f", "json", "wtf", *args, load=load)
    assert done.returncode == 0, done.stderr
    infos: dict[str, Any] = json.loads(done.stdout)["infos"]
    return infos


def test_the_report_has_a_section(cache: Path) -> None:
    done = wtf("wtf")
    assert done.returncode == 0, done.stderr
    assert f"\n## {SECTION} \n" in done.stdout
    assert f"\n  - version: {datalad_bidsshare.__version__}" in done.stdout
    assert "not found" not in done.stderr


@pytest.mark.parametrize("load", [False, True])
def test_all_sections_are_all(cache: Path, load: bool) -> None:
    infos = sections("-S", "*", load=load)
    assert infos.keys() >= {SECTION, "datalad", "extensions", "system"}
    assert "bidsshare" in infos["extensions"]


def test_the_section_alone_with_the_extension_loaded(cache: Path) -> None:
    assert sections("-S", SECTION, load=True).keys() == {SECTION}
    assert SECTION in wtf("wtf", "--help-np", load=True).stdout.replace("-\n", "-").replace(" ", "")


def test_other_sections_alone_are_alone(cache: Path) -> None:
    assert sections("-S", "extensions").keys() == {"extensions"}
    assert sections("-S", "python", load=True).keys() == {"python"}
    assert sections("--flavor", "short").keys() == {"datalad", "dependencies"}


def test_the_section_in_python(cache: Path) -> None:
    import datalad.api as dl

    (record,) = dl.wtf(sections=[SECTION], result_renderer="disabled")
    section = record["infos"][SECTION]
    assert section["version"] == datalad_bidsshare.__version__
    assert section["git-annex"][0].isdigit()
    assert section["inflate codec"] in ("isal", "zlib-ng", "zlib")
    (record,) = dl.wtf(result_renderer="disabled")
    assert SECTION in record["infos"]


def test_the_section_is_there_when_the_library_was_loaded_first() -> None:
    modules_after(
        "from datalad_bidsshare.selection import grammar\n"
        "assert 'datalad' not in sys.modules\n"
        "import datalad.api as dl\n"
        f"(record,) = dl.wtf(sections=['{SECTION}'], result_renderer='disabled')\n"
        f"assert record['infos'].keys() == {{'{SECTION}'}}"
    )


def test_other_commands_do_not_pay_for_the_report() -> None:
    ours = {"datalad_bidsshare.report.installation", "datalad_bidsshare.dataset.wtf"}
    assert modules_after(command_line("bids-get", "--help-np")).isdisjoint(
        {*ours, "datalad.local.wtf"}
    )


def test_looking_does_not_make_the_cache(cache: Path) -> None:
    described = sections()[SECTION]["cache"]
    assert described == {"directory": str(cache), "owner and mode": "not there yet"}
    assert not cache.exists()


@pytest.mark.skipif(not POSIX, reason="owner and mode are of POSIX systems")
def test_a_cache_that_others_can_write_to_is_named_and_not_read(cache: Path) -> None:
    cache.mkdir(mode=0o700)
    cache.chmod(0o777)
    described = sections()[SECTION]["cache"]
    assert described.keys() == {"directory", "owner and mode"}
    assert str(cache) in described["owner and mode"]
    assert "chmod" in described["owner and mode"]


def test_managed_clones_are_counted_and_their_urls_are_not_told(cache: Path, raw: Path) -> None:
    from datalad_bidsshare.cache.clones import use_clone
    from datalad_bidsshare.cache.urls import read_source

    with use_clone(read_source(str(raw))):
        pass
    section = sections()[SECTION]
    described = section["cache"]
    assert described.pop("git")[0].isdigit()
    assert described == {
        "directory": str(cache), "owner and mode": "ok", "clones": 1,
        "clones with problems": 0, "content": "0 B",
    }  # fmt: skip
    assert str(raw) not in json.dumps(section)


def test_the_configuration_is_known_with_its_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("DATALAD_BIDSSHARE_CACHE", raising=False)
    monkeypatch.setenv("DATALAD_LOCATIONS_CACHE", str(tmp_path))
    modules_after(
        "import datalad.api\n"
        "from datalad_bidsshare.cache.place import cache_directory\n"
        "from datalad.support.extensions import has_config\n"
        "assert has_config('datalad.bidsshare.cache')\n"
        "known = datalad.cfg.obtain('datalad.bidsshare.cache')\n"
        f"assert known == {str(tmp_path / 'bidsshare')!r}\n"
        "assert str(cache_directory()) == known"
    )
