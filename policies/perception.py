"""What seeing gets wrong, as measured: given to a rule in training, so that it copes with it on the robot."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

STEADY = 0.5
"""Share of the errors' variance that stays the same through an episode: of a camera that stands a little wrong, of
looks that mislead; the rest changes with every picture."""


@dataclass(frozen=True)
class Perception:
    """Errors of arrays that a policy does not measure but sees."""

    names: tuple[str, ...]
    """Which arrays."""
    errors: np.ndarray = field(compare=False, repr=False)
    """(N, 3 · names) [m], seen minus true, on pictures that were not trained on; errors of one picture belong
    together, since what shifts one thing shifts the other as well."""

    def __post_init__(self) -> None:
        if self.errors.ndim != 2 or self.errors.shape[1] != 3 * len(self.names) or not len(self.errors):
            raise ValueError(
                f"perception of {', '.join(self.names)}: errors of shape {self.errors.shape}, "
                f"expected (N, {3 * len(self.names)}) with N at least 1"
            )

    def steady(self, rng: np.random.Generator) -> np.ndarray:
        """Draw the part of the error that an episode keeps (3 · names,) [m]."""
        return STEADY**0.5 * self._draw(rng)

    def blur(self, arrays: dict[str, np.ndarray], steady: np.ndarray, rng: np.random.Generator) -> None:
        """Add an error to each of `names` in `arrays`: the `steady` part, and a part drawn now."""
        error = (steady + (1 - STEADY) ** 0.5 * self._draw(rng)).astype(np.float32)
        for i, name in enumerate(self.names):
            arrays[name] = arrays[name] + error[3 * i : 3 * i + 3]

    def _draw(self, rng: np.random.Generator) -> np.ndarray:
        return self.errors[rng.integers(len(self.errors))]
