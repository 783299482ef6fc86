"""The Gymnasium environment: arm, task, parameter space and sensors put together."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Literal, cast

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle

from robots.action import ActionResolver
from robots.camera import CameraModel
from robots.kinematics import KinematicsError
from robots.model import RobotModel
from robots.observation import PROPRIOCEPTION, ObservationBuilder, RobotState, joint_array
from robots.registry import load_robot
from robots.rig import Rig
from robots.specs import ActionSpec, ArraySpec, ObservationSpec, SpecError
from sim import episode_state
from sim.catalogue import parameter_space
from sim.physics.actuator_kinds import make_actuator
from sim.physics.disturbances import Disturbances
from sim.physics.world import World
from sim.randomization.parameters import ParameterError, ParameterSpace
from sim.randomization.servo_parameters import model_params
from sim.sensing.moved_camera import moved_camera
from sim.sensing.sensors import CameraSensor, JointSensor, StateHistory
from sim.sensing.simulated_cameras import RenderConfig, SimulatedCameras
from sim.tasks import Task, load_task
from sim.window import Window

RewardKind = Literal["dense", "sparse"]

RENDER_MODES = ("human", "rgb_array")
WINDOW_HEIGHT = 480
"""Height of a window, if no other is asked for [px]."""


class ArmEnv(gym.Env, EzPickle):
    """One arm at one task, with everything in the parameter space drawn anew at every reset.

    `info` holds `is_success` (success for the task's hold time), `parameters` (at reset and at the end) and
    `reward_terms`. An episode is terminated by success or failure, and truncated at the task's time limit.

    A pickled or deep-copied environment is made anew from the constructor's arguments: it must be reset, or be given
    the state of the episode with `set_state`.
    """

    metadata = {"render_modes": list(RENDER_MODES)}  # noqa: RUF012 (Gymnasium's own attribute)

    def __init__(
        self,
        task: str | Task = "reach",
        robot: str | RobotModel = "franka_panda",
        space: str | ParameterSpace = "full",
        observation: str | Sequence[str] = "state",
        *,
        cameras: str | Rig | None = None,
        reward: RewardKind = "dense",
        actuator: str = "position",
        rendering: RenderConfig | None = None,
        physics_hz: float | None = None,
        strict: bool = False,
        render_mode: str | None = None,
        render_height: int | None = None,
        render_width: int | None = None,
    ):
        """Check everything, then open the physics client.

        Args:
            task: name in `TASKS`, or an instance that this environment then owns.
            robot: name in `ROBOTS`, or a model.
            space: a preset (`nominal`, `mild`, `full`, `wild`) or a space.
            observation: one of the task's named observations, `cameras`, or names of arrays.
            cameras: the rig: a name in `robots.rig.RIGS`, a .json file, or cameras; None for the task's own, which is
                `front_side` unless it says otherwise.
            reward: the sum of the task's named terms, or -1 until success.
            actuator: name in `ACTUATORS`.
            rendering: how images are rendered, for observations that have any.
            physics_hz: ticks a second, a multiple of the action rate; the task's own by default.
            strict: whether success is the stricter measure `Task.is_strict_success`.
            render_mode: None; `rgb_array`: `render` returns an image; `human`: `reset` and `step` show it in a
                window, at the action rate.
            render_height: of the rendered image [px]; by default 480 in a window, else the task's first camera's.
            render_width: of the rendered image [px]; by default the height times the camera's aspect ratio.

        Raises:
            SpecError: for an unknown task, arm, observation or render mode, or a rate that does not fit; lists the
                known.
            ParameterError: for an unknown preset or a parameter that makes no sense.
        """
        EzPickle.__init__(
            self,
            task,
            robot,
            space,
            observation,
            cameras=cameras,
            reward=reward,
            actuator=actuator,
            rendering=rendering,
            physics_hz=physics_hz,
            strict=strict,
            render_mode=render_mode,
            render_height=render_height,
            render_width=render_width,
        )
        if render_mode is not None and render_mode not in RENDER_MODES:
            raise SpecError(f"unknown render mode '{render_mode}'; known are None, {', '.join(RENDER_MODES)}")
        self.task = load_task(task) if isinstance(task, str) else task
        self.robot = load_robot(robot) if isinstance(robot, str) else robot
        self.task.fit(self.robot, cameras)
        full = parameter_space(self.task, self.robot)
        self.parameter_space = full.preset(space) if isinstance(space, str) else space
        if actuator == "model" or "servo_delay" in self.parameter_space:  # an identified arm brings its servos along
            actuator, full = "model", full.with_params(*model_params(self.robot))
        self._full = full
        self.parameter_space.validate()
        for name in self.parameter_space.names:
            full[name]  # raises for an unknown one, and lists the known
        self._nominal = full.nominal()
        self._partial = self.parameter_space.names != full.names
        if reward not in ("dense", "sparse"):
            raise SpecError(f"unknown reward '{reward}'; known are dense, sparse")
        check_fit(self.task, self.robot)
        self.observation_spec = observation_spec(self.task, self.robot, observation)
        self.action_spec: ActionSpec = self.task.action
        physics_hz = physics_hz or self.task.physics_hz
        ticks = physics_hz / self.action_spec.rate_hz
        if ticks != round(ticks) or ticks < 1:
            raise SpecError(
                f"physics_hz {physics_hz:g} is no multiple of the action rate {self.action_spec.rate_hz:g} Hz"
            )
        self.render_mode = render_mode
        self.metadata = {**self.metadata, "render_fps": self.action_spec.rate_hz}
        self._reward_kind = reward
        self._is_success = self.task.is_strict_success if strict else self.task.is_success
        self._steps_allowed = round(self.task.time_limit * self.action_spec.rate_hz)
        self._steps_held = max(1, round(self.task.hold_time * self.action_spec.rate_hz))
        self._cameras = {camera.name: camera for camera in self.task.cameras}
        self._builder = ObservationBuilder(
            self.observation_spec,
            self.robot,
            self._cameras,
            privileged=tuple(a.name for a in self.task.privileged)
            + tuple(f"segmentation_{name}" for name in self._cameras),
        )
        known = {array.name for array in self.task.privileged}
        self._privileged = any(array.name in known for array in self.observation_spec.arrays)
        self._resolver = ActionResolver(self.action_spec, self.robot)
        self._home = np.array(self.robot.home)
        self._q_low, self._q_high = np.array(self.robot.limits.q_low), np.array(self.robot.limits.q_high)
        self.world = World(self.robot, physics_hz, self._frozen_fingers(), stops=actuator != "position")
        self._actuator = make_actuator(actuator, self.robot, self.world, int(ticks))
        self._disturbances = Disturbances(self.action_spec.rate_hz)
        names = [array.name.split("_", 1) for array in self.observation_spec.arrays]
        shown = [n[1] for n in names if n[0] in ("image", "depth", "segmentation") and n[1:]]
        self._segmented = [n[1] for n in names if n[0] == "segmentation"]
        self._images: SimulatedCameras | None = None
        self._camera_sensors: dict[str, CameraSensor] = {}
        area = self.task.workspace[:2]
        if shown:
            seen = [each for each in self._cameras.values() if each.name in shown]
            self._images = SimulatedCameras(self.robot, seen, self.task.landmarks, rendering, area, self.task.hues)
            rate = self.action_spec.rate_hz
            measured = {n[1] for n in names if n[0] in ("depth", "segmentation") and n[1:]}
            self._camera_sensors = {
                name: CameraSensor(name, self._images, rate, name in measured) for name in dict.fromkeys(shown)
            }
        self._viewer: SimulatedCameras | None = None
        self._window: Window | None = None
        if render_mode:
            view = _resized(self._cameras[self.task.cameras[0].name], render_height, render_width, render_mode)
            self._viewer = SimulatedCameras(self.robot, [view], self.task.landmarks, rendering, area, self.task.hues)
        elif render_height or render_width:
            raise SpecError("render_height and render_width need a render_mode, 'human' or 'rgb_array'")
        if render_mode == "human":
            self._window = Window(f"sim2real {self.task.name}, {self.robot.name}", self.action_spec.rate_hz)
        self._joint_sensor = JointSensor(self.robot, self.action_spec.rate_hz)
        self._history = StateHistory(self.world, bodies=bool(shown))
        self.action_space = self.action_spec.space()
        self.observation_space = self.observation_spec.space()
        self.parameters: dict[str, float] = {}
        self._state: RobotState
        self._terminated = True
        self._viewer_ready = False

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Sample parameters, build the scene, put the arm near home; see `begin`."""
        self.begin(seed=seed, options=options)
        self._begin_sensing()
        if self._window is not None:
            self.render()
        return self._observe(), {"parameters": dict(self.parameters), "is_success": False}

    def begin(self, *, seed: int | None = None, options: dict | None = None) -> None:
        """Do what `reset` does except for the observation, which is slow with images; `place_arm` must follow.

        Args:
            seed: of `np_random`.
            options: `parameters`: values to set exactly, by name; the others are drawn. `places`: (x, y) [m, base
                frame] of bodies by name; their height and their turn stay as the task drew them.

        Raises:
            ParameterError: for a parameter that is unknown or makes no sense.
        """
        super().reset(seed=seed)
        rng = self.np_random
        drawn = self.parameter_space.sample(rng)
        if self._partial:
            drawn = {**self._nominal, **drawn}
        given = (options or {}).get("parameters", {})
        if given:
            unknown = [name for name in given if name not in self._nominal]
            if unknown:
                raise ParameterError(f"unknown parameter '{unknown[0]}'; known are {', '.join(self._nominal)}")
            drawn = self._full.complete(given, drawn)
        self.parameters = drawn
        self.world.apply(drawn, self.task.bodies(drawn))
        spread = drawn["start_spread"]
        start = self._home + spread * (2.0 * rng.random(len(self._home)) - 1.0)
        q = np.minimum(np.maximum(start, self._q_low), self._q_high)  # np.clip takes three times as long
        gripper = self.robot.gripper
        opening = 0.0
        if gripper:
            opening = gripper.opened if self.task.opening is None else self.task.opening
        self.world.reset_arm(q, opening)
        self.task.reset(self.world, drawn, rng)
        for name, (x, y) in (options or {}).get("places", {}).items():
            position, quat = self.world.pose(name)
            self.world.place(name, (x, y, position[2]), quat)
        self.task.refresh(self.world)
        grip = opening if gripper is None or self.task.opening is None else gripper.closed
        self._actuator.reset(q, grip, drawn)
        self._resolver.reset(q)
        self._disturbances.begin(drawn)
        if self._images is not None:
            self._images.begin(drawn, self.world.bodies[1:])
        self._step = self._held = 0
        self._terminated = self._viewer_ready = False

    def _frozen_fingers(self) -> float | None:
        """Finger position of a task that never moves the fingers [m]; else None."""
        gripper, start = self.robot.gripper, self.task.opening
        if gripper is None or "gripper" in self.action_spec.names:
            return None
        if start is None:
            return gripper.opened
        return start if start == gripper.closed else None

    def place_arm(self, q: np.ndarray, opening: float | None = None) -> dict[str, np.ndarray]:
        """Put the arm at `q` [rad] in no time and return the observation there.

        The fingers are put at `opening` [m], by default fully open.
        """
        self.world.reset_arm(np.clip(q, self._q_low, self._q_high), opening)
        self._begin_sensing()
        return self._observe()

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Advance by one action period.

        Raises:
            SpecError: if the action has the wrong shape or is not finite, or the episode is over.
        """
        if self._terminated:
            raise SpecError("step() was called without reset(), or after the episode had ended; call reset() first")
        action = np.asarray(action, np.float64)
        if action.shape != (self.action_spec.size,) or not all(map(math.isfinite, action.tolist())):
            raise SpecError(f"action {action}: expected {self.action_spec.size} finite numbers in [-1, 1]")
        target = self._resolver.resolve(action, self._state.q)
        forces = self._disturbances.draw(self.np_random)
        self._actuator.run(target, self._resolver.opening, self.np_random, forces)
        self._step += 1
        self.world.read()
        self._history.record()
        self._state = self._measure()
        observation = self._observe()
        achieved, desired = self.task.achieved_goal(self.world), self.task.desired_goal(self.world)
        near = bool(self._is_success(achieved, desired)) and self.task.is_released(self.world)
        self._held = self._held + 1 if near else 0
        success = self._held >= self._steps_held
        info: dict = {"is_success": success, "near": near}
        if self._reward_kind == "sparse":
            reward = 0.0 if near else -1.0
        else:
            terms = self.task.reward_terms(achieved, desired)
            info["reward_terms"] = {name: float(value) for name, value in terms.items()}
            info["reward_terms"].update(self.task.shaping_terms(self.world))
            reward = sum(info["reward_terms"].values())
        failure = not success and self.task.is_failure(self.world)
        if failure:  # as if every step that is left went wrong, or else failing early would pay
            reward -= float(self._steps_allowed - self._step)
        truncated = not (success or failure) and self._step >= self._steps_allowed
        if success or failure or truncated:
            info["parameters"] = dict(self.parameters)
            self._terminated = True
        if self._window is not None:
            self.render()
        return observation, reward, success or failure, truncated, info

    def expert(self) -> np.ndarray:
        """Return the action of the task's scripted expert in the present state, float32."""
        return self.task.expert(self.world)

    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Compute rewards (...) from goals (..., n)."""
        if self._reward_kind == "sparse":
            return np.where(self._is_success(achieved, desired), 0.0, -1.0)
        return np.sum(list(self.task.reward_terms(achieved, desired).values()), axis=0)

    def render(self) -> np.ndarray | None:
        """Draw what the task's first camera sees, without its faults.

        Returns:
            (H, W, 3) uint8 RGB with `render_mode` `rgb_array`; None with `human`, which shows it, and without any.

        Raises:
            SpecError: before the first `reset`.
            WindowError: if there is no display for a window.
        """
        if self._viewer is None:
            return None
        if not self.parameters:
            raise SpecError("render() was called before reset(); call reset() first")
        if not self._viewer_ready:
            self._viewer.begin(self.parameters, self.world.bodies[1:])
            self._viewer_ready = True
        image = self._viewer.render(self.world, self.task.cameras[0].name).rgb
        if self._window is None:
            return image
        self._window.show(image)
        return None

    def get_state(self) -> bytes:
        """Return the state of the episode: physics, sensors, commands on their way, task and random numbers.

        `set_state` continues from it bit for bit, in this environment or in another one that was made from the same
        arguments, in this process or in another. The state is a pickle: load none that you do not trust.

        Raises:
            SpecError: before the first `reset`, or if the task keeps what cannot be pickled.
        """
        if not self.parameters:
            raise SpecError("get_state() was called before reset(); call reset() first")
        content = {
            "made_for": self._made_for,
            "parameters": self.parameters,
            "random": (self.np_random.bit_generator.state, self._np_random_seed),
            "progress": (self._step, self._held, self._terminated, self._state),
            "world": self.world.get_state(),
            "parts": {name: vars(part) for name, part in self._parts.items()},
            "images": self._images.get_state() if self._images is not None else None,
        }
        return episode_state.pack(content, self._shared)

    def set_state(self, state: bytes) -> None:
        """Continue from what `get_state` returned.

        Raises:
            SpecError: if it was returned by an environment of another task, arm, observation, actuator or rate.
        """
        content = cast(dict, episode_state.unpack(state, self._shared))
        if content["made_for"] != self._made_for:
            raise SpecError(f"the state is one of {content['made_for']}, but this environment is {self._made_for}")
        self.parameters = content["parameters"]
        generator, self._np_random_seed = content["random"]
        self.np_random.bit_generator.state = generator
        self._step, self._held, self._terminated, self._state = content["progress"]
        self.world.set_state(self.parameters, content["world"])
        self._actuator.reset(self._home, 0.0, self.parameters)  # makes the world ready for the controller
        for name, part in self._parts.items():
            vars(part).clear()
            vars(part).update(content["parts"][name])
        self._actuator.resend()
        if self._images is not None:
            self._images.begin(self.parameters, self.world.bodies[1:])
            self._images.set_state(content["images"])
        self._viewer_ready = False

    @property
    def _made_for(self) -> tuple:
        """What a state must have in common with this environment."""
        actuator = type(self._actuator).__name__
        return self.task.name, self.robot.name, self.observation_spec.names, actuator, self.world.physics_hz

    @property
    def _parts(self) -> dict[str, object]:
        """The objects that remember something of an episode."""
        parts = {
            "task": self.task,
            "actuator": self._actuator,
            "resolver": self._resolver,
            "disturbances": self._disturbances,
            "joint_sensor": self._joint_sensor,
            "history": self._history,
        }
        return {**parts, **{f"camera_{name}": sensor for name, sensor in self._camera_sensors.items()}}

    @property
    def _shared(self) -> dict[str, object]:
        """What the parts refer to and a state does not contain."""
        shared = {"world": self.world, "robot": self.robot, "cameras": self._images}
        return {name: each for name, each in shared.items() if each is not None}

    def __getstate__(self) -> dict:
        """Return the constructor's arguments, for pickles and copies."""
        return {**EzPickle.__getstate__(self), "spec": self.spec}

    def __setstate__(self, state: dict) -> None:
        """Make the environment anew."""
        EzPickle.__setstate__(self, state)
        self.spec = state["spec"]

    def shade(self, name: str) -> np.ndarray:
        """Compute the share of light that shadows leave in each pixel of camera `name`, (H, W, 3) uint8; 255 is all.

        Raises:
            SpecError: if the observation has no images.
        """
        if self._images is None:
            raise SpecError(f"shadows before camera '{name}': the observation has no pictures; ask for some")
        return self._images.shade(self.world, name)

    def silhouette(self, name: str, body: str) -> np.ndarray:
        """Return where camera `name` would show `body` if nothing was in front of it, (H, W) bool.

        Raises:
            SpecError: if the observation has no images.
        """
        if self._images is None:
            raise SpecError(f"silhouette before camera '{name}': the observation has no pictures; ask for some")
        return self._images.silhouette(self.world, name, body)

    def camera(self, name: str) -> CameraModel:
        """Return a camera's true model in this episode, calibration errors included."""
        return moved_camera(self._cameras[name], self.parameters)

    @property
    def segmentation_names(self) -> tuple[str, ...]:
        """Names of the bodies in segmentation images, by number."""
        return self._images.names if self._images else ()

    def close(self) -> None:
        """Close the physics client."""
        self.world.close()
        if self._images is not None:
            self._images.close()
        if self._viewer is not None:
            self._viewer.close()
        if self._window is not None:
            self._window.close()

    def _begin_sensing(self) -> None:
        oldest = self._joint_sensor.begin(self.parameters)
        for sensor in self._camera_sensors.values():
            oldest = max(oldest, sensor.begin(self.parameters))
        self._history.begin(oldest)
        self._state = self._measure()

    def _measure(self) -> RobotState:
        """Read all sensors."""
        rng, now = self.np_random, self._step * self.action_spec.dt
        q, dq, opening, age = self._joint_sensor.read(self._history, rng)
        frames = {name: sensor.read(self._history, now, rng) for name, sensor in self._camera_sensors.items()}
        stamp = now - age * self.action_spec.dt
        return RobotState(stamp, q, dq, frames, opening=opening if self.robot.gripper else None)

    def _observe(self) -> dict[str, np.ndarray]:
        privileged: dict[str, np.ndarray] = self.task.state(self.world) if self._privileged else {}
        for name in self._segmented:
            segmentation = self._camera_sensors[name].segmentation
            assert segmentation is not None
            privileged[f"segmentation_{name}"] = segmentation
        return self._builder.build(self._state, privileged)


def _resized(camera: CameraModel, height: int | None, width: int | None, render_mode: str) -> CameraModel:
    """Return the camera with the size of a rendered image; what is not given follows from its aspect ratio."""
    for name, value in (("render_height", height), ("render_width", width)):
        if value is not None and value < 1:
            raise SpecError(f"{name} is {value}, expected a positive number of pixels")
    if height is None and width is not None:
        height = max(1, round(width * camera.height / camera.width))
    if height is None:
        height = WINDOW_HEIGHT if render_mode == "human" else camera.height
    return camera.resized(height, width or max(1, round(height * camera.width / camera.height)))


def check_fit(task: Task, robot: RobotModel) -> None:
    """Raise `SpecError` unless `robot` can grasp if it must, reaches the task's workspace, and cameras are above it."""
    if task.needs_gripper and robot.gripper is None:
        raise SpecError(f"task '{task.name}' needs a gripper, but robot '{robot.name}' has none; take another arm")
    for corner in itertools.product(*task.workspace):
        try:
            robot.chain.inverse(np.array(robot.home), np.array(corner), robot.R_home, iterations=100, tolerance=0.01)
        except KinematicsError:
            raise SpecError(
                f"task '{task.name}' needs the end effector at {corner} m, but robot '{robot.name}' does not get there "
                "from home; is the arm large enough, and its home above the table?"
            ) from None
    for camera in task.cameras:
        if camera.T_base_camera is not None and camera.pose()[2, 3] <= 0:
            raise SpecError(
                f"camera '{camera.name}' is at {np.round(camera.pose()[:3, 3], 3)} m, inside or under the table, whose "
                "top is at z = 0"
            )


def observation_spec(task: Task, robot: RobotModel, chosen: str | Sequence[str]) -> ObservationSpec:
    """Specify the task's observation called `chosen`, or one of the arrays `chosen`, for `robot`.

    Raises:
        SpecError: for an unknown observation or array; lists the known ones.
    """
    known = {array.name: array for array in task.privileged}
    for camera in task.cameras:
        size = camera.height, camera.width
        known[f"image_{camera.name}"] = ArraySpec.image(f"image_{camera.name}", *size)
        known[f"depth_{camera.name}"] = ArraySpec.depth(f"depth_{camera.name}", *size)
        name = f"segmentation_{camera.name}"
        known[name] = ArraySpec(name, size, "int16", -1, np.iinfo(np.int16).max)
    for name in PROPRIOCEPTION:
        known[name] = joint_array(name, robot)
    names = task.arrays(chosen)
    for name in names:
        if name not in known:
            raise SpecError(f"task '{task.name}': unknown array '{name}'; known are {', '.join(known)}")
    return ObservationSpec(tuple(known[name] for name in names))
