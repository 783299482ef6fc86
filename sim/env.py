"""The Gymnasium environment: arm, task, parameter space and sensors put together."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Literal

import gymnasium as gym
import numpy as np

from sim.action import ActionResolver
from sim.actuators import PositionActuator
from sim.camera import CameraModel
from sim.catalogue import parameter_space
from sim.imaging import Imaging, ImagingConfig, moved_camera
from sim.observation import PROPRIOCEPTION, CameraFrame, ObservationBuilder, RobotState, joint_array
from sim.parameters import ParameterError, ParameterSpace
from sim.robot import RobotModel, load_robot
from sim.specs import ActionSpec, ArraySpec, ObservationSpec, SpecError
from sim.tasks import Task, load_task
from sim.world import World

RewardKind = Literal["dense", "sparse"]


class ArmEnv(gym.Env):
    """One arm at one task, with everything in the parameter space drawn anew at every reset.

    `info` holds `is_success` (held for the task's hold time), `parameters` (at reset and at the end),
    `reward_terms`, and `expert` is there to be imitated. An episode ends (terminated) with success, and
    is cut off (truncated) at the time limit.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012 (Gymnasium's own attribute)

    def __init__(
        self,
        task: str | Task = "reach",
        robot: str | RobotModel = "franka_panda",
        space: str | ParameterSpace = "full",
        observation: str = "state",
        *,
        reward: RewardKind = "dense",
        imaging: ImagingConfig | None = None,
        physics_hz: float | None = None,
        render_mode: str | None = None,
    ):
        """Check everything, then open the physics client.

        Args:
            task: name in `TASKS`, or an instance that this environment then owns.
            robot: name in `ROBOTS`, or a model.
            space: a preset (`nominal`, `mild`, `full`) or a space.
            observation: one of the task's named observations.
            reward: the sum of the task's named terms, or -1 until success.
            imaging: how pictures are drawn, for observations that have any.
            physics_hz: ticks a second, a multiple of the action rate; the task's own by default.
            render_mode: None or `rgb_array`.

        Raises:
            SpecError: for an unknown task, arm or observation, or a rate that does not fit; lists the known.
            ParameterError: for an unknown preset or a parameter that makes no sense.
        """
        self.task = load_task(task) if isinstance(task, str) else task
        self.robot = load_robot(robot) if isinstance(robot, str) else robot
        full = parameter_space(self.task, self.robot)
        self.parameter_space = full.preset(space) if isinstance(space, str) else space
        self.parameter_space.validate()
        for name in self.parameter_space.names:
            full[name]  # raises for an unknown one, and lists the known
        self._nominal = full.nominal()
        if reward not in ("dense", "sparse"):
            raise SpecError(f"unknown reward '{reward}'; known are dense, sparse")
        self.observation_spec = observation_spec(self.task, self.robot, observation)
        self.action_spec: ActionSpec = self.task.action
        physics_hz = physics_hz or self.task.physics_hz
        ticks = physics_hz / self.action_spec.rate_hz
        if ticks != round(ticks) or ticks < 1:
            raise SpecError(
                f"physics_hz {physics_hz:g} is no multiple of the action rate {self.action_spec.rate_hz:g} Hz"
            )
        self.render_mode = render_mode
        self._reward_kind = reward
        self._steps_allowed = round(self.task.time_limit * self.action_spec.rate_hz)
        self._steps_held = max(1, round(self.task.hold_time * self.action_spec.rate_hz))
        self._cameras = {camera.name: camera for camera in self.task.cameras}
        self._builder = ObservationBuilder(
            self.observation_spec,
            self.robot,
            self._cameras,
            privileged=tuple(array.name for array in self.task.privileged),
        )
        self._privileged = any(a.name not in PROPRIOCEPTION and not a.is_image for a in self.observation_spec.arrays)
        self._resolver = ActionResolver(self.action_spec, self.robot)
        self._home = np.array(self.robot.home)
        self._q_low, self._q_high = np.array(self.robot.limits.q_low), np.array(self.robot.limits.q_high)
        self.world = World(self.robot, physics_hz)
        self._actuator = PositionActuator(self.robot, self.world, int(ticks))
        self._camera_names = tuple(
            array.name.removeprefix("image_") for array in self.observation_spec.arrays if array.is_image
        )
        self._imaging: Imaging | None = None
        if self._camera_names or render_mode:
            self._imaging = Imaging(self.robot, self.task.cameras, self.task.landmarks, imaging)
        self.action_space = self.action_spec.space()
        self.observation_space = self.observation_spec.space()
        self.parameters: dict[str, float] = {}
        self._terminated = True

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Draw parameters, build the scene, put the arm near home.

        Args:
            seed: of `np_random`.
            options: `parameters`: values to set exactly, by name; the others are drawn.

        Raises:
            ParameterError: for a parameter that is unknown or makes no sense.
        """
        super().reset(seed=seed)
        rng = self.np_random
        drawn = {**self._nominal, **self.parameter_space.sample(rng)}
        given = (options or {}).get("parameters", {})
        if given:
            unknown = [name for name in given if name not in self._nominal]
            if unknown:
                raise ParameterError(f"unknown parameter '{unknown[0]}'; known are {', '.join(self._nominal)}")
            full = parameter_space(self.task, self.robot)
            drawn = full.complete(given, drawn)
        self.parameters = drawn
        self.world.apply(drawn, self.task.bodies(drawn))
        self.task.reset(self.world, drawn, rng)
        spread = drawn["start_spread"]
        q = np.clip(self._home + rng.uniform(-spread, spread, len(self._home)), self._q_low, self._q_high)
        opening = self.robot.gripper.opened if self.robot.gripper else 0.0
        self.world.reset_arm(q, opening)
        self._actuator.reset(q, opening, drawn)
        self._resolver.reset(q)
        self._prepare_sensors(drawn)
        if self._imaging is not None:
            self._imaging.begin(drawn, self.world.bodies[1:])
        self.world.read()
        self._history.clear()
        self._history.append((self.world.q, self.world.dq))
        self._step = self._held = 0
        self._terminated = False
        self._state = self._measure()
        return self._observe(), {"parameters": dict(drawn), "is_success": False}

    def place_arm(self, q: np.ndarray) -> dict[str, np.ndarray]:
        """Move the arm to `q` [rad] without letting time pass; return what it measures and sees there."""
        self.world.reset_arm(np.clip(q, self._q_low, self._q_high))
        self.world.read()
        self._history.clear()
        self._history.append((self.world.q, self.world.dq))
        self._state = self._measure()
        return self._observe()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Let one action period pass.

        Raises:
            SpecError: if the action has the wrong shape or is not finite, or the episode is over.
        """
        if self._terminated:
            raise SpecError("step() was called without reset(), or after the episode had ended; call reset() first")
        action = np.asarray(action, np.float64)
        if action.shape != (self.action_spec.size,) or not np.isfinite(action).all():
            raise SpecError(f"action {action}: expected {self.action_spec.size} finite numbers in [-1, 1]")
        target = self._resolver.resolve(action, self._state.q)
        self._actuator.run(target, None, self.np_random)
        self._step += 1
        self.world.read()
        self._history.append((self.world.q, self.world.dq))
        self._state = self._measure()
        observation = self._observe()
        achieved, desired = self.task.achieved_goal(self.world), self.task.desired_goal(self.world)
        near = bool(self.task.is_success(achieved, desired))
        self._held = self._held + 1 if near else 0
        success = self._held >= self._steps_held
        info: dict = {"is_success": success, "near": near}
        if self._reward_kind == "sparse":
            reward = 0.0 if near else -1.0
        else:
            terms = self.task.reward_terms(achieved, desired)
            info["reward_terms"] = {name: float(value) for name, value in terms.items()}
            reward = float(sum(info["reward_terms"].values()))
        truncated = not success and self._step >= self._steps_allowed
        if success or truncated:
            info["parameters"] = dict(self.parameters)
            self._terminated = True
        return observation, reward, success, truncated, info

    def expert(self) -> np.ndarray:
        """Return the action of the task's scripted expert in the present state, float32."""
        return self.task.expert(self.world)

    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Compute rewards (...) from goals (..., n)."""
        if self._reward_kind == "sparse":
            return np.where(self.task.is_success(achieved, desired), 0.0, -1.0)
        return np.sum(list(self.task.reward_terms(achieved, desired).values()), axis=0)

    def render(self) -> np.ndarray | None:
        """Draw what the task's first camera sees, without its faults, (H, W, 3) uint8; for `rgb_array` only."""
        if self._imaging is None or self.render_mode is None:
            return None
        return self._imaging.frame(self.world, self.task.cameras[0].name).rgb

    def camera(self, name: str) -> CameraModel:
        """Return a camera as it really stands in this episode, calibration errors included."""
        return moved_camera(self._cameras[name], self.parameters)

    def close(self) -> None:
        """Close the physics client."""
        self.world.close()

    def _prepare_sensors(self, p: Mapping[str, float]) -> None:
        self._bias = np.array([p.get(f"encoder_bias_{joint}", 0.0) for joint in self.robot.joint_names])
        self._age = p["joint_delay"] * self.action_spec.rate_hz  # in action periods
        self._history: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=2 + int(self._age))

    def _measure(self) -> RobotState:
        """Read the joints as the arm's own sensors would."""
        p, n = self.parameters, self.world.n
        q, dq = self._aged()
        q = q + self._bias
        if p["encoder_noise"] > 0 or p["velocity_noise"] > 0:
            noise = self.np_random.standard_normal(2 * n)
            q = q + p["encoder_noise"] * noise[:n]
            dq = dq + p["velocity_noise"] * noise[n:]
        if p["encoder_quantum"] > 0:
            q = p["encoder_quantum"] * np.rint(q / p["encoder_quantum"])
        stamp = self._step * self.action_spec.dt
        return RobotState(stamp, q, dq, {name: self._take(name, stamp) for name in self._camera_names})

    def _take(self, camera: str, stamp: float) -> CameraFrame:
        assert self._imaging is not None
        return CameraFrame(stamp, self._imaging.picture(self.world, camera, self.np_random))

    def _aged(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the joint state as it was `joint_delay` ago, interpolated between action periods."""
        whole = min(int(self._age), len(self._history) - 1)
        part = self._age - int(self._age)
        newer, older = self._history[-1 - whole], self._history[max(-2 - whole, -len(self._history))]
        if part == 0:
            return newer
        return newer[0] + part * (older[0] - newer[0]), newer[1] + part * (older[1] - newer[1])

    def _observe(self) -> dict[str, np.ndarray]:
        privileged = self.task.state(self.world) if self._privileged else None
        return self._builder.build(self._state, privileged)


def observation_spec(task: Task, robot: RobotModel, name: str) -> ObservationSpec:
    """Specify the task's observation called `name` for `robot`.

    Raises:
        SpecError: for an unknown observation; lists the known ones.
    """
    if name not in task.observations:
        raise SpecError(f"task '{task.name}': unknown observation '{name}'; known are {', '.join(task.observations)}")
    privileged = {array.name: array for array in task.privileged}
    cameras = {f"image_{camera.name}": camera for camera in task.cameras}
    arrays = []
    for array in task.observations[name]:
        if array in privileged:
            arrays.append(privileged[array])
        elif array in cameras:
            arrays.append(ArraySpec.image(array, cameras[array].height, cameras[array].width))
        else:
            arrays.append(joint_array(array, robot))
    return ObservationSpec(tuple(arrays))
