"""What `--randomise` names: a preset, or a file with what is known of one's own cell.

    {"preset": "full", "pad_height": 0.05, "object_size": [0.025, 0.04]}

A number is known and does not vary; two are the smallest and the largest value, between which all are as likely. All
other parameters vary as in the preset. A file may also hold a whole space, as `ParameterSpace.to_json` and
`sim2real identify` write it; that file's name can be the `preset` of another one beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from robots.host.reading import read_json
from sim.randomization.parameters import CONSTANT, PRESETS, ParameterError, ParameterSpace, U


def chosen_space(name: str, full: ParameterSpace) -> ParameterSpace:
    """Return the preset `name` of the space `full`, or that of the file `name` (.json).

    Raises:
        ParameterError: for an unknown preset, a file that cannot be read, or a value that makes no sense.
    """
    if not name.endswith(".json"):
        if name not in PRESETS:
            raise ParameterError(
                f"unknown preset '{name}'; known are {', '.join(PRESETS)}, or give the path of a .json parameter space"
            )
        return full.preset(name)
    path = Path(name)
    data = read_json(path, "parameter space") if path.is_file() else None
    if not isinstance(data, Mapping) or "params" in data:
        return ParameterSpace.from_json(path)
    if "preset" not in data:
        raise ParameterError(f'parameter space \'{path}\' names no preset; begin it with "preset": "full"')
    preset, known = str(data["preset"]), {key: value for key, value in data.items() if key != "preset"}
    base = ParameterSpace.from_json(path.parent / preset) if preset.endswith(".json") else full.preset(preset)
    try:
        return replace(state(base, known), name=path.stem)
    except ParameterError as error:
        raise ParameterError(f"parameter space '{path}': {error}") from None


def state(space: ParameterSpace, values: Mapping[str, Any]) -> ParameterSpace:
    """Return `space` with what is known of some parameters: a value, or the smallest and the largest.

    Raises:
        ParameterError: for an unknown parameter, or a value that is neither or makes no sense.
    """
    known = []
    for name, value in values.items():
        param = space[name]
        ends = value if isinstance(value, list) else [value]
        if len(ends) not in (1, 2) or not all(type(end) in (int, float) for end in ends):
            raise ParameterError(
                f"parameter '{name}' is {value!r}, expected a number [{param.unit or 'no unit'}], or two as "
                "[smallest, largest]"
            )
        low, high = float(ends[0]), float(ends[-1])
        drawn = CONSTANT if len(ends) == 1 else U(low, high)
        known.append(replace(param, nominal=(low + high) / 2, operator="=", distribution=drawn, wild=None))
    return space.with_params(*known)
