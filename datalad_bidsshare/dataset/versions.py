"""Which other branches and tags of a dataset have the same files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.dataset.process import read_chunks, run, start

__all__ = ["MOST_VERSIONS", "other_versions"]

MOST_VERSIONS = 200
"""Branches and tags that are looked at, the newest ones."""


def other_versions(root: Path, oids: Iterable[str]) -> dict[str, int]:
    """Tell which branches and tags hold some of these files, with another tree than HEAD.

    A version with the tree that is checked out is left out: it holds all of them. So are
    git-annex's own branches. A file that is annexed in both, but lies in a directory of another
    depth there, is not recognised. One process for all versions, which only looks into directories
    that differ.

    Parameters
    ----------
    root
        Root of the dataset.
    oids
        Names of the files' blobs, one for each file: all of HEAD that have such a blob.

    Returns
    -------
    dict
        Name of the branch ('main') or tag to how many of the files it has; without those that
        have none.

    Raises
    ------
    DatasetError
        When git cannot tell.
    """
    wanted = Counter(oids)
    head = decode(run(["git", "rev-parse", "HEAD^{tree}"], root)).strip()
    # '*tree' is of what an annotated tag points to.
    command = ["git", "for-each-ref", "--sort=-creatordate", "refs/heads", "refs/tags"]
    command += ["--format=%(refname) %(tree)%(*tree)"]
    names: dict[str, str] = {}
    for line in decode(run(command, root)).splitlines():
        name, _, tree = line.partition(" ")
        if tree and tree != head and not _is_of_annex(name) and len(names) < MOST_VERSIONS:
            names.setdefault(tree, name.split("/", 2)[2])
    found: dict[str, int] = {}
    if names and wanted:
        for tree, changed in _differences(root, head, names):
            lost = sum(min(count, max(0, -changed[oid])) for oid, count in wanted.items())
            if lost < wanted.total():
                found[names[tree]] = wanted.total() - lost
    return found


def _is_of_annex(name: str) -> bool:
    return name.startswith(("refs/heads/git-annex", "refs/heads/synced/", "refs/heads/adjusted/"))


def _differences(root: Path, head: str, trees: Iterable[str]) -> Iterator[tuple[str, Counter[str]]]:
    """Give how many files with each blob trees have more than HEAD, or less (below 0)."""
    command = ["git", "diff-tree", "--stdin", "-r", "-z", "--raw", "--no-abbrev", "--no-renames"]
    tree, changed = "", Counter[str]()
    with start(command, root, stdin=True) as git:
        git.ask("".join(f"{head} {tree}\n" for tree in trees).encode("ascii"))
        git.ask_no_more()
        is_path = False
        for chunk in read_chunks(git.stdout):
            for field in chunk.split(b"\0"):
                if not is_path:
                    # ':MODE MODE OLD NEW STATUS', and before the first 'HEAD TREE', newline
                    pair, newline, record = field.rpartition(b"\n")
                    if newline:
                        if tree:
                            yield tree, changed
                        tree, changed = pair.split(b" ")[1].decode("ascii"), Counter()
                    _, _, old, new, _ = record.decode("ascii").split(" ")
                    changed[old] -= 1
                    changed[new] += 1
                is_path = not is_path
    if tree:
        yield tree, changed
