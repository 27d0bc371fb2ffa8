"""Rows of participants.tsv, sessions.tsv and scans.tsv select files."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datalad_bidsshare.selection.errors import SelectionError
from datalad_bidsshare.selection.names import Names
from datalad_bidsshare.selection.tables import RowFilter, TableUnavailableError
from datalad_bidsshare.selection.tsv import Table, read_tsv
from datalad_bidsshare.selection.where import parse_where


class Dataset:
    """Files by name; what is None is tracked without content. Remembers what was read."""

    def __init__(self, files: Mapping[str, str | None], others: Sequence[str] = ()) -> None:
        self.files = dict(files)
        self.names = Names([*files, *others])
        self.calls: list[list[str]] = []

    def read(self, paths: Sequence[str]) -> Iterator[tuple[str, bytes | None]]:
        self.calls.append(list(paths))
        for path in paths:
            text = self.files[path]
            yield path, None if text is None else text.encode()


def entities(path: str) -> dict[str, str]:
    keys = {"sub": "subject", "ses": "session"}
    found: dict[str, str] = {}
    for part in path.replace("_", "/").split("/"):
        key, dash, value = part.partition("-")
        if dash and key in keys:
            found[keys[key]] = value.split(".")[0]
    return found


def rows(text: str, dataset: Dataset, root: str = "", **kwargs: object) -> RowFilter:
    made = RowFilter(parse_where(text), root)
    made.prepare(dataset.names, dataset.read, **kwargs)  # type: ignore[arg-type]
    return made


def kept(text: str, dataset: Dataset, root: str = "", **kwargs: object) -> list[str]:
    """Give the data files that a condition keeps."""
    made = rows(text, dataset, root, **kwargs)
    return [p for p in dataset.names if ".nii" in p and made.keeps(p, entities(p))]


PARTICIPANTS = "participant_id\tage\tsex\nsub-01\t21\tF\nsub-02\t35.5\tM\nsub-03\tn/a\tF\n"
BOLDS = [f"sub-{s}/func/sub-{s}_task-rest_bold.nii.gz" for s in ("01", "02", "03", "04")]


def simple(participants: str | None = PARTICIPANTS) -> Dataset:
    return Dataset({"participants.tsv": participants}, [*BOLDS, "README", "T1w.nii.gz"])


# --- read_tsv ---


def test_read_plain() -> None:
    table = read_tsv(b"a\tb\n1\t2\n3\t4\n", "x.tsv")
    assert table == Table("x.tsv", ("a", "b"), (("1", "2"), ("3", "4")))


@pytest.mark.parametrize(
    "data",
    [
        b"\xef\xbb\xbfa\tb\n1\t2\n3\t\n",
        b"a\tb\r\n1\t2\r\n3\t\r\n",
        b"a\tb\r1\t2\r3\t\r",
        b"a\tb\n1\t2\n3\t",
        b"a\tb\n1\t2\n3\t\n\n\n  \n\t\n",
        b"\n\na\tb\n\n1\t2\n\t\n3\n",
        b"a\tb\n1\t2\t\n3\t\t\t\n",
        b" a\tb \n1 \t 2\n 3\n",
        b"\ta\tb\t\n0\t1\t2\tx\n1\t3\n",
        b'"a"\tb\n"1"\t2\n3\n',
    ],
)
def test_read_tolerates(data: bytes) -> None:
    assert read_tsv(data, "x.tsv") == Table("x.tsv", ("a", "b"), (("1", "2"), ("3", "")))


@pytest.mark.parametrize(
    ("line", "cells"),
    [
        ('"a\tb"\tc', ("a\tb", "c")),
        ('"say ""x"""\tc', ('say "x"', "c")),
        ('5"\tc', ('5"', "c")),
        ('"open\tc', ('"open', "c")),
        ('"a"b\tc', ('"a"b', "c")),
        ('"two\nlines"\tc', ("two\nlines", "c")),
        ('""\tc', ("", "c")),
        ("a\x0bb\tc\x85\u2028d", ("a\x0bb", "c\x85\u2028d")),
    ],
)
def test_read_quotes(line: str, cells: tuple[str, str]) -> None:
    assert read_tsv(f"x\ty\n{line}\n".encode(), "x.tsv").rows == (cells,)


