"""The entities that an installation knows, and what they may be called."""

from __future__ import annotations

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from datalad_bidsshare.selection import vocabulary as module
from datalad_bidsshare.selection.errors import SelectionError, UnknownEntityError, near_matches
from datalad_bidsshare.selection.vocabulary import load_schema, vocabulary


@pytest.mark.parametrize(
    ("canonical", "spellings"),
    [
        ("subject", ["subject", "sub"]),
        ("session", ["session", "ses"]),
        ("acquisition", ["acquisition", "acq"]),
        ("ceagent", ["ceagent", "ce"]),
        ("direction", ["direction", "dir"]),
        ("reconstruction", ["reconstruction", "rec"]),
        ("mt", ["mt", "mtransfer"]),
        ("hemi", ["hemi", "hemisphere"]),
        ("staining", ["staining", "stain"]),
        ("inv", ["inv", "inversion"]),
        ("proc", ["proc", "processing"]),
        ("res", ["res", "resolution"]),
        ("den", ["den", "density"]),
        ("desc", ["desc", "description"]),
        ("segmentation", ["segmentation", "seg"]),
        ("modality", ["modality", "mod"]),
        ("template", ["template", "tpl"]),
        ("cohort", ["cohort"]),
        ("split", ["split"]),
        ("scale", ["scale"]),
        ("extension", ["extension", "ext"]),
        ("suffix", ["suffix"]),
        ("datatype", ["datatype"]),
        ("from", ["from"]),
        ("roi", ["roi"]),
    ],
)
def test_every_family_of_names_is_understood(canonical: str, spellings: list[str]) -> None:
    assert [vocabulary().canonical(s) for s in spellings] == [canonical] * len(spellings)


def test_every_entity_of_the_schema_has_its_schema_name_and_its_key() -> None:
    for name, raw in load_schema()["objects"]["entities"].items():
        assert vocabulary().canonical(name) == vocabulary().canonical(raw["name"])
        entity = vocabulary().entities[vocabulary().canonical(name)]
        assert entity.key == raw["name"]


def test_index_entities_are_those_of_the_schema() -> None:
    found = {e.name for e in vocabulary().entities.values() if e.is_index}
    assert found == {"run", "echo", "flip", "inv", "chunk", "split"}


@pytest.mark.parametrize(
    ("mistyped", "near"),
    [
        ("aquisition", "acquisition"), ("subjects", "subject"), ("SUB", "sub"),
        ("sesion", "session"), ("hemispher", "hemisphere"), ("extention", "extension"),
    ],
)  # fmt: skip
def test_an_unknown_key_names_the_near_ones(mistyped: str, near: str) -> None:
    with pytest.raises(UnknownEntityError, match=rf"'{mistyped}'; did you mean .*\b{near}\b"):
        vocabulary().canonical(mistyped)


def test_a_key_like_no_other_points_to_the_docs() -> None:
    with pytest.raises(SelectionError, match="'xyzzy'; see the entity table"):
        vocabulary().canonical("xyzzy")


def test_near_matches_do_not_mind_case() -> None:
    assert near_matches("REST", ["rest", "nback"]) == ["rest"]
    assert near_matches("zzz", ["rest"]) == []


def test_datatypes_are_those_of_both() -> None:
    assert {"anat", "func", "emg", "phenotype", "micr"} <= vocabulary().datatypes


def test_directory_recordings_come_from_the_schema() -> None:
    assert set(vocabulary().recording_extensions) == {".ds", ".mefd", ".ome.zarr", ".zarr"}
    assert vocabulary().recording_suffixes["meg"] == {"meg"}


def test_a_datatype_pattern_of_a_new_form_is_noticed() -> None:
    with pytest.raises(ValueError, match="has a new form: nothing listed"):
        module._widen_datatypes("nothing listed", frozenset())


def test_a_missing_package_is_named() -> None:
    with pytest.raises(ModuleNotFoundError, match="'no_such_package' is not installed"):
        module._package_file("no_such_package", "x.json")


def test_patterns_compile_and_have_one_group() -> None:
    for entity in vocabulary().entities.values():
        assert re.compile(entity.pattern).groups == 1, entity


def test_neither_package_is_imported_to_be_read() -> None:
    code = (
        "import sys; from datalad_bidsshare.selection.vocabulary import vocabulary; vocabulary();"
        "print([m for m in ('bids', 'bidsschematools', 'datalad', 'pandas') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        cwd=Path(find_spec("datalad_bidsshare").origin).parent.parent,
    )  # fmt: skip
    assert done.stdout.strip() == "[]"
