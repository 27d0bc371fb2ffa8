"""Which other files a file needs, by rule: the BIDS schema's, and a few more.

The rules are ``meta.associations`` of the installed BIDS schema. Their
selectors are small expressions, compiled here into functions over what a file
name says; nothing is ever ``eval``ed, and an expression that is not understood
is an error when the rules are loaded, not a companion that is missing later.
"""

from __future__ import annotations

import ast
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Literal

from datalad_bidsshare.selection.vocabulary import load_schema, vocabulary

__all__ = [
    "Association",
    "AssociationRuleError",
    "Facts",
    "applicable",
    "associations",
    "compile_selector",
    "schema_associations",
]

lgr = logging.getLogger("datalad.bidsshare.selection")

Search = Literal["here", "nearest", "all"]


class AssociationRuleError(RuntimeError):
    """The installed BIDS schema has an association rule that is not understood.

    The text names the rule; the remedy is another version of bidsschematools.
    """


@dataclass(frozen=True, slots=True)
class Facts:
    """What the rules may look at: all of it comes from a name.

    Attributes
    ----------
    suffix, extension, datatype
        As parsed; ``''`` where a name has none. The extension has its dot.
    entities
        Canonical names of the entities that are present.
    """

    suffix: str
    extension: str
    datatype: str
    entities: frozenset[str]


Condition = Callable[[Facts], Any]


@dataclass(frozen=True, slots=True)
class Association:
    """One kind of file that goes with another.

    Attributes
    ----------
    name
        The schema's name of the rule, or ours; ends up as the reason.
    conditions
        All must hold for the file that needs.
    suffix
        Suffix of the file that is needed; None means that of the needing file.
    extensions
        Its extensions, any of them; ``'.*'`` means whatever extension.
    extra
        Entities that it may have although the needing file has not.
    fixed
        Extra entities that must be there, with one of these labels.
    search
        ``'here'``: in the same directory; ``'nearest'``: in the first directory
        upwards that has any (inheritance principle); ``'all'``: in all of them.
    narrow
        Whether the rule picks its files by suffix, datatype or entity. One that
        does not (the schema's events and physio) holds for recordings only: an
        electrodes table does not bring a physiological recording with it.
    """

    name: str
    conditions: tuple[Condition, ...]
    suffix: str | None
    extensions: frozenset[str]
    extra: frozenset[str] = frozenset()
    fixed: Mapping[str, frozenset[str]] = field(default_factory=dict)
    search: Search = "nearest"
    narrow: bool = True

    def applies(self, facts: Facts) -> bool:
        """Tell whether a file needs this kind of companion."""
        return all(condition(facts) for condition in self.conditions)


# -- selector expressions ------------------------------------------------------

_LEXEMES = re.compile(r"""('[^']*'|"[^"]*")|(&&)|(\|\|)|(!=)|(!)""")
_LITERALS = {"null": None, "true": True, "false": False}
_PARTS: Mapping[str, Condition] = {
    "suffix": lambda facts: facts.suffix,
    "extension": lambda facts: facts.extension,
    "datatype": lambda facts: facts.datatype,
}


def compile_selector(text: str) -> Condition:
    """Compile one selector of the BIDS schema's expression language.

    Parameters
    ----------
    text
        For instance ``match(suffix, 'phase(diff|1)$')``. Understood are
        ``suffix``, ``extension``, ``datatype``, the presence of
        ``entities.NAME``, strings, lists, ``== != in && || !``, ``match()``
        and ``intersects()`` (BIDS schema, "Expression language").

    Raises
    ------
    AssociationRuleError
        For anything else.
    """
    try:
        tree = ast.parse(_LEXEMES.sub(_as_python, text).strip(), mode="eval")
    except SyntaxError as exc:
        raise _not_understood(text) from exc
    return _compile(tree.body, text)


def _as_python(match: re.Match[str]) -> str:
    string, both, either, unequal, _ = match.groups()
    if string:
        # The language has no escapes: a backslash belongs to a pattern.
        return f"r{string}"
    return " and " if both else " or " if either else "!=" if unequal else " not "


def _not_understood(text: str) -> AssociationRuleError:
    return AssociationRuleError(
        f"the installed BIDS schema uses an expression that is not understood: {text}; "
        "install a version of bidsschematools that this release was tested with"
    )


