"""Where else on this machine the objects of a dataset lie as plain files.

What git-annex would copy into the annex of a clone first can be read from there as it is. Only
looked at: no git-annex process, no connection.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit
from urllib.request import url2pathname

from datalad_bidsshare.dataset.encoding import decode, encode
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.keys import bytesize_of_key, file_of_key, object_paths
from datalad_bidsshare.dataset.presence import annex_directory
from datalad_bidsshare.dataset.process import run
from datalad_bidsshare.dataset.remotes import Remote, read_remotes

__all__ = ["Store", "same_annex", "stores"]


@dataclass(frozen=True, slots=True)
class Store:
    """A directory with annex objects.

    Attributes
    ----------
    name
        Of the remote.
    objects
        The directory, resolved.
    """

    name: str
    objects: Path

    def find(self, key: str) -> str | None:
        """Give an object's path below the directory, or None when it is not seen there.

        Seen is a regular file, of the size that the key tells. Whether it can be read, and is
        reached through no link, shows when it is opened (`beneath.open_beneath`).
        """
        paths: tuple[str, ...] = object_paths(key)
        name = file_of_key(key)
        if name != key:
            # What helpers of git-annex (DataLad's ORA) get to see is the name, and they take it
            # for the key.
            paths += tuple(f"{path.rsplit('/', 2)[0]}/{name}/{name}" for path in object_paths(name))
        size = bytesize_of_key(key)
        beneath = os.fsencode(self.objects) + b"/"
        for path in paths:
            try:
                found = os.lstat(beneath + encode(path))
            except OSError:
                continue
            if stat.S_ISREG(found.st_mode) and size in (None, found.st_size):
                return path
        return None


def stores(root: Path) -> list[Store]:
    """Find the directories of this machine that hold objects of a dataset as plain files.

    These are the annexes of remotes that are repositories here (also those that git-annex was
    told to ignore, as DataLad does with the repositories in RIA stores), RIA stores
    (`ria+file://`) and `directory` special remotes that are enabled in this clone. In what is
    encrypted, cut into chunks, or kept in archives, nothing will be found.

    Parameters
    ----------
    root
        Root of the dataset.

    Returns
    -------
    list of Store
        Those that are there, each once, in the order of the configuration. Its own annex is not
        among them.

    Raises
    ------
    DatasetError
        When the dataset cannot be read.
    """
    own = annex_directory(root)
    seen = {_resolved(own / "objects")} if own is not None else set()
    found: list[Store] = []
    for remote, objects in _directories(root):
        if objects not in seen:
            seen.add(objects)
            found.append(Store(remote.name, objects))
    return found


def same_annex(root: Path) -> dict[str, str]:
    """Find remotes that have no copies of their own: their objects are those of this dataset.

    A link in one of them leads to the other (ephemeral clones), or both lead to a third. git-annex
    does not notice, and would take one copy for two.

    Parameters
    ----------
    root
        Root of the dataset.

    Returns
    -------
    dict
        UUID of the remote to its name.

    Raises
    ------
    DatasetError
        When the dataset cannot be read.
    """
    own = annex_directory(root)
    found: dict[str, str] = {}
    if own is None:
        return found
    for remote, objects in _directories(root):
        with contextlib.suppress(OSError):
            if not os.path.samefile(own / "objects", objects):
                continue
            uuid = remote.get("annex-uuid") or _uuid_of(root, remote)
            if uuid:
                found[uuid] = remote.name
    return found


def _uuid_of(root: Path, remote: Remote) -> str:
    """Ask a repository on this machine who it is, as git-annex does when it first needs it."""
    for place in remote.places:
        with contextlib.suppress(DatasetError, OSError):
            said = run(["git", "config", "annex.uuid"], root / (_local(place) or place))
            return decode(said).strip()
    return ""


def _directories(root: Path) -> Iterator[tuple[Remote, Path]]:
    """Give the directories with objects of remotes, resolved, in the order of configuration."""
    logged = _Log(root)
    for remote in read_remotes(root):
        for place in _places(root, remote, logged):
            # Not there any more, or not for us to see
            with contextlib.suppress(OSError):
                objects = _resolved(place)
                if objects.is_dir():
                    yield remote, objects


def _resolved(directory: Path) -> Path:
    return Path(os.path.realpath(directory))


def _places(root: Path, remote: Remote, logged: _Log) -> Iterator[Path]:
    """Give the directories in which a remote may have its objects."""
    directory = remote.get("annex-directory")
    if directory:
        yield root / directory
    if remote.get("annex-externaltype") in ("ora", "ria"):
        yield from _in_ria(remote, logged)
    for place in remote.places:
        repository = _local(place)
        if repository:
            # as git does it
            for path in (repository, f"{repository}.git"):
                with contextlib.suppress(OSError):
                    annex = annex_directory(root / path)
                    if annex is not None:
                        yield annex / "objects"


def _local(url: str) -> str | None:
    """Give the path that a URL of git's means on this machine, or None."""
    if url.startswith("file://"):
        # git wants an empty host, and undoes what is escaped.
        path = url.removeprefix("file://")
        if not path.startswith("/"):
            return None
        return url2pathname(path) if os.name == "nt" else unquote(path, errors="surrogateescape")
    before_slash = url.partition("/")[0]
    if ":" in before_slash and not (os.name == "nt" and re.match("[A-Za-z]:", url)):
        # HOST:PATH, or SCHEME://...
        return None
    return url


