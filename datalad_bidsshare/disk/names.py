"""Names: which are never exported, which a target cannot hold, which it takes for one."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple
from unicodedata import normalize

__all__ = [
    "RECEIPT",
    "TEMPORARY",
    "Refusals",
    "collisions",
    "folded",
    "is_internal",
    "unfit_names",
    "why_refused",
]

RECEIPT = ".bidsshare"
"""Directory in a target in which an export keeps its own files."""

TEMPORARY = ".bidsshare-tmp-"
"""How the name of a file begins that is being written."""

_NEVER = frozenset(
    (".git", ".gitattributes", ".gitmodules", ".gitignore", ".datalad", ".noannex")
)  # fmt: skip
# The short name that Windows gives .git.
_SHORT = re.compile(r"git~[0-9]+")
# What HFS+ does not see in a name (as in git's utf8.c).
_IGNORED = dict.fromkeys(
    [*range(0x200C, 0x2010), *range(0x202A, 0x202F), *range(0x206A, 0x2070), 0xFEFF]
)


def is_internal(path: str) -> bool:
    """Tell whether a path belongs to git, DataLad or an export itself, and is never exported.

    Also when it is only some file system that takes a name for one of theirs: by case, dots and
    spaces at its end, streams (`.git::$INDEX_ALLOCATION`), short names, invisible characters.

    Parameters
    ----------
    path
        POSIX, relative to the root of a dataset or of an export.

    Returns
    -------
    bool
        True for any component such as `.git`, `.gitattributes`, `.gitmodules`, `.gitignore`,
        `.datalad` or `.noannex`, for names of temporary files, for `.bidsshare` at the
        beginning, and for what is no path beneath a directory (empty, `.` and `..` components).
    """
    # Nearly all paths have nothing that would have to be looked at closely.
    if (
        path.isascii()
        and path[:1] not in ("", ".", "/")
        and "/." not in path
        and "//" not in path
        and "~" not in path
        and "\\" not in path
        and path[-1] != "/"
    ):
        return False
    for position, component in enumerate(path.split("/")):
        if component in ("", ".", ".."):
            return True
        for part in component.split("\\"):
            name = _fold(part).partition(":")[0].rstrip(" .")
            if name in _NEVER or name.startswith(TEMPORARY) or _SHORT.fullmatch(name):
                return True
            if not position and name == RECEIPT:
                return True
    return False


def folded(path: str, *, case_insensitive: bool = True) -> str:
    """Give what is the same for paths that are one where case or Unicode forms do not count."""
    return _fold(path, case=case_insensitive)


def _fold(name: str, *, case: bool = True) -> str:
    """Give what is the same for names that are one on some file system."""
    if name.isascii():
        return name.lower() if case else name
    name = normalize("NFD", name).translate(_IGNORED)
    return normalize("NFD", name.casefold()) if case else name


def collisions(paths: Iterable[str], *, case_insensitive: bool = True) -> dict[str, str]:
    """Find paths that are one name where case or Unicode normal forms do not count.

    A file is also in the way of a directory of such a name; and directories of such names become
    one, so that files of one of them are not where they were.

    Parameters
    ----------
    paths
        POSIX, relative to the target. They are held, with some 100 bytes each.
    case_insensitive
        Whether case does not count; normal forms never do.

    Returns
    -------
    dict
        Each path that collides, to one that it collides with, which stands there itself.
    """
    directories = _Directories(case_insensitive)
    # By hash: the folded names of a million files would take more room than their names.
    # That two names share one of 64 bits by chance (3 in 100 million, then) only hides a collision.
    first: dict[int, str] = {}
    same: dict[str, list[str]] = {}
    for path in paths:
        folded = directories.folded(path)
        other = first.setdefault(hash(folded), path)
        if other != path and directories.folded(other) == folded:
            same.setdefault(folded, [other]).append(path)
    found: dict[str, str] = {}
    for group in same.values():
        for path in group:
            found[path] = group[0] if path != group[0] else group[1]
    for folded, spellings in directories.spellings.items():
        file = first.get(hash(folded))
        if file is not None and directories.folded(file) == folded:
            beneath = next(iter(spellings.values()))
            for path in same.get(folded, [file]):
                found.setdefault(path, beneath)
            spellings.setdefault(file, file)
    twice = {f: s for f, s in directories.spellings.items() if len(s) > 1}
    if twice:
        more = (path for group in same.values() for path in group[1:])
        for path in (*first.values(), *more):
            if path not in found:
                merged = directories.merged(path, twice)
                if merged is not None:
                    found[path] = merged
    return found


class _Directories:
    """The directories of many paths, each folded once.

    Attributes
    ----------
    spellings
        Folded directory to its spellings, each with a file beneath it.
    """

    def __init__(self, case_insensitive: bool) -> None:
        self.spellings: dict[str, dict[str, str]] = {}
        self._case = case_insensitive
        self._folded: dict[str, str] = {"": ""}

    def folded(self, path: str) -> str:
        directory, slash, name = path.rpartition("/")
        known = self._folded.get(directory)
        if known is None:
            known = self._learn(directory, path)
        return f"{known}{slash}{_fold(name, case=self._case)}"

    def _learn(self, directory: str, path: str) -> str:
        """Fold a directory and those above it. Not by recursion: paths may be deep."""
        so_far = known = ""
        for component in directory.split("/"):
            so_far = f"{so_far}/{component}" if so_far else component
            found = self._folded.get(so_far)
            if found is None:
                found = _fold(component, case=self._case)
                found = f"{known}/{found}" if known else found
                self._folded[so_far] = found
                self.spellings.setdefault(found, {}).setdefault(so_far, path)
            known = found
        return known

    def merged(self, path: str, twice: dict[str, dict[str, str]]) -> str | None:
        """Give a file beneath another spelling of one of a path's directories."""
        directory = path.rpartition("/")[0]
        while directory:
            for spelling, file in twice.get(self._folded[directory], {}).items():
                if spelling != directory:
                    return file
            directory = directory.rpartition("/")[0]
        return None


