"""Adapt an arm-pose network to a camera's unlabelled frames.

Each method changes a copy of the network, given the labelled renders and the target's pictures.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from adaptation.visual.feature_level import adapt_batch_norm
from adaptation.visual.image_level import match_fourier, match_histogram
from adaptation.visual.losses import coral, domain_adversarial, mean_gap
from benchmarks.arm_pose.losses import consistency, mmd
from benchmarks.arm_pose.network import (
    ArmPoseNetwork,
    batches,
    descend,
    fast_heads,
    landmarks,
    predict,
    render_loss,
)
from benchmarks.arm_pose.renders import ArmRenders
from policies.training.descent import one_cycle
from sim.sensing.image_disturbance import ImageDisturbance, disturb

SOURCE_ONLY = "source-only"
STEPS = 60
BATCH = 24
PEAK = 5e-4
SURE = 0.5
"""Share of the target's landmarks that serve as pseudo-labels: those with the narrowest maps."""

Method = Callable[[ArmPoseNetwork, ArmRenders, np.ndarray, int, int], None]
Term = Callable[[Tensor, Tensor], Tensor]


def adapted(
    network: ArmPoseNetwork, method: str, views: ArmRenders, images: np.ndarray, seed: int, steps: int = STEPS
) -> ArmPoseNetwork:
    """Return a copy of `network` adapted by one of `METHODS` to pictures (N, H, W, 3) uint8 without labels.

    `steps` are gradient steps; methods without any ignore them.

    Raises:
        ValueError: for an unknown method, or pictures of another size, or all alike.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method '{method}'; known are {', '.join(METHODS)}")
    if images.dtype != np.uint8 or images.shape[1:] != views.images.shape[1:]:
        raise ValueError(
            f"target pictures are {images.dtype} {images.shape[1:]}, the network sees uint8 {views.images.shape[1:]}; "
            "resize them"
        )
    if len(images) < 2 or (images == images[0]).all():
        raise ValueError(f"all {len(images)} target pictures are the same; did the camera freeze?")
    changed = copy.deepcopy(network)
    torch.manual_seed(seed)
    METHODS[method](changed, views, images, seed, steps)
    return changed.eval()


def augmented_jump(network: ArmPoseNetwork, images: np.ndarray, seed: int, source_spread: float = 0.0) -> float:
    """Return the median change [m] of the end effector under random light, blur and compression; needs no labels.

    Where the positions spread less than source-only's, `source_spread` [m], the change is scaled up by the ratio, so
    that a collapse does not lower it.
    """
    plain, _ = predict(network, images)
    other, _ = predict(network, _disturbed(images, np.random.default_rng(seed)))
    jump = float(np.median(np.linalg.norm(plain - other, axis=1)))
    return jump * max(1.0, source_spread / max(_spread(plain), 1e-9))


def spread(network: ArmPoseNetwork, images: np.ndarray) -> float:
    """Root mean square distance of the end effectors in `images` from their mean [m]."""
    return _spread(predict(network, images)[0])


def _spread(ee: np.ndarray) -> float:
    return float(np.sqrt(np.square(ee - ee.mean(0)).sum(1).mean()))


def _source_only(network: ArmPoseNetwork, views: ArmRenders, images: np.ndarray, seed: int, steps: int) -> None:
    del network, views, images, seed, steps


def _batch_norm(network: ArmPoseNetwork, views: ArmRenders, images: np.ndarray, seed: int, steps: int) -> None:
    adapt_batch_norm(network, network.encoder.features, batches(images, 64))


def _coral(network: ArmPoseNetwork, views: ArmRenders, images: np.ndarray, seed: int, steps: int) -> None:
    _align(network, views, images, seed, steps, lambda s, t: 10.0 * coral(s, t) + mean_gap(s, t))


def _mmd(network: ArmPoseNetwork, views: ArmRenders, images: np.ndarray, seed: int, steps: int) -> None:
    _align(network, views, images, seed, steps, lambda s, t: 0.1 * mmd(s, t))


def _adversarial(network: ArmPoseNetwork, views: ArmRenders, images: np.ndarray, seed: int, steps: int) -> None:
    channels = network.mask.in_channels
    discriminator = nn.Sequential(nn.Linear(channels, 64), nn.ReLU(), nn.Linear(64, 1))
    _align(
        network, views, images, seed, steps, lambda s, t: 0.1 * domain_adversarial(s, t, discriminator), discriminator
    )


def _fourier(network: ArmPoseNetwork, views: ArmRenders, images: np.ndarray, seed: int, steps: int) -> None:
    _style_transfer(network, views, images, seed, steps, lambda image, reference: match_fourier(image, reference, 0.02))


def _histogram(network: ArmPoseNetwork, views: ArmRenders, images: np.ndarray, seed: int, steps: int) -> None:
    _style_transfer(network, views, images, seed, steps, match_histogram)


def _self_training(network: ArmPoseNetwork, views: ArmRenders, images: np.ndarray, seed: int, steps: int) -> None:
    """Train on disturbed pictures with confident landmarks of the undisturbed ones as pseudo-labels."""
    teacher = landmarks(network, images)
    limit = teacher[..., 2].quantile(SURE)
    rng = np.random.default_rng(seed)

    def term() -> Tensor:
        rows = rng.integers(0, len(images), BATCH)
        _, logits, _ = fast_heads(network, _disturbed(images[rows], rng))
        labels = teacher[rows]
        seen = network.encoder.locate(logits)[..., :2]
        return consistency(seen.flatten(0, 1), labels[..., :2].flatten(0, 1), labels[..., 2].flatten(), float(limit))

    _descend(network, views, seed, steps, lambda rows: views.images[rows], lambda features: term(), [])


def _align(
    network: ArmPoseNetwork,
    views: ArmRenders,
    images: np.ndarray,
    seed: int,
    steps: int,
    term: Term,
    discriminator: nn.Module | None = None,
) -> None:
    """Fine-tune with a term on the pooled features of both domains, then adapt the batch statistics."""
    rng = np.random.default_rng(seed)

    def compare(features: Tensor) -> Tensor:
        rows = rng.integers(0, len(images), BATCH)
        of_target, _, _ = fast_heads(network, images[rows])
        return term(features.float().mean((2, 3)), of_target.float().mean((2, 3)))

    _descend(
        network,
        views,
        seed,
        steps,
        lambda rows: views.images[rows],
        compare,
        list(discriminator.parameters()) if discriminator else [],
    )
    adapt_batch_norm(network, network.encoder.features, batches(images, 64))


def _style_transfer(
    network: ArmPoseNetwork,
    views: ArmRenders,
    images: np.ndarray,
    seed: int,
    steps: int,
    style: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> None:
    """Fine-tune on renders in the style of the target's pictures."""
    rng = np.random.default_rng(seed)

    def styled(rows: np.ndarray) -> np.ndarray:
        return np.stack([style(views.images[row], images[rng.integers(len(images))]) for row in rows])

    _descend(network, views, seed, steps, styled, None, [])


