"""Which zips paths and globs mean, in real datasets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from datalad_bidsshare.archive.zips import TrackedZip, find_zips
from datalad_bidsshare.dataset.hierarchy import contains_repo
from datalad_bidsshare.plan.outcome import Problem, Subdataset
from datalad_bidsshare.selection.errors import SelectionError
from tests.dataset.builders import add_link, annex_repo, git
from tests.platforms import needs_posix_names, needs_symlinks
from tests.process_log import ProcessLog


@pytest.fixture(scope="module")
def study_with_zips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset with zips, and with two subdatasets that have some; one more in the first."""
    base = tmp_path_factory.mktemp("zips")
    deep = annex_repo(base / "deep", {"sub-09_fmriprep.zip": b"9"}, {"x": b"x"})
    inputs = annex_repo(
        base / "inputs-source",
        {"sub-03_fmriprep.zip": b"3", "more/sub-04_freesurfer.zip": b"4", "a.txt": b"a"},
        {"small.zip": b"in git"},
    )
    git(inputs, "submodule", "--quiet", "add", str(deep), "deep")
    git(inputs, "commit", "-q", "-m", "deep")
    other = annex_repo(base / "other-source", {"sub-05_fmriprep.zip": b"5"}, {})
    top = annex_repo(
        base / "study",
        {
            "sub-01_fmriprep.zip": b"1",
            "done/sub-02_fmriprep.ZIP": b"2",
            "done/notes.txt": b"n",
            "sub-1.data": b"a zip by another name",
        },
        {"README": b"r", "git.zip": b"kept by git"},
    )
    git(top, "submodule", "--quiet", "add", str(inputs), "inputs")
    git(top, "submodule", "--quiet", "add", str(other), "raw/other")
    git(top, "commit", "-q", "-m", "subdatasets")
    return top


@pytest.fixture
def top(study_with_zips: Path, tmp_path: Path) -> Path:
    """A clone in which no subdataset is installed."""
    git(tmp_path, "clone", "-q", str(study_with_zips), "top")
    return tmp_path / "top"


OWN = ["done/sub-02_fmriprep.ZIP", "git.zip", "sub-01_fmriprep.zip"]
INPUTS = ["inputs/more/sub-04_freesurfer.zip", "inputs/small.zip", "inputs/sub-03_fmriprep.zip"]


def found(
    root: Path, *patterns: str, dry_run: bool = False
) -> tuple[list[str], list[tuple[str, str]], list[Problem]]:
    """Give paths of zips, (path, status) of subdatasets, and problems."""
    zips: list[str] = []
    subdatasets: list[tuple[str, str]] = []
    problems: list[Problem] = []
    for each in find_zips(root, patterns, dry_run=dry_run):
        if isinstance(each, TrackedZip):
            assert str(each.root / each.inner) == str(root / each.path)
            assert each.info.path == each.inner
            zips.append(each.path)
        elif isinstance(each, Subdataset):
            subdatasets.append((each.path.relative_to(root).as_posix(), each.status))
        else:
            problems.append(each)
    assert len(zips) == len(set(zips))
    return zips, subdatasets, problems


def test_without_patterns_all_that_is_installed(top: Path) -> None:
    assert found(top) == (OWN, [], [])
    git(top, "submodule", "--quiet", "update", "--init", "inputs")
    assert found(top) == (OWN + INPUTS, [], [])
    assert found(top, ".") == found(top, "") == found(top)
    assert not contains_repo(top / "inputs" / "deep")


def test_annexed_or_not(top: Path) -> None:
    kinds = {z.path: z.info for z in find_zips(top) if isinstance(z, TrackedZip)}
    assert kinds["git.zip"].kind == "git"
    assert kinds["sub-01_fmriprep.zip"].kind == "annex"
    assert kinds["sub-01_fmriprep.zip"].bytesize == 1


def test_unlocked_zips(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"sub-01.zip": b"content"}, {})
    git(root, "annex", "unlock", "-q", "sub-01.zip")
    git(root, "commit", "-qm", "unlocked")
    (zip_,) = find_zips(root)
    assert isinstance(zip_, TrackedZip)
    assert (zip_.info.kind, zip_.info.unlocked, zip_.info.bytesize) == ("annex", True, 7)


