"""This repository as an ament package: `colcon build` installs what `ros2 launch` and `ros2 run` look for."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
IGNORED = shutil.ignore_patterns(
    ".*", "runs", "build", "dist", "install", "log", "*.egg-info", "__pycache__", "tests", "docs", "benchmarks"
)


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--symlink-install",)], ids=["plain", "symlink"])
def test_colcon_build_installs_the_package(tmp_path, options):
    """With --symlink-install the executables are links into the source tree: setuptools below 80 only."""
    shutil.copytree(ROOT, tmp_path / "src" / "sim2real_arms", ignore=IGNORED)
    environment = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "AMENT_PREFIX_PATH")}
    built = subprocess.run(
        [sys.executable, "-m", "colcon", "build", *options],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    prefix = tmp_path / "install" / "sim2real_arms"
    share = prefix / "share" / "sim2real_arms"
    assert (prefix / "share" / "ament_index" / "resource_index" / "packages" / "sim2real_arms").exists()
    assert (share / "package.xml").exists()
    for folder, pattern in (
        ("launch", "*.launch.py"),
        ("config", "config/*"),
        ("presets", "presets/*"),
        ("security", "security/*"),
    ):
        expected = {path.name for path in (ROOT / "launch").glob(pattern)}
        assert expected
        assert {path.name for path in (share / folder).iterdir()} >= expected
    executables = {path.name for path in (prefix / "lib" / "sim2real_arms").iterdir()}
    declared = set(re.findall(r'"(\w+) = [\w.]+:main"', (ROOT / "setup.py").read_text()))
    assert {"safety_gate", "policy_node", "supervisor", "recorder"} <= declared <= executables
    (packages,) = prefix.glob("lib/python*/site-packages")
    paths = [str(packages), *(str(tmp_path / folder / "sim2real_arms") for folder in ("build", "src"))]
    ran = subprocess.run(
        [str(prefix / "lib" / "sim2real_arms" / "safety_gate")],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": os.pathsep.join(paths), "ROS_DOMAIN_ID": "77"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == 1
    assert "parameters 'bundle' and 'robot': give one of the two" in ran.stderr
