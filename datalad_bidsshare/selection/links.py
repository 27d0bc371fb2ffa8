"""The files that the content of selected files points to.

Names alone do not tell which field map is meant for a run; metadata does. What
is followed, and how far:

* forward, one hop, from the inherited metadata of selected files: IntendedFor,
  AssociatedEmptyRoom, Sources, RawSources, BasedOn, AnatomicalImage,
  ReferenceSignal, SpatialReference; from the coordinate systems that ride along with them:
  IntendedFor; from their event tables: stim_file. The sources of a source are
  not followed: BIDS has each file list only what it was made from directly, so
  the chain ends at the raw data of everything;
* backward, until nothing new turns up, for what an estimation needs: images of
  the same participant that are IntendedFor a wanted file, and all the images
  whose B0FieldIdentifier a wanted file has as its B0FieldSource.

Nothing outside of the dataset is ever followed.
"""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import unquote

from datalad_bidsshare.selection.companions import Companion, expand
from datalad_bidsshare.selection.entities import parse, recording_directory
from datalad_bidsshare.selection.inheritance import Inheritance
from datalad_bidsshare.selection.metadata import Content, Unread, Unreadable, flat
from datalad_bidsshare.selection.names import DESCRIPTION, Names
from datalad_bidsshare.selection.reader import Reader

__all__ = ["DanglingLink", "Linked", "Unread", "Unreadable", "linked"]


@dataclass(frozen=True, slots=True)
class DanglingLink:
    """A link that leads to no file of the dataset.

    Attributes
    ----------
    source
        The file whose metadata, or the table whose column, has the link.
    field
        The metadata field or the column.
    target
        The link as written.
    reason
        Why it is not followed, in words.
    """

    source: str
    field: str
    target: str
    reason: str


Linked = Companion | DanglingLink | Unread | Unreadable

#: Metadata fields that hold paths, and what the paths are relative to where
#: they are not BIDS URIs (BIDS schema, ``objects.metadata``).
_Base = Literal["subject", "dataset"]
_FIELDS: Mapping[str, _Base] = {
    "IntendedFor": "subject",
    "AssociatedEmptyRoom": "dataset",
    "Sources": "dataset",
    "RawSources": "dataset",
    "BasedOn": "subject",
    "AnatomicalImage": "dataset",
    "ReferenceSignal": "dataset",
    "SpatialReference": "dataset",
}
_KEPT = frozenset([*_FIELDS, "B0FieldSource", "B0FieldIdentifier", "DatasetLinks"])

_IMAGES = (".nii", ".nii.gz")
#: What pybids' get_fieldmap looks at, and other images that are for others.
_FOR_OTHERS = re.compile("phase1|phasediff|epi|fieldmap|m0scan")

_NOT_FOLLOWED = "it leads out of the dataset"
_NOT_THERE = "there is no such file"


def linked(selected: Iterable[str], names: Names, read: Reader) -> Iterator[Linked]:
    """Give the files that the content of selected files leads to.

    Parameters
    ----------
    selected
        Paths of the selected files.
    names
        All the files that there are.
    read
        Reads files, many in a call: one call for the JSON files, one for the tables,
        and one for each participant whose runs name a ``B0FieldSource``.

    Yields
    ------
    Companion
        A file that is linked, and then its own default companions, all of them
        companions of the selected file at the origin. Neither selected files
        nor their default companions.
    DanglingLink, Unread, Unreadable
        What stands in the way of a complete answer. Nothing here is raised:
        metadata is somebody else's input.
    """
    return _Search(selected, names, read).run()


