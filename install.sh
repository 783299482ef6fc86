#!/bin/sh
# Makes a virtual environment with PyBullet and this package in it: sh install.sh FOLDER EXTRAS [PYTHON]
#
# PyBullet has wheels for Python 3.10 and 3.11 only. In turn: PYTHON where it is named, a 3.10 or 3.11 that is installed,
# one that `uv` downloads, and last PyBullet built from its source distribution, by a compiler, for the Python there is.
set -eu
folder=$1
extras=$2
named=${3:-}
downloads=.python

say() { echo "install.sh: $*" >&2; }

# Whether "$1" starts and is a Python from 3.$2 to 3.$3 that can make virtual environments
usable() {
    "$1" -c "import ensurepip, venv, sys; sys.exit(not (3, $2) <= sys.version_info[:2] <= (3, $3))" >/dev/null 2>&1
}

can_build() {
    command -v c++ >/dev/null &&
        "$1" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
}

downloaded() {
    "$1" -m venv "$downloads/uv" && "$downloads/uv/bin/python" -m pip install --quiet uv &&
        "$downloads/uv/bin/uv" python install --quiet --install-dir "$downloads" 3.11 &&
        ls "$PWD/$downloads"/cpython-3.11*/bin/python3.11 | head -n 1
}

chosen_python() {
    for candidate in ${named:-python3.11 python3.10 python3}; do
        if usable "$candidate" 10 "$([ -n "$named" ] && echo 13 || echo 11)"; then
            echo "$candidate"
            return
        fi
    done
    if [ -n "$named" ]; then
        say "$named is no Python from 3.10 to 3.13 with the module venv"
        return 1
    fi
    for candidate in python3 python3.12 python3.13; do
        usable "$candidate" 12 13 || continue
        say "no Python 3.10 or 3.11 here: trying to download 3.11 with uv"
        if fetched=$(downloaded "$candidate"); then
            echo "$fetched"
            return
        fi
        if can_build "$candidate"; then
            say "there is none to download: PyBullet is built for $($candidate --version), which takes some minutes"
            echo "$candidate"
            return
        fi
    done
    say "install Python 3.11 or 3.10; or Python 3.12 or 3.13 with headers and a C++ compiler, to build PyBullet with" \
        "(on Debian and Ubuntu: apt install python3-venv python3-dev g++)"
    return 1
}

has_numpy() { "$folder/bin/python" -c 'import pybullet, sys; sys.exit(not pybullet.isNumpyEnabled())' >/dev/null 2>&1; }

install_pybullet() {
    pip="$folder/bin/python -m pip install --quiet --constraint constraints.txt"
    $pip numpy 'setuptools<80' wheel
    $pip --only-binary pybullet pybullet 2>/dev/null || $pip --no-build-isolation pybullet
    # A wheel from pip's cache may have been built where NumPy was missing
    has_numpy || $pip --no-build-isolation --no-cache-dir --force-reinstall --no-deps pybullet
    has_numpy || { say "PyBullet was built without NumPy: its isNumpyEnabled() is 0" && return 1; }
}

if [ ! -x "$folder/bin/python" ]; then
    python=$(chosen_python)
    "$python" -m venv "$folder"
fi
case $extras in *train*) install_pybullet ;; esac
"$folder/bin/python" -m pip install --quiet --constraint constraints.txt --editable ".[$extras]"
