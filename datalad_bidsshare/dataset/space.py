"""How much room is left for content."""

from __future__ import annotations

import math
import re
import shutil
from pathlib import Path

from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.presence import annex_directory
from datalad_bidsshare.dataset.process import run

__all__ = ["DEFAULT_RESERVE", "free_space", "parse_size"]

DEFAULT_RESERVE = 100_000_000
"""Bytes that git-annex leaves free when `annex.diskreserve` is not set (git-annex's manual)."""

_NAMES = ("", "kilo", "mega", "giga", "tera", "peta", "exa", "zetta", "yotta")
_BINARY = ("", "kibi", "mebi", "gibi", "tebi", "pebi", "exbi", "zebi", "yobi")


def _units() -> dict[str, int]:
    units = {"": 1}
    for base, names, infix in ((1000, _NAMES, ""), (1024, _BINARY, "i")):
        for power, name in enumerate(names):
            letter = name[:1] + infix if name else ""
            for spelling in (letter, f"{letter}b", f"{name}byte", f"{name}bytes"):
                units.setdefault(spelling, base**power)
    return units


_UNITS = _units()


def parse_size(text: str) -> int | None:
    """Read a size as git-annex does: '1 GB', '100mb', '0.5 kibibytes', '4096'.

    Returns
    -------
    int or None
        Bytes. None when the text is no size.
    """
    match = re.match(r"\s*([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)\s*([a-z]*)", text.lower())
    if match is None or match[2] not in _UNITS:
        return None
    bytesize = float(match[1]) * _UNITS[match[2]]
    return round(bytesize) if math.isfinite(bytesize) else None


def free_space(root: Path) -> tuple[int, int]:
    """Tell how many bytes are free where content goes, and how many of them must stay free.

    Parameters
    ----------
    root
        Root of the dataset.

    Returns
    -------
    tuple of int
        Bytes that this user may still write on the file system of the annex (of the dataset,
        when it has none yet), and the reserve that git-annex keeps (`annex.diskreserve`).

    Raises
    ------
    DatasetError
        When the dataset cannot be read, or `annex.diskreserve` is not a size.
    """
    # --default keeps 'not set' from being a failure
    said = run(["git", "config", "--get", "--default", "", "annex.diskreserve"], root)
    text = said.decode("utf-8", "replace").strip()
    free = shutil.disk_usage(annex_directory(root) or root).free
    if not text:
        return free, DEFAULT_RESERVE
    reserve = parse_size(text)
    if reserve is None:
        raise DatasetError(
            f"annex.diskreserve is {text!r} in {root}, which is not a size such as '1 GB': "
            "set it anew with git config"
        )
    return free, reserve
