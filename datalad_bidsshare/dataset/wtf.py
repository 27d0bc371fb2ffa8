"""A section of our own in the report of `datalad wtf`.

DataLad has no place where extensions could add one, so this reaches into
`datalad.local.wtf`. It is the same in DataLad 1.1 and 1.7; when it changes, the section is
missing and nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

__all__ = ["add_section"]

_MODULE = "datalad.local.wtf"


def add_section(name: str, describe: Callable[[], dict[str, Any]]) -> None:
    """Add a section to the reports of this process, or replace it.

    Parameters
    ----------
    name
        Of the section, as `datalad wtf --section` takes it.
    describe
        Gives what the section says. It must not fail.
    """
    from datalad.local import wtf
    from datalad.support.constraints import EnsureChoice

    try:
        wtf.SECTION_CALLABLES[name] = describe
        wtf.SECTION_CALLABLES_GROUPPED[name] = [name]
        # What the option accepts on the command line was put down when the module was imported.
        wtf.WTF._params_["sections"].constraints = EnsureChoice(
            None, *sorted(wtf.SECTION_CALLABLES_GROUPPED), "*"
        )
    except (AttributeError, KeyError):
        return
    _join_report(name, describe)


def _join_report(name: str, describe: Callable[[], dict[str, Any]]) -> None:
    """Get into the report that is being made, if it is to have all sections.

    `datalad wtf` on its own loads extensions only while it describes them, as one of its
    sections. At that time it has made a list of sections to go through, and it is still going
    through it: what is added to that list comes last.
    """
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_globals.get("__name__") != _MODULE or frame.f_code.co_name != "__call__":
            continue
        sections = frame.f_locals.get("sections")
        callables = frame.f_locals.get("section_callables")
        if isinstance(sections, list) and isinstance(callables, dict):
            all_of_them = set(callables) <= set(sections)
            callables.setdefault(name, describe)
            if all_of_them and name not in sections:
                sections.append(name)
        return
