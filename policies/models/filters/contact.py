"""Correct the estimated position of a pushed object: it cannot overlap the closed hand.

    earlier estimates ─┐                          ┌─▶ moved outside ─▶ `GoalFilter` ─▶ moved outside ─▶ action
    this estimate ─────┴─▶ overlaps the hand? ────┘

Camera delay and the mean over earlier positions put a pushed object behind its true position, by up to 3 cm.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sim.tasks.motion import FINGER_SLANT

CLEAR = 0.04
"""Horizontal distance from the end effector to the centre of an object that the closed fingers touch along x [m]: half
the fingers' width, 0.012 m, and half an object's, 0.02 to 0.0275 m along an edge and 1.4 times that at a corner. Along
y it is `FINGER_SLANT` more."""
LOW = 0.02
"""Height of the end effector above the object's centre from which on it pushes nothing [m]."""


def outside_hand(ee_pos: Tensor, position: Tensor) -> Tensor:
    """Move `position` (B, 3) horizontally out of a hand at `ee_pos` (B, 3) that is low enough to push it [m]."""
    offset = position[:, :2] - ee_pos[:, :2]
    distance = offset.norm(dim=1, keepdim=True).clamp_min(1e-4)
    clear = CLEAR + FINGER_SLANT * offset[:, 1:].abs() / distance
    pushed = (distance < clear) & (ee_pos[:, 2:] - position[:, 2:] < LOW)
    level = torch.where(pushed, ee_pos[:, :2] + offset * (clear / distance), position[:, :2])
    return torch.cat([level, position[:, 2:]], dim=1)


def sums_outside_hand(ee_pos: Tensor, sums: Tensor, weights: Tensor) -> Tensor:
    """Move the mean that `GoalFilter` keeps of the first position `outside_hand`.

    Args:
        ee_pos: (B, 3) end-effector position [m].
        sums: (B, 3 · P) of the filter's memory.
        weights: (B, P) of the same.

    Returns:
        The sums.
    """
    known = weights[:, :1].clamp_min(1e-6)
    moved = outside_hand(ee_pos, sums[:, :3] / known) * known
    return torch.cat([torch.where(weights[:, :1] > 1e-6, moved, sums[:, :3]), sums[:, 3:]], dim=1)
