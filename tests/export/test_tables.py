"""Tables of an export speak of what is exported, and of nobody else."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datalad_bidsshare.export.tables import (
    Exported,
    Kind,
    TableError,
    is_table,
    recipe,
    reduce_table,
)
from datalad_bidsshare.selection.vocabulary import load_schema

PARTICIPANTS = b"participant_id\tage\nsub-01\t21\nsub-02\t35\nsub-03\t50\n"


def bold(subject: str, session: str | None = None) -> str:
    middle, name = (f"/ses-{session}", f"_ses-{session}") if session else ("", "")
    return f"sub-{subject}{middle}/func/sub-{subject}{name}_task-rest_bold.nii.gz"


def reduced(path: str, content: bytes, *exported: str) -> bytes:
    kind = is_table(path)
    assert kind is not None
    return reduce_table(kind, path, content, Exported(exported))


def named(path: str, *exported: str) -> str:
    kind = is_table(path)
    assert kind is not None
    return recipe(kind, path, Exported(exported))


# --- which files ---


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("participants.tsv", "participants"),
        ("samples.tsv", "samples"),
        ("sessions.tsv", "sessions"),
        ("sub-01/sub-01_sessions.tsv", "sessions"),
        ("sub-01/sessions.tsv", "sessions"),
        ("sub-01/sub-01_scans.tsv", "scans"),
        ("sub-01/ses-a/sub-01_ses-a_scans.tsv", "scans"),
        ("sub-01/ses-a/sub-01_ses-a_acq-x_scans.tsv", "scans"),
        ("phenotype/bdi.tsv", "phenotype"),
        ("phenotype/wave1/bdi.tsv", "phenotype"),
        ("participants.json", None),
        ("code/participants.tsv", None),
        ("derivatives/x/participants.tsv", None),
        ("sub-01/func/sub-01_task-rest_events.tsv", None),
        ("sub-01/func/sub-01_scans.tsv", None),
        ("phenotype/bdi.json", None),
        ("xparticipants.tsv", None),
        ("sub-01/sub-01_myscans.tsv", None),
    ],
)
def test_which_files_are_tables(path: str, kind: Kind | None) -> None:
    assert is_table(path) == kind


def test_the_tables_are_those_of_bids() -> None:
    schema = load_schema()
    rules = schema["rules"]["files"]["common"]["tables"]
    assert set(rules) == {"participants", "samples", "scans", "sessions", "phenotype"}
    for name in ("participants", "samples"):
        assert is_table(f"{rules[name]['stem']}.tsv") == name
    for name in ("scans", "sessions"):
        assert is_table(f"sub-01/sub-01_{rules[name]['suffixes'][0]}.tsv") == name
    assert rules["scans"]["entities"] == {"subject": "required", "session": "optional"}
    assert rules["sessions"]["entities"] == {"subject": "required"}
    assert is_table(f"{rules['phenotype']['datatypes'][0]}/x.tsv") == "phenotype"


@pytest.mark.parametrize(
    ("rule", "path", "cells"),
    [
        ("Participants", "participants.tsv", {"participant_id": "sub-01"}),
        ("Samples", "samples.tsv", {"participant_id": "sub-01", "sample_id": "sample-1"}),
        ("Phenotype", "phenotype/bdi.tsv", {"participant_id": "sub-01"}),
        ("Sessions", "sub-01/sub-01_sessions.tsv", {"session_id": "ses-a"}),
        ("Scans", "sub-01/ses-a/sub-01_ses-a_scans.tsv", {"filename": "func/@"}),
    ],
)
def test_rows_are_found_by_the_index_columns_of_bids(
    rule: str, path: str, cells: dict[str, str]
) -> None:
    index = load_schema()["rules"]["tabular_data"]["modality_agnostic"][rule]["index_columns"]
    assert set(index) == set(cells)
    file = bold("01", "a")
    kept = [cells[name].replace("@", file.rpartition("/")[2]) for name in index]
    table = "\t".join(index) + "\n" + "\t".join(kept) + "\n"
    other = "\t".join("x" for _ in index) + "\n"
    assert reduced(path, (table + other).encode(), file) == table.encode()


# --- participants, samples, phenotype ---


def test_rows_of_exported_subjects_stay() -> None:
    assert reduced("participants.tsv", PARTICIPANTS, bold("01"), bold("03")) == (
        b"participant_id\tage\nsub-01\t21\nsub-03\t50\n"
    )


def test_a_table_whose_rows_all_stay_is_the_same_object() -> None:
    everybody = Exported([bold(s) for s in ("01", "02", "03")])
    for content in (PARTICIPANTS, b"\n" + PARTICIPANTS + b"\n\t\n", b"", b"\n\n", b"\xef\xbb\xbf"):
        assert reduce_table("participants", "participants.tsv", content, everybody) is content


def test_a_table_asked_for_by_name_stays_whole() -> None:
    for exported in ([], ["participants.tsv", "README", "code/run.sh"]):
        alone = Exported(exported)
        for path in ("participants.tsv", "samples.tsv", "phenotype/x.tsv", "sessions.tsv"):
            kind = is_table(path)
            assert kind is not None
            assert reduce_table(kind, path, PARTICIPANTS, alone) is PARTICIPANTS


@pytest.mark.parametrize(
    "exported",
    [
        "derivatives/fmriprep/sub-02/anat/sub-02_T1w.nii.gz",
        "derivatives/fmriprep/sub-02.html",
        "derivatives/mriqc/sub-02_T1w.html",
        "sourcedata/sub-02/dump.tar",
        "sub-02/sub-02_scans.tsv",
    ],
)
def test_subjects_inside_of_derivatives_or_of_a_table_count(exported: str) -> None:
    # Otherwise a table that rides along would be whole, and speak of everybody
    assert reduced("participants.tsv", PARTICIPANTS, exported) == (
        b"participant_id\tage\nsub-02\t35\n"
    )


@pytest.mark.parametrize("spelled", ["sub-02", "02", " sub-02 ", '"sub-02"', '"02"'])
def test_ids_are_compared_without_prefix_blanks_and_quotes(spelled: str) -> None:
    row = f"{spelled}\t1\n".encode()
    table = b"participant_id\tage\nsub-01\t0\n" + row + b"2\t5\nsub-022\t6\nn/a\t7\n"
    assert reduced("participants.tsv", table, bold("02")) == b"participant_id\tage\n" + row


def test_the_id_may_be_in_any_column_and_rows_may_repeat_or_be_short() -> None:
    table = b"age\tparticipant_id\tx\n1\t01\n2\t02\t\n\n3\n4\tsub-01\tb\tc\n"
    assert reduced("phenotype/x.tsv", table, bold("01")) == (
        b"age\tparticipant_id\tx\n1\t01\n4\tsub-01\tb\tc\n"
    )


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("bom", [b"", b"\xef\xbb\xbf"])
def test_bytes_stay_as_they_are(bom: bytes, end: bytes) -> None:
    head = bom + b"participant_id \tname\tx"
    row1, row2, row3 = b"sub-01\t\xc3\xa9\xff \t'", b"sub-02\tb\t", b" sub-03\t\x85\x0b\t\t"
    table = end.join([head, row1, row2, row3])
    assert reduced("participants.tsv", table, bold("01")) == end.join([head, row1, b""])
    # no end of the last line is invented
    assert reduced("participants.tsv", table, bold("03")) == end.join([head, row3])


def test_labels_that_are_not_ascii() -> None:
    table = "participant_id\nsub-é\nsub-e\n".encode() + b"sub-\xff\n"
    assert reduced("participants.tsv", table, "sub-é/x") == "participant_id\nsub-é\n".encode()
    assert reduced("participants.tsv", table, "sub-\udcff/x") == b"participant_id\nsub-\xff\n"


def test_a_cell_over_several_lines_stays_in_one_piece() -> None:
    head = b"participant_id\tnote\tage\n"
    row1, row2 = b'sub-01\t"tall,\r\nsays ""he""\nsub-09"\t5\n', b'sub-02\t"a\nb"\t6\n'
    table = head + row1 + row2 + b"sub-03\tc\t7\n"
    assert reduced("participants.tsv", table, bold("01")) == head + row1
    assert reduced("participants.tsv", table, bold("02"), bold("03")) == (
        head + row2 + b"sub-03\tc\t7\n"
    )


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (b'sub-01\t"5 feet', b'sub-02\t6"'),  # pairs up as one row of the right length
        (b'sub-01\t6"', b'sub-02\t"5 feet'),
        (b'sub-01\t"', b'sub-02\t"'),
        (b'"sub-01\t1', b'"sub-02\t2'),
        (b'"sub-01\t1', b'sub-02"\t2'),
    ],
)
def test_a_stray_quote_never_carries_the_next_row_along(first: bytes, second: bytes) -> None:
    head, rest = b"participant_id\theight\n", b"sub-03\t7\n"
    table = head + first + b"\n" + second + b"\n" + rest
    for subject in ("01", "03"):
        kept = reduced("participants.tsv", table, bold(subject))
        assert b"sub-02" not in kept
        assert (rest in kept) == (subject == "03")


def test_a_stray_quote_never_carries_a_short_row_along() -> None:
    head = b"participant_id\theight\tage\n"
    for second in (b'sub-02"\n', b'sub-02\t"\n', b'sub-02"\t1\t2\t3\n'):
        table = head + b'sub-01\t"a\n' + second
        assert reduced("participants.tsv", table, bold("01")) == head + b'sub-01\t"a\n'


def test_a_stray_quote_spoils_no_cell_over_several_lines_below() -> None:
    head, good = b"participant_id\tnote\tage\n", b'sub-02\t"a\nb"\t6\n'
    table = head + b'sub-01\t"stray\t1\n' + good + b"sub-03\tc\t7\n"
    assert reduced("participants.tsv", table, bold("02")) == head + good


def test_many_quotes_take_no_quadratic_time() -> None:
    stray = b'sub-01\t"a\nsub-02\t5\n' * 20_000
    assert reduced("participants.tsv", b"participant_id\tx\n" + stray, bold("01")) == (
        b"participant_id\tx\n" + b'sub-01\t"a\n' * 20_000
    )


@pytest.mark.parametrize(
    ("path", "content", "says"),
    [
        ("participants.tsv", b"Participant_ID\tage\nsub-01\t1\n", "'Participant_ID'"),
        ("participants.tsv", b"participant_id,age\nsub-01,1\n", "'participant_id'"),
        ("participants.tsv", "participant_id\n".encode("utf-16"), "'participant_id'"),
        ("phenotype/x.tsv", b"subject\tage\nsub-01\t1\n", "phenotype/x.tsv"),
        ("samples.tsv", b"sample_id\nsample-1\n", "samples.tsv"),
        ("sessions.tsv", b"session_id\nses-1\n", "'participant_id'"),
        ("sessions.tsv", b"participant_id\nsub-01\n", "'session_id'"),
        ("sub-01/sub-01_sessions.tsv", b"session\nses-1\n", "'session_id'"),
        ("sub-01/sub-01_scans.tsv", b"file\nx\n", "'filename'"),
        ("participants.tsv", b"participant_id\tparticipant_id\na\tb\n", "2 columns"),
    ],
)
def test_rows_that_cannot_be_told_apart_are_an_error(path: str, content: bytes, says: str) -> None:
    with pytest.raises(TableError, match=re.escape(says)) as error:
        reduced(path, content, bold("01"))
    assert "--tables all" in str(error.value)
    assert "--exclude" in str(error.value)


# --- sessions ---

SESSIONS = b"session_id\tage\nses-a\t1\nb\t2\nses-c\t3\n"


@pytest.mark.parametrize("path", ["sub-01/sub-01_sessions.tsv", "sub-01/sessions.tsv"])
def test_rows_of_exported_sessions_stay(path: str) -> None:
    exported = [bold("01", "b"), bold("02", "a"), "sub-01/sub-01_sessions.json"]
    assert reduced(path, SESSIONS, *exported) == b"session_id\tage\nb\t2\n"


def test_a_session_may_stand_in_the_name_alone() -> None:
    # as in derivatives that have no directories for sessions
    for file in ("sub-01/figures/sub-01_ses-a_x.svg", "sub-01/x.svg"):
        exported = ["sub-01/a.txt", file, bold("01", "c")]
        expected = b"ses-a\t1\nses-c\t3\n" if "ses-a" in file else b"ses-c\t3\n"
        kept = reduced("sub-01/sub-01_sessions.tsv", SESSIONS, *exported)
        assert kept == b"session_id\tage\n" + expected


def test_a_session_may_stand_in_the_directory_alone() -> None:
    exported = ["sub-01/a.txt", "sub-01/ses-c/x.txt", "sub-01/z.txt"]
    kept = reduced("sub-01/sub-01_sessions.tsv", SESSIONS, *exported)
    assert kept == b"session_id\tage\nses-c\t3\n"


def test_sessions_of_a_subject_without_exported_ones_are_all_left_out() -> None:
    path = "sub-01/sub-01_sessions.tsv"
    assert reduced(path, SESSIONS, bold("01")) == b"session_id\tage\n"


def test_a_table_of_a_subject_asked_for_by_name_stays_whole() -> None:
    tables = [
        "sub-01/sub-01_sessions.tsv",
        "sub-01/sub-01_sessions.json",
        "sub-01/sub-01_scans.tsv",
    ]
    alone = Exported([*tables, bold("02", "a")])
    assert reduce_table("sessions", tables[0], SESSIONS, alone) is SESSIONS
    assert reduce_table("scans", tables[2], b"anything", alone) == b"anything"


def test_rows_of_the_sessions_table_of_all_subjects() -> None:
    head = b"participant_id\tsession_id\n"
    rows = [
        b"sub-01\tses-a\n",
        b"01\tb\n",
        b"sub-02\tses-a\n",
        b"sub-02\tses-b\n",
        b"sub-01\tn/a\n",
    ]
    exported = [bold("01", "b"), bold("02", "a")]
    assert reduced("sessions.tsv", head + b"".join(rows), *exported) == (head + rows[1] + rows[2])


# --- scans ---


@pytest.mark.parametrize(
    "spelled", ["func/@", "./func/@", "/func/@", "ses-a/func/@", "sub-01/ses-a/func/@", '"func/@"']
)
def test_rows_of_exported_files_stay(spelled: str) -> None:
    file = bold("01", "a")
    row = spelled.replace("@", file.rpartition("/")[2]).encode() + b"\t2009-06-15T13:45:30\n"
    head = b"filename\tacq_time\n"
    others = (
        b"func/sub-01_ses-a_task-rest_run-2_bold.nii.gz\tx\nanat\t1\nfunc\t2\n.\t3\n\t4\n..\t5\n"
    )
    path = "sub-01/ses-a/sub-01_ses-a_scans.tsv"
    kept = reduced(path, head + others + row, file, bold("01", "b"), bold("02"))
    assert kept == head + row


def test_rows_of_other_subjects_never_stay_in_a_scans_table() -> None:
    other = bold("02")
    head = b"filename\n"
    rows = f"{other}\n../{other}\n../../{other}\nsub-01/../{other}\n".encode()
    assert reduced("sub-01/sub-01_scans.tsv", head + rows, bold("01"), other) == head


@pytest.mark.parametrize(
    "recording",
    [
        "meg/sub-01_task-rest_meg.ds",
        "ieeg/sub-01_task-rest_ieeg.mefd",
        "micr/sub-01_sample-1_SPIM.ome.zarr",
        "meg/sub-01_task-rest_meg",
    ],
)
def test_rows_of_recordings_that_are_directories_stay(recording: str) -> None:
    head, row = b"filename\n", recording.encode() + b"\n"
    other = b"meg/sub-01_task-rest_run-2_meg.ds\n" + recording[:-1].encode() + b"\nmeg\n"
    slashed = recording.encode() + b"/\n"
    exported = f"sub-01/{recording}/deep/part"
    kept = reduced("sub-01/sub-01_scans.tsv", head + other + row + slashed, exported)
    assert kept == head + row + slashed


def test_rows_of_other_directories_never_stay() -> None:
    directories = ["anat", "ses-a", "my_files", "sub-01"]
    exported = [f"sub-01/{name}/x" for name in directories]
    table = b"filename\n" + "\n".join(directories).encode()
    assert reduced("sub-01/sub-01_scans.tsv", table, *exported) == b"filename\n"


# --- recipes ---


def test_a_recipe_changes_with_what_decides_and_only_then() -> None:
    path = "participants.tsv"
    one = named(path, bold("01"))
    assert re.fullmatch("[0-9a-f]{64}", one)
    assert one == named(path, "sub-01/anat/sub-01_T1w.nii.gz", "README")
    assert (
        len({one, named(path, bold("02")), named(path, bold("01"), bold("02")), named(path)}) == 4
    )
    assert named(path) == named(path, "README") == named("samples.tsv")

    path = "sub-01/sub-01_sessions.tsv"
    one = named(path, bold("01", "a"))
    assert one == named(path, bold("01", "a"), bold("02", "b"))
    assert one != named(path, bold("01", "b"))
    assert one != named(path, bold("01"))

    one = named("sessions.tsv", bold("01", "a"))
    assert one != named("sessions.tsv", bold("02", "a")) != named("sessions.tsv", bold("02", "b"))

    path = "sub-01/ses-a/sub-01_ses-a_scans.tsv"
    one = named(path, bold("01", "a"))
    assert one == named(path, bold("01", "a"), bold("02", "a"))
    assert one != named(path, bold("01", "a"), "sub-01/ses-a/anat/sub-01_ses-a_T1w.nii.gz")


LABELS = st.sampled_from(["01", "02", "1", "a"])
FILES = st.lists(
    st.one_of(
        st.builds(bold, LABELS),
        st.builds(bold, LABELS, LABELS),
        st.builds(lambda s, e: f"sub-{s}/figures/sub-{s}_ses-{e}_x.svg", LABELS, LABELS),
        st.builds(lambda s: f"sub-{s}/sub-{s}_scans.tsv", LABELS),
        st.builds(lambda s: f"derivatives/p/sub-{s}/x", LABELS),
        st.sampled_from(["README", "sub-01/note.txt", "code/sub-01", "sub-01"]),
    ),
    unique=True,
)
PATHS = st.sampled_from(
    [
        "participants.tsv",
        "sessions.tsv",
        "phenotype/x.tsv",
        "sub-01/sub-01_sessions.tsv",
        "sub-01/sub-01_scans.tsv",
        "sub-01/ses-1/sub-01_ses-1_scans.tsv",
    ]
)
EVERY_ROW = "".join(
    f"sub-{s}\tses-{e}\t{f}\n"
    for s in ("01", "02", "1", "a")
    for e in ("01", "02", "1", "a")
    for f in (bold(s), bold(s, e), bold(s, e).removeprefix(f"sub-{s}/ses-{e}/"))
)
CONTENT = f"participant_id\tsession_id\tfilename\n{EVERY_ROW}".encode()


@given(PATHS, FILES, FILES)
def test_the_same_recipe_gives_the_same_rows(path: str, one: list[str], two: list[str]) -> None:
    if named(path, *one) == named(path, *two):
        assert reduced(path, CONTENT, *one) == reduced(path, CONTENT, *two)


@given(PATHS, FILES, st.randoms())
def test_the_order_of_the_files_is_nothing(
    path: str, files: list[str], chance: random.Random
) -> None:
    other = list(files)
    chance.shuffle(other)
    assert named(path, *files) == named(path, *other)
    assert reduced(path, CONTENT, *files) == reduced(path, CONTENT, *other)


@given(FILES)
def test_labels_are_those_a_plain_search_finds(files: list[str]) -> None:
    pairs = set()
    for path in files:
        if match := re.search(r"(?:^|/)sub-(\w+?)(?=/|$|_)", path):
            found = re.search(r"[/_]ses-(\w+?)(?=/|$|_)", path)
            pairs.add((match[1], found and found[1]))
    exported = Exported(files)
    assert exported.subjects == {subject for subject, _ in pairs}
    assert {(s, e) for s, labels in exported.sessions.items() for e in labels} == {
        pair for pair in pairs if pair[1]
    }


# --- any content ---

CELLS = st.text(st.sampled_from('ab"\t\n\r é'), max_size=5)


@given(
    st.lists(st.tuples(LABELS, CELLS, CELLS), max_size=6),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.sets(LABELS, min_size=1),
)
def test_quoted_cells_are_taken_apart_as_they_were_put_together(
    rows: list[tuple[str, str, str]], end: str, subjects: set[str]
) -> None:
    # Without tabs, that is: a line inside of a cell that could be a row is cut off, see above
    exported = [bold(s) for s in subjects]
    rows = [(s, a.replace("\t", " "), b.replace("\t", " ")) for s, a, b in rows]
    written = [_written([f"sub-{s}", a, b], end) for s, a, b in rows]
    head = f"participant_id\ta\tb{end}"
    kept = [text for (s, _, _), text in zip(rows, written, strict=True) if s in subjects]
    table = (head + "".join(written)).encode()
    assert reduced("participants.tsv", table, *exported) == (head + "".join(kept)).encode()


def _written(cells: list[str], end: str) -> str:
    quoted = [
        '"' + c.replace('"', '""') + '"' if set(c) & set('"\r\n') or i == 1 else c
        for i, c in enumerate(cells)
    ]
    return "\t".join(quoted) + end


@given(st.binary(max_size=60) | st.text(st.sampled_from('s1\t\n\r"'), max_size=60).map(str.encode))
def test_nothing_is_made_up_and_reducing_twice_changes_nothing(body: bytes) -> None:
    table = b"participant_id\tx\n" + body
    exported = Exported([bold("1")])
    kept = reduce_table("participants", "participants.tsv", table, exported)
    lines = iter(table.splitlines(keepends=True))
    assert all(line in lines for line in kept.splitlines(keepends=True))
    again = reduce_table("participants", "participants.tsv", kept, exported)
    assert again == kept
