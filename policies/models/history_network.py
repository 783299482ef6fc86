"""A state policy that infers a latent of the dynamics from its recent history: rapid motor adaptation (RMA).

Kumar, Fu, Pathak & Malik, "RMA: Rapid Motor Adaptation for Legged Robots", RSS 2021. In training the *latent*, a
few numbers, is computed from the drawn parameters; a second network learns to compute it from the last joint positions,
velocities and actions, and runs on the robot.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from policies.models.state_network import SMALLEST_SPREAD, StateNetwork, perceptron

HISTORY_NETWORK = "history_network"
MOVING = ("q", "dq")
"""Arrays of the observation that are part of the history."""
INFERRING = (128, 64)
"""Widths of the layers that infer the latent."""


class HistoryNetwork(nn.Module):
    """Maps observation (B, …) and history to the action (B, a) in [-1, 1] and the next history."""

    history_centre: Tensor
    history_spread: Tensor

    def __init__(
        self,
        arrays: Sequence[tuple[str, tuple[int, ...]]],
        actions: Sequence[str],
        hidden: Sequence[int],
        latent: int,
        length: int,
        squash: str = "tanh",
    ):
        """Build the network.

        Args:
            arrays: name and shape of each array of the observation; `q` and `dq` must be among them.
            actions: names of the action's elements.
            hidden: widths of the layers that act.
            latent: size of the latent.
            length: of the history [actions].
            squash: as in `StateNetwork`.
        """
        super().__init__()
        shapes = dict(arrays)
        missing = [name for name in MOVING if name not in shapes]
        if missing:
            raise ValueError(f"a policy with a history needs '{missing[0]}', but sees {', '.join(shapes)}")
        self.columns = StateNetwork(arrays, actions, (), squash)  # its features and its normaliser
        self.columns.body = nn.Identity()  # type: ignore[assignment]
        self.hidden, self.latent, self.length, self.squash = tuple(hidden), latent, length, squash
        self.joints = shapes["q"][0]
        self.entry = sum(shapes[name][0] for name in MOVING) + len(actions)
        seen = sum(feature.width for feature in self.columns.features)
        self.infer = nn.Sequential(*perceptron(length * self.entry, *INFERRING, latent), nn.Tanh())
        self.body = perceptron(seen + latent, *hidden, len(actions))
        self.register_buffer("history_centre", torch.zeros(self.entry))
        self.register_buffer("history_spread", torch.ones(self.entry))

    @property
    def arrays(self) -> tuple[tuple[str, tuple[int, ...]], ...]:
        """Name and shape of each array of the observation."""
        return self.columns.arrays

    @property
    def layers(self) -> list[nn.Linear]:
        """The linear layers of the action, first to last."""
        return [layer for layer in self.body if isinstance(layer, nn.Linear)]

    @property
    def memory(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the state between two actions."""
        return {"history": (self.length, self.entry), "last_action": (len(self.columns.actions),)}

    def inferred(self, history: Tensor) -> Tensor:
        """Compute the latent (B, z) from the history (B, length, entry)."""
        return self.infer(((self.relative(history) - self.history_centre) / self.history_spread).flatten(1))

    def relative(self, history: Tensor) -> Tensor:
        """Make the history's joint positions relative to the newest ones; entries before the episode stay zero.

        Absolute positions would identify training episodes, and the network would overfit to them.
        """
        newest = torch.zeros_like(history[:, -1:])
        newest[:, :, : self.joints] = history[:, -1:, : self.joints]
        filled = (history.abs().sum(2, keepdim=True) > 0).to(history.dtype)
        return (history - newest) * filled

    def forward(self, *arguments: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Map the arrays in order, `history` and `last_action` to action, `next_history`, `next_last_action`."""
        *arrays, history, last_action = arguments
        named = {name: array for (name, _), array in zip(self.arrays, arrays)}
        entry = torch.cat([*(named[name] for name in MOVING), last_action], dim=1)
        history = torch.cat([history[:, 1:], entry[:, None]], dim=1)
        row = self.columns.normalise(self.columns.row(*arrays))
        action = self.body(torch.cat([row, self.inferred(history)], dim=1))
        action = action.tanh() if self.squash == "tanh" else action.clamp(-1.0, 1.0)
        return action, history, action

    def fit_history(self, windows: Tensor) -> None:
        """Fit the history's centre and spread to windows (N, length, entry)."""
        entries = self.relative(windows).flatten(0, 1)
        self.history_centre.copy_(entries.mean(0))
        self.history_spread.copy_(entries.std(0).clamp_min(SMALLEST_SPREAD))

    def architecture(self) -> dict:
        """Describe the network so that it can be built again."""
        return {
            "kind": HISTORY_NETWORK,
            "arrays": [[name, list(shape)] for name, shape in self.arrays],
            "actions": list(self.columns.actions),
            "hidden": list(self.hidden),
            "latent": self.latent,
            "length": self.length,
            "squash": self.squash,
        }


def history_windows(moving: np.ndarray, actions: np.ndarray, begins: np.ndarray, length: int) -> np.ndarray:
    """Return the histories that a `HistoryNetwork` would have had in the trajectories of several arms.

    Args:
        moving: (T, E, m) arrays `MOVING` of E arms at each time.
        actions: (T, E, a) actions at each time.
        begins: (T, E) bool: where an episode begins; the first row always does.
        length: of the history.

    Returns:
        (T, E, length, m + a) the history at each time, its last entry at that time.
    """
    steps, arms = begins.shape
    begins = begins.copy()
    begins[0] = True
    before = np.zeros_like(actions)
    before[1:] = actions[:-1]
    before[begins] = 0.0
    entries = np.concatenate([moving, before], axis=2)
    since = np.zeros((steps, arms), int)  # time of the episode's first row
    for t in range(steps):
        since[t] = np.where(begins[t], t, since[t - 1] if t else 0)
    found = np.zeros((steps, arms, length, entries.shape[2]), np.float32)
    for back in range(length):
        now = np.arange(back, steps)
        inside = now[:, None] - back >= since[now]
        found[now, :, length - 1 - back] = np.where(inside[..., None], entries[now - back], 0.0)
    return found