class _Search:
    def __init__(self, selected: Iterable[str], names: Names, read: Reader) -> None:
        self._names = names
        self._walk = Inheritance(names)
        self._content = Content(read, self._walk, _KEPT)
        self._wanted = list(dict.fromkeys(selected))
        self._seen = set(self._wanted)
        self._noted: set[DanglingLink] = set()
        #: Files that a field map may be for, by participant, in order.
        self._frontier: dict[_Participant, list[tuple[str, str]]] = {}

    def run(self) -> Iterator[Linked]:
        riding = list(expand(self._wanted, self._seen, self._walk))
        tables = [(p, p) for p in self._wanted if _is_events(p)]
        tables += [(c.path, c.companion_of) for c in riding if _is_events(c.path)]
        systems = [(c.path, c.companion_of) for c in riding if c.path.endswith("coordsystem.json")]
        participants = {p: who for p in self._wanted if (who := self._participant(p))}
        maps = {who: list(self._for_others(who)) for who in dict.fromkeys(participants.values())}

        for path in self._wanted:
            self._content.want_metadata(path, path)
        origins = {who: path for path, who in reversed(participants.items())}
        for who, candidates in maps.items():
            for path in candidates:
                self._content.want_metadata(path, origins[who])
        for path, of in systems:
            self._content.want(path, of)
        for path in self._wanted:
            self._content.want(posixpath.join(self._root(path), DESCRIPTION), path)
        self._content.load()
        yield from self._content.notes()

        for path in self._wanted:
            metadata = self._content.metadata(path)
            for name, base in _FIELDS.items():
                yield from self._forward(path, path, name, metadata.get(name), base)
        for path, of in systems:
            value = self._content.own(path).get("IntendedFor")
            yield from self._forward(path, of, "IntendedFor", value, "subject")
        yield from self._stimuli(tables)

        for path, who in participants.items():
            self._frontier.setdefault(who, []).append((path, path))
        for who, candidates in maps.items():
            yield from self._backward(who, candidates)

    # -- forward ---------------------------------------------------------------

    def _forward(
        self, path: str, of: str, name: str, value: object, base: _Base
    ) -> Iterator[Linked]:
        if name == "SpatialReference":
            value = [v for v in flat(value) if isinstance(v, str) and _is_location(v)]
        for target in flat(value):
            if not isinstance(target, str) or not target:
                yield from self._dangling(path, name, target, "it is not a path")
                continue
            places, reason = self._places(path, target, base)
            hit = next((p for p in places if self._files_at(p)), None)
            if hit is None:
                yield from self._dangling(path, name, target, reason or _NOT_THERE)
            else:
                for file in self._files_at(hit):
                    yield from self._take(file, of, name)

    def _dangling(
        self, source: str, name: str, target: object, reason: str
    ) -> Iterator[DanglingLink]:
        text = target if isinstance(target, str) else json.dumps(target)
        link = DanglingLink(source, name, text, reason)
        if link not in self._noted:
            self._noted.add(link)
            yield link

    def _take(self, path: str, of: str, reason: str) -> Iterator[Companion]:
        """Give a linked file and what it needs itself."""
        if path not in self._seen:
            self._seen.add(path)
            yield Companion(path, of, reason)
            for companion in expand([path], self._seen, self._walk):
                yield Companion(companion.path, of, companion.reason)

    def _files_at(self, path: str) -> list[str]:
        """Give the file, or all those of the directory recording, at a path."""
        if path in self._names:
            return [path]
        if recording_directory(f"{path}/_") == path:
            return self._names.below(path)
        return []

    def _places(self, path: str, target: str, base: _Base) -> tuple[list[str], str]:
        """Give where a link may lead, the likeliest first, or why nowhere."""
        root = self._root(path)
        if target.startswith("bids:"):
            dataset, colon, rest = target[len("bids:") :].partition(":")
            if not colon:
                return [], "it is not a BIDS URI (bids:DATASET:PATH)"
            origin, reason = self._dataset(root, dataset)
            if origin is None:
                return [], reason
            bases, rests = [origin], dict.fromkeys([rest, unquote(rest)])
        elif _is_foreign(target):
            return [], _NOT_FOLLOWED
        else:
            bases, rests = self._bases(path, root, base), dict.fromkeys([target])
        places = [_join(b, r) for r in rests for b in bases]
        inside = [p for p in places if p]
        return inside, "" if inside else _NOT_FOLLOWED

    def _dataset(self, root: str, name: str) -> tuple[str | None, str]:
        """Give where a dataset is that a BIDS URI names ("BIDS URI", DatasetLinks)."""
        if not name:
            return root, ""
        description = self._content.own(posixpath.join(root, DESCRIPTION))
        links = description.get("DatasetLinks")
        value = links.get(name) if isinstance(links, dict) else None
        if not isinstance(value, str):
            return None, f"DatasetLinks has no dataset {name!r}"
        place = None if _is_foreign(value) else _join(root, value)
        return place, "" if place is not None else f"the dataset {name!r} lies elsewhere"

    def _bases(self, path: str, root: str, base: _Base) -> list[str]:
        """Give the directories that a relative path may start from.

        The first is the one that BIDS says; the others have been in use.
        """
        outer = [self._walk.folder(posixpath.dirname(root)).root] if root else []
        who = self._participant(path)
        if base == "dataset" or who is None:
            return [root, *outer]
        session = parse(path).get("session")
        below = [posixpath.join(who.directory, f"ses-{session}")] if session else []
        return [who.directory, root, *below]

    def _stimuli(self, tables: Sequence[tuple[str, str]]) -> Iterator[Linked]:
        """Follow stim_file: paths below /stimuli (BIDS "Task events")."""
        cells = dict(self._content.columns("stim_file", dict(tables)))
        yield from self._content.notes()
        for path, of in tables:
            root = self._root(path)
            for value in cells.get(path, ()):
                places = [_join(posixpath.join(root, "stimuli"), value)]
                if value.startswith("stimuli/"):
                    places.append(_join(root, value))
                hit = next((p for p in places if p and p in self._names), None)
                if hit:
                    yield from self._take(hit, of, "stim_file")
                else:
                    outside = _is_foreign(value) or not places[0]
                    reason = _NOT_FOLLOWED if outside else _NOT_THERE
                    yield from self._dangling(path, "stim_file", value, reason)

    # -- backward ----------------------------------------------------------------

    def _backward(self, who: _Participant, candidates: Sequence[str]) -> Iterator[Linked]:
        """Find what is meant for the wanted files, and then for that, and so on."""
        frontier = self._frontier[who]
        by_identifier: dict[str, list[str]] | None = None
        done: set[str] = set()
        while frontier:
            fresh: list[tuple[str, str]] = []
            targets = _Targets(frontier)
            for path in candidates:
                of = self._intended(path, who, targets)
                if of is not None and path not in done:
                    done.add(path)
                    fresh.append((path, of))
                    yield from self._take(path, of, "IntendedFor")
            for path, of in frontier:
                for source in self._texts(path, "B0FieldSource"):
                    if by_identifier is None:
                        by_identifier = self._identifiers(who, of)
                        yield from self._content.notes()
                    if source not in by_identifier:
                        reason = "no image of the participant has this B0FieldIdentifier"
                        yield from self._dangling(path, "B0FieldSource", source, reason)
                    for image in by_identifier.get(source, ()):
                        if image not in done:
                            done.add(image)
                            fresh.append((image, of))
                            yield from self._take(image, of, "B0FieldSource")
            frontier = fresh

    def _intended(self, path: str, who: _Participant, targets: _Targets) -> str | None:
        """Give for which selected file an image is intended, if for any."""
        for target in self._texts(path, "IntendedFor"):
            # As pybids' get_fieldmap has it: the wanted path ends in the target.
            of = targets.ending_in(target)
            if of is None:
                places, _ = self._places(path, target, "subject")
                of = next((o for p in places if (o := targets.at(p)) is not None), None)
            if of is not None:
                return of
        return None

    def _identifiers(self, who: _Participant, of: str) -> dict[str, list[str]]:
        """Give the images of a participant by B0FieldIdentifier.

        The participant's whole tree counts: the schema has identifiers unique
        "within one participant's tree", not within a session.
        """
        images = [p for p in self._names.below(who.directory) if p.endswith(_IMAGES)]
        for path in images:
            self._content.want_metadata(path, of)
        self._content.load()
        found: dict[str, list[str]] = {}
        for path in images:
            for identifier in self._texts(path, "B0FieldIdentifier"):
                found.setdefault(identifier, []).append(path)
        return found

    def _texts(self, path: str, name: str) -> list[str]:
        value = self._content.metadata(path).get(name)
        return [v for v in flat(value) if isinstance(v, str) and v]

    # -- places --------------------------------------------------------------------

    def _root(self, path: str) -> str:
        return self._walk.folder(posixpath.dirname(path)).root

    def _participant(self, path: str) -> _Participant | None:
        subject = parse(path).get("subject")
        return None if subject is None else _Participant(self._root(path), subject)

    def _for_others(self, who: _Participant) -> Iterator[str]:
        for path in self._names.below(who.directory):
            if path.endswith(_IMAGES):
                name = path[path.rfind("/") + 1 :]
                if "/fmap/" in path or _FOR_OTHERS.search(name):
                    yield path


