"""Selections against `BIDSLayout.get`, query by random query, over trees on disk.

Each query is drawn once in a neutral form and said twice: to pybids in its own terms, to us
in a random spelling of our grammar. Where the grammar deviates on purpose, pybids is asked
for what we promise (all the paddings of an index; the recording as if it were one file), so
that nothing needs to be left out of the comparison. The deviations themselves are shown,
side by side, in `test_deviations.py`.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from bids import BIDSLayout, BIDSLayoutIndexer
from bids.config import get_option
from bids.layout import Query as BIDSQuery
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from datalad_bidsshare.selection.entities import parse, recording_directory
from datalad_bidsshare.selection.filters import OPTIONS, Query, Selection
from datalad_bidsshare.selection.grammar import build_filter, build_selection
from datalad_bidsshare.selection.select import Selector, bids_roots
from tests.platforms import needs_posix
from tests.selection.definition import admits
from tests.selection.test_oracle_parse import datatype_pattern, oracle, soup
from tests.trees import bids_tree, derivative_tree, write_tree

# Elsewhere pybids gives paths, and entities that are paths, with another separator.
pytestmark = needs_posix

#: pybids name to short key (None: not written as key-label) and to the BIDS schema's name
KEYS: dict[str, tuple[str | None, str]] = {
    "subject": ("sub", "subject"), "session": ("ses", "session"), "sample": ("sample", "sample"),
    "task": ("task", "task"), "tracksys": ("tracksys", "tracksys"),
    "acquisition": ("acq", "acquisition"), "nucleus": ("nuc", "nucleus"),
    "volume": ("voi", "volume"), "ceagent": ("ce", "ceagent"), "staining": ("stain", "stain"),
    "tracer": ("trc", "tracer"), "reconstruction": ("rec", "reconstruction"),
    "direction": ("dir", "direction"), "run": ("run", "run"), "proc": ("proc", "processing"),
    "modality": ("mod", "modality"), "echo": ("echo", "echo"), "flip": ("flip", "flip"),
    "inv": ("inv", "inversion"), "mt": ("mt", "mtransfer"), "part": ("part", "part"),
    "recording": ("recording", "recording"), "space": ("space", "space"),
    "chunk": ("chunk", "chunk"), "suffix": (None, "suffix"), "fmap": (None, "fmap"),
    "datatype": (None, "datatype"), "extension": (None, "ext"), "atlas": ("atlas", "atlas"),
    "label": ("label", "label"), "desc": ("desc", "description"), "from": ("from", "from"),
    "to": ("to", "to"), "mode": ("mode", "mode"), "hemi": ("hemi", "hemisphere"),
    "segmentation": ("seg", "segmentation"), "res": ("res", "resolution"),
    "den": ("den", "density"), "model": ("model", "model"),
}  # fmt: skip
INDICES = frozenset({"run", "echo", "flip", "inv", "chunk"})


@dataclass(frozen=True, slots=True)
class Atom:
    """One value of one entity: a literal, a pattern, or what stands for none and any."""

    kind: str  # 'literal', 'pattern', 'glob', 'none', 'any'
    text: str = ""


Ask = dict[str, list[Atom]]


@dataclass(frozen=True, slots=True)
class Tree:
    """One tree on disk, as pybids indexed it, and its names."""

    root: Path
    paths: list[str]
    layout: BIDSLayout
    collapsed: BIDSLayout | None = None
    scope: str = "self"
    within: tuple[str, ...] = ()
    values: dict[str, list[str]] = field(default_factory=dict)

    def recordings(self) -> dict[str, list[str]]:
        """Give the parts of each directory recording."""
        found: dict[str, list[str]] = {}
        for path in self.paths:
            if (recording := recording_directory(path)) is not None:
                found.setdefault(recording, []).append(path)
        return found


def index(root: Path, **options: Any) -> BIDSLayout:
    """Index a tree without validation and metadata, with raw and derivative entities."""
    leak = oracle(str(root)[1:])
    assert not leak, f"pybids would read {leak} from the place of the temporary directory"
    indexer = BIDSLayoutIndexer(validate=False, index_metadata=False)
    config = [widened_config(), "derivatives"]
    return BIDSLayout(root, validate=False, indexer=indexer, config=config, **options)


def widened_config() -> dict[str, Any]:
    """Give pybids' raw configuration with what we add on purpose: two datatypes, BTi units."""
    content: dict[str, Any] = json.loads(Path(get_option("config_paths")["bids"]).read_text())
    by_name = {entity["name"]: entity for entity in content["entities"]}
    by_name["datatype"]["pattern"] = datatype_pattern().pattern
    # a BTi/4D recording is a directory without extension; as one file it has its suffix
    behind = r"\.[^/\\]+$"
    assert by_name["suffix"]["pattern"].endswith(behind)
    label = by_name["suffix"]["pattern"].removesuffix(behind)
    by_name["suffix"]["pattern"] = rf"{label}(?:{behind}|(?<=_meg)$)"
    return content


