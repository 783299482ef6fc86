#!/bin/sh
# Makes a virtual environment with this package in it: sh install.sh FOLDER EXTRAS [PYTHON]
#
# PyBullet has wheels for Python 3.10 and 3.11 only. In turn: PYTHON where it is named, a 3.11 or 3.10 that is installed,
# one that `uv` downloads, and last PyBullet built from its source distribution for the 3.12 or 3.13 there is.
set -eu
folder=$1
extras=$2
named=${3:-}
downloads=.python

say() { echo "install.sh: $*" >&2; }

# usable PYTHON FIRST LAST: whether it starts, is a Python from 3.FIRST to 3.LAST and can make virtual environments
usable() {
    "$1" -c "import ensurepip, venv, sys; sys.exit(not (3, $2) <= sys.version_info[:2] <= (3, $3))" >/dev/null 2>&1
}

can_build() {
    headers='import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'
    command -v c++ >/dev/null && "$1" -c "$headers"
}

download() {
    "$1" -m venv "$downloads/uv" && "$downloads/uv/bin/python" -m pip install --quiet uv &&
        "$downloads/uv/bin/uv" python install --quiet --install-dir "$downloads" --no-bin 3.11
}

choose_python() {
    if [ -n "$named" ]; then
        usable "$named" 10 13 && python=$named && return
        say "'$named' is no Python from 3.10 to 3.13 with the module venv"
        exit 1
    fi
    for python in python3.11 python3.10 python3; do
        usable "$python" 10 11 && return
    done
    for python in python3 python3.13 python3.12; do
        usable "$python" 12 13 || continue
        say "found no Python 3.11 or 3.10; downloading one with uv"
        if download "$python" >/dev/null 2>&1; then
            for python in "$PWD/$downloads"/cpython-3.11*/bin/python3.11; do return; done
        fi
        say "the download failed"
        can_build "$python" && return
    done
    say "install Python 3.11, or a C++ compiler and the headers of Python 3.12 or 3.13, for which PyBullet is then" \
        "built (on Debian and Ubuntu: apt install python3-venv python3-dev g++)"
    exit 1
}

install() { "$folder/bin/python" -m pip install --quiet --constraint constraints.txt "$@"; }

has_numpy() { "$folder/bin/python" -c 'import pybullet, sys; sys.exit(not pybullet.isNumpyEnabled())' >/dev/null 2>&1; }

install_pybullet() {
    if has_numpy || install --only-binary pybullet pybullet numpy 2>/dev/null; then return; fi
    say "building PyBullet for $("$folder/bin/python" --version), which takes some minutes"
    install numpy setuptools wheel
    install --no-build-isolation pybullet
    if has_numpy; then return; fi
    # A wheel in pip's cache may have been built where NumPy was missing
    install --no-build-isolation --no-cache-dir --force-reinstall --no-deps pybullet
    has_numpy || { say "PyBullet was built without NumPy: its isNumpyEnabled() is 0" && exit 1; }
}

if [ ! -x "$folder/bin/python" ]; then
    choose_python
    "$python" -m venv "$folder"
fi
case $extras in *train*) install_pybullet ;; esac
install --editable ".[$extras]"
