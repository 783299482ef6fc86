"""Keeps joint targets of the end effector inside the workspace."""

from __future__ import annotations

import numpy as np

from policies.runtime.limits import SafetyLimits
from robots.kinematics import KinematicChain

INSIDE = 1e-4
"""How far inside its wall a target is put [m]."""


def into_workspace(
    target: np.ndarray, q: np.ndarray, chain: KinematicChain, limits: SafetyLimits, slack: float
) -> tuple[np.ndarray, bool]:
    """Slide a target along the workspace's wall; where that fails, go as far as the wall.

    Args:
        target: joint positions (n,) [rad].
        q: the setpoint (n,) [rad], inside the workspace.
        chain: of the arm.
        limits: workspace, joint ranges, and how far a target may be moved.
        slack: rounding that is forgiven [m].

    Returns:
        The target to follow (n,), and whether it is another one.
    """
    low, high = np.array(limits.workspace.low), np.array(limits.workspace.high)

    def inside(joints: np.ndarray) -> bool:
        p = chain.pose(joints)[1]
        return float(np.maximum(low - p, p - high).max()) <= slack

    if inside(target):
        return target, False
    R, _ = chain.pose(target)
    slid = target
    for _ in range(4):
        p = chain.pose(slid)[1]
        slid = chain.step_towards(slid, np.clip(p, low + INSIDE, high - INSIDE) - p, R)
        slid = np.clip(slid, limits.q_low, limits.q_high)
        if inside(slid) and np.abs(slid - target).max() < limits.command_jump:
            return slid, True
    for halvings in range(1, 7):
        nearer = q + 0.5**halvings * (target - q)
        if inside(nearer):
            return nearer, True
    return q.copy(), True
