"""install.sh says in a sentence what is missing; what it installs is what `make test` runs in."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def installed(folder: Path, *named: str, path: Path | None = None) -> subprocess.CompletedProcess:
    """Run install.sh on a new folder, with nothing but `path` on the PATH where that is given."""
    environment = {"PATH": str(path)} if path else None
    command = ["/bin/sh", ROOT / "install.sh", folder / "environment", "train", *named]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


@pytest.mark.parametrize("named", ["no-such-python", "false", "true --version"])
def test_a_named_python_that_is_none_is_refused(tmp_path, named):
    done = installed(tmp_path, named)
    assert done.returncode == 1
    assert f"'{named}' is no Python from 3.10 to 3.13" in done.stderr
    assert not (tmp_path / "environment").exists()


def test_without_any_python_it_says_what_to_install(tmp_path):
    (tmp_path / "bin").mkdir()
    done = installed(tmp_path, path=tmp_path / "bin")
    assert done.returncode == 1
    assert "install Python 3.11, or a C++ compiler and the headers" in done.stderr


def test_with_a_later_python_alone_it_tries_a_download_and_then_a_compiler(tmp_path):
    """The stand-in passes for a Python 3.12 that has no headers and can make no environment to fetch `uv` into."""
    stand_in = tmp_path / "bin" / "python3"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\ncase "$2" in *"(3, 12) <="*) exit 0 ;; esac\nexit 1\n')
    stand_in.chmod(0o755)
    done = installed(tmp_path, path=stand_in.parent)
    assert done.returncode == 1
    said = done.stderr.splitlines()
    assert [line.split(";")[0] for line in said[:2]] == [
        "install.sh: found no Python 3.11 or 3.10",
        "install.sh: the download failed",
    ]
    assert "apt install python3-venv python3-dev g++" in said[2]
    assert not (tmp_path / "environment").exists()
