"""Correct an action head by demonstrations: weighted cloning together with labelled simulated episodes.

A demonstrator tells in which direction, and what the fingers do; how fast, the policy knows better than a person with a
gamepad. Labels are therefore the demonstrated direction at the policy's own speed, rests have no weight, and a stated
share of every batch is of simulated episodes with the scripted expert's labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from policies.cloning.replays import Intention, ReplayedPolicy
from policies.imitation.dagger import BEND, row_of
from policies.imitation.rollouts import Records
from policies.models.state_network import StateNetwork
from policies.scoring.wrappers import EXPERT
from policies.training.checkpoints import UNKEPT, Checkpoints
from policies.training.descent import Loss, gradient_descent, one_cycle
from policies.training.progress import Progress

SLOWEST = 0.15
"""Least length of a label: where the policy would stand still and the demonstrator moves."""


@dataclass(frozen=True)
class HeadTuning:
    """How the action head is corrected."""

    steps: int = 800
    """Gradient steps."""
    batch: int = 256
    """Rows a step."""
    learning_rate: float = 2e-4
    """Peak of the one-cycle schedule."""
    share: float = 0.5
    """Of demonstrated rows in every batch; the others are simulated."""
    simulated_steps: int = 150
    """Simulated actions of each of 16 arms that are labelled by the expert."""

    def validate(self) -> None:
        """Raise ValueError for a field out of range."""
        for name in ("steps", "batch", "learning_rate", "simulated_steps"):
            if not getattr(self, name) > 0:
                raise ValueError(f"head: {name} is {getattr(self, name)}, expected a positive number")
        if not 0 < self.share < 1:
            raise ValueError(f"head: share is {self.share}, expected a share between 0 and 1")


def tune_head(
    head: StateNetwork,
    replays: Sequence[ReplayedPolicy],
    wanted: Sequence[Intention],
    simulated: Records,
    how: HeadTuning,
    seed: int,
    progress: Progress,
    checkpoints: Checkpoints = UNKEPT,
) -> None:
    """Train `head` further, in place, on demonstrations as the policy located things in them, and on `simulated` rows.

    Its normaliser and its prediction of success stay as they are.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        row = torch.cat(
            [head.row(*(torch.from_numpy(each.located[name]) for name, _ in head.arrays)) for each in replays]
        )
    labels, weights = (
        torch.from_numpy(np.concatenate(each)) for each in zip(*map(demonstrated_labels, replays, wanted))
    )
    other, expert = row_of(head, simulated), torch.from_numpy(simulated[EXPERT])
    real = round(how.share * how.batch)
    optimiser = torch.optim.Adam(head.body.parameters(), how.learning_rate)

    def loss(step: int) -> Loss:
        some = torch.randint(len(row), (real,), generator=generator)
        rest = torch.randint(len(other), (how.batch - real,), generator=generator)
        found = head.body(head.normalise(row[some]))
        shown = (F.smooth_l1_loss(found, labels[some], beta=BEND, reduction="none") * weights[some]).mean()
        drawn = F.smooth_l1_loss(head.body(head.normalise(other[rest])), expert[rest], beta=BEND)
        value = how.share * shown + (1.0 - how.share) * drawn
        return Loss(value, text=lambda: f"action head {float(value.detach()):.3f}")

    head.train()
    kept = checkpoints.of("head", network=head, optimiser=optimiser, generator=generator)
    gradient_descent(optimiser, one_cycle(how.learning_rate, how.steps), how.steps, loss, progress, checkpoint=kept)
    head.eval()
    progress(1.0, "action head")


def demonstrated_labels(found: ReplayedPolicy, wanted: Intention) -> tuple[np.ndarray, np.ndarray]:
    """Return labels (N, a) float32, the demonstrated direction at `found`'s speed, and each element's weight (N, a)."""
    moves = wanted.direction.shape[1]
    labels, weights = found.actions.astype(np.float32).copy(), np.zeros(found.actions.shape, np.float32)
    speed = np.maximum(np.linalg.norm(found.actions[:, :moves], axis=1), SLOWEST)
    labels[:, :moves] = np.clip(wanted.direction * speed[:, None], -1.0, 1.0)
    weights[:, :moves] = wanted.moving[:, None]
    if len(wanted.gripper):
        labels[:, -1], weights[:, -1] = wanted.gripper, 1.0
    return labels, weights
