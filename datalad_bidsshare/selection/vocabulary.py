"""Entity definitions: what pybids knows, completed from the BIDS schema.

Both are read as the JSON files that the installed packages carry, without
importing the packages (importing pybids takes longer than most selections).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Any

from datalad_bidsshare.selection.errors import UnknownEntityError, near_matches

__all__ = ["Entity", "Vocabulary", "load_schema", "vocabulary"]

#: What a user may call the three parts of a name that are not entities.
_PART_ALIASES = {"ext": "extension"}

#: ``KEY-`` in a pybids pattern, whatever stands before and behind it.
_KEY = re.compile(r"(?:^|[\])*+|^])([A-Za-z]+)-\(")


@dataclass(frozen=True, slots=True)
class Entity:
    """One thing that a BIDS name can say.

    Attributes
    ----------
    name
        pybids' name (``acquisition``), or the schema's where pybids has none.
    key
        Short key as it stands in file names (``acq``), or None for what is
        not written as ``key-label`` (suffix, extension, datatype, ...).
    pattern
        pybids' regular expression, searched in ``/`` + path.
    is_index
        Labels are whole numbers: ``1`` and ``01`` are the same
        (BIDS schema, ``objects.entities.*.format == 'index'``).
    """

    name: str
    key: str | None
    pattern: str
    is_index: bool


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """All the entities of the installed pybids and BIDS schema.

    Attributes
    ----------
    entities
        By canonical name, in pybids' order, then the schema's additions.
    aliases
        Every accepted spelling (name, schema name, short key) to canonical.
    datatypes
        Directory names that are BIDS datatypes.
    recording_extensions
        Extensions of recordings that are directories, with the dot, without
        the slash (``.ds``).
    recording_suffixes
        Suffixes with which a directory without an extension is a recording
        (BTi/4D data: ``sub-01_task-x_meg/``), by datatype.
    """

    entities: Mapping[str, Entity]
    aliases: Mapping[str, str]
    datatypes: frozenset[str]
    recording_extensions: tuple[str, ...]
    recording_suffixes: Mapping[str, frozenset[str]]

    def canonical(self, key: str) -> str:
        """Give the canonical name of an entity.

        Parameters
        ----------
        key
            pybids name, BIDS schema name or short key.

        Raises
        ------
        UnknownEntityError
            If no entity goes by that name. The near ones are named.
        """
        try:
            return self.aliases[key]
        except KeyError:
            pass
        near = near_matches(key, self.aliases)
        hint = f"did you mean {' or '.join(near)}?" if near else "see the entity table in the docs"
        raise UnknownEntityError(f"unknown BIDS entity {key!r}; {hint}")


def _package_file(package: str, *parts: str) -> Path:
    """Find a data file of an installed package without importing the package."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(f"the Python package {package!r} is not installed")
    return Path(spec.submodule_search_locations[0], *parts)


def _load(package: str, *parts: str) -> Any:
    return json.loads(_package_file(package, *parts).read_bytes())


@lru_cache(maxsize=1)
def load_schema() -> dict[str, Any]:
    """Load the BIDS schema that the installed bidsschematools carries.

    Returns
    -------
    dict
        The dereferenced schema (``meta``, ``objects``, ``rules``,
        ``bids_version``). Shared: do not change it.
    """
    schema: dict[str, Any] = _load("bidsschematools", "data", "schema.json")
    return schema


@lru_cache(maxsize=1)
def vocabulary() -> Vocabulary:
    """Give the definitions that this installation stands on."""
    schema = load_schema()
    objects = schema["objects"]
    by_key = {e["name"]: (name, e) for name, e in objects["entities"].items()}
    datatypes = frozenset(d["value"] for d in objects["datatypes"].values())

    entities: dict[str, Entity] = {}
    for config in ("bids", "derivatives"):
        for raw in _load("bids", "layout", "config", f"{config}.json")["entities"]:
            name, pattern = raw["name"], raw["pattern"]
            found = _KEY.search(pattern)
            key = found[1] if found else None
            if name == "datatype":
                pattern, datatypes = _widen_datatypes(pattern, datatypes)
            known_to_schema = by_key.get(key, (None, {}))[1] if key else {}
            is_index = raw.get("dtype") == "int" or known_to_schema.get("format") == "index"
            entities[name] = Entity(name, key, pattern, is_index)
    pybids_keys = {e.key for e in entities.values()}
    for key, (name, raw) in by_key.items():
        if key not in pybids_keys:
            is_index = raw.get("format") == "index"
            label = "[0-9]+" if is_index else "[a-zA-Z0-9+]+"
            entities[name] = Entity(name, key, rf"[_/\\]+{key}-({label})", is_index)

    aliases = dict(_PART_ALIASES)
    for entity in entities.values():
        aliases[entity.name] = entity.name
        if entity.key:
            aliases.setdefault(entity.key, entity.name)
            schema_name = by_key.get(entity.key, (None,))[0]
            if schema_name:
                aliases.setdefault(schema_name, entity.name)

    return Vocabulary(
        entities=MappingProxyType(entities),
        aliases=MappingProxyType(aliases),
        datatypes=datatypes,
        recording_extensions=_recording_extensions(objects),
        recording_suffixes=_recording_suffixes(schema["rules"]["files"]["raw"]),
    )


def _widen_datatypes(pattern: str, known: frozenset[str]) -> tuple[str, frozenset[str]]:
    """Add the schema's datatypes to pybids' pattern, which lists its own."""
    listed = re.search(r"\(([a-z|]+)\)", pattern)
    if listed is None:
        raise ValueError(f"pybids' datatype pattern has a new form: {pattern}")
    own = listed[1].split("|")
    both = own + sorted(known - set(own))
    return pattern.replace(listed[1], "|".join(both)), frozenset(both)


def _recording_extensions(objects: Mapping[str, Any]) -> tuple[str, ...]:
    values = (e["value"] for e in objects["extensions"].values())
    named = {v[:-1] for v in values if v.endswith("/") and len(v) > 1}
    # pybids takes every *.zarr directory for one file, OME or not.
    return tuple(sorted(named | {".zarr"}))


def _recording_suffixes(raw_rules: Mapping[str, Any]) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for rules in raw_rules.values():
        for rule in rules.values():
            if "/" in rule.get("extensions", ()):
                for datatype in rule.get("datatypes", ()):
                    found.setdefault(datatype, set()).update(rule.get("suffixes", ()))
    return MappingProxyType({d: frozenset(s) for d, s in found.items()})
