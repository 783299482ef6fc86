"""From a robot's state to a policy's observation: the only place where observations are made.

The simulation and the ROS nodes both fill a `RobotState` and call `ObservationBuilder.build`.
Robot side: numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import numpy as np

from robots.camera import CameraModel
from robots.model import RobotModel
from robots.specs import ArraySpec, ObservationSpec, SpecError


@dataclass(frozen=True)
class CameraFrame:
    """One image as the camera delivered it."""

    stamp: float
    """Time of exposure [s], on the robot's clock."""
    image: np.ndarray
    """RGB uint8, height × width × 3."""
    depth: np.ndarray | None = None
    """(height, width) float32 [m] along the optical axis, 0 where unknown; for cameras that measure it."""
    arrived: float | None = None
    """When it was ready for use in this process [s]; None where it was there at once."""
    rectified: np.ndarray | None = None
    """The image rectified to the policy's camera, where that has been computed already; else None."""


@dataclass(frozen=True)
class PoseEstimate:
    """Pose of the goal or an object, as an estimator outside the policy found it."""

    stamp: float
    """Time of the measurement [s]."""
    position: np.ndarray
    """(3,) [m], base frame."""
    quat: np.ndarray
    """(4,) xyzw, base frame, w at least 0."""


@dataclass(frozen=True)
class RobotState:
    """The newest measured state of an arm and the newest frames of its cameras."""

    stamp: float
    """Time of the joint measurement [s]."""
    q: np.ndarray
    """(n,) joint positions [rad], in the `RobotModel`'s order."""
    dq: np.ndarray
    """(n,) joint velocities [rad/s]."""
    frames: Mapping[str, CameraFrame] = field(default_factory=dict)
    """The newest frame of each camera, by the camera's name."""
    tau: np.ndarray | None = None
    """(n,) joint torques [N·m], where the arm reports them."""
    opening: float | None = None
    """Mean finger position [m], where there is a gripper."""
    opening_stamp: float | None = None
    """Time of that measurement [s]; None where it came with the joints'."""
    poses: Mapping[str, PoseEstimate] = field(default_factory=dict)
    """The newest pose of `goal` and `object`, where an estimator measures them."""

    def ee_pose(self, robot: RobotModel) -> tuple[np.ndarray, np.ndarray]:
        """Compute the end effector's rotation (3, 3) and position (3,) [m] in the base frame, once."""
        cache = self.__dict__  # a frozen dataclass has one, too
        if "_ee_pose" not in cache:
            cache["_ee_pose"] = robot.chain.pose(self.q)
        return cache["_ee_pose"]


Source = Callable[[RobotState, RobotModel], np.ndarray]

PROPRIOCEPTION: dict[str, Source] = {
    "q": lambda state, robot: state.q,
    "dq": lambda state, robot: state.dq,
    "ee_pos": lambda state, robot: state.ee_pose(robot)[1],
    "ee_yaw": lambda state, robot: ee_yaw(state.ee_pose(robot)[0], robot),
    "opening": lambda state, robot: opening(state, robot),
}
"""Arrays that a real robot can fill from its joints, by name."""
CALIBRATION = "calibration_"
"""What the name of a camera's lens and pose begins with: an array of `CameraModel.calibration`."""
ASKED_COLOURS = "asked_colours"
"""Reference colours (k, 3) of the things that are asked for, RGB in [0, 1], of a policy for several things."""
ESTIMATED: dict[str, tuple[str, Callable[[PoseEstimate], np.ndarray]]] = {
    "goal": ("goal", lambda pose: pose.position),
    "object_pos": ("object", lambda pose: pose.position),
    "object_quat": ("object", lambda pose: pose.quat),
}
"""Arrays that a real robot can fill from the pose estimates of a `RobotState`, by name: which pose, and what of it."""


def ee_yaw(R_base_ee: np.ndarray, robot: RobotModel) -> np.ndarray:
    """How far the end effector is turned from home about the base's z (1,) [rad], small tilts aside."""
    (a, b, c), (d, e, f), _ = R_base_ee.tolist()
    (u, v, w), (x, y, z), _ = robot.R_home.tolist()
    # of R = R_base_ee R_homeᵀ: atan2(R₁₀ - R₀₁, R₀₀ + R₁₁)
    sine, cosine = (d * u + e * v + f * w) - (a * x + b * y + c * z), (a * u + b * v + c * w) + (d * x + e * y + f * z)
    return np.array([math.atan2(sine, cosine)])


