#!/usr/bin/env bash
# test_wheel.sh: build the wheel, then run the tests against it (not against src/) under each supported Python found here.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/python.sh

candidates() {
    local version
    for version in 3.11 3.12 3.13; do
        if new_enough "python$version" && makes_venvs "python$version"; then
            echo "python$version"
        elif [ -x "$(echo "$HOME"/.pyenv/versions/"$version".*/bin/python | cut -d ' ' -f 1)" ]; then
            echo "$HOME"/.pyenv/versions/"$version".*/bin/python | cut -d ' ' -f 1
        fi
    done
}

rm -rf dist
.venv/bin/python -m pip wheel --quiet --no-input --no-deps --wheel-dir dist .
wheel=$(echo dist/*.whl)
found=$(candidates)
[ -n "$found" ] || { say "test-all: no Python 3.11 to 3.13 that makes virtual environments was found" && exit 1; }
for python in $found; do
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    where=.venv/wheel-$version # inside .venv: found by clean, unseen by lint
    make_venv "$where" "$python"
    "$where/bin/python" -m pip install --quiet --no-input --group test
    "$where/bin/python" -m pip install --quiet --no-input --force-reinstall --no-deps "$wheel"
    "$where/bin/python" -m pip install --quiet --no-input "$wheel[all]"
    # pythonpath without src: what is imported is what was built
    scripts/part.sh "wheel under Python $version" 6 \
        env LOCKLIB_TEST_WHEEL=1 ALL_SERVERS=1 "$where/bin/python" -m pytest -n "${JOBS:-2}" -m "not clients" -o pythonpath="tests ."
done
