"""What `sim2real gap` says of recordings, against what is true of them: shifts, other arms, noise, black images.

    python benchmarks/gap_truth.py [--policy BUNDLE] [--quick] [--json FILE]

60 recordings of two cameras each, half by our renderer and half by MuJoCo's scene. `false_covered` is the share of
shifted or unlike factors that are called covered (asked for: at most 0.02), `sensitivity` that of shifted factors that
are called not covered. Without a policy one is trained and kept in runs/gap_truth. Intervals are Wilson 95 %.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

# Python puts this file's folder first, where statistics.py hides the standard library's module.
sys.path.pop(0)
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro

from benchmarks.gap_verdicts.verdicts import RECORDINGS, gap_truth
from benchmarks.parts.record import heading, origin, save


@dataclass(frozen=True)
class Config:
    """What to measure."""

    policy: Path | None = None
    """Bundle of a policy with fixed cameras."""
    quick: bool = False
    """A quarter of the recordings."""
    json: Path | None = None
    """File for the figures."""


def main(config: Config) -> None:
    """Record, report, compare and save."""
    described = origin()
    print(heading(described))
    count = RECORDINGS // 4 if config.quick else RECORDINGS
    save(config.json, described, gap_truth(Path("runs") / "gap_truth", count, config.policy))


if __name__ == "__main__":
    main(tyro.cli(Config, description=__doc__))
