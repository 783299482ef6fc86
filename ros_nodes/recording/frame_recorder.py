"""Collects camera frames of a session, rectified to the policy's cameras, for adaptation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from policies.runtime.inputs.frame_pairing import FramePairing
from robots.camera import CameraModel
from robots.host.writing import write_arrays


@dataclass(frozen=True)
class _Frame:
    image: np.ndarray
    q: np.ndarray
    trial: int
    opening: float | None


class FrameRecorder:
    """Collects frames of the same moments in memory, rectified to the policy's cameras, with the joints they belong to.

    Frames that another camera took none with are left out, and counted in `unpaired`.
    """

    def __init__(self, cameras: Mapping[str, CameraModel], every: int = 1):
        """Keep each `every`-th moment, rectified to the policy's `cameras`, by name."""
        self._cameras = dict(cameras)
        self._every = every
        self._rectify: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
        self._pairing: FramePairing[_Frame] = FramePairing(tuple(cameras))
        self._moments: list[dict[str, _Frame]] = []
        self._count = 0

    def __len__(self) -> int:
        return len(self._moments)

    @property
    def unpaired(self) -> Mapping[str, int]:
        """Number of frames by camera that the other cameras took none with."""
        return self._pairing.unpaired

    def calibrate(self, camera: CameraModel) -> None:
        """Set the K and distortion that the frames of the camera of this name are taken with.

        Raises:
            SpecError: if its images do not cover the policy's camera.
        """
        if camera.name not in self._rectify:
            self._rectify[camera.name] = camera.rectifier(self._cameras[camera.name])

    def add(
        self, camera: str, image: np.ndarray, stamp: float, q: np.ndarray, trial: int, opening: float | None = None
    ) -> None:
        """Add a frame of one camera; those of cameras that are not calibrated yet are left out.

        Args:
            camera: name of the policy's camera.
            image: RGB uint8 (height, width, 3).
            stamp: when it was taken [s], by one clock for all cameras.
            q: joints (n,) [rad] nearest to it.
            trial: its trial.
            opening: finger position [m]; None where fingers are not measured.
        """
        if camera not in self._rectify:
            return
        paired = self._pairing.add(camera, stamp, _Frame(image, np.asarray(q, np.float32), trial, opening))
        if paired is None or len({frame.trial for frame in paired[1].values()}) > 1:
            return
        self._count += 1
        if (self._count - 1) % self._every == 0:
            self._moments.append(
                {name: replace(frame, image=self._rectify[name](frame.image)) for name, frame in paired[1].items()}
            )

    def save(self, path: Path) -> Path:
        """Write a target for `sim2real adapt` as .npz.

        It holds `image_<camera>` (N, height, width, 3) uint8, `q` (N, n) float32, `trial` (N,) int64 and, where fingers
        are measured, `opening` (N, 1) float32.
        """
        arrays = {}
        for name, camera in self._cameras.items():
            images = np.array([moment[name].image for moment in self._moments], np.uint8)
            arrays[f"image_{name}"] = images.reshape(-1, camera.height, camera.width, 3)
        states = [next(iter(moment.values())) for moment in self._moments]
        arrays["q"] = np.array([state.q for state in states], np.float32)
        arrays["trial"] = np.array([state.trial for state in states], int)
        if any(state.opening is not None for state in states):
            arrays["opening"] = np.array([[state.opening] for state in states], np.float32)
        write_arrays(path, arrays)
        return path
