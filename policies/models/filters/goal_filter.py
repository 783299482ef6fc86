"""Estimate where the goal is from all images of an episode: a weighted mean of positions with a forgetting factor.

    image ──▶ position and predicted std ──▶ Σ w · position / Σ w,  w = std⁻⁴, older estimates forgotten ──▶ action

A single estimate may be far off, for example where the hand or a shadow covers the object; the network predicts such
errors fairly well. Objects move only where the hand is near, so that only there estimates are forgotten fast.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

POWER = 4.0
"""Exponent of the predicted std in an estimate's weight. Independent Gaussian errors would give 2; errors of
neighbouring images are correlated, and large ones have heavier tails."""
WITHIN_REACH = 0.10
"""Distance from the end effector within which an object may be moved [m]."""
REFERENCE_STD = 0.01
"""Predicted std that gives an estimate the weight one [m]."""


class GoalFilter(nn.Module):
    """A weighted mean of each position over an episode's estimates; it has no learned parameters."""

    forgetting_factors: Tensor
    slowest: Tensor

    def __init__(self, forgetting_factors: Sequence[float]):
        """Filter one position for each of `forgetting_factors`.

        A factor is the share of the weight of past estimates that is kept per action. Where the hand is far, the
        largest factor holds for every position.

        Raises:
            ValueError: if a factor is not between 0 and 1.
        """
        super().__init__()
        if not all(0.0 <= factor <= 1.0 for factor in forgetting_factors):
            raise ValueError(f"forgetting factors are {tuple(forgetting_factors)}, expected numbers from 0 to 1")
        factors = torch.tensor([list(forgetting_factors)], dtype=torch.float32)
        self.register_buffer("forgetting_factors", factors, persistent=False)
        self.register_buffer("slowest", factors.max(dim=1, keepdim=True).values, persistent=False)

    @property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the state between two actions: the sums that make up the means."""
        positions = self.forgetting_factors.shape[1]
        return {"places": (3 * positions,), "weights": (positions,)}

    def forward(
        self,
        ee_pos: Tensor,
        offsets: Tensor,
        stds: Tensor,
        sums: Tensor,
        weights: Tensor,
        held: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Add the estimates of one image.

        Args:
            ee_pos: (B, 3) end-effector position in the base frame [m].
            offsets: (B, 3 · P) estimated positions minus `ee_pos` [m].
            stds: (B, P) predicted standard deviation of their errors [m].
            sums: (B, 3 · P) weighted sums of earlier positions; zeros when an episode begins.
            weights: (B, P) summed weights of earlier positions; zeros when an episode begins.
            held: (B, 1) whether the first object is grasped, and its sums have been moved with the hand; by default
                nothing is.

        Returns:
            The means (B, 3 · P) [m], and the updated sums and weights.
        """
        away = offsets.unflatten(1, (-1, 3)).square().sum(2) > WITHIN_REACH**2
        factors = torch.where(away, self.slowest, self.forgetting_factors)
        if held is not None:
            factors = torch.cat([torch.where(held, self.slowest, factors[:, :1]), factors[:, 1:]], dim=1)
        weight = (stds / REFERENCE_STD) ** -POWER
        weights = factors * weights + weight
        sums = _thrice(factors) * sums + _thrice(weight) * (ee_pos.repeat(1, factors.shape[1]) + offsets)
        return sums / _thrice(weights), sums, weights


def _thrice(columns: Tensor) -> Tensor:
    """Repeat each column (B, P) for x, y and z (B, 3 · P)."""
    return columns[:, :, None].expand(-1, -1, 3).flatten(1)
