"""Where tracked symbolic links lead: from what git tracks alone, without a look at the disk."""

from __future__ import annotations

from collections.abc import Callable

from datalad_bidsshare.dataset.keys import key_of_link
from datalad_bidsshare.dataset.listing import Index, encode

__all__ = ["LinkError", "resolve_link"]

# What Linux follows on the way to one file.
_LONGEST_CHAIN = 40


class LinkError(Exception):
    """A link that leads to no tracked file. The text says where to, and begins in lower case."""


def resolve_link(path: str, index: Index, read_link: Callable[[str], str]) -> str:
    """Find the tracked file that a tracked symbolic link leads to.

    As the system does it, in a tree that holds what is tracked and nothing else: `..` after a
    link to a directory is the parent of where that leads.

    Parameters
    ----------
    path
        A tracked path. One that is no link leads to itself.
    index
        What is tracked.
    read_link
        Gives the target of a tracked path whose mode is that of a symbolic link.

    Returns
    -------
    str
        Path of a file that git or git-annex keeps: an annexed file's own link is not followed.

    Raises
    ------
    LinkError
        When it leads out of the dataset, though it may come back; to a directory, into a
        subdataset, to something that is not tracked, or round in circles.
    """
    # Where we are, and the components that are yet to be walked, the next one last.
    here: list[str] = []
    ahead = path.split("/")[::-1]
    followed = 0
    while ahead:
        component = ahead.pop()
        if component in ("", "."):
            continue
        if component == "..":
            if not here:
                raise LinkError("it leads out of the dataset")
            here.pop()
            continue
        if not here and component.casefold() == ".git":
            raise LinkError("it leads into .git")
        here.append(component)
        place = "/".join(here)
        if place not in index:
            _require_directory(place, index)
            continue
        target = read_link(place) if index[place].mode == "120000" else None
        if target is None or key_of_link(encode(target)) is not None:
            # Also a slash is too much behind a file.
            if ahead:
                raise LinkError(f"it leads to something below {place}, which is a file")
            return place
        followed += 1
        if followed > _LONGEST_CHAIN:
            raise LinkError("it leads round in circles, or through too many links")
        if not target or "\0" in target:
            raise LinkError("it leads nowhere: no path is in it")
        if target.startswith("/"):
            raise LinkError("it is an absolute path")
        here.pop()
        ahead += target.split("/")[::-1]
    raise LinkError("it leads to a directory")


def _require_directory(place: str, index: Index) -> None:
    if place in index.gitlinks:
        raise LinkError(f"it leads into the subdataset {place}")
    if not index.holds_below(place):
        raise LinkError(f"it leads to {place}, which is not tracked")
