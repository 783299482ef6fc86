"""Detect out-of-distribution inputs: ranges, and a Mahalanobis distance, of each input, recorded at export.

A policy's actions are arbitrary on inputs unlike those of training. The ranges are part of the bundle's manifest, and
the control loop refuses an observation outside them, naming the input. Robot side: numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from robots.host.typed import build
from robots.observation import ASKED_COLOURS
from robots.specs import ObservationSpec, SpecError

FEWEST = 32
"""Least number of observations for a range."""
SLACK = 0.5
"""How far outside the recorded range an input may be, as a share of that range: recordings do not cover everything."""
DISTANCE_SLACK = 2.0
"""The same for the Mahalanobis distance: a multiple of the largest recorded one."""
FLOOR = 1e-3
"""Least width of a range, in the array's own unit."""
LIGHT_SLACK = 40.0
"""How much darker or lighter than all recorded ones an image may be, beyond the slack [grey levels]: more than the
gap between rendered and real images, less than the effect of a covered lens, a dead sensor or a lamp that is out."""
DETAIL_FACTOR = 3.0
"""Factor by which contrast and sharpness may be below the least recorded ones, or above the greatest."""
STATISTICS = ("mean of red", "mean of green", "mean of blue", "contrast", "sharpness")
"""Statistics of an image that are checked [grey levels]: they show a covered lens, a dead sensor, night, defocus."""


@dataclass(frozen=True)
class Range:
    """Range of one array in training."""

    low: tuple[float, ...]
    """Smallest value of each element, or of each of `STATISTICS`."""
    high: tuple[float, ...]
    """Largest."""
    mean: tuple[float, ...] = ()
    """Mean of each element; empty where no distance is checked."""
    whiten: tuple[tuple[float, ...], ...] = ()
    """Matrix W with |W (x − mean)|² the squared Mahalanobis distance."""
    distance: float = 0.0
    """Largest recorded distance."""


