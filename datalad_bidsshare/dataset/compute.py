"""Telling git-annex how files are computed from others: its `compute` special remote.

What is registered there counts as a copy: git-annex drops the files when the input has a copy
somewhere, and gets them by running a program on it again.
"""

from __future__ import annotations

import logging
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from datalad_bidsshare.dataset.blobs import FileInfo, describe
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.keys import key_of_link
from datalad_bidsshare.dataset.listing import Entry, decode, encode
from datalad_bidsshare.dataset.process import environment, run
from datalad_bidsshare.dataset.remotes import Remote, read_remotes
from datalad_bidsshare.dataset.state import own_git_directory
from datalad_bidsshare.dataset.termination import end_tree, guarded

__all__ = [
    "EXTRACTED",
    "MOST_OUTPUTS",
    "NAME",
    "RegisterResult",
    "compute_remote",
    "how_to_enable",
    "register",
    "supports_compute",
    "why_not_input",
    "why_not_output",
]

lgr = logging.getLogger("datalad.bidsshare.dataset")

EXTRACTED = "BIDSSHARE_EXTRACTED"
"""Variable that tells the compute program where its outputs are already."""

NAME = "bidsshare-unzip"
"""What a compute remote is called that is made here."""

MOST_OUTPUTS = 100
"""Outputs of one registration. git-annex notes for each file all outputs of its computation: what
its branch grows by goes with the square of this, some 100 bytes each (400 outputs: 40 MB)."""

_NEEDED = "10.20250320"
_ALLOWED = "annex.security.allowed-compute-programs"
_BRANCH = "git-annex"
# The first lines of an error tell what is wrong.
_MOST_SAID = 5


def supports_compute() -> str | None:
    """Tell whether git-annex can compute files: one process.

    Returns
    -------
    str or None
        None when it can, else what is installed, what is needed, and the next step.
    """
    step = "pip install --upgrade git-annex"
    try:
        told = decode(run(["git", "annex", "version"], Path.cwd()))
    except DatasetError as e:
        if "is not a git command" not in str(e):
            raise
        return (
            f"git-annex was not found on PATH; it is needed in version {_NEEDED} or newer, next: "
            f"{step}"
        )
    # As it was built, which is surer than the number
    kinds = re.search("^remote types:(.*)$", told, re.MULTILINE)
    if kinds and "compute" in kinds[1].split():
        return None
    version = re.search("^git-annex version: *(\\S+)", told, re.MULTILINE)
    return (
        f"git-annex {version[1] if version else 'of an unknown version'} cannot compute files from "
        f"others, which {_NEEDED} and newer can; next: {step}"
    )


def how_to_enable(remote: str, program: str) -> str:
    """Give the commands with which another clone can compute the files."""
    allowed = f"{_ALLOWED}={program}"
    # git-annex takes no program from a dataset that is not allowed in the clone.
    return (
        f"{shlex.join(['git', '-c', allowed, 'annex', 'enableremote', remote])} (and what it says)"
    )


def compute_remote(root: Path, program: str) -> str:
    """Give a compute remote of a dataset that runs a program, made or enabled if need be.

    Parameters
    ----------
    root
        Root of the dataset.
    program
        Name of a program on PATH: 'git-annex-compute-...'. That it may be run is taken to be
        decided with that.

    Returns
    -------
    str
        Name of the remote.

    Raises
    ------
    DatasetError
        When the program is not found, or git-annex refuses.
    """
    if shutil.which(program) is None:
        raise DatasetError(
            f"{program!r} was not found on PATH, where git-annex looks for it: activate the "
            "environment in which datalad-bidsshare is installed, then try again"
        )
    known = _known(root, program)
    here = _enabled(root, known)
    if here is None and not known:
        try:
            return _make(root, program)
        except DatasetError:
            # git-annex has just taken over what other clones know.
            known = _known(root, program)
            if not known:
                raise
    if here is None:
        uuid = min(known, key=lambda each: (known[each] != NAME, known[each], each))
        _git_annex(root, ["-c", f"{_ALLOWED}={program}"], ["enableremote", uuid])
        here = _enabled(root, [uuid])
        if here is None:
            raise DatasetError(
                f"git-annex did not enable its remote {known[uuid]!r} in {root}; next: "
                f"{shlex.join(['git', '-C', str(root), 'annex', 'enableremote', uuid])}"
            )
        # It is for the user to look at what a dataset brings along, and to call it safe.
        lgr.warning(
            "The remote %s is enabled here now. New git-annex gets files from it when you have "
            "looked at it: %s",
            here.name,
            shlex.join(["git", "-C", str(root), "annex", "verifyremote", here.name]),
        )
    return here.name


