"""Publishes recorded images as a camera, and recorded or constant joints as an arm: real input without a robot.

    python -m ros_nodes.camera_player --ros-args -p source:=frames/ -p bundle:=runs/demo/adapted

Nothing it publishes can move an arm.
"""

from __future__ import annotations

import array
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState

from policies.bundle import BundleError, PolicyBundle
from robots.camera import CameraModel, as_matrix
from robots.host.reading import read_json, read_picture
from robots.host.typed import build
from robots.specs import SpecError
from ros_nodes import process, qos, topics
from ros_nodes.parameters import Parameter, Parameters

PICTURES = (".png", ".jpg", ".jpeg", ".bmp")
VIDEOS = (".mp4", ".avi", ".mkv", ".webm")
JOINT_RATE_HZ = 100.0


@dataclass(frozen=True)
class CameraRecording:
    """Images in order, with intrinsics and joints where those were recorded."""

    frames: tuple[np.ndarray, ...]
    """RGB uint8, all height × width × 3."""
    K: np.ndarray | None
    """(3, 3) intrinsic matrix [px] where it was recorded."""
    q: np.ndarray | None
    """(N, n) joint positions at each frame [rad] where they were recorded."""


@dataclass(frozen=True)
class _Listed:
    """What frames.json holds."""

    K: tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]
    frames: tuple[dict, ...]
    joint_names: tuple[str, ...] = ()


def read_camera_recording(source: Path) -> CameraRecording:
    """Read a video, a folder of pictures, or a folder with a `frames.json` that holds K, files and joints.

    Raises:
        SpecError: if there is nothing to play, or pictures differ in size.
    """
    if source.is_file() and source.suffix.lower() in VIDEOS:
        frames = _video(source)
        K, q = None, None
    elif (source / "frames.json").is_file():
        listed = build(_Listed, read_json(source / "frames.json", "recording"), f"recording '{source}'")
        frames = [_picture(source / str(frame.get("file"))) for frame in listed.frames]
        try:
            K, q = np.array(listed.K), np.array([frame["q"] for frame in listed.frames], float)
        except (ValueError, KeyError, TypeError, OverflowError) as error:
            raise SpecError(f"recording '{source}': a frame's q is no list of numbers ({error})") from None
    elif source.is_dir():
        frames = [_picture(path) for path in sorted(source.rglob("*")) if path.suffix.lower() in PICTURES]
        K, q = None, None
    else:
        raise SpecError(f"source '{source}' is no video ({', '.join(VIDEOS)}) and no folder of pictures")
    if not frames:
        raise SpecError(f"source '{source}' holds no picture ({', '.join(PICTURES)})")
    height, width = frames[0].shape[:2]
    frames = [
        frame
        if frame.shape[:2] == (height, width)
        else cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
        for frame in frames
    ]
    return CameraRecording(tuple(frames), K, q)


def assumed_camera(name: str, recording: CameraRecording, fov_y_deg: float) -> CameraModel:
    """Describe the recording's camera; one whose K is unknown gets the vertical field of view `fov_y_deg`."""
    height, width = recording.frames[0].shape[:2]
    if recording.K is not None:
        return CameraModel(name, height, width, as_matrix(recording.K))
    f = 0.5 * height / math.tan(math.radians(fov_y_deg) / 2)
    K = ((f, 0.0, (width - 1) / 2), (0.0, f, (height - 1) / 2), (0.0, 0.0, 1.0))
    return CameraModel(name, height, width, K)


PARAMETERS = (
    Parameter("source", "", "video, folder of pictures, or folder with frames.json"),
    Parameter("bundle", "", "policy bundle that names the arm's joints and its home pose"),
    Parameter("rate", 30.0, "frames a second"),
    Parameter("fov_y", 60.0, "vertical field of view of the recording where it holds no K [deg]"),
)


class CameraPlayer(Node):
    """Publishes one recording in a loop."""

    def __init__(self) -> None:
        """Read the parameters and the recording.

        Raises:
            SpecError, BundleError: if one makes no sense.
        """
        super().__init__("camera_player")
        parameters = Parameters(self, PARAMETERS)
        bundle = PolicyBundle.load(parameters.text("bundle"))
        recording = read_camera_recording(Path(parameters.text("source")))
        name = next(iter(bundle.cameras), "camera")
        camera = assumed_camera(name, recording, parameters.number("fov_y"))
        self._recording, self._robot = recording, bundle.robot
        self._low, self._high = np.array(bundle.robot.limits.q_low), np.array(bundle.robot.limits.q_high)
        self._index = 0
        self._image_publisher = self.create_publisher(Image, topics.CAMERA_IMAGE, qos.EVENT)
        self._info_publisher = self.create_publisher(CameraInfo, topics.CAMERA_INFO, qos.EVENT)
        self._joint_publisher = self.create_publisher(JointState, topics.JOINT_STATES, qos.EVENT)
        self._info = CameraInfo(**camera.info_fields())
        self._message = Image(
            height=camera.height,
            width=camera.width,
            encoding="rgb8",
            step=3 * camera.width,
            data=array.array("B", bytes(3 * camera.height * camera.width)),
        )
        self._pixels = np.frombuffer(self._message.data, np.uint8).reshape(camera.height, camera.width, 3)
        self.create_timer(1 / parameters.number("rate"), self._play)
        self.create_timer(1 / JOINT_RATE_HZ, self._publish_joints)
        self.get_logger().info(f"playing {len(recording.frames)} frames of {camera.width} × {camera.height}")

    def _play(self) -> None:
        self._index = (self._index + 1) % len(self._recording.frames)
        self._pixels[:] = self._recording.frames[self._index]
        self._info.header.stamp = self._message.header.stamp = self.get_clock().now().to_msg()
        self._info_publisher.publish(self._info)
        self._image_publisher.publish(self._message)

    def _publish_joints(self) -> None:
        recorded = self._recording.q
        q = np.array(self._robot.home) if recorded is None else np.clip(recorded[self._index], self._low, self._high)
        message = JointState(name=list(self._robot.joint_names), position=q.tolist(), velocity=[0.0] * len(q))
        message.header.stamp = self.get_clock().now().to_msg()
        self._joint_publisher.publish(message)


def _picture(path: Path) -> np.ndarray:
    return np.ascontiguousarray(read_picture(path, "picture")[..., ::-1])


def _video(path: Path) -> Sequence[np.ndarray]:
    video = cv2.VideoCapture(str(path))
    frames = []
    while True:
        ok, frame = video.read()
        if not ok:
            break
        frames.append(np.ascontiguousarray(frame[..., ::-1]))
    video.release()
    if not frames:
        raise SpecError(f"'{path}' is no video that OpenCV can read")
    return frames


def main(args: list[str] | None = None) -> int:
    """Play until SIGINT or SIGTERM; return the exit status."""
    return process.run_node("camera_player", CameraPlayer, (SpecError, BundleError), args)


if __name__ == "__main__":
    raise SystemExit(main())
