"""A task as a goal-conditioned environment, for hindsight experience replay."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from robots.specs import SpecError
from sim.env import ArmEnv

GOAL_BOUND = 2.0  # goals are points in the base frame, nearer than this [m]


class GoalConditioned(gym.ObservationWrapper):
    """Observations {observation, achieved_goal, desired_goal}, and a vectorised `compute_reward`.

    `observation` is the environment's arrays joined in the order of its spec. The reward depends on
    the two goals alone, so that hindsight replay can compute it anew.
    """

    def __init__(self, env: ArmEnv):
        """Wrap `env`, whose observation must have no images.

        Raises:
            SpecError: if it has.
        """
        super().__init__(env)
        self._arm_env = env
        arrays = env.observation_spec.arrays
        images = [array.name for array in arrays if array.is_image]
        if images:
            raise SpecError(f"goal-conditioned observations are vectors, but '{images[0]}' is an image; use 'state'")
        low, high = (
            np.concatenate([np.broadcast_to(getattr(array, end), array.shape).ravel() for array in arrays])
            for end in ("low", "high")
        )
        size = env.task.goal_size
        goal = gym.spaces.Box(-GOAL_BOUND, GOAL_BOUND, (size,), np.float32)
        flat = gym.spaces.Box(low.astype(np.float32), high.astype(np.float32), dtype=np.float32)
        self.observation_space = gym.spaces.Dict({"observation": flat, "achieved_goal": goal, "desired_goal": goal})

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: object) -> np.ndarray:
        """Compute rewards (...) from goals (..., n); `info` is ignored."""
        return self._arm_env.score.goal_reward(achieved_goal, desired_goal)

    def observation(self, observation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Join the arrays, and put both goals beside them."""
        env = self._arm_env
        return {
            "observation": np.concatenate([observation[name].ravel() for name in env.observation_spec.names]),
            "achieved_goal": env.task.achieved_goal(env.world).astype(np.float32),
            "desired_goal": env.task.desired_goal(env.world).astype(np.float32),
        }
