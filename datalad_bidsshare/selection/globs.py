"""Path globs as gitignore writes them."""

from __future__ import annotations

import re

from datalad_bidsshare.selection.errors import SelectionError

__all__ = ["compile_glob"]


def compile_glob(pattern: str) -> re.Pattern[str]:
    """Compile a path glob to an expression for ``fullmatch``.

    As in gitignore(5): without a slash (other than a last one) the pattern
    means a name at any depth, else a path from the root; ``*`` and ``?`` stop
    at a slash, ``**`` does not; what matches a directory means all below it.

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
        if body.startswith("**/", at):
            text += "(?:.*/)?"
            at += 3
        elif body.startswith("**", at):
            text += ".*"
            at += 2
        elif body[at] == "*":
            text += "[^/]*"
            at += 1
        elif body[at] == "?":
            text += "[^/]"
            at += 1
        elif body[at] == "[":
            end = body.find("]", at + 2)
            if end < 0:
                raise SelectionError(f"the glob {pattern!r} has a '[' without a ']'")
            inside = body[at + 1 : end]
            negated = inside[0] in "!^"
            # Only a range's dash keeps a meaning inside the brackets.
            inside = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside[1:] if negated else inside)
            text += f"[^/{inside}]" if negated else f"[{inside}]"
            at = end + 1
        else:
            text += re.escape(body[at])
            at += 1
    tail = "/.*" if pattern.endswith("/") else "(?:/.*)?"
    try:
        return re.compile(text + tail, re.DOTALL)
    except re.error as error:
        raise SelectionError(f"the glob {pattern!r} cannot be read: {error}") from None
