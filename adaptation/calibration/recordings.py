"""Read cameras, lists of frames with the arm's poses, and image folders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from adaptation.calibration.boards import CalibrationError
from adaptation.calibration.refine import ArmRecording
from robots.camera import CameraModel
from robots.host.reading import brief, read_json, read_picture
from robots.model import RobotModel
from robots.specs import SpecError


def read_camera(path: Path) -> CameraModel:
    """Read a camera file of a calibration.

    Raises:
        CalibrationError: if the file is missing or malformed.
    """
    try:
        return CameraModel.from_dict(read_json(path, "camera"))
    except SpecError as error:
        raise CalibrationError(
            f"camera '{path}' cannot be read ({error}); write it with 'sim2real calibrate intrinsics'"
        ) from None


def read_frames(path: Path) -> list[dict]:
    """Read the list `frames` of a JSON file; each frame has its image's `file`.

    Raises:
        CalibrationError: if the file is missing or malformed.
    """
    return read_frame_list(path, lambda frame: isinstance(frame.get("file"), str), "'file'")


def read_frame_list(path: Path, names_image: Callable[[dict], bool], key: str) -> list[dict]:
    """Read the list `frames` of a JSON file, each of which must satisfy `names_image`; errors name the missing `key`.

    Raises:
        CalibrationError: if the file is missing or malformed.
    """
    try:
        frames = read_json(path, "poses").get("frames")
        whole = isinstance(frames, list) and all(isinstance(each, dict) for each in frames)
        if not frames or not whole or not all(names_image(frame) for frame in frames):
            raise ValueError(f"no frames, or a frame without {key}")
    except ValueError as error:
        raise CalibrationError(
            f"poses '{path}' cannot be read ({error}); expected JSON with 'frames': "
            f"a list of objects with {key} and 'q' or 'T_base_ee'"
        ) from None
    return frames


def arm_poses(frames: Sequence[dict], files: Sequence[str], robot: RobotModel) -> np.ndarray:
    """Return T_base_ee (N, 4, 4) at the images `files`, from `T_base_ee` or by forward kinematics from `q`.

    Raises:
        CalibrationError: naming the image without a valid pose.
    """
    by_file = {frame["file"]: frame for frame in frames}
    poses = []
    for file in files:
        frame = by_file.get(file)
        if frame is None or ("T_base_ee" not in frame and "q" not in frame):
            raise CalibrationError(f"image {file} has no T_base_ee and no q among the {len(frames)} poses")
        if "T_base_ee" in frame:
            T = _numbers(frame, "T_base_ee")
        else:
            T = np.eye(4)
            T[:3, :3], T[:3, 3] = robot.chain.pose(_joints(frame, robot))
        if T.shape != (4, 4) or not np.allclose(T[:3, :3] @ T[:3, :3].T, np.eye(3), atol=1e-3):
            raise CalibrationError(f"image {file}: T_base_ee is no pose; expected 4 × 4 with a rotation in it")
        poses.append(T)
    return np.array(poses)


def read_arm_recording(folder: Path, frames: Sequence[dict]) -> ArmRecording:
    """Read the images and joints of `frames`.

    Raises:
        CalibrationError: if an image is missing, damaged or of another size, or a frame has no q or t.
    """
    images: list[np.ndarray] = []
    for frame in frames:
        try:
            images.append(read_picture(Path(folder) / frame["file"], "image", grey=True))
        except SpecError as error:
            raise CalibrationError(str(error)) from None
    return as_recording(images, frames)


def as_recording(images: Sequence[np.ndarray], frames: Sequence[dict]) -> ArmRecording:
    """Combine grey images (H, W) uint8 and the joints of `frames`.

    Raises:
        CalibrationError: if an image is of another size, or a frame has no q or t.
    """
    for image, frame in zip(images, frames):
        if image.shape != images[0].shape:
            raise CalibrationError(f"image {frame['file']} is {image.shape}, the first is {images[0].shape}")
        if "q" not in frame or "t" not in frame:
            raise CalibrationError(f"image {frame['file']}: its frame has no q or no t")
    q = [_numbers(frame, "q") for frame in frames]
    if len({each.shape for each in q}) > 1:
        raise CalibrationError(f"frames have different numbers of joints: {sorted({len(each) for each in q})}")
    return ArmRecording(np.stack(images), np.array(q), np.array([float(_numbers(frame, "t")) for frame in frames]))


def _numbers(frame: dict, name: str) -> np.ndarray:
    try:
        return np.asarray(frame[name], float)
    except (ValueError, TypeError, OverflowError):
        given = brief(repr(frame[name]))
        raise CalibrationError(f"image {frame['file']}: {name} is {given}, expected numbers") from None


def _joints(frame: dict, robot: RobotModel) -> np.ndarray:
    q = _numbers(frame, "q")
    if q.shape != (len(robot.joint_names),):
        raise CalibrationError(
            f"image {frame['file']}: q has {q.shape} values, '{robot.name}' has {len(robot.joint_names)} joints"
        )
    return q
