"""Environments whose observation also holds the scripted expert's action.

ExpertLabels      observation and expert use the true positions
WatchedEpisodes   likewise, and keeps what the simulator's labels say of an episode
PerceptionNoise   both use positions with errors such as cameras make
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import NamedTuple, SupportsFloat

import gymnasium as gym
import numpy as np
import torch

from policies.models.filters.contact import outside_hand
from policies.models.filters.goal_filter import REFERENCE_STD
from policies.models.filters.object_filter import HELD, ObjectFilter, default_factors
from policies.scoring.failure_causes import EpisodeRecord, EpisodeWatch
from sim.env import ArmEnv

EXPERT = "expert"
"""Name of the expert's action among the observations of `ExpertLabels`."""


class NoiseStd(NamedTuple):
    """Standard deviations of position errors of the object and the goal along x, y and z (2, 3) [m]."""

    per_episode: np.ndarray
    """Of errors that stay the same for an episode: camera pose, lens."""
    per_image: np.ndarray
    """Of errors that change from image to image, and that averaging removes."""
    occluded: np.ndarray
    """Of the latter where the hand is at the object, or within `OCCLUSION` of it, and hides some of it."""


def _mm(thing: tuple[float, float, float], goal: tuple[float, float, float]) -> np.ndarray:
    return np.array((thing, goal)) / 1e3


WHILE_PUSHING = NoiseStd(
    per_episode=_mm((5.5, 7.7, 5.4), (4.4, 5.7, 4.5)),
    per_image=_mm((3.8, 4.0, 1.9), (1.7, 1.6, 0.8)),
    occluded=_mm((9.0, 9.0, 4.5), (1.7, 1.6, 0.8)),
)
"""Measured in 100 recorded episodes of pushing with two cameras."""
WHILE_GRASPING = NoiseStd(
    per_episode=_mm((8.0, 8.0, 4.0), (8.0, 8.0, 4.0)),
    per_image=_mm((6.0, 6.0, 6.0), (3.0, 3.0, 3.0)),
    occluded=_mm((6.0, 6.0, 6.0), (3.0, 3.0, 3.0)),
)
"""Measured in recorded episodes with two cameras of shorter focal length; a gripper's opening makes up for occlusion,
see `ObjectFilter`."""
OCCLUSION = (0.10, 0.08)
"""Greatest horizontal and vertical distance of a hand that hides some of an object [m]."""
CORRELATION = 0.8
"""Of the errors per image, from one action to the next."""
MAX_DELAY = 3
"""Greatest delay of the object's position [actions]."""
PREDICTED_STD = torch.full((1, 2), REFERENCE_STD)
"""Predicted std of either position [m], where positions are filtered."""


class ExpertLabels(gym.ObservationWrapper):
    """An environment whose observation also holds `expert`, the scripted expert's action."""

    def __init__(self, arm: ArmEnv):
        super().__init__(arm)
        self._arm = arm
        assert isinstance(arm.observation_space, gym.spaces.Dict)
        self.observation_space = gym.spaces.Dict({**arm.observation_space.spaces, EXPERT: arm.action_space})

    def observation(self, observation: dict) -> dict:
        """Return the observation with the expert's action."""
        return {**observation, EXPERT: self._arm.expert()}

    def set_expert_gain(self, gain: float) -> None:
        """Multiply the expert's own gain by `gain`, from the next action on."""
        self._arm.task.expert_gain = gain

    def cpu_seconds(self) -> tuple[int, float]:
        """Return this process's number and its processor seconds so far."""
        return os.getpid(), time.process_time()


