"""A dry run's summary from known commands, and the whole of it with real nodes: watched, confirmed, then allowed."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from policies.runtime.collision import CollisionModel
from policies.runtime.dry_run import DryRunError, check_confirmed, summarise_dry_run
from policies.runtime.limits import Box, default_limits
from robots.registry import load_robot
from robots.shapes.hulls import arm_hulls
from tests.support.ros_bench import ROOT, finish
from tests.support.tiny_bundle import CAMERA, tiny_bundle

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
BUNDLE = tiny_bundle()
LATENCIES = np.tile([0.005, 0.03, 0.001, 0.0], (40, 1))


def summary(commands: np.ndarray, latencies: np.ndarray = LATENCIES, workspace: Box | None = None):
    model = CollisionModel(PANDA, arm_hulls(PANDA), [Box((0.2, 0.25, 0.0), (0.8, 0.6, 0.9))])
    q = np.tile(HOME, (len(commands), 1))
    return summarise_dry_run(BUNDLE, default_limits(PANDA, 20.0, workspace), model, q, commands, latencies, 2.0)


def test_harmless_commands_are_summed_up_without_a_warning():
    commands = np.tile(HOME, (40, 1))
    commands[:, 0] -= 0.02
    run = summary(commands)
    assert (run.commands, run.rate_hz, run.largest_step_joint) == (40, 20.0, "panda_joint1")
    assert run.largest_step == pytest.approx(0.02)
    expected = PANDA.chain.pose(commands[0])[1] - PANDA.chain.pose(HOME)[1]
    np.testing.assert_allclose(run.ee_direction, expected)
    assert run.warnings == ()
    assert "largest step 0.020 rad, joint 'panda_joint1'" in run.text()


def test_everything_that_a_gate_would_change_is_told():
    commands = np.tile(HOME, (40, 1))
    commands[:10, 0] += 0.45  # towards the box
    commands[10:13, 1] += 0.6  # a jump
    commands[13:15, 3] = -3.2  # beyond the range
    commands[15, 2] = np.nan
    late = LATENCIES.copy()
    late[:, 1] = 0.2
    p = PANDA.chain.pose(HOME)[1]
    run = summary(commands, late, Box((p[0] - 0.1, p[1] - 0.1, p[2] - 0.1), (p[0] + 0.1, p[1] + 0.1, p[2] + 0.1)))
    assert run.limited["command_jump"] == 5
    assert run.limited["position_limit"] == 2
    assert run.limited["command_invalid"] == 1
    assert run.limited["workspace"] >= 13
    text = run.text()
    assert "frames are up to 200 ms old" in text
    assert "from 'keep-out box 1'" in text


def test_a_policy_that_says_nothing_is_no_dry_run():
    with pytest.raises(DryRunError, match="3 commands in 2 s, expected at least 20"):
        summary(np.tile(HOME, (3, 1)))


def test_only_a_confirmed_run_of_this_bundle_counts(tmp_path):
    path = tmp_path / "dry.json"
    with pytest.raises(DryRunError, match="cannot be read"):
        check_confirmed(path, BUNDLE)
    run = summary(np.tile(HOME, (40, 1)))
    run.save(path, "")
    with pytest.raises(DryRunError, match="not confirmed"):
        check_confirmed(path, BUNDLE)
    run.save(path, "operator")
    check_confirmed(path, BUNDLE)
    with pytest.raises(DryRunError, match=r"is of bundle \w{12}, this one is \w{12}"):
        check_confirmed(path, tiny_bundle((0.5, 0.0, 0.5)))


@pytest.mark.ros
def test_watched_confirmed_and_then_allowed_to_move(ros, tiny_bundle_path, tmp_path):
    ros.arm(PANDA, CAMERA)
    out = tmp_path / "dry.json"
    refused = ros.start("policy_node", bundle=tiny_bundle_path, autostart=True, dry_run=out)
    shadow = ros.start("policy_node", bundle=tiny_bundle_path, autostart=True, shadow=True, wait=40.0)
    ros.wait(lambda: ros.policy_state["state"] == "active", "the shadow", 60.0)
    for answer, status, words in (("no", 1, "not confirmed; nothing was written"), ("franka_panda", 0, "confirmed: ")):
        words_given = ["dry-run", "--bundle", str(tiny_bundle_path), "--out", str(out), "--seconds", "2.0"]
        ran = subprocess.run(
            [sys.executable, "-m", "sim2real", *words_given],
            cwd=ROOT,
            env=ros.environment,
            input=answer + "\n",
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert ran.returncode == status, ran.stdout + ran.stderr
        assert words in ran.stdout + ran.stderr
        assert "commands" in ran.stdout
        assert out.exists() == (status == 0)
    assert json.loads(out.read_text())["bundle"] == ros.policy_state["hash"]
    shadow.kill()
    status, said = finish(refused, 60.0)
    assert status == 1
    assert "cannot be read" in said
    ros.gate(tiny_bundle_path)
    ros.start("policy_node", bundle=tiny_bundle_path, autostart=True, dry_run=out, wait=40.0)
    ros.wait(lambda: ros.gate_state["state"] == "moving", "the arm to be allowed", 60.0)
