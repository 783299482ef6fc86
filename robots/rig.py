"""Camera rigs: any number of cameras, fixed or on the hand, by name or from a file.

    {"cameras": [{"name": "front", "height": 480, "width": 640, "fov_y_deg": 42,
                  "eye": [1.2, 0.0, 0.7], "target": [0.45, 0.0, 0.1]}, …]}

A camera is described by `K` and `T_base_camera` (or `T_ee_camera`), as `sim2real calibrate` writes them, or in plain
words by `fov_y_deg`, `eye` and `target`. A policy takes a small, ideal part of each image: `policy_view`. A camera with
a `pose_range` may stand anywhere in it; a policy trained so takes its calibration as well: `placed_view`.
"""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np

from robots.camera import CameraModel, Matrix, as_matrix, look_at
from robots.host.reading import read_json
from robots.host.typed import build
from robots.model import RobotModel
from robots.pose_range import PoseRange
from robots.specs import SpecError

Extent = tuple[float, float]
Area = tuple[Extent, Extent]
"""Smallest and largest x and y on the table [m, base frame]."""

AREA: Area = ((0.35, 0.65), (-0.2, 0.2))
"""Where arms that state no `table_area` work: those that reach as far as a Panda. Named rigs are planned for it."""
VIEW = 84
"""Height and width of a policy's images [px]; larger images are reduced to it, smaller ones are taken as they are."""
HEIGHT = 0.25
"""How far above the table a policy's view reaches, for an area of the size of `AREA` [m]."""
SIDEWAYS = math.radians(110)
"""Largest azimuth of a named rig's random camera either way: from behind, the arm hides the table [rad]."""
ELEVATION = (math.radians(25), math.radians(60))
"""Its elevation: lower, the arm hides the table; higher, heights are hardly visible [rad]."""
DISTANCE = (0.9, 1.4)
"""Its distance, for an area of the size of `AREA` [m]: farther from the base than the area's corners."""
AIM = 0.1
"""How far from the area's middle it may aim, likewise [m]."""
ROLL = math.radians(10)
"""How far it may be turned about its axis [rad]."""
MIDDLE = 0.1
"""Height of the point that it aims at, likewise [m]."""
WIDE = 150.0
"""Height of the ideal image that a random camera's view is cut from [°]: its lens is chosen to suit its place."""
BRACKET_ERROR = 0.01
"""Largest error of a hand camera's place along each axis, where no rig says it [m]: brackets are drawn, not taped."""
MARGIN = 1.25
"""Size of a policy's view over that of the work area in it: its camera stands elsewhere by a calibration's error."""


@dataclass(frozen=True)
class Rig:
    """The cameras of one cell, in the order in which a policy takes their images."""

    name: str
    """A name in `RIGS`, or the file's."""
    cameras: tuple[CameraModel, ...]
    """Nominal cameras, as calibrated or as planned."""

    def __post_init__(self) -> None:
        names = [camera.name for camera in self.cameras]
        if not names:
            raise SpecError(f"rig '{self.name}' has no camera, expected at least one")
        if len(set(names)) != len(names):
            raise SpecError(f"rig '{self.name}': cameras are {', '.join(names)}, expected names that differ")
        for camera in self.cameras:
            if not re.fullmatch("[A-Za-z][A-Za-z0-9_]*", camera.name):
                raise SpecError(
                    f"rig '{self.name}': a camera is called '{camera.name}', expected letters, digits and _, as its "
                    "topics have the name too"
                )
            if camera.T_base_camera is None and camera.T_ee_camera is None:
                raise SpecError(
                    f"rig '{self.name}', camera '{camera.name}': neither T_base_camera nor T_ee_camera is given; "
                    "calibrate it, or describe it by 'eye' and 'target'"
                )

    def policy_views(self, area: Area) -> Rig:
        """Return the rig of what a policy takes of each image, see `policy_view`."""
        return replace(self, cameras=tuple(policy_view(camera, area) for camera in self.cameras))

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {"cameras": [camera.to_dict() for camera in self.cameras]}


