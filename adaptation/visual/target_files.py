"""Read a target from an evaluation's images.npz, a folder of images, or a ROS 2 recording.

    folder: frames.json with {"frames": [{"file", "q", "trial" (if known), "opening" (of the fingers), "simulated" (if
            there is one)}, …]} and the images beside it; of a policy with several cameras "files" and "simulated" are
            {camera: file}; simulated images are of the same frame, by the policy's camera in simulation
    recording: .mcap or a rosbag2 folder with images and /joint_states

Images are rectified to the policy's cameras; a folder or recording needs the cameras that it was taken with.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from adaptation.bag_reader import is_bag
from adaptation.calibration.bags import joint_columns, read_paired
from adaptation.calibration.boards import CalibrationError
from adaptation.calibration.recordings import read_frame_list
from adaptation.visual.target import TargetData, TargetError, load_target
from policies.bundle import PolicyBundle
from robots.camera import CameraModel
from robots.host.reading import FileError, read_picture
from robots.specs import SpecError

MOST = 300
"""Largest number of moments taken from a recording."""
HOME = 0.15
"""[rad] a new trial begins where all joints are this near to the first frame's again."""
AWAY = 0.3
"""[rad] after a joint was this far from them."""


def read_target(
    path: Path,
    bundle: PolicyBundle,
    cameras: Sequence[CameraModel] = (),
    topics: Mapping[str, str] | None = None,
    tell: Callable[[str], None] = lambda note: None,
) -> TargetData:
    """Read a target for `bundle`.

    Args:
        path: images.npz or its folder, a folder with frames.json, or a recording.
        bundle: a camera policy; images are rectified to its cameras.
        cameras: of a folder or recording, by name; their K, size and distortion are used, not their poses. Those that
            the policy does not take are left out.
        topics: of a recording's images, by camera; may be left out for one camera where only one topic has images.
        tell: called with what a person should know about the recording.

    Raises:
        TargetError: if the target is missing, damaged or incomplete.
    """
    path = Path(path)
    if not (is_bag(path) or (path / "frames.json").is_file()):
        if topics:
            raise TargetError(f"target '{path}' is no recording; leave --topics out")
        return load_target(path, bundle)
    try:
        rectify = _Rectifier(path, bundle, cameras)
        if is_bag(path):
            return _from_recording(path, bundle, topics or {}, rectify, tell)
        return _from_folder(path, bundle, rectify)
    except (CalibrationError, SpecError) as error:
        raise TargetError(f"target: {error}") from None


class _Rectifier:
    """Turns BGR images as taken into RGB images of the policy's cameras."""

    def __init__(self, path: Path, bundle: PolicyBundle, cameras: Sequence[CameraModel]):
        known = {camera.name: camera for camera in cameras}
        missing = [name for name in bundle.cameras if name not in known]
        if missing:
            raise TargetError(
                f"target '{path}': give the cameras that it was taken with (--cameras), as calibrated; "
                f"camera '{missing[0]}' of the policy is not among {', '.join(known) or 'those given: there are none'}"
            )
        self._taken = known
        self._rectify = {name: known[name].rectifier(each) for name, each in bundle.cameras.items()}

    def __call__(self, name: str, picture: np.ndarray, what: str) -> np.ndarray:
        camera = self._taken[name]
        if picture.shape[:2] != (camera.height, camera.width):
            raise TargetError(
                f"target: image {what} is {picture.shape[:2]}, camera '{name}' takes {(camera.height, camera.width)} "
                "(height, width)"
            )
        return self._rectify[name](np.ascontiguousarray(picture[..., ::-1]))


def _from_recording(
    path: Path,
    bundle: PolicyBundle,
    topics: Mapping[str, str],
    rectify: Callable[[str, np.ndarray, str], np.ndarray],
    tell: Callable[[str], None],
) -> TargetData:
    unknown = [name for name in topics if name not in bundle.cameras]
    if unknown:
        raise TargetError(
            f"--topics names camera '{unknown[0]}'; policy '{bundle.name}' takes {', '.join(bundle.cameras)}"
        )
    if len(bundle.cameras) > 1 and len(topics) < len(bundle.cameras):
        example = ",".join(f"{name}=/{name}/image_raw" for name in bundle.cameras)
        raise TargetError(
            f"target '{path}': policy '{bundle.name}' takes {', '.join(bundle.cameras)}; name the topic of each, for "
            f"example --topics {example}"
        )
    taken = read_paired(path, {name: topics.get(name) for name in bundle.cameras}, MOST, rectify)
    if taken.unpaired:
        each = ", ".join(f"{count} of '{name}'" for name, count in taken.unpaired.items())
        tell(f"left out images that the other cameras took none with: {each}")
    q = joint_columns(taken.q, taken.joint_names, bundle.robot.joint_names).astype(np.float32)
    opening = None
    if "opening" in bundle.observation.names:
        assert bundle.robot.gripper is not None  # the policy measures its fingers
        fingers = joint_columns(taken.q, taken.joint_names, bundle.robot.gripper.joint_names)
        opening = np.array([[bundle.robot.gripper.opening_at(row)] for row in fingers.tolist()], np.float32)
    images = {name: np.stack(pictures) for name, pictures in taken.pictures.items()}
    return TargetData(images, q, trials_of(q), opening)


