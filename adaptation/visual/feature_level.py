"""Align what an encoder answers to renderings and to the target's frames, while it goes on finding the keypoints."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from adaptation.visual import losses
from adaptation.visual.material import Material
from policies.imitation.cloning import one_cycle
from policies.models.keypoint_student import KeypointEncoder, as_network_image
from sim.datasets.labelled_renders import LabelledRenders

STEPS, BATCH = 150, 64
PEAK = 5e-4

Term = Callable[[Tensor, Tensor], Tensor]
"""Pooled features (B, C) of both domains to a loss."""


def align_features(encoder: KeypointEncoder, material: Material, term: str, steps: int = STEPS) -> None:
    """Fine-tune `encoder` on the source's labelled renderings with one of `TERMS` on the features of both domains.

    Raises:
        ValueError: for an unknown term; lists the known ones.
    """
    if term not in TERMS:
        raise ValueError(f"unknown term '{term}'; known are {', '.join(TERMS)}")
    torch.manual_seed(material.seed)
    loss, judge = TERMS[term](encoder.heat.in_channels)
    rng = np.random.default_rng(material.seed)
    source, frames = material.source, material.target.images
    optimiser = torch.optim.AdamW([*encoder.parameters(), *judge], PEAK, weight_decay=1e-4)
    encoder.train()
    for rate in one_cycle(PEAK, steps):
        rows, others = rng.integers(0, len(source), BATCH), rng.integers(0, len(frames), BATCH)
        features = encoder.features(as_network_image(torch.from_numpy(source.images[rows])))
        of_target = encoder.features(as_network_image(torch.from_numpy(frames[others])))
        total = keypoint_loss(encoder, encoder.heat(features).flatten(2), source, rows)
        total = total + loss(features.mean((2, 3)), of_target.mean((2, 3)))
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
    encoder.eval()


def keypoint_loss(encoder: KeypointEncoder, logits: Tensor, views: LabelledRenders, rows: np.ndarray) -> Tensor:
    """Compute the loss of `fit_encoder` on `rows` of labelled views, from logits (B, K, cells)."""
    target = encoder.from_pixels(torch.from_numpy(views.pixels[rows]))
    inside = (target.abs() <= 1.02).all(-1).float()  # NaN, behind the camera, compares false
    target = torch.nan_to_num(target)
    cell = 2.0 / (encoder.map_size[1] - 1)
    entropy = -(encoder.gaussian(target, cell) * F.log_softmax(logits, dim=2)).sum(2)
    offset = (encoder.locate(logits)[..., :2] - target).abs().sum(-1)
    return ((0.1 * entropy + offset) * inside).mean()


def _coral(channels: int) -> tuple[Term, list[nn.Parameter]]:
    del channels
    return lambda s, t: 10.0 * losses.coral(s, t) + losses.mean_gap(s, t), []


def _mmd(channels: int) -> tuple[Term, list[nn.Parameter]]:
    del channels
    return lambda s, t: 0.1 * losses.mmd(s, t), []


def _adversarial(channels: int) -> tuple[Term, list[nn.Parameter]]:
    judge = nn.Sequential(nn.Linear(channels, 64), nn.ReLU(), nn.Linear(64, 1))
    return lambda s, t: 0.1 * losses.domain_adversarial(s, t, judge), list(judge.parameters())


TERMS: dict[str, Callable[[int], tuple[Term, list[nn.Parameter]]]] = {
    "coral": _coral,
    "mmd": _mmd,
    "adversarial": _adversarial,
}
"""Width of the features to the term, and the parameters of what it judges by."""
