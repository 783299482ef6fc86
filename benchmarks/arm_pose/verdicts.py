"""Whether a followed frame is found or lost, without labels.

    pose ─▶ outline ─┬▶ distance from its own picture's edges ─┐
                     ├▶ the same in pictures of other times ───┴▶ much smaller in its own?
                     └▶ share of the arm in the picture ────────▶ most of it?

An outline that matches the background is as near to edges in every picture of the video; the arm's leaves with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from adaptation.calibration.refine import ArmOutline
from benchmarks.arm_pose.edges import Edges
from robots.camera import CameraModel, as_matrix

LOOK = 6.0
"""How far the score looks for an edge [px]."""
MOST = 4.0
"""Distance [px] that counts for a point without an edge, or farther from one."""
FALLEN = 0.7
"""Largest score of a found pose, as a share of its median score in pictures of other times. Of right poses of one Panda
video it was 0.52 to 0.68, of poses more than 7 cm off 0.74 to 1.07."""
AWAY = 1 / 3
"""Least distance of such a picture, as a share of the video: in nearer ones a slow arm has hardly moved."""
JUMP = 0.05
"""[m] by which the end effector of neighbouring pictures differs where one stretch ends and another begins."""
LEAST_FOUND = 0.8
"""Least share of a stretch's pictures that are found: following hands a wrong pose from picture to picture."""
LEAST_IN_VIEW = 0.5
"""Least share of the arm in the picture of a found pose."""


def outline_score(points: tuple[np.ndarray, ...], edges: Edges) -> float:
    """Return the mean distance [px] of outline points (`ArmOutline.points`) from edges, `MOST` where there is none."""
    count = len(points[0])
    apart = np.abs(edges.match(points, LOOK).edge)
    return float((np.minimum(apart, MOST).sum() + MOST * (count - len(apart))) / count) if count else MOST


def judge(
    outline: ArmOutline, camera: CameraModel, q: Sequence[np.ndarray], edges: Sequence[Edges], rows: Sequence[int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Judge the angles `q` (n,) [rad] of the distinct pictures `rows` of a video.

    Returns:
        (N,) each: the score in its own picture, its median in those `AWAY` [px], and the share of the arm in view.
    """
    judged = []
    for k, each in zip(rows, q):
        points = outline.points(each, camera)
        away = [other for j, other in enumerate(edges) if abs(j - k) >= max(1.0, AWAY * len(edges))]
        own = outline_score(points, edges[k])
        elsewhere = float(np.median([outline_score(points, other) for other in away])) if away else own
        judged.append((own, elsewhere, share_in_view(outline, camera, each)))
    scores, others, in_view = np.array(judged).T
    return scores, others, in_view


def lost(own: np.ndarray, elsewhere: np.ndarray, in_view: np.ndarray) -> np.ndarray:
    """Return which pictures (N,) are lost, from what `judge` returns."""
    return (own > FALLEN * elsewhere) | (in_view < LEAST_IN_VIEW)


def lost_stretches(lost: np.ndarray, ee_pos: np.ndarray) -> np.ndarray:
    """Return `lost` (N,), and with it all of every stretch of which too few are found.

    Args:
        lost: (N,) verdicts on the pictures of a video that was followed, in order.
        ee_pos: (N, 3) end effectors [m].
    """
    jump = np.linalg.norm(np.diff(ee_pos, axis=0), axis=1) > JUMP
    stretch = np.concatenate([[0], np.cumsum(jump)])
    share = np.bincount(stretch, ~lost) / np.bincount(stretch)
    return lost | (share < LEAST_FOUND)[stretch]


def share_in_view(outline: ArmOutline, camera: CameraModel, q: np.ndarray) -> float:
    """Return the share of the arm's pixels that are in the picture, of a picture three times as large."""
    K = np.array(camera.K)
    K[0, 2] += camera.width
    K[1, 2] += camera.height
    wide = replace(camera, height=3 * camera.height, width=3 * camera.width, K=as_matrix(K))
    arm = outline.mask(q, wide) >= 0
    inside = arm[camera.height : 2 * camera.height, camera.width : 2 * camera.width]
    return float(inside.sum() / max(1, arm.sum()))