def test_read_resolves_stray_quotes_line_by_line() -> None:
    text = 'x\ty\n"F"\t"a\tb"\n"stray\t1\n\n"M"\t2\n'
    assert read_tsv(text.encode(), "x.tsv").rows == (("F", "a\tb"), ('"stray', "1"), ("M", "2"))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ("a\nZürich".encode("latin-1"), ["not UTF-8", "byte 4"]),
        ("a\nb".encode("utf-16"), ["not UTF-8"]),
        (b"", ["is empty"]),
        (b"\n \n", ["is empty"]),
        (b'""\n', ["is empty"]),
        (b"a\tb\ta\n", ["two columns 'a'"]),
        (b"a\tb\n1\t2\n1\t2\t3\n", ["line 3", "3 cells below 2 columns"]),
        (b'a\tb\n"x\ny"\t2\n1\t"2"\t3\n', ["line 4"]),
    ],
)
def test_read_errors_name_the_file(data: bytes, words: list[str]) -> None:
    with pytest.raises(SelectionError) as caught:
        read_tsv(data, "sub-01/sub-01_scans.tsv")
    for word in ["sub-01/sub-01_scans.tsv", *words]:
        assert word in str(caught.value)


def test_read_many_rows_fast() -> None:
    line = "\t".join(["sub-{0:05}", *("some text", "12.5") * 5])
    text = "participant_id\t" + "\t".join(f"c{i}" for i in range(10)) + "\n"
    text += "\n".join(line.format(i) for i in range(20_000))
    before = time.process_time()
    table = read_tsv(text.encode(), "participants.tsv")
    assert time.process_time() - before < 2
    assert len(table.rows) == 20_000
    assert table.rows[-1][:2] == ("sub-19999", "some text")


cell = st.text(st.characters(exclude_characters='\t\r\n"', exclude_categories=["Cs"]))


@settings(deadline=None)
@given(
    st.lists(st.lists(cell.map(str.strip), min_size=2, max_size=2), max_size=5),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
def test_read_gives_back_what_was_written(cells: list[list[str]], end: str, bom: bool) -> None:
    lines = [["id", "value"], *cells]
    data = end.join("\t".join(line) for line in lines).encode("utf-8-sig" if bom else "utf-8")
    expected = tuple(tuple(line) for line in cells if any(line))
    assert read_tsv(data, "x.tsv").rows == expected


@settings(deadline=None)
@given(st.one_of(st.binary(), st.text('ab"\t\n\r \0').map(str.encode)))
@example(b'a\tb\n"' + b"x" * 200_000 + b'"\ty')
@example(b"\x00")
def test_read_only_ever_raises_selection_errors(data: bytes) -> None:
    try:
        table = read_tsv(data, "x.tsv")
    except SelectionError as error:
        assert "x.tsv" in str(error)
    else:
        assert table.columns
        assert all(len(row) == len(table.columns) for row in table.rows)


# --- participants ---


@pytest.mark.parametrize(
    ("text", "subjects"),
    [
        ("age >= 18", "01 02"),
        ("age >= 18 and sex == 'F'", "01"),
        ("not age > 30", "01"),
        ("sex == 'F'", "01 03"),
        ("participants.sex != 'F'", "02"),
        ("age is missing", "03 04"),
        ("age is missing and sex is not missing", "03"),
        ("participant_id in ('sub-02', 'sub-03')", "02 03"),
        ("age > 100", ""),
    ],
)
def test_participants(text: str, subjects: str) -> None:
    expected = [p for p in BOLDS if entities(p)["subject"] in subjects.split()]
    assert kept(text, simple()) == expected


def test_keys_with_and_without_prefix() -> None:
    dataset = simple("participant_id\tage\n01\t1\nsub-02\t1\n 03 \t1\n")
    assert kept("age == 1", dataset) == BOLDS[:3]


def test_files_without_subject_are_never_kept() -> None:
    made = rows("age is missing", simple())
    assert not made.keeps("README", {})
    assert not made.keeps("T1w.nii.gz", {"suffix": "T1w"})
    assert made.keeps("sub-09/x.nii.gz", {"subject": "09"})


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            "participant_id\tage\nsub-01\t1\n01\t2\n",
            ["participant_id", "'01'", "rows that differ", "keep one"],
        ),
        ("Participant_ID\tage\nsub-01\t1\n", ["no column 'participant_id' but 'Participant_ID'"]),
        ("who\tage\nsub-01\t1\n", ["no column 'participant_id', which --where needs"]),
        ("participant_id\tage\tage\nsub-01\t1\t1\n", ["two columns 'age'"]),
    ],
)
def test_broken_participants(content: str, words: list[str]) -> None:
    with pytest.raises(SelectionError) as caught:
        rows("age > 1", simple(content))
    for word in ["participants.tsv", *words]:
        assert word in str(caught.value)


