"""Environments that show, beside what a policy is given, what the scripted expert would do now.

Labelled   both are told the truth
Mistaken   both are told where things are as if two cameras had seen them
"""

from __future__ import annotations

import os
import time
from collections import deque
from typing import NamedTuple

import gymnasium as gym
import numpy as np
import torch

from policies.models.filters.contact import beside
from policies.models.filters.goal_filter import UNIT
from policies.models.filters.object_filter import HELD, KEPT, SceneMemory
from sim.env import ArmEnv

EXPERT = "expert"
"""Name of the expert's action among the observations of `Labelled`."""


class Sight(NamedTuple):
    """Standard deviations of errors of sight, of the thing and of the goal, along x, y and z (2, 3) [m]."""

    lasting: np.ndarray
    """Of those that last for an episode: a camera's place, a lens."""
    passing: np.ndarray
    """Of those that the next pictures do not make, and on which many looks agree."""
    covered: np.ndarray
    """Of those again where the hand is at the thing, or `OVER` it, and covers some of it."""


def _mm(thing: tuple[float, float, float], goal: tuple[float, float, float]) -> np.ndarray:
    return np.array((thing, goal)) / 1e3


WHILE_PUSHING = Sight(
    lasting=_mm((5.5, 7.7, 5.4), (4.4, 5.7, 4.5)),
    passing=_mm((3.8, 4.0, 1.9), (1.7, 1.6, 0.8)),
    covered=_mm((9.0, 9.0, 4.5), (1.7, 1.6, 0.8)),
)
"""As in 100 recorded episodes of pushing by two cameras; of the cube's places 1 in 10 was 2.6 cm off and more while a
hand was at it, 1.5 once that was 8 cm above."""
WHILE_GRASPING = Sight(
    lasting=_mm((8.0, 8.0, 4.0), (8.0, 8.0, 4.0)),
    passing=_mm((6.0, 6.0, 6.0), (3.0, 3.0, 3.0)),
    covered=_mm((6.0, 6.0, 6.0), (3.0, 3.0, 3.0)),
)
"""As in recorded episodes by two cameras whose lenses were shorter; a hand that has fingers to feel with is told by
them what it covers, see `SceneMemory`."""
OVER = (0.10, 0.08)
"""How far a hand that covers some of a thing is aside and above it, at most [m]."""
AKIN = 0.8
"""Correlation of passing errors from one action to the next."""
LATEST = 3
"""Actions by which a picture of the thing is late, at most."""
DOUBTS = torch.full((1, 2), UNIT)
"""By how much a look at either is expected to be wrong [m], where what was seen before is remembered."""


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
        self._arm.task.expert_gain = pace

    def cpu_seconds(self) -> tuple[int, float]:
        """Return this process's number and its processor seconds so far."""
        return os.getpid(), time.process_time()


class Mistaken(Labelled):
    """An environment that tells where thing and goal are as wrongly as cameras do, and whose expert believes it.

    Observation and label belong together: what imitates them does by wrong places what the expert does by true ones,
    and comes to where wrong places lead. Of a hand that is closed nothing is told inside it, see
    `policies.models.filters.contact`;
    where fingers move, both are told what one remembers of such looks and feels, see `SceneMemory`.
    """

    def __init__(self, arm: ArmEnv):
        super().__init__(arm)
        self._rng = np.random.default_rng(0)
        self._remembered = SceneMemory(KEPT, arm.robot.gripper) if "gripper" in arm.action_spec.names else None
        self._sight = WHILE_GRASPING if self._remembered else WHILE_PUSHING
        if self._remembered:
            assert isinstance(self.observation_space, gym.spaces.Dict)
            held = gym.spaces.Box(0.0, 1.0, (1,), np.float32)
            self.observation_space = gym.spaces.Dict({**self.observation_space.spaces, HELD: held})
        self._forget()

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[dict, dict]:
        """Reset the environment and draw other errors; see `ArmEnv.reset`."""
        if seed is not None:
            self._rng = np.random.default_rng([seed, 1])  # not the numbers that the scene is drawn by
        self._forget()
        return super().reset(seed=seed, options=options)

    def _forget(self) -> None:
        self._lasting = self._rng.normal(size=(2, 3)) * self._sight.lasting
        self._passing = self._rng.normal(size=(2, 3))
        self._things: deque[np.ndarray] = deque(maxlen=1 + int(self._rng.integers(LATEST + 1)))
        shapes = self._remembered.memory.values() if self._remembered else ()
        self._memory = tuple(torch.zeros(1, *shape) for shape in shapes)

    def observation(self, observation: dict) -> dict:
        """Return the observation with wrong places, and the action of an expert who takes them for true."""
        self._things.append(observation["object_pos"])
        fresh = self._rng.normal(size=(2, 3))
        self._passing = AKIN * self._passing + np.sqrt(1.0 - AKIN**2) * fresh
        above = observation["ee_pos"] - observation["object_pos"]
        covers = np.hypot(above[0], above[1]) < OVER[0] and above[2] < OVER[1]
        errors = self._lasting + self._passing * (self._sight.covered if covers else self._sight.passing)
        told = self._believed(observation, self._things[0] + errors[0], observation["goal"] + errors[1])
        held = bool(told[HELD][0]) if HELD in told else None
        thing, goal = (told[name].astype(float) for name in ("object_pos", "goal"))
        return {**observation, **told, EXPERT: self._arm.task.expert_from(self._arm.world, thing, goal, held)}

    @torch.no_grad()
    def _believed(self, observation: dict, thing: np.ndarray, goal: np.ndarray) -> dict[str, np.ndarray]:
        """Return what is believed, float32 arrays by name, after a look that puts thing and goal there (3,) [m]."""
        hand, look = (torch.from_numpy(each[None].astype(np.float32)) for each in (observation["ee_pos"], thing))
        if self._remembered is None:
            return {"object_pos": beside(hand, look).numpy()[0], "goal": goal.astype(np.float32)}
        ways = torch.cat([look, torch.from_numpy(goal[None].astype(np.float32))], dim=1) - hand.repeat(1, 2)
        opening = torch.from_numpy(observation["opening"][None])
        places, held, self._memory = self._remembered(hand, opening, ways, DOUBTS, *self._memory)
        return {"object_pos": places[0, :3].numpy(), "goal": places[0, 3:].numpy(), HELD: held[0].numpy()}
