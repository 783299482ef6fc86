"""Limits are the robot's own, may be tightened, and cannot be widened."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest

from policies.runtime.limits import Box, SafetyError, SafetyLimits, read_limits_file
from robots.registry import load_robot

PANDA = load_robot("franka_panda")
BOX = Box((0.2, -0.35, 0.1), (0.7, 0.35, 0.6))


@pytest.mark.parametrize(
    "wider",
    [
        {"dq": 1.1},
        {"ddq": 0.0},
        {"jerk": -1.0},
        {"tau": 1.01},
        {"dq": float("nan")},
        {"q_margin": -0.01},
        {"q_margin": 5.0},
        {"command_jump": 0.6},
        {"tracking_error": 0.0},
        {"command_timeout": 10.0},
        {"state_timeout": float("inf")},
        {"workspace": Box((0.0, -0.35, 0.1), (0.7, 0.35, 0.6))},
    ],
)
def test_limits_cannot_be_widened_or_switched_off(wider):
    with pytest.raises(SafetyError):
        SafetyLimits.of(PANDA, BOX).tightened(**wider)


def test_limits_are_the_robots_own_and_tighten():
    own = SafetyLimits.of(PANDA)
    assert own.dq == PANDA.limits.dq
    tight = own.tightened(dq=0.5, q_margin=0.1, command_timeout=0.2).tightened(dq=0.5)
    assert tight.dq == tuple(0.25 * v for v in PANDA.limits.dq)
    assert tight.q_low[0] == pytest.approx(PANDA.limits.q_low[0] + 0.1)
    with pytest.raises(SafetyError, match="limits can only be tightened"):
        tight.tightened(command_timeout=0.3)


def test_workspace_must_be_a_box():
    for low, high in (((0, 0, 0), (1, 1, 0)), ((0, 0, float("nan")), (1, 1, 1)), ((-np.inf, 0, 0), (1, 1, 1))):
        with pytest.raises(SafetyError, match="workspace"):
            Box(low, high)


def test_a_manifest_cannot_raise_what_the_urdf_says():
    bold = replace(PANDA, limits=replace(PANDA.limits, dq=(1e6,) * 7, tau=(1e6,) * 7, q_low=(-9.0,) * 7))
    limits = SafetyLimits.of(bold)
    assert limits.dq == pytest.approx((2.175,) * 4 + (2.61,) * 3)
    assert limits.tau == (87.0,) * 4 + (12.0,) * 3
    assert limits.q_low[3] == pytest.approx(-3.1416)
    assert SafetyLimits.of(PANDA).q_low == PANDA.limits.q_low


def test_the_robot_side_has_the_last_word(tmp_path):
    own = SafetyLimits.of(PANDA)
    path = tmp_path / "limits.json"
    path.write_text(json.dumps({"panda_joint2": {"dq": 0.5, "ddq": 1e9, "q_high": 1.0}}))
    limits = own.within(read_limits_file(path))
    assert limits.dq == (own.dq[0], 0.5, *own.dq[2:])
    assert (limits.ddq, limits.q_high[1], limits.q_high[0]) == (own.ddq, 1.0, own.q_high[0])


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('{"joint1": {"dq": 1}}', "unknown joint 'joint1'; the arm's are panda_joint1"),
        ('{"panda_joint1": {"speed": 1}}', "unknown 'speed'; known are q_low"),
        ('{"panda_joint1": {"dq": "fast"}}', "dq is 'fast', expected a positive number"),
        ('{"panda_joint1": {"dq": NaN}}', "NaN is no number in JSON"),
        ('{"panda_joint1": {"dq": 0}}', "dq is 0, expected a positive number"),
        ('{"panda_joint1": {"q_low": 3.0}}', "no range is left between 3.0 and"),
        ("[1, 2]", "holds list, expected names with values"),
        ("{", "cannot be read"),
        ("[" * 100_000, "cannot be read"),
    ],
)
def test_a_wrong_limits_file_is_refused(tmp_path, content, words):
    path = tmp_path / "limits.json"
    path.write_text(content)
    with pytest.raises(SafetyError, match=re.escape(words)):
        SafetyLimits.of(PANDA).within(read_limits_file(path))