def values_of(paths: Iterable[str]) -> dict[str, list[str]]:
    """Give the values that pybids finds in some names, by entity."""
    found: dict[str, set[str]] = {}
    for path in paths:
        for entity, value in oracle(path).items():
            if entity in KEYS:
                found.setdefault(entity, set()).add(value)
    return {entity: sorted(values) for entity, values in sorted(found.items())}


def make_tree(root: Path, paths: list[str]) -> Tree:
    """Write a tree, and once more with every directory recording as one file."""
    write_tree(root / "whole", paths)
    units = sorted({recording_directory(p) or p for p in paths})
    write_tree(root / "units", units)
    return Tree(
        root / "whole", paths, index(root / "whole"), index(root / "units"),
        values=values_of(paths),
    )  # fmt: skip


MAKERS: dict[str, Callable[[], list[str]]] = {
    "mri": lambda: bids_tree(
        1, datatypes=["anat", "func", "dwi", "fmap"], subjects=3, derivatives=False
    ),
    "electro": lambda: bids_tree(
        2, datatypes=["eeg", "ieeg", "meg", "beh", "nirs", "motion", "emg"], subjects=2,
        sessions=2, derivatives=False,
    ),
    "other": lambda: bids_tree(
        3, datatypes=["pet", "micr", "perf", "mrs"], subjects=3, sessions=1, derivatives=False
    ),
    "derived": lambda: derivative_tree(4, subjects=2, sessions=2),
}  # fmt: skip
SCOPES: dict[str, tuple[str, tuple[str, ...]]] = {
    "nested-raw": ("raw", ()),
    "nested-derivatives": ("derivatives", ("derivatives/fmriprep",)),
    "nested-all": ("all", ("", "derivatives/fmriprep")),
}
TREES = (*MAKERS, *SCOPES)


@pytest.fixture(scope="session")
def tree_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Tree]:
    """Give trees by name, each written and indexed once, when first asked for."""

    @cache
    def nested() -> tuple[Path, list[str], BIDSLayout]:
        root = tmp_path_factory.mktemp("nested")
        paths = bids_tree(5, datatypes=["anat", "func", "micr"], subjects=2)
        write_tree(root, paths)
        return root, paths, index(root, derivatives=True)

    @cache
    def give(name: str) -> Tree:
        if name in MAKERS:
            return make_tree(tmp_path_factory.mktemp(name), MAKERS[name]())
        root, paths, layout = nested()
        scope, within = SCOPES[name]
        return Tree(root, paths, layout, scope=scope, within=within, values=values_of(paths))

    return give


# ---------------------------------------------------------------- the two sides


def ask_pybids(tree: Tree, ask: Ask) -> set[str]:
    """Give what pybids selects, as paths of real files."""
    found = _get(tree.layout, tree, ask)
    parts = tree.recordings()
    # pybids takes a Zarr directory for one file: so do we, and it means all its parts
    whole = {unit for unit in parts if unit in found}
    if tree.collapsed is not None:
        whole |= parts.keys() & _get(tree.collapsed, tree, ask)
    return (found - parts.keys()).union(*(parts[unit] for unit in whole))


def _get(layout: BIDSLayout, tree: Tree, ask: Ask) -> set[str]:
    regex = any(atom.kind in ("pattern", "glob") for atoms in ask.values() for atom in atoms)
    # each value once: pybids chokes on a repeated Query member
    filters = {
        entity: list(
            dict.fromkeys(
                say for atom in atoms for say in _say_to_pybids(tree, entity, atom, regex)
            )
        )
        for entity, atoms in ask.items()
    }
    found = layout.get(return_type="filename", scope=tree.scope, regex_search=regex, **filters)
    return {Path(f).relative_to(layout.root).as_posix() for f in found}


