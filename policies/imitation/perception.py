"""Train the perception of a camera student: first the keypoint encoder, then the geometry that gives metres.

The geometry is trained on the encoder's own outputs, so that it is adapted to their errors; it needs no images and
is fast.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from threading import Lock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.models.camera_student import GOAL, OBJECT, CameraStudent
from policies.models.crop_refiner import CropRefiner, corners, crops
from policies.models.cross_view import CrossViewPrior
from policies.models.keypoint_encoder import KeypointEncoder, as_network_image
from policies.models.triangulation import Triangulation
from policies.training.descent import FREE, Loss, Restraint, gradient_descent, one_cycle
from policies.training.parallel import Check, one_thread, run_parallel
from policies.training.precision import fast
from policies.training.progress import Progress, part
from sim.datasets.labelled_renders import LabelledRenders, StateLabels
from sim.tasks.recipe import PerceptionRecipe

CHUNK = 4_096
"""Rows whose evidence is computed at once."""


def fit_encoder(
    encoder: KeypointEncoder,
    renders: LabelledRenders,
    config: PerceptionRecipe,
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
    target, seen = _keypoints(encoder, renders)
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
    (ours, seen), (theirs, seen_by_second) = _keypoints(encoder, first), _keypoints(encoder, second)
    for k, prior in enumerate(encoder.cross_view_priors):
        assert isinstance(prior, CrossViewPrior)
        both = (seen[:, k] * seen_by_second[:, k]) > 0
        prior.fit(*(encoder.gaussian(each[both, k : k + 1], cell)[:, 0] for each in (ours, theirs)))


def fit_refiner(
    refiner: CropRefiner,
    renders: LabelledRenders,
    point: int,
    steps: int,
    config: PerceptionRecipe,
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
    student: CameraStudent,
    points: Tensor,
    measured: Tensor,
    offsets: Tensor,
    config: PerceptionRecipe,
    seed: int,
    progress: Progress,
    calibration: Tensor | None = None,
) -> None:
    """Train the geometry to turn keypoints into metres.

    Args:
        student: its `geometry` and its normaliser of q are changed in place.
        points: (N, cameras · K, 3) keypoints and spreads in map coordinates, as the encoder outputs them.
        measured: (N, m) joint positions [rad]; for a student with fingers followed by their opening [m].
        offsets: (N, 3 · P) the positions that the student estimates, each minus the end effector [m].
        config: steps, batch and learning rate.
        seed: of the order of the rows.
        progress: called with the share that is done.
        calibration: (N, T, 16) of the cameras that may stand anywhere, if there are any.
    """
    generator = torch.Generator().manual_seed(seed)
    student.q_centre.copy_(measured.mean(0))
    student.q_spread.copy_(measured.std(0).clamp_min(1e-3))
    optimiser = torch.optim.AdamW(student.geometry.parameters(), 2e-3)
    chunks = torch.arange(len(offsets)).split(CHUNK)
    with torch.no_grad():
        evidence = torch.cat(
            [student.evidence(points[i], measured[i], None if calibration is None else calibration[i]) for i in chunks]
        )

    def loss(step: int) -> Loss:
        rows = torch.randint(len(offsets), (config.geometry_batch,), generator=generator)
        found, stds = student.from_evidence(evidence[rows])
        error = (found - offsets[rows]).unflatten(1, (-1, 3)).norm(dim=2)
        # the second form is minimal where the std equals the expected error
        value = error.mean() if student.filter is None else (error / stds + stds.log()).mean()
        return Loss(value, text=lambda: f"geometry {100 * float(error.mean().detach()):.1f} cm")

    with one_thread():
        gradient_descent(optimiser, one_cycle(2e-3, config.geometry_steps), config.geometry_steps, loss, progress)


def fit_student(
    student: CameraStudent,
    renders: tuple[LabelledRenders, ...],
    config: PerceptionRecipe,
    seed: int,
    progress: Progress,
    restraint: Restraint = FREE,
    background: Callable[[Check], None] = lambda check: None,
) -> dict:
    """Train encoder and geometry on `renders`, of the same scenes for each camera; `background` as in `fit_perception`.

    Returns:
        The figures of `perception_errors` on the renders that were held out.
    """
    held_out = tuple(each[: config.held_out] for each in renders)
    training = tuple(each[config.held_out :] for each in renders)
    fit_perception(student.encoder, training, config, seed, part(progress, 0.0, 0.9), restraint, background)
    points = detect_all(student.encoder, training)
    calibration = calibrations(student, training)
    if student.triangulation is not None and calibration is not None:
        fit_triangulation(student, student.triangulation, points, training, calibration)
    fit_geometry(
        student, points, *labels(student, training[0]), config, seed + 1, part(progress, 0.9, 1.0), calibration
    )
    figures = perception_errors(student, held_out)
    errors = ((name, figures[f"{name}_cm"], figures[f"{name}_cm_p90"]) for name in student.estimated)
    progress(1.0, ", ".join(f"{name} {middle:.1f} cm (90 %: {most:.1f})" for name, middle, most in errors))
    return figures


def labels(student: CameraStudent, renders: LabelledRenders | StateLabels) -> tuple[Tensor, Tensor]:
    """Return what is measured (N, m), and the positions to estimate minus the end effector (N, 3 · P) [m]."""
    q = torch.from_numpy(renders.q)
    measured = torch.cat([q, torch.from_numpy(renders.opening)], dim=1) if student.fingers else q
    ee_pos = student.kinematics(q)
    # the object is the first of the landmarks
    places = {OBJECT: renders.points[:, 0], GOAL: renders.goal}
    offsets = [torch.from_numpy(places[name]) - ee_pos for name in student.estimated]
    return measured, torch.cat(offsets, dim=1)


def calibrations(student: CameraStudent, renders: tuple[LabelledRenders, ...]) -> Tensor | None:
    """Return the calibrations (N, T, 16) of the cameras that may stand anywhere; None if there are none."""
    calibrated = [renders[k].calibration for k in student.calibrated]
    return torch.stack([torch.from_numpy(each) for each in calibrated], dim=1) if calibrated else None


def fit_triangulation(
    student: CameraStudent,
    triangulation: Triangulation,
    points: Tensor,
    renders: tuple[LabelledRenders, ...],
    calibration: Tensor,
) -> None:
    """Take from `renders` and the keypoints `points` (N, cameras · K, 3) in them how exact detections are."""
    calibrated = [renders[k] for k in student.calibrated]
    pixels = torch.stack([torch.from_numpy(each.pixels) for each in calibrated], dim=1)
    places, q = torch.from_numpy(renders[0].points), torch.from_numpy(renders[0].q)
    triangulation.fit(student.calibrated_pixels(points), pixels, places, q, calibration)


def fit_perception(
    encoder: KeypointEncoder,
    renders: tuple[LabelledRenders, ...],
    config: PerceptionRecipe,
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
def perception_errors(student: CameraStudent, renders: tuple[LabelledRenders, ...]) -> dict:
    """Measure the student's errors on labelled renders of the same scenes for each camera.

    Returns:
        `keypoint_px` (median error of each keypoint, camera after camera; None if it is in no image), and for each
        estimated position `<name>_cm`, `<name>_cm_p90` and `<name>_cm_p95`.
    """
    points = detect_all(student.encoder, renders)
    measured, offsets = labels(student, renders[0])
    found = student.locate(points, measured, calibrations(student, renders))
    errors = 100 * (found - offsets).unflatten(1, (-1, 3)).norm(dim=2)
    target, seen = (torch.cat(each, dim=1) for each in zip(*(_keypoints(student.encoder, each) for each in renders)))
    pixels = (student.encoder.to_pixels(points[..., :2]) - student.encoder.to_pixels(target)).norm(dim=-1)
    figures: dict = {"keypoint_px": [_median(pixels[seen[:, k] > 0, k]) for k in range(pixels.shape[1])]}
    for name, error in zip(student.estimated, errors.T):
        figures |= {f"{name}_cm": float(error.median())}
        figures |= {f"{name}_cm_p{share}": float(error.quantile(share / 100)) for share in (90, 95)}
    return figures


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


def _keypoints(encoder: KeypointEncoder, renders: LabelledRenders) -> tuple[Tensor, Tensor]:
    """Return keypoints in map coordinates (N, K, 2) and whether each lies within the image (N, K), float."""
    target = encoder.from_pixels(torch.from_numpy(renders.pixels))
    seen = (target.abs() <= 1.02).all(-1)  # NaN compares false
    return torch.nan_to_num(target), seen.float()
