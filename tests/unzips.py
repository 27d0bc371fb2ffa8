"""What the tests of `unzip-outputs` share: subject zips, datasets of them, and calling it."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from datalad_bidsshare.archive.directory import digest_of, read_directory
from tests.dataset.builders import annex_repo, git
from tests.superdatasets import Record, copy_of, make_dataset

__all__ = [
    "DESCRIPTION",
    "REST",
    "ZIPS",
    "Record",
    "_zips",
    "_zips_store",
    "clone_of_store",
    "dataset_of",
    "expected",
    "failures",
    "files_in_commit",
    "files_of",
    "members",
    "outcomes",
    "save_zips",
    "subjects",
    "summary",
    "tracked",
    "tree_of",
    "unpacked",
    "unzip",
    "zip_bytes",
    "zips",
    "zips_of",
]

_QUIET: dict[str, Any] = {"result_renderer": "disabled"}

#: The same in the zips of all subjects.
DESCRIPTION = b'{"Name": "fMRIPrep", "BIDSVersion": "1.4.0", "DatasetType": "derivative"}\n'
REST = "sub-{0}/func/sub-{0}_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz"


def members(subject: str, session: str = "", *, top: str = "fmriprep") -> dict[str, bytes]:
    """Give the members of one zip, as fMRIPrep lays its outputs out."""
    stem = f"sub-{subject}" + f"_ses-{session}" * bool(session)
    where = stem.replace("_", "/")
    func = f"{where}/func/{stem}_task"
    names = [
        f"sub-{subject}.html",
        f"{where}/anat/{stem}_desc-preproc_T1w.nii.gz",
        f"{where}/figures/{stem}_task-rest_desc-carpetplot_bold.svg",
        f"{func}-nback_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz",
        f"{func}-rest_desc-confounds_timeseries.tsv",
        f"{func}-rest_space-MNI152NLin6Asym_desc-preproc_bold.json",
        f"{func}-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz",
        f"{func}-rest_space-T1w_desc-preproc_bold.nii.gz",
    ]
    content = {name: f"{name} of {stem}\n".encode() * 20 for name in names}
    content = {
        name: b'{"RepetitionTime": 2.0}\n' if name.endswith(".json") else data
        for name, data in content.items()
    }
    content["dataset_description.json"] = DESCRIPTION
    return {f"{top}/{name}" if top else name: data for name, data in sorted(content.items())}


def zip_bytes(content: Mapping[str, bytes]) -> bytes:
    """Give a zip. The same members give the same bytes."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as file:
        for name, data in content.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o644 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            file.writestr(info, data)
    return target.getvalue()


def subjects(*labels: str) -> dict[str, bytes]:
    """Give the zips of some subjects, by name."""
    return {f"sub-{label}_fmriprep-20.2.3.zip": zip_bytes(members(label)) for label in labels}


def unpacked(*labels: str, top: str = "") -> dict[str, bytes]:
    """Give what is in the zips of some subjects."""
    found: dict[str, bytes] = {}
    for label in labels:
        found |= members(label, top=top)
    return found


#: The zips of the dataset that most tests work on.
ZIPS = subjects("01", "02", "10")


def save_zips(root: Path, content: Mapping[str, bytes | str], message: str = "Zips") -> None:
    """Add zips (or other files) to a dataset."""
    for name, data in content.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():
            path.unlink()
        path.write_bytes(data.encode() if isinstance(data, str) else data)
    git(root, "annex", "add", "-q", ".")
    git(root, "commit", "-q", "-m", message)


def dataset_of(root: Path, content: Mapping[str, bytes]) -> Path:
    """Make a dataset with zips (or other annexed files): quicker than DataLad makes one."""
    return annex_repo(root, {**content}, {})


@pytest.fixture(scope="session")
def _zips(tmp_path_factory: pytest.TempPathFactory, _quiet_git: None) -> Path:
    """The dataset of `ZIPS`, with all content. Not to be changed."""
    return make_dataset(tmp_path_factory.mktemp("zips") / "ds", ZIPS).pathobj


@pytest.fixture
def zips(_zips: Path, tmp_path: Path) -> Path:
    """A dataset with `ZIPS` and their content, for one test alone."""
    return copy_of(_zips, tmp_path / "ds")


@pytest.fixture(scope="session")
def _zips_store(_zips: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The URL of a store that has the dataset of `ZIPS`."""
    from datalad.api import Dataset

    base = tmp_path_factory.mktemp("zips-store")
    ds = Dataset(str(copy_of(_zips, base / "ds")))
    store = f"ria+file://{base / 'store'}"
    ds.create_sibling_ria(store, name="store", new_store_ok=True, alias="zips", **_QUIET)
    ds.push(to="store", **_QUIET)
    return f"{store}#~zips"


def clone_of_store(url: str, target: Path, **arguments: Any) -> Path:
    """Clone a dataset from where it is stored, without content."""
    import datalad.api as dl

    dl.clone(url, str(target), **arguments, **_QUIET)
    return target


def unzip(path: Any = None, **arguments: Any) -> list[Record]:
    """Call the command and give all its records, whatever their status.

    Relative paths are those of the dataset.
    """
    import datalad.api as dl

    if "dataset" in arguments:
        arguments["dataset"] = dl.Dataset(str(arguments["dataset"]))
    arguments = {"on_failure": "ignore", "return_type": "list", **_QUIET, **arguments}
    records: list[Record] = dl.unzip_outputs(path, **arguments)
    return records


def zips_of(records: list[Record]) -> dict[str, Record]:
    """Give the records of zips by their path; there must be one of each."""
    found = [r for r in records if "outputs" in r]
    by_path = {r["relpath"]: r for r in found}
    assert len(by_path) == len(found), "a zip has two records"
    return by_path


def outcomes(records: list[Record]) -> dict[str, str]:
    """Give the status of each zip."""
    return {path: record["status"] for path, record in zips_of(records).items()}


def files_of(records: list[Record]) -> dict[str, Record]:
    """Give the records of files that came from zips by their path; there must be one of each."""
    found = [r for r in records if "from_zip" in r]
    by_path = {r["relpath"]: r for r in found}
    assert len(by_path) == len(found), "a file has two records"
    return by_path


def failures(records: list[Record]) -> dict[str, str]:
    """Give the messages of all that went wrong."""
    return {
        r.get("relpath", r["path"]): str(r["message"])
        for r in records
        if r["status"] in ("error", "impossible")
    }


def summary(records: list[Record]) -> Record:
    """Give the record of the totals, which comes last."""
    assert [r for r in records if "zips" in r] == records[-1:]
    return records[-1]


def tracked(root: Path, commit: str = "HEAD") -> set[str]:
    """Give all that a commit has, but for zips and what DataLad has for itself."""
    paths = git(root, "ls-tree", "-r", "-z", "--name-only", commit).split("\0")
    return {
        path
        for path in paths
        if path and not path.endswith(".zip") and not path.startswith((".datalad/", ".git"))
    }


def expected(path: Path) -> str:
    """Give what a record of a zip has to tell its version by."""
    with path.open("rb") as file:
        return digest_of(read_directory(file.fileno()))[:16]


def tree_of(root: Path, commit: str = "HEAD") -> str:
    """Give the name of the tree of a commit."""
    return git(root, "rev-parse", f"{commit}^{{tree}}").strip()


def files_in_commit(root: Path, commit: str) -> set[str]:
    """Give what a commit changed."""
    command = ["diff-tree", "--no-commit-id", "-r", "--root", "-z", "--name-only", commit]
    return set(git(root, *command).split("\0")) - {""}
