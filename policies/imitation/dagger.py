"""Imitation in rounds on many arms at once: whoever steers, the privileged expert labels (DAgger).

Ross, Gordon & Bagnell, "A Reduction of Imitation Learning and Structured Prediction to No-Regret Online
Learning", AISTATS 2011. A round is a function of its number, the seed, the network and the records before it,
and of nothing else: that is what makes an interrupted run resume to the bit.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import gymnasium as gym
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from policies.models.state_network import StateNetwork
from policies.scoring.evaluator import TRAINING_SEEDS, near_goal
from policies.scoring.wrappers import EXPERT
from policies.training.descent import FREE, Loss, Restraint, cosine, descend
from policies.training.progress import Progress
from sim.tasks.recipe import StateRecipe

Records = dict[str, np.ndarray]
"""Labelled observations by array name, each (N, …), and the labels (N, a) under `expert`."""
BEND = 0.05
"""Error at which the loss turns from square to absolute: a median that sharpens where the expert decides."""


def as_policy(network: StateNetwork) -> Callable[[Mapping[str, np.ndarray]], np.ndarray]:
    """Turn a network into a function from arrays (B, …) by name to actions (B, a)."""
    names = [name for name, _ in network.arrays]

    @torch.no_grad()
    def act(observation: Mapping[str, np.ndarray]) -> np.ndarray:
        return network(*(torch.from_numpy(observation[name]) for name in names)).numpy()

    return act


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
    """Let expert and policy steer `arms` for a round; return all that was seen, with the expert's labels.

    Args:
        arms: of `LastingEnv`.
        network: the policy so far.
        recipe: how long, and who steers.
        round_: number of the round, from 0.
        seed: of the run.
        hold_steps: actions for which success has lasted, and lingered, when an arm starts over.
        progress: told about the share that is done.
        names: arrays to record; those of the network by default.
        closing: share of the arms whose fingers close at any one time, whoever steers: on nothing, mostly, so that the
            expert shows how they open again.
    """
    rng = np.random.default_rng([seed, round_, 1])
    act = as_policy(network)
    names = [*(names or [name for name, _ in network.arrays]), EXPERT]
    records: dict[str, list[np.ndarray]] = {name: [] for name in names}
    n, share = arms.num_envs, recipe.share_of_expert(round_)
    seen, _ = arms.reset(seed=int(rng.integers(TRAINING_SEEDS - n)))
    held = np.zeros(n, int)
    disturbable = np.array([name != "gripper" for name in network.actions])  # or it would drop what it has grasped
    expert_steers, noise = _draw_steering(rng, recipe, share, seen[EXPERT].shape)
    close = np.zeros(n, bool)
    for step in range(recipe.round_steps):
        for name in names:
            records[name].append(seen[name])
        anew = rng.random(n) < 1.0 / recipe.spell
        fresh_steers, fresh_noise = _draw_steering(rng, recipe, share, noise.shape)
        expert_steers = np.where(anew, fresh_steers, expert_steers)
        noise = np.where(anew[:, None], fresh_noise, noise)
        action = seen[EXPERT] + noise * disturbable
        if not expert_steers.all():
            action = np.where(expert_steers[:, None], action, act(seen))
        if closing > 0:
            close = np.where(anew, rng.random(n) < closing, close)
            action = np.where(close[:, None] & ~disturbable, -1.0, action)
        seen, _, terminated, truncated, infos = arms.step(np.clip(action, -1.0, 1.0).astype(np.float32))
        held = np.where(near_goal(infos, n) & ~(terminated | truncated), held + 1, 0)
        done = held >= hold_steps
        if done.any():
            seen, _ = arms.reset(options={"reset_mask": done})
            held[done] = 0
        if step % 20 == 0:
            progress(step / recipe.round_steps, "")
    return {name: np.concatenate(parts) for name, parts in records.items()}


def fit(
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
    steps, last = recipe.gradient_steps_of(round_), round_ == recipe.rounds - 1
    rates = (recipe.learning_rate * (cosine(step / steps) if last else 1.0) for step in range(steps))
    scale = restraint.rate_scale(round_)

    def loss(step: int) -> Loss:
        chosen = torch.randint(len(row), (recipe.batch,), generator=generator)
        batch = row[chosen]
        value = imitation_loss(network.body(network.normalise(batch)), labels[chosen])
        return Loss(value, restraint.penalty(network, batch, round_), lambda: f"loss {float(value.detach()):.3f}")

    network.train()
    recent = descend(optimiser, rates, steps, loss, progress, network, lambda share: scale)
    network.eval()
    return recent


def imitation_loss(actions: Tensor, labels: Tensor) -> Tensor:
    """Compute the mean distance of actions (B, a) from the expert's labels (B, a)."""
    return F.smooth_l1_loss(actions, labels, beta=BEND)


def row_of(network: StateNetwork, records: Records) -> Tensor:
    """Compute the features (N, columns) of records."""
    with torch.no_grad():
        return network.row(*(torch.from_numpy(records[name]) for name, _ in network.arrays))


def joined(parts: Sequence[Records]) -> Records:
    """Put records together, in order."""
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _draw_steering(
    rng: np.random.Generator, recipe: StateRecipe, share: float, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Draw who steers each arm, (n,) bool, and the disturbance of its expert (n, a)."""
    expert = rng.random(shape[0]) < share
    disturbed = rng.random(shape[0]) < recipe.disturbed_share
    noise = rng.normal(0.0, recipe.disturbance, shape)
    return expert, noise * disturbed[:, None]