def opening(state: RobotState, robot: RobotModel) -> np.ndarray:
    """Mean finger position (1,) [m].

    Raises:
        SpecError: if the state has none.
    """
    if state.opening is None:
        raise SpecError(f"robot '{robot.name}': the state has no finger positions; are the finger joints published?")
    return np.array([state.opening])


def joint_array(name: str, robot: RobotModel) -> ArraySpec:
    """Specify the array `name` of `PROPRIOCEPTION` for `robot`.

    Positions are bounded by the robot's limits and a margin of 0.1 rad for what encoders report at a stop.
    """
    n = len(robot.joint_names)
    specs = {
        "q": ArraySpec(
            "q",
            (n,),
            low=tuple(v - 0.1 for v in robot.limits.q_low),
            high=tuple(v + 0.1 for v in robot.limits.q_high),
            unit="rad",
        ),
        "dq": ArraySpec("dq", (n,), unit="rad/s"),
        "ee_pos": ArraySpec("ee_pos", (3,), unit="m", frame="base"),
        "ee_yaw": ArraySpec("ee_yaw", (1,), low=-3.15, high=3.15, unit="rad", frame="base"),
        "opening": ArraySpec("opening", (1,), low=-0.1, high=0.2, unit="m"),
    }
    if name not in specs:
        raise SpecError(f"observation: no joint array '{name}'; known are {', '.join(specs)}")
    return specs[name]


def needed_poses(spec: ObservationSpec) -> tuple[str, ...]:
    """Return the pose estimates that a robot needs for `spec`, each once."""
    return tuple(dict.fromkeys(ESTIMATED[name][0] for name in spec.names if name in ESTIMATED))


def _estimated(name: str, part: Callable[[PoseEstimate], np.ndarray]) -> Source:
    def source(state: RobotState, robot: RobotModel) -> np.ndarray:
        pose = state.poses.get(name)
        if pose is None:
            raise SpecError(f"pose '{name}': none yet")
        return part(pose)

    return source


