"""Putting unpacked files where they belong: each complete, and through no symbolic link.

Files are unpacked into a private directory of the destination first, and get their names by
renaming. That replaces a name, and never writes to what the name led to.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Sequence
from pathlib import Path

from datalad_bidsshare.archive.extract import Wanted
from datalad_bidsshare.archive.inflate import crc32
from datalad_bidsshare.archive.job import Existing
from datalad_bidsshare.archive.safety import shown
from datalad_bidsshare.dataset.encoding import encode
from datalad_bidsshare.disk.inside import Place, kind_of, open_place

__all__ = ["PlacingError", "missing_outputs", "place_files"]

_CHUNK = 1 << 20
_TOLD = 5
"""Names in one message."""


class PlacingError(Exception):
    """Outputs that cannot get their names.

    Parameters
    ----------
    troubles
        Each output, and what is wrong with it.
    """

    def __init__(self, troubles: Sequence[tuple[str, str]]) -> None:
        super().__init__(troubles)
        self.troubles = troubles

    def __str__(self) -> str:
        told = [f"{shown(output)}: {why}" for output, why in self.troubles[:_TOLD]]
        more = len(self.troubles) - _TOLD
        return "\n".join([*told, f"... and {more} more"] if more > 0 else told)


# What stands there


def missing_outputs(dest: str, wanted: Sequence[Wanted], existing: Existing) -> list[Wanted]:
    """Say which outputs are to be written, after a look at what stands in their places.

    Parameters
    ----------
    dest
        Directory that outputs are relative to. It may be reached through links itself.
    wanted
        Outputs, and the members that they come from.
    existing
        'error': nothing may stand there. 'skip': identical files are kept, and taken from the
        list. 'replace': files and links may stand there.

    Raises
    ------
    PlacingError
        When there are some that cannot be written. Nothing was changed.
    OSError
        When the directory is not there, or cannot be read.
    """
    troubles: list[tuple[str, str]] = []
    missing: list[Wanted] = []
    with contextlib.closing(_Walk(dest)) as walk:
        for each in wanted:
            directory, _, name = each.output.rpartition("/")
            try:
                place = walk.enter(directory)
                if place is None or _is_written(walk, place, name, each, existing):
                    missing.append(each)
            except _InTheWay as e:
                troubles.append((each.output, str(e)))
            except OSError as e:
                troubles.append((each.output, _explained(e)))
    if troubles:
        raise PlacingError(troubles)
    return missing


class _InTheWay(Exception):
    """Something that stands in the way of an output. The text is for the user."""


def _is_written(walk: _Walk, place: Place, name: str, wanted: Wanted, existing: Existing) -> bool:
    """Tell whether an output is to be written; False when what stands there is kept."""
    try:
        status = place.status(name)
    except FileNotFoundError:
        return True
    _see_replaceable(place, name, status)
    if existing == "replace":
        return True
    if existing == "error":
        raise _InTheWay(
            "is there already; keep what is identical with --existing skip, or replace it with "
            "--existing replace"
        )
    path = os.path.join(walk.path_of(wanted.output.rpartition("/")[0]), encode(name))
    _see_identical(path, wanted)
    return False


def _see_replaceable(place: Place, name: str, status: os.stat_result) -> None:
    kind = kind_of(status)
    if kind == "directory":
        what = "a directory"
        with contextlib.suppress(OSError), contextlib.closing(place.inner(name)) as inner:
            inner.status(".git")
            what = "a git repository (a subdataset)"
        raise _InTheWay(f"{what} stands there, and is not replaced; move it away, or give --into")
    if kind == "other":
        raise _InTheWay("something that is no file stands there; move it away, or give --into")


def _see_identical(path: bytes, wanted: Wanted) -> None:
    """Refuse what has other content than a member. An annexed file is a link to its content."""
    flags = os.O_RDONLY
    # A FIFO must not hang us, a terminal not become ours.
    for flag in ("O_NONBLOCK", "O_NOCTTY", "O_CLOEXEC", "O_BINARY"):
        flags |= getattr(os, flag, 0)
    try:
        fd = os.open(path, flags)
    except FileNotFoundError:
        raise _InTheWay(
            "is there already, but its content is not here; get it, or replace it with --existing "
            "replace"
        ) from None
    try:
        status = os.fstat(fd)
        same = kind_of(status) == "file" and status.st_size == wanted.member.size
        crc = 0
        while same and (chunk := os.read(fd, _CHUNK)):
            crc = crc32(chunk, crc)
    finally:
        os.close(fd)
    if not same or crc != wanted.member.crc:
        raise _InTheWay(
            "is there already, with other content; see which one is right, and replace it with "
            "--existing replace"
        )


class _Walk:
    """Directories below one, entered one after the other, through no link.

    Parameters
    ----------
    dest
        Where paths begin.
    """

    def __init__(self, dest: str) -> None:
        self._dest = os.fsencode(os.path.abspath(dest))
        # From the destination down to the directory entered last: its path, and itself.
        self._open: list[tuple[str, Place]] = [("", open_place(Path(dest)))]
        self.made: list[str] = []
        """Directories that were made, the outer ones first."""

    def close(self) -> None:
        """Let go of all of them."""
        while self._open:
            self._open.pop()[1].close()

    def path_of(self, directory: str) -> bytes:
        """Give the path of a directory, as the system takes it."""
        return os.path.join(self._dest, *(encode(part) for part in directory.split("/")))

    def enter(self, directory: str, *, make: bool = False) -> Place | None:
        """Open a directory; it is closed by what is entered next.

        Parameters
        ----------
        directory
            POSIX, relative to the destination.
        make
            Whether it is made, with those around it, if it is not there.

        Returns
        -------
        Place or None
            None when it is not there.

        Raises
        ------
        _InTheWay
            When something else stands in its place, or it is in another repository.
        """
        while (at := self._open[-1][0]) and not f"{directory}/".startswith(f"{at}/"):
            self._open.pop()[1].close()
        ahead = directory[len(at) :].strip("/")
        for name in ahead.split("/") if ahead else ():
            at = f"{at}/{name}" if at else name
            inner = self._inner(self._open[-1][1], name, at, make=make)
            if inner is None:
                return None
            self._open.append((at, inner))
        return self._open[-1][1]

    def _inner(self, place: Place, name: str, path: str, *, make: bool) -> Place | None:
        try:
            inner = place.inner(name)
        except FileNotFoundError:
            if not make:
                return None
            place.mkdir(name)
            self.made.append(path)
            inner = place.inner(name)
        except OSError as e:
            # ELOOP, ENOTDIR or EMLINK, as the system has it
            with contextlib.suppress(OSError):
                kind = kind_of(place.status(name))
                if kind != "directory":
                    what = "a symbolic link" if kind == "link" else "a file"
                    raise _InTheWay(
                        f"{what} stands at {shown(path)}, and nothing is written through it; move "
                        "it away, or give --into"
                    ) from e
            raise
        try:
            inner.status(".git")
        except FileNotFoundError:
            return inner
        except OSError:
            inner.close()
            raise
        inner.close()
        raise _InTheWay(
            f"{shown(path)} is a git repository of its own (a subdataset), and nothing is "
            "written into it; give --into"
        )

    def unmake(self) -> None:
        """Remove the directories that were made, if nothing is in them."""
        for path in reversed(self.made):
            outer, _, name = path.rpartition("/")
            with contextlib.suppress(OSError, _InTheWay):
                place = self.enter(outer)
                if place is not None:
                    place.rmdir(name)


# What is unpacked


def place_files(dest: str, tree: str, outputs: Sequence[str], existing: Existing) -> None:
    """Give files their names.

    Parameters
    ----------
    dest
        Directory that outputs are relative to.
    tree
        Directory that they are in, on the same file system; paths in it are those of outputs.
    outputs
        Sorted.
    existing
        With 'replace', what stands there is replaced. Otherwise nothing does, or should.

    Raises
    ------
    PlacingError
        For the first that cannot have its name. Those before it have theirs.
    OSError
        When the destination is not there.
    """
    walk = _Walk(dest)
    output = ""
    done = False
    try:
        # All directories first: that is where most of what can fail does.
        for output in outputs:
            walk.enter(output.rpartition("/")[0], make=True)
        for output in outputs:
            directory, _, name = output.rpartition("/")
            place = walk.enter(directory, make=True)
            assert place is not None
            with contextlib.suppress(FileNotFoundError):
                _see_replaceable(place, name, place.status(name))
                if existing != "replace":
                    raise _InTheWay("has come to be there meanwhile; run the same command again")
            _rename(os.fsencode(tree), walk, place, output)
        done = True
    except _InTheWay as e:
        raise PlacingError([(output, str(e))]) from e
    except OSError as e:
        raise PlacingError([(output, _explained(e))]) from e
    finally:
        # Those that have got files are not empty.
        if not done:
            walk.unmake()
        walk.close()


_RENAMES_RELATIVE = os.rename in os.supports_dir_fd


def _rename(tree: bytes, walk: _Walk, place: Place, output: str) -> None:
    directory, _, name = output.rpartition("/")
    path = walk.path_of(directory)
    source = os.path.join(tree, *map(encode, output.split("/")))
    if not _RENAMES_RELATIVE:
        os.replace(source, os.path.join(path, encode(name)))
        return
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # The path may lead elsewhere by now. Where it was opened step by step counts.
        if not os.path.samestat(os.fstat(fd), place.itself()):
            raise _InTheWay("its directory was moved meanwhile; run the same command again")
        os.replace(source, encode(name), dst_dir_fd=fd)
    finally:
        os.close(fd)


def _explained(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"cannot be written: {error.strerror}; see the permissions of its directory"
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"cannot be written: {error.strerror}; make room, and run the same command again"
    if error.errno in (errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG):
        return f"the file system cannot hold this name: {error.strerror}"
    return f"cannot be written: {error.strerror or error}"