class WatchedEpisodes(ExpertLabels):
    """Keeps an `EpisodeRecord` of the episode that was begun with a seed; its automatic successors are not watched."""

    def __init__(self, arm: ArmEnv):
        super().__init__(arm)
        self._watch = EpisodeWatch(arm)
        self._watched = False
        self._record: EpisodeRecord | None = None

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Reset the environment; see `ArmEnv.reset`."""
        observation, info = super().reset(seed=seed, options=options)
        self._watched = seed is not None
        if self._watched:
            self._watch.begin(observation)
        return observation, info

    def step(self, action: np.ndarray) -> tuple[dict, SupportsFloat, bool, bool, dict]:
        """Advance by one action period; see `ArmEnv.step`."""
        observation, reward, terminated, truncated, info = super().step(action)
        if self._watched:
            self._watch.step(observation, bool(info["near"]))
            if terminated or truncated:
                self._record, self._watched = self._watch.record(), False
        return observation, reward, terminated, truncated, info

    def episode_record(self) -> EpisodeRecord | None:
        """Return the record of the watched episode, when it has ended."""
        return self._record


class PerceptionNoise(ExpertLabels):
    """Adds to the positions of goal and object errors such as cameras make; the expert acts on the same positions.

    What imitates the expert thereby learns to act on wrong positions, and visits the states that these lead to. Where
    the fingers stay closed, the object is moved outside the hand, see `policies.models.filters.contact`; where they
    move, observation and expert use filtered positions, see `ObjectFilter`.
    """

    def __init__(self, arm: ArmEnv):
        super().__init__(arm)
        self._rng = np.random.default_rng(0)
        grips = "gripper" in arm.action_spec.names
        self._moves_object = arm.task.moves_object
        self._filter = ObjectFilter(default_factors(True), arm.robot.gripper) if grips else None
        noise = WHILE_GRASPING if self._filter else WHILE_PUSHING
        self._noise = NoiseStd(*(arm.task.scale * each for each in noise))  # a small arm's cameras are nearer
        if self._filter:
            assert isinstance(self.observation_space, gym.spaces.Dict)
            held = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
            self.observation_space = gym.spaces.Dict({**self.observation_space.spaces, HELD: held})
        self._draw()

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Reset the environment and draw new errors; see `ArmEnv.reset`."""
        if seed is not None:
            self._rng = np.random.default_rng([seed, 1])  # independent of the numbers that the scene is drawn by
        self._draw()
        return super().reset(seed=seed, options=options)

    def _draw(self) -> None:
        """Draw an episode's errors and delay, and begin with an empty memory."""
        self._per_episode = self._rng.normal(size=(2, 3)) * self._noise.per_episode
        self._per_image = self._rng.normal(size=(2, 3))
        self._delayed: deque[np.ndarray] = deque(maxlen=1 + int(self._rng.integers(MAX_DELAY + 1)))
        shapes = self._filter.memory.values() if self._filter else ()
        self._memory = tuple(torch.zeros(1, *shape) for shape in shapes)

    def observation(self, observation: dict) -> dict:
        """Return the observation with noisy positions, and the expert's action on these."""
        fresh = self._rng.normal(size=(2, 3))
        self._per_image = CORRELATION * self._per_image + np.sqrt(1.0 - CORRELATION**2) * fresh
        if not self._moves_object:
            errors = self._per_episode + self._per_image * self._noise.per_image
            goal = (observation["goal"] + errors[1]).astype(np.float32)
            expert = self._arm.task.expert_from(self._arm.world, goal, goal.astype(float))
            return {**observation, "goal": goal, EXPERT: expert}
        self._delayed.append(observation["object_pos"])
        above = observation["ee_pos"] - observation["object_pos"]
        occluded = np.hypot(above[0], above[1]) < OCCLUSION[0] and above[2] < OCCLUSION[1]
        errors = self._per_episode + self._per_image * (self._noise.occluded if occluded else self._noise.per_image)
        noisy = self._filtered(observation, self._delayed[0] + errors[0], observation["goal"] + errors[1])
        held = bool(noisy[HELD][0]) if HELD in noisy else None
        thing, goal = (noisy[name].astype(float) for name in ("object_pos", "goal"))
        return {**observation, **noisy, EXPERT: self._arm.task.expert_from(self._arm.world, thing, goal, held)}

    @torch.no_grad()
    def _filtered(self, observation: dict, thing: np.ndarray, goal: np.ndarray) -> dict[str, np.ndarray]:
        """Filter estimates of object and goal (3,) [m]; return float32 arrays by name."""
        ee_pos, estimate = (torch.from_numpy(each[None].astype(np.float32)) for each in (observation["ee_pos"], thing))
        if self._filter is None:
            return {"object_pos": outside_hand(ee_pos, estimate).numpy()[0], "goal": goal.astype(np.float32)}
        both = torch.cat([estimate, torch.from_numpy(goal[None].astype(np.float32))], dim=1)
        offsets = both - ee_pos.repeat(1, 2)
        opening = torch.from_numpy(observation["opening"][None])
        found, held, self._memory = self._filter(ee_pos, opening, offsets, PREDICTED_STD, *self._memory)
        return {"object_pos": found[0, :3].numpy(), "goal": found[0, 3:].numpy(), HELD: held[0].numpy()}
