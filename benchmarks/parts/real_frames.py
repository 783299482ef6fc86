"""Frames of a real arm as labelled images: its landmarks in the image, from the recorded joint angles."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.arm_pose.panda_vision import panda_camera
from policies.imitation.detection import detect
from policies.models.keypoint_encoder import KeypointEncoder
from robots.registry import load_robot
from sim.datasets.labelled_renders import LabelledRenders

HEIGHT, WIDTH = 84, 112
TEST_SHARE, GAP = 0.3, 10
"""Share of the frames, the last ones, that are judged, and frames between these and the ones that are trained on."""


@dataclass(frozen=True)
class RealFrames:
    """A recording's frames in order."""

    labelled: LabelledRenders
    """Images, joint positions and landmarks."""
    metres: np.ndarray
    """(N, K, 2) size of a pixel at each landmark, across and down [m]."""

    @property
    def training(self) -> int:
        """Number of frames, the first ones, that may be trained on."""
        return self.first_judged - GAP

    @property
    def first_judged(self) -> int:
        """Number of the first frame that is judged."""
        return round((1 - TEST_SHARE) * len(self.labelled))

    def chosen(self, count: int) -> LabelledRenders:
        """Return `count` frames, evenly spread over those that may be trained on."""
        return self.labelled[np.linspace(0, self.training - 1, count).round().astype(int)]

    def error_cm(self, encoder: KeypointEncoder) -> float:
        """Return the median error of the landmarks in the frames that are judged, in the image plane [cm]."""
        judged = slice(self.first_judged, len(self.labelled))
        found = encoder.to_pixels(detect(encoder, self.labelled.images[judged])[..., :2])
        wanted = self.labelled.pixels[judged]
        inside = ((wanted >= 0) & (wanted <= np.array([WIDTH - 1, HEIGHT - 1]))).all(-1)
        distance = np.linalg.norm((found.numpy() - wanted) * self.metres[judged], axis=2)
        return 100 * float(np.median(distance[inside]))


def read_panda_frames(folder: Path) -> RealFrames:
    """Read panda_images."""
    frames = json.loads((folder / "frames.json").read_text())["frames"]
    robot, camera = load_robot("franka_panda"), panda_camera(folder).resized(HEIGHT, WIDTH)
    pictures = [cv2.imread(str(folder / frame["file"]))[..., ::-1] for frame in frames]
    images = np.stack([cv2.resize(each, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for each in pictures])
    q = np.array([frame["q"] for frame in frames], np.float32)
    links = [robot.tree.links.index(link) for link in robot.landmarks]
    points = np.stack([robot.link_poses(each)[links, :3, 3] for each in q])
    T_camera_base = np.linalg.inv(np.array(camera.T_base_camera))
    depth = points @ T_camera_base[2, :3] + T_camera_base[2, 3]
    labelled = LabelledRenders(
        images,
        q,
        points.astype(np.float32),
        np.stack([camera.project(each) for each in points]).astype(np.float32),
        np.zeros((len(q), 3), np.float32),
        np.zeros((len(q), 1), np.float32),
    )
    return RealFrames(labelled, depth[..., None] / np.array([camera.fx, camera.fy]))
