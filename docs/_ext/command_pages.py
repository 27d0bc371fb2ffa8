"""One reference page a command, made from what the command says about itself.

The text is what DataLad shows for ``datalad COMMAND --help``, in the sections
that DataLad's own command pages have. A command of the suite that yields no
page stops the build: a command that DataLad could not load disappears from its
parser with no more than a log message, which nobody reads in a build.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING

import datalad_bidsshare

if TYPE_CHECKING:
    from sphinx.application import Sphinx

EXAMPLES = "*Examples*"
#: What DataLad says of a value that can be any text: nothing that anyone has to know.
ANY_TEXT = "Constraints: value must be a string or value must be NONE"


class MissingPageError(RuntimeError):
    """A command that has no reference page. Sphinx stops at any exception."""


def heading(text: str, line: str) -> str:
    return f"{text}\n{line * len(text)}\n\n"


def command_names() -> list[str]:
    """Give the command line names of the suite."""
    return [spec[2] for spec in datalad_bidsshare.command_suite[1]]


def parsers() -> dict[str, argparse.ArgumentParser]:
    """Have DataLad build its parsers, the suite's among them."""
    from datalad.cli.parser import setup_parser

    found: dict[str, argparse.ArgumentParser] = setup_parser(["datalad"], return_subparsers=True)
    return found


def page(name: str, parser: argparse.ArgumentParser) -> str:
    """Give the page of one command in reStructuredText.

    Raises
    ------
    MissingPageError
        If the command has no description or no examples.
    """
    description, found, examples = (parser.description or "").partition(EXAMPLES)
    if not description.strip() or not found:
        raise MissingPageError(f"the command {name} has no description or no examples")
    title = f"datalad {name}"
    return "".join(
        [
            f".. _man_datalad-{name}:\n\n",
            heading(title, "="),
            heading("Synopsis", "-"),
            f".. code-block:: none\n\n{indented(synopsis(parser))}\n\n",
            heading("Description", "-"),
            f"{description.strip()}\n\n",
            heading("Examples", "-"),
            f"{shell_blocks(examples).strip()}\n\n",
            heading("Options", "-"),
            "".join(option(action) for action in parser._actions),
        ]
    )


def synopsis(parser: argparse.ArgumentParser) -> str:
    usage = parser.format_usage().removeprefix("usage: ").strip()
    # `prog` is the whole of `datalad` here, whose own options argparse repeats.
    return re.sub(r"\n\s+", "\n    ", usage)


def indented(text: str) -> str:
    return "".join(f"   {line}" for line in text.splitlines(keepends=True))


def shell_blocks(examples: str) -> str:
    """Mark DataLad's example blocks, which start with ``%``, as shell sessions."""
    lines = []
    for line in examples.splitlines():
        text = re.sub(r"^(\s+)% ", r"\1$ ", line)
        if text.endswith("::") and not text.startswith(" "):
            lines += [text[:-1], "", ".. code-block:: console"]
        else:
            lines.append(text)
    return "\n".join(lines)


#: Literals and emphasis, which stay as they are, or else a lone asterisk.
MARKUP = re.compile(
    r"(?P<keep>``.+?``|`[^`]+`|(?<!\w)(?P<stars>\*\*?)(?=\w)[^*\n]*\w(?P=stars)(?!\w))|\*"
)


def escaped(text: str) -> str:
    """Escape asterisks that are no markup: DataLad's parameters are plain text."""
    return MARKUP.sub(lambda found: found["keep"] or r"\*", text)


def escape_parameters(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Escape the description of parameters in the docstrings of commands."""
    if name.startswith("datalad.api.") and "Parameters" in lines:
        start = lines.index("Parameters")
        lines[start:] = [escaped(line) for line in lines[start:]]


def option(action: argparse.Action) -> str:
    """Give the section of one option or positional argument."""
    names = action.metavar if isinstance(action.metavar, str) else action.dest.upper()
    if action.option_strings:
        value = "" if action.nargs == 0 else f" {names}"
        head = ", ".join(f"``{flag}{value}``" for flag in action.option_strings)
    else:
        head = f"``{names}``"
    text = re.sub(r"\s+", " ", (action.help or "") % {"default": action.default})
    text = escaped(text.removesuffix(ANY_TEXT).rstrip())
    return f"{head}\n{'~' * len(head)}\n\n{text}\n\n"


def write_pages(app: Sphinx) -> None:
    """Write all the pages, and a list of them, before Sphinx reads its sources."""
    target = Path(app.srcdir) / "generated" / "man"
    target.mkdir(parents=True, exist_ok=True)
    available = parsers()
    for name in command_names():
        if name not in available:
            raise MissingPageError(f"DataLad offers no command {name}: its module cannot be loaded")
        (target / f"datalad-{name}.rst").write_text(page(name, available[name]), encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    # before napoleon, whose priority is the default of 500
    app.connect("autodoc-process-docstring", escape_parameters, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
