"""DataLad command `bids-get`."""

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

__all__ = ["BidsGet"]

lgr = logging.getLogger("datalad.bidsshare.bids_get")


@build_doc
class BidsGet(Interface):
    """Get the BIDS files that entities select, with the companions they need.

    Like `datalad get`, but files are named by what they are (subject, task,
    suffix, ...) and not by where they lie. What is needed to use them comes
    along: sidecars wherever the inheritance principle puts them, events,
    gradients, channels, parts of multi-file recordings, and the files that
    describe the dataset. With --dry-run nothing is changed, and the same files
    are listed with the bytes that a transfer would bring.

    Selection needs names only. It works in a clone without any content, and
    takes seconds with a million files.

    Several entities must all match; several values of one entity are
    alternatives. With no selection at all, everything tracked is meant. A
    selection by entities or tables does not look into hidden directories nor
    into code/, derivatives/, models/, sourcedata/ and stimuli/, unless a path
    is given that names them or something inside.

    A value that occurs nowhere in the dataset is reported with those that look
    like it, and makes the command fail, after it got what did match.

    Subdatasets are looked into when a path names them (or something inside),
    or with --recursive. Those whose path contradicts the selection are left
    alone; others are installed without data if need be.

    The outcome is shown as a table; `datalad -f '{relpath}' bids-get ...` lists
    the files instead, and `-f json` all that is known of them.

    Nothing is committed, and the dataset may have unsaved changes: the command
    can be used inside `datalad run` and `datalad containers-run`.
    """

    _params_ = dict(
        dataset=Parameter(
            args=("-d", "--dataset"),
            doc="""dataset to get from. If not given, the one that the current directory is
            in. With --source, the place of the clone: nothing may be there, an empty directory,
            or a clone of that source.""",
            constraints=EnsureDataset() | EnsureNone(),
        ),
        source=Parameter(
            args=("-s", "--source"),
            metavar="URL",
            doc="""clone the dataset from here, unless there is a clone of it already, then get:
            a path, a URL, a RIA URL ('ria+file://STORE#ID'), or what else `datalad clone`
            takes.""",
        ),
        at=Parameter(
            args=("--at",),
            metavar="VERSION",
            doc="""with --source, the tag, branch or commit to check out.""",
        ),
        path=Parameter(
            args=("path",),
            metavar="PATH",
            nargs="*",
            doc="""limit the selection to these files and directories. Relative paths start at
            the current directory, as for `datalad get`; with --source, at the root of the
            dataset.""",
        ),
        **SELECTION_PARAMETERS,
        recursive=recursion_flag,
        recursion_limit=recursion_limit,
        jobs=Parameter(
            args=("-J", "--jobs"),
            metavar="NJOBS",
            constraints=EnsureInt() | EnsureNone() | EnsureChoice("auto"),
            doc="""how many transfers to run at a time. "auto" is the number configured as
            'datalad.runtime.max-annex-jobs' or 'annex.jobs', else the number of processors, at
            most 4.""",
        ),
        from_=Parameter(
            args=("--from",),
            dest="from_",
            metavar="REMOTE",
            doc="""get content from this remote (sibling) only, instead of whichever has it.""",
        ),
        dry_run=Parameter(
            args=("--dry-run",),
            action="store_true",
            doc="""change nothing; report what would be fetched, what is present, and which
            subdatasets would be installed.""",
        ),
    )

    _examples_ = [
        dict(
            text="See how much the T1w and BOLD images of two subjects would be",
            code_cmd="datalad bids-get --sub 01,02 --suffix T1w,bold --dry-run",
            code_py="bids_get(subject=['01', '02'], suffix=['T1w', 'bold'], dry_run=True)",
        ),
        dict(
            text="Get the resting state BOLD images of three subjects and all they need",
            code_cmd="datalad bids-get --sub 01,02,03 --task rest --suffix bold --ext nii.gz",
            code_py="bids_get(subject=['01', '02', '03'], task='rest', suffix='bold', "
            "extension='nii.gz')",
        ),
        dict(
            text="Get the diffusion data of the adults, and the field maps made for it",
            code_cmd="datalad bids-get --datatype dwi --where 'age >= 18' --companions linked",
            code_py="bids_get(datatype='dwi', where='age >= 18', companions='linked')",
        ),
        dict(
            text="Get preprocessed images out of a derivatives subdataset, installing it first",
            code_cmd="datalad bids-get derivatives/fmriprep --space MNI152NLin2009cAsym "
            "--desc preproc",
            code_py="bids_get('derivatives/fmriprep', space='MNI152NLin2009cAsym', desc='preproc')",
        ),
        dict(
            text="Clone a dataset, and get the T1w images of two subjects",
            code_cmd="datalad bids-get -s ///openneuro/ds000001 -d ds000001 --sub 01,02 "
            "--suffix T1w",
            code_py="bids_get(source='///openneuro/ds000001', dataset='ds000001', "
            "subject=['01', '02'], suffix='T1w')",
        ),
        dict(
            text="Get just what an fMRIPrep run with a filter file would use",
            code_cmd="datalad bids-get -r --filter-file filter.json --companions linked",
            code_py="bids_get(recursive=True, filter_file='filter.json', companions='linked')",
        ),
    ]

    @staticmethod
    @datasetmethod(name="bids_get")
    @eval_results
    def __call__(
        path: Any = None,
        *,
        dataset: Any = None,
        source: Any = None,
        at: str | None = None,
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
        companions: str = "default",
        recursive: bool = False,
        recursion_limit: int | None = None,
        jobs: int | str | None = "auto",
        from_: str | None = None,
        dry_run: bool = False,
    ) -> Iterator[dict[str, Any]]:
        # All the rest is imported here: `--help` must not pay for it.
        from datalad_bidsshare.fetch import fetch
        from datalad_bidsshare.plan.open_request import open_request
        from datalad_bidsshare.plan.sourcing import in_clone_at

        def get(dataset: Any, commit: str | None) -> Iterator[dict[str, Any]]:
            request = open_request(
                path,
                dataset,
                "get BIDS files",
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
                jobs=jobs,
                remote=from_,
                at=commit,
                dry_run=dry_run,
            )
            return fetch("bids-get", request)

        yield from in_clone_at("bids-get", source, dataset, get, at=at, dry_run=dry_run)

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **kwargs: Any) -> None:
        """Show what went wrong as it happens; the rest is in the summary."""
        from datalad_bidsshare.report.summary import render_record

        render_record(res)

    @staticmethod
    def custom_result_summary_renderer(results: list[dict[str, Any]]) -> None:
        """Show counts and bytes by subject and suffix, and the totals."""
        from datalad_bidsshare.report.summary import render_summary

        render_summary("bids-get", results)