class Refusals(NamedTuple):
    """Which names a file system does not take as they are.

    Attributes
    ----------
    characters
        That no name can have.
    trailing
        Dots and spaces at the end of a name are refused, or lost.
    undecodable
        A name cannot be any bytes: it has to be Unicode.
    devices
        Names of devices are not for files (Windows).
    """

    characters: str = ""
    trailing: bool = False
    undecodable: bool = False
    devices: bool = False


_DEVICES = r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9¹²³])(?=\s*(?:[.:/]|\Z))"


@lru_cache(maxsize=8)
def _pattern(refusals: Refusals) -> re.Pattern[str] | None:
    parts = []
    if refusals.characters:
        parts.append(f"(?P<character>[{re.escape(refusals.characters)}])")
    if refusals.trailing:
        parts.append(r"(?P<trailing>[. ])(?=/|\Z)")
    if refusals.undecodable:
        parts.append("(?P<undecodable>[\ud800-\udfff])")
    if refusals.devices:
        parts.append(f"(?:^|(?<=/))(?P<device>{_DEVICES})")
    return re.compile("|".join(parts), re.I) if parts else None


def why_refused(path: str, refusals: Refusals) -> str | None:
    """Tell what of a path a file system does not take.

    Parameters
    ----------
    path
        POSIX, without empty, `.` and `..` components.
    refusals
        Those of the file system.

    Returns
    -------
    str or None
        'the character ...', to go on after 'names there cannot have'. None when it takes all.
    """
    pattern = _pattern(refusals)
    match = pattern.search(path) if pattern is not None else None
    if match is None:
        return None
    if match.lastgroup == "character":
        return f"the character {match[0]!r}"
    if match.lastgroup == "trailing":
        return f"{'a dot' if match[0] == '.' else 'a space'} at the end"
    if match.lastgroup == "undecodable":
        return "bytes that are not Unicode (UTF-8)"
    return f"the name of a device ({match[0]})"


def unfit_names(
    paths: Iterable[str],
    *,
    case_insensitive: bool,
    normalising: bool,
    refusals: Refusals = Refusals(),  # noqa: B008  (a tuple)
) -> dict[str, str]:
    """Find the paths that are not exported for their names.

    Parameters
    ----------
    paths
        POSIX, relative to the target. They are held when the target takes some for one.
    case_insensitive, normalising, refusals
        What the file system of the target does (see `Target`).

    Returns
    -------
    dict
        Each such path to why, and what to do about it, for the user. Empty text for what belongs
        to git or DataLad (`is_internal`): that needs no words.
    """
    unfit: dict[str, str] = {}
    takes_all = refusals == Refusals()

    def fit() -> Iterator[str]:
        for path in paths:
            if is_internal(path):
                unfit[path] = ""
            elif not takes_all and (refused := why_refused(path, refusals)) is not None:
                unfit[path] = f"cannot be written: names at the destination cannot have {refused}"
            else:
                yield path

    if case_insensitive or normalising:
        for path, other in collisions(fit(), case_insensitive=case_insensitive).items():
            unfit[path] = f"cannot be written: the destination takes its name and {other} for one"
    else:
        deque(fit(), maxlen=0)
    for path, why in unfit.items():
        if why:
            unfit[path] = f"{why}. {_WAY_OUT}"
    return unfit


_WAY_OUT = (
    "Leave it out with --exclude, or export to another file system or into an archive (DEST.tar)"
)
