"""A pinhole camera with its pose: projection, rectification, and the fields of ROS's CameraInfo.

Robot side: numpy only; OpenCV is imported where an image is remapped. Camera axes are OpenCV's
(x right, y down, z forward) and pixel (0, 0) has its centre at (0.5, 0.5) in these coordinates
minus a half: integer coordinates are pixel centres, as in OpenCV and ROS.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property

import numpy as np

from robots.host.reading import brief
from robots.host.typed import build
from robots.pose_range import PoseRange
from robots.specs import SpecError

Matrix = tuple[tuple[float, ...], ...]

MOST_PIXELS = 1 << 14
"""Largest height and width of an image."""
HALVED_FROM = 4.0
"""Ratio of pixels, source to target image, from which on the source is halved before it is resampled."""


@dataclass(frozen=True)
class CameraModel:
    """Intrinsics and pose of one camera."""

    name: str
    """Name used in topics, observation arrays (`image_<name>`) and errors."""
    height: int
    """Pixels."""
    width: int
    """Pixels."""
    K: Matrix
    """3 × 3 intrinsic matrix [pixels]."""
    distortion: tuple[float, ...] = ()
    """Plumb-bob coefficients k1, k2, p1, p2, k3; empty for none."""
    T_base_camera: Matrix | None = None
    """4 × 4, maps camera coordinates to base coordinates [m]; for a fixed camera."""
    T_ee_camera: Matrix | None = None
    """4 × 4, maps camera coordinates to end-effector coordinates [m]; for a camera on the wrist."""
    encoding: str = field(default="rgb8")
    """Pixel format of the images as they arrive."""
    position_error: float = 0.03
    """Largest error of the pose's position along each axis [m]: a tape measure's by default. Training varies it so."""
    rotation_error: float = 0.03
    """Largest error of its rotation about each axis [rad]: 1.7° by default."""
    pose_range: PoseRange | None = None
    """Where it may stand, for a policy that takes its calibration; `T_base_camera` is in the middle of that."""

    def __post_init__(self) -> None:
        if np.shape(self.K) != (3, 3):
            raise SpecError(f"camera '{self.name}': K has shape {np.shape(self.K)}, expected (3, 3)")
        if not (self.height > 0 and self.width > 0):
            raise SpecError(f"camera '{self.name}': size {self.height} × {self.width} must be positive")
        if not (self.fx > 0 and self.fy > 0):
            raise SpecError(
                f"camera '{self.name}': focal lengths {self.fx}, {self.fy} px must be positive; "
                "is the camera calibrated?"
            )
        if not (math.isfinite(self.position_error + self.rotation_error) and 0 <= self.position_error < 1):
            raise SpecError(
                f"camera '{self.name}': position_error {self.position_error} m and rotation_error "
                f"{self.rotation_error} rad, expected small, positive numbers"
            )
        if max(self.height, self.width) > MOST_PIXELS:
            raise SpecError(f"camera '{self.name}': size {self.height} × {self.width}, expected at most {MOST_PIXELS}")
        if self.T_base_camera is not None and self.T_ee_camera is not None:
            raise SpecError(f"camera '{self.name}': give T_base_camera or T_ee_camera, not both")
        if self.pose_range is not None and self.T_base_camera is None:
            raise SpecError(
                f"camera '{self.name}': a range of poses is for a fixed camera, and it has no T_base_camera"
            )
        for frame in ("T_base_camera", "T_ee_camera"):
            T = getattr(self, frame)
            if T is not None and not _is_pose(T):
                raise SpecError(
                    f"camera '{self.name}': {frame} is {brief(str(T))}, expected 4 × 4 numbers: a rotation "
                    "matrix, a position [m] and a last row 0 0 0 1"
                )

    @classmethod
    def looking_at(
        cls,
        name: str,
        eye: tuple[float, float, float],
        target: tuple[float, float, float],
        height: int,
        width: int,
        fov_y_deg: float,
    ) -> CameraModel:
        """Place a fixed camera at `eye` looking at `target` (base frame, m), upright, square pixels."""
        f = 0.5 * height / math.tan(math.radians(fov_y_deg) / 2)
        K = ((f, 0.0, (width - 1) / 2), (0.0, f, (height - 1) / 2), (0.0, 0.0, 1.0))
        return cls(name, height, width, K, T_base_camera=as_matrix(look_at(np.array(eye), np.array(target))))

    @property
    def fx(self) -> float:
        """Horizontal focal length [px]."""
        return self.K[0][0]

    @property
    def fy(self) -> float:
        """Vertical focal length [px]."""
        return self.K[1][1]

    def pose(self, T_base_ee: np.ndarray | None = None) -> np.ndarray:
        """Return T_base_camera (4, 4); a wrist camera needs the end effector's pose."""
        if self.T_base_camera is not None:
            return np.array(self.T_base_camera)
        if self.T_ee_camera is not None and T_base_ee is not None:
            return T_base_ee @ np.array(self.T_ee_camera)
        raise SpecError(
            f"camera '{self.name}': its pose is not known; set T_base_camera, or T_ee_camera and the arm's pose"
        )

    @cached_property
    def calibration(self) -> np.ndarray:
        """(16,) float32 of a fixed camera: fx, fy, cx and cy [px], and the upper three rows of `T_base_camera`."""
        K = np.array(self.K)
        return np.array([K[0, 0], K[1, 1], K[0, 2], K[1, 2], *self.fixed_pose[:3].ravel()], np.float32)

    @cached_property
    def fixed_pose(self) -> np.ndarray:
        """`pose` of a camera that does not move, made once: it is asked for at every frame. Not to be written to."""
        return self.pose()

    def project(self, points: np.ndarray, T_base_ee: np.ndarray | None = None) -> np.ndarray:
        """Project base-frame points (N, 3) [m] to pixels (N, 2); NaN behind the camera.

        Distortion follows the plumb-bob model of Brown (1966) as OpenCV and ROS use it.
        """
        T_camera_base = np.linalg.inv(self.pose(T_base_ee))
        p = np.asarray(points, np.float64) @ T_camera_base[:3, :3].T + T_camera_base[:3, 3]
        in_front = p[:, 2] > 1e-9
        z = np.where(in_front, p[:, 2], np.nan)
        x, y = self._distort(p[:, 0] / z, p[:, 1] / z)
        K = np.array(self.K)
        return np.stack([K[0, 0] * x + K[0, 1] * y + K[0, 2], K[1, 1] * y + K[1, 2]], axis=1)

    def resized(self, height: int, width: int) -> CameraModel:
        """Return the camera whose image is this one's resized, with K updated for pixel centres."""
        sx, sy = width / self.width, height / self.height
        K = np.array(self.K)
        K[0, :2] *= sx
        K[1, 1] *= sy
        K[0, 2] = (K[0, 2] + 0.5) * sx - 0.5
        K[1, 2] = (K[1, 2] + 0.5) * sy - 0.5
        return replace(self, height=height, width=width, K=as_matrix(K))

    def rectifier(self, target: CameraModel) -> Callable[[np.ndarray], np.ndarray]:
        """Return the function that turns this camera's images into the ideal images of `target`.

        Undistorts, resamples to the target's K and size, and averages over the pixels that fall into
        one when it shrinks. The two cameras are taken to stand in the same place. The returned function
        takes and gives RGB uint8, height × width × 3.

        Raises:
            SpecError: if more than 2 % of the target's picture lie outside this camera's.
        """
        if self._same_image_as(target):
            return self._checked
        import cv2

        scale = min(self.fx / target.fx, self.fy / target.fy)
        # Much larger pictures are halved first, which OpenCV does at ten times the speed of a remap
        source, halvings = self, 0
        while scale >= HALVED_FROM and source.height % 2 == source.width % 2 == 0:
            source, halvings, scale = source.resized(source.height // 2, source.width // 2), halvings + 1, scale / 2
        # Oversample so that each target pixel averages what it covers. Bilinear interpolation reads four pixels, so
        # points 1.3 pixels apart leave none out
        factor = max(1, min(2, round(scale)), round(scale / 1.3))
        fine = target.resized(target.height * factor, target.width * factor)
        Kf = np.array(fine.K)
        columns, rows = np.meshgrid(np.arange(fine.width), np.arange(fine.height))
        y = (rows - Kf[1, 2]) / Kf[1, 1]
        x = (columns - Kf[0, 2] - Kf[0, 1] * y) / Kf[0, 0]
        xd, yd = self._distort(x, y)
        K = np.array(source.K)
        map_x = (K[0, 0] * xd + K[0, 1] * yd + K[0, 2]).astype(np.float32)
        map_y = (K[1, 1] * yd + K[1, 2]).astype(np.float32)
        inside = (map_x > -1) & (map_x < source.width) & (map_y > -1) & (map_y < source.height)
        if inside.mean() < 0.98:
            raise SpecError(
                f"camera '{self.name}': {100 * (1 - inside.mean()):.0f} % of the picture that the policy expects lie "
                f"outside this camera's view (its focal length is {self.fx:.0f} px at width {self.width}, the policy's "
                f"{target.fx:.0f} px at width {target.width}); use a wider lens or a higher-resolution mode"
            )
        map_fixed, map_fraction = cv2.convertMaps(map_x, map_y, cv2.CV_16SC2)
        size = (target.width, target.height)

        def rectify(image: np.ndarray) -> np.ndarray:
            image = self._checked(image)
            for _ in range(halvings):
                half = (image.shape[1] // 2, image.shape[0] // 2)
                image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
            fine_image = cv2.remap(
                image,
                map_fixed,
                map_fraction,
                cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REPLICATE,
            )
            return fine_image if factor == 1 else cv2.resize(fine_image, size, interpolation=cv2.INTER_AREA)

        return rectify

    def info_fields(self) -> dict:
        """Return the values of a sensor_msgs/CameraInfo: height, width, distortion_model, d, k, r, p."""
        K = np.array(self.K)
        return {
            "height": self.height,
            "width": self.width,
            "distortion_model": "plumb_bob",
            "d": [*self.distortion, *[0.0] * (5 - len(self.distortion))],
            "k": K.ravel().tolist(),
            "r": np.eye(3).ravel().tolist(),
            "p": np.hstack([K, np.zeros((3, 1))]).ravel().tolist(),
        }

    @classmethod
    def from_info(cls, name: str, info: Mapping) -> CameraModel:
        """Build from a CameraInfo's fields.

        Raises:
            SpecError: if the camera is uncalibrated or its distortion model is not plumb_bob.
        """
        if info["distortion_model"] not in ("plumb_bob", "") and any(info["d"]):
            raise SpecError(
                f"camera '{name}': distortion model '{info['distortion_model']}', expected 'plumb_bob'; "
                "rectify the images first"
            )
        distortion = tuple(float(v) for v in info["d"])
        return cls(
            name,
            int(info["height"]),
            int(info["width"]),
            as_matrix(np.reshape(info["k"], (3, 3))),
            distortion if any(distortion) else (),
        )

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {
            "name": self.name,
            "height": self.height,
            "width": self.width,
            "K": self.K,
            "distortion": self.distortion,
            "T_base_camera": self.T_base_camera,
            "T_ee_camera": self.T_ee_camera,
            "encoding": self.encoding,
            "position_error": self.position_error,
            "rotation_error": self.rotation_error,
            **({"pose_range": asdict(self.pose_range)} if self.pose_range is not None else {}),
        }

    @classmethod
    def from_dict(cls, data: Mapping) -> CameraModel:
        """Build from what `to_dict` returned; distortion, poses, encoding, errors and pose range may be left out."""
        return build(cls, data, f"camera '{data.get('name', '')}'")

    def _same_image_as(self, other: CameraModel) -> bool:
        same_size = (self.height, self.width) == (other.height, other.width)
        return same_size and not any(self.distortion) and np.allclose(self.K, other.K)

    def _checked(self, image: np.ndarray) -> np.ndarray:
        if image.shape != (self.height, self.width, 3) or image.dtype != np.uint8:
            raise SpecError(
                f"camera '{self.name}': image is {image.dtype} {image.shape}, "
                f"expected uint8 {(self.height, self.width, 3)}"
            )
        return image

    def _distort(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if not any(self.distortion):
            return x, y
        k1, k2, p1, p2, k3 = (*self.distortion, *[0.0] * (5 - len(self.distortion)))
        r2 = x * x + y * y
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        xd = x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        yd = y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        return xd, yd


def _is_pose(T: Matrix) -> bool:
    pose = np.array(T, np.float64)
    if pose.shape != (4, 4) or not np.isfinite(pose).all() or not np.allclose(pose[3], (0, 0, 0, 1)):
        return False
    R = pose[:3, :3]
    return bool(np.allclose(R.T @ R, np.eye(3), atol=1e-3) and np.linalg.det(R) > 0)


def look_at(eye: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Compute T_base_camera (4, 4) of an upright camera at `eye` that looks at `target` (m, z up)."""
    z = (target - eye) / np.linalg.norm(target - eye)
    x = np.cross(z, [0.0, 0.0, 1.0])
    if np.linalg.norm(x) < 1e-6:  # looking straight down: the picture's right is the base's -y
        x = np.array([0.0, -1.0, 0.0])
    x /= np.linalg.norm(x)
    T = np.eye(4)
    T[:3, :3] = np.stack([x, np.cross(z, x), z], axis=1)
    T[:3, 3] = eye
    return T


def as_matrix(array: np.ndarray | list | tuple) -> Matrix:
    """Turn a 2-D array into nested tuples of float, which a frozen dataclass can hold."""
    return tuple(tuple(float(v) for v in row) for row in array)
