"""Train a policy to infer the latent of the drawn parameters from its history (RMA's second phase)."""

from __future__ import annotations

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer

from policies.models.history_network import MOVING, HistoryNetwork, history_windows
from policies.reinforcement.actor import columns_of
from policies.reinforcement.demonstrations import as_tensors
from policies.training.descent import Loss, gradient_descent

HELD_OUT = 0.1
"""Share of transitions, the newest ones, that are held out to measure the inference."""
RATE = 1e-3
BATCH = 256


def fit_inference(
    model: BaseAlgorithm, buffer: DictReplayBuffer, segment: int, network: HistoryNetwork, steps: int, seed: int
) -> float:
    """Regress the inference of `network` on the latent of `model`'s actor, over all transitions in `buffer`.

    It is trained from scratch each time, because the latent changes in every segment.

    Args:
        model: with a latent.
        buffer: transitions in whole segments.
        segment: rows of a segment, at whose beginning every arm is reset.
        network: its inference is trained in place.
        steps: gradient steps.
        seed: of the initial weights and the batches.

    Returns:
        The share of the latent's variance that is explained on held-out histories, at most 1.
    """
    rows = buffer.pos
    moving = np.concatenate([buffer.observations[name][:rows] for name in MOVING], axis=2)
    begins = np.zeros((rows, buffer.n_envs), bool)
    begins[::segment] = True
    begins[1:] |= buffer.dones[: rows - 1].astype(bool)
    history = torch.from_numpy(history_windows(moving, buffer.actions[:rows], begins, network.length)).flatten(0, 1)
    observations = {name: array[:rows].reshape(-1, *array.shape[2:]) for name, array in buffer.observations.items()}
    rows_there = {name: array.to(model.device) for name, array in as_tensors(observations).items()}
    with torch.no_grad():
        latent = columns_of(model).latent(rows_there).cpu()
    kept = int(len(history) * (1 - HELD_OUT))
    torch.manual_seed(seed)
    for layer in network.infer:
        if isinstance(layer, torch.nn.Linear):
            layer.reset_parameters()
    network.fit_history(history[:kept])
    optimiser = torch.optim.Adam(network.infer.parameters(), RATE)

    def loss(step: int) -> Loss:
        chosen = torch.randint(kept, (BATCH,))
        return Loss((network.inferred(history[chosen]) - latent[chosen]).square().mean())

    gradient_descent(optimiser, (RATE * (1 - step / steps) for step in range(steps)), steps, loss)
    with torch.no_grad():
        error = (network.inferred(history[kept:]) - latent[kept:]).square().mean()
        spread = (latent[kept:] - latent[:kept].mean(0)).square().mean()
    return float(1 - error / spread.clamp_min(1e-8))
