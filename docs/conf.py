"""Configuration of the documentation (Sphinx)."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import datalad_bidsshare

project = "datalad-bidsshare"
author = "The datalad-bidsshare developers"
copyright = "2026, the datalad-bidsshare developers"
version = release = datalad_bidsshare.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "myst_parser",
    "command_pages",
    "entity_table",
]
exclude_patterns = ["_build"]
smartquotes = False
# Keeps the underscore of arguments such as `from_`.
strip_signature_backslash = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

# Docstrings of commands are DataLad's; those of the rooms are numpy style.
napoleon_google_docstring = False
napoleon_use_ivar = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"

# Do not copy the prompts of examples.
copybutton_prompt_text = r"\$ |>>> "
copybutton_prompt_is_regexp = True

html_theme = "sphinx_rtd_theme"
html_theme_options = {"collapse_navigation": False, "navigation_depth": 2}
html_static_path = ["_static"]
html_css_files = ["bidsshare.css"]
html_show_sphinx = False
