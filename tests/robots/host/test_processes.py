"""No worker outlives the process that started it, not even after SIGKILL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MARK = "SIM2REAL_TEST_PARENT"

VECTOR = """
import time
from sim.vector.vector_env import ArmVectorEnv, EnvConfig
if __name__ == "__main__":
    envs = ArmVectorEnv([EnvConfig()] * 2, workers=2)
    time.sleep(60)
"""
RENDERS = """
from robots.registry import load_robot
from sim.catalogue import parameter_space
from sim.datasets.labelled_renders import sample_renders
from sim.tasks import fitted_task
from sim.workers.start import open_workers
if __name__ == "__main__":
    robot = load_robot("franka_panda")
    space = parameter_space(fitted_task("reach", robot, "front"), robot)
    with open_workers(2) as workers:
        sample_renders("reach", "franka_panda", space, 100_000, 0, workers, cameras="front")
"""
COMMAND = """
import signal, subprocess, sys, time
from robots.host.processes import tied
for _ in range(2):
    subprocess.Popen(tied([sys.executable, "-c", "import time; time.sleep(60)"], signal.SIGTERM))
time.sleep(60)
"""


def living(mark: str) -> dict[int, str]:
    """Command lines of the processes with this mark in their environment, by number."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() in (process / "environ").read_bytes():
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:  # ended meanwhile, or another user's
            continue
    return found


def after_kill(command: list[str], children: int, cwd: Path | None = None) -> dict[int, str]:
    """Kill `command` once it has so many `children`; return what is left of it 10 s later at the latest."""
    mark = uuid.uuid4().hex
    environment = {**os.environ, MARK: mark, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(command, env=environment, cwd=cwd, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while len(living(mark)) < 1 + children:
            assert parent.poll() is None, "it ended by itself"
            assert time.monotonic() < deadline, f"it has only {living(mark)}"
            time.sleep(0.2)
        time.sleep(2.0)  # the workers import, or work
        parent.kill()
        parent.wait()
        deadline = time.monotonic() + 10
        while living(mark) and time.monotonic() < deadline:
            time.sleep(0.1)
        return living(mark)
    finally:
        parent.kill()
        for left in living(mark):
            os.kill(left, signal.SIGKILL)


@pytest.mark.slow
def test_a_tied_command_ends_with_its_parent():
    assert after_kill([sys.executable, "-c", COMMAND], 2) == {}


@pytest.mark.slow
def test_vector_workers_end_with_their_parent(tmp_path):
    (tmp_path / "script.py").write_text(VECTOR)
    assert after_kill([sys.executable, "script.py"], 3, tmp_path) == {}  # the workers, and the resource tracker


@pytest.mark.slow
def test_render_workers_end_with_their_parent(tmp_path):
    (tmp_path / "script.py").write_text(RENDERS)
    assert after_kill([sys.executable, "script.py"], 3, tmp_path) == {}


@pytest.mark.slow
def test_trial_workers_end_with_their_session(tmp_path):
    """The real command."""
    from evaluation.session.protocol_file import register_file
    from tests.support.tiny_bundle import tiny_bundle

    tiny_bundle(camera=None).save(tmp_path / "tiny")
    plan = tmp_path / "plan.toml"
    plan.write_text('name = "p"\ntask = "reach"\ntrials = 5000\n[[policies]]\nname = "a"\nbundle = "tiny"\n')
    register_file(plan)
    command = [sys.executable, "-m", "sim2real", "session", "run", str(plan), "--workers", "2"]
    assert after_kill(command, 3, tmp_path) == {}
