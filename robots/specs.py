"""What goes into a policy and what comes out of it, precisely enough to refuse anything else.

Robot side: numpy only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from robots.host.reading import SpecError, brief
from robots.host.typed import build

if TYPE_CHECKING:
    import gymnasium as gym

DTYPES = ("float16", "float32", "float64", *(f"{u}int{bits}" for u in ("", "u") for bits in (8, 16, 32, 64)), "bool")
"""What an array may hold."""
MOST_ELEMENTS = 1 << 26
"""Elements of an array."""

ActionKind = Literal["joint_position", "joint_velocity", "joint_delta", "ee_delta"]


@dataclass(frozen=True)
class ArraySpec:
    """One named array."""

    name: str
    """What the array is, in the field's terms: `q`, `ee_pos`, `image_front`."""
    shape: tuple[int, ...]
    """Images are (height, width, channels)."""
    dtype: str = "float32"
    """A numpy dtype name."""
    low: float | tuple[float, ...] = -np.inf
    """Lower bound, one for all elements or one for each."""
    high: float | tuple[float, ...] = np.inf
    """Upper bound, one for all elements or one for each."""
    unit: str = ""
    """SI unit of the elements, e.g. `rad`; empty where there is none."""
    frame: str = ""
    """Coordinate frame the elements are expressed in, e.g. `base`; empty where there is none."""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise SpecError(f"'{self.name}': dtype {brief(self.dtype)}, expected one of {', '.join(DTYPES)}")
        if not all(edge > 0 for edge in self.shape) or math.prod(self.shape) > MOST_ELEMENTS:
            raise SpecError(f"'{self.name}': shape {brief(str(self.shape))}, expected at most {MOST_ELEMENTS} elements")
        for bound in (self.low, self.high):
            if np.ndim(bound) and np.shape(bound) != self.shape:
                raise SpecError(f"'{self.name}': bounds of shape {np.shape(bound)}, expected {self.shape}")

    def check(self, value: np.ndarray) -> None:
        """Raise `SpecError` unless `value` has this shape and dtype, is finite and within the bounds."""
        if not isinstance(value, np.ndarray):
            raise SpecError(f"'{self.name}': expected a numpy array, got {type(value).__name__}")
        if value.shape != self.shape:
            raise SpecError(f"'{self.name}': shape {value.shape}, expected {self.shape}")
        if value.dtype != np.dtype(self.dtype):
            raise SpecError(f"'{self.name}': dtype {value.dtype}, expected {self.dtype}")
        if value.dtype.kind == "f" and not np.isfinite(value).all():
            raise SpecError(f"'{self.name}': {np.sum(~np.isfinite(value))} elements are NaN or infinite")
        if value.dtype.kind == "f" and ((value < self.low).any() or (value > self.high).any()):
            worst = np.flatnonzero(((value < self.low) | (value > self.high)).ravel())[0]
            raise SpecError(
                f"'{self.name}': element {worst} is {value.ravel()[worst]:.4g} {self.unit}, "
                f"expected within [{np.broadcast_to(self.low, self.shape).ravel()[worst]:.4g}, "
                f"{np.broadcast_to(self.high, self.shape).ravel()[worst]:.4g}]"
            )

    @property
    def is_image(self) -> bool:
        """Whether this is an RGB image, uint8 and height × width × 3."""
        return self.dtype == "uint8" and len(self.shape) == 3

    def space(self) -> gym.spaces.Box:
        """Build the Gymnasium space of this array."""
        import gymnasium as gym

        dtype = np.dtype(self.dtype)
        low = np.broadcast_to(np.asarray(self.low, dtype), self.shape)
        high = np.broadcast_to(np.asarray(self.high, dtype), self.shape)
        return gym.spaces.Box(low, high, self.shape, dtype.type)

    @classmethod
    def image(cls, name: str, height: int, width: int) -> ArraySpec:
        """Specify an RGB image, uint8, height × width × 3."""
        return cls(name, (height, width, 3), "uint8", 0, 255)

    @classmethod
    def depth(cls, name: str, height: int, width: int) -> ArraySpec:
        """Specify a depth image, float32, height × width [m]; 0 where unknown."""
        return cls(name, (height, width), "float32", 0.0, 100.0, unit="m")

    def to_dict(self) -> dict:
        """Return plain JSON types; infinite bounds become None."""
        data = asdict(self)
        for key in ("low", "high"):
            data[key] = None if np.ndim(data[key]) == 0 and np.isinf(data[key]) else data[key]
        return data

    @classmethod
    def from_dict(cls, data: Mapping) -> ArraySpec:
        """Build from what `to_dict` returned."""
        where = f"array '{data.get('name')}'"
        open_ends = {name: end for name, end in (("low", -np.inf), ("high", np.inf)) if data.get(name) is None}
        return build(cls, {**data, **open_ends}, where)


