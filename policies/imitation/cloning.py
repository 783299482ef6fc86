"""Train the camera student: first to see the keypoints, then to turn them into metres.

The two parts are trained one after the other because they need different things: seeing needs pictures
and is slow; geometry needs only numbers, is fast, and must live with the errors that seeing really makes.
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

from policies.models.crop_refiner import Fovea, corners, crops
from policies.models.cross_view import Agreement
from policies.models.keypoint_student import CameraStudent, KeypointEncoder, as_network_image
from policies.models.object_student import SceneStudent
from policies.training.descent import FREE, Loss, Restraint, descend, one_cycle
from policies.training.parallel import Check, one_thread, side_by_side
from policies.training.precision import fast
from policies.training.progress import Progress, part
from sim.datasets.labelled_renders import LabelledRenders


@dataclass(frozen=True)
class StudentConfig:
    """How the camera student is trained."""

    views: int = 20_000
    """Independent labelled pictures."""
    steps: int = 2_500
    """Gradient steps of the keypoint encoder."""
    batch: int = 128
    """Pictures a step."""
    learning_rate: float = 3e-3
    """Peak of the one-cycle schedule."""
    channels: int = 32
    """Width of the encoder."""
    object_weight: float = 1.0
    """What the thing to reach counts in the encoder's loss, the arm's landmarks one each."""
    fovea_steps: tuple[int, ...] = ()
    """Gradient steps of a second, closer look at the thing, the end effector and so on, in the landmarks' order; each
    takes half an encoder's step's time. None by default."""
    kept: tuple[float, ...] = ()
    """What is remembered: the share of earlier looks' weight that is left an action later, of the goal or, where a
    thing is handled, of the thing and the goal. By default each picture stands alone."""
    geometry_steps: int = 2_000
    """Gradient steps of the geometry, which cost a twentieth of the encoder's."""
    geometry_batch: int = 1_024
    """Rows a step."""
    held_out: int = 1_000
    """Labelled renders that are never trained on, for the figures in the run's table."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range."""
        for name in (
            "views",
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
        if any(steps < 1 for steps in self.fovea_steps):
            raise ValueError(f"student: fovea_steps are {self.fovea_steps}, expected positive numbers, or none")
        if not all(0 <= share <= 1 for share in self.kept):
            raise ValueError(f"student: kept are {self.kept}, expected shares from 0 to 1, or none")
        if not 0 < self.held_out < self.views:
            raise ValueError(f"student: held_out is {self.held_out}, expected between 0 and views ({self.views})")


NEAR = 0.05
"""Of the goal: closer than that is near [m]."""


def fit_encoder(
    encoder: KeypointEncoder,
    views: LabelledRenders,
    config: StudentConfig,
    seed: int,
    progress: Progress,
    restraint: Restraint = FREE,
) -> None:
    """Teach the encoder's first look to locate the keypoints in `views`, whose labels simulation gives.

    The loss is the cross-entropy of each heat map against a Gaussian one cell wide at the label, plus the
    L1 distance of its expectation; points outside the picture or behind the camera do not count.
    """
    generator = torch.Generator().manual_seed(seed)
    images = torch.from_numpy(views.images)
    target, seen = _labels(encoder, views)
    counts = torch.ones(target.shape[1])
    counts[0] = config.object_weight
    counts /= counts.mean()
    cell = 2.0 / (encoder.map_size[1] - 1)
    looks = nn.ModuleDict({"features": encoder.features, "heat": encoder.heat})  # foveas may be learning meanwhile
    looks.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    looks.train()
    optimiser = torch.optim.AdamW(looks.parameters(), config.learning_rate, weight_decay=1e-4)

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
    descend(optimiser, rates, config.steps, loss, progress, looks, restraint.rate_scale)
    looks.eval()


@torch.no_grad()
def count_agreements(encoder: KeypointEncoder, first: LabelledRenders, second: LabelledRenders) -> None:
    """Teach the encoder's agreements what goes together in two cameras' views of the same moments."""
    cell = 2.0 / (encoder.map_size[1] - 1)
    (ours, seen), (theirs, seen_too) = _labels(encoder, first), _labels(encoder, second)
    for k, agreement in enumerate(encoder.agreements):
        assert isinstance(agreement, Agreement)
        both = (seen[:, k] * seen_too[:, k]) > 0
        agreement.count(*(encoder.gaussian(each[both, k : k + 1], cell)[:, 0] for each in (ours, theirs)))


def fit_fovea(
    fovea: Fovea, views: LabelledRenders, point: int, steps: int, config: StudentConfig, seed: int, progress: Progress
) -> None:
    """Teach the fovea in `steps` to locate keypoint `point` of `views` near where a first look may have put it."""
    generator = torch.Generator().manual_seed(seed)
    images, pixels = torch.from_numpy(views.images), torch.from_numpy(views.pixels[:, point])
    pixels = torch.nan_to_num(pixels, nan=-1e3)  # behind the camera: in no crop
    fovea.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    fovea.train()
    optimiser = torch.optim.AdamW(fovea.parameters(), config.learning_rate, weight_decay=1e-4)

    def loss(step: int) -> Loss:
        rows = torch.randint(len(images), (config.batch,), generator=generator)
        image = as_network_image(images[rows])
        corner = corners(pixels[rows] + first_look_errors(config.batch, generator), image.shape[2], image.shape[3])
        with fast():
            logits = fovea.logits(crops(image, corner))
        wanted = pixels[rows] - corner

        def text() -> str:
            off = (fovea.locate(logits.detach())[0] - wanted).norm(dim=1).median()
            return f"refiner {float(off):.1f} px"

        return Loss(fovea.loss(logits, wanted), text=text)

    descend(optimiser, one_cycle(config.learning_rate, steps), steps, loss, progress)
    fovea.eval()


def first_look_errors(count: int, generator: torch.Generator) -> Tensor:
    """Draw errors (count, 2) [px] such as a first look makes: half of them small, a tenth larger than a crop."""
    small = 2.0 * torch.randn(count, 2, generator=generator)
    wide = 2.0 * torch.rand(count, 2, generator=generator) - 1.0
    kind = torch.rand(count, 1, generator=generator)
    return torch.where(kind < 0.5, small, wide * torch.where(kind < 0.9, 13.0, 40.0))


def fit_geometry(
    student: CameraStudent | SceneStudent,
    points: Tensor,
    q: Tensor,
    to_goal: Tensor,
    config: StudentConfig,
    seed: int,
    progress: Progress,
) -> None:
    """Teach the geometry to turn keypoints into metres.

    Args:
        student: whose `geometry` is trained; nothing else changes but the normaliser of q.
        points: (N, cameras · K, 3) keypoints in map coordinates, with the errors and spreads that they will really
            have.
        q: (N, n) joint positions [rad]; for a student with fingers their opening [m] behind them.
        to_goal: (N, 3) goal minus end effector [m]; for a scene's student (N, 6), the thing's way before the goal's.
        config: steps, batch and learning rate.
        seed: of the order of the rows.
        progress: told about the share that is done.
    """
    generator = torch.Generator().manual_seed(seed)
    student.q_centre.copy_(q.mean(0))
    student.q_spread.copy_(q.std(0).clamp_min(1e-3))
    optimiser = torch.optim.AdamW(student.geometry.parameters(), 2e-3)

    def loss(step: int) -> Loss:
        rows = torch.randint(len(q), (config.geometry_batch,), generator=generator)
        ways, doubts = student.estimate(points[rows], q[rows])
        error = (ways - to_goal[rows]).unflatten(1, (-1, 3)).norm(dim=2)
        # the second form is least where the doubt is the error that is to be expected
        value = error.mean() if student.remembered is None else (error / doubts + doubts.log()).mean()
        return Loss(value, text=lambda: f"geometry {100 * float(error.mean().detach()):.1f} cm")

    with one_thread():
        descend(optimiser, one_cycle(2e-3, config.geometry_steps), config.geometry_steps, loss, progress)


def fit_student(
    student: CameraStudent,
    views: tuple[LabelledRenders, ...],
    config: StudentConfig,
    seed: int,
    progress: Progress,
    restraint: Restraint = FREE,
) -> dict:
    """Train encoder and geometry on `views`, one of the same moments for each camera.

    Returns:
        The figures of `student_errors` on the part that was held out.
    """
    held_out = tuple(each[: config.held_out] for each in views)
    training = tuple(each[config.held_out :] for each in views)
    fit_sight(student.encoder, training, config, seed, part(progress, 0.0, 0.85), restraint)
    points = see_all(student.encoder, training)
    q = torch.from_numpy(training[0].q)
    to_goal = torch.from_numpy(training[0].goal) - student.kinematics(q)
    fit_geometry(student, points, q, to_goal, config, seed + 1, part(progress, 0.85, 1.0))
    return student_errors(student, held_out)


def fit_sight(
    encoder: KeypointEncoder,
    views: tuple[LabelledRenders, ...],
    config: StudentConfig,
    seed: int,
    progress: Progress,
    restraint: Restraint = FREE,
    beside: Callable[[Check], None] = lambda check: None,
) -> None:
    """Teach the encoder and its foveas on `views`, one of the same moments for each camera.

    They need nothing of each other: where torch has two threads or more, the foveas take one of them, and the encoder
    the others. What else there is to do, `beside`, comes behind the foveas.
    """
    pictures = views[0] if len(views) == 1 else LabelledRenders.joined(views)
    work = [float(config.steps), *(0.5 * steps for steps in config.fovea_steps)]
    done = [0.0] * len(work)
    lock = Lock()

    def told(k: int, share: float, text: str) -> None:
        with lock:
            done[k] = share * work[k]
            progress(sum(done) / sum(work), text)

    def first_look() -> None:
        fit_encoder(encoder, pictures, config, seed, partial(told, 0), restraint)
        if len(views) == 2:
            count_agreements(encoder, *views)

    def closer_looks(check: Check) -> None:
        def checked(k: int, share: float, text: str) -> None:
            check()
            told(k, share, text)

        for k, (fovea, steps) in enumerate(zip(encoder.foveas, config.fovea_steps)):
            assert isinstance(fovea, Fovea)
            fit_fovea(fovea, pictures, k, steps, config, seed + 2 + k, partial(checked, 1 + k))
        beside(check)

    if config.fovea_steps:
        side_by_side(first_look, closer_looks)
    else:
        first_look()
        beside(lambda: None)


@torch.no_grad()
def student_errors(student: CameraStudent, views: tuple[LabelledRenders, ...]) -> dict:
    """Measure what the student gets wrong on labelled views, one of the same moments for each camera.

    Returns:
        `keypoint_px` (median error of each keypoint, camera after camera; None if it is in no picture), `goal_cm`,
        `goal_cm_p90` and `goal_cm_p95` (error of the located goal), and `near_goal_cm` and `near_goal_cm_p95`, the
        same where the end effector is within `NEAR` of the goal, which is where it ends.
    """
    points = see_all(student.encoder, views)
    q, goal = torch.from_numpy(views[0].q), torch.from_numpy(views[0].goal)
    to_goal = goal - student.kinematics(q)
    error = 100 * (student.locate(points, q) - to_goal).norm(dim=1)
    near = error[to_goal.norm(dim=1) < NEAR]
    target, seen = (torch.cat(each, dim=1) for each in zip(*(_labels(student.encoder, each) for each in views)))
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


def see_all(encoder: KeypointEncoder, views: tuple[LabelledRenders, ...]) -> Tensor:
    """Locate the keypoints in every camera's pictures of the same moments (N, cameras · K, 3); see `see`."""
    return see(encoder, *(each.images for each in views))


@torch.no_grad()
def see(encoder: KeypointEncoder, *images: np.ndarray, batch: int = 250) -> Tensor:
    """Locate the keypoints, x, y and spread in map coordinates, in pictures (N, H, W, 3) uint8.

    Returns:
        (N, cameras · K, 3), for pictures of the same moments from one or more cameras.
    """
    encoder.eval()
    parts = []
    for i in range(0, len(images[0]), batch):
        pictures = torch.from_numpy(np.concatenate([each[i : i + batch] for each in images]))
        parts.append(torch.cat(encoder(as_network_image(pictures), len(images)).chunk(len(images)), dim=1))
    return torch.cat(parts)


def _labels(encoder: KeypointEncoder, views: LabelledRenders) -> tuple[Tensor, Tensor]:
    """Return keypoints in map coordinates (N, K, 2) and whether each lies in the picture (N, K), float."""
    target = encoder.from_pixels(torch.from_numpy(views.pixels))
    seen = (target.abs() <= 1.02).all(-1)  # NaN compares false
    return torch.nan_to_num(target), seen.float()
