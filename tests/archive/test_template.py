"""What the name of a zip says, and the directories made of it."""

from __future__ import annotations

import pytest

from datalad_bidsshare.archive.template import check_template, expand, zip_values
from datalad_bidsshare.selection.errors import SelectionError


@pytest.mark.parametrize(
    ("path", "subject", "session", "pipeline"),
    [
        ("sub-01_fmriprep-20.2.3.zip", "01", None, "fmriprep-20.2.3"),
        ("sub-01_ses-1_fmriprep-20.2.3.zip", "01", "1", "fmriprep-20.2.3"),
        ("in/sub-A1_ses-pre_freesurfer-20.2.3.ZIP", "A1", "pre", "freesurfer-20.2.3"),
        ("sub-01_fmriprep.zip", "01", None, "fmriprep"),
        ("sub-01_xcp_d-0.9.zip", "01", None, "xcp_d-0.9"),
        ("sub-01_task-rest_run-1_qsirecon-0.21.zip", "01", None, "qsirecon-0.21"),
        ("sub-01_fmriprep_ses-2.zip", "01", "2", "fmriprep"),
        ("sub-01.zip", "01", None, None),
        ("sub-01/ses-2/fmriprep-23.1.zip", "01", "2", "fmriprep-23.1"),
        ("sub-01/sub-02_fmriprep.zip", "02", None, "fmriprep"),
        ("sub-01_func.zip", "01", None, "func"),
        ("tools.zip", None, None, None),
        ("sub-01_$(touch x).zip", "01", None, "$(touch x)"),
        ("{02}.zip", None, None, None),
    ],
)
def test_what_a_name_says(
    path: str, subject: str | None, session: str | None, pipeline: str | None
) -> None:
    expected = {"subject": subject, "session": session, "pipeline": pipeline}
    expected["stem"] = path.rpartition("/")[2][:-4]
    assert zip_values(path) == {key: value for key, value in expected.items() if value}


@pytest.mark.parametrize(
    ("template", "directory"),
    [
        ("", ""),
        (".", ""),
        ("derivatives/{pipeline}", "derivatives/fmriprep-20.2.3"),
        ("sub-{subject}/ses-{session}/", "sub-01/ses-1"),
        ("./out//{stem}", "out/sub-01_ses-1_fmriprep-20.2.3"),
        ("a{{b}}/{session}{subject}", "a{b}/101"),
    ],
)
def test_templates_are_filled_in(template: str, directory: str) -> None:
    check_template(template)
    assert expand(template, "in/sub-01_ses-1_fmriprep-20.2.3.zip") == directory


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{subjct}", "near: {subject}"),
        ("{}", "there are {subject}, {session}, {pipeline}, {stem}"),
        ("{0}", "there are {subject}"),
        ("{stem.__class__}", "unknown placeholder {stem.__class__}"),
        ("{stem[0]}", "unknown placeholder"),
        ("{stem!r}", "unknown placeholder {stem!r}"),
        ("{stem:>10}", "unknown placeholder {stem:>10}"),
        ("{stem", "written twice"),
        ("stem}", "written twice"),
        ("/tmp/{stem}", "relative to its root"),
        ("../{stem}", "relative to its root"),
        ("a/../../b", "relative to its root"),
        ("C:/x", "relative to its root"),
        ("a\\b", "relative to its root"),
        ("a\0b", "relative to its root"),
        (".git/hooks", "belongs to git or DataLad"),
        ("x/.DataLad/{stem}", "belongs to git or DataLad"),
        (".gitmodules", "belongs to git or DataLad"),
        (".G\u200cit", "belongs to git or DataLad"),
    ],
)
def test_templates_that_cannot_be_meant(template: str, said: str) -> None:
    with pytest.raises(SelectionError) as error:
        check_template(template)
    assert said in str(error.value)


def test_a_placeholder_without_a_value_is_an_error_that_names_both() -> None:
    check_template("ses-{session}")
    with pytest.raises(SelectionError) as error:
        expand("ses-{session}", "sub-01_fmriprep.zip")
    assert "'sub-01_fmriprep.zip' has no session" in str(error.value)
    assert "leave {session} out" in str(error.value)


@pytest.mark.parametrize("name", [".git.zip", "...zip", "git~1.zip", ".datalad.ZIP", "x\\y.zip"])
def test_names_of_zips_lead_nowhere_else(name: str) -> None:
    with pytest.raises(SelectionError):
        expand("{stem}", name)
