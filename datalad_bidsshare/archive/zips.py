"""Which zips a call means: paths and globs, through a hierarchy of datasets."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from datalad_bidsshare.dataset.blobs import FileInfo, describe
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.hierarchy import contains_repo, mount_of
from datalad_bidsshare.dataset.listing import Index, read_index
from datalad_bidsshare.plan.outcome import Problem, Subdataset
from datalad_bidsshare.plan.reasons import untracked_path
from datalad_bidsshare.plan.walk import open_subdataset
from datalad_bidsshare.selection.globs import compile_glob

__all__ = ["TrackedZip", "find_zips"]

_GLOB_CHARS = frozenset("*?[\\")
_SPECIAL = re.compile(r"[\\*?\[\]]")


@dataclass(frozen=True, slots=True)
class TrackedZip:
    """One zip that a dataset tracks.

    Attributes
    ----------
    path
        POSIX, relative to the dataset that was given.
    root
        The dataset that tracks it, absolute.
    inner
        POSIX, relative to that.
    info
        Whether it is annexed, its key and size.
    """

    path: str
    root: Path
    inner: str
    info: FileInfo

    @property
    def key(self) -> str:
        """What tells its version: git-annex's key, or git's name of the blob."""
        return self.info.key or f"git:{self.info.oid}"


def find_zips(
    root: Path, patterns: Sequence[str] = (), *, dry_run: bool = False
) -> Iterator[TrackedZip | Subdataset | Problem]:
    """Find the zips that paths and globs mean.

    A subdataset that is not installed is installed (without content) when a path leads into it,
    or a glob does so by its directories; `*.zip` and `**` look into those that are installed.

    Parameters
    ----------
    root
        Root of the dataset.
    patterns
        Relative to the root, POSIX: whoever calls has resolved them against the current directory.
        Each is, whichever it is first:

        - a tracked file, which is taken for a zip whatever its name, and even if that looks like
          a glob (`sub-[01].zip`);
        - a directory or subdataset (`''` or `'.'`: the dataset itself): the `*.zip` below it;
        - a glob as in gitignore (see `compile_glob`): without a slash it means names at any depth.
          Directories that it begins with may look like globs and be none.

        Empty: every tracked `*.zip`, in whatever case, of the dataset and its installed
        subdatasets.
    dry_run
        Install nothing.

    Yields
    ------
    TrackedZip
        Each once, those of a dataset before those of its subdatasets.
    Subdataset
        One that was, would be, or could not be installed.
    Problem
        For patterns that match nothing (`'impossible'`), for zips that are none or whose names
        are not UTF-8, for subdatasets that cannot be listed (`'error'`).

    Raises
    ------
    DatasetError
        If the dataset itself cannot be listed.
    SelectionError
        If a glob cannot be read.
    """
    texts = list(dict.fromkeys(patterns)) or [""]
    search = _Search(root, dry_run, texts)
    visit = _Visit(root, "", read_index(root))
    visit.named = [(text, _trimmed(text)) for text in texts]
    yield from search.look(visit)
    for text in texts:
        if text not in search.met:
            yield search.nothing_for(text, bool(patterns))


def _trimmed(pattern: str) -> str:
    trimmed = pattern.strip("/")
    return "" if trimmed == "." else trimmed


class _Glob:
    """A glob on paths in the dataset that was given."""

    def __init__(self, text: str) -> None:
        body = text.strip("/")
        self._anchored = "/" in body or text.startswith("/")
        self._whole = compile_glob(text)
        self._parts = [None if p == "**" else compile_glob(f"/{p}") for p in body.split("/")]

    def matches(self, path: str) -> bool:
        """Say whether it means a file."""
        return self._whole.fullmatch(path) is not None

    def leads_into(self, mount: str) -> Literal["named", "maybe", "no"]:
        """Say whether it can match in a subdataset: if so, whether it names the place as well."""
        components = mount.split("/")
        if not self._anchored:
            own = self._parts[0]
            # '*' means what a shell means by it, not each subdataset of each subdataset.
            named = len(components) == 1 and own is not None and own.fullmatch(mount)
            return "named" if named else "maybe"
        for component, part in zip(components, self._parts, strict=False):
            if part is None:
                return "maybe"
            if not part.fullmatch(component):
                return "no"
        return "named" if len(self._parts) >= len(components) else "maybe"


def _escaped(text: str) -> str:
    return _SPECIAL.sub(r"\\\g<0>", text)


def _with_literal_start(index: Index, path: str) -> str:
    """Give a glob in which the directories that it begins with, and that there are, are literal."""
    parts = path.split("/")
    there = 0
    while there < len(parts) - 1 and _holds(index, "/".join(parts[: there + 1])):
        there += 1
    return "/".join([*map(_escaped, parts[:there]), *parts[there:]])


@dataclass(slots=True)
class _Visit:
    """One dataset, and what is looked for in it.

    Attributes
    ----------
    root, prefix, index
        Where it is, what its paths start with in the dataset that was given, what it tracks.
    named
        (pattern, the part of it that is relative to this dataset).
    globs
        (pattern, the glob that it is), relative to the dataset that was given.
    """

    root: Path
    prefix: str
    index: Index
    named: list[tuple[str, str]] = field(default_factory=list)
    globs: list[tuple[str, _Glob]] = field(default_factory=list)


class _Search:
    """One call: what was met so far."""

    def __init__(self, root: Path, dry_run: bool, texts: list[str]) -> None:
        self._root = root
        self._dry_run = dry_run
        #: Patterns that matched, or of which something else was said.
        self.met: set[str] = set()
        #: By pattern: subdatasets that it may match in, and that were not looked into.
        self._closed: dict[str, list[str]] = {text: [] for text in texts}

    def look(self, visit: _Visit) -> Iterator[TrackedZip | Subdataset | Problem]:
        """Look into a dataset, and then into its subdatasets."""
        explicit: set[str] = set()
        directories: list[tuple[str, str]] = []
        children: dict[str, list[tuple[str, str]]] = {}
        mounts = visit.index.gitlinks
        for text, path in visit.named:
            mount = mount_of(path, mounts) if path else None
            if path in visit.index:
                explicit.add(path)
                self.met.add(text)
            elif mount is not None:
                children.setdefault(mount, []).append((text, path[len(mount) + 1 :]))
            elif not path or _holds(visit.index, path):
                directories.append((text, path))
            elif _GLOB_CHARS.isdisjoint(path):
                self.met.add(text)
                yield untracked_path(visit.root / path, visit.root)
            else:
                start = "/" if text.startswith("/") else _escaped(visit.prefix)
                glob = _Glob(start + _with_literal_start(visit.index, path))
                visit.globs.append((text, glob))
        yield from self._zips_of(visit, explicit, directories)
        for mount in mounts:
            yield from self._enter(visit, mount, children.get(mount, []), directories)

    def _zips_of(
        self, visit: _Visit, explicit: set[str], directories: list[tuple[str, str]]
    ) -> Iterator[TrackedZip | Problem]:
        """Give the zips that a dataset itself tracks."""
        found: dict[str, list[str]] = {}
        if directories or visit.globs:
            for path in visit.index.paths:
                if path[-4:].lower() == ".zip":
                    by = [text for text, d in directories if not d or path.startswith(f"{d}/")]
                    full = visit.prefix + path
                    by += [text for text, glob in visit.globs if glob.matches(full)]
                    if by or path in explicit:
                        found[path] = by
                elif path in explicit:
                    found[path] = []
        else:
            found = {path: [] for path in sorted(explicit)}
        if not found:
            return
        for info in describe(visit.root, visit.index.entries(found)):
            path = info.path
            if info.kind == "symlink":
                if path in explicit:
                    yield Problem(
                        visit.root / path,
                        "error",
                        "is a symbolic link, and none of git-annex: give the zip it leads to",
                        "file",
                    )
                continue
            self.met.update(found[path])
            if not _is_text(path):
                yield Problem(
                    visit.root / path,
                    "error",
                    "the name is not UTF-8, and cannot be written into a record: rename it, with "
                    "'git mv', and save",
                    "file",
                )
                continue
            yield TrackedZip(visit.prefix + path, visit.root, path, info)

    def _enter(
        self,
        visit: _Visit,
        mount: str,
        named: list[tuple[str, str]],
        directories: list[tuple[str, str]],
    ) -> Iterator[TrackedZip | Subdataset | Problem]:
        """Look into a subdataset, if anything leads there."""
        full = visit.prefix + mount
        ways = [(text, glob, glob.leads_into(full)) for text, glob in visit.globs]
        globs = [(text, glob) for text, glob, way in ways if way != "no"]
        below = [(text, "") for text, d in directories if not d or mount.startswith(f"{d}/")]
        if not (named or globs or below):
            return
        leading = [text for text, _ in named] + [text for text, _, way in ways if way == "named"]
        if not leading and not contains_repo(visit.root / mount):
            for text, _ in [*globs, *below]:
                self._closed[text].append(full)
            return
        if not (yield from open_subdataset(visit.root, mount, dry_run=self._dry_run)):
            # That was said; what a pattern would find there is not known.
            self.met.update(leading)
            return
        try:
            index = read_index(visit.root / mount)
        except DatasetError as error:
            self.met.update(leading)
            yield Problem(visit.root / mount, "error", str(error), "dataset")
            return
        yield from self.look(_Visit(visit.root / mount, f"{full}/", index, [*named, *below], globs))

    def nothing_for(self, text: str, asked: bool) -> Problem:
        """Report a pattern that no zip matches."""
        path = _trimmed(text)
        if path and not _GLOB_CHARS.isdisjoint(path):
            message = f"no tracked zip (*.zip) matches {path!r}"
        elif asked:
            message = "no zip (*.zip) is tracked in it"
        else:
            message = "the dataset tracks no zips (*.zip)"
        closed = self._closed[text]
        if closed:
            message += (
                f"; {len(closed)} subdatasets were not searched because they are not installed, "
                f"such as {closed[0]}: name those that have zips, or install them"
            )
        elif asked:
            message += "; see what there is with 'git ls-files'"
        return Problem(self._root / path, "impossible", message, "path" if path else "nothing")


def _holds(index: Index, directory: str) -> bool:
    """Tell whether a dataset has files or subdatasets below a directory."""
    return index.holds_below(directory) or any(
        mount.startswith(f"{directory}/") for mount in index.gitlinks
    )


def _is_text(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True
