"""Follow an arm's joint angles through a video without a single joint reading of it.

    every picture: landmarks ─▶ q ─▶ outline ─▶ q, and how well the outline lies on edges
    then forwards and backwards: a neighbour's q where it explains the picture better

One picture in which the network is right is enough: from there the outline is followed in both directions. The
score that decides needs no label. It mostly tells right from wrong, as an outline that hangs on a laboratory's clutter
fits worse than one that lies on the arm; but where no picture is right, a wrong outline can score nearly as well
(1.54 px beside 1.46 on a real arm's video, 45 cm off, while every link could claim any edge): check the mask that it
draws before its angles are used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from adaptation.calibration.refine import ArmOutline
from adaptation.visual.arm_pose.fit_pose import fit_landmarks, fit_outline
from adaptation.visual.arm_pose.motion import Edges, outer_links, swept
from adaptation.visual.arm_pose.network import ArmVision, landmarks
from adaptation.visual.arm_pose.views import ArmScene, ArmViews, stacked
from robots.camera import CameraModel

LOOK = 6.0
"""How far the score looks for an edge [px]."""
MOST = 4.0
"""What a point without an edge, or far from one, costs [px]."""
SURE = 0.3
"""Share of a heat map's spread that counts as error: maps are wide even where they are right."""
STARTS = 4
APART = 0.12
"""[rad] standard deviation of the starts, joint by joint."""
WIDE = 0.25
"""[rad] the same of the starts about the pose round which the arm works."""
SWEEPS = 2
NEAR_SEARCH = (8.0, 6.0, 5.0, 4.0, 4.0)
"""How far edges are looked for from a neighbour's pose [px]."""
BETTER = 1e-3
"""[px] by which a neighbour's pose must score better."""


@dataclass(frozen=True, eq=False)
class Followed:
    """Joint angles of every picture of a video."""

    q: np.ndarray
    """(N, n) [rad]."""
    ee_pos: np.ndarray
    """(N, 3) end effector [m, base frame]."""
    score: np.ndarray
    """(N,) mean distance of the outline from edges, at most `MOST` [px]; no label is behind it."""
    alone: np.ndarray
    """(N, 3) end effector by each picture's landmarks alone [m]."""
    score_alone: np.ndarray
    """(N,) the same distance with the outline where they put it [px]."""


def follow(
    network: ArmVision,
    scene: ArmScene,
    outline: ArmOutline,
    images: Sequence[np.ndarray],
    working: np.ndarray,
    starts: int = STARTS,
    sweeps: int = SWEEPS,
    wide: int = 12,
    seed: int = 0,
) -> Followed:
    """Follow the arm through `images`.

    Args:
        network: locates the landmarks of `scene` in pictures of its camera's size.
        scene: arm and camera at the network's size.
        outline: draws the arm; leave out links that hide behind what they hold.
        images: (H, W, 3) RGB uint8 in order of time, of any one size; a picture shown again is looked at once.
        working: (n,) pose round which the arm works [rad].
        starts: poses about the landmarks' from which each picture's outline is fitted; the best is kept.
        sweeps: forwards and backwards.
        seed: of the starts.

    Raises:
        ValueError: for no pictures, or pictures of different sizes.
    """
    if len(images) == 0 or any(image.shape != images[0].shape for image in images):
        sizes = sorted({image.shape for image in images})
        raise ValueError(f"a video of {len(images)} pictures with sizes {sizes}, expected at least one and one size")
    new = [i for i in range(len(images)) if i == 0 or not np.array_equal(images[i], images[i - 1])]
    shown = np.searchsorted(new, np.arange(len(images)), side="right") - 1
    height, width = images[0].shape[:2]
    camera = scene.camera.resized(height, width)
    small = (scene.camera.width, scene.camera.height)
    seen = landmarks(network, np.stack([cv2.resize(images[i], small, interpolation=cv2.INTER_AREA) for i in new]))
    scale = width / scene.camera.width
    pixels = (network.encoder.to_pixels(seen[..., :2]).numpy() + 0.5) * scale - 0.5
    spread = SURE * seen[..., 2].numpy() * width / 2
    alone = [fit_landmarks(scene.robot, camera, scene.landmarks, p, s, working) for p, s in zip(pixels, spread)]
    edges = edges_of([cv2.cvtColor(images[i], cv2.COLOR_RGB2GRAY) for i in new], outline)
    half = [cv2.resize(images[i], (width // 2, height // 2), interpolation=cv2.INTER_AREA) for i in new]
    coarse = edges_of([cv2.cvtColor(image, cv2.COLOR_RGB2GRAY) for image in half], outline)
    first = [
        best_start(outline, camera.resized(height // 2, width // 2), each, [q, working], wide, seed + k)
        for k, (each, q) in enumerate(zip(coarse, alone))
    ]
    found, scores = follow_outline(outline, camera, edges, first, starts, sweeps, seed)
    before = [distance_from_edges(outline, camera, q, each) for q, each in zip(alone, edges)]
    ee, by_landmarks = (np.array([scene.robot.chain.pose(q)[1] for q in each])[shown] for each in (found, alone))
    return Followed(np.array(found)[shown], ee, np.array(scores)[shown], by_landmarks, np.array(before)[shown])


def best_start(
    outline: ArmOutline, camera: CameraModel, edges: Edges, poses: Sequence[np.ndarray], wide: int, seed: int
) -> np.ndarray:
    """Return the angles (n,) [rad] whose outline lies best on a small picture's edges, of many poses it is fitted from.

    Args:
        outline: draws the arm.
        camera: of the small picture.
        edges: of the small picture.
        poses: that are fitted from; the last is where the arm works.
        wide: further ones, drawn about where it works.
        seed: of these.
    """
    rng = np.random.default_rng(seed)
    drawn = [poses[-1] + rng.normal(0.0, WIDE, len(poses[-1])) for _ in range(wide)]
    fitted = [fit_outline(outline, camera, edges, begin)[0] for begin in (*poses, *drawn)]
    return min(fitted, key=lambda q: distance_from_edges(outline, camera, q, edges))


def edges_of(grey: Sequence[np.ndarray], outline: ArmOutline) -> list[Edges]:
    """Find the edges of a video's pictures (H, W) uint8, and which of them the outline's outer links may claim."""
    moved = swept(grey)
    outer = outer_links(outline.robot)
    return [Edges.of(each, moved, outer) for each in grey]


def follow_outline(
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
    points = outline.points(q, camera)
    edge = np.abs(edges.match(points, LOOK).edge)
    count = len(points[0])
    return float((np.minimum(edge, MOST).sum() + MOST * (count - len(edge))) / count) if count else MOST


def labelled_by(followed: Followed, scene: ArmScene, pictures: np.ndarray, share: float = 0.7) -> ArmViews:
    """Label the pictures (N, H, W, 3) whose outlines fit best, a `share` of them, by the angles that were followed."""
    rows = np.argsort(followed.score, kind="stable")[: max(3, round(share * len(pictures)))]
    return stacked([scene.label(pictures[i], followed.q[i]) for i in np.sort(rows)])