def test_identical_rows_and_rows_without_key_are_tolerated() -> None:
    content = "participant_id\tage\nsub-01\t1\n01\t1\n\t5\nn/a\t6\nsub-02\t1\n"
    assert kept("age == 1", simple(content)) == BOLDS[:2]


# --- columns that are nowhere ---


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("agee > 1", ["no column 'agee' in participants.tsv", "did you mean 'age'"]),
        ("AGE > 1", ["did you mean 'age'"]),
        ("age > 1 and zzz == 1", ["'zzz'", "the columns are participant_id, age, sex"]),
        ("sex == F", ["'F'", "if F is a value, put it in quotes"]),
        ("participants.Sex == 'F'", ["'participants.Sex'", "did you mean 'sex'"]),
        ("age > 1 and sessions.x == 1", ["'sessions.x'", "they have no sessions.tsv"]),
        ("sex == 'F' and sessions.age == 1", ["did you mean 'participants.age'?"]),
        ("scans.x == 1", ["they have no scans.tsv"]),
    ],
)
def test_unknown_column(text: str, words: list[str]) -> None:
    with pytest.raises(SelectionError) as caught:
        rows(text, simple())
    for word in words:
        assert word in str(caught.value)


def test_no_participants_table() -> None:
    for text in ("age > 1", "participants.age > 1"):
        with pytest.raises(SelectionError, match=r"there is no participants\.tsv"):
            rows(text, Dataset({}, BOLDS))
        with pytest.raises(SelectionError, match=r"there is no derivatives/x/participants\.tsv"):
            rows(text, simple(), "derivatives/x")
    dataset = longitudinal()
    del dataset.files["participants.tsv"]
    dataset.names = Names([p for p in dataset.names if p != "participants.tsv"])
    with pytest.raises(SelectionError, match=r"_scans\.tsv and 5 more, and there is no partic"):
        rows("age > 1", dataset)
    assert kept("score > 1", dataset)


# --- sessions and scans ---


def image(subject: str, session: str | None, task: str = "rest") -> str:
    if session is None:
        return f"sub-{subject}/func/sub-{subject}_task-{task}_bold.nii.gz"
    stem = f"sub-{subject}_ses-{session}"
    return f"sub-{subject}/ses-{session}/func/{stem}_task-{task}_bold.nii.gz"


