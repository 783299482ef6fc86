"""How far off may an estimate be? The scripted expert places an object that it takes to be elsewhere, in both engines.

    python benchmarks/parts/mislocated_expert.py [--robot so101] [--randomise full] [--errors 0 0.007 0.01]
                                                 [--episodes 60] [--json FILE]

In each episode the estimate is off by one draw from a normal distribution, the same in both horizontal directions and
half as much in height, from the first action to the last. A camera policy with errors of that size does no better, and
this takes seconds an episode. PyBullet is randomised; MuJoCo is the virtual arm with its hidden parameters, without
the control loop and its safety gate. Success is strict: within 2.5 cm, let go, and held.
"""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np
import tyro

from benchmarks.crossing import shown
from benchmarks.parts.record import heading, origin, save
from policies.runtime.loop_limits import LoopLimits
from policies.scoring.intervals import wilson
from robots.action import ActionResolver
from robots.registry import load_robot
from sim.env import ArmEnv
from sim.tasks.task import Scene, Task
from sim.virtual_arm.hidden_arms import hidden_reality
from sim.virtual_arm.mujoco_arm import MujocoArm

IN_HEIGHT = 0.5
"""Error in height over that to the sides: cameras look down."""


@dataclass(frozen=True)
class Config:
    """What to measure."""

    robot: str = "franka_panda"
    """Name in `ROBOTS`, or a JSON description of an arm with a gripper."""
    task: str = "pick_place"
    """Name in `TASKS`, of one that sets an object down."""
    randomise: str = "full"
    """What varies in PyBullet: a preset, or a file."""
    errors: tuple[float, ...] = (0.0, 0.007, 0.01)
    """Standard deviations of the estimate [m]."""
    episodes: int = 60
    """Of each error and engine."""
    json: Path | None = None
    """File for the figures."""


def main(config: Config) -> None:
    """Measure, print and save."""
    described = origin([0], packages=("pybullet", "mujoco"))
    print(heading(described))
    rows = []
    for error in config.errors:
        for engine, run in (("PyBullet", in_pybullet), ("MuJoCo", in_mujoco)):
            rate = wilson(sum(run(config, error)), config.episodes)
            print(f"{engine:9} {1e3 * error:4.0f} mm: {shown(rate)}", flush=True)
            rows.append({"engine": engine, "error": error, **asdict(rate)})
    save(config.json, described, {"rows": rows})


def in_pybullet(config: Config, error: float) -> list[bool]:
    """Return which episodes succeed under randomisation."""
    with closing(ArmEnv(config.task, config.robot, config.randomise, strict=True)) as env:
        env.task.exact = False
        return [_one_in_pybullet(env, shift(error, seed), seed) for seed in range(config.episodes)]


def _one_in_pybullet(env: ArmEnv, off: np.ndarray, seed: int) -> bool:
    env.reset(seed=seed)
    while True:
        *_, terminated, truncated, info = env.step(by_estimate(env.task, env.world, off))
        if terminated or truncated:
            return bool(info["is_success"])


def in_mujoco(config: Config, error: float) -> list[bool]:
    """Return which episodes succeed on the virtual arm."""
    robot = load_robot(config.robot)
    arm = MujocoArm(robot, (), hidden_reality(robot), config.task)
    arm.task.exact = False
    resolver = ActionResolver(arm.task.action, robot)
    return [_one_in_mujoco(arm, resolver, shift(error, seed), seed) for seed in range(config.episodes)]


def _one_in_mujoco(arm: MujocoArm, resolver: ActionResolver, off: np.ndarray, seed: int) -> bool:
    arm.place(None, seed)
    spec, limits, joints = arm.task.action, LoopLimits(), len(resolver.target)
    resolver.reset(arm.read().q[:joints])
    near: list[bool] = []
    for _ in range(round(arm.task.time_limit * spec.rate_hz)):
        state = arm.read()
        action = by_estimate(arm.task, arm.scene, off)
        arm.command(resolver.resolve(action, state.q[:joints], limits.leads(state.dq[:joints])))
        if resolver.opening is not None:
            arm.grip(resolver.opening)
        arm.advance(spec.dt)
        achieved, desired = arm.task.achieved_goal(arm.scene), arm.task.desired_goal(arm.scene)
        near.append(arm.judge().released and bool(arm.task.is_strict_success(achieved, desired)))
    return all(near[-max(1, round(arm.task.hold_time * spec.rate_hz)) :])


def shift(error: float, seed: int) -> np.ndarray:
    """Return how far off an episode's estimate is (3,) [m]."""
    return np.random.default_rng(seed).normal(0.0, error, 3) * (1.0, 1.0, IN_HEIGHT)


def by_estimate(task: Task, scene: Scene, off: np.ndarray) -> np.ndarray:
    """Return the action of an expert whose estimate of the object is `off` (3,) [m]."""
    return task.expert_from(scene, scene.pose("object")[0] + off, task.desired_goal(scene))


if __name__ == "__main__":
    main(tyro.cli(Config))
