"""Named features and their normaliser in front of every network; privileged columns are zero for the actor."""

from __future__ import annotations

import itertools
import math

import gymnasium as gym
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from torch import Tensor, nn

from policies.models.state_network import MOST_SPREADS, SMALLEST_SPREAD, features_of
from policies.reinforcement.practice import GOAL, PARAMETERS, Shapes

ENCODING = 64
"""Width of the layer between the drawn parameters and the latent."""


class NamedColumns(BaseFeaturesExtractor):
    """The columns of a `StateNetwork`, followed by those of the critic only, which are zero for the actor.

    With a latent, a few numbers computed from the drawn parameters are between them. With hindsight the goal is read
    from `desired_goal`, which the replay buffer replaces by goals that were reached.
    """

    centre: Tensor
    spread: Tensor

    def __init__(self, observation_space: gym.Space, seen: Shapes, known: Shapes, latent: int = 0):
        """Build for the arrays `seen` by the policy and those `known` to critics only.

        A `latent` of so many numbers is computed from `parameters`, which must be among the known, for the policy.
        """
        own = features_of(seen)
        names = {feature.name for feature in own}
        further = [feature for feature in features_of((*seen, *known)) if feature.name not in names]
        self_width, width = sum(f.width for f in own), sum(f.width for f in (*own, *further))
        super().__init__(observation_space, width + latent)
        self._features = (*own, *further)
        self._arrays = (*seen, *known)
        self._hindsight = isinstance(observation_space, gym.spaces.Dict) and "desired_goal" in observation_space.spaces
        self.own_width = self_width
        """Number of columns of the policy; they come first."""
        self.policy_width = self_width + latent
        """Number of inputs of the policy's first layer that are not always zero."""
        self._drawn = slice(0, 0)
        self._encoder: nn.Module | None = None
        if latent:
            ends = dict(zip((f.name for f in self._features), itertools.accumulate(f.width for f in self._features)))
            count = dict(known)[PARAMETERS][0]
            self._drawn = slice(ends[PARAMETERS] - count, ends[PARAMETERS])
            self._encoder = nn.Sequential(nn.Linear(count, ENCODING), nn.ReLU(), nn.Linear(ENCODING, latent), nn.Tanh())
        self.revealed = False
        """Whether this one is in front of a critic."""
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def row(self, observations: dict[str, Tensor] | Tensor) -> Tensor:
        """Compute all columns (B, width), not normalised, from arrays (B, …) by name, or joined to one (B, n)."""
        if isinstance(observations, Tensor):
            observations = separated(observations, self._arrays)
        arrays = {name: observations[name] for name, _ in self._arrays}
        if self._hindsight:
            arrays[GOAL] = observations["desired_goal"]
        return torch.cat([feature.compute(arrays) for feature in self._features], dim=1)

    def forward(self, observations: dict[str, Tensor] | Tensor) -> Tensor:
        """Map a batch of observations to normalised columns (B, width)."""
        row = self._normalised(observations)
        own, further = row[:, : self.own_width], row[:, self.own_width :]
        latent = [] if self._encoder is None else [self._encoder(row[:, self._drawn])]
        return torch.cat([own, *latent, further if self.revealed else torch.zeros_like(further)], dim=1)

    def latent(self, observations: dict[str, Tensor]) -> Tensor:
        """Compute the latent of the drawn parameters (B, z)."""
        assert self._encoder is not None
        return self._encoder(self._normalised(observations)[:, self._drawn])

    def _normalised(self, observations: dict[str, Tensor] | Tensor) -> Tensor:
        return ((self.row(observations) - self.centre) / self.spread).clamp(-MOST_SPREADS, MOST_SPREADS)


def separated(joined: Tensor, arrays: Shapes) -> dict[str, Tensor]:
    """Split (B, n) into `arrays` (B, …) by name, in order."""
    sizes = [math.prod(shape) for _, shape in arrays]
    parts = joined.split(sizes, dim=1)
    return {name: part.reshape(-1, *shape) for (name, shape), part in zip(arrays, parts)}


def prepare_columns(model: BaseAlgorithm, observations: dict[str, Tensor]) -> None:
    """Fit the normaliser of all of `model`'s networks to `observations` (N, …), and show critics all columns."""
    found = [(name, part) for name, part in model.policy.named_modules() if isinstance(part, NamedColumns)]
    with torch.no_grad():
        row = found[0][1].row(observations)
    for _, part in found:
        part.centre.copy_(row.mean(0))
        part.spread.copy_(row.std(0).clamp_min(SMALLEST_SPREAD))
    reveal(model)


def reveal(model: BaseAlgorithm) -> None:
    """Show the critics of `model` their privileged columns."""
    for name, part in model.policy.named_modules():
        if isinstance(part, NamedColumns):
            part.revealed = name.startswith(("critic", "vf_"))