def longitudinal() -> Dataset:
    """Three subjects, two sessions each; sub-03 has no sessions table."""
    files: dict[str, str | None] = {"participants.tsv": PARTICIPANTS}
    files["sub-01/sub-01_sessions.tsv"] = "session_id\tscore\tsex\nses-a\t1\tX\nb\t5\tX\n"
    files["sub-02/sub-02_sessions.tsv"] = "session_id\tmood\nses-a\tgood\nses-b\tn/a\n"
    others = []
    for subject in ("01", "02", "03"):
        for session in ("a", "b"):
            scans = f"sub-{subject}/ses-{session}/sub-{subject}_ses-{session}_scans.tsv"
            bold = f"func/sub-{subject}_ses-{session}_task-rest_bold.nii.gz"
            year = 2010 + int(subject) + (session == "b") * 5
            files[scans] = f"filename\tacq_time\n{bold}\t{year}-03-04T05:06:07\n"
            others += [image(subject, session), image(subject, session, "nback")]
    return Dataset(files, others)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("score > 3", [image("01", "b", "nback"), image("01", "b")]),
        ("sessions.score > 3 and age < 30", [image("01", "b", "nback"), image("01", "b")]),
        ("score > 3 and age > 30", []),
        ("mood == 'good'", [image("02", "a", "nback"), image("02", "a")]),
        (
            "mood == 'good' or score == 1 and sex == 'X'",
            [image("02", "a", "nback"), image("02", "a")],
        ),
        ("sessions.sex == 'X' and score == 1", [image("01", "a", "nback"), image("01", "a")]),
        ("acq_time < '2012-01-01'", [image("01", "a")]),
        ("acq_time >= '2018' and sex == 'F'", [image("03", "b")]),
        ("scans.acq_time > '2015' and score == 5", [image("01", "b")]),
        (
            "sex == 'M' and acq_time is missing",
            [image("02", "a", "nback"), image("02", "b", "nback")],
        ),
        ("sex == 'F' and score is missing and acq_time < '2014'", [image("03", "a")]),
    ],
)
def test_sessions_and_scans(text: str, expected: list[str]) -> None:
    assert kept(text, longitudinal()) == expected


def test_root_sessions_table_and_the_nearer_one() -> None:
    dataset = longitudinal()
    dataset.files["sessions.tsv"] = (
        "participant_id\tsession_id\tscore\tsite\n"
        "sub-01\tses-a\t100\tX\n01\tb\t100\tY\nsub-02\ta\t100\tX\nsub-03\tses-b\t3\tY\n"
    )
    dataset.names = Names([*dataset.names, "sessions.tsv"])
    assert kept("site == 'Y'", dataset) == [
        *(image("01", "b", "nback"), image("01", "b")),
        *(image("03", "b", "nback"), image("03", "b")),
    ]
    # sub-01 has scores of its own, the table of sub-02 has no such column
    assert kept("score == 100", dataset) == [image("02", "a", "nback"), image("02", "a")]


def test_root_sessions_table_without_subjects_in_the_names() -> None:
    dataset = Dataset({"sessions.tsv": "participant_id\tsession_id\tx\nsub-01\tses-1\t1\n"})
    made = rows("x == 1", dataset)
    assert made.keeps("sub-01/ses-1/y", {"subject": "01", "session": "1"})
    assert not made.keeps("sub-01/ses-2/y", {"subject": "01", "session": "2"})


def test_scans_of_a_directory_recording_and_odd_file_names() -> None:
    stem = "sub-01/meg/sub-01_task-rest_meg"
    names = [
        *(f"{stem}.ds/x.meg4", f"{stem}.ds/hz.ds/hz.meg4", f"{stem}.json"),
        *("sub-01/meg/other.txt", "sub-01/anat/sub-01_T1w.nii.gz", "sub-01/anat/sub-01_T1w.json"),
    ]
    table = (
        "filename\tq\nmeg/sub-01_task-rest_meg.ds/\t1\n./anat//sub-01_T1w.nii.gz\t1\n"
        "meg\t1\n../sub-01/meg/other.txt\t1\n.\t1\n/\t1\n"
    )
    dataset = Dataset({"sub-01/sub-01_scans.tsv": table}, names)
    made = rows("q == 1", dataset)
    assert [p for p in names if made.keeps(p, {"subject": "01"})] == [*names[:2], names[4]]


