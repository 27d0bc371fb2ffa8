"""Who inherits from whom: an index of directories, made as it is asked for.

BIDS "Inheritance principle": a file applies to all those below its directory
that have the same suffix and all of its entities. Directories are cut into
suffix, extension and *prefix* (what stands before the suffix) by string
operations; entities are read once for each distinct prefix, since all the files
that share it (``_bold.nii.gz``, ``_bold.json``, ``_events.tsv``) share them.

Most directories of a dataset look alike but for the subject and the session in
their names. Those share one :class:`Shape`, and what was found out about one of
them holds for all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from datalad_bidsshare.selection.digits import whole_number
from datalad_bidsshare.selection.entities import parse, parser, recording_directory
from datalad_bidsshare.selection.names import DESCRIPTION, Names

__all__ = [
    "Entities",
    "Folder",
    "Inheritance",
    "Kind",
    "Label",
    "Shape",
    "Source",
    "natural_order",
]

Label = str | int
Entities = Mapping[str, Label]

#: pybids' two entities that are no entities but the name once more.
_PSEUDO = ("scans", "fmap")
_NOT_COMPARED = ("suffix", "extension", *_PSEUDO)
#: How many directories are remembered before the memory is emptied.
_MOST_FOLDERS = 512


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or one directory that is a recording, that needs companions.

    Attributes
    ----------
    path
        Its path, whether or not it is among the names.
    folder
        The directory that it lies in.
    prefix
        Its name up to the suffix, with the underscore.
    suffix, extension
        As pybids reads them, ``''`` where there is none.
    entities
        The others, ready to compare: as in pybids, `run` is a number.
    """

    path: str
    folder: Folder
    prefix: str
    suffix: str
    extension: str
    entities: Entities


class Kind:
    """The files of one suffix and extension in one directory.

    Grouped by which entities they have, then by the labels, so that finding
    those that a file inherits from costs a look-up per group, not per file.
    """

    __slots__ = ("_groups", "_loose", "_reader", "by_prefix")

    def __init__(self, reader: _Reader) -> None:
        self._reader = reader
        self.by_prefix: dict[str, str] = {}
        self._groups: dict[tuple[str, ...], dict[tuple[Label, ...], list[str]]] | None = None
        self._loose: dict[
            tuple[tuple[str, ...], frozenset[str]],
            dict[tuple[Label, ...], list[tuple[tuple[Label, ...], str]]],
        ] = {}

    def groups(self) -> Mapping[tuple[str, ...], Mapping[tuple[Label, ...], list[str]]]:
        """Give the files by the names of their entities, then by the labels."""
        groups = self._groups
        if groups is None:
            groups = self._groups = {}
            for prefix, path in self.by_prefix.items():
                entities = self._reader.entities(prefix, path)
                keys, labels = tuple(entities), tuple(entities.values())
                groups.setdefault(keys, {}).setdefault(labels, []).append(path)
        return groups

    def inherited(self, entities: Entities) -> list[str]:
        """Give the files whose entities are all in these, with equal labels."""
        found: list[str] = []
        for keys, by_labels in self.groups().items():
            try:
                labels = tuple([entities[key] for key in keys])
            except KeyError:
                continue
            found += by_labels.get(labels, ())
        return found

    def associated(
        self,
        entities: Entities,
        extra: frozenset[str],
        fixed: Mapping[str, frozenset[str]],
    ) -> list[str]:
        """Give the files that inheritance would give but for some entities.

        Parameters
        ----------
        entities
            Those of the file that needs others.
        extra
            Entities that the others may have without that.
        fixed
            Entities that the others must have, each with one of the labels.
        """
        if not extra and not fixed:
            return self.inherited(entities)
        found: list[str] = []
        for keys in self.groups():
            free = frozenset(k for k in keys if k in fixed or (k in extra and k not in entities))
            if not free.issuperset(fixed):
                continue
            try:
                labels = tuple([entities[k] for k in keys if k not in free])
            except KeyError:
                continue
            for all_labels, path in self._without(keys, free).get(labels, ()):
                has = dict(zip(keys, all_labels, strict=True))
                if all(has[key] in allowed for key, allowed in fixed.items()):
                    found.append(path)
        return found

    def _without(
        self, keys: tuple[str, ...], free: frozenset[str]
    ) -> dict[tuple[Label, ...], list[tuple[tuple[Label, ...], str]]]:
        """Give the files of a group by their labels except for some entities."""
        loose = self._loose.get((keys, free))
        if loose is None:
            loose = self._loose[keys, free] = {}
            for labels, paths in self.groups()[keys].items():
                bound = tuple(v for k, v in zip(keys, labels, strict=True) if k not in free)
                loose.setdefault(bound, []).extend((labels, path) for path in paths)
        return loose

    def agreeing(self, entities: Entities) -> Iterator[tuple[int, str]]:
        """Give the files that contradict none of these entities.

        Each with the number of entities that both have. This is the rule of
        pybids' ``get_nearest(strict=True)``, looser than inheritance: a file
        may say more than the one that it is for.
        """
        for keys, by_labels in self.groups().items():
            shared = [i for i, key in enumerate(keys) if key in entities]
            for labels, paths in by_labels.items():
                if all(entities[keys[i]] == labels[i] for i in shared):
                    for path in paths:
                        yield len(shared), path


