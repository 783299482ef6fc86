"""Train the perception of a camera student: first the keypoint encoder, then the geometry that gives metres."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Lock

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from policies.bundle.camera_mask import QUANTILE, CameraMasking
from policies.bundle.landmark_residuals import LandmarkResiduals, arm_points, calibrated, landmark_residual
from policies.imitation.detection import asked_for, detect, detect_all
from policies.imitation.frozen_maps import frozen_maps
from policies.imitation.geometry import calibrations, evidence_of, fit_geometry, fit_triangulation, labels
from policies.models.camera_student import CameraStudent
from policies.models.crop_refiner import CropRefiner, corners, crops
from policies.models.cross_view import CrossViewPrior
from policies.models.keypoint_encoder import KeypointEncoder, as_network_image
from policies.training.checkpoints import UNKEPT, Checkpoints
from policies.training.descent import FREE, Loss, Restraint, adam_w, gradient_descent, one_cycle
from policies.training.device import device_of
from policies.training.parallel import Check, run_parallel
from policies.training.precision import fast
from policies.training.progress import Progress, part
from robots.camera import CameraModel
from robots.model import RobotModel
from sim.datasets.labelled_renders import LabelledRenders
from sim.tasks.recipe import PerceptionRecipe


def fit_encoder(
    encoder: KeypointEncoder,
    renders: LabelledRenders,
    config: PerceptionRecipe,
    seed: int,
    progress: Progress,
    restraint: Restraint = FREE,
    checkpoints: Checkpoints = UNKEPT,
) -> None:
    """Train the encoder's heat maps, on its device, to locate the keypoints in the labelled renders `renders`.

    The loss is the cross-entropy of each heat map against a Gaussian one cell wide at the label, plus the
    L1 distance of its expectation; points outside the image or behind the camera do not count.
    """
    generator = torch.Generator().manual_seed(seed)
    device = device_of(encoder)
    images, asked = torch.from_numpy(renders.images).to(device), asked_for(renders, device)
    target, seen = (each.to(device) for each in _keypoints(encoder, renders))
    counts = torch.ones(target.shape[1], device=device)
    counts[0] = config.object_weight
    counts /= counts.mean()
    cell = 2.0 / (encoder.map_size[1] - 1)
    maps = nn.ModuleDict({"features": encoder.features, "heat": encoder.heat})  # refiners may be trained meanwhile
    maps.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    optimiser = adam_w(maps.parameters(), config.learning_rate, 1e-4)
    frozen = frozen_maps(encoder, images, restraint, progress)

    def loss(step: int) -> Loss:
        rows = torch.randint(len(images), (config.batch,), generator=generator).to(device)
        share = step / config.steps
        maps.train().requires_grad_(True)
        for name in restraint.frozen(share):
            maps.get_submodule(name).eval().requires_grad_(False)
        image = as_network_image(images[rows], None if asked is None else asked[rows])
        with fast(device):
            if frozen is None:
                logits = encoder.heat_maps(image)
            else:
                logits = encoder.heat_maps_of(tuple(each[rows].float() for each in frozen))
        entropy = -(encoder.gaussian(target[rows], cell) * F.log_softmax(logits, dim=2)).sum(2)
        offset = (encoder.locate(logits)[..., :2] - target[rows]).abs().sum(-1)
        value = ((0.1 * entropy + offset) * seen[rows] * counts).mean()
        mean = offset.detach()[seen[rows] > 0].mean()
        return Loss(
            value, restraint.penalty(encoder, image, share), lambda: f"keypoints {float(mean) / cell * 4:.1f} px"
        )

    rates = one_cycle(config.learning_rate, config.steps)
    kept = checkpoints.of("encoder", network=maps, optimiser=optimiser, generator=generator)
    gradient_descent(optimiser, rates, config.steps, loss, progress, maps, restraint.rate_scale, kept)
    maps.eval().requires_grad_(True)


@torch.no_grad()
def fit_cross_view_priors(encoder: KeypointEncoder, first: LabelledRenders, second: LabelledRenders) -> None:
    """Fit the encoder's cross-view priors to two cameras' renders of the same scenes."""
    cell = 2.0 / (encoder.map_size[1] - 1)
    (ours, seen), (theirs, seen_by_second) = _keypoints(encoder, first), _keypoints(encoder, second)
    for k, prior in enumerate(encoder.cross_view_priors):
        assert isinstance(prior, CrossViewPrior)
        both = (seen[:, k] * seen_by_second[:, k]) > 0
        places = (each[both, k : k + 1].to(encoder.grid.device) for each in (ours, theirs))
        prior.fit(*(encoder.gaussian(each, cell)[:, 0] for each in places))


def fit_refiner(
    refiner: CropRefiner,
    renders: LabelledRenders,
    point: int,
    steps: int,
    config: PerceptionRecipe,
    seed: int,
    progress: Progress,
    checkpoints: Checkpoints = UNKEPT,
) -> None:
    """Train the refiner to locate keypoint `point` of `renders` near a first estimate of it."""
    generator = torch.Generator().manual_seed(seed)
    device = device_of(refiner)
    images, asked = torch.from_numpy(renders.images).to(device), asked_for(renders, device)
    pixels = torch.from_numpy(renders.pixels[:, point]).to(device)
    pixels = torch.nan_to_num(pixels, nan=-1e3)  # behind the camera: outside every crop
    refiner.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # missing in torch's stubs
    refiner.train()
    optimiser = adam_w(refiner.parameters(), config.learning_rate, 1e-4)

    def loss(step: int) -> Loss:
        rows = torch.randint(len(images), (config.batch,), generator=generator).to(device)
        guess = pixels[rows] + draw_first_errors(config.batch, generator).to(device)
        corner = corners(guess, images.shape[1], images.shape[2])
        cut = crops(images.permute(0, 3, 1, 2), corner, rows).permute(0, 2, 3, 1)  # of bytes: a quarter of the memory
        crop = as_network_image(cut, None if asked is None else asked[rows])
        with fast(device):
            logits = refiner.logits(crop)
        wanted = pixels[rows] - corner

        def text() -> str:
            off = (refiner.locate(logits.detach())[0] - wanted).norm(dim=1).median()
            return f"crop refiner {float(off):.1f} px"

        return Loss(refiner.loss(logits, wanted), text=text)

    kept = checkpoints.of(f"refiner_{point}", network=refiner, optimiser=optimiser, generator=generator)
    gradient_descent(optimiser, one_cycle(config.learning_rate, steps), steps, loss, progress, checkpoint=kept)
    refiner.eval()


def draw_first_errors(count: int, generator: torch.Generator) -> Tensor:
    """Draw errors (count, 2) [px] of a first estimate: half of them small, a tenth larger than a crop."""
    small = 2.0 * torch.randn(count, 2, generator=generator)
    wide = 2.0 * torch.rand(count, 2, generator=generator) - 1.0
    kind = torch.rand(count, 1, generator=generator)
    return torch.where(kind < 0.5, small, wide * torch.where(kind < 0.9, 13.0, 40.0))


def fit_student(
    student: CameraStudent,
    renders: tuple[LabelledRenders, ...],
    config: PerceptionRecipe,
    seed: int,
    progress: Progress,
    restraint: Restraint = FREE,
    background: Callable[[Check], None] = lambda check: None,
    checkpoints: Checkpoints = UNKEPT,
) -> dict:
    """Train encoder and geometry on `renders`, of the same scenes for each camera; `background` as in `fit_perception`.

    Returns:
        The figures of `perception_errors` on the renders that were held out.
    """
    held_out = tuple(each[: config.held_out] for each in renders)
    training = tuple(each[config.held_out :] for each in renders)
    told = part(progress, 0.0, 0.9)
    fit_perception(student.encoder, training, config, seed, told, restraint, background, checkpoints)
    points, alone = detect_all(student, training)
    calibration = calibrations(student, training)
    if student.triangulation is not None and calibration is not None:
        fit_triangulation(student, student.triangulation, points, training, calibration)
    told, wanted = part(progress, 0.9, 1.0), labels(student, training[0])
    fit_geometry(student, points, *wanted, config, seed + 1, told, calibration, alone, checkpoints)
    figures = perception_errors(student, held_out)
    errors = ((name, figures[f"{name}_cm"], figures[f"{name}_cm_p90"]) for name in student.estimated)
    progress(1.0, ", ".join(f"{name} {middle:.1f} cm (90 %: {most:.1f})" for name, middle, most in errors))
    return figures


def fit_perception(
    encoder: KeypointEncoder,
    renders: tuple[LabelledRenders, ...],
    config: PerceptionRecipe,
    seed: int,
    progress: Progress,
    restraint: Restraint = FREE,
    background: Callable[[Check], None] = lambda check: None,
    checkpoints: Checkpoints = UNKEPT,
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
        fit_encoder(encoder, pictures, config, seed, partial(report, 0), restraint, checkpoints)
        if len(renders) == 2:
            fit_cross_view_priors(encoder, *renders)

    def train_refiners(check: Check) -> None:
        def checked(k: int, share: float, text: str) -> None:
            check()
            report(k, share, text)

        for k, (refiner, steps) in enumerate(zip(encoder.refiners, config.refiner_steps)):
            assert isinstance(refiner, CropRefiner)
            fit_refiner(refiner, pictures, k, steps, config, seed + 2 + k, partial(checked, 1 + k), checkpoints)
        background(check)

    if config.refiner_steps:
        run_parallel(train_encoder, train_refiners)
    else:
        train_encoder()
        background(lambda: None)


@torch.no_grad()
def masking(student: CameraStudent, renders: tuple[LabelledRenders, ...], cameras: tuple[str, ...]) -> CameraMasking:
    """Take from `renders`, of the same scenes for each of the `cameras`, how unsure the student is with all of them."""
    points, (measured, _) = detect_all(student, renders)[0], labels(student, renders[0])
    stds = student.estimate(points, measured, calibrations(student, renders))[1]
    return CameraMasking.of(cameras, student.estimated, stds.numpy())


@torch.no_grad()
def landmark_residuals(
    student: CameraStudent,
    robot: RobotModel,
    cameras: Mapping[str, CameraModel],
    images: Sequence[np.ndarray],
    q: np.ndarray,
    opening: np.ndarray,
    calibration: Sequence[np.ndarray | None],
    asked: np.ndarray | None = None,
) -> LandmarkResiduals | None:
    """Measure how far the arm's landmarks are from where they are expected; None if no camera sees them.

    Args:
        student: locates them.
        robot: the arm.
        cameras: where they are taken to stand, by name.
        images: (N, H, W, 3) uint8 of each.
        q: (N, n) joint positions [rad].
        opening: (N, 1) of the fingers [m].
        calibration: (N, 16) of each camera that may stand anywhere, see `CameraModel.calibration`; else None.
        asked: (N, k, 3) colours that are asked for, where any are.
    """
    points = student.in_pixels(detect(student.encoder, *images, asked=asked)).numpy()
    found: dict[str, list[float]] = {name: [] for name in cameras}
    for i in range(len(q) if robot.landmarks else 0):
        places, T_base_ee = arm_points(robot, q[i], float(opening[i, 0]))
        for k, (name, camera) in enumerate(cameras.items()):
            said = calibration[k]
            there = camera if said is None else calibrated(camera, said[i])
            found[name].append(landmark_residual(there, places, T_base_ee, points[i, k]))
    residuals = LandmarkResiduals.of(found)
    return residuals if residuals.ranges else None


@torch.no_grad()
def perception_errors(student: CameraStudent, renders: tuple[LabelledRenders, ...]) -> dict:
    """Measure the student's errors on labelled renders of the same scenes for each camera.

    Returns:
        `keypoint_px` (median error of each keypoint, camera after camera; None if it is in no image), and for each
        estimated position `<name>_cm`, `<name>_cm_p90` and `<name>_cm_p95`. Among several things also `wrong_thing`:
        the share of images in which what is located is nearer to another thing. Of a student that takes subsets of its
        cameras also `masked`: `<name>_cm` for each other `mask`, with the share of states in which the policy would go
        on, `usable`.
    """
    (points, alone), (measured, offsets) = detect_all(student, renders), labels(student, renders[0])
    located = partial(_located, student, points, alone, measured, calibrations(student, renders))
    errors, stds = located(student.masks[0], offsets)
    target, seen = (torch.cat(each, dim=1) for each in zip(*(_keypoints(student.encoder, each) for each in renders)))
    pixels = (student.encoder.to_pixels(points[..., :2]) - student.encoder.to_pixels(target)).norm(dim=-1)
    figures: dict = {"keypoint_px": [_median(pixels[seen[:, k] > 0, k]) for k in range(pixels.shape[1])]}
    for name, error in zip(student.estimated, errors.T):
        figures |= {f"{name}_cm": float(error.median())}
        figures |= {f"{name}_cm_p{share}": float(error.quantile(share / 100)) for share in (90, 95)}
    figures |= wrong_thing(student, points, renders)
    limits, masked = stds.quantile(QUANTILE, dim=0), []
    for mask in student.masks[1:]:
        errors, stds = located(mask, offsets)
        middle = {f"{name}_cm": float(error.median()) for name, error in zip(student.estimated, errors.T)}
        masked.append({"mask": mask.tolist(), **middle, "usable": float((stds <= limits).all(1).float().mean())})
    return {**figures, "masked": masked} if masked else figures


def wrong_thing(student: CameraStudent, points: Tensor, renders: tuple[LabelledRenders, ...]) -> dict[str, float]:
    """Measure in which share of the images the first of `points` is nearer to another thing than to the one asked for.

    Args:
        student: that located them.
        points: (N, cameras · K, 3) what `detect_all` returned.
        renders: of the same scenes for each camera; nothing is returned unless several things are in them.
    """
    wrong = []
    for found, each in zip(student.in_pixels(points)[:, :, 0, :2].unbind(1), renders):
        if each.others is not None:
            own = (found - torch.from_numpy(each.pixels[:, 0])).norm(dim=1)
            other = (found[:, None] - torch.from_numpy(each.others)).norm(dim=2).min(1).values
            wrong.append((other < own)[own.isfinite()].float().mean())
    return {"wrong_thing": float(torch.stack(wrong).mean())} if wrong else {}


def _located(
    student: CameraStudent,
    points: Tensor,
    alone: Tensor | None,
    measured: Tensor,
    calibration: Tensor | None,
    mask: Tensor,
    offsets: Tensor,
) -> tuple[Tensor, Tensor]:
    """Return the errors (N, P) [cm] with `mask` (cameras,), and their predicted std (N, P) [m]."""
    found, stds = student.from_evidence(evidence_of(student, mask, points, alone, measured, calibration))
    return 100 * (found - offsets).unflatten(1, (-1, 3)).norm(dim=2), stds


def _median(errors: Tensor) -> float | None:
    return float(errors.median()) if len(errors) else None


def _keypoints(encoder: KeypointEncoder, renders: LabelledRenders) -> tuple[Tensor, Tensor]:
    """Return keypoints in map coordinates (N, K, 2) and whether each lies within the image (N, K), float."""
    target = encoder.from_pixels(torch.from_numpy(renders.pixels))
    seen = (target.abs() <= 1.02).all(-1)  # NaN compares false
    return torch.nan_to_num(target), seen.float()
