"""How often the label-free test of steadiness accepts whom, by how the same frames are divided into trials (simulated).

Half of the trials judge. A policy sees each trial's goal off by a constant of its own and a noise that differs from
trial to trial, and takes some goals for another place. Those who are no steadier are accepted falsely.

    python benchmarks/steadiness.py [--repeats 400]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from adaptation.visual.model_selection import Steadiness, steadiness
from policies.bundle.provenance import provenance

DIVISIONS = ((40, 7), (60, 5), (75, 4))
"""Trials, and frames of each."""
LOW, HIGH, HEIGHT = (0.38, -0.2), (0.62, 0.2), 0.12
"""Where goals are, x and y, and z [m, base frame]."""


@dataclass(frozen=True)
class Seer:
    """How a policy sees goals."""

    noise: float
    """Median over trials of the standard deviation within one, along x and y [m]; a tenth of it along z."""
    offset: float = 0.02
    """Standard deviation of what it is off by for a whole trial, along x and y [m]."""
    wrong: float = 0.0
    """Share of goals that are taken for another place."""
    scale: float = 1.0
    """How far goals are drawn in to the middle; 1 is not at all."""

    def look(self, goals: np.ndarray, frames: int, rng: np.random.Generator) -> Steadiness:
        """See each of `goals` (T, 3) [m] in so many frames."""
        T, flat = len(goals), np.array([1.0, 1.0, 0.1])
        seen = np.where((rng.random(T) < self.wrong)[:, None], draw_goals(T, rng), goals)
        seen = seen + rng.normal(0, self.offset, (T, 3)) * flat
        noise = self.noise * rng.lognormal(0, 0.5, T)
        each = seen[:, None] + noise[:, None, None] * rng.normal(0, 1, (T, frames, 3)) * flat
        middle = np.array([*np.mean([LOW, HIGH], axis=0), HEIGHT])
        return steadiness((middle + self.scale * (each - middle)).reshape(-1, 3), np.repeat(np.arange(T), frames))


def draw_goals(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw goals (count, 3) [m]."""
    return np.column_stack([rng.uniform(LOW, HIGH, (count, 2)), np.full(count, HEIGHT)])


def accepted(source: Seer, candidate: Seer, trials: int, frames: int, repeats: int) -> float:
    """Return in which share of `repeats` recordings `candidate` beats `source` on the half of `trials` that judges."""
    rng = np.random.default_rng(0)
    wins = 0
    for _ in range(repeats):
        goals = draw_goals(trials // 2, rng)
        wins += candidate.look(goals, frames, rng).beats(source.look(goals, frames, rng))
    return wins / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400, help="recordings a figure")
    repeats = parser.parse_args().repeats
    print(json.dumps(provenance(), indent=1))
    noise = 0.010
    candidates = {
        "as unsteady": Seer(noise),
        "drawn in by 15 %": Seer(noise, scale=0.85),
        "right, as unsteady": Seer(noise, 0.005),
        "a fifth less": Seer(0.80 * noise, 0.008),
        "a quarter less": Seer(0.75 * noise, 0.008),
        "a third less": Seer(0.67 * noise, 0.008),
    }
    print(f"accepted of 100, {repeats} simulated recordings each (standard error at most {50 / repeats**0.5:.1f})")
    print("wrong goals of source-only, trials × frames: " + ", ".join(candidates))
    for wrong in (0.0, 0.3):
        for trials, frames in DIVISIONS:
            source = Seer(noise, wrong=wrong)
            shares = [accepted(source, each, trials, frames, repeats) for each in candidates.values()]
            print(
                f"{100 * wrong:3.0f} %, {trials} × {frames}: " + ", ".join(f"{100 * s:.0f}" for s in shares), flush=True
            )


if __name__ == "__main__":
    main()
