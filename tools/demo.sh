#!/bin/sh
# Install datalad-bidsshare into an environment of its own, and show its main
# job on a small BIDS dataset that is made up on the spot.
#
#     sh tools/demo.sh [--keep]
#
# With --keep the datasets stay, to play with. No network but the package index.
set -eu
. "$(dirname -- "$0")/environment.sh"

keep=
case ${1-} in
'') ;;
--keep) keep=yes ;;
*) fail "unknown argument '$1': the only one is --keep" ;;
esac

install_with annex

scratch=$(mktemp -d "${TMPDIR:-/tmp}/bidsshare-demo.XXXXXX")
finish() {
    code=$?
    trap - EXIT
    if [ "$keep" ]; then
        printf '\nThe datasets are in %s; remove them with: chmod -R u+w %s && rm -rf %s\n' \
            "$scratch" "$scratch" "$scratch"
        printf 'The commands are in %s\n' "$venv"
    else
        remove_scratch "$scratch"
    fi
    if [ "$code" -ne 0 ]; then
        echo "demo.sh: the demonstration failed (exit code $code), see the last messages above" >&2
        [ "$keep" ] || echo "demo.sh: its files were removed; 'sh tools/demo.sh --keep' keeps them" >&2
    fi
    exit "$code"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
isolate "$scratch/home"

# Quiet on success; all that was said when something fails.
quietly() {
    "$@" >"$scratch/log" 2>&1 || {
        code=$?
        cat "$scratch/log" >&2
        return "$code"
    }
}
# Show a command, then run it.
show() {
    printf '\n$'
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./:=,@%+-]*) printf " '%s'" "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}
bytes() {
    python "$checkout/tools/example_dataset.py" --count "$1"
}

echo
echo "== 1. A made-up BIDS dataset, shared through a RIA store"
cd "$scratch"
quietly datalad create study
python "$checkout/tools/example_dataset.py" study
quietly datalad save -d study -m "Add the example study"
quietly datalad create-sibling-ria -d study -s store --new-store-ok --alias study \
    "ria+file://$scratch/store"
quietly datalad push -d study --to store
echo "in the store: $(bytes study)"

echo
echo "== 2. A colleague clones it: all the names, none of the data"
quietly datalad clone "ria+file://$scratch/store#~study" clone
cd clone
echo "in the clone: $(bytes .)"

echo
echo "== 3. What would it cost to get the resting state runs of two subjects?"
show datalad bids-get --sub 01,03 --task rest --suffix bold --dry-run

echo
echo "== 4. Get them"
show datalad bids-get --sub 01,03 --task rest --suffix bold
echo
echo "in the clone: $(bytes .)"

echo
echo "== 5. The same from Python: T1-weighted images of all women"
cat >"$scratch/women.py" <<'PYTHON'
import datalad.api as dl

results = dl.bids_get(
    dataset=".",
    suffix="T1w",
    where="sex == 'F'",
    result_renderer="disabled",
)
for res in results:
    if res["status"] == "ok" and "companion_of" not in res:
        print(res["relpath"], res["bytesize"], "bytes")
PYTHON
sed 's/^/    /' "$scratch/women.py"
echo
python "$scratch/women.py"
echo
echo "in the clone: $(bytes .)"

echo
echo "== 6. Once more: nothing left to do"
show datalad bids-get --sub 01,03 --task rest --suffix bold

echo
echo "== 7. A collaborator has no DataLad: plain files, read from the store where absent"
show datalad export-plain ../handover --sub 01,02 --suffix T1w
echo
echo "in the clone: $(bytes .)"
show cat ../handover/participants.tsv
show datalad export-plain --verify ../handover

echo
echo "== 8. Outputs of a pipeline come as zips: unpack what is wanted, with a record for each"
cd "$scratch"
quietly datalad create derivatives
python "$checkout/tools/example_dataset.py" --zips derivatives
quietly datalad save -d derivatives -m "Add the zips"
cd derivatives
show datalad unzip-outputs --strip 1 --task rest --space MNI152NLin6Asym
show git log --oneline -3
show git ls-files sub-03
