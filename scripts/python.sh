# Sourced by the set-up scripts: which Python to build on, and how to get system packages. Asks nothing.

say() { printf '%s\n' "$*" >&2; }

# run as root, where that needs no password
as_root() {
    if [ "$(id -u)" = 0 ]; then
        DEBIAN_FRONTEND=noninteractive "$@"
    elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
        sudo -n env DEBIAN_FRONTEND=noninteractive "$@"
    else
        return 1
    fi
}

apt_quietly() { as_root apt-get -y -qq -o DPkg::Lock::Timeout=120 "$@" </dev/null >/dev/null; }

# apt_install PACKAGE...: false when it may not or cannot. Package lists are fetched only if the first try fails.
apt_install() {
    command -v apt-get >/dev/null || return 1
    as_root true || return 1
    say "set-up: installing $* (apt-get)"
    apt_quietly install --no-install-recommends "$@" 2>/dev/null && return 0
    apt_quietly update && apt_quietly install --no-install-recommends "$@"
}

# A command of that name may be a shim that only fails, so each is run. 3.11 or later counts.
new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; }

# Debian splits off the part of venv that brings pip.
makes_venvs() { "$1" -c 'import venv, ensurepip' >/dev/null 2>&1; }

new_enough_pythons() {
    local name
    for name in ${PYTHON:-python3.13 python3.12 python3.11 python3 /usr/bin/python3}; do
        if new_enough "$name"; then echo "$name"; fi
    done
}

first_that_makes_venvs() {
    local name
    for name in $(new_enough_pythons); do
        if makes_venvs "$name"; then echo "$name" && return 0; fi
    done
    return 1
}

# choose_python: prints the Python to use, or explains what is missing and fails.
choose_python() {
    local near version
    first_that_makes_venvs && return 0
    near=$(new_enough_pythons | head -n 1)
    if [ -z "$near" ] && ! command -v "${PYTHON:-python3}" >/dev/null; then
        apt_install python3 python3-venv && first_that_makes_venvs && return 0
        near=$(new_enough_pythons | head -n 1)
    fi
    if [ -z "$near" ]; then
        version=$("${PYTHON:-python3}" --version 2>/dev/null | head -n 1 || echo "no working ${PYTHON:-python3}")
        say "set-up: locklib needs Python 3.11 or later; found: $version."
        say "        Install one (for example: apt-get install python3.12 python3.12-venv), or name it: make PYTHON=/path/to/python3"
        return 1
    fi
    version=$("$near" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    { apt_install "python$version-venv" || apt_install python3-venv; } && first_that_makes_venvs && return 0
    say "set-up: $near (Python $version) cannot make virtual environments: its modules venv and ensurepip are not installed."
    say "        Install them (apt-get install python$version-venv), or name another Python: make PYTHON=/path/to/python3"
    return 1
}

# a fingerprint of the files that a set-up depends on, so that touching one without changing it costs nothing
fingerprint() { cat "$@" | sha256sum | cut -d ' ' -f 1; }

# make_venv DIRECTORY PYTHON: an empty one with a pip that knows dependency groups (25.1); one that works is kept.
make_venv() {
    local where=$1 python=$2
    if ! "$where/bin/python" -m pip --version >/dev/null 2>&1; then
        say "set-up: making $where with $python"
        "$python" -m venv --clear "$where"
    fi
    "$where/bin/python" -m pip install --quiet --no-input --upgrade 'pip>=25.1'
}

export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
