"""Train the privileged teacher: a state policy that observes the goal's position.

The actor first imitates the scripted expert; then, if asked, stable-baselines3's TD3 goes on from there, with the
expert's episodes in its replay buffer. Whichever has the higher success on validation seeds is returned: a critic that
has hardly been trained makes a good actor worse at first.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3 import TD3
from stable_baselines3.common.callbacks import BaseCallback
from stable_baselines3.common.noise import NormalActionNoise
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor, nn

from policies.models.keypoint_student import WORKSPACE, StatePolicy
from policies.scoring.evaluator import VALIDATION_SEEDS, FullLengthEnv, evaluate
from policies.training.descent import Loss, constant, gradient_descent
from policies.training.progress import Progress
from sim.env import ArmEnv

EVALUATION_ARMS = 4
"""Environments in which a teacher is evaluated."""


@dataclass(frozen=True)
class TeacherConfig:
    """How the privileged teacher is trained."""

    demonstrations: int = 60
    """Episodes of the scripted expert in the replay buffer at first."""
    imitation_steps: int = 1_500
    """Gradient steps of the imitation."""
    steps: int = 0
    """Environment steps of TD3 after imitation, and as many gradient steps."""
    learning_rate: float = 3e-4
    """Learning rate of actor and critics."""
    trials: int = 20
    """Episodes on which the results of imitation and TD3 are compared."""
    batch: int = 256
    """Transitions per gradient step."""
    noise: float = 0.1
    """Standard deviation of the exploration noise on the normalised action."""
    discount: float = 0.9
    """Discount per action: the horizon of reach is half a second, ten actions."""
    hidden: tuple[int, ...] = (64, 64)
    """Widths of the actor's layers, which become part of the student."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range."""
        for name in ("demonstrations", "imitation_steps", "learning_rate", "batch", "trials"):
            if not getattr(self, name) > 0:
                raise ValueError(f"teacher: {name} is {getattr(self, name)}, expected a positive number")
        if self.steps < 0:
            raise ValueError(f"teacher: steps is {self.steps}, expected 0 (imitation only) or more")
        if not 0 < self.discount < 1:
            raise ValueError(f"teacher: discount is {self.discount}, expected between 0 and 1")


class RelativeGoal(BaseFeaturesExtractor):
    """Goal minus end effector (3,), scaled to about one."""

    def __init__(self, observation_space: gym.Space):
        super().__init__(observation_space, features_dim=3)

    def forward(self, observations: dict[str, Tensor]) -> Tensor:
        """Map a batch of state observations to features (B, 3)."""
        return (observations["goal"] - observations["ee_pos"]) / WORKSPACE


def train_teacher(
    make: FullLengthEnv, config: TeacherConfig, seed: int, progress: Progress
) -> tuple[StatePolicy, dict]:
    """Train a teacher on the `state` observation of `make`'s task; return its actor and the figures.

    The figures are `imitated` and, after TD3, `reinforced`: the success of each on the same validation seeds.
    """
    env = DummyVecEnv([lambda: ArmEnv(make.task, make.robot, make.space, "state")])
    model = TD3(
        "MultiInputPolicy",
        env,
        learning_rate=config.learning_rate,
        buffer_size=config.steps + 100 * config.demonstrations,
        learning_starts=0,
        batch_size=config.batch,
        gamma=config.discount,
        tau=0.01,
        train_freq=1,
        action_noise=NormalActionNoise(np.zeros(3), np.full(3, config.noise)),
        policy_kwargs={
            "features_extractor_class": RelativeGoal,
            "net_arch": {"pi": list(config.hidden), "qf": [128, 128]},
        },
        seed=seed,
        device="cpu",
    )
    _add_demonstrations(model, config.demonstrations, seed)
    _imitate(model, config.imitation_steps, seed)
    teacher = _as_state_policy(model, config.hidden)
    figures = {"imitated": _success(teacher, make, config.trials)}
    if config.steps:
        model.learn(config.steps, callback=_Reporter(config.steps, progress))
        reinforced = _as_state_policy(model, config.hidden)
        figures["reinforced"] = _success(reinforced, make, config.trials)
        if figures["reinforced"]["success"] > figures["imitated"]["success"]:
            teacher = reinforced
    env.close()
    return teacher, figures


def _success(teacher: StatePolicy, make: FullLengthEnv, episodes: int) -> dict:
    """Evaluate `teacher` on validation seeds."""

    @torch.no_grad()
    def act(observation: Mapping[str, np.ndarray]) -> np.ndarray:
        return teacher(torch.from_numpy(observation["goal"] - observation["ee_pos"])).numpy()

    count = min(EVALUATION_ARMS, episodes)
    with closing(SyncVectorEnv([make] * count, autoreset_mode=AutoresetMode.SAME_STEP)) as arms:
        return evaluate(act, arms, make, episodes, VALIDATION_SEEDS).to_dict()


def _imitate(model: TD3, steps: int, seed: int) -> None:
    """Regress the actor on the demonstrations in the replay buffer."""
    assert model.replay_buffer is not None
    np.random.seed(seed)  # stable-baselines3's buffer draws from the global generator
    optimiser = torch.optim.Adam(model.actor.parameters(), 1e-3)

    def loss(step: int) -> Loss:
        assert model.replay_buffer is not None
        batch = model.replay_buffer.sample(model.batch_size)
        return Loss((model.actor(batch.observations) - batch.actions).abs().mean())

    gradient_descent(optimiser, constant(1e-3), steps, loss)
    model.actor_target.load_state_dict(model.actor.state_dict())


def _add_demonstrations(model: TD3, episodes: int, seed: int) -> None:
    vector = model.get_env()
    assert vector is not None
    (env,) = vector.envs  # type: ignore[attr-defined]
    assert model.replay_buffer is not None
    batch = lambda array: {key: value[None] for key, value in array.items()}  # noqa: E731
    for episode in range(episodes):
        observation, _ = env.reset(seed=None if episode else seed)
        done = False
        while not done:
            action = env.unwrapped.expert()
            following, reward, terminated, truncated, _ = env.step(action)
            done = terminated or truncated
            model.replay_buffer.add(
                batch(observation),  # type: ignore[arg-type]
                batch(following),  # type: ignore[arg-type]
                action[None],
                np.array([reward]),
                np.array([terminated or truncated]),
                [{"TimeLimit.truncated": truncated and not terminated}],
            )
            observation = following


def _as_state_policy(model: TD3, hidden: tuple[int, ...]) -> StatePolicy:
    """Copy the actor out of stable-baselines3; the feature scaling becomes the normaliser."""
    policy = StatePolicy(inputs=3, actions=model.action_space.shape[0], hidden=hidden)  # type: ignore[index]
    theirs = [layer for layer in model.policy.actor.mu if isinstance(layer, nn.Linear)]
    ours = [layer for layer in policy.body if isinstance(layer, nn.Linear)]
    for source, target in zip(theirs, ours, strict=True):
        target.load_state_dict(source.state_dict())
    policy.spread.fill_(WORKSPACE)
    return policy.eval()


class _Reporter(BaseCallback):
    def __init__(self, steps: int, progress: Progress):
        super().__init__()
        self._steps, self._progress = steps, progress

    def _on_step(self) -> bool:
        if self.n_calls % 50 == 0:
            rewards = [info["r"] for info in self.model.ep_info_buffer or []]
            text = f"return {np.mean(rewards):.1f}" if rewards else ""
            self._progress(self.num_timesteps / self._steps, text)
        return True
