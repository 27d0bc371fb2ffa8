"""dataset_description.json of a plain copy says so, and stays as it was otherwise."""

from __future__ import annotations

import gzip
import json
import shutil
import struct
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_bidsshare.export.description import NAME, describe_export
from datalad_bidsshare.export.tables import Exported, is_table, reduce_table
from datalad_bidsshare.selection.vocabulary import load_schema

URL = "https://example.org/ds"
DOI = "doi:10.18112/openneuro.ds000001.v1.0.0"
OURS = {
    "Name": NAME,
    "Version": "0.1",
    "Description": "Plain copy (export-plain) of the dataset at version v1-2-gabc",
}


def described(content: bytes, **changes: Any) -> bytes:
    told: dict[str, Any] = {
        "subset": False,
        "version": "v1-2-gabc",
        "url": None,
        "tool_version": "0.1",
    }
    return describe_export(content, **{**told, **changes})


def loaded(value: Any, **changes: Any) -> dict[str, Any]:
    content = value if isinstance(value, bytes) else json.dumps(value).encode()
    found: dict[str, Any] = json.loads(described(content, **changes).decode("utf-8-sig"))
    return found


# --- what is said ---


def test_what_is_added() -> None:
    given = {"Name": "x", "BIDSVersion": "1.9.0", "DatasetDOI": DOI, "DatasetType": "raw"}
    assert loaded(given, url=URL) == {
        **given,
        "GeneratedBy": [OURS],
        "SourceDatasets": [{"URL": URL, "Version": "v1-2-gabc"}],
    }


def test_a_subset_is_not_the_object_of_the_doi() -> None:
    given = {"Name": "x", "DatasetDOI": f" {DOI}\n", "BIDSVersion": "1.9.0"}
    found = loaded(given, subset=True, url=URL)
    assert list(found) == ["Name", "BIDSVersion", "GeneratedBy", "SourceDatasets"]
    assert found["SourceDatasets"] == [{"URL": URL, "DOI": DOI, "Version": "v1-2-gabc"}]
    assert "a part of the dataset" in found["GeneratedBy"][0]["Description"]


@pytest.mark.parametrize("empty", ["", " ", None, 5, []])
def test_a_placeholder_for_a_doi_stays(empty: Any) -> None:
    found = loaded({"DatasetDOI": empty}, subset=True)
    assert found["DatasetDOI"] == empty
    assert found["SourceDatasets"] == [{"Version": "v1-2-gabc"}]


def test_what_others_said_stays_and_stays_first() -> None:
    tool = {"Name": "fMRIPrep", "Version": "23.1", "Container": {"Type": "docker"}}
    source = {"URL": "https://openneuro.org/ds1", "DOI": "doi:1/2", "Version": "1.0"}
    found = loaded({"GeneratedBy": [tool], "SourceDatasets": [source]}, url=URL)
    assert found["GeneratedBy"] == [tool, OURS]
    assert found["SourceDatasets"] == [source, {"URL": URL, "Version": "v1-2-gabc"}]


@pytest.mark.parametrize("url", [None, URL])
def test_an_entry_of_somebody_else_is_never_changed(url: str | None) -> None:
    theirs = [{"URL": URL, "Version": "1"}, {"Version": "1"}, {}, "bids::x"]
    found = loaded({"SourceDatasets": theirs}, url=url)
    assert found["SourceDatasets"][:-1] == theirs


@pytest.mark.parametrize(
    ("value", "entries"),
    [(None, []), ("", []), ({}, []), ([], []), ("a", ["a"]), ({"Name": "a"}, [{"Name": "a"}])],
)
def test_what_is_no_list_becomes_one(value: Any, entries: list[Any]) -> None:
    found = loaded({"GeneratedBy": value, "SourceDatasets": value})
    assert found["GeneratedBy"] == [*entries, OURS]
    assert found["SourceDatasets"] == [*entries, {"Version": "v1-2-gabc"}]


