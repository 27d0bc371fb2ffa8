"""What `cache-clean` is measured on: clones whose content is all there, and elsewhere as well."""

from __future__ import annotations

import shutil
import subprocess
from functools import cached_property
from pathlib import Path

from benchmarks import study, trees
from benchmarks.exports import made_up

__all__ = ["Cleaning", "left"]

#: Bytes in an annexed file: what is measured is not the disk.
_SIZE = 200


class Cleaning:
    """A dataset, and clones of it on the same disk that have all its content, too.

    Parameters
    ----------
    scratch
        Directory for all of it.
    quick
        Small sizes.
    """

    def __init__(self, scratch: Path, *, quick: bool) -> None:
        self._scratch = scratch
        #: How many files are annexed; there is a JSON in git for each.
        self.files = 100 if quick else 20_000

    @cached_property
    def clone(self) -> Path:
        """The clone that others are copied from, not to be changed."""
        source = trees.annex(self._scratch / "source")
        objects = trees.objects_of(source)
        keys = trees.commit(source, made_up(study.resting(self.files), _SIZE), objects)
        trees.checkout(source)
        trees.set_present(source, keys)
        clone = self._scratch / "full"
        subprocess.run(["git", "clone", "--quiet", source, clone], check=True)
        trees.git(clone, "annex", "init", "--quiet", "clone")
        # As `git annex get` would, which takes longer than all that is measured.
        shutil.copytree(objects, trees.objects_of(clone), dirs_exist_ok=True)
        trees.set_present(clone, keys)
        return clone

    @cached_property
    def clones(self) -> trees.Clones:
        """Copies of `clone`."""
        return trees.Clones(self.clone, self._scratch)


def left(clone: Path) -> tuple[int, int]:
    """Give what a clone still has.

    Returns
    -------
    tuple of int
        Objects on the disk; and keys that git-annex takes to be there, by its branch.
    """
    objects = sum(path.is_file() for path in trees.objects_of(clone).rglob("*"))
    uuid = trees.git(clone, "config", "annex.uuid").decode().strip()
    found = subprocess.run(
        ["git", "grep", "--name-only", "-e", f"s 1 {uuid}", "git-annex", "--", "*.log"],
        cwd=clone,
        stdout=subprocess.PIPE,
    )
    # 1: there are none.
    if found.returncode > 1:
        raise RuntimeError(f"git grep failed in {clone}")
    return objects, found.stdout.count(b"\n")
