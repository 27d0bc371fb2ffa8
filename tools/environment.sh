# Sourced by demo.sh and test.sh: an environment of their own for this checkout.
#
# Needs Python >= 3.10 (the one named by $PYTHON, else python3), git, a POSIX
# shell, and a package index that pip can reach. Everything else, git-annex
# included, is installed into .venv-bidsshare in the checkout. Nothing outside
# the checkout and temporary directories is written, except pip's own cache.

fail() {
    printf '%s: %s\n' "${0##*/}" "$*" >&2
    exit 1
}

# The checkout that this file belongs to; the caller is tools/*.sh.
checkout=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd -P) || exit 1
venv=$checkout/.venv-bidsshare

# What another git process or Python set-up around us left in the environment
# must not leak into ours.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY GIT_COMMON_DIR GIT_PREFIX
unset PYTHONPATH PYTHONHOME
PYTHONNOUSERSITE=1
export PYTHONNOUSERSITE

find_python() {
    python=${PYTHON:-python3}
    command -v git >/dev/null 2>&1 || fail "git is needed and was not found: install git first"
    command -v "$python" >/dev/null 2>&1 ||
        fail "'$python' was not found: install Python 3.10 or newer, or name one: PYTHON=/path/to/python sh $0"
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' ||
        fail "Python 3.10 or newer is needed, '$python' is $("$python" -V 2>&1): name another one: PYTHON=python3.12 sh $0"
    "$python" -c 'import venv, ensurepip' 2>/dev/null ||
        fail "'$python' cannot make virtual environments: on Debian and Ubuntu install the package python3-venv first"
}

# install_with EXTRAS: the checkout in editable mode with these extras,
# skipped when the same was installed already.
install_with() {
    find_python
    # Both, because a virtual environment survives neither a move nor another Python.
    wanted="$checkout $("$python" -c 'import sys; print(sys.version)')"
    stamp=$venv/installed-for
    if [ ! -f "$stamp" ] || [ "$(cat "$stamp")" != "$wanted" ]; then
        echo "== Making a virtual environment in $venv"
        rm -rf "$venv"
        "$python" -m venv "$venv" || {
            rm -rf "$venv"
            fail "could not make the virtual environment $venv (see above)"
        }
        printf '%s\n' "$wanted" >"$stamp"
    fi
    # Scripts is what it is called on Windows.
    for bin in "$venv/bin" "$venv/Scripts"; do
        [ -d "$bin" ] && PATH=$bin:$PATH
    done
    export PATH
    # A copy of what decides about dependencies vouches for an installation.
    extras_stamp=$venv/installed-$(printf '%s' "$1" | tr ',' '-')
    if ! cat "$checkout/setup.cfg" "$checkout/pyproject.toml" | cmp -s - "$extras_stamp"; then
        echo "== Installing datalad-bidsshare[$1] and what it needs"
        # --editable wants a relative path without a comma or bracket of its own
        (cd "$checkout" && python -m pip install --quiet --disable-pip-version-check \
            --editable ".[$1]") ||
            fail "pip could not install datalad-bidsshare[$1] (see above); is the package index reachable?"
        cat "$checkout/setup.cfg" "$checkout/pyproject.toml" >"$extras_stamp"
    fi
}

# From here on git, git-annex and DataLad see neither the user's configuration
# nor their home directory, and cannot change them.
isolate() {
    HOME=$1
    GIT_CONFIG_NOSYSTEM=1
    GIT_AUTHOR_NAME='Example Author'
    GIT_AUTHOR_EMAIL='author@example.org'
    GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME
    GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
    export HOME GIT_CONFIG_NOSYSTEM
    export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL
    unset XDG_CONFIG_HOME XDG_CACHE_HOME XDG_STATE_HOME XDG_DATA_HOME GIT_CONFIG_GLOBAL
    mkdir -p "$HOME"
}

# Annex content is write-protected on purpose: rm -rf alone does not suffice.
remove_scratch() {
    [ -d "$1" ] || return 0
    chmod -R u+w "$1" && rm -rf "$1"
}
