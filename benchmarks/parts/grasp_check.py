"""Whether grasps hold, in this simulator and in panda-gym: what stands beside every figure of `sim_speed.py`."""

from __future__ import annotations

from collections.abc import Callable

import gymnasium as gym
import numpy as np

from sim.env import ArmEnv

CUBE_MASS = 0.1
"""Of the cube that is grasped [kg]; the nominal one of our task."""
SLOWER = 0.032 / 0.05
"""Our largest step of the end effector over panda-gym's."""
GENTLE, SQUEEZE = 10.0, 70.0
"""Forces of a finger [N]; 70 is what the Panda's hand can do."""


def waypoints(rng: np.random.Generator, height: float) -> list[np.ndarray]:
    """Draw four points (3,) [m] that the cube is carried to, seen from the middle of the table."""
    return [np.array([rng.uniform(-0.1, 0.1), rng.uniform(-0.15, 0.15), height]) for _ in range(4)]


def grasp(force: float, episodes: int) -> float:
    """Share of grasps that hold: picked up, carried about for four seconds, never more than 2 cm adrift."""
    env = ArmEnv("pick_place", space="nominal")
    held = 0
    for seed in range(episodes):
        env.reset(seed=seed, options={"parameters": {"grip_scale": force / SQUEEZE}})
        rng, world, worst = np.random.default_rng(seed), env.world, 0.0
        for _ in range(60):
            env.step(env.expert())
            if world.pose("object")[0][2] > world.table_height + 0.05:
                break
        for way in waypoints(rng, 0.3):
            for _ in range(25):
                action = np.zeros(5)
                action[:3] = np.clip(10 * (way + np.array([0.5, 0.0, 0.0]) - world.ee_pos), -1, 1)
                action[4] = -1.0
                env._terminated = False  # the pad may be touched on the way: that ends no grasp
                env.step(action)
                worst = max(worst, float(np.linalg.norm(world.pose("object")[0] - world.ee_pos)))
        held += worst < 0.02
    env.close()
    return held / episodes


def grasp_panda_gym(make: Callable[[], gym.Env], episodes: int) -> float:
    """The same with panda-gym, which `make` makes, at the force it always uses: our cube's mass, points and speed."""
    env = make().unwrapped
    held = 0
    for seed in range(episodes):
        env.reset(seed=seed)
        body = env.sim._bodies_idx["object"]  # it makes its cube 1 kg
        env.sim.physics_client.changeDynamics(body, -1, mass=CUBE_MASS)
        rng, worst = np.random.default_rng(seed), 0.0

        def go(to: np.ndarray, grip: float, steps: int, env=env) -> None:
            for _ in range(steps):
                way = to - env.robot.get_ee_position()
                env.step(np.append(SLOWER * np.clip(10 * way, -1, 1), grip).astype(np.float32))

        cube = env.sim.get_base_position("object")
        go(cube + np.array([0, 0, 0.08]), 1.0, 30)
        go(cube, 1.0, 20)
        go(cube, -1.0, 8)
        go(cube + np.array([0, 0, 0.15]), -1.0, 20)
        for way in waypoints(rng, 0.3):
            way[0] -= 0.1  # its arm stands at x = -0.6 m: our points, seen from the base
            for _ in range(25):  # as many periods of 1/25 s as ours has, a second for each point
                go(way, -1.0, 1)
                worst = max(
                    worst, float(np.linalg.norm(env.sim.get_base_position("object") - env.robot.get_ee_position()))
                )
        held += worst < 0.02
    env.close()
    return held / episodes
