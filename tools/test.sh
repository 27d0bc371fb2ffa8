#!/bin/sh
# Install what is missing into an environment of its own, and run all the tests.
#
#     sh tools/test.sh [arguments for pytest]
set -eu
. "$(dirname -- "$0")/environment.sh"

install_with annex,tests

scratch=$(mktemp -d "${TMPDIR:-/tmp}/bidsshare-test.XXXXXX")
trap 'remove_scratch "$scratch"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
isolate "$scratch/home"

cd "$checkout"
python -m pytest "$@"
