"""The files that go with selected files, found from names alone.

A reader of a BIDS image wants more than the image: its metadata by the
inheritance principle (BIDS "Common principles"), the tables and images that
the schema associates with it, and the few files that describe the dataset.
What JSON *content* points to is the subject of :mod:`.links`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, cast

from datalad_bidsshare.selection.associations import (
    Association,
    Facts,
    applicable,
    associations,
)
from datalad_bidsshare.selection.entities import parse, recording_directory
from datalad_bidsshare.selection.inheritance import (
    Folder,
    Inheritance,
    Kind,
    Label,
    Source,
    natural_order,
)
from datalad_bidsshare.selection.names import DESCRIPTION, Names, parents
from datalad_bidsshare.selection.vocabulary import load_schema

__all__ = ["Companion", "Level", "bids_root", "companions", "expand", "sidecars"]

Level = Literal["none", "default", "linked"]

#: Files that describe data; selecting one does not bring the data along.
_DESCRIBING = frozenset({".json", ".tsv", ".tsv.gz", ".bval", ".bvec"})
_GRADIENTS = frozenset({".bval", ".bvec"})
#: Extensions that each hold a whole image: one is an alternative to the other.
_ENCODINGS = (
    frozenset({".nii", ".nii.gz"}),
    frozenset({".ome.tif", ".ome.btf", ".tif", ".png"}),
)
#: Files of prose at the root, with whatever markup (BIDS "Modality agnostic
#: files"; the schema has CHANGES without an extension, many datasets have not).
_PROSE = ("README", "CHANGES", "LICENSE")
_PROSE_EXTENSIONS = ("", ".md", ".rst", ".txt")


@dataclass(frozen=True, slots=True)
class Companion:
    """A file that rides along.

    Attributes
    ----------
    path
        The file.
    companion_of
        The first of the selected paths that needs it.
    reason
        ``'part'``, ``'recording'``, ``'sidecar'``, ``'scans'``, ``'sessions'``,
        ``'root'``, the name of an association rule (``'events'``), or the
        metadata field that points to it (``'IntendedFor'``).
    """

    path: str
    companion_of: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Lookups:
    """Where to look for what, for files of one kind in one directory."""

    beside: tuple[tuple[Kind, str], ...] = ()
    sidecars: tuple[Kind, ...] = ()
    rules: tuple[tuple[Association, tuple[tuple[Kind, ...], ...]], ...] = ()
    gradients: tuple[tuple[str, tuple[Kind, ...]], ...] = ()


def _lookups(source: Source) -> _Lookups:
    key = (source.suffix, source.extension, tuple(source.entities))
    lookups = source.folder.lookups.get(key)
    if not isinstance(lookups, _Lookups):
        lookups = source.folder.lookups[key] = _make_lookups(source)
    return lookups


def _make_lookups(source: Source) -> _Lookups:
    levels, suffix, extension = source.folder.levels, source.suffix, source.extension
    if extension == ".json":
        return _Lookups()
    beside = tuple(_beside(source))
    if not suffix:
        return _Lookups(beside)
    sidecars = [k for level in levels if (k := level.kinds(suffix).get(".json"))]
    rules = []
    for rule in _rules(suffix, extension, tuple(source.entities), source.entities.get("datatype")):
        reach = levels[:1] if rule.search == "here" else levels
        places = [p for level in reach if (p := tuple(_places(level, rule, suffix)))]
        if places:
            rules.append((rule, tuple(places)))
    gradients = []
    if suffix == "dwi" and extension in _ENCODINGS[0]:
        for name in ("bval", "bvec"):
            found = [k for level in levels if (k := level.kinds(suffix).get(f".{name}"))]
            gradients.append((name, tuple(found)))
    return _Lookups(beside, tuple(sidecars), tuple(rules), tuple(gradients))


@lru_cache(maxsize=4096)
def _rules(
    suffix: str, extension: str, entities: tuple[str, ...], datatype: Label | None
) -> tuple[Association, ...]:
    """Give the rules for files of a kind.

    One that picks its files by neither suffix, datatype nor entity (the
    schema's events and physio) holds for data only: an electrodes table does
    not bring a physiological recording with it.
    """
    rules = applicable(Facts(suffix, extension, str(datatype or ""), frozenset(entities)))
    if extension in _GRADIENTS or (_describes(extension) and suffix in _describing_suffixes()):
        return tuple(rule for rule in rules if rule.narrow)
    return rules


def _describes(extension: str) -> bool:
    # fMRIPrep writes .dtseries.json beside .dtseries.nii.
    return extension in _DESCRIBING or extension.endswith(".json")


@lru_cache(maxsize=1)
def _describing_suffixes() -> frozenset[str]:
    tables = {r.suffix for r in associations() if r.suffix and any(map(_describes, r.extensions))}
    return frozenset(tables | {"scans", "sessions", "participants", "samples"})


def _places(level: Folder, rule: Association, suffix: str) -> Iterator[Kind]:
    for extension, kind in level.kinds(rule.suffix or suffix).items():
        if extension in rule.extensions or (".*" in rule.extensions and extension != ".json"):
            yield kind


#: What one file needs: (path, reason, whether that file needs others in turn).
_Need = tuple[str, str, bool]


def _needs(source: Source) -> list[_Need]:
    """Give what one file needs itself."""
    entities, prefix = source.entities, source.prefix
    lookups = _lookups(source)
    needs: list[_Need] = []
    for kind, reason in lookups.beside:
        path = kind.by_prefix.get(prefix)
        if path is not None:
            needs.append((path, reason, False))
    if "split" in entities:
        needs += _split_parts(source)
    for kind in lookups.sidecars:
        needs += [(path, "sidecar", False) for path in kind.inherited(entities)]
    for rule, places in lookups.rules:
        for kinds in places:
            found = [p for k in kinds for p in k.associated(entities, rule.extra, rule.fixed)]
            if len(found) > 1:
                found = _one_encoding(found, source.extension)
            needs += [(path, rule.name, True) for path in found]
            if found and rule.search == "nearest":
                break
    for name, gradients in lookups.gradients:
        # BIDS: the nearest one that the file inherits from (found above).
        # pybids' get_bval/get_bvec: the one that agrees best, be it more
        # specific than the image. Both must be there for both to be answered.
        for kind in gradients:
            best = min(
                ((-shared, natural_order(path), path) for shared, path in kind.agreeing(entities)),
                default=None,
            )
            if best:
                needs.append((best[2], name, False))
                break
    return needs


def _beside(source: Source) -> Iterator[tuple[Kind, str]]:
    """Give where the files are that are one thing with a file, by their stem."""
    own = source.extension
    is_data = not _describes(own)
    for extension, kind in source.folder.kinds(source.suffix).items():
        if extension.endswith(".json"):
            yield kind, "sidecar"
        elif is_data and extension != own and not _alternatives(own, extension):
            yield kind, "part"


def _split_parts(source: Source) -> list[_Need]:
    """Give the parts of a long FIF recording (BIDS "MEG file formats")."""
    kind = source.folder.kinds(source.suffix).get(source.extension)
    if kind is None:
        return []
    rest = {k: v for k, v in source.entities.items() if k != "split"}
    parts = kind.associated(rest, frozenset({"split"}), {})
    return [(path, "part", True) for path in parts if "split" in parse(path)]


def _one_encoding(found: list[str], extension: str) -> list[str]:
    """Leave out an image that is also there in the encoding of the source."""
    there = set(found)
    kept = []
    for path in found:
        dirname, slash, base = path.rpartition("/")
        stem, dot, rest = base.partition(".")
        twin = f"{dirname}{slash}{stem}{extension}"
        if twin not in there or not _alternatives(dot + rest, extension):
            kept.append(path)
    return kept


def _alternatives(one: str, other: str) -> bool:
    return one != other and any(one in kind and other in kind for kind in _ENCODINGS)


def _tables(source: Source) -> list[_Need]:
    """Give the scans and sessions tables of a file's subject and session."""
    return [
        (path, suffix, True)
        for suffix in ("scans", "sessions")
        for level in source.folder.levels
        if (kind := level.kinds(suffix).get(".tsv"))
        for path in kind.inherited(source.entities)
    ]


def _root_files(source: Source, names: Names) -> list[_Need]:
    """Give the files that describe the whole of a file's BIDS dataset."""
    known = _root_names("sample" in source.entities)
    root = source.folder.root
    skip = len(root) + 1 if root else 0
    return [(path, "root", False) for path in names.files_in(root) if path[skip:] in known]


@lru_cache(maxsize=2)
def _root_names(with_samples: bool) -> frozenset[str]:
    """Give the names of the files that describe a dataset (BIDS schema)."""
    common = load_schema()["rules"]["files"]["common"]
    rules = [*common["core"].values(), common["tables"]["participants"]]
    if with_samples:
        rules.append(common["tables"]["samples"])
    folders = {d for kind in load_schema()["rules"]["directories"].values() for d in kind}
    known = {f"{stem}{extension}" for stem in _PROSE for extension in _PROSE_EXTENSIONS}
    for rule in rules:
        if "path" in rule:
            known.add(rule["path"])
        else:
            known.update(rule["stem"] + extension for extension in rule["extensions"])
    return frozenset(known - folders)


def bids_root(path: str, names: Names) -> str:
    """Give the root of the BIDS dataset that a path belongs to.

    The deepest directory above it that has a ``dataset_description.json``;
    ``''`` when there is none.
    """
    return next(d for d in parents(path) if not d or f"{d}/{DESCRIPTION}" in names)


def sidecars(path: str, walk: Inheritance) -> list[str]:
    """Give the JSON files that hold a file's metadata, the strongest first.

    The set and the order are those of pybids' index (the nearest directory
    first, by natural order within one), so that updating a dict with their
    contents from last to first gives what ``get_metadata`` gives.
    """
    directory = recording_directory(path)
    source = walk.source(path) if directory is None else walk.recording(directory)
    return [
        sidecar
        for kind in _lookups(source).sidecars
        for sidecar in sorted(kind.inherited(source.entities), key=natural_order)
    ]


def companions(selected: Iterable[str], names: Names) -> Iterator[Companion]:
    """Give the files that selected files need, from names alone.

    Parameters
    ----------
    selected
        Paths of the selected files; they need not be in `names`.
    names
        All the files that there are.

    Yields
    ------
    Companion
        Each path once, none that is itself selected, in the order in which
        the selected paths (as given) first need them.
    """
    seen = dict.fromkeys(selected)
    return expand(list(seen), set(seen), Inheritance(names))


def expand(wanted: Iterable[str], seen: set[str], walk: Inheritance) -> Iterator[Companion]:
    """Give the companions of files that were not seen before, and note them.

    Parameters
    ----------
    wanted
        The files.
    seen
        What is not to be given (any more); grows.
    walk
        Where to look.
    """
    recordings: set[str] = set()
    at: Folder | None = None
    heads: tuple[str, ...] = ()
    settled: _Templates | None = None
    for path in wanted:
        folder = walk.folder(path.rpartition("/")[0])
        if folder.recording is None:
            own, shared = _templates(path, folder, walk)
        elif folder.recording in recordings:
            continue
        else:
            recordings.add(folder.recording)
            for member in walk.names.below(folder.recording):
                if member not in seen:
                    seen.add(member)
                    yield Companion(member, path, "recording")
            source = walk.recording(folder.recording)
            folder = source.folder
            own, shared = _make_templates(source, walk)
        if folder is not at:
            at, heads, settled = folder, folder.heads, None
        if shared is not settled:
            settled = shared
            own += shared
        for head, rest, reason in own:
            needed = heads[head] + rest
            if needed not in seen:
                seen.add(needed)
                yield Companion(needed, path, reason)


#: What a file needs, as it holds for all directories of one shape: which of
#: the folder's heads, what stands behind it, the reason.
_Templates = tuple[tuple[int, str, str], ...]


def _templates(path: str, folder: Folder, walk: Inheritance) -> tuple[_Templates, _Templates]:
    """Give what a file needs itself, and what all those of its kind here do."""
    memory = folder.shape.memory
    name = folder.alike(path)
    found = memory.get(name)
    if found is None:
        found = memory[name] = _make_templates(walk.source(path), walk)
    return cast("tuple[_Templates, _Templates]", found)


def _make_templates(source: Source, walk: Inheritance) -> tuple[_Templates, _Templates]:
    own = _closure(_needs(source), walk)
    shared = _closure(_tables(source) + _root_files(source, walk.names), walk)
    return _relative(own, source.folder), _shared(_relative(shared, source.folder))


@lru_cache(maxsize=4096)
def _shared(templates: _Templates) -> _Templates:
    """Give equal templates as one object, which is quick to recognise."""
    return templates


def _closure(needs: list[_Need], walk: Inheritance) -> list[_Need]:
    """Add what is needed by what is needed."""
    seen = {path for path, _, _ in needs}
    # Grows while it is read: what companions need comes after them.
    for path, _, again in needs:
        if again:
            more = [need for need in _needs(walk.source(path)) if need[0] not in seen]
            seen.update(need[0] for need in more)
            needs += more
    return needs


def _relative(needs: list[_Need], folder: Folder) -> _Templates:
    at = {level.path: (i, level) for i, level in enumerate(folder.levels)}
    templates = []
    for path, reason, _ in needs:
        i, level = at[path.rpartition("/")[0]]
        name = level.alike(path)
        templates.append((2 * i + (path != level.base + name), name, reason))
    return tuple(dict.fromkeys(templates))
