"""Estimate where the goal, and an object if there is one, are from images and from the gripper's opening.

position and std ──▶ gripper? ── yes ──▶ `Grasp`: a grasped object moves with the hand ──────┐
                              ── no ───▶ `contact`: the object is outside the closed hand ───┴──▶ `GoalFilter`
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from policies.models.filters.contact import outside_hand, sums_outside_hand
from policies.models.filters.goal_filter import GoalFilter
from policies.models.filters.grasp import Grasp
from robots.model import Gripper

FORGETTING_FACTORS = (0.9, 0.995)
"""Of object and goal near the hand; chosen on recorded episodes of placing (object) and pushing (goal)."""
GOAL_FORGETTING_FACTORS = (0.98,)
"""Of a goal without an object to move; chosen on recorded episodes of reaching."""
HELD = "held"
"""Name of the array that says whether the fingers have stopped on something."""


def default_factors(moves_object: bool) -> tuple[float, ...]:
    """Return the forgetting factors of object and goal, or of the goal alone."""
    return FORGETTING_FACTORS if moves_object else GOAL_FORGETTING_FACTORS


class ObjectFilter(nn.Module):
    """Filters the positions of an object and its goal, or of a goal alone; it has no learned parameters."""

    def __init__(self, forgetting_factors: Sequence[float], gripper: Gripper | None):
        """Filter by `forgetting_factors`, see `GoalFilter`: of object and goal, or of the goal.

        `gripper` is None where the fingers do not move.
        """
        super().__init__()
        self.positions = GoalFilter(forgetting_factors)
        self.moves_object = len(forgetting_factors) > 1
        self.grasp = Grasp(gripper) if gripper else None

    @property
    def forgetting_factors(self) -> Tensor:
        """Forgetting factors of the positions (1, P)."""
        return self.positions.forgetting_factors

    @property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the state between two actions; all zeros when an episode begins."""
        return {**self.positions.memory, **(self.grasp.memory if self.grasp else {})}

    def forward(
        self, ee_pos: Tensor, opening: Tensor, offsets: Tensor, stds: Tensor, *memory: Tensor
    ) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Add the estimates of one image.

        Args:
            ee_pos: (B, 3) end-effector position in the base frame [m].
            opening: (B, 1) of the fingers [m]; (B, 0) where they stay closed.
            offsets: (B, 3 · P) estimated positions minus `ee_pos` [m].
            stds: (B, P) predicted standard deviation of their errors [m].
            memory: of `memory`'s shapes.

        Returns:
            Filtered positions (B, 3 · P) [m]; whether the fingers have stopped on something, as 0 or
            1 (B, 1), (B, 0) where they stay closed; and the next memory.
        """
        if not self.moves_object:
            found, *following = self.positions(ee_pos, offsets, stds, *memory)
            return found, opening, tuple(following)
        if self.grasp is None:
            sums, weights = memory
            moved = torch.cat([outside_hand(ee_pos, ee_pos + offsets[:, :3]) - ee_pos, offsets[:, 3:]], dim=1)
            sums = sums_outside_hand(ee_pos, sums, weights)
            found, *following = self.positions(ee_pos, moved, stds, sums, weights)
            return torch.cat([outside_hand(ee_pos, found[:, :3]), found[:, 3:]], dim=1), opening, tuple(following)
        sums, weights, ee_before, opening_before = memory
        held = self.grasp.holds(opening, opening_before)
        sums, weights = self.grasp(held, opening, ee_pos, ee_before, sums, weights)
        found, *following = self.positions(ee_pos, offsets, stds, sums, weights, held)
        return found, held.float(), (*following, ee_pos, opening)
