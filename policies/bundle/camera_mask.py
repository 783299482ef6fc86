"""What a policy that takes any subset of its cameras says about them.

The graph of such a policy has an input `camera_mask`, 1 for each camera that counts, and an output `predicted_std`: how
wrong it takes each position that it locates to be. The control loop masks a camera that fails, and goes on while the
policy is no less sure than it was, once in twenty states, with all cameras in training. Robot side: numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np

from robots.host.typed import build
from robots.specs import ArraySpec, SpecError

CAMERA_MASK = "camera_mask"
"""Name of the graph's input."""
STD_OUTPUT = "predicted_std"
"""Name of its output."""
QUANTILE = 0.95
"""Of the predicted std with all cameras in states that were not trained on: the most that is allowed with fewer."""


@dataclass(frozen=True)
class CameraMasking:
    """Which cameras may be masked, and how unsure the policy may then be."""

    cameras: tuple[str, ...]
    """Names, in the order of the mask."""
    positions: tuple[str, ...]
    """What is located, in the order of the predicted std."""
    usual: tuple[float, ...]
    """Median predicted std of each with all cameras [m]."""
    limits: tuple[float, ...]
    """Greatest predicted std of each with which the policy goes on [m]."""

    @classmethod
    def of(cls, cameras: Sequence[str], positions: Sequence[str], stds: np.ndarray) -> CameraMasking:
        """Take usual and greatest std from predicted ones (N, P) [m] with all cameras."""
        usual, limits = np.quantile(np.asarray(stds, float), [0.5, QUANTILE], axis=0).tolist()
        return cls(tuple(cameras), tuple(positions), tuple(usual), tuple(limits))

    @property
    def spec(self) -> ArraySpec:
        """The mask: an array of the graph, beside those of the observation."""
        return ArraySpec(CAMERA_MASK, (len(self.cameras),), low=0.0, high=1.0)

    def all_cameras(self) -> np.ndarray:
        """Return the mask (C,) of all cameras."""
        return np.ones(len(self.cameras), np.float32)

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, data: Mapping) -> CameraMasking | None:
        """Build from the result of `to_dict`; None from an empty one.

        Raises:
            SpecError: if it has not one finite positive number for each position.
        """
        if not data:
            return None
        found = build(cls, data, "camera_mask")
        for name in ("usual", "limits"):
            values = getattr(found, name)
            if len(values) != len(found.positions) or not all(math.isfinite(value) and value > 0 for value in values):
                raise SpecError(
                    f"camera_mask: {name} is {list(values)}, expected one positive number for each of "
                    f"{', '.join(found.positions)}"
                )
        return found

    def validate(self, cameras: Sequence[str]) -> None:
        """Raise `SpecError` unless these are the policy's `cameras`, two at least, in their order."""
        if list(self.cameras) != list(cameras) or len(cameras) < 2:
            raise SpecError(
                f"camera_mask: is of the cameras {', '.join(self.cameras)}, expected all of the observation's, two at "
                f"least: {', '.join(cameras) or 'there are none'}"
            )
