"""The state from which a run of reinforcement learning resumes bit for bit: weights, optimisers, replay buffer."""

from __future__ import annotations

import random
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.her.her_replay_buffer import HerReplayBuffer

COUNTERS = ("num_timesteps", "_n_updates", "_episode_num")
"""Attributes of a stable-baselines3 model on which its training depends."""


def seed_everything(*numbers: int) -> None:
    """Seed every global generator that stable-baselines3 draws from."""
    state = np.random.SeedSequence(numbers).generate_state(3).tolist()
    torch.manual_seed(state[0])
    np.random.seed(state[1])
    random.seed(state[2])


def model_state(model: BaseAlgorithm) -> dict[str, Any]:
    """Copy weights, optimisers and counters; plain types and tensors only."""
    modules, tensors = model._get_torch_save_params()
    return {
        "modules": {name: attrgetter(name)(model).state_dict() for name in modules},
        "tensors": {name: attrgetter(name)(model).detach().clone() for name in tensors or []},
        "counters": {name: int(getattr(model, name)) for name in COUNTERS if hasattr(model, name)},
    }


def restore_model(model: BaseAlgorithm, state: dict[str, Any]) -> None:
    """Restore the result of `model_state`."""
    for name, part in state["modules"].items():
        attrgetter(name)(model).load_state_dict(part)
    with torch.no_grad():
        for name, tensor in state["tensors"].items():
            attrgetter(name)(model).copy_(tensor)
    for name, value in state["counters"].items():
        setattr(model, name, value)


def end_episodes(buffer: ReplayBuffer | None) -> None:
    """End all episodes in a hindsight buffer; other buffers do not keep track of them."""
    if isinstance(buffer, HerReplayBuffer):
        for env in range(buffer.n_envs):
            if buffer.pos != buffer._current_ep_start[env]:
                buffer._compute_episode_length(env)


def added_since(buffer: ReplayBuffer, row: int) -> dict[str, np.ndarray]:
    """Copy the rows of `buffer` from `row` on, by name; it must not have wrapped around."""
    assert not buffer.full
    return {name: array[row : buffer.pos].copy() for name, array in _arrays(buffer).items()}


def add_again(buffer: ReplayBuffer, arrays: dict[str, np.ndarray]) -> None:
    """Add the result of `added_since` again."""
    stop = buffer.pos + len(arrays["rewards"])
    for name, array in _arrays(buffer).items():
        array[buffer.pos : stop] = arrays[name]
    buffer.pos = stop
    if isinstance(buffer, HerReplayBuffer):
        buffer._current_ep_start[:] = buffer.pos


def _arrays(buffer: ReplayBuffer) -> dict[str, np.ndarray]:
    """Return all arrays of `buffer`, by name."""
    further = ("ep_start", "ep_length") if isinstance(buffer, HerReplayBuffer) else ()
    arrays = {name: getattr(buffer, name) for name in ("actions", "rewards", "dones", "timeouts", *further)}
    for part in ("observations", "next_observations"):
        held = getattr(buffer, part)
        arrays |= {f"{part}.{key}": array for key, array in held.items()} if isinstance(held, dict) else {part: held}
    return arrays
