"""BIDS entities of a path, as pybids reads them but without its cost.

pybids searches some fifty regular expressions in every path. Nearly all of
them have one of three forms that cannot match across ``/`` or ``_``, so a path
is cut at those, and each distinct token is looked at once. Patterns of any
other form are searched as they stand, and so is everything in the rare path
with a backslash or a line break, where the cut would not be the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache

from datalad_bidsshare.selection.vocabulary import Entity, Vocabulary, vocabulary

__all__ = [
    "Parser",
    "parse",
    "parser",
    "recording_directory",
    "recording_entities",
]

#: Label patterns that can only match within one token.
_LABEL = r"\[a-zA-Z0-9\+\]\+|\\d\+|\[0-9\]\+|[A-Za-z0-9|]+"
_ANY_TOKEN = re.compile(rf"\[_/\\\\\]\+([A-Za-z]+)-\(({_LABEL})\)")
_FIRST_TOKEN = re.compile(rf"\[/\\\\\]\+([A-Za-z]+)-\(({_LABEL})\)")
_IN_TOKEN = re.compile(rf"([A-Za-z]+)-\(({_LABEL})\)")
#: The literal text at the end of a pattern, which a path must hold to match.
_TRAILING_LITERAL = re.compile(r"(?<![\\\[])\b[A-Za-z0-9]{2,}$")

_SUFFIX = r"(?:^|[_/\\])([a-zA-Z0-9+]+)\.[^/\\]+$"
_EXTENSION = r"[^./\\](\.[^/\\]+)$"
_LABEL_CHARS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+")

#: A cache that outgrows this is from a hostile or endless input: start afresh.
_CACHE_LIMIT = 500_000

Pairs = tuple[tuple[str, str], ...]
_NO_PAIRS: Pairs = ()


class Parser:
    """Parses paths, remembering every token and directory it has seen.

    Not thread-safe in the sense that two threads may do the same work twice;
    the answers are the same.
    """

    def __init__(self, definitions: Vocabulary) -> None:
        # Patterns are kept as text: of a hundred, a dataset needs a dozen, and
        # `re` remembers those it has compiled.
        self._any: dict[str, list[tuple[str, str]]] = {}
        self._first: dict[str, list[tuple[str, str]]] = {}
        self._inside: list[tuple[str, str, str]] = []
        #: Entities read from the whole path: (name, literal it needs, pattern).
        self._whole: list[tuple[str, str, str]] = []
        self._datatypes = definitions.datatypes
        self._definitions = definitions
        self._patterns = {e.name: e.pattern for e in definitions.entities.values()}
        for entity in definitions.entities.values():
            self._classify(entity)
        #: Entities that only the whole path can tell (``from``, ``fmap``, ...).
        self.whole_path_entities = frozenset(name for name, _, _ in self._whole)
        self._tokens: dict[str, Pairs] = {}
        self._first_tokens: dict[str, Pairs] = {}
        self._components: dict[str, Pairs] = {}
        self._directories: dict[str, Mapping[str, str]] = {}

    def _classify(self, entity: Entity) -> None:
        name, pattern = entity.name, entity.pattern
        if name == "datatype" or pattern in (_SUFFIX, _EXTENSION):
            return
        for form, table in ((_ANY_TOKEN, self._any), (_FIRST_TOKEN, self._first)):
            if found := form.fullmatch(pattern):
                key, label = found.groups()
                table.setdefault(key, []).append((name, rf"{key}-({label})"))
                return
        if found := _IN_TOKEN.fullmatch(pattern):
            self._inside.append((name, f"{found[1]}-", pattern))
            return
        tail = pattern.rstrip("$") if "|" in pattern else pattern.rstrip("$)")
        literal = _TRAILING_LITERAL.search(tail)
        self._whole.append((name, literal[0] if literal else "", pattern))

    def parse(self, path: str) -> dict[str, str]:
        """Give the entities of one path; see :func:`parse`."""
        if "\\" in path or "\n" in path:
            return self._parse_literally(path)
        dirname, _, base = path.rpartition("/")
        found = dict(self.directory(dirname))
        self._add_tokens(found, base.split("_"))
        self._add_name_parts(found, base)
        for name, literal, pattern in self._whole:
            if literal in path and (match := re.search(pattern, "/" + path)):
                found[name] = match[1].removeprefix("/")
        return found

    def directory(self, dirname: str) -> Mapping[str, str]:
        """Give the entities that a directory settles for all files in it.

        The leftmost match counts in pybids, so a directory outvotes the name. The answer is
        remembered: do not change it.
        """
        try:
            return self._directories[dirname]
        except KeyError:
            pass
        found: dict[str, str] = {}
        if "\\" in dirname or "\n" in dirname:
            # The separator behind a directory name is part of some patterns.
            text = f"/{dirname}/"
            late = self.whole_path_entities | {"suffix", "extension"}
            # In the order of the definitions: a set has none, and this ends up in records.
            settled = [name for name in self._patterns if name not in late]
            found = {n: v for n in settled if (v := self._search(n, text)) is not None}
        elif dirname:
            for component in dirname.split("/"):
                pairs = self._components.get(component)
                if pairs is None:
                    pairs = self._component(component)
                for name, value in pairs:
                    found.setdefault(name, value)
        if len(self._directories) > _CACHE_LIMIT:
            self._directories.clear()
        self._directories[dirname] = found
        return found

    def _component(self, component: str) -> Pairs:
        """Give the entities of one component of a directory, and remember them."""
        found: dict[str, str] = {}
        self._add_tokens(found, component.split("_"))
        if component in self._datatypes:
            found.setdefault("datatype", component)
        if len(self._components) > _CACHE_LIMIT:
            self._components.clear()
        pairs = self._components[component] = tuple(found.items())
        return pairs

    def name(self, base: str) -> dict[str, str]:
        """Give the entities that a file name says by itself."""
        if "\\" in base or "\n" in base:
            found = self._parse_literally(base)
        else:
            found = {}
            self._add_tokens(found, base.split("_"))
            self._add_name_parts(found, base)
        return found

    def from_whole_path(self, name: str, path: str) -> str | None:
        """Give one entity as pybids' own pattern finds it in a whole path."""
        value = self._search(name, "/" + path)
        # pybids' `scans` is a path: relative here, as all our paths are.
        return value and value.removeprefix("/")

    def _search(self, name: str, text: str) -> str | None:
        found = re.search(self._patterns[name], text)
        return found[1] if found else None

    def _parse_literally(self, path: str) -> dict[str, str]:
        found = {}
        for name in self._patterns:
            value = self.from_whole_path(name, path)
            if value is not None:
                found[name] = value
        return found

    def _add_tokens(self, found: dict[str, str], tokens: list[str]) -> None:
        token = tokens[0]
        pairs = self._first_tokens.get(token)
        if pairs is None:
            pairs = self._learn(self._first_tokens, token, (self._first, self._any))
        for name, value in pairs:
            found.setdefault(name, value)
        known = self._tokens
        for token in tokens[1:]:
            pairs = known.get(token)
            if pairs is None:
                pairs = self._learn(known, token, (self._any,))
            for name, value in pairs:
                found.setdefault(name, value)

    def _learn(
        self,
        cache: dict[str, Pairs],
        token: str,
        tables: Iterable[Mapping[str, list[tuple[str, str]]]],
    ) -> Pairs:
        pairs: list[tuple[str, str]] = []
        key, dash, _ = token.partition("-")
        if dash:
            for table in tables:
                for name, pattern in table.get(key, ()):
                    if match := re.match(pattern, token):
                        pairs.append((name, match[1]))
            for name, literal, pattern in self._inside:
                if literal in token and (match := re.search(pattern, token)):
                    pairs.append((name, match[1]))
        if len(cache) > _CACHE_LIMIT:
            cache.clear()
        result = cache[token] = tuple(pairs) or _NO_PAIRS
        return result

    def _add_name_parts(self, found: dict[str, str], base: str) -> None:
        stem, _, rest = base.partition(".")
        if not rest:
            # No dot, or nothing behind the only one: neither part exists.
            return
        last = stem[stem.rfind("_") + 1 :]
        if last and _LABEL_CHARS.issuperset(last):
            found["suffix"] = last
        elif (suffix := self._search("suffix", "/" + base)) is not None:
            found["suffix"] = suffix
        if stem:
            found["extension"] = "." + rest
        elif (extension := self._search("extension", "/" + base)) is not None:
            found["extension"] = extension