class _Reader:
    """Reads the entities of names in one directory, each prefix once."""

    __slots__ = ("_directory", "_found")

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._found: dict[str, Entities] = {}

    def entities(self, prefix: str, path: str) -> Entities:
        """Give the entities of a file here, whose name has this prefix."""
        found = self._found.get(prefix)
        if found is None or "xfm" in path:
            # pybids reads from, to and mode only where `xfm` follows, so there
            # the prefix alone does not settle it.
            if "xfm" in path or "." in prefix or "\\" in path or "\n" in path:
                labels = parse(path)
                for name in _NOT_COMPARED:
                    labels.pop(name, None)
            else:
                # A directory outvotes the name, as pybids takes the first match.
                labels = parser().name(prefix)
                labels.update(parser().directory(self._directory))
            found = _comparable(labels)
            if "xfm" not in path:
                self._found[prefix] = found
        return found


def _comparable(labels: dict[str, str]) -> Entities:
    run = labels.get("run")
    number = None if run is None else whole_number(run)
    return labels if number is None else {**labels, "run": number}


class Shape:
    """What directories have in common that differ in subject and session only.

    Attributes
    ----------
    bound
        Whether a name here depends on the labels in another way than by
        starting with them, so that nothing below may be shared.
    memory
        For the use of whoever finds out what holds in all of them.
    """

    __slots__ = ("bound", "memory")

    def __init__(self, bound: bool) -> None:
        self.bound = bound
        self.memory: dict[str, object] = {}


