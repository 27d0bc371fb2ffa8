"""What work from a URL is measured on: sources, and a place for what is made of them."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmarks import study, trees
from benchmarks.exports import made_up

__all__ = ["Place", "Sourcing"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where one side works.

    Attributes
    ----------
    root
        Directory for all of it.
    """

    root: Path

    @property
    def cache(self) -> Path:
        """Where clones are kept."""
        return self.root / "cache"

    @property
    def copy(self) -> Path:
        """Where to copy to."""
        return self.root / "copy"

    @property
    def is_used(self) -> bool:
        """Whether there is a copy."""
        return self.copy.exists()

    def clear(self) -> Path:
        """Make it as if nothing had ever been done, and give the directory."""
        if self.root.exists():
            trees.remove(self.root)
        self.cache.mkdir(parents=True)
        # As the managed clones want it.
        self.cache.chmod(0o700)
        return self.root


class Sourcing:
    """Sources, and places to work in.

    Parameters
    ----------
    scratch
        Directory for all of it.
    quick
        Small sizes.
    """

    def __init__(self, scratch: Path, *, quick: bool) -> None:
        self._scratch = scratch
        #: One for each side.
        self.here, self.there = Place(scratch / "here"), Place(scratch / "there")
        #: Images in `source`, twenty a subject, and bytes in each.
        self.images, self.size = (200, 20_000) if quick else (2_000, 200_000)
        #: Subjects that are asked for, and how many images they have.
        self.subjects = ("0001",) if quick else ("0001", "0002")
        self.asked = 20 * len(self.subjects)

    @cached_property
    def source(self) -> Path:
        """A dataset with all its content."""
        root = trees.annex(self._scratch / "source")
        files = made_up(study.resting(self.images), self.size)
        trees.set_present(root, trees.commit(root, files, trees.objects_of(root)))
        trees.checkout(root)
        return root

    @contextmanager
    def served(self) -> Iterator[str]:
        """Serve `source` by HTTP from this machine, and give its URL."""
        trees.git(self.source, "update-server-info")
        # Else git-annex would not speak to this machine.
        trees.git(
            self.source, "config", "--global", "annex.security.allowed-ip-addresses", "127.0.0.1"
        )
        log = self._scratch / "served.log"
        with log.open("w+b") as output:
            options = ("--bind", "127.0.0.1", "--directory", str(self._scratch), "0")
            server = subprocess.Popen(
                [sys.executable, "-u", "-m", "http.server", *options],
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            try:
                yield f"{_address(log)}/{self.source.name}/.git"
            finally:
                server.terminate()
                server.wait()


def _address(log: Path) -> str:
    """Wait until a server tells where it is, and answers."""
    for _ in range(100):
        time.sleep(0.1)
        said = log.read_text()
        if "(http" in said:
            address = said.partition("(http")[2].partition("/)")[0]
            try:
                urllib.request.urlopen(f"http{address}/").close()
            except urllib.error.URLError:
                continue
            return f"http{address}"
    raise RuntimeError(f"the server did not start: {log.read_text()}")
