"""Maps of several resolutions into one: a feature pyramid (Lin et al., CVPR 2017) with one level."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Pyramid(nn.Module):
    """Reduces each map to `channels`, resamples it at the cells of the finest one wanted, and adds them up."""

    def __init__(
        self,
        inputs: Sequence[int],
        channels: int,
        rows: tuple[Sequence[Tensor], Tensor],
        columns: tuple[Sequence[Tensor], Tensor],
    ):
        """Build for maps of `inputs` channels.

        Args:
            inputs: channels of each map.
            channels: of the result.
            rows: centres of each map's rows, and of the result's [px].
            columns: the same of the columns.
        """
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(nn.Conv2d(each, channels, 1, bias=False), nn.BatchNorm2d(channels)) for each in inputs
        )
        for k in range(len(inputs)):
            for name, (given, wanted) in (("rows", rows), ("columns", columns)):
                self.register_buffer(f"{name}_{k}", interpolation(given[k], wanted), persistent=False)
        self.out = nn.Sequential(
            nn.ReLU(),
            nn.Conv2d(channels, channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        """Combine maps (B, C, h, w) into one (B, channels, rows, columns)."""
        total: Tensor | None = None
        for k, (reduce, each) in enumerate(zip(self.lateral, maps)):
            found = self.get_buffer(f"rows_{k}") @ reduce(each) @ self.get_buffer(f"columns_{k}").T
            total = found if total is None else total + found
        assert total is not None
        return self.out(total)


def interpolation(given: Tensor, wanted: Tensor) -> Tensor:
    """Return the matrix (wanted, given) that interpolates linearly from ascending centres `given` at `wanted`.

    Beyond the first and the last centre the value is theirs.
    """
    if len(given) == 1:
        return torch.ones(len(wanted), 1)
    place = (wanted - given[0]) / (given[1] - given[0])
    place = place.clamp(0, len(given) - 1)
    return (1.0 - (place[:, None] - torch.arange(len(given))).abs()).clamp_min(0.0)
