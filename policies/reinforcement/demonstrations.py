"""Demonstrations: collected from the scripted expert or recorded, imitated, and kept in the replay buffer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import DictReplayBuffer, ReplayBuffer
from stable_baselines3.common.vec_env import VecEnv, VecNormalize

from policies.imitation.dagger import imitation_loss
from policies.models.state_network import Arrays
from policies.reinforcement.algorithms import Algorithm
from policies.reinforcement.joined import join_arrays
from policies.training.descent import Loss, constant, gradient_descent
from robots.host.reading import FileError, read_arrays
from robots.host.writing import write_arrays

JOINED = ""
"""Name of an observation that has been joined to one vector."""
SCALARS = ("action", "expert", "reward", "terminated", "truncated")
"""Arrays of a file beside `observation.<name>` and `next.<name>`."""


class DemonstrationError(ValueError):
    """Demonstrations are missing or not what was expected."""


@dataclass(frozen=True)
class Demonstrations:
    """Transitions (N, …) in temporal order, episode after episode."""

    observation: dict[str, np.ndarray]
    """Observations, by name."""
    following: dict[str, np.ndarray]
    """Next observations."""
    action: np.ndarray
    """(N, a) actions, disturbances included."""
    expert: np.ndarray
    """(N, a) the expert's actions: the labels."""
    reward: np.ndarray
    """(N,)"""
    terminated: np.ndarray
    """(N,) bool: the episode ended in failure."""
    truncated: np.ndarray
    """(N,) bool: it was cut off at its time limit."""

    def __len__(self) -> int:
        return len(self.reward)

    def save(self, path: Path | str) -> None:
        """Write an .npz that `load` reads."""
        arrays = {f"observation.{name}": array for name, array in self.observation.items()}
        arrays |= {f"next.{name}": array for name, array in self.following.items()}
        arrays |= {name: getattr(self, name) for name in SCALARS}
        write_arrays(path, arrays)

    @classmethod
    def load(cls, path: Path | str, names: Sequence[str], actions: int) -> Demonstrations:
        """Read what `save` wrote, for a run that is resumed.

        Args:
            path: of the .npz.
            names: arrays of the observation that must be there.
            actions: length of an action.

        Raises:
            DemonstrationError: if an array is missing, of another length, or not finite.
        """
        try:
            arrays = read_arrays(path, "demonstrations")
        except FileError as error:
            raise DemonstrationError(f"{error}; record them again") from None
        wanted = [*(f"{part}.{name}" for part in ("observation", "next") for name in names), *SCALARS]
        missing = [name for name in wanted if name not in arrays]
        if missing:
            raise DemonstrationError(
                f"demonstrations '{path}' lack the array '{missing[0]}'; they hold {', '.join(sorted(arrays))}"
            )
        count = arrays["reward"].size
        for name in wanted:
            columns = name in ("reward", "terminated", "truncated")
            if arrays[name].ndim == 0 or (columns and arrays[name].ndim > 1) or arrays[name].dtype.kind not in "fiub":
                raise DemonstrationError(
                    f"demonstrations '{path}': '{name}' is {arrays[name].dtype} {arrays[name].shape}, expected numbers"
                )
            if len(arrays[name]) != count or not np.isfinite(arrays[name].astype(float)).all():
                raise DemonstrationError(
                    f"demonstrations '{path}': '{name}' has {len(arrays[name])} rows, expected {count} finite ones"
                )
        for name in ("action", "expert"):
            if arrays[name].shape != (count, actions):
                raise DemonstrationError(
                    f"demonstrations '{path}': '{name}' has shape {arrays[name].shape}, expected ({count}, {actions})"
                )
        if count == 0 or not (arrays["terminated"] | arrays["truncated"])[-1]:
            raise DemonstrationError(f"demonstrations '{path}': {count} transitions, the last of them ends no episode")
        return cls(
            {name: arrays[f"observation.{name}"] for name in names},
            {name: arrays[f"next.{name}"] for name in names},
            *(arrays[name] for name in SCALARS),
        )


def collect_demonstrations(
    arms: VecEnv,
    episodes: int,
    disturbed_share: float,
    disturbance: float,
    seed: int,
    progress: Callable[[float], None],
) -> Demonstrations:
    """Run the scripted expert on `arms`, environments of `Practice`, for `episodes` whole episodes.

    In a share of the episodes its actions are disturbed by spells of noise, so that demonstrations include recoveries
    and suboptimal actions; the gripper is not disturbed.
    """
    rng = np.random.default_rng(seed)
    n = arms.num_envs
    arms.seed(seed)
    seen = arms.reset()
    assert isinstance(seen, dict)
    each: list[list[dict]] = [[] for _ in range(n)]
    finished: list[list[dict]] = []
    steerable, names = _steerable(arms), list(seen)
    disturbed = rng.random(n) < disturbed_share
    noise = np.zeros((n, len(steerable)))
    while len(finished) < episodes:
        labels = np.stack(arms.env_method("expert")).astype(np.float32)
        anew = rng.random(n) < 1 / 8
        noise[anew] = rng.normal(0.0, disturbance, noise.shape)[anew] * (rng.random((int(anew.sum()), 1)) < 0.5)
        action = np.clip(labels + noise * steerable * disturbed[:, None], -1.0, 1.0).astype(np.float32)
        following, reward, done, infos = arms.step(action)
        assert isinstance(following, dict)
        for i in range(n):
            after = infos[i]["terminal_observation"] if done[i] else {k: v[i].copy() for k, v in following.items()}
            cut = bool(infos[i]["TimeLimit.truncated"])
            each[i].append(
                {
                    "observation": {name: array[i].copy() for name, array in seen.items()},
                    "following": after,
                    "action": action[i],
                    "expert": labels[i],
                    "reward": float(reward[i]),
                    "terminated": bool(done[i]) and not cut,
                    "truncated": cut,
                }
            )
            if done[i]:
                finished.append(each[i])
                each[i] = []
                disturbed[i] = rng.random() < disturbed_share
        seen = following
        progress(min(1.0, len(finished) / episodes))
    steps = [step for episode in finished[:episodes] for step in episode]
    stack = lambda part: {name: np.stack([step[part][name] for step in steps]) for name in names}  # noqa: E731
    column = lambda part, kind: np.array([step[part] for step in steps], kind)  # noqa: E731
    return Demonstrations(
        stack("observation"),
        stack("following"),
        column("action", np.float32),
        column("expert", np.float32),
        column("reward", np.float32),
        column("terminated", bool),
        column("truncated", bool),
    )