def test_scans_row_of_the_session_is_nearer_than_that_of_the_subject() -> None:
    bold = image("01", "a")
    inner = bold.removeprefix("sub-01/ses-a/")
    dataset = Dataset(
        {
            "sub-01/sub-01_scans.tsv": f"filename\tq\tr\nses-a/{inner}\t1\t7\n",
            "sub-01/ses-a/sub-01_ses-a_scans.tsv": f"filename\tq\n{inner}\t2\n",
        },
        [bold],
    )
    assert kept("q == 2 and r == 7", dataset) == [bold]
    assert kept("q == 1", dataset) == []


def test_duplicate_scans_are_named() -> None:
    dataset = longitudinal()
    dataset.files["sub-01/ses-a/sub-01_ses-a_scans.tsv"] = "filename\tq\na\t1\n./a\t2\n"
    with pytest.raises(SelectionError, match=r"sub-01_ses-a_scans\.tsv has rows .* './a'"):
        rows("q == 1", dataset)


# --- what is read, and when ---


def test_one_call_a_level_and_no_level_without_need() -> None:
    dataset = longitudinal()
    rows("age > 1", dataset)
    assert dataset.calls == [["participants.tsv"]]

    dataset = longitudinal()
    rows("sessions.score > 1", dataset)
    assert dataset.calls == [["sub-01/sub-01_sessions.tsv", "sub-02/sub-02_sessions.tsv"]]

    dataset = longitudinal()
    rows("scans.acq_time > '2'", dataset)
    assert [len(call) for call in dataset.calls] == [6]


def test_only_tables_of_those_that_can_still_match() -> None:
    dataset = longitudinal()
    rows("age > 30 and acq_time > '2'", dataset)
    assert dataset.calls == [
        ["participants.tsv"],
        ["sub-02/sub-02_sessions.tsv"],
        ["sub-02/ses-a/sub-02_ses-a_scans.tsv", "sub-02/ses-b/sub-02_ses-b_scans.tsv"],
    ]
    dataset = longitudinal()
    rows("sex == 'F' and score > 3 and acq_time > '2'", dataset)
    assert dataset.calls == [
        ["participants.tsv"],
        ["sub-01/sub-01_sessions.tsv"],
        ["sub-01/ses-b/sub-01_ses-b_scans.tsv"],
    ]


def many() -> Dataset:
    files: dict[str, str | None] = {"participants.tsv": "participant_id\tage\n"}
    others = []
    for number in range(1000):
        files["participants.tsv"] = f"{files['participants.tsv']}sub-{number:04}\t{number}\n"
        files[f"sub-{number:04}/sub-{number:04}_sessions.tsv"] = "session_id\tscore\nses-a\t1\n"
        scans = f"sub-{number:04}/ses-a/sub-{number:04}_ses-a_scans.tsv"
        files[scans] = "filename\tacq_time\n"
        others.append(image(f"{number:04}", "a"))
    return Dataset(files, others)


def test_candidates_limit_reading() -> None:
    dataset = many()
    made = rows("score == 1 and acq_time is missing", dataset, candidates=[("0007", "a")])
    assert dataset.calls == [
        ["participants.tsv"],
        ["sub-0007/sub-0007_sessions.tsv"],
        ["sub-0007/ses-a/sub-0007_ses-a_scans.tsv"],
    ]
    assert made.keeps(image("0007", "a"), {"subject": "0007", "session": "a"})
    with pytest.raises(RuntimeError, match="not of the candidates"):
        made.keeps(image("0008", "a"), {"subject": "0008", "session": "a"})
    assert not made.keeps("README", {})


def test_preparing_again_starts_afresh() -> None:
    dataset = longitudinal()
    made = rows("score == 1", dataset, candidates=[("01", "a")])
    dataset.files["sub-01/sub-01_sessions.tsv"] = "session_id\tscore\nses-a\t2\n"
    assert made.keeps("sub-01/x", {"subject": "01", "session": "a"})
    dataset.calls.clear()
    made.prepare(dataset.names, dataset.read)
    assert not made.keeps("sub-01/x", {"subject": "01", "session": "a"})
    assert not made.keeps("sub-02/x", {"subject": "02", "session": "a"})
    assert sum(map(len, dataset.calls)) == 3


