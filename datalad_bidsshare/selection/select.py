"""From many names to the ones that a selection means, quickly.

A name is looked at in three steps, each cheaper to fail than the next: a test
on its bytes that every wanted name passes, a verdict on its directory that is
made once, and only then its own tokens.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import chain

from datalad_bidsshare.selection.entities import parser, recording_directory, recording_entities
from datalad_bidsshare.selection.errors import near_matches
from datalad_bidsshare.selection.filters import Query, Selection, ValueFilter
from datalad_bidsshare.selection.names import DESCRIPTION, parents
from datalad_bidsshare.selection.vocabulary import vocabulary

__all__ = ["SKIPPED_DIRECTORIES", "Selector", "bids_roots", "unmet_values", "values_near"]

#: What an entity query does not look into below a BIDS root: pybids'
#: ``DEFAULT_LOCATIONS_TO_IGNORE``, and ``derivatives``, which pybids only
#: indexes when it is told to.
SKIPPED_DIRECTORIES = frozenset({"code", "derivatives", "models", "sourcedata", "stimuli"})

#: What is left to ask of the names in a directory, for each query still alive.
_Remaining = tuple[tuple[ValueFilter, ...], ...]
_NOTHING: _Remaining = ()


def bids_roots(paths: Iterable[str]) -> frozenset[str]:
    """Find the directories that are BIDS datasets: those with a description.

    Parameters
    ----------
    paths
        File paths of one dataset.

    Returns
    -------
    frozenset of str
        Directories, always with ``''``, the dataset itself.
    """
    tail = f"/{DESCRIPTION}"
    return frozenset({""}.union([p[: -len(tail)] for p in paths if p.endswith(tail)]))


class Selector:
    """Applies one selection to the names of one dataset.

    Parameters
    ----------
    selection
        What is wanted.
    within
        Positional paths, relative to the dataset root: only these files and
        what lies below these directories. Empty, or with ``''``: everywhere.
    roots
        BIDS roots in the dataset (see :func:`bids_roots`): what an entity
        query skips, it skips below each of them.
    skip
        Whether hidden and side directories are passed over, as for every
        query on entities or tables.
    mounted
        Where the dataset is mounted in the one that was given, if it is a
        subdataset: path globs to exclude start there.
    """

    def __init__(
        self,
        selection: Selection,
        within: Sequence[str] = (),
        roots: frozenset[str] = frozenset({""}),
        *,
        skip: bool | None = None,
        mounted: str = "",
    ) -> None:
        self._selection = selection
        self._mounted = f"{mounted}/" if mounted else ""
        # '' names the dataset itself: it restricts nothing and names nothing inside.
        self._everywhere = not within or "" in within
        self._named = frozenset(w for w in within if w)
        #: The directories above them.
        self._on_the_way = frozenset(d for named in self._named for d in parents(named))
        self._roots = roots
        self._skip = bool(selection.queries) if skip is None else skip
        self._parser = parser()
        self._states: dict[str, _Remaining] = {}
        everything: _Remaining = ((),)
        self._queries: _Remaining = (
            tuple(q.filters for q in selection.queries) if selection.queries else everything
        )

    def select(self, paths: Iterable[str]) -> Iterator[str]:
        """Give the paths that are wanted, in their order."""
        keep = self.prefilter()
        chunk = list(paths)
        yield from filter(self.wants, keep(chunk) if keep else chunk)

    def wants(self, path: str) -> bool:
        """Say whether one path is wanted."""
        dirname, _, base = path.rpartition("/")
        if path in self._named:
            # Its directory may be one that is skipped but for this file.
            state: _Remaining | None = self._open(dirname, on_the_way=True)
        else:
            state = self._states.get(dirname)
            if state is None:
                state = self._open(dirname) if self._covers(dirname) else _NOTHING
                self._states[dirname] = state
        if not state:
            return False
        if (
            self._skip
            and base.startswith(".")
            and recording_directory(path) is None
            and not self._is_named(path, path)
        ):
            return False
        if state != ((),) and not self._admits(path, base, state):
            return False
        return not self.excludes(path)

    def excludes(self, path: str, *, companion: bool = False) -> bool:
        """Say whether a path is taken away; see :meth:`.filters.Selection.excludes`."""
        selection = self._selection
        if not (selection.excluded or selection.excluded_globs):
            return False
        return selection.excludes(self._mounted + path, self.entities(path), companion=companion)

    def entities(self, path: str) -> dict[str, str]:
        """Give a path's entities; inside a directory recording, the recording's."""
        recording = recording_directory(path)
        if recording is None:
            return self._parser.parse(path)
        # What a part's own name says fills in where the recording says nothing.
        return {**self._parser.parse(path), **recording_entities(recording)}

    def directory_entities(self, directory: str) -> Mapping[str, str]:
        """Give what a directory says of all the files below it."""
        return self._parser.directory(directory)

    def may_hold(self, directory: str) -> bool:
        """Say whether a subdataset mounted there could hold a wanted file.

        Only what the mount path itself says is used: nothing is opened.
        """
        inside = f"{directory}/"
        if not (self._covers(directory) or directory in self._on_the_way):
            return False
        if any(
            pattern.fullmatch(self._mounted + inside)
            for _, pattern in self._selection.excluded_globs
        ):
            return False
        return bool(self._open(directory, on_the_way=True))

    def prefilter(self) -> Callable[[list[str]], list[str]] | None:
        """Give a quick test on whole lists of paths, or None if there is none.

        Every wanted path passes; so may others. Also right for texts that
        have something in front of the path, such as index entries.
        """
        if len(self._selection.queries) != 1:
            return None
        endings, needles, choices = _necessary(self._selection.queries[0])
        if not (endings or needles or choices):
            return None

        def keep(paths: list[str]) -> list[str]:
            if endings:
                paths = [p for p in paths if p.endswith(endings)]
            for needle in needles:
                paths = [p for p in paths if needle in p]
            for has_one in choices:
                paths = [p for p in paths if has_one(p)]
            return paths

        return keep

    def _open(self, dirname: str, *, on_the_way: bool = False) -> _Remaining:
        """Judge a directory: what remains to be asked of the names in it.

        `on_the_way` also opens what only leads to a named path.
        """
        recording = recording_directory(f"{dirname}/") if dirname else None
        # What a recording holds is its own affair: a Zarr is full of dot files.
        if self._skip and self._is_skipped(recording or dirname, dirname, on_the_way):
            return _NOTHING
        settled: Mapping[str, str] = self._parser.directory(dirname)
        if recording is not None:
            whole = recording_entities(recording)
            if any(_admits_all(filters, whole) for filters in self._queries):
                return ((),)
            if recording.endswith(".zarr"):
                # pybids takes it for one file: its parts have no names of their own
                return _NOTHING
        late = self._parser.whole_path_entities
        remaining = []
        for filters in self._queries:
            left = []
            for one in filters:
                value = settled.get(one.entity) if one.entity not in late else None
                if value is None:
                    left.append(one)
                elif not one.admits(value):
                    break
            else:
                if not left:
                    return ((),)
                remaining.append(filters if len(left) == len(filters) else tuple(left))
        state = tuple(remaining)
        # Kept for every directory: the same object costs nothing.
        return self._queries if state == self._queries else state

    def _admits(self, path: str, base: str, state: _Remaining) -> bool:
        own = self._parser.name(base)
        late = self._parser.whole_path_entities
        for filters in state:
            for one in filters:
                if one.entity in late:
                    value = self._parser.from_whole_path(one.entity, path)
                else:
                    value = own.get(one.entity)
                if not one.admits(value):
                    break
            else:
                return True
        return False

    def _is_skipped(self, place: str, dirname: str, on_the_way: bool) -> bool:
        """Say whether a directory lies in a skipped place; `place` is as far as that may be."""
        components = place.split("/")
        if SKIPPED_DIRECTORIES.isdisjoint(components) and "/." not in f"/{place}":
            return False
        for at, component in enumerate(components):
            hidden = component.startswith(".")
            if hidden or (
                component in SKIPPED_DIRECTORIES and "/".join(components[:at]) in self._roots
            ):
                skipped = "/".join(components[: at + 1])
                if not self._is_named(skipped, dirname, on_the_way):
                    return True
        return False

    def _is_named(self, place: str, path: str, on_the_way: bool = False) -> bool:
        """Say whether a positional path opens a skipped place for a path in it."""
        if on_the_way and path in self._on_the_way:
            return True
        return any(
            named in self._named and (named == place or named.startswith(f"{place}/"))
            for named in (path, *parents(path))
        )

    def _covers(self, directory: str) -> bool:
        """Say whether the positional paths take in all that lies in a directory."""
        return self._everywhere or any(d in self._named for d in parents(f"{directory}/"))


def _admits_all(filters: tuple[ValueFilter, ...], entities: Mapping[str, str]) -> bool:
    return all(f.admits(entities.get(f.entity)) for f in filters)


def _necessary(
    query: Query,
) -> tuple[tuple[str, ...], list[str], list[Callable[[str], object]]]:
    """Give texts that the paths of a query hold.

    Returns
    -------
    endings
        Each path ends in one of them; empty: no matter how.
    needles
        Each path holds all of them.
    choices
        Each path passes all of these tests: for one of several texts.
    """
    suffixes: tuple[str, ...] = ()
    extensions: tuple[str, ...] = ()
    needles: list[str] = []
    choices: list[Callable[[str], object]] = []
    definitions = vocabulary()
    directory_suffixes = frozenset().union(*definitions.recording_suffixes.values())
    for one in query.filters:
        if not one.is_literal:
            continue
        key = definitions.entities[one.entity].key
        labels = sorted(one.literals)
        if one.entity == "extension":
            # Files inside a directory recording do not end in its extension.
            if not any(e.endswith(definitions.recording_extensions) for e in labels):
                extensions = tuple(labels)
        elif one.entity == "suffix":
            if directory_suffixes.isdisjoint(labels):
                suffixes = tuple(f"{label}." for label in labels)
            elif len(labels) == 1:
                needles += labels
        elif one.numbers:
            needles.append(f"{key}-")
        elif one.entity == "datatype":
            # a backslash may stand behind it in pybids' pattern
            if len(labels) == 1:
                needles += labels
        elif key and len(labels) == 1:
            needles.append(f"{key}-{labels[0]}")
        elif key:
            choices.append(re.compile(f"{key}-(?:{'|'.join(map(re.escape, labels))})").search)
    # Both at once leave less to look at; where an extension holds a suffix, they may overlap.
    if suffixes and extensions and not any(s in e for s in suffixes for e in extensions):
        endings = tuple(s[:-1] + e for s in suffixes for e in extensions)
        return endings, needles, choices
    if len(suffixes) == 1:
        needles += suffixes
    return extensions, needles, choices


def unmet_values(
    selection: Selection, found: Iterable[Mapping[str, str]]
) -> dict[tuple[str, str], ValueFilter]:
    """Give the listed values that no selected file has.

    Those that only queries of a filter file list count if no file is selected at all.

    Parameters
    ----------
    selection
        What was asked.
    found
        Entities of the selected files.

    Returns
    -------
    dict
        (entity, value as asked) to the filter that lists it. Whether such a
        value exists elsewhere in the dataset is for :func:`values_near`.
    """
    entities_of = iter(found)
    first = next(entities_of, None)
    # A filter file is for many datasets: that a query of it finds nothing is no mistake.
    asked = [q.filters for q in selection.queries if first is None or not q.name]
    unmet = {
        (one.entity, value): one
        for filters in (selection.options, *asked)
        for one in filters
        for value in one.wanted
    }
    wanted_entities = {entity for entity, _ in unmet}
    seen: set[tuple[str, str]] = set()
    for entities in chain([] if first is None else [first], entities_of):
        for entity in wanted_entities:
            value = entities.get(entity)
            if value is not None and (entity, value) not in seen:
                seen.add((entity, value))
                for pair in [p for p in unmet if p[0] == entity]:
                    if unmet[pair].has_literal(pair[1], value):
                        del unmet[pair]
        if not unmet:
            break
    return unmet


def values_near(value: str, known: Iterable[str], most: int = 4) -> list[str]:
    """Give the labels in a dataset that a mistyped one may have meant, best first.

    Besides spelling, zero padding counts: who asks for ``1`` means ``001``.
    """
    ordered = sorted(set(known))
    bare = value.lstrip("0").casefold()
    padded = [k for k in ordered if bare and k.lstrip("0").casefold() == bare]
    inside = [k for k in ordered if len(value) > 2 and value.casefold() in k.casefold()]
    near = [*padded, *near_matches(value, ordered, most), *inside]
    return list(dict.fromkeys(near))[:most] or (ordered if len(ordered) <= most else [])
