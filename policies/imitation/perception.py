"""Train the perception of a camera student: first the keypoint encoder, then the geometry that gives metres.

The geometry is trained on the encoder's own outputs, so that it is adapted to their errors; it needs no images and
is fast.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.models.crop_refiner import CropRefiner, corners, crops
from policies.models.cross_view import CrossViewPrior
from policies.models.keypoint_student import CameraStudent, KeypointEncoder, as_network_image
from policies.models.object_student import ObjectStudent
from policies.training.descent import FREE, Loss, Restraint, gradient_descent, one_cycle
from policies.training.parallel import Check, one_thread, run_parallel
from policies.training.precision import fast
from policies.training.progress import Progress, part
from sim.datasets.labelled_renders import LabelledRenders


@dataclass(frozen=True)
class StudentConfig:
    """How the perception of a camera student is trained."""

    renders: int = 20_000
    """Number of independent labelled renders."""
    steps: int = 2_500
    """Gradient steps of the keypoint encoder."""
    batch: int = 128
    """Images per step."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    channels: int = 32
    """Width of the encoder."""
    object_weight: float = 1.0
    """Weight of the object to reach in the encoder's loss; the arm's landmarks have weight 1."""
    refiner_steps: tuple[int, ...] = ()
    """Gradient steps of the crop refiners of the first landmarks, in their order; each step takes half the time of an
    encoder's. None by default."""
    forgetting_factors: tuple[float, ...] = ()
    """Forgetting factors of the goal filter, for the goal or, in tasks with an object, for object and goal. By default
    positions are estimated from each image alone."""
    geometry_steps: int = 2_000
    """Gradient steps of the geometry; each takes a twentieth of the time of an encoder's."""
    geometry_batch: int = 1_024
    """Rows per step."""
    held_out: int = 1_000
    """Labelled renders that are never trained on, for the figures in the run's table."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range."""
        for name in (
            "renders",
            "steps",
            "batch",
            "learning_rate",
            "channels",
            "object_weight",
            "geometry_steps",
            "geometry_batch",
        ):
            if not getattr(self, name) > 0:
                raise ValueError(f"student: {name} is {getattr(self, name)}, expected a positive number")
        if any(steps < 1 for steps in self.refiner_steps):
            raise ValueError(f"student: refiner_steps are {self.refiner_steps}, expected positive numbers, or none")
        if not all(0 <= share <= 1 for share in self.forgetting_factors):
            raise ValueError(
                f"student: forgetting_factors are {self.forgetting_factors}, expected numbers from 0 to 1, or none"
            )
        if not 0 < self.held_out < self.renders:
            raise ValueError(f"student: held_out is {self.held_out}, expected between 0 and renders ({self.renders})")


NEAR = 0.05
"""Distance to the goal below which errors count as near the goal [m]."""