@pytest.mark.parametrize(
    ("patterns", "expected"),
    [
        (["sub-01_fmriprep.zip"], ["sub-01_fmriprep.zip"]),
        (["sub-1.data"], ["sub-1.data"]),
        (["done"], ["done/sub-02_fmriprep.ZIP"]),
        (["done/"], ["done/sub-02_fmriprep.ZIP"]),
        (["done", "done/sub-02_fmriprep.ZIP", "done/*"], ["done/sub-02_fmriprep.ZIP"]),
        (["sub-*"], ["done/sub-02_fmriprep.ZIP", "sub-01_fmriprep.zip"]),
        (["/sub-*"], ["sub-01_fmriprep.zip"]),
        (["**/sub-0[12]*"], ["done/sub-02_fmriprep.ZIP", "sub-01_fmriprep.zip"]),
        (["git.zip", "sub-1.data"], ["git.zip", "sub-1.data"]),
    ],
)
def test_files_directories_and_globs(top: Path, patterns: list[str], expected: list[str]) -> None:
    assert found(top, *patterns) == (expected, [], [])
    assert not contains_repo(top / "inputs")


@pytest.mark.parametrize(
    ("patterns", "zips", "installed"),
    [
        (["inputs"], INPUTS, ["inputs"]),
        (["inputs/more"], INPUTS[:1], ["inputs"]),
        (["inputs/*_fmriprep.zip"], INPUTS[2:], ["inputs"]),
        (["in*/sub-*.zip"], INPUTS[2:], ["inputs"]),
        (["in*"], INPUTS, ["inputs"]),
        (["raw/other/sub-05_fmriprep.zip"], ["raw/other/sub-05_fmriprep.zip"], ["raw/other"]),
        (
            ["inputs/deep/*.zip", "raw/*/*.zip"],
            ["inputs/deep/sub-09_fmriprep.zip", "raw/other/sub-05_fmriprep.zip"],
            ["inputs", "inputs/deep", "raw/other"],
        ),
    ],
)
def test_subdatasets_that_a_pattern_leads_into_are_installed(
    top: Path, patterns: list[str], zips: list[str], installed: list[str]
) -> None:
    expected = [(path, "ok") for path in installed]
    assert found(top, *patterns) == (zips, expected, [])
    for mount in ("inputs", "raw/other"):
        assert contains_repo(top / mount) == (mount in installed)
    assert found(top, *patterns) == (zips, [], [])


def test_a_dry_run_installs_nothing_and_claims_nothing(top: Path) -> None:
    zips, subdatasets, problems = found(
        top, "inputs/*_fmriprep.zip", "raw/other/none.zip", dry_run=True
    )
    assert (zips, problems) == ([], [])
    assert subdatasets == [("inputs", "planned"), ("raw/other", "planned")]
    assert not contains_repo(top / "inputs")


def test_a_glob_at_any_depth_looks_into_what_is_installed_and_says_what_is_not(top: Path) -> None:
    zips, subdatasets, (problem,) = found(top, "**/*_freesurfer.zip")
    assert (zips, subdatasets) == ([], [])
    assert problem.status == "impossible"
    assert "'**/*_freesurfer.zip'" in problem.message
    assert "2 subdatasets were not searched" in problem.message
    git(top, "submodule", "--quiet", "update", "--init", "inputs")
    assert found(top, "*_freesurfer.zip") == (INPUTS[:1], [], [])


def test_patterns_that_match_nothing_are_reported_and_the_others_act(top: Path) -> None:
    (top / "untracked.zip").write_bytes(b"u")
    git(top, "submodule", "--quiet", "update", "--init", "inputs")
    zips, _, problems = found(
        top, "nope.zip", "untracked.zip", "sub-9*.zip", "git.zip", "inputs/nope.zip", "done/*.txt"
    )
    assert zips == ["git.zip"]
    said = {p.path.relative_to(top).as_posix(): p.message for p in problems}
    assert all(p.status == "impossible" for p in problems)
    assert set(said) == {
        "nope.zip",
        "untracked.zip",
        "sub-9*.zip",
        "inputs/nope.zip",
        "done/*.txt",
    }
    assert "does not exist" in said["nope.zip"]
    assert "not tracked" in said["untracked.zip"]
    assert "no tracked zip" in said["sub-9*.zip"]


def test_a_dataset_or_directory_without_zips(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"d/a.txt": b"a"}, {})
    for patterns in ((), (".",), ("d",)):
        zips, _, (problem,) = found(root, *patterns)
        assert not zips
        assert problem.status == "impossible"
        assert "zip" in problem.message


def test_a_glob_that_cannot_be_read(top: Path) -> None:
    with pytest.raises(SelectionError, match="without a"):
        list(find_zips(top, ["sub-[01.zip"]))