class _Log:
    """What git-annex remembers of special remotes; read when it is first asked for."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._lines: list[str] | None = None

    def settings(self, uuid: str) -> dict[str, str]:
        """Give the settings of a special remote, as they were committed last."""
        if self._lines is None:
            command = ["git", "cat-file", "blob", "git-annex:remote.log"]
            try:
                self._lines = decode(run(command, self._root)).splitlines()
            except DatasetError:
                # no git-annex branch here, or no special remote in it
                self._lines = []
        latest: dict[str, str] = {}
        for line in self._lines:
            # UUID NAME=VALUE NAME=VALUE ... timestamp=SECONDSs
            if line.startswith(f"{uuid} "):
                pairs = (field.partition("=") for field in line.split(" ")[1:])
                found = {name: _unescape(value) for name, _, value in pairs}
                if _time(found) >= _time(latest):
                    latest = found
        return latest


def _unescape(value: str) -> str:
    return re.sub("&([0-9]{1,6});", lambda m: chr(int(m[1])), value)


def _time(settings: dict[str, str]) -> float:
    try:
        return float(settings.get("timestamp", "").removesuffix("s"))
    except ValueError:
        return 0.0


def _in_ria(remote: Remote, logged: _Log) -> Iterator[Path]:
    """Give where DataLad's ORA special remote keeps objects: `datalad.distributed.ora_remote`."""
    uuid = remote.get("annex-config-uuid") or remote.get("annex-uuid") or ""
    settings = logged.settings(uuid)
    identifier = settings.get("archive-id", "")
    # It becomes a part of a path.
    if not re.fullmatch(r"[\w-]{4,}", identifier):
        return
    urls = [remote.get("ora-url") or settings.get("url")]
    # The same store, which may be read over the network otherwise
    urls.append(remote.get("ora-push-url") or settings.get("push-url"))
    bases = [_base_of_ria(remote.rewritten(url)) for url in urls if url]
    if not any(urls) and settings.get("ssh-host", "0") == "0":
        # before there were URLs
        bases.append(settings.get("base-path"))
    for base in bases:
        if base and os.path.isabs(base):
            yield Path(base, identifier[:3], identifier[3:], "annex", "objects")


def _base_of_ria(url: str) -> str | None:
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme != "ria+file":
        return None
    return url2pathname(parts.path) if os.name == "nt" else unquote(parts.path)
