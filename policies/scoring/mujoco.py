"""Evaluate a policy in an engine that it was never trained in: the virtual arm's MuJoCo, with its hidden parameters.

Nothing is shared with the training simulation but the URDF's kinematics: other contacts, soft servos, friction,
encoder errors, a delay; for camera policies, another renderer and lens distortion. The policy is evaluated
alone, one action a period, without the control loop and its safety gate; `sim2real evaluate` includes both. An episode
that the policy node would have stopped, because an input is unlike those of training, has failed.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from policies.bundle import PolicyBundle
from policies.bundle.cell import cell_sizes
from policies.scoring.evaluator import EVALUATION_SEEDS, Evaluation
from robots.action import ActionResolver
from robots.observation import CameraFrame, ObservationBuilder, RobotState
from robots.registry import load_robot
from sim.tasks import load_task
from sim.virtual_arm.hidden_arms import hidden_reality
from sim.virtual_arm.hidden_reality import HiddenReality
from sim.virtual_arm.mujoco_arm import MujocoArm
from sim.virtual_arm.mujoco_camera import VirtualCameras, open_renderer

SinglePolicy = Callable[[dict[str, np.ndarray]], np.ndarray]
"""A policy: arrays by name to an action (a,)."""


def evaluate_in_mujoco(
    bundle: PolicyBundle,
    episodes: int,
    first_seed: int = EVALUATION_SEEDS,
    hidden: HiddenReality | None = None,
    act: SinglePolicy | None = None,
) -> Evaluation:
    """Run `episodes` of `bundle` on the virtual arm; as strictly as `evaluate` does.

    Args:
        bundle: a policy.
        episodes: how many; episode k has the seed `first_seed` + k.
        first_seed: of the episodes.
        hidden: the true parameters there; the default ones if None.
        act: policy that acts in the bundle's place.

    Raises:
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
    if episodes < 1:
        raise ValueError(f"evaluate: {episodes} episodes, expected at least 1")
    lab = _Lab(bundle, hidden)
    try:
        lasting = lab.task.time_limit if seconds is None else seconds
        each = [lab.episode(act, first_seed + k, lasting, look_every) for k in range(episodes)]
        return np.array([away for away, _ in each]), np.array([near for _, near in each])
    finally:
        lab.close()


class _Lab:
    """The virtual arm with the sensors of a bundle, at its task."""

    def __init__(self, bundle: PolicyBundle, hidden: HiddenReality | None):
        bundle.check_placed()
        self.bundle = bundle
        robot = load_robot(bundle.arm)
        self.robot = robot
        cameras, reality = tuple(bundle.cameras.values()), hidden or hidden_reality(robot)
        self._arm = MujocoArm(robot, cameras, reality, bundle.task, cell_sizes(bundle))
        self.task = self._arm.task
        self._camera_view: VirtualCameras | None = None
        incoming = {name: camera.model for name, camera in self._arm.cameras.items()}
        if bundle.cameras:
            self._camera_view = VirtualCameras(self._arm, open_renderer(self._arm))
        self._frames: dict[str, CameraFrame] = {}
        self._builder = ObservationBuilder(
            bundle.observation,
            robot,
            bundle.cameras,
            incoming,
            privileged=tuple(array.name for array in self.task.privileged),
        )
        self._resolver = ActionResolver(bundle.action, robot)

    def episode(
        self, act: SinglePolicy | None, seed: int, seconds: float, look_every: int = 1
    ) -> tuple[np.ndarray, np.ndarray]:
        """Run one episode; return distance to the goal [m] and success after each action, (steps,) each."""
        rng = np.random.default_rng(seed)
        arm, task, spec = self._arm, self.task, self.bundle.action
        arm.place(None, seed)
        self._resolver.reset(self._state(rng).q)
        steps = round(seconds * spec.rate_hz)
        away, near, failed = np.zeros(steps), np.zeros(steps, bool), False
        memory = self.bundle.fresh_memory()
        for k in range(steps):
            state = self._state(rng, look=k % look_every == 0)
            seen = self._builder.build(state, task.state(arm.scene))
            failed = failed or bool(self.bundle.inputs.reason(seen))  # the policy node would have stopped the arm
            action = self.bundle.act(seen, memory) if act is None else act(seen)
            arm.command(self._resolver.resolve(action, state.q))
            if self._resolver.opening is not None:
                arm.grip(self._resolver.opening)
            arm.advance(spec.dt)
            achieved, desired = task.achieved_goal(arm.scene), task.desired_goal(arm.scene)
            judged = arm.judge()
            failed = failed or judged.failed
            near[k] = judged.released and not failed and bool(task.is_strict_success(achieved, desired))
            away[k] = np.linalg.norm(achieved - desired)
        return away, near

    def close(self) -> None:
        if self._camera_view is not None:
            self._camera_view.renderer.close()

    def _state(self, rng: np.random.Generator, look: bool = True) -> RobotState:
        reading, n = self._arm.read(), len(self.robot.joint_names)
        if self._camera_view is not None and look:
            snapshot, now = self._arm.snapshot(), self._arm.time
            taken = {name: self._camera_view.take(name, snapshot, rng) for name in self._arm.cameras}
            self._frames = {name: CameraFrame(now, image) for name, image in taken.items()}
        gripper = self.robot.gripper
        opening = gripper.opening_at(reading.q[n:].tolist()) if gripper is not None else None
        return RobotState(self._arm.time, reading.q[:n], reading.dq[:n], self._frames, opening=opening)
