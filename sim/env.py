"""The Gymnasium environment: arm, task, parameter space and sensors put together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import gymnasium as gym
import numpy as np
from gymnasium.utils import EzPickle

from robots.action import ActionResolver
from robots.camera import CameraModel
from robots.model import RobotModel
from robots.observation import ObservationBuilder
from robots.registry import load_robot
from robots.rig import Rig
from robots.specs import ActionSpec, SpecError
from sim import episode_state
from sim.catalogue import parameter_space
from sim.episode_score import EpisodeScore, RewardKind
from sim.physics.actuator_kinds import make_actuator
from sim.physics.disturbances import Disturbances
from sim.physics.world import World
from sim.randomization.parameters import ParameterSpace
from sim.randomization.servo_parameters import model_params
from sim.randomization.space_file import chosen_space
from sim.sensing.moved_camera import calibrated_camera, moved_camera
from sim.sensing.sensors import RobotSensors, observed_cameras
from sim.sensing.simulated_cameras import RenderConfig, SimulatedCameras
from sim.tasks import Task, load_task
from sim.tasks.fitting import check_fit, frozen_fingers, observation_spec
from sim.viewer import RENDER_MODES, Viewer, check_render_mode


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
            space: a preset (`nominal`, `mild`, `full`, `wild`), a space, or the file of one, see `chosen_space`.
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
        check_render_mode(render_mode, render_height, render_width)
        self.task = load_task(task) if isinstance(task, str) else task
        self.robot = load_robot(robot) if isinstance(robot, str) else robot
        self.task.fit(self.robot, cameras)
        full = parameter_space(self.task, self.robot)
        self.parameter_space = chosen_space(space, full) if isinstance(space, str) else space
        if actuator == "model" or "servo_delay" in self.parameter_space:  # an identified arm brings its servos along
            actuator, full = "model", full.with_params(*model_params(self.robot))
        self._full = full
        self.parameter_space.validate()
        for name in self.parameter_space.names:
            full[name]  # raises for an unknown one, and lists the known
        self._nominal = full.nominal()
        self._partial = self.parameter_space.names != full.names
        self.score = EpisodeScore(self.task, reward, strict)
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
        self._cameras = {camera.name: camera for camera in self.task.cameras}
        privileged = tuple(array.name for array in self.task.privileged)
        segmented = tuple(f"segmentation_{name}" for name in self._cameras)
        self._privileged = not set(privileged).isdisjoint(self.observation_spec.names)
        self._builder = ObservationBuilder(self.observation_spec, self.robot, self._cameras, {}, privileged + segmented)
        self.resolver = ActionResolver(self.action_spec, self.robot)
        self._home = np.array(self.robot.home)
        self._q_low, self._q_high = np.array(self.robot.limits.q_low), np.array(self.robot.limits.q_high)
        self.world = World(self.robot, physics_hz, frozen_fingers(self.task, self.robot), stops=actuator != "position")
        self._actuator = make_actuator(actuator, self.robot, self.world, int(ticks))
        self._disturbances = Disturbances(self.action_spec.rate_hz)
        observed = observed_cameras(self.observation_spec)
        self._images: SimulatedCameras | None = None
        if observed:
            shown = [camera for camera in self.task.cameras if camera.name in observed]
            self._images = SimulatedCameras(self.task, self.robot, shown, rendering)
        self._viewer: Viewer | None = None
        if render_mode:
            self._viewer = Viewer(self.task, self.robot, render_mode, render_height, render_width, rendering)
        self._sensors = RobotSensors(self.world, self.robot, self._images, observed, self.action_spec.rate_hz)
        self.action_space = self.action_spec.space()
        self.observation_space = self.observation_spec.space()
        self.parameters: dict[str, float] = {}
        self._terminated = True

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Sample parameters, build the scene, put the arm near home; see `begin`."""
        self.begin(seed=seed, options=options)
        self._begin_sensing()
        self._show()
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
        if given := (options or {}).get("parameters"):
            drawn = self._full.complete(given, drawn)
        self.parameters = drawn
        self._place_cameras()
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
        self.resolver.reset(q)
        self._disturbances.begin(drawn)
        if self._images is not None:
            self._images.begin(drawn, self.world.bodies[1:])
        self._step = self.score.held = 0
        self._terminated = False
        if self._viewer is not None:
            self._viewer.begin()

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
        target = self.resolver.resolve(action, self._sensors.state.q)
        forces = self._disturbances.draw(self.np_random)
        self._actuator.run(target, self.resolver.opening, self.np_random, forces)
        self._step += 1
        self.world.read()
        self._sensors.read(self._step * self.action_spec.dt, self.np_random)
        observation = self._observe()
        reward, terminated, truncated, info = self.score.judge(self.world, self._step)
        if terminated or truncated:
            info["parameters"] = dict(self.parameters)
            self._terminated = True
        self._show()
        return observation, reward, terminated, truncated, info

    def expert(self) -> np.ndarray:
        """Return the action of the task's scripted expert in the present state, float32."""
        return self.task.expert(self.world)

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
        return self._viewer.draw(self.world, self.parameters)

    def _show(self) -> None:
        """Draw into the window, where there is one."""
        if self._viewer is not None and self._viewer.window is not None:
            self.render()

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
            "progress": (self._step, self.score.held, self._terminated),
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
        self._place_cameras()
        generator, self._np_random_seed = content["random"]
        self.np_random.bit_generator.state = generator
        self._step, self.score.held, self._terminated = content["progress"]
        self.world.set_state(self.parameters, content["world"])
        self._actuator.reset(self._home, 0.0, self.parameters)  # makes the world ready for the controller
        for name, part in self._parts.items():
            vars(part).clear()
            vars(part).update(content["parts"][name])
        self._actuator.resend()
        if self._images is not None:
            self._images.begin(self.parameters, self.world.bodies[1:])
            self._images.set_state(content["images"])
        if self._viewer is not None:
            self._viewer.begin()

    @property
    def _made_for(self) -> tuple:
        """What a state must have in common with this environment."""
        actuator = type(self._actuator).__name__
        return self.task.name, self.robot.name, self.observation_spec.names, actuator, self.world.physics_hz

    @property
    def _parts(self) -> dict[str, object]:
        """The objects that remember something of an episode."""
        return {
            "task": self.task,
            "actuator": self._actuator,
            "resolver": self.resolver,
            "disturbances": self._disturbances,
            "sensors": self._sensors,
        }

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
        return self._drawn(f"shadows before camera '{name}'").shade(self.world, name)

    def silhouette(self, name: str, body: str) -> np.ndarray:
        """Return where camera `name` would show `body` if nothing was in front of it, (H, W) bool.

        Raises:
            SpecError: if the observation has no images.
        """
        return self._drawn(f"silhouette before camera '{name}'").silhouette(self.world, name, body)

    def _drawn(self, what: str) -> SimulatedCameras:
        if self._images is None:
            raise SpecError(f"{what}: the observation has no pictures; ask for some")
        return self._images

    def _place_cameras(self) -> None:
        """Use the calibrations of this episode's cameras in observations."""
        self._builder.place({name: calibrated_camera(each, self.parameters) for name, each in self._cameras.items()})

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

    def _begin_sensing(self) -> None:
        self._sensors.begin(self.parameters, self._step * self.action_spec.dt, self.np_random)

    def _observe(self) -> dict[str, np.ndarray]:
        privileged = self._sensors.segmentations()
        if self._privileged:
            privileged |= self.task.state(self.world)
        return self._builder.build(self._sensors.state, privileged)
