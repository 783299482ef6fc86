"""Self-calibration of a whole rig, and the geometry of the cameras that it finds.

target's images ─▶ landmarks ─▶ fixed cameras, by the arm's ─▶ the others, by what stands still too ─▶ posteriors
random states, cameras drawn from the posteriors ─▶ pixels ─▶ the student's geometry
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from adaptation.visual.inputs import AdaptationInputs, is_fixed
from adaptation.visual.self_calibration import (
    MEDIAN_LENGTH,
    NOISE,
    Calibration,
    Sighting,
    arm_landmarks,
    calibrate,
    ee_poses,
    project,
    triangulate,
)
from policies.bundle.landmark_residuals import DISTINCT
from policies.imitation.detection import detect
from policies.imitation.geometry import fit_geometry, labels
from policies.models.camera_student import CameraStudent
from policies.models.keypoint_encoder import KeypointEncoder
from policies.training.checkpoints import UNKEPT, Checkpoints
from policies.training.progress import silent
from robots.camera import CameraModel
from sim.datasets.labelled_renders import StateLabels
from sim.tasks.recipe import PerceptionRecipe

ENOUGH = 10
"""Observations of the arm's landmarks by which a fixed camera is calibrated without any others."""
LOOSE = 0.05
"""Least standard deviation of where a landmark stands without any observation [m]: the hand need not go there."""
CAMERAS = 64
"""Times that each camera is drawn from its posterior to train the geometry."""


def find_cameras(
    student: CameraStudent, inputs: AdaptationInputs, priors: Sequence[np.ndarray] | None = None
) -> dict[str, Calibration]:
    """Calibrate the bundle's cameras by the landmarks that the student's encoder locates in the target.

    Those that the arm's landmarks alone do not tell, as on the hand, are calibrated after the others, by the task's
    landmarks that stand still within a trial as well. `priors` are those of `calibrate`.
    """
    task, target, robot = inputs.task, inputs.target, inputs.bundle.robot
    bodies = len(task.landmarks)
    still_rows = [k for k, name in enumerate(task.landmarks) if not (task.moves_object and name in task.movable)]
    arm = slice(bodies, bodies + len(robot.landmarks))
    points, T_base_ee = arm_landmarks(robot, target.q, target.opening), ee_poses(robot, target.q)
    seen = sightings(student, inputs)
    found: dict[str, Calibration] = {}
    for camera in inputs.rig.cameras:
        if is_fixed(camera):
            by_arm = calibrate(camera, points, seen[camera.name][arm], priors=priors)
            if by_arm.observations >= ENOUGH:
                found[camera.name] = by_arm
    rest = [camera for camera in inputs.rig.cameras if camera.name not in found]
    if rest:
        low, high = np.array(task.workspace).T
        still = triangulate(
            [each.camera for each in found.values()],
            [seen[name][still_rows] for name in found],
            len(still_rows),
            np.unique(target.trial, return_inverse=True)[1],
            (low + high) / 2,
            np.maximum((high - low) / 2, LOOSE),
        )
        for camera in rest:
            sighting = seen[camera.name]
            found[camera.name] = calibrate(
                camera, points, sighting[arm], T_base_ee, still, sighting[still_rows], priors
            )
    return {camera.name: found[camera.name] for camera in inputs.rig.cameras}


def sightings(student: CameraStudent, inputs: AdaptationInputs) -> dict[str, Sighting]:
    """Locate the task's and the arm's landmarks in the target's images of each camera."""
    return {
        camera.name: _sighting(student.encoder, located, camera)
        for camera, located in zip(inputs.rig.cameras, _detected(student, inputs))
    }


def learn_geometry(
    student: CameraStudent, inputs: AdaptationInputs, found: dict[str, Calibration], kept: Checkpoints = UNKEPT
) -> None:
    """Fit the student's geometry to rigs drawn from the posteriors of its cameras."""
    rng = np.random.default_rng(inputs.seed)
    seen = [
        _simulated_detections(student.encoder, camera, found[camera.name], inputs.states, located.numpy(), rng)
        for camera, located in zip(inputs.rig.cameras, _detected(student, inputs))
    ]
    measured, offsets = labels(student, inputs.states)
    points, recipe = torch.cat(seen, dim=1), PerceptionRecipe()
    fit_geometry(student, points, measured, offsets, recipe, inputs.seed, silent, checkpoints=kept)


def _simulated_detections(
    encoder: KeypointEncoder,
    nominal: CameraModel,
    calibration: Calibration,
    states: StateLabels,
    detected: np.ndarray,
    rng: np.random.Generator,
) -> Tensor:
    """Return what the encoder would output (N, K, 3) of `states` in images of cameras drawn from a posterior.

    Spreads are those of `detected` (M, K, 3), outputs on the target, so that the geometry does not depend on how sure
    the encoder is in simulation; errors are in proportion to them. Where a landmark is not in the image, or not found
    in the target's, its place is an output on the target as well.
    """
    N, K = states.points.shape[:2]
    pixels = np.empty((N, K, 2))
    for rows in np.array_split(np.arange(N), CAMERAS):
        camera = calibration.sample(nominal, rng)
        pixels[rows] = project(camera, states.points[rows], states.T_base_ee[rows])
    inside = np.asarray(((pixels > -0.5) & (pixels < np.array([nominal.width, nominal.height]) - 0.5)).all(-1))
    distinct = np.less(detected[..., 2] * nominal.width / 2, DISTINCT)
    frames = np.tile(rng.integers(len(detected), size=(N, 1)), (1, K))
    usual = np.median(detected[..., 2], axis=0)
    for k in range(K):
        shown = distinct[:, k]
        usual[k] = np.median(detected[shown, k, 2]) if shown.any() else usual[k]
        if is_fixed(nominal):
            continue  # what the arm hides from it shows; a camera on the hand also turns away
        for there, pool in ((inside[:, k], shown), (~inside[:, k], ~shown)):
            if pool.any() and not pool.all():
                frames[there, k] = rng.choice(np.flatnonzero(pool), there.sum())
    outputs = detected[frames, np.arange(K)]
    error = NOISE if np.isnan(calibration.after_px) else calibration.after_px / MEDIAN_LENGTH
    scale = outputs[..., 2:] / usual[:, None]
    pixels += error * scale * rng.normal(size=pixels.shape)
    located = encoder.from_pixels(torch.from_numpy(pixels.astype(np.float32))).clamp(-1.0, 1.0).numpy()
    found = inside & np.less(outputs[..., 2] * nominal.width / 2, DISTINCT)
    outputs[found, :2] = located[found]
    return torch.from_numpy(outputs)


def _detected(student: CameraStudent, inputs: AdaptationInputs) -> tuple[Tensor, ...]:
    """Locate the landmarks (N, K, 3) in the target's images of each camera, in map coordinates."""
    return detect(student.encoder, *inputs.images).chunk(student.cameras, dim=1)


def _sighting(encoder: KeypointEncoder, located: Tensor, camera: CameraModel) -> Sighting:
    """Turn the encoder's outputs (N, K, 3) into pixels."""
    return Sighting(encoder.to_pixels(located[..., :2]).numpy(), located[..., 2].numpy() * camera.width / 2)
