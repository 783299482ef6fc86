"""Power and false acceptances of label-free model selection, by the division of frames into trials (simulated).

Half of the trials are for model selection. A simulated policy locates each trial's goal with a constant offset and a
noise that differs from trial to trial, and mistakes some goals for another place. Accepting a candidate that scatters
as much as source-only is a false acceptance.

    python benchmarks/domain_adaptation/model_selection.py [--repeats 400]
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from adaptation.visual.model_selection import GoalConsistency, goal_consistency
from benchmarks.parts.record import heading, origin

DIVISIONS = ((40, 7), (60, 5), (75, 4))
"""Trials, and frames of each."""
LOW, HIGH, HEIGHT = (0.38, -0.2), (0.62, 0.2), 0.12
"""Range of the goals' x and y, and their z [m, base frame]."""


@dataclass(frozen=True)
class SimulatedPolicy:
    """Errors of a policy that locates goals."""

    noise: float
    """Median over trials of the standard deviation within one, along x and y [m]; a tenth of it along z."""
    offset: float = 0.02
    """Standard deviation of a trial's constant offset, along x and y [m]."""
    wrong: float = 0.0
    """Share of goals that are mistaken for another place."""
    scale: float = 1.0
    """Scaling of goals towards the centre; 1 for none."""

    def locate(self, goals: np.ndarray, frames: int, rng: np.random.Generator) -> GoalConsistency:
        """Locate each of `goals` (T, 3) [m] in `frames` frames."""
        T, flat = len(goals), np.array([1.0, 1.0, 0.1])
        seen = np.where((rng.random(T) < self.wrong)[:, None], draw_goals(T, rng), goals)
        seen = seen + rng.normal(0, self.offset, (T, 3)) * flat
        noise = self.noise * rng.lognormal(0, 0.5, T)
        each = seen[:, None] + noise[:, None, None] * rng.normal(0, 1, (T, frames, 3)) * flat
        middle = np.array([*np.mean([LOW, HIGH], axis=0), HEIGHT])
        return goal_consistency((middle + self.scale * (each - middle)).reshape(-1, 3), np.repeat(np.arange(T), frames))


def draw_goals(count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw goals (count, 3) [m]."""
    return np.column_stack([rng.uniform(LOW, HIGH, (count, 2)), np.full(count, HEIGHT)])


def accepted(source: SimulatedPolicy, candidate: SimulatedPolicy, trials: int, frames: int, repeats: int) -> float:
    """Return the share of `repeats` recordings in which `candidate` beats `source` on half of the `trials`."""
    rng = np.random.default_rng(0)
    wins = 0
    for _ in range(repeats):
        goals = draw_goals(trials // 2, rng)
        wins += candidate.locate(goals, frames, rng).beats(source.locate(goals, frames, rng))
    return wins / repeats


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=400, help="recordings a figure")
    repeats = parser.parse_args().repeats
    print(heading(origin()))
    noise = 0.010
    candidates = {
        "equal": SimulatedPolicy(noise),
        "contracted by 15 %": SimulatedPolicy(noise, scale=0.85),
        "smaller offset, equal scatter": SimulatedPolicy(noise, 0.005),
        "a fifth less scatter": SimulatedPolicy(0.80 * noise, 0.008),
        "a quarter less scatter": SimulatedPolicy(0.75 * noise, 0.008),
        "a third less scatter": SimulatedPolicy(0.67 * noise, 0.008),
    }
    print(f"accepted of 100, {repeats} simulated recordings each (standard error at most {50 / repeats**0.5:.1f})")
    print("wrong goals of source-only, trials × frames: " + ", ".join(candidates))
    for wrong in (0.0, 0.3):
        for trials, frames in DIVISIONS:
            source = SimulatedPolicy(noise, wrong=wrong)
            shares = [accepted(source, each, trials, frames, repeats) for each in candidates.values()]
            print(
                f"{100 * wrong:3.0f} %, {trials} × {frames}: " + ", ".join(f"{100 * s:.0f}" for s in shares), flush=True
            )


if __name__ == "__main__":
    main()
