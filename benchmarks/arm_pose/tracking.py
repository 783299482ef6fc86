"""Track an arm's joint angles through a video without joint readings.

    every picture: landmarks ─▶ q ─▶ outline ─▶ q, and the outline's distance from edges
    then forwards and backwards: a neighbour's q where its outline is nearer to edges
    at last a verdict on every picture: found or lost

The score needs no label. It can be nearly as good for a wrong pose as for the right one; the verdict compares it with
the same pose's score in the video's other pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from adaptation.calibration.refine import ArmOutline
from benchmarks.arm_pose.edges import Edges, motion_mask, outer_links
from benchmarks.arm_pose.fit_pose import fit_landmarks, fit_outline
from benchmarks.arm_pose.network import ArmPoseNetwork, landmarks
from benchmarks.arm_pose.renders import ArmScene
from benchmarks.arm_pose.verdicts import judge, lost, lost_stretches, outline_score
from robots.camera import CameraModel

SURE = 0.3
"""Share of a heat map's spread that counts as standard deviation of the landmark."""
STARTS = 4
APART = 0.12
"""[rad] standard deviation of the starts, joint by joint."""
WIDE = 0.25
"""[rad] the same of the starts about the working pose."""
SWEEPS = 2
NEAR_SEARCH = (8.0, 6.0, 5.0, 4.0, 4.0)
"""How far edges are looked for from a neighbour's pose [px]."""
BETTER = 1e-3
"""[px] by which a neighbour's pose must score better."""


@dataclass(frozen=True, eq=False)
class ArmTrack:
    """Joint angles of every picture of a video."""

    q: np.ndarray
    """(N, n) [rad]."""
    ee_pos: np.ndarray
    """(N, 3) end effector [m, base frame]."""
    score: np.ndarray
    """(N,) mean distance of the outline from edges, at most `MOST` [px]; needs no label."""
    landmark_ee_pos: np.ndarray
    """(N, 3) end effector by each picture's landmarks alone [m]."""
    landmark_score: np.ndarray
    """(N,) the score at the landmarks' pose [px]."""
    in_view: np.ndarray
    """(N,) share of the arm in the picture."""
    lost: np.ndarray
    """(N,) bool, whether the pose is not to be trusted."""
    landmark_lost: np.ndarray
    """(N,) bool, the same of the landmarks' pose."""