@needs_posix_names
def test_names_that_look_like_globs_and_commands(tmp_path: Path) -> None:
    names = ["sub-[01].zip", "{02}.zip", "$(touch x).zip", "-x.zip", "a b\n'c\".zip", "sub-0.zip"]
    inside = ["d[1]/sub-1.zip", "d[1]/sub-2.zip", "d1/sub-1.zip"]
    root = annex_repo(tmp_path / "ds", {name: name.encode() for name in [*names, *inside]}, {})
    for name in names:
        assert found(root, name) == ([name], [], [])
    assert sorted(found(root, "sub-[0-9].zip")[0]) == sorted([*inside, "sub-0.zip"])
    assert found(root, "/sub-[0-9].zip")[0] == ["sub-0.zip"]
    assert found(root, "d[1]/sub-1.zip")[0] == ["d[1]/sub-1.zip"]
    assert found(root, "d[1]/*.zip")[0] == ["d[1]/sub-1.zip", "d[1]/sub-2.zip"]
    assert found(root, "d[1]")[0] == ["d[1]/sub-1.zip", "d[1]/sub-2.zip"]
    assert found(root, "d[0-9]/*.zip")[0] == ["d1/sub-1.zip"]
    assert found(root, r"d\[1\]/*2.zip")[0] == ["d[1]/sub-2.zip"]


@needs_posix_names
def test_a_subdataset_at_a_path_that_looks_like_a_glob(tmp_path: Path) -> None:
    source = annex_repo(tmp_path / "source", {"sub-01.zip": b"1", "sub-[01].zip": b"2"}, {})
    top = annex_repo(tmp_path / "top", {"x": b"x"}, {})
    git(top, "submodule", "--quiet", "add", str(source), "in[1]")
    git(top, "commit", "-qm", "sub")
    assert found(top, "in[1]/*.zip")[0] == ["in[1]/sub-01.zip", "in[1]/sub-[01].zip"]
    assert found(top, "in[1]/sub-0?.zip")[0] == ["in[1]/sub-01.zip"]
    assert found(top, "in[1]/sub-[01].zip")[0] == ["in[1]/sub-[01].zip"]


@pytest.mark.skipif(os.name == "nt", reason="names are Unicode there")
def test_names_that_are_not_utf8_are_refused_with_a_way_out(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {b"sub-\xe9.zip": b"x", "sub-1.zip": b"y"}, {})
    for patterns in ((), ("*.zip",), ("sub-\udce9.zip",)):
        zips, _, (problem,) = found(root, *patterns)
        assert zips == ([] if patterns[:1] == ("sub-\udce9.zip",) else ["sub-1.zip"])
        assert problem.status == "error"
        assert "rename it" in problem.message


def test_a_symbolic_link_that_is_no_annexed_zip(tmp_path: Path) -> None:
    root = annex_repo(tmp_path / "ds", {"sub-1.zip": b"x"}, {})
    add_link(root, "link.zip", "sub-1.zip")
    git(root, "commit", "-qm", "link")
    assert found(root) == found(root, "*.zip") == (["sub-1.zip"], [], [])
    zips, _, (problem,) = found(root, "link.zip")
    assert not zips
    assert (problem.path, problem.status) == (root / "link.zip", "error")


@needs_symlinks
def test_a_link_in_the_place_of_a_subdataset_is_not_followed(top: Path, tmp_path: Path) -> None:
    elsewhere = annex_repo(tmp_path / "elsewhere", {"sub-01.zip": b"1"}, {})
    (top / "inputs").rmdir()
    (top / "inputs").symlink_to(elsewhere)
    zips, _, (problem,) = found(top)
    assert (zips, problem.status) == (OWN, "error")
    assert "symbolic link" in problem.message


def test_a_subdataset_that_cannot_be_had(top: Path) -> None:
    git(top, "config", "-f", ".gitmodules", "submodule.inputs.url", "/no/where")
    git(top, "remote", "remove", "origin")
    zips, subdatasets, problems = found(top, "inputs/*.zip", "git.zip")
    assert zips == ["git.zip"]
    assert subdatasets == [("inputs", "impossible")]
    assert problems == []


def test_the_number_of_processes_does_not_grow_with_the_zips(
    tmp_path: Path, process_log: ProcessLog
) -> None:
    def processes(number: int) -> int:
        files: dict[bytes | str, bytes] = {f"sub-{i}.zip": b"%d" % i for i in range(number)}
        root = annex_repo(tmp_path / str(number), files, {})
        process_log.clear()
        assert len(found(root)[0]) == number
        return process_log.count()

    assert processes(3) == processes(60)
