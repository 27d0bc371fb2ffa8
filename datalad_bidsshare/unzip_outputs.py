"""DataLad command `unzip-outputs`."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

from datalad.distribution.dataset import EnsureDataset, datasetmethod
from datalad.interface.base import Interface, build_doc, eval_results
from datalad.support.constraints import EnsureChoice, EnsureInt, EnsureNone
from datalad.support.param import Parameter

from datalad_bidsshare.selection.params import SELECTION_PARAMETERS, Values

__all__ = ["UnzipOutputs"]

lgr = logging.getLogger("datalad.bidsshare.unzip_outputs")

#: A condition on rows of tables cannot be asked of names in a zip.
_SELECTION = {
    name: parameter
    for name, parameter in SELECTION_PARAMETERS.items()
    if name not in ("where", "exclude", "companions")
}


@build_doc
class UnzipOutputs(Interface):
    """Unpack the wanted part of zips into the dataset, with provenance.

    For datasets that hold one zip for each subject or session, as BIDS App
    workflows leave them (`sub-01_fmriprep-20.2.3.zip`), themselves or in a
    subdataset. Replaces scripts around `datalad run unzip`.

    Each zip gets a commit with a record as `datalad run` makes it, of a
    command that gives the same files again: `datalad rerun` replays it, in any
    clone. The files are unpacked several at a time, and only the members that
    are wanted are read. A zip whose content is absent is read where it lies, if
    a store on this machine has it, and is otherwise fetched.

    Members are chosen by globs (-i, -x), by BIDS entities as for `datalad
    bids-get` (with companions), or both; without any of these, all are.

    Everything is checked before anything is written: a zip with names that
    lead out of the dataset, into .git or .datalad, with symbolic links, or
    with members that would expand without end, is refused as a whole. Files
    appear complete and verified, or not at all, and those of two zips
    never overwrite each other. Like `datalad run`, the command needs a clean
    dataset.

    Zips that were unpacked in the same way before are left alone, so that the
    command can be run again, after an interruption or for new subjects.
    """

    _params_ = dict(
        dataset=Parameter(
            args=("-d", "--dataset"),
            doc="""dataset that gets the files. If not given, the one that the current directory
            is in. With --source, the place of the clone: nothing may be there, an empty directory,
            or a clone of that source.""",
            constraints=EnsureDataset() | EnsureNone(),
        ),
        source=Parameter(
            args=("-s", "--source"),
            metavar="URL",
            doc="""clone the dataset from here, unless there is a clone of it already, then unpack
            in the clone: a path, a URL, a RIA URL ('ria+file://STORE#ID'), or what else `datalad
            clone` takes.""",
        ),
        path=Parameter(
            args=("path",),
            metavar="ZIP|GLOB",
            nargs="*",
            doc="""zips, directories with zips, or globs ('inputs/*_fmriprep-*.zip'), also in
            subdatasets; relative ones are seen from the current directory, with --source from
            the root of the dataset.
            If not given, every tracked *.zip in the dataset and its installed
            subdatasets.""",
        ),
        include=Parameter(
            args=("-i", "--include"),
            metavar="GLOB",
            action="append",
            doc="""unpack members that match: a path glob as in gitignore
            ('fmriprep/sub-*/**/*.html'). Together with entities, both must hold.
            [CMD: Can be given multiple times. CMD]""",
        ),
        exclude=Parameter(
            args=("-x", "--exclude"),
            metavar="KEY=VALUE|GLOB",
            action="append",
            doc="""leave out members that match: a path glob as in gitignore, or an entity
            ('suffix=sbref'). [CMD: Can be given multiple times. CMD]""",
        ),
        **_SELECTION,
        companions=Parameter(
            args=("--companions",),
            constraints=EnsureChoice("none", "default"),
            doc="""what rides along with members that entities select: what is needed to use
            them, as far as names tell ('default'), or nothing ('none').""",
        ),
        into=Parameter(
            args=("--into",),
            metavar="TEMPLATE",
            doc="""directory of the dataset to unpack into, seen from its root. {subject},
            {session}, {pipeline} and {stem} stand for what the name of a zip says, as in
            'derivatives/{pipeline}'.""",
        ),
        strip=Parameter(
            args=("--strip",),
            metavar="N",
            constraints=EnsureInt() | EnsureNone(),
            doc="""take this many leading directories away from members ('fmriprep/sub-01/...'
            becomes 'sub-01/...'). Members that lie less deep are left out.""",
        ),
        strip_prefix=Parameter(
            args=("--strip-prefix",),
            metavar="DIR",
            doc="""take this leading directory away from members that have it.""",
        ),
        existing=Parameter(
            args=("--existing",),
            constraints=EnsureChoice("error", "skip", "replace"),
            doc="""what to do about files that the dataset has already: refuse the zip
            ('error'), keep those that are the same and refuse the zip if one is not ('skip'),
            or 'replace' them. Companions, and files that an earlier call of this kind gave, may
            always be there if they are the same.""",
        ),
        on_zip_error=Parameter(
            args=("--on-zip-error",),
            constraints=EnsureChoice("stop", "continue"),
            doc="""whether a zip that cannot be unpacked ends the command, or the others go
            on.""",
        ),
        per=Parameter(
            args=("--per",),
            constraints=EnsureChoice("zip", "call"),
            doc="""make a commit for each zip, or one for all of them.""",
        ),
        message=Parameter(
            args=("-m", "--message"),
            metavar="MESSAGE",
            doc="""message of the commits.""",
        ),
        jobs=Parameter(
            args=("-J", "--jobs"),
            metavar="NJOBS",
            constraints=EnsureInt() | EnsureNone() | EnsureChoice("auto"),
            doc="""how many zips (or members of a large one) are unpacked, and how many transfers
            run, at a time. "auto" is the number of processors, at most 4.""",
        ),
        executor=Parameter(
            args=("--executor",),
            metavar="NAME[:N]",
            doc="""where zips are unpacked: 'local' (processes of this machine), or 'local:N' for
            N of them.""",
        ),
        recomputable=Parameter(
            args=("--recomputable",),
            action="store_true",
            doc="""tell git-annex how to get the files from the zip (a special remote of type
            'compute'), so that they can be dropped and come back by `datalad get`. Needs
            git-annex 10.20250320, and zips that the dataset itself tracks, which are fetched.""",
        ),
        drop_zips=Parameter(
            args=("--drop-zips",),
            action="store_true",
            doc="""drop the zips again that this call had to fetch. They are fetched some at a
            time then.""",
        ),
        container=Parameter(
            args=("--container",),
            metavar="NAME",
            doc="""unpack inside this container (see `datalad containers-add`), which must have
            datalad-bidsshare; one zip after the other.""",
        ),
        max_bytes=Parameter(
            args=("--max-bytes",),
            metavar="SIZE",
            doc="""refuse zips of which more than this would be unpacked, such as '2 TB'.""",
        ),
        max_ratio=Parameter(
            args=("--max-ratio",),
            metavar="N",
            constraints=EnsureInt() | EnsureNone(),
            doc="""refuse zips that would become more than N times as large (200 if not given; not
            looked at below 100 MB).""",
        ),
        max_members=Parameter(
            args=("--max-members",),
            metavar="N",
            constraints=EnsureInt() | EnsureNone(),
            doc="""refuse zips with more members than this (one million if not given).""",
        ),
        dry_run=Parameter(
            args=("--dry-run",),
            action="store_true",
            doc="""change nothing; report what each zip would give.""",
        ),
    )

    _examples_ = [
        dict(
            text="See what is in all zips of the dataset, and where it would go",
            code_cmd="datalad unzip-outputs --dry-run",
            code_py="unzip_outputs(dry_run=True)",
        ),
        dict(
            text="Unpack preprocessed resting-state images in one space, with what belongs to them",
            code_cmd="datalad unzip-outputs --strip 1 --task rest --space MNI152NLin6Asym "
            "--desc preproc",
            code_py="unzip_outputs(strip=1, task='rest', space='MNI152NLin6Asym', desc='preproc')",
        ),
        dict(
            text="Unpack all of it, with the leading directory 'fmriprep' taken away",
            code_cmd="datalad unzip-outputs --strip-prefix fmriprep",
            code_py="unzip_outputs(strip_prefix='fmriprep')",
        ),
        dict(
            text="Unpack the reports of one pipeline, from zips in a subdataset",
            code_cmd="datalad unzip-outputs 'inputs/*_fmriprep-*.zip' -i '*.html' "
            "--into 'reports/{subject}'",
            code_py="unzip_outputs('inputs/*_fmriprep-*.zip', include='*.html', "
            "into='reports/{subject}')",
        ),
        dict(
            text="Clone a dataset of zips, and unpack in the clone",
            code_cmd="datalad unzip-outputs --source 'ria+file:///data/store#~fmriprep' "
            "-d fmriprep --strip 1",
            code_py="unzip_outputs(source='ria+file:///data/store#~fmriprep', dataset='fmriprep', "
            "strip=1)",
        ),
        dict(
            text="Do not end at zips that are damaged, and keep no zip that had to be fetched",
            code_cmd="datalad unzip-outputs --on-zip-error continue --drop-zips",
            code_py="unzip_outputs(on_zip_error='continue', drop_zips=True)",
        ),
    ]

    @staticmethod
    @datasetmethod(name="unzip_outputs")
    @eval_results
    def __call__(
        path: Any = None,
        *,
        dataset: Any = None,
        source: Any = None,
        include: Any = None,
        exclude: Any = None,
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
        filter_file: Any = None,
        filter_query: Any = None,
        companions: str = "default",
        into: str | None = None,
        strip: int | None = None,
        strip_prefix: str | None = None,
        existing: str = "error",
        on_zip_error: str = "stop",
        per: str = "zip",
        message: str | None = None,
        jobs: int | str | None = "auto",
        executor: str = "local",
        recomputable: bool = False,
        drop_zips: bool = False,
        container: str | None = None,
        max_bytes: int | str | None = None,
        max_ratio: int | None = None,
        max_members: int | None = None,
        dry_run: bool = False,
    ) -> Iterator[dict[str, Any]]:
        # All the rest is imported here: `--help` must not pay for it.
        from datalad_bidsshare.archive.open_unzip import open_unzip
        from datalad_bidsshare.archive.run import unzip
        from datalad_bidsshare.plan.sourcing import in_clone_at

        def unpack(dataset: Any, commit: str | None) -> Iterator[dict[str, Any]]:
            request = open_unzip(
                path,
                dataset,
                include=include,
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
                    filter_file=filter_file,
                    filter_query=filter_query,
                    exclude=exclude,
                ),
                companions=companions,
                into=into,
                strip=strip,
                strip_prefix=strip_prefix,
                existing=existing,
                on_zip_error=on_zip_error,
                per=per,
                message=message,
                jobs=jobs,
                executor=executor,
                recomputable=recomputable,
                drop_zips=drop_zips,
                container=container,
                max_bytes=max_bytes,
                max_ratio=max_ratio,
                max_members=max_members,
                dry_run=dry_run,
            )
            return unzip("unzip-outputs", request)

        yield from in_clone_at("unzip-outputs", source, dataset, unpack, dry_run=dry_run)

    @staticmethod
    def custom_result_renderer(res: dict[str, Any], **kwargs: Any) -> None:
        """Show each zip, what went wrong as it happens, and the totals at the end."""
        from datalad_bidsshare.report.unzip_summary import render_unzip_record

        render_unzip_record(res)
