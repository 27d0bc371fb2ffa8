"""`parse` against pybids' own `parse_file_entities`, on realistic and on hostile names.

pybids is the oracle. What we deliberately add (entities and datatypes that only the BIDS
schema has) is named in `ADDED_*` and compared on its own terms; everything else must be equal.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from functools import cache

import pytest
from bids.layout.models import Config, Entity
from bids.layout.utils import parse_file_entities
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datalad_bidsshare.selection.entities import parse, parser
from datalad_bidsshare.selection.vocabulary import vocabulary
from tests.platforms import needs_posix
from tests.trees import DATATYPES, bids_tree, derivative_tree

# Elsewhere pybids gives paths, and entities that are paths, with another separator.
pytestmark = needs_posix

#: what pybids lacks and the schema has; a newer pybids may take some of it over
ADDED_ENTITIES = {"template", "cohort", "split", "scale"}
ADDED_DATATYPES = {"emg", "phenotype"}


@cache
def oracle_entities() -> dict[str, Entity]:
    """Give pybids' definitions of raw and derivative entities, loaded once."""
    found: dict[str, Entity] = {}
    for name in ("bids", "derivatives"):
        found.update(Config.load(name).entities)
    return found


@cache
def datatype_pattern() -> re.Pattern[str]:
    """Give pybids' datatype pattern with our additional datatypes among its alternatives."""
    pattern = oracle_entities()["datatype"].pattern
    extended = pattern.replace("(anat|", f"({'|'.join(sorted(ADDED_DATATYPES))}|anat|")
    assert extended != pattern, "pybids' datatype pattern has another form now"
    return re.compile(extended)


def oracle(path: str) -> dict[str, str]:
    """Parse as pybids does, below the root '/'; the padded run is compared by its text."""
    rooted = "/" + path
    found = parse_file_entities(rooted, entities=oracle_entities().values())
    expected = {k: str(v) for k, v in found.items()}
    if "scans" in expected:  # a path: pybids gives it from '/' on, we from the root on
        expected["scans"] = expected["scans"].removeprefix("/")
    datatype = datatype_pattern().search(rooted)
    if datatype is not None and expected.get("datatype") != datatype[1]:
        assert datatype[1] in ADDED_DATATYPES
        expected["datatype"] = datatype[1]
    return expected


def disagreement(path: str) -> tuple[dict[str, str], dict[str, str]] | None:
    """Give (pybids', ours) where they differ, on the keys that pybids has."""
    expected = oracle(path)
    got = parse(path)
    ours = {k: v for k, v in got.items() if k in oracle_entities()}
    extra = set(got) - set(ours)
    if ours == expected and extra <= added_entities():
        return None
    return expected, got


def added_entities() -> set[str]:
    """Give the entities of our vocabulary that the installed pybids does not know."""
    return set(vocabulary().entities) - set(oracle_entities())


def check(paths: list[str]) -> None:
    """Fail with the first few names on which the two differ, shortest first."""
    wrong = [(p, d) for p in sorted(set(paths), key=len) if (d := disagreement(p)) is not None]
    shown = "\n".join(f"{p!r}\n  pybids {d[0]}\n  ours   {d[1]}" for p, d in wrong[:5])
    assert not wrong, f"{len(wrong)} of {len(paths)} names differ:\n{shown}"


def test_what_we_add_to_pybids_is_what_we_say() -> None:
    assert added_entities() >= ADDED_ENTITIES - set(oracle_entities())
    pybids_datatypes = set(re.findall(r"[a-z]+", oracle_entities()["datatype"].pattern))
    assert vocabulary().datatypes >= pybids_datatypes | ADDED_DATATYPES
    assert vocabulary().datatypes - pybids_datatypes <= ADDED_DATATYPES
    assert set(oracle_entities()) <= set(vocabulary().entities)


@pytest.mark.parametrize("sessions", [0, 2])
@pytest.mark.parametrize("datatype", DATATYPES)
def test_agrees_on_every_raw_datatype(datatype: str, sessions: int) -> None:
    paths = bids_tree(7, datatypes=[datatype], subjects=2, sessions=sessions, derivatives=False)
    assert sum(f"/{datatype}/" in p for p in paths) > 5
    check(paths)


@pytest.mark.parametrize("sessions", [0, 2])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_agrees_on_whole_trees(seed: int, sessions: int) -> None:
    check(bids_tree(seed, sessions=sessions))


@pytest.mark.parametrize("sessions", [0, 2])
def test_agrees_on_derivatives_as_their_own_root(sessions: int) -> None:
    check(derivative_tree(5, subjects=4, sessions=sessions))


# ---------------------------------------------------------------- hostile names

