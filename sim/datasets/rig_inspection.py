"""What a rig shows of a task, before anybody trains: how large its bodies are in the images, and how often hidden."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from robots.arms.reach import ReachMap
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.rig import Extent, Rig, describe_camera
from sim.catalogue import parameter_space
from sim.datasets.labelled_renders import begin_state
from sim.datasets.visibility import FEWEST_PIXELS
from sim.env import ArmEnv
from sim.randomization.parameters import ParameterSpace

LEAST_SEEN = 0.9
"""Share of the scenes in which a body must be large enough in at least one camera."""
DRAWN = 480
"""Height of the images that are drawn [px]."""
PLACES = 4
"""Places of a camera that may stand anywhere that are drawn."""
GRID, FRAME = (255, 214, 0), (20, 20, 20)


@dataclass(frozen=True)
class BodyCoverage:
    """How one body of the task appears to one camera."""

    body: str
    side_px: float
    """Median of the square root of its area where it is in the image [px]; 0 if it never is."""
    seen: float
    """Share of the scenes in which its side has at least `FEWEST_PIXELS`."""


@dataclass(frozen=True)
class CameraCoverage:
    """What one camera shows."""

    camera: CameraModel
    bodies: tuple[BodyCoverage, ...]
    image: np.ndarray
    """RGB uint8: a scene at nominal appearance with the work area on it; of a camera that may stand anywhere, from
    `PLACES` places one over the other."""

    @property
    def pose_text(self) -> str:
        """Where the camera stands, in plain words."""
        return describe_camera(self.camera)


@dataclass(frozen=True)
class RigCoverage:
    """What a rig shows of a task."""

    cameras: tuple[CameraCoverage, ...]
    seen: dict[str, float]
    """Share of the scenes in which some camera shows a body large enough, by the body's name."""

    @property
    def problems(self) -> list[str]:
        """What a policy could not locate, one line a body; empty where all can be."""
        return [
            f"'{body}' is at least {FEWEST_PIXELS:g} px large in only {100 * share:.0f} % of the scenes (wanted "
            f"{100 * LEAST_SEEN:.0f} %): move a camera nearer, take a longer lens, or add a camera"
            for body, share in self.seen.items()
            if share < LEAST_SEEN
        ]


def inspect_rig(
    task: str, robot: str | RobotModel, rig: str | Rig, scenes: int, seed: int, randomise: str = "full"
) -> RigCoverage:
    """Draw `scenes` of a task, the arm on its way, and measure what the rig shows of them.

    What varies is a preset or the file of a space, see `chosen_space`.

    Raises:
        SpecError: for an unknown task, arm or rig, or ones that do not fit together.
        ParameterError: for an unknown preset, or a file that holds no space.
    """
    probe = ArmEnv(task, robot, "nominal", "state", cameras=rig)
    probe.close()
    names = [camera.name for camera in probe.task.cameras]
    arrays = [f"{what}_{name}" for name in names for what in ("image", "segmentation")]
    env = ArmEnv(task, robot, randomise, ("q", *arrays), cameras=rig)
    bodies = probe.task.landmarks
    sides = np.zeros((scenes, len(names), len(bodies)))
    rng = np.random.default_rng(seed)
    try:
        env.begin(seed=seed)
        for k in range(scenes):
            if env.task.samples_states:
                state = begin_state(env, rng)
                shown = env.place_arm(state.q, state.opening)
            else:
                env.begin()
                shown = env.place_arm(np.array(env.robot.home))
            for c, name in enumerate(names):
                for b, body in enumerate(bodies):
                    numbers = [i for i, each in enumerate(env.segmentation_names) if each.split("/")[0] == body]
                    sides[k, c, b] = np.sqrt(np.isin(shown[f"segmentation_{name}"], numbers).sum())
        area = env.task.workspace[:2]
        nominal = env.parameter_space.narrowed(0.0)
    finally:
        env.close()
    pictures = _nominal_images(task, robot, rig, nominal, names, area, seed)
    large = sides >= FEWEST_PIXELS
    cameras = []
    for c, camera in enumerate(probe.task.cameras):
        rows = tuple(
            BodyCoverage(body, _median(sides[:, c, b]), float(large[:, c, b].mean())) for b, body in enumerate(bodies)
        )
        cameras.append(CameraCoverage(camera, rows, pictures[camera.name]))
    return RigCoverage(tuple(cameras), dict(zip(bodies, large.any(axis=1).mean(axis=0).tolist())))


