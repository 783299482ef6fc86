"""Use the gripper's opening to locate a grasped object: it is between the fingers, and moves with them.

    opening now and one action ago ──▶ held? ──▶ earlier positions of the object move with the hand ──▶ `GoalFilter`

A grasped object is half hidden and moves, so that the mean over earlier positions lags behind. Fingers that have
stopped half-way have stopped on something; fingers that are closed hold nothing, and an object that is estimated to be
between them is somewhere else.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.models.filters.goal_filter import POWER, REFERENCE_STD
from robots.model import Gripper

FEWEST, MOST = 0.15, 0.91
"""Shares of their whole opening between which fingers can have stopped on something: less is nothing, more is wide
open. For the Panda's, an object 12 to 73 mm wide."""
STILL = 0.015
"""Change of that share, from one action to the next, up to which they have stopped: 0.6 mm for the Panda's."""
ASIDE = 0.008
"""Standard deviation of a grasped object's centre about the end effector [m]; weighs it like a predicted std."""
EMPTY_HAND = 0.05
"""Distance from the end effector [m] within which no object can be once the fingers have closed on nothing."""


class Grasp(nn.Module):
    """Moves the first filtered position with the hand while it is grasped; it has no learned parameters."""

    closed: Tensor
    stroke: Tensor

    def __init__(self, gripper: Gripper):
        """Detect grasps by the opening of `gripper`."""
        super().__init__()
        self.register_buffer("closed", torch.tensor(gripper.closed), persistent=False)
        self.register_buffer("stroke", torch.tensor(gripper.opened - gripper.closed), persistent=False)

    @property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the state between two actions: where the hand was, and how far the fingers were open."""
        return {"hand_before": (3,), "opening_before": (1,)}

    def holds(self, opening: Tensor, before: Tensor) -> Tensor:
        """Return whether something is grasped (B, 1) bool, by the opening now and one action `before` (B, 1) [m]."""
        share = (opening - self.closed) / self.stroke
        still = (opening - before).abs() < STILL * self.stroke.abs()
        return still & (share > FEWEST) & (share < MOST)

    def forward(
        self, held: Tensor, opening: Tensor, ee_pos: Tensor, before: Tensor, sums: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Move the first position with the hand where it is grasped; forget it where it cannot be.

        Args:
            held: (B, 1) bool, of `holds`.
            opening: (B, 1) of the fingers [m].
            ee_pos: (B, 3) end-effector position in the base frame [m].
            before: (B, 3) the same one action ago [m].
            sums: (B, 3 · P) of `GoalFilter`'s memory, the object's position first.
            weights: (B, P) of the same.

        Returns:
            The sums and weights.
        """
        empty = (opening - self.closed) / self.stroke < FEWEST
        near = (sums[:, :3] - weights[:, :1] * ee_pos).norm(dim=1, keepdim=True) < EMPTY_HAND * weights[:, :1]
        known = 1.0 - (empty & near).float()
        weight, position = known * weights[:, :1], known * sums[:, :3]
        grasped = torch.where(held, (ASIDE / REFERENCE_STD) ** -POWER, 0.0)
        moved = torch.where(held, ee_pos - before, 0.0)
        position = position + weight * moved + grasped * ee_pos
        return torch.cat([position, sums[:, 3:]], dim=1), torch.cat([weight + grasped, weights[:, 1:]], dim=1)