def _say_to_pybids(tree: Tree, entity: str, atom: Atom, regex: bool) -> list[Any]:
    if atom.kind == "none":
        return [BIDSQuery.NONE]
    if atom.kind == "any":
        return [BIDSQuery.ANY]
    if not regex:
        if entity == "run":
            return [int(atom.text)]
        if entity in INDICES:
            same = [v for v in tree.values.get(entity, ()) if int(v) == int(atom.text)]
            return same or [atom.text]
        return [atom.text]
    if atom.kind == "literal":
        bare = atom.text.removeprefix(".")
        pattern = f"0*{int(bare)}" if entity in INDICES else re.escape(bare)
    elif atom.kind == "glob":
        pattern = re.escape(atom.text).replace(r"\*", ".*").replace(r"\?", ".")
    else:
        pattern = atom.text
    # pybids searches, ignores case, and puts a dot before whatever is asked of extension
    start = r"(?<=\A.)" if entity == "extension" else r"\A"
    return [rf"{start}(?-i:{pattern})\Z"]


def ask_us(tree: Tree, spelled: dict[str, Any]) -> set[str]:
    """Give what our grammar selects."""
    selection = build_selection(**spelled)
    paths = tree.paths
    return set(Selector(selection, tree.within, bids_roots(paths)).select(paths))


def spell(rng: random.Random, ask: Ask) -> dict[str, Any]:
    """Say a query in one of the many ways of our grammar, as arguments of build_selection."""
    options: dict[str, Any] = {}
    entities: dict[str, Any] = {}
    texts: list[str] = []
    as_texts = rng.random() < 0.4
    for entity, atoms in ask.items():
        key, schema_name = KEYS[entity]
        values = [_spell_atom(rng, entity, atom) for atom in atoms]
        plain = all(atom.kind != "pattern" for atom in atoms)
        if len(values) == 1 and rng.random() < 0.5:
            value: Any = values[0]
        elif plain and rng.random() < 0.4:
            value = ",".join(map(_as_text, values))
        else:
            value = rng.choice((list, tuple, set))(values)
        # for an option, None is "not given"
        if entity in OPTIONS and value is not None and rng.random() < 0.5:
            options[entity] = value
        elif as_texts:
            name = rng.choice([entity, key or entity, schema_name])
            several = isinstance(value, (list, tuple, set))
            texts += [f"{name}={_as_text(v)}" for v in (values if several else [value])]
        else:
            entities[rng.choice([entity, key or entity, schema_name])] = value
    return {"options": options, "entities": texts or entities or None}


def _as_text(value: Any) -> str:
    """Give how the command line says a value of the Python API."""
    if value is None or value is BIDSQuery.NONE:
        return ""
    return "*" if value is BIDSQuery.ANY else str(value)


def _spell_atom(rng: random.Random, entity: str, atom: Atom) -> Any:
    if atom.kind == "none":
        return rng.choice(["", None, BIDSQuery.NONE])
    if atom.kind == "any":
        return rng.choice(["*", BIDSQuery.ANY])
    if atom.kind == "pattern":
        return f"re:{atom.text}"
    if entity == "extension":
        return atom.text.removeprefix(".") if rng.random() < 0.5 else atom.text
    if atom.kind == "glob":
        return atom.text
    key = KEYS[entity][0]
    if entity in INDICES:
        number = int(atom.text)
        return rng.choice([number, str(number), f"{number:02d}", atom.text, f"{key}-{number}"])
    return f"{key}-{atom.text}" if key and rng.random() < 0.3 else atom.text


# ---------------------------------------------------------------- drawing queries


def draw_query(rng: random.Random, tree: Tree) -> Ask:
    """Draw a query that a name of the tree inspired, so that most select something."""
    model = {k: v for k, v in oracle(rng.choice(tree.paths)).items() if k in KEYS}
    known = sorted(tree.values)
    entities = rng.sample(sorted(model), min(len(model), rng.randint(0, 3)))
    if not entities or rng.random() < 0.3:
        entities.append(rng.choice(known))
    patterns = rng.random() < 0.3
    return {
        entity: [_draw_atom(rng, tree, entity, model.get(entity), patterns)]
        + [
            _draw_atom(rng, tree, entity, None, patterns)
            for _ in range(rng.choice((0, 0, 0, 1, 1, 2)))
        ]
        for entity in dict.fromkeys(entities)
    }