def front(area: Area) -> CameraModel:
    """A camera opposite the arm: shows the table and the arm's lower half."""
    return _looking("front", area, eye=(0.75, 0.0, 0.70), target=(-0.05, 0.0, 0.12), fov_y_deg=33)


def steep(area: Area) -> CameraModel:
    """As `front`, but 49° above the table: a camera without a second one does not tell how high a thing stands, and the
    flatter it looks, the farther that puts the thing out of its place. From still higher the hand hides what is below.
    """
    return _looking("front", area, eye=(0.60, 0.0, 0.85), target=(-0.05, 0.0, 0.10), fov_y_deg=33)


def side(area: Area) -> CameraModel:
    """A camera on the arm's left: its optical axis crosses that of `front` at 70°, so that both measure distances."""
    return _looking("side", area, eye=(-0.03, 0.85, 0.55), target=(-0.03, 0.0, 0.10), fov_y_deg=31)


def wrist(area: Area) -> CameraModel:
    """A camera on the hand, in front of the fingers, pointed at what is between them."""
    z = np.array([-0.6, 0.0, 0.8])
    x = np.array([0.0, 1.0, 0.0])
    T_ee_camera = np.eye(4)
    T_ee_camera[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    T_ee_camera[:3, 3] = area_scale(area) * np.array([0.06, 0.0, -0.06])
    K, scale = _pinhole(VIEW, VIEW, 70.0), min(1.0, area_scale(area))
    return CameraModel("wrist", VIEW, VIEW, K, T_ee_camera=as_matrix(T_ee_camera), position_error=scale * BRACKET_ERROR)


def left(area: Area) -> CameraModel:
    """A camera that stands anywhere between opposite the arm and its left."""
    return _anywhere("left", area, azimuth=(0.0, SIDEWAYS))


def right(area: Area) -> CameraModel:
    """A camera that stands anywhere between opposite the arm and its right."""
    return _anywhere("right", area, azimuth=(-SIDEWAYS, 0.0))


RIGS: dict[str, tuple[Callable[[Area], CameraModel], ...]] = {
    "front": (front,),
    "front_side": (front, side),
    "front_wrist": (steep, wrist),
    "wrist": (wrist,),
    "random": (left, right),
}
"""The named rigs, fitted to an arm's table area."""


def load_rig(rig: str | Rig, robot: RobotModel) -> Rig:
    """Return the cameras of a policy: a named rig fitted to the arm, or the views of a file's cameras.

    Args:
        rig: a name in `RIGS`, a .json file (several ones comma-separated), or a rig, which is returned as it is.
        robot: the arm, whose table area the cameras are to show.

    Raises:
        SpecError: for an unknown name, with the known ones; for a file that holds no cameras, with the reason.
    """
    if isinstance(rig, Rig):
        return rig
    area = robot.table_area or AREA
    if rig in RIGS:
        return Rig(rig, tuple(make(area) for make in RIGS[rig]))
    if not rig.endswith(".json"):
        raise SpecError(f"unknown camera rig '{rig}'; known are {', '.join(RIGS)}, or name a rig's file (….json)")
    return Rig(rig, read_cameras(rig, area)).policy_views(area)


def read_cameras(files: str, area: Area = AREA) -> tuple[CameraModel, ...]:
    """Read the cameras of rigs' files and of files by `sim2real calibrate`, comma-separated, as they really are.

    Cameras that may stand anywhere in a range are placed around `area`.

    Raises:
        SpecError: if a file cannot be read or describes no cameras, naming it and what is wrong.
    """
    return tuple(camera for file in files.split(",") for camera in _cameras(Path(file.strip()), area))


def _cameras(path: Path, area: Area) -> tuple[CameraModel, ...]:
    data = read_json(path, "rig")
    listed = data.get("cameras", [data])
    if not isinstance(listed, list):
        raise SpecError(f"rig '{path}': cameras is {type(listed).__name__}, expected a list of cameras")
    return tuple(_camera(path, each, area) for each in listed)


def policy_view(camera: CameraModel, area: Area) -> CameraModel:
    """Return the ideal camera in the same place whose image, `VIEW` pixels square, shows the work area.

    The node rectifies the camera's images to it. A camera on the hand is reduced to the largest square about its
    centre; an ideal image that is small already is taken as it is.

    Raises:
        SpecError: if a fixed camera's image shows nothing of the area.
    """
    edges = _ideal_edges(camera)
    if camera.T_base_camera is None:
        shown = edges
    else:
        top = HEIGHT * area_scale(area)
        corners = np.array(list(itertools.product(*area, (0.0, top))))
        pinhole = replace(camera, K=((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)), distortion=())
        xy = pinhole.project(corners)
        xy = xy[np.isfinite(xy).all(axis=1)]
        shown = np.array([xy.min(axis=0), xy.max(axis=0)]) if len(xy) else np.full((2, 2), np.nan)
        if not (np.maximum(shown[0], edges[0]) < np.minimum(shown[1], edges[1])).all():
            (x, y), at = area, np.round(camera.fixed_pose[:3, 3], 3)
            raise SpecError(
                f"camera '{camera.name}' at {at} m shows nothing of the work area, x from {x[0]} to {x[1]} and y from "
                f"{y[0]} to {y[1]} m in the base frame; check its pose"
            )
    if max(camera.height, camera.width) <= VIEW and not any(camera.distortion):
        return camera
    centre = np.clip(shown.mean(axis=0), edges[0], edges[1])
    side_length = min(MARGIN * float((shown[1] - shown[0]).max()), float((edges[1] - edges[0]).min()))
    centre = np.clip(centre, edges[0] + side_length / 2, edges[1] - side_length / 2)
    f = VIEW / side_length
    c = (VIEW - 1) / 2 - f * centre
    K = ((f, 0.0, float(c[0])), (0.0, f, float(c[1])), (0.0, 0.0, 1.0))
    return replace(camera, height=VIEW, width=VIEW, K=K, distortion=())


def placed_view(camera: CameraModel, values: Mapping[str, float]) -> CameraModel:
    """Return what a policy takes of a camera with a pose range, from the place of `values`, see `PoseRange.ranges`."""
    pose_range = camera.pose_range
    assert pose_range is not None
    T = as_matrix(pose_range.pose(values))
    size = 2 * VIEW
    wide = replace(
        camera, height=size, width=size, K=_pinhole(size, size, WIDE), T_base_camera=T, pose_range=None, distortion=()
    )
    view = policy_view(wide, pose_range.area)
    same = (view.height, view.width) == (camera.height, camera.width)
    return view if same else view.resized(camera.height, camera.width)


def describe_camera(camera: CameraModel) -> str:
    """Describe in plain words where a camera stands and what it looks at; metres and degrees."""
    if camera.pose_range is not None:
        (a, b), (c, d), (e, f) = (camera.pose_range.ranges[name] for name in ("azimuth", "elevation", "distance"))
        return (
            f"anywhere {math.degrees(a):.0f}° to {math.degrees(b):.0f}° to the left of opposite the arm, "
            f"{math.degrees(c):.0f}° to {math.degrees(d):.0f}° above the table, {e:.2f} to {f:.2f} m from the work area"
        )
    height_deg = 2 * np.degrees(np.arctan(camera.height / (2 * camera.fy)))
    lens = f"{camera.width} × {camera.height} px, {height_deg:.0f}° high"
    if camera.T_base_camera is None:
        x, y, z = np.array(camera.T_ee_camera)[:3, 3]
        return f"on the hand, ({x:+.2f}, {y:+.2f}, {z:+.2f}) m from the end effector; {lens}"
    T = camera.pose()
    x, y, z = T[:3, 3]
    sideways = f"{abs(y):.2f} m to the {'left' if y >= 0 else 'right'}"
    place = f"{abs(x):.2f} m {'in front' if x >= 0 else 'behind'}, {sideways}, {z:.2f} m up"
    if T[2, 2] < -0.05:  # it looks down: where its axis meets the table
        target = T[:3, 3] - T[:3, 2] * z / T[2, 2]
        return f"{place}, looking at ({target[0]:.2f}, {target[1]:.2f}, 0) m; {lens}"
    return f"{place}, looking along ({T[0, 2]:.2f}, {T[1, 2]:.2f}, {T[2, 2]:.2f}); {lens}"


def _ideal_edges(camera: CameraModel) -> np.ndarray:
    """Return the smallest and largest undistorted x and y (2, 2), at depth 1, that all of an image's edges contain."""
    import cv2

    w, h = camera.width - 1, camera.height - 1
    along = np.linspace(0.0, 1.0, 9)
    K, distortion = np.array(camera.K), np.array([*camera.distortion, *[0.0] * (5 - len(camera.distortion))])

    def ideal(points: np.ndarray) -> np.ndarray:
        return cv2.undistortPoints(points.reshape(-1, 1, 2).astype(np.float64), K, distortion).reshape(-1, 2)

    left, right = (ideal(np.stack([np.full(9, x), h * along], axis=1))[:, 0] for x in (0, w))
    top, bottom = (ideal(np.stack([w * along, np.full(9, y)], axis=1))[:, 1] for y in (0, h))
    return np.array([[left.max(), top.max()], [right.min(), bottom.min()]])


Point = tuple[float, float, float]


@dataclass(frozen=True)
class _DescribedCamera(CameraModel):
    """A camera in a rig's file: `fov_y_deg` may stand for K, and `eye` and `target` for T_base_camera."""

    K: Matrix | None = None  # type: ignore[assignment]
    position_error: float | None = None  # type: ignore[assignment]
    fov_y_deg: float | None = None
    eye: Point | None = None
    target: Point | None = None

    def __post_init__(self) -> None:
        """Leave the checks to the `CameraModel` that is made of it."""

    def exact(self) -> CameraModel:
        """Return the camera with K and pose."""
        given = {field.name: getattr(self, field.name) for field in fields(CameraModel)}
        for plain, exact in (("fov_y_deg", "K"), ("eye", "T_base_camera"), ("eye", "T_ee_camera")):
            if getattr(self, plain) is not None and given[exact] is not None:
                raise SpecError(f"camera '{self.name}': give '{plain}' or '{exact}', not both")
        if self.K is None:
            if self.fov_y_deg is None:
                raise SpecError(f"camera '{self.name}': 'fov_y_deg' is missing; give K or fov_y_deg")
            if not 0 < self.fov_y_deg < 180:
                raise SpecError(
                    f"camera '{self.name}': fov_y_deg is {self.fov_y_deg}, expected an angle between 0 and 180 degrees"
                )
            given["K"] = _pinhole(self.height, self.width, self.fov_y_deg)
        if self.eye or self.target:
            if self.eye is None or self.target is None:
                missing = "eye" if self.eye is None else "target"
                raise SpecError(
                    f"camera '{self.name}': '{missing}' is missing; give T_base_camera, T_ee_camera or eye and target"
                )
            if not math.dist(self.eye, self.target) > 0:
                raise SpecError(f"camera '{self.name}': eye and target are in the same place, {self.eye}")
            given["T_base_camera"] = as_matrix(look_at(np.array(self.eye), np.array(self.target)))
        if self.position_error is None:
            given["position_error"] = CameraModel.position_error if self.T_ee_camera is None else BRACKET_ERROR
        return CameraModel(**given)


def _camera(path: Path, data: object, area: Area) -> CameraModel:
    if isinstance(data, Mapping) and any(key in data for key in _ANYWHERE):
        return _random_camera(path, data, area)
    try:
        name = data.get("name", "?") if isinstance(data, Mapping) else "?"
        return build(_DescribedCamera, data, f"camera '{name}'").exact()
    except ValueError as error:
        raise SpecError(f"rig '{path}', {error}") from None


_ANYWHERE = ("azimuth_deg", "elevation_deg", "distance", "aim", "roll_deg")


def _random_camera(path: Path, data: Mapping, area: Area) -> CameraModel:
    """Build a camera that may stand anywhere in the range that `data` gives; what it leaves out is a named rig's."""
    own = ("name", *_ANYWHERE, "position_error", "rotation_error")
    where = f"rig '{path}', camera '{data.get('name', '?')}'"
    for key in data:
        if key not in own:
            raise SpecError(f"{where}: '{key}' does not go with a range of places; known are {', '.join(own)}")
    for key in ("name", "azimuth_deg"):
        if key not in data:
            raise SpecError(f"{where}: '{key}' is missing; a camera that may stand anywhere in a range needs it")
    given: dict[str, Extent | float] = {}
    for key in (key for key in _ANYWHERE if key in data):
        number = key in ("aim", "roll_deg")
        value = np.array(data[key])
        if value.shape != (() if number else (2,)) or value.dtype.kind not in "if" or not np.isfinite(value).all():
            raise SpecError(f"{where}: {key} is {data[key]}, expected {'a number' if number else 'least and largest'}")
        value = np.radians(value) if key.endswith("_deg") else value
        given[key.removesuffix("_deg")] = float(value) if number else (float(value[0]), float(value[1]))
    errors = {key: data[key] for key in ("position_error", "rotation_error") if key in data}
    try:
        return replace(_anywhere(data["name"], area, **given), **errors)  # type: ignore[arg-type]
    except (TypeError, ValueError) as error:
        raise SpecError(f"{where}: {error}") from None


def _looking(name: str, area: Area, eye: Sequence[float], target: Sequence[float], fov_y_deg: float) -> CameraModel:
    """Place a camera by `eye` and `target` relative to the middle of an area of the size of `AREA` [m]."""
    scale, (x, y) = area_scale(area), (sum(ends) / 2 for ends in area)
    at, to = ((x + scale * p[0], y + scale * p[1], scale * p[2]) for p in (eye, target))
    camera = CameraModel.looking_at(name, at, to, VIEW, VIEW, fov_y_deg)
    return replace(camera, position_error=min(1.0, scale) * camera.position_error)  # a shorter way is measured better


def _anywhere(name: str, area: Area, azimuth: Extent, **given: Extent | float) -> CameraModel:
    """Build a camera that may stand anywhere in a range, by default that of named rigs; it has the middle's view."""
    scale = area_scale(area)
    usual = {
        "elevation": ELEVATION,
        "distance": (scale * DISTANCE[0], scale * DISTANCE[1]),
        "aim": scale * AIM,
        "roll": ROLL,
    }
    pose_range = PoseRange(area, scale * MIDDLE, azimuth, **{**usual, **given})  # type: ignore[arg-type]
    centre = {key: (low + high) / 2 for key, (low, high) in pose_range.ranges.items()}
    camera = CameraModel(
        name,
        VIEW,
        VIEW,
        _pinhole(VIEW, VIEW, WIDE),
        T_base_camera=as_matrix(pose_range.pose(centre)),
        pose_range=pose_range,
    )
    camera = replace(camera, position_error=min(1.0, scale) * camera.position_error)
    return replace(placed_view(camera, centre), pose_range=pose_range)


def area_scale(area: Area) -> float:
    """Return by how much `AREA` has to grow to be as long and as wide as an area."""
    own, planned = ([high - low for low, high in each] for each in (area, AREA))
    return max(a / b for a, b in zip(own, planned))


def _pinhole(height: int, width: int, fov_y_deg: float) -> tuple[tuple[float, float, float], ...]:
    """Return K of a centred camera with square pixels."""
    f = 0.5 * height / math.tan(math.radians(fov_y_deg) / 2)
    return ((f, 0.0, (width - 1) / 2), (0.0, f, (height - 1) / 2), (0.0, 0.0, 1.0))
