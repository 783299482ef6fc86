"""Refine a camera's pose by the arm's outline, without a board.

    recorded q ─▶ rendered outline, 3-D points on it ─▶ nearest edge of the image along the normal ─▶ pose

Render, search for edges, solve, and render again (RAPiD, Harris & Stennett 1990, with a robust loss). The delay of the
joint readings is estimated together with the pose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from adaptation.calibration.boards import CalibrationError
from robots.camera import CameraModel, as_matrix
from robots.model import RobotModel
from robots.shapes.visual_meshes import load_urdf_visuals
from sim.rendering.packed_bodies import Body
from sim.rendering.renderer import RenderedScene

FINE = 3
"""Samples a pixel of the rendered outline."""
SPACING = 2
"""Spacing of the outline samples that are used."""
STEP = 0.25
"""Step of the edge search along the normal [px]."""
SEARCH = (10.0, 8.0, 6.0, 5.0, 4.0, 3.0, 3.0, 3.0)
"""Range of the edge search [px], by iteration."""
LEAST_EDGE = 12.0
"""Smallest gradient of an edge [grey levels a pixel]."""
HUBER = 1.0
"""Scale of the Huber loss [px]."""
FEWEST_EDGES = 100
MOST_FRAMES = 24
BLOCKS = 3
"""Contiguous blocks of the recording: each is judged by a fit to the others. Neighbouring frames of one sweep are too
alike to judge each other."""
LARGEST_DELAY = 0.5
"""[s]"""


@dataclass(frozen=True, eq=False)
class ArmRecording:
    """Images of an arm, with joint readings."""

    images: np.ndarray
    """(N, H, W) uint8 grey."""
    q: np.ndarray
    """(N, n) joint reading of each image [rad]."""
    t: np.ndarray
    """(N,) [s]; not used where the readings are constant."""


@dataclass(frozen=True, eq=False)
class Refinement:
    """A camera with its pose refined by the arm's outline."""

    camera: CameraModel
    """With the refined `T_base_camera`."""
    delay: float
    """Delay of the joint readings relative to the images [s]."""
    before_px: float
    """Median distance of the outline from edges before the refinement."""
    after_px: float
    """The same after, each block of the recording by a fit to the other blocks."""
    frame_px: np.ndarray
    """(frames,) median of each, likewise."""
    apart_m: float
    """Largest distance of the camera from those of the blocks' fits [m]: how well the recording determines it."""
    turned_rad: float
    """Rotation of the camera by the refinement [rad]."""
    shifted_m: float
    """Translation by the refinement [m]."""


@dataclass(frozen=True, eq=False)
class Matched:
    """Points on the rendered outline of one frame, and their matched edges."""

    link: np.ndarray
    """(M,) rows of the link poses."""
    local: np.ndarray
    """(M, 3) in the link's frame [m]."""
    pixels: np.ndarray
    """(M, 2) in the image."""
    normals: np.ndarray
    """(M, 2) unit normals, pointing out of the arm."""
    edge: np.ndarray
    """(M,) signed distance of the edge along the normal [px]."""


