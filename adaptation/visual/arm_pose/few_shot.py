"""Adapt an arm's vision with a handful of labelled frames; joint angles and a calibrated camera label them for free.

    linear-probe   the heads on the frozen features
    lp-ft          the heads first, then everything gently (Kumar et al., ICLR 2022)
    last-layer     the last layer from landmarks to metres
    low-rank       low-rank changes of the convolutions (LoRA, Hu et al., ICLR 2022), merged afterwards

Batch statistics stay those of the source: a handful of frames has none worth taking.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from adaptation.visual.arm_pose.network import ArmVision, descend, landmarks, vision_loss
from adaptation.visual.arm_pose.views import ArmViews
from policies.imitation.cloning import one_cycle
from policies.models.keypoint_student import as_network_image

FEWEST = 3
BATCH = 16
RANK = 4

Method = Callable[[ArmVision, ArmViews, int, int], None]


def few_shot(network: ArmVision, method: str, labelled: ArmViews, seed: int, steps: int = 60) -> ArmVision:
    """Return a copy of `network` adapted to labelled frames by one of `METHODS`.

    Raises:
        ValueError: for an unknown method, too few frames, frames of another size, or frames that are all the same.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method '{method}'; known are {', '.join(METHODS)}")
    if len(labelled) < FEWEST:
        raise ValueError(f"{len(labelled)} labelled frames, expected at least {FEWEST}; label more")
    rows, columns = network.encoder.map_size
    if labelled.masks.shape[1:] != (rows, columns):
        raise ValueError(
            f"labelled frames are {labelled.images.shape[1:3]}, the network sees {(4 * rows, 4 * columns)}; resize them"
        )
    if (labelled.images == labelled.images[0]).all():
        raise ValueError(f"all {len(labelled)} labelled frames are the same; did the camera freeze?")
    changed = copy.deepcopy(network).eval()
    torch.manual_seed(seed)
    METHODS[method](changed, labelled, seed, steps)
    return changed


class LowRank(nn.Module):
    """Adds a product of two thin matrices to a convolution's weight; nothing at first."""

    def __init__(self, weight: Tensor, rank: int = RANK):
        super().__init__()
        outputs, inputs = weight.shape[0], weight[0].numel()
        self.down = nn.Parameter(torch.randn(rank, inputs) / inputs**0.5)
        self.up = nn.Parameter(torch.zeros(outputs, rank))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the changed weight."""
        return weight + (self.up @ self.down).view_as(weight)


def _linear_probe(network: ArmVision, views: ArmViews, seed: int, steps: int) -> None:
    _see(network, views, seed, steps, [*network.encoder.heat.parameters(), *network.mask.parameters()], 3e-3)


def _probe_then_tune(network: ArmVision, views: ArmViews, seed: int, steps: int) -> None:
    _linear_probe(network, views, seed, steps // 2)
    _see(network, views, seed + 1, steps - steps // 2, _all_that_see(network), 2e-4)


def _last_layer(network: ArmVision, views: ArmViews, seed: int, steps: int) -> None:
    last = network.geometry[-1]
    points, ee = landmarks(network, views.images), torch.from_numpy(views.ee_pos)
    optimiser = torch.optim.Adam(last.parameters(), 1e-3)
    for rate in one_cycle(1e-3, steps):
        descend(optimiser, (network.place(points) - ee).norm(dim=1).mean(), rate)
    del seed


def _low_rank(network: ArmVision, views: ArmViews, seed: int, steps: int) -> None:
    layers = [layer for layer in network.encoder.features.modules() if isinstance(layer, nn.Conv2d)]
    changes: list[nn.Parameter] = []
    for layer in layers:
        change = LowRank(layer.weight)
        parametrize.register_parametrization(layer, "weight", change)
        changes.extend(change.parameters())
    _see(network, views, seed, steps, [*changes, *network.encoder.heat.parameters()], 2e-3)
    for layer in layers:
        parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)


def _see(
    network: ArmVision, views: ArmViews, seed: int, steps: int, parameters: Iterable[nn.Parameter], peak: float
) -> None:
    rng = np.random.default_rng(seed)
    optimiser = torch.optim.AdamW(list(parameters), peak, weight_decay=1e-4)
    for rate in one_cycle(peak, steps):
        rows = rng.integers(0, len(views), min(BATCH, len(views)))
        _, logits, mask = network.see(as_network_image(torch.from_numpy(views.images[rows])))
        descend(optimiser, vision_loss(network, views, rows, logits, mask), rate)


def _all_that_see(network: ArmVision) -> list[nn.Parameter]:
    return [*network.encoder.parameters(), *network.mask.parameters()]


METHODS: dict[str, Method] = {
    "linear-probe": _linear_probe,
    "lp-ft": _probe_then_tune,
    "last-layer": _last_layer,
    "low-rank": _low_rank,
}
"""What changes least first, but for the last layer, which needs no pictures."""
