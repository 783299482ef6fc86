"""What varies from episode to episode: single parameters, and the space of all of them.

A parameter's value is a plain float. It is always computed from the *nominal* value, never from the
last episode's: nominal `=` draw, nominal `*` draw, or nominal `+` draw. Needs numpy only; drawing is
compiled where numba is installed.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from robots.compiled import njit
from robots.host.reading import read_json
from robots.host.typed import build
from robots.host.writing import write_json

Kind = Literal["constant", "uniform", "loguniform", "normal", "choice"]
Operator = Literal["=", "*", "+"]
Group = Literal["dynamics", "actuation", "sensing", "visual", "camera", "timing", "disturbance"]

MILD = 0.3
"""Share of the full range that the preset `mild` keeps around nominal."""
PRESETS = {"nominal": 0.0, "mild": MILD, "full": 1.0, "wild": 1.0}
"""Share of the declared range that each preset keeps; `wild` keeps those of `Param.wild` where there are any."""

_TRUNCATION = 2.0  # standard deviations at which a normal draw is cut
_NORMAL_QUANTILES = np.linspace(-_TRUNCATION, _TRUNCATION, 1025)
_NORMAL_CDF = np.array([math.erf(x / math.sqrt(2)) for x in _NORMAL_QUANTILES])
_NORMAL_CDF = (_NORMAL_CDF - _NORMAL_CDF[0]) / (_NORMAL_CDF[-1] - _NORMAL_CDF[0])


class ParameterError(ValueError):
    """A parameter or its value makes no sense; the message names it."""


@dataclass(frozen=True)
class Distribution:
    """How a draw is distributed; build one with `U`, `LogU`, `N`, `Choice` or `CONSTANT`."""

    kind: Kind
    low: float = 0.0
    """Smallest draw."""
    high: float = 0.0
    """Largest draw."""
    choices: tuple[float, ...] = ()
    """The draws of a `choice`, equally likely."""


def U(low: float, high: float) -> Distribution:
    """Uniform in [low, high]."""
    return Distribution("uniform", low, high)


def LogU(low: float, high: float) -> Distribution:
    """Uniform in the logarithm, in [low, high], both positive."""
    return Distribution("loguniform", low, high)


def N(mean: float, std: float) -> Distribution:
    """Normal, cut at two standard deviations on either side."""
    return Distribution("normal", mean - _TRUNCATION * std, mean + _TRUNCATION * std)


def Choice(*choices: float) -> Distribution:
    """One of `choices`, equally likely."""
    return Distribution("choice", min(choices, default=0.0), max(choices, default=0.0), tuple(choices))


CONSTANT = Distribution("constant")
"""Always the nominal value."""


@dataclass(frozen=True)
class Param:
    """One quantity that varies."""

    name: str
    """snake_case, the same everywhere: here, in `info["parameters"]`, in JSON and in the virtual arm."""
    nominal: float
    """Value without randomisation, in `unit`."""
    operator: Operator
    """How a draw meets the nominal value."""
    distribution: Distribution
    """What is drawn."""
    unit: str
    """SI unit of the value; empty where there is none."""
    group: Group
    """What kind of reality gap it stands for."""
    doc: str
    """What it changes in the simulation."""
    at_least: float = -math.inf
    """Smallest value that makes sense."""
    at_most: float = math.inf
    """Largest value that makes sense."""
    positive: bool = False
    """Whether zero and below make no sense."""
    wild: Distribution | None = None
    """What the preset `wild` draws instead of `distribution`; None for the same."""
    derived: bool = False
    """Whether its random number is derived from those of the other parameters, which it leaves as they are."""

    def __post_init__(self) -> None:
        self.validate()

    def validate(self) -> None:
        """Raise `ParameterError` unless every value that can be drawn makes sense."""
        d = self.distribution
        if self.wild is not None:
            replace(self, distribution=self.wild, wild=None).validate()
        for label, known, got in (
            ("operator", get_args(Operator), self.operator),
            ("group", get_args(Group), self.group),
            ("distribution", get_args(Kind), d.kind),
        ):
            if got not in known:
                raise ParameterError(f"parameter '{self.name}': unknown {label} '{got}'; known are {', '.join(known)}")
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ParameterError(f"parameter '{self.name}': the name must be snake_case, e.g. 'object_mass'")
        if not all(math.isfinite(v) for v in (self.nominal, d.low, d.high, *d.choices)):
            raise ParameterError(
                f"parameter '{self.name}': nominal {self.nominal}, low {d.low} and high {d.high} must be finite"
            )
        if d.low > d.high:
            raise ParameterError(f"parameter '{self.name}': low {d.low:g} is above high {d.high:g}; swap them")
        if d.kind == "loguniform" and d.low <= 0:
            raise ParameterError(f"parameter '{self.name}': loguniform needs low > 0, got {d.low:g}")
        if d.kind == "choice" and not d.choices:
            raise ParameterError(f"parameter '{self.name}': choice needs at least one value")
        for value in (self.nominal, *self.range):
            self.check(value)

    def check(self, value: float) -> None:
        """Raise `ParameterError` if `value` makes no physical sense."""
        if not math.isfinite(value):
            raise ParameterError(f"parameter '{self.name}': {value} is not a finite number")
        if self.positive and value <= 0:
            raise ParameterError(f"parameter '{self.name}': {value:g} {self.unit}, expected a positive number")
        if not self.at_least <= value <= self.at_most:
            raise ParameterError(
                f"parameter '{self.name}': {value:g} {self.unit}, expected within [{self.at_least:g}, {self.at_most:g}]"
            )

    @property
    def neutral(self) -> float:
        """The draw that gives the nominal value."""
        return {"=": self.nominal, "*": 1.0, "+": 0.0}[self.operator]

    @property
    def range(self) -> tuple[float, float]:
        """Smallest and largest value."""
        d = self.distribution
        if d.kind == "constant":
            return self.nominal, self.nominal
        ends = {
            "=": (d.low, d.high),
            "*": (self.nominal * d.low, self.nominal * d.high),
            "+": (self.nominal + d.low, self.nominal + d.high),
        }[self.operator]
        return min(ends), max(ends)

    def narrowed(self, share: float) -> Param:
        """Return this parameter with `share` (0 to 1) of its range, shrunk towards nominal."""
        d = self.distribution
        if share <= 0 or d.kind == "constant":
            return replace(self, distribution=CONSTANT)
        if d.kind == "choice" or share >= 1:
            return self
        if d.kind == "loguniform" and self.neutral > 0:
            ends = (self.neutral * (end / self.neutral) ** share for end in (d.low, d.high))
        else:
            ends = (self.neutral + share * (end - self.neutral) for end in (d.low, d.high))
        low, high = ends
        return replace(self, distribution=replace(d, low=low, high=high))


@dataclass(frozen=True)
class _ParamList:
    """A parameter space in JSON."""

    name: str
    params: tuple[dict, ...]


@dataclass(frozen=True)
class ParameterSpace:
    """All parameters of one task on one arm."""

    params: tuple[Param, ...]
    """In the order in which they are drawn."""
    name: str = field(default="full")
    """Preset or posterior that this space is."""

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for param in self.params:
            if param.name in seen:
                raise ParameterError(f"parameter '{param.name}' is declared twice")
            seen.add(param.name)

    def __getitem__(self, name: str) -> Param:
        if name not in self._by_name:
            raise ParameterError(f"unknown parameter '{name}'; known are {', '.join(self.names)}")
        return self._by_name[name]

    def __contains__(self, name: str) -> bool:
        return name in self._by_name

    def __len__(self) -> int:
        return len(self.params)

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters, in order."""
        return tuple(param.name for param in self.params)

    def validate(self) -> None:
        """Raise `ParameterError` if a parameter makes no sense."""
        for param in self.params:
            param.validate()

    def nominal(self) -> dict[str, float]:
        """Return the nominal value of every parameter."""
        return dict(self._nominal)

    def sample(self, rng: np.random.Generator) -> dict[str, float]:
        """Draw a value of every parameter; uses exactly one uniform number of `rng` for each that is not `derived`."""
        derived, varies = self._derived
        numbers = rng.random(len(self.params) - int(derived.sum()))
        quantiles = np.zeros(len(self.params))
        quantiles[~derived] = numbers
        if varies:
            quantiles[derived] = np.random.default_rng(numbers.view(np.uint64)).random(int(derived.sum()))
        return self.at(quantiles)

    def at(self, quantiles: np.ndarray) -> dict[str, float]:
        """Return the values at `quantiles` (n,) in [0, 1] of each parameter's distribution."""
        values = np.empty(len(self.params))
        _draw(np.asarray(quantiles, np.float64), *self._drawn_from, _NORMAL_CDF, _NORMAL_QUANTILES, values)
        return dict(zip(self.names, values.tolist()))

    def complete(self, values: Mapping[str, float], base: Mapping[str, float] | None = None) -> dict[str, float]:
        """Return `base` (nominal by default) with `values` in place of its own.

        Raises:
            ParameterError: if a name is unknown or a value makes no physical sense.
        """
        result = dict(self._nominal if base is None else base)
        for name, value in values.items():
            self[name].check(float(value))
            result[name] = float(value)
        return result

    def subset(self, *groups: Group) -> ParameterSpace:
        """Return the space in which only parameters of `groups` vary; the others stay nominal."""
        known = get_args(Group)
        for group in groups:
            if group not in known:
                raise ParameterError(f"unknown group '{group}'; known are {', '.join(known)}")
        return ParameterSpace(
            tuple(param if param.group in groups else param.narrowed(0.0) for param in self.params),
            f"{self.name}:{'+'.join(groups)}",
        )

    def narrowed(self, share: float) -> ParameterSpace:
        """Return the space with `share` (0 to 1) of every range, shrunk towards nominal."""
        if not 0 <= share <= 1:
            raise ParameterError(f"share {share:g} of the range, expected within [0, 1]")
        return ParameterSpace(tuple(param.narrowed(share) for param in self.params), f"{self.name}×{share:g}")

    def preset(self, name: str) -> ParameterSpace:
        """Return the preset `nominal`, `mild`, `full` or `wild` of this (full) space."""
        if name not in PRESETS:
            raise ParameterError(f"unknown preset '{name}'; known are {', '.join(PRESETS)}")
        params = self.narrowed(PRESETS[name]).params
        if name == "wild":
            params = tuple(param if param.wild is None else replace(param, distribution=param.wild) for param in params)
        return replace(self, params=params, name=name)

    def with_params(self, *params: Param) -> ParameterSpace:
        """Return the space with `params` in place of those of the same name, new ones at the end."""
        new = {param.name: param for param in params}
        kept = [new.pop(param.name, param) for param in self.params]
        return replace(self, params=(*kept, *new.values()))

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        params = []
        for param in self.params:
            data = asdict(param)
            data["at_least"] = None if math.isinf(param.at_least) else param.at_least
            data["at_most"] = None if math.isinf(param.at_most) else param.at_most
            params.append(data)
        return {"name": self.name, "params": params}

    @classmethod
    def from_dict(cls, data: Mapping) -> ParameterSpace:
        """Build from what `to_dict` returned."""
        params = []
        for entry in build(_ParamList, data, "parameter space").params:
            open_ends = {"at_least": -math.inf, "at_most": math.inf}
            ends = {name: end for name, end in open_ends.items() if entry.get(name) is None}
            params.append(build(Param, {**entry, **ends}, f"parameter '{entry.get('name')}'"))
        return cls(tuple(params), data["name"])

    def to_json(self, path: Path | str) -> None:
        """Write the space to a file."""
        write_json(path, self.to_dict(), indent=1)

    @classmethod
    def from_json(cls, path: Path | str) -> ParameterSpace:
        """Read a space from a file.

        Raises:
            ParameterError: if the file is missing, is not a parameter space, or makes no sense.
        """
        path = Path(path)
        if not path.is_file():
            raise ParameterError(f"parameter space '{path}' does not exist; docs/simulate.md shows how to write one")
        try:
            space = cls.from_dict(read_json(path, "parameter space"))
            space.validate()
            return space
        except ValueError as error:
            raise ParameterError(
                f"'{path}' is not a parameter space ({error}); write one with ParameterSpace.to_json and edit that"
            ) from None

    @cached_property
    def _by_name(self) -> dict[str, Param]:
        return {param.name: param for param in self.params}

    @cached_property
    def _derived(self) -> tuple[np.ndarray, bool]:
        """Which parameters are `derived`, (n,) bool, and whether one of them varies."""
        varies = any(param.derived and param.distribution.kind != "constant" for param in self.params)
        return np.array([param.derived for param in self.params], bool), varies

    @cached_property
    def _nominal(self) -> dict[str, float]:
        return {param.name: float(param.nominal) for param in self.params}

    @cached_property
    def _drawn_from(self) -> tuple[np.ndarray, np.ndarray]:
        return _table(self.params)


