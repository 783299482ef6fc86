"""Draws into a camera image where the object belongs and how it is turned."""

from __future__ import annotations

import cv2
import numpy as np

from robots.camera import CameraModel
from sim.scene import RigidBody, Shape

_COLOUR, _EDGE = (255, 214, 0), (20, 20, 20)
_OPACITY = 0.35
_ROUND = 24
"""Corners of the polygon that stands for a circle."""
_SMALL = 6
"""A body whose image is smaller than this part of the image's height is shown larger as well."""
_CLOSE_UP = 0.4
"""Side of that close-up, in heights of the image."""
_TOP_FRONT = 2.2
"""Length of the arrow to the object's front, in half widths."""


def draw_ghost(
    image: np.ndarray,
    camera: CameraModel,
    body: RigidBody,
    x: float,
    y: float,
    yaw: float | None,
    T_base_ee: np.ndarray | None = None,
) -> np.ndarray:
    """Return a copy of `image` (height, width, 3) RGB uint8 with the wanted placement of `body` drawn over it.

    The body stands upright on the table at (x, y) [m, base frame], turned by `yaw` [rad] about z, as a translucent
    solid with its edges and an arrow on its top towards its own x axis. Where `yaw` is None the turn is left open, and
    the upright cylinder around the body is drawn. Small images are enlarged first, or the lines would hide what they
    mark, and where the body is small its surroundings are shown larger in a corner. A place outside the image leaves
    it as it is.
    """
    scale = max(1, round(480 / image.shape[0]))
    shown = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR) if scale > 1 else image.copy()
    solids = [_outline(shape) for shape in body.shapes]
    if yaw is None:
        solids = [_around(np.concatenate(solids))]
    corners = np.concatenate(solids)
    bottom, top = corners[:, 2].min(), corners[:, 2].max()
    front = np.array([[0.0, 0.0, top], [_TOP_FRONT * corners[:, 0].max(), 0.0, top]])
    c, s = (1.0, 0.0) if yaw is None else (np.cos(yaw), np.sin(yaw))
    turn = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
    stands = np.array([x, y, -bottom])
    pixels = camera.project(np.concatenate([corners, front]) @ turn.T + stands, T_base_ee)
    if not np.isfinite(pixels).all() or np.abs(pixels).max() > 10 * max(camera.height, camera.width):
        return shown
    points = (pixels + 0.5) * scale - 0.5  # pixel centres
    ends = np.cumsum([len(solid) for solid in solids])
    parts, arrow = np.split(points[: ends[-1]], ends[:-1]), None if yaw is None else points[-2:]
    marked = _painted(shown, parts, arrow)
    extent = float(np.ptp(points[: ends[-1]], axis=0).max())
    if extent * _SMALL < shown.shape[0]:
        _add_close_up(marked, shown, parts, arrow, extent)
    return marked


def _painted(image: np.ndarray, parts: list[np.ndarray], arrow: np.ndarray | None) -> np.ndarray:
    """Return a copy of `image` with prisms (2 n, 2) [px] and an arrow (2, 2) [px] painted over it.

    Of a prism the bottom's corners come first, then the top's; its silhouette and its top are outlined.
    """
    fixed = [np.round(part * 16).astype(np.int32) for part in parts]  # OpenCV's fixed point keeps fractions of a pixel
    filled = image.copy()
    silhouettes = [cv2.convexHull(part) for part in fixed]
    tops = [part[len(part) // 2 :] for part in fixed]
    for silhouette in silhouettes:
        cv2.fillConvexPoly(filled, silhouette, _COLOUR, cv2.LINE_AA, 4)
    shown = cv2.addWeighted(filled, _OPACITY, image, 1 - _OPACITY, 0.0)
    thin = int(np.clip(np.ptp(np.concatenate(parts), axis=0).max() / 25, 2, 3))
    for colour, width in ((_EDGE, thin + 2), (_COLOUR, thin)):
        cv2.polylines(shown, [*silhouettes, *tops], True, colour, width, cv2.LINE_AA, 4)
        if arrow is not None:
            start, end = (tuple(int(v) for v in np.round(p)) for p in arrow)
            cv2.arrowedLine(shown, start, end, colour, width, cv2.LINE_AA, tipLength=0.35)
    return shown


def _add_close_up(
    marked: np.ndarray, image: np.ndarray, parts: list[np.ndarray], arrow: np.ndarray | None, extent: float
) -> None:
    """Paint the surroundings of the place, enlarged, into the upper corner of `marked` that is farther from it."""
    height, width = image.shape[:2]
    side = int(_CLOSE_UP * height)
    zoom = side / (2.4 * extent)
    centre = np.concatenate(parts).mean(axis=0)
    to_close_up = np.array([[zoom, 0.0, side / 2 - zoom * centre[0]], [0.0, zoom, side / 2 - zoom * centre[1]]])
    around = cv2.warpAffine(image, to_close_up, (side, side), flags=cv2.INTER_LINEAR, borderValue=_EDGE)

    def enlarged(points: np.ndarray) -> np.ndarray:
        return zoom * (points - centre) + side / 2

    shown = _painted(around, [enlarged(part) for part in parts], None if arrow is None else enlarged(arrow))
    left = 0 if centre[0] > width / 2 else width - side
    marked[:side, left : left + side] = shown
    cv2.rectangle(marked, (left, 0), (left + side - 1, side - 1), _COLOUR, 2)


def _outline(shape: Shape) -> np.ndarray:
    """Corners (2 n, 3) [m] of the prism that stands for a shape in the body's frame: its bottom's, then its top's."""
    if shape.kind == "box":
        half = np.array(shape.size[:2]) / 2
        ring = np.array([[1, 1], [-1, 1], [-1, -1], [1, -1]]) * half
        height = shape.size[2]
    else:
        height = shape.size[1] if shape.kind == "cylinder" else 2 * shape.size[0]
        ring = shape.size[0] * _circle()
    return _prism(ring, -height / 2, height / 2) + np.array(shape.position)


def _around(corners: np.ndarray) -> np.ndarray:
    radius = float(np.hypot(corners[:, 0], corners[:, 1]).max())
    return _prism(radius * _circle(), corners[:, 2].min(), corners[:, 2].max())


def _circle() -> np.ndarray:
    angle = np.arange(_ROUND) * 2 * np.pi / _ROUND
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _prism(ring: np.ndarray, bottom: float, top: float) -> np.ndarray:
    return np.concatenate([np.column_stack([ring, np.full(len(ring), z)]) for z in (bottom, top)])
