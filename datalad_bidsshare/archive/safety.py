"""What is refused before anything of a zip is written."""

from __future__ import annotations

import re
import shlex
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from datalad_bidsshare.archive.directory import Directory, Member
from datalad_bidsshare.archive.inflate import why_unsupported
from datalad_bidsshare.disk.names import collisions, folded, is_internal

__all__ = ["Limits", "Refused", "check_directory", "check_wanted", "shown"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a zip may come to.

    Attributes
    ----------
    bytes
        Unpacked bytes of the wanted members together.
    ratio
        Unpacked to packed bytes of the wanted members together. Above 100 MB unpacked only.
    members
        Members in the directory.
    """

    bytes: int = 1 << 44
    ratio: int = 200
    members: int = 1_000_000


class Refused(Exception):
    """A zip that is not unpacked. The text is `MEMBER: reason`, or the reason alone.

    Attributes
    ----------
    member
        Name of the member, None when it is about the zip as a whole.
    reason
        For the user, with the next step where there is one.
    """

    def __init__(self, member: str | None, reason: str) -> None:
        # Both as arguments: exceptions travel between processes.
        super().__init__(member, reason)
        self.member = member
        self.reason = reason

    def __str__(self) -> str:
        return self.reason if self.member is None else f"{shown(self.member)}: {self.reason}"


def shown(name: str) -> str:
    """Give a name as messages have it: what cannot be printed, escaped."""
    if name.isprintable():
        return name
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in name
    )


def check_directory(
    directory: Directory, limits: Limits, *, taken_away: Callable[[str], bool]
) -> None:
    """Refuse a zip that tries to do harm, or that does not say clearly what is in it.

    Parameters
    ----------
    directory
        All members are looked at, wanted or not: what is in a zip with one hostile name is not
        to be trusted either.
    limits
        Of which only `members` counts here.
    taken_away
        Whether the user explicitly leaves a member out, by its name. That helps where a member
        is not hostile, only one that cannot be unpacked: links, encrypted ones, names that
        collide.

    Raises
    ------
    Refused
        For the first that was found.
    """
    if len(directory.members) > limits.members:
        raise Refused(
            None,
            f"{len(directory.members):,} members, more than the limit of {limits.members:,}"
            " (--max-members)",
        )
    for member in directory.members:
        if (reason := _why_hostile(member.name)) is not None:
            raise Refused(
                member.name, f"{reason}; nothing of such a zip is unpacked: ask who made it"
            )
    _check_overlaps(directory)
    kept = [member for member in directory.members if not taken_away(member.name)]
    for member in kept:
        if (reason := _why_not_a_file(member)) is not None:
            raise Refused(member.name, f"{reason}; {_leave_out(member.name)}")
    _check_collisions(kept)


def check_wanted(members: Sequence[Member], limits: Limits) -> None:
    """Refuse members that would unpack to too much, or cannot be unpacked.

    Parameters
    ----------
    members
        The wanted ones.
    limits
        Of which `bytes` and `ratio` count here. Sizes are the declared ones: that no more than
        these is written, `extract` sees to.

    Raises
    ------
    Refused
        For the first that was found.
    """
    methods: dict[int, str | None] = {}
    for member in members:
        if member.method not in methods:
            methods[member.method] = why_unsupported(member.method)
        if (reason := methods[member.method]) is not None:
            raise Refused(
                member.name,
                f"{reason}; {_leave_out(member.name)}, or pack the zip again with Deflate",
            )
    size = sum(member.size for member in members)
    packed = sum(member.packed for member in members)
    if size > limits.bytes:
        raise Refused(
            None,
            f"the wanted members unpack to {size:,} bytes, more than the limit of"
            f" {limits.bytes:,} (--max-bytes)",
        )
    if size > _RATIO_FROM and size > limits.ratio * packed:
        raise Refused(
            None,
            f"the wanted members unpack to {size:,} bytes from {packed:,}, more than"
            f" {limits.ratio:,} times as much: a zip bomb? If it is not, raise --max-ratio",
        )


_RATIO_FROM = 100 * 10**6
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f]")
_SURROGATE = re.compile("[\ud800-\udfff]")
_DRIVE = re.compile("[A-Za-z]:")
_OURS = (".git", ".datalad")
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_PATCHED = 0x20


def _why_hostile(name: str) -> str | None:
    """Say why a name has no place in any zip that is unpacked into a dataset."""
    path = name[:-1] if name.endswith("/") else name
    # Nearly all names have nothing that would have to be looked at closely.
    if (
        path.isascii()
        and path.isprintable()
        and path[:1] not in ("", ".", "/")
        and "/." not in path
        and "//" not in path
        and "\\" not in path
        and "~" not in path
        and path[1:2] != ":"
        and path[-1] != "/"
    ):
        return None
    if _SURROGATE.search(path):
        return "its name is said to be UTF-8, and is not"
    if _CONTROL.search(path):
        return "there are control characters in its name"
    if "\\" in path:
        return "there is a backslash in its name, which some take for '/'"
    if path.startswith("/"):
        return "its name is an absolute path"
    if _DRIVE.match(path):
        return "its name begins with a drive"
    components = path.split("/")
    if ".." in components:
        return "its name leads out of the directory it is unpacked into ('..')"
    if "" in components or "." in components:
        return "there is an empty component, or '.', in its name"
    if is_internal(path) or any(
        component.startswith(_OURS) and component != ".gitkeep"
        for component in folded(path).split("/")
    ):
        return "belongs to git, git-annex or DataLad, and would change what they do in a dataset"
    return None


def _check_overlaps(directory: Directory) -> None:
    """Refuse members that share bytes: a bomb, or two readings of one zip."""
    after, behind = directory.start, None
    for member in sorted(directory.members, key=lambda m: m.offset, reverse=True):
        header = _LOCAL_HEADER + len(member.stored_name)
        if member.offset < 0 or member.offset + header + member.packed > after:
            other = "the directory" if behind is None else f"those of {shown(behind)}"
            raise Refused(member.name, f"its bytes overlap {other}")
        after, behind = member.offset, member.name


_LOCAL_HEADER = 30
"""Bytes before the name. How much stands between it and the data, only the header itself says."""


def _why_not_a_file(member: Member) -> str | None:
    """Say why a member cannot become a regular file (or is no directory)."""
    kind = stat.S_IFMT(member.mode)
    if member.is_directory:
        if kind not in (0, stat.S_IFDIR, stat.S_IFREG):
            return f"is a directory by its name, and {_KINDS.get(kind, 'special')} by its mode"
        if member.size:
            return "is a directory with content"
        # Directories of shared disks are set-gid often. Modes are not restored.
        return None
    if kind == stat.S_IFDIR:
        return "is a directory by its mode, and not by its name"
    if kind not in (0, stat.S_IFREG):
        return f"is {_KINDS.get(kind, 'a special file')}"
    if member.mode & (stat.S_ISUID | stat.S_ISGID):
        return "is a set-user-ID or set-group-ID file"
    if member.flags & _ENCRYPTED:
        return "is encrypted"
    if member.flags & _PATCHED:
        return "is a patch of another file"
    return None


_KINDS = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
}


def _check_collisions(members: Sequence[Member]) -> None:
    """Refuse members of which one could take the place of another."""
    seen: set[str] = set()
    for member in members:
        name = member.name
        if name in seen and not member.is_directory:
            raise Refused(name, f"is there twice; {_leave_out(name)}")
        seen.add(name)
    for name, other in collisions(member.name for member in members).items():
        at, others = name.rstrip("/"), other.rstrip("/")
        if others.startswith(f"{at}/") or at.startswith(f"{others}/") or at == others:
            reason = "is a file here, and a directory elsewhere in the zip"
        else:
            reason = f"is one name with {shown(other)} where case or Unicode forms do not count"
        raise Refused(name, f"{reason}; {_leave_out(name)}")


def _leave_out(name: str) -> str:
    """Say how a member is left out."""
    if not name.isprintable():
        return "wanted or not, leave it out with -x"
    glob = re.sub(r"([*?\[\\])", r"\\\1", name)
    # Without a slash, it would mean a name at any depth.
    if "/" not in name.rstrip("/") or name.startswith("-"):
        glob = f"/{glob}"
    return f"wanted or not, leave it out with -x {shlex.quote(glob)}"