def fit_encoder(
    encoder: KeypointEncoder,
    renders: LabelledRenders,
    config: StudentConfig,
    seed: int,
    progress: Progress,
    restraint: Restraint = FREE,
) -> None:
    """Train the encoder's heat maps to locate the keypoints in the labelled renders `renders`.

    The loss is the cross-entropy of each heat map against a Gaussian one cell wide at the label, plus the
    L1 distance of its expectation; points outside the image or behind the camera do not count.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.from_numpy(renders.images)
    target, seen = _labels(encoder, renders)
    counts = torch.ones(target.shape[1])
    counts[0] = config.object_weight
    counts /= counts.mean()
    cell = 2.0 / (encoder.map_size[1] - 1)
    maps = nn.ModuleDict({"features": encoder.features, "heat": encoder.heat})  # refiners may be trained meanwhile
    maps.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    maps.train()
    optimiser = torch.optim.AdamW(maps.parameters(), config.learning_rate, weight_decay=1e-4)

    def loss(step: int) -> Loss:
        rows = torch.randint(len(images), (config.batch,), generator=generator)
        share = step / config.steps
        encoder.features.train(not restraint.frozen_statistics(share))
        image = as_network_image(images[rows])
        with fast():
            logits = encoder.heat_maps(image)
        entropy = -(encoder.gaussian(target[rows], cell) * F.log_softmax(logits, dim=2)).sum(2)
        offset = (encoder.locate(logits)[..., :2] - target[rows]).abs().sum(-1)
        value = ((0.1 * entropy + offset) * seen[rows] * counts).mean()
        mean = offset.detach()[seen[rows] > 0].mean()
        return Loss(
            value, restraint.penalty(encoder, image, share), lambda: f"keypoints {float(mean) / cell * 4:.1f} px"
        )

    rates = one_cycle(config.learning_rate, config.steps)
    gradient_descent(optimiser, rates, config.steps, loss, progress, maps, restraint.rate_scale)
    maps.eval()


@torch.no_grad()
def fit_cross_view_priors(encoder: KeypointEncoder, first: LabelledRenders, second: LabelledRenders) -> None:
    """Fit the encoder's cross-view priors to two cameras' renders of the same scenes."""
    cell = 2.0 / (encoder.map_size[1] - 1)
    (ours, seen), (theirs, seen_by_second) = _labels(encoder, first), _labels(encoder, second)
    for k, prior in enumerate(encoder.cross_view_priors):
        assert isinstance(prior, CrossViewPrior)
        both = (seen[:, k] * seen_by_second[:, k]) > 0
        prior.fit(*(encoder.gaussian(each[both, k : k + 1], cell)[:, 0] for each in (ours, theirs)))


def fit_refiner(
    refiner: CropRefiner,
    renders: LabelledRenders,
    point: int,
    steps: int,
    config: StudentConfig,
    seed: int,
    progress: Progress,
) -> None:
    """Train the refiner to locate keypoint `point` of `renders` near a first estimate of it."""
    generator = torch.Generator().manual_seed(seed)
    images, pixels = torch.from_numpy(renders.images), torch.from_numpy(renders.pixels[:, point])
    pixels = torch.nan_to_num(pixels, nan=-1e3)  # behind the camera: outside every crop
    refiner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    refiner.train()
    optimiser = torch.optim.AdamW(refiner.parameters(), config.learning_rate, weight_decay=1e-4)

    def loss(step: int) -> Loss:
        rows = torch.randint(len(images), (config.batch,), generator=generator)
        image = as_network_image(images[rows])
        corner = corners(pixels[rows] + draw_first_errors(config.batch, generator), image.shape[2], image.shape[3])
        with fast():
            logits = refiner.logits(crops(image, corner))
        wanted = pixels[rows] - corner

        def text() -> str:
            off = (refiner.locate(logits.detach())[0] - wanted).norm(dim=1).median()
            return f"crop refiner {float(off):.1f} px"

        return Loss(refiner.loss(logits, wanted), text=text)

    gradient_descent(optimiser, one_cycle(config.learning_rate, steps), steps, loss, progress)
    refiner.eval()


def draw_first_errors(count: int, generator: torch.Generator) -> Tensor:
    """Draw errors (count, 2) [px] of a first estimate: half of them small, a tenth larger than a crop."""
    small = 2.0 * torch.randn(count, 2, generator=generator)
    wide = 2.0 * torch.rand(count, 2, generator=generator) - 1.0
    kind = torch.rand(count, 1, generator=generator)
    return torch.where(kind < 0.5, small, wide * torch.where(kind < 0.9, 13.0, 40.0))


def fit_geometry(
    student: CameraStudent | ObjectStudent,
    points: Tensor,
    q: Tensor,
    to_goal: Tensor,
    config: StudentConfig,
    seed: int,
    progress: Progress,
) -> None:
    """Train the geometry to turn keypoints into metres.

    Args:
        student: its `geometry` and its normaliser of q are changed in place.
        points: (N, cameras · K, 3) keypoints and spreads in map coordinates, as the encoder outputs them.
        q: (N, n) joint positions [rad]; for a student with fingers followed by their opening [m].
        to_goal: (N, 3) goal minus end effector [m]; for an `ObjectStudent` (N, 6), object and goal.
        config: steps, batch and learning rate.
        seed: of the order of the rows.
        progress: called with the share that is done.
    """
    generator = torch.Generator().manual_seed(seed)
    student.q_centre.copy_(q.mean(0))
    student.q_spread.copy_(q.std(0).clamp_min(1e-3))
    optimiser = torch.optim.AdamW(student.geometry.parameters(), 2e-3)

    def loss(step: int) -> Loss:
        rows = torch.randint(len(q), (config.geometry_batch,), generator=generator)
        offsets, stds = student.estimate(points[rows], q[rows])
        error = (offsets - to_goal[rows]).unflatten(1, (-1, 3)).norm(dim=2)
        # the second form is minimal where the std equals the expected error
        value = error.mean() if student.filter is None else (error / stds + stds.log()).mean()
        return Loss(value, text=lambda: f"geometry {100 * float(error.mean().detach()):.1f} cm")

    with one_thread():
        gradient_descent(optimiser, one_cycle(2e-3, config.geometry_steps), config.geometry_steps, loss, progress)


def fit_student(
    student: CameraStudent,
    renders: tuple[LabelledRenders, ...],
    config: StudentConfig,
    seed: int,
    progress: Progress,
    restraint: Restraint = FREE,
) -> dict:
    """Train encoder and geometry on `renders`, of the same scenes for each camera.

    Returns:
        The figures of `student_errors` on the renders that were held out.
    """
    held_out = tuple(each[: config.held_out] for each in renders)
    training = tuple(each[config.held_out :] for each in renders)
    fit_perception(student.encoder, training, config, seed, part(progress, 0.0, 0.85), restraint)
    points = detect_all(student.encoder, training)
    q = torch.from_numpy(training[0].q)
    to_goal = torch.from_numpy(training[0].goal) - student.kinematics(q)
    fit_geometry(student, points, q, to_goal, config, seed + 1, part(progress, 0.85, 1.0))
    return student_errors(student, held_out)


def fit_perception(
    encoder: KeypointEncoder,
    renders: tuple[LabelledRenders, ...],
    config: StudentConfig,
    seed: int,
    progress: Progress,
    restraint: Restraint = FREE,
    background: Callable[[Check], None] = lambda check: None,
) -> None:
    """Train the encoder and its refiners on `renders`, of the same scenes for each camera.

    Both are independent: where torch has two threads or more, the refiners are trained in one of them, the encoder in
    the others. Other work, `background`, is done after the refiners in their thread.
    """
    pictures = renders[0] if len(renders) == 1 else LabelledRenders.joined(renders)
    work = [float(config.steps), *(0.5 * steps for steps in config.refiner_steps)]
    done = [0.0] * len(work)
    lock = Lock()

    def report(k: int, share: float, text: str) -> None:
        with lock:
            done[k] = share * work[k]
            progress(sum(done) / sum(work), text)

    def train_encoder() -> None:
        fit_encoder(encoder, pictures, config, seed, partial(report, 0), restraint)
        if len(renders) == 2:
            fit_cross_view_priors(encoder, *renders)

    def train_refiners(check: Check) -> None:
        def checked(k: int, share: float, text: str) -> None:
            check()
            report(k, share, text)

        for k, (refiner, steps) in enumerate(zip(encoder.refiners, config.refiner_steps)):
            assert isinstance(refiner, CropRefiner)
            fit_refiner(refiner, pictures, k, steps, config, seed + 2 + k, partial(checked, 1 + k))
        background(check)

    if config.refiner_steps:
        run_parallel(train_encoder, train_refiners)
    else:
        train_encoder()
        background(lambda: None)


@torch.no_grad()
def student_errors(student: CameraStudent, renders: tuple[LabelledRenders, ...]) -> dict:
    """Measure the student's errors on labelled renders `renders` of the same scenes for each camera.

    Returns:
        `keypoint_px` (median error of each keypoint, camera after camera; None if it is in no image), `goal_cm`,
        `goal_cm_p90` and `goal_cm_p95` (error of the located goal), and `near_goal_cm` and `near_goal_cm_p95`, the
        same where the end effector is within `NEAR` of the goal.
    """
    points = detect_all(student.encoder, renders)
    q, goal = torch.from_numpy(renders[0].q), torch.from_numpy(renders[0].goal)
    to_goal = goal - student.kinematics(q)
    error = 100 * (student.locate(points, q) - to_goal).norm(dim=1)
    near = error[to_goal.norm(dim=1) < NEAR]
    target, seen = (torch.cat(each, dim=1) for each in zip(*(_labels(student.encoder, each) for each in renders)))
    pixels = (student.encoder.to_pixels(points[..., :2]) - student.encoder.to_pixels(target)).norm(dim=-1)
    return {
        "keypoint_px": [_median(pixels[seen[:, k] > 0, k]) for k in range(pixels.shape[1])],
        "goal_cm": float(error.median()),
        "goal_cm_p90": float(error.quantile(0.9)),
        "goal_cm_p95": float(error.quantile(0.95)),
        "near_goal_cm": _median(near),
        "near_goal_cm_p95": float(near.quantile(0.95)) if len(near) else None,
    }


def _median(errors: Tensor) -> float | None:
    return float(errors.median()) if len(errors) else None


def detect_all(encoder: KeypointEncoder, renders: tuple[LabelledRenders, ...]) -> Tensor:
    """Locate the keypoints in renders of the same scenes for each camera (N, cameras · K, 3); see `detect`."""
    return detect(encoder, *(each.images for each in renders))


@torch.no_grad()
def detect(encoder: KeypointEncoder, *images: np.ndarray, batch: int = 250) -> Tensor:
    """Locate the keypoints, x, y and spread in map coordinates, in images (N, H, W, 3) uint8.

    Returns:
        (N, cameras · K, 3), for simultaneous images from one or more cameras.
    """
    encoder.eval()
    parts = []
    for i in range(0, len(images[0]), batch):
        pictures = torch.from_numpy(np.concatenate([each[i : i + batch] for each in images]))
        parts.append(torch.cat(encoder(as_network_image(pictures), len(images)).chunk(len(images)), dim=1))
    return torch.cat(parts)


def _labels(encoder: KeypointEncoder, renders: LabelledRenders) -> tuple[Tensor, Tensor]:
    """Return keypoints in map coordinates (N, K, 2) and whether each lies within the image (N, K), float."""
    target = encoder.from_pixels(torch.from_numpy(renders.pixels))
    seen = (target.abs() <= 1.02).all(-1)  # NaN compares false
    return torch.nan_to_num(target), seen.float()