@dataclass(frozen=True, slots=True)
class _Participant:
    root: str
    subject: str

    @property
    def directory(self) -> str:
        return posixpath.join(self.root, f"sub-{self.subject}")


class _Targets:
    """Wanted files, to be found by what an IntendedFor says."""

    def __init__(self, files: Iterable[tuple[str, str]]) -> None:
        self._origins: dict[str, str] = {}
        self._by_name: dict[str, list[str]] = {}
        for path, of in files:
            self._origins.setdefault(path, of)
            self._by_name.setdefault(path.rpartition("/")[2], []).append(path)
            directory = recording_directory(path)
            if directory:
                self._origins.setdefault(directory, of)

    def at(self, path: str) -> str | None:
        return self._origins.get(path)

    def ending_in(self, target: str) -> str | None:
        end = posixpath.normpath(target) if target.strip("./") else ""
        if not end:
            return None
        _, slash, name = end.rpartition("/")
        paths = self._by_name.get(name, ()) if slash else self._origins
        return next((self._origins[p] for p in paths if f"/{p}".endswith(end)), None)


def _is_events(path: str) -> bool:
    return path.endswith(("_events.tsv", "/events.tsv")) or path == "events.tsv"


def _is_foreign(target: str) -> bool:
    """Tell whether a link is no relative path: a URL, a DOI, an absolute path."""
    return target.startswith("/") or re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", target) is not None


def _is_location(reference: str) -> bool:
    """Tell a SpatialReference in the dataset from a template's name or URL."""
    return reference.startswith("bids:") or ("/" in reference and not _is_foreign(reference))


def _join(base: str, target: str) -> str | None:
    """Give a path below the dataset's root, or None if it leads out of it.

    ``''`` is the root itself.
    """
    path = posixpath.normpath(posixpath.join(base, target))
    if path == ".":
        return ""
    return None if path == ".." or path.startswith(("../", "/")) else path
