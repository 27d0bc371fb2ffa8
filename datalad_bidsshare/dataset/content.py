"""Content of files: what is here, what it says, how it comes here.

The public face of `presence` (looking), `transfer` (getting) and `space` (room for it).
"""

from __future__ import annotations

from .presence import annex_directory, present, read_content
from .space import DEFAULT_RESERVE, free_space, parse_size
from .transfer import GetResult, default_jobs, get

__all__ = [
    "DEFAULT_RESERVE",
    "GetResult",
    "annex_directory",
    "default_jobs",
    "free_space",
    "get",
    "parse_size",
    "present",
    "read_content",
]