def _compile(node: ast.expr, text: str) -> Condition:
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return _constant(node.value)
    if isinstance(node, ast.Name):
        if node.id in _LITERALS:
            return _constant(_LITERALS[node.id])
        if node.id in _PARTS:
            return _PARTS[node.id]
    if isinstance(node, ast.Attribute):
        return _entity(node, text)
    if isinstance(node, ast.List):
        items = [_compile(item, text) for item in node.elts]
        return lambda facts: [item(facts) for item in items]
    if isinstance(node, ast.BoolOp):
        terms = [_compile(value, text) for value in node.values]
        if isinstance(node.op, ast.And):
            return lambda facts: all(term(facts) for term in terms)
        return lambda facts: any(term(facts) for term in terms)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        operand = _compile(node.operand, text)
        return lambda facts: not operand(facts)
    if isinstance(node, ast.Compare):
        return _comparison(node, text)
    if isinstance(node, ast.Call):
        return _call(node, text)
    raise _not_understood(text)


def _constant(value: object) -> Condition:
    return lambda facts: value


def _entity(node: ast.Attribute, text: str) -> Condition:
    if not (isinstance(node.value, ast.Name) and node.value.id == "entities"):
        raise _not_understood(text)
    name = _canonical(node.attr, text)
    # Rules see which entities there are, not their labels: one evaluation then
    # serves all the files of a kind.
    return lambda facts: True if name in facts.entities else None


def _comparison(node: ast.Compare, text: str) -> Condition:
    if len(node.ops) != 1:
        raise _not_understood(text)
    operands = (node.left, node.comparators[0])
    if any(isinstance(n, ast.Attribute) for n in operands) and not any(
        isinstance(n, ast.Name) and n.id == "null" for n in operands
    ):
        raise _not_understood(text)
    left, right = (_compile(n, text) for n in operands)
    operator = node.ops[0]
    if isinstance(operator, ast.Eq):
        return lambda facts: left(facts) == right(facts)
    if isinstance(operator, ast.NotEq):
        return lambda facts: left(facts) != right(facts)
    if isinstance(operator, ast.In):
        return lambda facts: left(facts) in right(facts)
    raise _not_understood(text)


def _call(node: ast.Call, text: str) -> Condition:
    name = node.func.id if isinstance(node.func, ast.Name) else ""
    if node.keywords or len(node.args) != 2:
        raise _not_understood(text)
    first, second = node.args
    if name == "match" and isinstance(second, ast.Constant) and isinstance(second.value, str):
        subject = _compile(first, text)
        try:
            search = re.compile(second.value).search
        except re.error as exc:
            raise _not_understood(text) from exc
        return lambda facts: search(subject(facts) or "") is not None
    if name == "intersects" and all(isinstance(n, ast.List) for n in node.args):
        left, right = _compile(first, text), _compile(second, text)
        return lambda facts: any(item in right(facts) for item in left(facts))
    raise _not_understood(text)


def _canonical(schema_name: str, text: str) -> str:
    try:
        return vocabulary().canonical(schema_name)
    except ValueError as exc:
        raise _not_understood(text) from exc


# -- the schema's rules ----------------------------------------------------------

_RULE_FIELDS = {"selectors", "target", "inherit"}
_TARGET_FIELDS = {"suffix", "extension", "entities"}
_PICKS = re.compile(r"\b(suffix|datatype|entities)\b")


def _from_schema(name: str, raw: Mapping[str, Any]) -> Association:
    target = raw["target"]
    unknown = (set(raw) - _RULE_FIELDS) | (set(target) - _TARGET_FIELDS)
    if unknown:
        raise _not_understood(f"fields {sorted(unknown)} of the association {name!r}")
    extensions = target["extension"]
    return Association(
        name=name,
        conditions=tuple(compile_selector(s) for s in raw["selectors"]),
        suffix=target.get("suffix"),
        extensions=frozenset([extensions] if isinstance(extensions, str) else extensions),
        extra=frozenset(_canonical(e, name) for e in target.get("entities", ())),
        # BIDS 1.11.0 leaves it out of one rule, for which later ones say true.
        search="nearest" if raw.get("inherit", True) else "here",
        narrow=any(_PICKS.search(s) for s in raw["selectors"]),
    )


def schema_associations(*, strict: bool = True) -> Mapping[str, Association]:
    """Give the rules of the installed BIDS schema, by name.

    Parameters
    ----------
    strict
        Whether a rule that is not understood is an error. To a user of a
        newer schema it is one kind of companion less, which is logged.

    Raises
    ------
    AssociationRuleError
        If one of them is not understood.
    """
    rules: dict[str, Association] = {}
    for name, raw in load_schema()["meta"]["associations"].items():
        try:
            rules[name] = _from_schema(name, raw)
        except AssociationRuleError as error:
            if strict:
                raise
            lgr.warning("Companions by the rule %r do not ride along: %s", name, error)
    return MappingProxyType(rules)


# -- what the schema lacks and readers need -----------------------------------------

_IMAGE = r"match(extension, '\.nii(\.gz)?$')"
_NO_JSON = "extension != '.json'"


