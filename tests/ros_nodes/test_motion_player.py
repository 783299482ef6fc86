"""A written motion reaches the arm through the gate alone, and the recording is what `identify` takes."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from adaptation.identification.log_files import read_log
from adaptation.identification.log_inspection import inspect
from robots.registry import load_robot
from robots.specs import SpecError
from ros_nodes import topics
from ros_nodes.motion_player import read_motion
from tests.support.ros_bench import ROOT, finish
from tests.support.tiny_bundle import tiny_bundle

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
DT = 0.01


def write(path, q=None, names=PANDA.joint_names, dt=DT):
    """A motion of 3 s about home by default."""
    if q is None:
        s = np.linspace(0, 1, 300)[:, None]
        q = HOME + 0.12 * np.sin(2 * np.pi * s) * np.sin(np.pi * s) ** 2
    np.savez(path, t=np.arange(len(q)) * dt, q=q, joint_names=np.array(names))
    return path


def test_a_motion_is_read_in_the_arms_order(tmp_path):
    path = write(tmp_path / "a.npz")
    motion = read_motion(path, PANDA)
    turned = write(tmp_path / "b.npz", motion.q[:, ::-1], PANDA.joint_names[::-1])
    assert read_motion(turned, PANDA).q == pytest.approx(motion.q)
    assert motion.dt == pytest.approx(DT)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda q: {"names": [f"other_{i}" for i in range(7)]}, "'panda_joint1' is missing; it moves other_0"),
        (lambda q: {"q": q + 5.0}, "goes from .* rad, its limits are"),
        (lambda q: {"q": HOME + (q - HOME) * 6, "dt": 0.004}, "rad/s, its limit is .*--share"),
        (lambda q: {"dt": 0.2}, "5.0 points a second .* expected even steps, 20 to 250"),
        (lambda q: {"q": np.where(np.arange(300)[:, None] == 7, np.nan, q)}, "expected .* finite"),
    ],
)
def test_motions_that_do_not_fit_are_refused(tmp_path, change, said):
    motion = read_motion(write(tmp_path / "good.npz"), PANDA)
    with pytest.raises(SpecError, match=said):
        read_motion(write(tmp_path / "bad.npz", **change(motion.q)), PANDA)


def test_a_file_that_is_no_motion_is_refused(tmp_path):
    (tmp_path / "x.npz").write_text("no")
    for name in ("x.npz", "absent.npz"):
        with pytest.raises(SpecError, match=r"cannot be read.*'sim2real excite'"):
            read_motion(tmp_path / name, PANDA)


def play(ros, *arguments):
    command = [sys.executable, "-m", "sim2real", "play-motion", *map(str, arguments)]
    child = subprocess.Popen(
        command, cwd=ROOT, env=ros.environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    ros.processes.append(child)
    return child


@pytest.mark.ros
@pytest.mark.slow
def test_a_motion_is_played_through_the_gate_and_recorded(ros, tmp_path):
    arm = ros.arm(PANDA)
    arm.q = HOME + 0.1  # it has to come to the first point
    bundle = tiny_bundle().save(tmp_path / "bundle")
    ros.gate(bundle)
    path, recording = write(tmp_path / "motion.npz"), tmp_path / "recording.npz"
    status, said = finish(play(ros, "--motion", path, "--robot", "franka_panda", "--record", recording), 60.0)
    assert status == 0, said
    assert "joint states" in said
    assert np.abs(arm.q - HOME).max() < 0.01
    log = read_log(recording, ()).in_order(PANDA)
    motion = read_motion(path, PANDA)
    assert np.ptp(log.command, axis=0) == pytest.approx(np.ptp(motion.q, axis=0), rel=0.15)
    received = np.array([q for _, q in arm.received])
    nearest = [np.abs(received - q).max(1).min() for q in log.command]
    assert max(nearest) < 2e-3  # what the controller commanded, 1 ms apart, not the file's
    found = inspect(log, PANDA)
    assert not found.refused, found.lines()
    assert found.rate_hz == pytest.approx(100.0, rel=0.2)


@pytest.mark.ros
@pytest.mark.slow
def test_an_emergency_stop_ends_the_motion_and_says_so(ros, tmp_path):
    arm = ros.arm(PANDA)
    ros.gate(tiny_bundle().save(tmp_path / "bundle"))
    child = play(ros, "--motion", write(tmp_path / "m.npz"), "--robot", "franka_panda", "--record", tmp_path / "r.npz")
    ros.wait(lambda: len(arm.received) > 20 and np.abs(arm.q - HOME).max() > 0.01, "the arm to move")
    ros.e_stop(True)
    status, said = finish(child, 30.0)
    assert status == 1
    assert "emergency stop" in said
    assert not (tmp_path / "r.npz").exists()


@pytest.mark.ros
@pytest.mark.slow
def test_without_a_gate_nothing_moves(ros, tmp_path):
    arm = ros.arm(PANDA)
    path = write(tmp_path / "m.npz")
    child = play(ros, "--motion", path, "--robot", "franka_panda", "--timeout", "3")
    status, said = finish(child, 60.0)
    assert status == 1
    assert f"never heard on /{topics.GATE_HEARTBEAT}; start the safety_gate node" in said
    assert not arm.received
