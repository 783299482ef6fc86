"""Labelled renders in a video's own background, colours and light, at poses beyond those that were tracked.

    tracked pictures ─┬▶ pixels without arm and hand ─▶ median ─▶ background
                      └▶ the arm's pixels ─▶ the nearest of many random looks
    poses about the tracked ones and anywhere in view ─▶ rendered with these looks, on this background, labelled

What the video does not show is random: where the arm always stood, what the hand holds, what comes between.
"""

from __future__ import annotations

import cv2
import numpy as np

from adaptation.visual.background_compositing import estimate_background
from benchmarks.arm_pose.renders import ArmRenders, ArmScene, VideoLooks, random_pose, stacked
from sim.rendering.appearance import Appearance

MARGIN = 2
"""Pixels round the tracked arm that are masked with it."""
HELD = 0.2
"""[m] about the end effector, where a picture may show what the hand holds."""
DRAWN, KEPT = 200, 10
"""Random looks that are compared with the video, and how many of them are kept."""
COMPARED = 3
"""Pictures that each of them is compared with, spread over the video."""


def video_looks(scene: ArmScene, images: np.ndarray, q: np.ndarray, seed: int) -> VideoLooks:
    """Estimate a video's background and the arm's looks in it.

    Args:
        scene: arm and camera.
        images: (N, H, W, 3) uint8 pictures of the scene's camera, of its size.
        q: (N, n) the tracked angles [rad].
        seed: of the random looks.
    """
    arms = np.stack([scene.arm_mask(each) for each in q])
    kernel = np.ones((2 * MARGIN + 1,) * 2, np.uint8)
    covered = np.stack([cv2.dilate(arm.astype(np.uint8), kernel) > 0 for arm in arms])
    for mask, each in zip(covered, q):
        mask |= _about_the_hand(scene, each)
    rng = np.random.default_rng(seed)
    rows = np.unique(np.linspace(0, len(q) - 1, COMPARED).round().astype(int))
    drawn = [scene.random_looks(rng, video=True) for _ in range(DRAWN)]
    apart = [_apart(scene, looks, images[rows], q[rows], arms[rows]) for looks in drawn]
    nearest = np.argsort(apart)[:KEPT]
    hidden = covered.all(axis=0)
    return VideoLooks(estimate_background(images, covered), hidden, tuple(drawn[i] for i in nearest))


def render_beyond(scene: ArmScene, own: VideoLooks, q: np.ndarray, count: int, seed: int) -> ArmRenders:
    """Render `count` labelled pictures with the looks `own`.

    Half of the poses lie near one of the tracked ones `q` (N, n) [rad], the other half anywhere within the joint limits
    where the end effector is in the picture.
    """
    rng = np.random.default_rng(seed)
    poses = (random_pose(scene, q[rng.integers(len(q))], i % 2 == 0, rng) for i in range(count))
    return stacked([scene.draw(pose, rng, True, own) for pose in poses])


def _apart(
    scene: ArmScene,
    looks: Appearance,
    images: np.ndarray,
    q: np.ndarray,
    arms: np.ndarray,
) -> float:
    """Return the RMS difference of colour [grey levels] on the arm between renders and pictures."""
    squares = []
    for image, each, arm in zip(images, q, arms):
        inner = cv2.erode(arm.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        squares.append((scene.render(each, looks)[inner].astype(float) - image[inner]).ravel() ** 2)
    return float(np.sqrt(np.concatenate(squares).mean()))


def _about_the_hand(scene: ArmScene, q: np.ndarray) -> np.ndarray:
    """Return a disc (H, W) bool of `HELD` about the end effector."""
    camera = scene.camera
    p = scene.robot.chain.pose(q)[1]
    x, y = camera.project(p[None])[0]
    depth = (np.linalg.inv(camera.T_base_camera) @ [*p, 1.0])[2]
    rows, columns = np.mgrid[: camera.height, : camera.width]
    return np.hypot(columns - x, rows - y) < camera.K[0][0] * HELD / max(depth, HELD)
