"""Labelled renders of an arm in front of random backgrounds, from one fixed camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from adaptation.visual.self_calibration import perturbed
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.shapes.meshes import cuboid
from robots.shapes.visual_meshes import load_urdf_visuals
from sim.randomization.appearance_sampler import AppearanceRanges, sample_appearance, texture_pool
from sim.rendering.appearance import Appearance
from sim.rendering.packed_bodies import Body
from sim.rendering.renderer import Frame, RenderedScene
from sim.sensing.image_disturbance import ImageDisturbance, disturb

ARM, TABLE, HELD = "arm", "table", "held"
CAMERA_TURN = 0.006
"""[rad] standard deviation of the camera's calibration error about each axis."""
CAMERA_SHIFT = 0.006
"""[m] the same of its position."""
NEAR = 0.5
"""[rad] largest distance, joint by joint, of half of the poses from the working pose."""
CLEAN = 0.15
"""Share of the pictures with a plain or textured background."""
OWN = 0.8
"""Share of the pictures of a video's looks that have its background."""
OWN_LIGHT = 0.3
"""Share of the disturbances of light that are left where a video's light is known."""
PIECES = 40
"""Largest number of patches on the background."""
PROCEDURAL = 48
"""Procedural textures beside the photographs."""
LOWEST = 0.02
"""[m] lowest height of the end effector."""
MASK_STRIDE = 4


@dataclass(frozen=True)
class ArmRenders:
    """Pictures of an arm with labels, from simulation or from joint angles and a calibrated camera."""

    images: np.ndarray
    """(N, H, W, 3) uint8."""
    pixels: np.ndarray
    """(N, K, 2) float32 landmarks [px]: the end effector, then the origins of the links."""
    masks: np.ndarray
    """(N, H / 4, W / 4) float32 share of each cell that shows the arm."""
    ee_pos: np.ndarray
    """(N, 3) float32 end effector [m, base frame]."""

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, rows: slice | np.ndarray) -> ArmRenders:
        return ArmRenders(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})


