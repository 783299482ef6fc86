"""The arrays that a vector environment's processes share: one row for every environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import gymnasium as gym
import numpy as np

from robots.specs import SpecError

SINGLE = ""
"""Name of the only array of an observation that is not a dict."""

Path = tuple[str, ...]


class InfoGroup(NamedTuple):
    """The numbers of one dict in a usual step's `info`."""

    path: Path
    """Keys that lead to the dict."""
    names: tuple[str, ...]
    """Keys of its numbers."""
    places: tuple[int, ...]
    """Their columns in the shared array."""
    kinds: tuple[type, ...]
    """Their types."""
    size: int
    """Number of all its keys."""


@dataclass(frozen=True)
class Layout:
    """Names, shapes and types of the shared arrays; each has one row for every environment."""

    num_envs: int
    arrays: dict[str, tuple[tuple[int, ...], str]]
    """Shape of a row and dtype, by name."""
    infos: tuple[tuple[Path, type], ...]
    """Path of every number in a usual step's `info`, with its type."""

    @cached_property
    def groups(self) -> tuple[InfoGroup, ...]:
        """The same, dict by dict, outer ones first."""
        numbers: dict[Path, dict[str, tuple[int, type]]] = {(): {}}
        for place, (path, kind) in enumerate(self.infos):
            for depth in range(len(path)):
                numbers.setdefault(path[:depth], {})
            numbers[path[:-1]][path[-1]] = place, kind
        groups = []
        for path in sorted(numbers, key=len):
            inner = sum(len(other) == len(path) + 1 and other[:-1] == path for other in numbers)
            entries = numbers[path]
            places, kinds = tuple(p for p, _ in entries.values()), tuple(k for _, k in entries.values())
            groups.append(InfoGroup(path, tuple(entries), places, kinds, len(entries) + inner))
        return tuple(groups)

    @property
    def nbytes(self) -> int:
        """Bytes that all arrays take, each aligned to 64."""
        return sum(size for _, size in self._sizes())

    def _sizes(self) -> list[tuple[str, int]]:
        return [
            (name, -(-self.num_envs * int(np.prod(shape, dtype=int)) * np.dtype(dtype).itemsize // 64) * 64)
            for name, (shape, dtype) in self.arrays.items()
        ]

    def views(self, memory: memoryview) -> dict[str, np.ndarray]:
        """Return the arrays in `memory`, by name."""
        views, offset = {}, 0
        for name, size in self._sizes():
            shape, dtype = self.arrays[name]
            count = self.num_envs * int(np.prod(shape, dtype=int))
            views[name] = np.frombuffer(memory, dtype, count, offset).reshape(self.num_envs, *shape)
            offset += size
        return views


def lay_out(env: gym.Env, num_envs: int) -> Layout:
    """Lay out the arrays of `num_envs` environments like `env`, which is reset and stepped once.

    Raises:
        SpecError: if its observation is neither an array nor a dict of arrays, or its action no array.
    """
    space = env.observation_space
    leaves = dict(space.spaces) if isinstance(space, gym.spaces.Dict) else {SINGLE: space}
    for name, leaf in (*leaves.items(), ("action", env.action_space)):
        if not isinstance(leaf, gym.spaces.Box):
            raise SpecError(f"vector environment: '{name}' is a {type(leaf).__name__}; expected a Box or a Dict of Box")
    env.reset(seed=0)
    info = env.step(np.zeros(env.action_space.shape, env.action_space.dtype))[4]
    numbers = tuple((path, type(value)) for path, value in _leaves(info) if type(value) in (bool, int, float))
    arrays = {
        f"obs/{name}": (leaf.shape, str(leaf.dtype))
        for name, leaf in leaves.items()
        if isinstance(leaf, gym.spaces.Box)
    }
    arrays["action"] = (tuple(env.action_space.shape or ()), str(env.action_space.dtype))
    arrays["reward"] = ((), "float64")
    for flag in ("terminated", "truncated", "plain"):
        arrays[flag] = ((), "bool")
    arrays["info"] = ((len(numbers),), "float64")
    return Layout(num_envs, arrays, numbers)


def _leaves(info: Mapping, prefix: Path = ()) -> list[tuple[Path, object]]:
    found: list[tuple[Path, object]] = []
    for key, value in info.items():
        if isinstance(value, Mapping):
            found += _leaves(value, (*prefix, key))
        else:
            found.append(((*prefix, key), value))
    return found
