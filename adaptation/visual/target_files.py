"""Read a target from an evaluation's images.npz, a folder of pictures, or a ROS 2 recording.

    folder: frames.json with {"frames": [{"file", "q", "trial" (if known), "simulated" (if there is one)}, …]} and the
            pictures beside it; simulated ones are of the same frame, by the policy's camera in simulation
    recording: .mcap or a rosbag2 folder with pictures and /joint_states

Pictures are rectified to the policy's camera; a folder or recording needs the camera that it was taken with.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from adaptation.bag_reader import is_bag
from adaptation.calibration.bags import read_bag
from adaptation.calibration.boards import CalibrationError
from adaptation.calibration.recordings import read_frames
from adaptation.visual.target import TargetData, TargetError, load_target, only_camera
from policies.bundle import PolicyBundle
from robots.camera import CameraModel
from robots.specs import SpecError

MOST = 300
"""Largest number of frames taken from a recording."""
HOME = 0.15
"""[rad] a new trial begins where all joints are this near to the first frame's again."""
AWAY = 0.3
"""[rad] after a joint was this far from them."""


def read_target(
    path: Path, bundle: PolicyBundle, camera: CameraModel | None = None, topic: str | None = None
) -> TargetData:
    """Read a target for `bundle`.

    Args:
        path: images.npz or its folder, a folder with frames.json, or a recording.
        bundle: a camera policy; pictures are rectified to its camera.
        camera: of a folder or recording; its K, size and distortion are used, not its pose.
        topic: of a recording's pictures, if it has several.

    Raises:
        TargetError: if the target is missing, damaged or incomplete.
    """
    policy_camera = only_camera(bundle)
    path = Path(path)
    folder = path / "frames.json"
    if not (is_bag(path) or folder.is_file()):
        if topic is not None:
            raise TargetError(f"target '{path}' is no recording; leave --topic out")
        return load_target(path)
    if camera is None:
        raise TargetError(f"target '{path}': give the camera that it was taken with (--camera), as calibrated")
    try:
        rectify = camera.rectifier(policy_camera)
        if is_bag(path):
            taken = read_bag(path, topic, joints=True, most=MOST)
            pictures, frames = list(taken.pictures.values()), taken.frames(bundle.robot.joint_names)
        else:
            frames = read_frames(folder)
            pictures = [_read(path / frame["file"]) for frame in frames]
    except (CalibrationError, SpecError) as error:
        raise TargetError(f"target: {error}") from None
    for picture, frame in zip(pictures, frames):
        if picture.shape[:2] != (camera.height, camera.width):
            raise TargetError(
                f"target: picture {frame['file']} is {picture.shape[:2]}, camera '{camera.name}' takes "
                f"{(camera.height, camera.width)} (height, width)"
            )
        _check_frame(frame, len(bundle.robot.joint_names))
    images = np.stack([rectify(np.ascontiguousarray(picture[..., ::-1])) for picture in pictures])
    q = np.array([frame["q"] for frame in frames], np.float32)
    if all("trial" in frame for frame in frames):
        trial = np.array([frame["trial"] for frame in frames])
    else:
        trial = trials_of(q)
    simulated = None
    if not is_bag(path) and any("simulated" in frame for frame in frames):
        simulated = np.stack([_simulated(path, frame, policy_camera) for frame in frames])
    return TargetData(images, q, trial, simulated)


def trials_of(q: np.ndarray) -> np.ndarray:
    """Number the trials (N,) of joint positions (N, n) [rad] in order of time.

    A trial begins where the arm returns to the first frame's pose within `HOME`, after it was farther away than `AWAY`.
    """
    apart = np.abs(q - q[0]).max(axis=1)
    trial, left = 0, False
    numbers = np.zeros(len(q), int)
    for i, distance in enumerate(apart):
        if left and distance < HOME:
            trial, left = trial + 1, False
        left = left or bool(distance > AWAY)
        numbers[i] = trial
    return numbers


def _check_frame(frame: dict, joints: int) -> None:
    q = frame.get("q", [])
    if not (isinstance(q, list) and all(isinstance(each, (int, float)) for each in q)):
        raise TargetError(f"target: frame {frame['file']}: q is {q!r}, expected a list of {joints} numbers [rad]")
    if len(q) != joints:
        raise TargetError(f"target: frame {frame['file']} has {len(q)} joint positions, the policy's arm has {joints}")
    if not isinstance(frame.get("trial", 0), int):
        raise TargetError(f"target: frame {frame['file']}: trial is {frame['trial']!r}, expected a whole number")


def _simulated(folder: Path, frame: dict, camera: CameraModel) -> np.ndarray:
    if "simulated" not in frame:
        raise TargetError(f"target: frame {frame['file']} has no simulated picture, others have; give all or none")
    picture = _read(folder / frame["simulated"])
    if picture.shape[:2] != (camera.height, camera.width):
        raise TargetError(
            f"target: simulated picture {frame['simulated']} is {picture.shape[:2]}, the policy's camera takes "
            f"{(camera.height, camera.width)} (height, width)"
        )
    return np.ascontiguousarray(picture[..., ::-1])


def _read(path: Path) -> np.ndarray:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if picture is None:
        raise TargetError(f"target: picture '{path}' is missing or damaged")
    return picture
