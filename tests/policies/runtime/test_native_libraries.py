"""A pinocchio that cannot be imported ends the gate in one line that says what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny_bundle import tiny_bundle

ROOT = Path(__file__).resolve().parents[3]
NUMPY_1 = "import numpy.core._multiarray_umath as umath\numath._ARRAY_API\n"
"""What the initialisation of an extension module built for NumPy 1 looks up, and NumPy 2 refuses."""


def gate(bundle: Path, *first: Path) -> subprocess.CompletedProcess:
    """Start the gate with folders before everything else on its path, as ROS's are."""
    path = os.pathsep.join(map(str, (*first, ROOT)))
    environment = {**os.environ, "PYTHONPATH": path, "ROS_DOMAIN_ID": "99"}
    return subprocess.run(
        [sys.executable, "-m", "ros_nodes.safety_gate", "--ros-args", "-p", f"bundle:={bundle}"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.ros
@pytest.mark.parametrize("name", ["pinocchio", "coal"])
def test_a_library_built_for_numpy_1_is_named_in_one_line(name, tmp_path):
    foreign = tmp_path / "opt" / name
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text(NUMPY_1)
    done = gate(tiny_bundle().save(tmp_path / "bundle"), foreign.parent)
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"safety_gate: {foreign}/__init__.py was built for NumPy 1")
    assert f"was built for NumPy 1, and NumPy {np.__version__} is at" in line
    assert f"export PYTHONPATH={sysconfig.get_path('purelib')}:$PYTHONPATH" in line


@pytest.mark.ros
def test_a_broken_library_keeps_its_own_words(tmp_path):
    foreign = tmp_path / "opt" / "pinocchio"
    foreign.mkdir(parents=True)
    (foreign / "__init__.py").write_text("raise ImportError('libboost_python311.so.1.83.0: cannot open shared object')")
    done = gate(tiny_bundle().save(tmp_path / "bundle"), foreign.parent)
    (line,) = done.stderr.splitlines()
    assert "libboost_python311.so.1.83.0: cannot open shared object" in line
    assert "NumPy 1" not in line
