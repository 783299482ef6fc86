"""DAgger on many arms at once: expert or policy acts, the privileged expert labels every observation.

Ross, Gordon & Bagnell, "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning", AISTATS 2011. A round depends on its number, the seed, the network and the records before it, and on
nothing else, so that an interrupted run resumes bit for bit.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from policies.imitation.rollouts import NEAR, Records, Rollout, collect, join_records
from policies.models.state_network import StateNetwork
from policies.models.state_policy import StatePolicy
from policies.scoring.batches import evaluate_in_batches
from policies.scoring.evaluator import VALIDATION_SEEDS, Evaluation, FullLengthEnv
from policies.scoring.wrappers import EXPERT
from policies.training.descent import FREE, Loss, Restraint, adam_w, cosine, gradient_descent
from policies.training.device import CPU, device_of
from policies.training.progress import Progress
from sim.tasks import load_task
from sim.tasks.recipe import StateRecipe
from sim.workers.pool import Workers

NEVER = float("nan")
BEND = 0.05
"""Error at which the loss turns from square to absolute."""


@dataclass(frozen=True)
class Round:
    """What a round has come to."""

    loss: float
    """Mean of its last losses."""
    evaluation: Evaluation | None
    """Success on validation seeds; None where the recipe does not validate the round."""


def metrics_row(recipe: StateRecipe, number: int, done: Round) -> dict[str, float]:
    """Return the line of the run's table about round `number`, counted from 0; NaN where it was not validated."""
    found = done.evaluation
    return {
        "round": number + 1,
        "env_steps": (number + 1) * recipe.envs * recipe.round_steps,
        "gradient_steps": sum(recipe.gradient_steps_of(i) for i in range(number + 1)),
        "expert_share": recipe.share_of_expert(number),
        "loss": done.loss,
        "success": found.success if found else NEVER,
        "low": found.low if found else NEVER,
        "high": found.high if found else NEVER,
    }


class Dagger:
    """Trains a network in rounds of collecting and fitting; whoever calls it keeps the best round."""

    def __init__(
        self,
        workers: Workers,
        make: FullLengthEnv,
        network: StateNetwork,
        recipe: StateRecipe,
        seed: int,
        start: Callable[[StateNetwork, Records], Restraint] = lambda network, records: FREE,
        closing: float = 0.0,
        device: torch.device = CPU,
    ):
        """Prepare the first round.

        Args:
            workers: collect and evaluate.
            make: makes their environments.
            network: trained in place; its normaliser is fitted to the first round.
            recipe: rounds and steps.
            seed: of everything random.
            start: called with the network, its normaliser fitted, and the first round's records; may change it.
            closing: as in `Rollout`.
            device: where the network learns; it acts on the processor.
        """
        self.parts: list[Records] = []
        """Records of each round."""
        self._learner = network if device == CPU else copy.deepcopy(network).to(device)
        """What learns; `network` acts, on the processor."""
        self.optimiser = adam_w(self._learner.parameters(), recipe.learning_rate, weight_decay=0.0)
        self._workers, self._make, self._network, self._recipe = workers, make, network, recipe
        self._seed, self._start, self._closing = seed, start, closing
        self._restraint = FREE
        task = load_task(make.task)
        self._hold_steps = max(1, round((task.hold_time + recipe.linger) * task.action.rate_hz))

    def resume(self, parts: Sequence[Records], network: dict, optimiser: dict) -> None:
        """Go on behind the rounds that collected `parts`, from the state of network and optimiser after them."""
        self.parts = list(parts)
        self._begin()
        self._learner.load_state_dict(network)
        self.optimiser.load_state_dict(optimiser)
        self._act_as_learned()

    def round(self, number: int, progress: Progress) -> Round:
        """Carry out round `number`, counted from 0; `progress` is called with the share of all rounds."""
        network, recipe = self._network, self._recipe

        def report(first: float, what: str, share: float, text: str) -> None:
            done = (number + first + 0.5 * share) / recipe.rounds
            progress(min(done, 1.0), f"round {number + 1}: {what} {text}".rstrip())

        told = partial(report, 0.0, "collect")
        names = tuple(self._make.names())
        actions = tuple(network.actions)
        rollout = Rollout(self._make, recipe, number, self._seed, self._hold_steps, actions, names, self._closing)
        self.parts.append(collect(self._workers, network, rollout, told))
        told = partial(report, 0.5, "fit")
        if number == 0:
            self._begin()
        records = join_records(self.parts)
        loss = fit_round(self._learner, self.optimiser, records, recipe, number, self._seed, told, self._restraint)
        self._act_as_learned()
        if number + 1 < min(recipe.validate_from, recipe.rounds):
            return Round(loss, None)
        found = evaluate_in_batches(
            StatePolicy(network), self._workers, self._make, recipe.validation_episodes, VALIDATION_SEEDS
        )
        report(0.5, f"success {found.success:.2f}", 1.0, "")
        return Round(loss, found)

    def _begin(self) -> None:
        self._learner.fit_normaliser(row_of(self._learner, self.parts[0]))
        self._restraint = self._start(self._learner, self.parts[0])

    def _act_as_learned(self) -> None:
        if self._network is not self._learner:
            self._network.load_state_dict(self._learner.state_dict())


def fit_round(
    network: StateNetwork,
    optimiser: torch.optim.Optimizer,
    records: Records,
    recipe: StateRecipe,
    round_: int,
    seed: int,
    progress: Progress,
    restraint: Restraint = FREE,
) -> float:
    """Regress `network` on all `records` for the gradient steps of round `round_`, on its device.

    Returns:
        The mean of the last losses.
    """
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, round_, 2]).generate_state(1)[0]))
    device = device_of(network)
    row, labels = row_of(network, records).to(device), torch.from_numpy(records[EXPERT]).to(device)
    near = torch.from_numpy(records[NEAR]).float().to(device)
    steps, last = recipe.gradient_steps_of(round_), round_ == recipe.rounds - 1
    rates = (recipe.learning_rate * (cosine(step / steps) if last else 1.0) for step in range(steps))
    scale = restraint.rate_scale(round_)

    def loss(step: int) -> Loss:
        chosen = torch.randint(len(row), (recipe.batch,), generator=generator).to(device)
        batch = row[chosen]
        value = imitation_loss(network.body(network.normalise(batch)), labels[chosen])
        penalty = restraint.penalty(network, batch, round_)
        if network.success is not None:  # of weights of its own: actions are learned as without it
            judged = F.binary_cross_entropy_with_logits(network.success_logit(batch), near[chosen])
            penalty = judged if penalty is None else judged + penalty
        return Loss(value, penalty, lambda: f"loss {float(value.detach()):.3f}")

    network.train()
    recent = gradient_descent(optimiser, rates, steps, loss, progress, network, lambda share: scale)
    network.eval()
    return recent


def imitation_loss(actions: Tensor, labels: Tensor) -> Tensor:
    """Compute the mean distance of actions (B, a) from the expert's labels (B, a)."""
    return F.smooth_l1_loss(actions, labels, beta=BEND)


def row_of(network: StateNetwork, records: Records) -> Tensor:
    """Compute the features (N, columns) of records."""
    with torch.no_grad():
        return network.row(*(torch.from_numpy(records[name]) for name, _ in network.arrays))
