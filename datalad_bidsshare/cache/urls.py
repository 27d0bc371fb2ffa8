"""Which source a URL means: one name for all its spellings, and no password in any of them."""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import url2pathname

from datalad_bidsshare.dataset.secrets import Secret, looks_secret, without_secrets
from datalad_bidsshare.selection.errors import SelectionError

__all__ = ["Source", "read_source", "readable_name"]

_PORTS = {"http": 80, "https": 443, "ssh": 22, "git": 9418}
_WEB = ("http", "https")
_RIA = ("ria+file", "ria+ssh", "ria+http", "ria+https")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_TRANSPORT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*::")
# git's own rule for HOST:PATH: a colon, and no slash before it. An IPv6 address has brackets.
_SCP = re.compile(r"(?:(?P<user>[^@/]*)@)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^@:/\[\]]+):(?P<path>.*)")
_ID = re.compile("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_ALIAS = re.compile(r"~[^/\s~.][^/\s]*")
_NEXT = (
    "next: give a path, file://, ssh://, HOST:PATH, https://, a RIA URL (ria+file://STORE#ID), "
    "or ///NAME"
)


@dataclass(frozen=True, slots=True)
class Source:
    """A dataset that is somewhere else.

    Attributes
    ----------
    url
        What DataLad's clone is given. Absolute, without a password, without the version that a RIA
        URL may name.
    key
        Its identity: equal for all spellings of one source.
    shown
        For people.
    version
        Tag or branch that a RIA URL names (`ria+...#ID@VERSION`).
    secret
        User and password that the URL had; only ever in the environment of processes of ours.
    """

    url: str
    key: str
    shown: str
    version: str | None = None
    secret: Secret | None = field(default=None, repr=False, compare=False)


def read_source(text: Any, base: Path | None = None) -> Source:
    """Understand what names a source.

    Parameters
    ----------
    text
        A path, `file://`, `ssh://`, `HOST:PATH`, `http(s)://`, `git://`, a RIA URL
        (`ria+file/ssh/http(s)://STORE#ID`, `#~ALIAS`, `@VERSION`), or `///` of DataLad.
    base
        Where relative paths begin. None: the working directory.

    Raises
    ------
    SelectionError
        When it is none of these. The text holds no password.
    """
    spelled = _spelled(text)
    if spelled.startswith("///"):
        return _shortcut(spelled)
    scheme = _SCHEME.match(spelled)
    if scheme is None:
        here = Path(os.path.expanduser(spelled))
        place = here if here.is_absolute() else (base or Path.cwd()) / here
        # as git does it: what is there is a path, also with a colon in its name
        if ":" in spelled and not os.path.lexists(place) and (remote := _scp(spelled)):
            return remote
        if looks_secret(spelled) and not os.path.lexists(place):
            raise SelectionError(_like_secret(spelled))
        return _local(place)
    kind = scheme[1].lower()
    parts = _parts(kind + spelled[scheme.end(1) :])
    if kind == "file":
        return _local(_path_of(parts))
    if kind in _RIA:
        return _ria(parts)
    if kind in ("git+ssh", "ssh+git"):
        parts = parts._replace(scheme="ssh")
    if parts.scheme not in _PORTS:
        return _rewritten(spelled, kind)
    return _remote(parts)


def _spelled(text: Any) -> str:
    if isinstance(text, os.PathLike):
        text = os.fspath(text)
    if not isinstance(text, str):
        raise SelectionError(f"A source is a text, and not {type(text).__name__}; {_NEXT}")
    if not text.strip():
        raise SelectionError(f"The source is empty; {_NEXT}")
    if any(ord(c) < 32 or ord(c) == 127 for c in text):
        raise SelectionError(
            "The source has a line break or another control character in it; next: give it "
            "without, or rename the directory"
        )
    if text.startswith("-"):
        raise SelectionError(
            "A source does not begin with a dash: programs would take it for an option; next: "
            "write ./-NAME for a directory of that name"
        )
    if _TRANSPORT.match(text):
        raise SelectionError(
            "The source names a transport of git's (NAME::...), which can run any program, and is "
            f"not used; {_NEXT}"
        )
    return text


def _parts(text: str) -> SplitResult:
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        # its own words may hold what stands in the URL
        raise SelectionError(f"The source is a URL that cannot be understood; {_NEXT}") from None
    if re.search(r"[\s\\]", parts.netloc) or parts.netloc.rpartition("@")[2].startswith("-"):
        raise SelectionError(f"The source is a URL whose host cannot be understood; {_NEXT}")
    return parts


def _shortcut(text: str) -> Source:
    """Resolve what DataLad has for its own collection."""
    from datalad.core.distributed.clone_utils import decode_source_spec

    if looks_secret(text):
        raise SelectionError(_like_secret(text))
    try:
        url = decode_source_spec(text)["giturl"]
    except ValueError:
        raise SelectionError(
            f"{without_secrets(text)!r} is no source that DataLad knows; {_NEXT}"
        ) from None
    return read_source(url)


def _rewritten(text: str, scheme: str) -> Source:
    """Understand a scheme that the user has told git about (`url.BASE.insteadOf`)."""
    import datalad

    url = datalad.cfg.rewrite_url(text)
    if url == text or _SCHEME.match(url) is None:
        raise SelectionError(f"A source with {scheme}:// is nothing that is known here; {_NEXT}")
    return read_source(url)


# Local ones


def _path_of(parts: SplitResult) -> Path:
    if parts.netloc.lower() not in ("", "localhost"):
        raise SelectionError(
            "A source with file:// is on this machine, and names no host; next: write "
            "file:///PATH with three slashes, or ssh://HOST/PATH"
        )
    # What looks like a query or a fragment is a part of a name to git.
    text = parts.path + f"?{parts.query}" * bool(parts.query)
    text += f"#{parts.fragment}" * bool(parts.fragment)
    if os.name == "nt":
        return Path(url2pathname(text))
    path = Path(unquote(text, errors="surrogateescape"))
    if "\0" in str(path) or not path.is_absolute():
        raise SelectionError("A source with file:// needs a path; next: write file:///PATH")
    return path


def _local(place: Path) -> Source:
    path = os.path.realpath(place)
    if not os.path.exists(path):
        # git tries that as well
        for suffix in (".git", "/.git"):
            if os.path.isdir(path + suffix):
                path = os.path.realpath(path + suffix)
    if os.path.basename(path) == ".git" and len(path) > 5:
        path = os.path.dirname(path)
    elif path.endswith(".git") and not os.path.exists(path) and os.path.isdir(path[:-4]):
        path = os.path.realpath(path[:-4])
    return Source(path, f"file:{os.path.normcase(path)}", path)


# Those on other machines


def _scp(text: str) -> Source | None:
    """Understand HOST:PATH; None when it is none."""
    found = _SCP.fullmatch(text)
    if found is None or (os.name == "nt" and re.match("[A-Za-z]:", text)):
        return None
    user, host, path = found["user"] or "", found["host"], found["path"]
    if (scheme := _scheme_of(text)) is not None:
        raise SelectionError(
            f"The source begins with '{text[: len(scheme)]}:', which is no host but the scheme of "
            f"a URL; next: write it with two slashes: {_meant(text, scheme)}"
        )
    if looks_secret(path) or (not user and "@" in path.partition("/")[0]):
        raise SelectionError(_like_secret(text))
    _refuse_password_for_ssh(user)
    if not path or host.startswith("-") or user.startswith("-") or path.startswith("-"):
        raise SelectionError(f"The source is no HOST:PATH that can be understood; {_NEXT}")
    key = _ssh_key(user, host, None, path if path.startswith(("/", "~")) else f"~/{path}")
    return Source(text, key, text)


def _scheme_of(text: str) -> str | None:
    """Give the scheme in whose URL slashes were left out."""
    scheme = text.partition(":")[0].lower()
    # 'git' is what people call hosts.
    known = (*_WEB, "ssh", "file", *_RIA, "ria", "git+ssh", "ssh+git")
    return scheme if scheme in known else None


def _meant(text: str, scheme: str) -> str:
    """Write the URL that was probably meant; nothing of it that may be a password."""
    rest = text[len(scheme) :].lstrip(":/")
    if "@" in rest:
        # A password may hold any character.
        rest = f"USER:PASSWORD@{rest.rpartition('@')[2]}"
    return f"{scheme}://{'/' * scheme.endswith('file')}{rest}"


def _like_secret(text: str) -> str:
    """Say that a text is no source, without what looks like a password in it."""
    scheme = re.match(r"(?i)(https?|ssh|git|file|ria\+[a-z]+)(?=[:/])", text)
    if scheme is not None:
        said = f"write it with a colon and two slashes: {_meant(text, scheme[0].lower())}"
    else:
        place = text.rpartition("@")[2]
        said = f"write https://USER:PASSWORD@{place}, or for ssh a path after the host"
    return f"The source looks like a URL with a user and password, and is none; next: {said}"


def _remote(parts: SplitResult) -> Source:
    if parts.query or parts.fragment:
        raise SelectionError(
            "The source is a URL with a query or a fragment ('?', '#'), which is no address of a "
            "repository; next: give it without (or write them as %3F and %23)"
        )
    netloc, secret = _without_secret(parts)
    url = parts._replace(netloc=netloc).geturl()
    path = unquote(parts.path, errors="surrogateescape")
    if parts.scheme == "ssh":
        at_home = path[1:] if path.startswith("/~") else path
        key = _ssh_key(parts.username or "", _host(parts), parts.port, at_home)
    else:
        key = f"{parts.scheme}://{_address(parts)}/{_trimmed(path).lstrip('/')}"
    return Source(url, key, url, None, secret)


def _ria(parts: SplitResult) -> Source:
    identifier, at, version = parts.fragment.partition("@")
    if not (_ID.fullmatch(identifier) or _ALIAS.fullmatch(identifier)) or parts.query:
        raise SelectionError(
            "A RIA URL names a dataset by its id or alias; next: write "
            f"{parts.scheme}://STORE#ID or {parts.scheme}://STORE#~ALIAS"
        )
    if at and (not version or version.startswith("-")):
        raise SelectionError("The version in the RIA URL is no tag or branch; next: give another")
    trace = f"{identifier[:3]}/{identifier[3:]}"
    if identifier.startswith("~"):
        trace = f"alias/{identifier[1:]}"
    secret = None
    if parts.scheme == "ria+file":
        store = _path_of(parts._replace(fragment=""))
        # An alias is a link in the store.
        key = f"ria+file:{os.path.normcase(os.path.realpath(store / trace))}"
        netloc = ""
    else:
        path = unquote(parts.path, errors="surrogateescape")
        netloc, secret = _without_secret(parts)
        key = f"{parts.scheme}://{_address(parts)}/{path.strip('/')}/{trace}"
    url = f"{parts.scheme}://{netloc}{parts.path}#{identifier}"
    return Source(url, key, url, version or None, secret)


def _without_secret(parts: SplitResult) -> tuple[str, Secret | None]:
    """Give host and port (for ssh also the user), and what else stood before them."""
    userinfo, at, place = parts.netloc.rpartition("@")
    if not place or not parts.hostname:
        raise SelectionError(f"The source is a URL without a host; {_NEXT}")
    scheme = parts.scheme.removeprefix("ria+")
    if scheme == "ssh":
        _refuse_password_for_ssh(userinfo)
        if userinfo.startswith("-"):
            raise SelectionError(f"The source is a URL whose user cannot be understood; {_NEXT}")
        return parts.netloc, None
    if not at:
        return place, None
    user, colon, password = userinfo.partition(":")
    known = unquote(user), unquote(password)
    # git would take what follows for another of its fields.
    if any(c in word for word in known for c in "\0\r\n"):
        raise SelectionError("The user or password in the URL has a line break; next: give others")
    return place, Secret(f"{scheme}://{place}", known[0], known[1] if colon else None)


def _refuse_password_for_ssh(user: str) -> None:
    if ":" in user:
        raise SelectionError(
            "The source has a password for ssh, which takes none from a URL; next: give it "
            "without, and use a key ('ssh-copy-id')"
        )


def _host(parts: SplitResult) -> str:
    host = (parts.hostname or "").rstrip(".")
    return f"[{host}]" if ":" in host else host


def _address(parts: SplitResult) -> str:
    """Give host and port as all spell them."""
    port = parts.port
    usual = _PORTS.get(parts.scheme.removeprefix("ria+"))
    return _host(parts) + (f":{port}" if port not in (None, usual) else "")


def _ssh_key(user: str, host: str, port: int | None, path: str) -> str:
    host = host.lower().rstrip(".") + (f":{port}" if port not in (None, _PORTS["ssh"]) else "")
    path = _trimmed(path)
    if not path.startswith("~/"):
        return f"ssh://{host}/{path.lstrip('/')}"
    if user == "git":
        # Forges: this user has no home, and all give git@HOST:PATH as ssh://git@HOST/PATH, too.
        return f"ssh://{host}/{path[2:]}"
    # below the home directory of that user
    return f"ssh://{user}@{host}/{path}"


def _trimmed(path: str) -> str:
    """Take away what spellings of the path of one repository differ by."""
    path = path.rstrip("/")
    if path.endswith("/.git"):
        path = path[:-5].rstrip("/")
    return path.removesuffix(".git") if not path.endswith("/.git") else path


def readable_name(source: Source) -> str:
    """Give a name for a directory: what people call the source, and a digest of its identity."""
    digest = hashlib.sha256(source.key.encode("utf-8", "surrogateescape")).hexdigest()[:12]
    *_, above, called = f"//{source.key}".rstrip("/").removesuffix(".git").split("/")
    if source.key.startswith("ria+") and above != "alias":
        # ids of datasets are cut in two in a store
        called = above + called
    safe = re.sub("[^A-Za-z0-9_-]+", "_", called).strip("_-")[:40].strip("_-")
    return f"{safe or 'dataset'}-{digest}"
