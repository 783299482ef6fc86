"""Train the action head of a camera student: DAgger on positions with perception noise.

The student gives its action head estimated positions. The expert therefore labels the noisy positions that the head
observes, see `PerceptionNoise`: labels for the true positions would differ at equal observations, and their mean would
be neither action.
"""

from __future__ import annotations

import torch

from policies.imitation.dagger import Dagger, metrics_row
from policies.models.state_network import StateNetwork
from policies.scoring.evaluator import FullLengthEnv
from policies.training.device import CPU
from policies.training.progress import Progress
from policies.training.run_folder import RunFolder
from sim.tasks.recipe import StateRecipe
from sim.workers.pool import Workers

CLOSING = 0.1
"""Share of the arms whose fingers are made to close at any one time in training, see `Rollout`: a policy that observes
wrong positions closes them on nothing now and then, which the expert never does."""


def fit_action_head(
    action_head: StateNetwork,
    make: FullLengthEnv,
    recipe: StateRecipe,
    workers: Workers,
    seed: int,
    progress: Progress,
    folder: RunFolder | None = None,
    device: torch.device = CPU,
) -> dict:
    """Train `action_head` in place; keep the last of the rounds with the highest success.

    Args:
        action_head: of arrays that `make` observes.
        make: makes the environments, with the same noisy positions for expert and policy.
        recipe: rounds and steps.
        workers: collect and validate.
        seed: of everything random.
        progress: called with the share that is done.
        folder: keeps each round, and has those of an earlier process; None to keep nothing.
        device: where it learns.

    Returns:
        `validation`, the success of each round that was validated, and `best`, the highest.
    """
    state = folder.load_state() if folder is not None else None
    found = state or {"rounds": 0, "rates": [], "rows": [], "best": {}}
    rates, rows, best = found["rates"], found["rows"], found["best"]
    if found["rounds"] < recipe.rounds:
        dagger = Dagger(workers, make, action_head, recipe, seed, closing=CLOSING, device=device)
        if folder is not None and state is not None:
            dagger.resume(folder.load_rounds(state["rounds"]), state["network"], state["optimiser"])
        for number in range(found["rounds"], recipe.rounds):
            done = dagger.round(number, progress)
            if done.evaluation is not None:
                rates.append(done.evaluation.success)
                if rates[-1] >= max(rates):
                    best = {key: value.clone() for key, value in action_head.state_dict().items()}
            rows.append(metrics_row(recipe, number, done))
            if folder is not None:
                folder.save_round(number, dagger.parts[-1])
                now = {"network": action_head.state_dict(), "optimiser": dagger.optimiser.state_dict()}
                folder.save_state({"rounds": number + 1, "rates": rates, "rows": rows, "best": best, **now})
                folder.write_metrics(rows, purge_from=number + 1 if state and number == state["rounds"] else None)
    action_head.load_state_dict(best)
    return {"validation": rates, "best": max(rates)}
