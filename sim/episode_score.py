"""What an episode comes to: its rewards, whether it succeeds, and when it ends."""

from __future__ import annotations

from typing import Literal

import numpy as np

from robots.specs import SpecError
from sim.tasks import Task
from sim.tasks.task import Scene

RewardKind = Literal["dense", "sparse"]


class EpisodeScore:
    """Judges one task's episodes, step by step."""

    def __init__(self, task: Task, reward: RewardKind, strict: bool):
        """Take the measure.

        Args:
            task: the task.
            reward: the sum of the task's named terms, or -1 until success.
            strict: whether success is the stricter measure `Task.is_strict_success`.

        Raises:
            SpecError: for an unknown reward.
        """
        if reward not in ("dense", "sparse"):
            raise SpecError(f"unknown reward '{reward}'; known are dense, sparse")
        self._task, self._reward = task, reward
        self._is_success = task.is_strict_success if strict else task.is_success
        self._steps_allowed = round(task.time_limit * task.action.rate_hz)
        self._steps_held = max(1, round(task.hold_time * task.action.rate_hz))
        self.held = 0
        """Steps for which success has lasted; 0 when an episode begins."""

    def judge(self, scene: Scene, step: int) -> tuple[float, bool, bool, dict]:
        """Return reward, terminated, truncated and `info` after `step` steps of an episode, called at each of them."""
        task = self._task
        achieved, desired = task.achieved_goal(scene), task.desired_goal(scene)
        near = bool(self._is_success(achieved, desired)) and task.is_released(scene)
        self.held = self.held + 1 if near else 0
        success = self.held >= self._steps_held
        info: dict = {"is_success": success, "near": near}
        if self._reward == "sparse":
            reward = 0.0 if near else -1.0
        else:
            terms = task.reward_terms(achieved, desired)
            info["reward_terms"] = {name: float(value) for name, value in terms.items()}
            info["reward_terms"].update(task.shaping_terms(scene))
            reward = sum(info["reward_terms"].values())
        failure = not success and task.is_failure(scene)
        if failure:  # as if every step that is left went wrong, or else failing early would pay
            reward -= float(self._steps_allowed - step)
        terminated = success or failure
        return reward, terminated, not terminated and step >= self._steps_allowed, info

    def goal_reward(self, achieved: np.ndarray, desired: np.ndarray) -> np.ndarray:
        """Compute rewards (...) from goals (..., n)."""
        if self._reward == "sparse":
            return np.where(self._is_success(achieved, desired), 0.0, -1.0)
        return np.sum(list(self._task.reward_terms(achieved, desired).values()), axis=0)
