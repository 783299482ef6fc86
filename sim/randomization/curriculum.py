"""How the parameter space grows while a policy learns: fixed, linear, or automatically.

A curriculum draws the parameters of each episode, which go to `env.reset(options={"parameters": …})`, and
takes the episode's outcome. Its state is saved with the run. numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from sim.randomization.parameters import Distribution, Param, ParameterError, ParameterSpace


@dataclass(frozen=True)
class Draw:
    """The parameters of one episode."""

    parameters: dict[str, float]
    """By name."""
    probe: str = ""
    """Which end of which parameter the episode tests: `object_mass:high`; empty for an ordinary episode."""


class Curriculum(Protocol):
    """Draws episodes, and grows with their outcomes."""

    @property
    def share(self) -> float:
        """Mean share of the full ranges, from 0 to 1: how far the curriculum has come."""

    def draw(self, rng: np.random.Generator) -> Draw:
        """Draw the parameters of the next episode."""

    def report(self, draw: Draw, success: bool) -> None:
        """Record whether the episode of `draw` ended in success."""

    def state(self) -> dict:
        """Return the state, as plain JSON types."""

    def restore(self, state: Mapping) -> None:
        """Go on from what `state` returned."""


class FixedCurriculum:
    """The whole space from the first episode on."""

    def __init__(self, space: ParameterSpace):
        """Draw from `space`."""
        self.space = space
        self.share = 1.0
        """All of every range."""

    def draw(self, rng: np.random.Generator) -> Draw:
        """Draw from the space."""
        return Draw(self.space.sample(rng))

    def report(self, draw: Draw, success: bool) -> None:
        """Record nothing."""

    def state(self) -> dict:
        """Return nothing."""
        return {}

    def restore(self, state: Mapping) -> None:
        """There is nothing to restore."""


class LinearCurriculum:
    """From nominal to all of every range, in equal steps over `episodes`."""

    def __init__(self, space: ParameterSpace, episodes: int):
        """Grow `space`.

        Raises:
            ParameterError: if there is no episode.
        """
        if episodes < 1:
            raise ParameterError(f"linear curriculum: {episodes} episodes, expected at least one episode")
        self._full, self._episodes = space, episodes
        self._done = 0
        self._grown = (-1.0, space)

    @property
    def space(self) -> ParameterSpace:
        """The space as it is now; it grows in hundredths."""
        share = self.share
        if share != self._grown[0]:
            self._grown = share, self._full.narrowed(share)
        return self._grown[1]

    @property
    def share(self) -> float:
        """Share of the full ranges."""
        return round(min(1.0, self._done / self._episodes), 2)

    def draw(self, rng: np.random.Generator) -> Draw:
        """Draw from the space as it is now."""
        return Draw(self.space.sample(rng))

    def report(self, draw: Draw, success: bool) -> None:
        """Count the episode."""
        self._done += 1

    def state(self) -> dict:
        """Return the number of episodes."""
        return {"done": self._done}

    def restore(self, state: Mapping) -> None:
        """Go on after so many episodes."""
        self._done = int(state["done"])


@dataclass(frozen=True)
class AdrConfig:
    """Settings of automatic domain randomisation; windows are shorter than Akkaya et al.'s 240, for short runs."""

    probe_share: float = 0.5
    """Share of episodes that test one end of one parameter."""
    window: int = 20
    """Episodes at an end after which it is judged."""
    widen_above: float = 0.8
    """Success at an end from which its range is widened."""
    narrow_below: float = 0.4
    """Success at an end below which it is narrowed."""
    step: float = 0.1
    """How far an end moves, as a share of the full range on its side."""
    start: float = 0.0
    """Share of the ranges to begin with."""