def test_types_are_those_of_bids() -> None:
    fields = load_schema()["objects"]["metadata"]
    assert fields["DatasetDOI"]["type"] == "string"
    for subset in (False, True):
        found = loaded({"Name": "x", "DatasetDOI": DOI}, subset=subset, url=URL)
        for name in ("GeneratedBy", "SourceDatasets"):
            field, (entry,) = fields[name], found[name]
            assert (field["type"], field["items"]["type"]) == ("array", "object")
            known = field["items"]["properties"]
            assert set(field["items"].get("required", ())) <= set(entry) <= set(known)
            for key, value in entry.items():
                assert known[key]["type"] == "string"
                assert isinstance(value, str)


# --- again ---

ENTRY = st.dictionaries(st.sampled_from(["URL", "DOI", "Version", "Name"]), st.sampled_from("abc"))
DESCRIPTION = st.fixed_dictionaries(
    {},
    optional={
        "Name": st.text(),
        "DatasetDOI": st.sampled_from(["", "a", "b", None]),
        "GeneratedBy": st.lists(ENTRY | st.just({"Name": NAME}) | st.text()) | st.none() | ENTRY,
        "SourceDatasets": st.lists(ENTRY | st.text()) | st.none() | ENTRY,
        "x": st.recursive(st.none() | st.floats() | st.text(), st.lists),
    },
)
ARGUMENTS = st.fixed_dictionaries(
    {
        "subset": st.booleans(),
        "version": st.sampled_from(["a", "v2"]),
        "url": st.sampled_from([None, "a", URL]),
        "tool_version": st.sampled_from(["1", "2"]),
    }
)
STYLE = st.fixed_dictionaries(
    {
        "indent": st.sampled_from([None, 0, 1, 2, 4, "\t"]),
        "ensure_ascii": st.booleans(),
        "separators": st.sampled_from([(",", ":"), (", ", ": "), (",", ": "), (",", " : ")]),
    }
)


def rendered(value: Any, style: dict[str, Any], end: str, bom: bytes = b"") -> bytes:
    text = json.dumps(value, **style).replace("\n", end)
    return bom + text.encode("utf-8", "backslashreplace")


@given(DESCRIPTION, ARGUMENTS, STYLE, st.sampled_from(["\n", "\r\n"]))
def test_described_twice_is_described_once(
    value: dict[str, Any], arguments: dict[str, Any], style: dict[str, Any], end: str
) -> None:
    once = describe_export(rendered(value, style, end), **arguments)
    assert describe_export(once, **arguments) == once


@given(DESCRIPTION, st.lists(ARGUMENTS, min_size=1, max_size=6))
def test_exports_of_exports_do_not_pile_up(
    value: dict[str, Any], steps: list[dict[str, Any]]
) -> None:
    content = json.dumps(value).encode()
    first = json.loads(describe_export(content, **steps[0]))
    for step in steps:
        content = describe_export(content, **step)
    found = json.loads(content)
    assert sum(isinstance(t, dict) and t.get("Name") == NAME for t in found["GeneratedBy"]) == 1
    # at most one more for each source there is: none named, and two URLs
    assert len(found["SourceDatasets"]) <= len(first["SourceDatasets"]) + 3


def test_an_export_of_an_export_is_brought_up_to_date() -> None:
    content = described(b'{"DatasetDOI": "doi:1/2"}', url=URL, subset=True)
    found = loaded(content, url=URL, version="v2", tool_version="0.2")
    assert found["GeneratedBy"] == [
        {
            "Name": NAME,
            "Version": "0.2",
            "Description": "Plain copy (export-plain) of the dataset at version v2",
        }
    ]
    assert found["SourceDatasets"] == [{"URL": URL, "DOI": "doi:1/2", "Version": "v2"}]


