"""What a closed hand tells of the thing that it pushes: it is not where the hand is.

    earlier looks ─┐                          ┌─▶ beside the hand ─▶ `Remembered` ─▶ beside the hand ─▶ rule
    this look ─────┴─▶ where the hand is? ────┘

What is pushed moves under the eyes of a camera that is late, and of a memory that means over what was: both put it
behind itself by up to 3 cm, into the hand. Whoever believes that lifts the hand off it, and starts over. But two bodies
do not share a place: what is believed to be where the hand is has been pushed on.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sim.tasks.motion import FINGER_SLANT

CLEAR = 0.04
"""Distance from the end effector to the middle of a thing that the closed fingers touch along x, seen from above [m]:
half the fingers' width, 0.012 m, and half a thing's, 0.02 to 0.0275 m along an edge and 1.4 times that at a corner.
Along y it is `FINGER_SLANT` more."""
LOW = 0.02
"""Height of the end effector over the thing's middle from which on it pushes nothing [m]."""


def beside(hand: Tensor, place: Tensor) -> Tensor:
    """Move `place` (B, 3) straight out of the way of a `hand` (B, 3) that is low enough to push it [m]."""
    way = place[:, :2] - hand[:, :2]
    far = way.norm(dim=1, keepdim=True).clamp_min(1e-4)
    clear = CLEAR + FINGER_SLANT * way[:, 1:].abs() / far
    pushed = (far < clear) & (hand[:, 2:] - place[:, 2:] < LOW)
    level = torch.where(pushed, hand[:, :2] + way * (clear / far), place[:, :2])
    return torch.cat([level, place[:, 2:]], dim=1)


def carried(hand: Tensor, sums: Tensor, weights: Tensor) -> Tensor:
    """Move what is remembered of the first place `beside` the hand; `sums` (B, 3 · P), `weights` (B, P) and the result
    are those of `Remembered`'s memory."""
    known = weights[:, :1].clamp_min(1e-6)
    place = beside(hand, sums[:, :3] / known) * known
    return torch.cat([torch.where(weights[:, :1] > 1e-6, place, sums[:, :3]), sums[:, 3:]], dim=1)