@dataclass(frozen=True)
class _ArrayList:
    """An observation in JSON."""

    arrays: tuple[dict, ...]


@dataclass(frozen=True)
class ObservationSpec:
    """The arrays a policy sees, in the order of its graph's inputs."""

    arrays: tuple[ArraySpec, ...]

    def __post_init__(self) -> None:
        names = self.names
        if len(set(names)) != len(names):
            raise SpecError(f"observation: array names repeat: {names}")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the arrays, in order."""
        return tuple(array.name for array in self.arrays)

    def __getitem__(self, name: str) -> ArraySpec:
        for array in self.arrays:
            if array.name == name:
                return array
        raise SpecError(f"observation: no array '{name}'; there are {', '.join(self.names)}")

    def validate(self, observation: Mapping[str, np.ndarray]) -> None:
        """Raise `SpecError` unless `observation` holds exactly these arrays, each as specified."""
        if set(observation) != set(self.names):
            missing = sorted(set(self.names) - set(observation))
            extra = sorted(set(observation) - set(self.names))
            raise SpecError(f"observation: missing {missing}, unexpected {extra}; expected {list(self.names)}")
        for array in self.arrays:
            array.check(observation[array.name])

    def space(self) -> gym.spaces.Dict:
        """Build the Gymnasium space of the observation."""
        import gymnasium as gym

        return gym.spaces.Dict({array.name: array.space() for array in self.arrays})

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return {"arrays": [array.to_dict() for array in self.arrays]}

    @classmethod
    def from_dict(cls, data: Mapping) -> ObservationSpec:
        """Build from what `to_dict` returned."""
        arrays = build(_ArrayList, data, "observation").arrays
        return cls(tuple(ArraySpec.from_dict(array) for array in arrays))


@dataclass(frozen=True)
class ActionSpec:
    """What a policy commands: a vector in [-1, 1] times `scale`, `rate_hz` times a second."""

    kind: ActionKind
    """`joint_position`: offset from home; `joint_velocity`; `joint_delta`: added to the last joint target;
    `ee_delta`: displacement of the end effector in the base frame, resolved by damped least squares."""
    names: tuple[str, ...]
    """One name an element: joint names, or x, y, z (and yaw) for `ee_delta`; last, if wanted, `gripper`."""
    scale: tuple[float, ...]
    """SI value of a normalised action of 1: rad, rad/s, or m an action; 1 for `gripper`, which is -1 when closed
    and 1 when open."""
    rate_hz: float
    """Actions a second."""

    def __post_init__(self) -> None:
        if self.kind not in get_args(ActionKind):
            raise SpecError(f"action: unknown kind '{self.kind}'; known are {', '.join(get_args(ActionKind))}")
        if len(self.names) != len(self.scale) or not self.names:
            raise SpecError(f"action: {len(self.names)} names but {len(self.scale)} scales; give one scale a name")
        if not self.rate_hz > 0 or not all(s > 0 for s in self.scale):
            raise SpecError(f"action: rate {self.rate_hz} Hz and scale {self.scale} must all be positive")

    @property
    def size(self) -> int:
        """Number of elements."""
        return len(self.names)

    @property
    def dt(self) -> float:
        """Seconds between two actions."""
        return 1.0 / self.rate_hz

    def validate(self, action: np.ndarray) -> None:
        """Raise `SpecError` unless `action` is a finite float32 vector of the right length in [-1, 1]."""
        ArraySpec("action", (self.size,), "float32", -1.0, 1.0).check(action)

    def to_si(self, action: np.ndarray) -> np.ndarray:
        """Scale a normalised action, clipped to [-1, 1], to SI units."""
        return np.minimum(np.maximum(action, -1.0), 1.0) * self._scale

    @cached_property
    def _scale(self) -> np.ndarray:
        return np.array(self.scale, np.float64)

    def space(self) -> gym.spaces.Box:
        """Build the Gymnasium space of the normalised action."""
        return ArraySpec("action", (self.size,), "float32", -1.0, 1.0).space()

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping) -> ActionSpec:
        """Build from what `to_dict` returned."""
        return build(cls, data, "action")
