"""From actions to joint targets."""

from __future__ import annotations

import numpy as np
import pytest

from robots.action import MAX_LEAD, ActionResolver
from robots.registry import load_robot
from robots.specs import ActionSpec, SpecError

PANDA = load_robot("franka_panda")
HOME = np.array(PANDA.home)
JOINTS = PANDA.joint_names
EE = ActionSpec("ee_delta", ("x", "y", "z"), (0.04, 0.04, 0.04), 20.0)


def test_ee_delta_moves_the_end_effector_by_the_scale() -> None:
    resolver = ActionResolver(EE, PANDA)
    resolver.reset(HOME)
    target = resolver.resolve(np.array([0.25, 0.0, -0.25], np.float32), HOME)
    moved = PANDA.chain.pose(target)[1] - PANDA.chain.pose(HOME)[1]
    np.testing.assert_allclose(moved, [0.01, 0.0, -0.01], atol=5e-4)


def test_targets_are_integrated_so_that_sag_does_not_eat_the_motion() -> None:
    resolver = ActionResolver(ActionSpec("joint_delta", JOINTS, (0.01,) * 7, 20.0), PANDA)
    resolver.reset(HOME)
    for _ in range(5):
        target = resolver.resolve(np.ones(7, np.float32), HOME)  # the arm does not move at all
    np.testing.assert_allclose(target, HOME + 0.05)


def test_a_blocked_arm_does_not_wind_up() -> None:
    resolver = ActionResolver(ActionSpec("joint_delta", JOINTS, (0.01,) * 7, 20.0), PANDA)
    resolver.reset(HOME)
    for _ in range(100):
        target = resolver.resolve(np.ones(7, np.float32), HOME)
    np.testing.assert_allclose(target, HOME + MAX_LEAD)
    back = resolver.resolve(-np.ones(7, np.float32), HOME)
    np.testing.assert_allclose(back, HOME + MAX_LEAD - 0.01)


def test_an_arm_that_lags_is_sent_straight_on() -> None:
    resolver = ActionResolver(EE, PANDA)
    resolver.reset(HOME)
    for _ in range(20):
        target = resolver.resolve(np.array([0.0, 0.0, -1.0], np.float32), HOME)  # the arm does not move at all
    assert np.abs(target - HOME).max() <= MAX_LEAD + 1e-9
    R, p = PANDA.chain.pose(target)
    way = p - PANDA.chain.pose(HOME)[1]
    assert np.hypot(way[0], way[1]) < 0.15 * -way[2]
    assert np.arccos(R[:, 2] @ PANDA.R_home[:, 2]) < 0.05


@pytest.mark.parametrize(
    ("kind", "scale", "expected"),
    [
        ("joint_position", 0.05, HOME + 0.05),
        ("joint_velocity", 0.5, HOME + 0.5 / 20.0),
        ("joint_delta", 0.05, HOME + 0.05),
    ],
)
def test_joint_actions(kind: str, scale: float, expected: np.ndarray) -> None:
    resolver = ActionResolver(ActionSpec(kind, JOINTS, (scale,) * 7, 20.0), PANDA)
    resolver.reset(HOME)
    np.testing.assert_allclose(resolver.resolve(np.ones(7, np.float32), HOME), expected)


def test_joint_limits_hold() -> None:
    resolver = ActionResolver(ActionSpec("joint_delta", JOINTS, (0.15,) * 7, 20.0), PANDA)
    q = np.array(PANDA.limits.q_high) - 0.05
    resolver.reset(q)
    np.testing.assert_allclose(resolver.resolve(np.ones(7, np.float32), q), PANDA.limits.q_high)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(SpecError, match="are not the joints"):
        ActionResolver(ActionSpec("joint_delta", ("a", "b"), (0.1, 0.1), 20.0), PANDA)
    with pytest.raises(SpecError, match="unknown kind 'ee_pose'"):
        ActionSpec("ee_pose", ("x",), (0.1,), 20.0)
    with pytest.raises(SpecError, match="2 names but 1 scales"):
        ActionSpec("joint_delta", ("a", "b"), (0.1,), 20.0)
