"""Labels of demonstrated frames from the demonstrations themselves: no simulator, no person, no marker.

The arm's landmarks are where forward kinematics puts them. An object was where the fingers stopped on it: in all
earlier frames, in which it stood still, and moves with the hand until they let go; where they let go last is the goal.
Where nothing is grasped and the goal is the hand's, it is where the hand was held at the end. What cannot be told is
NaN.

    opening stops short of what is commanded ──▶ grasped ──▶ the hand's place ──▶ object (N, 3), goal (3,)

Closed fingers push: on the last straight way over the table the object was before them, and its end is the goal. Where
that object stood at first is not known, because nothing tells when they touched it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from policies.bundle.landmark_residuals import arm_points
from policies.cloning.episodes import DemonstratedEpisode
from policies.models.filters.contact import CLEAR
from robots.camera import CameraModel
from robots.model import Gripper, RobotModel
from sim.datasets.labelled_renders import LabelledRenders
from sim.tasks.motion import FINGER_SLANT
from sim.tasks.task import Task

STOPPED_SHORT = 0.04
"""Share of the fingers' stroke by which they stop before what is commanded, once they have closed on something."""
STILL = 0.015
"""Change of that share from one frame to the next up to which they have stopped."""
SHORTEST = 0.3
"""What is grasped for less was not [s]."""
SAME_PLACE = 0.03
"""An object that is grasped again no further from where it was let go stood still in between [m]."""
LOW = 0.02
"""How much higher than its lowest point a hand still pushes [m]."""
STRAIGHT = 0.85
"""Cosine between directions of one straight way."""
BEFORE_CONTACT = 0.05
"""Way of a hand that has come down behind an object, after which it must have touched it [m]."""


@dataclass(frozen=True)
class PlaceLabels:
    """Where things were in an episode of N frames [m, base frame]; NaN where it is not known."""

    thing: np.ndarray
    """(N, 3) centre of what is handled."""
    goal: np.ndarray
    """(3,) where that, or the hand, should get to."""
    stood: np.ndarray
    """(3,) where the thing stood at first."""

    @property
    def known(self) -> bool:
        """Whether the goal is known, and with it what the policy has to locate."""
        return bool(np.isfinite(self.goal).all())


def grasped(episode: DemonstratedEpisode, gripper: Gripper, rate_hz: float) -> list[tuple[int, int]]:
    """Return where something was between the fingers: first frame of each time, and the first one after it."""
    share = gripper.share(episode.opening[:, 0])
    short = share - gripper.share(episode.asked_opening[:, 0]) > STOPPED_SHORT
    stopped = np.abs(np.diff(share, prepend=share[:1])) < STILL
    runs: list[tuple[int, int]] = []
    held, first = False, 0
    for k in range(len(share)):
        if not held and short[k] and stopped[k] and k > 0 and short[k - 1]:
            held, first = True, k
        elif held and not short[k]:
            held = False
            runs.append((first, k))
    if held:
        runs.append((first, len(share)))
    return [run for run in runs if run[1] - run[0] >= SHORTEST * rate_hz]


def place_labels(episode: DemonstratedEpisode, robot: RobotModel, task: Task) -> PlaceLabels:
    """Find where the thing and the goal of `task` were in a successful `episode`."""
    count, rate = len(episode), task.action.rate_hz
    poses = [robot.chain.pose(row.astype(np.float64)) for row in episode.q]
    between = np.array([p + R @ robot.between(float(o)) for (R, p), o in zip(poses, episode.opening[:, 0])])
    thing, nowhere = np.full((count, 3), np.nan), np.full(3, np.nan)
    if not task.moves_object:
        hold = max(1, round(task.hold_time * rate))
        return PlaceLabels(thing, np.array([p for _, p in poses[-hold:]]).mean(axis=0), nowhere)
    if "gripper" not in task.action.names:
        return _pushed(np.array([p for _, p in poses]), rate)
    runs = grasped(episode, robot.gripper, rate) if robot.gripper is not None else []
    if not runs:
        return PlaceLabels(thing, nowhere, nowhere)
    thing[: runs[0][0]] = between[runs[0][0]]
    for i, (first, end) in enumerate(runs):
        thing[first:end] = between[first:end]
        let_go = between[end - 1]
        after = runs[i + 1][0] if i + 1 < len(runs) else count
        if i + 1 == len(runs):
            thing[end:] = let_go
        elif np.linalg.norm(between[after] - let_go) < SAME_PLACE:
            thing[end:after] = 0.5 * (let_go + between[after])
    return PlaceLabels(thing, between[runs[-1][1] - 1].copy(), thing[0].copy())


