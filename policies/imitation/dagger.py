"""DAgger on many arms at once: expert or policy acts, the privileged expert labels every observation.

Ross, Gordon & Bagnell, "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning", AISTATS 2011. A round depends on its number, the seed, the network and the records before it, and on
nothing else, so that an interrupted run resumes bit for bit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from gymnasium.vector import AutoresetMode
from torch import Tensor

from policies.models.state_network import StateNetwork
from policies.scoring.evaluator import TRAINING_SEEDS, VALIDATION_SEEDS, Evaluation, FullLengthEnv, evaluate, near_goal
from policies.scoring.wrappers import EXPERT
from policies.training.descent import FREE, Loss, Restraint, cosine, gradient_descent
from policies.training.progress import Progress
from sim.tasks import load_task
from sim.tasks.recipe import StateRecipe
from sim.vector.vector_env import ArmVectorEnv

Records = dict[str, np.ndarray]
"""Labelled observations by array name, each (N, …), and the labels: `expert` (N, a), `near` (N, 1) bool."""
NEAR = "near"
"""Name of the records that say whether the task was achieved at that moment."""
BEND = 0.05
"""Error at which the loss turns from square to absolute."""


@dataclass(frozen=True)
class Round:
    """What a round has come to."""

    loss: float
    """Mean of its last losses."""
    evaluation: Evaluation | None
    """Success on validation seeds; None where the recipe does not validate the round."""


class Dagger:
    """Trains a network in rounds of collecting and fitting; whoever calls it keeps the best round."""

    def __init__(
        self,
        arms: ArmVectorEnv,
        make: FullLengthEnv,
        network: StateNetwork,
        recipe: StateRecipe,
        seed: int,
        start: Callable[[StateNetwork, Records], Restraint] = lambda network, records: FREE,
        closing: float = 0.0,
    ):
        """Prepare the first round.

        Args:
            arms: environments made by `make`.
            make: makes them.
            network: trained in place; its normaliser is fitted to the first round.
            recipe: rounds and steps.
            seed: of everything random.
            start: called with the network, its normaliser fitted, and the first round's records; may change it.
            closing: as in `collect`.
        """
        self.parts: list[Records] = []
        """Records of each round."""
        self.optimiser = torch.optim.Adam(network.parameters(), recipe.learning_rate, fused=True)
        self._arms, self._make, self._network, self._recipe = arms, make, network, recipe
        self._seed, self._start, self._closing = seed, start, closing
        self._restraint = FREE
        task = load_task(make.task)
        self._hold_steps = max(1, round((task.hold_time + recipe.linger) * task.action.rate_hz))

    def resume(self, parts: Sequence[Records], network: dict, optimiser: dict) -> None:
        """Go on behind the rounds that collected `parts`, from the state of network and optimiser after them."""
        self.parts = list(parts)
        self._begin()
        self._network.load_state_dict(network)
        self.optimiser.load_state_dict(optimiser)

    def round(self, number: int, progress: Progress) -> Round:
        """Carry out round `number`, counted from 0; `progress` is called with the share of all rounds."""
        network, recipe = self._network, self._recipe

        def report(first: float, what: str, share: float, text: str) -> None:
            done = (number + first + 0.5 * share) / recipe.rounds
            progress(min(done, 1.0), f"round {number + 1}: {what} {text}".rstrip())

        told = partial(report, 0.0, "collect")
        names = self._make.names()
        self.parts.append(
            collect(self._arms, network, recipe, number, self._seed, self._hold_steps, told, names, self._closing)
        )
        if number == 0:
            self._begin()
        told = partial(report, 0.5, "fit")
        loss = fit_round(
            network, self.optimiser, join_records(self.parts), recipe, number, self._seed, told, self._restraint
        )
        if number + 1 < min(recipe.validate_from, recipe.rounds):
            return Round(loss, None)
        found = evaluate(as_policy(network), self._arms, self._make, recipe.validation_episodes, VALIDATION_SEEDS)
        report(0.5, f"success {found.success:.2f}", 1.0, "")
        return Round(loss, found)

    def _begin(self) -> None:
        self._network.fit_normaliser(row_of(self._network, self.parts[0]))
        self._restraint = self._start(self._network, self.parts[0])


def as_policy(network: StateNetwork) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """Turn a network into a function from arrays (B, …) by name to actions (B, a)."""
    names = [name for name, _ in network.arrays]

    @torch.no_grad()
    def act(observation: Mapping[str, np.ndarray]) -> np.ndarray:
        return network(*(torch.from_numpy(observation[name]) for name in names)).numpy()

    return act


@contextmanager
def open_arms(make: FullLengthEnv, count: int, workers: int) -> Iterator[ArmVectorEnv]:
    """Open `count` environments in `workers` processes, and close them again."""
    arms = ArmVectorEnv(make, count, workers, autoreset_mode=AutoresetMode.SAME_STEP)
    try:
        yield arms
    finally:
        arms.close()


def collect(
    arms: gym.vector.VectorEnv,
    network: StateNetwork,
    recipe: StateRecipe,
    round_: int,
    seed: int,
    hold_steps: int,
    progress: Progress,
    names: Sequence[str] | None = None,
    closing: float = 0.0,
) -> Records:
    """Let expert and policy act on `arms` for a round; return all observations with the expert's labels.

    Args:
        arms: environments of `FullLengthEnv`.
        network: the policy so far.
        recipe: number of steps, and the expert's share of them.
        round_: number of the round, from 0.
        seed: of the run.
        hold_steps: number of actions with success after which an arm's episode ends.
        progress: called with the share that is done.
        names: arrays to record; those of the network by default.
        closing: share of the arms whose fingers are made to close at any one time, mostly on nothing, so that the
            expert's labels show how to open them again.
    """
    rng = np.random.default_rng([seed, round_, 1])
    act = as_policy(network)
    names = [*(names or [name for name, _ in network.arrays]), EXPERT]
    records: dict[str, list[np.ndarray]] = {name: [] for name in (*names, NEAR)}
    n, share = arms.num_envs, recipe.share_of_expert(round_)
    seen, _ = arms.reset(seed=int(rng.integers(TRAINING_SEEDS - n)))
    held, near = np.zeros(n, int), np.zeros(n, bool)
    disturbable = np.array([name != "gripper" for name in network.actions])  # else a grasped object would be dropped
    expert_acts, noise = _draw_actors(rng, recipe, share, seen[EXPERT].shape)
    close = np.zeros(n, bool)
    for step in range(recipe.round_steps):
        for name in names:
            records[name].append(seen[name])
        records[NEAR].append(near[:, None])
        anew = rng.random(n) < 1.0 / recipe.spell
        fresh_acts, fresh_noise = _draw_actors(rng, recipe, share, noise.shape)
        expert_acts = np.where(anew, fresh_acts, expert_acts)
        noise = np.where(anew[:, None], fresh_noise, noise)
        action = seen[EXPERT] + noise * disturbable
        if not expert_acts.all():
            action = np.where(expert_acts[:, None], action, act(seen))
        if closing > 0:
            close = np.where(anew, rng.random(n) < closing, close)
            action = np.where(close[:, None] & ~disturbable, -1.0, action)
        seen, _, terminated, truncated, infos = arms.step(np.clip(action, -1.0, 1.0).astype(np.float32))
        near = near_goal(infos, n) & ~(terminated | truncated)
        held = np.where(near, held + 1, 0)
        done = held >= hold_steps
        if done.any():
            seen, _ = arms.reset(options={"reset_mask": done})
            held[done], near[done] = 0, False
        if step % 20 == 0:
            progress(step / recipe.round_steps, "")
    return {name: np.concatenate(parts) for name, parts in records.items()}


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
    """Regress `network` on all `records` for the gradient steps of round `round_`; return its last losses' mean."""
    generator = torch.Generator().manual_seed(int(np.random.SeedSequence([seed, round_, 2]).generate_state(1)[0]))
    row, labels = row_of(network, records), torch.from_numpy(records[EXPERT])
    near = torch.from_numpy(records[NEAR]).float()
    steps, last = recipe.gradient_steps_of(round_), round_ == recipe.rounds - 1
    rates = (recipe.learning_rate * (cosine(step / steps) if last else 1.0) for step in range(steps))
    scale = restraint.rate_scale(round_)

    def loss(step: int) -> Loss:
        chosen = torch.randint(len(row), (recipe.batch,), generator=generator)
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


def join_records(parts: Sequence[Records]) -> Records:
    """Put records together, in order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _draw_actors(
    rng: np.random.Generator, recipe: StateRecipe, share: float, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw whether the expert acts on each arm, (n,) bool, and the disturbance of its action (n, a)."""
    expert = rng.random(shape[0]) < share
    disturbed = rng.random(shape[0]) < recipe.disturbed_share
    noise = rng.normal(0.0, recipe.disturbance, shape)
    return expert, noise * disturbed[:, None]
