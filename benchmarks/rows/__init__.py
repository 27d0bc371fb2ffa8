"""The benchmarks: what is done, against whom, and what must be reached."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from benchmarks.fixtures import Fixtures
from benchmarks.rows import bids_get, cache_clean, export_plain, sources, unzip_outputs
from benchmarks.table import Row

__all__ = ["BENCHMARKS", "Benchmark"]

Benchmark = Callable[[Fixtures, int | None], Iterator[Row]]

#: By the name that the command line takes.
BENCHMARKS: dict[str, Benchmark] = {
    "resolver-pybids": bids_get.resolver_pybids,
    "resolver-bids2table": bids_get.resolver_bids2table,
    "million": bids_get.million,
    "million-companions": bids_get.million_companions,
    "present": bids_get.present,
    "absent": bids_get.absent,
    "dry-run": bids_get.dry_run,
    "start-up": bids_get.start_up,
    "export": export_plain.first,
    "export-again": export_plain.again,
    "export-again-many": export_plain.again_many,
    "export-large": export_plain.large,
    "export-store": export_plain.from_store,
    "export-store-large": export_plain.from_store_large,
    "export-memory": export_plain.memory,
    "unzip": unzip_outputs.everything,
    "unzip-part": unzip_outputs.part,
    "unzip-records": unzip_outputs.records,
    "unzip-many": unzip_outputs.many,
    "unzip-store": unzip_outputs.from_store,
    "drop": cache_clean.against_git_annex,
    "drop-datalad": cache_clean.against_datalad,
    "freed": cache_clean.freed,
    "source-again": sources.again,
    "uniharmony": sources.uniharmony,
}
