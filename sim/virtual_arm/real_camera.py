"""From a rendered image to that of a real camera: lens, sensor, exposure, noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from robots.camera import CameraModel, as_matrix
from robots.rotations import rpy_matrix
from sim.virtual_arm.hidden_reality import HiddenCamera, HiddenReality

COVERED = 0.95
"""Share of the true camera's image, at most, that the nominal view takes: a lens with too long a focal length is
changed for one that shows it."""

BRACKET_SHARE = 1 / 3
"""Share of a tripod's offset by which a camera on the hand is off: its bracket is as drawn to some millimetres."""


@dataclass(frozen=True)
class RealCamera:
    """One camera of the virtual lab."""

    model: CameraModel
    """As it really is: what its CameraInfo says; its pose is not for policies."""
    drawn: CameraModel
    """The centred, undistorted camera in the same place that renderers draw."""
    hidden: HiddenCamera
    """Its errors, its sensor and its delay."""


def real_cameras(nominal: Sequence[CameraModel], hidden: HiddenReality) -> dict[str, RealCamera]:
    """Return the lab's cameras by name: the nominal ones with the errors of `hidden`."""
    found = {}
    for k, camera in enumerate(nominal):
        errors = hidden.camera_at(k)
        model = true_camera(camera, errors)
        found[camera.name] = RealCamera(model, pinhole_around(model), errors)
    return found


def true_camera(nominal: CameraModel, hidden: HiddenCamera) -> CameraModel:
    """Return the true camera: the nominal one's name and pose, off by the hidden errors.

    Its K and distortion are what a careful calibration finds, and what its CameraInfo says; its pose in the frame that
    it is fixed to is hidden.
    """
    fixed = nominal.T_base_camera is not None
    T = np.array(nominal.T_base_camera if fixed else nominal.T_ee_camera)
    T[:3, 3] += (1.0 if fixed else BRACKET_SHARE) * np.array(hidden.position_offset)
    T[:3, :3] = T[:3, :3] @ rpy_matrix(np.radians(hidden.rotation_offset_deg))
    x, y = _ideal_coordinates(replace(nominal, distortion=()))
    room = (
        COVERED * min(hidden.cx, hidden.width - 1 - hidden.cx),
        COVERED * min(hidden.cy, hidden.height - 1 - hidden.cy),
    )
    wider = min(1.0, room[0] / (hidden.fx * np.abs(x).max()), room[1] / (hidden.fy * np.abs(y).max()))
    K = ((wider * hidden.fx, 0.0, hidden.cx), (0.0, wider * hidden.fy, hidden.cy), (0.0, 0.0, 1.0))
    camera = CameraModel(nominal.name, hidden.height, hidden.width, K, hidden.distortion)
    return replace(camera, T_base_camera=as_matrix(T)) if fixed else replace(camera, T_ee_camera=as_matrix(T))


def pinhole_around(camera: CameraModel) -> CameraModel:
    """Return a centred, undistorted camera in the same place whose image contains all of `camera`'s.

    Renderers draw this one; `Lens` maps its image to that of the real lens.
    """
    x, y = _ideal_coordinates(camera)
    f = max(camera.fx, camera.fy)
    width = 2 * math.ceil(np.abs(x).max() * f + 2)
    height = 2 * math.ceil(np.abs(y).max() * f + 2)
    K = ((f, 0.0, (width - 1) / 2), (0.0, f, (height - 1) / 2), (0.0, 0.0, 1.0))
    return replace(camera, height=height, width=width, K=K, distortion=())


class Lens:
    """Turns the rendered image into the camera's."""

    def __init__(self, real: RealCamera):
        """Prepare for images of the drawn camera."""
        import cv2

        camera, drawn, hidden = real.model, real.drawn, real.hidden
        x, y = _ideal_coordinates(camera)
        map_x = (drawn.K[0][0] * x + drawn.K[0][2]).astype(np.float32)
        map_y = (drawn.K[1][1] * y + drawn.K[1][2]).astype(np.float32)
        self._maps = cv2.convertMaps(map_x, map_y, cv2.CV_16SC2)
        self._hidden = hidden
        rows, columns = np.mgrid[0 : camera.height, 0 : camera.width]
        r2 = ((columns - hidden.cx) / (camera.width / 2)) ** 2 + ((rows - hidden.cy) / (camera.height / 2)) ** 2
        vignette = 1 - hidden.vignetting * r2 / r2.max()
        gain = hidden.exposure * np.array(hidden.white_balance)
        self._gain = (vignette[..., None] * gain).astype(np.float32)
        level = np.arange(256) / 255
        self._tone = (255 * level**hidden.gamma).astype(np.float32)
        self._sigma = np.sqrt(hidden.read_noise**2 + hidden.shot_noise**2 * level).astype(np.float32)
        # A bank of noise, entered at a random place for each frame: drawing 230,000 normals takes 4 ms
        bank = np.random.default_rng(7).standard_normal(3 * camera.height * camera.width * 3)
        self._noise = bank.astype(np.float32)

    def take(self, rendered: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the camera's RGB uint8 image of the `rendered` RGB uint8 one."""
        import cv2

        image = cv2.remap(rendered, *self._maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        if self._hidden.blur > 0:
            image = cv2.GaussianBlur(image, (5, 5), self._hidden.blur)
        exposed = cv2.multiply(image, self._gain, dtype=cv2.CV_8U)
        start = int(rng.integers(len(self._noise) - image.size))
        noise = self._noise[start : start + image.size].reshape(image.shape)
        noisy = cv2.add(cv2.LUT(exposed, self._tone), cv2.multiply(cv2.LUT(exposed, self._sigma), noise))
        return np.clip(noisy, 0, 255, out=noisy).astype(np.uint8)


def _ideal_coordinates(camera: CameraModel) -> tuple[np.ndarray, np.ndarray]:
    """Normalised undistorted coordinates (height, width) of every pixel of a distorted camera."""
    import cv2

    columns, rows = np.meshgrid(np.arange(camera.width), np.arange(camera.height))
    pixels = np.stack([columns, rows], axis=-1).reshape(-1, 1, 2).astype(np.float64)
    distortion = np.array(camera.distortion) if any(camera.distortion) else np.zeros(5)
    ideal = cv2.undistortPoints(pixels, np.array(camera.K), distortion)
    ideal = ideal.reshape(camera.height, camera.width, 2)
    return ideal[..., 0], ideal[..., 1]
