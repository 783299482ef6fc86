"""Trials of a bundle in simulation: the figure that the lab's is compared with."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from evaluation.trials import Trial
from policies.bundle import PolicyBundle
from sim.env import ArmEnv
from sim.parameters import ParameterSpace

HELD_OUT_SEEDS = 1_000_000_000
"""Evaluation seeds start here; training never gets there."""


def run_simulated(
    bundle: PolicyBundle,
    space: str | ParameterSpace,
    trials: int,
    seed: int = 0,
    session: str = "simulation",
    progress: Callable[[float], None] = lambda share: None,
) -> list[Trial]:
    """Try `bundle` in its own task under `space`, on seeds that training never used.

    Raises:
        SpecError: if the bundle's observation is not the task's `camera` or `state` observation.
    """
    observation = "camera" if bundle.cameras else "state"
    env = ArmEnv(bundle.task, bundle.robot.name, space, observation)
    results = []
    for index in range(trials):
        trial_seed = HELD_OUT_SEEDS + 10_000 * seed + index
        seen, info = env.reset(seed=trial_seed)
        parameters = info["parameters"]
        steps, done = 0, False
        while not done:
            seen, _, terminated, truncated, info = env.step(bundle.act(seen))
            steps += 1
            done = terminated or truncated
        achieved, desired = env.task.achieved_goal(env.world), env.task.desired_goal(env.world)
        duration = steps * bundle.action.dt
        results.append(
            Trial(
                session=session,
                policy=bundle.name,
                bundle=bundle.hash,
                index=index,
                seed=trial_seed,
                success=bool(info["is_success"]),
                duration=duration,
                final_distance=float(np.linalg.norm(achieved - desired)),
                time_to_success=duration if info["is_success"] else None,
                parameters=parameters,
            )
        )
        progress((index + 1) / trials)
    env.close()
    return results