class ArmOutline:
    """Renders an arm's outline for a camera."""

    def __init__(self, robot: RobotModel, ignore: Sequence[str] = ()):
        """Load the meshes; `ignore` names links that a held object occludes."""
        assert robot.urdf_path is not None
        visuals = load_urdf_visuals(Path(robot.urdf_path))
        unknown = [link for link in ignore if link not in visuals]
        if unknown:
            raise CalibrationError(f"link '{unknown[0]}' is not drawn; there are {', '.join(visuals)}")
        self.robot = robot
        self._rows = np.array([robot.tree.links.index(link) for link in visuals])
        self._ignored = np.array([link in ignore for link in visuals])
        self._scene = RenderedScene([Body(link, mesh) for link, mesh in visuals.items()])

    def mask(self, q: np.ndarray, camera: CameraModel) -> np.ndarray:
        """Render the link of each pixel (H, W), -1 for none."""
        poses = self.robot.link_poses(q)
        return self._scene.render(poses[self._rows], camera, shadow=False).segmentation

    def points(self, q: np.ndarray, camera: CameraModel) -> tuple[np.ndarray, ...]:
        """Return links (M,), points in their frames (M, 3), pixels (M, 2) and normals (M, 2) of the outline."""
        fine = camera.resized(camera.height * FINE, camera.width * FINE)
        poses = self.robot.link_poses(q)
        frame = self._scene.render(poses[self._rows], fine, shadow=False)
        inside = (frame.segmentation >= 0).astype(np.uint8)
        contours, _ = cv2.findContours(inside, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
        if not contours:
            empty = np.zeros((0, 2))
            return np.zeros(0, int), np.zeros((0, 3)), empty, empty
        at = np.concatenate([contour.reshape(-1, 2)[::SPACING] for contour in contours])
        # contours of holes are outside the arm: keep pixels of links, away from the image's border
        rim = 2 * FINE
        kept = (at > rim).all(1) & (at < np.array([fine.width, fine.height]) - 1 - rim).all(1)
        kept &= inside[at[:, 1], at[:, 0]] > 0
        if self._ignored.any():
            hidden = np.isin(frame.segmentation, np.flatnonzero(self._ignored)).astype(np.uint8)
            near = cv2.dilate(hidden, np.ones((8 * FINE + 1,) * 2, np.uint8))
            kept &= near[at[:, 1], at[:, 0]] == 0
        at = at[kept]
        soft = cv2.GaussianBlur(inside.astype(np.float32), (0, 0), 2.0 * FINE)
        slope = np.stack([cv2.Sobel(soft, cv2.CV_32F, 1, 0), cv2.Sobel(soft, cv2.CV_32F, 0, 1)], axis=-1)
        normals = -slope[at[:, 1], at[:, 0]].astype(float)
        length = np.linalg.norm(normals, axis=1)
        at, normals = at[length > 1e-6], normals[length > 1e-6] / length[length > 1e-6, None]
        z = frame.depth[at[:, 1], at[:, 0]].astype(float)
        body = frame.segmentation[at[:, 1], at[:, 0]].astype(int)
        edge = at + 0.5 * normals  # the outline is half a sample outside the outermost one
        K = np.array(fine.K)
        rays = np.stack([(edge[:, 0] - K[0, 2]) / K[0, 0], (edge[:, 1] - K[1, 2]) / K[1, 1], np.ones(len(edge))], 1)
        T = fine.pose()
        world = (rays * z[:, None]) @ T[:3, :3].T + T[:3, 3]
        links = self._rows[body]
        R, p = poses[links, :3, :3], poses[links, :3, 3]
        local = np.einsum("nji,nj->ni", R, world - p)
        return links, local, (edge + 0.5) / FINE - 0.5, normals


def refine(recording: ArmRecording, outline: ArmOutline, camera: CameraModel, find_delay: bool = True) -> Refinement:
    """Refine `camera.T_base_camera` from a recording of the arm.

    All frames with different arm poses are fitted; each contiguous block of them is judged by a fit to the others.

    Raises:
        CalibrationError: for images of another size, or too few edges along the arm's outline.
    """
    if camera.T_base_camera is None:
        raise CalibrationError(f"camera '{camera.name}' has no T_base_camera to start from; give a rough one")
    if camera.distortion:
        raise CalibrationError(f"camera '{camera.name}' has lens distortion; rectify the images first")
    N = len(recording.images)
    if recording.images.shape[1:] != (camera.height, camera.width):
        raise CalibrationError(
            f"images are {recording.images.shape[1:]}, camera '{camera.name}' takes {(camera.height, camera.width)}"
        )
    if len(recording.q) != N or len(recording.t) != N:
        raise CalibrationError(
            f"{N} images, {len(recording.q)} joint readings and {len(recording.t)} stamps; expected as many"
        )
    if N > 1 and (recording.images == recording.images[0]).all():
        raise CalibrationError(f"all {N} images are the same; did the camera freeze?")
    t, q = _readings(recording)
    rows = _choose(recording, t)
    blocks = np.array_split(rows, min(BLOCKS, len(rows)))
    moving = find_delay and len(t) > 2
    gradients = {int(i): gradient(recording.images[i]) for i in rows}

    def joints(i: int, delay: float) -> np.ndarray:
        when = recording.t[i] + delay
        return np.array([np.interp(when, t, column) for column in q.T])

    def distances(seen: CameraModel, delay: float, search: float, which: np.ndarray) -> list[np.ndarray]:
        found = []
        for i in which:
            edges = match(outline.points(joints(i, delay), seen), gradients[int(i)], search).edge
            found.append(np.abs(edges) if len(edges) else np.array([np.nan]))
        return found

    def fitted(which: np.ndarray) -> tuple[CameraModel, float]:
        current, delay = camera, 0.0
        for search in SEARCH:
            matches = [(i, match(outline.points(joints(i, delay), current), gradients[int(i)], search)) for i in which]
            total = sum(len(match.edge) for _, match in matches)
            if total < FEWEST_EDGES:
                raise CalibrationError(
                    f"only {total} points of the arm's outline lie on an edge of {len(which)} images, expected at "
                    f"least {FEWEST_EDGES}; is the starting pose within a few centimetres, and are these the arm's "
                    "joints?"
                )
            current, delay = _solve(matches, joints, outline.robot, current, delay, moving)
        return current, delay

    final, delay = fitted(rows)
    others = [np.setdiff1d(rows, block) if len(blocks) > 1 else block for block in blocks]
    refits = [fitted(which) for which in others]
    last = SEARCH[0]
    before = np.concatenate(distances(camera, 0.0, last, rows))
    after = [each for block, refit in zip(blocks, refits) for each in distances(*refit, last, block)]
    moved = np.linalg.inv(camera.pose()) @ final.pose()
    return Refinement(
        final,
        delay,
        float(np.nanmedian(before)),
        float(np.nanmedian(np.concatenate(after))),
        np.array([np.median(frame) for frame in after]),
        max(float(np.linalg.norm(refit.pose()[:3, 3] - final.pose()[:3, 3])) for refit, _ in refits),
        float(Rotation.from_matrix(moved[:3, :3]).magnitude()),
        float(np.linalg.norm(moved[:3, 3])),
    )


def moved_by(camera: CameraModel, x: np.ndarray) -> CameraModel:
    """Return the camera rotated by x[:3] [rad] and translated by x[3:6] [m], in its own frame."""
    T = np.eye(4)
    T[:3, :3], T[:3, 3] = Rotation.from_rotvec(x[:3]).as_matrix(), x[3:6]
    return replace(camera, T_base_camera=as_matrix(camera.pose() @ T))


def _solve(matches, joints, robot: RobotModel, camera: CameraModel, delay: float, moving: bool):
    """Take one robust Gauss–Newton step over pose and, where the arm moves, delay."""
    unknowns = 7 if moving else 6
    epsilon = 1e-4

    def project(x: np.ndarray) -> np.ndarray:
        seen, later = moved_by(camera, x[:6]), delay + (x[6] if moving else 0.0)
        parts = []
        for i, match in matches:
            poses = robot.link_poses(joints(i, later))[match.link]
            world = np.einsum("nij,nj->ni", poses[:, :3, :3], match.local) + poses[:, :3, 3]
            parts.append(((seen.project(world) - match.pixels) * match.normals).sum(1))
        return np.concatenate(parts)

    target = np.concatenate([match.edge for _, match in matches])
    base = project(np.zeros(unknowns))
    J = np.stack([(project(epsilon * e) - base) / epsilon for e in np.eye(unknowns)], axis=1)
    r = target - base
    x = np.zeros(unknowns)
    for _ in range(5):
        left = np.abs(r - J @ x)
        w = np.where(left > HUBER, HUBER / np.maximum(left, 1e-9), 1.0)
        # weak prior, for directions that the edges do not determine
        prior = np.full(unknowns, 1.0)
        x = np.linalg.solve(J.T @ (w[:, None] * J) + np.diag(prior), J.T @ (w * r))
    later = delay + (x[6] if moving else 0.0)
    return moved_by(camera, x[:6]), float(np.clip(later, -LARGEST_DELAY, LARGEST_DELAY))


def gradient(image: np.ndarray) -> np.ndarray:
    """Compute the gradient (H, W, 2) [grey levels a pixel] of an image (H, W) uint8."""
    soft = cv2.GaussianBlur(image.astype(np.float32), (0, 0), 0.7)
    return np.stack(
        [cv2.Sobel(soft, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(soft, cv2.CV_32F, 0, 1, scale=1 / 8)], -1
    )


def match(points: tuple[np.ndarray, ...], gradient: np.ndarray, search: float) -> Matched:
    """Find the strongest edge along each normal within `search` [px], to a fraction of a step."""
    link, local, pixels, normals = points
    if not len(link):
        return Matched(link, local, pixels, normals, np.zeros(0))
    offsets = np.arange(-search, search + STEP / 2, STEP)
    places = pixels[:, None] + offsets[None, :, None] * normals[:, None]
    x, y = np.ascontiguousarray(places[..., 0], np.float32), np.ascontiguousarray(places[..., 1], np.float32)
    sampled = np.asarray(cv2.remap(gradient, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))
    strength = np.abs((sampled * normals[:, None]).sum(-1))
    # prefers the nearer of two equally strong edges
    score = strength * (1 - 0.4 * np.abs(offsets) / search)
    best = np.clip(score.argmax(axis=1), 1, len(offsets) - 2)
    rows = np.arange(len(best))
    a, b, c = (strength[rows, best + d] for d in (-1, 0, 1))
    curvature = a - 2 * b + c
    between = np.where(curvature < -1e-6, 0.5 * (a - c) / np.where(curvature < -1e-6, curvature, 1.0), 0.0)
    edge = offsets[best] + STEP * np.clip(between, -1, 1)
    good = b > LEAST_EDGE
    return Matched(link[good], local[good], pixels[good], normals[good], edge[good])


def concatenated(parts: Sequence[Matched]) -> Matched:
    """Concatenate matches of several parts of an outline."""
    names = [field.name for field in fields(Matched)]
    return Matched(*(np.concatenate([getattr(part, name) for part in parts]) for name in names))


def _readings(recording: ArmRecording) -> tuple[np.ndarray, np.ndarray]:
    """Return the times (M,) and values (M, n) at which the readings change; they are held in between."""
    new = np.concatenate([[True], (np.diff(recording.q, axis=0) != 0).any(axis=1)])
    return recording.t[new], recording.q[new]


def _choose(recording: ArmRecording, t: np.ndarray) -> np.ndarray:
    """Choose frames right after a change of the readings: at most `MOST_FRAMES`, evenly spread."""
    rows = np.flatnonzero(np.isin(recording.t, t))
    if len(rows) < 4:  # an arm at rest
        rows = np.arange(len(recording.t))
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(MOST_FRAMES, len(rows))).round().astype(int))]
