"""What moved before a camera that stands still: where an arm's outer links may be, and where they cannot.

    video ─▶ what changes beyond noise ─▶ edges that may belong to links that move

A laboratory is full of edges that an outline can hang on by mistake, and they all have one thing in common: they stand
still. No label, no network and no knowledge of the arm is behind this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from adaptation.calibration.refine import Matched, gradient, joined, match
from robots.model import RobotModel

LEAST_CHANGE = 20.0
"""Grey levels that something must change by to have moved."""
ABOVE_NOISE = 6.0
"""Times the median change of all pixels, which is noise where most of a picture stands still."""
MOST_MOVED = 0.6
"""Share of a picture that may move: where more does, it is the camera that moved, or the light."""
REACH = 0.01
"""Share of the picture's width round what moved that still counts as such."""


@dataclass(frozen=True, eq=False)
class Edges:
    """Where one picture's edges are, and which of them links that move may claim."""

    slopes: np.ndarray
    """(H, W, 2) gradient [grey levels a pixel]."""
    moving: np.ndarray | None = None
    """(H, W, 2) the same, zero where nothing ever moved; None where that is not known."""
    outer: np.ndarray | None = None
    """Rows of the link poses of the links that move."""

    @classmethod
    def of(cls, grey: np.ndarray, swept: np.ndarray | None = None, outer: np.ndarray | None = None) -> Edges:
        """Find the edges of a picture (H, W) uint8; `swept` (H, W) bool is where anything moved in its video."""
        slopes = gradient(grey)
        return cls(slopes) if swept is None else cls(slopes, slopes * swept[..., None], outer)

    def match(self, points: tuple[np.ndarray, ...], search: float) -> Matched:
        """Find the strongest edge along each outline point's normal within `search` [px] that its link may claim."""
        if self.moving is None or self.outer is None:
            return match(points, self.slopes, search)
        far = np.isin(points[0], self.outer)
        near, moved = (tuple(each[rows] for each in points) for rows in (~far, far))
        return joined([match(near, self.slopes, search), match(moved, self.moving, search)])


def swept(grey: Sequence[np.ndarray]) -> np.ndarray | None:
    """Find where anything moved (H, W) bool in pictures (H, W) uint8 of one camera that stands still.

    Returns:
        None where that says nothing: fewer than three pictures, nothing moves, or more than an arm can.
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
    """Return the rows of the link poses of the links behind the middle joint: they move whenever an arm does.

    A wrist that turns alone moves fewer of them, and an arm that turns about its base more.
    """
    tree = robot.tree
    last = np.array(tree.joint)  # the last joint before each link
    for row, parent in enumerate(tree.parent):
        last[row] = max(last[row], last[parent] if parent >= 0 else -1)
    return np.flatnonzero(last >= len(robot.joint_names) // 2)
