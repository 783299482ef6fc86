"""Choose the scripted expert's gain in the parameter space that a policy will be trained on.

Imitation copies the expert's actions whatever the arm's dynamics: a space of delayed, soft servos changes the
observations, not the labels. Such an arm overshoots if the expert's gain is too high.
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
"""Episodes for each gain, the same for all."""


def tunable_task(name: str) -> Task:
    """Return the task `name`, whose expert has gains to choose from.

    Raises:
        ValueError: if it has one gain only; lists the tasks whose expert can be tuned.
    """
    task = load_task(name)
    if not task.expert_gains:
        able = ", ".join(other for other in TASKS if load_task(other).expert_gains)
        raise ValueError(f"the expert of task '{name}' has one gain only; tuning is possible for {able}")
    return task


def tune_expert_gain(
    arms: ArmVectorEnv, name: str, episodes: int = EPISODES, report: Callable[[float, float], None] | None = None
) -> tuple[float, dict[float, float]]:
    """Try every gain of the expert of task `name`; return the best one, and each one's mean reward per action.

    Args:
        arms: environments made by `FullLengthEnv` for that task.
        name: of the task.
        episodes: for each gain, on validation seeds; rounded up to a multiple of the number of `arms`.
        report: called with each gain and its mean reward.

    Raises:
        ValueError: if the task's expert has one gain only.
    """
    task = tunable_task(name)
    steps = round(task.time_limit * task.action.rate_hz)
    rewards = {}
    for gain in task.expert_gains:
        arms.call("set_expert_gain", gain)
        total = []
        for wave in range(0, episodes, arms.num_envs):
            seen, _ = arms.reset(seed=VALIDATION_SEEDS + wave)
            for _ in range(steps):
                seen, reward, *_ = arms.step(seen[EXPERT])
                total.append(reward.mean())
        rewards[gain] = float(np.mean(total))
        if report is not None:
            report(gain, rewards[gain])
    return max(rewards, key=lambda gain: rewards[gain]), rewards
