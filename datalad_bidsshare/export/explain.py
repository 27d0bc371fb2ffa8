"""What to tell about a file that could not be written."""

from __future__ import annotations

import errno
import os
import shlex
from typing import TYPE_CHECKING

from datalad_bidsshare.export.items import Item

if TYPE_CHECKING:
    from datalad_bidsshare.export.jobs import Done

__all__ = ["explain", "foreign_message", "missing_message"]


def explain(item: Item, done: Done) -> str:
    """Say what is wrong with a file, and the next step.

    Parameters
    ----------
    item
        The file.
    done
        What the copying process said; its status is none of `'ok'` and `'kept'`.
    """
    if done.status == "corrupt":
        return f"content does not match its key and was not exported; {_after_damage(item)}"
    if done.status == "gone":
        return (
            f"content vanished while the export went on; next: {_git(item, 'annex whereis')}, "
            "then run the same command again"
        )
    if done.status == "foreign":
        if done.errno in (errno.EISDIR, errno.EEXIST):
            return (
                f"cannot be written: a directory or special file stands at {item.target} in the "
                "destination; move it away, then run the same command again"
            )
        return foreign_message(item)
    return _of_system(item, done)


def foreign_message(item: Item) -> str:
    """Say that something else stands at the destination, and the next step."""
    if item.rechecked:
        return (
            "what stands at the destination no longer holds what was exported; it was left as it "
            "is. Replace it with --force"
        )
    return (
        "what stands at the destination was not written by an export, or was changed since; it was "
        "left as it is. Keep it with --existing skip, replace it with --force"
    )


def _of_system(item: Item, done: Done) -> str:
    said = os.strerror(done.errno) if done.errno else "unknown error"
    if done.where == "source":
        if done.errno in (errno.EACCES, errno.EPERM):
            return f"content cannot be read: {said}; ask the owner of {_place(item)}"
        return f"content cannot be read: {said} ({_place(item)})"
    if done.errno == errno.ENOSPC:
        return (
            "the destination is full; make room, then run the same command again: it goes on where "
            "it stopped"
        )
    if done.errno in (errno.ELOOP, errno.ENOTDIR):
        return (
            f"a symbolic link or a file stands on the way to {item.target} in the destination, and "
            "nothing is written through it; move it away, then run the same command again"
        )
    if done.errno in (errno.EINVAL, errno.EILSEQ, errno.ENAMETOOLONG):
        return f"the file system of the destination cannot hold this name: {said}"
    if done.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"the destination cannot be written to: {said}; see the permissions of its directory"
    return f"could not be written: {said}"


def missing_message(item: Item) -> str:
    """Say that content is absent, and the next step."""
    return (
        "content is neither here nor in a store that can be read from this machine; see where it "
        f"is: {_git(item, 'annex whereis')}; or have it fetched: --missing get"
    )


def _after_damage(item: Item) -> str:
    if item.how == "store":
        return f"the copy in {_place(item)} is damaged: run git annex fsck there"
    if item.how == "git":
        return f"next: {shlex.join(['git', '-C', str(item.part.root), 'fsck'])}"
    return f"next: {_git(item, 'annex fsck')}"


def _place(item: Item) -> str:
    return item.source[0] if isinstance(item.source, tuple) else str(item.part.root)


def _git(item: Item, command: str) -> str:
    """Write a git command about a file as it can be pasted into a shell anywhere."""
    return shlex.join(["git", "-C", str(item.part.root), *command.split(), "--", item.info.path])
