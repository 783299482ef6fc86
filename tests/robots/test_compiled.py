"""Compiled functions work where the disk has no space for what the compiler would keep."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import numpy as np
from robots.registry import load_robot
robot = load_robot("franka_panda")
print(robot.chain.pose(np.array(robot.home))[1])
"""


@pytest.mark.slow
def test_a_full_disk_does_not_keep_functions_from_being_compiled(tmp_path: Path) -> None:
    def no_space() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    found = subprocess.run(
        [sys.executable, "-B", "-c", PROGRAM],
        cwd=ROOT,
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        preexec_fn=no_space,
        timeout=250,
    )
    assert found.returncode == 0, found.stderr
    assert found.stdout.startswith("[")
    assert not [file for file in tmp_path.rglob("*") if file.is_file() and file.stat().st_size]
