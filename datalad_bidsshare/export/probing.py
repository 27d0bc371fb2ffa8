"""What the file system of a target makes of names."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Iterable
from typing import NamedTuple
from unicodedata import normalize

from datalad_bidsshare.disk.inside import Place
from datalad_bidsshare.disk.names import Refusals

__all__ = ["FileSystem", "guess", "probe"]

_STEM = "probe-"
_UPPER = f"{_STEM}A"
_ACCENT = f"{_STEM}\u00e9"
_BYTES = f"{_STEM}\udcff"
_TRAILING = (f"{_STEM}dot.", f"{_STEM}space ")
_CONTROL = "".join(map(chr, range(1, 32)))
_WINDOWS = '"*:<>?\\|'
# \x01 stands for the other control characters.
_ASKED = f"{_WINDOWS}\x01\n"
# These tell nothing about a name.
_TROUBLE = (
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE,
    errno.ESTALE,
) if sys.platform != "win32" else (errno.ENOSPC, errno.EIO, errno.ENOMEM, errno.EMFILE)  # fmt: skip


class FileSystem(NamedTuple):
    """What a file system makes of names.

    Attributes
    ----------
    case_insensitive
        `a` and `A` are one name.
    normalising
        The composed and the decomposed form of a name are one.
    refusals
        Which names it does not take as they are.
    """

    case_insensitive: bool = False
    normalising: bool = False
    refusals: Refusals = Refusals()


def probe(place: Place) -> FileSystem:
    """Try it with empty files in a directory, which are removed.

    Parameters
    ----------
    place
        The directory. Files in it that begin with `probe-` are this function's.

    Raises
    ------
    OSError
        When no file can be made there.
    """
    _clean(place)
    os.close(place.open(_UPPER, os.O_WRONLY | os.O_CREAT))
    try:
        case_insensitive = _is_there(place, _UPPER.lower())
        normalising = _makes(place, _ACCENT) and _is_there(place, normalize("NFD", _ACCENT))
        if sys.platform == "win32":
            # Other characters would not be refused, but mean streams and directories.
            refusals = _WINDOWS_REFUSALS
        else:
            refusals = Refusals(
                characters=_refused_characters(place),
                trailing=not _hold(place, _TRAILING),
                undecodable=not _hold(place, [_BYTES]),
            )
    finally:
        _clean(place)
    return FileSystem(case_insensitive, normalising, refusals)


def _clean(place: Place) -> None:
    for name in place.names():
        if name.startswith(_STEM):
            with contextlib.suppress(OSError):
                place.unlink(name)


_WINDOWS_REFUSALS = Refusals(_WINDOWS + _CONTROL, trailing=True, undecodable=True, devices=True)


def _makes(place: Place, name: str) -> bool:
    """Make a file, unless its name is refused."""
    try:
        os.close(place.open(name, os.O_WRONLY | os.O_CREAT))
    except (OSError, ValueError) as e:
        if isinstance(e, OSError) and e.errno in _TROUBLE:
            raise
        return False
    return True


def _hold(place: Place, names: Iterable[str]) -> bool:
    """Tell whether all of some names can be made, and are what they are called then.

    A name may have become another: mangled, or shortened.
    """
    return all([_makes(place, name) for name in names]) and set(place.names()).issuperset(names)


def _is_there(place: Place, name: str) -> bool:
    try:
        place.status(name)
    except (OSError, ValueError):
        return False
    return True


def _refused_characters(place: Place) -> str:
    if _hold(place, [f"{_STEM}{_ASKED}-"]):
        return ""
    refused = {c for c in _ASKED if not _hold(place, [f"{_STEM}{ord(c)}{c}-"])}
    if "\x01" in refused:
        refused.update(_CONTROL)
    return "".join(sorted(refused))


def guess(place: Place) -> FileSystem:
    """Find out by looking only what can be found out so, for a dry run.

    Parameters
    ----------
    place
        The target, or the directory above it that is there.
    """
    if sys.platform == "win32":
        return FileSystem(True, False, _WINDOWS_REFUSALS)
    undecodable = False
    try:
        place.status(_BYTES)
    except OSError as e:
        undecodable = e.errno in (errno.EILSEQ, errno.EINVAL)
    names = set(place.names())
    told = next((n for n in names if n.swapcase() not in names), None)
    # An empty one that wants Unicode is from Windows, most of the time.
    case_insensitive = undecodable if told is None else _is_there(place, told.swapcase())
    if sys.platform == "darwin":
        return FileSystem(case_insensitive, True, Refusals(undecodable=True))
    # exFAT and its like, which Linux has from Windows.
    windows = case_insensitive and undecodable
    characters = _WINDOWS + _CONTROL if windows else ""
    return FileSystem(case_insensitive, False, Refusals(characters, undecodable=undecodable))
