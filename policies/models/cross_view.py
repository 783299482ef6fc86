"""What two cameras' first looks at the same point tell each other.

    front's map ──▶ where the point may be in side's picture ──▶ × side's map      and the other way round

A thing that one camera cannot tell from its shadow, or from another thing, often stands in plain sight of the other.
Which cells of the two maps go together follows from where cameras and things may be; the training views count it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

UNHEARD = 0.03
"""Added to what one camera says of a cell of the other, of which 1 would be nothing new: it may be wrong."""
RARE = 1e-6
"""Share of the training views below which a pair of cells is not known."""


class Agreement(nn.Module):
    """Multiplies each of two cameras' maps of a point by what the other one's implies; nothing in it is a weight."""

    ratio: Tensor

    def __init__(self, cells: int):
        """Begin with two cameras that know nothing of each other, whose maps have so many `cells`."""
        super().__init__()
        self.register_buffer("ratio", torch.ones(cells, cells))

    def count(self, first: Tensor, second: Tensor) -> None:
        """Learn from maps (N, cells) of where the point is in both cameras' pictures of N moments, each summing to 1.

        What is kept is by how much more often two cells hold the point together than by chance: p(i, j) / p(i) p(j).
        """
        joint = first.T @ second / len(first)
        chance = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
        self.ratio = torch.where(chance > RARE**2, joint / chance.clamp_min(RARE**2), 0.0)

    def forward(self, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
        """Turn both cameras' logits (B, cells) into those that follow from both pictures.

        By Bayes' rule, the pictures being independent given where the point is: p(i | both) ∝ p(i | first) · Σ_j
        p(j | second) · p(i, j) / p(i) p(j).
        """
        told = torch.softmax(second, dim=1) @ self.ratio.T, torch.softmax(first, dim=1) @ self.ratio
        return first + torch.log(told[0] + UNHEARD), second + torch.log(told[1] + UNHEARD)
