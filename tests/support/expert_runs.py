"""Episodes of a task's scripted expert."""

from __future__ import annotations

from robots.model import RobotModel
from sim.env import ArmEnv
from sim.tasks import Task


def expert_successes(task: str | Task, robot: str | RobotModel, episodes: int) -> int:
    """Return in how many episodes under full randomisation, with the seeds from 0, the expert succeeds."""
    env = ArmEnv(task, robot, "full")
    count = 0
    for seed in range(episodes):
        env.reset(seed=seed)
        ended = False
        while not ended:
            *_, terminated, truncated, info = env.step(env.expert())
            ended = terminated or truncated
        count += info["is_success"]
    env.close()
    return count
