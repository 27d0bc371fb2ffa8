"""Where managed clones are, and that this place is ours alone."""

from __future__ import annotations

import os
import re
import shlex
import stat
from pathlib import Path

from datalad_bidsshare.cache.urls import Source, readable_name
from datalad_bidsshare.dataset.errors import DatasetError

__all__ = ["SETTING", "Cache", "cache_directory", "open_cache", "require_ours"]

SETTING = "datalad.bidsshare.cache"
_NAME = re.compile("[A-Za-z0-9_-]+-[0-9a-f]{12}")
_TRIAL = re.compile("trial-[0-9a-f]{16}")
_CHOOSE = f"git config --global {SETTING} DIRECTORY"


def cache_directory() -> Path:
    """Give the directory of the managed clones, which need not exist.

    Configuration `datalad.bidsshare.cache` of the user (or environment, or `-c`; never what is
    committed in a dataset), else `bidsshare` in DataLad's own cache directory.

    Raises
    ------
    DatasetError
        When what is configured is no absolute path.
    """
    from datalad import cfg

    # This manager knows of no dataset: system, user, environment and overrides are its sources.
    configured = cfg.get(SETTING)
    if isinstance(configured, tuple):
        # the last one counts, as in git
        configured = configured[-1]
    if configured is None:
        return Path(os.path.abspath(cfg.obtain("datalad.locations.cache"))) / "bidsshare"
    place = os.path.expanduser(str(configured))
    if not os.path.isabs(place):
        raise DatasetError(
            f"The configuration {SETTING} is {configured!r}, which is no absolute path; next: "
            f"{_CHOOSE}"
        )
    return Path(os.path.normpath(place))


class Cache:
    """The directory of the managed clones, which was checked to be ours.

    Parameters
    ----------
    directory
        Absolute, resolved.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def entry(self, source: Source) -> Path:
        """Give where the clone of a source is, or would be."""
        return self.directory / readable_name(source)

    def entries(self) -> list[Path]:
        """Give what looks like managed clones, in the order of their names."""
        return self._called(_NAME)

    def trials(self) -> list[Path]:
        """Give temporary clones: of dry runs that go on, or were killed."""
        return self._called(_TRIAL)

    def _called(self, pattern: re.Pattern[str]) -> list[Path]:
        found = [p for p in self.directory.iterdir() if pattern.fullmatch(p.name)]
        # of what looks like a name of ours and is a file or link, none is
        return sorted(p for p in found if stat.S_ISDIR(os.lstat(p).st_mode))


def open_cache(*, make: bool = True) -> Cache | None:
    """Check the directory of the managed clones, and make it if it is missing.

    Returns
    -------
    Cache or None
        None: it is not there, and `make` is false.

    Raises
    ------
    DatasetError
        When it is not ours alone, or cannot be made; the text says what is wrong with it.
    """
    place = cache_directory()
    if not os.path.lexists(place):
        if not make:
            return None
        try:
            # The parents as others make them; what is ours for us alone.
            place.parent.mkdir(parents=True, exist_ok=True)
            place.mkdir(mode=0o700, exist_ok=True)
        except OSError as e:
            raise DatasetError(
                f"The directory for managed clones, {place}, cannot be made: {e.strerror}; next: "
                f"choose another one: {_CHOOSE}"
            ) from e
    if os.path.islink(place) and not _is_trusted(os.lstat(place).st_uid):
        raise DatasetError(
            f"The directory for managed clones, {place}, is a symbolic link of another user; "
            f"next: see who put it there, and choose another one: {_CHOOSE}"
        )
    directory = Path(os.path.realpath(place))
    require_ours(directory)
    return Cache(directory)


def _is_trusted(uid: int) -> bool:
    return os.name != "posix" or uid in (0, os.geteuid())


def require_ours(directory: Path) -> None:
    """Make sure that a directory is one, and that nobody else can put something into it.

    Raises
    ------
    DatasetError
        When it is not so; the text says why, and what to do.
    """
    try:
        found = os.lstat(directory)
    except OSError as e:
        raise DatasetError(
            f"The directory {directory} of managed clones cannot be looked at: {e.strerror}; "
            f"next: choose another one: {_CHOOSE}"
        ) from e
    if not stat.S_ISDIR(found.st_mode):
        raise DatasetError(
            f"{directory} is no directory, and so no place for managed clones; next: remove it, "
            f"or choose another one: {_CHOOSE}"
        )
    if os.name != "posix":
        return
    if found.st_uid != os.geteuid():
        raise DatasetError(
            f"The directory {directory} of managed clones belongs to another user "
            f"({_called(found.st_uid)}), who could put anything there; next: choose another one: "
            f"{_CHOOSE}"
        )
    if found.st_mode & 0o022:
        raise DatasetError(
            f"Others may write into the directory {directory} of managed clones (mode "
            f"{stat.S_IMODE(found.st_mode):04o}); next: see what is in it, and if all is yours: "
            f"chmod 700 {shlex.quote(str(directory))}"
        )


def _called(uid: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
