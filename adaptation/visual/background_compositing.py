"""Learn to see before the target's own empty scene, which its unlabelled frames give away.

    frames, q ─▶ camera found ─▶ arm cut out ─▶ median of what is left: the empty scene
    renderings of arm and thing, any looks, that camera ─▶ pasted on the empty scene ─▶ encoder, geometry

A fixed camera sees every place of the scene without arm or thing sooner or later. Labels come from the renderings:
nobody labels a frame.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from adaptation.visual.material import Foregrounds, Material
from policies.imitation.cloning import StudentConfig, fit_encoder
from policies.models.keypoint_student import KeypointEncoder
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.visual_meshes import load_urdf_visuals
from sim.datasets.labelled_renders import LabelledRenders
from sim.rendering.packed_bodies import Body
from sim.rendering.renderer import Scene
from sim.sensing.image_disturbance import ImageDisturbance, disturb

MARGIN = 2
"""Pixels round the drawn arm that are cut out with it: what self-calibration leaves."""
TRIANGLES = 300
"""A link, for its outline."""
VIEWS, STEPS, BATCH = 4_000, 900, 96
"""Seen on the virtual arm's cluttered table: 3,000 views and 300 steps leave goals that stand still to 12.5 mm on
trials held out, these to 10.6 mm; three minutes of one core."""
PEAK = 1.5e-3
"""Half the rate of a training from scratch: what the encoder knows already is kept."""


def empty_scene(images: np.ndarray, arm: np.ndarray) -> np.ndarray:
    """Estimate the picture (H, W, 3) uint8 of the scene without arm and things.

    Args:
        images: (N, H, W, 3) uint8 frames of one fixed camera.
        arm: (N, H, W) bool, where the arm may be; pixels that it never leaves are filled from their surroundings.
    """
    hidden = np.asarray(arm.all(axis=0))
    shown = np.where(arm[..., None], np.nan, images.astype(np.float32))
    shown[:, hidden] = 0.0
    scene = np.asarray(np.nanmedian(shown, axis=0).round(), np.uint8)
    return np.asarray(cv2.inpaint(scene, hidden.astype(np.uint8), 3, cv2.INPAINT_TELEA)) if hidden.any() else scene


def arm_masks(robot: RobotModel, camera: CameraModel, q: np.ndarray, opening: float = 0.0) -> np.ndarray:
    """Draw where the arm is (N, H, W) bool at joint positions (N, n) [rad], with `MARGIN` round it."""
    assert robot.urdf_path is not None
    visuals = load_urdf_visuals(Path(robot.urdf_path), TRIANGLES)
    rows = np.array([robot.tree.links.index(link) for link in visuals])
    scene = Scene([Body(link, mesh) for link, mesh in visuals.items()])
    kernel = np.ones((2 * MARGIN + 1,) * 2, np.uint8)
    masks = []
    for each in q:
        frame = scene.render(robot.link_poses(each, opening)[rows], camera, shadow=False)
        masks.append(cv2.dilate((frame.segmentation >= 0).astype(np.uint8), kernel) > 0)
    return np.stack(masks)


def before_scene(drawn: Foregrounds, scene: np.ndarray, rng: np.random.Generator) -> LabelledRenders:
    """Paste what was drawn, and its shadows, on the empty `scene` (H, W, 3) uint8, in light that changes a little."""
    views = drawn.views
    images = np.empty_like(views.images)
    for i, (picture, front, shade) in enumerate(zip(views.images, drawn.front, drawn.shade)):
        share = cv2.GaussianBlur(front.astype(np.float32), (3, 3), 0.5)[..., None]
        mixed = share * picture + (1 - share) * scene * (shade / np.float32(255))
        effects = ImageDisturbance(
            exposure=rng.normal(0, 0.12), white_balance=rng.normal(0, 0.04), gamma=rng.normal(0, 0.05),
            blur=rng.uniform(0, 0.3), shot_noise=rng.uniform(0, 0.02),
        )  # fmt: skip
        images[i] = disturb(np.clip(mixed + 0.5, 0, 255).astype(np.uint8), effects, rng)
    return replace(views, images=images)


def see_own_scene(
    encoder: KeypointEncoder, material: Material, camera: CameraModel, views: int = VIEWS, steps: int = STEPS
) -> None:
    """Train `encoder` on renderings of `camera` before the target's empty scene; a fifth of the views are
    before what the simulator draws, so that what it knew is not lost."""
    target, robot = material.target, material.robot
    opened = 0.0 if robot.gripper is None else robot.gripper.opened
    scene = empty_scene(target.images, arm_masks(robot, camera, target.q, opened))
    drawn = material.foregrounds(camera, views)
    rng = np.random.default_rng(material.seed)
    own = before_scene(drawn, scene, rng)
    keep = drawn.views[rng.permutation(views)[: views // 4]]
    config = StudentConfig(views=views, steps=steps, batch=BATCH, learning_rate=PEAK)
    fit_encoder(encoder, LabelledRenders.joined([own, keep]), config, material.seed, lambda share, text: None)
