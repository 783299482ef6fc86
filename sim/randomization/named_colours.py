"""Colours with a name, by which one thing among several is asked for. numpy only.

A name stands for a range of hues: no two labs' red is the same. The ranges leave gaps, so that a hue has one name at
most.
"""

from __future__ import annotations

import colorsys
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from robots.specs import SpecError

RGB = tuple[float, float, float]


class NamedColour(NamedTuple):
    """What one name stands for."""

    hues: tuple[float, float]
    """Smallest and largest hue [°], the smallest below the largest."""
    saturation: tuple[float, float] = (0.7, 1.0)
    """Smallest and largest, in [0, 1]."""
    value: tuple[float, float] = (0.6, 1.0)
    """Likewise: strong colours, neither dark nor pale."""

    @property
    def reference(self) -> RGB:
        """The middle of the range, RGB in [0, 1]: what a policy is given as the colour that is asked for."""
        return self.at((0.5, 0.5, 0.5))

    def at(self, u: Sequence[float]) -> RGB:
        """Return the colour at the share `u` (3,) in [0, 1] of the ranges of hue, saturation and value."""
        hue, saturation, value = (
            low + share * (high - low) for (low, high), share in zip((self.hues, self.saturation, self.value), u)
        )
        return colorsys.hsv_to_rgb((hue / 360.0) % 1.0, saturation, value)

    def holds(self, rgb: Sequence[float]) -> bool:
        """Whether the hue of `rgb`, in [0, 1], is in the range."""
        low, high = self.hues
        return (360.0 * colorsys.rgb_to_hsv(*rgb)[0] - low) % 360.0 <= high - low


COLOURS: Mapping[str, NamedColour] = {
    "red": NamedColour((-10.0, 8.0)),
    "blue": NamedColour((205.0, 235.0)),
    "green": NamedColour((95.0, 150.0)),
    "yellow": NamedColour((40.0, 62.0)),
    "purple": NamedColour((268.0, 300.0)),
    "orange": NamedColour((15.0, 31.0)),
}
"""All colours that have a name, by it; the ranges of hues do not meet."""


def colour_named(name: str) -> NamedColour:
    """Return the colour called `name`.

    Raises:
        SpecError: for an unknown one, with the known ones.
    """
    if name not in COLOURS:
        raise SpecError(f"unknown colour '{name}'; known are {', '.join(COLOURS)}")
    return COLOURS[name]
