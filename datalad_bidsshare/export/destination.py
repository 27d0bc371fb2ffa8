"""Whether an export may go to a place at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from datalad_bidsshare.disk.names import RECEIPT

__all__ = ["nearest_directory", "why_in_repository", "why_not_there"]

_ELSEWHERE = "Name a directory elsewhere"


def why_not_there(dest: Path, datasets: Sequence[Path]) -> str | None:
    """Tell why no export may go to a place, from looking alone.

    Parameters
    ----------
    dest
        Where it is to go. May be there already, and be reached through symbolic links.
    datasets
        Roots of the datasets that are exported.

    Returns
    -------
    str or None
        What is wrong, and what to do next. None when nothing is.
    """
    try:
        if os.path.lexists(dest) and not stat.S_ISDIR(os.stat(dest).st_mode):
            return f"{dest} is not a directory. Name one, or a name that is not taken"
        real = Path(os.path.realpath(dest))
        above = list(_above(real))
        return (
            _why_near_dataset(dest, above, datasets)
            or _why_repository(dest, real, above)
            or _why_receipt(dest, real)
            or _why_not_writable(dest, above)
        )
    except FileNotFoundError:
        return f"{dest} is a symbolic link that leads nowhere. Remove it, or name a directory"
    except NotADirectoryError:
        return f"{dest} lies below something that is not a directory. {_ELSEWHERE}"
    except OSError as e:
        return f"{dest} cannot be looked at ({e.strerror}). {_ELSEWHERE}"


def nearest_directory(dest: Path) -> Path:
    """Give a place itself when it is there, or the first directory above it that is."""
    return next(path for path, _ in _above(Path(os.path.realpath(dest))))


def _above(real: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Give a resolved path and those above it, as far as they are there, innermost first."""
    for path in (real, *real.parents):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            continue
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(path)
        yield path, status


def _why_near_dataset(
    dest: Path, above: Sequence[tuple[Path, os.stat_result]], datasets: Sequence[Path]
) -> str | None:
    # Compared by what they are, not by their names: bind mounts, upper and lower case.
    is_there = above[0][0] == Path(os.path.realpath(dest))
    for root in datasets:
        resolved = Path(os.path.realpath(root))
        around = list(_above(resolved))
        if around[0][0] != resolved:
            continue  # not there (any more)
        for number, (_, status) in enumerate(above):
            if os.path.samestat(status, around[0][1]):
                if is_there and number == 0:
                    return f"{dest} is the dataset itself. {_ELSEWHERE}"
                return f"{dest} lies in the dataset {root}. {_ELSEWHERE}"
        if is_there and any(os.path.samestat(above[0][1], status) for _, status in around[1:]):
            return f"The dataset {root} lies in {dest}. {_ELSEWHERE}"
    return None


def _why_repository(
    dest: Path, real: Path, above: Sequence[tuple[Path, os.stat_result]]
) -> str | None:
    for name in (".git", ".datalad"):
        if os.path.lexists(real / name):
            return (
                f"{dest} is a dataset or a git repository itself: it holds {name}. Exports go to "
                "plain directories. Name another one"
            )
    return why_in_repository(dest, real, (path for path, _ in above))


def why_in_repository(dest: Path, real: Path, above: Iterable[Path]) -> str | None:
    """Tell whether a place lies in what git keeps for itself, and what to do then.

    Parameters
    ----------
    dest, real
        The place, as given and with links resolved.
    above
        The directories that it lies in, and itself if it is one.
    """
    if any(component.lower() == ".git" for component in real.parts):
        return f"{dest} lies in the .git of a repository. {_ELSEWHERE}"
    for path in above:
        # Bare ones, as those in RIA stores are; and what .git leads to in subdatasets.
        if all(os.path.lexists(path / name) for name in ("HEAD", "objects", "refs")):
            return f"{dest} lies in the git repository {path}. {_ELSEWHERE}"
    return None


def _why_receipt(dest: Path, real: Path) -> str | None:
    try:
        status = os.lstat(real / RECEIPT)
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        return None
    return (
        f"{dest / RECEIPT} is not a directory: exports keep their own files in one of this name. "
        "See what it is and remove it, or name another destination"
    )


def _why_not_writable(dest: Path, above: Sequence[tuple[Path, os.stat_result]]) -> str | None:
    directory = above[0][0]
    effective = os.access in os.supports_effective_ids
    if os.access(directory, os.W_OK | os.X_OK, effective_ids=effective):
        return None
    reason = "is not writable for you, or is on a read-only file system"
    if directory == Path(os.path.realpath(dest)):
        return f"{dest} {reason}. Have it made writable, or name another directory"
    return f"{dest} cannot be made: {directory} {reason}. {_ELSEWHERE}"
