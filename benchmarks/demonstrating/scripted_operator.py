"""A scripted person teleoperates the virtual arm, and what is shown is recorded as a LeRobot data set.

The operator sees the table 0.2 s late, steers by a gamepad's sticks through the `Teleoperator` of `sim2real teleop`, is
never quite accurate, rests now and then, and keeps what succeeded. In-process, as fast as the engine runs.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from robots.camera import CameraModel
from robots.datasets.layout import ACTION, CAMERA, STATE, About, DatasetFeature, joint_names, video_feature
from robots.datasets.writer import write_dataset
from robots.observation import RobotState
from robots.registry import load_robot
from robots.teleoperation.steering import Speeds, Steering, Teleoperator
from sim.tasks.task import Scene, Task
from sim.virtual_arm.hidden_reality import HiddenReality
from sim.virtual_arm.mujoco_arm import MujocoArm
from sim.virtual_arm.mujoco_camera import VirtualCameras, open_renderer

SEED = 7_000_000
"""First seed of recorded episodes; evaluation starts at `EVALUATION_SEEDS`."""
REACTION = 0.2
"""From seeing to steering [s]: a visual reaction time."""
TREMOR, TREMOR_SECONDS = 0.12, 0.4
"""Standard deviation of the sticks' error, as a share of full deflection, and how long it lasts [s]."""
AIM = 0.003
"""Standard deviation of where the operator takes things to be, drawn for each episode, an axis [m]."""
PAUSES, PAUSE = 0.15, (0.3, 1.0)
"""Rests a second of demonstration, and their length [s]."""
SPEEDS = Speeds(hand=0.45, turn=0.8)
"""Full deflection."""
NEAR = 0.8
"""Deflection, as a share, where the task's expert would begin to slow down: people do so earlier than a controller."""
PATIENCE = 25.0
"""An attempt that lasts longer is given up [s]."""


class _Aimed:
    """The scene as the operator takes it to be: things a few millimetres aside."""

    def __init__(self, scene: Scene, error: np.ndarray):
        self._scene, self._error = scene, error

    def pose(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        position, quat = self._scene.pose(name)
        return position + self._error, quat

    def __getattr__(self, name: str):
        return getattr(self._scene, name)


@dataclass
class ScriptedOperator:
    """Turns what is seen into a gamepad's state."""

    task: Task
    """What is done."""
    rng: np.random.Generator
    """Of noise and rests."""

    def __post_init__(self) -> None:
        self._dt = 1.0 / self.task.action.rate_hz
        self._seen: deque[np.ndarray] = deque(maxlen=1 + round(REACTION / self._dt))
        self._error = self.rng.normal(0.0, AIM, 3) * (1.0, 1.0, 0.5)
        self._tremor = np.zeros(3)
        self._resting = 0
        self._grip = 1.0

    def steer(self, scene: Scene, now: float) -> Steering:
        """Return the gamepad's state at `now` [s]."""
        keep = np.exp(-self._dt / TREMOR_SECONDS)
        self._tremor = keep * self._tremor + np.sqrt(1 - keep**2) * TREMOR * self.rng.standard_normal(3)
        self._seen.append(self.task.expert(_Aimed(scene, self._error)))  # type: ignore[arg-type]
        wanted = self._seen[0]
        grips = self.task.action.names[-1] == "gripper"
        if grips and (wanted[-1] < 0) != (self._grip < 0):  # fingers first, the hand stands still
            self._grip = float(wanted[-1])
            self._resting = max(self._resting, round(0.4 / self._dt))
        if self._resting > 0:
            self._resting -= 1
            return Steering(now, True, {}, self._grip if grips else None)
        if self.rng.random() < PAUSES * self._dt:
            self._resting = round(self.rng.uniform(*PAUSE) / self._dt)
        share = float(np.abs(wanted[:3]).max())
        deflection = wanted[:3] / max(share, 1e-6) * (1.0 if share > 0.9 else NEAR * share)
        deflection = np.clip(deflection * (1.0 + self._tremor) + 0.2 * min(share, 0.3) * self._tremor, -1.0, 1.0)
        return Steering(now, True, dict(zip("xyz", deflection.tolist())), self._grip if grips else None)


def record_demonstrations(
    out: Path, task: str, robot_name: str, cameras: dict[str, CameraModel], hidden: HiddenReality, episodes: int
) -> dict[str, float]:
    """Teleoperate until `episodes` succeeded, and write these as the data set `out`, pictures rectified to `cameras`.

    Returns:
        `tried` attempts, and mean `seconds` of those that are kept.
    """
    robot = load_robot(robot_name)
    arm = MujocoArm(robot, tuple(cameras.values()), hidden, task)
    arm.task.exact = False  # as the simulated expert of camera policies: the hand is not turned
    spec = arm.task.action
    views = VirtualCameras(arm, open_renderer(arm))
    rectify = {name: arm.cameras[name].model.rectifier(camera) for name, camera in cameras.items()}
    grips = spec.names[-1] == "gripper"
    names = joint_names(robot.joint_names, grips)
    joints = DatasetFeature("float32", (len(names),), names)
    features = {STATE: joints, ACTION: joints}
    features |= {f"{CAMERA}{name}": video_feature(each.height, each.width) for name, each in cameras.items()}
    tried, seconds, n = 0, 0.0, len(robot.joint_names)
    with write_dataset(out, spec.rate_hz, features, About(robot.name, task, None, "scripted operator")) as writer:
        while writer.episodes < episodes:
            rng = np.random.default_rng([SEED + tried, 29])
            arm.place(None, SEED + tried)
            tried += 1
            operator = ScriptedOperator(arm.task, rng)
            hand = Teleoperator(robot, "hand", spec.rate_hz, SPEEDS, grips, False)
            rows: dict[str, list[np.ndarray]] = {STATE: [], ACTION: []}
            pictures: dict[str, list[np.ndarray]] = {f"{CAMERA}{name}": [] for name in cameras}
            near = 0
            for _ in range(round(PATIENCE * spec.rate_hz)):
                reading = arm.read()
                opening = robot.gripper.opening_at(reading.q[n:].tolist()) if robot.gripper and grips else None
                state = RobotState(arm.time, reading.q[:n], reading.dq[:n], opening=opening)
                snapshot = arm.snapshot()
                for name in cameras:
                    pictures[f"{CAMERA}{name}"].append(rectify[name](views.take(name, snapshot, rng)))
                target = hand.target(operator.steer(arm.scene, arm.time), state, arm.time)
                assert target is not None, hand.reason
                fingers = [] if opening is None else [opening]
                rows[STATE].append(np.array([*reading.q[:n], *fingers], np.float32))
                rows[ACTION].append(np.array([*target.q, *([] if opening is None else [target.opening])], np.float32))
                arm.command(target.q)
                if opening is not None and target.opening is not None:
                    arm.grip(target.opening)
                arm.advance(spec.dt)
                judged = arm.judge()
                near = near + 1 if judged.near and judged.released else 0
                if judged.failed or near >= round(1.5 * arm.task.hold_time * spec.rate_hz):
                    break
            if near:
                writer.add({key: np.stack(each) for key, each in rows.items()}, task, {"success": True}, pictures)
                seconds += len(rows[STATE]) * spec.dt
    views.renderer.close()
    return {"tried": float(tried), "seconds": seconds / episodes}
