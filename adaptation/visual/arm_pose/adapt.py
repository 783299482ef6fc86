"""Adapt an arm's vision to a camera's unlabelled frames; each method is one function over shared losses.

Every method is given a copy of the network, the labelled renderings and the target's pictures, and changes the copy.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn

from adaptation.visual import losses
from adaptation.visual.arm_pose.network import ArmVision, batches, descend, landmarks, predict, see_fast, vision_loss
from adaptation.visual.arm_pose.views import ArmViews
from adaptation.visual.image_level import match_fourier, match_histogram
from policies.imitation.cloning import one_cycle
from policies.models.keypoint_student import as_network_image
from sim.sensing.image_disturbance import ImageDisturbance, disturb

SOURCE_ONLY = "source-only"
STEPS = 60
BATCH = 24
PEAK = 5e-4
SURE = 0.5
"""Share of the target's landmarks that self-training believes: those with the narrowest maps."""

Method = Callable[[ArmVision, ArmViews, np.ndarray, int, int], None]
Term = Callable[[Tensor, Tensor], Tensor]


def adapted(
    network: ArmVision, method: str, views: ArmViews, images: np.ndarray, seed: int, steps: int = STEPS
) -> ArmVision:
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


@torch.no_grad()
def take_statistics(network: ArmVision, images: np.ndarray) -> None:
    """Put the pictures' own statistics into every batch normalisation (AdaBN, Li et al. 2016)."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over all batches
        layer.train()
    for part in batches(images, 64):
        network.encoder.features(as_network_image(torch.from_numpy(part)))
    for layer in layers:
        layer.momentum = 0.1
    network.eval()


def unsteadiness(network: ArmVision, images: np.ndarray, seed: int, source_spread: float = 0.0) -> float:
    """How far the end effector jumps when a picture is lit, blurred and compressed otherwise, median [m]; no labels.

    A network that says nearly the same of every picture jumps little for that alone. Where the positions spread less
    than source-only's, `source_spread` [m], the jumps are scaled up by as much.
    """
    plain, _ = predict(network, images)
    other, _ = predict(network, _disturbed(images, np.random.default_rng(seed)))
    jump = float(np.median(np.linalg.norm(plain - other, axis=1)))
    return jump * max(1.0, source_spread / max(_spread(plain), 1e-9))


def spread(network: ArmVision, images: np.ndarray) -> float:
    """Root mean square distance of the end effectors in `images` from their mean [m]."""
    return _spread(predict(network, images)[0])


def _spread(ee: np.ndarray) -> float:
    return float(np.sqrt(np.square(ee - ee.mean(0)).sum(1).mean()))


def _source_only(network: ArmVision, views: ArmViews, images: np.ndarray, seed: int, steps: int) -> None:
    del network, views, images, seed, steps


def _batch_norm(network: ArmVision, views: ArmViews, images: np.ndarray, seed: int, steps: int) -> None:
    take_statistics(network, images)


def _coral(network: ArmVision, views: ArmViews, images: np.ndarray, seed: int, steps: int) -> None:
    _align(network, views, images, seed, steps, lambda s, t: 10.0 * losses.coral(s, t) + losses.mean_gap(s, t))


def _mmd(network: ArmVision, views: ArmViews, images: np.ndarray, seed: int, steps: int) -> None:
    _align(network, views, images, seed, steps, lambda s, t: 0.1 * losses.mmd(s, t))


def _adversarial(network: ArmVision, views: ArmViews, images: np.ndarray, seed: int, steps: int) -> None:
    channels = network.mask.in_channels
    judge = nn.Sequential(nn.Linear(channels, 64), nn.ReLU(), nn.Linear(64, 1))
    _align(network, views, images, seed, steps, lambda s, t: 0.1 * losses.domain_adversarial(s, t, judge), judge)


def _fourier(network: ArmVision, views: ArmViews, images: np.ndarray, seed: int, steps: int) -> None:
    _restyle(network, views, images, seed, steps, lambda image, reference: match_fourier(image, reference, 0.02))


def _histogram(network: ArmVision, views: ArmViews, images: np.ndarray, seed: int, steps: int) -> None:
    _restyle(network, views, images, seed, steps, match_histogram)


def _self_training(network: ArmVision, views: ArmViews, images: np.ndarray, seed: int, steps: int) -> None:
    """Teach the network what it sees in plain pictures to see in disturbed ones, where it is sure."""
    teacher = landmarks(network, images)
    limit = teacher[..., 2].quantile(SURE)
    rng = np.random.default_rng(seed)

    def term() -> Tensor:
        rows = rng.integers(0, len(images), BATCH)
        _, logits, _ = see_fast(network, _disturbed(images[rows], rng))
        told = teacher[rows]
        seen = network.encoder.locate(logits)[..., :2]
        return losses.consistency(seen.flatten(0, 1), told[..., :2].flatten(0, 1), told[..., 2].flatten(), float(limit))

    _descend(network, views, seed, steps, lambda rows: views.images[rows], lambda features: term(), [])


def _align(
    network: ArmVision,
    views: ArmViews,
    images: np.ndarray,
    seed: int,
    steps: int,
    term: Term,
    judge: nn.Module | None = None,
) -> None:
    """Fine-tune with a term on the pooled features of both domains; the target's statistics come last."""
    rng = np.random.default_rng(seed)

    def compare(features: Tensor) -> Tensor:
        rows = rng.integers(0, len(images), BATCH)
        of_target, _, _ = see_fast(network, images[rows])
        return term(features.float().mean((2, 3)), of_target.float().mean((2, 3)))

    _descend(
        network, views, seed, steps, lambda rows: views.images[rows], compare, list(judge.parameters()) if judge else []
    )
    take_statistics(network, images)


def _restyle(
    network: ArmVision,
    views: ArmViews,
    images: np.ndarray,
    seed: int,
    steps: int,
    style: Callable[[np.ndarray, np.ndarray], np.ndarray],
) -> None:
    """Fine-tune on renderings that look like the target's pictures."""
    rng = np.random.default_rng(seed)

    def styled(rows: np.ndarray) -> np.ndarray:
        return np.stack([style(views.images[row], images[rng.integers(len(images))]) for row in rows])

    _descend(network, views, seed, steps, styled, None, [])


def _descend(
    network: ArmVision,
    views: ArmViews,
    seed: int,
    steps: int,
    pictures: Callable[[np.ndarray], np.ndarray],
    term: Callable[[Tensor], Tensor] | None,
    extra: list[nn.Parameter],
) -> None:
    rng = np.random.default_rng(seed + 1)
    seeing = [*network.encoder.parameters(), *network.mask.parameters()]
    optimiser = torch.optim.AdamW([*seeing, *extra], PEAK, weight_decay=1e-4)
    network.train()
    for rate in one_cycle(PEAK, steps):
        rows = rng.integers(0, len(views), BATCH)
        features, logits, mask = see_fast(network, pictures(rows))
        loss = vision_loss(network, views, rows, logits, mask)
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
"""What changes least first."""
