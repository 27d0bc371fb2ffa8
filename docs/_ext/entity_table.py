"""The table of all BIDS entities, from the definitions that the package uses."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from datalad_bidsshare.selection.filters import OPTIONS
from datalad_bidsshare.selection.vocabulary import Vocabulary, load_schema, vocabulary

if TYPE_CHECKING:
    from sphinx.application import Sphinx

#: Parts of a name that pybids has entities for, but that nobody selects by.
UNLISTED = frozenset({"fmap", "scans"})
SHORT = {"subject": "--sub", "session": "--ses", "extension": "--ext"}


def rows(known: Vocabulary) -> list[tuple[str, str, str, str, str]]:
    """Give a row for every entity: name, other names, in names as, values, option."""
    found = []
    for name, entity in known.entities.items():
        if name in UNLISTED:
            continue
        others = sorted(a for a, canonical in known.aliases.items() if canonical == name != a)
        option = f"``--{name}``" if name in OPTIONS else f"``-e {name}=``"
        if name in SHORT:
            option += f", ``{SHORT[name]}``"
        found.append(
            (
                f"``{name}``",
                ", ".join(f"``{other}``" for other in others),
                f"``{entity.key}-``" if entity.key else "",
                "number" if entity.is_index else "label",
                option,
            )
        )
    return sorted(found)


def write_table(app: Sphinx) -> None:
    """Write the table before Sphinx reads its sources."""
    known = vocabulary()
    lines = [
        f"From pybids' definitions and the BIDS schema {load_schema()['bids_version']}.",
        "",
        ".. list-table::",
        "   :header-rows: 1",
        "",
    ]
    header = ("Entity", "Other names", "In file names", "Values", "Option")
    for row in (header, *rows(known)):
        lines += [f"   {'* -' if i == 0 else '  -'} {cell}" for i, cell in enumerate(row)]
    target = Path(app.srcdir) / "generated"
    target.mkdir(parents=True, exist_ok=True)
    (target / "entities.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_table)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