@lru_cache(maxsize=1)
def parser() -> Parser:
    """Give the parser of this installation's vocabulary."""
    return Parser(vocabulary())


def parse(path: str) -> dict[str, str]:
    """Give the BIDS entities of a path.

    Parameters
    ----------
    path
        POSIX path relative to the dataset root, without a leading slash.
        Nothing above the root can leak into the answer.

    Returns
    -------
    dict
        Canonical entity names to labels as written (``'01'`` stays ``'01'``),
        plus ``suffix``, ``extension`` (with the dot) and ``datatype`` where
        there are such. Equal to pybids' ``parse_file_entities('/' + path)``
        for all the entities that pybids has.
    """
    return parser().parse(path)


@lru_cache(maxsize=4096)
def _recording_end(dirname: str) -> int | None:
    """Find where the name of the outermost recording directory ends."""
    definitions = vocabulary()
    datatype = ""
    end = 0
    for component in dirname.split("/"):
        end += len(component)
        stem, dot, _ = component.partition(".")
        if dot:
            if stem and component.endswith(definitions.recording_extensions):
                return end
        elif component.startswith("sub-"):
            suffixes = definitions.recording_suffixes.get(datatype, frozenset())
            if "_" in component and component.rpartition("_")[2] in suffixes:
                return end
        datatype = component
        end += 1
    return None


def recording_directory(path: str) -> str | None:
    """Give the directory that is one recording and holds a path.

    CTF ``.ds``, MEF3 ``.mefd``, (OME-)Zarr, and BTi/4D directories are one
    recording each (BIDS appendix "MEG file formats", BIDS section iEEG and
    Microscopy): their parts only make sense together.

    Parameters
    ----------
    path
        Path of a file, relative to the dataset root.

    Returns
    -------
    str or None
        ``sub-01/meg/sub-01_task-x_meg.ds`` for anything inside it.
    """
    dirname, _, _ = path.rpartition("/")
    if "." not in dirname and "_" not in dirname:
        # The name of such a directory has an extension or at least a suffix.
        return None
    end = _recording_end(dirname)
    return None if end is None else dirname[:end]


def recording_entities(recording: str) -> dict[str, str]:
    """Give the entities of a directory recording, which may have no extension (BTi/4D)."""
    found = parse(recording)
    name = recording.rpartition("/")[2]
    if "." not in name:
        found.setdefault("suffix", name.rpartition("_")[2])
    return found
