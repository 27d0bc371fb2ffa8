"""The directory that an export goes to: made, locked, looked into, left tidy."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from datalad_bidsshare.disk.inside import Place, open_place
from datalad_bidsshare.disk.lock import Lock
from datalad_bidsshare.disk.names import RECEIPT, Refusals
from datalad_bidsshare.export.ahead import ReadAhead
from datalad_bidsshare.export.destination import nearest_directory, why_not_there
from datalad_bidsshare.export.probing import FileSystem, guess, probe
from datalad_bidsshare.export.tree import Standing, Tree

__all__ = ["Standing", "Target", "TargetBusy", "TargetError"]

lgr = logging.getLogger("datalad.bidsshare.export")


class TargetError(Exception):
    """A target that cannot be used. The text says what to do next."""


class TargetBusy(TargetError):
    """A target that another export is writing to."""


class Target:
    """The directory that an export goes to, for `with`.

    Parameters
    ----------
    dest
        The directory. Made when it is not there, with those above it.
    dry_run
        Only look: nothing is made, no lock is taken.
    receipt
        Whether `.bidsshare` stays there in the end. Otherwise it is removed, with what earlier
        exports left in it, when all ended properly.
    """

    def __init__(self, dest: Path, *, dry_run: bool = False, receipt: bool = True) -> None:
        self.path = Path(os.path.abspath(dest))
        self._dry_run = dry_run
        self._receipt = receipt
        self._file_system = FileSystem()
        self._created: list[Path] = []
        self._own: Place | None = None
        self._lock: Lock | None = None
        self._open_tree: Tree | None = None
        self._ahead: ReadAhead | None = None
        self.done = True
        """Whether all was written that was to be: else what earlier exports noted stays."""
        self.unclean = False
        """Whether the export before did not end properly: see `remove_stale`."""

    @staticmethod
    def check(dest: Path, datasets: Sequence[Path]) -> str | None:
        """Tell why no export may go to a place (a message for the user), or None.

        Parameters
        ----------
        dest
            Where it is to go. Nothing is made there.
        datasets
            Roots of the datasets that are exported.
        """
        return why_not_there(dest, datasets)

    def __enter__(self) -> Target:
        self.open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close(clean=kind is None)

    def open(self) -> None:
        """Make it, lock it, and find out what its file system makes of names.

        Raises
        ------
        TargetBusy
            When another export is writing to it.
        TargetError
            When it cannot be made or written to.
        """
        try:
            if self._dry_run:
                self._look()
            else:
                self._take()
            folds = self.case_insensitive or self.normalising
            self._open_tree = Tree(self.path, folds=folds)
        except OSError as e:
            self.close(clean=False)
            where = f" ({os.fsdecode(e.filename)})" if isinstance(e.filename, str | bytes) else ""
            raise TargetError(
                f"{self.path} cannot be written to: {e.strerror or e}{where}. See to that, or "
                "name another destination"
            ) from e
        except BaseException:
            self.close(clean=False)
            raise

    def _look(self) -> None:
        with contextlib.closing(open_place(nearest_directory(self.path))) as place:
            self._file_system = guess(place)
        with contextlib.suppress(OSError):
            self.unclean = self._marked()

    def _marked(self) -> bool:
        with (
            contextlib.closing(open_place(self.path)) as place,
            contextlib.closing(place.inner(RECEIPT)) as own,
        ):
            return Lock(own).is_marked()

    def _take(self) -> None:
        # Another that ends right now may remove what was just made, and that is an end.
        for attempt in range(100):
            try:
                self._make()
                own = self._own = self._open_own()
                self._lock = Lock(own)
                if self._lock.acquire():
                    self.unclean = self._lock.unclean
                    self._file_system = probe(own)
                    return
                # Not to be given back: it is the other's.
                holder, self._lock = self._lock.holder(), None
            except FileNotFoundError:
                if self._lock is not None:
                    self._lock.release(clean=False)
                self._lock = None
                self._let_go()
                if attempt == 99:
                    raise
                continue
            raise TargetBusy(
                f"Another export is writing to {self.path} ({holder}). Run this one again when "
                "that has ended, or name another destination"
            )

    def _make(self) -> None:
        missing = []
        path = self.path
        while not os.path.isdir(path) and path != path.parent:
            missing.append(path)
            path = path.parent
        for path in reversed(missing):
            try:
                path.mkdir()
            except FileExistsError:
                if not path.is_dir():
                    raise
            else:
                self._created.append(path)

    def _open_own(self) -> Place:
        with contextlib.closing(open_place(self.path)) as place:
            try:
                place.mkdir(RECEIPT)
            except FileExistsError:
                return place.inner(RECEIPT)
            own = place.inner(RECEIPT)
            # The receiver reads what is in it, as all that is exported.
            own.open_to_all()
            return own

    def assure(self) -> None:
        """See to it that our directory there is still ours, before it is written to by its path.

        Raises
        ------
        TargetError
            When somebody put something else in its place.
        """
        if self._own is None:
            return
        with contextlib.suppress(OSError), contextlib.closing(open_place(self.path)) as place:
            if os.path.samestat(place.status(RECEIPT), self._own.itself()):
                return
        raise TargetError(
            f"{self.path / RECEIPT} was moved away or replaced meanwhile, and nothing is written "
            "there. See who else writes to the destination, then run the same command again"
        )

    def _let_go(self) -> None:
        if self._own is not None:
            self._own.close()
            self._own = None

    def close(self, clean: bool) -> None:
        """Give the lock back, and remove what was made and is not used. Again is no error.

        Parameters
        ----------
        clean
            Whether all that was begun has ended. Otherwise the next export finds it `unclean`.
        """
        if self._ahead is not None:
            self._ahead.close()
        if self._open_tree is not None:
            self._open_tree.close()
            self._open_tree = None
        if self._own is not None:
            if self._lock is not None:
                if clean and self.done and not self._receipt:
                    self._remove_own_files(self._own)
                self._lock.release(clean=clean)
                self._lock = None
            self._let_go()
            with contextlib.suppress(OSError), contextlib.closing(open_place(self.path)) as place:
                # not when there is something in it
                place.rmdir(RECEIPT)
        while self._created:
            with contextlib.suppress(OSError):
                self._created.pop().rmdir()

    @staticmethod
    def _remove_own_files(own: Place) -> None:
        for name in own.names():
            if name not in Lock.FILES:
                with contextlib.suppress(OSError):
                    own.unlink(name)

    @property
    def _tree(self) -> Tree:
        if self._open_tree is None:
            raise RuntimeError("the target is not open")
        return self._open_tree

    @property
    def case_insensitive(self) -> bool:
        """Whether `a` and `A` are one name there."""
        return self._file_system.case_insensitive

    @property
    def normalising(self) -> bool:
        """Whether composed and decomposed characters are one name there."""
        return self._file_system.normalising

    @property
    def refusals(self) -> Refusals:
        """Which names it does not take."""
        return self._file_system.refusals

    def read_ahead(self, table: Path) -> None:
        """Have the directories that a ledger's table names read by another process meanwhile."""
        if self._ahead is None and not self._tree.folds:
            self._ahead = self._tree.ahead = ReadAhead(self.path, table)

    def standing(self, path: str) -> Standing | None:
        """Tell what is at a target path: see `Tree.standing`."""
        return self._tree.standing(path)

    def scan(self, directory: str) -> dict[str, tuple[int, int]]:
        """Give the regular files in a directory: see `Tree.scan`."""
        return self._tree.scan(directory)

    def remove(self, path: str, size: int, mtime_ns: int) -> bool:
        """Remove a file if it is the one that is meant: see `Tree.remove`."""
        return self._tree.remove(path, size, mtime_ns)

    def prune(self, directories: Iterable[str]) -> list[str]:
        """Remove directories that are empty, and give those: see `Tree.prune`."""
        return self._tree.prune(directories)

    def remove_stale(self) -> list[str]:
        """Remove temporary files of an export that was killed: see `Tree.remove_temporary`."""
        return self._tree.remove_temporary()

    def free(self) -> int:
        """Tell how many bytes this user can still write there."""
        return shutil.disk_usage(nearest_directory(self.path)).free