_KINDS = {"loguniform": 1, "normal": 2, "choice": 3}


def _table(params: tuple[Param, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Return what `_draw` reads: rows (n, 5), one a parameter, and the choices of all of them in a line."""
    rows = np.zeros((len(params), 5))
    choices: list[float] = []
    for row, param in zip(rows, params):
        d, factor = param.distribution, param.nominal if param.operator == "*" else 1.0
        low, high = (np.log((d.low, d.high))) if d.kind == "loguniform" else (d.low, d.high)
        if d.kind == "constant":
            low = high = param.neutral
        if d.kind == "choice":
            low, high = len(choices), len(choices) + len(d.choices)
            choices += d.choices
        if d.kind == "normal":
            low, high = 0.5 * (low + high), 0.5 * (low + high) + (high - low) / (2 * _TRUNCATION)
        row[:] = _KINDS.get(d.kind, 0), low, high - low, factor, param.nominal if param.operator == "+" else 0.0
    return rows, np.array(choices, np.float64)


@njit(cache=True)
def _draw(quantiles, rows, choices, cdf, normal, values):
    """Fill `values` (n,) with those at `quantiles` (n,); `normal` (m,) are those of a normal distribution, `cdf` (m,)
    theirs.

    `rows` (n, 5) are a kind of `_KINDS`, what is drawn from and how wide, factor and offset. Of a normal distribution
    those are mean and deviation; of choices, which are the first one and how many.
    """
    for i in range(rows.shape[0]):
        kind, low, width, u = rows[i, 0], rows[i, 1], rows[i, 2], quantiles[i]
        draw = low + u * width
        if kind == 1:
            draw = math.exp(draw)
        elif kind == 2:
            draw = low + width * np.interp(u, cdf, normal)
        elif kind == 3:
            draw = choices[int(low) + min(int(u * width), int(width) - 1)]
        values[i] = rows[i, 4] + rows[i, 3] * draw