def _pushed(hand: np.ndarray, rate_hz: float) -> PlaceLabels:
    """Likewise of an object that closed fingers push, by where the hand was (N, 3)."""
    thing, nowhere = np.full(hand.shape, np.nan), np.full(3, np.nan)
    step = max(1, round(0.2 * rate_hz))
    way = np.zeros((len(hand), 2))
    way[step:] = hand[step:, :2] - hand[:-step, :2]
    length = np.linalg.norm(way, axis=1)
    low = hand[:, 2] < hand[:, 2].min() + LOW
    pushing = np.flatnonzero(low & (length > 0.02 * step / rate_hz))
    if not len(pushing):
        return PlaceLabels(thing, nowhere, nowhere)
    last = int(pushing[-1])
    ahead = way[max(0, last - 2 * step) : last + 1].sum(axis=0)
    ahead /= max(float(np.linalg.norm(ahead)), 1e-9)
    first = last
    while first > 0 and low[first - 1] and way[first - 1] @ ahead >= STRAIGHT * length[first - 1]:
        first -= 1
    along = (hand[:, :2] - hand[first, :2]) @ ahead
    touched = first + int(np.argmax(along[first : last + 1] > BEFORE_CONTACT))
    if along[last] <= BEFORE_CONTACT:
        return PlaceLabels(thing, nowhere, nowhere)
    clear = np.array([*(ahead * (CLEAR + FINGER_SLANT * abs(ahead[1]))), 0.0])
    thing[touched : last + 1] = hand[touched : last + 1] + clear
    thing[last:] = thing[last]
    return PlaceLabels(thing, thing[last].copy(), nowhere)


def labelled_frames(
    episodes: Sequence[DemonstratedEpisode],
    robot: RobotModel,
    task: Task,
    cameras: Mapping[str, CameraModel],
) -> tuple[LabelledRenders, ...]:
    """Label every frame of `episodes`, of each of the `cameras`: pixels, object and goal are NaN where unknown."""
    parts: list[list[LabelledRenders]] = []
    for episode in episodes:
        found = place_labels(episode, robot, task)
        arm = [arm_points(robot, q.astype(float), float(o)) for q, o in zip(episode.q, episode.opening[:, 0])]
        if task.moves_object:
            bodies = np.array([task.landmark_places(each, found.stood, found.goal) for each in found.thing])
        else:
            bodies = np.repeat([task.landmark_places(found.goal, found.goal, found.goal)], len(episode), axis=0)
        points = np.concatenate([bodies, np.array([each for each, _ in arm])], axis=1)
        goals = np.repeat(found.goal[None], len(episode), axis=0)
        rows = LabelledRenders(
            next(iter(episode.images.values())),
            episode.q,
            points.astype(np.float32),
            np.zeros((len(episode), points.shape[1], 2), np.float32),
            goals.astype(np.float32),
            episode.opening,
        )
        seen = []
        for name, camera in cameras.items():
            pixels = np.array([camera.project(at, T) for at, (_, T) in zip(points, arm)], np.float32)
            seen.append(replace(rows, images=episode.images[name], pixels=pixels))
        parts.append(seen)
    return tuple(LabelledRenders.joined(each) for each in zip(*parts))
