"""Passwords of URLs: known to git processes of ours, and to nothing else."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

__all__ = ["Secret", "looks_secret", "revealed", "without_secrets"]


@dataclass(frozen=True, slots=True)
class Secret:
    """User and password for a server.

    Attributes
    ----------
    server
        What it is for: scheme, host and port of a URL.
    user
        Or empty. May be a token.
    password
        None when only a user was named.
    """

    server: str
    user: str = field(repr=False)
    password: str | None = field(repr=False)


# A helper of git's that gives what the environment holds; `printf` is part of the shell, so no
# command line shows it. git asks all helpers to store what worked: this one does not.
_HELPER = (
    '!f() {{ test "$1" != get || '
    'printf "username=%s\\npassword=%s\\n" "${user}" "${password}"; }}; f'
)
_COUNT = "GIT_CONFIG_COUNT"
# Of a mistyped URL, nobody knows where it begins.
_LIKE_SECRET = r"[^\s/'\"@:]+:[^\s/'\"]*@"
_lock = threading.Lock()
_names = 0


@contextlib.contextmanager
def revealed(secret: Secret | None) -> Iterator[None]:
    """Let git processes, whoever starts them, know a password as long as the block lasts.

    By the environment of this process, which its children inherit: DataLad, git and git-annex all
    start git. The password is in no command line, in no configuration on the disk and in no URL,
    and the helpers that the user has configured do not get to store it.
    """
    if secret is None:
        yield
        return
    with _lock:
        added, variables = _configuration(secret)
        os.environ.update(variables)
        _write([*_read(), *added])
    try:
        yield
    finally:
        with _lock:
            left = _read()
            # The last one of each: an empty one that came before belongs to somebody else.
            left.reverse()
            for pair in added:
                with contextlib.suppress(ValueError):
                    left.remove(pair)
            left.reverse()
            _write(left)
            for name in variables:
                os.environ.pop(name, None)


def _configuration(secret: Secret) -> tuple[list[tuple[str, str]], dict[str, str]]:
    global _names
    section = f"credential.{secret.server}"
    if secret.password is None:
        return [(f"{section}.username", secret.user)], {}
    _names += 1
    user, password = f"BIDSSHARE_USER_{_names}", f"BIDSSHARE_PASSWORD_{_names}"
    helper = _HELPER.format(user=user, password=password)
    # Nothing: forget the helpers that were configured before, for this server.
    settings = [(f"{section}.helper", ""), (f"{section}.helper", helper)]
    return settings, {user: secret.user, password: secret.password}


def _read() -> list[tuple[str, str]]:
    """Read the configuration that is in the environment (`datalad -c` puts it there, too)."""
    try:
        count = int(os.environ.get(_COUNT, "0"))
    except ValueError:
        count = 0
    return [
        (os.environ[f"GIT_CONFIG_KEY_{i}"], os.environ.get(f"GIT_CONFIG_VALUE_{i}", ""))
        for i in range(count)
        if f"GIT_CONFIG_KEY_{i}" in os.environ
    ]


def _write(pairs: list[tuple[str, str]]) -> None:
    for i, (key, value) in enumerate(pairs):
        os.environ[f"GIT_CONFIG_KEY_{i}"] = key
        os.environ[f"GIT_CONFIG_VALUE_{i}"] = value
    i = len(pairs)
    while f"GIT_CONFIG_KEY_{i}" in os.environ:
        del os.environ[f"GIT_CONFIG_KEY_{i}"]
        os.environ.pop(f"GIT_CONFIG_VALUE_{i}", None)
        i += 1
    if pairs:
        os.environ[_COUNT] = str(len(pairs))
    else:
        os.environ.pop(_COUNT, None)


def without_secrets(text: str) -> str:
    """Take users and passwords out of a text: of URLs, and what looks like USER:PASSWORD@."""
    import re

    # not of ssh://: the user is part of the address there, and there are no passwords
    text = re.sub(r"(?i)\b((?!ssh://)[a-z][a-z0-9+.-]*://)[^/\s'\"]*@", r"\1", text)
    return re.sub(_LIKE_SECRET, "***@", text)


def looks_secret(text: str) -> bool:
    """Tell whether something in a text looks like USER:PASSWORD@."""
    import re

    return re.search(_LIKE_SECRET, text) is not None
