"""What lies in a target: looked at, and taken away, never through a symbolic link."""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.disk.inside import Kind, Place, kind_of, open_place
from datalad_bidsshare.disk.names import TEMPORARY

__all__ = ["Ahead", "Listing", "Standing", "Tree"]

lgr = logging.getLogger("datalad.bidsshare.export")

# The system's names are decoded as git's nearly everywhere.
_SAME_NAMES = sys.getfilesystemencoding() == "utf-8"
# What is said of a path that cannot be there: something above it is no directory, or a link
# (two more numbers in the BSDs).
_IN_THE_WAY = (errno.ENOTDIR, errno.ELOOP, errno.EMLINK, getattr(errno, "EFTYPE", errno.ELOOP))


_MOST_OPEN = 64


class Standing(NamedTuple):
    """What stands at a path.

    Attributes
    ----------
    size
        Bytes.
    mtime_ns
        When it was changed, in nanoseconds.
    kind
        `'file'` (a regular one), `'directory'`, `'link'` (itself, or on the way to it), or
        `'other'` (a FIFO, a device; also when something on the way is no directory).
    """

    size: int
    mtime_ns: int
    kind: Kind


class Listing(NamedTuple):
    """What is in one directory, or what is in its place.

    Attributes
    ----------
    files
        Regular ones: size, and time stamp in nanoseconds.
    others
        All else.
    instead
        What stands in place of the directory, or None.
    """

    files: dict[str, tuple[int, int]]
    others: dict[str, Standing]
    instead: Kind | None

    def plain(self) -> tuple[object, ...]:
        """Give it as values that need no class to be understood."""
        return self.files, {name: tuple(other) for name, other in self.others.items()}, self.instead

    @classmethod
    def of(
        cls,
        files: dict[str, tuple[int, int]],
        others: dict[str, tuple[int, int, Kind]],
        instead: Kind | None,
    ) -> Listing:
        """Make it of what `plain` gave."""
        return cls(files, {name: Standing(*other) for name, other in others.items()}, instead)


class Ahead(Protocol):
    """Knows directories that nobody has read yet."""

    def take(self, directory: str) -> Listing | None:
        """Give what is in a directory, if it is known."""


_NOTHING = Listing({}, {}, None)


