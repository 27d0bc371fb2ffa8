"""Running git-annex for many files through DataLad, and never leaving it behind.

The only module that uses DataLad's private way to run git-annex: `AnnexRepo._call_annex` with
`GeneratorAnnexJsonProtocol`, which is what `_call_annex_records_items_` does too. It draws
DataLad's progress bars. Used directly, it also lets us keep hold of the process, which we must
be able to end, and learn why it failed.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from datalad_bidsshare.dataset.blobs import FileInfo
from datalad_bidsshare.dataset.encoding import encode
from datalad_bidsshare.dataset.errors import DatasetError
from datalad_bidsshare.dataset.full_disk import NO_ROOM, watched
from datalad_bidsshare.dataset.termination import end_tree, guarded

if TYPE_CHECKING:
    from datalad.distribution.dataset import Dataset
    from datalad.support.annexrepo import AnnexRepo

__all__ = ["AnnexDrop", "AnnexGet"]


class _AnnexBatch:
    """One run of a git-annex command that takes files in batches.

    Parameters
    ----------
    ds
        The dataset.
    command
        Of git-annex.
    options
        For it.
    jobs
        How many files at a time, or who tells that when it is needed.
    """

    def __init__(
        self, ds: Dataset, command: str, options: list[str], jobs: int | Callable[[Dataset], int]
    ) -> None:
        self._ds = ds
        self._command = command
        self._options = options
        self._jobs = jobs
        self.said = ""
        """What git-annex wrote to stderr, or why it could not be started."""

    def records(self, infos: list[FileInfo], by_key: bool) -> Generator[dict[str, Any], None, None]:
        """Ask for files, and give git-annex's JSON records as they come.

        The process has ended when the generator has, however that came to be. Whatever goes
        wrong with it is told in `said`.

        Parameters
        ----------
        infos
            Annexed files, one of each key. With none, nothing is started.
        by_key
            Whether to ask by key and not by name.
        """
        if not infos:
            return
        command = [self._command, "--batch-keys" if by_key else "--batch", "-z"]
        command += ["--json", "--json-error-messages", *self._options]
        asked = [(i.key or "") if by_key else i.path for i in infos]
        processes: list[subprocess.Popen[bytes]] = []
        stream: Iterator[dict[str, Any]] = iter(())
        ended: threading.Event | None = None
        try:
            with contextlib.ExitStack() as stack:
                with self._telling():
                    started = self._repository()._call_annex(
                        command,
                        jobs=self._jobs if isinstance(self._jobs, int) else self._jobs(self._ds),
                        protocol=_protocol(processes),
                        stdin=b"".join(encode(name) + b"\0" for name in asked),
                        total_nbytes=self._bytes_to_come(infos),
                    )
                    # Left alone, git-annex with -J does not end when it can report to nobody: it
                    # hangs for ever.
                    for process in processes:
                        stack.enter_context(guarded(process))
                        ended = stack.enter_context(watched(process, Path(self._ds.path)))
                    stream = started
                while True:
                    record = None
                    # Around each step, and not around the yield: what the consumer throws in
                    # is not git-annex's.
                    with self._telling():
                        record = next(stream, None)
                    if record is None:
                        if ended is not None and ended.is_set():
                            self.said = NO_ROOM
                        return
                    yield record
        finally:
            for process in processes:
                if process.poll() is None:
                    end_tree(process)

    def _bytes_to_come(self, infos: list[FileInfo]) -> int | None:
        """Tell how many bytes the progress bar is to count; None for no bar."""
        return None

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        """Put down in `said` what goes wrong: the files are explained with it.

        DataLad raises what it meets on its way (it has no list of that), and in one dataset it
        must not end what is done in others.
        """
        from datalad.support.exceptions import (
            CapturedException,
            CommandError,
            MissingExternalDependency,
        )

        try:
            yield
        except CommandError as e:
            # Any file that failed makes it fail. Files that have no record of their own are
            # explained with this.
            self.said = str(e.stderr or e.msg or "").strip()
        except MissingExternalDependency as e:
            self.said = f"git-annex is missing or too old: {e}"
        except DatasetError as e:
            self.said = str(e)
        except Exception as e:
            said = CapturedException(e).format_short()
            self.said = f"DataLad could not run git-annex in {self._ds.path}: {said}"

    def _repository(self) -> AnnexRepo:
        from datalad.support.annexrepo import AnnexRepo
        from datalad.support.exceptions import (
            CapturedException,
            InvalidAnnexRepositoryError,
            InvalidGitRepositoryError,
        )

        try:
            # A clone that git made without git-annex is initialized by git-annex itself.
            return AnnexRepo(self._ds.path, create=False, init=False)
        except (InvalidAnnexRepositoryError, InvalidGitRepositoryError) as e:
            said = CapturedException(e).format_short()
            raise DatasetError(
                f"{self._ds.path} is not a git-annex repository here; make it one: "
                f"{shlex.join(['git', '-C', self._ds.path, 'annex', 'init'])} ({said})"
            ) from e
        except OSError as e:
            # DataLad keeps things in the user's home, and git-annex in the repository
            raise DatasetError(f"{e.strerror}: {e.filename}") from e


class AnnexGet(_AnnexBatch):
    """One run of `git annex get`."""

    def __init__(
        self, ds: Dataset, jobs: int | Callable[[Dataset], int], remote: str | None
    ) -> None:
        options = ["--json-progress"]
        if remote is not None:
            options += ["--from", remote]
        super().__init__(ds, "get", options, jobs)

    def _bytes_to_come(self, infos: list[FileInfo]) -> int | None:
        return sum(i.bytesize or 0 for i in infos) or None


class AnnexDrop(_AnnexBatch):
    """One run of `git annex drop`, which takes away nothing that is not elsewhere, too.

    Parameters
    ----------
    ds, jobs
        As with other commands.
    unchecked
        Not to look for other copies.
    asked
        UUIDs of repositories that are to be looked at although somebody declared that they are
        to be trusted blindly. The declaration may have come with the dataset.
    ignored
        UUIDs of repositories whose copies do not count.
    """

    def __init__(
        self,
        ds: Dataset,
        jobs: int | Callable[[Dataset], int],
        *,
        unchecked: bool = False,
        asked: Iterable[str] = (),
        ignored: Iterable[str] = (),
    ) -> None:
        options = [f"--semitrust={uuid}" for uuid in asked]
        options += [f"--untrust={uuid}" for uuid in ignored]
        if unchecked:
            options = ["--force"]
        super().__init__(ds, "drop", options, jobs)


def _protocol(processes: list[subprocess.Popen[bytes]]) -> type:
    """Make DataLad's protocol for git-annex's JSON, which also remembers the process."""
    from datalad.support.annexrepo import GeneratorAnnexJsonProtocol

    class Protocol(GeneratorAnnexJsonProtocol):  # type: ignore[misc, unused-ignore]
        def connection_made(self, transport: subprocess.Popen[bytes]) -> None:
            processes.append(transport)
            super().connection_made(transport)

    return Protocol
