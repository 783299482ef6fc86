"""Labelled renderings of an arm before random scenes, as one fixed camera sees it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from sim.camera import CameraModel, as_matrix
from sim.image_disturbance import ImageDisturbance, disturb
from sim.looks import LooksRanges, sample_looks, texture_pool
from sim.meshes import box
from sim.render import Body, Scene
from sim.robot import RobotModel
from sim.urdf_visuals import load_urdf_visuals

ARM, TABLE, HELD = "arm", "table", "held"
CAMERA_TURN = 0.015
"""[rad] standard deviation of the camera's jitter about each axis: what a calibration may be wrong by."""
CAMERA_SHIFT = 0.015
"""[m] the same of its place."""
NEAR = 0.5
"""[rad] half of the poses lie so near to the working pose, joint by joint."""
LOWEST = 0.02
"""[m] the end effector is never drawn below."""
MASK_STRIDE = 4


@dataclass(frozen=True)
class ArmViews:
    """Pictures of an arm with what simulation, or joint angles and a calibrated camera, say about them."""

    images: np.ndarray
    """(N, H, W, 3) uint8."""
    pixels: np.ndarray
    """(N, K, 2) float32 landmarks in the picture: the end effector, then the origins of the links."""
    masks: np.ndarray
    """(N, H / 4, W / 4) float32 share of each cell that shows the arm."""
    ee_pos: np.ndarray
    """(N, 3) float32 end effector [m, base frame]."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | np.ndarray) -> ArmViews:
        return ArmViews(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


class ArmScene:
    """Draws the arm at any joint angles, with a table below and something in its hand, before any background."""

    def __init__(self, robot: RobotModel, camera: CameraModel, photographs: Path | None = None):
        """Load the meshes; `photographs` is a folder of pictures used as backgrounds beside procedural ones."""
        assert robot.urdf_path is not None
        self.robot, self.camera = robot, camera
        visuals = load_urdf_visuals(Path(robot.urdf_path))
        self._rows = np.array([robot.tree.links.index(link) for link in visuals])
        self._landmarks = [robot.tree.links.index(link) for link in visuals if "finger" not in link]
        self._ee = robot.tree.links.index(robot.ee_link)
        bodies = [Body(link, mesh, ARM) for link, mesh in visuals.items()]
        bodies.append(Body(TABLE, box((1.4, 1.4, 0.04)), colour=(0.5, 0.45, 0.4), casts_shadow=False))
        bodies.append(Body(HELD, box((1.0, 1.0, 1.0)), colour=(0.9, 0.9, 0.9)))
        self.arm = len(visuals)
        self._scene = Scene(bodies, _pool(photographs))

    def draw(
        self, q: np.ndarray, rng: np.random.Generator, randomised: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Draw one view: picture (H, W, 3), landmarks (K, 2), mask (H / 4, W / 4), end effector (3,)."""
        poses = self.robot.link_poses(q)
        camera, looks, effects = self.camera, self._scene.nominal_looks, ImageDisturbance()
        T = np.tile(np.eye(4), (self.arm + 2, 1, 1))
        T[: self.arm] = poses[self._rows]
        T[self.arm, :3, 3] = (0.4, 0.0, -0.025)
        T[self.arm + 1] = poses[self._ee]
        scales = np.ones((self.arm + 2, 3))
        scales[self.arm + 1] = (0.001, 0.001, 0.001)
        if randomised:
            camera = jittered(camera, rng)
            # white arms are white, within what light makes of it; everything else is anything
            ranges = LooksRanges(
                group_colour={ARM: 0.25}, plain=(ARM,), background_texture=0.85, hidden={TABLE: 0.4, HELD: 0.4}
            )
            looks = sample_looks(rng, self._scene, ranges)
            T[self.arm, :3, 3] = rng.uniform([0.0, -0.5, -0.06], [0.8, 0.5, -0.02])
            T[self.arm + 1, :3, :3] = T[self.arm + 1, :3, :3] @ Rotation.from_rotvec(rng.normal(0, 0.5, 3)).as_matrix()
            T[self.arm + 1, :3, 3] += T[self.arm + 1, :3, :3] @ rng.normal(0, 0.04, 3)
            scales[self.arm + 1] = rng.uniform([0.02, 0.02, 0.005], [0.22, 0.22, 0.1])
            effects = _random_effects(rng)
        frame = self._scene.render(T, camera, looks, supersample=1, scales=scales)
        picture = disturb(frame.rgb, effects, rng)
        arm = ((frame.segmentation >= 0) & (frame.segmentation < self.arm)).astype(np.float32)
        points = np.concatenate([poses[[self._ee], :3, 3], poses[self._landmarks, :3, 3]])
        return picture, camera.project(points), shrunk(arm), points[0]

    def label(self, image: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Label a real picture by the arm's joint angles and this scene's camera; the tuple of `draw`."""
        _, pixels, mask, ee = self.draw(q, np.random.default_rng(0), randomised=False)
        return image, pixels, mask, ee


def jittered(camera: CameraModel, rng: np.random.Generator) -> CameraModel:
    """Return `camera` turned and shifted as a calibration may be wrong."""
    T = camera.pose()
    T[:3, :3] = T[:3, :3] @ Rotation.from_rotvec(rng.normal(0, CAMERA_TURN, 3)).as_matrix()
    T[:3, 3] += rng.normal(0, CAMERA_SHIFT, 3)
    return replace(camera, T_base_camera=as_matrix(T))


def draw_arm_views(scene: ArmScene, working: np.ndarray, count: int, seed: int, randomised: bool = True) -> ArmViews:
    """Draw `count` independent views.

    Args:
        scene: arm and camera.
        working: (n,) joint positions about which the arm works [rad]; half of the poses lie within `NEAR` of it, the
            other half anywhere within the joint limits where the end effector is in the picture.
        count: number of views.
        seed: of everything random.
        randomised: looks, camera and faults are random; otherwise nominal.
    """
    rng = np.random.default_rng(seed)
    rows = [scene.draw(_pose(scene, working, i % 2 == 0, rng), rng, randomised) for i in range(count)]
    return stacked(rows)


def stacked(rows: Sequence[tuple[np.ndarray, ...]]) -> ArmViews:
    """Put labelled pictures together."""
    images, pixels, masks, ee = (np.stack(column) for column in zip(*rows))
    f = np.float32
    return ArmViews(images, pixels.astype(f), masks.astype(f), ee.astype(f))


def shrunk(mask: np.ndarray) -> np.ndarray:
    """Average a mask (H, W) over cells of four by four pixels."""
    height, width = mask.shape
    return cv2.resize(mask, (width // MASK_STRIDE, height // MASK_STRIDE), interpolation=cv2.INTER_AREA)


def _pose(scene: ArmScene, working: np.ndarray, near: bool, rng: np.random.Generator) -> np.ndarray:
    limits = scene.robot.limits
    low, high = np.array(limits.q_low), np.array(limits.q_high)
    while True:
        q = working + rng.uniform(-NEAR, NEAR, len(working)) if near else rng.uniform(low, high)
        q = np.clip(q, low, high)
        p = scene.robot.chain.pose(q)[1]
        x, y = scene.camera.project(p[None])[0]
        inside = 4 < x < scene.camera.width - 5 and 4 < y < scene.camera.height - 5
        if p[2] > LOWEST and inside:
            return q


def _random_effects(rng: np.random.Generator) -> ImageDisturbance:
    return ImageDisturbance(
        exposure=rng.normal(0, 0.35),
        white_balance=rng.normal(0, 0.15),
        tint=rng.normal(0, 0.08),
        gamma=rng.normal(0, 0.15),
        vignetting=rng.uniform(0, 0.3),
        blur=max(0.0, rng.normal(0.3, 0.4)),
        shot_noise=rng.uniform(0, 0.03),
        read_noise=rng.uniform(0, 0.003),
        jpeg=rng.choice([0.0, rng.uniform(0, 0.4)]),
    )


@cache
def _pool(photographs: Path | None) -> np.ndarray:
    return texture_pool(photographs=photographs)