def _enabled(root: Path, uuids: Collection[str]) -> Remote | None:
    """Give the remote of this clone that is one of some."""
    for remote in read_remotes(root):
        ignored = (remote.get("annex-ignore") or "").lower() in ("true", "yes", "on", "1")
        if remote.get("annex-uuid") in uuids and not ignored:
            return remote
    return None


def _known(root: Path, program: str) -> dict[str, str]:
    """Give the compute remotes that run a program, by UUID, and their names.

    Those of the git-annex branch, as far as it is here, but for those that were declared dead.
    """
    found = {}
    dead = {uuid for uuid, (trust, _) in _log(root, "trust.log").items() if trust == "X"}
    for uuid, (text, _) in _log(root, "remote.log").items():
        pairs = (field.partition("=") for field in text.split(" "))
        settings = {name: _unescaped(value) for name, _, value in pairs}
        wanted = settings.get("type") == "compute" and settings.get("program") == program
        if wanted and uuid not in dead:
            found[uuid] = settings.get("name", "")
    return found


def _log(root: Path, file: str) -> dict[str, tuple[str, float]]:
    """Read a log of git-annex: by UUID what was said last, and when."""
    try:
        text = decode(run(["git", "cat-file", "blob", f"{_BRANCH}:{file}"], root))
    except DatasetError:
        # no such branch here, or no such file in it
        return {}
    latest: dict[str, tuple[str, float]] = {}
    # UUID WHAT timestamp=SECONDSs
    for uuid, said, when in re.findall(r"^(\S+) (.*) timestamp=([0-9.]+)s$", text, re.MULTILINE):
        # As git-annex has it: of two of the same time the later line
        if uuid not in latest or float(when) >= latest[uuid][1]:
            latest[uuid] = (said, float(when))
    return latest


def _unescaped(value: str) -> str:
    return re.sub("&([0-9]{1,6});", lambda m: chr(int(m[1])), value)


def _make(root: Path, program: str) -> str:
    taken = {remote.name for remote in read_remotes(root)}
    name = next(n for n in (NAME, *(f"{NAME}-{i}" for i in range(2, 1000))) if n not in taken)
    # Any other setting, an encryption too, would become an argument of the program.
    _git_annex(root, [], ["initremote", name, "type=compute", f"program={program}"])
    return name


def why_not_input(dataset: Path, tracked_by: Path, info: FileInfo) -> str | None:
    """Tell why a file cannot be the input of a computation.

    Parameters
    ----------
    dataset
        Root of the dataset that gets the outputs.
    tracked_by
        Root of the dataset that tracks the file.
    info
        The file, in that.

    Returns
    -------
    str or None
        None when it can. That its content has to be in the annex, and not only in a store, is
        seen when it is registered.
    """
    if dataset != tracked_by:
        return (
            f"git-annex computes files from what their own dataset tracks, and {info.path!r} is in "
            f"a subdataset, {tracked_by}"
        )
    if info.key is None:
        # It takes it, and computes from it; but in git it sees no copy that would be left.
        return f"git-annex drops no files that come from what git keeps, as it does {info.path!r}"
    return why_not_output(info.path)


def why_not_output(path: str) -> str | None:
    """Tell why a path cannot stand in a computation, or None when it can."""
    if "\n" in path or "\r" in path:
        # It talks with the program in lines.
        return f"git-annex computes no files whose names have line breaks, as {path!r}"
    return None


@dataclass(frozen=True, slots=True)
class RegisterResult:
    """What came of a registration.

    Attributes
    ----------
    keys
        git-annex keys of the outputs, by path.
    message
        What went wrong and what to do next; empty when all is well. Then nothing is registered.
    """

    keys: dict[str, str]
    message: str = ""


