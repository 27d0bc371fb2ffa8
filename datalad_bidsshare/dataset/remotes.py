"""Where a dataset can get content from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.dataset.process import run

__all__ = ["Remote", "read_remotes", "remote_names"]


def remote_names(root: Path) -> list[str]:
    """Give the names of a dataset's remotes (siblings), special remotes among them.

    Parameters
    ----------
    root
        Root of the dataset.

    Raises
    ------
    DatasetError
        When the dataset cannot be read.
    """
    # Special remotes have a section in the configuration too, which is what git looks at.
    return run(["git", "remote"], root).decode("utf-8", "surrogateescape").split()


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote (sibling) of a dataset, as the git configuration of this clone has it.

    Attributes
    ----------
    name
        What it is called here.
    settings
        `remote.NAME.*`, variables in lower case; each with all its values.
    bases
        What `url.BASE.insteadOf` says: prefixes of URLs, and what they stand for.
    """

    name: str
    settings: dict[str, list[str]]
    bases: tuple[tuple[str, str], ...]

    def get(self, variable: str) -> str | None:
        """Give the value of a setting that counts, or None when it has none."""
        values = self.settings.get(variable)
        return values[-1] if values else None

    @property
    def urls(self) -> list[str]:
        """Where it is, as it was configured; nothing for most special remotes."""
        return self.settings.get("url", [])

    @property
    def places(self) -> list[str]:
        """Where git and git-annex go when they read from it and write to it."""
        given = [u for name in ("annexurl", "url", "pushurl") for u in self.settings.get(name, [])]
        return list(dict.fromkeys(map(self.rewritten, given)))

    def rewritten(self, url: str) -> str:
        """Do with a URL what git does with it: the longest prefix that is configured counts."""
        prefix, base = max(
            (found for found in self.bases if found[0] and url.startswith(found[0])),
            key=lambda found: len(found[0]),
            default=("", ""),
        )
        return base + url.removeprefix(prefix)


def read_remotes(root: Path) -> list[Remote]:
    """Read which remotes a dataset has: one process, which contacts none.

    Parameters
    ----------
    root
        Root of the dataset. Only git's own configuration counts, of this clone and of its user;
        never what is committed in the dataset.

    Raises
    ------
    DatasetError
        When the dataset cannot be read.
    """
    found: dict[str, dict[str, list[str]]] = {}
    bases: list[tuple[str, str]] = []
    for item in decode(run(["git", "config", "--list", "-z"], root)).split("\0"):
        name, _, value = item.partition("\n")
        section, _, rest = name.partition(".")
        subsection, _, variable = rest.rpartition(".")
        if section == "remote" and subsection:
            found.setdefault(subsection, {}).setdefault(variable, []).append(value)
        elif section == "url" and variable == "insteadof":
            bases.append((value, subsection))
    return [Remote(name, settings, tuple(bases)) for name, settings in found.items()]
