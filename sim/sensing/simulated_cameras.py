"""The images of a task's cameras in the PyBullet world: appearance, camera errors, image disturbances of an episode.

parameters ─▶ appearance, cameras, disturbances (once an episode) ─▶ an image per camera and step
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from robots.camera import CameraModel
from robots.compiled import njit
from robots.model import RobotModel
from sim.physics.world import TABLE_CENTRE, TABLE_SIZE
from sim.randomization.appearance_sampler import AppearanceRanges, sample_appearance
from sim.randomization.clutter import CLOTH, is_uncluttered, sample_clutter
from sim.randomization.surroundings import MARKS, has_surroundings, sample_surroundings
from sim.randomization.wild_appearance import harden_appearance
from sim.rendering.appearance import Appearance, RenderError
from sim.rendering.bullet_renderer import RENDERERS, BulletRenderer, Renderer
from sim.rendering.household import radius
from sim.rendering.renderer import Frame, RenderedScene, StaticBackground
from sim.scene import RigidBody, Shape
from sim.sensing.distortion import distort, lens_map, pack_map
from sim.sensing.image_disturbance import ImageDisturbance, disturb
from sim.sensing.moved_camera import calibrated_camera, moved_camera
from sim.sensing.occluders import occluders_of
from sim.sensing.scene_cache import ARM, SceneCache
from sim.tasks import Task


class Posed(Protocol):
    """The world, or its state at some time."""

    @property
    def q(self) -> np.ndarray:
        """(n,) joint positions [rad]."""

    @property
    def opening(self) -> float:
        """Mean finger position [m]."""

    def pose(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Return a body's origin (3,) [m] and orientation (4,) xyzw in the base frame."""


FLOOR_HEIGHT = -0.75
"""The floor under the table [m, base frame]."""
DRAWN_ANEW = 1
"""Images of an episode that are drawn whole before the static background is cached: some episodes are that short."""


@dataclass(frozen=True)
class RenderConfig:
    """How images are drawn."""

    supersample: int = 2
    """Samples a pixel along each axis, 1 or 2; 1 is twice as fast and has jagged edges."""
    shadows: bool = True
    """Whether the first light casts shadows where the appearance says so."""
    triangles: int = 1_000
    """Triangles a link."""
    appearance: AppearanceRanges = field(
        default_factory=lambda: AppearanceRanges(group_colour={ARM: 0.35}, plain=(ARM,))
    )
    """Ranges at `appearance_strength` 1; an arm is plain, and its colours vary by a third of the range."""
    photographs: Path | None = None
    """Folder of images that are used as textures beside the procedural ones."""
    household: Path | None = None
    """Folder of meshes that stand about under `wild`, z up, of any size; by default procedural ones."""
    renderer: Renderer = "numba"
    """`numba` is ours; `tiny` and `egl` are PyBullet's, which draw plain colours under one light, and slowly."""


