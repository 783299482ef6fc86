"""Limits are the robot's own, may be tightened, and cannot be widened."""

from __future__ import annotations

import numpy as np
import pytest

from policies.runtime.limits import Box, SafetyError, SafetyLimits
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
