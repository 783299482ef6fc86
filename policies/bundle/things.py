"""What of several things a policy can be asked for, by colour: the names that its manifest declares.

The policy observes the reference colour of each name that is asked for, `robots.observation.ASKED_COLOURS`. It is asked
in words: "red", or, where it is also to be told what the red one goes onto, "red on blue". Robot side: numpy only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from robots.host.typed import build
from robots.observation import ASKED_COLOURS
from robots.specs import ObservationSpec, SpecError

ON = " on "
"""Stands between two names where a policy is asked for two."""


@dataclass(frozen=True)
class Things:
    """Colours by which a policy can be asked for one of the things on its table."""

    bodies: tuple[str, ...]
    """What is asked for: the body that the policy handles and, where that is another thing, what it goes onto."""
    colours: Mapping[str, tuple[float, ...]]
    """Reference colour of each name, RGB in [0, 1]."""

    def __str__(self) -> str:
        """Return what can be asked for, for people."""
        names = ", ".join(self.colours)
        return names if len(self.bodies) == 1 else f"two of {names}, as '{ON.join(list(self.colours)[:2])}'"

    def named(self, thing: str) -> tuple[str, ...]:
        """Return the names of the colours that `thing` asks for, as "red" or "red on blue".

        Raises:
            SpecError: if it is none that the policy knows, with those that it does, or names one twice.
        """
        names = tuple(" ".join(thing.lower().split()).split(ON))
        if len(names) != len(self.bodies) or not set(names) <= set(self.colours) or len(set(names)) != len(names):
            raise SpecError(f"thing {thing[:60]!r} is none that this policy can be asked for; expected {self}")
        return names

    def asked(self, thing: str) -> np.ndarray:
        """Return the colours (k, 3) float32 that the policy observes, asked for `thing`; raises as `named`."""
        return np.array([self.colours[name] for name in self.named(thing)], np.float32)

    def first(self) -> np.ndarray:
        """Return the colours (k, 3) float32 of the first names."""
        return self.asked(ON.join(list(self.colours)[: len(self.bodies)]))

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {"bodies": list(self.bodies), "colours": {name: list(rgb) for name, rgb in self.colours.items()}}

    @classmethod
    def from_dict(cls, data: Mapping) -> Things | None:
        """Build from the result of `to_dict`; None from nothing."""
        return build(cls, data, "things") if data else None


def check_asked(policy: str, things: Things | None, thing: str) -> None:
    """Raise `SpecError` if `policy` cannot be asked for `thing`, or must be asked for one and is not."""
    if things is not None and thing:
        things.named(thing)
    elif things is not None:
        raise SpecError(f"policy '{policy}' must be asked for a thing (--thing, or a plan's thing), one of: {things}")
    elif thing:
        raise SpecError(f"policy '{policy}' is about one thing, and cannot be asked for '{thing}'; leave it out")


def check_things(things: Things | None, spec: ObservationSpec) -> None:
    """Raise `SpecError` unless `things` are declared just where the observation has their colours."""
    shape = spec[ASKED_COLOURS].shape if ASKED_COLOURS in spec.names else None
    declared = (len(things.bodies), 3) if things is not None else None
    if shape != declared:
        raise SpecError(f"things: '{ASKED_COLOURS}' is {shape or 'not observed'}, the manifest declares {declared}")
    colours: Sequence = list(things.colours.values()) if things is not None else []
    if things is not None and not (
        len(colours) > len(things.bodies)
        and all(len(rgb) == 3 and all(0.0 <= each <= 1.0 for each in rgb) for rgb in colours)
    ):
        raise SpecError(f"things: colours are {dict(things.colours)}, expected RGB in [0, 1] of more names than bodies")
