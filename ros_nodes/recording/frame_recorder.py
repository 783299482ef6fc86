"""Collects camera frames of a session, rectified to the policy's camera, for adaptation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from robots.camera import CameraModel
from robots.host.writing import write_arrays


class FrameRecorder:
    """Collects frames in memory, rectified to the policy's camera, with the joints they belong to."""

    def __init__(self, policy_camera: CameraModel, every: int = 1):
        """Keep each `every`-th frame, rectified to `policy_camera`."""
        self._policy_camera = policy_camera
        self._every = every
        self._rectify: Callable[[np.ndarray], np.ndarray] | None = None
        self._images: list[np.ndarray] = []
        self._q: list[np.ndarray] = []
        self._trials: list[int] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._images)

    def calibrate(self, camera: CameraModel) -> None:
        """Set the K and distortion of the camera that the frames come from.

        Raises:
            SpecError: if its images do not cover the policy's camera.
        """
        if self._rectify is None:
            self._rectify = camera.rectifier(self._policy_camera)

    def add(self, image: np.ndarray, q: np.ndarray, trial: int) -> None:
        """Add an RGB uint8 frame (height, width, 3), the joints `q` (n,) [rad] nearest to it, and its trial."""
        self._count += 1
        if self._rectify is None or (self._count - 1) % self._every:
            return
        self._images.append(self._rectify(image))
        self._q.append(np.asarray(q, np.float32))
        self._trials.append(trial)

    def save(self, path: Path) -> Path:
        """Write `images` (N, height, width, 3) uint8, `q` (N, n) float32 and `trial` (N,) int64 as .npz."""
        camera = self._policy_camera
        images = np.array(self._images, np.uint8).reshape(-1, camera.height, camera.width, 3)
        write_arrays(path, {"images": images, "q": np.array(self._q, np.float32), "trial": np.array(self._trials, int)})
        return path