class SimulatedCameras:
    """Renders one world: `begin` once an episode, then `capture`."""

    def __init__(
        self,
        task: Task,
        robot: RobotModel,
        cameras: Sequence[CameraModel],
        config: RenderConfig | None = None,
    ):
        """Load the arm's meshes.

        Args:
            task: its landmarks always have a strong colour, and its workspace stays free of clutter.
            robot: the arm.
            cameras: the nominal ones.
            config: how images are drawn.

        Raises:
            MeshError: if a mesh is missing.
            RenderError: if the configuration makes no sense.
        """
        self.config = config = config or RenderConfig()
        if config.renderer not in RENDERERS:
            raise RenderError(f"unknown renderer '{config.renderer}'; known are {', '.join(RENDERERS)}")
        ranges = config.appearance
        self._appearance_ranges = replace(
            ranges,
            vivid=tuple(dict.fromkeys((*task.hues, *task.landmarks))),
            group_colour={**ranges.group_colour, **task.hues},
        )
        self._robot = robot
        self._area = task.workspace[:2]
        self._nominal_cameras = {camera.name: camera for camera in cameras}
        assert robot.urdf_path is not None  # the world has been opened from it
        self._scene_cache = SceneCache.of(robot.urdf_path, config.triangles, config.photographs, config.household)
        self._arm = self._scene_cache.arm
        self._links = np.array([robot.tree.links.index(link.name) for link in self._arm])
        self._arm_moves = robot.tree.moves[self._links]
        self._ee = robot.tree.links.index(robot.ee_link)
        self._scenes: dict[tuple, RenderedScene] = {}
        self._bullet: dict[int, BulletRenderer] = {}

    def close(self) -> None:
        """Close what PyBullet draws with."""
        for renderer in self._bullet.values():
            renderer.close()
        self._bullet.clear()

    def begin(self, parameters: Mapping[str, float], bodies: Sequence[RigidBody]) -> None:
        """Fix appearance, cameras and image disturbances of an episode with these `parameters` and task `bodies`."""
        self._bodies = bodies
        surroundings = has_surroundings(parameters)
        clutter = () if is_uncluttered(parameters) and not surroundings else sample_clutter(parameters, self._area)
        self._scene = self._scene_of(bodies, bool(clutter), surroundings)
        strength = parameters["appearance_strength"]
        nominal = self._nominal_appearance(bodies)
        if strength > 0:
            rng = np.random.default_rng(int(parameters["appearance_seed"]))
            surfaces = ("table", CLOTH) if clutter and clutter[-1].visible else ("table",)
            ranges = self._appearance_ranges.scaled(strength)
            self._appearance = sample_appearance(rng, self._scene, ranges, surfaces, nominal)
        else:
            self._appearance = nominal
        first = len(self._arm) + 2 + sum(len(body.shapes) for body in bodies)
        if clutter:
            visible = self._appearance.visible.copy()
            visible[first : first + len(clutter)] = [piece.visible for piece in clutter]
            self._appearance = replace(self._appearance, visible=visible)
        self.cameras = {name: moved_camera(camera, parameters) for name, camera in self._nominal_cameras.items()}
        self._lenses = {}
        for name, camera in self._nominal_cameras.items():
            k1 = parameters[f"camera_{name}_k1"]
            if k1:
                self._lenses[name] = pack_map(*lens_map(calibrated_camera(camera, parameters), k1))
        self._disturbance = ImageDisturbance(**{item.name: parameters[item.name] for item in fields(ImageDisturbance)})
        fixed = len(self._arm) + 2
        self._T = np.tile(np.eye(4), (len(self._scene.bodies), 1, 1))
        self._T[len(self._arm), :3, 3] = (*TABLE_CENTRE, parameters["table_height"] - TABLE_SIZE[2] / 2)
        self._T[len(self._arm) + 1, :3, 3] = (0.0, 0.0, FLOOR_HEIGHT)
        self._scales = np.ones((len(self._scene.bodies), 3))
        shapes = [(shape, body.mass > 0) for body in bodies for shape in body.shapes]
        self._moving = np.zeros(len(self._scene.bodies), np.bool_)
        self._moving[: len(self._arm)] = self._arm_moves
        for row, (shape, moves) in enumerate(shapes, start=fixed):
            self._scales[row] = _scale(shape)
            self._moving[row] = moves
        for row, piece in enumerate(clutter, start=first):
            self._scales[row] = _scale(piece.shape)
            self._T[row, :3, :3] = piece.R
            self._T[row, :3, 3] = piece.position
        if surroundings:
            self._add_surroundings(parameters, first + len(clutter), CLOTH if clutter[-1].visible else "table")
        self._occluders = occluders_of(parameters, tuple(self._nominal_cameras))
        self._captured = dict.fromkeys(self._nominal_cameras, 0)
        self._offsets = {body.name: np.array([shape.position for shape in body.shapes], float) for body in bodies}
        self._drawn = dict.fromkeys(self._nominal_cameras, 0)
        self._static: dict[str, StaticBackground] = {}
        self._stood: dict[str, np.ndarray] = {}

    def _nominal_appearance(self, bodies: Sequence[RigidBody]) -> Appearance:
        """Return the scene's nominal appearance with the colours that `bodies` have in this episode."""
        nominal = self._scene.nominal_appearance
        colours, first = nominal.colours.copy(), len(self._arm) + 2
        own = [body.colour for body in bodies for _ in body.shapes]
        colours[first : first + len(own)] = own
        return replace(nominal, colours=colours)

    def _add_surroundings(self, parameters: Mapping[str, float], row: int, surface: str) -> None:
        """Put the surroundings, the bodies from `row` on, where they are, and harden the appearance."""
        cache = self._scene_cache
        radii = [radius(mesh) for mesh in cache.articles.values()]
        cameras = (calibrated_camera(camera, parameters) for camera in self._nominal_cameras.values())
        clear = [camera.pose()[:3, 3] for camera in cameras if camera.T_base_camera is not None]
        surroundings = sample_surroundings(parameters, self._area, radii, self._robot, clear)
        visible = self._appearance.visible.copy()
        visible[row:] = False
        for number, piece in surroundings.pieces.items():
            visible[row + number] = True
            self._scales[row + number] = piece.scale
            self._T[row + number, :3, :3] = piece.R
            self._T[row + number, :3, 3] = piece.position
        if surroundings.second_arm is not None:
            links = slice(row + MARKS + len(radii), None)
            visible[links] = True
            self._T[links] = surroundings.second_arm[self._links]
        self._appearance = harden_appearance(
            replace(self._appearance, visible=visible),
            self._scene,
            parameters,
            cache.patterns,
            self._appearance_ranges.vivid,
            surface,
            ARM,
        )

    def render(self, state: Posed, name: str, rows: tuple[int, int] | None = None, out: Frame | None = None) -> Frame:
        """Render the ideal image of camera `name`, without disturbances: RGB, depth [m] and segmentation.

        Args:
            state: the world, or its state at some time.
            name: of the camera.
            rows: first and last + 1 of the rows to draw; all by default.
            out: where to draw; a new frame by default.
        """
        camera = self.cameras[name]
        poses = self._robot.link_poses(state.q, state.opening)
        self._pose_bodies(state, poses)
        shadow = self._appearance.shadow and self.config.shadows
        if self.config.renderer != "numba":
            key = id(self._scene)
            if key not in self._bullet:
                self._bullet[key] = BulletRenderer(self._scene, self.config.renderer)
            return self._bullet[key].render(
                self._T,
                camera,
                self._appearance,
                shadow=shadow,
                scales=self._scales,
                T_base_ee=poses[self._ee],
                out=out,
                rows=rows,
            )
        static = self._static.get(name)
        if static is None and camera.T_base_camera is not None:
            self._drawn[name] += 1
            if self._drawn[name] > DRAWN_ANEW:
                static = self._static[name] = self._scene.static_background(
                    self._T,
                    camera,
                    self._appearance,
                    moving=self._moving,
                    supersample=self.config.supersample,
                    shadow=shadow,
                    scales=self._scales,
                )
        return self._scene.render(
            self._T,
            camera,
            self._appearance,
            supersample=self.config.supersample,
            shadow=shadow,
            T_base_ee=poses[self._ee],
            scales=self._scales,
            out=out,
            rows=rows,
            static=static,
        )

    def get_state(self) -> dict[str, tuple[int, int]]:
        """Return how many images of the episode each camera has drawn whole, and captured; all else follows from
        `begin`."""
        return {name: (drawn, self._captured[name]) for name, drawn in self._drawn.items()}

    def set_state(self, counts: Mapping[str, tuple[int, int]]) -> None:
        """Continue after `begin` where `get_state` was called."""
        self._drawn = {name: drawn for name, (drawn, _) in counts.items()}
        self._captured = {name: captured for name, (_, captured) in counts.items()}

    def _pose_bodies(self, state: Posed, link_poses: np.ndarray) -> None:
        """Put the arm and all bodies where they are; one that should not have moved clears the static backgrounds."""
        arm = len(self._arm)
        np.take(link_poses, self._links, axis=0, out=self._T[:arm], mode="clip")  # "raise" would copy it once more
        row = arm + 2
        for body in self._bodies:
            position, quat = state.pose(body.name)
            stood = self._stood.get(body.name)
            if stood is position:  # nothing was written since
                row += len(body.shapes)
                continue
            if body.mass == 0 and stood is not None and not np.array_equal(stood, position):
                self._static.clear()
            self._stood[body.name] = position
            _put(self._T, row, self._offsets[body.name], position, quat)
            row += len(body.shapes)

    def capture(self, states: Sequence[Posed], name: str, rng: np.random.Generator, measured: bool = True) -> Frame:
        """Return the image that camera `name` delivers, disturbed; depth and segmentation are not.

        Where an occluder is before the camera, depth is 0 and the segmentation -1.

        Args:
            states: of the world; several of them fill the image from top to bottom (rolling shutter).
            name: of the camera.
            rng: source of the noise.
            measured: whether depth and segmentation are wanted, too.
        """
        camera = self.cameras[name]
        frame = Frame.empty(camera.height, camera.width, measured)
        if len(states) == 1:
            self.render(states[0], name, out=frame)
        else:
            edges = [round(k * camera.height / len(states)) for k in range(len(states) + 1)]
            for state, rows in zip(states, itertools.pairwise(edges)):
                self.render(state, name, rows, frame)
        if name in self._occluders:
            self._occluders[name].draw(frame, self._captured[name])
        self._captured[name] += 1
        rgb = frame.rgb
        if name in self._lenses:
            rgb = distort(rgb, self._lenses[name])
        return Frame(disturb(rgb, self._disturbance, rng), frame.depth, frame.segmentation)

    def shade(self, state: Posed, name: str) -> np.ndarray:
        """Compute what share of its light each pixel of camera `name` keeps in this episode's shadows, (H, W, 3) uint8.

        255 is all of it. Colours and textures do not matter; whichever renderer is configured, ours draws this.
        """
        camera = self.cameras[name]
        if not (self._appearance.shadow and self.config.shadows):
            return np.full((camera.height, camera.width, 3), 255, np.uint8)
        poses = self._robot.link_poses(state.q, state.opening)
        self._pose_bodies(state, poses)
        grey = replace(
            self._appearance,
            colours=np.full_like(self._appearance.colours, 0.4),  # no sum of lights is too bright for it
            textures=np.full_like(self._appearance.textures, -1),
            specular=np.zeros_like(self._appearance.specular),
        )
        shaded, lit = (
            self._scene.render(
                self._T,
                camera,
                grey,
                supersample=self.config.supersample,
                shadow=shadow,
                T_base_ee=poses[self._ee],
                scales=self._scales,
            ).rgb.astype(np.float32)
            for shadow in (True, False)
        )
        return np.asarray(np.clip(255 * shaded / np.maximum(lit, 1.0) + 0.5, 0, 255), np.uint8)

    def silhouette(self, state: Posed, name: str, body: str) -> np.ndarray:
        """Return where camera `name` would show `body` if nothing was in front of it, (H, W) bool."""
        poses = self._robot.link_poses(state.q, state.opening)
        self._pose_bodies(state, poses)
        alone = self._scene.group_of_body == self._scene.groups.index(body)
        appearance = replace(self._appearance, visible=alone)
        frame = self._scene.render(
            self._T, self.cameras[name], appearance, shadow=False, T_base_ee=poses[self._ee], scales=self._scales
        )
        return frame.segmentation >= 0

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the bodies, by their number in segmentation images."""
        return self._scene.names

    def _scene_of(self, bodies: Sequence[RigidBody], cluttered: bool, surroundings: bool = False) -> RenderedScene:
        key = (cluttered, surroundings, *((body.name, tuple(shape.kind for shape in body.shapes)) for body in bodies))
        if key not in self._scenes:
            scene = self._scene_cache.scene(bodies, cluttered, surroundings)
            self._appearance_ranges.validate(scene)
            self._scenes[key] = scene
        return self._scenes[key]


@njit(cache=True)
def _put(T, row, offsets, position, quat):
    """Write the poses of a body's shapes, `offsets` (k, 3) from its origin, into T (B, 4, 4) from `row` on."""
    x, y, z, w = quat
    R = T[row, :3, :3]
    R[0, 0], R[0, 1], R[0, 2] = 1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)
    R[1, 0], R[1, 1], R[1, 2] = 2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)
    R[2, 0], R[2, 1], R[2, 2] = 2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)
    for k in range(offsets.shape[0]):
        for i in range(3):
            for j in range(3):
                T[row + k, i, j] = R[i, j]
            o = offsets[k]
            T[row + k, i, 3] = position[i] + R[i, 0] * o[0] + R[i, 1] * o[1] + R[i, 2] * o[2]


def _scale(shape: Shape) -> tuple[float, ...]:
    if shape.kind == "box":
        return shape.size
    return (shape.size[0], shape.size[0], shape.size[-1])  # a sphere's size has one element