KEYS = (
    "sub", "ses", "sample", "task", "tracksys", "acq", "nuc", "voi", "ce", "stain", "trc", "rec",
    "dir", "run", "proc", "mod", "echo", "flip", "inv", "mt", "part", "recording", "space",
    "chunk", "atlas", "roi", "label", "desc", "from", "to", "mode", "hemi", "seg", "res", "den",
    "model", "subset", "tpl", "cohort", "split", "scale", "suffix", "datatype", "extension",
)  # fmt: skip
NEAR_KEYS = (
    "xrun", "taskrun", "Run", "RUN", "ru", "run1", "xsub", "xdesc", "mydesc", "xhemi", "xatlas",
    "autofrom", "ato", "xmode", "subsub", "sub-ses", "xtpl", "resplit", "task_", "é", "",
)  # fmt: skip
VALUES = (
    "", "1", "01", "10", "0", "007", "rest", "rest+more", "+", "+1", "-1", "a-b", "é", "٣",
    "\uff11", "²", "1٣", "3é", "on", "off", "only", "offset", "On", "mag", "magnitude", "phase",
    "phasediff", "imag", "imaginary", "real", "L", "R", "left", "Right", "xfm", "toxfm", "a.b",
    "01.5", "1 2", "*", "re:x", "[1]", "{run}", "%31", "\udcff", "x\udc80y", "n/a", "T1w",
    "\uff52", "İ", "\u0131",
)  # fmt: skip
WORDS = (
    "anat", "func", "meg", "emg", "phenotype", "fmap", "anatomy", "xfunc", "micr", "motion", "bold",
    "T1w", "xfm", "scans", "_scans.tsv", "phasediff", "magnitude1", "magnitude3", "phase2", "epi",
    "fieldmap", "epi.nii", "xepi.nii.gz", "meg.ds", "x.ome.zarr", "figures", ".hidden", "v1.2",
    "dir.with.dots", "a b", "🧠", "-", "+", "_", ".", "..", "...", "from-a_to-b_mode-c_xfm",
)  # fmt: skip
SEPARATORS = ("_", "_", "_", "_", "/", "/", "/", "\\", "-", ".", "__", "//", "/_", "_/", "\\\\",
              "", " ", "\n", "\r", "\t", "\x85", "\u2028", "\x00", "./", "-_", "._")  # fmt: skip
ENDS = (
    ".nii.gz", ".nii", ".json", ".tsv", ".tsv.gz", "", ".", "..", ".nii.gz\n", "\n", ".\n", "/",
    "_xfm.h5", "_xfm", "xfm.txt", "_scans.tsv", "_scans.tsv\n", "_scansxtsv", ".ds/x.meg4",
    "_.nii", "_bold", "_bold.", "_bold..nii", ".surf.gii", "_T1w.nii.gz.part",
    ".ome.zarr/0/.zarray",
    "_epi.nii.gz", "_epi.nii\n", "_epiXnii", "/.nii.gz", "_.json", "é.nii", ".é", "\\x.nii",
)  # fmt: skip


def soup(rng: random.Random) -> str:
    """Stir one hostile name: entities, near entities and words between odd separators."""
    out = []
    for _ in range(rng.randint(1, 9)):
        kind = rng.random()
        if kind < 0.62:
            out.append(rng.choice(KEYS) + "-" + rng.choice(VALUES))
        elif kind < 0.74:
            out.append(rng.choice(NEAR_KEYS) + "-" + rng.choice(VALUES))
        elif kind < 0.94:
            out.append(rng.choice(WORDS))
        else:
            out.append(rng.choice(KEYS))
        out.append(rng.choice(SEPARATORS))
    return "".join(out[:-1]) + rng.choice(ENDS)


@pytest.mark.parametrize("seed", range(4))
def test_agrees_on_hostile_names(seed: int) -> None:
    rng = random.Random(seed)
    check([soup(rng) for _ in range(5000)])


def test_hostile_names_reach_every_entity_of_pybids() -> None:
    """The agreement above means something only if pybids finds all its entities there."""
    rng = random.Random(0)
    seen: Counter[str] = Counter()
    for _ in range(5000):
        seen.update(oracle(soup(rng)).keys())
    assert set(seen) == set(oracle_entities())
    assert min(seen.values()) >= 10, seen.most_common()[-5:]


@pytest.mark.parametrize("seed", range(2))
def test_agrees_on_damaged_real_names(seed: int) -> None:
    """Real names with one or two characters dropped, doubled or replaced."""
    rng = random.Random(seed)
    hurt = []
    for path in bids_tree(seed, subjects=2, sessions=seed):
        letters = list(path)
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(letters))
            letters[at] = rng.choice(("", letters[at] * 2, *"_-/.\\+\n٣1A é"))
        hurt.append("".join(letters))
    check(hurt)


tokens = st.one_of(
    st.sampled_from([f"{key}-" for key in (*KEYS, *NEAR_KEYS)]),
    st.sampled_from(KEYS),
    st.sampled_from(VALUES),
    st.sampled_from(WORDS),
    st.sampled_from(SEPARATORS),
    st.sampled_from(ENDS),
    st.text(max_size=3),
    st.characters(categories=("Nd",)),
)


@settings(max_examples=2500, deadline=None)
@given(st.lists(tokens, min_size=1, max_size=16).map("".join))
@example("sub-01/mt-only/x.nii")
@example("sub-01/anat/sub-01_mt-only_part-magnitude_MTS.nii.gz")
@example("sub-01/xrun-1_taskrun-1_x.nii")
@example("sub-01_hemi-Left_T1w.nii")
@example("a/sub-1\\ses-2\\func\\sub-1_task-x_bold.nii")
@example("sub-01/func/run-٣_echo-٣_bold.nii")
@example("from-a_to-b_mode-c/xfm/from-d_x")
@example("x/from-a\nxfm")
@example("from-a_to-b_xfm_mode-c")
@example("sub-01_T1w.nii.gz\n")
@example("sub-01_T1w.nii.gz\n\n")
@example("sub-01/anat/a.b/c")
@example("anat/x.nii")
@example("emg/anat/x.nii")
@example("anat/emg/x.nii")
@example("phenotype/tool.tsv")
@example("_scans.tsv\n")
@example("")
def test_agrees_on_names_that_hypothesis_finds(path: str) -> None:
    assert disagreement(path) is None


def test_the_order_of_entities_does_not_depend_on_the_seed_of_hashes() -> None:
    directory = "sub-01\\ses-2/x_task-rest_acq-a_run-1_echo-2_dir-AP_rec-b_space-T1w/anat"
    said = list(parser().directory(directory))
    assert len(said) >= 8
    assert said == [name for name in vocabulary().entities if name in said]