# --- how it is written ---


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            b'{\n  "Name": "x",\n  "Authors": ["A", "B"]\n}\n',
            b'{\n  "Name": "x",\n  "Authors": ["A", "B"],\n  "GeneratedBy": [\n    @\n  ],\n'
            b'  "SourceDatasets": [\n    {\n      "Version": "v1-2-gabc"\n    }\n  ]\n}\n',
        ),
        (
            b'\xef\xbb\xbf\r\n{\r\n\t"a":1.50\r\n}',
            b'\xef\xbb\xbf\r\n{\r\n\t"a":1.50,\r\n\t"GeneratedBy":[\r\n\t\t@\r\n\t],\r\n'
            b'\t"SourceDatasets":[\r\n\t\t{\r\n\t\t\t"Version":"v1-2-gabc"\r\n\t\t}\r\n\t]\r\n}',
        ),
        (
            b'{"a": 1, "b": {"c": [ ]}} ',
            b'{"a": 1, "b": {"c": [ ]}, "GeneratedBy": [@],'
            b' "SourceDatasets": [{"Version": "v1-2-gabc"}]} ',
        ),
        (
            b'{"a":1}',
            b'{"a":1,"GeneratedBy":[@],"SourceDatasets":[{"Version":"v1-2-gabc"}]}',
        ),
        (
            b"{}",
            b'{\n    "GeneratedBy": [\n        @\n    ],\n    "SourceDatasets": [\n        {\n'
            b'            "Version": "v1-2-gabc"\n        }\n    ]\n}',
        ),
        (
            b'{ "a": "\xc3\xa9\\/\\u00e9"\n, "b": 1e5\n}',
            b'{ "a": "\xc3\xa9\\/\\u00e9"\n, "b": 1e5, "GeneratedBy": [@],'
            b' "SourceDatasets": [{"Version": "v1-2-gabc"}]\n}',
        ),
    ],
)
def test_the_style_stays(before: bytes, after: bytes) -> None:
    start, end = after.split(b"@")
    found = described(before)
    assert found.startswith(start + b"{")
    assert found.endswith(b"}" + end)
    assert json.loads(found.decode("utf-8-sig"))["GeneratedBy"] == [OURS]


@pytest.mark.parametrize(
    ("before", "start"),
    [
        (b'{\n  "DatasetDOI": "d",\n  "a": 1\n}', b'{\n  "a": 1,\n  "GeneratedBy": ['),
        (b'{\n  "a": 1,\n  "DatasetDOI": "d"\n}', b'{\n  "a": 1,\n  "GeneratedBy": ['),
        (b'{"DatasetDOI": "d", "a": 1}', b'{"a": 1, "GeneratedBy": ['),
        (b'{\n "DatasetDOI": "d"\n}', b'{\n "GeneratedBy": ['),
        (b'{"DatasetDOI":"c","a":1,"DatasetDOI":"d"}', b'{"a":1,"GeneratedBy":['),
    ],
)
def test_a_member_leaves_no_gap(before: bytes, start: bytes) -> None:
    found = described(before, subset=True)
    assert found.startswith(start)
    assert json.loads(found)["SourceDatasets"] == [{"DOI": "d", "Version": "v1-2-gabc"}]


def test_what_is_said_already_stays_as_it_is_written() -> None:
    written = b'{\n "SourceDatasets": [ {"Version":"v1-2-gabc"} ]\n}'
    assert described(written).startswith(written[:-2] + b',\n "GeneratedBy": [')


def test_of_members_with_one_name_the_last_counts() -> None:
    content = b'{"GeneratedBy": [{"Name": "a"}], "b": 1, "GeneratedBy": [{"Name": "c"}]}'
    found = described(content)
    assert found.count(b"GeneratedBy") == 1
    assert json.loads(found)["GeneratedBy"] == [{"Name": "c"}, OURS]


def test_letters_stay_as_they_are_written() -> None:
    tool = '{"Name": "Düsseldorf"}'
    assert "Düsseldorf" in described(f'{{"GeneratedBy": [{tool}]}}'.encode()).decode()
    escaped = b'{"GeneratedBy": [{"Name": "D\\u00fcsseldorf"}]}'
    assert b"D\\u00fcsseldorf" in described(escaped)
    # half a pair can only be an escape; git's own names may hold any bytes, too
    half = '{"Name": "é", "GeneratedBy": [{"Name": "\\ud800"}]}'.encode()
    found = described(half, version="v\udcff")
    assert json.loads(found)["GeneratedBy"][0] == {"Name": "\ud800"}


