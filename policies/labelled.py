"""Environments that show, beside what a policy is given, what the scripted expert would do now.

Labelled   both are told the truth
Mistaken   both are told where things are as if two cameras had seen them
"""

from __future__ import annotations

import os
import time
from collections import deque

import gymnasium as gym
import numpy as np
import torch

from policies.contact import beside
from sim.env import ArmEnv

EXPERT = "expert"
"""Name of the expert's action among the observations of `Labelled`."""

LASTING = np.array((0.008, 0.008, 0.004))
"""Standard deviation of a place's error that lasts for an episode, along x, y and z [m]: a camera's place, a lens."""
PASSING = np.array(((0.006,), (0.003,)))
"""That of errors which the next pictures do not make, of the thing and of the goal, on which many looks agree, along
each axis [m]; all are about as in recorded episodes of pushing by two cameras."""
AKIN = 0.8
"""Correlation of passing errors from one action to the next."""
LATEST = 3
"""Actions by which a picture of the thing is late, at most."""


class Labelled(gym.ObservationWrapper):
    """An environment whose observation also holds `expert`, what the scripted expert would do now."""

    def __init__(self, arm: ArmEnv):
        super().__init__(arm)
        self._arm = arm
        assert isinstance(arm.observation_space, gym.spaces.Dict)
        self.observation_space = gym.spaces.Dict({**arm.observation_space.spaces, EXPERT: arm.action_space})

    def observation(self, observation: dict) -> dict:
        """Return the observation with the expert's action."""
        return {**observation, EXPERT: self._arm.expert()}

    def set_pace(self, pace: float) -> None:
        """Let the expert go by `pace` times its own gain, from the next action on."""
        self._arm.task.pace = pace

    def cpu_seconds(self) -> tuple[int, float]:
        """Return this process's number and its processor seconds so far."""
        return os.getpid(), time.process_time()


class Mistaken(Labelled):
    """An environment that tells where thing and goal are as wrongly as cameras do, and whose expert believes it.

    Observation and label belong together: what imitates them does by wrong places what the expert does by true ones,
    and comes to where wrong places lead. The hand is closed, see `policies.contact`.
    """

    def __init__(self, arm: ArmEnv):
        super().__init__(arm)
        self._rng = np.random.default_rng(0)
        self._forget()

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Reset the environment and draw other errors; see `ArmEnv.reset`."""
        if seed is not None:
            self._rng = np.random.default_rng([seed, 1])  # not the numbers that the scene is drawn by
        self._forget()
        return super().reset(seed=seed, options=options)

    def _forget(self) -> None:
        self._lasting = self._rng.normal(size=(2, 3)) * LASTING
        self._passing = self._rng.normal(size=(2, 3))
        self._things: deque[np.ndarray] = deque(maxlen=1 + int(self._rng.integers(LATEST + 1)))

    def observation(self, observation: dict) -> dict:
        """Return the observation with wrong places, and the action of an expert who takes them for true."""
        self._things.append(observation["object_pos"])
        fresh = self._rng.normal(size=(2, 3))
        self._passing = AKIN * self._passing + np.sqrt(1.0 - AKIN**2) * fresh
        errors = self._lasting + self._passing * PASSING
        hand, thing = observation["ee_pos"], (self._things[0] + errors[0]).astype(np.float32)
        thing = beside(torch.from_numpy(hand[None]), torch.from_numpy(thing[None])).numpy()[0]
        goal = (observation["goal"] + errors[1]).astype(np.float32)
        label = self._arm.task.expert_told(self._arm.world, thing.astype(float), goal.astype(float))
        return {**observation, "object_pos": thing, "goal": goal, EXPERT: label}
