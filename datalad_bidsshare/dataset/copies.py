"""Where else the content of keys is, as git-annex's records have it.

A forecast, made without git-annex and without asking any remote, so that what would be kept can
be told before anything is dropped. The drop itself leaves the verdict to git-annex, which looks
for each copy. Not read here: `annex.numcopies` and `annex.mincopies` in `.gitattributes`, which
git-annex heeds.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from datalad_bidsshare.dataset.annexlogs import AnnexLogs
from datalad_bidsshare.dataset.encoding import decode
from datalad_bidsshare.dataset.keys import object_paths
from datalad_bidsshare.dataset.process import run
from datalad_bidsshare.dataset.stores import same_annex

__all__ = ["Copies", "Known", "Repositories"]

Trust = Literal["trusted", "semitrusted", "untrusted", "dead"]

_TRUST: dict[str, Trust] = {"1": "trusted", "?": "semitrusted", "0": "untrusted", "X": "dead"}
_LOGS = ("uuid.log", "trust.log", "remote.log", "numcopies.log", "mincopies.log")

_WEB = "00000000-0000-0000-0000-000000000001"
"""What is on record for URLs. Every repository has it for a remote."""


@dataclass(frozen=True, slots=True)
class Known:
    """Where else one key is on record. Repositories are named by their UUID.

    Attributes
    ----------
    trusted
        Those whose copies count: git-annex can ask them.
    apart
        Those that are no remotes of this clone, so that nobody can look whether it is true.
    untrusted
        Those whose copies do not count, because they may go at any time.
    dead
        Those that were given up as lost.
    same
        Those that have the annex of this clone, and no copy of their own.
    needed
        How many copies are to be left elsewhere (numcopies, mincopies).
    """

    trusted: tuple[str, ...]
    apart: tuple[str, ...]
    untrusted: tuple[str, ...]
    dead: tuple[str, ...]
    same: tuple[str, ...]
    needed: int


class Repositories:
    """What a clone knows of the repositories that content may be in; `read` makes it.

    Parameters
    ----------
    settings
        git's configuration of the clone.
    logs
        Lines of git-annex's `_LOGS`, of those that there are.
    same
        UUIDs of those that have the annex of this clone (`stores.same_annex`), and their names.
    """

    def __init__(
        self, settings: dict[str, str], logs: dict[str, list[str]], same: dict[str, str]
    ) -> None:
        self.same = same
        """Those that are never to be counted."""
        self.own = settings.get("annex.uuid", "")
        """UUID of the clone itself; empty where git-annex was never at work."""
        self.names: dict[str, str] = {_WEB: "web"} | _by_uuid(logs.get("uuid.log", [])) | same
        """What to call repositories, by UUID: the remote, or else what it is described as."""
        self.remotes: set[str] = {_WEB}
        """Those that git-annex can ask."""
        self.unknown = False
        """Whether a remote was never asked who it is: git-annex does so when it first needs it."""
        self._trust: dict[str, Trust] = {
            uuid: _TRUST.get(level[:1], "semitrusted")
            for uuid, level in _by_uuid(logs.get("trust.log", [])).items()
        }
        self._read_remotes(settings, _by_uuid(logs.get("remote.log", [])))
        numcopies = _number(logs.get("numcopies.log", []))
        if numcopies is None:
            numcopies = _digits(settings.get("annex.numcopies", ""))
        self.needed = max(1, numcopies or 1, _number(logs.get("mincopies.log", [])) or 1)
        """How many copies git-annex wants to find before it drops one."""

    @classmethod
    def read(cls, root: Path) -> Repositories:
        """Read what a dataset knows.

        Parameters
        ----------
        root
            Root of the dataset.

        Raises
        ------
        DatasetError
            When the configuration or the records cannot be read.
        """
        return cls(_settings(root), AnnexLogs(root).read(_LOGS), same_annex(root))

    def _read_remotes(self, settings: dict[str, str], special: dict[str, str]) -> None:
        remotes: dict[str, dict[str, str]] = {}
        for name, value in settings.items():
            found = re.fullmatch(r"remote\.(.+)\.([^.]+)", name, re.DOTALL)
            if found:
                remotes.setdefault(found[1], {})[found[2]] = value
        for name, values in remotes.items():
            uuid = values.get("annex-uuid")
            ignored = values.get("annex-ignore", "false").lower() in ("true", "yes", "on", "1", "")
            if uuid is None:
                self.unknown = self.unknown or (not ignored and "url" in values)
                continue
            self.names[uuid] = name
            if not ignored:
                self.remotes.add(uuid)
            level = values.get("annex-trustlevel", "")
            if level in _TRUST.values():
                self._trust[uuid] = next(v for v in _TRUST.values() if v == level)
            given = special.get(values.get("annex-config-uuid", uuid), "").split()
            if {"exporttree=yes", "importtree=yes"} & set(given) and "versioning=yes" not in given:
                # What is there may be replaced at any time, whatever somebody declared.
                self._trust[uuid] = "dead" if self.trust(uuid) == "dead" else "untrusted"

    def trust(self, uuid: str) -> Trust:
        """Tell how far the records of a repository are to be believed."""
        return self._trust.get(uuid, "semitrusted")

    @property
    def taken_at_their_word(self) -> list[str]:
        """Name those that git-annex would not even ask."""
        trusted = (uuid for uuid, level in self._trust.items() if level == "trusted")
        return sorted(uuid for uuid in trusted if uuid not in self.same)


class Copies:
    """What is on record about the copies of some keys.

    Parameters
    ----------
    root
        Root of the dataset.
    keys
        The keys. A handful of processes, however many.

    Raises
    ------
    DatasetError
        When the records cannot be read.
    """

    def __init__(self, root: Path, keys: Iterable[str]) -> None:
        self._root = root
        settings = _settings(root)
        # Few and far between: with one level of directories and not two.
        short = settings.get("annex.tune.branchhash1") == "true"
        paths = {_log_of(key, short): key for key in keys}
        logs = AnnexLogs(root).read([*_LOGS, *paths])
        self.repositories = Repositories(settings, logs, same_annex(root))
        self._holders: dict[str, list[str]] = {}
        for path, key in paths.items():
            holders = _holders(logs.get(path, ()))
            if self.repositories.own in holders:
                holders.remove(self.repositories.own)
            self._holders[key] = holders

    def known(self, key: str) -> Known:
        """Tell where else a key is, as far as is on record.

        Parameters
        ----------
        key
            One of those that were given.
        """
        all_of = self.repositories
        sorted_out: dict[str, list[str]] = {
            kind: [] for kind in ("asked", "apart", "untrusted", "dead", "same")
        }
        for uuid in self._holders.get(key, ()):
            trust = "same" if uuid in all_of.same else all_of.trust(uuid)
            reached = "asked" if uuid in all_of.remotes else "apart"
            sorted_out[trust if trust in sorted_out else reached].append(uuid)
        asked, apart, untrusted, dead, same = map(tuple, sorted_out.values())
        return Known(asked, apart, untrusted, dead, same, all_of.needed)

    def why_kept(self, key: str, needed: int | None = None) -> str:
        """Say why git-annex would not drop a key, and what to do.

        Parameters
        ----------
        key
            One of those that were given.
        needed
            How many copies are asked for; None: as many as the settings say.

        Returns
        -------
        str
            Empty when enough copies are on record; git-annex then looks whether they are there.
        """
        known = self.known(key)
        needed = needed or known.needed
        lacking = needed - len(known.trusted)
        if lacking <= 0 or (self.repositories.unknown and len(known.apart) >= lacking):
            return ""
        wrong = [
            f"{self._named(uuids)}, {text}"
            for uuids, text in (
                (known.apart, "which cannot be asked: no remote of this clone, or ignored"),
                (known.untrusted, "which is untrusted"),
                (known.dead, "which was given up as dead"),
                (known.same, "which has the annex of this clone and no copy of its own"),
            )
            if uuids
        ]
        if known.trusted:
            said = (
                f"{needed} other copies are asked for (numcopies), and it is in "
                f"{self._named(known.trusted)} only"
            )
            said += "".join(f"; it is also in {text}" for text in wrong)
        elif wrong:
            said = "it is elsewhere only in " + "; and in ".join(wrong)
        else:
            said = "this is the only known copy"
        copying = ["git", "-C", str(self._root), "annex", "copy", f"--key={key}", "--to"]
        steps = [f"copy it elsewhere: {shlex.join(copying)} REMOTE"]
        if known.apart:
            siblings = shlex.join(["datalad", "siblings", "-d", str(self._root)])
            steps.insert(0, f"see which remotes there are, to add or enable one: {siblings}")
        return f"{said}; next: {', or '.join(steps)}"

    def _named(self, uuids: Iterable[str]) -> str:
        return " and ".join(self.repositories.names.get(uuid) or uuid for uuid in uuids)


def _log_of(key: str, short: bool) -> str:
    """Give the file of the branch in which the places of a key are."""
    first, second, file, _ = object_paths(key)[1].split("/")
    return f"{first}/{file}.log" if short else f"{first}/{second}/{file}.log"


def _holders(lines: Iterable[str]) -> list[str]:
    """Read 'SECONDSs STATUS UUID' lines: the newest of a repository counts."""
    latest: dict[str, tuple[float, bool]] = {}
    for line in lines:
        when, _, rest = line.partition(" ")
        status, _, uuid = rest.partition(" ")
        # Of two of the same time, the one that says less.
        said = (_seconds(when), status != "1")
        if uuid and said > latest.get(uuid, (-1.0, False)):
            latest[uuid] = said
    return [uuid for uuid, (_, gone) in latest.items() if not gone]


def _by_uuid(lines: Iterable[str]) -> dict[str, str]:
    """Read 'UUID VALUE timestamp=SECONDSs' lines: the newest of a repository counts."""
    latest: dict[str, tuple[float, str]] = {}
    for line in lines:
        uuid, _, rest = line.partition(" ")
        value, _, when = rest.rpartition("timestamp=")
        if not value and not when.endswith("s"):
            # Of the time before there were times.
            value, when = rest, ""
        said = (_seconds(when), value.strip())
        if said >= latest.get(uuid, (-1.0, "")):
            latest[uuid] = said
    return {uuid: value for uuid, (_, value) in latest.items()}


def _number(lines: Iterable[str]) -> int | None:
    """Read 'SECONDSs NUMBER' lines: the newest counts."""
    said = [
        (_seconds(when), _digits(value)) for when, _, value in (x.partition(" ") for x in lines)
    ]
    numbers = [(when, value) for when, value in said if value is not None]
    return max(numbers)[1] if numbers else None


def _digits(text: str) -> int | None:
    return int(text) if re.fullmatch("[0-9]{1,6}", text.strip()) else None


def _seconds(text: str) -> float:
    try:
        return float(text.removesuffix("s"))
    except ValueError:
        return 0.0


def _settings(root: Path) -> dict[str, str]:
    """Read git's configuration, of this clone and its user; the last value of each counts."""
    listed = decode(run(["git", "config", "--list", "-z"], root)).split("\0")
    return {name: value for name, _, value in (item.partition("\n") for item in listed)}
