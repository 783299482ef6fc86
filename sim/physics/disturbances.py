"""Forces that no policy asked for: knocks against the hand and the object, and a restless object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

KNOCK_TIME = 0.1
"""How long a knock lasts [s]."""


class Forces(NamedTuple):
    """Forces of one action period, base frame [N]."""

    on_ee: np.ndarray | None
    on_object: np.ndarray | None


NONE = Forces(None, None)


class Disturbances:
    """Draws the forces of an episode."""

    def __init__(self, rate_hz: float):
        """Prepare for `rate_hz` action periods a second."""
        self._rate_hz = rate_hz

    def begin(self, p: Mapping[str, float]) -> None:
        """Take an episode's parameters."""
        self._chance = p["knock_rate"] / self._rate_hz
        self._ee, self._object, self._restless = p["ee_knock"], p["object_knock"], p["object_force_noise"]
        self._quiet = not (self._restless > 0 or (self._chance > 0 and (self._ee > 0 or self._object > 0)))
        self._left = 0
        self._knock = NONE

    def draw(self, rng: np.random.Generator) -> Forces:
        """Return the forces of the next action period."""
        if self._quiet:
            return NONE
        if self._left == 0:
            self._knock = NONE
            if rng.random() < self._chance:
                self._left = max(1, round(KNOCK_TIME * self._rate_hz))
                self._knock = Forces(self._ee * direction(rng), self._object * direction(rng))
        else:
            self._left -= 1
        on_object = self._knock.on_object
        if self._restless > 0:
            on_object = self._restless * rng.standard_normal(3) + (0.0 if on_object is None else on_object)
        return Forces(self._knock.on_ee, on_object)


def direction(rng: np.random.Generator) -> np.ndarray:
    """Draw a unit vector (3,)."""
    v = rng.standard_normal(3)
    return v / np.linalg.norm(v)
