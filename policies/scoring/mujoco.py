"""Evaluate a policy in an engine that it was never trained in: the virtual arm's MuJoCo, with its hidden parameters.

Nothing is shared with the training simulation but the URDF's kinematics: other contacts, soft servos, friction,
encoder errors, a delay; for camera policies, another renderer and lens distortion. The policy is evaluated
alone, one action a period, without the control loop and its safety gate; `sim2real evaluate` includes both.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from policies.bundle import BundleError, PolicyBundle
from policies.scoring.evaluator import EVALUATION_SEEDS, Evaluation
from robots.action import ActionResolver
from robots.camera import CameraModel
from robots.observation import CameraFrame, ObservationBuilder, RobotState
from robots.registry import load_robot
from sim.scene import yaw_quat
from sim.tasks import TASKS, Task, load_task
from sim.tasks.cameras import FRONT
from sim.tasks.task import sample_xy_apart
from sim.virtual_arm.hidden_reality import HiddenReality
from sim.virtual_arm.mujoco_arm import MujocoArm
from sim.virtual_arm.mujoco_camera import VirtualCamera, open_renderer

SinglePolicy = Callable[[dict[str, np.ndarray]], np.ndarray]
"""A policy: arrays by name to an action (a,)."""


def runs_in_mujoco(task: Task) -> bool:
    """Return whether `task` can be set up: no object starts between the fingers, and an object's goal is a body."""
    return not task.held_at_start and (task.goal_body is not None or not task.moves_object)


def evaluate_in_mujoco(
    bundle: PolicyBundle,
    episodes: int,
    first_seed: int = EVALUATION_SEEDS,
    hidden: HiddenReality | None = None,
    act: SinglePolicy | None = None,
) -> Evaluation:
    """Run `episodes` of `bundle` on the virtual arm; as strictly as `evaluate` does.

    Args:
        bundle: a policy for a task that `runs_in_mujoco`.
        episodes: how many; episode k has the seed `first_seed` + k.
        first_seed: of the episodes.
        hidden: the true parameters there; the default ones if None.
        act: policy that acts in the bundle's place.

    Raises:
        BundleError: for a task that the virtual lab has no objects for.
        ValueError: if there is no episode to run.
    """
    _, near = episodes_in_mujoco(bundle, episodes, first_seed, hidden, act)
    hold = max(1, round(load_task(bundle.task).hold_time * bundle.action.rate_hz))
    return Evaluation.of(near, hold, "MuJoCo", first_seed)


