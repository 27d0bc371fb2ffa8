"""Run benchmarks and print a table of what they found."""

from __future__ import annotations

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import traceback
from fnmatch import filter as matching
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import trees
from benchmarks.fixtures import Fixtures
from benchmarks.measure import isolate
from benchmarks.rows import BENCHMARKS
from benchmarks.table import Row, render

_DISTRIBUTIONS = ("datalad-bidsshare", "datalad", "git-annex", "pybids", "bids2table", "isal")


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line asks for.

    Returns
    -------
    int
        0 when all of it ran, whether or not it reached what it must; else 1.
    """
    options = _parse(arguments)
    scratch = Path(tempfile.mkdtemp(prefix="bidsshare-benchmarks-", dir=options.scratch))
    isolate(scratch / "home")
    rows: list[Row] = []
    failed: list[str] = []
    try:
        print(_machine(), flush=True)
        fixtures = Fixtures(
            scratch,
            quick=options.quick,
            listing=options.listing,
            peer_python=options.peer_python,
        )
        for name in options.names:
            print(f"{name} ...", file=sys.stderr, flush=True)
            try:
                rows += BENCHMARKS[name](fixtures, options.pairs or (1 if options.quick else None))
            except (OSError, RuntimeError, subprocess.SubprocessError):
                # One that fails is no reason not to measure the others.
                traceback.print_exc()
                failed.append(name)
    finally:
        trees.remove(scratch)
    print("\n".join(render(rows, judged=not options.quick)))
    if options.quick:
        print("Small sizes, run once: this shows that the benchmarks work, and no more.")
    if failed:
        print(f"failed to run: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    about = "\n".join(f"  {name:20} {run.__doc__}" for name, run in BENCHMARKS.items())
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        epilog=f"benchmarks:\n{about}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="which ones (see below), perhaps as patterns: 'export*'; default: all of them",
    )
    parser.add_argument(
        "--quick", action="store_true", help="small sizes, once: only to see that they work"
    )
    parser.add_argument(
        "--pairs", type=int, metavar="N", help="how often each pair runs; default: as it needs"
    )
    parser.add_argument(
        "--listing",
        type=Path,
        metavar="TSV",
        help="real names instead of made-up ones: a table, perhaps gzipped, with a head, and the "
        "path in the first column",
    )
    parser.add_argument(
        "--peer-python",
        type=os.path.abspath,
        metavar="FILE",
        help="the Python of an environment that has uniharmony; default: this one",
    )
    parser.add_argument(
        "--scratch",
        type=Path,
        metavar="DIR",
        help="where to work (some 40 GB for all of it, 1 GB for those of bids-get); "
        "default: TMPDIR",
    )
    options = parser.parse_args(arguments)
    unknown = [name for name in options.names if not matching(BENCHMARKS, name)]
    if unknown:
        parser.error(f"no such benchmark: {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    options.names = [n for n in BENCHMARKS if any(matching([n], p) for p in options.names or "*")]
    return options


def _machine() -> str:
    """Describe what the figures come from."""
    parts = [
        f"{os.cpu_count()} cores ({_processor()})",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
        _says("git", "version"),
        " ".join(_says("rsync", "--version").split()[:3]),
        " ".join(_says("unzip", "-v").split()[:2]),
    ]
    if hasattr(os, "getloadavg"):
        parts.insert(1, f"load {os.getloadavg()[0]:.1f}")
    for distribution in _DISTRIBUTIONS:
        try:
            parts.append(f"{distribution} {version(distribution)}")
        except PackageNotFoundError:
            parts.append(f"no {distribution}")
    return ", ".join(parts) + "\n"


def _says(*command: str) -> str:
    """Give the first line that a program says."""
    try:
        said = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
    except FileNotFoundError:
        return f"no {command[0]}"
    return said.partition("\n")[0]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    sys.exit(main())