def _draw_atom(
    rng: random.Random, tree: Tree, entity: str, value: str | None, patterns: bool
) -> Atom:
    chance = rng.random()
    if chance < 0.06:
        return Atom("any")
    if chance < (0.3 if value is None else 0.08):
        return Atom("none")
    if value is None:
        strange = "99" if entity in INDICES else rng.choice(["Rest", "nothing", "res", "0", "gz"])
        value = rng.choice([*tree.values[entity], strange])
    if not patterns or rng.random() < 0.4:
        return Atom("literal", value)
    bare = value.removeprefix(".")
    if rng.random() < 0.5:
        cut = rng.randint(0, len(bare) - 1)
        glob = rng.choice([bare[:cut] + "*", "*" + bare[cut:], bare[:cut] + "?" + bare[cut + 1 :]])
        # a lone star is the grammar's "any"
        return Atom("any") if glob == "*" else Atom("glob", glob)
    letter = re.escape(bare[0])
    return Atom(
        "pattern",
        rng.choice(
            [re.escape(bare), f"{letter}.*", f"[{letter}]\\w+", f"{letter}.{{1,3}}", "[0-9]+", ".+"]
        ),
    )


def compare(tree: Tree, ask: Ask, rng: random.Random) -> set[str]:
    """Fail where the two sides differ; give what both selected."""
    spelled = spell(rng, ask)
    expected, got = ask_pybids(tree, ask), ask_us(tree, spelled)
    only_pybids, only_us = sorted(expected - got), sorted(got - expected)
    assert not only_pybids and not only_us, (
        f"{ask}\nspelled {spelled}\nonly pybids: {len(only_pybids)} {only_pybids[:5]}\n"
        f"only us: {len(only_us)} {only_us[:5]}"
    )
    return got


@pytest.mark.parametrize("chunk", range(3))
@pytest.mark.parametrize("name", TREES)
def test_random_queries_select_the_same_files(
    tree_of: Callable[[str], Tree], name: str, chunk: int
) -> None:
    tree = tree_of(name)
    rng = random.Random(f"{name} {chunk}")
    sizes = [len(compare(tree, draw_query(rng, tree), rng)) for _ in range(40)]
    # agreement on nothing would be no evidence
    assert sum(0 < size < len(tree.paths) for size in sizes) >= 15, sizes


@pytest.mark.parametrize("name", TREES)
def test_every_single_value_selects_the_same_files(
    tree_of: Callable[[str], Tree], name: str
) -> None:
    tree = tree_of(name)
    rng = random.Random(name)
    for entity, values in tree.values.items():
        asks: Sequence[Atom] = [Atom("any"), Atom("none")]
        asks = [*asks, *(Atom("literal", v) for v in rng.sample(values, min(2, len(values))))]
        for atom in asks:
            compare(tree, {entity: [atom]}, rng)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_queries_that_hypothesis_puts_together(
    tree_of: Callable[[str], Tree], data: st.DataObject
) -> None:
    tree = tree_of(data.draw(st.sampled_from(TREES)))
    ask: Ask = {}
    for entity in data.draw(
        st.lists(st.sampled_from(sorted(tree.values)), min_size=1, max_size=4, unique=True)
    ):
        atoms = st.one_of(
            st.just(Atom("none")),
            st.just(Atom("any")),
            st.sampled_from(tree.values[entity]).map(lambda v: Atom("literal", v)),
        )
        ask[entity] = data.draw(st.lists(atoms, min_size=1, max_size=4))
    compare(tree, ask, random.Random(data.draw(st.integers(0, 1000))))


@pytest.mark.parametrize("seed", range(2))
def test_the_quick_way_is_the_plain_one_on_hostile_names(seed: int) -> None:
    """The selector's shortcuts against `parse`, which the oracle has approved, file by file."""
    rng = random.Random(seed)
    stirred = (soup(rng) for _ in range(3000))
    paths = sorted({p for p in stirred if all(p.split("/")) and recording_directory(p) is None})
    parsed = {path: parse(path) for path in paths}
    hits = 0
    for _ in range(100):
        queries = []
        for _ in range(rng.choice((1, 1, 1, 2))):
            model = parsed[rng.choice(paths)]
            filters = []
            for entity in rng.sample(sorted(model), min(len(model), rng.randint(1, 3))):
                values: list[str | None] = [model[entity]]
                if rng.random() < 0.3:
                    values.append(rng.choice([None, "*", parsed[rng.choice(paths)].get(entity)]))
                filters.append(build_filter(entity, values, literal=True))
            queries.append(Query(tuple(filters)))
        selector = Selector(Selection(tuple(queries)), skip=False)
        expected = [p for p in paths if any(admits(q, parsed[p]) for q in queries)]
        assert list(selector.select(paths)) == expected, " or ".join(map(str, queries))
        hits += 0 < len(expected) < len(paths)
    assert hits >= 60