class AutomaticCurriculum:
    """Automatic domain randomisation (Akkaya et al. 2019, Solving Rubik's Cube with a Robot Hand, section 5).

    Every end of every range is a share, 0 at nominal and 1 at the full range. Some episodes set one
    parameter to one end; enough success there moves the end outwards, too little moves it back.
    """

    def __init__(self, space: ParameterSpace, config: AdrConfig | None = None):
        """Grow `space`, which is what no end grows beyond.

        Raises:
            ParameterError: if the thresholds or shares make no sense.
        """
        c = self.config = config or AdrConfig()
        if not (0 <= c.narrow_below <= c.widen_above <= 1 and 0 <= c.start <= 1 and 0 < c.step <= 1 and c.window >= 1):
            raise ParameterError(
                f"automatic curriculum: {c}; expected 0 <= narrow_below <= widen_above <= 1, start and step within "
                "[0, 1], and a window of at least one episode"
            )
        self._full = space
        self._ends = {f"{param.name}:{side}": c.start for param in space.params for side in sides(param)}
        self._results: dict[str, list[bool]] = {end: [] for end in self._ends}
        self._space: ParameterSpace | None = None

    @property
    def space(self) -> ParameterSpace:
        """The space as it is now."""
        if self._space is None:
            params = tuple(self._narrowed(param) for param in self._full.params)
            self._space = replace(self._full, params=params, name=f"{self._full.name}:adr")
        return self._space

    @property
    def share(self) -> float:
        """Mean share of the full ranges, from 0 to 1: how far the curriculum has come."""
        return float(np.mean(list(self._ends.values()))) if self._ends else 1.0

    def draw(self, rng: np.random.Generator) -> Draw:
        """Draw from the space as it is now; now and then set one parameter to one of its ends."""
        parameters = self.space.sample(rng)
        if not self._ends or rng.random() >= self.config.probe_share:
            return Draw(parameters)
        end = list(self._ends)[rng.integers(len(self._ends))]
        name, side = end.rsplit(":", 1)
        parameters[name] = value_at(self._full[name], side, self._ends[end])
        return Draw(parameters, end)

    def report(self, draw: Draw, success: bool) -> None:
        """Move the end that the episode has tested, once its window is full."""
        if not draw.probe:
            return
        results, c = self._results[draw.probe], self.config
        results.append(bool(success))
        if len(results) < c.window:
            return
        rate = sum(results) / len(results)
        results.clear()
        move = c.step if rate >= c.widen_above else -c.step if rate < c.narrow_below else 0.0
        self._ends[draw.probe] = min(1.0, max(0.0, self._ends[draw.probe] + move))
        self._space = None

    def state(self) -> dict:
        """Return all ends and the outcomes that have not been judged yet."""
        return {"ends": dict(self._ends), "results": {end: list(r) for end, r in self._results.items() if r}}

    def restore(self, state: Mapping) -> None:
        """Go on from what `state` returned.

        Raises:
            ParameterError: if it is the state of another space.
        """
        if set(state["ends"]) != set(self._ends):
            other = sorted(set(state["ends"]) ^ set(self._ends))[0]
            raise ParameterError(
                f"automatic curriculum: the saved state is of another parameter space ('{other}' is in one only)"
            )
        self._ends = {end: float(state["ends"][end]) for end in self._ends}
        self._results = {end: list(state["results"].get(end, [])) for end in self._ends}
        self._space = None

    def _narrowed(self, param: Param) -> Param:
        shares = [self._ends.get(f"{param.name}:{side}", 0.0) for side in ("low", "high")]
        d = param.distribution
        if d.kind == "choice":
            return param if shares[1] > 0 else param.narrowed(0.0)
        if d.kind == "constant" or not any(shares):
            return param.narrowed(0.0)
        low, high = (draw_at(param, side, share) for side, share in zip(("low", "high"), shares))
        return replace(param, distribution=Distribution(d.kind, low, high))


def sides(param: Param) -> tuple[str, ...]:
    """The ends of a parameter's range that can grow: those that are not at nominal."""
    d = param.distribution
    if d.kind == "constant":
        return ()
    if d.kind == "choice":
        return ("high",)
    return tuple(side for side, end in (("low", d.low), ("high", d.high)) if end != param.neutral)


def draw_at(param: Param, side: str, share: float) -> float:
    """Return the draw `share` (0 to 1) of the way from neutral to one end of the range."""
    d, neutral = param.distribution, param.neutral
    end = d.low if side == "low" else d.high
    if share >= 1:
        return float(end)
    if d.kind == "loguniform" and neutral > 0:
        return float(neutral * (end / neutral) ** share)
    return float(neutral + share * (end - neutral))


def value_at(param: Param, side: str, share: float) -> float:
    """Return the value that belongs to `draw_at`."""
    if param.distribution.kind == "choice":
        return max(param.distribution.choices) if share > 0 else param.nominal
    drawn = draw_at(param, side, share)
    return {"=": drawn, "*": param.nominal * drawn, "+": param.nominal + drawn}[param.operator]
