"""Path globs as gitignore writes them."""

from __future__ import annotations

import re

from datalad_bidsshare.selection.errors import SelectionError

__all__ = ["compile_glob"]


def compile_glob(pattern: str) -> re.Pattern[str]:
    """Compile a path glob to an expression for ``fullmatch``.

    As in gitignore(5): without a slash (other than a last one) the pattern
    means a name at any depth, else a path from the root; ``*``, ``?`` and
    brackets stop at a slash, ``**`` between slashes does not; a backslash
    takes the next character as it is; what matches a directory means all
    below it. There is no ``!`` to take a pattern back, and no comment.

    Parameters
    ----------
    pattern
        For example ``*.json``, ``sub-01/``, ``sub-*/**/dwi``.

    Raises
    ------
    SelectionError
        If a bracket expression is not closed or not valid.
    """
    body = pattern.strip("/")
    anchored = "/" in body or pattern.startswith("/")
    text = "" if anchored else "(?:.*/)?"
    at = 0
    while at < len(body):
        component_starts = at == 0 or body[at - 1] == "/"
        if component_starts and body.startswith("**/", at):
            text += "(?:.*/)?"
            at += 3
        elif component_starts and body[at:] == "**":
            text += ".*"
            at += 2
        elif body[at] == "*":
            text += "[^/]*"
            at += 1
        elif body[at] == "?":
            text += "[^/]"
            at += 1
        elif body[at] == "[":
            bracket, at = _bracket(pattern, body, at + 1)
            text += bracket
        else:
            if body[at] == "\\" and at + 1 < len(body):
                at += 1
            text += re.escape(body[at])
            at += 1
    tail = "/.*" if pattern.endswith("/") else "(?:/.*)?"
    try:
        return re.compile(text + tail, re.DOTALL)
    except re.error as error:
        raise SelectionError(f"the glob {pattern!r} cannot be read: {error}") from None


def _bracket(pattern: str, body: str, start: int) -> tuple[str, int]:
    """Translate a bracket expression; `start` is behind its ``[``."""
    negated = body[start : start + 1] in ("!", "^")
    start += negated
    # A "]" that comes first is one of the characters.
    end = body.find("]", start + 1)
    if end < 0:
        raise SelectionError(f"the glob {pattern!r} has a '[' without a ']'")
    inside = body[start:end]
    if "[:" in inside:
        raise SelectionError(
            f"the glob {pattern!r} has a character class; write a range such as [0-9]"
        )
    # Only a range's dash keeps a meaning inside the brackets.
    inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside)
    return f"(?!/)[{'^' * negated}{inside}]", end + 1
