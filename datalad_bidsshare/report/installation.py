"""What `datalad wtf` says of this extension: what helps to understand a report of a problem."""

from __future__ import annotations

from typing import Any

__all__ = ["SECTION", "describe_installation"]

SECTION = "datalad-bidsshare"


def describe_installation() -> dict[str, Any]:
    """Describe the installation and the managed clones. Never fails, and changes nothing.

    URLs of sources are not in it: such reports are posted in public.
    """
    from datalad_bidsshare import __version__

    described: dict[str, Any] = {"version": __version__}
    for name, describe in (
        ("git-annex", _git_annex),
        ("inflate codec", _inflate),
        ("cache", _cache),
    ):
        try:
            described[name] = describe()
        except Exception as e:
            described[name] = f"not known ({type(e).__name__}: {e})"
    return described


def _git_annex() -> str:
    from datalad.support.external_versions import external_versions

    return str(external_versions["cmd:annex"] or "not found")


def _inflate() -> str:
    from datalad_bidsshare.archive.inflate import codec

    return codec()


def _cache() -> dict[str, Any]:
    from datalad_bidsshare.cache.clones import clones
    from datalad_bidsshare.cache.place import cache_directory, open_cache
    from datalad_bidsshare.dataset.errors import DatasetError
    from datalad_bidsshare.report.sizes import human_bytes

    described: dict[str, Any] = {"directory": str(cache_directory())}
    try:
        opened = open_cache(make=False)
    except DatasetError as error:
        return {**described, "owner and mode": str(error)}
    if opened is None:
        return {**described, "owner and mode": "not there yet"}
    # Sizes as they were noted: to measure may take long.
    listed = clones(sizes=False)
    return {
        **described,
        "owner and mode": "ok",
        "clones": len(listed),
        "clones with problems": sum(bool(each.problem) for each in listed),
        "git": human_bytes(sum(each.git_bytes for each in listed)),
        "content": human_bytes(sum(each.content_bytes for each in listed)),
    }