def _from_folder(path: Path, bundle: PolicyBundle, rectify: Callable[[str, np.ndarray, str], np.ndarray]) -> TargetData:
    cameras = list(bundle.cameras)

    def names_image(frame: dict) -> bool:
        return isinstance(frame.get("file"), str) or isinstance(frame.get("files"), dict)

    frames = read_frame_list(path / "frames.json", names_image, "'file' or 'files'")
    files = [_by_camera(frame, "file" if "file" in frame else "files", i, cameras) for i, frame in enumerate(frames)]
    for i, frame in enumerate(frames):
        _check_frame(frame, i, len(bundle.robot.joint_names), "opening" in bundle.observation.names)
    images = {
        camera: np.stack([rectify(camera, _read(path / each[camera]), each[camera]) for each in files])
        for camera in cameras
    }
    q = np.array([frame["q"] for frame in frames], np.float32)
    known = all("trial" in frame for frame in frames)
    trial = np.array([frame["trial"] for frame in frames]) if known else trials_of(q)
    opening = None
    if "opening" in bundle.observation.names:
        opening = np.array([[frame["opening"]] for frame in frames], np.float32)
    simulated = None
    if any("simulated" in frame for frame in frames):
        twins = [_by_camera(frame, "simulated", i, cameras) for i, frame in enumerate(frames)]
        simulated = {
            name: np.stack([_simulated(path, each[name], camera) for each in twins])
            for name, camera in bundle.cameras.items()
        }
    return TargetData(images, q, trial, opening, simulated)


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


def _by_camera(frame: dict, key: str, i: int, cameras: Sequence[str]) -> dict[str, str]:
    """Return the files that a frame names under `key`, by camera; for one camera the file alone will do."""
    if key not in frame:
        raise TargetError(f"target: frame {i} has no '{key}', others have; give all or none")
    given = frame[key]
    files = {cameras[0]: given} if isinstance(given, str) and len(cameras) == 1 else given
    if not isinstance(files, dict) or not all(isinstance(files.get(camera), str) for camera in cameras):
        raise TargetError(
            f"target: frame {i}: {key} is {given!r}, expected a file for each camera of the policy: "
            f"{{{', '.join(f'{camera!r}: …' for camera in cameras)}}}"
        )
    return files


def _check_frame(frame: dict, i: int, joints: int, fingers: bool) -> None:
    q = frame.get("q", [])
    if not (isinstance(q, list) and all(isinstance(each, (int, float)) for each in q)):
        raise TargetError(f"target: frame {i}: q is {q!r}, expected a list of {joints} numbers [rad]")
    if len(q) != joints:
        raise TargetError(f"target: frame {i} has {len(q)} joint positions, the policy's arm has {joints}")
    if not isinstance(frame.get("trial", 0), int):
        raise TargetError(f"target: frame {i}: trial is {frame['trial']!r}, expected a whole number")
    if fingers and not isinstance(frame.get("opening"), (int, float)):
        raise TargetError(
            f"target: frame {i}: opening is {frame.get('opening')!r}, expected the finger position [m], which the "
            "policy measures"
        )


def _simulated(folder: Path, file: str, camera: CameraModel) -> np.ndarray:
    picture = _read(folder / file)
    if picture.shape[:2] != (camera.height, camera.width):
        raise TargetError(
            f"target: simulated image {file} is {picture.shape[:2]}, the policy's camera '{camera.name}' takes "
            f"{(camera.height, camera.width)} (height, width)"
        )
    return np.ascontiguousarray(picture[..., ::-1])


def _read(path: Path) -> np.ndarray:
    try:
        return read_picture(path, "picture")
    except FileError as error:
        raise TargetError(f"target: {error}") from None
