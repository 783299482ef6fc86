"""Edges of pictures from a fixed camera, and which of them may belong to moving links.

    video ─▶ pixels that change beyond noise ─▶ edges that moving links may be matched to

Edges of the static background are the usual wrong matches of an outline.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from adaptation.calibration.refine import Matched, concatenated, gradient, match
from robots.model import RobotModel

LEAST_CHANGE = 20.0
"""Smallest change [grey levels] that counts as motion."""
ABOVE_NOISE = 6.0
"""Smallest change as a multiple of the median change of all pixels, which is noise in a mostly static picture."""
MOST_MOVED = 0.6
"""Largest share of a picture that may move; beyond it camera or light changed."""
REACH = 0.01
"""Dilation of the motion mask as a share of the picture's width."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Gradients of one picture, for all links and for moving links."""

    slopes: np.ndarray
    """(H, W, 2) gradient [grey levels a pixel]."""
    moving: np.ndarray | None = None
    """(H, W, 2) the same, zero outside the motion mask; None without a mask."""
    outer: np.ndarray | None = None
    """Rows of the link poses of the moving links."""

    @classmethod
    def of(cls, grey: np.ndarray, motion_mask: np.ndarray | None = None, outer: np.ndarray | None = None) -> Edges:
        """Find the edges of a picture (H, W) uint8; `motion_mask` (H, W) bool is its video's."""
        slopes = gradient(grey)
        return cls(slopes) if motion_mask is None else cls(slopes, slopes * motion_mask[..., None], outer)

    def match(self, points: tuple[np.ndarray, ...], search: float) -> Matched:
        """Find the strongest admissible edge along each outline point's normal within `search` [px]."""
        if self.moving is None or self.outer is None:
            return match(points, self.slopes, search)
        far = np.isin(points[0], self.outer)
        near, moved = (tuple(each[rows] for each in points) for rows in (~far, far))
        return concatenated([match(near, self.slopes, search), match(moved, self.moving, search)])


def motion_mask(grey: Sequence[np.ndarray]) -> np.ndarray | None:
    """Compute where anything moved (H, W) bool in pictures (H, W) uint8 of a fixed camera.

    Returns:
        The mask, or None for fewer than three pictures, no motion, or more than `MOST_MOVED`.
    """
    if len(grey) < 3:
        return None
    soft = np.stack([cv2.GaussianBlur(each.astype(np.float32), (0, 0), 1.0) for each in grey])
    change = np.ptp(soft, axis=0)
    moved = change > max(LEAST_CHANGE, ABOVE_NOISE * float(np.median(change)))
    if not moved.any() or moved.mean() > MOST_MOVED:
        return None
    reach = max(1, round(REACH * grey[0].shape[1]))
    return cv2.dilate(moved.astype(np.uint8), np.ones((2 * reach + 1,) * 2, np.uint8)) > 0


def outer_links(robot: RobotModel) -> np.ndarray:
    """Return the rows of the link poses of the links behind the middle joint, which move in most motions."""
    tree = robot.tree
    last = np.array(tree.joint)  # the last joint before each link
    for row, parent in enumerate(tree.parent):
        last[row] = max(last[row], last[parent] if parent >= 0 else -1)
    return np.flatnonzero(last >= len(robot.joint_names) // 2)
