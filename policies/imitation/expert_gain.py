"""How fast the scripted expert goes, chosen in the parameter space that its pupil will be trained on.

Imitation learns what the expert does, whatever the arm is like: a space of late, soft servos changes what is seen, not
what is done. What the space can tell is how hard an expert may steer before such an arm circles its goal.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from policies.scoring.evaluator import VALIDATION_SEEDS
from policies.scoring.wrappers import EXPERT
from sim.tasks import TASKS, load_task
from sim.tasks.task import Task
from sim.vector.vector_env import ArmVectorEnv

EPISODES = 32
"""Episodes of each pace, the same for all."""


def paced_task(name: str) -> Task:
    """Return the task `name`, whose expert has paces to choose from.

    Raises:
        ValueError: if it has one pace only; lists the tasks whose expert can be tuned.
    """
    task = load_task(name)
    if not task.expert_gains:
        able = ", ".join(other for other in TASKS if load_task(other).expert_gains)
        raise ValueError(f"the expert of task '{name}' has one pace only; tuning is possible for {able}")
    return task


def tuned_pace(
    arms: ArmVectorEnv, name: str, episodes: int = EPISODES, tell: Callable[[float, float], None] | None = None
) -> tuple[float, dict[float, float]]:
    """Try every pace that the expert of task `name` knows; return the best one, and each one's mean reward an action.

    Args:
        arms: environments made by `policies.scoring.evaluator.LastingEnv` for that task, whose episodes success does
        not end.
        name: of the task.
        episodes: of each pace, on the seeds that choose between checkpoints; rounded up to whole waves of `arms`.
        tell: called with each pace and its mean reward.

    Raises:
        ValueError: if the task's expert has one pace only.
    """
    task = paced_task(name)
    steps = round(task.time_limit * task.action.rate_hz)
    rewards = {}
    for pace in task.expert_gains:
        arms.call("set_pace", pace)
        total = []
        for wave in range(0, episodes, arms.num_envs):
            seen, _ = arms.reset(seed=VALIDATION_SEEDS + wave)
            for _ in range(steps):
                seen, reward, *_ = arms.step(seen[EXPERT])
                total.append(reward.mean())
        rewards[pace] = float(np.mean(total))
        if tell is not None:
            tell(pace, rewards[pace])
    return max(rewards, key=lambda pace: rewards[pace]), rewards