def episodes_in_mujoco(
    bundle: PolicyBundle,
    episodes: int,
    first_seed: int = EVALUATION_SEEDS,
    hidden: HiddenReality | None = None,
    act: SinglePolicy | None = None,
    seconds: float | None = None,
    look_every: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """As `evaluate_in_mujoco`, but return the distance to the goal [m] and success after each action.

    Both are (episodes, steps). An episode lasts `seconds`, by default the task's time limit. Images, which take
    most of the time, are rendered before every `look_every`th action; in between the last one is used.
    """
    if not runs_in_mujoco(load_task(bundle.task)):
        known = ", ".join(name for name in TASKS if runs_in_mujoco(load_task(name)))
        raise BundleError(f"bundle '{bundle.name}' is for '{bundle.task}'; MuJoCo's lab has {known}")
    if episodes < 1:
        raise ValueError(f"evaluate: {episodes} episodes, expected at least 1")
    if len(bundle.cameras) > 1:
        raise BundleError(
            f"bundle '{bundle.name}' sees {', '.join(bundle.cameras)}, but MuJoCo's lab has one camera; evaluate it in "
            "PyBullet"
        )
    lab = _Lab(bundle, hidden or HiddenReality())
    try:
        lasting = lab.task.time_limit if seconds is None else seconds
        each = [lab.episode(act or bundle.act, first_seed + k, lasting, look_every) for k in range(episodes)]
        return np.array([away for away, _ in each]), np.array([near for _, near in each])
    finally:
        lab.close()


class _Lab:
    """The virtual arm with the sensors and the goal of a bundle's task."""

    def __init__(self, bundle: PolicyBundle, hidden: HiddenReality):
        self.bundle = bundle
        robot = load_robot(bundle.robot.name)
        self.robot = robot
        camera = next(iter(bundle.cameras.values()), FRONT)
        self._arm = MujocoArm(robot, camera, hidden, bundle.task)
        self.task = self._arm.task
        self._camera_view: VirtualCamera | None = None
        incoming: dict[str, CameraModel] = {}
        if bundle.cameras:
            self._camera_view = VirtualCamera(self._arm, open_renderer(self._arm))
            incoming = {camera.name: self._arm.camera}
        self._camera = camera
        self._frame: CameraFrame | None = None
        self._builder = ObservationBuilder(
            bundle.observation,
            robot,
            bundle.cameras,
            incoming,
            privileged=("object_pos", "object_quat", "goal"),
        )
        self._resolver = ActionResolver(bundle.action, robot)
        mark = next((body for body in self._arm.bodies if body.name == self.task.goal_body), None)
        self._block = mark if mark is not None and mark.solid else None
        self._rise = float(self._arm.object_pos[2])  # half its height: it stands on the table
        self._fingers = 0.0 if robot.gripper is None else robot.gripper.opened
        if self.task.opening is not None:
            self._fingers = self.task.opening

    def episode(
        self, act: SinglePolicy, seed: int, seconds: float, look_every: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run one episode; return distance to the goal [m] and success after each action, (steps,) each."""
        rng = np.random.default_rng(seed)
        arm, spec = self._arm, self.bundle.action
        thing, mark = sample_xy_apart(rng, *self.task.workspace[:2], self.task.gap, 2)
        arm.place((float(thing[0]), float(thing[1])), seed, self._fingers)
        if self._block is not None:
            height = arm.scene.pose(self._block.name)[0][2]
            turn = rng.uniform(-np.pi, np.pi) * (self._block.mass > 0)
            arm.scene.place(self._block.name, (*mark, height), yaw_quat(turn))
        elif self.task.goal_body is not None:  # a mark on the table, which is in the images
            height = arm.scene.pose(self.task.goal_body)[0][2]
            arm.scene.place(self.task.goal_body, (*mark, height), yaw_quat(0.0))
        place = np.array([*mark, float(arm.object_pos[2])])
        self._resolver.reset(self._state(rng).q)
        steps = round(seconds * spec.rate_hz)
        away, near, failed = np.zeros(steps), np.zeros(steps, bool), False
        for k in range(steps):
            goal = self._goal(place)
            state = self._state(rng, look=k % look_every == 0)
            position, quat = arm.object_pos, arm.object_quat
            seen = self._builder.build(state, {"object_pos": position, "object_quat": quat, "goal": goal})
            arm.command(self._resolver.resolve(act(seen), state.q))
            if self._resolver.opening is not None:
                arm.grip(self._resolver.opening)
            arm.advance(spec.dt)
            achieved = arm.object_pos if self.task.moves_object else arm.ee_pos
            let_go = self._block is None or not arm.scene.touching("object")
            failed = failed or self.task.is_failure(arm.scene)
            near[k] = let_go and not failed and bool(self.task.is_strict_success(achieved, self._goal(place)))
            away[k] = np.linalg.norm(achieved - goal)
        return away, near

    def _goal(self, mark: np.ndarray) -> np.ndarray:
        """Return the goal (3,) [m]; `mark` is the position of a cube that lies on the table there."""
        arm = self._arm
        if not self.task.moves_object:
            return arm.goal
        if self._block is None:
            return mark
        origin = arm.scene.pose(self._block.name)[0]
        return origin + np.array([0.0, 0.0, self._block.top + self._rise])

    def close(self) -> None:
        if self._camera_view is not None:
            self._camera_view.renderer.close()

    def _state(self, rng: np.random.Generator, look: bool = True) -> RobotState:
        reading, n = self._arm.read(), len(self.robot.joint_names)
        frames = {}
        if self._camera_view is not None:
            if look:
                self._frame = CameraFrame(self._arm.time, self._camera_view.take(self._arm.snapshot(), rng))
            assert self._frame is not None
            frames[self._camera.name] = self._frame
        opening = float(reading.q[n:].mean()) if len(reading.q) > n else None
        return RobotState(self._arm.time, reading.q[:n], reading.dq[:n], frames, opening=opening)
