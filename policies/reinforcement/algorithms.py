"""The reinforcement learning algorithms: a table from name to class and properties."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sb3_contrib import TQC, CrossQ, RecurrentPPO
from sb3_contrib.crossq.policies import CrossQPolicy
from stable_baselines3 import DDPG, PPO, SAC, TD3
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.policies import BasePolicy
from torch import Tensor

Observations = dict[str, Tensor] | Tensor


@dataclass(frozen=True)
class Algorithm:
    """A reinforcement learning algorithm."""

    make: type[BaseAlgorithm]
    """stable-baselines3's class."""
    deterministic: Callable[[BaseAlgorithm, Observations], Tensor] | None
    """From observations (B, …) by name, or joined, to the deterministic actions (B, a); None for a recurrent policy."""
    squash: str
    """Function that bounds its actions: `tanh` or `clamp`."""
    noisy: bool = False
    """Whether it explores by noise added to its actions."""
    policy: str | type[BasePolicy] = "MultiInputPolicy"
    """Its policy for observations by name."""

    joined: bool = False
    """Whether it takes observations only as one vector."""

    @property
    def off_policy(self) -> bool:
        """Whether it trains on a replay buffer."""
        return issubclass(self.make, OffPolicyAlgorithm)

    @property
    def recurrent(self) -> bool:
        """Whether its policy has a memory."""
        return self.deterministic is None


def _mean(model: BaseAlgorithm, observations: Observations) -> Tensor:
    policy: Any = model.policy
    return policy.actor(observations, deterministic=True)


def _plain(model: BaseAlgorithm, observations: Observations) -> Tensor:
    policy: Any = model.policy
    return policy.actor(observations)


def _gaussian(model: BaseAlgorithm, observations: Observations) -> Tensor:
    policy: Any = model.policy
    return policy.get_distribution(observations).distribution.mean


ALGORITHMS: dict[str, Algorithm] = {
    "ppo": Algorithm(PPO, _gaussian, "clamp"),
    "sac": Algorithm(SAC, _mean, "tanh"),
    "td3": Algorithm(TD3, _plain, "tanh", noisy=True),
    "ddpg": Algorithm(DDPG, _plain, "tanh", noisy=True),
    "tqc": Algorithm(TQC, _mean, "tanh"),
    "crossq": Algorithm(CrossQ, _mean, "tanh", policy=CrossQPolicy, joined=True),
    "recurrent_ppo": Algorithm(RecurrentPPO, None, "clamp", policy="MultiInputLstmPolicy"),
}
"""Algorithms by name."""


def load_algorithm(name: str) -> Algorithm:
    """Return the algorithm called `name`.

    Raises:
        ValueError: for an unknown one; lists the known.
    """
    if name not in ALGORITHMS:
        raise ValueError(f"unknown algorithm '{name}'; known are imitation, {', '.join(ALGORITHMS)}")
    return ALGORITHMS[name]