def register(
    root: Path,
    remote: str,
    tree: Path,
    index: Path,
    argv: Sequence[str],
    extracted: Path,
    expected: Mapping[str, str],
    entries: Iterable[Entry] = (),
) -> RegisterResult:
    """Register one computation with all its outputs: one `git annex addcomputed`.

    The program runs, and git-annex keeps what it gives. This is to be what was added before:
    then nothing is kept twice, and the user's work tree and index are not touched.

    Parameters
    ----------
    root
        Root of the dataset.
    remote
        From `compute_remote`.
    tree
        Directory of ours that stands for the work tree, in the git directory. Links to the
        outputs (unlocked files, where the dataset has those) are left in it.
    index
        Index for it. It has to hold the inputs and every `.gitattributes` that decides on the
        backend of an output, or `entries` are put into it. It gets entries of the outputs.
    argv
        Arguments for the program, relative to the root of the dataset. All that it gives with
        them is annexed, whatever annex.largefiles says.
    extracted
        Directory in which all outputs are already, at their paths: the program copies them. The
        content of the inputs has to be in the annex anyway, although it is not read.
    expected
        Outputs, and the keys that they have. At most `MOST_OUTPUTS` should they be.
    entries
        What to put into the index.

    Raises
    ------
    DatasetError
        When git cannot read or write the index.
    """
    env = {
        "GIT_DIR": os.fspath(own_git_directory(root)),
        "GIT_WORK_TREE": os.path.abspath(tree),
        "GIT_INDEX_FILE": os.path.abspath(index),
    }
    given = b"".join(
        b"%b %b\t%b\0" % (e.mode.encode(), e.oid.encode(), encode(e.path)) for e in entries
    )
    if given:
        run(["git", "update-index", "-z", "--index-info"], root, given=given, env=env)
    tree.mkdir(parents=True, exist_ok=True)
    command = ["addcomputed", f"--to={remote}", "--", *argv]
    try:
        variables = {**env, EXTRACTED: os.path.abspath(extracted)}
        _git_annex(root, [], command, cwd=tree, env=variables)
    except DatasetError as e:
        return RegisterResult({}, str(e))
    keys = _keys(root, tree, env, list(expected))
    others = [path for path, key in expected.items() if keys.get(path) != key]
    if others:
        return RegisterResult(
            keys,
            f"the program gave something else than what was extracted for {others[0]!r}"
            f"{f' and {len(others) - 1} more' if others[1:] else ''}: it has the key "
            f"{keys.get(others[0])}, not {expected[others[0]]}; is the file being changed, or "
            "annex.backend?",
        )
    return RegisterResult(keys)


def _keys(root: Path, tree: Path, env: Mapping[str, str], paths: list[str]) -> dict[str, str]:
    """Give the keys that files of a private tree have come to."""
    found = {}
    unlocked = []
    for path in paths:
        try:
            key = key_of_link(os.readlink(os.fsencode(tree) + b"/" + encode(path)))
        except OSError:
            key = None
        if key is None:
            unlocked.append(path)
        else:
            found[path] = key
    if unlocked:
        # Content stands there, and only the index knows its key.
        wanted = b"".join(encode(path) + b"\0" for path in unlocked)
        command = ["git", "--literal-pathspecs", "ls-files", "-s", "-z", "--"]
        told = run([*command, *map(os.fsdecode, wanted.split(b"\0")[:-1])], tree, env=env)
        entries = []
        for record in decode(told).split("\0")[:-1]:
            # 'MODE OID STAGE<tab>PATH'
            meta, _, path = record.partition("\t")
            mode, oid, _ = meta.split(" ")
            entries.append(Entry(path, mode, oid))
        found.update({i.path: i.key for i in describe(root, entries) if i.key is not None})
    return found


def _git_annex(
    root: Path,
    options: Sequence[str],
    arguments: Sequence[str],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run git-annex to its end, and give what it wrote; nothing of it outlives us.

    Raises
    ------
    DatasetError
        When it fails, with its reason.
    """
    command = ["git", *options, "annex", *arguments]
    process = subprocess.Popen(
        [os.fsencode(word) for word in command],
        cwd=root if cwd is None else cwd,
        env=environment(root) | dict(env or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A process group, with which the guard ends the program too
        start_new_session=True,
    )
    try:
        with guarded(process, group=True):
            out, error = process.communicate()
    except BaseException:
        # git hands no kill on to git-annex, nor git-annex to its program.
        end_tree(process)
        raise
    if process.returncode:
        lines = decode(error).splitlines()
        reasons = [line.removeprefix("git-annex: ").strip() for line in lines]
        reasons = [r for r in reasons if r and not re.fullmatch(r"[\w-]+: [0-9]+ failed", r)]
        raise DatasetError(
            f"git-annex {arguments[0]} failed in {root}: "
            f"{'; '.join(reasons[-_MOST_SAID:]) or f'exit code {process.returncode}'}"
        )
    return decode(out)
