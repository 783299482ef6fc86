"""Train the action head of a camera student: DAgger on positions with perception noise.

The student gives its action head estimated positions. The expert therefore labels the noisy positions that the head
observes, see `PerceptionNoise`: labels for the true positions would differ at equal observations, and their mean would
be neither action.
"""

from __future__ import annotations

import torch

from policies.imitation.dagger import Dagger, open_arms
from policies.models.state_network import StateNetwork
from policies.scoring.evaluator import FullLengthEnv
from policies.training.progress import Progress
from sim.tasks.recipe import StateRecipe

CLOSING = 0.1
"""Share of the arms whose fingers are made to close at any one time in training, see `collect`: a policy that observes
wrong positions closes them on nothing now and then, which the expert never does."""


def fit_action_head(
    action_head: StateNetwork, make: FullLengthEnv, recipe: StateRecipe, workers: int, seed: int, progress: Progress
) -> dict:
    """Train `action_head` in place; keep the last of the rounds with the highest success.

    Args:
        action_head: of arrays that `make` observes.
        make: makes the environments, with the same noisy positions for expert and policy.
        recipe: rounds and steps.
        workers: number of processes.
        seed: of everything random.
        progress: called with the share that is done.

    Returns:
        `validation`, the success of each round that was validated, and `best`, the highest.
    """
    rates: list[float] = []
    best: dict[str, torch.Tensor] = {}
    with open_arms(make, recipe.envs, workers) as arms:
        dagger = Dagger(arms, make, action_head, recipe, seed, closing=CLOSING)
        for number in range(recipe.rounds):
            found = dagger.round(number, progress).evaluation
            if found is not None:
                rates.append(found.success)
                if found.success >= max(rates):
                    best = {key: value.clone() for key, value in action_head.state_dict().items()}
    action_head.load_state_dict(best)
    return {"validation": rates, "best": max(rates)}
