"""Evaluate a policy in batches of episodes, each in a worker process."""

from __future__ import annotations

import pickle
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from policies.scoring.evaluator import (
    EVALUATION_SEEDS,
    BatchPolicy,
    Evaluation,
    FullLengthEnv,
    run_episodes,
    summarise_episodes,
)
from policies.scoring.failure_causes import EpisodeRecord
from sim.workers.pool import Workers, in_order
from sim.workers.worker_cache import WorkerCache

ARMS = 4
"""Arms that one worker moves at a time: few enough for many workers, enough for one call of the network to pay."""


def evaluate_in_batches(
    act: BatchPolicy, workers: Workers, make: FullLengthEnv, episodes: int, first_seed: int = EVALUATION_SEEDS
) -> Evaluation:
    """Run `episodes` episodes of `act`, which can be pickled; otherwise as `policies.scoring.evaluator.evaluate`."""
    policy = workers.share(pickle.dumps(act))
    batches = [(policy, make, first_seed + k, min(ARMS, episodes - k)) for k in range(0, episodes, ARMS)]
    near, records = zip(*in_order(workers, run_batch, batches))
    return summarise_episodes(make, first_seed, np.concatenate(near), [record for each in records for record in each])


def run_batch(
    policy: bytes, make: FullLengthEnv, first_seed: int, episodes: int
) -> tuple[np.ndarray, list[EpisodeRecord]]:
    """Run up to `ARMS` episodes of a pickled policy in a worker; see `run_episodes`."""
    return run_episodes(unpickled(policy), synchronous((make, ARMS)), make, episodes, first_seed)


def _unpickle(policy: bytes) -> Any:
    torch.set_num_threads(1)  # in this worker: there is one for every core
    return pickle.loads(policy)


def _open(description: tuple[FullLengthEnv, int]) -> gym.vector.VectorEnv:
    make, count = description
    return SyncVectorEnv([make] * count, copy=False, autoreset_mode=AutoresetMode.SAME_STEP)


unpickled = WorkerCache(_unpickle)
"""A pickled policy."""
synchronous = WorkerCache(_open, gym.vector.VectorEnv.close, most=2)
"""So many environments that `make` makes, in this process; what they return is overwritten by their next step."""