@dataclass(frozen=True, eq=False)
class VideoLooks:
    """A video's background and the arm's looks in it."""

    background: np.ndarray
    """(H, W, 3) uint8."""
    hidden: np.ndarray
    """(H, W) bool, where no picture shows the background."""
    looks: tuple[Appearance, ...]

    def behind(self, piece: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the background (H, W, 3), half of the times with a `piece` where it is unknown."""
        return np.where(self.hidden[..., None], piece, self.background) if rng.random() < 0.5 else self.background


class ArmScene:
    """Renders the arm at any joint angles, with a table and a held object, in front of any background."""

    def __init__(self, robot: RobotModel, camera: CameraModel, photographs: Path | None = None):
        """Load the meshes; `photographs` is a folder of pictures used as backgrounds beside procedural ones."""
        assert robot.urdf_path is not None
        self.robot, self.camera = robot, camera
        visuals = load_urdf_visuals(Path(robot.urdf_path))
        self._rows = np.array([robot.tree.links.index(link) for link in visuals])
        seen = [link for link in visuals if "finger" not in link]
        self.landmarks = (robot.ee_link, *seen)
        """Links whose origins are the landmarks, in order."""
        self._landmarks = [robot.tree.links.index(link) for link in seen]
        self._ee = robot.tree.links.index(robot.ee_link)
        bodies = [Body(link, mesh, ARM) for link, mesh in visuals.items()]
        bodies.append(Body(TABLE, cuboid((1.4, 1.4, 0.04)), colour=(0.5, 0.45, 0.4), casts_shadow=False))
        bodies.append(Body(HELD, cuboid((1.0, 1.0, 1.0)), colour=(0.9, 0.9, 0.9)))
        self.arm = len(visuals)
        self._pool = _pool(photographs)
        self._photographs = len(self._pool) - PROCEDURAL
        self._scene = RenderedScene(bodies, self._pool)

    def draw(
        self, q: np.ndarray, rng: np.random.Generator, randomised: bool, own: VideoLooks | None = None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Render one picture (H, W, 3), with landmarks (K, 2), mask (H / 4, W / 4) and end effector (3,).

        `own` are the looks of one video, instead of any.
        """
        poses = self.robot.link_poses(q)
        camera, looks, effects = self.camera, self._scene.nominal_appearance, ImageDisturbance()
        T, scales = self._bodies(poses)
        if randomised:
            camera = jittered(camera, rng)
            looks = self.random_looks(rng) if own is None else own.looks[rng.integers(len(own.looks))]
            T[self.arm, :3, 3] = rng.uniform([0.0, -0.5, -0.06], [0.8, 0.5, -0.02])
            T[self.arm + 1, :3, :3] = T[self.arm + 1, :3, :3] @ Rotation.from_rotvec(rng.normal(0, 0.5, 3)).as_matrix()
            T[self.arm + 1, :3, 3] += T[self.arm + 1, :3, :3] @ rng.normal(0, 0.04, 3)
            scales[self.arm + 1] = rng.uniform([0.02, 0.02, 0.005], [0.22, 0.22, 0.1])
            effects = _random_effects(rng, 1.0 if own is None else OWN_LIGHT)
        frame = self._scene.render(T, camera, looks, supersample=1, scales=scales)
        arm = self._arm(frame).astype(np.float32)
        picture = frame.rgb
        if randomised:
            picture = np.where((frame.segmentation < 0)[..., None], self._behind(picture, rng, own), picture)
            picture, free = self._before(picture, rng)
            arm *= free
        picture = disturb(picture, effects, rng)
        points = np.concatenate([poses[[self._ee], :3, 3], poses[self._landmarks, :3, 3]])
        return picture, camera.project(points), averaged_mask(arm), points[0]

    def random_looks(self, rng: np.random.Generator, video: bool = False) -> Appearance:
        """Draw looks: the arm keeps its colour, everything else is random.

        In those of a `video` there is no table: it is in the background.
        """
        ranges = AppearanceRanges(
            group_colour={ARM: 0.15},
            plain=(ARM,),
            ambient=(0.25, 0.8),
            background_texture=0.85,
            hidden={TABLE: 1.0 if video else 0.4, HELD: 0.4},
        )
        return sample_appearance(rng, self._scene, ranges)

    def render(self, q: np.ndarray, looks: Appearance) -> np.ndarray:
        """Render the arm alone, with nothing at random (H, W, 3) uint8."""
        T, scales = self._bodies(self.robot.link_poses(q))
        return self._scene.render(T, self.camera, looks, supersample=1, scales=scales).rgb

    def arm_mask(self, q: np.ndarray) -> np.ndarray:
        """Return where the arm is (H, W) bool, behind nothing."""
        T, scales = self._bodies(self.robot.link_poses(q))
        return self._arm(self._scene.render(T, self.camera, supersample=1, scales=scales, shadow=False))

    def _bodies(self, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the poses (B, 4, 4) and scales (B, 3) of arm, table and held object, which is too small to show."""
        T = np.tile(np.eye(4), (self.arm + 2, 1, 1))
        T[: self.arm] = poses[self._rows]
        T[self.arm, :3, 3] = (0.4, 0.0, -0.025)
        T[self.arm + 1] = poses[self._ee]
        scales = np.ones((self.arm + 2, 3))
        scales[self.arm + 1] = 0.001
        return T, scales

    def _arm(self, frame: Frame) -> np.ndarray:
        return (frame.segmentation >= 0) & (frame.segmentation < self.arm)

    def label(self, image: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Label a real picture by the arm's joint angles and this scene's camera; the tuple of `draw`."""
        _, pixels, mask, ee = self.draw(q, np.random.default_rng(0), randomised=False)
        return image, pixels, mask, ee

    def _behind(self, picture: np.ndarray, rng: np.random.Generator, own: VideoLooks | None) -> np.ndarray:
        """Replace the background by the video's, or by random patches over a photograph or the rendered one."""
        if own is not None and rng.random() < OWN:
            return own.behind(self._piece(picture.shape[:2], rng), rng)
        if rng.random() < CLEAN:
            return picture
        scene = picture.copy()
        if self._photographs and rng.random() < 0.7:
            scene = _cut(self._pool[-rng.integers(1, self._photographs + 1)], scene.shape[:2], rng)
        for _ in range(rng.integers(0, PIECES + 1)):
            _lay(scene, self._piece(scene.shape[:2], rng), _outline(scene.shape[:2], (0.02, 0.35), rng))
        return scene

    def _before(self, picture: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Put up to two small occluders in front of the arm; return picture and mask (H, W) float32, 0 on them."""
        scene, free = picture.copy(), np.ones(picture.shape[:2], np.float32)
        for _ in range(rng.choice([0, 0, 1, 2])):
            outline = _outline(scene.shape[:2], (0.02, 0.12), rng)
            _lay(scene, self._piece(scene.shape[:2], rng), outline)
            cv2.fillPoly(free, [outline], 0.0)
        return scene, free

    def _piece(self, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
        if rng.random() < 0.5:
            return _cut(self._pool[rng.integers(len(self._pool))], size, rng)
        grey = rng.uniform(0, 255)
        colour = np.clip(grey + rng.normal(0, rng.choice([5.0, 60.0]), 3), 0, 255).astype(np.uint8)
        return np.broadcast_to(colour, (*size, 3))


def _cut(picture: np.ndarray, size: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """Cut a random part of a picture, mirrored at random, enlarged to `size`."""
    side = int(picture.shape[0] * rng.uniform(0.3, 1.0))
    top, left = rng.integers(0, picture.shape[0] - side + 1, 2)
    part = picture[top : top + side, left : left + side]
    return cv2.resize(part[:, :: rng.choice([-1, 1])], size[::-1], interpolation=cv2.INTER_AREA)


def _outline(size: tuple[int, int], share: tuple[float, float], rng: np.random.Generator) -> np.ndarray:
    """Draw a random rotated box, sometimes thin, or a polygon: corners (M, 2) int32."""
    height, width = size
    half = 0.5 * width * rng.uniform(*share, 2)
    if rng.random() < 0.3:
        half[1] = rng.uniform(0.5, 2.0)
        half[0] = 0.5 * width * rng.uniform(0.1, 0.8)
    corners = 4 if rng.random() < 0.7 else 12
    angle = 2 * np.pi * (np.arange(corners) + 0.5) / corners
    local = np.sqrt(2) * half * np.stack([np.cos(angle), np.sin(angle)], 1)
    turn = rng.choice([0.0, rng.uniform(0, np.pi)])
    c, s = np.cos(turn), np.sin(turn)
    return (local @ np.array([[c, s], [-s, c]]) + rng.uniform(0, 1, 2) * (width, height)).round().astype(np.int32)


def _lay(scene: np.ndarray, piece: np.ndarray, outline: np.ndarray) -> None:
    mask = np.zeros(scene.shape[:2], np.uint8)
    cv2.fillPoly(mask, [outline], 1)
    np.copyto(scene, piece, where=mask[..., None].astype(bool))


def jittered(camera: CameraModel, rng: np.random.Generator) -> CameraModel:
    """Return `camera` with a random calibration error of its pose."""
    turn, shift = rng.normal(0, CAMERA_TURN, 3), rng.normal(0, CAMERA_SHIFT, 3)
    return perturbed(camera, np.concatenate([turn, shift, np.zeros(3)]))


def render_arm(scene: ArmScene, working: np.ndarray, count: int, seed: int, randomised: bool = True) -> ArmRenders:
    """Render `count` independent labelled pictures.

    Args:
        scene: arm and camera.
        working: (n,) working pose [rad]; half of the poses lie within `NEAR` of it, the other half anywhere within the
            joint limits where the end effector is in the picture.
        count: number of pictures.
        seed: of everything random.
        randomised: random appearance, camera pose and image disturbance; otherwise nominal.
    """
    rng = np.random.default_rng(seed)
    rows = [scene.draw(random_pose(scene, working, i % 2 == 0, rng), rng, randomised) for i in range(count)]
    return stacked(rows)


def stacked(rows: Sequence[tuple[np.ndarray, ...]]) -> ArmRenders:
    """Put labelled pictures together."""
    images, pixels, masks, ee = (np.stack(column) for column in zip(*rows))
    f = np.float32
    return ArmRenders(images, pixels.astype(f), masks.astype(f), ee.astype(f))


def averaged_mask(mask: np.ndarray) -> np.ndarray:
    """Average a mask (H, W) over cells of four by four pixels."""
    height, width = mask.shape
    return cv2.resize(mask, (width // MASK_STRIDE, height // MASK_STRIDE), interpolation=cv2.INTER_AREA)


def random_pose(scene: ArmScene, working: np.ndarray, near: bool, rng: np.random.Generator) -> np.ndarray:
    """Draw joint angles (n,) [rad] `near` the working pose or anywhere, with the end effector in the picture."""
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


def _random_effects(rng: np.random.Generator, light: float) -> ImageDisturbance:
    """Draw disturbances; those of the light as a share `light` of what they may be."""
    return ImageDisturbance(
        exposure=light * rng.normal(0, 0.35),
        white_balance=light * rng.normal(0, 0.15),
        tint=light * rng.normal(0, 0.08),
        gamma=light * rng.normal(0, 0.15),
        vignetting=rng.uniform(0, 0.3),
        blur=max(0.0, rng.normal(0.3, 0.4)),
        shot_noise=rng.uniform(0, 0.03),
        read_noise=rng.uniform(0, 0.003),
        jpeg=rng.choice([0.0, rng.uniform(0, 0.4)]),
    )


@cache
def _pool(photographs: Path | None) -> np.ndarray:
    return texture_pool(PROCEDURAL, photographs=photographs)