def _more(
    name: str,
    selectors: Iterable[str],
    suffix: str,
    extension: str | Iterable[str],
    *,
    extra: Iterable[str] = (),
    fixed: Mapping[str, Iterable[str]] | None = None,
    search: Search = "here",
) -> Association:
    selectors = tuple(selectors)
    return Association(
        name=name,
        conditions=tuple(compile_selector(s) for s in selectors),
        suffix=suffix,
        extensions=frozenset([extension] if isinstance(extension, str) else extension),
        extra=frozenset(extra),
        fixed={key: frozenset(labels) for key, labels in (fixed or {}).items()},
        search=search,
        narrow=any(_PICKS.search(s) for s in selectors),
    )


@lru_cache(maxsize=1)
def _additions() -> tuple[Association, ...]:
    image = (".nii", ".nii.gz")
    recording = ("recording",)
    return (
        # BIDS "Physiological recordings", "Stimulus recordings": one file per
        # `recording-` label beside the run. The schema's physio rule has no
        # entities, so it finds none of those that follow this advice.
        _more("physio", [_NO_JSON], "physio", ".tsv.gz", extra=recording),
        _more("stim", [_NO_JSON], "stim", ".tsv.gz", extra=recording),
        _more("physioevents", [_NO_JSON], "physioevents", ".tsv.gz", extra=recording),
        # BIDS "Fieldmap data", cases 1 and 2: what pybids' get_fieldmap lists
        # for a phase difference map and for a pair of phase maps.
        *(
            _more(suffix, [f"match(suffix, '{source}$')", _IMAGE], suffix, image)
            for suffix, source in [
                ("magnitude2", "phase(diff|1|2)"),
                ("magnitude1", "phase2"),
                ("phase1", "phase2"),
                ("phase2", "phase1"),
            ]
        ),
        # BIDS "Near-Infrared Spectroscopy", "Optode description": a nirs
        # recording cannot be placed on a head without it.
        _more(
            "optodes",
            ["suffix == 'nirs'", _NO_JSON],
            "optodes",
            ".tsv",
            search="nearest",
        ),
        # BIDS "Electroencephalography", "Coordinate System JSON": there may be
        # one pair of files per space; the schema allows `space` to electrodes
        # only, which leaves a coordsystem without electrodes unfound.
        _more(
            "coordsystem",
            ["intersects([suffix], ['eeg', 'emg', 'ieeg', 'meg', 'nirs'])", _NO_JSON],
            "coordsystem",
            ".json",
            extra=["space"],
            search="nearest",
        ),
        # BIDS "Magnetoencephalography", "Landmark photos ... head shape" and
        # appendix "MEG file formats": digitised points and KIT marker files,
        # several of which are told apart by `acq-` (ELP/HSP; pre/post).
        _more("headshape", ["suffix == 'meg'", _NO_JSON], "headshape", ".*", extra=["acquisition"]),
        _more(
            "markers",
            ["suffix == 'meg'", _NO_JSON],
            "markers",
            (".mrk", ".sqd"),
            extra=["acquisition", "space"],
        ),
        # BIDS appendix "MEG file formats", Neuromag/Elekta/MEGIN: Maxwell
        # filtering needs the site's fine calibration and crosstalk files.
        *(
            _more(
                label,
                ["suffix == 'meg'", "extension == '.fif'"],
                "meg",
                extension,
                fixed={"acquisition": [label]},
            )
            for label, extension in [("calibration", ".dat"), ("crosstalk", ".fif")]
        ),
        # BIDS "Positron Emission Tomography", "Blood recording data".
        _more("blood", ["suffix == 'pet'", _NO_JSON], "blood", ".tsv", extra=recording),
        # BIDS Derivatives, "Common image-derived labels": the table that says
        # what the numbers of a segmentation mean, often at the dataset root.
        _more(
            "dseg",
            ["suffix == 'dseg'", r"match(extension, '\.(nii|nii\.gz|gii)$')"],
            "dseg",
            ".tsv",
            search="nearest",
        ),
        # BIDS Derivatives, "descriptions.tsv": what the `desc-` labels mean.
        _more("descriptions", ["entities.desc"], "descriptions", ".tsv", search="all"),
    )


@lru_cache(maxsize=1)
def associations() -> tuple[Association, ...]:
    """Give all the rules: the schema's first, as far as understood, then ours."""
    return (*schema_associations(strict=False).values(), *_additions())


@lru_cache(maxsize=4096)
def applicable(facts: Facts) -> tuple[Association, ...]:
    """Give the rules by which a file with such a name needs companions."""
    return tuple(rule for rule in associations() if rule.applies(facts))