class ObservationBuilder:
    """Builds observations of one spec for one robot."""

    def __init__(
        self,
        spec: ObservationSpec,
        robot: RobotModel,
        cameras: Mapping[str, CameraModel],
        incoming: Mapping[str, CameraModel] | None = None,
        privileged: tuple[str, ...] = (),
        poses: Collection[str] = (),
    ):
        """Prepare the sources of every array of `spec`.

        Args:
            spec: the arrays to build, in order.
            robot: the arm the state comes from.
            cameras: the cameras that the policy was trained with, by name.
            incoming: the real cameras by name, where they differ; their frames are rectified.
            privileged: arrays that exist only in simulation, passed to `build`.
            poses: the poses that an estimator measures, of `RobotState.poses`.

        Raises:
            SpecError: if an array has no source, or a real camera does not cover the policy's field of view.
        """
        self.spec = spec
        self._robot = robot
        self._calibrations: dict[str, np.ndarray] = {}
        self._asked: np.ndarray | None = None
        self._sources: dict[str, Source] = {}
        self._rectifiers: dict[str, Callable[[np.ndarray], np.ndarray]] = {}
        for array in spec.arrays:
            if array.name in PROPRIOCEPTION:
                self._sources[array.name] = PROPRIOCEPTION[array.name]
            elif array.is_image:
                self._sources[array.name] = self._image_source(array, cameras, incoming or {})
            elif array.name.startswith(CALIBRATION):
                self._sources[array.name] = self._calibration_source(array, cameras)
            elif array.name.startswith("depth_"):
                self._sources[array.name] = self._depth_source(array, cameras, incoming or {})
            elif array.name in privileged:
                continue
            elif array.name == ASKED_COLOURS:
                self._sources[array.name] = lambda state, robot: self._asked_colours()
            elif array.name in ESTIMATED and ESTIMATED[array.name][0] in poses:
                self._sources[array.name] = _estimated(*ESTIMATED[array.name])
            elif array.name in ESTIMATED:
                raise SpecError(
                    f"observation: '{array.name}' is measured by a pose estimator alone; give its topic, "
                    f"{ESTIMATED[array.name][0]}:=<topic>, or deploy a policy that observes images"
                )
            else:
                raise SpecError(
                    f"observation: '{array.name}' cannot be measured on a robot; known are "
                    f"{', '.join((*PROPRIOCEPTION, *ESTIMATED))}, and image_, depth_ and calibration_<camera>. "
                    "Is this a teacher's bundle? Deploy the student's"
                )
        self._parts = [(a.name, np.dtype(a.dtype), self._sources.get(a.name)) for a in spec.arrays]

    def place(self, cameras: Mapping[str, CameraModel]) -> None:
        """Use the calibrations of `cameras`, by name, from now on."""
        for name in self._calibrations:
            self._calibrations[name] = cameras[name].calibration

    def ask(self, colours: np.ndarray) -> None:
        """Ask for the things of these reference colours (k, 3), RGB in [0, 1], from now on."""
        self._asked = colours

    def _asked_colours(self) -> np.ndarray:
        if self._asked is None:
            raise SpecError("observation: no thing is asked for; name one of those on the table")
        return self._asked

    def build(self, state: RobotState, privileged: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
        """Build the observation of `state`; every array has its spec's dtype.

        Raises:
            SpecError: if a camera's frame is missing or of the wrong size.
        """
        observation = {}
        for name, dtype, source in self._parts:
            value = source(state, self._robot) if source is not None else (privileged or {})[name]
            observation[name] = np.asarray(value, dtype)
        return observation

    def rectify(self, name: str, image: np.ndarray) -> np.ndarray:
        """Rectify an image of camera `name` to the policy's camera: a frame's `rectified`.

        Raises:
            SpecError: if the image has the wrong size.
        """
        return self._rectifiers[name](image)

    def _calibration_source(self, array: ArraySpec, cameras: Mapping[str, CameraModel]) -> Source:
        name = array.name.removeprefix(CALIBRATION)
        if name not in cameras:
            raise SpecError(
                f"observation: '{array.name}' needs camera '{name}'; there are {', '.join(cameras) or 'none'}"
            )
        self._calibrations[name] = cameras[name].calibration
        return lambda state, robot: self._calibrations[name]

    def _image_source(
        self, array: ArraySpec, cameras: Mapping[str, CameraModel], incoming: Mapping[str, CameraModel]
    ) -> Source:
        name = array.name.removeprefix("image_")
        if name not in cameras:
            raise SpecError(
                f"observation: '{array.name}' needs camera '{name}'; there are {', '.join(cameras) or 'none'}"
            )
        trained = cameras[name]
        if array.shape[:2] != (trained.height, trained.width):
            raise SpecError(
                f"'{array.name}': shape {array.shape}, but camera '{name}' is {trained.height} × {trained.width}"
            )
        rectify = self._rectifiers[name] = incoming.get(name, trained).rectifier(trained)

        def source(state: RobotState, robot: RobotModel) -> np.ndarray:
            frame = state.frames.get(name)
            if frame is None:
                raise SpecError(f"camera '{name}': no frame yet")
            return rectify(frame.image) if frame.rectified is None else frame.rectified

        return source

    @staticmethod
    def _depth_source(
        array: ArraySpec, cameras: Mapping[str, CameraModel], incoming: Mapping[str, CameraModel]
    ) -> Source:
        name = array.name.removeprefix("depth_")
        if name not in cameras:
            raise SpecError(
                f"observation: '{array.name}' needs camera '{name}'; there are {', '.join(cameras) or 'none'}"
            )
        trained, real = cameras[name], incoming.get(name, cameras[name])
        if (real.height, real.width) != (trained.height, trained.width) or not np.allclose(real.K, trained.K):
            raise SpecError(
                f"'{array.name}': camera '{name}' is {real.height} × {real.width} with another K than the policy's "
                f"{trained.height} × {trained.width}; rectify and resize its depth images in the driver"
            )

        def source(state: RobotState, robot: RobotModel) -> np.ndarray:
            frame = state.frames.get(name)
            if frame is None or frame.depth is None:
                raise SpecError(f"camera '{name}': no depth image yet")
            return frame.depth

        return source
