"""Replay a camera policy over demonstrations, and measure by how much it would have acted otherwise.

The error of a demonstration is the sum of

- `places`: mean distance of what the policy locates from where the demonstration shows it, in radii of success;
- `direction`: mean of (1 − cos) / 2 between the policy's action and the demonstrator's next 0.4 s, where they move: a
  person is slower than a policy, so that lengths are not compared;
- `gripper`: share of frames in which the fingers' command differs, more than 0.4 s from where they change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from policies.cloning.episodes import DemonstratedEpisode
from policies.cloning.labels import PlaceLabels
from policies.imitation.detection import detect
from policies.models.camera_student import GOAL, OBJECT, CameraStudent
from policies.models.filters.object_filter import HELD
from robots.specs import ActionSpec

AHEAD = 0.4
"""Over which a demonstrator's direction is averaged [s]: longer than a reaction, shorter than a phase."""
MOVING = 0.02
"""Least mean length of normalised actions that is a motion, not a rest: for most tasks some 2 cm/s."""


@dataclass(frozen=True)
class ReplayedPolicy:
    """What a policy located, and would have commanded, in each of N frames."""

    located: Mapping[str, np.ndarray]
    """The action head's arrays (N, …), by name."""
    actions: np.ndarray
    """(N, a) normalised."""


@dataclass(frozen=True)
class Intention:
    """What a demonstrator wanted in each of N frames."""

    direction: np.ndarray
    """(N, m) unit vector of the normalised action without the fingers; zero where they rest."""
    moving: np.ndarray
    """(N,) bool."""
    gripper: np.ndarray
    """(N,) 1 for open, -1 for closed; empty without fingers."""
    settled: np.ndarray
    """(N,) bool: more than `AHEAD` from where the fingers change."""


@dataclass(frozen=True)
class ReplayError:
    """Error of a policy in one demonstration; see the module."""

    places: float
    """0 where nothing is known."""
    direction: float
    gripper: float

    @property
    def total(self) -> float:
        """Their sum."""
        return self.places + self.direction + self.gripper


@torch.no_grad()
def replay(student: CameraStudent, episode: DemonstratedEpisode) -> ReplayedPolicy:
    """Give `student` the frames of an `episode` in order, with its memory."""
    q, opening = torch.from_numpy(episode.q), torch.from_numpy(episode.opening)
    measured, ee_pos = torch.cat([q, opening], dim=1) if student.fingers else q, student.kinematics(q)
    offsets, stds = student.estimate(detect(student.encoder, *episode.images.values()), measured)
    memory = tuple(torch.zeros(1, *shape) for shape in student.filter.memory.values())
    fingers, filtered = measured[:, student.joints :], []
    for i in range(len(episode)):
        now = slice(i, i + 1)
        places, held, memory = student.filter(ee_pos[now], fingers[now], offsets[now], stds[now], *memory)
        filtered.append((places, held))
    places, held = (torch.cat(each) for each in zip(*filtered))
    named = {"ee_pos": ee_pos, "opening": fingers, HELD: held}
    named |= dict(zip(student.estimated, places.split(3, dim=1)))
    arrays = {name: named[name] for name, _ in student.action_head.arrays}
    actions = student.action_head(*arrays.values())
    return ReplayedPolicy({name: each.numpy() for name, each in arrays.items()}, actions.numpy())


def intention(episode: DemonstratedEpisode, spec: ActionSpec) -> Intention:
    """Find where the demonstrator of `episode` was heading, and what the fingers were told."""
    fingers = spec.names[-1] == "gripper"
    moves = episode.actions[:, :-1] if fingers else episode.actions
    ahead, count = max(1, round(AHEAD * spec.rate_hz)), len(episode)
    sums = np.concatenate([np.zeros((1, moves.shape[1])), np.cumsum(moves.astype(float), axis=0)])
    ends = np.minimum(np.arange(count) + ahead, count)
    mean = (sums[ends] - sums[:count]) / (ends - np.arange(count))[:, None]
    length = np.linalg.norm(mean, axis=1)
    moving = length > MOVING
    direction = np.where(moving[:, None], mean / np.maximum(length, 1e-9)[:, None], 0.0)
    if not fingers:
        return Intention(direction, moving, np.zeros(0), np.ones(count, bool))
    gripper = np.where(episode.actions[:, -1] > 0, 1.0, -1.0)
    settled = np.ones(count, bool)
    for change in np.flatnonzero(np.diff(gripper)) + 1:
        settled[max(0, change - ahead) : change + ahead] = False
    return Intention(direction, moving, gripper, settled)


def replay_error(found: ReplayedPolicy, wanted: Intention, places: PlaceLabels, radius: float) -> ReplayError:
    """Compute the error of a replay against what was wanted, and where things were; `radius` of success [m]."""
    known = {GOAL: np.broadcast_to(places.goal, places.thing.shape), OBJECT: places.thing}
    away = [
        np.linalg.norm(found.located[name] - where, axis=1) for name, where in known.items() if name in found.located
    ]
    distances = np.concatenate([np.zeros(0), *(each[np.isfinite(each)] for each in away)])
    moves = found.actions[:, : wanted.direction.shape[1]]
    length = np.maximum(np.linalg.norm(moves, axis=1), 1e-6)
    cosine = (moves * wanted.direction).sum(axis=1) / length
    gripper = 0.0
    if len(wanted.gripper) and wanted.settled.any():
        gripper = float(((found.actions[:, -1] * wanted.gripper) < 0)[wanted.settled].mean())
    return ReplayError(
        float(distances.mean()) / radius if len(distances) else 0.0,
        float(0.5 * (1.0 - cosine[wanted.moving]).mean()) if wanted.moving.any() else 0.0,
        gripper,
    )