def imitate(
    model: BaseAlgorithm,
    algorithm: Algorithm,
    demonstrations: Demonstrations,
    arrays: Sequence[str],
    steps: int,
    batch: int,
    seed: int,
) -> float:
    """Regress the actor of `model`, which takes `arrays`, on the expert's labels; return its last losses' mean."""
    generator = torch.Generator().manual_seed(seed)
    observations = as_tensors(demonstrations.observation)
    if algorithm.joined:
        observations = {JOINED: torch.from_numpy(join_arrays(demonstrations.observation, arrays))}
    observations = {name: array.to(model.device) for name, array in observations.items()}
    labels = torch.from_numpy(demonstrations.expert).to(model.device)
    policy: Any = model.policy
    actor = policy.actor if hasattr(policy, "actor") else policy
    optimiser = torch.optim.Adam(actor.parameters(), 1e-3)
    policy.set_training_mode(True)

    def loss(step: int) -> Loss:
        assert algorithm.deterministic is not None
        chosen = torch.randint(len(labels), (batch,), generator=generator).to(model.device)
        batch_of = {name: array[chosen] for name, array in observations.items()}
        found = algorithm.deterministic(model, batch_of.get(JOINED, batch_of))
        return Loss(imitation_loss(found, labels[chosen]))

    recent = gradient_descent(optimiser, constant(1e-3), steps, loss)
    policy.set_training_mode(False)
    if hasattr(policy, "actor_target"):
        policy.actor_target.load_state_dict(policy.actor.state_dict())
    return recent


def fill_buffer(buffer: ReplayBuffer, demonstrations: Demonstrations, names: Sequence[str]) -> None:
    """Add `demonstrations` to `buffer`, a run of consecutive transitions for each of its environments.

    An incomplete last row is left out. The arrays `names` are joined where the buffer takes one vector.
    """
    n = buffer.n_envs
    rows = len(demonstrations) // n
    columns = np.arange(rows * n).reshape(n, rows)
    by_name = isinstance(buffer, DictReplayBuffer)
    for row in columns.T:
        cut = demonstrations.truncated[row]
        seen = {name: array[row] for name, array in demonstrations.observation.items()}
        following = {name: array[row] for name, array in demonstrations.following.items()}
        buffer.add(
            seen if by_name else join_arrays(seen, names),  # type: ignore[arg-type]
            following if by_name else join_arrays(following, names),  # type: ignore[arg-type]
            demonstrations.action[row],
            demonstrations.reward[row],
            demonstrations.terminated[row] | cut,
            [{"TimeLimit.truncated": bool(c)} for c in cut],
        )


class Demonstrated(ReplayBuffer):
    """A replay buffer of which a constant share of every batch is demonstrations (RLPD, Ball et al., ICML 2023)."""

    demonstrations: ReplayBuffer | None = None
    """Demonstrations, which are never overwritten."""
    share: float = 0.5
    """Their share of a batch; all of it as long as the agent has no transition of its own."""

    def sample(self, batch_size: int, env: VecNormalize | None = None) -> Any:
        """Draw a batch from both."""
        count = batch_size if self.size() == 0 else round(self.share * batch_size)
        if self.demonstrations is None or count == 0:
            return super().sample(batch_size, env)
        shown = self.demonstrations.sample(count, env)
        if count == batch_size:
            return shown
        return type(shown)(*map(_concatenated, shown, super().sample(batch_size - count, env)))


class DemonstrationBuffer(Demonstrated, DictReplayBuffer):
    """For observations by name."""


class JoinedDemonstrationBuffer(Demonstrated, ReplayBuffer):
    """For observations that are joined to one vector."""


def _concatenated(a: Any, b: Any) -> Any:
    if isinstance(a, dict):
        return {name: torch.cat([array, b[name]]) for name, array in a.items()}
    return None if a is None else torch.cat([a, b])


def as_tensors(observations: dict[str, np.ndarray]) -> Arrays:
    """Turn arrays (N, …) by name into float tensors."""
    return {name: torch.from_numpy(np.asarray(array, np.float32)) for name, array in observations.items()}


def _steerable(arms: VecEnv) -> np.ndarray:
    """Return which elements of the action may be disturbed: a disturbed gripper would drop the object."""
    (spec,) = arms.get_attr("action_spec", [0])
    return np.array([name != "gripper" for name in spec.names], float)
