"""The training environment of reinforcement learning: hindsight goals, and observations of the critic only."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import gymnasium as gym
import numpy as np

from sim.env import ArmEnv
from sim.episode_score import RewardKind
from sim.randomization.parameters import ParameterSpace
from sim.tasks import load_task

PARAMETERS = "parameters"
"""Name of the array (p,) of the parameters drawn at the reset, in the order of the parameter space."""
GOAL = "goal"
"""Name of the observed array that hindsight replaces by goals that were reached."""
GOAL_BOUND = 10.0  # a reached goal may be on the floor [m]

Shapes = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes of arrays."""


@dataclass(frozen=True)
class PracticeEnv:
    """Makes training environments, whose episodes last to the time limit: success must be kept."""

    task: str
    """Name in `TASKS`."""
    robot: str = "franka_panda"
    """Name in `ROBOTS`."""
    space: str | ParameterSpace = "full"
    """Preset or parameter space."""
    observation: str | tuple[str, ...] = "state"
    """What the policy observes: one of the task's named observations, or names of arrays."""
    reward: RewardKind = "dense"
    """Named terms, or -1 until success."""
    hindsight: bool = False
    """Whether observations include goals, for hindsight experience replay."""
    asymmetric: bool = False
    """Whether the critic observes the whole state and the drawn parameters."""
    cameras: str | None = None
    """The rig whose parameters `space` has; None for the arm's own."""

    def names(self) -> tuple[str, ...]:
        """Return the names of the arrays that the policy observes.

        Raises:
            ValueError: for an unknown observation, if one is a picture, or hindsight has no goal to replace.
        """
        task = load_task(self.task)
        chosen = task.arrays(self.observation)
        pictures = [name for name in chosen if name.startswith(("image_", "depth_", "segmentation_"))]
        if pictures:
            raise ValueError(
                f"reinforcement learning takes vectors, but '{pictures[0]}' is a picture; learn from 'state', and let "
                "a camera student be taught: 'sim2real train --observation cameras'"
            )
        if self.hindsight and GOAL not in chosen:
            raise ValueError(
                f"hindsight replaces the array '{GOAL}', but the policy sees {', '.join(chosen)}; choose 'state', or "
                "leave --recipe.hindsight out"
            )
        goal = np.array([0.5, 0.0, 0.1])
        if self.hindsight and not task.is_success(goal, goal):
            raise ValueError(
                f"hindsight takes any place for a goal, but task '{self.task}' succeeds at some places only; leave "
                "--recipe.hindsight out"
            )
        return chosen

    def known(self) -> tuple[str, ...]:
        """Return the names of the arrays of the critic only, without the drawn parameters."""
        if not self.asymmetric:
            return ()
        task = load_task(self.task)
        everything = (*task.observations["state"], *(array.name for array in task.privileged))
        return tuple(dict.fromkeys(name for name in everything if name not in self.names()))

    def __call__(self) -> Practice:
        """Make the environment."""
        task = load_task(self.task)
        vars(task)["hold_time"] = task.time_limit  # this instance's own: success never ends an episode
        arrays = (*self.names(), *self.known())
        arm = ArmEnv(task, self.robot, self.space, arrays, cameras=self.cameras, reward=self.reward)
        return Practice(arm, self)


class Practice(gym.Wrapper):
    """An environment whose observation may include goals and drawn parameters, and that gives access to its expert."""

    def __init__(self, arm: ArmEnv, config: PracticeEnv):
        """Wrap `arm` as `config` says."""
        super().__init__(arm)
        self._arm, self._config = arm, config
        self._planned: list[dict[str, float]] = []
        self._outcomes: list[bool] = []
        self._held = 0
        hold = load_task(config.task).hold_time
        self._hold_steps = max(1, round(hold * arm.action_spec.rate_hz))
        assert isinstance(arm.observation_space, gym.spaces.Dict)
        spaces = dict(arm.observation_space.spaces)
        if config.asymmetric:
            spaces[PARAMETERS] = gym.spaces.Box(-np.inf, np.inf, (len(arm.parameter_space.names),), np.float32)
        if config.hindsight:
            goal = gym.spaces.Box(-GOAL_BOUND, GOAL_BOUND, (arm.task.goal_size,), np.float32)
            spaces |= {"achieved_goal": goal, "desired_goal": goal}
        self.observation_space = gym.spaces.Dict(spaces)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Reset the environment, with the parameters that were planned if any are left; see `ArmEnv.reset`."""
        if self._planned:
            options = {**(options or {}), "parameters": self._planned.pop(0)}
        observation, info = self._arm.reset(seed=seed, options=options)
        self._held = 0
        return self._completed(observation), info

    def step(self, action: np.ndarray) -> tuple[dict, float, bool, bool, dict]:
        """Step the environment; see `ArmEnv.step`."""
        observation, reward, terminated, truncated, info = self._arm.step(action)
        self._held = self._held + 1 if info["near"] else 0
        if terminated or truncated:
            self._outcomes.append(truncated and self._held >= self._hold_steps)
        return self._completed(observation), reward, terminated, truncated, info

    def plan(self, parameters: list[dict[str, float]]) -> None:
        """Set the parameters of the next episodes, in order, and clear the outcomes of the last ones."""
        self._planned, self._outcomes = list(parameters), []

    def outcomes(self) -> list[bool]:
        """Return whether each episode since `plan` ended in success that had lasted for the task's hold time."""
        return self._outcomes

    def cpu_seconds(self) -> tuple[int, float]:
        """Return this process's number and its processor seconds so far."""
        return os.getpid(), time.process_time()

    def compute_reward(self, achieved_goal: np.ndarray, desired_goal: np.ndarray, info: object) -> np.ndarray:
        """Compute rewards (...) from goals (..., n); `info` is not used."""
        return self._arm.score.goal_reward(achieved_goal, desired_goal)

    def expert(self) -> np.ndarray:
        """Return the scripted expert's action, (a,) float32."""
        return self._arm.expert()

    def _completed(self, observation: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        arm = self._arm
        if self._config.asymmetric:
            drawn = [arm.parameters[name] for name in arm.parameter_space.names]
            observation = {**observation, PARAMETERS: np.array(drawn, np.float32)}
        if self._config.hindsight:
            observation = {
                **observation,
                "achieved_goal": arm.task.achieved_goal(arm.world).astype(np.float32),
                "desired_goal": arm.task.desired_goal(arm.world).astype(np.float32),
            }
        return observation
