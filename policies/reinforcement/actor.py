"""The trained actor as one of our networks, for bundles, evaluation and transfer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from sb3_contrib.common.torch_layers import BatchRenorm
from stable_baselines3.common.base_class import BaseAlgorithm
from torch import Tensor, nn

from policies.models.history_network import HistoryNetwork
from policies.models.recurrent_network import RecurrentNetwork
from policies.models.state_export import RecordedInputs
from policies.models.state_network import StateNetwork
from policies.reinforcement.algorithms import Algorithm
from policies.reinforcement.columns import NamedColumns
from policies.reinforcement.practice import Shapes

ActingNetwork = StateNetwork | RecurrentNetwork | HistoryNetwork
"""What an actor can become."""
LSTM_WIDTH = 64
"""Width of a recurrent policy's LSTM."""


class Actor:
    """Acts deterministically by one of our networks on many arms at once, and records its observations."""

    def __init__(self, network: ActingNetwork):
        """Act by `network`."""
        self.network = network
        self._seen: list[dict[str, np.ndarray]] = []
        self._begins: list[int] = []
        self._names = [name for name, _ in network.arrays]
        self._memory: tuple[Tensor, ...] = ()

    def begin(self, count: int) -> None:
        """Clear the memory: the episodes of `count` arms begin, all at once."""
        self._begins.append(len(self._seen))
        if not isinstance(self.network, StateNetwork):
            self._memory = tuple(torch.zeros(count, *shape) for shape in self.network.memory.values())

    @torch.no_grad()
    def __call__(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Map arrays (B, …) by name to actions (B, a)."""
        self._seen.append({name: observation[name].copy() for name in self._names})
        found = self.network(*(torch.from_numpy(observation[name]) for name in self._names), *self._memory)
        if not isinstance(self.network, StateNetwork):
            found, *memory = found
            self._memory = tuple(memory)
        return found.numpy()

    def clear_records(self) -> None:
        """Delete all recorded observations."""
        self._seen, self._begins = [], []

    def records(self) -> RecordedInputs:
        """Return the recorded observations: arm after arm, each in temporal order."""
        count = len(self._seen[0][self._names[0]])
        begins = np.zeros((len(self._seen), count), bool)
        begins[self._begins] = True
        stacked = {name: np.stack([seen[name] for seen in self._seen]) for name in self._names}
        flat = {name: array.swapaxes(0, 1).reshape(-1, *array.shape[2:]) for name, array in stacked.items()}
        return RecordedInputs(flat, begins.T.ravel())


def make_actor(
    algorithm: Algorithm,
    arrays: Shapes,
    actions: Sequence[str],
    hidden: Sequence[int],
    latent: int = 0,
    length: int = 0,
) -> ActingNetwork:
    """Build the network that an actor of `algorithm` is copied into; `latent` numbers are inferred from its history."""
    if algorithm.recurrent:
        return RecurrentNetwork(arrays, actions, LSTM_WIDTH, hidden)
    if latent:
        return HistoryNetwork(arrays, actions, hidden, latent, length, algorithm.squash)
    return StateNetwork(arrays, actions, hidden, algorithm.squash)


def copy_actor(model: BaseAlgorithm, network: ActingNetwork) -> None:
    """Copy the actor of `model`, and its normaliser, into `network`, which then acts deterministically as it does.

    Raises:
        ValueError: if the layers do not fit.
    """
    columns, layers = columns_of(model), _folded(_layers(model))
    own = network.layers
    normaliser = network if isinstance(network, StateNetwork) else network.columns
    if isinstance(network, RecurrentNetwork):
        policy: Any = model.policy
        theirs = policy.lstm_actor
        with torch.no_grad():
            network.lstm.weight_ih.copy_(theirs.weight_ih_l0[:, : columns.own_width])
            network.lstm.weight_hh.copy_(theirs.weight_hh_l0)
            network.lstm.bias_ih.copy_(theirs.bias_ih_l0)
            network.lstm.bias_hh.copy_(theirs.bias_hh_l0)
    else:
        first_weight, first_bias = layers[0]
        layers[0] = (first_weight[:, : columns.policy_width], first_bias)
    shapes = [tuple(weight.shape) for weight, _ in layers]
    expected = [tuple(layer.weight.shape) for layer in own]
    if shapes != expected:
        raise ValueError(f"the actor's layers have shapes {shapes}, expected {expected}")
    with torch.no_grad():
        for layer, (weight, bias) in zip(own, layers):
            layer.weight.copy_(weight)
            layer.bias.copy_(bias)
        normaliser.centre.copy_(columns.centre[: columns.own_width])
        normaliser.spread.copy_(columns.spread[: columns.own_width])


def columns_of(model: BaseAlgorithm) -> NamedColumns:
    """Return the columns in front of the actor of `model`."""
    policy: Any = model.policy
    part = policy.actor.features_extractor if hasattr(policy, "actor") else policy.pi_features_extractor
    assert isinstance(part, NamedColumns)
    return part


def _layers(model: BaseAlgorithm) -> list[nn.Module]:
    """List the actor's linear layers and normalisations, first to last."""
    policy: Any = model.policy
    if hasattr(policy, "actor"):
        actor = policy.actor
        body = [actor.latent_pi, actor.mu] if hasattr(actor, "latent_pi") else [actor.mu]
    else:
        body = [policy.mlp_extractor.policy_net, policy.action_net]
    parts = [part for module in body for part in ([module] if isinstance(module, nn.Linear) else list(module))]
    return [part for part in parts if isinstance(part, (nn.Linear, BatchRenorm))]


def _folded(parts: list[nn.Module]) -> list[tuple[Tensor, Tensor]]:
    """Return weights and biases of the linear layers, with the normalisation in front of each folded into it."""
    folded: list[tuple[Tensor, Tensor]] = []
    scale: Tensor | None = None
    shift = torch.zeros(())
    for part in parts:
        if isinstance(part, BatchRenorm):
            norm: Any = part
            scale = norm.scale / (norm.ra_var + norm.eps).sqrt()
            shift = norm.bias - norm.ra_mean * scale
            continue
        assert isinstance(part, nn.Linear)
        weight, bias = part.weight.detach(), part.bias.detach()
        if scale is not None:  # W (scale * x + shift) + b
            weight, bias = weight * scale.detach(), bias + weight @ shift.detach()
            scale = None
        folded.append((weight, bias))
    return folded
