"""Getting content: one streaming `git annex get` a dataset."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.dataset.gitannex import AnnexGet
from datalad_bidsshare.dataset.presence import Annex, encode_path

if TYPE_CHECKING:
    from datalad.distribution.dataset import Dataset

__all__ = ["GetResult", "Status", "default_jobs", "get"]

Status = Literal["ok", "notneeded", "error", "impossible"]


@dataclass(frozen=True, slots=True)
class GetResult:
    """How it went for one file.

    Attributes
    ----------
    info
        The file.
    status
        'ok' when the content came, 'notneeded' when it was here, 'error' when it could not be
        had, 'impossible' when it could not even be asked for.
    message
        Reason and next step; empty when all is well.
    bytesize
        Bytes that came for this file: 0 unless 'ok', and 0 for the second file of one key.
    """

    info: FileInfo
    status: Status
    message: str
    bytesize: int


def default_jobs(ds: Dataset) -> int:
    """Tell how many transfers to run at a time when the user does not say.

    What the user configured (`datalad.runtime.max-annex-jobs`, or git-annex's `annex.jobs`) in
    their own git configuration counts, never what is committed in a dataset; otherwise as many
    as there are CPUs, at most four. DataLad's own default is one.
    """
    for name in ("datalad.runtime.max-annex-jobs", "annex.jobs"):
        value = ds.config.get_from_source("local", name)
        # Given more than once, the last counts, as in git.
        text = str(value[-1] if isinstance(value, tuple) else value or "")
        if re.fullmatch("0*[1-9][0-9]{0,4}", text):
            return int(text)
        if name == "annex.jobs" and text in ("cpus", "cpu"):
            return os.cpu_count() or 1
    return min(4, os.cpu_count() or 1)


@dataclass(slots=True)
class _Wanted:
    """One key that is asked for, and the files that get their content from it."""

    infos: list[FileInfo]
    asked: FileInfo


def get(
    root: Path,
    infos: Iterable[FileInfo],
    *,
    jobs: int | None = None,
    remote: str | None = None,
    by_key: bool = False,
) -> Generator[GetResult, None, None]:
    """Get the content of files into one dataset.

    One git-annex process for all of them (a second one for names with line breaks). Results
    come as transfers end. When the generator is closed, or Ctrl-C arrives, git-annex and its
    helpers are ended; what was transferred by then stays, and what was under way is resumed by
    a later call.

    Parameters
    ----------
    root
        Root of the dataset. It may be dirty; nothing is committed.
    infos
        From `describe`.
    jobs
        Transfers at a time. Default: `default_jobs`.
    remote
        Name of the remote to get from. Default: git-annex chooses.
    by_key
        Get into the annex, whatever the work tree holds at these paths (another version, or
        nothing): for files that are not, or not all, checked out. Progress shows keys then.

    Yields
    ------
    GetResult
        Exactly one a file. 'ok' and 'notneeded' only after having looked.

    Raises
    ------
    DatasetError
        When the presence of content cannot be found out. What goes wrong with a transfer is a
        result.
    """
    asked = list(infos)
    annex = Annex(root)
    here = _present(annex, asked, by_key)
    wanted: dict[str, _Wanted] = {}
    for info in asked:
        if info.key is None or here[info.path]:
            yield GetResult(info, "notneeded", "", 0)
        elif info.key in wanted:
            wanted[info.key].infos.append(info)
        else:
            wanted[info.key] = _Wanted([info], info)
    if not by_key:
        yield from _check_out(root, wanted)
    if not wanted:
        return
    from datalad.distribution.dataset import Dataset

    ds = Dataset(str(root))
    # By name, so that progress shows names. git-annex cannot look up names with line breaks
    # that way (it answers as if there were no such file), but it can by key.
    for keyed in (False, True):
        batch = [w for w in wanted.values() if (by_key or "\n" in w.asked.path) == keyed]
        run = AnnexGet(ds, jobs if jobs is not None else default_jobs, remote)
        again: list[_Wanted] = []
        for item, record in _answers(run, batch, keyed):
            if record is not None and _LOCKED in " ".join(record.get("error-messages", [])):
                again.append(item)
            else:
                yield from _settle(annex, item, record, remote, run.said, by_key)
        # Another process may have had it under way, which is over now. Right after a run that
        # was killed, git-annex also says so now and then when there is no other.
        for item, record in _answers(run, again, keyed):
            yield from _settle(annex, item, record, remote, run.said, by_key)


_LOCKED = "transfer already in progress"


def _answers(
    run: AnnexGet, batch: list[_Wanted], by_key: bool
) -> Iterator[tuple[_Wanted, dict[str, Any] | None]]:
    """Pair what is asked for with git-annex's record of it; None where it gave none."""
    keys = {w.asked.key: w for w in batch}
    paths = {w.asked.path: w for w in batch}
    with contextlib.closing(run.records([w.asked for w in batch], by_key)) as records:
        for record in records:
            # By key first: names that are no UTF-8 come back changed.
            item = keys.pop(record.get("key"), None)
            if item is None:
                named = [*(record.get("input") or []), record.get("file")]
                item = next((paths[n] for n in named if n in paths), None)
                if item is None or keys.pop(item.asked.key, None) is None:
                    continue
            yield item, record
    for item in keys.values():
        yield item, None


def _check_out(root: Path, wanted: dict[str, _Wanted]) -> Iterator[GetResult]:
    """Ask for each key by a file that the work tree holds: git-annex takes no others."""
    for key, item in list(wanted.items()):
        item.infos, gone = _split(root, item.infos)
        for info in gone:
            yield GetResult(
                info,
                "impossible",
                "the file was deleted from the work tree (or is left out of it by a sparse "
                f"checkout); bring it back, then get it: {_git(root, 'restore', info)}",
                0,
            )
        if item.infos:
            item.asked = min(item.infos, key=lambda i: "\n" in i.path)
        else:
            del wanted[key]


def _split(root: Path, infos: list[FileInfo]) -> tuple[list[FileInfo], list[FileInfo]]:
    there = [os.path.lexists(encode_path(root, i.path)) for i in infos]
    return (
        [i for i, yes in zip(infos, there, strict=True) if yes],
        [i for i, yes in zip(infos, there, strict=True) if not yes],
    )


def _present(annex: Annex, infos: list[FileInfo], by_key: bool) -> dict[str, bool]:
    if not by_key:
        return annex.present(infos)
    # An annex may have been made since.
    annex.present(())
    # Only objects count. A relative link of another version tells their place all the same.
    return {i.path: i.key is None or annex.find(i) is not None for i in infos}


def _settle(
    annex: Annex,
    item: _Wanted,
    record: dict[str, Any] | None,
    remote: str | None,
    said: str,
    by_key: bool,
) -> Iterator[GetResult]:
    """Give one result to every file of a key: look, and explain what is missing."""
    success = record is not None and bool(record.get("success"))
    # What failed is still a pointer: to ask git-annex would be a process for each file.
    seen = item.infos if success or by_key else [i for i in item.infos if not i.unlocked]
    here = dict.fromkeys((i.path for i in item.infos), False) | _present(annex, seen, by_key)
    came = item.asked.bytesize or 0 if success else 0
    for info in item.infos:
        if here[info.path] and success:
            yield GetResult(info, "ok", "", came)
            came = 0
        elif here[info.path]:
            # Somebody else brought it meanwhile.
            yield GetResult(info, "notneeded", "", 0)
        else:
            yield GetResult(info, "error", _reason(annex.root, info, record, remote, said), 0)


def _reason(
    root: Path, info: FileInfo, record: dict[str, Any] | None, remote: str | None, said: str
) -> str:
    """Say what git-annex said, and what to do next."""
    if (record is None and not said) or (record is not None and record.get("success")):
        if info.unlocked:
            return (
                "git-annex has the content but did not put it into the work tree, where the file "
                f"is still a pointer; next: {_git(root, 'annex fsck', info)}"
            )
        return f"git-annex ended without saying why; next: {_git(root, 'annex info', info)}"
    texts: list[str] = []
    record = record or {"error-messages": said.splitlines()}
    for text in [*record.get("error-messages", []), *str(record.get("note") or "").split("\n")]:
        text = text.strip().rstrip(".")
        # 'from origin...' only says what was tried
        if text and text not in texts and not re.fullmatch(r"from \S+", text):
            texts.append(text)
    others = [str(w.get("description") or w.get("uuid")) for w in record.get("wanted") or []]
    if others:
        texts.append("known to be in: " + ", ".join(others))
    return "; ".join([*texts, _next_step(root, info, " ".join(texts), remote)])


def _next_step(root: Path, info: FileInfo, said: str, remote: str | None) -> str:
    lowered = said.lower()
    siblings = shlex.join(["datalad", "siblings", "-d", str(root)])
    unverified = re.search(r"git-annex verifyremote (\S+)", said)
    if unverified:
        name = unverified[1]
        return (
            f"next: 'git annex verifyremote {name}' shows where it leads (and 'git annex info "
            f"{name}' what it holds); declare it safe only if you expect it to be there"
        )
    if "no available git remote named" in lowered:
        return f"next: see the names that there are: {siblings}"
    if "free space" in lowered:
        return "next: make room (git-annex keeps annex.diskreserve free), then try again"
    if "permission denied" in lowered or "read-only" in lowered:
        return "next: get it in a clone of your own, or ask for write access"
    if _LOCKED in lowered:
        return "next: wait for the other process that is getting it, then try again"
    if "enableremote" in lowered:
        return f"next: {siblings} enable -s NAME"
    return (
        f"next: see where it should be: {_git(root, 'annex whereis', info)} and what is "
        f"reachable: {siblings}"
    )


def _git(root: Path, command: str, info: FileInfo) -> str:
    """Write a git command about a file as it can be pasted into a shell anywhere."""
    return shlex.join(["git", "-C", str(root), *command.split(), "--", info.path])
