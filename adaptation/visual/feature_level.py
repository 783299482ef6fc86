"""Feature-level adaptation of a keypoint encoder: batch statistics, and alignment of the features of both domains."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptation.visual import losses
from adaptation.visual.inputs import AdaptationInputs
from policies.models.keypoint_encoder import KeypointEncoder, as_network_image
from policies.training.descent import one_cycle
from policies.training.device import device_of
from sim.datasets.labelled_renders import LabelledRenders

STEPS, BATCH = 150, 64
PEAK = 5e-4

Term = Callable[[Tensor, Tensor], Tensor]
"""Pooled features (B, C) of source and target to a loss."""


@torch.no_grad()
def adapt_batch_norm(network: nn.Module, forward: Callable[[Tensor], object], batches: Iterable[np.ndarray]) -> None:
    """Replace the statistics of every batch normalisation by the target's (AdaBN, Li et al. 2016).

    Args:
        network: whose layers are changed; it is left in evaluation mode.
        forward: runs them on images (B, 3, H, W) in [-1, 1].
        batches: target images (B, H, W, 3) uint8.
    """
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain average over all batches
        layer.train()
    for images in batches:
        forward(as_network_image(torch.from_numpy(images).to(device_of(network))))
    for layer in layers:
        layer.momentum = 0.1
    network.eval()


def align_features(encoder: KeypointEncoder, inputs: AdaptationInputs, term: str, steps: int = STEPS) -> None:
    """Fine-tune `encoder` on labelled source renders, with one of `TERMS` on the features of both domains.

    Raises:
        ValueError: for an unknown term; lists the known ones.
    """
    if term not in TERMS:
        raise ValueError(f"unknown term '{term}'; known are {', '.join(TERMS)}")
    torch.manual_seed(inputs.seed)
    device = device_of(encoder)
    loss, discriminator = TERMS[term](encoder.heat.in_channels, device)
    rng = np.random.default_rng(inputs.seed)
    source, frames = LabelledRenders.joined(inputs.source), np.concatenate(inputs.images)
    optimiser = torch.optim.AdamW([*encoder.parameters(), *discriminator], PEAK, weight_decay=1e-4)
    encoder.train()
    for rate in one_cycle(PEAK, steps):
        rows, others = rng.integers(0, len(source), BATCH), rng.integers(0, len(frames), BATCH)
        features = encoder.features(as_network_image(torch.from_numpy(source.images[rows]).to(device)))
        of_target = encoder.features(as_network_image(torch.from_numpy(frames[others]).to(device)))
        total = keypoint_loss(encoder, encoder.heat(features).flatten(2), source.pixels[rows])
        total = total + loss(features.mean((2, 3)), of_target.mean((2, 3)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    encoder.eval()


def keypoint_loss(encoder: KeypointEncoder, logits: Tensor, pixels: np.ndarray) -> Tensor:
    """Compute the loss of `fit_encoder` from logits (B, K, cells) and labels (B, K, 2) [px]."""
    target = encoder.from_pixels(torch.from_numpy(pixels).to(logits.device))
    inside = (target.abs() <= 1.02).all(-1).float()  # NaN, behind the camera, compares false
    target = torch.nan_to_num(target)
    cell = 2.0 / (encoder.map_size[1] - 1)
    entropy = -(encoder.gaussian(target, cell) * F.log_softmax(logits, dim=2)).sum(2)
    offset = (encoder.locate(logits)[..., :2] - target).abs().sum(-1)
    return ((0.1 * entropy + offset) * inside).mean()


def _coral(channels: int, device: torch.device) -> tuple[Term, list[nn.Parameter]]:
    del channels, device
    return lambda s, t: 10.0 * losses.coral(s, t) + losses.mean_gap(s, t), []


def _adversarial(channels: int, device: torch.device) -> tuple[Term, list[nn.Parameter]]:
    discriminator = nn.Sequential(nn.Linear(channels, 64), nn.ReLU(), nn.Linear(64, 1)).to(device)
    return lambda s, t: 0.1 * losses.domain_adversarial(s, t, discriminator), list(discriminator.parameters())


TERMS: dict[str, Callable[[int, torch.device], tuple[Term, list[nn.Parameter]]]] = {
    "coral": _coral,
    "adversarial": _adversarial,
}
"""From the width of the features, and the device, to the term and the parameters of its discriminator, if any."""
