"""A state network as `evaluate` calls it: arrays of many arms in, actions out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from policies.models.state_network import StateNetwork


@dataclass(frozen=True)
class StatePolicy:
    """Maps arrays (B, …) by name to actions (B, a)."""

    network: StateNetwork
    """Used as it is at each call."""

    @torch.no_grad()
    def __call__(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Act on `observation`."""
        arrays = (torch.from_numpy(observation[name]) for name, _ in self.network.arrays)
        return self.network(*arrays).numpy()
