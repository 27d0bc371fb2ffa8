"""DataLad extension for sharing BIDS data.

Only the command suite is defined here: DataLad imports this module whenever
any command starts, so nothing else is (see "Start-up" in the design notes).
"""

from __future__ import annotations

__all__ = ["__version__", "command_suite"]

__version__ = "0.1.0"

#: DataLad reads this through the ``datalad.extensions`` entry point:
#: (description, [(module, class, command line name, Python name), ...]).
command_suite = (
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
    ],
)