@given(DESCRIPTION, ARGUMENTS, STYLE, st.sampled_from(["\n", "\r\n"]), st.sampled_from([0, 3]))
def test_all_else_means_the_same_in_the_same_order(
    value: dict[str, Any], arguments: dict[str, Any], style: dict[str, Any], end: str, bom: int
) -> None:
    content = rendered(value, style, end, b"\xef\xbb\xbf"[:bom])
    result = describe_export(content, **arguments)
    assert result.startswith(b"\xef\xbb\xbf") == bool(bom)
    assert b"\r" not in result or end == "\r\n"
    touched = ("GeneratedBy", "SourceDatasets", "DatasetDOI")
    found, given = json.loads(result.decode("utf-8-sig")), json.loads(content.decode("utf-8-sig"))
    expected = [(k, repr(v)) for k, v in given.items() if k not in touched]
    assert [(k, repr(v)) for k, v in found.items() if k not in touched] == expected
    order = [k for k in (*given, *touched[:2]) if k in found]
    assert list(found) == list(dict.fromkeys(order))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"[]", b'"x"', b"null", b'{"a": "\xe9"}', b"{} x", b"[" * 100_000, b"\xef\xbb\xbf"],
)
def test_what_is_no_object_is_given_back(content: bytes) -> None:
    assert described(content) is content


# --- seen by the validator ---


def _nifti() -> bytes:
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, 2, 2, 2, 1, 1, 1, 1)
    struct.pack_into("<hh", header, 70, 2, 8)
    struct.pack_into("<8f", header, 76, 1, 1, 1, 1, 1, 1, 1, 1)
    struct.pack_into("<f", header, 108, 352)
    struct.pack_into("<h", header, 254, 1)
    struct.pack_into("<12f", header, 280, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header) + bytes(8), mtime=0)


@pytest.mark.parametrize("kind", ["raw", "derivative"])
def test_the_validator_finds_no_error(tmp_path: Path, kind: str) -> None:
    validator = shutil.which("bids-validator-deno")
    if validator is None:
        pytest.skip("bids-validator-deno is not installed")
    images = [f"sub-01/ses-a/anat/sub-01_ses-a_{s}.nii.gz" for s in ("T1w", "T2w")]
    if kind == "derivative":
        images = [image.replace("_T", "_desc-preproc_T") for image in images]
    scan = images[0].removeprefix("sub-01/ses-a/")
    given: dict[str, Any] = {"Name": "x", "BIDSVersion": "1.9.0"}
    given |= {"DatasetType": kind, "DatasetDOI": DOI}
    if kind == "derivative":
        given["GeneratedBy"] = [{"Name": "fMRIPrep"}]
    sample = "sample_id\tparticipant_id\tsample_type\n"
    tables = {
        "participants.tsv": "participant_id\tage\nsub-01\t30\nsub-02\t4\n",
        "samples.tsv": f"{sample}sample-1\tsub-01\ttissue\nsample-1\tsub-02\ttissue\n",
        "phenotype/bdi.tsv": "participant_id\tbdi\nsub-01\t3\nsub-02\t4\n",
        "sub-01/sub-01_sessions.tsv": "session_id\nses-a\nses-b\n",
        "sub-01/ses-a/sub-01_ses-a_scans.tsv": f"filename\n{scan}\nanat/sub-01_ses-a_PDw.nii.gz\n",
    }
    files: dict[str, bytes] = {
        "dataset_description.json": described(json.dumps(given).encode(), subset=True, url=URL),
        "README": b"An export. " * 20,
        ".bidsshare/files.tsv": b"path\tsize\n",
        **{i.replace(".nii.gz", ".json"): b'{"SkullStripped": false}' for i in images},
        "phenotype/bdi.json": b'{"bdi": {"Description": "x"}}',
        **dict.fromkeys(images, _nifti()),
    }
    exported = Exported([*files, *tables])
    for path, text in tables.items():
        table = is_table(path)
        assert table is not None
        files[path] = reduce_table(table, path, text.encode(), exported)
        assert files[path] != text.encode()
    for path, content in files.items():
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    run = subprocess.run(
        [validator, "--format", "json", str(tmp_path)], capture_output=True, text=True, check=False
    )
    issues = json.loads(run.stdout)["issues"]["issues"]
    assert [i for i in issues if i["severity"] == "error"] == []
    assert run.returncode == 0
    # ... nor is anything of it not as recommended
    told = {i.get("subCode") for i in issues if i["location"] == "/dataset_description.json"}
    assert not told & {"GeneratedBy", "SourceDatasets", "DatasetDOI"}
    assert not [i for i in issues if ".bidsshare" in i["location"]]