@dataclass(frozen=True)
class InputWatch:
    """Ranges of a policy's inputs, by name."""

    ranges: Mapping[str, Range]
    """By the observation array's name; arrays that are absent are not checked."""

    @classmethod
    def record(cls, spec: ObservationSpec, observations: Mapping[str, np.ndarray]) -> InputWatch:
        """Take ranges from `observations` (N, …) of training, by array name.

        Raises:
            SpecError: if there are fewer than `FEWEST`, or one is not finite.
        """
        ranges = {}
        for array in spec.arrays:
            if array.name == ASKED_COLOURS:  # chosen, not measured: the manifest lists those that there are
                continue
            seen = np.asarray(observations[array.name])
            if len(seen) < FEWEST:
                raise SpecError(
                    f"input '{array.name}': {len(seen)} observations, expected at least {FEWEST} for a range"
                )
            rows = np.array([picture_statistics(image) for image in seen]) if array.is_image else _flat(seen)
            if not np.isfinite(rows).all():
                raise SpecError(f"input '{array.name}': values that are not finite among those recorded")
            ranges[array.name] = _range(rows, watch_distance=not array.is_image)
        return cls(ranges)

    def widened(self, pictures: Mapping[str, np.ndarray]) -> InputWatch:
        """Return this watch with the ranges of `pictures` (N, H, W, 3), by array name, widened to hold them as well.

        Arrays that are not checked stay unchecked: the images alone do not define the range of training.
        """
        ranges = dict(self.ranges)
        for name, images in pictures.items():
            if name not in ranges:
                continue
            rows = np.array([picture_statistics(image) for image in images])
            low, high = np.minimum(rows.min(0), ranges[name].low), np.maximum(rows.max(0), ranges[name].high)
            ranges[name] = replace(ranges[name], low=tuple(low.tolist()), high=tuple(high.tolist()))
        return InputWatch(ranges)

    def reason(self, observation: Mapping[str, np.ndarray]) -> str:
        """Return why `observation` is out of distribution; empty if it is not."""
        return next(filter(None, (self.reason_of(name, observation[name]) for name in self.ranges)), "")

    def reason_of(self, name: str, value: np.ndarray) -> str:
        """As `reason`, of the array called `name` alone."""
        seen = self.ranges.get(name)
        if seen is None:
            return ""
        picture = value.dtype == np.uint8 and value.ndim == 3
        row = picture_statistics(value) if picture else value.reshape(-1).astype(np.float64)
        low, high = np.array(seen.low), np.array(seen.high)
        slack = SLACK * np.maximum(high - low, FLOOR)
        least, most = low - slack, high + slack
        if picture:
            least[:3], most[:3] = least[:3] - LIGHT_SLACK, most[:3] + LIGHT_SLACK
            least[3:], most[3:] = low[3:] / DETAIL_FACTOR, high[3:] * DETAIL_FACTOR
        beyond = np.maximum(least - row, row - most)
        worst = int(beyond.argmax())
        if not beyond[worst] <= 0:
            what = STATISTICS[worst] if picture else f"element {worst}"
            return (
                f"input '{name}': {what} is {row[worst]:.4g}, training saw {low[worst]:.4g} to {high[worst]:.4g} "
                f"(allowed are {least[worst]:.4g} to {most[worst]:.4g}); "
                + (
                    "is the lens covered, the light out, the camera another one?"
                    if picture
                    else "has the arm been moved to where the policy never was?"
                )
            )
        if seen.whiten:
            distance = float(np.linalg.norm(np.array(seen.whiten) @ (row - np.array(seen.mean))))
            if not distance <= DISTANCE_SLACK * seen.distance:
                return (
                    f"input '{name}': {distance:.1f} standard deviations from what training saw, which went to "
                    f"{seen.distance:.1f} (allowed {DISTANCE_SLACK * seen.distance:.1f}); each element is known, "
                    "the combination is not"
                )
        return ""

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {
            name: {
                "low": list(seen.low),
                "high": list(seen.high),
                "mean": list(seen.mean),
                "whiten": [list(row) for row in seen.whiten],
                "distance": seen.distance,
            }
            for name, seen in self.ranges.items()
        }

    @classmethod
    def from_dict(cls, data: Mapping) -> InputWatch:
        """Build from the result of `to_dict`."""
        return cls({name: build(Range, seen, f"input '{name}'") for name, seen in data.items()})

    def validate(self, spec: ObservationSpec) -> None:
        """Raise `SpecError` unless each range is of one of the arrays of `spec`, with a value for each element."""
        for name, seen in self.ranges.items():
            count = len(STATISTICS) if spec[name].is_image else math.prod(spec[name].shape)
            sizes = [len(seen.low), len(seen.high)]
            if seen.whiten:
                sizes += [len(seen.mean), *map(len, seen.whiten)]
            if sizes != [count] * len(sizes):
                raise SpecError(f"input '{name}': its range has {sizes} values, expected {count} everywhere")


def picture_statistics(image: np.ndarray) -> np.ndarray:
    """Compute `STATISTICS` (5,) [grey levels] of an RGB uint8 image (height, width, 3), on every second pixel."""
    small = image[::2, ::2].astype(np.float32)
    grey = small.mean(2)
    sharpness = np.abs(np.diff(grey, axis=1)).mean() if grey.shape[1] > 1 else 0.0
    return np.array([*small.mean((0, 1)), grey.std(), sharpness], np.float64)


def _flat(values: np.ndarray) -> np.ndarray:
    return values.reshape(len(values), -1).astype(np.float64)


def _range(rows: np.ndarray, watch_distance: bool) -> Range:
    low, high = rows.min(0), rows.max(0)
    n = rows.shape[1]
    if not watch_distance or len(rows) < 4 * n or n < 2:
        return Range(tuple(low.tolist()), tuple(high.tolist()))
    mean = rows.mean(0)
    # directions in which training hardly varied get the floor's spread: otherwise any noise there would be far out
    values, vectors = np.linalg.eigh(np.cov(rows.T))
    spread = np.sqrt(np.maximum(values, FLOOR**2) + (0.02 * (high - low).max()) ** 2)
    whiten = (vectors / spread).T
    distance = float(np.linalg.norm((rows - mean) @ whiten.T, axis=1).max())
    return Range(
        tuple(low.tolist()),
        tuple(high.tolist()),
        tuple(mean.tolist()),
        tuple(tuple(row) for row in whiten.tolist()),
        distance,
    )