def draw_area(
    image: np.ndarray, camera: CameraModel, area: Sequence[Extent], reach: ReachMap | None = None
) -> np.ndarray:
    """Return `image` enlarged, with the outline of the work area on the table [m] if the camera is fixed, and with a
    dot in each of its cells in which the arm grasps.
    """
    scale = max(1, round(DRAWN / image.shape[0]))
    shown = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    if camera.T_base_camera is None:
        return shown
    (x0, x1), (y0, y1) = area
    corners = np.array([[x0, y0, 0], [x1, y0, 0], [x1, y1, 0], [x0, y1, 0]], np.float64)
    edges = np.concatenate([np.linspace(a, b, 16) for a, b in zip(corners, np.roll(corners, -1, axis=0))])
    pixels = camera.project(edges)
    if np.isfinite(pixels).all():
        points = np.round(((pixels + 0.5) * scale - 0.5) * 16).clip(-(2**20), 2**20).astype(np.int32)
        for colour, width in ((FRAME, 5), (GRID, 2)):
            cv2.polylines(shown, [points], True, colour, width, cv2.LINE_AA, 4)
    if reach is not None:
        cells = reach.centres()
        for x, y in camera.project(np.column_stack([cells, np.zeros(len(cells))])):
            if np.isfinite([x, y]).all():
                at = round(float(x + 0.5) * scale - 0.5), round(float(y + 0.5) * scale - 0.5)
                cv2.circle(shown, at, 2, GRID, -1, cv2.LINE_AA)
    return shown


def join_images(coverage: RigCoverage) -> np.ndarray:
    """Put the cameras' images beside each other, each with its name."""
    tiles = []
    for each in coverage.cameras:
        tile = each.image.copy()
        cv2.putText(tile, each.camera.name, (12, 32), cv2.FONT_HERSHEY_SIMPLEX, 1.0, FRAME, 5, cv2.LINE_AA)
        cv2.putText(tile, each.camera.name, (12, 32), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (255, 255, 255), 2, cv2.LINE_AA)
        tiles.append(tile)
    height = min(tile.shape[0] for tile in tiles)
    return np.hstack([cv2.resize(tile, (round(tile.shape[1] * height / tile.shape[0]), height)) for tile in tiles])


def _nominal_images(
    task: str,
    robot: str | RobotModel,
    rig: str | Rig,
    space: ParameterSpace,
    names: Sequence[str],
    area: Sequence[Extent],
    seed: int,
) -> dict[str, np.ndarray]:
    """Draw each camera's image with the work area on it, from several places if it may stand anywhere."""
    env = ArmEnv(task, robot, space, [f"image_{name}" for name in names], cameras=rig)
    drawn = parameter_space(env.task, env.robot)
    anywhere = any(camera.pose_range is not None for camera in env.task.cameras)
    rng = np.random.default_rng(seed)
    tiles: dict[str, list[np.ndarray]] = {name: [] for name in names}
    try:
        for _ in range(PLACES if anywhere else 1):
            places = {name: value for name, value in drawn.sample(rng).items() if "_place_" in name}
            shown, _ = env.reset(seed=0, options={"parameters": places})
            for name in names:
                tiles[name].append(draw_area(shown[f"image_{name}"], env.camera(name), area, env.task.reach))
        return {name: np.vstack(each) for name, each in tiles.items()}
    finally:
        env.close()


def _median(sides: np.ndarray) -> float:
    found = sides[sides > 0]
    return float(np.median(found)) if len(found) else 0.0