class Folder:
    """What is known of one directory: its BIDS root, and its files by suffix.

    Holds no reference to itself, so that it goes when it is forgotten and not
    when the garbage collector has walked through a million names.
    """

    __slots__ = (
        "_above",
        "_kinds",
        "_labels",
        "_lookups",
        "_names",
        "_reader",
        "base",
        "path",
        "recording",
        "root",
        "shape",
        "stem",
    )

    def __init__(
        self, names: Names, path: str, above: Folder | None, shapes: dict[object, Shape]
    ) -> None:
        self.path = path
        #: What paths of files here start with.
        self.base = f"{path}/" if path else ""
        #: The directory of the BIDS dataset that this one belongs to: the
        #: deepest that has a dataset_description.json, as a derivative dataset
        #: within a dataset is its own (BIDS "Storage of derived datasets").
        self.root = path
        files = names.files_in(path)
        self._above: tuple[Folder, ...] = ()
        if above is not None and f"{path}/{DESCRIPTION}" not in files:
            self.root = above.root
            self._above = above.levels
        #: The directory recording that this lies in, if any.
        self.recording = recording_directory(f"{path}/_") if path else None
        self._names = names
        # Most folders are like another one, and never come to need the next three.
        self._lookups: dict[tuple[str, str, tuple[str, ...]], object] | None = None
        self._reader: _Reader | None = None
        self._kinds: dict[str, dict[str, Kind]] | None = None
        self._labels: str = above._labels if above else ""
        tail = self._take_label(path.rpartition("/")[2])
        #: The same, where they also repeat the labels: without the underscore.
        self.stem = self.base + self._labels
        self.shape = self._shape(files, tail, above, shapes)

    def _take_label(self, component: str) -> str:
        """Note the label of a subject or session directory; give what is left."""
        key, _, label = component.partition("-")
        if label.isascii() and label.isalnum() and "xfm" not in label:
            if key == "sub":
                self._labels = component
                return "sub-"
            if key == "ses" and self._labels and "_" not in self._labels:
                self._labels += f"_{component}"
                return "ses-"
        return component

    def _shape(
        self, files: list[str], tail: str, above: Folder | None, shapes: dict[object, Shape]
    ) -> Shape:
        own: list[str] = []
        bound = above is not None and above.shape.bound
        repeats, skip, cut = f"{self.stem}_", len(self.base), len(self.stem)
        labelled = bool(self._labels)
        for path in files:
            if labelled and path.startswith(repeats):
                own.append(path[cut:])
            else:
                name = path[skip:]
                own.append(name)
                if name[0] == "_" or "sub-" in name or "ses-" in name:
                    bound = bound or name[0] == "_" or bool(_cut(path, skip)[1])
        key = (above and above.shape, tail, tuple(own), self.path if bound else None)
        shape = shapes.get(key)
        if shape is None:
            shape = shapes[key] = Shape(bound)
        return shape

    def alike(self, path: str) -> str:
        """Give what a path here is called in all directories of this shape."""
        if self._labels and path.startswith(f"{self.stem}_"):
            return path[len(self.stem) :]
        return path[len(self.base) :]

    @property
    def lookups(self) -> dict[tuple[str, str, tuple[str, ...]], object]:
        """For the use of whoever looks things up here repeatedly."""
        if self._lookups is None:
            self._lookups = {}
        return self._lookups

    @property
    def reader(self) -> _Reader:
        """What reads the entities of the files here."""
        if self._reader is None:
            self._reader = _Reader(self.path)
        return self._reader

    @property
    def heads(self) -> tuple[str, ...]:
        """What paths of files on each level start with, without and with labels."""
        heads = [self.base, self.stem]
        for level in self._above:
            heads += level.base, level.stem
        return tuple(heads)

    @property
    def levels(self) -> tuple[Folder, ...]:
        """Itself and the directories above it, up to the BIDS root."""
        return (self, *self._above)

    def kinds(self, suffix: str) -> Mapping[str, Kind]:
        """Give the files here of one suffix, by extension."""
        if self._kinds is None:
            self._kinds = self._read()
        return self._kinds.get(suffix, {})

    def _read(self) -> dict[str, dict[str, Kind]]:
        by_tail: dict[str, dict[str, str]] = {}
        skip = len(self.base)
        for path in self._names.files_in(self.path):
            at = path.rfind("_", skip) + 1 or skip
            tail = path[at:]
            members = by_tail.get(tail)
            if members is None:
                members = by_tail[tail] = {}
            members[path[skip:at]] = path
        kinds: dict[str, dict[str, Kind]] = {}
        for tail, members in by_tail.items():
            parts = None if _odd("".join(members)) else _cut_tail(tail)
            if parts:
                self._kind(kinds, *parts).by_prefix.update(members)
            else:
                for path in members.values():
                    prefix, suffix, extension = _cut(path, skip)
                    self._kind(kinds, suffix, extension).by_prefix[prefix] = path
        return kinds

    def _kind(self, kinds: dict[str, dict[str, Kind]], suffix: str, extension: str) -> Kind:
        by_extension = kinds.setdefault(suffix, {})
        kind = by_extension.get(extension)
        if kind is None:
            kind = by_extension[extension] = Kind(self.reader)
        return kind


