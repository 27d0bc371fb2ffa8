"""The association rules: the schema's are all understood, ours are few."""

from __future__ import annotations

import pytest

from datalad_bidsshare.selection import associations as subject
from datalad_bidsshare.selection.associations import (
    AssociationRuleError,
    Facts,
    applicable,
    associations,
    compile_selector,
    schema_associations,
)
from datalad_bidsshare.selection.vocabulary import load_schema, vocabulary

BOLD = Facts("bold", ".nii.gz", "func", frozenset({"subject", "task", "run"}))
JSON = Facts("bold", ".json", "func", frozenset({"subject", "task", "run"}))
ATLAS = Facts("dseg", ".nii.gz", "anat", frozenset({"atlas"}))
EMG = Facts("emg", ".edf", "emg", frozenset({"subject", "task"}))
NOTHING = Facts("", "", "", frozenset())


@pytest.mark.parametrize(
    ("text", "holds", "fails"),
    [
        ("suffix == 'bold'", BOLD, ATLAS),
        ('suffix == "bold"', BOLD, ATLAS),
        ("suffix != 'dseg'", BOLD, ATLAS),
        ("extension != '.json'", BOLD, JSON),
        (r"match(extension, '\.nii(\.gz)?$')", BOLD, JSON),
        (r"match(suffix, '^d')", ATLAS, NOTHING),
        ("intersects([suffix], ['dseg', 'emg'])", EMG, BOLD),
        ("suffix in ['dseg', 'emg']", EMG, BOLD),
        ("entities.atlas", ATLAS, BOLD),
        ("entities.atlas != null", ATLAS, BOLD),
        ("entities.atlas == null", BOLD, ATLAS),
        ("!entities.atlas", BOLD, ATLAS),
        ("datatype == 'emg' && suffix == 'emg'", EMG, BOLD),
        ("datatype == 'emg' || suffix == 'bold'", BOLD, ATLAS),
        ("!(suffix == 'bold') && datatype", EMG, BOLD),
        ("suffix == 'a&&b' || true", BOLD, None),
        ("suffix == 'bold' && false", None, BOLD),
    ],
)
def test_selectors_mean_what_they_say(text: str, holds: Facts | None, fails: Facts | None) -> None:
    condition = compile_selector(text)
    if holds:
        assert condition(holds)
    if fails:
        assert not condition(fails)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "suffix ==",
        "suffix == 1",
        "subject == '01'",
        "sidecar.RepetitionTime",
        "entities.nosuchentity",
        "entities.atlas == 'x'",
        "suffix < 'x'",
        "'a' == suffix == 'b'",
        "exists(suffix, 'dataset')",
        "match(suffix)",
        "match(suffix, datatype)",
        "match(suffix, '(')",
        "match(suffix, pattern='x')",
        "intersects(suffix, ['x'])",
        "__import__('os').system('true')",
        "[x for x in suffix]",
        "-suffix",
        "lambda: 1",
        "suffix.upper",
    ],
)
def test_what_is_not_understood_is_an_error_that_quotes_it(text: str) -> None:
    with pytest.raises(AssociationRuleError, match="not understood") as caught:
        compile_selector(text)
    assert text in str(caught.value)
    assert "bidsschematools" in str(caught.value)


def test_backslashes_belong_to_the_pattern() -> None:
    assert compile_selector(r"match(extension, '\.nii')")(BOLD)
    assert not compile_selector(r"match(extension, '\.nii')")(
        Facts("bold", "xnii", "func", frozenset())
    )


# -- guard against a schema that moves ----------------------------------------------

#: The rules that this project was tested with: name -> (suffix, extra entities).
KNOWN = {
    "events": ("events", frozenset()),
    "aslcontext": ("aslcontext", frozenset()),
    "m0scan": ("m0scan", frozenset()),
    "magnitude": ("magnitude", frozenset()),
    "magnitude1": ("magnitude1", frozenset()),
    "bval": (None, frozenset()),
    "bvec": (None, frozenset()),
    "channels": ("channels", frozenset()),
    "coordsystem": ("coordsystem", frozenset()),
    "electrodes": ("electrodes", frozenset({"space"})),
    "physio": ("physio", frozenset()),
    "coordsystems": ("coordsystem", frozenset({"space"})),
    "atlas_description": ("description", frozenset()),
}


