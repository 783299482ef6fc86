"""Train the rule of a camera student: imitation in rounds, first of the truth blurred, then of what it really sees.

Most rounds see no picture: the rule is told the truth with what seeing got wrong on views that were held out
(`policies.perception`). In the last ones the student looks, and remembers, and the rule is told what it makes of that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import gymnasium as gym
import torch

from policies.imitation import Records, as_policy, collect, fit, joined, row_of
from policies.judge import VALIDATION_SEEDS, LastingEnv, judge
from policies.recipes import StateRecipe
from policies.scene_student import SceneStudent
from policies.seeing_arms import SeeingArms
from policies.state_network import StateNetwork
from policies.state_run import open_arms
from sim.tasks import load_task

Progress = Callable[[float, str], None]
"""Called with the share that is done and a short text."""


@dataclass(frozen=True)
class Sight:
    """What sees for the rule in its last rounds."""

    student: SceneStudent
    """Whose eyes they are."""
    make: LastingEnv
    """Environments that show the student what it takes."""
    rounds: int
    """How many of the last rounds; the first of all is never among them."""


@dataclass
class _Learning:
    """A rule in training, and the best of it so far."""

    rule: StateNetwork
    recipe: StateRecipe
    seed: int
    hold_steps: int
    make: LastingEnv
    progress: Progress
    parts: list[Records] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)
    best: float = -1.0
    weights: dict[str, torch.Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.optimiser = torch.optim.Adam(self.rule.parameters(), self.recipe.learning_rate, fused=True)
        self.keep()

    def keep(self) -> None:
        """Keep the rule as it is as the best."""
        self.weights = {key: value.clone() for key, value in self.rule.state_dict().items()}

    def round(self, arms: gym.vector.VectorEnv, round_: int) -> None:
        """Collect in `arms`, fit, and validate there."""
        recipe = self.recipe
        told = partial(_told, self.progress, recipe.rounds, round_)
        self.parts.append(collect(arms, self.rule, recipe, round_, self.seed, self.hold_steps, partial(told, 0.0)))
        if round_ == 0:
            self.rule.fit_normaliser(row_of(self.rule, self.parts[0]))
        fit(self.rule, self.optimiser, joined(self.parts), recipe, round_, self.seed, partial(told, 0.5))
        if round_ == recipe.rounds - 1 or round_ + 1 >= recipe.validate_from:
            found = judge(as_policy(self.rule), arms, self.make, recipe.validation_episodes, VALIDATION_SEEDS)
            self.rates.append(found.success)
            told(0.5, 1.0, f"success {found.success:.2f}")
            if found.success >= self.best:
                self.best = found.success
                self.keep()


def fit_rule(
    rule: StateNetwork,
    make: LastingEnv,
    recipe: StateRecipe,
    workers: int,
    seed: int,
    progress: Progress,
    sight: Sight | None = None,
) -> dict:
    """Train `rule` in place; keep the round that did best.

    Args:
        rule: of arrays that `make` shows.
        make: environments that show the truth blurred.
        recipe: rounds and steps.
        workers: processes.
        seed: of everything random.
        progress: told about the share that is done.
        sight: what sees in the last rounds, of which the best is kept then; all rounds are blurred without it.

    Returns:
        `validation`, success after each round that was validated, and `best`, that of the round kept.
    """
    task = load_task(make.task)
    hold_steps = max(1, round((task.hold_time + recipe.linger) * task.action.rate_hz))
    learning = _Learning(rule, recipe, seed, hold_steps, make, progress)
    seen = min(sight.rounds, recipe.rounds - 1) if sight else 0
    with open_arms(make, recipe.envs, workers) as arms:
        for round_ in range(recipe.rounds - seen):
            learning.round(arms, round_)
    if sight and seen:
        learning.best = -1.0  # what does well where it is told the truth blurred need not where it is not
        with open_arms(sight.make, recipe.envs, workers) as arms:
            seeing = SeeingArms(arms, sight.student, sight.make.names())
            for round_ in range(recipe.rounds - seen, recipe.rounds):
                learning.round(seeing, round_)
    rule.load_state_dict(learning.weights)
    return {"validation": learning.rates, "best": learning.best}


def _told(progress: Progress, rounds: int, round_: int, part: float, share: float, text: str) -> None:
    progress(min((round_ + part + 0.5 * share) / rounds, 1.0), f"round {round_ + 1} {text}".rstrip())
