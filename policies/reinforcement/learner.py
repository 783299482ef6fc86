"""Build a stable-baselines3 model with named columns in front of its networks, and demonstrations in its batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from stable_baselines3 import HerReplayBuffer
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.logger import configure
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm
from stable_baselines3.common.vec_env import VecEnv
from torch import nn

from policies.reinforcement.actor import LSTM_WIDTH
from policies.reinforcement.algorithms import Algorithm
from policies.reinforcement.columns import NamedColumns
from policies.reinforcement.demonstrations import (
    Demonstrated,
    DemonstrationBuffer,
    Demonstrations,
    JoinedDemonstrationBuffer,
    fill_buffer,
)
from policies.reinforcement.joined import Joined
from policies.reinforcement.practice import Shapes
from policies.reinforcement.recipe import ReinforcementRecipe
from policies.training.device import CPU

INITIAL_ENTROPY = "auto_0.05"
"""Where SAC's and TQC's entropy coefficient starts: rewards are distances, hundredths an action."""


def build_model(
    algorithm: Algorithm,
    recipe: ReinforcementRecipe,
    arms: VecEnv,
    seen: Shapes,
    known: Shapes,
    shown: int,
    device: torch.device = CPU,
) -> BaseAlgorithm:
    """Build the model of `algorithm` for `arms`.

    Args:
        algorithm: which.
        recipe: its settings.
        arms: environments of `Practice`.
        seen: arrays that the policy observes.
        known: arrays that only critics observe.
        shown: number of demonstrated transitions, for which a hindsight buffer has room.
        device: where it learns.
    """
    network: dict[str, Any] = {
        "features_extractor_class": NamedColumns,
        "features_extractor_kwargs": {"seen": seen, "known": known, "latent": recipe.latent},
        "activation_fn": nn.ReLU,
    }
    hidden = list(recipe.hidden)
    size = arms.action_space.shape[0]  # type: ignore[index]
    settings: dict[str, Any] = {"learning_rate": recipe.learning_rate, "gamma": recipe.discount, "device": device}
    if algorithm.off_policy:
        network["net_arch"] = {"pi": hidden, "qf": hidden}
        settings |= {
            "buffer_size": recipe.steps + recipe.envs + (shown if recipe.hindsight else 0),
            "learning_starts": 0 if shown else recipe.random_steps,
            "batch_size": recipe.batch,
            "train_freq": (1, "step"),
            "gradient_steps": max(1, round(recipe.updates * recipe.envs)),
            "replay_buffer_class": _buffer_class(algorithm, recipe),
        }
        if algorithm.noisy:
            settings["action_noise"] = NormalActionNoise(np.zeros(size), np.full(size, recipe.exploration))
        elif algorithm.make.__name__ in ("SAC", "TQC", "CrossQ"):
            settings["ent_coef"] = INITIAL_ENTROPY
    else:
        network |= {
            "net_arch": {"pi": hidden, "vf": hidden},
            "share_features_extractor": False,
            "log_std_init": float(np.log(max(recipe.exploration, 1e-3))),
        }
        if algorithm.recurrent:
            network["lstm_hidden_size"] = LSTM_WIDTH
        settings |= {"n_steps": recipe.rollout, "batch_size": recipe.batch}
    if algorithm.joined:
        arms = Joined(arms, [name for name, _ in (*seen, *known)])
    model = algorithm.make(algorithm.policy, arms, policy_kwargs=network, **settings)
    model.set_logger(configure(None, []))
    return model


def _buffer_class(algorithm: Algorithm, recipe: ReinforcementRecipe) -> type[ReplayBuffer]:
    if recipe.hindsight:
        return HerReplayBuffer
    return JoinedDemonstrationBuffer if algorithm.joined else DemonstrationBuffer


def buffer_of(model: BaseAlgorithm) -> ReplayBuffer | None:
    """Return the replay buffer of `model`, None if it has none."""
    return model.replay_buffer if isinstance(model, OffPolicyAlgorithm) else None


def keep_demonstrations(
    model: BaseAlgorithm, recipe: ReinforcementRecipe, demonstrations: Demonstrations, names: Sequence[str]
) -> None:
    """Put `demonstrations` into the hindsight buffer, or beside the replay buffer.

    Their arrays `names` are joined where the model takes one vector.
    """
    buffer = buffer_of(model)
    if isinstance(buffer, Demonstrated):
        make = DictReplayBuffer if isinstance(buffer, DictReplayBuffer) else ReplayBuffer
        kept = make(len(demonstrations), model.observation_space, model.action_space, model.device)  # type: ignore[arg-type]
        fill_buffer(kept, demonstrations, names)
        buffer.demonstrations, buffer.share = kept, recipe.demonstration_share
    elif buffer is not None:
        fill_buffer(buffer, demonstrations, names)


def train_critic(model: BaseAlgorithm, steps: int, batch: int) -> None:
    """Take `steps` gradient steps of the critic with a frozen actor, which an untrained critic would make worse."""
    assert isinstance(model, OffPolicyAlgorithm)
    policy: Any = model.policy
    actor = list(policy.actor.parameters())
    for parameter in actor:
        parameter.requires_grad_(False)
    model.train(gradient_steps=steps, batch_size=batch)
    for parameter in actor:
        parameter.requires_grad_(True)