def _odd(text: str) -> bool:
    """Tell whether a prefix has characters by which pybids may cut elsewhere."""
    return "." in text or "\\" in text or "\n" in text


@lru_cache(maxsize=4096)
def _cut_tail(tail: str) -> tuple[str, str] | None:
    """Cut what stands behind the last underscore into suffix and extension."""
    suffix, dot, rest = tail.partition(".")
    ordinary = suffix.isascii() and suffix.replace("+", "0").isalnum()
    if not (rest and ordinary) or "-" in rest or "\\" in rest or "\n" in rest:
        return None
    return suffix, dot + rest


def _cut(path: str, skip: int) -> tuple[str, str, str]:
    """Cut a name into prefix, suffix and extension.

    Names in which that is not a matter of the last underscore and the first
    dot keep their whole length as the prefix, and pybids' patterns decide.
    """
    at = path.rfind("_", skip) + 1 or skip
    prefix = path[skip:at]
    if not _odd(prefix) and (parts := _cut_tail(path[at:])):
        return prefix, *parts
    stem, dot, rest = path[skip:].partition(".")
    found = parse(path)
    suffix, extension = found.get("suffix", ""), found.get("extension", "")
    if not suffix and extension == dot + rest:
        return stem, suffix, extension
    return path[skip:], suffix, extension


class Inheritance:
    """Knows the directories of a dataset, and remembers those it has seen.

    Parameters
    ----------
    names
        All the files that there are. Paths that are asked about need not be
        among them (they may lie in a subdataset that is mounted here); those
        that are answered always are.
    """

    def __init__(self, names: Names) -> None:
        self.names = names
        self._folders: dict[str, Folder] = {}
        self._shapes: dict[object, Shape] = {}

    def folder(self, directory: str) -> Folder:
        """Give what is known of a directory."""
        folder = self._folders.get(directory)
        if folder is None:
            if len(self._folders) > _MOST_FOLDERS:
                # Only the root is wanted again by whatever comes next.
                self._folders = {"": self._folders[""]}
            if len(self._shapes) > _MOST_FOLDERS:
                self._shapes.clear()
            above = self.folder(directory.rpartition("/")[0]) if directory else None
            folder = Folder(self.names, directory, above, self._shapes)
            self._folders[directory] = folder
        return folder

    def source(self, path: str) -> Source:
        """Give a path with all that a look for its companions needs."""
        folder = self.folder(path.rpartition("/")[0])
        prefix, suffix, extension = _cut(path, len(folder.base))
        return Source(path, folder, prefix, suffix, extension, folder.reader.entities(prefix, path))

    def recording(self, directory: str) -> Source:
        """Give the same for a directory that is one recording."""
        source = self.source(directory)
        if source.suffix:
            return source
        # BTi/4D: a directory without an extension has no suffix for pybids.
        prefix, _, suffix = directory[len(source.folder.base) :].rpartition("_")
        return Source(directory, source.folder, f"{prefix}_", suffix, "", source.entities)


@lru_cache(maxsize=4096)
def natural_order(path: str) -> tuple[str | tuple[int, str], ...]:
    """Give the key by which pybids sorts: digits as numbers, case ignored."""
    # Every other piece is a number; asking isdigit() would take "²" for one.
    pieces = re.split("([0-9]+)", path)
    return tuple([_magnitude(t) if i % 2 else t.lower() for i, t in enumerate(pieces)])


def _magnitude(digits: str) -> tuple[int, str]:
    """Give what orders numbers of any length, without making them: the longer is the greater."""
    bare = digits.lstrip("0")
    return len(bare), bare
