"""The methods that adapt a camera policy, by name; each changes the copy of the student that it is given.

what changes least ─────────────────────────────────────────────▶ what changes most
statistics · geometry for the camera found · features · pictures restyled · the target's own scene
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import nn

from adaptation.visual.background_compositing import see_own_scene
from adaptation.visual.feature_level import align_features
from adaptation.visual.image_level import match_fourier, match_histogram
from adaptation.visual.material import Material
from adaptation.visual.self_calibration import Calibration, arm_landmarks, calibrate
from adaptation.visual.style_transfer import see_restyled, see_translated
from adaptation.visual.translation.training import TranslationConfig
from policies.imitation.cloning import StudentConfig, fit_geometry, see
from policies.models.keypoint_student import CameraStudent, as_network_image
from sim.datasets.labelled_renders import sample_geometry

SOURCE_ONLY = "source-only"
CAMERAS = 64
"""Cameras drawn from the posterior to train the geometry on."""

Method = Callable[[CameraStudent, Material], dict]
"""Changes the student; returns what it found, as plain JSON types."""


def find_camera(student: CameraStudent, material: Material) -> Calibration:
    """Calibrate the bundle's camera from where the student sees the arm's landmarks in the target."""
    nominal, target = material.camera, material.target
    arm = len(material.bundle.robot.landmarks)
    seen = see(student.encoder, target.images)[:, -arm:]
    pixels, spread = student.encoder.to_pixels(seen[..., :2]).numpy(), seen[..., 2].numpy() * nominal.width / 2
    return calibrate(nominal, arm_landmarks(material.bundle.robot, target.q), pixels, spread)


def learn_geometry(student: CameraStudent, material: Material, calibration: Calibration) -> None:
    """Teach the geometry of the camera that was found, and no other."""
    rng = np.random.default_rng(material.seed)
    q, points, goal = sample_geometry(material.bundle.task, material.robot, material.full_space, 8_000, material.seed)
    pixels = np.empty((*points.shape[:2], 2))
    for rows in np.array_split(np.arange(len(q)), CAMERAS):
        camera = calibration.sample(material.camera, rng)
        pixels[rows] = camera.project(points[rows].reshape(-1, 3)).reshape(len(rows), -1, 2)
    # the median length of a Gaussian error in the plane is 1.18 standard deviations
    pixels += rng.normal(0.0, calibration.after_px / 1.18, pixels.shape)
    located = student.encoder.from_pixels(torch.from_numpy(pixels.astype(np.float32))).clamp(-1.0, 1.0)
    # The camera is known now: how unsure the landmarks are no longer matters, so spreads are any of the target's
    spreads = see(student.encoder, material.target.images)[..., 2:]
    seen = torch.cat([located, spreads[torch.from_numpy(rng.integers(len(spreads), size=len(q)))]], dim=2)
    joints = torch.from_numpy(q)
    to_goal = torch.from_numpy(goal) - student.kinematics(joints)
    fit_geometry(student, seen, joints, to_goal, StudentConfig(), material.seed, lambda share, text: None)


def _unchanged(student: CameraStudent, material: Material) -> dict:
    return {}


@torch.no_grad()
def _batch_norm(student: CameraStudent, material: Material) -> dict:
    """AdaBN (Li et al. 2016): the target's own statistics in every batch normalisation."""
    layers = [layer for layer in student.encoder.modules() if isinstance(layer, nn.BatchNorm2d)]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # a plain average over all batches
        layer.train()
    images = material.target.images
    order = np.random.default_rng(material.seed).permutation(len(images))
    for rows in np.array_split(order, max(1, len(order) // 64)):
        student.encoder(as_network_image(torch.from_numpy(images[rows])))
    student.eval()
    for layer in layers:
        layer.momentum = 0.1
    return {}


def _self_calibration(student: CameraStudent, material: Material) -> dict:
    """Find the camera from the arm it sees, and learn the geometry of that camera alone."""
    calibration = find_camera(student, material)
    learn_geometry(student, material, calibration)
    return _found(calibration)


def _statistics_then_camera(student: CameraStudent, material: Material) -> dict:
    _batch_norm(student, material)
    return _self_calibration(student, material)


def _coral(student: CameraStudent, material: Material) -> dict:
    align_features(student.encoder, material, "coral")
    return _statistics_then_camera(student, material)


def _adversarial(student: CameraStudent, material: Material) -> dict:
    align_features(student.encoder, material, "adversarial")
    return _statistics_then_camera(student, material)


def _histogram(student: CameraStudent, material: Material) -> dict:
    see_restyled(student.encoder, material, match_histogram)
    return _self_calibration(student, material)


def _fourier(student: CameraStudent, material: Material) -> dict:
    see_restyled(student.encoder, material, match_fourier)
    return _self_calibration(student, material)


def _translated(student: CameraStudent, material: Material) -> dict:
    see_translated(student.encoder, material, TranslationConfig())
    return _self_calibration(student, material)


def _own_scene(student: CameraStudent, material: Material) -> dict:
    see_own_scene(student.encoder, material, find_camera(student, material).camera)
    return _self_calibration(student, material)


def _found(calibration: Calibration) -> dict:
    return {
        "landmarks_before_px": calibration.before_px,
        "landmarks_after_px": calibration.after_px,
        "camera_moved": {
            "turn_deg": float(np.degrees(np.linalg.norm(calibration.mean[:3]))),
            "shift_m": float(np.linalg.norm(calibration.mean[3:6])),
            "focal": float(1 + calibration.mean[6]),
        },
    }


METHODS: dict[str, Method] = {
    SOURCE_ONLY: _unchanged,
    "self-calibration": _self_calibration,
    "batch-norm": _batch_norm,
    "batch-norm+self-calibration": _statistics_then_camera,
    "own-scene": _own_scene,
    "histogram": _histogram,
    "fourier": _fourier,
    "coral": _coral,
    "adversarial": _adversarial,
    "translated": _translated,
}
"""In the order in which `auto` tries them: source-only, then what changes least, then what has helped most often."""
