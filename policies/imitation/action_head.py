"""Train the rule of a camera student: imitation in rounds of an expert who believes what the rule is told.

The student gives it places that it has seen and remembers, and it acts on them as if they were true. A rule that is
told wrong places, and the expert's answers to the true ones, waits instead: above a cube that may be 8 mm aside, or 13,
they are down and up again, and their mean is neither.
"""

from __future__ import annotations

from functools import partial

import torch

from policies.imitation.dagger import Records, as_policy, collect, fit, joined, row_of
from policies.imitation.state_run import open_arms
from policies.models.state_network import StateNetwork
from policies.scoring.evaluator import VALIDATION_SEEDS, LastingEnv, judge
from policies.training.progress import Progress
from sim.tasks import load_task
from sim.tasks.recipe import StateRecipe

CLOSING = 0.1
"""Share of the arms whose fingers close at any one time in training: who sees badly closes them on nothing now and
then, which the expert, who knows better, never does."""


def fit_rule(
    rule: StateNetwork, make: LastingEnv, recipe: StateRecipe, workers: int, seed: int, progress: Progress
) -> dict:
    """Train `rule` in place; keep the round that did best.

    Args:
        rule: of arrays that `make` shows.
        make: environments that tell expert and rule the same.
        recipe: rounds and steps.
        workers: processes.
        seed: of everything random.
        progress: told about the share that is done.

    Returns:
        `validation`, success after each round that was validated, and `best`, that of the round kept.
    """
    task = load_task(make.task)
    hold_steps = max(1, round((task.hold_time + recipe.linger) * task.action.rate_hz))
    optimiser = torch.optim.Adam(rule.parameters(), recipe.learning_rate, fused=True)
    parts: list[Records] = []
    rates: list[float] = []
    best: dict[str, torch.Tensor] = {}
    with open_arms(make, recipe.envs, workers) as arms:
        for round_ in range(recipe.rounds):
            told = partial(_told, progress, recipe.rounds, round_)
            parts.append(collect(arms, rule, recipe, round_, seed, hold_steps, partial(told, 0.0), closing=CLOSING))
            if round_ == 0:
                rule.fit_normaliser(row_of(rule, parts[0]))
            fit(rule, optimiser, joined(parts), recipe, round_, seed, partial(told, 0.5))
            if round_ == recipe.rounds - 1 or round_ + 1 >= recipe.validate_from:
                rates.append(judge(as_policy(rule), arms, make, recipe.validation_episodes, VALIDATION_SEEDS).success)
                told(0.5, 1.0, f"success {rates[-1]:.2f}")
                if rates[-1] >= max(rates):
                    best = {key: value.clone() for key, value in rule.state_dict().items()}
    rule.load_state_dict(best)
    return {"validation": rates, "best": max(rates)}


def _told(progress: Progress, rounds: int, round_: int, part: float, share: float, text: str) -> None:
    progress(min((round_ + part + 0.5 * share) / rounds, 1.0), f"round {round_ + 1} {text}".rstrip())
