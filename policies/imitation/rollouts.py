"""Let expert and policy act on many arms, in batches, and label every observation with the expert's action.

A batch depends on its number, the round's and the seed alone, so that a round is the same whatever the workers.
"""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from policies.models.state_network import StateNetwork
from policies.models.state_policy import StatePolicy
from policies.scoring.batches import ARMS, synchronous, unpickled
from policies.scoring.evaluator import TRAINING_SEEDS, FullLengthEnv, near_goal
from policies.scoring.wrappers import EXPERT
from policies.training.progress import Progress
from sim.tasks.recipe import StateRecipe
from sim.workers.pool import Workers, in_order

Records = dict[str, np.ndarray]
"""Labelled observations by array name, each (N, …), and the labels: `expert` (N, a), `near` (N, 1) bool."""
NEAR = "near"
"""Name of the records that say whether the task was achieved at that moment."""


@dataclass(frozen=True)
class Rollout:
    """What is collected in a round."""

    make: FullLengthEnv
    """Makes the environments."""
    recipe: StateRecipe
    """Number of arms and steps, and the expert's share of them."""
    round_: int
    """Number of the round, from 0."""
    seed: int
    """Of the run."""
    hold_steps: int
    """Number of actions with success after which an arm's episode ends."""
    actions: tuple[str, ...]
    """Names of the action's elements."""
    names: tuple[str, ...]
    """Arrays to record."""
    closing: float = 0.0
    """Share of the arms whose fingers are made to close at any one time, mostly on nothing, so that the expert's labels
    show how to open them again."""


def collect(workers: Workers, network: StateNetwork, rollout: Rollout, progress: Progress) -> Records:
    """Let expert and policy, `network` so far, act for a round; return all observations with the expert's labels.

    `progress` is called with the share that is done.
    """
    policy = workers.share(pickle.dumps(StatePolicy(network)))
    batches = [(policy, rollout, first) for first in range(0, rollout.recipe.envs, ARMS)]
    parts = in_order(workers, collect_batch, batches, lambda done: progress(done / len(batches), ""))
    joined = {name: np.concatenate([part[name] for part in parts], axis=1) for name in parts[0]}
    return {name: array.reshape(-1, *array.shape[2:]) for name, array in joined.items()}


def collect_batch(policy: bytes, rollout: Rollout, first: int) -> Records:
    """Collect, in a worker, from the round's arms `first` to `first` + `ARMS`; arrays (steps, arms, …) by name."""
    recipe, total = rollout.recipe, rollout.recipe.envs
    own = slice(first, min(first + ARMS, total))
    arms, act = synchronous((rollout.make, own.stop - own.start)), unpickled(policy)
    rng = np.random.default_rng([rollout.seed, rollout.round_, 1])  # draws for all arms of the round
    names = [*rollout.names, EXPERT]
    records: dict[str, list[np.ndarray]] = {name: [] for name in (*names, NEAR)}
    share = recipe.share_of_expert(rollout.round_)
    seen, _ = arms.reset(seed=int(rng.integers(TRAINING_SEEDS - total)) + first)
    held, near = np.zeros(arms.num_envs, int), np.zeros(arms.num_envs, bool)
    disturbable = np.array([name != "gripper" for name in rollout.actions])  # else a grasped object would be dropped
    shape = (total, len(rollout.actions))
    expert_acts, noise = _draw_actors(rng, recipe, share, shape)
    close = np.zeros(total, bool)
    for _ in range(recipe.round_steps):
        for name in names:
            records[name].append(seen[name].copy())
        records[NEAR].append(near[:, None])
        anew = rng.random(total) < 1.0 / recipe.spell
        fresh_acts, fresh_noise = _draw_actors(rng, recipe, share, shape)
        expert_acts = np.where(anew, fresh_acts, expert_acts)
        noise = np.where(anew[:, None], fresh_noise, noise)
        action = seen[EXPERT] + noise[own] * disturbable
        if not expert_acts[own].all():
            action = np.where(expert_acts[own, None], action, act(seen))
        if rollout.closing > 0:
            close = np.where(anew, rng.random(total) < rollout.closing, close)
            action = np.where(close[own, None] & ~disturbable, -1.0, action)
        seen, _, terminated, truncated, infos = arms.step(np.clip(action, -1.0, 1.0).astype(np.float32))
        near = near_goal(infos, arms.num_envs) & ~(terminated | truncated)
        held = np.where(near, held + 1, 0)
        done = held >= rollout.hold_steps
        if done.any():
            seen, _ = arms.reset(options={"reset_mask": done})
            held[done], near[done] = 0, False
    return {name: np.stack(column) for name, column in records.items()}


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
