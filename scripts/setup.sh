#!/usr/bin/env bash
# setup.sh demo|test: all that `make demo` or `make test` needs, from a fresh machine; instant when there is nothing to do.
# demo: .venv with locklib[all]. test: also the dependency group `test`, and the programs that play real clients.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/python.sh

want=${1:?"say what to set up: demo or test"}
case $want in demo | test) ;; *) say "set-up: '$want' is unknown; say demo or test" && exit 2 ;; esac

# The stamp names the place as well: a copied .venv still points at the tree that it came from.
stamp_text() { echo "$PWD $(fingerprint pyproject.toml scripts/setup.sh scripts/python.sh)"; }
is_done() { [ -x .venv/bin/python ] && [ "$(cat ".venv/.done-$1" 2>/dev/null)" = "$(stamp_text)" ]; }

forget_a_moved_venv() {
    local at
    [ -e .venv ] || return 0
    at=$(.venv/bin/python -c 'import sys; print(sys.prefix)' 2>/dev/null || true)
    script=$(head -n 1 .venv/bin/pip 2>/dev/null || true)
    if [ "$at" != "$PWD/.venv" ] || [ "$script" = "${script#*"$PWD/.venv/"}" ]; then
        say "set-up: .venv was made elsewhere or is broken; making it anew"
        rm -rf .venv
    fi
}

set_up_python() {
    if is_done "$want" || { [ "$want" = demo ] && is_done test; }; then return 0; fi
    forget_a_moved_venv
    [ -x .venv/bin/python ] || chosen=$(choose_python)
    make_venv .venv "${chosen:-python3}"
    say "set-up: installing locklib for $want"
    if [ "$want" = demo ]; then
        .venv/bin/python -m pip install --quiet --no-input -e '.[all]'
    else
        .venv/bin/python -m pip install --quiet --no-input -e '.[all]' --group test
    fi
    stamp_text >".venv/.done-$want"
}

# program:package pairs, for clients, and for faults (strace, faketime); a program that may not be installed is named here, and the tests that need it fail by name
PROGRAMS="litmus:litmus cadaver:cadaver node:nodejs npm:npm curl:curl strace:strace faketime:faketime"

set_up_programs() {
    local pair program package
    for pair in $PROGRAMS; do
        program=${pair%%:*} package=${pair##*:}
        command -v "$program" >/dev/null || apt_install "$package" || true
        command -v "$program" >/dev/null ||
            say "set-up: MISSING $program, and it may not be installed from here; get it: apt-get install $package"
    done
}

set_up_node_client() {
    local here=tests/clients stamp
    command -v npm >/dev/null && command -v node >/dev/null || return 0
    stamp=$(fingerprint $here/package.json $here/package-lock.json)
    [ "$(cat $here/node_modules/.done 2>/dev/null)" = "$stamp" ] && return 0
    say "set-up: installing the npm client"
    (cd $here && npm ci --no-audit --no-fund --loglevel=error >&2) || {
        say "set-up: npm ci failed in $here; the tests that need it will fail by name"
        return 0
    }
    echo "$stamp" >$here/node_modules/.done
}

set_up_python
if [ "$want" = test ]; then
    set_up_programs
    set_up_node_client
fi
