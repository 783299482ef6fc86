"""The methods that adapt a camera policy, by name; each changes the copy of the student that it is given.

least change ──────────────────────────────────────────────────────────────────────▶ most change
batch statistics · geometry of the calibrated camera · features · style transfer · background compositing
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from adaptation.visual.background_compositing import train_on_composites
from adaptation.visual.contrastive_translation import TranslationConfig
from adaptation.visual.feature_level import adapt_batch_norm, align_features
from adaptation.visual.image_level import match_fourier, match_histogram
from adaptation.visual.inputs import AdaptationInputs, rig_of
from adaptation.visual.self_calibration import Calibration, arm_landmarks, calibrate
from adaptation.visual.style_transfer import train_on_matched, train_on_style_transfer
from policies.imitation.perception import detect, fit_geometry
from policies.models.camera_student import CameraStudent
from policies.training.progress import silent
from sim.datasets.labelled_renders import sample_geometry
from sim.tasks.recipe import PerceptionRecipe

SOURCE_ONLY = "source-only"
CAMERAS = 64
"""Cameras that are drawn from the posterior to train the geometry."""

Method = Callable[[CameraStudent, AdaptationInputs], dict]
"""Changes the student; returns its figures as plain JSON types."""


def find_camera(student: CameraStudent, inputs: AdaptationInputs) -> Calibration:
    """Calibrate the bundle's camera from the arm's landmarks, as the student's encoder locates them in the target."""
    nominal, target = inputs.camera, inputs.target
    arm = len(inputs.bundle.robot.landmarks)
    seen = detect(student.encoder, target.images)[:, -arm:]
    pixels, spread = student.encoder.to_pixels(seen[..., :2]).numpy(), seen[..., 2].numpy() * nominal.width / 2
    return calibrate(nominal, arm_landmarks(inputs.bundle.robot, target.q), pixels, spread)


def learn_geometry(student: CameraStudent, inputs: AdaptationInputs, calibration: Calibration) -> None:
    """Fit the student's geometry to cameras from the posterior of `calibration`."""
    rng = np.random.default_rng(inputs.seed)
    rig = rig_of(inputs.camera)
    q, points, goal = sample_geometry(inputs.bundle.task, inputs.robot, inputs.full_space, 8_000, inputs.seed, rig)
    pixels = np.empty((*points.shape[:2], 2))
    for rows in np.array_split(np.arange(len(q)), CAMERAS):
        camera = calibration.sample(inputs.camera, rng)
        pixels[rows] = camera.project(points[rows].reshape(-1, 3)).reshape(len(rows), -1, 2)
    # the median length of a Gaussian error in the plane is 1.18 standard deviations
    pixels += rng.normal(0.0, calibration.after_px / 1.18, pixels.shape)
    located = student.encoder.from_pixels(torch.from_numpy(pixels.astype(np.float32))).clamp(-1.0, 1.0)
    # the geometry must not depend on the landmarks' spreads: they are drawn from the target's
    spreads = detect(student.encoder, inputs.target.images)[..., 2:]
    seen = torch.cat([located, spreads[torch.from_numpy(rng.integers(len(spreads), size=len(q)))]], dim=2)
    joints = torch.from_numpy(q)
    to_goal = torch.from_numpy(goal) - student.kinematics(joints)
    fit_geometry(student, seen, joints, to_goal, PerceptionRecipe(), inputs.seed, silent)


def _source_only(student: CameraStudent, inputs: AdaptationInputs) -> dict:
    return {}


def _batch_norm(student: CameraStudent, inputs: AdaptationInputs) -> dict:
    images = inputs.target.images
    order = np.random.default_rng(inputs.seed).permutation(len(images))
    batches = (images[rows] for rows in np.array_split(order, max(1, len(order) // 64)))
    adapt_batch_norm(student.encoder, student.encoder, batches)
    return {}


def _self_calibration(student: CameraStudent, inputs: AdaptationInputs) -> dict:
    calibration = find_camera(student, inputs)
    learn_geometry(student, inputs, calibration)
    return {
        "landmarks_before_px": calibration.before_px,
        "landmarks_after_px": calibration.after_px,
        "camera_moved": {
            "turn_deg": float(np.degrees(np.linalg.norm(calibration.mean[:3]))),
            "shift_m": float(np.linalg.norm(calibration.mean[3:6])),
            "focal": float(1 + calibration.mean[6]),
        },
    }


def _batch_norm_and_self_calibration(student: CameraStudent, inputs: AdaptationInputs) -> dict:
    _batch_norm(student, inputs)
    return _self_calibration(student, inputs)


def _coral(student: CameraStudent, inputs: AdaptationInputs) -> dict:
    align_features(student.encoder, inputs, "coral")
    return _batch_norm_and_self_calibration(student, inputs)


def _adversarial(student: CameraStudent, inputs: AdaptationInputs) -> dict:
    align_features(student.encoder, inputs, "adversarial")
    return _batch_norm_and_self_calibration(student, inputs)


def _histogram(student: CameraStudent, inputs: AdaptationInputs) -> dict:
    train_on_matched(student.encoder, inputs, match_histogram)
    return _self_calibration(student, inputs)


def _fourier(student: CameraStudent, inputs: AdaptationInputs) -> dict:
    train_on_matched(student.encoder, inputs, match_fourier)
    return _self_calibration(student, inputs)


def _style_transfer(student: CameraStudent, inputs: AdaptationInputs) -> dict:
    train_on_style_transfer(student.encoder, inputs, TranslationConfig())
    return _self_calibration(student, inputs)


def _background_compositing(student: CameraStudent, inputs: AdaptationInputs) -> dict:
    train_on_composites(student.encoder, inputs, find_camera(student, inputs).camera)
    return _self_calibration(student, inputs)


METHODS: dict[str, Method] = {
    SOURCE_ONLY: _source_only,
    "self-calibration": _self_calibration,
    "batch-norm": _batch_norm,
    "batch-norm+self-calibration": _batch_norm_and_self_calibration,
    "background-compositing": _background_compositing,
    "histogram": _histogram,
    "fourier": _fourier,
    "coral": _coral,
    "adversarial": _adversarial,
    "style-transfer": _style_transfer,
}
"""In the order in which `auto` tries them: source-only, then the smallest change, then the most often useful."""
