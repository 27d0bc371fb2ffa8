"""Fetching what a request means: plan, make sure there is room, transfer."""

from __future__ import annotations

from datalad_bidsshare.fetch.run import fetch

__all__ = ["fetch"]
