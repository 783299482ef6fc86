"""Background compositing: train the encoder on renders in front of the target's own background.

    frames, q ─▶ calibrated camera ─▶ arm masked out ─▶ median of the other pixels: the background
    renders of arm and objects, random appearance, that camera ─▶ composited on the background ─▶ encoder, geometry

A fixed camera shows every part of the background without arm or object in some frame. Labels come from the renders.
The renders of a camera on the hand stay as they are.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from adaptation.visual.inputs import AdaptationInputs, Foregrounds
from adaptation.visual.self_calibration import Calibration
from adaptation.visual.style_transfer import fine_tune
from policies.models.keypoint_encoder import KeypointEncoder
from policies.training.checkpoints import UNKEPT, Checkpoints
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.rig import Rig
from robots.shapes.visual_meshes import load_urdf_visuals
from sim.datasets.labelled_renders import LabelledRenders
from sim.rendering.packed_bodies import Body
from sim.rendering.renderer import RenderedScene
from sim.sensing.image_disturbance import ImageDisturbance, disturb

MARGIN = 2
"""Pixels round the rendered arm that are masked with it: the error that self-calibration leaves."""
TRIANGLES = 300
"""Triangles of a link's mesh, enough for its outline."""
RENDERS, STEPS, BATCH = 4_000, 900, 96
"""Chosen by the scatter of goals on held-out trials, without labels; three minutes of one core."""
PEAK = 1.5e-3
"""Half the rate of a training from scratch, for fine-tuning."""


def estimate_background(images: np.ndarray, arm: np.ndarray) -> np.ndarray:
    """Estimate the picture (H, W, 3) uint8 of the scene without arm and objects.

    Args:
        images: (N, H, W, 3) uint8 frames of one fixed camera.
        arm: (N, H, W) bool, where the arm may be; pixels that are covered in every frame are inpainted.
    """
    hidden = np.asarray(arm.all(axis=0))
    shown = np.where(arm[..., None], np.nan, images.astype(np.float32))
    shown[:, hidden] = 0.0
    scene = np.asarray(np.nanmedian(shown, axis=0).round(), np.uint8)
    return np.asarray(cv2.inpaint(scene, hidden.astype(np.uint8), 3, cv2.INPAINT_TELEA)) if hidden.any() else scene


def arm_masks(robot: RobotModel, camera: CameraModel, q: np.ndarray, opening: np.ndarray) -> np.ndarray:
    """Render the arm's masks (N, H, W) bool, dilated by `MARGIN`, at positions (N, n) [rad] and openings (N, 1) [m]."""
    assert robot.urdf_path is not None
    visuals = load_urdf_visuals(Path(robot.urdf_path), TRIANGLES)
    rows = np.array([robot.tree.links.index(link) for link in visuals])
    scene = RenderedScene([Body(link, mesh) for link, mesh in visuals.items()])
    kernel = np.ones((2 * MARGIN + 1,) * 2, np.uint8)
    masks = []
    for each, width in zip(q, opening[:, 0]):
        frame = scene.render(robot.link_poses(each, float(width))[rows], camera, shadow=False)
        masks.append(cv2.dilate((frame.segmentation >= 0).astype(np.uint8), kernel) > 0)
    return np.stack(masks)


def composite(foregrounds: Foregrounds, background: np.ndarray, rng: np.random.Generator) -> LabelledRenders:
    """Composite renders and their shadows on a `background` (H, W, 3) uint8, with slightly random exposure and noise.

    Returns:
        The labelled renders, with the composites as images.
    """
    renders = foregrounds.renders
    images = np.empty_like(renders.images)
    for i, (picture, front, shade) in enumerate(zip(renders.images, foregrounds.front, foregrounds.shade)):
        share = cv2.GaussianBlur(front.astype(np.float32), (3, 3), 0.5)[..., None]
        mixed = share * picture + (1 - share) * background * (shade / np.float32(255))
        effects = ImageDisturbance(
            exposure=rng.normal(0, 0.12), white_balance=rng.normal(0, 0.04), gamma=rng.normal(0, 0.05),
            blur=rng.uniform(0, 0.3), shot_noise=rng.uniform(0, 0.02),
        )  # fmt: skip
        images[i] = disturb(np.clip(mixed + 0.5, 0, 255).astype(np.uint8), effects, rng)
    return replace(renders, images=images)


def train_on_composites(
    encoder: KeypointEncoder,
    inputs: AdaptationInputs,
    found: dict[str, Calibration],
    renders: int = RENDERS,
    steps: int = STEPS,
    kept: Checkpoints = UNKEPT,
) -> None:
    """Train `encoder` on renders from the cameras that were `found`, each in front of the background that it shows.

    A fifth of the training set keeps the simulator's own background, against forgetting; so do all renders of a camera
    on the hand, which has no background of its own.
    """
    target, robot = inputs.target, inputs.robot
    opening = target.opening
    if opening is None:
        opening = np.full((len(target), 1), 0.0 if robot.gripper is None else robot.gripper.opened)
    rig = Rig(inputs.bundle.name, tuple(each.camera for each in found.values()))
    rng = np.random.default_rng(inputs.seed)
    states = renders // len(rig.cameras)
    plain = rng.permutation(states)[: states // 4]
    sets = []
    for camera, images, drawn in zip(rig.cameras, inputs.images, inputs.foregrounds(rig, states)):
        if isinstance(drawn, Foregrounds):
            background = estimate_background(images, arm_masks(robot, camera, target.q, opening))
            sets.append(LabelledRenders.joined([composite(drawn, background, rng), drawn.renders[plain]]))
        else:
            sets.append(LabelledRenders.joined([drawn, drawn[plain]]))
    fine_tune(encoder, tuple(sets), steps, BATCH, PEAK, inputs.seed, kept)