def track_arm(
    network: ArmPoseNetwork,
    scene: ArmScene,
    outline: ArmOutline,
    images: Sequence[np.ndarray],
    working: np.ndarray,
    starts: int = STARTS,
    sweeps: int = SWEEPS,
    wide: int = 12,
    seed: int = 0,
    rows: np.ndarray | None = None,
) -> ArmTrack:
    """Track the arm through `images`, or through the `rows` of them.

    Args:
        network: locates the landmarks of `scene` in pictures of its camera's size.
        scene: arm and camera at the network's size.
        outline: renders the arm's outline, without links that are occluded by a held object.
        images: (H, W, 3) RGB uint8 in order of time, of one size; repeated pictures are evaluated once.
        working: (n,) working pose [rad].
        starts: start poses about the landmarks' for each picture; the best fit is kept.
        sweeps: number of passes forwards and backwards.
        seed: of the starts.
        rows: of the pictures that are tracked, in order; the others only show what the background looks like.

    Returns:
        The track of `rows`, by default of all pictures.

    Raises:
        ValueError: for no pictures, or pictures of different sizes.
    """
    if len(images) == 0 or any(image.shape != images[0].shape for image in images):
        sizes = sorted({image.shape for image in images})
        raise ValueError(f"a video of {len(images)} pictures with sizes {sizes}, expected at least one and one size")
    new = distinct(images)
    rows = np.arange(len(images)) if rows is None else rows
    shown = np.searchsorted(new, rows, side="right") - 1
    tracked, shown = np.unique(shown, return_inverse=True)
    height, width = images[0].shape[:2]
    camera = scene.camera.resized(height, width)
    small = (scene.camera.width, scene.camera.height)
    seen = landmarks(
        network, np.stack([cv2.resize(images[i], small, interpolation=cv2.INTER_AREA) for i in new[tracked]])
    )
    scale = width / scene.camera.width
    pixels = (network.encoder.to_pixels(seen[..., :2]).numpy() + 0.5) * scale - 0.5
    spread = SURE * seen[..., 2].numpy() * width / 2
    alone = [fit_landmarks(scene.robot, camera, scene.landmarks, p, s, working) for p, s in zip(pixels, spread)]
    edges = edges_of([cv2.cvtColor(images[i], cv2.COLOR_RGB2GRAY) for i in new], outline)
    half = [cv2.resize(images[i], (width // 2, height // 2), interpolation=cv2.INTER_AREA) for i in new]
    coarse = edges_of([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in half], outline)
    first = [
        best_start(outline, camera.resized(height // 2, width // 2), each, [q, working], wide, seed + k)
        for k, (each, q) in enumerate(zip([coarse[k] for k in tracked], alone))
    ]
    found, _ = track_outline(outline, camera, [edges[k] for k in tracked], first, starts, sweeps, seed)
    own, elsewhere, in_view = judge(outline, camera, found, edges, tracked)
    before, before_elsewhere, before_in_view = judge(outline, camera, alone, edges, tracked)
    ee, by_landmarks = (np.array([scene.robot.chain.pose(q)[1] for q in each]) for each in (found, alone))
    return ArmTrack(
        np.array(found)[shown],
        ee[shown],
        own[shown],
        by_landmarks[shown],
        before[shown],
        in_view[shown],
        lost_stretches(lost(own, elsewhere, in_view), ee)[shown],
        lost(before, before_elsewhere, before_in_view)[shown],
    )


def distinct(images: Sequence[np.ndarray]) -> np.ndarray:
    """Return the rows of the pictures that do not repeat the one before."""
    return np.array([i for i in range(len(images)) if i == 0 or not np.array_equal(images[i], images[i - 1])])


def best_start(
    outline: ArmOutline, camera: CameraModel, edges: Edges, poses: Sequence[np.ndarray], wide: int, seed: int
) -> np.ndarray:
    """Fit the outline to a small picture from many start poses; return the best angles (n,) [rad].

    Args:
        outline: renders the arm's outline.
        camera: of the small picture.
        edges: of the small picture.
        poses: start poses; the last is the working pose.
        wide: number of further ones, drawn about the working pose.
        seed: of these.
    """
    rng = np.random.default_rng(seed)
    drawn = [poses[-1] + rng.normal(0.0, WIDE, len(poses[-1])) for _ in range(wide)]
    fitted = [fit_outline(outline, camera, edges, begin)[0] for begin in (*poses, *drawn)]
    return min(fitted, key=lambda q: distance_from_edges(outline, camera, q, edges))


def edges_of(grey: Sequence[np.ndarray], outline: ArmOutline) -> list[Edges]:
    """Find the edges of a video's pictures (H, W) uint8, and which of them the outer links may be matched to."""
    moved = motion_mask(grey)
    outer = outer_links(outline.robot)
    return [Edges.of(each, moved, outer) for each in grey]


def track_outline(
    outline: ArmOutline,
    camera: CameraModel,
    edges: Sequence[Edges],
    first: Sequence[np.ndarray],
    starts: int = STARTS,
    sweeps: int = SWEEPS,
    seed: int = 0,
) -> tuple[list[np.ndarray], list[float]]:
    """Fit the outline in pictures from the angles `first` (n,) [rad] of each, then from its neighbours'.

    Returns:
        The angles (n,) and the distance from edges [px] of each picture.
    """
    rng = np.random.default_rng(seed)
    N = len(edges)
    found, scores = list(first), [np.inf] * N
    for k in range(N):
        for start in range(starts):
            begin = first[k] + rng.normal(0.0, APART, len(first[k])) * (start > 0)
            q, _ = fit_outline(outline, camera, edges[k], begin)
            score = distance_from_edges(outline, camera, q, edges[k])
            if score < scores[k]:
                found[k], scores[k] = q, score
    for _ in range(sweeps):
        for k in (*range(1, N), *range(N - 2, -1, -1)):
            for j in (k - 1, k + 1):
                if 0 <= j < N:
                    q, _ = fit_outline(outline, camera, edges[k], found[j], NEAR_SEARCH)
                    score = distance_from_edges(outline, camera, q, edges[k])
                    if score < scores[k] - BETTER:
                        found[k], scores[k] = q, score
    return found, scores


def distance_from_edges(outline: ArmOutline, camera: CameraModel, q: np.ndarray, edges: Edges) -> float:
    """Return the mean distance of the outline at `q` from edges [px], `MOST` where there is none."""
    return outline_score(outline.points(q, camera), edges)
