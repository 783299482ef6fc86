"""Combine two cameras' heat maps of the same point: each map weighted by what the other one implies.

    first camera's map ──▶ where the point may be in the second image ──▶ × second camera's map      and vice versa

Which cells of the two maps belong to the same place follows from where cameras and objects may be; it is estimated
from labelled renders.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

FLOOR = 0.03
"""Added to the likelihood ratio that one camera implies for a cell of the other, 1 being uninformative: it may be
wrong."""
RARE = 1e-6
"""Share of the labelled renders below which a pair of cells counts as unobserved."""


class CrossViewPrior(nn.Module):
    """Multiplies each of two cameras' maps of a point by what the other one's implies; it has no learned weights."""

    ratio: Tensor

    def __init__(self, cells: int):
        """Begin uninformative, for maps of so many `cells`."""
        super().__init__()
        self.register_buffer("ratio", torch.ones(cells, cells))

    def fit(self, first: Tensor, second: Tensor) -> None:
        """Estimate the ratio from maps (N, cells) of the point in both cameras' images, each summing to 1.

        The ratio is how much more often two cells hold the point together than by chance: p(i, j) / p(i) p(j).
        """
        joint = first.T @ second / len(first)
        chance = joint.sum(1, keepdim=True) * joint.sum(0, keepdim=True)
        self.ratio = torch.where(chance > RARE**2, joint / chance.clamp_min(RARE**2), 0.0)

    def forward(self, first: Tensor, second: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Turn both cameras' logits (B, cells) into those given both images.

        A camera whose `mask` (B, 2) is 0 implies nothing about the other one's map; by default both are 1.

        By Bayes' rule, the images being independent given where the point is: p(i | both) ∝ p(i | first) · Σ_j
        p(j | second) · p(i, j) / p(i) p(j).
        """
        implied = torch.softmax(second, dim=1) @ self.ratio.T, torch.softmax(first, dim=1) @ self.ratio
        by_second, by_first = (torch.log(each + FLOOR) for each in implied)
        if mask is not None:
            by_second, by_first = by_second * mask[:, 1:], by_first * mask[:, :1]
        return first + by_second, second + by_first
