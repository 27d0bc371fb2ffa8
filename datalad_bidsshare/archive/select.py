"""Which members of zips a selection means, and their companions: from names alone.

Globs are held against the names of members as they are stored. The BIDS grammar is applied to
names as they are after stripping, with the same meaning as in a dataset: each zip is looked at
as if it were unpacked.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from datalad_bidsshare.archive.roots import Roots, find_roots
from datalad_bidsshare.archive.template import zip_values
from datalad_bidsshare.plan.reasons import count_labels, entities_said, unknown_value
from datalad_bidsshare.selection.companions import Level, expand
from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.filters import Selection, ValueFilter
from datalad_bidsshare.selection.globs import compile_glob
from datalad_bidsshare.selection.inheritance import Inheritance
from datalad_bidsshare.selection.names import DESCRIPTION, Names
from datalad_bidsshare.selection.select import SKIPPED_DIRECTORIES, Selector, unmet_values

__all__ = ["Choice", "MemberSelection"]

_GLOB_CHARS = frozenset("*?[\\")
_NAMED = ("subject", "session")
"""Entities that the name of a zip tells of its content."""


@dataclass(frozen=True, slots=True)
class Choice:
    """What is wanted of one zip.

    Attributes
    ----------
    names
        Members, companions included, in the order in which they were given.
    asked
        How many of them were asked for.
    riding
        How many are companions of those.
    companions
        Which ones.
    """

    names: tuple[str, ...]
    asked: int
    riding: int
    companions: frozenset[str] = frozenset()


class MemberSelection:
    """Chooses members of zips, one zip after the other, and notes what it never finds.

    Holds no names of members: what it notes does not grow with the number of zips.

    Parameters
    ----------
    selection
        What is wanted by entities, and what is taken away by entities or globs.
    include
        Globs: only members that match one of them are asked for. Empty: all. They do not keep
        companions back, and open the side directories (`sourcedata`, ...) that they write out.
    companions
        `'default'` or `'none'`. Companions ride along when the selection says anything of
        entities; globs alone mean what they match.

    Attributes
    ----------
    include, excluded_globs
        The globs as written.

    Raises
    ------
    SelectionError
        For a glob that cannot be read; for `'linked'`, which would need the content of members.
    """

    def __init__(
        self, selection: Selection, include: Sequence[str] = (), companions: Level = "default"
    ) -> None:
        if companions not in ("none", "default"):
            raise SelectionError(
                f"companions={companions!r} cannot be had from zips, of which only the names of "
                "members are looked at: give 'default' or 'none'"
                + (
                    ", and look for what links point to in what was unpacked, with "
                    "'datalad bids-get --companions linked'"
                    if companions == "linked"
                    else ""
                )
            )
        self.include = tuple(include)
        self.excluded_globs = tuple(text for text, _ in selection.excluded_globs)
        self._included = _Globs((text, compile_glob(text)) for text in self.include)
        self._excluded = _Globs(selection.excluded_globs)
        self._selection = selection
        # The globs speak of stored names, the rest of stripped ones.
        self._grammar = replace(selection, excluded_globs=())
        self._companions = companions != "none" and not self._leaves_none_behind()
        self._opened = frozenset(
            part
            for text in self.include
            for part in text.split("/")
            if (part in SKIPPED_DIRECTORIES or part.startswith("."))
            and not _GLOB_CHARS.intersection(part)
        )
        self._unmet: dict[tuple[str, str], ValueFilter] | None = None
        self._labels: dict[str, Counter[str]] = {}
        self._zips = self._looked = self._asked = self._too_shallow = 0
        #: What the names of zips say that may hold something
        self._named: set[tuple[str, str]] = set()
        self._passed_over: Counter[str] = Counter()
        self._example = ""

    @property
    def is_plain(self) -> bool:
        """Whether globs alone say what is wanted, if anything does."""
        return not (self._selection.queries or self._selection.excluded)

    def _leaves_none_behind(self) -> bool:
        """Say whether all companions are asked for themselves, or taken away."""
        selection = self._selection
        return not (
            selection.queries or self.include or any(each.absent for each in selection.excluded)
        )

    def may_hold(self, zip_path: str) -> bool:
        """Say whether a zip could hold a wanted member, as far as its name tells.

        A zip that is called `sub-02_...` is not fetched to look for another subject in it.

        Parameters
        ----------
        zip_path
            POSIX, relative to the dataset.
        """
        said = zip_values(zip_path)
        named = {entity: said[entity] for entity in _NAMED if entity in said}
        queries = self._grammar.queries
        if not queries or any(
            all(f.admits(named[f.entity]) for f in query.filters if f.entity in named)
            for query in queries
        ):
            self._named.update(named.items())
            return True
        self._zips += 1
        # Its labels are among those that a mistyped value may have meant.
        self._note_values((), (zip_path,), Selector(self._grammar))
        return False

    def choose(self, names: Sequence[str], stripped: Callable[[str], str | None]) -> Choice:
        """Choose members of one zip.

        Parameters
        ----------
        names
            All the members that are files, as stored.
        stripped
            Gives the path that a member gets, before any directory is put in front of it; None
            for a member that gets none.

        Returns
        -------
        Choice
            Two members may come to one path; that is for others to notice.
        """
        self._zips += 1
        self._looked += 1
        self._included.note(names)
        self._excluded.note(names)
        if not self._example and names:
            self._example = names[len(names) // 2]
        if self.is_plain:
            admitted = [name for name in names if self._admits(name)]
            taken = tuple([name for name in admitted if stripped(name) is not None])
            self._asked += len(taken)
            self._too_shallow += len(admitted) - len(taken)
            return Choice(taken, len(taken), 0)
        members: dict[str, list[str]] = {}
        for name in names:
            path = stripped(name)
            if path is not None:
                members.setdefault(path, []).append(name)
        if not members:
            self._too_shallow += len(names)
        return self._choose(names, members)

    def _choose(self, names: Sequence[str], members: Mapping[str, list[str]]) -> Choice:
        """Choose by the grammar; `members` has the stored names by stripped path."""
        roots = find_roots(members)
        within = ("", *self._open(members)) if self._opened else ()
        selector = Selector(self._grammar, within, roots.directories)
        asked: dict[str, list[str]] = {}
        for path in selector.select(members):
            admitted = [name for name in members[path] if self._admits(name)]
            if admitted:
                asked[path] = admitted
        chosen = {name for admitted in asked.values() for name in admitted}
        number = len(chosen)
        riding: frozenset[str] = frozenset()
        if self._companions and asked:
            riding = frozenset(self._ride(asked, members, roots, selector)) - chosen
            chosen |= riding
        self._asked += number
        self._note_values(asked, members, selector)
        if not self._asked:
            self._note_passed_over(members, roots)
        return Choice(
            tuple([name for name in names if name in chosen]), number, len(riding), riding
        )

    def _admits(self, name: str) -> bool:
        """Say whether the globs ask for a member."""
        return (not self.include or self._included.match(name)) and not self._excluded.match(name)

    def _ride(
        self,
        asked: Mapping[str, list[str]],
        members: Mapping[str, list[str]],
        roots: Roots,
        selector: Selector,
    ) -> Iterator[str]:
        """Give the members that are companions."""
        paths = [*members]
        if roots.undescribed:
            # Else nothing tells where inheritance ends. It is in no zip, and so is not chosen.
            paths.append(f"{roots.undescribed}/{DESCRIPTION}")
        taken_away = {name[: len(name) - len(path)] for path, own in asked.items() for name in own}
        for companion in expand(asked, set(asked), Inheritance(Names(paths))):
            path = companion.path
            there = members.get(path)
            if not there or selector.excludes(path, companion=True):
                continue
            if len(there) > 1:
                # As 'fmriprep/dataset_description.json' and 'freesurfer/...' where the first
                # directory is stripped: the one of the directory that gives something counts.
                near = [n for n in there if n[: len(n) - len(path)] in taken_away]
                there = near or there
            yield from (name for name in there if not self._excluded.match(name))

    def _open(self, members: Mapping[str, list[str]]) -> set[str]:
        """Give the side directories that the include globs name."""
        found: set[str] = set()
        for path in members:
            parts = path.split("/")
            if not self._opened.isdisjoint(parts):
                found.update(
                    "/".join(parts[: at + 1]) for at, p in enumerate(parts) if p in self._opened
                )
        return found

    def _note_values(
        self, asked: Iterable[str], members: Iterable[str], selector: Selector
    ) -> None:
        """Note which listed values are still found in no zip, and the labels there are instead."""
        if self._unmet is not None and not self._unmet:
            return
        if self._unmet is None:
            # Of queries in a filter file, too: which of them count depends on what is found.
            filters = [each for query in self._grammar.queries for each in query.filters]
        else:
            filters = [*self._unmet.values()]
        entities = {each.entity for each in filters}
        here = unmet_values(self._grammar, _say(asked, selector, entities))
        if self._unmet is None:
            self._unmet = here
        else:
            self._unmet = {pair: one for pair, one in self._unmet.items() if pair in here}
        still = {entity for entity, _ in self._unmet}
        self._labels = {entity: self._labels.get(entity, Counter()) for entity in still}
        # What is unmet after the last zip was so after each: nothing is missing in its counter.
        if still:
            count_labels(_say(members, selector, still), self._labels)

    def _note_passed_over(self, members: Mapping[str, list[str]], roots: Roots) -> None:
        """Note where there would be a match, if side directories were looked into."""
        if not self._grammar.queries:
            return
        everywhere = Selector(self._grammar, (), roots.directories, skip=False)
        for path in everywhere.select(members):
            for name in filter(self._admits, members[path]):
                parts = name.split("/")
                for at, part in enumerate(parts[:-1]):
                    if part in SKIPPED_DIRECTORIES or part.startswith("."):
                        self._passed_over["/".join(parts[: at + 1])] += 1
                        break

    def unmatched(self, *, partly: bool = False) -> list[str]:
        """Say what matched nothing in any zip so far.

        Parameters
        ----------
        partly
            Whether there are zips that were asked for and could not be looked at.

        Returns
        -------
        list of str
            A sentence for each include glob, exclude glob and listed value that occurs nowhere,
            with what may have been meant; or one that says why nothing at all was found.
        """
        if not self._zips:
            return []
        zips = "zip that could be unpacked" if partly else "zip"
        if self._too_shallow and not self._asked:
            return [
                f"nothing is left: {self._too_shallow} members lie in fewer directories than "
                f"--strip takes away; members are called as {self._example!r}, so give it a "
                "smaller number"
            ]
        found = [
            f"{option} {text!r} matches nothing in any {zips}"
            + (f"; members have names like {self._example!r}" if self._example else "")
            for option, globs in (("--include", self._included), ("--exclude", self._excluded))
            for text in globs.unmet
            if self._looked
        ]
        for (entity, value), wanted in (self._unmet or {}).items():
            if not self._looked and entity not in _NAMED:
                # Zips were left alone for their names: what they hold is not known.
                continue
            if any(e == entity and wanted.has_literal(value, label) for e, label in self._named):
                # There is a zip of it, though nothing was found in it, or it could not be had.
                continue
            labels = self._labels[entity]
            if not any(wanted.has_literal(value, label) for label in labels):
                found.append(unknown_value(wanted, value, labels, where=f"in no {zips}"))
        if not (self._asked or found) and self._example:
            found.append(self._why_nothing(zips))
        return found

    def _why_nothing(self, zips: str) -> str:
        wishes = [str(self._selection)] if str(self._selection) else []
        wishes += [f"include {text}" for text in self.include]
        text = f"no member of any {zips} matches {' '.join(wishes)}".rstrip()
        if self._passed_over:
            place, number = self._passed_over.most_common(1)[0]
            return (
                f"{text}; {number} would match in {place}/, which is only searched when named: "
                f"add --include '{place}/**'"
            )
        return f"{text}; leave out one condition at a time to see which one rules everything out"


def _say(
    paths: Iterable[str], selector: Selector, entities: Set[str]
) -> Iterator[Mapping[str, str]]:
    """Give what names say of some entities, once for a directory where that settles them."""
    by_directory: dict[str, list[str]] = {}
    for path in paths:
        by_directory.setdefault(path.rpartition("/")[0], []).append(path)
    for directory, inside in by_directory.items():
        settled = selector.directory_entities(directory)
        if settled.keys() >= entities:
            # A directory outvotes the names in it.
            yield settled
        else:
            yield from entities_said(selector, inside)


class _Globs:
    """Some globs, and which of them matched nothing so far."""

    def __init__(self, globs: Iterable[tuple[str, re.Pattern[str]]]) -> None:
        self.unmet = dict(globs)
        # One expression for all of them: a name is looked at once.
        self._any = (
            re.compile("|".join(f"(?:{p.pattern})" for p in self.unmet.values()), re.DOTALL)
            if self.unmet
            else None
        )

    def match(self, name: str) -> bool:
        """Say whether any of them matches."""
        return self._any is not None and self._any.fullmatch(name) is not None

    def note(self, names: Sequence[str]) -> None:
        """Note which of them match one of these names."""
        if self.unmet:
            self.unmet = {
                text: pattern
                for text, pattern in self.unmet.items()
                if not any(map(pattern.fullmatch, names))
            }
