"""Why an episode failed, and how visible what it is about was, from the simulator's labels.

not seen      before the arm touched the object, a landmark was too small or without contrast in all cameras for half of
              the time
dropped       the object had been lifted and lies elsewhere, or has fallen off the table
late          at the end it was at the goal for less than the hold time, or still on its way there
mislocated    all else: it was seen, and the policy ended elsewhere than at the goal
stopped       the policy left its specification, as the safety gate would not have let it
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from policies.scoring.intervals import wilson
from sim.datasets.visibility import measure_visibility
from sim.env import ArmEnv
from sim.tasks.task import distance

Cause = Literal["not seen", "dropped", "late", "mislocated", "stopped"]
CAUSES: tuple[Cause, ...] = ("not seen", "dropped", "late", "mislocated", "stopped")
LIFTED = 0.02
"""Height above its start from which on an object counts as lifted [m]."""
APPROACH = 0.01
"""Distance that is gained in the last second by what is on its way [m]."""
PERIOD = 0.2
"""Time between two measurements of the visibility [s]."""
BINS: dict[str, tuple[float, ...]] = {"visible": (0.0, 0.5, 0.8, 0.95), "contrast": (0.0, 0.15, 0.35, 0.6)}
"""Lower ends of the classes of visibility in which success is counted."""


@dataclass(frozen=True)
class EpisodeRecord:
    """What the labels say about one episode."""

    visible: float
    """Visible share of the landmark that is seen least, mean over the cameras, at the start."""
    contrast: float
    """Contrast of the landmark that contrasts least, likewise."""
    cause: Cause
    """Why the episode failed, if it did."""


class EpisodeWatch:
    """Watches one episode of an environment whose observation has images and segmentation of all its cameras."""

    def __init__(self, env: ArmEnv):
        """Watch `env`, from `begin` on."""
        self._env = env
        self._cameras = [camera.name for camera in env.task.cameras]
        self._stride = max(1, round(PERIOD * env.action_spec.rate_hz))
        self._second = max(1, round(env.action_spec.rate_hz))

    def begin(self, observation: Mapping[str, np.ndarray]) -> None:
        """Begin with the first observation of an episode."""
        self._step, self._touched, self._near, self._fallen = 0, False, False, False
        self._start = self._height = self._object_height()
        self._seen: list[list[bool]] = []
        self._distances: deque[float] = deque(maxlen=self._second + 1)
        self._first = self._measure(observation)
        self._look()

    def step(self, observation: Mapping[str, np.ndarray], near: bool) -> None:
        """Take the next observation, and whether the task was achieved then."""
        task, world = self._env.task, self._env.world
        self._step += 1
        self._near = near
        self._touched |= task.moves_object and world.touching(task.placed_body)
        self._fallen |= task.is_failure(world)
        if self._step % self._stride == 0 and not self._touched:
            self._measure(observation)
        self._look()

    def record(self, stopped: bool = False) -> EpisodeRecord:
        """Return what the labels say, at the end of the episode; `stopped` if the policy left its specification."""
        return EpisodeRecord(*self._first, "stopped" if stopped else self._cause())

    def _cause(self) -> Cause:
        if np.mean(self._seen, axis=0).min() < 0.5:
            return "not seen"
        lifted = self._height - self._start > LIFTED
        held = self._env.task.moves_object and self._env.world.touching(self._env.task.placed_body)
        if self._fallen or (lifted and not held and not self._near):
            return "dropped"
        if self._near or self._distances[0] - self._distances[-1] > APPROACH:
            return "late"
        return "mislocated"

    def _measure(self, observation: Mapping[str, np.ndarray]) -> tuple[float, float]:
        """Note which landmarks are seen; return the least share and contrast, each a mean over the cameras."""
        found = [
            [measure_visibility(self._env, observation, camera, body) for camera in self._cameras]
            for body in self._env.task.landmarks
        ]
        self._seen.append([any(each.is_seen for each in row) for row in found])
        return (
            min((float(np.mean([each.share for each in row])) for row in found), default=1.0),
            min((float(np.mean([each.contrast for each in row])) for row in found), default=1.0),
        )

    def _look(self) -> None:
        task, world = self._env.task, self._env.world
        self._height = max(self._height, self._object_height())
        self._distances.append(float(distance(task.achieved_goal(world), task.desired_goal(world))))

    def _object_height(self) -> float:
        task = self._env.task
        return float(self._env.world.pose(task.placed_body)[0][2]) if task.moves_object else 0.0


def segmented(cameras: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the arrays that an `EpisodeWatch` needs beside the images of `cameras`."""
    return tuple(f"segmentation_{name}" for name in cameras)


def failure_shares(records: Sequence[EpisodeRecord], success: Sequence[bool] | np.ndarray) -> dict[str, dict]:
    """Return by cause the number of failures, and their share of all episodes with a Wilson interval."""
    failed = [record.cause for record, succeeded in zip(records, success) if not succeeded]
    return {cause: _rate(failed.count(cause), len(records)) for cause in CAUSES}


def success_by_visibility(
    records: Sequence[EpisodeRecord], success: Sequence[bool] | np.ndarray
) -> dict[str, list[dict]]:
    """Return the success rate, with a Wilson interval, of each class of `BINS` that has episodes."""
    succeeded = np.array(success, bool)
    table: dict[str, list[dict]] = {}
    for name, edges in BINS.items():
        values = np.array([getattr(record, name) for record in records])
        classes = np.searchsorted(edges, values, side="right") - 1
        table[name] = [
            {"from": edge, **_rate(int(succeeded[classes == k].sum()), int((classes == k).sum()))}
            for k, edge in enumerate(edges)
            if (classes == k).any()
        ]
    return table


def _rate(count: int, total: int) -> dict:
    rate = wilson(count, total)
    return {"count": count, "of": total, "share": rate.estimate, "low": rate.low, "high": rate.high}
