"""The names of a dataset, ordered so that a directory is found by bisection."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator

__all__ = ["DESCRIPTION", "Names", "parents"]

#: What makes a directory a BIDS dataset (BIDS "Dataset description").
DESCRIPTION = "dataset_description.json"

#: The character behind "/": everything below "a/" sorts before "a0".
_AFTER_SLASH = chr(ord("/") + 1)
#: As many files as most directories have, with all below them.
_NEAR = 64
#: How many directories are remembered before the memory is emptied.
_MOST_DIRECTORIES = 4096


class Names:
    """All the tracked file paths of one dataset, sorted.

    Holds one list of strings and nothing per directory until it is asked, so
    a million names cost what the strings cost.

    Parameters
    ----------
    paths
        POSIX paths relative to the dataset root, each once, in any order.
    """

    __slots__ = ("_files", "_paths")

    def __init__(self, paths: Iterable[str]) -> None:
        self._paths = sorted(paths)
        self._files: dict[str, list[str]] = {}

    def __len__(self) -> int:
        return len(self._paths)

    def __iter__(self) -> Iterator[str]:
        return iter(self._paths)

    def __contains__(self, path: object) -> bool:
        if not isinstance(path, str):
            return False
        at = bisect_left(self._paths, path)
        return at < len(self._paths) and self._paths[at] == path

    def files_in(self, directory: str) -> list[str]:
        """Give the paths of the files that lie directly in a directory.

        Parameters
        ----------
        directory
            ``''`` for the root, else without a trailing slash.
        """
        found = self._files.get(directory)
        if found is None:
            if len(self._files) >= _MOST_DIRECTORIES:
                self._files.clear()
            found = self._files[directory] = self._scan(directory)
        return found

    def _scan(self, directory: str) -> list[str]:
        paths = self._paths
        prefix = f"{directory}/" if directory else ""
        skip = len(prefix)
        found: list[str] = []
        at, end = bisect_left(paths, prefix), len(paths)
        while at < end:
            path = paths[at]
            if not path.startswith(prefix):
                break
            slash = path.find("/", skip)
            if slash < 0:
                found.append(path)
                at += 1
            else:
                # Past the whole subdirectory in one step. Most are small: look near first.
                behind = path[:slash] + _AFTER_SLASH
                near = at + _NEAR
                stop = near if near < end and paths[near] >= behind else end
                at = bisect_left(paths, behind, at + 1, stop)
        return found

    def below(self, directory: str) -> list[str]:
        """Give the paths of all files in a directory and its subdirectories."""
        if not directory:
            return list(self._paths)
        start = bisect_left(self._paths, f"{directory}/")
        return self._paths[start : bisect_left(self._paths, directory + _AFTER_SLASH, start)]


def parents(path: str) -> Iterator[str]:
    """Give the directories that hold a path, the nearest first, ``''`` last."""
    end = path.rfind("/")
    while end > 0:
        yield path[:end]
        end = path.rfind("/", 0, end)
    yield ""