def test_all_rules_of_the_installed_schema_are_understood() -> None:
    raw = load_schema()["meta"]["associations"]
    version = load_schema()["bids_version"]
    rules = schema_associations()
    assert list(rules) == list(raw)
    new = sorted(set(rules) - set(KNOWN))
    assert not new, (
        f"the schema of BIDS {version} has new association rules {new}: see whether companions "
        "are right for them, then add them to KNOWN"
    )
    for name, rule in rules.items():
        assert (rule.suffix, rule.extra) == KNOWN[name], (
            f"the target of the rule {name!r} has changed in the schema of BIDS {version}"
        )
        assert rule.extensions
        assert rule.search == ("nearest" if raw[name]["inherit"] else "here")
        assert len(rule.conditions) == len(raw[name]["selectors"])


def test_ours_are_needed_because_the_schema_has_no_such_rule() -> None:
    # When BIDS gets a rule of its own for one of these, ours may go.
    added = {(r.name, r.suffix) for r in associations()[len(schema_associations()) :]}
    of_schema = {(r.name, r.suffix) for r in schema_associations().values()}
    # Widened: recordings, and what belongs to a second phase map or a space.
    assert added & of_schema == {
        ("physio", "physio"),
        ("coordsystem", "coordsystem"),
        ("magnitude1", "magnitude1"),
    }


def test_entities_of_all_rules_are_canonical() -> None:
    known = set(vocabulary().entities)
    for rule in associations():
        assert rule.extra <= known
        assert set(rule.fixed) <= known


@pytest.mark.parametrize(
    "raw",
    [
        {"selectors": [], "target": {"extension": ".tsv", "path": "x"}, "inherit": True},
        {"selectors": [], "target": {"extension": ".tsv"}, "inherit": True, "optional": True},
        {"selectors": ["what?"], "target": {"extension": ".tsv"}, "inherit": True},
        {"selectors": [], "target": {"extension": ".tsv", "entities": ["zz"]}, "inherit": True},
    ],
)
def test_a_rule_of_a_new_form_is_seen_and_costs_the_user_only_that_rule(
    raw: dict[str, object],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    known = subject.load_schema()["meta"]["associations"]
    schema = {"meta": {"associations": {"novel": raw, "bval": known["bval"]}}}
    monkeypatch.setattr(subject, "load_schema", lambda: schema)
    with pytest.raises(AssociationRuleError, match="not understood"):
        schema_associations()
    associations.cache_clear()
    try:
        rules = {rule.name for rule in associations()}
    finally:
        associations.cache_clear()
    assert "bval" in rules
    assert "novel" not in rules
    assert "'novel'" in caplog.text


# -- which rules hold for which files -------------------------------------------------


def names(facts: Facts) -> set[str]:
    return {rule.name for rule in applicable(facts)}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        (BOLD, {"events", "physio", "stim", "physioevents"}),
        (JSON, set()),
        (Facts("asl", ".nii", "perf", frozenset()), {"aslcontext", "m0scan"}),
        (Facts("dwi", ".nii.gz", "dwi", frozenset()), {"bval", "bvec"}),
        (Facts("phasediff", ".nii", "fmap", frozenset()), {"magnitude1", "magnitude2"}),
        (Facts("phase1", ".nii", "fmap", frozenset()), {"magnitude1", "magnitude2", "phase2"}),
        (Facts("phase2", ".nii", "fmap", frozenset()), {"magnitude1", "magnitude2", "phase1"}),
        (Facts("fieldmap", ".nii", "fmap", frozenset()), {"magnitude"}),
        (ATLAS, {"atlas_description", "dseg"}),
        (Facts("nirs", ".snirf", "nirs", frozenset()), {"channels", "coordsystem", "optodes"}),
        (Facts("pet", ".nii", "pet", frozenset()), {"blood"}),
        (EMG, {"channels", "coordsystem", "coordsystems", "electrodes"}),
        (Facts("electrodes", ".tsv", "eeg", frozenset()), {"coordsystem"}),
        (
            Facts("meg", ".fif", "meg", frozenset()),
            {"channels", "coordsystem", "electrodes", "headshape", "markers"}
            | {"calibration", "crosstalk"},
        ),
        (Facts("T1w", ".nii", "anat", frozenset({"desc"})), {"descriptions"}),
    ],
)
def test_rules_by_kind_of_file(facts: Facts, expected: set[str]) -> None:
    everywhere = {"events", "physio", "stim", "physioevents"}
    assert names(facts) - everywhere == expected - everywhere
    assert (names(facts) >= everywhere) == (facts.extension != ".json")


def test_only_rules_that_pick_nothing_hold_for_everything() -> None:
    broad = {rule.name for rule in associations() if not rule.narrow}
    assert broad == {"events", "physio", "stim", "physioevents"}