def test_no_candidates_read_nothing() -> None:
    for candidates in ([], [(None, None)]):
        dataset = many()
        made = rows("age == 1 and nowhere == 1", dataset, candidates=candidates)
        assert dataset.calls == []
        assert not made.keeps("README", {})


def test_a_column_of_others_is_no_typing_error_and_found_with_few_reads() -> None:
    dataset = many()
    assert kept("age > 5000 and score == 1", dataset) == []
    assert dataset.calls == [["participants.tsv"], ["sub-0000/sub-0000_sessions.tsv"]]

    dataset = many()
    with pytest.raises(SelectionError, match=r"'nope' in participants\.tsv, .* and 1998 more"):
        rows("age > 5000 and nope == 1", dataset)
    assert sorted(path for call in dataset.calls for path in call) == sorted(dataset.files)
    assert len(dataset.calls) < 12

    # sub-01 lacks the column that sub-02 has
    assert kept("age < 30 and mood == 'good'", longitudinal()) == []
    assert kept("age < 30 and mood is missing", longitudinal()) != []


def test_unavailable_tables() -> None:
    dataset = simple(None)
    with pytest.raises(TableUnavailableError, match=r"participants\.tsv.*datalad get") as caught:
        rows("age > 1", dataset)
    assert caught.value.paths == ("participants.tsv",)

    dataset = longitudinal()
    absent = [path for path in dataset.files if path.endswith("_scans.tsv")]
    dataset.files |= dict.fromkeys(absent[1:])
    made = RowFilter(parse_where("acq_time > '2016'"))
    with pytest.raises(TableUnavailableError, match="and 2 more") as caught:
        made.prepare(dataset.names, dataset.read)
    assert caught.value.paths == tuple(absent[1:])
    with pytest.raises(RuntimeError, match="before"):
        made.keeps(absent[0], {"subject": "01", "session": "a"})
    with pytest.raises(RuntimeError, match="before"):
        made.may_keep_subject("01")

    # the caller gets them and prepares again
    dataset.files = longitudinal().files
    made.prepare(dataset.names, dataset.read)
    assert made.keeps(image("02", "b"), {"subject": "02", "session": "b"})


def test_a_reader_that_leaves_a_table_out() -> None:
    made = RowFilter(parse_where("age > 1"))
    with pytest.raises(TableUnavailableError):
        made.prepare(simple().names, lambda paths: [])


def test_nested_root() -> None:
    base = longitudinal()
    files = {f"derivatives/x/{path}": text for path, text in base.files.items()}
    files["participants.tsv"] = "participant_id\tage\nsub-01\t99\n"
    others = [f"derivatives/x/{path}" for path in base.names if path.endswith(".nii.gz")]
    dataset = Dataset(files, [*others, image("01", "a")])
    bold = image("01", "b")
    assert kept("age == 21 and score == 5", dataset, "derivatives/x") == [
        f"derivatives/x/{image('01', 'b', 'nback')}",
        f"derivatives/x/{bold}",
    ]
    assert kept("acq_time < '2012'", dataset, "derivatives/x") == [
        f"derivatives/x/{image('01', 'a')}"
    ]
    # the tables of the dataset itself count for its derivatives if so asked
    assert image("01", "a") in kept("age == 99", dataset)
    assert f"derivatives/x/{bold}" in kept("age == 99", dataset)


def test_may_keep_subject() -> None:
    made = rows("age < 30 and score > 3", longitudinal())
    assert made.may_keep_subject("01")
    assert not made.may_keep_subject("02")
    assert not made.may_keep_subject("99")
    made = rows("age < 30 or acq_time > '2'", longitudinal())
    assert made.may_keep_subject("99")


def test_many_files_of_few_rows_are_decided_fast() -> None:
    made = rows("age > 20 and sex == 'F'", simple())
    before = time.process_time()
    found = sum(made.keeps("sub-01/x", {"subject": "01"}) for _ in range(100_000))
    assert time.process_time() - before < 2
    assert found == 100_000
