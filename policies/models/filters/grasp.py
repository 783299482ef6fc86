"""What the fingers tell of the thing that they hold: it is where they are, and goes where they go.

    opening now and an action ago ──▶ held? ──▶ earlier looks at the thing go along with the hand ──▶ `Remembered`

A thing between the fingers is half hidden, and it moves: the mean of earlier looks stays behind it. Whoever believes
that opens the fingers and goes back for it. Fingers that have stopped half-way have stopped on something; fingers that
are closed hold nothing, and if the thing is remembered between them, that is wrong.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from policies.models.filters.goal_filter import POWER, UNIT
from robots.model import Gripper

FEWEST, MOST = 0.15, 0.91
"""Shares of their whole opening between which fingers can have stopped on something: less is nothing, more is wide
open. For the Panda's, a thing 12 to 73 mm wide."""
STILL = 0.015
"""Change of that share, from one action to the next, up to which they have stopped: 0.6 mm for the Panda's."""
ASIDE = 0.008
"""How far the middle of what is held may be from the end effector [m]: what feeling it tells is as good as a look
that is expected to be so wrong."""
EMPTY_HAND = 0.05
"""Distance from the end effector [m] within which nothing is where the fingers have closed on nothing."""


class Grasp(nn.Module):
    """Carries along what was seen of the first place that is remembered while it is held; nothing in it is learned."""

    closed: Tensor
    stroke: Tensor

    def __init__(self, gripper: Gripper):
        """Feel by the opening of `gripper`."""
        super().__init__()
        self.register_buffer("closed", torch.tensor(gripper.closed), persistent=False)
        self.register_buffer("stroke", torch.tensor(gripper.opened - gripper.closed), persistent=False)

    @property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """Shapes of what is carried from one action to the next: where the hand was, and how far the fingers open."""
        return {"hand_before": (3,), "opening_before": (1,)}

    def holds(self, opening: Tensor, before: Tensor) -> Tensor:
        """Tell whether something is held (B, 1) bool, by the opening now and an action `before` (B, 1) [m]."""
        share = (opening - self.closed) / self.stroke
        still = (opening - before).abs() < STILL * self.stroke.abs()
        return still & (share > FEWEST) & (share < MOST)

    def forward(
        self, held: Tensor, opening: Tensor, hand: Tensor, before: Tensor, sums: Tensor, weights: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Take the first place along where it is held, and feel it there; forget it where it cannot be.

        Args:
            held: (B, 1) bool, of `holds`.
            opening: (B, 1) of the fingers [m].
            hand: (B, 3) where the end effector is [m], in a frame that does not move.
            before: (B, 3) where it was an action ago [m].
            sums: (B, 3 · P) of `Remembered`'s memory, the held thing's place first.
            weights: (B, P) of the same.

        Returns:
            The sums and weights.
        """
        empty = (opening - self.closed) / self.stroke < FEWEST
        near = (sums[:, :3] - weights[:, :1] * hand).norm(dim=1, keepdim=True) < EMPTY_HAND * weights[:, :1]
        known = 1.0 - (empty & near).float()
        weight, place = known * weights[:, :1], known * sums[:, :3]
        felt = torch.where(held, (ASIDE / UNIT) ** -POWER, 0.0)
        moved = torch.where(held, hand - before, 0.0)
        place = place + weight * moved + felt * hand
        return torch.cat([place, sums[:, 3:]], dim=1), torch.cat([weight + felt, weights[:, 1:]], dim=1)
