"""DataLad extension for sharing BIDS data.

Only the command suite and configuration are defined here: DataLad imports this module
whenever any command starts, so nothing else is (see "Start-up" in the design notes).
"""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["__version__", "command_suite"]

__version__ = "0.1.0"

#: DataLad reads this as ``command_suite`` through the ``datalad.extensions`` entry point:
#: (description, [(module, class, command line name, Python name), ...]).
_SUITE = (
    "Sharing BIDS data",
    [
        (
            "datalad_bidsshare.bids_get",
            "BidsGet",
            "bids-get",
            "bids_get",
        ),
        (
            "datalad_bidsshare.export_plain",
            "ExportPlain",
            "export-plain",
            "export_plain",
        ),
        (
            "datalad_bidsshare.unzip_outputs",
            "UnzipOutputs",
            "unzip-outputs",
            "unzip_outputs",
        ),
        (
            "datalad_bidsshare.cache_clean",
            "CacheClean",
            "cache-clean",
            "cache_clean",
        ),
    ],
)


def __getattr__(name: str) -> Any:
    """Give DataLad the suite, and tell it what else there is when it asks for that.

    Not when this module is imported: the selection is a library without DataLad, which may be
    loaded first.
    """
    if name != "command_suite":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from datalad.support.extensions import register_config

    register_config(
        "datalad.bidsshare.cache",
        title="Directory of managed clones",
        description="Where export-plain keeps clones of sources that are given by URL, and "
        "cache-clean finds them. Default: 'bidsshare' in datalad.locations.cache. Not read from "
        "a dataset.",
        default_fn=_default_cache,
        scope="global",
    )
    # The report is made by a module that is slow to import. Only `datalad wtf` itself, and all
    # that use `datalad.api`, have it anyway.
    if "datalad.local.wtf" in sys.modules or "wtf" in sys.argv[1:]:
        from datalad_bidsshare.dataset.wtf import add_section
        from datalad_bidsshare.report.installation import SECTION, describe_installation

        add_section(SECTION, describe_installation)
    return _SUITE


def _default_cache() -> str:
    import os.path

    from datalad import cfg

    return os.path.join(cfg.obtain("datalad.locations.cache"), "bidsshare")