class Tree:
    """A directory with what lies beneath it.

    Parameters
    ----------
    root
        May be reached through links. One that is not there is empty.
    folds
        Whether several names mean one file there.
    """

    def __init__(self, root: Path, *, folds: bool = False) -> None:
        self.folds = folds
        self._listings: dict[str, Listing] = {}
        #: Directories that are open, each in the one before.
        self._way: list[tuple[str, Place]] = []
        self.ahead: Ahead | None = None
        """Knows some directories before they are read."""
        self.root: Place | None
        try:
            self.root = open_place(root)
        except FileNotFoundError:
            self.root = None

    def close(self) -> None:
        """Let go of it."""
        while self._way:
            self._way.pop()[1].close()
        if self.root is not None:
            self.root.close()
            self.root = None

    def standing(self, path: str) -> Standing | None:
        """Tell what is at a path, or None for nothing.

        Directories are read once while the paths that are asked for stay beneath them, as they
        do when they come sorted: what changed since is not seen.

        Raises
        ------
        OSError
            When a directory cannot be read.
        """
        directory, _, name = path.rpartition("/")
        listing = self._listings.get(directory) or self._listing(directory)
        found = listing.files.get(name)
        if found is not None:
            return Standing(found[0], found[1], "file")
        if listing.instead is not None:
            return Standing(0, 0, listing.instead)
        other = listing.others.get(name)
        if other is None and self.folds and listing is not _NOTHING:
            return self._asked(directory, name)
        return other

    def scan(self, directory: str) -> dict[str, tuple[int, int]]:
        """Give the regular files in a directory: name to size and time stamp (ns).

        Where `folds`, there may be others of whom only `standing` knows. Not to be changed.

        Raises
        ------
        OSError
            When a directory cannot be read.
        """
        return self.listing(directory).files

    def listing(self, directory: str) -> Listing:
        """Give all that is in a directory: see `scan`."""
        return self._listings.get(directory) or self._listing(directory)

    def _listing(self, directory: str) -> Listing:
        """Read a directory, and keep that in mind with those above it."""
        missing = [directory]
        while missing[-1]:
            above = missing[-1].rpartition("/")[0]
            if above in self._listings:
                break
            missing.append(above)
        listing = _NOTHING
        for one in reversed(missing):
            listing = self._read(one)
            kept = {
                d: li for d, li in self._listings.items() if not d or f"{one}/".startswith(f"{d}/")
            }
            kept[one] = listing
            self._listings = kept
        return listing

    def _read(self, directory: str) -> Listing:
        if self.root is None:
            return _NOTHING
        if self.ahead is not None and (known := self.ahead.take(directory)) is not None:
            return known
        if directory:
            # The directory above is known: it tells what is a link, and saves looking in vain.
            stands = self.standing(directory)
            if stands is None:
                return _NOTHING
            if stands.kind != "directory":
                return Listing({}, {}, "link" if stands.kind == "link" else "other")
        try:
            return _read(self._opened(directory))
        except FileNotFoundError:
            return _NOTHING
        except OSError as e:
            # changed since it was looked at
            if e.errno in _IN_THE_WAY:
                return Listing({}, {}, "other" if e.errno == errno.ENOTDIR else "link")
            raise

    def _opened(self, directory: str) -> Place:
        """Open a directory, from the one above it if that was the last, or lies on the way to it.

        They stay open: in a tree that is walked through, each is opened once.
        """
        assert self.root is not None
        while self._way and not f"{directory}/".startswith(f"{self._way[-1][0]}/"):
            self._way.pop()[1].close()
        if self._way and self._way[-1][0] == directory:
            return self._way[-1][1]
        above, place = self._way[-1] if self._way else ("", self.root)
        inner = place.beneath(directory[len(above) :].lstrip("/"))
        if len(self._way) >= _MOST_OPEN:
            # Trees may be deeper than there may be open files.
            self._way.pop(0)[1].close()
        self._way.append((directory, inner))
        return inner

    def _asked(self, directory: str, name: str) -> Standing | None:
        """Ask the system for a name that is not listed in this spelling."""
        assert self.root is not None
        try:
            place = self.root.beneath(directory)
            try:
                return _standing(place.status(name))
            finally:
                place.close()
        except OSError:
            # not there, or not a name there
            return None

    def remove(self, path: str, size: int, mtime_ns: int) -> bool:
        """Remove a regular file, if it is the one that is meant.

        Parameters
        ----------
        path
            POSIX, relative to the root.
        size, mtime_ns
            Of the file that is meant.

        Returns
        -------
        bool
            False when nothing is there (any more), or something else.

        Raises
        ------
        OSError
            When it is that file and cannot be removed (permissions, a read-only file system).
        """
        directory, _, name = path.rpartition("/")
        try:
            place = self._beneath(directory)
        except OSError as e:
            if e.errno == errno.ENOENT or e.errno in _IN_THE_WAY:
                return False
            raise
        try:
            found = _standing(place.status(name))
            if found != (size, mtime_ns, "file"):
                return False
            place.unlink(name)
        except FileNotFoundError:
            return False
        finally:
            place.close()
        if self.folds:
            # its directory may be known by other names
            self._listings.clear()
        else:
            self._listings.pop(directory, None)
        return True

    def prune(self, directories: Iterable[str]) -> list[str]:
        """Remove directories that are empty, or are when those in them are removed.

        Parameters
        ----------
        directories
            POSIX, relative to the root. The root itself ('') is not removed.

        Returns
        -------
        list of str
            Those that were removed.
        """
        removed = []
        for directory in sorted({d for d in directories if d}, key=_depth, reverse=True):
            above, _, name = directory.rpartition("/")
            try:
                place = self._beneath(above)
                try:
                    place.rmdir(name)
                finally:
                    place.close()
            except OSError as e:
                # Not empty, not there, not a directory: it stays.
                lgr.debug("%s was not removed: %s", directory, e)
            else:
                removed.append(directory)
                self._listings.clear()
        return removed

    def remove_temporary(self) -> list[str]:
        """Remove the temporary files of an export that was killed.

        Returns
        -------
        list of str
            Those that were removed, POSIX, relative to the root.
        """
        removed = []
        for directory, place, names in self._walk():
            for name in names:
                path = f"{directory}/{name}" if directory else name
                try:
                    if kind_of(place.status(name)) == "file":
                        place.unlink(name)
                        removed.append(path)
                except OSError as e:
                    lgr.warning("The temporary file %s could not be removed: %s", path, e)
        self._listings.clear()
        return removed

    def _walk(self) -> Iterator[tuple[str, Place, list[str]]]:
        """Give each directory that has names of temporary files in it, and those names."""
        waiting = [""]
        while waiting:
            directory = waiting.pop()
            try:
                place = self._beneath(directory)
            except OSError as e:
                lgr.debug("%s was not looked into: %s", directory, e)
                continue
            try:
                found = []
                with place.scan() as entries:
                    for entry in entries:
                        name = _decoded(entry.name)
                        if name.startswith(TEMPORARY):
                            found.append(name)
                        elif entry.is_dir(follow_symlinks=False):
                            waiting.append(f"{directory}/{name}" if directory else name)
                if found:
                    yield directory, place, found
            except OSError as e:
                lgr.debug("%s was not looked into: %s", directory, e)
            finally:
                place.close()

    def _beneath(self, directory: str) -> Place:
        if self.root is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), directory)
        return self.root.beneath(directory)


def _depth(path: str) -> int:
    return path.count("/")


def _decoded(name: str) -> str:
    return name if _SAME_NAMES else decode(os.fsencode(name))


def _standing(status: os.stat_result) -> Standing:
    return Standing(status.st_size, status.st_mtime_ns, kind_of(status))


def _read(place: Place) -> Listing:
    files: dict[str, tuple[int, int]] = {}
    others: dict[str, Standing] = {}
    with place.scan() as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue
            name = entry.name if _SAME_NAMES else _decoded(entry.name)
            # a regular file: what nearly all are
            if status.st_mode & 0o170000 == 0o100000:
                files[name] = status.st_size, status.st_mtime_ns
            else:
                others[name] = _standing(status)
    return Listing(files, others, None)
