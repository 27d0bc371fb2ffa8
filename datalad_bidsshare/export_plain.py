"""DataLad command `export-plain`."""

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

__all__ = ["ExportPlain"]

lgr = logging.getLogger("datalad.bidsshare.export_plain")


@build_doc
class ExportPlain(Interface):
    """Copy files of a dataset, or a BIDS selection of them, as plain files.

    For people who do not use DataLad: what is written are regular files that
    their owner may change, verified by the checksums that git-annex keeps,
    with nothing of git, git-annex or DataLad among them. Replaces
    `rsync -avzhL CLONE DEST`.

    Files are selected as for `datalad bids-get`, companions included, so that
    an exported selection is a BIDS dataset of its own. Tables such as
    participants.tsv then have the rows of exported subjects only.

    Content that is absent is read where it lies, if a store or another clone
    on this machine has it, and is otherwise fetched, a limited amount at a
    time.

    What is copied comes from the tracked files of the dataset, never from
    what lies around in its directory. Symbolic links are followed to other
    tracked files only: nothing else on this machine can get out through them.

    The command can be run again: what was copied before is left alone, what
    changed in the dataset is updated, and what somebody else changed at the
    destination is reported and kept. An interrupted export goes on where it
    stopped.

    DEST/.bidsshare holds a manifest, which the receiver can check with
    `md5sum -c` or `sha256sum -c` (or with --verify), and a receipt of what
    was exported. A record of each export stays with the dataset, in
    .git/bidsshare/exports.jsonl.
    """

    _params_ = dict(
        dataset=Parameter(
            args=("-d", "--dataset"),
            doc="""dataset to export from. If not given, the one that the current directory is
            in.""",
            constraints=EnsureDataset() | EnsureNone(),
        ),
        source=Parameter(
            args=("-s", "--source"),
            metavar="URL",
            doc="""export from the dataset at this place, instead of one that is cloned here: a
            path, a URL, a RIA URL ('ria+file://STORE#ID'), or what else `datalad clone` takes. A
            clone is made and kept where `datalad cache-clean --list` shows it, so that the next
            export from there only fetches what is new. With --drop-fetched, names are all that it
            keeps. A record of what was exported stays with your user's data, not with that
            clone.""",
        ),
        no_update=Parameter(
            args=("--no-update",),
            action="store_true",
            doc="""with --source, do not ask there whether anything is new, if there is a clone
            already.""",
        ),
        dest=Parameter(
            args=("dest",),
            metavar="DEST",
            doc="""directory to copy to, or with --archive the archive to write. Made if it
            does not exist. It cannot be a dataset, nor lie in the one that is exported.""",
        ),
        path=Parameter(
            args=("path",),
            metavar="PATH",
            nargs="*",
            doc="""limit the selection to these files and directories of the dataset. Relative
            paths start at the current directory; with --source, at the root of the dataset.""",
        ),
        **SELECTION_PARAMETERS,
        at=Parameter(
            args=("--at",),
            metavar="COMMITISH",
            doc="""export the files of this commit, branch or tag, whatever is checked out.""",
        ),
        recursive=recursion_flag,
        recursion_limit=recursion_limit,
        missing=Parameter(
            args=("--missing",),
            constraints=EnsureChoice("get", "error", "skip"),
            doc="""what to do about content that is neither in the dataset nor in a store that
            can be read from this machine: 'get' it; report an 'error' for each such file before
            anything is written; or 'skip' them, which makes the command fail in the end.""",
        ),
        drop_fetched=Parameter(
            args=("--drop-fetched",),
            action="store_true",
            doc="""drop from the dataset again what this call had to fetch, and nothing else.""",
        ),
        delete=Parameter(
            args=("--delete",),
            action="store_true",
            doc="""delete at the destination what an earlier export wrote and this one does not
            hold. Other files there are never deleted.""",
        ),
        existing=Parameter(
            args=("--existing",),
            constraints=EnsureChoice("update", "skip", "error"),
            doc="""what to do about files that stand at the destination. 'update': replace what an
            earlier export wrote, and report what anybody else wrote or changed; 'skip': leave all
            as they are; 'error': report all that are not as they would be written.""",
        ),
        force=Parameter(
            args=("--force",),
            action="store_true",
            doc="""replace (and with --delete, delete) also what was changed at the
            destination.""",
        ),
        checksum=Parameter(
            args=("--checksum",),
            action="store_true",
            doc="""read the files at the destination and compare their checksums, rather than
            trust their size and time stamp.""",
        ),
        no_verify=Parameter(
            args=("--no-verify",),
            action="store_true",
            doc="""do not compute checksums while copying. Faster for large files, but damage
            goes unnoticed.""",
        ),
        archive=Parameter(
            args=("--archive",),
            action="store_true",
            doc="""write one archive; DEST ends in .zip, .tar, .tar.gz or .tar.zst. The same
            version and selection give the same bytes.""",
        ),
        tables=Parameter(
            args=("--tables",),
            constraints=EnsureChoice("selected", "all"),
            doc="""rows in the exported participants, sessions, scans, samples and phenotype
            tables: of 'selected' subjects only, or 'all'.""",
        ),
        window=Parameter(
            args=("--window",),
            metavar="SIZE",
            doc="""how much may be fetched ahead of being copied, such as '500 MB'.""",
        ),
        no_receipt=Parameter(
            args=("--no-receipt",),
            action="store_true",
            doc="""leave no .bidsshare directory at the destination: data files only.""",
        ),
        verify=Parameter(
            args=("--verify",),
            action="store_true",
            doc="""copy nothing: compare the files in DEST with the manifest there. Needs no
            dataset.""",
        ),
        jobs=Parameter(
            args=("-J", "--jobs"),
            metavar="NJOBS",
            constraints=EnsureInt() | EnsureNone() | EnsureChoice("auto"),
            doc="""how many processes copy, and how many transfers run, at a time. "auto" is the
            number of processors, at most 4.""",
        ),
        dry_run=Parameter(
            args=("--dry-run",),
            action="store_true",
            doc="""change nothing; report what would be written, updated or deleted, and how
            content would be had.""",
        ),
    )

    _examples_ = [
        dict(
            text="See how much two subjects would be, and where their content would come from",
            code_cmd="datalad export-plain /mnt/usb/study --sub 01,02 --dry-run",
            code_py="export_plain('/mnt/usb/study', subject=['01', '02'], dry_run=True)",
        ),
        dict(
            text="Hand over the anatomical images of two subjects, as a BIDS dataset",
            code_cmd="datalad export-plain /mnt/usb/study --sub 01,02 --datatype anat",
            code_py="export_plain('/mnt/usb/study', subject=['01', '02'], datatype='anat')",
        ),
        dict(
            text="Bring a copy of all, subdatasets included, up to date",
            code_cmd="datalad export-plain /srv/plain/study -r --delete",
            code_py="export_plain('/srv/plain/study', recursive=True, delete=True)",
        ),
        dict(
            text="Hand over the resting state data of a dataset in a store, without cloning it "
            "first",
            code_cmd="datalad export-plain --source 'ria+file:///data/store#~study' /mnt/usb/study "
            "--task rest",
            code_py="export_plain('/mnt/usb/study', source='ria+file:///data/store#~study', "
            "task='rest')",
        ),
        dict(
            text="Write a release into one archive, to upload it",
            code_cmd="datalad export-plain study-1.0.zip --at 1.0.0 --archive",
            code_py="export_plain('study-1.0.zip', at='1.0.0', archive=True)",
        ),
        dict(
            text="Check a copy, where it is now",
            code_cmd="datalad export-plain /mnt/usb/study --verify",
            code_py="export_plain('/mnt/usb/study', verify=True)",
        ),
    ]

    @staticmethod
    @datasetmethod(name="export_plain")
    @eval_results
    def __call__(
        dest: Any,
        path: Any = None,
        *,
        dataset: Any = None,
        source: Any = None,
        no_update: bool = False,
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
        at: str | None = None,
        recursive: bool = False,
        recursion_limit: int | None = None,
        missing: str = "get",
        drop_fetched: bool = False,
        delete: bool = False,
        existing: str = "update",
        force: bool = False,
        checksum: bool = False,
        no_verify: bool = False,
        archive: bool = False,
        tables: str = "selected",
        window: int | str = "2 GB",
        no_receipt: bool = False,
        verify: bool = False,
        jobs: int | str | None = "auto",
        dry_run: bool = False,
    ) -> Iterator[dict[str, Any]]:
        # All the rest is imported here: `--help` must not pay for it.
        if verify:
            from datalad_bidsshare.export.verifying import verify_records

            yield from verify_records("export-plain", dest, dataset, jobs)
            return
        from datalad_bidsshare.export.open_export import open_export
        from datalad_bidsshare.export.run import export
        from datalad_bidsshare.plan.open_request import open_request
        from datalad_bidsshare.plan.sourcing import in_managed_clone

        def copy(given: Any, commit: str | None, managed: Any) -> Iterator[dict[str, Any]]:
            request = open_request(
                path,
                given,
                "export plain files",
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
                at=commit,
                dry_run=dry_run,
            )
            plan = open_export(
                dest,
                dataset,
                request,
                missing=missing,
                drop_fetched=drop_fetched,
                delete=delete,
                existing=existing,
                force=force,
                checksum=checksum,
                no_verify=no_verify,
                archive=archive,
                tables=tables,
                window=window,
                no_receipt=no_receipt,
                jobs=jobs,
                managed=managed,
            )
            return export("export-plain", plan)

        yield from in_managed_clone(
            "export-plain", source, dataset, dest, copy, at=at, no_update=no_update, dry_run=dry_run
        )

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **kwargs: Any) -> None:
        """Show what went wrong as it happens, and the totals at the end."""
        from datalad_bidsshare.report.export_summary import render_export_record

        render_export_record(res)