def _descend(
    network: ArmPoseNetwork,
    views: ArmRenders,
    seed: int,
    steps: int,
    pictures: Callable[[np.ndarray], np.ndarray],
    term: Callable[[Tensor], Tensor] | None,
    extra: list[nn.Parameter],
) -> None:
    rng = np.random.default_rng(seed + 1)
    trained = [*network.encoder.parameters(), *network.mask.parameters()]
    optimiser = torch.optim.AdamW([*trained, *extra], PEAK, weight_decay=1e-4)
    network.train()
    for rate in one_cycle(PEAK, steps):
        rows = rng.integers(0, len(views), BATCH)
        features, logits, mask = fast_heads(network, pictures(rows))
        loss = render_loss(network, views, rows, logits, mask)
        descend(optimiser, loss if term is None else loss + term(features), rate)
    network.eval()


def _disturbed(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    def effects() -> ImageDisturbance:
        return ImageDisturbance(
            exposure=rng.normal(0, 0.3), white_balance=rng.normal(0, 0.15), gamma=rng.normal(0, 0.15),
            blur=abs(rng.normal(0, 0.5)), shot_noise=rng.uniform(0, 0.03), jpeg=rng.uniform(0, 0.4),
        )  # fmt: skip

    return np.stack([disturb(image, effects(), rng) for image in images])


METHODS: dict[str, Method] = {
    SOURCE_ONLY: _source_only,
    "batch-norm": _batch_norm,
    "coral": _coral,
    "mmd": _mmd,
    "adversarial": _adversarial,
    "fourier": _fourier,
    "histogram": _histogram,
    "self-training": _self_training,
}
"""From the smallest change to the largest."""
