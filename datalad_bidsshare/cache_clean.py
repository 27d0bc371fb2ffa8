"""DataLad command `cache-clean`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from datalad.distribution.dataset import EnsureDataset, datasetmethod
from datalad.interface.base import Interface, build_doc, eval_results
from datalad.interface.common_opts import recursion_flag, recursion_limit
from datalad.support.constraints import EnsureChoice, EnsureInt, EnsureNone
from datalad.support.param import Parameter

from datalad_bidsshare.selection.params import SELECTION_PARAMETERS, Values

__all__ = ["CacheClean"]

lgr = logging.getLogger("datalad.bidsshare.cache_clean")


@build_doc
class CacheClean(Interface):
    """Give disk space back, without losing a last copy.

    Without a dataset, this is about the managed clones: those that
    `datalad export-plain --source URL` works from. With one, about the
    content of its files.

    Only the content of files goes, and only where git-annex makes sure that
    enough other copies exist, at the moment it drops it: what a log says is
    not believed. `datalad get` or `datalad bids-get` brings it back. Nothing
    is committed.

    What was not used for longest goes first. With --max-size or --free no
    more goes than it takes for the limit to hold; with --older-than what was
    used since stays. When content was used is what the file system knows:
    when it was read last (within a day, as most systems are set up), or came.

    Nothing is dropped in a dataset that shares the annex of another (an
    ephemeral clone), that cannot be written to, or in which selected files
    were changed and not saved. All datasets are looked at before the first
    drop. Content that a file shares with one that is not selected stays.

    The totals say how many bytes are really free on the disk afterwards.
    """

    _params_ = dict(
        dataset=Parameter(
            args=("-d", "--dataset"),
            doc="""dataset whose content is meant. If not given, the managed clones are, wherever
            the command is run.""",
            constraints=EnsureDataset() | EnsureNone(),
        ),
        path=Parameter(
            args=("path",),
            metavar="PATH",
            nargs="*",
            doc="""limit the selection to these files and directories of the dataset.""",
        ),
        source=Parameter(
            args=("-s", "--source"),
            metavar="URL",
            doc="""of the managed clones, the one of this source only. Paths are those of its
            dataset.""",
        ),
        **SELECTION_PARAMETERS,
        recursive=recursion_flag,
        recursion_limit=recursion_limit,
        older_than=Parameter(
            args=("--older-than",),
            metavar="AGE",
            doc="""only what was not used for so long, such as '30d' (s, min, h, d, w, months,
            y).""",
        ),
        max_size=Parameter(
            args=("--max-size",),
            metavar="SIZE",
            doc="""drop no more than it takes until all content of the managed clones, or of the
            dataset, has at most this size on the disk, such as '50 GB'.""",
        ),
        free=Parameter(
            args=("--free",),
            metavar="SIZE",
            doc="""drop no more than it takes until so much is free on the file system.""",
        ),
        clones=Parameter(
            args=("--clones",),
            action="store_true",
            doc="""remove managed clones as a whole. One that holds what is nowhere else (content,
            commits, changes) is kept, and what that is is told.""",
        ),
        list_=Parameter(
            args=("--list",),
            dest="list_",
            action="store_true",
            doc="""list the managed clones, and change nothing.""",
        ),
        reckless=Parameter(
            args=("--reckless",),
            constraints=EnsureChoice(None, "availability"),
            doc="""'availability' drops without making sure that another copy exists, as in
            `datalad drop`. What is the only copy is lost then.""",
        ),
        jobs=Parameter(
            args=("-J", "--jobs"),
            metavar="NJOBS",
            constraints=EnsureInt() | EnsureNone() | EnsureChoice("auto"),
            doc="""how many files to drop at a time.""",
        ),
        dry_run=Parameter(
            args=("--dry-run",),
            action="store_true",
            doc="""change nothing; report what would be dropped, and how many bytes that would
            free. Whether other copies exist is then what git-annex has on record.""",
        ),
    )

    _examples_ = [
        dict(
            text="See which managed clones there are, and what they take",
            code_cmd="datalad cache-clean --list",
            code_py="cache_clean(list_=True)",
        ),
        dict(
            text="Keep the content of all managed clones below 50 GB; what was not used for "
            "longest goes",
            code_cmd="datalad cache-clean --max-size '50 GB'",
            code_py="cache_clean(max_size='50 GB')",
        ),
        dict(
            text="Remove managed clones that were not used for half a year",
            code_cmd="datalad cache-clean --clones --older-than 180d",
            code_py="cache_clean(clones=True, older_than='180d')",
        ),
        dict(
            text="See how much the BOLD images of a dataset would free",
            code_cmd="datalad cache-clean -d study --suffix bold --dry-run",
            code_py="cache_clean(dataset='study', suffix='bold', dry_run=True)",
        ),
        dict(
            text="Make room for 20 GB in a dataset and its subdatasets",
            code_cmd="datalad cache-clean -d study -r --free '20 GB'",
            code_py="cache_clean(dataset='study', recursive=True, free='20 GB')",
        ),
    ]

    @staticmethod
    @datasetmethod(name="cache_clean")
    @eval_results
    def __call__(
        path: Any = None,
        *,
        dataset: Any = None,
        source: Any = None,
        subject: Values = None,
        session: Values = None,
        datatype: Values = None,
        task: Values = None,
        run: Values = None,
        suffix: Values = None,
        extension: Values = None,
        space: Values = None,
        desc: Values = None,
        entities: Any = None,
        where: str | None = None,
        filter_file: Any = None,
        filter_query: Any = None,
        exclude: Any = None,
        companions: str = "none",
        recursive: bool = False,
        recursion_limit: int | None = None,
        older_than: Any = None,
        max_size: int | str | None = None,
        free: int | str | None = None,
        clones: bool = False,
        list_: bool = False,
        reckless: str | None = None,
        jobs: int | str | None = "auto",
        dry_run: bool = False,
    ) -> Iterator[dict[str, Any]]:
        # All the rest is imported here: `--help` must not pay for it.
        from datalad_bidsshare.clean.open_clean import open_clean
        from datalad_bidsshare.clean.run import clean

        yield from clean(
            "cache-clean",
            open_clean(
                path,
                dataset,
                source,
                selection=dict(
                    subject=subject,
                    session=session,
                    datatype=datatype,
                    task=task,
                    run=run,
                    suffix=suffix,
                    extension=extension,
                    space=space,
                    desc=desc,
                    entities=entities,
                    where=where,
                    filter_file=filter_file,
                    filter_query=filter_query,
                    exclude=exclude,
                ),
                companions=companions,
                recursive=recursive,
                recursion_limit=recursion_limit,
                older_than=older_than,
                max_size=max_size,
                free=free,
                clones=clones,
                only_list=list_,
                reckless=reckless,
                jobs=jobs,
                dry_run=dry_run,
            ),
        )

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **kwargs: Any) -> None:
        """Show what went wrong as it happens, and the totals at the end."""
        from datalad_bidsshare.report.clean_summary import render_clean_record

        render_clean_record(res)

    @staticmethod
    def custom_result_summary_renderer(results: list[dict[str, Any]]) -> None:
        """Show the table of managed clones, if that was asked for."""
        from datalad_bidsshare.report.clean_summary import render_clone_table

        render_clone_table(results)
